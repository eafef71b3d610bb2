//! Read consistency on real servers during faults: paused replication, a replica that restarts with old data,
//! failovers, migrations.

use crate::common::set_on_drop::SetOnDrop;
use crate::common::{client, key_of, run, stat, wait_for};
use crate::redis;
use rediscluster::cluster::Client;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Cluster, Failover, slot_of};

const MS: Duration = Duration::from_millis(1);
const BOUND_MS: u64 = 400;

/// A counter in the cluster that one thread increments, with the time at which each number was acknowledged.
struct Count {
    key: String,
    acknowledged: Mutex<Vec<Instant>>,
}

impl Count {
    fn new(client: &Client, key: String) -> Count {
        assert_eq!(run(client, &format!("SET {key} 0")), "OK");
        Count {
            key,
            acknowledged: Mutex::new(vec![Instant::now()]),
        }
    }

    /// Increments until the flag is set. After an uncertain result it reads the counter.
    fn count_up(&self, client: &Client, finished: &AtomicBool) {
        while !finished.load(Ordering::SeqCst) {
            let got = run(client, &format!("INCR {}", self.key));
            if let Ok(number) = got.parse::<usize>() {
                let time = Instant::now();
                self.acknowledged.lock().unwrap().resize(number + 1, time);
            }
        }
    }

    /// The last number that was acknowledged by this time.
    fn at(&self, time: Instant) -> u64 {
        let acknowledged = self.acknowledged.lock().unwrap();
        (acknowledged.partition_point(|then| *then <= time) as u64).saturating_sub(1)
    }
}

/// The results of a reader.
#[derive(Debug, Default)]
struct Observed {
    reads: usize,
    failed: Vec<String>,
    wrong: Vec<String>,
}

/// Reads the number repeatedly; `least` returns the lowest number that is allowed when a read begins.
fn read_numbers(
    client: &Client,
    key: &str,
    finished: &AtomicBool,
    least: impl Fn() -> u64,
    saw: impl Fn(u64),
) -> Observed {
    let mut observed = Observed::default();
    while !finished.load(Ordering::SeqCst) {
        let limit = least();
        let got = run(client, &format!("GET {key}"));
        observed.reads += 1;
        match got.parse::<u64>() {
            Ok(number) if number < limit => observed.wrong.push(format!("{number} after {limit}")),
            Ok(number) => saw(number),
            Err(_) if got == "nil" => observed.wrong.push("nil".to_string()),
            Err(_) => observed.failed.push(got),
        }
    }
    observed
}

/// Reads through these handles, each with its consistency options, while `faults` runs.
fn assert_consistency_holds(cluster: &Cluster, shard: usize, faults: &dyn Fn(&str)) {
    let plain = client(&cluster.url());
    let name = |n: usize| key_of(shard, 3, n);
    // All keys are in one slot, so that every fault affects all of them.
    let tag = name(1);
    let counts: Vec<Count> = (0..3)
        .map(|n| Count::new(&plain, format!("{{{tag}}}{n}")))
        .collect();
    cluster.wait_replicas_in_sync().unwrap();
    let from = |mode: &str| plain.with("read_from", mode);
    let bounded = from("replica").with("max_staleness_ms", &BOUND_MS.to_string());
    let own = from("replica").with("read_your_writes", "yes");
    let monotonic = [from("any"), from("replica")].map(|c| c.with("monotonic", "yes"));
    let finished = AtomicBool::new(false);
    let seen = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        let mut watching = Vec::new();
        for count in &counts[..2] {
            scope.spawn(|| count.count_up(&plain, &finished));
        }
        let (by_bound, by_seen) = (&counts[0], &counts[1]);
        watching.push((
            "max_staleness_ms",
            scope.spawn(|| {
                let least = || by_bound.at(Instant::now() - BOUND_MS as u32 * MS);
                read_numbers(&bounded, &by_bound.key, &finished, least, |_| {})
            }),
        ));
        for client in &monotonic {
            // Neither handle may return older data than the other has returned.
            watching.push((
                "monotonic",
                scope.spawn(|| {
                    let least = || seen.load(Ordering::SeqCst);
                    read_numbers(client, &by_seen.key, &finished, least, |number| {
                        seen.fetch_max(number, Ordering::SeqCst);
                    })
                }),
            ));
        }
        watching.push((
            "read_your_writes",
            scope.spawn(|| {
                let key = &counts[2].key;
                let written = AtomicU64::new(0);
                let last = Mutex::new(Instant::now());
                // The pause between two writes lets a replica be proven to have the first.
                let write = || {
                    let mut last = last.lock().unwrap();
                    if last.elapsed() > 150 * MS {
                        let got = run(&plain, &format!("INCR {key}"));
                        if let Ok(number) = got.parse() {
                            written.store(number, Ordering::SeqCst);
                        }
                        *last = Instant::now();
                    }
                    written.load(Ordering::SeqCst)
                };
                read_numbers(&own, key, &finished, write, |_| {})
            }),
        ));
        faults(&counts[0].key);
        finished.store(true, Ordering::SeqCst);
        for (promise, thread) in watching {
            let observed = thread.join().unwrap();
            println!(
                "{promise}: {} reads, {} failed",
                observed.reads,
                observed.failed.len()
            );
            let wrong = observed.wrong.len();
            assert!(
                wrong == 0,
                "{promise} broken {wrong} times: {:?}",
                &observed.wrong[..wrong.min(9)]
            );
            assert!(
                observed.failed.is_empty(),
                "{promise}: {:?}",
                observed.failed
            );
            assert!(
                observed.reads > 300,
                "{promise}: only {} reads",
                observed.reads
            );
        }
    });
    println!(
        "{} from replicas, {} from primaries, {} probes, {} late, {} verified",
        stat(&plain, "replica_reads"),
        stat(&plain, "primary_reads"),
        stat(&plain, "lag_probes"),
        stat(&plain, "reads_stale_rejected"),
        stat(&plain, "reads_rechecked")
    );
    assert!(stat(&plain, "replica_reads") > 100);
}

fn gets(cluster: &Cluster, port: u16) -> u64 {
    cluster.commandstats(port, "get").unwrap()
}

fn pause(ms: u32) {
    let end = Instant::now() + ms * MS;
    wait_for("the time is over", || Instant::now() > end);
}

#[test]
fn bounded_reads_leave_paused_replica_and_return() {
    let cluster = &redis();
    let plain = client(&cluster.url());
    let count = Count::new(&plain, key_of(0, 3, 7));
    let bounded = plain
        .with("read_from", "replica")
        .with("max_staleness_ms", &BOUND_MS.to_string());
    let replica = cluster.replicas_of(slot_of(count.key.as_bytes())).unwrap()[0];
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        scope.spawn(|| count.count_up(&plain, &finished));
        let watching: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let least = || count.at(Instant::now() - BOUND_MS as u32 * MS);
                    read_numbers(&bounded, &count.key, &finished, least, |_| {})
                })
            })
            .collect();
        let before = gets(cluster, replica);
        wait_for("the replica is read from", || {
            gets(cluster, replica) > before + 50
        });
        cluster.pause_replication(replica).unwrap();
        pause(BOUND_MS as u32);
        let then = gets(cluster, replica);
        pause(600);
        assert_eq!(
            gets(cluster, replica),
            then,
            "still read from after the bound"
        );
        assert_eq!(crate::field(&bounded, replica, "link"), "down");
        cluster.resume_replication(replica).unwrap();
        wait_for("the replica is read from again", || {
            gets(cluster, replica) > then + 50
        });
        finished.store(true, Ordering::SeqCst);
        for thread in watching {
            let observed = thread.join().unwrap();
            assert!(observed.wrong.is_empty(), "{:?}", observed.wrong);
            assert!(observed.failed.is_empty(), "{:?}", observed.failed);
        }
    });
}

#[test]
fn reads_without_consistency_option_may_go_back() {
    let cluster = &redis();
    let plain = client(&cluster.url());
    let key = key_of(1, 3, 8);
    assert_eq!(run(&plain, &format!("SET {key} old")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    let replica = cluster.replicas_of(slot_of(key.as_bytes())).unwrap()[0];
    cluster.pause_replication(replica).unwrap();
    assert_eq!(run(&plain, &format!("SET {key} new")), "OK");
    let any = plain.with("read_from", "any");
    let read = |client: &Client| -> Vec<String> {
        (0..60)
            .map(|_| run(client, &format!("GET {key}")))
            .collect()
    };
    let back = |got: &[String]| got.windows(2).any(|two| two == ["new", "old"]);
    assert!(back(&read(&any)), "replicas returned old data");
    let monotonic = any.with("monotonic", "yes");
    let got = read(&monotonic);
    assert!(!back(&got), "{got:?}");
    let own = any.with("read_your_writes", "yes");
    assert!(read(&own).iter().all(|got| got == "new"));
    let bounded = any.with("max_staleness_ms", "100");
    assert!(read(&bounded).iter().all(|got| got == "new"));
    cluster.resume_replication(replica).unwrap();
}

#[test]
fn consistency_holds_when_replica_restarts_with_old_data() {
    let cluster = &redis();
    assert_consistency_holds(cluster, 0, &|key| {
        let slot = slot_of(key.as_bytes());
        let replica = cluster.replicas_of(slot).unwrap()[0];
        // The data that it will restart with.
        assert_eq!(cluster.command(replica, &["SAVE"]).unwrap().text(), "OK");
        pause(300);
        cluster.pause_replication(replica).unwrap();
        pause(700);
        cluster.resume_replication(replica).unwrap();
        pause(300);
        cluster.restart(replica).unwrap();
        pause(700);
        cluster.wait_healthy().unwrap();
    });
}

#[test]
fn consistency_holds_across_failovers() {
    let cluster = &redis();
    assert_consistency_holds(cluster, 1, &|key| {
        let slot = slot_of(key.as_bytes());
        for _ in 0..3 {
            pause(300);
            let replica = cluster.replicas_of(slot).unwrap()[0];
            cluster.failover(replica, Failover::Plain).unwrap();
        }
        pause(500);
        cluster.wait_healthy().unwrap();
    });
}

#[test]
fn consistency_holds_while_slots_migrate() {
    let cluster = &redis();
    assert_consistency_holds(cluster, 2, &|key| {
        let slot = slot_of(key.as_bytes());
        let home = cluster.primary_of(slot).unwrap();
        let away = cluster.primary_of(0).unwrap();
        for to in [away, home, away, home] {
            cluster.begin_migration(slot, to).unwrap();
            pause(100);
            while !cluster.move_some_keys(slot, to, 1).unwrap().is_empty() {
                pause(50);
            }
            cluster.finish_migration(slot, to).unwrap();
            pause(200);
        }
    });
}
