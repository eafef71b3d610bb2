//! Each reply reaches its own command, however late, partial or lost the replies around it are.

use crate::common::proxies::{Wires, patient, seed};
use crate::common::serial::serial;
use crate::common::{
    ask, client, code, hold, is, is_sent, pipeline, say, say_all, show, timed, until,
};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Action, Chaos, FakeCluster};

const MS: Duration = Duration::from_millis(1);

#[test]
fn no_reply_is_given_to_another_command_whatever_the_wire_does() {
    let _serial = serial();
    let seed = seed();
    let fake = FakeCluster::new(2);
    let keys: Vec<String> = (0..500).map(|n| format!("unique{n}")).collect();
    for (n, key) in keys.iter().enumerate() {
        // Short and long ones, so that every way of receiving is gone.
        let filler = "=".repeat([0, 10, 1000, 40_000][n % 4]);
        fake.put(key, format!("{key}{filler}"));
    }
    let chaos = Chaos {
        split: 7000,
        delays: 60,
        delay: 60 * MS,
        cuts: 15,
        ..Chaos::default()
    };
    let wires = Wires::to([fake.port(0), fake.port(1)], chaos, seed);
    let url = format!("{}?{}&connections_per_node=3", fake.url(), wires.option());
    let client = Arc::new(
        patient(&url)
            .with("attempt_timeout_ms", "40")
            .with("timeout_ms", "120"),
    );
    let (good, failed, incrs) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let (acked, doubtful) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(6);
    std::thread::scope(|scope| {
        for thread in 0..16usize {
            let (client, keys) = (client.clone(), &keys);
            let (good, failed, incrs) = (&good, &failed, &incrs);
            let (acked, doubtful) = (&acked, &doubtful);
            scope.spawn(move || {
                let mut n = thread;
                let check = |key: &str, got: rediscluster::resp::View<'_>| {
                    if code(got) == Code::Ok {
                        let text = got.text().unwrap_or_default();
                        let own = text.starts_with(key.as_bytes())
                            && text[key.len()..].iter().all(|b| *b == b'=');
                        let shown =
                            String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
                        assert!(own, "{key} got {shown}");
                        good.fetch_add(1, Ordering::Relaxed);
                    } else {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                };
                while Instant::now() < end {
                    n += 17;
                    let key = &keys[n % keys.len()];
                    match n % 5 {
                        0 => {
                            let some: Vec<&String> =
                                (0..10).map(|i| &keys[(n + i * 31) % keys.len()]).collect();
                            let gets: Vec<String> =
                                some.iter().map(|k| format!("GET {k}")).collect();
                            let reply = pipeline(&client, &gets);
                            for (key, got) in some.iter().zip(reply.view().elements()) {
                                check(key, got);
                            }
                        }
                        1 => {
                            let reply = ask(&client, "INCR counter");
                            incrs.fetch_add(1, Ordering::Relaxed);
                            if code(reply.view()) == Code::Ok {
                                assert!(reply.view().int().is_some(), "{}", show(reply.view()));
                                acked.fetch_add(1, Ordering::Relaxed);
                            } else if is_sent(reply.view()) {
                                doubtful.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        _ => check(key, ask(&client, &format!("GET {key}")).view()),
                    }
                }
            });
        }
    });
    let cuts = wires.cuts();
    let (good, failed) = (good.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!(
        "{good} good, {failed} failed, {cuts} cuts, {} INCRs",
        incrs.load(Ordering::Relaxed)
    );
    assert!(
        good > 500 && failed > 0 && cuts > 20,
        "{good} good, {failed} failed, {cuts} cuts"
    );
    drop(wires);
    let ran: u64 = String::from_utf8(fake.value("counter").unwrap())
        .unwrap()
        .parse()
        .unwrap();
    let (acked, doubtful) = (acked.into_inner(), doubtful.into_inner());
    assert!(
        acked <= ran && ran <= acked + doubtful,
        "{acked} acknowledged, {doubtful} in doubt, {ran} ran"
    );
}

#[test]
fn a_reply_may_come_in_two_at_any_byte() {
    let _serial = serial();
    let reply = b"*3\r\n*2\r\n$3\r\nabc\r\n:7\r\n%1\r\n+k\r\n,1.5\r\n$-1\r\n$2\r\nok\r\n";
    let nested = reply.len() - b"$2\r\nok\r\n".len();
    let fake = FakeCluster::new(1);
    let client = Arc::new(client(&fake.url()));
    for cut in 1..nested {
        let (first, second) = (reply[..cut].to_vec(), reply[cut..nested].to_vec());
        let mut stage = 0;
        // The second piece is the answer to a command that comes when the first has been read.
        let once = Arc::new(AtomicUsize::new(0));
        let seen = once.clone();
        fake.on(0, move |_, command| {
            if !is(command, "LRANGE") {
                return None;
            }
            stage += 1;
            seen.store(stage, Ordering::SeqCst);
            let rest = Action::Send(second.clone());
            Some(match stage {
                1 => Action::SendSlow([&first[..], &second[..]].concat(), first.len(), MS),
                _ => rest,
            })
        });
        assert_eq!(
            say(&client, "LRANGE k 0 -1"),
            "[[abc, 7], [k, 1.5], nil]",
            "cut at {cut}"
        );
        assert_eq!(once.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_leader_that_gives_up_in_the_middle_of_a_reply_leaves_it_whole_to_its_owner() {
    let _serial = serial();
    // One connection, many threads, replies that dribble in pieces: those with short deadlines
    // lead for a while and give up inside somebody's nested array.
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        is(command, "LRANGE").then(|| {
            let key = String::from_utf8_lossy(&command[1]).into_owned();
            let value = support::wire::bulk(&key);
            let pair = support::wire::array(&[value.clone(), value]);
            let nested = support::wire::array(&[pair.clone(), pair.clone(), pair]);
            Action::SendSlow(nested, 17, MS)
        })
    });
    let url = fake.url() + "?connections_per_node=1&attempt_timeout_ms=3000&timeout_ms=8000";
    let patient = Arc::new(client(&url));
    let hasty = Arc::new(
        patient
            .with("attempt_timeout_ms", "25")
            .with("timeout_ms", "25"),
    );
    let right = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let client = if thread % 2 == 0 { &patient } else { &hasty };
            let (right, failed) = (&right, &failed);
            scope.spawn(move || {
                for n in 0..15 {
                    let key = format!("own{thread}:{n}");
                    let reply = ask(client, &format!("LRANGE {key} 0 -1"));
                    if code(reply.view()) == Code::Ok {
                        let pair = format!("[{key}, {key}]");
                        assert_eq!(show(reply.view()), format!("[{pair}, {pair}, {pair}]"));
                        right.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let expected = matches!(code(reply.view()), Code::Timeout | Code::Io);
                        assert!(expected, "{}", show(reply.view()));
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (right, failed) = (right.into_inner(), failed.into_inner());
    assert!(
        right >= 60 && failed >= 20,
        "{right} right, {failed} failed"
    );
}

#[test]
fn a_connection_that_nobody_waited_for_is_not_lost_to_those_who_come_later() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        (is(command, "GET slow")).then(|| {
            hold(&gate);
            Action::send("+slow\r\n")
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=1&attempt_timeout_ms=4000"),
    ));
    let hasty = Arc::new(client.with("timeout_ms", "30"));
    for waiting in [1, 64, 70, 130] {
        held.store(true, Ordering::SeqCst);
        let before = fake.calls("GET");
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| say(&client, "GET slow"));
            until("the slow one is under way", || fake.calls("GET") > before);
            let given_up: Vec<_> = (0..waiting)
                .map(|n| {
                    let hasty = &hasty;
                    scope.spawn(move || say(hasty, &format!("INCR given{n}")))
                })
                .collect();
            for one in given_up {
                let got = one.join().unwrap();
                assert!(got.ends_with("(TIMEOUT)"), "it has never left: {got}");
            }
            held.store(false, Ordering::SeqCst);
            assert_eq!(slow.join().unwrap(), "slow");
        });
        assert_eq!(
            say_all(&client, &["SET k v", "GET k"]),
            ["OK", "v"],
            "{waiting} had given up"
        );
        assert_eq!(say(&client, "GET k"), "v");
    }
    assert_eq!(fake.calls("INCR"), 0);
}

#[test]
fn a_connection_that_dies_does_not_strand_those_who_waited_for_it() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    fake.put("k", "v");
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        is(command, "INCR").then(|| {
            hold(&gate);
            Action::Reset
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=1&attempt_timeout_ms=4000"),
    ));
    for _ in 0..20 {
        held.store(true, Ordering::SeqCst);
        let before = fake.calls("INCR");
        std::thread::scope(|scope| {
            let dying = scope.spawn(|| say(&client, "INCR n"));
            until("it is under way", || fake.calls("INCR") > before);
            let waiting: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| timed(|| say(&client, "GET k"))))
                .collect();
            // They join the line within a moment; one that comes too late proves nothing, and harms nothing.
            let moment = Instant::now();
            until("a moment has passed", || moment.elapsed() > 2 * MS);
            held.store(false, Ordering::SeqCst);
            assert!(dying.join().unwrap().ends_with("(IO, sent)"));
            for one in waiting {
                let (got, time) = one.join().unwrap();
                assert_eq!(got, "v");
                assert!(time < 1000 * MS, "stranded for {time:?}");
            }
        });
    }
}
