//! Keys that a replica does not have: trusted, or rechecked at the primary where necessary.

use crate::common::set_on_drop::SetOnDrop;
use crate::common::{client, is_command, key_of, run, run_all, stat, timed, wait_for};
use crate::{asked, redis, valkey};
use rediscluster::cluster::Client;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::{Action, Cluster, FakeCluster, slot_of};

type Fault = fn() -> Action;

/// One shard whose replica has no data.
fn shard_with_empty_replica() -> FakeCluster {
    let fake = FakeCluster::with_replicas(1, 1);
    for key in ["a", "b", "{t}1", "{t}2"] {
        fake.put(key, "v");
    }
    let mut readonly = HashSet::new();
    fake.on(1, move |connection, command| {
        if is_command(command, "READONLY") {
            readonly.insert(connection);
        }
        // Without READONLY, a replica redirects to its primary.
        if !readonly.contains(&connection) {
            return None;
        }
        let nil = is_command(command, "GET").then(|| "_\r\n".to_string());
        let zero = is_command(command, "EXISTS").then(|| ":0\r\n".to_string());
        let holes = is_command(command, "MGET").then(|| {
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
fn missing_key_is_rechecked_at_primary_only_with_nil_verify() {
    let fake = shard_with_empty_replica();
    let replica = client(&fake.url()).with("read_from", "replica");
    assert_eq!(run(&replica, "GET a"), "nil");
    assert_eq!(run(&replica, "EXISTS a"), "0");
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
        assert_eq!(run(&verify, words), expected, "{words}");
    }
    // Three of the MGETs and two of the EXISTS addressed one slot each.
    assert_eq!(stat(&verify, "reads_rechecked"), 10);
}

#[test]
fn pipeline_rechecks_missing_keys_in_one_batch_in_order() {
    let fake = shard_with_empty_replica();
    let verify = Arc::new(
        client(&fake.url())
            .with("read_from", "replica")
            .with("nil", "verify"),
    );
    fake.off(1);
    fake.on(1, |_, command| {
        is_command(command, "GET b").then(|| Action::send("_\r\n"))
    });
    let commands: Vec<String> = (0..300)
        .map(|n| ["GET a", "GET b", "GET none"][n % 3].to_string())
        .collect();
    let got = run_all(&verify, &commands);
    assert!(
        got.chunks(3).all(|three| three == ["v", "v", "nil"]),
        "{got:?}"
    );
    assert_eq!(asked(&fake, 2, "GET"), [200, 300]);
    assert_eq!(stat(&verify, "retries"), 1, "one batch");
    // The reply to a transaction of reads does not show what is missing, so it goes to the primary.
    let mut atomic = rediscluster::cluster::Pipeline::new(verify.clone());
    atomic.command(&[b"GET", b"a"]);
    fake.on(1, |_, command| {
        is_command(command, "MULTI").then(|| Action::send("-ERR at the replica\r\n"))
    });
    let reply = atomic.execute_atomic();
    assert!(!crate::common::show(reply.view()).contains("at the replica"));
}

#[test]
fn ask_redirection_marks_slot_as_migrating_for_all_handles() {
    for sign in ["ASK", "TRYAGAIN", "MOVED"] {
        let fake = FakeCluster::with_replicas(2, 1);
        let (key, gone) = ("{t}here", "{t}gone");
        let (home, other) = match fake.owner(slot_of(b"t")) {
            Some(0) => (0, 1),
            _ => (1, 0),
        };
        fake.put(key, "v");
        fake.put(gone, "v");
        // Both replicas have no data, as the one of the old owner after a migration, and the one of the new owner
        // before replication.
        for replica in [2, 3] {
            fake.on(replica, |_, command| {
                is_command(command, "GET").then(|| Action::send("_\r\n"))
            });
        }
        let plain = client(&fake.url());
        let replica = plain.with("read_from", "replica");
        assert_eq!(
            run(&replica, &format!("GET {key}")),
            "nil",
            "no node has the key or a redirection"
        );
        let there = format!("127.0.0.1:{}", fake.port(other));
        let slot = slot_of(b"t");
        let mut told = false;
        if sign == "MOVED" {
            fake.assign(slot..=slot, other);
        } else {
            fake.on(home, move |_, command| {
                let tells = !told && is_command(command, &format!("EXISTS {gone}"));
                told |= tells;
                tells.then(|| match sign {
                    "ASK" => Action::send(format!("-ASK {slot} {there}\r\n")),
                    _ => Action::send("-TRYAGAIN Multiple keys\r\n"),
                })
            });
        }
        // Another handle learns of the migration on its way to the primary.
        assert_eq!(run(&plain, &format!("EXISTS {gone}")), "1", "{sign}");
        assert_eq!(run(&replica, &format!("GET {key}")), "v", "{sign}");
        let elsewhere = key_of(0, 2, 1);
        assert_ne!(slot_of(elsewhere.as_bytes()), slot);
        assert_eq!(run(&replica, &format!("GET {elsewhere}")), "nil");
        assert!(stat(&replica, "reads_rechecked") >= 1);
    }
}

/// Marks the slot of key `a` as migrating: its primary replies TRYAGAIN once.
fn mark_as_migrating(fake: &FakeCluster, primary: usize, plain: &Client) {
    let mut told = false;
    fake.on(primary, move |_, command| {
        let tells = !told && is_command(command, "STRLEN");
        told |= tells;
        tells.then(|| Action::send("-TRYAGAIN Multiple keys\r\n"))
    });
    run(plain, "STRLEN a");
}

#[test]
fn missing_key_is_read_from_replica_while_primary_fails() {
    let faults: [(&str, Fault); 8] = [
        ("loads", || Action::send("-LOADING data\r\n")),
        ("is cut off", || {
            Action::send("-CLUSTERDOWN cluster is down\r\n")
        }),
        ("is silent", || Action::Nothing),
        ("hangs", || Action::Hang),
        ("closes connections", || Action::Close),
        ("resets connections", || Action::Reset),
        ("sends invalid replies", || Action::send("!nonsense\r\n")),
        ("refuses connections", || Action::Close),
    ];
    for (fault, action) in faults {
        let mut fake = shard_with_empty_replica();
        let plain = client(&(fake.url() + "?timeout_ms=4000&attempt_timeout_ms=100"));
        let replica = Arc::new(plain.with("read_from", "replica").readonly());
        mark_as_migrating(&fake, 0, &plain);
        // The primary is asked, and answers.
        assert_eq!(run(&replica, "GET a"), "v", "{fault}");
        assert_eq!(run(&replica, "GET {a}none"), "nil", "{fault}");
        match fault {
            "refuses connections" => fake.stop(0),
            _ => fake.on(0, move |_, command| {
                let is_read = is_command(command, "GET") || is_command(command, "EXISTS");
                is_read.then(action)
            }),
        }
        for _ in 0..3 {
            let (got, time) = timed(|| run(&replica, "GET {a}none"));
            assert_eq!(got, "nil", "the primary {fault}");
            assert!(time < Duration::from_millis(1000), "{fault}: {time:?}");
            let (got, time) =
                timed(|| run_all(&replica, &["GET {a}none", "EXISTS {a}none", "GET a"]));
            assert_eq!(got, ["nil", "0", "nil"], "the primary {fault}");
            assert!(time < Duration::from_millis(1000), "{fault}: {time:?}");
        }
        // With nil=verify only the primary decides.
        let verify = replica.with("nil", "verify").with("timeout_ms", "200");
        let got = run(&verify, "GET {a}none");
        assert!(got.ends_with(')'), "the primary {fault}: {got}");
    }
}

#[test]
fn error_for_missing_key_is_kept_while_primary_fails() {
    let mut fake = shard_with_empty_replica();
    let moved = format!("-MOVED {} 127.0.0.1:{}\r\n", slot_of(b"a"), fake.port(0));
    let mut readonly = HashSet::new();
    fake.on(1, move |connection, command| {
        if is_command(command, "READONLY") {
            readonly.insert(connection);
        }
        is_command(command, "OBJECT").then(|| match readonly.contains(&connection) {
            true => Action::send("-ERR no such key\r\n"),
            false => Action::send(&moved),
        })
    });
    let plain = client(&fake.url());
    let replica = Arc::new(plain.with("read_from", "replica"));
    mark_as_migrating(&fake, 0, &plain);
    fake.stop(0);
    assert_eq!(
        run(&replica, "OBJECT ENCODING a"),
        "ERR no such key (SERVER, sent)"
    );
    let piped = run_all(&replica, &["OBJECT ENCODING a", "OBJECT ENCODING {a}b"]);
    assert!(
        piped
            .iter()
            .all(|got| got.ends_with("ERR no such key (SERVER, sent)")),
        "{piped:?}"
    );
}

#[test]
fn missing_key_is_rechecked_on_new_connection_after_idle_close() {
    let fake = shard_with_empty_replica();
    let plain = client(&fake.url());
    let replica = Arc::new(plain.with("read_from", "replica"));
    mark_as_migrating(&fake, 0, &plain);
    for _ in 0..20 {
        fake.node(0).close_connections();
        assert_eq!(run(&replica, "GET a"), "v");
        fake.node(0).close_connections();
        assert_eq!(
            run_all(&replica, &["GET a", "EXISTS a", "GET {a}none"]),
            ["v", "1", "nil"]
        );
    }
}

#[test]
fn promotion_inside_shard_does_not_mark_its_slots_as_migrating() {
    for sign in ["MOVED", "refresh"] {
        let fake = FakeCluster::with_replicas(1, 2);
        let plain = client(&fake.url());
        let replica = plain.with("read_from", "replica");
        fake.promote(1);
        match sign {
            "MOVED" => assert_eq!(run(&plain, "SET a v"), "OK"),
            _ => assert_eq!(run(&plain, "PING"), "PONG"),
        }
        let refreshed = plain.refresh();
        assert_eq!(crate::common::show(refreshed.view()), "OK");
        for _ in 0..20 {
            assert_eq!(run(&replica, "GET {a}none"), "nil");
        }
        assert_eq!(stat(&replica, "reads_rechecked"), 0, "{sign}");
    }
}

#[test]
fn missing_key_is_read_while_primary_and_its_successor_are_down() {
    let builder = Cluster::builder().replicas(2);
    // The last replica is not promoted, and the cluster serves the slots of the other shards.
    let builder = builder.option("cluster-require-full-coverage", "no");
    let cluster = &builder.start().unwrap();
    cluster.wait_healthy().unwrap();
    let key = key_of(0, 3, 9);
    let slot = slot_of(key.as_bytes());
    let plain = Arc::new(client(&cluster.url()));
    let replica = Arc::new(plain.with("read_from", "replica").readonly());
    let get = format!("GET {key}");
    assert_eq!(run(&replica, &get), "nil");
    let first = cluster.primary_of(slot).unwrap();
    cluster.kill(first).unwrap();
    wait_for("a replica is promoted", || {
        assert_eq!(run(&replica, &get), "nil");
        cluster.primary_of(slot).is_ok_and(|port| port != first)
    });
    // The client learns of the promotion, by MOVED and by a refresh.
    assert_eq!(run(&plain, &format!("SET {{{key}}}other v")), "OK");
    assert_eq!(crate::common::show(plain.refresh().view()), "OK");
    let second = cluster.primary_of(slot).unwrap();
    wait_for("the last replica follows", || {
        cluster.replicas_of(slot).is_ok_and(|all| {
            let last = all.iter().find(|port| **port != first);
            last.is_some_and(|last| {
                let set = ["CONFIG", "SET", "cluster-replica-no-failover", "yes"];
                cluster
                    .command(*last, &set)
                    .is_ok_and(|got| got.text() == "OK")
            })
        })
    });
    cluster.kill(second).unwrap();
    for _ in 0..20 {
        assert_eq!(run(&replica, &get), "nil");
        assert_eq!(run_all(&replica, &[&get, &get]), ["nil", "nil"]);
    }
}

/// Existing keys that share one slot.
fn fill(client: &Client, tag: &str, keys: usize) -> Vec<String> {
    let keys: Vec<String> = (0..keys).map(|n| format!("{{{tag}}}{n}")).collect();
    for key in &keys {
        assert_eq!(run(client, &format!("SET {key} v")), "OK");
    }
    keys
}

/// Reads existing keys until the flag is set, and counts wrong replies.
fn missing(
    client: &Client,
    keys: &[String],
    finished: &AtomicBool,
    reads: &AtomicU64,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut n = 0;
    while !finished.load(Ordering::SeqCst) {
        n = (n + 1) % keys.len();
        let words = match n % 3 {
            0 => format!("EXISTS {}", keys[n]),
            _ => format!("GET {}", keys[n]),
        };
        let got = run(client, &words);
        if got != "v" && got != "1" {
            wrong.push(format!("{words}: {got}"));
        }
        reads.fetch_add(1, Ordering::SeqCst);
    }
    wrong
}

/// Moves a slot back and forth while its keys are read from replicas. No key may be missed.
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
    let (finished, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| missing(&verify, &keys, &finished, &reads)))
            .collect();
        let mut round = 0;
        while round < rounds || round % 2 == 1 || reads.load(Ordering::SeqCst) <= 10_000 {
            assert!(threads.iter().all(|thread| !thread.is_finished()));
            migrate(slot, if round % 2 == 0 { away } else { home });
            round += 1;
        }
        finished.store(true, Ordering::SeqCst);
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

/// Opens a slot, moves its keys a few at a time, and reassigns it.
fn key_by_key(cluster: &Cluster, slot: u16, to: u16) {
    cluster.begin_migration(slot, to).unwrap();
    while !cluster.move_some_keys(slot, to, 5).unwrap().is_empty() {}
    cluster.finish_migration(slot, to).unwrap();
}

#[test]
fn migrating_keys_are_never_missed_by_replica_reads_on_redis() {
    let cluster = &redis();
    // Without the option keys are missed, so the test would detect a failure.
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
        run(&replica, &get),
        "nil",
        "Redis 7 does not replicate that a slot moves"
    );
    assert_eq!(run(&replica.with("nil", "verify"), &get), "v");
    // The recheck got ASK, so that the slot is known to be migrating.
    assert_eq!(run(&replica, &get), "v");
    cluster.finish_migration(slot, to).unwrap();
    no_key_is_missed(cluster, "moves", 4, &|slot, to| {
        key_by_key(cluster, slot, to)
    });
}

#[test]
fn migrating_keys_are_never_missed_by_replica_reads_on_valkey() {
    let cluster = &valkey();
    no_key_is_missed(cluster, "moves", 4, &|slot, to| {
        key_by_key(cluster, slot, to)
    });
    assert!(cluster.has_atomic_migration());
    no_key_is_missed(cluster, "jumps", 6, &|slot, to| {
        cluster.migrate_slots_atomically(slot, slot, to).unwrap();
    });
}
