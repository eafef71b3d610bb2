//! Each reply reaches its own command, even if replies around it are late, partial or lost.

use crate::common::proxies::{Proxies, connect_with_retries, seed};
use crate::common::serial::serial;
use crate::common::{
    client, code, is_command, is_sent, pipeline, run, run_all, send, show, timed, wait_for,
    wait_while,
};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Action, Chaos, FakeCluster};

const MS: Duration = Duration::from_millis(1);

#[test]
fn chaotic_network_delivers_no_reply_to_another_command() {
    let _serial = serial();
    let seed = seed();
    let fake = FakeCluster::new(2);
    let keys: Vec<String> = (0..500).map(|n| format!("unique{n}")).collect();
    for (n, key) in keys.iter().enumerate() {
        // Short and long values, so that every receive path is used.
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
    let proxies = Proxies::to([fake.port(0), fake.port(1)], chaos, seed);
    let url = format!("{}?{}&connections_per_node=3", fake.url(), proxies.option());
    let client = Arc::new(
        connect_with_retries(&url)
            .with("attempt_timeout_ms", "40")
            .with("timeout_ms", "120"),
    );
    let (good, failed, incrs) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let (acknowledged, uncertain) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(6);
    std::thread::scope(|scope| {
        for thread in 0..16usize {
            let (client, keys) = (client.clone(), &keys);
            let (good, failed, incrs) = (&good, &failed, &incrs);
            let (acknowledged, uncertain) = (&acknowledged, &uncertain);
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
                            let reply = send(&client, "INCR counter");
                            incrs.fetch_add(1, Ordering::Relaxed);
                            if code(reply.view()) == Code::Ok {
                                assert!(reply.view().int().is_some(), "{}", show(reply.view()));
                                acknowledged.fetch_add(1, Ordering::Relaxed);
                            } else if is_sent(reply.view()) {
                                uncertain.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        _ => check(key, send(&client, &format!("GET {key}")).view()),
                    }
                }
            });
        }
    });
    let cuts = proxies.cuts();
    let (good, failed) = (good.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!(
        "{good} good, {failed} failed, {cuts} cuts, {} INCRs",
        incrs.load(Ordering::Relaxed)
    );
    assert!(
        good > 500 && failed > 0 && cuts > 20,
        "{good} good, {failed} failed, {cuts} cuts"
    );
    drop(proxies);
    let ran: u64 = String::from_utf8(fake.value("counter").unwrap())
        .unwrap()
        .parse()
        .unwrap();
    let (acknowledged, uncertain) = (acknowledged.into_inner(), uncertain.into_inner());
    assert!(
        acknowledged <= ran && ran <= acknowledged + uncertain,
        "{acknowledged} acknowledged, {uncertain} uncertain, {ran} ran"
    );
}

#[test]
fn reply_split_at_any_byte_is_decoded() {
    let _serial = serial();
    let reply = b"*3\r\n*2\r\n$3\r\nabc\r\n:7\r\n%1\r\n+k\r\n,1.5\r\n$-1\r\n$2\r\nok\r\n";
    let nested = reply.len() - b"$2\r\nok\r\n".len();
    let fake = FakeCluster::new(1);
    let client = Arc::new(client(&fake.url()));
    for cut in 1..nested {
        let (first, second) = (reply[..cut].to_vec(), reply[cut..nested].to_vec());
        let mut stage = 0;
        // The second part arrives later than the first.
        let once = Arc::new(AtomicUsize::new(0));
        let seen = once.clone();
        fake.on(0, move |_, command| {
            if !is_command(command, "LRANGE") {
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
            run(&client, "LRANGE k 0 -1"),
            "[[abc, 7], [k, 1.5], nil]",
            "cut at {cut}"
        );
        assert_eq!(once.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn leader_timeout_inside_reply_keeps_reply_for_its_owner() {
    let _serial = serial();
    // One connection, many threads, and replies in small parts. Threads with short timeouts lead for a while and give
    // up inside a nested array of another thread.
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        is_command(command, "LRANGE").then(|| {
            let key = String::from_utf8_lossy(&command[1]).into_owned();
            let value = support::wire::bulk(&key);
            let pair = support::wire::array(&[value.clone(), value]);
            let nested = support::wire::array(&[pair.clone(), pair.clone(), pair]);
            Action::SendSlow(nested, 17, MS)
        })
    });
    let url = fake.url() + "?connections_per_node=1&attempt_timeout_ms=3000&timeout_ms=8000";
    let long_timeout = Arc::new(client(&url));
    let short_timeout = Arc::new(
        long_timeout
            .with("attempt_timeout_ms", "25")
            .with("timeout_ms", "25"),
    );
    let right = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let client = if thread % 2 == 0 {
                &long_timeout
            } else {
                &short_timeout
            };
            let (right, failed) = (&right, &failed);
            scope.spawn(move || {
                for n in 0..15 {
                    let key = format!("own{thread}:{n}");
                    let reply = send(client, &format!("LRANGE {key} 0 -1"));
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
fn timed_out_waiters_leave_connection_usable() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        (is_command(command, "GET slow")).then(|| {
            wait_while(&gate);
            Action::send("+slow\r\n")
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=1&attempt_timeout_ms=4000"),
    ));
    let short_timeout = Arc::new(client.with("timeout_ms", "30"));
    for waiting in [1, 64, 70, 130] {
        held.store(true, Ordering::SeqCst);
        let before = fake.calls("GET");
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| run(&client, "GET slow"));
            wait_for("the slow call is in flight", || fake.calls("GET") > before);
            let given_up: Vec<_> = (0..waiting)
                .map(|n| {
                    let short_timeout = &short_timeout;
                    scope.spawn(move || run(short_timeout, &format!("INCR given{n}")))
                })
                .collect();
            for one in given_up {
                let got = one.join().unwrap();
                assert!(got.ends_with("(TIMEOUT)"), "it was never sent: {got}");
            }
            held.store(false, Ordering::SeqCst);
            assert_eq!(slow.join().unwrap(), "slow");
        });
        assert_eq!(
            run_all(&client, &["SET k v", "GET k"]),
            ["OK", "v"],
            "{waiting} threads timed out"
        );
        assert_eq!(run(&client, "GET k"), "v");
    }
    assert_eq!(fake.calls("INCR"), 0);
}

#[test]
fn connection_loss_wakes_waiting_threads() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    fake.put("k", "v");
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        is_command(command, "INCR").then(|| {
            wait_while(&gate);
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
            let dying = scope.spawn(|| run(&client, "INCR n"));
            wait_for("the call is in flight", || fake.calls("INCR") > before);
            let waiting: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| timed(|| run(&client, "GET k"))))
                .collect();
            // Time for the threads to join the queue. A late one changes nothing.
            let moment = Instant::now();
            wait_for("2 ms have passed", || moment.elapsed() > 2 * MS);
            held.store(false, Ordering::SeqCst);
            assert!(dying.join().unwrap().ends_with("(IO, sent)"));
            for one in waiting {
                let (got, time) = one.join().unwrap();
                assert_eq!(got, "v");
                assert!(time < 1000 * MS, "blocked for {time:?}");
            }
        });
    }
}
