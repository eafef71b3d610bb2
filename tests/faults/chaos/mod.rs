//! Many faults at once: nodes are killed, stopped and replaced, slots move, replicas take over, connections break and
//! permissions change, while threads, forked children and signal handlers of a C program, tests/c/chaos.c, use one
//! client. Afterwards each command is compared with the append-only files of all servers.
//!
//! It runs for 8 s; `make chaos` runs 600 s, or CHAOS_SECONDS, in runs of at most 30 s, each with a cluster of its own.
//! CHAOS_SEED sets the faults; an even one runs Redis, an odd one Valkey, unless RDC_SERVER names a server.

mod check;
mod evidence;
mod faults;
mod journal;

use crate::common::history::recorded;
use crate::common::newest;
use crate::common::serial::serial;
use crate::common::set_on_drop::SetOnDrop;
use crate::programs::{ROOT, compile, scratch, succeed};
use crate::soak::{Running, number};
use check::{Run, Violation};
use evidence::Evidence;
use faults::Target;
use journal::Journals;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};
use support::find::{self, Found};
use support::{Chaos, Cluster, Proxy, Reply, slot_of, wait_until};

const SHARDS: usize = 3;
/// The longest run with one cluster.
const RUN: Duration = Duration::from_secs(30);
/// A time without faults, before and after them.
const CALM: Duration = Duration::from_millis(1500);
/// Broken connections are noticed by their next use.
const GRACE: Duration = Duration::from_millis(1500);
/// The user of the program and the password.
const USER: (&str, &str) = ("app", "chaos");
/// The hash tags whose slots move, and those whose slots do not.
const MOVING: [&str; 12] = [
    "m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9", "m10", "m11",
];
const STAYING: [&str; 12] = [
    "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11",
];

/// Microseconds since 1970: the program and the test compare their times.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_micros() as i64
}

/// One whole run. Returns what it violated.
fn run(program: &Path, server: Found, seed: u64, time: Duration) -> Vec<Violation> {
    println!("CHAOS_SEED={seed}: {server}, {time:?}");
    let (cluster, proxies, url) = start(server, seed);
    let nodes = cluster.ports().len();
    let target = Target {
        busy: (0..nodes).map(|_| Mutex::new(())).collect(),
        proxies,
        windows: Mutex::default(),
        unsettled: Mutex::default(),
        finished: AtomicBool::new(false),
        cluster,
    };
    let folder = scratch("chaos-journals");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| target.watch_replicas(&over));
        scope.spawn(|| evidence::keep_discarded_files(target.cluster.dir(), nodes, &over));
        let _over = SetOnDrop(&over);
        break_under_load(program, &url, &folder, &target, (seed, time));
    });
    let run = Run {
        stored: stored(&target.cluster),
        journals: Journals::read(&folder),
        evidence: Evidence::read(target.cluster.dir(), nodes),
        windows: std::mem::take(&mut *target.windows.lock().unwrap()),
    };
    print_summary(&run);
    let found = run.violations();
    if !found.is_empty() {
        let kept = scratch("chaos-servers");
        succeed(
            Command::new("cp")
                .arg("-r")
                .arg(target.cluster.dir())
                .arg(&kept),
        );
        println!("  the files of the servers are in {}", kept.display());
    }
    found
}

/// Runs the program, and the faults for this time, between two times without faults.
fn break_under_load(
    program: &Path,
    url: &str,
    folder: &Path,
    target: &Target,
    (seed, time): (u64, Duration),
) {
    let state = File::create(folder.join("state")).unwrap();
    state.set_len(4096).unwrap();
    let tell = |word: u64, value: u32| state.write_all_at(&value.to_ne_bytes(), word * 4).unwrap();
    let running = Command::new(program)
        .env("RDC_URL", url)
        .env("RDC_CHAOS_DIR", folder)
        .env("RDC_SEED", seed.to_string())
        .spawn();
    let mut running = Running(Some(running.unwrap()));
    std::thread::sleep(CALM);
    tell(0, 1);
    target.run(seed, time);
    let broken = Instant::now();
    wait_recovered(target);
    println!("  recovered after {:?}", broken.elapsed());
    std::thread::sleep(GRACE);
    tell(0, 2);
    std::thread::sleep(CALM);
    tell(1, 1);
    if !wait_until(|| running.has_ended(), Duration::from_secs(90)) {
        print_stacks(&running);
        panic!("the program does not end");
    }
    let status = running.0.take().unwrap().wait().unwrap();
    assert!(status.success(), "the program failed: {status}");
}

/// Where the threads of a program that hangs are, if there is a debugger.
fn print_stacks(running: &Running) {
    let pid = running.0.as_ref().map_or(0, |child| child.id()).to_string();
    let words = ["-p", &pid, "-batch", "-ex", "thread apply all bt"];
    if let Ok(output) = Command::new("gdb").args(words).output() {
        println!("{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// A cluster, proxies to every second node, and the URL for the program.
fn start(server: Found, seed: u64) -> (Cluster, Vec<Proxy>, String) {
    let (user, password) = USER;
    let cluster = recorded()
        .server(server)
        .node_timeout_ms(2000)
        .option("user", format!("{user} on >{password} ~* &* +@all"))
        .option("cluster-allow-replica-migration", "no")
        .option("repl-backlog-size", "64mb")
        .start()
        .unwrap();
    for tag in MOVING.iter().chain(&STAYING) {
        let port = cluster.primary_of(slot_of(tag.as_bytes())).unwrap();
        let key = format!("static:{{{tag}}}");
        let set = cluster.command(port, &["SET", &key, &key]).unwrap();
        assert!(!set.is_error(), "{}", set.text());
    }
    let (large, port) = ("x".repeat(100_000), cluster.primary_of(slot_of(b"s0")));
    let set = cluster.command(port.unwrap(), &["SET", "large:{s0}", &large]);
    assert!(!set.unwrap().is_error());
    cluster.wait_replicas_in_sync().unwrap();
    let ports = cluster.ports();
    let behind: Vec<u16> = ports.into_iter().step_by(2).collect();
    let proxy = |port: &u16| Proxy::start(*port, Chaos::default(), seed ^ u64::from(*port));
    let proxies: Vec<Proxy> = behind.iter().map(proxy).collect();
    let map: Vec<String> = behind
        .iter()
        .zip(&proxies)
        .map(|(port, proxy)| format!("127.0.0.1:{port}=127.0.0.1:{}", proxy.port()))
        .collect();
    let seeds = cluster.seeds();
    let map = map.join(",");
    let url = format!("redis://{user}:{password}@{seeds}?timeout_ms=3000&address_map={map}");
    (cluster, proxies, url)
}

/// Repairs what interrupted faults have left, and waits until the cluster is whole and accepts writes.
fn wait_recovered(target: &Target) {
    let cluster = &target.cluster;
    target.restore_permissions(&cluster.ports());
    // A node takes no notice of the new owner of a slot that it is importing, and what a node has begun to import may be
    // known only after it has heard of that owner.
    let settle = || {
        for tag in MOVING {
            target.settle(slot_of(tag.as_bytes()));
        }
    };
    let is_settled = wait_until(
        || {
            settle();
            cluster.agrees()
        },
        Duration::from_secs(30),
    );
    assert!(is_settled, "the nodes do not agree");
    settle();
    cluster.wait_healthy().unwrap();
    // A primary that was asked for a manual failover, which a later fault has interrupted, holds writes back for 5 s.
    let accepts_writes = |tag: &str| {
        let key = format!("recovered:{{{tag}}}");
        let port = cluster.primary_of(slot_of(tag.as_bytes()));
        let reply = port.and_then(|port| cluster.command(port, &["SET", &key, ""]));
        reply.is_ok_and(|reply| !reply.is_error())
    };
    let mut tags: Vec<&str> = MOVING.iter().chain(&STAYING).copied().collect();
    let are_accepted = wait_until(
        || {
            tags.retain(|tag| !accepts_writes(tag));
            tags.is_empty()
        },
        Duration::from_secs(30),
    );
    assert!(are_accepted, "writes are not accepted: {tags:?}");
}

/// The tokens of all streams, at the owners of their slots.
fn stored(cluster: &Cluster) -> HashSet<String> {
    let mut tokens = HashSet::new();
    for tag in MOVING.iter().chain(&STAYING) {
        let port = cluster.primary_of(slot_of(tag.as_bytes())).unwrap();
        let key = format!("stream:{{{tag}}}");
        let entries = cluster.command(port, &["XRANGE", &key, "-", "+"]).unwrap();
        assert!(!entries.is_error(), "{key}: {}", entries.text());
        let token = |entry: &Reply| entry.elements()[1].elements()[1].text();
        tokens.extend(entries.elements().iter().map(token));
    }
    tokens
}

fn print_summary(run: &Run) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for write in run.journals.writes.values() {
        *counts.entry(format!("{:?}", write.verdict)).or_default() += 1;
    }
    for outcome in run.journals.outcomes.iter().filter(|o| o.code != 0) {
        let code = rediscluster::error::Code::from_number(outcome.code);
        let name = code.map_or("?", |code| code.name());
        *counts
            .entry(format!("{name} sent={}", outcome.sent as i32))
            .or_default() += 1;
    }
    let late = run.journals.outcomes.iter().map(|o| o.late).max();
    println!(
        "  {} writes, {} executed, {} transactions, {} stored; {counts:?}; longest call: {} us beyond its limit",
        run.journals.writes.len(),
        run.evidence.tokens.len(),
        run.evidence.transactions.len(),
        run.stored.len(),
        late.unwrap_or(0),
    );
}

/// Their number by kind, and some of each.
fn print_violations(found: &[Violation]) {
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for violation in found {
        let of_kind = kinds.entry(&violation.kind).or_default();
        of_kind.push(&violation.details);
    }
    for (kind, all) in kinds {
        println!("  {} times: {kind}", all.len());
        for details in all.iter().take(5) {
            println!("    {details:.1000}");
        }
    }
}

fn server_for(seed: u64) -> Found {
    match std::env::var_os("RDC_SERVER").is_none() && seed % 2 == 1 {
        true => newest("valkey"),
        false => find::server().unwrap(),
    }
}

#[test]
fn simultaneous_faults_violate_no_guarantee() {
    let _serial = serial();
    let mut left = Duration::from_secs(number("CHAOS_SECONDS", 8));
    let mut seed = number("CHAOS_SEED", u64::from(std::process::id()));
    let program = scratch("chaos").join("program");
    compile(&Path::new(ROOT).join("tests/c/chaos.c"), &program);
    while !left.is_zero() {
        let time = left.min(RUN);
        let found = run(&program, server_for(seed), seed, time);
        print_violations(&found);
        let violations = found.len();
        assert_eq!(violations, 0, "CHAOS_SEED={seed}: violations");
        left -= time;
        seed += 1;
    }
}
