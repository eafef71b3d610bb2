//! State that was begun on a pinned connection, after the loss of that connection.

use crate::common::serial::{in_child_process, in_forked_child, is_child_process};
use crate::common::{
    client, code, is_command, is_sent, key_of, pipeline, run, run_all, send, show, timed,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::Arc;
use std::time::Duration;
use support::{Action, FakeCluster, slot_of};

/// A cluster whose nodes accept commands that change their connection.
fn accepting(primaries: usize) -> FakeCluster {
    let fake = FakeCluster::new(primaries);
    for node in 0..primaries {
        let mut usual = fake.default_answer(node);
        fake.on(node, move |connection, command| {
            let accepted = [
                "SELECT",
                "WATCH",
                "UNWATCH",
                "DISCARD",
                "MULTI",
                "SCRIPT",
                "READWRITE",
                "CLIENT TRACKING",
            ];
            Some(match () {
                () if accepted.iter().any(|name| is_command(command, name)) => {
                    Action::send("+OK\r\n")
                }
                () if is_command(command, "CLIENT REPLY") => Action::Nothing,
                () if is_command(command, "WAIT") => Action::send(":0\r\n"),
                () => Action::Send(usual(connection, command)),
            })
        });
    }
    fake
}

fn assert_lost(client: &Client, words: &str, named: &str) {
    let reply = send(client, words);
    let text = show(reply.view());
    assert_eq!(code(reply.view()), Code::Io, "{words}: {text}");
    assert!(!is_sent(reply.view()), "{words}: {text}");
    assert!(text.contains(named), "{words}: {text}");
}

/// The commands of the last connection to a node.
fn last_connection(fake: &FakeCluster, node: usize) -> Vec<String> {
    fake.node(node).received_text().pop().unwrap_or_default()
}

#[test]
fn lost_state_fails_commands_until_begun_again() {
    let fake = accepting(1);
    let pinned = Arc::new(client(&fake.url()).pin(b"k"));
    for words in ["SELECT 1", "AUTH app secret", "CLIENT SETNAME n", "SET k 1"] {
        assert_eq!(run(&pinned, words), "OK");
    }
    fake.node(0).close_connections();
    let lost = format!(
        "the connection of this pinned handle to 127.0.0.1:{} was lost, and with it AUTH, SELECT and CLIENT SETNAME: \
         send RESET, or AUTH, SELECT and CLIENT SETNAME again, before other commands",
        fake.port(0)
    );
    for words in [
        "SET k 2",
        "GET k",
        "WATCH k",
        "UNWATCH",
        "CLIENT NO-EVICT ON",
        "HELLO",
    ] {
        assert_lost(&pinned, words, &lost);
    }
    let piped = pipeline(&pinned, &["SET k 3", "PING"]);
    for at in 0..2 {
        let text = show(piped.view().at(at).unwrap());
        assert!(text.contains(&lost) && text.ends_with("(IO)"), "{text}");
    }
    assert_eq!(run(&pinned, "AUTH app secret"), "OK");
    let left = "send RESET, or SELECT and CLIENT SETNAME again";
    assert_lost(&pinned, "SET k 4", left);
    assert_eq!(run(&pinned, "CLIENT SETNAME n"), "OK");
    assert_eq!(run(&pinned, "SELECT 1"), "OK");
    assert_eq!(run_all(&pinned, &["SET k 5", "GET k"]), ["OK", "5"]);
    let commands = last_connection(&fake, 0);
    let again = [
        "AUTH app secret",
        "CLIENT SETNAME n",
        "SELECT 1",
        "SET k 5",
        "GET k",
    ];
    assert!(commands.ends_with(&again.map(String::from)), "{commands:?}");
    assert_eq!(fake.calls("SET"), 2);
    // It is begun state again.
    fake.node(0).close_connections();
    assert_lost(
        &pinned,
        "SET k 6",
        "with it AUTH, SELECT and CLIENT SETNAME",
    );
}

#[test]
fn reset_restores_state_of_url() {
    let fake = accepting(1);
    let url = fake.url().replace("redis://", "redis://app:secret@");
    let client = client(&(url + "?client_name=shop"));
    let greeting = {
        let first = client.pin(b"k");
        assert_eq!(run(&first, "SET k 0"), "OK");
        last_connection(&fake, 0)
    };
    let is_fresh = |words: &str| {
        let mut expected = greeting.clone();
        expected.pop();
        expected.push(words.to_string());
        assert_eq!(last_connection(&fake, 0), expected);
    };
    let pinned = client.pin(b"k");
    // On a live connection, inside a transaction, without replies, and after a loss.
    for begun in ["SELECT 1", "HELLO 2", "MULTI", "CLIENT REPLY OFF"] {
        assert_ne!(code(send(&pinned, begun).view()), Code::Io, "{begun}");
        assert_eq!(run(&pinned, "RESET"), "RESET", "{begun}");
        assert_eq!(run(&pinned, "SET k 1"), "OK", "{begun}");
        is_fresh("SET k 1");
        send(&pinned, begun);
        fake.node(0).close_connections();
        assert_lost(&pinned, "GET k", "RESET");
        assert_eq!(run(&pinned, "RESET"), "RESET", "{begun}");
        assert_eq!(run(&pinned, "SET k 2"), "OK", "{begun}");
        is_fresh("SET k 2");
    }
    assert_eq!(
        fake.calls("RESET"),
        0,
        "the server's RESET forgets the user"
    );
}

#[test]
fn idle_pinned_connection_closed_by_server_is_replaced() {
    let fake = accepting(1);
    let pinned = client(&fake.url()).pin(b"n");
    for round in 1..=3 {
        assert_eq!(run(&pinned, "INCR n"), round.to_string());
        fake.node(0).close_connections();
    }
    // State that has ended is not lost.
    for words in [
        "CLIENT TRACKING ON",
        "CLIENT TRACKING OFF",
        "READONLY",
        "READWRITE",
        "SCRIPT DEBUG YES",
        "SCRIPT DEBUG NO",
    ] {
        assert_eq!(run(&pinned, words), "OK");
    }
    fake.node(0).close_connections();
    assert_eq!(run(&pinned, "INCR n"), "4");
}

/// A pinned handle without state connects to the primary that its slot has then, and waits for one within its time.
#[test]
fn connecting_waits_for_the_promotion_of_a_replica() {
    let mut fake = FakeCluster::with_replicas(1, 1);
    fake.put("k", "v");
    let client = client(&(fake.url() + "?timeout_ms=5000"));
    let pinned = Arc::new(client.pin(b"k"));
    assert_eq!(run(&pinned, "GET k"), "v");
    fake.stop(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            fake.promote(1);
        });
        let (got, time) = timed(|| run_all(&pinned, &["GET k", "GET k"]).concat());
        assert_eq!(got, "vv");
        assert!(time >= Duration::from_millis(150), "{time:?}");
    });
    // Without a successor the error comes at the end of the call, and says why.
    fake.stop(1);
    let short = client.with("timeout_ms", "300").pin(b"k");
    let (reply, time) = timed(|| send(&short, "SET k 2"));
    let text = show(reply.view());
    assert_eq!(code(reply.view()), Code::Connect, "{text}");
    assert!(!is_sent(reply.view()), "{text}");
    assert!(
        text.contains(&format!("127.0.0.1:{}", fake.port(1))),
        "{text}"
    );
    assert!((250..1500).contains(&time.as_millis()), "{time:?}");
}

#[test]
fn idle_close_inside_transaction_reports_nothing_sent() {
    let fake = accepting(1);
    let pinned = client(&fake.url()).pin(b"k");
    for (begin, end) in [
        ("WATCH k", "UNWATCH"),
        ("MULTI", "DISCARD"),
        ("MULTI", "EXEC"),
    ] {
        assert_eq!(run(&pinned, begin), "OK");
        fake.node(0).close_connections();
        let lost = "with it its transaction (no queued command has run)";
        assert_lost(
            &pinned,
            "SET k 1",
            &format!("{lost}: send RESET or DISCARD"),
        );
        assert_lost(&pinned, begin, lost);
        assert_lost(&pinned, end, lost);
        assert_eq!(run(&pinned, "SET k 2"), "OK", "{end} has ended it");
    }
    // The transaction ends, and the other state remains lost.
    assert_eq!(run(&pinned, "SELECT 1"), "OK");
    assert_eq!(run(&pinned, "WATCH k"), "OK");
    fake.node(0).close_connections();
    assert_lost(&pinned, "GET k", "send RESET, or DISCARD and SELECT again");
    assert_lost(&pinned, "EXEC", "send RESET, or SELECT again");
    assert_lost(
        &pinned,
        "EXEC",
        "with it SELECT: send RESET, or SELECT again",
    );
    assert_eq!(run(&pinned, "SELECT 1"), "OK");
    assert_eq!(run(&pinned, "SET k 3"), "OK");
}

#[test]
fn state_command_without_reply_counts_as_begun() {
    let fake = FakeCluster::new(1);
    let pinned = client(&(fake.url() + "?attempt_timeout_ms=100")).pin(b"k");
    for action in [
        Action::Close,
        Action::Hang,
        Action::send("-ERR no such database\r\n"),
    ] {
        let (answer, refused) = (action.clone(), matches!(action, Action::Send(_)));
        fake.on(0, move |_, command| {
            is_command(command, "SELECT").then(|| answer.clone())
        });
        let reply = send(&pinned, "SELECT 1");
        assert!(is_sent(reply.view()), "{}", show(reply.view()));
        fake.node(0).close_connections();
        match refused {
            true => assert_eq!(run(&pinned, "SET k 1"), "OK"),
            false => assert_lost(&pinned, "SET k 1", "with it SELECT"),
        }
        assert_eq!(run(&pinned, "RESET"), "RESET");
    }
}

#[test]
fn timeout_on_pinned_connection_names_the_time_that_the_call_had() {
    let fake = FakeCluster::new(1);
    let pinned = client(&(fake.url() + "?attempt_timeout_ms=60000&timeout_ms=100")).pin(b"k");
    fake.on(0, |_, command| {
        is_command(command, "WATCH").then_some(Action::Hang)
    });
    let message = show(send(&pinned, "WATCH k").view());
    let ms = message.split("did not answer WATCH within ").nth(1);
    let ms = ms.and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    assert!(ms.is_some_and(|ms| (90..60_000).contains(&ms)), "{message}");
}

#[test]
fn moved_slot_loses_state_of_pinned_connection() {
    let fake = accepting(2);
    let key = key_of(0, 2, 0);
    let slot = slot_of(key.as_bytes());
    let pinned = client(&fake.url()).pin(key.as_bytes());
    let set = format!("SET {key} 1");
    assert_eq!(run(&pinned, "SELECT 1"), "OK");
    fake.assign(slot..=slot, 1);
    assert!(run(&pinned, &set).starts_with("MOVED"));
    assert_lost(&pinned, &set, "with it SELECT");
    assert_eq!(fake.node(1).calls("SET"), 0);
    assert_eq!(run(&pinned, "SELECT 1"), "OK");
    assert_eq!(run(&pinned, &set), "OK");
    let commands = last_connection(&fake, 1);
    assert!(
        commands.ends_with(&["SELECT 1".to_string(), set]),
        "{commands:?}"
    );
}

#[test]
fn wait_after_lost_writes_is_refused() {
    let fake = accepting(1);
    let pinned = client(&fake.url()).pin(b"k");
    assert_eq!(run(&pinned, "WAIT 0 0"), "0");
    assert_eq!(run(&pinned, "SET k 1"), "OK");
    assert_eq!(run(&pinned, "WAIT 0 0"), "0");
    fake.node(0).close_connections();
    assert_lost(
        &pinned,
        "WAIT 0 0",
        "with it its writes: send RESET or another write before WAIT",
    );
    assert_eq!(run(&pinned, "GET k"), "1");
    assert_lost(&pinned, "WAIT 0 0", "with it its writes");
    assert_eq!(run(&pinned, "SET k 2"), "OK");
    assert_eq!(run(&pinned, "WAIT 0 0"), "0");
}

#[test]
fn push_frames_between_commands_keep_pinned_connection() {
    let fake = FakeCluster::new(1);
    fake.put("k", "v");
    let push = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";
    let reply = "$1\r\nv\r\n";
    for split in [reply.len(), reply.len() + 12] {
        fake.on(0, move |_, command| {
            let bytes = format!("{reply}{push}{push}").into_bytes();
            let pause = Duration::from_millis(2);
            match is_command(command, "GET") {
                true => Some(Action::SendSlow(bytes, split, pause)),
                false => is_command(command, "CLIENT TRACKING").then(|| Action::send("+OK\r\n")),
            }
        });
        let pinned = client(&fake.url()).pin(b"k");
        assert_eq!(run(&pinned, "CLIENT TRACKING ON"), "OK");
        let connections = fake.node(0).connections();
        for _ in 0..50 {
            assert_eq!(run(&pinned, "GET k"), "v");
        }
        assert_eq!(fake.node(0).connections(), connections);
    }
}

#[test]
fn forked_child_has_lost_state_of_pinned_connection() {
    let fake = (!is_child_process()).then(|| accepting(1));
    let url = fake.as_ref().map(FakeCluster::url).unwrap_or_default();
    in_child_process(&url, |url| {
        let pinned = client(url).pin(b"k");
        assert_eq!(run(&pinned, "SELECT 1"), "OK");
        assert!(in_forked_child(|| {
            let text = run(&pinned, "SET k child");
            text.contains("was lost, and with it SELECT")
                && text.ends_with("(IO)")
                && run(&pinned, "RESET") == "RESET"
                && run(&pinned, "SET k child") == "OK"
        }));
        assert_eq!(run(&pinned, "SET k parent"), "OK");
    });
}
