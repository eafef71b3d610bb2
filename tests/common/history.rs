//! Distinguishable writes during a fault, and checks that each ran as often as its caller was told.
#![allow(dead_code)] // Each test program uses a part of it.

use super::shared::{SharedCluster, shared};
use super::{code, is_sent, show};
use rediscluster::cluster::{Client, Pipeline};
use rediscluster::error::Code;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Cluster, Reply, Role, slot_of};

/// A writer's pause between two calls.
const PACE: Duration = Duration::from_micros(500);

/// How a thread sends its commands.
#[derive(Clone, Copy, Debug)]
pub enum WriteMode {
    /// One command per call.
    Single,
    /// A pipeline of this many commands.
    Pipeline(usize),
    /// A transaction of this many commands.
    Atomic(usize),
    /// A transaction of one command, sent step by step on a pinned handle.
    Pinned,
}

/// What the callers were told about the tokens that they appended to lists.
#[derive(Debug, Default)]
pub struct History {
    /// Acknowledged tokens, in the order of each thread.
    pub acknowledged: Vec<String>,
    /// Tokens that were not sent, by `rdc_reply_sent`.
    pub unsent: Vec<String>,
    /// Tokens that may have been executed.
    pub uncertain: Vec<String>,
    /// Tokens that a server refused.
    pub refused: Vec<String>,
    /// Number of errors by code, with one full text of each.
    pub errors: BTreeMap<&'static str, (usize, String)>,
    /// The longest call, measured by a [`Stopwatch`].
    pub slowest: Duration,
}

impl History {
    pub fn merge(&mut self, other: History) {
        self.acknowledged.extend(other.acknowledged);
        self.unsent.extend(other.unsent);
        self.uncertain.extend(other.uncertain);
        self.refused.extend(other.refused);
        self.slowest = self.slowest.max(other.slowest);
        for (name, (count, text)) in other.errors {
            self.errors.entry(name).or_insert((0, text)).0 += count;
        }
    }

    fn record(&mut self, token: String, view: rediscluster::resp::View<'_>) {
        match code(view) {
            Code::Ok => return self.acknowledged.push(token),
            Code::Server => self.refused.push(token),
            _ if is_sent(view) => self.uncertain.push(token),
            _ => self.unsent.push(token),
        }
        let name = code(view).name();
        self.errors.entry(name).or_insert_with(|| (0, show(view))).0 += 1;
    }

    /// Fails if there was an error with any other code.
    #[track_caller]
    pub fn assert_errors_among(&self, what: &str, codes: &[Code]) {
        for (name, (count, text)) in &self.errors {
            let expected = codes.iter().any(|code| code.name() == *name);
            assert!(expected, "{what}: {count} {name}: {text}");
        }
    }

    /// Fails if a call took longer than its timeout plus 50 ms.
    #[track_caller]
    pub fn assert_calls_within(&self, what: &str, ms: u64) {
        let most = Duration::from_millis(ms + 50);
        assert!(self.slowest < most, "{what}: {:?}", self.slowest);
    }

    pub fn print(&self, what: &str) {
        let errors: Vec<String> = self
            .errors
            .iter()
            .map(|(n, (c, _))| format!("{c} {n}"))
            .collect();
        println!(
            "{what}: {} acknowledged, {} uncertain, {} unsent, {} refused; slowest call {:?}; {}",
            self.acknowledged.len(),
            self.uncertain.len(),
            self.unsent.len(),
            self.refused.len(),
            self.slowest,
            errors.join(", ")
        );
    }
}

/// Elapsed time without the time that this thread waited for a processor.
pub struct Stopwatch(Instant, Duration);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now(), Stopwatch::starved())
    }

    pub fn elapsed(&self) -> Duration {
        let all = self.0.elapsed();
        all.saturating_sub(Stopwatch::starved() - self.1)
    }

    fn starved() -> Duration {
        // The fields are: time on a processor, time waiting for one, time slices. Without the file nothing is
        // subtracted.
        let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let second = said.split_whitespace().nth(1).and_then(|n| n.parse().ok());
        Duration::from_nanos(second.unwrap_or(0))
    }
}

/// Starts `threads` writers that append tokens to lists until the flag is set. Each writer has its own lists, named
/// after `tags`, so that a list shows the order of one caller.
pub fn append_tokens(
    client: &Arc<Client>,
    tags: &[String],
    threads: usize,
    shape: WriteMode,
    finished: &AtomicBool,
) -> History {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut whole = History::default();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut history = History::default();
                    let me = NEXT.fetch_add(1, Ordering::Relaxed);
                    let mut n = 0usize;
                    let mut pins = HashMap::new();
                    let token = |n: usize| format!("token-{me:06}-{n:08}");
                    let list = |n: usize| format!("{{{}}}list{me}", tags[n % tags.len()]);
                    while !finished.load(Ordering::SeqCst) {
                        // Paced, so that every token can be looked up afterwards.
                        std::thread::sleep(PACE);
                        let began = Stopwatch::start();
                        match shape {
                            WriteMode::Single => {
                                n += 1;
                                let (key, value) = (list(n), token(n));
                                let reply = client
                                    .command(&[b"RPUSH", key.as_bytes(), value.as_bytes()])
                                    .whole();
                                history.slowest = history.slowest.max(began.elapsed());
                                history.record(value, reply.view());
                            }
                            WriteMode::Pinned => {
                                n += 1;
                                let (key, value) = (list(n), token(n));
                                let pin = pins
                                    .entry(tags[n % tags.len()].as_str())
                                    .or_insert_with_key(|tag| client.pin(tag.as_bytes()));
                                let mut run = |words: &[&[u8]]| {
                                    let began = Stopwatch::start();
                                    let reply = pin.command(words).whole();
                                    history.slowest = history.slowest.max(began.elapsed());
                                    reply
                                };
                                // Without a successful MULTI the next command would run outside a transaction.
                                let begun = run(&[b"MULTI"]);
                                if code(begun.view()) != Code::Ok {
                                    history.record(value, begun.view());
                                    continue;
                                }
                                run(&[b"RPUSH", key.as_bytes(), value.as_bytes()]);
                                let reply = run(&[b"EXEC"]);
                                let one = reply.view().elements().next();
                                history.record(value, one.unwrap_or(reply.view()));
                            }
                            WriteMode::Pipeline(size) | WriteMode::Atomic(size) => {
                                let atomic = matches!(shape, WriteMode::Atomic(_));
                                let mut pipeline = Pipeline::new(client.clone());
                                let first = n + 1;
                                for _ in 0..size {
                                    n += 1;
                                    let key = list(if atomic { first } else { n });
                                    pipeline.command(&[
                                        b"RPUSH",
                                        key.as_bytes(),
                                        token(n).as_bytes(),
                                    ]);
                                }
                                let reply = match atomic {
                                    true => pipeline.execute_atomic(),
                                    false => pipeline.execute(),
                                };
                                history.slowest = history.slowest.max(began.elapsed());
                                let view = reply.view();
                                if code(view) == Code::Ok {
                                    assert_eq!(view.len(), size, "{}", show(view));
                                    for (at, view) in view.elements().enumerate() {
                                        history.record(token(first + at), view);
                                    }
                                } else {
                                    for at in 0..size {
                                        history.record(token(first + at), view);
                                    }
                                }
                            }
                        }
                    }
                    history
                })
            })
            .collect();
        for one in all {
            whole.merge(one.join().unwrap());
        }
    });
    whole
}

/// Every token in the append-only files of all nodes: everything that ran on any node. A server writes the file before
/// it replies.
pub fn executed(cluster: &Cluster) -> HashSet<String> {
    let mut found = HashSet::new();
    visit(cluster.dir(), &mut |path| {
        if path.extension().is_some_and(|e| e == "aof") {
            let bytes = std::fs::read(path).unwrap_or_default();
            for at in memchr_all(&bytes, b"token-") {
                let end = (at + 21).min(bytes.len());
                found.insert(String::from_utf8_lossy(&bytes[at..end]).into_owned());
            }
        }
    });
    found
}

fn visit(dir: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => visit(&path, each),
            false => each(&path),
        }
    }
}

fn memchr_all(bytes: &[u8], word: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(word.len()).position(|w| w == word) {
        found.push(from + at);
        from += at + word.len();
    }
    found
}

/// The contents of the lists on the current primaries, by list.
pub fn stored(cluster: &Cluster) -> HashMap<String, Vec<String>> {
    let mut lists = HashMap::new();
    let nodes = cluster.nodes();
    for node in nodes.iter().filter(|n| n.role == Role::Primary) {
        let port = node.port;
        let keys = cluster.command(port, &["KEYS", "*list*"]).unwrap();
        for key in keys.elements().iter().map(Reply::text) {
            let read = || cluster.command(port, &["LRANGE", &key, "0", "-1"]).unwrap();
            let mut list = read();
            // On a busy machine nodes may call each other failed for a moment.
            while list.is_error() && list.text().starts_with("CLUSTERDOWN") {
                cluster.wait_healthy().unwrap();
                list = read();
            }
            if list.is_error() {
                panic!("{key} at {port}: {}", list.text());
            }
            let tokens = list.elements().iter().map(Reply::text).collect();
            assert!(
                lists.insert(key.clone(), tokens).is_none(),
                "{key} is on two primaries"
            );
        }
    }
    lists
}

/// Compares what the callers were told with what the servers did. With `lost`, a failover may have lost acknowledged
/// writes, as the servers' design allows; they must have been executed.
#[track_caller]
pub fn verify_history(cluster: &Cluster, history: &History, lost: bool, what: &str) {
    let executed = executed(cluster);
    let stored = stored(cluster);
    for token in &history.acknowledged {
        assert!(
            executed.contains(token),
            "{what}: {token} was acknowledged and has not run"
        );
    }
    for token in history.unsent.iter().chain(&history.refused) {
        assert!(
            !executed.contains(token),
            "{what}: {token} was reported as unsent or refused and has run"
        );
    }
    let mut seen = HashSet::new();
    let acknowledged: HashSet<&String> = history.acknowledged.iter().collect();
    for (list, tokens) in &stored {
        for token in tokens {
            assert!(seen.insert(token.clone()), "{what}: {token} ran twice");
        }
        // An uncertain write may run at any later time; all others run in the order of their caller.
        let sure: Vec<_> = tokens.iter().filter(|t| acknowledged.contains(t)).collect();
        if let Some(two) = sure.windows(2).find(|two| two[0] > two[1]) {
            panic!("{what}: {list} is out of order: {two:?}");
        }
    }
    if !lost {
        for token in &history.acknowledged {
            assert!(
                seen.contains(token),
                "{what}: {token} was acknowledged and is missing"
            );
        }
    }
}

/// Keys, `per_shard` in each of the three shards of a new cluster.
pub fn shard_tags(per_shard: usize) -> Vec<String> {
    (0..3 * per_shard)
        .map(|n| super::key_of(n % 3, 3, 100 + n))
        .collect()
}

/// A cluster whose append-only files keep every executed command as text.
pub fn recorded() -> support::ClusterBuilder {
    Cluster::builder()
        .replicas(1)
        .appendonly(true)
        .option("aof-use-rdb-preamble", "no")
        .option("aof-disable-auto-gc", "yes")
        .option("auto-aof-rewrite-percentage", "0")
        .option("rdbcompression", "no")
}

/// Such a cluster for all tests of a module; each test repairs it.
pub fn healthy_cluster(module: &'static str) -> SharedCluster {
    shared(module, recorded)
}

/// Latencies of reads of one key until the flag is set.
pub fn read_latencies(client: &Client, key: &str, finished: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !finished.load(Ordering::SeqCst) {
        let began = Instant::now();
        let reply = client.command(&[b"GET", key.as_bytes()]).whole();
        times.push(began.elapsed());
        assert_eq!(
            code(reply.view()),
            Code::Ok,
            "{key}: {}",
            show(reply.view())
        );
    }
    times.sort();
    times
}

/// As [`read_latencies`], with a pause between two reads, so that it does not disturb other measurements.
pub fn paced_reads(what: &str, client: &Client, key: &str, finished: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !finished.load(Ordering::SeqCst) {
        std::thread::sleep(PACE);
        let began = Stopwatch::start();
        let reply = client.command(&[b"GET", key.as_bytes()]).whole();
        times.push(began.elapsed());
        let view = reply.view();
        assert_eq!(code(view), Code::Ok, "{what}: {key}: {}", show(view));
    }
    times.sort();
    println!(
        "{what}: {} reads, p99 {:?}, the slowest {:?}",
        times.len(),
        p99(&times),
        times[times.len() - 1]
    );
    times
}

/// The 99th percentile.
pub fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

pub fn slot(tag: &str) -> u16 {
    slot_of(tag.as_bytes())
}
