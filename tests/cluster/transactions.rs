//! Transactions on a real cluster while slots move.

use crate::common;
use crate::common::atomic;
use crate::common::shared::{SharedCluster, destination, shared};
use crate::common::{ask, client, code, is_sent, key_of, say, show, stat, until};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use support::{Cluster, slot_of};

fn cluster() -> SharedCluster {
    shared(module_path!(), || Cluster::builder().replicas(0))
}

/// So many keys with slots of their own, elsewhere; `from` distinguishes.
fn movable(cluster: &Cluster, from: usize, count: usize) -> Vec<String> {
    let there =
        |key: &String| cluster.primary_of(slot_of(key.as_bytes())).unwrap() == destination(cluster);
    let keys = (from..).map(|n| key_of(n % 2, 3, n));
    keys.filter(|key| !there(key)).take(count).collect()
}

#[test]
fn transactions_run_whole_and_once_while_their_slots_move() {
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
                cluster.migrate_slot(slot, destination(cluster)).unwrap();
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
        assert_eq!(say(&client, &format!("GET {{{tag}}}b")), ran.to_string());
        assert_eq!(say(&client, &format!("LLEN {{{tag}}}l")), ran.to_string());
    }
    assert!(stat(&client, "moved") + stat(&client, "ask") > 0);
}

/// Adds one to a key as WATCH does it; whether that counts, if it came so far.
fn add_one(pinned: &Client, key: &str) -> Option<bool> {
    (say(pinned, &format!("WATCH {key}")) == "OK").then_some(())?;
    let now: i64 = say(pinned, &format!("GET {key}")).parse().ok()?;
    (say(pinned, "MULTI") == "OK").then_some(())?;
    say(pinned, &format!("SET {key} {}", now + 1));
    let reply = ask(pinned, "EXEC");
    if code(reply.view()) != Code::Ok {
        // Discarded, because of what was refused or because it would be.
        assert!(!is_sent(reply.view()), "{}", show(reply.view()));
    }
    Some(show(reply.view()) == "[OK]")
}

#[test]
fn a_counter_that_is_watched_counts_right_while_its_slot_moves() {
    let cluster = &cluster();
    let client = client(&cluster.url());
    for key in movable(cluster, 1000, 8) {
        say(&client, &format!("SET {key} 0"));
        let over = &AtomicBool::new(false);
        let counted = &AtomicUsize::new(0);
        // Two that race with each other, and with the migration.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (key, pinned) = (&key, client.pin(key.as_bytes()));
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        match add_one(&pinned, key) {
                            Some(counts) => {
                                counted.fetch_add(counts.into(), Ordering::SeqCst);
                            }
                            None => drop(say(&pinned, "DISCARD")),
                        }
                    }
                });
            }
            until("counting", || counted.load(Ordering::SeqCst) > 20);
            let moved = cluster.migrate_slot(slot_of(key.as_bytes()), destination(cluster));
            let before = counted.load(Ordering::SeqCst);
            // Also where it fails, the threads end.
            let goes_on = support::wait_until(
                || counted.load(Ordering::SeqCst) > before + 20,
                common::SOON,
            );
            over.store(true, Ordering::SeqCst);
            moved.unwrap();
            assert!(goes_on, "nothing counts at the new place");
        });
        let counted = counted.load(Ordering::SeqCst);
        assert_eq!(say(&client, &format!("GET {key}")), counted.to_string());
    }
}

#[test]
fn a_watched_key_that_others_write_makes_exec_nil() {
    let cluster = &cluster();
    let client = client(&cluster.url());
    let pinned = client.pin(b"w");
    assert_eq!(say(&pinned, "WATCH w"), "OK");
    assert_eq!(say(&client, "SET w 1"), "OK");
    assert_eq!(say(&pinned, "MULTI"), "OK");
    assert_eq!(say(&pinned, "SET w 2"), "QUEUED");
    assert_eq!(say(&pinned, "EXEC"), "nil");
    assert_eq!(say(&pinned, "GET w"), "1");
}
