//! Writes that can be told apart, while something goes wrong; and whether each ran as often as its
//! caller was told.
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
pub enum Shape {
    /// One after the other.
    Single,
    /// So many at once.
    Pipeline(usize),
    /// So many inside MULTI and EXEC.
    Atomic(usize),
    /// One inside MULTI and EXEC, said one by one on a pinned handle.
    Pinned,
}

/// What the callers were told of the tokens that they appended to lists.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Those that were acknowledged, in the order of each thread's own.
    pub acked: Vec<String>,
    /// Those that have never left, by `rdc_reply_sent`.
    pub unsent: Vec<String>,
    /// Those that may have run.
    pub doubtful: Vec<String>,
    /// Those to which a server said no.
    pub refused: Vec<String>,
    /// Errors by their code, and one of each in full.
    pub errors: BTreeMap<&'static str, (usize, String)>,
    /// The longest call, as a [`Watch`] has it.
    pub slowest: Duration,
}

impl Ledger {
    pub fn absorb(&mut self, other: Ledger) {
        self.acked.extend(other.acked);
        self.unsent.extend(other.unsent);
        self.doubtful.extend(other.doubtful);
        self.refused.extend(other.refused);
        self.slowest = self.slowest.max(other.slowest);
        for (name, (count, text)) in other.errors {
            self.errors.entry(name).or_insert((0, text)).0 += count;
        }
    }

    fn note(&mut self, token: String, view: rediscluster::resp::View<'_>) {
        match code(view) {
            Code::Ok => return self.acked.push(token),
            Code::Server => self.refused.push(token),
            _ if is_sent(view) => self.doubtful.push(token),
            _ => self.unsent.push(token),
        }
        let name = code(view).name();
        self.errors.entry(name).or_insert_with(|| (0, show(view))).0 += 1;
    }

    /// Fails if there was any error but of these kinds.
    #[track_caller]
    pub fn only(&self, what: &str, codes: &[Code]) {
        for (name, (count, text)) in &self.errors {
            let expected = codes.iter().any(|code| code.name() == *name);
            assert!(expected, "{what}: {count} {name}: {text}");
        }
    }

    /// Fails if a call took longer than its time and 50 ms.
    #[track_caller]
    pub fn within(&self, what: &str, ms: u64) {
        let most = Duration::from_millis(ms + 50);
        assert!(self.slowest < most, "{what}: {:?}", self.slowest);
    }

    pub fn say(&self, what: &str) {
        let errors: Vec<String> = self
            .errors
            .iter()
            .map(|(n, (c, _))| format!("{c} {n}"))
            .collect();
        println!(
            "{what}: {} acknowledged, {} in doubt, {} unsent, {} refused; the slowest call {:?}; {}",
            self.acked.len(),
            self.doubtful.len(),
            self.unsent.len(),
            self.refused.len(),
            self.slowest,
            errors.join(", ")
        );
    }
}

/// How long something takes, without the time for which this thread could have gone on and the machine had no processor
/// for it.
pub struct Watch(Instant, Duration);

impl Watch {
    pub fn start() -> Watch {
        Watch(Instant::now(), Watch::starved())
    }

    pub fn elapsed(&self) -> Duration {
        let all = self.0.elapsed();
        all.saturating_sub(Watch::starved() - self.1)
    }

    fn starved() -> Duration {
        // Time on a processor, time in line for one, and turns; where the kernel does not say, nothing is taken off.
        let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let second = said.split_whitespace().nth(1).and_then(|n| n.parse().ok());
        Duration::from_nanos(second.unwrap_or(0))
    }
}

/// Raises a flag however a test ends, so that the threads that look at it end too.
pub struct Raise<'a>(pub &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// So many threads of a shape append tokens to lists, until the flag is up. Each has lists of its
/// own, named for `tags`, so that the order in a list is that of one caller.
pub fn write(
    client: &Arc<Client>,
    tags: &[String],
    threads: usize,
    shape: Shape,
    over: &AtomicBool,
) -> Ledger {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut whole = Ledger::default();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut ledger = Ledger::default();
                    let me = NEXT.fetch_add(1, Ordering::Relaxed);
                    let mut n = 0usize;
                    let mut pins = HashMap::new();
                    let token = |n: usize| format!("token-{me:06}-{n:08}");
                    let list = |n: usize| format!("{{{}}}list{me}", tags[n % tags.len()]);
                    while !over.load(Ordering::SeqCst) {
                        // Not as many as can be, but over the whole time, so that they can all be looked up afterwards.
                        std::thread::sleep(PACE);
                        let began = Watch::start();
                        match shape {
                            Shape::Single => {
                                n += 1;
                                let (key, value) = (list(n), token(n));
                                let reply =
                                    client.command(&[b"RPUSH", key.as_bytes(), value.as_bytes()]);
                                ledger.slowest = ledger.slowest.max(began.elapsed());
                                ledger.note(value, reply.view());
                            }
                            Shape::Pinned => {
                                n += 1;
                                let (key, value) = (list(n), token(n));
                                let pin = pins
                                    .entry(tags[n % tags.len()].as_str())
                                    .or_insert_with_key(|tag| client.pin(tag.as_bytes()));
                                let mut say = |words: &[&[u8]]| {
                                    let began = Watch::start();
                                    let reply = pin.command(words);
                                    ledger.slowest = ledger.slowest.max(began.elapsed());
                                    reply
                                };
                                // Behind a MULTI that failed there is no transaction: what followed would run by itself.
                                let begun = say(&[b"MULTI"]);
                                if code(begun.view()) != Code::Ok {
                                    ledger.note(value, begun.view());
                                    continue;
                                }
                                say(&[b"RPUSH", key.as_bytes(), value.as_bytes()]);
                                let reply = say(&[b"EXEC"]);
                                let one = reply.view().elements().next();
                                ledger.note(value, one.unwrap_or(reply.view()));
                            }
                            Shape::Pipeline(size) | Shape::Atomic(size) => {
                                let atomic = matches!(shape, Shape::Atomic(_));
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
                                ledger.slowest = ledger.slowest.max(began.elapsed());
                                let view = reply.view();
                                if code(view) == Code::Ok {
                                    assert_eq!(view.len(), size, "{}", show(view));
                                    for (at, view) in view.elements().enumerate() {
                                        ledger.note(token(first + at), view);
                                    }
                                } else {
                                    for at in 0..size {
                                        ledger.note(token(first + at), view);
                                    }
                                }
                            }
                        }
                    }
                    ledger
                })
            })
            .collect();
        for one in all {
            whole.absorb(one.join().unwrap());
        }
    });
    whole
}

/// Every token in the append-only files of all nodes: what has run anywhere, whatever became of it. The server writes
/// there before it replies.
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

/// What the lists hold at the primaries that serve them now, by list.
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
                "{key} is at two primaries"
            );
        }
    }
    lists
}

/// Compares what the callers were told with what the servers did. `lost` says whether acknowledged writes may be lost to a
/// failover, as they are by the servers' own design; they did run.
#[track_caller]
pub fn audit(cluster: &Cluster, ledger: &Ledger, lost: bool, what: &str) {
    let executed = executed(cluster);
    let stored = stored(cluster);
    for token in &ledger.acked {
        assert!(
            executed.contains(token),
            "{what}: {token} was acknowledged and has not run"
        );
    }
    for token in ledger.unsent.iter().chain(&ledger.refused) {
        assert!(
            !executed.contains(token),
            "{what}: {token} was called unsent or refused and has run"
        );
    }
    let mut seen = HashSet::new();
    let acked: HashSet<&String> = ledger.acked.iter().collect();
    for (list, tokens) in &stored {
        for token in tokens {
            assert!(seen.insert(token.clone()), "{what}: {token} ran twice");
        }
        // What is in doubt may run whenever the server comes to it; all else runs in its caller's order.
        let sure: Vec<_> = tokens.iter().filter(|t| acked.contains(t)).collect();
        if let Some(two) = sure.windows(2).find(|two| two[0] > two[1]) {
            panic!("{what}: {list} is out of order: {two:?}");
        }
    }
    if !lost {
        for token in &ledger.acked {
            assert!(
                seen.contains(token),
                "{what}: {token} was acknowledged and is not there"
            );
        }
    }
}

/// A key of each of the shards that a cluster of three was made with.
pub fn tags(per_shard: usize) -> Vec<String> {
    (0..3 * per_shard)
        .map(|n| super::key_of(n % 3, 3, 100 + n))
        .collect()
}

/// A cluster whose append-only files keep all that has ever run, as text.
pub fn ledgered() -> support::ClusterBuilder {
    Cluster::builder()
        .replicas(1)
        .appendonly(true)
        .option("aof-use-rdb-preamble", "no")
        .option("aof-disable-auto-gc", "yes")
        .option("auto-aof-rewrite-percentage", "0")
        .option("rdbcompression", "no")
}

/// Such a cluster for all tests of a module; each leaves it mended.
pub fn healthy(module: &'static str) -> SharedCluster {
    shared(module, ledgered)
}

/// Latencies of reads of one key, while the flag is down.
pub fn latencies(client: &Client, key: &str, over: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let began = Instant::now();
        let reply = client.command(&[b"GET", key.as_bytes()]);
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

/// As [`latencies`], with a pause between two reads: for beside others who are measured.
pub fn reads(what: &str, client: &Client, key: &str, over: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(PACE);
        let began = Watch::start();
        let reply = client.command(&[b"GET", key.as_bytes()]);
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

/// The 99th of a hundred.
pub fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

pub fn slot(tag: &str) -> u16 {
    slot_of(tag.as_bytes())
}
