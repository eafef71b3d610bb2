//! Reads that are sent together with the handshake of a new connection.

use crate::common;
use crate::common::serial::serial;
use crate::common::{client, code, is_command, is_sent, run, send, show, wait_for};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Action, FakeCluster};

#[test]
fn only_quick_reads_are_sent_with_the_handshake() {
    let _serial = serial();
    for (command, early) in [
        ("GET k", true),
        ("HGET k f", true),
        ("ZSCORE k m", true),
        // A write may have run although the handshake fails.
        ("SET k v", false),
        ("INCR k", false),
        // A slow command would look like an unanswered handshake.
        ("LRANGE k 0 -1", false),
        ("SORT_RO k", false),
        ("EVAL_RO s 1 k", false),
        ("XREAD BLOCK 10 STREAMS k 0", false),
        ("NO.SUCH k", false),
    ] {
        for password in ["", ":secret@"] {
            let fake = FakeCluster::new(1);
            let url = fake.url().replace("://", &format!("://{password}"));
            let client = Arc::new(client(&(url + "?timeout_ms=5000")));
            let name = command.split(' ').next().unwrap();
            let held = Arc::new(AtomicBool::new(false));
            let seen = held.clone();
            // The handshake is never answered.
            fake.on(0, move |_, command| {
                let hello = is_command(command, "HELLO");
                seen.fetch_or(hello, Ordering::SeqCst);
                (hello || seen.load(Ordering::SeqCst)).then_some(Action::Nothing)
            });
            let (its, line) = (client.clone(), command.to_string());
            let caller = std::thread::spawn(move || is_sent(send(&its, &line).view()));
            wait_for("the handshake begins", || held.load(Ordering::SeqCst));
            // With a password nothing is sent before the login has succeeded.
            let expected = early && password.is_empty();
            if expected {
                wait_for("the command arrives", || fake.calls(name) == 1);
            } else {
                std::thread::sleep(Duration::from_millis(30));
                assert_eq!(fake.calls(name), 0, "{password}{command}");
            }
            client.close();
            assert_eq!(caller.join().unwrap(), expected, "{password}{command}");
        }
    }
}

#[test]
fn failed_early_read_does_not_affect_other_calls() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let client = client(&(fake.url() + "?timeout_ms=250"));
    fake.on(0, |_, command| match () {
        () if is_command(command, "HELLO") => Some(Action::Nothing),
        () if is_command(command, "GET") => Some(Action::Close),
        () => None,
    });
    let words = run(&client, "GET k");
    assert!(words.contains("closed the connection"), "{words}");
    let write = send(&client, "SET k v");
    let words = show(write.view());
    assert!(
        code(write.view()) != Code::Ok && !is_sent(write.view()),
        "{words}"
    );
    fake.off(0);
    wait_for("the node is tried again", || {
        run(&client, "SET k v") == "OK"
    });

    // A refused connection proves that no command behind it has run.
    let full = "-ERR max number of clients reached\r\n";
    for by in [Action::send(full), Action::SendClose(full.into())] {
        let fake = FakeCluster::new(1);
        let client = common::client(&(fake.url() + "?timeout_ms=250"));
        fake.on(0, move |_, _| Some(by.clone()));
        let read = send(&client, "GET k");
        let words = show(read.view());
        assert_eq!(code(read.view()), Code::Connect, "{words}");
        assert!(
            words.contains("max number of clients") && !is_sent(read.view()),
            "{words}"
        );
    }
}
