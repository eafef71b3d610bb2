//! Transactions on a real cluster while slots move.

use crate::common;
use crate::common::atomic;
use crate::common::set_on_drop::SetOnDrop;
use crate::common::shared::{SharedCluster, migration_target, shared};
use crate::common::{client, code, is_sent, key_of, run, send, show, stat, wait_for};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use support::{Cluster, slot_of};

fn cluster() -> SharedCluster {
    shared(module_path!(), || Cluster::builder().replicas(0))
}

/// This many keys in different slots of other nodes; `from` selects others.
fn movable(cluster: &Cluster, from: usize, count: usize) -> Vec<String> {
    let there = |key: &String| {
        cluster.primary_of(slot_of(key.as_bytes())).unwrap() == migration_target(cluster)
    };
    let keys = (from..).map(|n| key_of(n % 2, 3, n));
    keys.filter(|key| !there(key)).take(count).collect()
}

#[test]
fn transactions_run_once_during_slot_migration() {
    let cluster = &cluster();
    let client = Arc::new(client(
        &(cluster.url() + "?timeout_ms=20000&attempt_timeout_ms=10000"),
    ));
    let tags = movable(cluster, 0, 20);
    let mut ran = vec![0i64; tags.len()];
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for tag in &tags {
                let slot = slot_of(tag.as_bytes());
                cluster
                    .migrate_slot(slot, migration_target(cluster))
                    .unwrap();
            }
        });
        let mut rounds = 0;
        while rounds < 30 || !mover.is_finished() {
            rounds += 1;
            for (tag, ran) in tags.iter().zip(&mut ran) {
                let commands = [
                    format!("INCR {{{tag}}}a"),
                    format!("RPUSH {{{tag}}}l x"),
                    format!("INCR {{{tag}}}b"),
                ];
                let reply = atomic(&client, &commands);
                match code(reply.view()) {
                    Code::Ok => {
                        *ran += 1;
                        assert_eq!(show(reply.view()), format!("[{ran}, {ran}, {ran}]"));
                    }
                    _ => assert!(!is_sent(reply.view()), "{}", show(reply.view())),
                }
            }
        }
    });
    for (tag, ran) in tags.iter().zip(ran) {
        assert!(ran >= 30, "{ran}");
        assert_eq!(run(&client, &format!("GET {{{tag}}}b")), ran.to_string());
        assert_eq!(run(&client, &format!("LLEN {{{tag}}}l")), ran.to_string());
    }
    assert!(stat(&client, "moved") + stat(&client, "ask") > 0);
}

/// Increments a key with WATCH. `None` if a step failed, else whether the transaction ran.
fn add_one(pinned: &Client, key: &str) -> Option<bool> {
    (run(pinned, &format!("WATCH {key}")) == "OK").then_some(())?;
    let now: i64 = run(pinned, &format!("GET {key}")).parse().ok()?;
    (run(pinned, "MULTI") == "OK").then_some(())?;
    run(pinned, &format!("SET {key} {}", now + 1));
    let reply = send(pinned, "EXEC");
    if code(reply.view()) != Code::Ok {
        // It was discarded, because a command in it was refused.
        assert!(!is_sent(reply.view()), "{}", show(reply.view()));
    }
    Some(show(reply.view()) == "[OK]")
}

#[test]
fn watched_counter_is_exact_during_slot_migration() {
    let cluster = &cluster();
    let client = client(&cluster.url());
    for key in movable(cluster, 1000, 8) {
        run(&client, &format!("SET {key} 0"));
        let finished = &AtomicBool::new(false);
        let counted = &AtomicUsize::new(0);
        // Two writers that compete with each other and with the migration.
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(finished);
            for _ in 0..2 {
                let (key, pinned) = (&key, client.pin(key.as_bytes()));
                scope.spawn(move || {
                    while !finished.load(Ordering::SeqCst) {
                        match add_one(&pinned, key) {
                            Some(counts) => {
                                counted.fetch_add(counts.into(), Ordering::SeqCst);
                            }
                            None => drop(run(&pinned, "DISCARD")),
                        }
                    }
                });
            }
            wait_for("counting", || counted.load(Ordering::SeqCst) > 20);
            let moved = cluster.migrate_slot(slot_of(key.as_bytes()), migration_target(cluster));
            let before = counted.load(Ordering::SeqCst);
            // The threads end even if this fails.
            let goes_on = support::wait_until(
                || counted.load(Ordering::SeqCst) > before + 20,
                common::WAIT_LIMIT,
            );
            finished.store(true, Ordering::SeqCst);
            moved.unwrap();
            assert!(goes_on, "the counter does not grow on the new owner");
        });
        let counted = counted.load(Ordering::SeqCst);
        assert_eq!(run(&client, &format!("GET {key}")), counted.to_string());
    }
}

#[test]
fn exec_is_nil_after_watched_key_changed() {
    let cluster = &cluster();
    let client = client(&cluster.url());
    let pinned = client.pin(b"w");
    assert_eq!(run(&pinned, "WATCH w"), "OK");
    assert_eq!(run(&client, "SET w 1"), "OK");
    assert_eq!(run(&pinned, "MULTI"), "OK");
    assert_eq!(run(&pinned, "SET w 2"), "QUEUED");
    assert_eq!(run(&pinned, "EXEC"), "nil");
    assert_eq!(run(&pinned, "GET w"), "1");
}
