//! Connections that end or stall during a call: what is retried, and what the caller is told.

use crate::common::serial::serial;
use crate::common::{
    client, code, is_command, is_sent, key_of, pipeline, run, run_all, send, show, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Action, FakeCluster, slot_of};

const MS: Duration = Duration::from_millis(1);

#[test]
fn late_reply_means_executed_once_and_reports_sent() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let mut usual = fake.default_answer(0);
    fake.on(0, move |connection, command| {
        is_command(command, "INCR").then(|| {
            let answer = Action::Send(usual(connection, command));
            Action::Delay(300 * MS, Box::new(answer))
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?attempt_timeout_ms=100&timeout_ms=2000"),
    ));
    let reply = send(&client, "INCR n");
    assert_eq!(code(reply.view()), Code::Timeout, "{}", show(reply.view()));
    assert!(is_sent(reply.view()), "it may have run");
    assert!(
        show(reply.view()).contains("did not answer INCR within 100 ms"),
        "{}",
        show(reply.view())
    );
    let got = run_all(&client, &["INCR n"]);
    assert!(got[0].ends_with("(TIMEOUT, sent)"), "{got:?}");
    wait_for("both have run", || {
        fake.value("n").is_some_and(|n| n == b"2")
    });
    fake.off(0);
    assert_eq!(run(&client, "GET n"), "2");
    assert_eq!(fake.calls("INCR"), 2, "none was sent twice");
}

#[test]
fn last_short_attempt_keeps_earlier_error() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let client = client(&fake.url());
    let has_failed = Arc::new(AtomicBool::new(false));
    let fails = has_failed.clone();
    fake.on(0, move |_, command| {
        if is_command(command, "GET") {
            fails.store(true, Ordering::SeqCst);
            return Some(Action::Close);
        }
        // After that no new connection succeeds.
        (is_command(command, "HELLO") && fails.load(Ordering::SeqCst)).then_some(Action::Nothing)
    });
    let brief = client.with("timeout_ms", "15");
    // On a busy machine the first attempt may already exceed the call timeout.
    wait_for("the error names the cause", || {
        has_failed.store(false, Ordering::SeqCst);
        let reply = send(&brief, "GET k");
        let told = show(reply.view());
        told.contains("closed the connection (gave up after 15 ms)")
            && code(reply.view()) == Code::Io
    });
}

// Makes a node do this instead of answering the next command with this name.
fn fail_next(fake: &FakeCluster, node: usize, name: &'static str, action: Action) {
    let mut left = Some(action);
    fake.on(node, move |_, command| {
        is_command(command, name).then(|| left.take()).flatten()
    });
}

#[test]
fn lost_connection_retries_reads_but_not_writes() {
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
        fail_next(&fake, 0, "INCR", action.clone());
        let reply = send(&client, "INCR n");
        let words = show(reply.view());
        assert_eq!(code(reply.view()), Code::Io, "{action:?}: {words}");
        assert!(is_sent(reply.view()), "{action:?}: {words}");
        fail_next(&fake, 0, "INCR", action.clone());
        let got = run_all(&client, &["INCR n"]);
        assert!(got[0].ends_with("(IO, sent)"), "{action:?}: {got:?}");
        assert_eq!(fake.calls("INCR"), 2, "{action:?}");
        fail_next(&fake, 0, "GET", action.clone());
        assert_eq!(run(&client, "GET k"), "v", "{action:?}");
        fail_next(&fake, 0, "GET", action.clone());
        assert_eq!(run_all(&client, &["GET k"]), ["v"], "{action:?}");
        // Unless the caller allows retries of writes.
        let twice = client.with("retry_writes", "yes");
        fail_next(&fake, 0, "SET", action.clone());
        assert_eq!(run(&twice, "SET k w"), "OK", "{action:?}");
    }
}

#[test]
fn retried_write_reports_sent_whatever_retries_return() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let url = fake.url() + "?timeout_ms=300&retry_writes=yes";
    let client = Arc::new(client(&url));
    for way in [run, |client: &Client, words: &str| {
        run_all(&Arc::new(client.with("timeout_ms", "300")), &[words])[0].clone()
    }] {
        fake.off(0);
        wait_for("there is a connection", || run(&client, "SET k v") == "OK");
        fake.on(0, |_, command| match () {
            () if is_command(command, "SET") => Some(Action::Close),
            () => Some(Action::SendClose(
                "-ERR max number of clients reached\r\n".into(),
            )),
        });
        let got = way(&client, "SET k w");
        assert!(got.ends_with("(IO, sent)"), "{got}");
    }
}

#[test]
fn refused_retry_of_lost_write_reports_sent() {
    let _serial = serial();
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    let loading = "LOADING Redis is loading the dataset in memory";
    for (refusal, last) in [
        ("NOPERM no permissions to run SET", ""),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            "",
        ),
        ("ERR unknown command 'SET', with args beginning with: ", ""),
        // What comes after a redirection says nothing about the first attempt either.
        ("MOVED", "NOPERM no permissions to run SET"),
        ("MOVED", loading),
    ] {
        for way in [run, |client: &Client, words: &str| {
            run_all(&Arc::new(client.with("timeout_ms", "300")), &[words])[0].clone()
        }] {
            let fake = FakeCluster::new(2);
            let client = client(&(fake.url() + "?timeout_ms=300&retry_writes=yes"));
            let reply = match refusal {
                "MOVED" => format!("-MOVED {slot} 127.0.0.1:{}\r\n", fake.port(1)),
                _ => format!("-{refusal}\r\n"),
            };
            let mut is_lost = false;
            fake.on(0, move |_, command| {
                is_command(command, "SET").then(|| match std::mem::replace(&mut is_lost, true) {
                    false => Action::Close,
                    true => Action::send(reply.clone()),
                })
            });
            let reply = format!("-{last}\r\n");
            fake.on(1, move |_, command| {
                is_command(command, "SET").then(|| Action::send(reply.clone()))
            });
            let got = way(&client, &format!("SET {key} v"));
            assert!(got.ends_with(", sent)"), "{refusal}, {last}: {got}");
        }
    }
}

#[test]
fn lost_connection_keeps_received_pipeline_replies() {
    let _serial = serial();
    for action in [Action::Close, Action::Reset] {
        let fake = FakeCluster::new(2);
        let client = Arc::new(client(&fake.url()));
        let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 2));
        let mut seen = 0;
        let mut usual = fake.default_answer(0);
        fake.on(0, move |connection, command| {
            if !is_command(command, "INCR") {
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
        let got = run_all(&client, &commands);
        // A reset may overtake earlier replies.
        let came = got.iter().position(|g| g.ends_with("(IO, sent)")).unwrap();
        assert!(came <= 3, "{got:?}");
        let counts: Vec<String> = (1..=came).map(|n| n.to_string()).collect();
        assert_eq!(got[..came], counts, "{got:?}");
        assert!(
            got[came..6].iter().all(|g| g.ends_with("(IO, sent)")),
            "{got:?}"
        );
        assert_eq!(got[6], "1", "commands of another node are not affected");
        assert_eq!(fake.node(0).calls("INCR"), 4, "nothing was resent");
    }
}

#[test]
fn failed_pipeline_tells_sent_from_unsent_commands() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let mut seen = 0;
    fake.on(0, move |_, command| {
        let set = is_command(command, "SET");
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
        // Some commands were held back behind a write of their slot whose outcome is unknown.
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
        "commands are sent in order"
    );
    assert!(
        fake.calls("SET") <= 10 + first_unsent,
        "a command ran that was reported as unsent"
    );
}

#[test]
fn pipeline_reads_while_writing_so_full_buffers_do_not_block() {
    let _serial = serial();
    // 64 MiB in each direction: a client that writes everything before it reads would block forever.
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
    for pair in run_all(&client, &commands).chunks(2) {
        assert_eq!(pair[0], "OK");
        assert!(pair[1] == value);
    }
}
