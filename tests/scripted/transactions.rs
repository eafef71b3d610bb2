//! Transactions on pinned handles and in atomic pipelines, with moving slots and lost connections.

use crate::common;
use crate::common::atomic;
use crate::common::{client, code, is_command, is_sent, key_of, run, run_all, send, show, stat};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Action, Command, FakeCluster, slot_of};

/// A node that queues commands after MULTI and replies to EXEC with this.
fn queueing(fake: &FakeCluster, node: usize, exec: impl Fn() -> Action + Send + 'static) {
    fake.on(node, move |_, command| {
        if is_command(command, "MULTI") || is_command(command, "DISCARD") {
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
        // The first MULTI is that of the probe.
        assert_eq!((fake.calls("MULTI"), fake.calls("EXEC")), (2, 1), "{what}");
        assert_eq!(
            (fake.calls("DISCARD"), fake.calls("INCR")),
            (1, 2),
            "{what}"
        );
    }
}

#[test]
fn refused_transaction_reports_cause_and_nothing_sent() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        Some(Action::send(match () {
            () if is_command(command, "MULTI") => "+OK\r\n",
            () if is_command(command, "DISCARD") => "+OK\r\n",
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

/// The replies of a node whose MULTI is refused like this; INCR runs and EXEC has nothing to execute.
fn without_multi(multi: &'static str) -> impl Fn(&Command) -> Option<Action> + Send {
    move |command| {
        Some(Action::send(match () {
            () if is_command(command, "MULTI") => format!("-{multi}\r\n"),
            () if is_command(command, "EXEC") => "-ERR EXEC without MULTI\r\n".to_string(),
            () if is_command(command, "DISCARD") => "-ERR DISCARD without MULTI\r\n".to_string(),
            () if is_command(command, "INCR") => ":1\r\n".to_string(),
            () => return None,
        }))
    }
}

const NO_RIGHT: &str = "NOPERM User default has no permissions to run the 'multi' command";

#[test]
fn transaction_is_not_sent_where_multi_is_refused() {
    for (multi, expected) in [
        (NO_RIGHT, Code::Auth),
        (
            "ERR unknown command 'MULTI', with args beginning with: ",
            Code::Server,
        ),
        ("ERR the proxy supports no transactions", Code::Server),
    ] {
        let fake = FakeCluster::new(1);
        let answer = without_multi(multi);
        fake.on(0, move |_, command| answer(command));
        let client = Arc::new(client(&fake.url()));
        for _ in 0..2 {
            let reply = atomic(&client, &["INCR a", "INCR a"]);
            let text = show(reply.view());
            assert_eq!(code(reply.view()), expected, "{text}");
            assert!(!is_sent(reply.view()), "{text}");
            assert!(
                text.starts_with(multi)
                    && text.contains("refused MULTI")
                    && text.contains("no command has run")
                    && text.contains("@transaction"),
                "{text}"
            );
        }
        assert_eq!((fake.calls("MULTI"), fake.calls("INCR")), (2, 0), "{multi}");
    }
}

#[test]
fn transaction_waits_until_multi_is_accepted() {
    let fake = FakeCluster::new(1);
    let refusals = ["LOADING", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"];
    let mut left = refusals.len();
    let mut is_open = false;
    fake.on(0, move |_, command| {
        if is_command(command, "MULTI") && left > 0 {
            left -= 1;
            return Some(Action::send(format!("-{} not yet\r\n", refusals[left])));
        }
        is_open |= is_command(command, "MULTI");
        Some(Action::send(match () {
            () if is_command(command, "MULTI") => "+OK\r\n",
            () if is_command(command, "DISCARD") && is_open => "+OK\r\n",
            () if is_command(command, "DISCARD") => "-ERR DISCARD without MULTI\r\n",
            () if is_command(command, "EXEC") => "*1\r\n:1\r\n",
            () if is_command(command, "INCR") => "+QUEUED\r\n",
            () => return None,
        }))
    });
    let client = Arc::new(client(&fake.url()));
    assert_eq!(show(atomic(&client, &["INCR a"]).view()), "[1]");
    assert_eq!((fake.calls("INCR"), fake.calls("EXEC")), (1, 1));
}

#[test]
fn node_that_accepted_multi_is_not_probed_again() {
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        queueing(&fake, node, || Action::send("*1\r\n:1\r\n"));
    }
    let client = Arc::new(client(&fake.url()));
    let (a, b) = (key_of(0, 2, 0), key_of(1, 2, 1));
    for key in [&a, &a, &b, &a, &b] {
        assert_eq!(
            show(atomic(&client, &[format!("INCR {key}")]).view()),
            "[1]"
        );
    }
    for (node, transactions) in [(0, 3), (1, 2)] {
        let node = fake.node(node);
        assert_eq!(node.calls("EXEC"), transactions);
        assert_eq!(node.calls("MULTI"), transactions + 1);
        assert_eq!(node.calls("DISCARD"), 1);
    }
    assert_eq!(stat(&client, "retries"), 0);
}

#[test]
fn node_that_reports_missing_right_is_probed_again() {
    let fake = FakeCluster::new(1);
    queueing(&fake, 0, || Action::send("*1\r\n:1\r\n"));
    let client = Arc::new(client(&fake.url()));
    assert_eq!(show(atomic(&client, &["INCR a"]).view()), "[1]");
    let answer = without_multi(NO_RIGHT);
    fake.on(0, move |_, command| match () {
        () if is_command(command, "GET") => Some(Action::send("-NOPERM not any more\r\n")),
        () => answer(command),
    });
    assert_eq!(code(send(&client, "GET a").view()), Code::Auth);
    let reply = atomic(&client, &["INCR a"]);
    assert!(!is_sent(reply.view()), "{}", show(reply.view()));
    assert_eq!(fake.calls("INCR"), 1);
}

#[test]
fn transaction_that_ran_without_multi_is_not_repeated() {
    for multi in [
        NO_RIGHT,
        "LOADING Redis is loading the dataset in memory",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ] {
        let fake = FakeCluster::new(1);
        queueing(&fake, 0, || Action::send("*1\r\n:1\r\n"));
        let client = Arc::new(client(&fake.url()));
        assert_eq!(show(atomic(&client, &["INCR a"]).view()), "[1]");
        // The node refuses MULTI once, after it has been proven to accept it.
        let answer = without_multi(multi);
        fake.on(0, move |_, command| answer(command));
        let reply = atomic(&client, &["INCR a", "INCR a"]);
        let text = show(reply.view());
        assert!(is_sent(reply.view()), "{text}");
        assert!(
            text.starts_with(multi)
                && text.contains("refused MULTI")
                && text.contains("may have run"),
            "{text}"
        );
        assert_eq!((fake.calls("MULTI"), fake.calls("INCR")), (3, 3), "{multi}");
        // The next transaction begins with a probe again.
        assert!(!is_sent(atomic(&client, &["INCR a"]).view()));
        assert_eq!(fake.calls("INCR"), 3, "{multi}");
    }
}

#[test]
fn transaction_refused_as_a_whole_is_sent_again() {
    let fake = FakeCluster::new(1);
    queueing(&fake, 0, || Action::send("*1\r\n:1\r\n"));
    let client = Arc::new(client(&fake.url()));
    assert_eq!(show(atomic(&client, &["INCR a"]).view()), "[1]");
    let mut left = 3;
    fake.on(0, move |_, command| {
        let is_part = ["MULTI", "INCR", "EXEC"].map(|name| is_command(command, name));
        if left > 0 && is_part.contains(&true) {
            left -= 1;
            return Some(Action::send(
                "-LOADING Redis is loading the dataset in memory\r\n",
            ));
        }
        Some(Action::send(match () {
            () if is_command(command, "MULTI") || is_command(command, "DISCARD") => "+OK\r\n",
            () if is_command(command, "INCR") => "+QUEUED\r\n",
            () if is_command(command, "EXEC") => "*1\r\n:2\r\n",
            () => return None,
        }))
    });
    assert_eq!(show(atomic(&client, &["INCR a"]).view()), "[2]");
    assert_eq!(fake.calls("INCR"), 3, "of which one was refused");
}

#[test]
fn transaction_answered_instead_of_queued_is_not_repeated() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        Some(Action::send(match () {
            () if is_command(command, "MULTI") || is_command(command, "DISCARD") => "+OK\r\n",
            () if is_command(command, "INCR") => ":1\r\n",
            () if is_command(command, "EXEC") => "-CLUSTERDOWN The cluster is down\r\n",
            () => return None,
        }))
    });
    let client = Arc::new(client(&fake.url()));
    let reply = atomic(&client, &["INCR a"]);
    let text = show(reply.view());
    assert!(
        is_sent(reply.view()) && text.contains("did not queue"),
        "{text}"
    );
    assert_eq!(fake.calls("INCR"), 1);
}

#[test]
fn redirected_transaction_probes_the_new_node_first() {
    let key = key_of(0, 2, 0);
    let slot = slot_of(key.as_bytes());
    for word in ["MOVED", "ASK"] {
        let fake = FakeCluster::new(2);
        let redirection = format!("-{word} {slot} 127.0.0.1:{}\r\n", fake.port(1));
        fake.on(0, move |_, command| {
            Some(Action::send(match () {
                () if is_command(command, "MULTI") || is_command(command, "DISCARD") => "+OK\r\n",
                () if is_command(command, "INCR") => &redirection,
                () if is_command(command, "EXEC") => {
                    "-EXECABORT Transaction discarded because of previous errors.\r\n"
                }
                () => return None,
            }))
        });
        let answer = without_multi(NO_RIGHT);
        fake.on(1, move |_, command| answer(command));
        let client = Arc::new(client(&fake.url()));
        let reply = atomic(&client, &[format!("INCR {key}")]);
        assert_eq!(code(reply.view()), Code::Auth, "{}", show(reply.view()));
        assert!(!is_sent(reply.view()));
        assert_eq!(fake.node(1).calls("INCR"), 0, "{word}");
        queueing(&fake, 1, || Action::send("*1\r\n:1\r\n"));
        let reply = atomic(&client, &[format!("INCR {key}")]);
        assert_eq!(show(reply.view()), "[1]", "{word}");
    }
}

#[test]
fn connection_with_open_transaction_is_not_reused() {
    for refused in ["EXEC", "DISCARD"] {
        let fake = FakeCluster::new(1);
        let mut open = std::collections::HashSet::new();
        fake.on(0, move |connection, command| {
            if is_command(command, refused) {
                return Some(Action::send(format!(
                    "-ERR unknown command '{refused}'\r\n"
                )));
            }
            if is_command(command, "MULTI") {
                open.insert(connection);
                return Some(Action::send("+OK\r\n"));
            }
            let ends = is_command(command, "EXEC") || is_command(command, "DISCARD");
            if ends && open.remove(&connection) {
                return Some(Action::send("*1\r\n:1\r\n"));
            }
            open.contains(&connection)
                .then(|| Action::send("+QUEUED\r\n"))
        });
        let client = Arc::new(client(&fake.url()));
        let reply = atomic(&client, &["INCR a"]);
        match refused {
            "EXEC" => assert!(!is_sent(reply.view()), "{}", show(reply.view())),
            _ => assert_eq!(show(reply.view()), "[1]"),
        }
        assert_eq!(run(&client, "GET a"), "nil", "{refused}");
    }
}

#[test]
fn transaction_aborted_by_refused_exec_is_sent_again() {
    let fake = FakeCluster::new(1);
    let mut left = 1;
    fake.on(0, move |_, command| {
        Some(Action::send(match () {
            () if is_command(command, "MULTI") || is_command(command, "DISCARD") => "+OK\r\n",
            () if is_command(command, "INCR") => "+QUEUED\r\n",
            () if is_command(command, "EXEC") && left > 0 => {
                left -= 1;
                "-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.\r\n"
            }
            () if is_command(command, "EXEC") => "*1\r\n:1\r\n",
            () => return None,
        }))
    });
    let client = Arc::new(client(&fake.url()));
    assert_eq!(show(atomic(&client, &["INCR a"]).view()), "[1]");
    assert_eq!(fake.calls("EXEC"), 2);
}

#[test]
fn keyless_commands_run_in_transaction() {
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        fake.on(node, |_, command| {
            let names = ["PING", "SCRIPT LOAD", "PUBLISH", "INCR", "ECHO"];
            Some(Action::send(match () {
                () if is_command(command, "MULTI") || is_command(command, "DISCARD") => "+OK\r\n",
                () if names.iter().any(|name| is_command(command, name)) => "+QUEUED\r\n",
                () if is_command(command, "EXEC") => "*3\r\n+PONG\r\n$1\r\nd\r\n:1\r\n",
                () => return None,
            }))
        });
    }
    let client = Arc::new(client(&fake.url()));
    let key = key_of(1, 2, 0);
    let with_key = ["PING", "SCRIPT LOAD \"return 1\"", &format!("INCR {key}")];
    assert_eq!(show(atomic(&client, &with_key).view()), "[PONG, d, 1]");
    assert_eq!(fake.node(1).calls("EXEC"), 1, "the key selects the node");
    // Without a key any node will do.
    let without_key = ["PING", "ECHO d", "PUBLISH c m"];
    assert_eq!(show(atomic(&client, &without_key).view()), "[PONG, d, 1]");
    assert_eq!(fake.calls("EXEC"), 2);
}

#[test]
fn refused_element_of_exec_is_reported_as_not_run() {
    let fake = FakeCluster::new(1);
    queueing(&fake, 0, || {
        Action::send("*2\r\n-NOPERM ACLs rules changed\r\n-WRONGTYPE no number\r\n")
    });
    let client = Arc::new(client(&fake.url()));
    let reply = atomic(&client, &["INCR a", "INCR a"]);
    let sent = [0, 1].map(|n| is_sent(reply.view().at(n).unwrap()));
    assert_eq!(sent, [false, true], "{}", show(reply.view()));
}

#[test]
fn pinned_pipeline_stops_behind_refused_state_command() {
    for refused in ["MULTI", "SELECT 1", "WATCH a"] {
        let fake = FakeCluster::new(1);
        fake.on(0, move |_, command| {
            is_command(command, refused).then(|| Action::send("-NOPERM not you\r\n"))
        });
        let pinned = Arc::new(client(&fake.url()).pin(b"a"));
        let got = run_all(&pinned, &["GET a", refused, "SET a 1", "EXEC"]);
        assert_eq!(got[0], "nil");
        assert!(got[1].contains("NOPERM not you"), "{got:?}");
        for answer in &got[2..] {
            assert!(
                answer.contains("not sent, because") && !answer.contains("sent)"),
                "{got:?}"
            );
        }
        assert_eq!((fake.calls("SET"), fake.calls("EXEC")), (0, 0), "{refused}");
        assert_eq!(run(&pinned, "SET a 1"), "OK", "{refused}");
    }
    // The end of a state may fail.
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        is_command(command, "EXEC").then(|| Action::send("-EXECABORT Transaction discarded\r\n"))
    });
    let pinned = Arc::new(client(&fake.url()).pin(b"a"));
    assert_eq!(run_all(&pinned, &["EXEC", "SET a 1"])[1], "OK");
    // Inside a transaction these are refused without an effect.
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        Some(Action::send(match () {
            () if is_command(command, "WATCH") => "-ERR WATCH inside MULTI is not allowed\r\n",
            () if is_command(command, "MULTI") => "+OK\r\n",
            () if is_command(command, "SET") => "+QUEUED\r\n",
            () if is_command(command, "EXEC") => "*1\r\n+OK\r\n",
            () => return None,
        }))
    });
    let pinned = Arc::new(client(&fake.url()).pin(b"a"));
    let got = run_all(&pinned, &["MULTI", "WATCH a", "SET a 1", "EXEC"]);
    assert_eq!(got[3], "[OK]", "{got:?}");
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
        (vec!["FLUSHALL".to_string()], Code::Invalid),
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

#[test]
fn failed_discard_after_watch_lets_pinned_handle_follow_slot() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let key = key_of(0, 2, 0);
    let slot = slot_of(key.as_bytes());
    fake.on(0, |_, command| {
        Some(Action::send(match () {
            () if is_command(command, "WATCH") => "+OK\r\n",
            () if is_command(command, "DISCARD") => "-ERR DISCARD without MULTI\r\n",
            () => return None,
        }))
    });
    let pinned = client.pin(key.as_bytes());
    assert_eq!(run(&pinned, &format!("WATCH {key}")), "OK");
    fake.assign(slot..=slot, 1);
    let moved = run(&pinned, &format!("GET {key}"));
    assert!(moved.starts_with("MOVED"), "{moved}");
    let discarded = run(&pinned, "DISCARD");
    assert!(
        discarded.starts_with("ERR DISCARD without MULTI"),
        "{discarded}"
    );
    assert_eq!(run(&pinned, &format!("GET {key}")), "nil");
    assert_eq!(fake.node(1).calls("GET"), 1, "at the new owner");
}
