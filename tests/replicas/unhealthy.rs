//! Replicas that fail in every possible way: the read goes to another node within the same call, and returns within
//! seconds after the recovery.

use crate::common::{client, is_command, key_of, run, run_all, stat, timed, wait_for};
use crate::{asked, redis};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Action, Cluster, Failover, FakeCluster, slot_of};

const MS: Duration = Duration::from_millis(1);

type Fault = fn() -> Action;

/// What an unhealthy node does on a read.
const FAULTS: &[(&str, Fault)] = &[
    ("loads its data", || {
        Action::send("-LOADING Redis is loading the dataset in memory\r\n")
    }),
    ("has lost its primary", || {
        Action::send("-MASTERDOWN Link with MASTER is down\r\n")
    }),
    ("is silent", || Action::Nothing),
    ("hangs", || Action::Hang),
    ("closes connections", || Action::Close),
    ("resets connections", || Action::Reset),
    ("sends invalid replies", || Action::send("!nonsense\r\n")),
];

#[test]
fn unhealthy_replica_fails_no_read_and_returns_when_healthy() {
    for (what, way) in FAULTS {
        let fake = FakeCluster::with_replicas(1, 2);
        fake.put("k", "v");
        let unhealthy = Arc::new(AtomicBool::new(true));
        let is_sick = unhealthy.clone();
        fake.on(1, move |_, command| {
            (is_command(command, "GET") && is_sick.load(Ordering::SeqCst)).then(way)
        });
        let replica = client(&fake.url())
            .with("read_from", "replica")
            .with("attempt_timeout_ms", "100")
            .with("timeout_ms", "1000");
        for _ in 0..200 {
            let (got, time) = timed(|| run(&replica, "GET k"));
            assert_eq!(got, "v", "{what}");
            assert!(time < 900 * MS, "{what}: {time:?}");
        }
        let counts = asked(&fake, 3, "GET");
        assert!((1..20).contains(&counts[1]), "{what}: {counts:?}");
        assert_eq!(counts[0], 0, "{what}: the other replica is well");
        unhealthy.store(false, Ordering::SeqCst);
        let began = Instant::now();
        wait_for(what, || {
            let before = fake.node(1).calls("GET");
            for _ in 0..20 {
                assert_eq!(run(&replica, "GET k"), "v", "{what}");
            }
            fake.node(1).calls("GET") >= before + 5
        });
        // It is ejected for two seconds at most.
        assert!(began.elapsed() < 3000 * MS, "{what}: {:?}", began.elapsed());
    }
}

#[test]
fn persistently_unhealthy_replica_is_probed_less_often() {
    let fake = FakeCluster::with_replicas(1, 1);
    fake.on(1, |_, command| {
        is_command(command, "GET").then(|| Action::send("-LOADING the dataset\r\n"))
    });
    let replica = client(&fake.url()).with("read_from", "replica");
    let mut tries = Vec::new();
    let began = Instant::now();
    while began.elapsed() < 3500 * MS {
        let before = fake.node(1).calls("GET");
        assert_eq!(run(&replica, "GET k"), "nil");
        if fake.node(1).calls("GET") > before {
            tries.push(began.elapsed());
        }
    }
    // 50, 100, 200, 400, 800, 1600 ms, each shortened by up to a half.
    assert!((4..=9).contains(&tries.len()), "{tries:?}");
    let pauses: Vec<Duration> = tries.windows(2).map(|two| two[1] - two[0]).collect();
    let (first, last) = (pauses[0], pauses[pauses.len() - 1]);
    assert!(last > first * 3, "{pauses:?}");
}

#[test]
fn primary_serves_when_all_replicas_are_unhealthy() {
    let fake = FakeCluster::with_replicas(1, 2);
    fake.put("k", "v");
    for node in [1, 2] {
        fake.on(node, |_, command| {
            is_command(command, "GET")
                .then(|| Action::send("-MASTERDOWN Link with MASTER is down\r\n"))
        });
    }
    let replica = client(&fake.url()).with("read_from", "replica");
    for _ in 0..100 {
        assert_eq!(run(&replica, "GET k"), "v");
    }
    assert!(asked(&fake, 3, "GET")[0] >= 100);
    assert!(stat(&replica, "reads_fallback") >= 90);
}

/// Reads until this node serves again and returns the elapsed time; no read may fail.
fn wait_read_from(cluster: &Cluster, port: u16, read: &dyn Fn()) -> Duration {
    let gets = || cluster.commandstats(port, "get").unwrap();
    let (before, began) = (gets(), Instant::now());
    wait_for("the node is read again", || {
        (0..10).for_each(|_| read());
        gets() > before
    });
    began.elapsed()
}

#[test]
fn real_replica_failure_fails_no_read() {
    let cluster = &redis();
    let plain = Arc::new(client(&cluster.url()));
    let key = key_of(0, 3, 4);
    assert_eq!(run(&plain, &format!("SET {key} v")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    let replica = plain
        .with("read_from", "replica")
        .with("attempt_timeout_ms", "300")
        .readonly();
    let port = cluster.replicas_of(slot_of(key.as_bytes())).unwrap()[0];
    let (set, get) = (format!("SET {key} v"), format!("GET {key}"));
    let read = || {
        let (got, time) = timed(|| run(&replica, &get));
        assert_eq!(got, "v");
        assert!(time < 1500 * MS, "{time:?}");
    };
    // Commands to the primary are not affected.
    let beside = || {
        let (got, time) = timed(|| [vec![run(&plain, &set)], run_all(&plain, &[&set, &get])]);
        assert_eq!(got.concat(), ["OK", "OK", "v"]);
        assert!(time < 250 * MS, "{time:?}");
    };
    let set_to = |name: &str, value: &str| {
        let set = ["CONFIG", "SET", name, value];
        assert_eq!(cluster.command(port, &set).unwrap().text(), "OK");
    };
    wait_read_from(cluster, port, &read);
    for day in ["LOADING", "MASTERDOWN", "SIGSTOP", "SIGKILL"] {
        match day {
            "LOADING" => {
                // Loading is slowed to 3 ms for each key, so that it can be observed.
                let sets: Vec<String> = (0..500)
                    .map(|n| format!("SET {{{key}}}{n} {n:0100}"))
                    .collect();
                assert!(run_all(&plain, &sets).iter().all(|got| got == "OK"));
                set_to("key-load-delay", "3000");
                set_to("loading-process-events-interval-bytes", "1024");
                let primary = cluster.primary_of(slot_of(key.as_bytes())).unwrap();
                for words in [
                    &["DEBUG", "CHANGE-REPL-ID"][..],
                    &["CLIENT", "KILL", "TYPE", "replica"],
                ] {
                    assert!(!cluster.command(primary, words).unwrap().is_error());
                }
                wait_for("the server is loading", || {
                    let got = cluster.command(port, &["PING"]).unwrap();
                    got.text().starts_with("LOADING")
                });
            }
            "MASTERDOWN" => {
                set_to("replica-serve-stale-data", "no");
                cluster.pause_replication(port).unwrap();
            }
            "SIGSTOP" => cluster.stop(port).unwrap(),
            _ => cluster.kill(port).unwrap(),
        }
        let began = Instant::now();
        while began.elapsed() < 1200 * MS {
            read();
            beside();
        }
        match day {
            "LOADING" => {
                set_to("key-load-delay", "0");
                let keys: Vec<String> = (0..500).map(|n| format!("{{{key}}}{n}")).collect();
                assert_eq!(run(&plain, &format!("DEL {}", keys.join(" "))), "500");
            }
            "MASTERDOWN" => {
                cluster.resume_replication(port).unwrap();
                set_to("replica-serve-stale-data", "yes");
            }
            "SIGSTOP" => cluster.cont(port).unwrap(),
            _ => cluster.restart(port).unwrap(),
        }
        cluster.wait_healthy().unwrap();
        let took = wait_read_from(cluster, port, &read);
        println!("{day}: read from again after {took:?}");
    }
}

#[test]
fn readonly_client_learns_of_promotion_and_demotion() {
    let cluster = &redis();
    let plain = client(&cluster.url());
    let key = key_of(1, 3, 5);
    assert_eq!(run(&plain, &format!("SET {key} v")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    // A separate client, which learns nothing from MOVED errors of others.
    let replica = client(&cluster.url())
        .with("read_from", "replica")
        .readonly();
    let slot = slot_of(key.as_bytes());
    let (primary, promoted) = (
        cluster.primary_of(slot).unwrap(),
        cluster.replicas_of(slot).unwrap()[0],
    );
    let read = || assert_eq!(run(&replica, &format!("GET {key}")), "v");
    read();
    cluster.failover(promoted, Failover::Plain).unwrap();
    let took = wait_read_from(cluster, primary, &read);
    let gets = || cluster.commandstats(promoted, "get").unwrap();
    let before = gets();
    for _ in 0..50 {
        read();
    }
    assert_eq!(gets(), before, "the client knows the new primary");
    println!("noticed after {took:?}");
    assert_eq!(stat(&replica, "moved"), 0);
}
