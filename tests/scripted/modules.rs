//! Commands that no table has: a server is asked where their keys are, once.

use crate::common::{ask, client, code, is, is_sent, key_of, pipeline, say, say_all, show};
use rediscluster::error::Code;
use std::sync::Arc;
use support::{Action, FakeCluster};

/// What COMMAND INFO says of a module's command: its flags and where its keys are.
fn info(name: &str, flags: &[&str], keys: [i64; 3]) -> String {
    let flags: Vec<String> = flags.iter().map(|flag| format!("+{flag}\r\n")).collect();
    let [first, last, step] = keys;
    format!(
        "*1\r\n*10\r\n${}\r\n{name}\r\n:-1\r\n*{}\r\n{}:{first}\r\n:{last}\r\n:{step}\r\n*0\r\n*0\r\n*0\r\n*0\r\n",
        name.len(),
        flags.len(),
        flags.concat()
    )
}

/// Every node has these commands, and answers them with its number.
fn with_module(fake: &FakeCluster, nodes: usize) {
    for node in 0..nodes {
        fake.on(node, move |_, command| {
            if is(command, "COMMAND GETKEYS MOD.MOVE") {
                // Behind the word AT.
                let at = command.iter().position(|word| word == b"AT");
                return Some(match at.and_then(|at| command.get(at + 1)) {
                    Some(key) => Action::Send(
                        [
                            b"*1\r\n$".to_vec(),
                            key.len().to_string().into(),
                            b"\r\n".to_vec(),
                            key.clone(),
                            b"\r\n".to_vec(),
                        ]
                        .concat(),
                    ),
                    None => Action::send("-ERR The command has no key arguments\r\n"),
                });
            }
            if is(command, "COMMAND INFO") {
                let name = String::from_utf8_lossy(&command[2]).to_uppercase();
                return Some(Action::send(match name.as_str() {
                    "MOD.SET" => info(&name, &["write", "module"], [2, 2, 1]),
                    "MOD.GET" => info(&name, &["readonly", "module"], [1, 1, 1]),
                    "MOD.ALL" => info(&name, &["readonly"], [1, -1, 1]),
                    "MOD.MOVE" => info(&name, &["write", "movablekeys"], [0, 0, 0]),
                    "MOD.LIST" => info(&name, &["readonly"], [0, 0, 0]),
                    _ => "*1\r\n*-1\r\n".to_string(),
                }));
            }
            command[0]
                .to_ascii_uppercase()
                .starts_with(b"MOD.")
                .then(|| Action::send(format!(":{node}\r\n")))
        });
    }
}

#[test]
fn a_server_is_asked_once_and_its_word_is_remembered() {
    let fake = FakeCluster::new(3);
    with_module(&fake, 3);
    let client = Arc::new(client(&fake.url()));
    for n in 0..30 {
        let (key, decoy) = (key_of(n % 3, 3, n), key_of((n + 1) % 3, 3, n));
        let words = format!("{} {decoy} {key}", ["MOD.SET", "mod.set"][n % 2]);
        assert_eq!(say(&client, &words), (n % 3).to_string());
        let twin = client.with("timeout_ms", "4000");
        assert_eq!(say(&twin, &words), (n % 3).to_string());
        assert_eq!(say_all(&client, &[words]), [(n % 3).to_string()]);
    }
    assert_eq!(fake.calls("COMMAND"), 1);
    // Keys that are not together, and keys that only a server can find.
    let (a, b) = (key_of(0, 3, 0), key_of(1, 3, 1));
    let apart = ask(&client, &format!("MOD.ALL {a} {b}"));
    assert_eq!(
        code(apart.view()),
        Code::CrossSlot,
        "{}",
        show(apart.view())
    );
    assert!(!is_sent(apart.view()));
    assert_eq!(fake.calls("MOD.ALL"), 0);
    assert_eq!(say(&client, &format!("MOD.ALL {{{b}}}1 {{{b}}}2")), "1");
    for n in 0..6 {
        let key = key_of(n % 3, 3, n);
        assert_eq!(
            say(&client, &format!("MOD.MOVE x y AT {key}")),
            (n % 3).to_string()
        );
    }
    assert!(["0", "1", "2"].contains(&say(&client, "MOD.MOVE x y").as_str()));
    assert!(["0", "1", "2"].contains(&say(&client, &format!("MOD.LIST {a}")).as_str()));
    // Many in one pipeline: each is asked about once.
    let before = fake.calls("COMMAND");
    let commands: Vec<String> = (0..30)
        .map(|n| format!("MOD.GET {}", key_of(n % 3, 3, n)))
        .collect();
    let expected: Vec<String> = (0..30).map(|n| (n % 3).to_string()).collect();
    assert_eq!(say_all(&client, &commands), expected);
    assert_eq!(fake.calls("COMMAND"), before + 1);
    let got = say_all(
        &client,
        &[format!("MOD.ALL {a} {b}"), format!("MOD.GET {b}")],
    );
    assert!(got[0].contains("CROSSSLOT") && got[1] == "1", "{got:?}");
}

#[test]
fn until_a_command_is_known_it_counts_as_a_write() {
    let fake = FakeCluster::with_replicas(1, 1);
    with_module(&fake, 2);
    let client = Arc::new(client(&fake.url()));
    // Through a read-only handle nothing is sent, not even a question, and what was learned opens no door.
    let readonly = Arc::new(client.readonly());
    for _ in 0..2 {
        let refused = ask(&readonly, "MOD.GET k");
        assert_eq!(
            code(refused.view()),
            Code::ReadOnly,
            "{}",
            show(refused.view())
        );
        let refused = pipeline(&readonly, &["GET k", "MOD.GET k"]);
        let codes: Vec<Code> = refused.view().elements().map(code).collect();
        assert_eq!(codes, [Code::ReadOnly; 2]);
        assert_eq!(fake.calls("GET"), 0);
        if fake.calls("COMMAND") == 0 {
            assert_eq!(fake.calls("MOD.GET"), 0);
            assert_eq!(say(&client, "MOD.GET k"), "0");
        }
    }
    assert_eq!((fake.calls("COMMAND"), fake.calls("MOD.GET")), (1, 1));
    // A handle that may write reads from replicas what a server calls a read, and nothing else.
    let near = client.with("read_from", "replica");
    assert_eq!(say(&near, "MOD.GET k"), "1");
    assert_eq!(say(&near, "MOD.SET x k"), "0");
}

#[test]
fn what_is_known_to_be_a_read_is_asked_again_when_its_reply_is_lost_and_a_write_is_not() {
    for (words, expected) in [("MOD.GET k", "0"), ("MOD.SET x k", "IO")] {
        let fake = FakeCluster::new(1);
        with_module(&fake, 1);
        let client = client(&fake.url());
        assert_eq!(say(&client, words), "0");
        let mut closed = false;
        fake.on(0, move |_, command| {
            command[0]
                .starts_with(b"MOD.")
                .then(|| match std::mem::replace(&mut closed, true) {
                    false => Action::Close,
                    true => Action::send(":0\r\n"),
                })
        });
        let got = say(&client, words);
        assert!(got.starts_with(expected), "{words}: {got}");
    }
}

#[test]
fn what_no_server_knows_or_tells_is_sent_to_the_slot_of_its_first_argument() {
    let fake = FakeCluster::new(3);
    let client = client(&fake.url());
    // The fake cluster does not know COMMAND: it is asked once.
    for n in 0..9 {
        let key = key_of(n % 3, 3, n);
        let got = say(&client, &format!("NO.SUCH {key}"));
        assert!(got.starts_with("ERR unknown command"), "{got}");
        assert_eq!(fake.node(n % 3).calls("NO.SUCH"), n / 3 + 1);
    }
    assert_eq!(fake.calls("COMMAND"), 1);
    // A server that does not know the command may know it tomorrow.
    with_module(&fake, 3);
    for _ in 0..2 {
        say(&client, "OTHER k");
    }
    assert_eq!(fake.calls("COMMAND"), 3);
}
