//! EVALSHA at nodes that were never told the script, or have forgotten it.

use crate::common::{ask, client, code, is, is_sent, key_of, say, say_all, show, stat};
use rediscluster::error::Code;
use std::sync::Arc;
use support::{Action, FakeCluster, slot_of};

/// "return 1".
const ONE: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

/// Every node has forgotten all scripts, and runs what it is sent in full.
fn forgetful(nodes: usize) -> FakeCluster {
    let fake = FakeCluster::new(nodes);
    for node in 0..nodes {
        let slots = usize::from(support::SLOTS);
        fake.on(node, move |_, command| {
            let name = command[0].to_ascii_uppercase();
            let by_digest = name.starts_with(b"EVALSHA");
            if !name.starts_with(b"EVAL") {
                return is(command, "SCRIPT LOAD").then(|| Action::send(format!("+{ONE}\r\n")));
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
fn a_script_whose_body_has_passed_by_is_sent_in_full_where_it_is_missing() {
    for (learn, times) in [
        ("SCRIPT LOAD \"return 1\"".to_string(), 0),
        (format!("EVAL \"return 1\" 1 {}", key_of(0, 2, 0)), 1),
        (format!("EVAL_RO \"return 1\" 1 {}", key_of(0, 2, 0)), 0),
    ] {
        let fake = forgetful(2);
        let client = Arc::new(client(&fake.url()));
        let unknown = say(&client, &format!("EVALSHA {ONE} 1 {}", key_of(0, 2, 0)));
        assert!(unknown.starts_with("NOSCRIPT"), "{unknown}");
        say(&client, &learn);
        for node in 0..2 {
            let key = key_of(node, 2, node);
            assert_eq!(
                say(&client, &format!("EVALSHA {ONE} 1 {key} a b")),
                "1",
                "{learn}"
            );
            assert_eq!(say(&client, &format!("evalsha_ro {ONE} 1 {key}")), "1");
        }
        assert_eq!((fake.calls("EVALSHA"), fake.calls("EVAL")), (3, 2 + times));
        assert_eq!(stat(&client, "noscript"), 4);
        let full = format!("EVAL \"return 1\" 1 {} a b", key_of(1, 2, 1));
        assert!(fake.node(1).received_text().concat().contains(&full));
        // What the caller has thrown away is not brought back.
        assert_eq!(say(&client, "SCRIPT FLUSH").split(' ').next(), Some("ERR"));
        let unknown = say(&client, &format!("EVALSHA {ONE} 1 {}", key_of(0, 2, 0)));
        assert!(unknown.starts_with("NOSCRIPT"), "{unknown}");
    }
}

#[test]
fn scripts_of_a_pipeline_are_sent_in_full_in_their_order_or_not_at_all() {
    let fake = forgetful(2);
    let client = Arc::new(client(&fake.url()));
    say(&client, "SCRIPT LOAD \"return 1\"");
    let (a, b) = (key_of(0, 2, 0), key_of(1, 2, 1));
    let commands: Vec<String> = (0..10)
        .map(|n| format!("EVALSHA {ONE} 1 {} {n}", [&a, &b][n % 2]))
        .collect();
    assert_eq!(say_all(&client, &commands), ["1"; 10]);
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
    let got = say_all(
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
fn a_script_that_ends_with_those_words_itself_is_not_run_for_ever() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        command[0]
            .starts_with(b"EVAL")
            .then(|| Action::send("-NOSCRIPT I say so\r\n"))
    });
    let client = client(&fake.url());
    say(&client, "EVAL \"return 1\" 1 k");
    let reply = ask(&client, &format!("EVALSHA {ONE} 1 k"));
    assert_eq!(code(reply.view()), Code::Server);
    assert!(is_sent(reply.view()), "{}", show(reply.view()));
    assert_eq!((fake.calls("EVALSHA"), fake.calls("EVAL")), (1, 2));
}
