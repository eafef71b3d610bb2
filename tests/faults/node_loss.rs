//! A node of a real shard hangs, dies or hands over: no read fails, and writes succeed again after the promotion.

use crate::common::set_on_drop::SetOnDrop;
use crate::common::shared::{SharedCluster, shared, wait_promotion};
use crate::common::{
    WAIT_LIMIT, client, code, is_sent, key_of, run, run_all, send, show, timed, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use support::{Cluster, Failover, slot_of};

/// The tests break this cluster; each repairs it.
fn cluster() -> SharedCluster {
    shared(module_path!(), Cluster::builder)
}

const MS: Duration = Duration::from_millis(1);

/// What a thread that reads one key has observed.
struct ReadLog {
    reads: usize,
    slowest: Duration,
    failures: Vec<String>,
}

fn watch_reads(client: &Client, words: &str, finished: &AtomicBool) -> ReadLog {
    let mut watch = ReadLog {
        reads: 0,
        slowest: Duration::ZERO,
        failures: Vec::new(),
    };
    while !finished.load(Ordering::SeqCst) {
        let (reply, time) = timed(|| send(client, words));
        watch.reads += 1;
        watch.slowest = watch.slowest.max(time);
        if code(reply.view()) != Code::Ok {
            watch.failures.push(show(reply.view()));
        }
    }
    watch
}

#[test]
fn node_loss_fails_no_read_of_readonly_client() {
    let cluster = &cluster();
    let client = client(&cluster.url());
    let key = key_of(0, 3, 1);
    assert_eq!(run(&client, &format!("SET {key} v")), "OK");
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
        let finished = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| watch_reads(&readonly, &get, &finished)))
                .collect();
            match kill {
                true => cluster.kill(port).unwrap(),
                false => cluster.stop(port).unwrap(),
            }
            if of_primary {
                wait_promotion(cluster, slot, port);
            } else {
                // Long enough for several probes of the node.
                let end = Instant::now() + 1500 * MS;
                wait_for("the time is over", || Instant::now() > end);
            }
            finished.store(true, Ordering::SeqCst);
            for thread in threads {
                let watch = thread.join().unwrap();
                println!(
                    "{what}: {} reads, the slowest {:?}",
                    watch.reads, watch.slowest
                );
                assert!(watch.failures.is_empty(), "{what}: {:?}", watch.failures);
                assert!(watch.reads > 20, "{what}: {} reads", watch.reads);
                // Without its primary a replica replies CLUSTERDOWN for a while before it is promoted.
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
fn writes_return_after_promotion_within_call_timeout() {
    let cluster = &cluster();
    let client = client(&(cluster.url() + "?timeout_ms=1000&attempt_timeout_ms=100"));
    let mut latest = [Duration::MAX; 2];
    // On a busy machine the servers may be late: the best of four rounds.
    for round in 0..8 {
        let (which, what, kill) = [(0, "dies", true), (1, "hangs", false)][round % 2];
        if latest[which] < 300 * MS {
            continue;
        }
        let key = key_of(1, 3, 1);
        let slot = slot_of(key.as_bytes());
        let counter = format!("{{{key}}}n{round}");
        let before: u64 = run(&client, &format!("INCR {counter}")).parse().unwrap();
        let (mut acknowledged, mut uncertain) = (0u64, 0u64);
        let old = cluster.primary_of(slot).unwrap();
        let promoted = OnceLock::new();
        let mut back = None;
        std::thread::scope(|scope| {
            match kill {
                true => cluster.kill(old).unwrap(),
                false => cluster.stop(old).unwrap(),
            }
            scope.spawn(|| {
                wait_promotion(cluster, slot, old);
                promoted.set(Instant::now()).unwrap();
            });
            let end = Instant::now() + WAIT_LIMIT;
            while back.is_none() && Instant::now() < end {
                let (reply, time) = timed(|| send(&client, &format!("INCR {counter}")));
                assert!(time < 1100 * MS, "{what}: {time:?}: {}", show(reply.view()));
                match (code(reply.view()), is_sent(reply.view())) {
                    (Code::Ok, _) => {
                        acknowledged += 1;
                        back = Some(Instant::now());
                    }
                    (_, sent) => uncertain += u64::from(sent),
                }
            }
        });
        let late = back
            .unwrap()
            .saturating_duration_since(*promoted.get().unwrap());
        println!("the primary {what}: writes are back {late:?} after the promotion");
        latest[which] = latest[which].min(late);
        let now: u64 = run(&client, &format!("GET {counter}")).parse().unwrap();
        assert!(
            before + acknowledged <= now + 1 && now <= before + acknowledged + uncertain,
            "{before} + {acknowledged} ({uncertain}): {now}"
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
fn ordered_failover_fails_no_call() {
    let cluster = &cluster();
    let client = Arc::new(client(&cluster.url()));
    let readonly = client.readonly();
    let key = key_of(2, 3, 1);
    let slot = slot_of(key.as_bytes());
    for (n, mode) in [Failover::Plain, Failover::Force, Failover::Takeover]
        .into_iter()
        .enumerate()
    {
        let finished = AtomicBool::new(false);
        let incr = format!("INCR {{{key}}}failover{n}");
        let get = format!("GET {{{key}}}failover{n}");
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            let threads: Vec<_> = [
                (&*client, &incr),
                (&*client, &incr),
                (&*client, &get),
                (&readonly, &get),
            ]
            .map(|(client, words)| {
                let finished = &finished;
                scope.spawn(move || watch_reads(client, words, finished))
            })
            .into_iter()
            .collect();
            // Commands run in the caller's order: each sees the effects of those before it.
            let piping = scope.spawn(|| {
                let incrs = vec![format!("INCR {{{key}}}piped{n}"); 20];
                let mut count = 0u64;
                while !finished.load(Ordering::SeqCst) {
                    for got in run_all(&client, &incrs) {
                        let n = got.parse::<u64>();
                        let n = n.unwrap_or_else(|_| panic!("{mode:?}: {got}"));
                        // Only a coordinated failover loses no acknowledged write.
                        let follows = n == count + 1 || mode != Failover::Plain;
                        assert!(follows, "{mode:?}: {n} behind {count}");
                        count = n;
                    }
                }
                count
            });
            let replica = cluster.replicas_of(slot).unwrap()[0];
            cluster.failover(replica, mode).unwrap();
            finished.store(true, Ordering::SeqCst);
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
