//! Commands and replies as text.
#![allow(dead_code)] // Each test program uses a part of it.

pub mod blackhole;
pub mod history;
pub mod load;
pub mod primary_faults;
pub mod process_info;
pub mod proxies;
pub mod serial;
pub mod set_on_drop;
pub mod shared;
pub mod system_files;

use rediscluster::cluster::{Client, Pipeline};
use rediscluster::error::Code;
use rediscluster::resp::{Kind, Reply, View, flag};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::Command;
use support::find::{self, Found};

/// How long a test waits for an expected event.
pub const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// Every available server program: redis-server, the wheels of tests/requirements-servers.txt, and the paths in
/// RDC_SERVERS (separated by colons). Each version once.
pub fn servers() -> Vec<Found> {
    let wheels = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("../venv/servers");
    let more = std::env::var("RDC_SERVERS").unwrap_or_default();
    let more = more.split(':').filter(|path| !path.is_empty());
    let mut found = vec![find::named("redis-server").unwrap()];
    found.extend(find::below(&wheels));
    found.extend(more.map(|path| find::named(path).unwrap()));
    let mut seen = std::collections::HashSet::new();
    found.retain(|server| seen.insert((server.kind.clone(), server.version)));
    let enough = found.len() >= 4 || cfg!(not(target_arch = "x86_64"));
    assert!(
        enough,
        "servers are missing: tools/setup.sh test ({found:?})"
    );
    found
}

/// The newest server of this kind.
pub fn newest(kind: &str) -> Found {
    let all = servers().into_iter().filter(|server| server.kind == kind);
    all.max_by_key(|server| server.version).unwrap()
}

/// A client that has connected.
pub fn client(url: &str) -> Client {
    let client = Client::create(url);
    if let Some(error) = client.error() {
        panic!("{url}: {error}");
    }
    client
}

/// Sends a command, written as for redis-cli.
pub fn send(client: &Client, words: &str) -> Reply {
    let words = support::words::split(words).unwrap();
    let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    *client.command(&args).whole()
}

/// Sends a command and returns the reply as text: see [`show`].
pub fn run(client: &Client, words: &str) -> String {
    show(send(client, words).view())
}

/// A reply as text: `OK`, `3`, `nil`, `[a, [b, nil]]`, `MOVED ... (SERVER)`, `TIMEOUT ... (TIMEOUT, sent)`.
pub fn show(view: View<'_>) -> String {
    match view.kind() {
        Kind::Nil => "nil".to_string(),
        Kind::Error => {
            let text = String::from_utf8_lossy(view.text().unwrap_or_default()).into_owned();
            let sent = if is_sent(view) { ", sent" } else { "" };
            format!("{text} ({}{sent})", code(view).name())
        }
        kind if kind.has_elements() => {
            let elements: Vec<String> = view.elements().map(show).collect();
            format!("[{}]", elements.join(", "))
        }
        kind if kind.has_text() => {
            String::from_utf8_lossy(view.text().unwrap_or_default()).into_owned()
        }
        _ => view.int().unwrap_or_default().to_string(),
    }
}

/// The code of an error, [`Code::Ok`] for anything else.
pub fn code(view: View<'_>) -> Code {
    match view.kind() {
        Kind::Error => Code::from_number(view.value().code.into()).unwrap_or(Code::Server),
        _ => Code::Ok,
    }
}

/// The result of `rdc_reply_sent`.
pub fn is_sent(view: View<'_>) -> bool {
    view.value().flags & flag::SENT != 0
}

/// Executes a pipeline of these commands.
pub fn pipeline<S: AsRef<str>>(client: &Arc<Client>, commands: &[S]) -> Reply {
    let mut pipeline = Pipeline::new(client.clone());
    for words in commands {
        let words = support::words::split(words.as_ref()).unwrap();
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        pipeline.command(&args);
    }
    *pipeline.execute()
}

/// Executes these commands as one transaction.
pub fn atomic<S: AsRef<str>>(client: &Arc<Client>, commands: &[S]) -> Reply {
    let mut pipeline = Pipeline::new(client.clone());
    for words in commands {
        let words = support::words::split(words.as_ref()).unwrap();
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        pipeline.command(&args);
    }
    *pipeline.execute_atomic()
}

/// The reply to each command of a pipeline as text, or the one error if the pipeline failed as a whole.
pub fn run_all<S: AsRef<str>>(client: &Arc<Client>, commands: &[S]) -> Vec<String> {
    let reply = pipeline(client, commands);
    match code(reply.view()) {
        Code::Ok => reply.view().elements().map(show).collect(),
        _ => vec![show(reply.view())],
    }
}

/// A counter of the client.
pub fn stat(client: &Client, name: &str) -> i64 {
    let stats = client.stats();
    let counter = stats.view().find(name).and_then(|v| v.int());
    counter.unwrap_or_else(|| panic!("no counter {name}"))
}

/// The result and the elapsed time.
pub fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let outcome = f();
    (outcome, began.elapsed())
}

/// Waits until the condition holds.
#[track_caller]
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    assert!(
        support::wait_until(&mut holds, WAIT_LIMIT),
        "timed out waiting until {what}"
    );
}

/// Waits for this time.
pub fn pause(time: Duration) {
    let end = Instant::now() + time;
    wait_for("the time is over", || Instant::now() > end);
}

/// Blocks a scripted node until the flag is cleared.
pub fn wait_while(while_it_is: &AtomicBool) {
    support::wait_until(|| !while_it_is.load(Ordering::SeqCst), WAIT_LIMIT);
}

/// Fails unless the command ends with an error of a silent, refusing or invalid node.
#[track_caller]
pub fn assert_unreachable(client: &Client, words: &str) {
    let reply = send(client, words);
    let code = code(reply.view());
    let expected = matches!(
        code,
        Code::Timeout | Code::Connect | Code::Protocol | Code::Redirects
    );
    assert!(expected, "{words}: {}", show(reply.view()));
}

/// Whether a command begins with these words, in any case.
pub fn is_command(command: &Command, words: &str) -> bool {
    let words = support::words::split(words).unwrap();
    command.len() >= words.len()
        && words
            .iter()
            .zip(command)
            .all(|(word, arg)| word.eq_ignore_ascii_case(arg))
}

/// A key of this shard of a `FakeCluster` or a `Cluster` with `shards` equal parts; each `n` gives another key.
pub fn key_of(shard: usize, shards: usize, n: usize) -> String {
    (0..)
        .map(|i| format!("k{n}:{i}"))
        .find(|key| usize::from(support::slot_of(key.as_bytes())) * shards / 16384 == shard)
        .unwrap()
}
