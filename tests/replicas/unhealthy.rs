//! Replicas that do not serve, in every way there is: the read goes to another node within the same
//! call, and comes back within seconds of their recovery.

use crate::common::{client, is, key_of, say, say_all, stat, timed, until};
use crate::{asked, redis};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Action, Cluster, Failover, FakeCluster, slot_of};

const MS: Duration = Duration::from_millis(1);

type Way = fn() -> Action;

/// What a sick node does when it is read from.
const WAYS: &[(&str, Way)] = &[
    ("loads its data", || {
        Action::send("-LOADING Redis is loading the dataset in memory\r\n")
    }),
    ("has lost its primary", || {
        Action::send("-MASTERDOWN Link with MASTER is down\r\n")
    }),
    ("is silent", || Action::Nothing),
    ("hangs", || Action::Hang),
    ("hangs up", || Action::Close),
    ("hangs up rudely", || Action::Reset),
    ("talks nonsense", || Action::send("!nonsense\r\n")),
];

#[test]
fn a_sick_replica_costs_no_read_its_success_and_is_used_again_when_it_is_well() {
    for (what, way) in WAYS {
        let fake = FakeCluster::with_replicas(1, 2);
        fake.put("k", "v");
        let sick = Arc::new(AtomicBool::new(true));
        let is_sick = sick.clone();
        fake.on(1, move |_, command| {
            (is(command, "GET") && is_sick.load(Ordering::SeqCst)).then(way)
        });
        let replica = client(&fake.url())
            .with("read_from", "replica")
            .with("attempt_timeout_ms", "100")
            .with("timeout_ms", "1000");
        for _ in 0..200 {
            let (got, time) = timed(|| say(&replica, "GET k"));
            assert_eq!(got, "v", "{what}");
            assert!(time < 900 * MS, "{what}: {time:?}");
        }
        let counts = asked(&fake, 3, "GET");
        assert!((1..20).contains(&counts[1]), "{what}: {counts:?}");
        assert_eq!(counts[0], 0, "{what}: the other replica is well");
        sick.store(false, Ordering::SeqCst);
        let began = Instant::now();
        until(what, || {
            let before = fake.node(1).calls("GET");
            for _ in 0..20 {
                assert_eq!(say(&replica, "GET k"), "v", "{what}");
            }
            fake.node(1).calls("GET") >= before + 5
        });
        // It is left alone for two seconds at most.
        assert!(began.elapsed() < 3000 * MS, "{what}: {:?}", began.elapsed());
    }
}

#[test]
fn a_replica_that_goes_on_being_sick_is_tried_less_and_less_often() {
    let fake = FakeCluster::with_replicas(1, 1);
    fake.on(1, |_, command| {
        is(command, "GET").then(|| Action::send("-LOADING the dataset\r\n"))
    });
    let replica = client(&fake.url()).with("read_from", "replica");
    let mut tries = Vec::new();
    let began = Instant::now();
    while began.elapsed() < 3500 * MS {
        let before = fake.node(1).calls("GET");
        assert_eq!(say(&replica, "GET k"), "nil");
        if fake.node(1).calls("GET") > before {
            tries.push(began.elapsed());
        }
    }
    // 50, 100, 200, 400, 800, 1600 ms, each less up to a half.
    assert!((4..=9).contains(&tries.len()), "{tries:?}");
    let pauses: Vec<Duration> = tries.windows(2).map(|two| two[1] - two[0]).collect();
    let (first, last) = (pauses[0], pauses[pauses.len() - 1]);
    assert!(last > first * 3, "{pauses:?}");
}

#[test]
fn where_all_replicas_are_sick_the_primary_serves() {
    let fake = FakeCluster::with_replicas(1, 2);
    fake.put("k", "v");
    for node in [1, 2] {
        fake.on(node, |_, command| {
            is(command, "GET").then(|| Action::send("-MASTERDOWN Link with MASTER is down\r\n"))
        });
    }
    let replica = client(&fake.url()).with("read_from", "replica");
    for _ in 0..100 {
        assert_eq!(say(&replica, "GET k"), "v");
    }
    assert!(asked(&fake, 3, "GET")[0] >= 100);
    assert!(stat(&replica, "reads_fallback") >= 90);
}

/// Reads until it has been served by this node again, and says how long that took; none may fail.
fn back_at(cluster: &Cluster, port: u16, read: &dyn Fn()) -> Duration {
    let gets = || cluster.commandstats(port, "get").unwrap();
    let (before, began) = (gets(), Instant::now());
    until("it is read from again", || {
        (0..10).for_each(|_| read());
        gets() > before
    });
    began.elapsed()
}

#[test]
fn a_real_replica_that_is_refused_stopped_or_without_its_primary_costs_no_read_its_success() {
    let cluster = &redis();
    let plain = Arc::new(client(&cluster.url()));
    let key = key_of(0, 3, 4);
    assert_eq!(say(&plain, &format!("SET {key} v")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    let replica = plain
        .with("read_from", "replica")
        .with("attempt_timeout_ms", "300")
        .readonly();
    let port = cluster.replicas_of(slot_of(key.as_bytes())).unwrap()[0];
    let (set, get) = (format!("SET {key} v"), format!("GET {key}"));
    let read = || {
        let (got, time) = timed(|| say(&replica, &get));
        assert_eq!(got, "v");
        assert!(time < 1500 * MS, "{time:?}");
    };
    // Whoever needs the primary notices nothing.
    let beside = || {
        let (got, time) = timed(|| [vec![say(&plain, &set)], say_all(&plain, &[&set, &get])]);
        assert_eq!(got.concat(), ["OK", "OK", "v"]);
        assert!(time < 250 * MS, "{time:?}");
    };
    let set_to = |name: &str, value: &str| {
        let set = ["CONFIG", "SET", name, value];
        assert_eq!(cluster.command(port, &set).unwrap().text(), "OK");
    };
    back_at(cluster, port, &read);
    for day in ["LOADING", "MASTERDOWN", "SIGSTOP", "SIGKILL"] {
        match day {
            "LOADING" => {
                // So slowly that somebody sees it: all keys come anew, 3 ms for each.
                let sets: Vec<String> = (0..500)
                    .map(|n| format!("SET {{{key}}}{n} {n:0100}"))
                    .collect();
                assert!(say_all(&plain, &sets).iter().all(|got| got == "OK"));
                set_to("key-load-delay", "3000");
                set_to("loading-process-events-interval-bytes", "1024");
                let primary = cluster.primary_of(slot_of(key.as_bytes())).unwrap();
                for words in [
                    &["DEBUG", "CHANGE-REPL-ID"][..],
                    &["CLIENT", "KILL", "TYPE", "replica"],
                ] {
                    assert!(!cluster.command(primary, words).unwrap().is_error());
                }
                until("it loads", || {
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
                assert_eq!(say(&plain, &format!("DEL {}", keys.join(" "))), "500");
            }
            "MASTERDOWN" => {
                cluster.resume_replication(port).unwrap();
                set_to("replica-serve-stale-data", "yes");
            }
            "SIGSTOP" => cluster.cont(port).unwrap(),
            _ => cluster.restart(port).unwrap(),
        }
        cluster.wait_healthy().unwrap();
        let took = back_at(cluster, port, &read);
        println!("{day}: read from again after {took:?}");
    }
}

#[test]
fn a_promoted_replica_and_a_demoted_primary_are_known_to_one_who_only_reads() {
    let cluster = &redis();
    let plain = client(&cluster.url());
    let key = key_of(1, 3, 5);
    assert_eq!(say(&plain, &format!("SET {key} v")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    // A client of its own, which nobody's MOVED tells anything.
    let replica = client(&cluster.url())
        .with("read_from", "replica")
        .readonly();
    let slot = slot_of(key.as_bytes());
    let (primary, promoted) = (
        cluster.primary_of(slot).unwrap(),
        cluster.replicas_of(slot).unwrap()[0],
    );
    let read = || assert_eq!(say(&replica, &format!("GET {key}")), "v");
    read();
    cluster.failover(promoted, Failover::Plain).unwrap();
    let took = back_at(cluster, primary, &read);
    let gets = || cluster.commandstats(promoted, "get").unwrap();
    let before = gets();
    for _ in 0..50 {
        read();
    }
    assert_eq!(gets(), before, "it is the primary now");
    println!("noticed after {took:?}");
    assert_eq!(stat(&replica, "moved"), 0);
}
