//! Commands that are not in the table: a server is asked once where their keys are.

use crate::common::{
    client, code, is_command, is_sent, key_of, pipeline, run, run_all, send, show,
};
use rediscluster::error::Code;
use std::sync::Arc;
use support::{Action, FakeCluster};

/// The COMMAND INFO reply for a module command: its flags and key positions.
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

/// Every node knows these commands and replies with its own number.
fn with_module(fake: &FakeCluster, nodes: usize) {
    for node in 0..nodes {
        fake.on(node, move |_, command| {
            if is_command(command, "COMMAND GETKEYS MOD.MOVE") {
                // The key follows the word AT.
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
            if is_command(command, "COMMAND INFO") {
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
fn module_command_is_looked_up_once_and_cached() {
    let fake = FakeCluster::new(3);
    with_module(&fake, 3);
    let client = Arc::new(client(&fake.url()));
    for n in 0..30 {
        let (key, decoy) = (key_of(n % 3, 3, n), key_of((n + 1) % 3, 3, n));
        let words = format!("{} {decoy} {key}", ["MOD.SET", "mod.set"][n % 2]);
        assert_eq!(run(&client, &words), (n % 3).to_string());
        let derived = client.with("timeout_ms", "4000");
        assert_eq!(run(&derived, &words), (n % 3).to_string());
        assert_eq!(run_all(&client, &[words]), [(n % 3).to_string()]);
    }
    assert_eq!(fake.calls("COMMAND"), 1);
    // Keys in different slots, and keys that only a server can find.
    let (a, b) = (key_of(0, 3, 0), key_of(1, 3, 1));
    let apart = send(&client, &format!("MOD.ALL {a} {b}"));
    assert_eq!(
        code(apart.view()),
        Code::CrossSlot,
        "{}",
        show(apart.view())
    );
    assert!(!is_sent(apart.view()));
    assert_eq!(fake.calls("MOD.ALL"), 0);
    assert_eq!(run(&client, &format!("MOD.ALL {{{b}}}1 {{{b}}}2")), "1");
    for n in 0..6 {
        let key = key_of(n % 3, 3, n);
        assert_eq!(
            run(&client, &format!("MOD.MOVE x y AT {key}")),
            (n % 3).to_string()
        );
    }
    assert!(["0", "1", "2"].contains(&run(&client, "MOD.MOVE x y").as_str()));
    assert!(["0", "1", "2"].contains(&run(&client, &format!("MOD.LIST {a}")).as_str()));
    // Many in one pipeline: each command is looked up once.
    let before = fake.calls("COMMAND");
    let commands: Vec<String> = (0..30)
        .map(|n| format!("MOD.GET {}", key_of(n % 3, 3, n)))
        .collect();
    let expected: Vec<String> = (0..30).map(|n| (n % 3).to_string()).collect();
    assert_eq!(run_all(&client, &commands), expected);
    assert_eq!(fake.calls("COMMAND"), before + 1);
    let got = run_all(
        &client,
        &[format!("MOD.ALL {a} {b}"), format!("MOD.GET {b}")],
    );
    assert!(got[0].contains("CROSSSLOT") && got[1] == "1", "{got:?}");
}

#[test]
fn unknown_command_counts_as_write_until_looked_up() {
    let fake = FakeCluster::with_replicas(1, 1);
    with_module(&fake, 2);
    let client = Arc::new(client(&fake.url()));
    // A read-only handle sends nothing, not even the lookup, and uses no cached lookup.
    let readonly = Arc::new(client.readonly());
    for _ in 0..2 {
        let refused = send(&readonly, "MOD.GET k");
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
            assert_eq!(run(&client, "MOD.GET k"), "0");
        }
    }
    assert_eq!((fake.calls("COMMAND"), fake.calls("MOD.GET")), (1, 1));
    // A handle that may write reads from replicas only what a server calls a read.
    let near = client.with("read_from", "replica");
    assert_eq!(run(&near, "MOD.GET k"), "1");
    assert_eq!(run(&near, "MOD.SET x k"), "0");
}

#[test]
fn module_read_is_retried_after_lost_reply_and_write_is_not() {
    for (words, expected) in [("MOD.GET k", "0"), ("MOD.SET x k", "IO")] {
        let fake = FakeCluster::new(1);
        with_module(&fake, 1);
        let client = client(&fake.url());
        assert_eq!(run(&client, words), "0");
        let mut closed = false;
        fake.on(0, move |_, command| {
            command[0]
                .starts_with(b"MOD.")
                .then(|| match std::mem::replace(&mut closed, true) {
                    false => Action::Close,
                    true => Action::send(":0\r\n"),
                })
        });
        let got = run(&client, words);
        assert!(got.starts_with(expected), "{words}: {got}");
    }
}

#[test]
fn unknown_command_goes_to_slot_of_first_argument() {
    let fake = FakeCluster::new(3);
    let client = client(&fake.url());
    // The scripted nodes do not know COMMAND: the client asks once.
    for n in 0..9 {
        let key = key_of(n % 3, 3, n);
        let got = run(&client, &format!("NO.SUCH {key}"));
        assert!(got.starts_with("ERR unknown command"), "{got}");
        assert_eq!(fake.node(n % 3).calls("NO.SUCH"), n / 3 + 1);
    }
    assert_eq!(fake.calls("COMMAND"), 1);
    // An unknown command is looked up again: a module may be loaded later.
    with_module(&fake, 3);
    for _ in 0..2 {
        run(&client, "OTHER k");
    }
    assert_eq!(fake.calls("COMMAND"), 3);
}
