//! Consistency of replica reads: bounded staleness, read your writes, monotonic reads. The scripted nodes report their
//! replication offsets.

use crate::common::load::assert_pairs_are_current_while_replication_is_paused;
use crate::common::{client, code, is_command, run, run_all, send, stat, wait_for};
use crate::{asked, field, redis};
use rediscluster::error::Code;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Action, FakeCluster, slot_of};

const MS: Duration = Duration::from_millis(1);

/// What a node reports about its replication, and its reply to GET.
#[derive(Clone)]
struct Reported {
    role: &'static str,
    link: &'static str,
    history: char,
    offset: u64,
    value: &'static str,
    delay: Duration,
}

type Shared = Arc<Mutex<Reported>>;

/// A primary (node 0) and replicas, all at offset 100.
fn reports(replicas: usize) -> (FakeCluster, Vec<Shared>) {
    let fake = FakeCluster::with_replicas(1, replicas);
    let hands = (0..=replicas).map(|node| {
        let hand = Arc::new(Mutex::new(Reported {
            role: if node == 0 { "master" } else { "slave" },
            link: "up",
            history: 'a',
            offset: 100,
            value: if node == 0 { "primary" } else { "replica" },
            delay: Duration::ZERO,
        }));
        let (now, mut other) = (hand.clone(), fake.default_answer(node));
        fake.on(node, move |connection, command| {
            let reports = now.lock().unwrap().clone();
            if is_command(command, "INFO replication") {
                let text = format!(
                    "# Replication\r\nrole:{}\r\nmaster_link_status:{}\r\nslave_repl_offset:{}\r\n\
                     master_replid:{}\r\nmaster_repl_offset:{}\r\n",
                    reports.role,
                    reports.link,
                    reports.offset,
                    reports.history.to_string().repeat(40),
                    reports.offset
                );
                return Some(Action::send(format!("${}\r\n{text}\r\n", text.len())));
            }
            let reply = match is_command(command, "GET k") {
                true => format!("+{}\r\n", reports.value).into_bytes(),
                false => other(connection, command),
            };
            Some(match reports.delay {
                Duration::ZERO => Action::Send(reply),
                delay => Action::Delay(delay, Box::new(Action::Send(reply))),
            })
        });
        hand
    });
    let hands = hands.collect();
    (fake, hands)
}

fn report(hand: &Shared, change: impl FnOnce(&mut Reported)) {
    change(&mut hand.lock().unwrap());
}

#[test]
fn replica_serves_while_proven_within_staleness_bound() {
    let (fake, hands) = reports(1);
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "300");
    assert_eq!(run(&bounded, "GET k"), "replica", "proven by this call");
    assert_eq!(asked(&fake, 2, "INFO"), [1, 1]);
    // One proof serves many reads.
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(run(&bounded, "GET k"), "replica");
    }
    let probes = fake.node(1).calls("INFO") as u128;
    assert!(
        probes <= 2 + began.elapsed().as_millis() / 100,
        "{probes} probes in {:?}",
        began.elapsed()
    );
    assert_eq!(field(&bounded, fake.port(1), "link"), "up");
    assert_eq!(field(&bounded, fake.port(1), "lag_bytes"), "0");
    let lag: i64 = field(&bounded, fake.port(1), "lag_ms").parse().unwrap();
    assert!((0..=300).contains(&lag), "{lag}");
    // The replica stops at its offset, with its link up, while the primary continues.
    report(&hands[0], |primary| primary.offset = 200);
    let stopped = Instant::now();
    let mut last = Duration::ZERO;
    while stopped.elapsed() < 700 * MS {
        let begun = stopped.elapsed();
        if run(&bounded, "GET k") == "replica" {
            last = begun;
        }
    }
    assert!(last < 300 * MS, "still read after {last:?}");
    assert!(last > 50 * MS, "the proof holds for a while: {last:?}");
    assert!(stat(&bounded, "reads_skipped_stale") > 0);
    assert_eq!(field(&bounded, fake.port(1), "lag_bytes"), "100");
    // It lags by less than the bound: the missing data is younger.
    report(&hands[1], |replica| replica.offset = 200);
    wait_for("the node is read again", || {
        run(&bounded, "GET k") == "replica"
    });
}

#[test]
fn lagging_replica_is_dated_by_its_reached_offset() {
    let (fake, hands) = reports(1);
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "400");
    // The primary advances by 100 bytes with every probe, and the replica lags by 150.
    let (primary, replica) = (hands[0].clone(), hands[1].clone());
    let mut served = 0;
    let began = Instant::now();
    while began.elapsed() < 1200 * MS {
        let probes = fake.node(0).calls("INFO") as u64;
        report(&primary, |p| p.offset = 1000 + probes * 100);
        report(&replica, |r| r.offset = 850 + probes * 100);
        served += usize::from(run(&bounded, "GET k") == "replica");
    }
    assert!(served > 100, "{served}");
    let lag: i64 = field(&bounded, fake.port(1), "lag_ms").parse().unwrap();
    assert!(lag > 0, "{lag}");
    assert_eq!(field(&bounded, fake.port(1), "lag_bytes"), "150");
}

#[test]
fn unlinked_or_diverged_replica_serves_no_bounded_read() {
    type Change = fn(&mut Reported);
    for (what, change) in [
        ("link", (|t| t.link = "down") as Change),
        ("history", |t| t.history = 'b'),
        ("role", |t| t.role = "master"),
        ("offset", |t| t.offset = 99),
    ] {
        let (fake, hands) = reports(2);
        report(&hands[1], change);
        let bounded = client(&fake.url())
            .with("read_from", "replica")
            .with("max_staleness_ms", "10000");
        for _ in 0..40 {
            assert_eq!(run(&bounded, "GET k"), "replica", "the other replica");
        }
        assert_eq!(asked(&fake, 3, "GET"), [0, 0, 40], "{what}");
    }
    // A node that reports another role than primary proves nothing.
    let (fake, hands) = reports(1);
    report(&hands[0], |primary| primary.role = "slave");
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "10000");
    assert_eq!(run(&bounded, "GET k"), "primary");
    wait_for("the topology is looked at again", || {
        run(&bounded, "GET k");
        fake.calls("CLUSTER SLOTS") >= 2
    });
}

#[test]
fn reply_after_staleness_bound_is_rejected() {
    let (fake, hands) = reports(1);
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "200");
    assert_eq!(run(&bounded, "GET k"), "replica");
    report(&hands[1], |replica| replica.delay = 400 * MS);
    report(&hands[0], |primary| primary.offset = 200);
    assert_eq!(run(&bounded, "GET k"), "primary");
    assert_eq!(stat(&bounded, "reads_stale_rejected"), 1);
    // The same in a pipeline.
    report(&hands[0], |primary| primary.offset = 100);
    report(&hands[1], |replica| replica.delay = Duration::ZERO);
    let bounded = Arc::new(bounded);
    wait_for("the replica is proven to be fresh", || {
        run_all(&bounded, &["GET k", "GET k"]) == ["replica", "replica"]
    });
    report(&hands[1], |replica| replica.delay = 400 * MS);
    report(&hands[0], |primary| primary.offset = 200);
    let got = run_all(&bounded, &["GET k", "GET k"]);
    assert_eq!(got, ["primary", "primary"]);
}

#[test]
fn freshness_is_probed_only_for_bounded_reads() {
    let (fake, _hands) = reports(1);
    let plain = client(&fake.url()).with("read_from", "any");
    for _ in 0..50 {
        run(&plain, "GET k");
    }
    assert_eq!(fake.calls("INFO"), 0);
    let bounded = plain.with("max_staleness_ms", "100");
    for _ in 0..50 {
        run(&bounded, "GET k");
    }
    let commands = || {
        (0..2)
            .map(|n| fake.node(n).received_text().concat().len())
            .sum::<usize>()
    };
    // A probe goes out with a read, which does not wait for it.
    let mut before = commands();
    wait_for("the nodes have read every probe", || {
        std::thread::sleep(200 * MS);
        std::mem::replace(&mut before, commands()) == before
    });
    let idle = Instant::now();
    wait_for("the time is over", || idle.elapsed() > 500 * MS);
    assert_eq!(commands(), before);
}

#[test]
fn silent_freshness_probe_is_not_repeated_for_every_read() {
    let (fake, hands) = reports(2);
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "400")
        .with("attempt_timeout_ms", "400");
    // It serves commands, but not this one (an access rule, a proxy).
    let mut other = fake.default_answer(1);
    fake.on(1, move |connection, command| {
        Some(match is_command(command, "INFO") {
            true => Action::Nothing,
            false => Action::Send(other(connection, command)),
        })
    });
    drop(hands);
    let began = Instant::now();
    let (mut slow, mut reads, mut primary) = (0, 0, 0);
    while began.elapsed() < 2000 * MS {
        let begun = Instant::now();
        // The proof of the other replica may expire during the wait.
        primary += usize::from(run(&bounded, "GET k") == "primary");
        slow += usize::from(begun.elapsed() > 90 * MS);
        reads += 1;
    }
    assert_eq!(fake.node(1).calls("GET"), 0);
    assert!(
        primary * 10 < reads,
        "the primary served {primary} of {reads} reads"
    );
    assert!(slow <= 8, "{slow} of {reads} reads waited for the probe");
    assert!(stat(&bounded, "lag_probe_failures") >= 2);
}

#[test]
fn written_slot_reads_primary_until_replica_catches_up() {
    let (fake, hands) = reports(1);
    let plain = client(&fake.url());
    let reader = plain
        .with("read_from", "replica")
        .with("read_your_writes", "yes");
    wait_for("nothing has been written", || {
        run(&reader, "GET k") == "replica"
    });
    // A write through a derived handle counts as the caller's own, and a write with a lost reply may have run.
    for lost in [false, true] {
        report(&hands[0], |primary| primary.offset += 100);
        if lost {
            let mut other = fake.default_answer(0);
            let hand = hands[0].clone();
            fake.on(0, move |connection, command| {
                let reports = hand.lock().unwrap().clone();
                Some(match command {
                    c if is_command(c, "SET k") => Action::Close,
                    c if is_command(c, "INFO") => {
                        let text = format!(
                            "role:master\r\nmaster_replid:{}\r\nmaster_repl_offset:{}\r\n",
                            "a".repeat(40),
                            reports.offset
                        );
                        Action::send(format!("${}\r\n{text}\r\n", text.len()))
                    }
                    c if is_command(c, "GET k") => Action::send("+primary\r\n"),
                    c => Action::Send(other(connection, c)),
                })
            });
            assert_eq!(code(send(&plain, "SET k v").view()), Code::Io);
        } else {
            assert_eq!(run(&plain, "SET k v"), "OK");
        }
        let begun = Instant::now();
        while begun.elapsed() < 300 * MS {
            assert_eq!(run(&reader, "GET k"), "primary", "lost: {lost}");
        }
        report(&hands[1], |replica| replica.offset += 100);
        wait_for("the replica has caught up", || {
            run(&reader, "GET k") == "replica"
        });
    }
    // A write to another slot does not affect this one.
    assert_ne!(slot_of(b"k"), slot_of(b"other"));
    report(&hands[0], |primary| primary.offset += 1);
    assert_eq!(run(&plain, "SET other v"), "OK");
    assert_eq!(run(&reader, "GET k"), "replica");
}

#[test]
fn monotonic_reads_never_return_older_data() {
    let (fake, hands) = reports(2);
    let plain = client(&fake.url());
    let monotonic = plain.with("read_from", "replica").with("monotonic", "yes");
    // One node serves a slot for as long as it can.
    let used = |n: usize| (fake.node(1).calls("GET"), fake.node(2).calls("GET"), n);
    for _ in 0..30 {
        assert_eq!(run(&monotonic, "GET k"), "replica");
    }
    let (one, two, _) = used(0);
    assert_eq!(one.max(two), 30, "{one} and {two}");
    let (mine, other) = if one == 30 { (1, 2) } else { (2, 1) };
    assert_eq!(fake.calls("INFO"), 0, "the primary needs no proof");
    // It fails while the other replica lags: only the primary has the data that was read.
    report(&hands[other], |behind| behind.offset = 50);
    fake.on(mine, |_, command| {
        is_command(command, "GET").then(|| Action::send("-LOADING the dataset\r\n"))
    });
    let begun = Instant::now();
    while begun.elapsed() < 200 * MS {
        assert_eq!(run(&monotonic, "GET k"), "primary");
    }
    // The other replica has caught up with the primary, which served the newest data.
    report(&hands[other], |behind| behind.offset = 100);
    wait_for("the other serves", || run(&monotonic, "GET k") == "replica");
    assert!(fake.node(other).calls("GET") > 0);
    // The session is shared: handles of other threads see the same.
    let derived = plain.with("read_from", "any").with("monotonic", "yes");
    report(&hands[other], |behind| behind.offset = 50);
    report(&hands[other], |behind| behind.value = "old");
    fake.on(other, |_, command| {
        is_command(command, "GET").then(|| Action::send("-LOADING the dataset\r\n"))
    });
    assert_eq!(run(&monotonic, "GET k"), "primary");
    fake.off(other);
    for _ in 0..20 {
        assert_eq!(run(&derived, "GET k"), "primary");
    }
}

#[test]
fn read_your_writes_holds_while_replication_is_paused() {
    let cluster = &redis();
    let any = Arc::new(client(&cluster.url()).with("read_from", "replica"));
    // 100,000 pairs.
    assert_pairs_are_current_while_replication_is_paused(cluster, &any, 2000);
}

#[test]
fn demoted_primary_is_not_trusted_as_fresh() {
    let fake = FakeCluster::with_replicas(1, 1);
    let there = format!("127.0.0.1:{}", fake.port(1));
    let mut readonly = std::collections::HashSet::new();
    let mut other = fake.default_answer(0);
    // It serves its data on READONLY connections, as any replica does.
    fake.on(0, move |connection, command| {
        if is_command(command, "READONLY") {
            readonly.insert(connection);
        }
        let slot = slot_of(b"k");
        Some(match (&command[..], readonly.contains(&connection)) {
            ([name, ..], true) if name == b"GET" => Action::send("+old\r\n"),
            ([name, ..], false) if name == b"GET" || name == b"SET" => {
                Action::send(format!("-MOVED {slot} {there}\r\n"))
            }
            _ => Action::Send(other(connection, command)),
        })
    });
    fake.on(1, |_, command| {
        let get = is_command(command, "GET").then(|| Action::send("+new\r\n"));
        get.or(is_command(command, "SET").then(|| Action::send("+OK\r\n")))
    });
    // Nothing is proven for either node, so only the primary is eligible.
    let bounded = client(&fake.url())
        .with("read_from", "any")
        .with("max_staleness_ms", "1000");
    for _ in 0..20 {
        assert_eq!(run(&bounded, "GET k"), "new");
    }
    // A pipeline reads its own write where it was written.
    for _ in 0..5 {
        let any = Arc::new(client(&fake.url()).with("read_from", "any"));
        assert_eq!(run_all(&any, &["SET k v", "GET k"]), ["OK", "new"]);
    }
}

#[test]
fn freshness_proof_is_dropped_when_replica_may_have_restarted() {
    let (fake, hands) = reports(1);
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "60000");
    let monotonic = bounded
        .with("max_staleness_ms", "0")
        .with("monotonic", "yes");
    wait_for("both read from it", || {
        run(&bounded, "GET k") == "replica" && run(&monotonic, "GET k") == "replica"
    });
    // The process ends, and another starts with an old snapshot and no link.
    report(&hands[1], |replica| replica.link = "down");
    let before = fake.node(1).received_text().len();
    let mut other = fake.default_answer(1);
    fake.on(1, move |connection, command| {
        Some(match command {
            _ if connection < before => Action::Close,
            c if is_command(c, "INFO") => {
                let text = "role:slave\r\nmaster_link_status:down\r\nslave_repl_offset:0\r\n";
                Action::send(format!("${}\r\n{text}\r\n", text.len()))
            }
            c if is_command(c, "GET k") => Action::send("+old\r\n"),
            c => Action::Send(other(connection, c)),
        })
    });
    let began = Instant::now();
    while began.elapsed() < 800 * MS {
        assert_eq!(run(&bounded, "GET k"), "primary");
        assert_eq!(run(&monotonic, "GET k"), "primary");
    }
}
