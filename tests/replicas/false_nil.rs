//! What a replica does not have: believed, or asked for again where it must be.

use crate::common::{client, is, key_of, say, say_all, stat};
use crate::{asked, redis, valkey};
use rediscluster::cluster::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{Action, Cluster, FakeCluster, slot_of};

/// One shard whose replica has lost everything.
fn forgetful() -> FakeCluster {
    let fake = FakeCluster::with_replicas(1, 1);
    for key in ["a", "b", "{t}1", "{t}2"] {
        fake.put(key, "v");
    }
    fake.on(1, |_, command| {
        let nil = is(command, "GET").then(|| "_\r\n".to_string());
        let zero = is(command, "EXISTS").then(|| ":0\r\n".to_string());
        let holes = is(command, "MGET").then(|| {
            format!(
                "*{}\r\n{}",
                command.len() - 1,
                "_\r\n".repeat(command.len() - 1)
            )
        });
        nil.or(zero).or(holes).map(Action::send)
    });
    fake
}

#[test]
fn what_a_replica_lacks_is_asked_for_again_only_if_it_is_to_be_verified() {
    let fake = forgetful();
    let replica = client(&fake.url()).with("read_from", "replica");
    assert_eq!(say(&replica, "GET a"), "nil");
    assert_eq!(say(&replica, "EXISTS a"), "0");
    assert_eq!(asked(&fake, 2, "GET"), [0, 1]);
    let verify = replica.with("nil", "verify").readonly();
    for (words, expected) in [
        ("GET a", "v"),
        ("EXISTS a", "1"),
        ("MGET {t}1 {t}2", "[v, v]"),
        ("MGET a b {t}1", "[v, v, v]"),
        ("EXISTS a b", "2"),
        ("GET none", "nil"),
        ("EXISTS none", "0"),
    ] {
        assert_eq!(say(&verify, words), expected, "{words}");
    }
    // Three of the MGETs and two of the EXISTS were for one slot each.
    assert_eq!(stat(&verify, "reads_rechecked"), 10);
}

#[test]
fn a_pipeline_asks_again_in_one_go_and_keeps_every_answer_in_its_place() {
    let fake = forgetful();
    let verify = Arc::new(
        client(&fake.url())
            .with("read_from", "replica")
            .with("nil", "verify"),
    );
    fake.off(1);
    fake.on(1, |_, command| {
        is(command, "GET b").then(|| Action::send("_\r\n"))
    });
    let commands: Vec<String> = (0..300)
        .map(|n| ["GET a", "GET b", "GET none"][n % 3].to_string())
        .collect();
    let got = say_all(&verify, &commands);
    assert!(
        got.chunks(3).all(|three| three == ["v", "v", "nil"]),
        "{got:?}"
    );
    assert_eq!(asked(&fake, 2, "GET"), [200, 300]);
    assert_eq!(stat(&verify, "retries"), 1, "all together");
    // And a transaction of reads, whose answer does not show what is missing, is the primary's.
    let mut atomic = rediscluster::cluster::Pipeline::new(verify.clone());
    atomic.command(&[b"GET", b"a"]);
    fake.on(1, |_, command| {
        is(command, "MULTI").then(|| Action::send("-ERR at the replica\r\n"))
    });
    let reply = atomic.execute_atomic();
    assert!(!crate::common::show(reply.view()).contains("at the replica"));
}

#[test]
fn a_slot_that_anybody_was_asked_elsewhere_for_is_known_to_be_moving() {
    for sign in ["ASK", "TRYAGAIN", "MOVED"] {
        let fake = FakeCluster::with_replicas(2, 1);
        let (key, gone) = ("{t}here", "{t}gone");
        let (home, other) = match fake.owner(slot_of(b"t")) {
            Some(0) => (0, 1),
            _ => (1, 0),
        };
        fake.put(key, "v");
        fake.put(gone, "v");
        // The replicas of both have nothing, as those of the old owner do when a key has moved,
        // and those of the new one that has not reached them.
        for replica in [2, 3] {
            fake.on(replica, |_, command| {
                is(command, "GET").then(|| Action::send("_\r\n"))
            });
        }
        let plain = client(&fake.url());
        let replica = plain.with("read_from", "replica");
        assert_eq!(say(&replica, &format!("GET {key}")), "nil", "nobody knows");
        let there = format!("127.0.0.1:{}", fake.port(other));
        let slot = slot_of(b"t");
        let mut told = false;
        if sign == "MOVED" {
            fake.assign(slot..=slot, other);
        } else {
            fake.on(home, move |_, command| {
                let tells = !told && is(command, &format!("EXISTS {gone}"));
                told |= tells;
                tells.then(|| match sign {
                    "ASK" => Action::send(format!("-ASK {slot} {there}\r\n")),
                    _ => Action::send("-TRYAGAIN Multiple keys\r\n"),
                })
            });
        }
        // Another handle is told, on its way to the primary.
        assert_eq!(say(&plain, &format!("EXISTS {gone}")), "1", "{sign}");
        assert_eq!(say(&replica, &format!("GET {key}")), "v", "{sign}");
        let elsewhere = key_of(0, 2, 1);
        assert_ne!(slot_of(elsewhere.as_bytes()), slot);
        assert_eq!(say(&replica, &format!("GET {elsewhere}")), "nil");
        assert!(stat(&replica, "reads_rechecked") >= 1);
    }
}

/// Keys of one slot, that there are, and of no other.
fn fill(client: &Client, tag: &str, keys: usize) -> Vec<String> {
    let keys: Vec<String> = (0..keys).map(|n| format!("{{{tag}}}{n}")).collect();
    for key in &keys {
        assert_eq!(say(client, &format!("SET {key} v")), "OK");
    }
    keys
}

/// Reads keys that exist until told to stop, and counts what came otherwise than it should.
fn missing(client: &Client, keys: &[String], over: &AtomicBool, reads: &AtomicU64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut n = 0;
    while !over.load(Ordering::SeqCst) {
        n = (n + 1) % keys.len();
        let words = match n % 3 {
            0 => format!("EXISTS {}", keys[n]),
            _ => format!("GET {}", keys[n]),
        };
        let got = say(client, &words);
        if got != "v" && got != "1" {
            wrong.push(format!("{words}: {got}"));
        }
        reads.fetch_add(1, Ordering::SeqCst);
    }
    wrong
}

/// Moves a slot to and fro while keys of it are read from replicas. None may be missed.
fn no_key_is_missed(cluster: &Cluster, tag: &str, rounds: usize, migrate: &dyn Fn(u16, u16)) {
    let plain = client(&cluster.url());
    let keys = fill(&plain, tag, 200);
    cluster.wait_replicas_in_sync().unwrap();
    let verify = plain
        .with("read_from", "replica")
        .with("nil", "verify")
        .readonly();
    let slot = slot_of(tag.as_bytes());
    let home = cluster.primary_of(slot).unwrap();
    let away = [0, 8000, 16000]
        .map(|slot| cluster.primary_of(slot).unwrap())
        .into_iter()
        .find(|port| *port != home)
        .unwrap();
    let (over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| missing(&verify, &keys, &over, &reads)))
            .collect();
        let mut round = 0;
        while round < rounds || round % 2 == 1 || reads.load(Ordering::SeqCst) <= 10_000 {
            migrate(slot, if round % 2 == 0 { away } else { home });
            round += 1;
        }
        over.store(true, Ordering::SeqCst);
        for thread in threads {
            let wrong = thread.join().unwrap();
            assert!(
                wrong.is_empty(),
                "{} wrong: {:?}",
                wrong.len(),
                &wrong[..wrong.len().min(5)]
            );
        }
    });
    let reads = reads.load(Ordering::SeqCst);
    println!(
        "{reads} reads, {} of them verified",
        stat(&verify, "reads_rechecked")
    );
    assert!(reads > 10_000, "only {reads} reads");
    assert!(stat(&verify, "replica_reads") > 1000);
}

/// Opens a slot, moves its keys a few at a time, and gives it away.
fn key_by_key(cluster: &Cluster, slot: u16, to: u16) {
    cluster.begin_migration(slot, to).unwrap();
    while !cluster.move_some_keys(slot, to, 5).unwrap().is_empty() {}
    cluster.finish_migration(slot, to).unwrap();
}

#[test]
fn keys_that_move_under_ten_thousand_replica_reads_are_never_missed_on_redis() {
    let cluster = &redis();
    // That it is no empty promise: without it they are.
    let plain = client(&cluster.url());
    let keys = fill(&plain, "hazard", 2);
    cluster.wait_replicas_in_sync().unwrap();
    let slot = slot_of(b"hazard");
    let home = cluster.primary_of(slot).unwrap();
    let to = [0, 8000, 16000]
        .map(|slot| cluster.primary_of(slot).unwrap())
        .into_iter()
        .find(|port| *port != home)
        .unwrap();
    cluster.begin_migration(slot, to).unwrap();
    cluster.move_keys(slot, to, &keys[..1]).unwrap();
    cluster.wait_replicas_in_sync().unwrap();
    let replica = plain.with("read_from", "replica");
    let get = format!("GET {}", keys[0]);
    assert_eq!(
        say(&replica, &get),
        "nil",
        "Redis 7 does not replicate that a slot moves"
    );
    assert_eq!(say(&replica.with("nil", "verify"), &get), "v");
    // The verification was told ASK: now it is known.
    assert_eq!(say(&replica, &get), "v");
    cluster.finish_migration(slot, to).unwrap();
    no_key_is_missed(cluster, "moves", 4, &|slot, to| {
        key_by_key(cluster, slot, to)
    });
}

#[test]
fn keys_that_move_under_ten_thousand_replica_reads_are_never_missed_on_valkey() {
    let cluster = &valkey();
    no_key_is_missed(cluster, "moves", 4, &|slot, to| {
        key_by_key(cluster, slot, to)
    });
    assert!(cluster.has_atomic_migration());
    no_key_is_missed(cluster, "jumps", 6, &|slot, to| {
        cluster.migrate_slots_atomically(slot, slot, to).unwrap();
    });
}
