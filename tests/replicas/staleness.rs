//! How fresh what a replica answers is: a bound, one's own writes, and never backwards. Scripted nodes
//! say how far they have got.

use crate::common::{ask, client, code, is, say, say_all, stat, until};
use crate::{asked, field, redis};
use rediscluster::error::Code;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Action, FakeCluster, slot_of};

const MS: Duration = Duration::from_millis(1);

/// What a node says of its replication, and what it answers to GET.
#[derive(Clone)]
struct Told {
    role: &'static str,
    link: &'static str,
    history: char,
    offset: u64,
    value: &'static str,
    delay: Duration,
}

type Hand = Arc<Mutex<Told>>;

/// A primary (node 0) and replicas that all have got to 100.
fn told(replicas: usize) -> (FakeCluster, Vec<Hand>) {
    let fake = FakeCluster::with_replicas(1, replicas);
    let hands = (0..=replicas).map(|node| {
        let hand = Arc::new(Mutex::new(Told {
            role: if node == 0 { "master" } else { "slave" },
            link: "up",
            history: 'a',
            offset: 100,
            value: if node == 0 { "primary" } else { "replica" },
            delay: Duration::ZERO,
        }));
        let (now, mut other) = (hand.clone(), fake.default_answer(node));
        fake.on(node, move |connection, command| {
            let told = now.lock().unwrap().clone();
            if is(command, "INFO replication") {
                let text = format!(
                    "# Replication\r\nrole:{}\r\nmaster_link_status:{}\r\nslave_repl_offset:{}\r\n\
                     master_replid:{}\r\nmaster_repl_offset:{}\r\n",
                    told.role,
                    told.link,
                    told.offset,
                    told.history.to_string().repeat(40),
                    told.offset
                );
                return Some(Action::send(format!("${}\r\n{text}\r\n", text.len())));
            }
            let reply = match is(command, "GET k") {
                true => format!("+{}\r\n", told.value).into_bytes(),
                false => other(connection, command),
            };
            Some(match told.delay {
                Duration::ZERO => Action::Send(reply),
                delay => Action::Delay(delay, Box::new(Action::Send(reply))),
            })
        });
        hand
    });
    let hands = hands.collect();
    (fake, hands)
}

fn tell(hand: &Hand, change: impl FnOnce(&mut Told)) {
    change(&mut hand.lock().unwrap());
}

#[test]
fn a_replica_serves_as_long_as_it_is_shown_to_be_within_the_bound() {
    let (fake, hands) = told(1);
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "300");
    assert_eq!(say(&bounded, "GET k"), "replica", "proved by the very call");
    assert_eq!(asked(&fake, 2, "INFO"), [1, 1]);
    // With what is shown many reads are served.
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(say(&bounded, "GET k"), "replica");
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
    // It stands still, with its link up, while the primary goes on.
    tell(&hands[0], |primary| primary.offset = 200);
    let stopped = Instant::now();
    let mut last = Duration::ZERO;
    while stopped.elapsed() < 700 * MS {
        let begun = stopped.elapsed();
        if say(&bounded, "GET k") == "replica" {
            last = begun;
        }
    }
    assert!(last < 300 * MS, "still read from after {last:?}");
    assert!(last > 50 * MS, "what was shown holds for a while: {last:?}");
    assert!(stat(&bounded, "reads_skipped_stale") > 0);
    assert_eq!(field(&bounded, fake.port(1), "lag_bytes"), "100");
    // It is behind by no more than the bound: what it lacks is younger.
    tell(&hands[1], |replica| replica.offset = 200);
    until("it is read from again", || {
        say(&bounded, "GET k") == "replica"
    });
}

#[test]
fn a_replica_that_is_always_a_little_behind_is_dated_by_what_it_has() {
    let (fake, hands) = told(1);
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "400");
    // The primary writes 100 bytes with every question, and the replica is behind by 150.
    let (primary, replica) = (hands[0].clone(), hands[1].clone());
    let mut served = 0;
    let began = Instant::now();
    while began.elapsed() < 1200 * MS {
        let probes = fake.node(0).calls("INFO") as u64;
        tell(&primary, |p| p.offset = 1000 + probes * 100);
        tell(&replica, |r| r.offset = 850 + probes * 100);
        served += usize::from(say(&bounded, "GET k") == "replica");
    }
    assert!(served > 100, "{served}");
    let lag: i64 = field(&bounded, fake.port(1), "lag_ms").parse().unwrap();
    assert!(lag > 0, "{lag}");
    assert_eq!(field(&bounded, fake.port(1), "lag_bytes"), "150");
}

#[test]
fn a_replica_without_a_link_of_another_history_or_another_role_serves_nothing() {
    type Change = fn(&mut Told);
    for (what, change) in [
        ("link", (|t| t.link = "down") as Change),
        ("history", |t| t.history = 'b'),
        ("role", |t| t.role = "master"),
        ("offset", |t| t.offset = 99),
    ] {
        let (fake, hands) = told(2);
        tell(&hands[1], change);
        let bounded = client(&fake.url())
            .with("read_from", "replica")
            .with("max_staleness_ms", "10000");
        for _ in 0..40 {
            assert_eq!(say(&bounded, "GET k"), "replica", "the other one");
        }
        assert_eq!(asked(&fake, 3, "GET"), [0, 0, 40], "{what}");
    }
    // And a primary that says it is none proves nothing at all.
    let (fake, hands) = told(1);
    tell(&hands[0], |primary| primary.role = "slave");
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "10000");
    assert_eq!(say(&bounded, "GET k"), "primary");
    let slots = fake.calls("CLUSTER");
    say(&bounded, "GET k");
    assert!(
        slots >= 2,
        "the topology is looked at again: {slots} questions"
    );
}

#[test]
fn a_reply_that_comes_when_the_bound_has_run_out_is_not_delivered() {
    let (fake, hands) = told(1);
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "200");
    assert_eq!(say(&bounded, "GET k"), "replica");
    tell(&hands[1], |replica| replica.delay = 400 * MS);
    tell(&hands[0], |primary| primary.offset = 200);
    assert_eq!(say(&bounded, "GET k"), "primary");
    assert_eq!(stat(&bounded, "reads_stale_rejected"), 1);
    // In a pipeline neither.
    tell(&hands[0], |primary| primary.offset = 100);
    tell(&hands[1], |replica| replica.delay = Duration::ZERO);
    let bounded = Arc::new(bounded);
    until("it is shown to be fresh", || {
        say_all(&bounded, &["GET k", "GET k"]) == ["replica", "replica"]
    });
    tell(&hands[1], |replica| replica.delay = 400 * MS);
    tell(&hands[0], |primary| primary.offset = 200);
    let got = say_all(&bounded, &["GET k", "GET k"]);
    assert_eq!(got, ["primary", "primary"]);
}

#[test]
fn an_idle_client_asks_nothing_and_one_that_sets_no_bound_never_does() {
    let (fake, _hands) = told(1);
    let plain = client(&fake.url()).with("read_from", "any");
    for _ in 0..50 {
        say(&plain, "GET k");
    }
    assert_eq!(fake.calls("INFO"), 0);
    let bounded = plain.with("max_staleness_ms", "100");
    for _ in 0..50 {
        say(&bounded, "GET k");
    }
    let commands = || {
        (0..2)
            .map(|n| fake.node(n).received_text().concat().len())
            .sum::<usize>()
    };
    let before = commands();
    let idle = Instant::now();
    until("a while", || idle.elapsed() > 500 * MS);
    assert_eq!(commands(), before);
}

#[test]
fn a_node_that_does_not_tell_how_far_it_is_is_not_waited_for_again_and_again() {
    let (fake, hands) = told(2);
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "400")
        .with("attempt_timeout_ms", "400");
    // It serves commands, but not this one (a rule of access, a proxy).
    let mut other = fake.default_answer(1);
    fake.on(1, move |connection, command| {
        Some(match is(command, "INFO") {
            true => Action::Nothing,
            false => Action::Send(other(connection, command)),
        })
    });
    drop(hands);
    let began = Instant::now();
    let (mut slow, mut reads, mut primary) = (0, 0, 0);
    while began.elapsed() < 2000 * MS {
        let begun = Instant::now();
        // What the other was shown to have may have grown old while it was waited for.
        primary += usize::from(say(&bounded, "GET k") == "primary");
        slow += usize::from(begun.elapsed() > 90 * MS);
        reads += 1;
    }
    assert_eq!(fake.node(1).calls("GET"), 0);
    assert!(
        primary * 10 < reads,
        "{primary} of {reads} reads were the primary's"
    );
    assert!(slow <= 8, "{slow} of {reads} reads waited for it");
    assert!(stat(&bounded, "lag_probe_failures") >= 2);
}

#[test]
fn a_slot_that_was_written_to_is_read_at_its_primary_until_a_replica_has_caught_up() {
    let (fake, hands) = told(1);
    let plain = client(&fake.url());
    let reader = plain
        .with("read_from", "replica")
        .with("read_your_writes", "yes");
    until("nothing has been written", || {
        say(&reader, "GET k") == "replica"
    });
    // A twin's write is one's own, and one whose reply was lost may have been executed.
    for lost in [false, true] {
        tell(&hands[0], |primary| primary.offset += 100);
        if lost {
            let mut other = fake.default_answer(0);
            let hand = hands[0].clone();
            fake.on(0, move |connection, command| {
                let told = hand.lock().unwrap().clone();
                Some(match command {
                    c if is(c, "SET k") => Action::Close,
                    c if is(c, "INFO") => {
                        let text = format!(
                            "role:master\r\nmaster_replid:{}\r\nmaster_repl_offset:{}\r\n",
                            "a".repeat(40),
                            told.offset
                        );
                        Action::send(format!("${}\r\n{text}\r\n", text.len()))
                    }
                    c if is(c, "GET k") => Action::send("+primary\r\n"),
                    c => Action::Send(other(connection, c)),
                })
            });
            assert_eq!(code(ask(&plain, "SET k v").view()), Code::Io);
        } else {
            assert_eq!(say(&plain, "SET k v"), "OK");
        }
        let begun = Instant::now();
        while begun.elapsed() < 300 * MS {
            assert_eq!(say(&reader, "GET k"), "primary", "lost: {lost}");
        }
        tell(&hands[1], |replica| replica.offset += 100);
        until("the replica has caught up", || {
            say(&reader, "GET k") == "replica"
        });
    }
    // A write to another slot is none to this one.
    assert_ne!(slot_of(b"k"), slot_of(b"other"));
    tell(&hands[0], |primary| primary.offset += 1);
    assert_eq!(say(&plain, "SET other v"), "OK");
    assert_eq!(say(&reader, "GET k"), "replica");
}

#[test]
fn a_read_never_goes_back_behind_what_was_seen() {
    let (fake, hands) = told(2);
    let plain = client(&fake.url());
    let monotonic = plain.with("read_from", "replica").with("monotonic", "yes");
    // One node serves a slot, as long as it can.
    let used = |n: usize| (fake.node(1).calls("GET"), fake.node(2).calls("GET"), n);
    for _ in 0..30 {
        assert_eq!(say(&monotonic, "GET k"), "replica");
    }
    let (one, two, _) = used(0);
    assert_eq!(one.max(two), 30, "{one} and {two}");
    let (mine, other) = if one == 30 { (1, 2) } else { (2, 1) };
    assert_eq!(fake.calls("INFO"), 0, "which needs no proof");
    // It goes, and the other is behind: only the primary has what was seen.
    tell(&hands[other], |behind| behind.offset = 50);
    fake.on(mine, |_, command| {
        is(command, "GET").then(|| Action::send("-LOADING the dataset\r\n"))
    });
    let begun = Instant::now();
    while begun.elapsed() < 200 * MS {
        assert_eq!(say(&monotonic, "GET k"), "primary");
    }
    // The other has caught up with the primary, of which the newest was seen meanwhile.
    tell(&hands[other], |behind| behind.offset = 100);
    until("the other serves", || say(&monotonic, "GET k") == "replica");
    assert!(fake.node(other).calls("GET") > 0);
    // A handle of its own for each thread changes nothing: what one saw the other has seen.
    let twin = plain.with("read_from", "any").with("monotonic", "yes");
    tell(&hands[other], |behind| behind.offset = 50);
    tell(&hands[other], |behind| behind.value = "old");
    fake.on(other, |_, command| {
        is(command, "GET").then(|| Action::send("-LOADING the dataset\r\n"))
    });
    assert_eq!(say(&monotonic, "GET k"), "primary");
    fake.off(other);
    for _ in 0..20 {
        assert_eq!(say(&twin, "GET k"), "primary");
    }
}

#[test]
fn a_hundred_thousand_pairs_in_pipelines_are_never_stale_while_replication_stands_still() {
    let cluster = &redis();
    let any = Arc::new(client(&cluster.url()).with("read_from", "replica"));
    let replicas: Vec<u16> = [0, 8000, 16000]
        .map(|slot| cluster.replicas_of(slot).unwrap()[0])
        .to_vec();
    for replica in &replicas {
        cluster.pause_replication(*replica).unwrap();
    }
    let mut pairs = 0;
    for round in 0..50 {
        let commands: Vec<String> = (0..2000)
            .flat_map(|n| [format!("SET pair{n} {round}"), format!("GET pair{n}")])
            .collect();
        let got = say_all(&any, &commands);
        for pair in got.chunks(2) {
            assert_eq!(pair, ["OK", &round.to_string()]);
            pairs += 1;
        }
    }
    assert_eq!(pairs, 100_000);
    for replica in &replicas {
        cluster.resume_replication(*replica).unwrap();
    }
    cluster.wait_replicas_in_sync().unwrap();
}

#[test]
fn a_primary_that_has_been_demoted_is_not_believed_to_be_one() {
    let fake = FakeCluster::with_replicas(1, 1);
    let there = format!("127.0.0.1:{}", fake.port(1));
    let mut readonly = std::collections::HashSet::new();
    let mut other = fake.default_answer(0);
    // It serves what it has to those who said READONLY, as any replica does.
    fake.on(0, move |connection, command| {
        if is(command, "READONLY") {
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
        let get = is(command, "GET").then(|| Action::send("+new\r\n"));
        get.or(is(command, "SET").then(|| Action::send("+OK\r\n")))
    });
    // Nothing is shown of either, so only the primary will do.
    let bounded = client(&fake.url())
        .with("read_from", "any")
        .with("max_staleness_ms", "1000");
    for _ in 0..20 {
        assert_eq!(say(&bounded, "GET k"), "new");
    }
    // And one's own write in a pipeline is read where it was written.
    for _ in 0..5 {
        let any = Arc::new(client(&fake.url()).with("read_from", "any"));
        assert_eq!(say_all(&any, &["SET k v", "GET k"]), ["OK", "new"]);
    }
}

#[test]
fn what_was_shown_of_a_replica_is_forgotten_when_it_may_have_started_again() {
    let (fake, hands) = told(1);
    let bounded = client(&fake.url())
        .with("read_from", "replica")
        .with("max_staleness_ms", "60000");
    let monotonic = bounded
        .with("max_staleness_ms", "0")
        .with("monotonic", "yes");
    until("both read from it", || {
        say(&bounded, "GET k") == "replica" && say(&monotonic, "GET k") == "replica"
    });
    // Its process ends, and another begins with what was saved long ago, without a link.
    tell(&hands[1], |replica| replica.link = "down");
    let before = fake.node(1).received_text().len();
    let mut other = fake.default_answer(1);
    fake.on(1, move |connection, command| {
        Some(match command {
            _ if connection < before => Action::Close,
            c if is(c, "INFO") => {
                let text = "role:slave\r\nmaster_link_status:down\r\nslave_repl_offset:0\r\n";
                Action::send(format!("${}\r\n{text}\r\n", text.len()))
            }
            c if is(c, "GET k") => Action::send("+old\r\n"),
            c => Action::Send(other(connection, c)),
        })
    });
    let began = Instant::now();
    while began.elapsed() < 800 * MS {
        assert_eq!(say(&bounded, "GET k"), "primary");
        assert_eq!(say(&monotonic, "GET k"), "primary");
    }
}
