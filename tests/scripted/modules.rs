//! Commands that are not in the table: a server is asked once where their keys are.

use crate::common::{
    atomic, client, code, is_command, is_sent, key_of, pipeline, run, run_all, send, show,
};
use rediscluster::error::Code;
use std::sync::Arc;
use support::{Action, FakeCluster, slot_of};

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

/// Every node answers JSON.MGET with the keys whose slots it serves, and nil for the others, as the module does.
fn with_json(fake: &FakeCluster, nodes: usize) {
    for node in 0..nodes {
        fake.on(node, move |_, command| {
            if is_command(command, "COMMAND INFO") {
                return Some(Action::send(info("json.mget", &["readonly"], [1, 1, 1])));
            }
            if !is_command(command, "JSON.MGET") {
                return None;
            }
            let keys = &command[1..command.len() - 1];
            let mut reply = format!("*{}\r\n", keys.len()).into_bytes();
            for key in keys {
                match usize::from(slot_of(key)) * nodes / 16384 == node {
                    true => reply.extend(format!("${}\r\n", key.len()).bytes()),
                    false => {
                        reply.extend(b"_\r\n");
                        continue;
                    }
                }
                reply.extend(key);
                reply.extend(b"\r\n");
            }
            Some(Action::Send(reply))
        });
    }
}

#[test]
fn json_mget_finds_keys_of_all_slots_in_order() {
    let fake = FakeCluster::new(3);
    with_json(&fake, 3);
    let client = Arc::new(client(&fake.url()));
    let keys: Vec<String> = (0..9).map(|n| key_of(n % 3, 3, n)).collect();
    let words = format!("JSON.MGET {} {} $.a", keys.join(" "), keys[4]);
    let expected = format!("[{}, {}]", keys.join(", "), keys[4]);
    assert_eq!(run(&client, &words), expected);
    assert_eq!(
        run_all(&client, &["GET x".to_owned(), words.clone()]),
        ["nil", expected.as_str()]
    );
    // Read-only handles execute it too.
    assert_eq!(run(&client.readonly(), &words), expected);
    assert_eq!(fake.calls("COMMAND"), 0, "no server was asked");
    // All parts have the path, and the keys of a slot are in one part.
    let received: Vec<String> = (0..3)
        .flat_map(|n| fake.node(n).received_text())
        .flatten()
        .collect();
    let parts = received.iter().filter(|c| c.starts_with("JSON.MGET"));
    assert!(parts.clone().all(|c| c.ends_with(" $.a")), "{received:?}");
    let both = format!("JSON.MGET {} {} $.a", keys[4], keys[4]);
    assert_eq!(parts.filter(|c| **c == both).count(), 3, "{received:?}");
}

#[test]
fn known_modules_writes_over_several_slots_are_refused() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let (k, l) = (key_of(0, 2, 0), key_of(1, 2, 1));
    for words in [
        format!("CMS.MERGE {k} 1 {l}"),
        format!("TDIGEST.MERGE {k} 2 {k} {l}"),
        format!("TS.CREATERULE {k} {l} AGGREGATION avg 1000"),
        format!("JSON.MSET {k} $ 1 {l} $ 2"),
    ] {
        let reply = send(&client, &words);
        assert_eq!(
            code(reply.view()),
            Code::CrossSlot,
            "{words}: {}",
            show(reply.view())
        );
        assert!(!is_sent(reply.view()), "{words}");
    }
    let split = client.with("split_writes", "yes");
    for node in 0..2 {
        fake.on(node, |_, command| {
            is_command(command, "JSON.MSET").then(|| Action::send("+OK\r\n"))
        });
    }
    assert_eq!(run(&split, &format!("JSON.MSET {k} $ 1 {l} $ 2")), "OK");
    assert_eq!(fake.calls("JSON.MSET"), 2);
}

#[test]
fn search_cursor_is_read_at_the_node_that_returned_it() {
    let fake = FakeCluster::with_replicas(3, 1);
    for node in 0..6 {
        fake.on(node, move |_, command| {
            let has_cursor =
                is_command(command, "FT.AGGREGATE") || is_command(command, "FT.CURSOR");
            if has_cursor {
                return Some(Action::send(format!("*2\r\n*0\r\n:{node}\r\n")));
            }
            is_command(command, "FT.SEARCH").then(|| Action::send(format!(":{node}\r\n")))
        });
    }
    let client = Arc::new(client(&fake.url()));
    for read_from in ["primary", "any"] {
        let client = Arc::new(client.with("read_from", read_from));
        for n in 0..6 {
            let index = key_of(n % 3, 3, n);
            let node = n % 3;
            let begin = format!("FT.AGGREGATE {index} * WITHCURSOR");
            assert_eq!(run(&client, &begin), format!("[[], {node}]"));
            for words in [
                format!("FT.CURSOR READ {index} {node}"),
                format!("ft.cursor del {index} 7"),
            ] {
                assert_eq!(run(&client, &words), format!("[[], {node}]"));
                assert_eq!(run_all(&client, &[words]), [format!("[[], {node}]")]);
            }
        }
        // Without a cursor, any node serves it.
        let mut nodes: Vec<String> = (0..100).map(|_| run(&client, "FT.SEARCH i *")).collect();
        nodes.sort();
        nodes.dedup();
        assert!(nodes.len() >= 3, "{nodes:?}");
    }
}

#[test]
fn time_series_of_all_shards_are_merged() {
    let fake = FakeCluster::new(2);
    let answers = [
        ["~1\r\n$1\r\na\r\n", "%1\r\n$1\r\na\r\n*2\r\n%0\r\n*0\r\n"],
        [
            "~2\r\n$1\r\nb\r\n$1\r\na\r\n",
            "%2\r\n$1\r\nb\r\n*2\r\n%0\r\n*0\r\n$1\r\na\r\n*2\r\n%0\r\n*0\r\n",
        ],
    ];
    for (node, [names, series]) in answers.into_iter().enumerate() {
        fake.on(node, move |_, command| match () {
            () if is_command(command, "TS.QUERYINDEX") => Some(Action::send(names)),
            () if is_command(command, "TS.MGET") => Some(Action::send(series)),
            () => None,
        });
    }
    let client = Arc::new(client(&fake.url()));
    assert_eq!(run(&client, "TS.QUERYINDEX k=v"), "[a, b]");
    assert_eq!(
        run(&client, "TS.MGET FILTER k=v"),
        "[a, [[], []], b, [[], []]]"
    );
    assert_eq!(run_all(&client, &["TS.QUERYINDEX k=v"]), ["[a, b]"]);
}

#[test]
fn trusted_module_read_runs_on_readonly_handle() {
    let fake = FakeCluster::with_replicas(1, 1);
    with_module(&fake, 2);
    let client = client(&fake.url());
    let readonly = Arc::new(client.readonly());
    let refused = show(send(&readonly, "mod.get k").view());
    assert!(
        refused.contains("MOD.GET is not a command that this library knows")
            && refused.contains("option trust_module_flags"),
        "{refused}"
    );
    assert_eq!(fake.calls("COMMAND"), 0);
    let trusting = Arc::new(readonly.with("trust_module_flags", "yes"));
    let is_served = |reply: &str| ["0", "1"].contains(&reply);
    assert!(is_served(&run(&trusting, "MOD.GET k")));
    assert!(is_served(&run(&trusting.pin(b"k"), "MOD.GET k")));
    assert!(is_served(&run_all(&trusting, &["GET k", "MOD.GET k"])[1]));
    let named = trusting.command_to("slot:0", &[b"MOD.GET", b"k"]);
    assert!(is_served(&show(named.view())));
    // A write stays refused, in every way, and so do a command that no server knows and a known write.
    for words in ["MOD.SET x k", "NO.SUCH k", "SET k v", "CONFIG NOSUCH"] {
        let (mod_calls, sets) = (fake.calls("MOD.SET"), fake.calls("GET"));
        let args = support::words::split(words).unwrap();
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let replies = [
            trusting.command(&args).whole(),
            trusting.command_to("slot:0", &args),
            trusting.pin(b"k").command(&args).whole(),
        ];
        let name = if words.starts_with("CONFIG") {
            "CONFIG NOSUCH"
        } else {
            words.split(' ').next().unwrap()
        };
        for reply in replies {
            let text = show(reply.view());
            assert_eq!(code(reply.view()), Code::ReadOnly, "{words}: {text}");
            assert!(
                text.contains(&format!("{name} is not known to be a read")),
                "{text}"
            );
        }
        for reply in [
            pipeline(&trusting, &["GET k", words]),
            atomic(&trusting, &["GET k", words]),
        ] {
            assert!(
                reply.view().elements().all(|e| code(e) == Code::ReadOnly)
                    && !is_sent(reply.view().at(1).unwrap()),
                "{words}: {}",
                show(reply.view())
            );
        }
        assert_eq!(
            (fake.calls("MOD.SET"), fake.calls("GET")),
            (mod_calls, sets),
            "{words}"
        );
    }
}
