//! Connections that end or stall in the middle of a call: what is sent again, and what the caller is told.

use crate::common::serial::serial;
use crate::common::{ask, client, code, is, is_sent, key_of, pipeline, say, say_all, show, until};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Action, FakeCluster};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_node_that_answers_too_late_has_run_the_command_once_and_the_caller_is_told_so() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let mut usual = fake.default_answer(0);
    fake.on(0, move |connection, command| {
        is(command, "INCR").then(|| {
            let answer = Action::Send(usual(connection, command));
            Action::Delay(300 * MS, Box::new(answer))
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?attempt_timeout_ms=100&timeout_ms=2000"),
    ));
    let reply = ask(&client, "INCR n");
    assert_eq!(code(reply.view()), Code::Timeout, "{}", show(reply.view()));
    assert!(is_sent(reply.view()), "it may have run");
    assert!(
        show(reply.view()).contains("did not answer INCR within 100 ms"),
        "{}",
        show(reply.view())
    );
    let got = say_all(&client, &["INCR n"]);
    assert!(got[0].ends_with("(TIMEOUT, sent)"), "{got:?}");
    until("both have run", || {
        fake.value("n").is_some_and(|n| n == b"2")
    });
    fake.off(0);
    assert_eq!(say(&client, "GET n"), "2");
    assert_eq!(fake.calls("INCR"), 2, "none was sent twice");
}

#[test]
fn an_attempt_that_the_end_of_the_call_cuts_short_does_not_hide_why_the_one_before_failed() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let client = client(&fake.url());
    let has_failed = Arc::new(AtomicBool::new(false));
    let fails = has_failed.clone();
    fake.on(0, move |_, command| {
        if is(command, "GET") {
            fails.store(true, Ordering::SeqCst);
            return Some(Action::Close);
        }
        // Then there is no other connection to be had.
        (is(command, "HELLO") && fails.load(Ordering::SeqCst)).then_some(Action::Nothing)
    });
    let brief = client.with("timeout_ms", "15");
    // On a busy machine the first attempt may already be too long for the call.
    until("it is told", || {
        has_failed.store(false, Ordering::SeqCst);
        let reply = ask(&brief, "GET k");
        let told = show(reply.view());
        told.contains("closed the connection (gave up after 15 ms)")
            && code(reply.view()) == Code::Io
    });
}

// What a node does with the first command of this name instead of answering.
fn fails_once(fake: &FakeCluster, node: usize, name: &'static str, action: Action) {
    let mut left = Some(action);
    fake.on(node, move |_, command| {
        is(command, name).then(|| left.take()).flatten()
    });
}

#[test]
fn a_write_whose_connection_dies_is_not_sent_again_and_a_read_is() {
    let _serial = serial();
    for action in [
        Action::Close,
        Action::Reset,
        Action::SendClose(b"$5\r\nhe".to_vec()),
        Action::SendClose(b"$5".to_vec()),
        Action::SendClose(b":".to_vec()),
    ] {
        let fake = FakeCluster::new(1);
        let client = Arc::new(client(&fake.url()));
        fake.put("k", "v");
        fails_once(&fake, 0, "INCR", action.clone());
        let reply = ask(&client, "INCR n");
        let words = show(reply.view());
        assert_eq!(code(reply.view()), Code::Io, "{action:?}: {words}");
        assert!(is_sent(reply.view()), "{action:?}: {words}");
        fails_once(&fake, 0, "INCR", action.clone());
        let got = say_all(&client, &["INCR n"]);
        assert!(got[0].ends_with("(IO, sent)"), "{action:?}: {got:?}");
        assert_eq!(fake.calls("INCR"), 2, "{action:?}");
        fails_once(&fake, 0, "GET", action.clone());
        assert_eq!(say(&client, "GET k"), "v", "{action:?}");
        fails_once(&fake, 0, "GET", action.clone());
        assert_eq!(say_all(&client, &["GET k"]), ["v"], "{action:?}");
        // Unless the caller says that twice does no harm.
        let twice = client.with("retry_writes", "yes");
        fails_once(&fake, 0, "SET", action.clone());
        assert_eq!(say(&twice, "SET k w"), "OK", "{action:?}");
    }
}

#[test]
fn a_write_that_is_repeated_stays_in_doubt_whatever_comes_of_the_attempts_behind_it() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let url = fake.url() + "?timeout_ms=300&retry_writes=yes";
    let client = Arc::new(client(&url));
    for way in [say, |client: &Client, words: &str| {
        say_all(&Arc::new(client.with("timeout_ms", "300")), &[words])[0].clone()
    }] {
        fake.off(0);
        until("there is a connection", || say(&client, "SET k v") == "OK");
        fake.on(0, |_, command| match () {
            () if is(command, "SET") => Some(Action::Close),
            () => Some(Action::SendClose(
                "-ERR max number of clients reached\r\n".into(),
            )),
        });
        let got = way(&client, "SET k w");
        assert!(got.ends_with("(IO, sent)"), "{got}");
    }
}

#[test]
fn a_pipeline_whose_connection_dies_between_replies_keeps_what_has_come() {
    let _serial = serial();
    for action in [Action::Close, Action::Reset] {
        let fake = FakeCluster::new(2);
        let client = Arc::new(client(&fake.url()));
        let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 2));
        let mut seen = 0;
        let mut usual = fake.default_answer(0);
        fake.on(0, move |connection, command| {
            if !is(command, "INCR") {
                return None;
            }
            seen += 1;
            Some(if seen <= 3 {
                Action::Send(usual(connection, command))
            } else {
                action.clone()
            })
        });
        let mut commands = vec![format!("INCR {here}"); 6];
        commands.push(format!("INCR {there}"));
        let got = say_all(&client, &commands);
        // A reset may overtake replies that were on their way.
        let came = got.iter().position(|g| g.ends_with("(IO, sent)")).unwrap();
        assert!(came <= 3, "{got:?}");
        let counts: Vec<String> = (1..=came).map(|n| n.to_string()).collect();
        assert_eq!(got[..came], counts, "{got:?}");
        assert!(
            got[came..6].iter().all(|g| g.ends_with("(IO, sent)")),
            "{got:?}"
        );
        assert_eq!(got[6], "1", "another node's commands are not concerned");
        assert_eq!(fake.node(0).calls("INCR"), 4, "nothing was sent again");
    }
}

#[test]
fn what_had_not_left_when_a_pipeline_failed_is_told_from_what_had() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let mut seen = 0;
    fake.on(0, move |_, command| {
        let set = is(command, "SET");
        seen += usize::from(set);
        (set && seen > 10).then_some(Action::Hang)
    });
    let client = Arc::new(client(&(fake.url() + "?timeout_ms=400")));
    let value = "x".repeat(16 * 1024);
    let commands: Vec<String> = (0..3000).map(|n| format!("SET k{n} {value}")).collect();
    let reply = pipeline(&client, &commands);
    let all: Vec<_> = reply.view().elements().collect();
    assert!(all[..10].iter().all(|e| code(*e) == Code::Ok));
    for element in &all[10..] {
        // Some would have overtaken a write of their slot whose fate is unknown.
        let kept_back = code(*element) == Code::Io && !is_sent(*element);
        assert!(
            code(*element) == Code::Timeout || kept_back,
            "{}",
            show(*element)
        );
    }
    let sent: Vec<bool> = all[10..].iter().map(|e| is_sent(*e)).collect();
    assert!(sent[0], "the eleventh was read by the node");
    assert!(
        !sent[sent.len() - 1],
        "48 MiB are more than the sockets hold"
    );
    let first_unsent = sent.iter().position(|s| !s).unwrap();
    assert!(
        sent[first_unsent..].iter().all(|s| !s),
        "what leaves, leaves in order"
    );
    assert!(
        fake.calls("SET") <= 10 + first_unsent,
        "one ran that was called unsent"
    );
}

#[test]
fn a_node_that_reads_nothing_until_it_is_read_from_is_read_from() {
    let _serial = serial();
    // 64 MiB up and 64 MiB down: who writes all before reading waits for ever.
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&(fake.url() + "?timeout_ms=20000")));
    let value = "v".repeat(64 * 1024);
    let keys: Vec<String> = (0..1024).map(|n| key_of(n % 2, 2, n)).collect();
    for key in &keys {
        fake.put(key, &value);
    }
    let mut commands = Vec::new();
    for key in &keys {
        commands.push(format!("SET {key} {value}"));
        commands.push(format!("GET {key}"));
    }
    for pair in say_all(&client, &commands).chunks(2) {
        assert_eq!(pair[0], "OK");
        assert!(pair[1] == value);
    }
}
