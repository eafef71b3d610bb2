//! Which nodes a command goes to, and which commands are rejected.

use crate::common::{atomic, client, code, is_command, is_sent, key_of, run, run_all, send, show};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use rediscluster::resp::Reply;
use std::sync::Arc;
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
            (&ra, "a replica, and only the primary's answer counts"),
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
    let told = explain(&plain, &format!("CLUSTER COUNTKEYSINSLOT {slot_l}"));
    assert_eq!(field(&told, "nodes"), format!("[{b}]"));
    assert_eq!(field(&told, "policy"), "one slot, at its primary");
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
            "INVALID SELECT changes the database of a connection",
        ),
        (
            &plain,
            "SHUTDOWN NOSAVE".to_string(),
            "INVALID SHUTDOWN concerns one node, and none is selected: use rdc_command_to()",
        ),
        (
            &plain,
            "WAIT 1 100".to_string(),
            "INVALID WAIT waits for the writes of its own connection",
        ),
        (
            &readonly,
            "MOD.GET k".to_string(),
            "READONLY MOD.GET is not a command that this library knows",
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

#[test]
fn slot_numbered_command_goes_to_owner_of_slot() {
    let fake = FakeCluster::with_replicas(3, 1);
    for node in 0..6 {
        fake.on(node, move |_, command| {
            let is_slot_command = ["COUNTKEYSINSLOT", "GETKEYSINSLOT", "FLUSHSLOT"]
                .iter()
                .any(|name| is_command(command, &format!("CLUSTER {name}")));
            let is_debug = is_command(command, "DEBUG") || is_command(command, "MEMORY USAGE");
            (is_slot_command || is_debug).then(|| Action::send(format!(":{node}\r\n")))
        });
    }
    let client = Arc::new(client(&(fake.url() + "?read_from=any")));
    for n in 0..12 {
        let key = key_of(n % 3, 3, n);
        let slot = slot_of(key.as_bytes());
        for words in [
            format!("CLUSTER COUNTKEYSINSLOT {slot}"),
            format!("cluster getkeysinslot {slot} 10"),
            format!("CLUSTER FLUSHSLOT {slot} SYNC"),
            format!("DEBUG OBJECT {key}"),
            format!("DEBUG SDSLEN {key}"),
            format!("DEBUG LISTPACK {key}"),
        ] {
            assert_eq!(run(&client, &words), (n % 3).to_string(), "{words}");
            assert_eq!(run_all(&client, &[words]), [(n % 3).to_string()]);
        }
    }
    let invalid = run(&client, "CLUSTER COUNTKEYSINSLOT 16384");
    assert!(
        invalid.contains("CLUSTER COUNTKEYSINSLOT needs a slot, 0 to 16383"),
        "{invalid}"
    );
}

#[test]
fn command_of_one_node_is_refused_unless_a_node_is_selected() {
    const ONE_NODE: &[&str] = &[
        "BGREWRITEAOF",
        "BGSAVE",
        "CLIENT KILL 127.0.0.1:1",
        "CLIENT PAUSE 1",
        "CLIENT UNBLOCK 1",
        "CLIENT UNPAUSE",
        "CLUSTER ADDSLOTS 1",
        "CLUSTER ADDSLOTSRANGE 1 2",
        "CLUSTER BUMPEPOCH",
        "CLUSTER CANCELSLOTMIGRATIONS",
        "CLUSTER DELSLOTS 1",
        "CLUSTER DELSLOTSRANGE 1 2",
        "CLUSTER FAILOVER",
        "CLUSTER FLUSHSLOTS",
        "CLUSTER FORGET x",
        "CLUSTER MEET 127.0.0.1 1",
        "CLUSTER MIGRATESLOTS SLOTSRANGE 1 1 NODE x",
        "CLUSTER NOSUCH 1",
        "CLUSTER REPLICATE x",
        "CLUSTER RESET",
        "CLUSTER SAVECONFIG",
        "CLUSTER SET-CONFIG-EPOCH 1",
        "CLUSTER SETSLOT 1 STABLE",
        "DEBUG SLEEP 0",
        "FAILOVER",
        "MODULE LOAD x",
        "MODULE UNLOAD x",
        "REPLICAOF NO ONE",
        "SAVE",
        "SHUTDOWN",
        "SLAVEOF NO ONE",
        "SWAPDB 0 1",
    ];
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&fake.url()));
    for node in 0..2 {
        fake.on(node, |_, command| {
            let text = support::wire::show(command);
            (ONE_NODE.iter().any(|words| text == *words)).then(|| Action::send("+OK\r\n"))
        });
    }
    let a = format!("127.0.0.1:{}", fake.port(0));
    for words in ONE_NODE {
        let name = words.split(' ').next().unwrap();
        let before = fake.calls(name);
        let replies = [
            run(&client, words),
            run_all(&client, &[*words])[0].clone(),
            show(atomic(&client, &["GET k", words]).view()),
            field(&explain(&client, words), "error"),
        ];
        for text in replies {
            assert!(
                text.contains("INVALID") && text.contains("use rdc_command_to()"),
                "{words}: {text}"
            );
        }
        assert_eq!(fake.calls(name), before, "{words} was sent");
        assert_eq!(show(to(&client, &a, words).view()), "OK", "{words}");
        assert_eq!(
            show(to(&client, "primaries", words).view())
                .matches("OK")
                .count(),
            2
        );
        assert_eq!(run(&client.pin(b"k"), words), "OK", "{words}");
    }
    let unknown = run(&client, "CLUSTER NOSUCH 1");
    assert!(
        unknown.contains("CLUSTER NOSUCH concerns one node"),
        "{unknown}"
    );
}

#[test]
fn subscriptions_of_all_nodes_are_merged() {
    let fake = FakeCluster::with_replicas(1, 2);
    let answers = [
        (
            "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
            "*4\r\n$1\r\na\r\n:1\r\n$1\r\nc\r\n:0\r\n",
            ":1\r\n",
        ),
        (
            "*0\r\n",
            "*4\r\n$1\r\na\r\n:0\r\n$1\r\nc\r\n:0\r\n",
            ":0\r\n",
        ),
        (
            "*2\r\n$1\r\nb\r\n$1\r\nc\r\n",
            "*4\r\n$1\r\na\r\n:2\r\n$1\r\nc\r\n:5\r\n",
            ":4\r\n",
        ),
    ];
    for (node, (channels, counts, patterns)) in answers.into_iter().enumerate() {
        fake.on(node, move |_, command| {
            Some(Action::send(match () {
                () if is_command(command, "PUBSUB CHANNELS") => channels,
                () if is_command(command, "PUBSUB SHARDCHANNELS") => channels,
                () if is_command(command, "PUBSUB NUMSUB") => counts,
                () if is_command(command, "PUBSUB SHARDNUMSUB") => counts,
                () if is_command(command, "PUBSUB NUMPAT") => patterns,
                () => return None,
            }))
        });
    }
    let client = Arc::new(client(&fake.url()));
    let sorted = |text: String| {
        let mut parts: Vec<String> = text[1..text.len() - 1]
            .split(", ")
            .map(str::to_owned)
            .collect();
        parts.sort();
        parts.join(" ")
    };
    for words in ["PUBSUB CHANNELS", "PUBSUB SHARDCHANNELS *"] {
        assert_eq!(sorted(run(&client, words)), "a b c", "{words}");
        assert_eq!(
            sorted(run_all(&client, &[words])[0].clone()),
            "a b c",
            "{words}"
        );
    }
    for words in ["PUBSUB NUMSUB a c", "pubsub shardnumsub a c"] {
        assert_eq!(run(&client, words), "[a, 3, c, 5]", "{words}");
    }
    assert_eq!(run(&client, "PUBSUB NUMPAT"), "5");
    assert_eq!(run(&client.readonly(), "PUBSUB NUMPAT"), "5");
}

#[test]
fn refusal_on_shared_connection_advises_what_works() {
    let fake = FakeCluster::new(1);
    let client = client(&fake.url());
    for (words, advice, pinned) in [
        (
            "SUBSCRIBE c",
            "SUBSCRIBE makes a connection receive messages: use a subscriber",
            false,
        ),
        (
            "MONITOR",
            "MONITOR turns a connection into a stream, which this library cannot read",
            false,
        ),
        (
            "SELECT 1",
            "SELECT changes the database of a connection",
            true,
        ),
        ("WATCH k", "WATCH changes the state of a connection", true),
        (
            "CLIENT MAINT_NOTIFICATIONS ON",
            "CLIENT MAINT_NOTIFICATIONS changes the state",
            true,
        ),
        ("client setname x", "use the option client_name", false),
        (
            "READONLY",
            "use rdc_readonly(), or the option read_from",
            false,
        ),
    ] {
        let text = run(&client, words);
        assert!(text.contains(advice), "{words}: {text}");
        assert_eq!(text.contains("rdc_pin()"), pinned, "{words}: {text}");
    }
}

#[test]
fn messages_of_one_channel_keep_their_order_and_go_on_without_its_node() {
    let mut fake = FakeCluster::new(3);
    for node in 0..3 {
        fake.on(node, |_, command| {
            is_command(command, "PUBLISH").then(|| Action::Send(b":0\r\n".to_vec()))
        });
    }
    let client = Arc::new(client(&(fake.url() + "?timeout_ms=2000")));
    let channel = key_of(1, 3, 0);
    let publish = |n: usize| format!("PUBLISH {channel} {n}");
    for n in 0..20 {
        assert_eq!(run(&client, &publish(n)), "0");
    }
    let batch: Vec<String> = (20..60).map(publish).collect();
    assert!(run_all(&client, &batch).iter().all(|got| got == "0"));
    let published = |node: usize| fake.node(node).calls("PUBLISH");
    assert_eq!([0, 1, 2].map(published), [0, 60, 0]);
    let explained = explain(&client, &publish(0));
    assert_eq!(
        field(&explained, "nodes"),
        format!("[127.0.0.1:{}]", fake.port(1))
    );

    fake.stop(1);
    assert_eq!(run(&client, &publish(61)), "0", "through another node");
    assert!(
        run_all(&client, &[publish(62), publish(63)])
            .iter()
            .all(|got| got == "0")
    );
}
