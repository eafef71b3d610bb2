//! Interrupts and closing end calls in every phase, and only the calls that they concern.

use crate::common::blackhole::Blackhole;
use crate::common::serial::serial;
use crate::common::{
    SOON, ask, client, hold, is, is_sent, key_of, say, say_all, show, timed, until,
};
use rediscluster::cluster::Client;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};
use support::{Action, FakeCluster};

const MS: Duration = Duration::from_millis(1);

/// Interrupts calls that are in some phase, and says how long each then took to end.
fn interrupted_in(
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
            until(what, || {
                begun.load(Ordering::SeqCst) == threads && is_there()
            });
            fired = Instant::now();
            client.interrupt();
            // A call that had not quite begun is not concerned: it is told again.
            while ended.lock().unwrap().len() < threads {
                if fired.elapsed() > Duration::from_secs(1) {
                    client.interrupt();
                    assert!(fired.elapsed() < SOON, "{what}: not interrupted");
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
    // With many threads on two cores they also wait for each other.
    let most = if threads > 4 { 30 * MS } else { 12 * MS };
    assert!(half <= most, "{what}: {times:?}");
}

#[test]
fn an_interrupt_ends_a_call_in_every_phase() {
    let _serial = serial();
    let hole = Blackhole::new();
    let fake = FakeCluster::new(2);
    let long = "?timeout_ms=30000&attempt_timeout_ms=30000&connect_timeout_ms=30000";
    let all = Arc::new(client(&(fake.url() + long)));
    let (key, other) = (key_of(0, 2, 1), key_of(1, 2, 2));
    let get = format!("GET {key}");
    fake.on(0, |_, command| is(command, "GET").then_some(Action::Hang));
    fake.on(1, |_, command| is(command, "GET").then_some(Action::Hang));
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
    interrupted_in("a reply", &all, 1, |c| say(c, &get), since("GET"));
    interrupted_in(
        "a pinned reply",
        &Arc::new(all.pin(key.as_bytes())),
        1,
        |c| say(c, &get),
        since("GET"),
    );
    // Bytes come all the time, so that nothing is ever waited for.
    let endless = [b"*1000000\r\n".to_vec(), b":1\r\n".repeat(100_000)].concat();
    fake.on(0, move |_, command| {
        is(command, "LRANGE").then(|| Action::SendSlow(endless.clone(), 4, MS / 5))
    });
    let lrange = format!("LRANGE {key} 0 -1");
    for (what, together) in [
        ("a long reply", false),
        ("a long reply in a pipeline", true),
    ] {
        let call = |c: &Arc<Client>| match together {
            true => say_all(c, std::slice::from_ref(&lrange)).concat(),
            false => say(c, &lrange),
        };
        interrupted_in(what, &all, 1, call, since("LRANGE"));
    }
    fake.on(0, |_, command| is(command, "GET").then_some(Action::Hang));
    let both = [get.clone(), format!("GET {other}")];
    interrupted_in(
        "a pipeline",
        &all,
        1,
        |c| say_all(c, &both).concat(),
        since("GET"),
    );
    interrupted_in(
        "sixteen on a lane",
        &all,
        16,
        |c| say(c, &get),
        since("GET"),
    );
    fake.on(0, |_, command| {
        is(command, "BLPOP").then_some(Action::Nothing)
    });
    let blpop = format!("BLPOP {key} 0");
    interrupted_in("BLPOP", &all, 1, |c| say(c, &blpop), since("BLPOP"));
    fake.on(0, |_, command| {
        is(command, "GET").then(|| Action::send("-CLUSTERDOWN The cluster is down\r\n"))
    });
    interrupted_in("a pause", &all, 1, |c| say(c, &get), since("GET"));
    // Connecting: nothing is sent that could be counted.
    let map = format!("&address_map=127.0.0.1:{}={}", fake.port(1), hole.address);
    let seed = format!("redis://127.0.0.1:{}{long}{map}", fake.port(0));
    let through = Arc::new(client(&seed));
    let get = format!("GET {other}");
    interrupted_in(
        "a connect",
        &through,
        1,
        |c| say(c, &get),
        || hole.is_dialled(),
    );
    let fresh = Arc::new(client(&(fake.url() + long)));
    fake.on(1, |_, command| is(command, "HELLO").then_some(Action::Hang));
    interrupted_in("a handshake", &fresh, 1, |c| say(c, &get), since("HELLO"));
    for node in 0..2 {
        fake.on(node, |_, command| {
            is(command, "CLUSTER").then_some(Action::Hang)
        });
    }
    let refresh = |c: &Arc<Client>| show(c.refresh().view());
    interrupted_in("a refresh", &fresh, 1, refresh, since("CLUSTER"));
}

#[test]
fn an_interrupt_while_a_connection_is_greeted_ends_the_call_before_its_command_is_sent() {
    let _serial = serial();
    for (command, early) in [("SET k v", false), ("LRANGE k 0 1", false), ("GET k", true)] {
        for greeting in ["HELLO", "CLIENT"] {
            // A node each time: what one has not read yet when the call ends it would read during the next.
            let fake = FakeCluster::new(1);
            let client = Arc::new(client(&fake.url()));
            let (mut usual, its) = (fake.default_answer(0), client.clone());
            fake.on(0, move |connection, command| {
                is(command, greeting).then(|| {
                    its.interrupt();
                    // So it need not wait where it would be woken.
                    Action::Send(usual(connection, command))
                })
            });
            let reply = ask(&client, command);
            let got = show(reply.view());
            assert!(got.contains("INTERRUPTED"), "{greeting}: {got}");
            // A quick read is on its way with the greeting, and its error says so.
            assert_eq!(is_sent(reply.view()), early, "{greeting}: {command}");
            let name = command.split(' ').next().unwrap();
            assert!(early || fake.calls(name) == 0, "{greeting}: {command}");
        }
    }
}

#[test]
fn an_interrupt_concerns_the_calls_of_its_own_handle_only() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        is(command, "GET").then(|| {
            hold(&gate);
            Action::send("+late\r\n")
        })
    });
    let client = client(&(fake.url() + "?attempt_timeout_ms=20000&timeout_ms=20000"));
    let twin = client.with("timeout_ms", "20000");
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| say(&client, "GET k"));
        until("it is under way", || fake.calls("GET") == 1);
        twin.interrupt();
        twin.close();
        held.store(false, Ordering::SeqCst);
        assert_eq!(kept.join().unwrap(), "late");
    });
    assert_eq!(say(&client, "SET k v"), "OK");
    assert!(say(&twin, "SET k v").ends_with("(CLOSED)"));
}

#[test]
fn closing_ends_the_calls_of_all_threads_at_once() {
    let _serial = serial();
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        fake.on(node, |_, command| {
            is(command, "GET").then_some(Action::Hang)
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
                            say_all(client, &[format!("GET k{n}"), format!("SET l{n} v")]).concat()
                        }
                        1 => say(client, &format!("GET k{n}")),
                        2 => say(client, &format!("BLPOP k{n} 0")),
                        _ => say(client, &format!("GET k{n}")),
                    };
                    (got, Instant::now())
                })
            })
            .collect();
        start.wait();
        until("they are under way", || fake.calls("GET") > 4);
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
    assert!(say(&client, "SET k v").ends_with("(CLOSED)"));
    client.close();
    // Neither the last close nor what is let go of behind it waits for nodes that say nothing any more.
    let (_, took) = timed(|| drop(client));
    assert!(took < 100 * MS, "{took:?}");
}
