//! A node of a real shard hangs, dies or hands over: reads never fail, writes return after the promotion.

use crate::common::shared::{SharedCluster, shared};
use crate::common::{SOON, ask, client, code, is_sent, key_of, say, say_all, show, timed, until};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use support::{Cluster, Failover, slot_of};

/// The tests break this cluster; each mends it.
fn cluster() -> SharedCluster {
    shared(module_path!(), Cluster::builder)
}

const MS: Duration = Duration::from_millis(1);

/// A thread that reads one key of a shard, and what it met.
struct Watch {
    reads: usize,
    slowest: Duration,
    failures: Vec<String>,
}

fn watch(client: &Client, words: &str, over: &AtomicBool) -> Watch {
    let mut watch = Watch {
        reads: 0,
        slowest: Duration::ZERO,
        failures: Vec::new(),
    };
    while !over.load(Ordering::SeqCst) {
        let (reply, time) = timed(|| ask(client, words));
        watch.reads += 1;
        watch.slowest = watch.slowest.max(time);
        if code(reply.view()) != Code::Ok {
            watch.failures.push(show(reply.view()));
        }
    }
    watch
}

#[test]
fn reads_of_a_read_only_client_never_fail_whichever_node_of_a_shard_is_lost() {
    let cluster = &cluster();
    let client = client(&cluster.url());
    let key = key_of(0, 3, 1);
    assert_eq!(say(&client, &format!("SET {key} v")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    let slot = slot_of(key.as_bytes());
    let get = format!("GET {key}");
    let readonly = client.with("attempt_timeout_ms", "300").readonly();
    for (what, of_primary, kill) in [
        ("a replica that hangs", false, false),
        ("a replica that dies", false, true),
        ("a primary that hangs", true, false),
        ("a primary that dies", true, true),
    ] {
        let port = match of_primary {
            true => cluster.primary_of(slot).unwrap(),
            false => cluster.replicas_of(slot).unwrap()[0],
        };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| watch(&readonly, &get, &over)))
                .collect();
            match kill {
                true => cluster.kill(port).unwrap(),
                false => cluster.stop(port).unwrap(),
            }
            if of_primary {
                until("a replica is promoted", || {
                    cluster.primary_of(slot).is_ok_and(|p| p != port)
                });
            } else {
                // As long as it takes to be tried again and again.
                let end = Instant::now() + 1500 * MS;
                until("a while", || Instant::now() > end);
            }
            over.store(true, Ordering::SeqCst);
            for thread in threads {
                let watch = thread.join().unwrap();
                println!(
                    "{what}: {} reads, the slowest {:?}",
                    watch.reads, watch.slowest
                );
                assert!(watch.failures.is_empty(), "{what}: {:?}", watch.failures);
                assert!(watch.reads > 20, "{what}: {} reads", watch.reads);
                // Without its primary a replica says CLUSTERDOWN for a while before it is promoted.
                let most = if of_primary { 2500 } else { 800 };
                assert!(watch.slowest < most * MS, "{what}: {:?}", watch.slowest);
            }
        });
        match kill {
            true => cluster.restart(port).unwrap(),
            false => cluster.cont(port).unwrap(),
        }
        cluster.wait_healthy().unwrap();
        cluster.wait_replicas_in_sync().unwrap();
    }
}

#[test]
fn writes_come_back_when_a_replica_has_been_promoted_and_no_call_outlives_its_time() {
    let cluster = &cluster();
    let client = client(&(cluster.url() + "?timeout_ms=1000&attempt_timeout_ms=100"));
    let mut latest = [Duration::MAX; 2];
    // On a busy machine it is the servers that are late: the best of four.
    for round in 0..8 {
        let (which, what, kill) = [(0, "dies", true), (1, "hangs", false)][round % 2];
        if latest[which] < 300 * MS {
            continue;
        }
        let key = key_of(1, 3, 1);
        let slot = slot_of(key.as_bytes());
        let counter = format!("{{{key}}}n{round}");
        let before: u64 = say(&client, &format!("INCR {counter}")).parse().unwrap();
        let (mut acked, mut doubtful) = (0u64, 0u64);
        let old = cluster.primary_of(slot).unwrap();
        let promoted = OnceLock::new();
        let mut back = None;
        std::thread::scope(|scope| {
            match kill {
                true => cluster.kill(old).unwrap(),
                false => cluster.stop(old).unwrap(),
            }
            scope.spawn(|| {
                until("a promotion", || {
                    cluster.primary_of(slot).is_ok_and(|p| p != old)
                });
                promoted.set(Instant::now()).unwrap();
            });
            let end = Instant::now() + SOON;
            while back.is_none() && Instant::now() < end {
                let (reply, time) = timed(|| ask(&client, &format!("INCR {counter}")));
                assert!(time < 1100 * MS, "{what}: {time:?}: {}", show(reply.view()));
                match (code(reply.view()), is_sent(reply.view())) {
                    (Code::Ok, _) => {
                        acked += 1;
                        back = Some(Instant::now());
                    }
                    (_, sent) => doubtful += u64::from(sent),
                }
            }
        });
        let late = back
            .unwrap()
            .saturating_duration_since(*promoted.get().unwrap());
        println!("the primary {what}: writes are back {late:?} after the promotion");
        latest[which] = latest[which].min(late);
        let now: u64 = say(&client, &format!("GET {counter}")).parse().unwrap();
        assert!(
            before + acked <= now + 1 && now <= before + acked + doubtful,
            "{before} + {acked} ({doubtful}): {now}"
        );
        match kill {
            true => cluster.restart(old).unwrap(),
            false => cluster.cont(old).unwrap(),
        }
        cluster.wait_healthy().unwrap();
    }
    assert!(
        latest.iter().all(|late| *late < 300 * MS),
        "{latest:?} too late"
    );
}

#[test]
fn a_failover_that_was_asked_for_costs_no_call_its_success() {
    let cluster = &cluster();
    let client = Arc::new(client(&cluster.url()));
    let readonly = client.readonly();
    let key = key_of(2, 3, 1);
    let slot = slot_of(key.as_bytes());
    for (n, mode) in [Failover::Plain, Failover::Force, Failover::Takeover]
        .into_iter()
        .enumerate()
    {
        let over = AtomicBool::new(false);
        let incr = format!("INCR {{{key}}}failover{n}");
        let get = format!("GET {{{key}}}failover{n}");
        std::thread::scope(|scope| {
            let threads: Vec<_> = [
                (&*client, &incr),
                (&*client, &incr),
                (&*client, &get),
                (&readonly, &get),
            ]
            .map(|(client, words)| {
                let over = &over;
                scope.spawn(move || watch(client, words, over))
            })
            .into_iter()
            .collect();
            // In the order of the caller: each of a pipeline sees what those before it have done.
            let piping = scope.spawn(|| {
                let incrs = vec![format!("INCR {{{key}}}piped{n}"); 20];
                let mut count = 0u64;
                while !over.load(Ordering::SeqCst) {
                    for got in say_all(&client, &incrs) {
                        let n = got.parse::<u64>();
                        let n = n.unwrap_or_else(|_| panic!("{mode:?}: {got}"));
                        // Only where the two nodes act in concert is nothing lost that was acknowledged.
                        let follows = n == count + 1 || mode != Failover::Plain;
                        assert!(follows, "{mode:?}: {n} behind {count}");
                        count = n;
                    }
                }
                count
            });
            let replica = cluster.replicas_of(slot).unwrap()[0];
            cluster.failover(replica, mode).unwrap();
            over.store(true, Ordering::SeqCst);
            let piped = piping.join().unwrap();
            println!("{mode:?}: {piped} writes in pipelines");
            for thread in threads {
                let watch = thread.join().unwrap();
                println!(
                    "{mode:?}: {} calls, the slowest {:?}",
                    watch.reads, watch.slowest
                );
                assert!(watch.failures.is_empty(), "{mode:?}: {:?}", watch.failures);
                assert!(watch.slowest < 1500 * MS, "{mode:?}: {:?}", watch.slowest);
            }
        });
        cluster.wait_healthy().unwrap();
        cluster.wait_replicas_in_sync().unwrap();
    }
}
