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
fn script_returning_noscript_itself_is_not_retried_forever() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        command[0]
            .starts_with(b"EVAL")
            .then(|| Action::send("-NOSCRIPT I say so\r\n"))
    });
    let client = client(&fake.url());
    run(&client, "EVAL \"return 1\" 1 k");
    let reply = send(&client, &format!("EVALSHA {ONE} 1 k"));
    assert_eq!(code(reply.view()), Code::Server);
    assert!(is_sent(reply.view()), "{}", show(reply.view()));
    assert_eq!((fake.calls("EVALSHA"), fake.calls("EVAL")), (1, 2));
}
