//! Reads that are sent together with the handshake of a new connection.

use crate::common;
use crate::common::serial::serial;
use crate::common::{ask, client, code, is, is_sent, say, show, until};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Action, FakeCluster};

#[test]
fn a_quick_read_goes_out_with_the_greeting_of_a_new_connection_and_nothing_else_does() {
    let _serial = serial();
    for (command, early) in [
        ("GET k", true),
        ("HGET k f", true),
        ("ZSCORE k m", true),
        // A write may have run where the greeting fails.
        ("SET k v", false),
        ("INCR k", false),
        // What may take long looks like a node that does not answer its greeting.
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
            // The greeting stays without an answer.
            fake.on(0, move |_, command| {
                let hello = is(command, "HELLO");
                seen.fetch_or(hello, Ordering::SeqCst);
                (hello || seen.load(Ordering::SeqCst)).then_some(Action::Nothing)
            });
            let (its, line) = (client.clone(), command.to_string());
            let caller = std::thread::spawn(move || is_sent(ask(&its, &line).view()));
            until("the greeting", || held.load(Ordering::SeqCst));
            // Behind a password nothing is sent before the door is open.
            let expected = early && password.is_empty();
            if expected {
                until("the command", || fake.calls(name) == 1);
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
fn of_a_read_that_went_out_with_a_greeting_nobody_else_is_told() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let client = client(&(fake.url() + "?timeout_ms=250"));
    fake.on(0, |_, command| match () {
        () if is(command, "HELLO") => Some(Action::Nothing),
        () if is(command, "GET") => Some(Action::Close),
        () => None,
    });
    let words = say(&client, "GET k");
    assert!(words.contains("closed the connection"), "{words}");
    let write = ask(&client, "SET k v");
    let words = show(write.view());
    assert!(
        code(write.view()) != Code::Ok && !is_sent(write.view()),
        "{words}"
    );
    fake.off(0);
    until("the node is tried again", || {
        say(&client, "SET k v") == "OK"
    });

    // A refusal proves that nothing behind it has run.
    let full = "-ERR max number of clients reached\r\n";
    for by in [Action::send(full), Action::SendClose(full.into())] {
        let fake = FakeCluster::new(1);
        let client = common::client(&(fake.url() + "?timeout_ms=250"));
        fake.on(0, move |_, _| Some(by.clone()));
        let read = ask(&client, "GET k");
        let words = show(read.view());
        assert_eq!(code(read.view()), Code::Connect, "{words}");
        assert!(
            words.contains("max number of clients") && !is_sent(read.view()),
            "{words}"
        );
    }
}
