//! Every call ends by its deadline, in every phase.

use crate::common::blackhole::Blackhole;
use crate::common::serial::serial;
use crate::common::{
    assert_unreachable, client, code, is_command, key_of, run, run_all, send, show, stat, timed,
    wait_for, wait_while,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use support::{Action, FakeCluster, slot_of};

const MS: Duration = Duration::from_millis(1);

/// Fails if the call takes longer than `limit` plus 50 ms in three tries.
#[track_caller]
fn assert_within_deadline(what: &str, limit: u64, mut call: impl FnMut()) {
    let mut worst = Duration::ZERO;
    for _ in 0..3 {
        let (_, time) = timed(&mut call);
        if time <= Duration::from_millis(limit + 50) {
            return;
        }
        worst = worst.max(time);
    }
    panic!("{what}: {worst:?} with a limit of {limit} ms");
}

#[test]
fn connecting_to_silent_node_ends_by_deadline() {
    let _serial = serial();
    let hole = Blackhole::new();
    assert_within_deadline("a port that accepts no connection", 300, || {
        let client = Client::create(&format!("redis://{}?timeout_ms=300", hole.address));
        assert_eq!(
            client.error().unwrap().code,
            Code::Timeout,
            "{:?}",
            client.error()
        );
    });
    for silent in [
        "HELLO",
        "CLIENT",
        "CLUSTER MYID",
        "CLUSTER SLOTS",
        "CLUSTER INFO",
    ] {
        let fake = FakeCluster::new(2);
        for node in 0..2 {
            fake.on(node, move |_, command| {
                is_command(command, silent).then_some(Action::Hang)
            });
        }
        assert_within_deadline(silent, 300, || {
            let client = Client::create(&(fake.url() + "?timeout_ms=300"));
            let code = match silent {
                // Only connections for commands send CLIENT SETINFO.
                "CLIENT" => code(send(&client, "GET k").view()),
                _ => client.error().expect(silent).code,
            };
            assert_eq!(code, Code::Timeout, "{silent}");
        });
    }
    let drip = FakeCluster::new(1);
    drip.on(0, |_, command| {
        let drop = || Action::SendSlow(b"*1\r\n$100\r\n".repeat(50), 1, 70 * MS);
        is_command(command, "CLUSTER SLOTS").then(drop)
    });
    assert_within_deadline("CLUSTER SLOTS byte by byte", 300, || {
        let client = Client::create(&(drip.url() + "?timeout_ms=300"));
        assert!(client.error().is_some());
    });
}

#[test]
fn call_to_slow_node_ends_by_deadline() {
    let _serial = serial();
    let answers: Vec<(&str, Action)> = vec![
        ("silence", Action::Hang),
        (
            "a byte now and then",
            Action::SendSlow(vec![b'+'; 1000], 1, 70 * MS),
        ),
        (
            "a string without end",
            Action::SendSlow([b"$1000000\r\n", &[b'x'; 9000][..]].concat(), 50, 2 * MS),
        ),
        (
            "an array without end",
            Action::SendSlow(
                [b"*100000\r\n".to_vec(), b":1\r\n".repeat(9000)].concat(),
                40,
                2 * MS,
            ),
        ),
        (
            "a line without end",
            Action::SendSlow([b"+", &[b'x'; 9000][..]].concat(), 50, 2 * MS),
        ),
        (
            "an error without end",
            Action::SendSlow([b"-ERR ", &[b'x'; 9000][..]].concat(), 50, 2 * MS),
        ),
        (
            "pushes without end",
            Action::SendSlow(b">1\r\n+x\r\n".repeat(5000), 80, 2 * MS),
        ),
    ];
    for (what, answer) in answers {
        let fake = FakeCluster::new(1);
        fake.on(0, move |_, command| {
            is_command(command, "GET").then(|| answer.clone())
        });
        let client = Arc::new(client(
            &(fake.url() + "?timeout_ms=400&attempt_timeout_ms=150"),
        ));
        assert_within_deadline(what, 400, || assert_unreachable(&client, "GET k"));
        assert_within_deadline(what, 400, || {
            let got = run_all(&client, &["GET k", "GET l"]);
            assert!(
                got.iter()
                    .all(|g| g.contains("(TIMEOUT") || g.contains("(PROTOCOL")),
                "{got:?}"
            );
        });
        let pinned = client.pin(b"k");
        assert_within_deadline(what, 400, || {
            assert_ne!(code(send(&pinned, "GET k").view()), Code::Ok);
        });
        fake.off(0);
        assert_eq!(run(&client, "GET k"), "nil", "after {what}");
    }
}

#[test]
fn redirection_to_silent_node_ends_by_deadline() {
    let _serial = serial();
    let hole = Blackhole::new();
    let silent = support::Script::serve(|_, _| Action::Hang);
    for (what, there) in [
        ("a black hole", hole.address.to_string()),
        ("silence", silent.address()),
    ] {
        for kind in ["MOVED", "ASK"] {
            let fake = FakeCluster::new(1);
            let slot = slot_of(b"k");
            let answer = format!("-{kind} {slot} {there}\r\n");
            fake.on(0, move |_, command| {
                is_command(command, "GET").then(|| Action::send(&answer))
            });
            let client = Arc::new(client(
                &(fake.url() + "?timeout_ms=400&attempt_timeout_ms=200"),
            ));
            assert_within_deadline(&format!("{kind} to {what}"), 400, || {
                assert_ne!(code(send(&client, "GET k").view()), Code::Ok);
            });
            assert_within_deadline(&format!("{kind} to {what}, in a pipeline"), 400, || {
                assert_ne!(run_all(&client, &["GET k"]), ["nil"]);
            });
        }
    }
}

#[test]
fn failed_refresh_is_reported_to_all_waiters() {
    let _serial = serial();
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    for node in 0..2 {
        let late = Action::Delay(100 * MS, Box::new(Action::Close));
        fake.on(node, move |_, command| {
            is_command(command, "CLUSTER SLOTS").then(|| late.clone())
        });
    }
    let (before, start) = (stat(&client, "refreshes"), Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let reply = client.refresh();
                let told = show(reply.view());
                assert!(told.contains("closed the connection"), "{told}");
            });
        }
    });
    // One running refresh serves all callers; late callers may start another.
    let made = stat(&client, "refreshes") - before;
    assert!((1..=4).contains(&made), "{made} refreshes");
    (0..2).for_each(|node| fake.off(node));
    assert_eq!(show(client.refresh().view()), "OK");
}

#[test]
fn unanswered_refresh_ends_by_deadline() {
    let _serial = serial();
    let fake = FakeCluster::new(3);
    let client = client(&(fake.url() + "?timeout_ms=400&attempt_timeout_ms=200"));
    for node in 0..3 {
        fake.on(node, |_, command| {
            is_command(command, "CLUSTER SLOTS").then_some(Action::Hang)
        });
    }
    assert_within_deadline("refresh", 400, || {
        assert_eq!(code(client.refresh().view()), Code::Timeout);
    });
    assert_eq!(run(&client, "SET k v"), "OK", "the old map serves");
}

#[test]
fn silent_node_fails_only_its_own_pipeline_commands() {
    let _serial = serial();
    let fake = FakeCluster::new(3);
    let hole = Blackhole::new();
    let keys: Vec<String> = (0..30).map(|n| key_of(n % 3, 3, n)).collect();
    let sets: Vec<String> = keys.iter().map(|k| format!("INCR {k}")).collect();
    // Silent on an open connection, and unreachable for a new one.
    let through = format!("&address_map=127.0.0.1:{}={}", fake.port(1), hole.address);
    let mut expected = 0;
    for (what, map) in [("silent", ""), ("unreachable", through.as_str())] {
        let seed = format!("redis://127.0.0.1:{}", fake.port(0));
        let url = format!("{seed}?timeout_ms=600&attempt_timeout_ms=300{map}");
        let client = Arc::new(client(&url));
        fake.on(1, |_, command| {
            is_command(command, "INCR").then_some(Action::Hang)
        });
        let (got, time) = timed(|| run_all(&client, &sets));
        expected += 1;
        for (n, got) in got.iter().enumerate() {
            if n % 3 == 1 {
                assert!(got.contains("TIMEOUT"), "{what}: {got}");
            } else {
                assert_eq!(*got, expected.to_string(), "{what}, command {n}");
            }
        }
        assert!(time < 650 * MS, "{what}: {time:?}");
    }
}

#[test]
fn call_waiting_for_connection_ends_by_deadline() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        is_command(command, "GET slow").then(|| {
            wait_while(&gate);
            Action::send("+slow\r\n")
        })
    });
    let url = fake.url() + "?connections_per_node=1&attempt_timeout_ms=20000&timeout_ms=20000";
    let client = Arc::new(client(&url));
    let short = Arc::new(client.with("timeout_ms", "200"));
    let pinned = Arc::new(client.pin(b"slow"));
    std::thread::scope(|scope| {
        scope.spawn(|| run(&client, "GET slow"));
        wait_for("the call is in flight", || fake.calls("GET") == 1);
        assert_within_deadline("waiting for the connection", 200, || {
            assert_unreachable(&short, "GET k")
        });
        assert_within_deadline("a pipeline waiting for the connection", 200, || {
            assert!(run_all(&short, &["GET k"])[0].ends_with("(TIMEOUT)"));
        });
        held.store(false, Ordering::SeqCst);
    });
    drop(pinned);
}

/// Raises the number of descriptors that this process may open.
fn allow_descriptors(count: libc::rlim_t) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live structure.
    assert_eq!(
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) },
        0
    );
    limit.rlim_cur = limit.rlim_cur.max(count.min(limit.rlim_max));
    assert!(limit.rlim_cur >= count, "{} descriptors", limit.rlim_max);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

#[test]
fn fan_out_to_thousand_silent_nodes_ends_by_deadline() {
    const NODES: usize = 1000;
    let _serial = serial();
    allow_descriptors(3 * NODES as libc::rlim_t);
    // The kernel accepts the connections.
    let nodes: Vec<TcpListener> = (0..NODES)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let mut slots = format!("*{NODES}\r\n");
    for (n, node) in nodes.iter().enumerate() {
        let (first, last) = (16384 * n / NODES, 16384 * (n + 1) / NODES - 1);
        let port = node.local_addr().unwrap().port();
        slots += &format!(
            "*3\r\n:{first}\r\n:{last}\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{n:040}\r\n"
        );
    }
    let fake = FakeCluster::new(1);
    fake.on(0, move |_, command| {
        is_command(command, "CLUSTER SLOTS").then(|| Action::send(&slots))
    });
    let client = client(&(fake.url() + "?timeout_ms=500"));
    assert_within_deadline("DBSIZE", 500, || {
        let reply = send(&client, "DBSIZE");
        assert_eq!(code(reply.view()), Code::Timeout, "{}", show(reply.view()));
    });
}

#[test]
fn huge_incomplete_reply_ends_by_deadline() {
    // A debug build is slower.
    const BYTES: usize = if cfg!(debug_assertions) {
        64 << 20
    } else {
        400 << 20
    };
    let _serial = serial();
    let fake = FakeCluster::new(1);
    for (what, header, unit) in [
        ("one string", format!("${}\r\n", 2 * BYTES), "x"),
        ("nulls", format!("*{}\r\n", BYTES / 8), "_\r\n"),
        (
            "short strings",
            format!("*{}\r\n", BYTES / 8),
            "$8\r\nabcdefgh\r\n",
        ),
    ] {
        let units = if unit.len() == 1 { BYTES } else { BYTES / 16 };
        let reply = [header.as_bytes(), &unit.as_bytes().repeat(units)].concat();
        fake.on(0, move |_, command| match is_command(command, "GET k") {
            true => Some(Action::send(&reply)),
            false => is_command(command, "GET").then_some(Action::Nothing),
        });
        let client = client(&(fake.url() + "?timeout_ms=1000"));
        assert_within_deadline(what, 1000, || {
            let reply = send(&client, "GET k");
            assert_eq!(
                code(reply.view()),
                Code::Timeout,
                "{what}: {}",
                show(reply.view())
            );
        });
        assert_within_deadline(what, 1000, || {
            let reply = run_all(
                &Arc::new(client.with("timeout_ms", "1000")),
                &["GET k", "GET {k}2"],
            );
            assert!(
                reply.iter().all(|reply| reply.contains("(TIMEOUT")),
                "{what}: {reply:?}"
            );
        });
    }
}
