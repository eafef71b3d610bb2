//! WAIT and WAITAOF: they say something only about writes of their own connection.

use crate::common::{
    atomic, client, code, is_command, is_sent, key_of, run, run_all, send, show, timed,
};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Action, FakeCluster, slot_of};

/// Every node answers WAIT with its own number.
fn with_wait(fake: &FakeCluster, nodes: usize) {
    for node in 0..nodes {
        fake.on(node, move |_, command| {
            is_command(command, "WAIT").then(|| Action::send(format!(":{node}\r\n")))
        });
    }
}

#[test]
fn wait_on_shared_connection_is_refused() {
    let fake = FakeCluster::new(2);
    with_wait(&fake, 2);
    let client = Arc::new(client(&fake.url()));
    for words in ["WAIT 1 100", "waitaof 1 1 100", "WAIT 1 0"] {
        let args = support::words::split(words).unwrap();
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        for reply in [
            send(&client, words),
            *client.command_to("slot:0", &args),
            *client.command_to("primaries", &args),
        ] {
            let text = show(reply.view());
            assert_eq!(code(reply.view()), Code::Invalid, "{words}: {text}");
            assert!(
                text.contains("waits for the writes of its own connection")
                    && text.contains("pipeline")
                    && text.contains("rdc_pin()"),
                "{words}: {text}"
            );
        }
    }
    assert_eq!((fake.calls("WAIT"), fake.calls("WAITAOF")), (0, 0));
    let pinned = client.pin(key_of(1, 2, 0).as_bytes());
    assert_eq!(run(&pinned, "WAIT 1 100"), "1");
}

#[test]
fn wait_in_pipeline_follows_its_writes_on_their_connection() {
    let fake = FakeCluster::new(2);
    with_wait(&fake, 2);
    let client = Arc::new(client(&fake.url()));
    let (k, l) = (key_of(1, 2, 0), key_of(0, 2, 1));
    let commands = [
        format!("GET {l}"),
        format!("SET {k} 1"),
        "WAIT 1 100".to_owned(),
        format!("GET {k}"),
        format!("INCR {k}"),
        "PING".to_owned(),
        "WAIT 0 100".to_owned(),
        format!("SET {l} 2"),
    ];
    assert_eq!(
        run_all(&client, &commands),
        ["nil", "OK", "1", "1", "2", "PONG", "1", "OK"]
    );
    let behind = fake
        .node(1)
        .received_text()
        .into_iter()
        .find(|c| c.contains(&commands[2]));
    let behind: Vec<String> = behind
        .unwrap()
        .into_iter()
        .filter(|c| !c.starts_with("PING"))
        .collect();
    let at = behind.iter().position(|c| *c == commands[1]).unwrap();
    let expected: Vec<&String> = [1, 2, 3, 4, 6].map(|n| &commands[n]).to_vec();
    assert_eq!(behind[at..at + 5].iter().collect::<Vec<_>>(), expected);
    assert_eq!(fake.node(0).calls("WAIT"), 0);
}

#[test]
fn wait_without_writes_of_one_slot_before_it_is_refused() {
    let fake = FakeCluster::new(2);
    with_wait(&fake, 2);
    let client = Arc::new(client(&fake.url()));
    let (k, l) = (key_of(0, 2, 0), key_of(1, 2, 1));
    for (before, why) in [
        (
            vec![format!("GET {k}")],
            "waits for the writes before it in the pipeline, and there is none",
        ),
        (vec!["SET k".to_owned()], "and there is none"),
        (
            vec![format!("SET {k} v"), format!("SET {l} v")],
            "these are not all to one slot",
        ),
        (
            vec![format!("DEL {k} {l}")],
            "these are not all to one slot",
        ),
        (
            vec![format!("SET {k} v"), "FLUSHALL".to_owned()],
            "these are not all to one slot",
        ),
    ] {
        let mut commands = before.clone();
        commands.push("WAIT 1 100".to_owned());
        // Writes after it do not matter.
        commands.push(format!("SET {k} w"));
        let got = run_all(&client, &commands);
        assert!(got[before.len()].contains(why), "{before:?}: {got:?}");
        assert_eq!(got.last().unwrap(), "OK", "{before:?}");
    }
    assert_eq!(fake.calls("WAIT"), 0);
    let reply = atomic(&client, &[format!("SET {k} v"), "WAIT 1 100".to_owned()]);
    let text = show(reply.view());
    assert!(
        text.contains("inside a transaction this command does not wait"),
        "{text}"
    );
    assert!(!is_sent(reply.view()));
}

#[test]
fn wait_moves_with_its_writes_when_the_slot_moves() {
    let fake = FakeCluster::new(2);
    with_wait(&fake, 2);
    let client = Arc::new(client(&fake.url()));
    let k = key_of(0, 2, 0);
    assert_eq!(run(&client, &format!("SET {k} 1")), "OK");
    let slot = slot_of(k.as_bytes());
    fake.assign(slot..=slot, 1);
    let got = run_all(
        &client,
        &[
            format!("INCR {k}"),
            format!("INCR {k}"),
            "WAIT 1 100".to_owned(),
            format!("GET {k}"),
        ],
    );
    assert_eq!(got, ["2", "3", "1", "3"], "the answer of the new owner");
    let after = fake
        .node(1)
        .received_text()
        .into_iter()
        .find(|c| c.iter().any(|c| c.starts_with("WAIT")))
        .unwrap();
    let at = after.iter().position(|c| c.starts_with("WAIT")).unwrap();
    assert_eq!(
        after[at - 2..at],
        [format!("INCR {k}"), format!("INCR {k}")]
    );
}

#[test]
fn wait_fails_when_its_writes_run_apart() {
    // The second write is refused once, the first is not: WAIT behind the second says nothing about the first.
    let fake = FakeCluster::new(1);
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = refusals.clone();
    fake.on(0, move |_, command| match () {
        () if is_command(command, "WAIT") => Some(Action::send(":1\r\n")),
        () if is_command(command, "SET {k}b") && counted.fetch_add(1, Ordering::SeqCst) == 0 => {
            Some(Action::send(
                "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
            ))
        }
        () => None,
    });
    let client = Arc::new(client(&fake.url()));
    let got = run_all(&client, &["SET {k}a 1", "SET {k}b 2", "WAIT 1 100"]);
    assert_eq!(got[..2], ["OK", "OK"], "{got:?}");
    assert!(
        got[2].contains("WAIT says nothing about the writes before it")
            && !got[2].contains("sent)"),
        "{got:?}"
    );
    // All are refused once: all are sent again.
    refusals.store(0, Ordering::SeqCst);
    let got = run_all(&client, &["SET {k}b 2", "WAIT 1 100"]);
    assert_eq!(got, ["OK", "1"]);
    // After ASK, the writes of one slot may be at two nodes.
    let fake = FakeCluster::new(2);
    with_wait(&fake, 2);
    let (k, to) = (key_of(0, 2, 0), fake.port(1));
    let ask = format!("-ASK {} 127.0.0.1:{to}\r\n", slot_of(k.as_bytes()));
    fake.on(0, move |_, command| match () {
        () if is_command(command, "WAIT") => Some(Action::send(":1\r\n")),
        () => is_command(command, "SET").then(|| Action::send(&ask)),
    });
    let client = Arc::new(crate::common::client(&fake.url()));
    let got = run_all(&client, &[format!("SET {k} 1"), "WAIT 1 100".to_owned()]);
    assert_eq!(got[0], "OK", "{got:?}");
    assert!(
        got[1].contains("WAIT says nothing about the writes before it"),
        "{got:?}"
    );
}

#[test]
fn wait_whose_connection_is_lost_is_not_sent_on_another() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        is_command(command, "WAIT").then_some(Action::Close)
    });
    let client = Arc::new(client(&fake.url()));
    let got = run_all(&client, &["SET k 1", "WAIT 1 100"]);
    assert_eq!(got[0], "OK");
    assert!(got[1].contains("(IO"), "{got:?}");
    assert_eq!(fake.calls("WAIT"), 1);
}

#[test]
fn waiting_pipeline_has_its_own_time_and_connection() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        is_command(command, "WAIT")
            .then(|| Action::Delay(Duration::from_millis(400), Box::new(Action::send(":1\r\n"))))
    });
    let url = fake.url() + "?connections_per_node=1&attempt_timeout_ms=200&timeout_ms=300";
    let client = Arc::new(client(&url));
    assert_eq!(run(&client, "SET k 0"), "OK");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run_all(&client, &["INCR k", "WAIT 1 1000", "INCR k"]));
        crate::common::wait_for("the server waits", || fake.calls("WAIT") == 1);
        let (got, time) = timed(|| run(&client, "GET k"));
        assert!(
            got == "1" && time < Duration::from_millis(200),
            "{got} {time:?}"
        );
        assert_eq!(waiting.join().unwrap(), ["1", "1", "2"]);
    });
}
