//! Which nodes a command goes to, and which commands are rejected.

use crate::common::{client, code, is_command, is_sent, key_of, run, send, show};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use rediscluster::resp::Reply;
use support::{Action, FakeCluster, slot_of};

fn args(words: &str) -> Vec<Vec<u8>> {
    support::words::split(words).unwrap()
}

fn explain(client: &Client, words: &str) -> Reply {
    let words = args(words);
    *client.explain(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn to(client: &Client, place: &str, words: &str) -> Reply {
    let words = args(words);
    *client.command_to(place, &words.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn field(reply: &Reply, name: &str) -> String {
    reply.view().find(name).map_or("-".to_string(), show)
}

/// Two primaries (nodes 0 and 1) with one replica each (2 and 3), by port.
fn named(fake: &FakeCluster) -> [String; 4] {
    [0, 1, 2, 3].map(|node| format!("127.0.0.1:{}", fake.port(node)))
}

#[test]
fn explain_names_target_nodes_and_skip_reasons() {
    let fake = FakeCluster::with_replicas(2, 1);
    let plain = client(&fake.url());
    let [a, b, ra, rb] = named(&fake);
    let (k, l) = (key_of(0, 2, 0), key_of(1, 2, 1));
    let (slot_k, slot_l) = (slot_of(k.as_bytes()), slot_of(l.as_bytes()));
    let readonly = plain.readonly();
    let replica = plain.with("read_from", "replica");
    let no_nodes = "[]".to_string();
    for (client, words, access, nodes, why, policy) in [
        (
            &plain,
            format!("SET {k} v"),
            "write",
            format!("[{a}]"),
            (&ra, "a replica, and the command is a write"),
            "one slot",
        ),
        (
            &plain,
            format!("GET {k}"),
            "read",
            format!("[{a}]"),
            (&ra, "a replica, and read_from is primary"),
            "one slot",
        ),
        (
            &plain,
            format!("GET {k}"),
            "read",
            format!("[{a}]"),
            (&b, "it serves other slots"),
            "one slot",
        ),
        (
            &readonly,
            format!("GET {k}"),
            "read",
            format!("[{a}, {ra}]"),
            (&rb, "it serves other slots"),
            "one slot",
        ),
        (
            &replica,
            format!("GET {k}"),
            "read",
            format!("[{ra}]"),
            (&a, "the primary, used only if no replica answers"),
            "one slot",
        ),
        (
            &readonly,
            format!("HSCAN {k} 0"),
            "read",
            format!("[{a}]"),
            (
                &ra,
                "a replica, and the cursor is valid only at the primary",
            ),
            "one slot, at its primary",
        ),
        (
            &plain,
            format!("MGET {k} {l}"),
            "read",
            format!("[{a}, {b}]"),
            (&ra, "a replica, and read_from is primary"),
            "split by slot",
        ),
        (
            &plain,
            "DBSIZE".to_string(),
            "read",
            format!("[{a}, {b}]"),
            (&rb, "a replica, and the command is for primaries"),
            "all primaries",
        ),
        (
            &plain,
            "SCAN 0".to_string(),
            "read",
            format!("[{a}, {b}]"),
            (&ra, "a replica, and the command is for primaries"),
            "all primaries, one after another",
        ),
        (
            &plain,
            "TIME".to_string(),
            "read",
            format!("[{a}, {b}]"),
            (&ra, "a replica, and read_from is primary"),
            "any node",
        ),
    ] {
        let told = explain(client, &words);
        assert_eq!(field(&told, "access"), access, "{words}");
        assert_eq!(field(&told, "nodes"), nodes, "{words}");
        let others = told.view().find("others").unwrap();
        assert_eq!(
            others.find(why.0).map(show).as_deref(),
            Some(why.1),
            "{words}"
        );
        assert_eq!(field(&told, "policy"), policy, "{words}");
        assert_eq!(field(&told, "error"), "-", "{words}");
    }
    let told = explain(&plain, "CONFIG SET maxmemory 0");
    assert_eq!(field(&told, "policy"), "all nodes");
    assert_eq!(told.view().find("nodes").unwrap().len(), 4);
    assert_eq!(told.view().find("others").unwrap().len(), 0);
    let told = explain(&plain, &format!("MGET {k} {l} {k}"));
    assert_eq!(field(&told, "keys"), format!("[{k}, {l}, {k}]"));
    assert_eq!(field(&told, "slots"), format!("[{slot_k}, {slot_l}]"));
    // A rejected command has a reason and no target.
    for (client, words, error) in [
        (
            &readonly,
            format!("SET {k} v"),
            "READONLY SET is not known to be a read",
        ),
        (
            &plain,
            format!("RENAME {k} {l}"),
            "CROSSSLOT the keys of RENAME are in different slots",
        ),
        (
            &plain,
            "GET".to_string(),
            "INVALID GET needs 1 argument, not 0",
        ),
        (
            &plain,
            "SELECT 1".to_string(),
            "INVALID SELECT changes the state of a connection",
        ),
        (
            &readonly,
            "MOD.GET k".to_string(),
            "READONLY the command is not known to be a read",
        ),
    ] {
        let told = explain(client, &words);
        assert!(
            field(&told, "error").starts_with(error),
            "{words}: {}",
            field(&told, "error")
        );
        assert_eq!(field(&told, "nodes"), no_nodes, "{words}");
        assert_eq!(field(&told, "policy"), "refused", "{words}");
    }
    // The route of a module command is a guess until a server was asked.
    let told = explain(&plain, &format!("MOD.GET {k}"));
    assert_eq!(
        (field(&told, "known"), field(&told, "access")),
        ("0".into(), "write".into())
    );
    assert_eq!(field(&told, "keys"), format!("[{k}]"));
    for name in ["SET", "GET", "MGET", "DBSIZE", "COMMAND", "MOD.GET"] {
        assert_eq!(fake.calls(name), 0, "{name} was sent");
    }
    // A silent replica is ejected, and the explanation says so.
    let mut fake = fake;
    fake.stop(2);
    for _ in 0..20 {
        assert_eq!(run(&replica, &format!("GET {k}")), "nil");
    }
    let told = explain(&readonly, &format!("GET {k}"));
    assert_eq!(field(&told, "nodes"), format!("[{a}]"));
    let why = show(told.view().find("others").unwrap().find(&ra).unwrap());
    assert!(why.starts_with("ejected for "), "{why}");
}

#[test]
fn command_to_runs_on_the_named_target() {
    let fake = FakeCluster::with_replicas(2, 1);
    for node in 0..4 {
        fake.on(node, move |_, command| {
            is_command(command, "TIME").then(|| Action::send(format!(":{node}\r\n")))
        });
    }
    let client = client(&fake.url());
    let places = named(&fake);
    for (node, place) in places.iter().enumerate() {
        assert_eq!(show(to(&client, place, "TIME").view()), node.to_string());
    }
    let (k, l) = (key_of(0, 2, 0), key_of(1, 2, 1));
    for (place, node) in [
        ("slot:0".to_string(), "0"),
        ("slot:16383".to_string(), "1"),
        (format!("key:{k}"), "0"),
        (format!("key:{l}"), "1"),
        (format!("key:a:{{{l}}}:b"), "1"),
    ] {
        assert_eq!(show(to(&client, &place, "TIME").view()), node, "{place}");
    }
    let [a, b, ra, rb] = &places;
    let map = |nodes: &[(&String, usize)]| {
        let pairs: Vec<String> = nodes
            .iter()
            .map(|(name, node)| format!("{name}, {node}"))
            .collect();
        format!("[{}]", pairs.join(", "))
    };
    for (place, expected) in [
        ("primaries", map(&[(a, 0), (b, 1)])),
        ("replicas", map(&[(ra, 2), (rb, 3)])),
    ] {
        assert_eq!(show(to(&client, place, "TIME").view()), expected);
    }
    let all = to(&client, "all", "TIME");
    for (node, place) in places.iter().enumerate() {
        assert_eq!(field(&all, place), node.to_string());
    }
    let mut seen: Vec<String> = (0..50)
        .map(|_| show(to(&client, "random", "TIME").view()))
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["0", "1"], "either primary");
    // Redirections are followed, unless the caller chose the node.
    assert_eq!(
        show(to(&client, "slot:0", &format!("GET {l}")).view()),
        "nil"
    );
    let moved = to(&client, a, &format!("GET {l}"));
    assert!(
        show(moved.view()).starts_with("MOVED"),
        "{}",
        show(moved.view())
    );
    for place in [
        "",
        "slot:16384",
        "slot:-1",
        "slot:x",
        "nowhere",
        "127.0.0.1:1",
        "everywhere:1",
        "all:1",
    ] {
        let reply = to(&client, place, "TIME");
        assert_eq!(
            code(reply.view()),
            Code::Invalid,
            "{place}: {}",
            show(reply.view())
        );
        assert!(!is_sent(reply.view()), "{place}");
    }
    let readonly = client.readonly();
    assert_eq!(
        code(to(&readonly, "all", "FLUSHALL").view()),
        Code::ReadOnly
    );
}

#[test]
fn invalid_command_is_rejected_before_sending() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let before: Vec<usize> = (0..2)
        .map(|node| fake.node(node).bytes_received())
        .collect();
    let (k, l) = (key_of(0, 2, 0), key_of(1, 2, 1));
    for (words, expected, why) in [
        ("GET", Code::Invalid, "GET needs 1 argument, not 0"),
        (
            "SET k",
            Code::Invalid,
            "SET needs at least 2 arguments, not 1",
        ),
        (
            "MSET a 1 b",
            Code::Invalid,
            "MSET needs 2 arguments to each key from argument 1 on, not 3 in all",
        ),
        (
            "EVAL s 2 a",
            Code::Invalid,
            "EVAL needs 2 keys, the number in argument 2, but has arguments for 1",
        ),
        (
            "EVAL s many a",
            Code::Invalid,
            "EVAL needs a number of keys as argument 2",
        ),
        (
            "ZUNION 0 a",
            Code::Invalid,
            "ZUNION needs at least one key, but argument 1 is 0",
        ),
        (
            "LMPOP 9 a LEFT",
            Code::Invalid,
            "LMPOP needs 9 keys, the number in argument 1",
        ),
        (
            "XREAD COUNT 1 a 0",
            Code::Invalid,
            "XREAD needs STREAMS and keys after it",
        ),
        (
            "XREAD STREAMS a b 0",
            Code::Invalid,
            "XREAD needs 2 arguments to each key",
        ),
        (
            "OBJECT ENCODING",
            Code::Invalid,
            "OBJECT ENCODING needs 1 argument, not 0",
        ),
        (
            "MULTI",
            Code::Invalid,
            "MULTI changes the state of a connection",
        ),
        ("\"\" a", Code::Server, "ERR unknown command"),
    ] {
        let reply = send(&client, words);
        let text = show(reply.view());
        assert_eq!(code(reply.view()), expected, "{words}: {text}");
        assert!(text.contains(why), "{words}: {text}");
        if expected == Code::Invalid {
            assert!(!is_sent(reply.view()), "{words}");
            let now: Vec<usize> = (0..2)
                .map(|node| fake.node(node).bytes_received())
                .collect();
            assert_eq!(now, before, "{words}");
        }
    }
    for words in [
        format!("RENAME {k} {l}"),
        format!("SUNIONSTORE {k} {l}"),
        format!("EVAL s 2 {k} {l}"),
        format!("MSETNX {k} 1 {l} 2"),
    ] {
        let text = run(&client, &words);
        for part in [
            k.clone(),
            l.clone(),
            slot_of(k.as_bytes()).to_string(),
            slot_of(l.as_bytes()).to_string(),
        ] {
            assert!(
                text.starts_with("CROSSSLOT") && text.contains(&part),
                "{part}: {text}"
            );
        }
    }
}
