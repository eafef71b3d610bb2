//! EVALSHA on nodes that do not know the script.

use crate::common::{client, code, is_command, is_sent, key_of, run, run_all, send, show, stat};
use rediscluster::error::Code;
use std::sync::Arc;
use support::{Action, FakeCluster, slot_of};

/// "return 1".
const ONE: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

/// No node knows any script; every node runs EVAL.
fn nodes_without_scripts(nodes: usize) -> FakeCluster {
    let fake = FakeCluster::new(nodes);
    for node in 0..nodes {
        let slots = usize::from(support::SLOTS);
        fake.on(node, move |_, command| {
            let name = command[0].to_ascii_uppercase();
            let by_digest = name.starts_with(b"EVALSHA");
            if !name.starts_with(b"EVAL") {
                return is_command(command, "SCRIPT LOAD")
                    .then(|| Action::send(format!("+{ONE}\r\n")));
            }
            let owner = usize::from(slot_of(&command[3])) * nodes / slots;
            assert_eq!(owner, node, "{:?}", String::from_utf8_lossy(&command[3]));
            Some(Action::send(match by_digest {
                true => "-NOSCRIPT No matching script. Please use EVAL.\r\n",
                false => ":1\r\n",
            }))
        });
    }
    fake
}

#[test]
fn known_script_body_is_resent_where_missing() {
    for (learn, times) in [
        ("SCRIPT LOAD \"return 1\"".to_string(), 0),
        (format!("EVAL \"return 1\" 1 {}", key_of(0, 2, 0)), 1),
        (format!("EVAL_RO \"return 1\" 1 {}", key_of(0, 2, 0)), 0),
    ] {
        let fake = nodes_without_scripts(2);
        let client = Arc::new(client(&fake.url()));
        let unknown = run(&client, &format!("EVALSHA {ONE} 1 {}", key_of(0, 2, 0)));
        assert!(unknown.starts_with("NOSCRIPT"), "{unknown}");
        run(&client, &learn);
        for node in 0..2 {
            let key = key_of(node, 2, node);
            assert_eq!(
                run(&client, &format!("EVALSHA {ONE} 1 {key} a b")),
                "1",
                "{learn}"
            );
            assert_eq!(run(&client, &format!("evalsha_ro {ONE} 1 {key}")), "1");
        }
        assert_eq!((fake.calls("EVALSHA"), fake.calls("EVAL")), (3, 2 + times));
        assert_eq!(stat(&client, "noscript"), 4);
        let full = format!("EVAL \"return 1\" 1 {} a b", key_of(1, 2, 1));
        assert!(fake.node(1).received_text().concat().contains(&full));
        // A flushed script is not restored.
        assert_eq!(run(&client, "SCRIPT FLUSH").split(' ').next(), Some("ERR"));
        let unknown = run(&client, &format!("EVALSHA {ONE} 1 {}", key_of(0, 2, 0)));
        assert!(unknown.starts_with("NOSCRIPT"), "{unknown}");
    }
}

#[test]
fn pipelined_scripts_are_resent_in_order_or_not_at_all() {
    let fake = nodes_without_scripts(2);
    let client = Arc::new(client(&fake.url()));
    run(&client, "SCRIPT LOAD \"return 1\"");
    let (a, b) = (key_of(0, 2, 0), key_of(1, 2, 1));
    let commands: Vec<String> = (0..10)
        .map(|n| format!("EVALSHA {ONE} 1 {} {n}", [&a, &b][n % 2]))
        .collect();
    assert_eq!(run_all(&client, &commands), ["1"; 10]);
    for (node, key) in [(0, &a), (1, &b)] {
        let all = fake.node(node).received_text().concat();
        let full: Vec<&String> = all.iter().filter(|c| c.starts_with("EVAL ")).collect();
        let expected: Vec<String> = (0..10)
            .filter(|n| n % 2 == node)
            .map(|n| format!("EVAL \"return 1\" 1 {key} {n}"))
            .collect();
        assert_eq!(full, expected.iter().collect::<Vec<_>>());
    }
    // A later command of the slot has run: the script would run late.
    let got = run_all(
        &client,
        &[format!("EVALSHA {ONE} 1 {a}"), format!("GET {a}")],
    );
    assert!(
        got[0].contains("NOSCRIPT") && got[0].contains("not sent again"),
        "{got:?}"
    );
    assert!(!got[0].contains("sent)"), "{got:?}");
    assert_eq!(got[1], "nil");
    assert_eq!(fake.calls("EVAL"), 10);
}

#[test]
fn script_returning_noscript_itself_is_not_run_again() {
    for (error, calls, sent) in [
        ("NOSCRIPT I say so", (1, 1), true),
        (
            "NOSCRIPT No matching script. Please use EVAL.",
            (1, 2),
            false,
        ),
    ] {
        let fake = FakeCluster::new(1);
        fake.on(0, move |_, command| {
            command[0]
                .starts_with(b"EVAL")
                .then(|| Action::send(format!("-{error}\r\n")))
        });
        let client = client(&fake.url());
        run(&client, "EVAL \"return 1\" 1 k");
        let reply = send(&client, &format!("EVALSHA {ONE} 1 k"));
        assert_eq!(code(reply.view()), Code::Server);
        assert_eq!(is_sent(reply.view()), sent, "{}", show(reply.view()));
        assert_eq!((fake.calls("EVALSHA"), fake.calls("EVAL")), calls);
    }
}

#[test]
fn error_that_a_script_chooses_is_not_taken_for_a_refusal() {
    let (key, other) = (key_of(0, 2, 0), key_of(1, 2, 0));
    let (slot, other_slot) = (slot_of(key.as_bytes()), slot_of(other.as_bytes()));
    let fake = FakeCluster::new(2);
    let url = fake.url() + "?timeout_ms=2000";
    let mut errors: Vec<String> = [
        "TRYAGAIN",
        "LOADING",
        "READONLY",
        "CLUSTERDOWN",
        "MASTERDOWN",
        "BUSY",
        "OOM",
        "NOPERM",
        "NOSCRIPT",
        "MOVED",
        "ASK",
    ]
    .iter()
    .map(|word| format!("{word} I say so"))
    .collect();
    let there = format!("127.0.0.1:{}", fake.port(1));
    errors.extend([
        "TRYAGAIN".to_string(),
        "READONLY You can't write against a read only replica.".to_string(),
        "LOADING Redis is loading the dataset in memory script: 1f, on @user_script:1.".to_string(),
        format!("MOVED {other_slot} {there}"),
        format!("ASK {other_slot} {there}"),
        format!("MOVED {slot} {there} script: 1f, on @user_script:1."),
    ]);
    for error in errors {
        for node in 0..2 {
            let answer = format!("-{error}\r\n");
            fake.on(node, move |_, command| {
                let names = ["EVAL", "EVALSHA", "FCALL"];
                let is_script = names.iter().any(|name| is_command(command, name));
                is_script.then(|| Action::send(&answer))
            });
        }
        let client = Arc::new(client(&url));
        for command in [
            format!("EVAL \"return 1\" 1 {key}"),
            format!("EVALSHA {ONE} 1 {key}"),
            format!("FCALL f 1 {key}"),
        ] {
            let before = ["EVAL", "EVALSHA", "FCALL"].map(|name| fake.calls(name));
            let reply = send(&client, &command);
            assert!(is_sent(reply.view()), "{command}: {}", show(reply.view()));
            assert!(show(reply.view()).starts_with(&error), "{command}: {error}");
            let after = ["EVAL", "EVALSHA", "FCALL"].map(|name| fake.calls(name));
            let calls: usize = (0..3).map(|n| after[n] - before[n]).sum();
            assert_eq!(calls, 1, "{command}: {error}");
            let piped = run_all(&client, &[&command]);
            assert!(piped[0].contains("sent)"), "{piped:?}");
        }
    }
}

#[test]
fn script_without_keys_is_not_redirected() {
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        let moved = format!("-MOVED 1 127.0.0.1:{}\r\n", fake.port(1 - node));
        fake.on(node, move |_, command| {
            is_command(command, "EVAL").then(|| Action::send(&moved))
        });
    }
    let reply = send(&client(&fake.url()), "EVAL \"return 1\" 0");
    assert!(is_sent(reply.view()), "{}", show(reply.view()));
    assert_eq!(fake.calls("EVAL"), 1);
}

#[test]
fn script_refused_in_the_servers_own_sentence_is_sent_again() {
    let key = key_of(0, 2, 0);
    let slot = slot_of(key.as_bytes());
    let fake = FakeCluster::new(2);
    for error in [
        "LOADING Redis is loading the dataset in memory".to_string(),
        "LOADING Valkey is loading the dataset in memory".to_string(),
        "TRYAGAIN Multiple keys request during rehashing of slot".to_string(),
        "CLUSTERDOWN The cluster is down".to_string(),
        "READONLY Can not run script with write flag on readonly replica".to_string(),
        format!("MOVED {slot} 127.0.0.1:{}", fake.port(0)),
    ] {
        let mut left = 1;
        let answer = format!("-{error}\r\n");
        fake.on(0, move |_, command| {
            if !is_command(command, "FCALL") {
                return None;
            }
            left -= 1;
            Some(Action::send(if left == 0 { &answer } else { ":1\r\n" }))
        });
        let reply = run(&client(&fake.url()), &format!("FCALL f 1 {key}"));
        assert_eq!(reply, "1", "{error}");
    }
}
