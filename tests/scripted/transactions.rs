//! Transactions: by hand on a pinned handle, and in one go by an atomic pipeline; while slots move and connections die.

use crate::common;
use crate::common::atomic;
use crate::common::{ask, client, code, is, is_sent, key_of, say, show};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Action, FakeCluster, slot_of};

/// A node that queues what comes after MULTI, and says this to EXEC.
fn queueing(fake: &FakeCluster, node: usize, exec: impl Fn() -> Action + Send + 'static) {
    fake.on(node, move |_, command| {
        if is(command, "MULTI") {
            return Some(Action::send("+OK\r\n"));
        }
        if is(command, "EXEC") {
            return Some(exec());
        }
        is(command, "INCR").then(|| Action::send("+QUEUED\r\n"))
    });
}

#[test]
fn a_transaction_whose_exec_may_have_run_is_not_sent_again() {
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
fn a_transaction_that_a_server_refused_says_why_and_that_nothing_ran() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        Some(Action::send(match () {
            () if is(command, "MULTI") => "+OK\r\n",
            () if is(command, "EXEC") => {
                "-EXECABORT Transaction discarded because of previous errors.\r\n"
            }
            () if is(command, "INCR b") => "-OOM no room for b\r\n",
            () if is(command, "INCR") => "+QUEUED\r\n",
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
    // One that failed when it ran is one element; the others have run.
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
fn a_transaction_over_two_slots_or_two_nodes_is_refused_before_a_byte_is_sent() {
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
fn a_pinned_handle_says_that_its_slot_has_moved_and_goes_there_when_nothing_is_begun() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let key = key_of(0, 2, 0);
    let slot = slot_of(key.as_bytes());
    let pinned = client.pin(key.as_bytes());
    assert_eq!(say(&pinned, &format!("SET {key} 1")), "OK");
    fake.assign(slot..=slot, 1);
    let reply = ask(&pinned, &format!("GET {key}"));
    let text = show(reply.view());
    assert_eq!(code(reply.view()), Code::Redirects, "{text}");
    assert!(
        text.starts_with("MOVED") && !is_sent(reply.view()),
        "{text}"
    );
    assert_eq!(say(&pinned, &format!("GET {key}")), "1");
    assert_eq!(fake.node(1).calls("GET"), 1);
    // The map has it too.
    assert_eq!(say(&client, &format!("GET {key}")), "1");
    assert_eq!(fake.node(0).calls("GET"), 1);
    // Another key's redirection is not its own.
    let other = key_of(0, 2, 7);
    let text = say(&pinned, &format!("GET {other}"));
    assert!(text.contains("pinned to another slot"), "{text}");
    assert_eq!(say(&pinned, &format!("GET {key}")), "1");
    assert_eq!(fake.node(1).connections(), 2, "the pinned one is kept");
}

#[test]
fn a_transaction_by_hand_whose_slot_moves_ends_without_a_trace() {
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
            () if is(command, "WATCH") || is(command, "MULTI") || is(command, "DISCARD") => {
                Action::send("+OK\r\n")
            }
            () if is(command, "EXEC") => {
                Action::send("-EXECABORT Transaction discarded because of previous errors.\r\n")
            }
            () if is(command, "SET") && moves.load(Ordering::SeqCst) => Action::send(&moved),
            () => return None,
        })
    });
    for end in ["EXEC", "DISCARD"] {
        fake.assign(slot..=slot, 0);
        assert_eq!(say(&client, "PING"), "PONG");
        client.refresh();
        has_moved.store(false, Ordering::SeqCst);
        let pinned = client.pin(key.as_bytes());
        assert_eq!(say(&pinned, &format!("WATCH {key}")), "OK");
        assert_eq!(say(&pinned, "MULTI"), "OK");
        has_moved.store(true, Ordering::SeqCst);
        fake.assign(slot..=slot, 1);
        let text = say(&pinned, &format!("SET {key} 2"));
        assert!(
            text.starts_with("MOVED") && text.contains("is void"),
            "{text}"
        );
        // Not silently somewhere else: the transaction is where it was begun, and void.
        let text = say(&pinned, &format!("SET {key} 3"));
        assert!(text.starts_with("MOVED"), "{text}");
        let text = say(&pinned, end);
        assert!(text.starts_with("EXECABORT") || text == "OK", "{text}");
        assert_eq!(
            say(&pinned, &format!("GET {key}")),
            "nil",
            "nothing has run"
        );
        assert!(fake.node(1).calls("GET") > 0, "at the new place");
    }
    drop(pinned);
}
