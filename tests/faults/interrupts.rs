//! Interrupts and closing end calls in every phase, and affect no other calls.

use crate::common::blackhole::Blackhole;
use crate::common::serial::serial;
use crate::common::{
    WAIT_LIMIT, client, is_command, is_sent, key_of, run, run_all, send, show, timed, wait_for,
    wait_while,
};
use rediscluster::cluster::Client;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};
use support::{Action, FakeCluster};

const MS: Duration = Duration::from_millis(1);

/// Interrupts calls in some phase and checks how long each then takes to end.
fn assert_interrupt_ends(
    what: &str,
    client: &Arc<Client>,
    threads: usize,
    call: impl Fn(&Arc<Client>) -> String + Sync,
    is_there: impl Fn() -> bool,
) {
    let mut times = Vec::new();
    for _ in 0..5 {
        let ended = Mutex::new(Vec::new());
        let begun = AtomicUsize::new(0);
        let mut fired = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    let got = call(client);
                    ended.lock().unwrap().push((Instant::now(), got));
                });
            }
            wait_for(what, || {
                begun.load(Ordering::SeqCst) == threads && is_there()
            });
            fired = Instant::now();
            client.interrupt();
            // A call that had not begun yet is not affected, and is interrupted again.
            while ended.lock().unwrap().len() < threads {
                if fired.elapsed() > Duration::from_secs(1) {
                    client.interrupt();
                    assert!(fired.elapsed() < WAIT_LIMIT, "{what}: not interrupted");
                }
                std::thread::yield_now();
            }
        });
        for (time, got) in ended.into_inner().unwrap() {
            assert!(got.contains("INTERRUPTED"), "{what}: {got}");
            times.push(time - fired);
        }
    }
    times.sort();
    let (half, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: {half:?}, at worst {worst:?}");
    // Many threads on two processors also wait for each other.
    let most = if threads > 4 { 30 * MS } else { 12 * MS };
    assert!(half <= most, "{what}: {times:?}");
}

#[test]
fn interrupt_ends_call_in_every_phase() {
    let _serial = serial();
    let hole = Blackhole::new();
    let fake = FakeCluster::new(2);
    let long = "?timeout_ms=30000&attempt_timeout_ms=30000&connect_timeout_ms=30000";
    let all = Arc::new(client(&(fake.url() + long)));
    let (key, other) = (key_of(0, 2, 1), key_of(1, 2, 2));
    let get = format!("GET {key}");
    fake.on(0, |_, command| {
        is_command(command, "GET").then_some(Action::Hang)
    });
    fake.on(1, |_, command| {
        is_command(command, "GET").then_some(Action::Hang)
    });
    let since = |name: &'static str| {
        let before = AtomicUsize::new(fake.calls(name));
        let fake = &fake;
        move || {
            let now = fake.calls(name);
            let more = now > before.load(Ordering::SeqCst);
            if more {
                before.store(now, Ordering::SeqCst);
            }
            more
        }
    };
    assert_interrupt_ends("a reply", &all, 1, |c| run(c, &get), since("GET"));
    assert_interrupt_ends(
        "a pinned reply",
        &Arc::new(all.pin(key.as_bytes())),
        1,
        |c| run(c, &get),
        since("GET"),
    );
    // Bytes arrive all the time, so that the call never blocks.
    let endless = [b"*1000000\r\n".to_vec(), b":1\r\n".repeat(100_000)].concat();
    fake.on(0, move |_, command| {
        is_command(command, "LRANGE").then(|| Action::SendSlow(endless.clone(), 4, MS / 5))
    });
    let lrange = format!("LRANGE {key} 0 -1");
    for (what, together) in [
        ("a long reply", false),
        ("a long reply in a pipeline", true),
    ] {
        let call = |c: &Arc<Client>| match together {
            true => run_all(c, std::slice::from_ref(&lrange)).concat(),
            false => run(c, &lrange),
        };
        assert_interrupt_ends(what, &all, 1, call, since("LRANGE"));
    }
    fake.on(0, |_, command| {
        is_command(command, "GET").then_some(Action::Hang)
    });
    let both = [get.clone(), format!("GET {other}")];
    assert_interrupt_ends(
        "a pipeline",
        &all,
        1,
        |c| run_all(c, &both).concat(),
        since("GET"),
    );
    assert_interrupt_ends(
        "sixteen threads on one connection",
        &all,
        16,
        |c| run(c, &get),
        since("GET"),
    );
    fake.on(0, |_, command| {
        is_command(command, "BLPOP").then_some(Action::Nothing)
    });
    let blpop = format!("BLPOP {key} 0");
    assert_interrupt_ends("BLPOP", &all, 1, |c| run(c, &blpop), since("BLPOP"));
    fake.on(0, |_, command| {
        is_command(command, "GET").then(|| Action::send("-CLUSTERDOWN The cluster is down\r\n"))
    });
    assert_interrupt_ends("a retry delay", &all, 1, |c| run(c, &get), since("GET"));
    // While connecting, no command arrives that could be counted.
    let map = format!("&address_map=127.0.0.1:{}={}", fake.port(1), hole.address);
    let seed = format!("redis://127.0.0.1:{}{long}{map}", fake.port(0));
    let through = Arc::new(client(&seed));
    let get = format!("GET {other}");
    assert_interrupt_ends(
        "connecting",
        &through,
        1,
        |c| run(c, &get),
        || hole.is_dialled(),
    );
    let fresh = Arc::new(client(&(fake.url() + long)));
    fake.on(1, |_, command| {
        is_command(command, "HELLO").then_some(Action::Hang)
    });
    assert_interrupt_ends("a handshake", &fresh, 1, |c| run(c, &get), since("HELLO"));
    for node in 0..2 {
        fake.on(node, |_, command| {
            is_command(command, "CLUSTER SLOTS").then_some(Action::Hang)
        });
    }
    let refresh = |c: &Arc<Client>| show(c.refresh().view());
    assert_interrupt_ends("a refresh", &fresh, 1, refresh, since("CLUSTER SLOTS"));
}

#[test]
fn interrupt_during_handshake_ends_call_before_send() {
    let _serial = serial();
    for (command, early) in [("SET k v", false), ("LRANGE k 0 1", false), ("GET k", true)] {
        for greeting in ["HELLO", "CLIENT"] {
            // A new node each time: an old one could read leftover input during the next call.
            let fake = FakeCluster::new(1);
            let client = Arc::new(client(&fake.url()));
            let (mut usual, its) = (fake.default_answer(0), client.clone());
            fake.on(0, move |connection, command| {
                is_command(command, greeting).then(|| {
                    its.interrupt();
                    // The reply comes at once, so that the call does not reach a wait.
                    Action::Send(usual(connection, command))
                })
            });
            let reply = send(&client, command);
            let got = show(reply.view());
            assert!(got.contains("INTERRUPTED"), "{greeting}: {got}");
            // A quick read is sent with the handshake, and its error reports that.
            assert_eq!(is_sent(reply.view()), early, "{greeting}: {command}");
            let name = command.split(' ').next().unwrap();
            assert!(early || fake.calls(name) == 0, "{greeting}: {command}");
        }
    }
}

#[test]
fn interrupt_affects_only_its_own_handle() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        is_command(command, "GET").then(|| {
            wait_while(&gate);
            Action::send("+late\r\n")
        })
    });
    let client = client(&(fake.url() + "?attempt_timeout_ms=20000&timeout_ms=20000"));
    let derived = client.with("timeout_ms", "20000");
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| run(&client, "GET k"));
        wait_for("the call is in flight", || fake.calls("GET") == 1);
        derived.interrupt();
        derived.close();
        held.store(false, Ordering::SeqCst);
        assert_eq!(kept.join().unwrap(), "late");
    });
    assert_eq!(run(&client, "SET k v"), "OK");
    assert!(run(&derived, "SET k v").ends_with("(CLOSED)"));
}

#[test]
fn close_ends_calls_of_all_threads() {
    let _serial = serial();
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        fake.on(node, |_, command| {
            is_command(command, "GET").then_some(Action::Hang)
        });
    }
    let client = Arc::new(client(
        &(fake.url() + "?timeout_ms=30000&attempt_timeout_ms=30000"),
    ));
    let start = Barrier::new(33);
    let mut closed = Instant::now();
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..32)
            .map(|n| {
                let (client, start) = (&client, &start);
                scope.spawn(move || {
                    start.wait();
                    let got = match n % 4 {
                        0 => {
                            run_all(client, &[format!("GET k{n}"), format!("SET l{n} v")]).concat()
                        }
                        1 => run(client, &format!("GET k{n}")),
                        2 => run(client, &format!("BLPOP k{n} 0")),
                        _ => run(client, &format!("GET k{n}")),
                    };
                    (got, Instant::now())
                })
            })
            .collect();
        start.wait();
        wait_for("the calls are in flight", || fake.calls("GET") > 4);
        closed = Instant::now();
        client.close();
        let took = closed.elapsed();
        assert!(took < 100 * MS, "the close itself: {took:?}");
        for call in calls {
            let (got, at) = call.join().unwrap();
            let expected = got.contains("(CLOSED") || got.contains("unknown command");
            assert!(expected, "{got}");
            assert!(
                at.saturating_duration_since(closed) < 150 * MS,
                "{:?}",
                at - closed
            );
        }
    });
    assert!(run(&client, "SET k v").ends_with("(CLOSED)"));
    client.close();
    // Neither the last close nor the release of connections waits for silent nodes.
    let (_, took) = timed(|| drop(client));
    assert!(took < 100 * MS, "{took:?}");
}
