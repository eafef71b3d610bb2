//! Transactions on pinned handles and in atomic pipelines, with moving slots and lost connections.

use crate::common;
use crate::common::atomic;
use crate::common::{client, code, is_command, is_sent, key_of, run, send, show};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Action, FakeCluster, slot_of};

/// A node that queues commands after MULTI and replies to EXEC with this.
fn queueing(fake: &FakeCluster, node: usize, exec: impl Fn() -> Action + Send + 'static) {
    fake.on(node, move |_, command| {
        if is_command(command, "MULTI") {
            return Some(Action::send("+OK\r\n"));
        }
        if is_command(command, "EXEC") {
            return Some(exec());
        }
        is_command(command, "INCR").then(|| Action::send("+QUEUED\r\n"))
    });
}

#[test]
fn transaction_with_uncertain_exec_is_not_resent() {
    for (action, expected) in [
        (Action::Close, Code::Io),
        (Action::Reset, Code::Io),
        (Action::Hang, Code::Timeout),
        (Action::SendClose(b"*2\r\n:1\r\n".to_vec()), Code::Io),
    ] {
        let fake = FakeCluster::new(1);
        let what = format!("{action:?}");
        queueing(&fake, 0, move || action.clone());
        let client = Arc::new(client(&(fake.url() + "?attempt_timeout_ms=200")));
        let reply = atomic(&client, &["INCR a", "INCR a"]);
        assert_eq!(
            code(reply.view()),
            expected,
            "{what}: {}",
            show(reply.view())
        );
        assert!(is_sent(reply.view()), "{what}");
        assert_eq!((fake.calls("MULTI"), fake.calls("EXEC")), (1, 1), "{what}");
    }
}

#[test]
fn refused_transaction_reports_cause_and_nothing_sent() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        Some(Action::send(match () {
            () if is_command(command, "MULTI") => "+OK\r\n",
            () if is_command(command, "EXEC") => {
                "-EXECABORT Transaction discarded because of previous errors.\r\n"
            }
            () if is_command(command, "INCR b") => "-OOM no room for b\r\n",
            () if is_command(command, "INCR") => "+QUEUED\r\n",
            () => return None,
        }))
    });
    let client = Arc::new(client(&fake.url()));
    let reply = atomic(&client, &["INCR {b}1", "INCR b", "INCR {b}2"]);
    let text = show(reply.view());
    assert!(
        text.starts_with("EXECABORT") && text.contains("(OOM no room for b)"),
        "{text}"
    );
    assert!(!is_sent(reply.view()), "{text}");
    // A command that failed in EXEC is one element; the others have run.
    let fake = FakeCluster::new(1);
    queueing(&fake, 0, || {
        Action::send("*2\r\n:1\r\n-WRONGTYPE no number\r\n")
    });
    let client = Arc::new(common::client(&fake.url()));
    let reply = atomic(&client, &["INCR a", "INCR {a}"]);
    assert_eq!(show(reply.view().at(0).unwrap()), "1");
    let second = show(reply.view().at(1).unwrap());
    assert!(
        second.starts_with("Command # 2 (INCR {a}) of pipeline: WRONGTYPE"),
        "{second}"
    );
}

#[test]
fn transaction_over_two_slots_is_rejected_before_sending() {
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&(fake.url() + "?split_writes=yes")));
    let (a, b) = (key_of(0, 2, 0), key_of(1, 2, 1));
    for (commands, expected) in [
        (
            vec![format!("INCR {a}"), format!("INCR {b}")],
            Code::CrossSlot,
        ),
        (vec![format!("DEL {a} {b}")], Code::CrossSlot),
        (vec![format!("MSET {a} 1 {b} 2")], Code::CrossSlot),
        (
            vec![format!("INCR {a}"), "DBSIZE".to_string()],
            Code::Invalid,
        ),
        (
            vec![format!("INCR {a}"), "BLPOP l 0".to_string()],
            Code::Invalid,
        ),
        (
            vec![format!("INCR {a}"), "MULTI".to_string()],
            Code::Invalid,
        ),
        (vec![format!("INCR {a}"), "GET".to_string()], Code::Invalid),
        (vec!["PUBLISH c m".to_string()], Code::Invalid),
    ] {
        let reply = atomic(&client, &commands);
        assert_eq!(
            code(reply.view()),
            expected,
            "{commands:?}: {}",
            show(reply.view())
        );
        assert!(!is_sent(reply.view()), "{commands:?}");
    }
    assert_eq!(fake.calls("MULTI"), 0);
}

#[test]
fn pinned_handle_outside_transaction_follows_moved() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let key = key_of(0, 2, 0);
    let slot = slot_of(key.as_bytes());
    let pinned = client.pin(key.as_bytes());
    assert_eq!(run(&pinned, &format!("SET {key} 1")), "OK");
    fake.assign(slot..=slot, 1);
    let reply = send(&pinned, &format!("GET {key}"));
    let text = show(reply.view());
    assert_eq!(code(reply.view()), Code::Redirects, "{text}");
    assert!(
        text.starts_with("MOVED") && !is_sent(reply.view()),
        "{text}"
    );
    assert_eq!(run(&pinned, &format!("GET {key}")), "1");
    assert_eq!(fake.node(1).calls("GET"), 1);
    // The slot map is updated too.
    assert_eq!(run(&client, &format!("GET {key}")), "1");
    assert_eq!(fake.node(0).calls("GET"), 1);
    // A redirection of another key does not move the pinned handle.
    let other = key_of(0, 2, 7);
    let text = run(&pinned, &format!("GET {other}"));
    assert!(text.contains("pinned to another slot"), "{text}");
    assert_eq!(run(&pinned, &format!("GET {key}")), "1");
    assert_eq!(
        fake.node(1).connections(),
        2,
        "the pinned connection is kept"
    );
}

#[test]
fn manual_transaction_with_moved_slot_is_discarded() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let key = key_of(0, 2, 0);
    let slot = slot_of(key.as_bytes());
    let pinned = client.pin(key.as_bytes());
    let moved = format!("-MOVED {slot} 127.0.0.1:{}\r\n", fake.port(1));
    let has_moved = Arc::new(AtomicBool::new(false));
    let moves = has_moved.clone();
    fake.on(0, move |_, command| {
        Some(match () {
            () if is_command(command, "WATCH")
                || is_command(command, "MULTI")
                || is_command(command, "DISCARD") =>
            {
                Action::send("+OK\r\n")
            }
            () if is_command(command, "EXEC") => {
                Action::send("-EXECABORT Transaction discarded because of previous errors.\r\n")
            }
            () if is_command(command, "SET") && moves.load(Ordering::SeqCst) => {
                Action::send(&moved)
            }
            () => return None,
        })
    });
    for end in ["EXEC", "DISCARD"] {
        fake.assign(slot..=slot, 0);
        assert_eq!(run(&client, "PING"), "PONG");
        client.refresh();
        has_moved.store(false, Ordering::SeqCst);
        let pinned = client.pin(key.as_bytes());
        assert_eq!(run(&pinned, &format!("WATCH {key}")), "OK");
        assert_eq!(run(&pinned, "MULTI"), "OK");
        has_moved.store(true, Ordering::SeqCst);
        fake.assign(slot..=slot, 1);
        let text = run(&pinned, &format!("SET {key} 2"));
        assert!(
            text.starts_with("MOVED") && text.contains("is void"),
            "{text}"
        );
        // The commands do not run elsewhere: the transaction stays on its node and is discarded.
        let text = run(&pinned, &format!("SET {key} 3"));
        assert!(text.starts_with("MOVED"), "{text}");
        let text = run(&pinned, end);
        assert!(text.starts_with("EXECABORT") || text == "OK", "{text}");
        assert_eq!(
            run(&pinned, &format!("GET {key}")),
            "nil",
            "nothing has run"
        );
        assert!(fake.node(1).calls("GET") > 0, "on the new owner");
    }
    drop(pinned);
}
