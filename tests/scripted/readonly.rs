//! Read-only clients: where their reads go, and what they refuse.

use crate::common::{
    ask, client, code, is, is_sent, key_of, pipeline, say, say_all, show, stat, timed,
};
use rediscluster::cluster::Pipeline;
use rediscluster::error::Code;
use rediscluster::resp::Reply;
use rediscluster::route::{Access, access, find, table};
use std::sync::Arc;
use std::time::Duration;
use support::{Action, FakeCluster, slot_of};

/// The commands of each connection that carried one of these names.
fn connections_with(fake: &FakeCluster, nodes: usize, names: &[&str]) -> Vec<Vec<String>> {
    let used = |commands: &Vec<String>| {
        commands
            .iter()
            .any(|c| names.contains(&c.split(' ').next().unwrap_or_default()))
    };
    (0..nodes)
        .flat_map(|node| fake.node(node).received_text())
        .filter(used)
        .collect()
}

#[test]
fn every_connection_of_a_read_only_client_says_readonly_once_and_no_other_does() {
    let fake = FakeCluster::with_replicas(2, 2);
    let client = Arc::new(client(&fake.url()));
    let readonly = Arc::new(client.readonly());
    let keys: Vec<String> = (0..40).map(|n| key_of(n % 2, 2, n)).collect();
    for key in &keys {
        assert_eq!(say(&client, &format!("SET {key} v")), "OK");
    }
    for key in &keys {
        assert_eq!(say(&readonly, &format!("GET {key}")), "v");
        assert_eq!(say(&client, &format!("EXISTS {key}")), "1");
    }
    let gets: Vec<String> = keys.iter().map(|k| format!("GET {k}")).collect();
    for _ in 0..5 {
        assert_eq!(say_all(&readonly, &gets), vec!["v"; gets.len()]);
    }
    let plain = connections_with(&fake, 6, &["SET", "EXISTS"]);
    assert!(
        plain.iter().flatten().all(|c| c != "READONLY"),
        "{plain:#?}"
    );
    let reading = connections_with(&fake, 6, &["GET"]);
    assert!(reading.len() >= 6, "all six nodes read: {reading:#?}");
    for commands in reading {
        let said = commands.iter().filter(|c| *c == "READONLY").count();
        let at = commands.iter().position(|c| c == "READONLY");
        let first = commands.iter().position(|c| c.starts_with("GET"));
        assert!(said == 1 && at < first, "{commands:?}");
    }
}

#[test]
fn a_node_that_refuses_readonly_serves_no_read() {
    let fake = FakeCluster::with_replicas(1, 1);
    fake.put("k", "v");
    for node in 0..2 {
        fake.on(node, |_, command| {
            is(command, "READONLY").then(|| Action::send("-NOPERM no rights for 'readonly'\r\n"))
        });
    }
    let readonly = client(&fake.url()).with("timeout_ms", "300").readonly();
    let reply = ask(&readonly, "GET k");
    assert!(
        matches!(code(reply.view()), Code::Auth | Code::Connect),
        "{}",
        show(reply.view())
    );
    assert!(!is_sent(reply.view()));
    assert_eq!(fake.calls("GET"), 0);
    // Refused by one of several it costs an attempt and not the read.
    fake.on(1, |_, command| {
        is(command, "READONLY").then(|| Action::send("-ERR cannot\r\n"))
    });
    fake.off(0);
    for _ in 0..20 {
        assert_eq!(say(&readonly, "GET k"), "v");
    }
    assert_eq!(fake.node(1).calls("GET"), 0);
}

/// Arguments that give every command as many keys and options as it may want.
const ARGUMENTS: &[&[&str]] = &[
    &[],
    &["k"],
    &["k", "v"],
    &["k", "1"],
    &["1", "k"],
    &["k", "1", "v"],
    &["k", "k", "v"],
    &["script", "1", "k"],
    &["k", "0", "-1", "v"],
    &["COUNT", "1", "k", "v", "w"],
];

#[test]
fn a_read_only_client_sends_nothing_that_is_not_known_to_be_a_read() {
    let fake = FakeCluster::with_replicas(1, 1);
    let readonly = Arc::new(client(&fake.url()).readonly());
    assert_eq!(say(&readonly, "GET k"), "nil");
    assert_eq!(say_all(&readonly, &["GET k", "EXISTS k"]), ["nil", "0"]);
    let bytes = || fake.node(0).bytes_received() + fake.node(1).bytes_received();
    let before = bytes();
    let mut commands: Vec<Vec<Vec<u8>>> = Vec::new();
    for row in &table::ROWS {
        for arguments in ARGUMENTS {
            let words = row.name.split(' ').chain(arguments.iter().copied());
            let command: Vec<Vec<u8>> = words.map(|w| w.as_bytes().to_vec()).collect();
            let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            if find(&args).is_some_and(|found| access(found, &args) == Access::Write) {
                commands.push(command);
            }
        }
    }
    assert!(commands.len() > 1000, "{}", commands.len());
    for words in [
        "NOSUCHCOMMAND k",
        "GETT k",
        "JSON.SET k . 1",
        "FT.SEARCH i q",
        "CONFIG NOSUCH x",
        "OBJECT NOSUCH k",
        "CLUSTER NOSUCH",
        "GET\\0 k",
        "\"GET \" k",
        "\"\" k",
    ] {
        commands.push(support::words::split(words).unwrap());
    }
    // The same in the other case, which servers do not mind.
    let lower: Vec<Vec<Vec<u8>>> = commands
        .iter()
        .map(|c| c.iter().map(|w| w.to_ascii_lowercase()).collect())
        .collect();
    commands.extend(lower);
    let refused = |reply: &Reply, words: &[Vec<u8>]| {
        let words = support::wire::show(words);
        assert_eq!(
            code(reply.view()),
            Code::ReadOnly,
            "{words}: {}",
            show(reply.view())
        );
        assert!(!is_sent(reply.view()), "{words}");
    };
    for command in &commands {
        let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        refused(&readonly.command(&args), command);
        refused(&readonly.command_resp(&support::encode(&args)), command);
        for place in ["slot:0", "key:k", "random", "all", "primaries", "replicas"] {
            refused(&readonly.command_to(place, &args), command);
        }
        refused(&readonly.pin(b"k").command(&args), command);
        // A pipeline with one of them in it is refused as a whole.
        let mut pipeline = Pipeline::new(readonly.clone());
        pipeline.command(&[b"GET", b"k"]);
        pipeline.resp(&support::encode(&args));
        let reply = pipeline.execute();
        let words = support::wire::show(command);
        assert_eq!(reply.view().len(), 2);
        let first = reply.view().at(0).unwrap();
        assert_eq!(
            code(first),
            Code::ReadOnly,
            "{words}: {}",
            show(reply.view())
        );
        assert!(
            reply
                .view()
                .elements()
                .all(|e| code(e) != Code::Ok && !is_sent(e)),
            "{words}"
        );
        assert_eq!(bytes(), before, "{words} left");
    }
    let counted = stat(&readonly, "refused_writes");
    assert!(counted >= commands.len() as i64, "{counted}");
    let mut transaction = Pipeline::new(readonly.clone());
    transaction.command(&[b"GET", b"k"]);
    transaction.command(&[b"SET", b"k", b"v"]);
    let reply = transaction.execute_atomic();
    assert!(
        show(reply.view()).contains("(READONLY)"),
        "{}",
        show(reply.view())
    );
    assert_eq!(bytes(), before);
    assert_eq!(
        say(&readonly, "GET k"),
        "nil",
        "and the client is as good as before"
    );
}

#[test]
fn the_reads_of_a_slot_in_one_pipeline_go_to_one_node() {
    let fake = FakeCluster::with_replicas(1, 3);
    let readonly = Arc::new(client(&fake.url()).readonly());
    let gets = vec!["GET k"; 20];
    for _ in 0..40 {
        let before: Vec<usize> = (0..4).map(|n| fake.node(n).calls("GET")).collect();
        assert_eq!(pipeline(&readonly, &gets).view().len(), 20);
        let nodes = (0..4)
            .filter(|n| fake.node(*n).calls("GET") > before[*n])
            .count();
        assert_eq!(nodes, 1);
    }
    for node in 0..4 {
        assert!(fake.node(node).calls("GET") > 0, "node {node} never read");
    }
}

#[test]
fn a_pipeline_that_writes_a_slot_reads_it_at_its_primary() {
    let fake = FakeCluster::with_replicas(2, 2);
    let any = Arc::new(client(&fake.url()).with("read_from", "replica"));
    let (key, other) = (key_of(0, 2, 1), key_of(1, 2, 2));
    fake.put(&other, "elsewhere");
    for n in 0..20 {
        let got = say_all(
            &any,
            &[
                format!("GET {other}"),
                format!("SET {key} {n}"),
                format!("GET {key}"),
            ],
        );
        assert_eq!(got, ["elsewhere", "OK", &n.to_string()]);
    }
    let on_replicas = |node: usize, key: &str| {
        let get = format!("GET {key}");
        fake.node(node)
            .received_text()
            .concat()
            .iter()
            .filter(|c| **c == get)
            .count()
    };
    assert_eq!(on_replicas(2, &key) + on_replicas(4, &key), 0);
    assert_eq!(
        on_replicas(3, &other) + on_replicas(5, &other),
        20,
        "and the other slot's not"
    );
}

#[test]
fn a_replica_that_says_moved_is_followed_and_its_shard_keeps_its_replicas() {
    let fake = FakeCluster::with_replicas(1, 2);
    fake.put("k", "v");
    let there = format!("127.0.0.1:{}", fake.port(0));
    fake.on(1, move |_, command| {
        let slot = slot_of(b"k");
        is(command, "GET").then(|| Action::send(format!("-MOVED {slot} {there}\r\n")))
    });
    let readonly = client(&fake.url()).readonly();
    for _ in 0..60 {
        assert_eq!(say(&readonly, "GET k"), "v");
    }
    assert!(fake.node(1).calls("GET") > 0, "it was never asked");
    assert!(
        fake.node(2).calls("GET") > 5,
        "the other replica is forgotten"
    );
}

#[test]
fn a_primary_that_serves_nobody_costs_no_read_its_replica() {
    for says in [
        // So it does for two seconds when it has just been started, and for longer when it is cut off.
        "-CLUSTERDOWN The cluster is down\r\n",
        "-BUSY Redis is busy running a script.\r\n",
    ] {
        let fake = FakeCluster::with_replicas(1, 1);
        fake.put("k", "v");
        fake.on(0, move |_, command| {
            is(command, "GET").then(|| Action::send(says))
        });
        let client = client(&fake.url());
        let usual = Arc::new(client.readonly());
        // It believes a replica what it has, and asks the primary for what it lacks.
        let verifies = Arc::new(usual.with("nil", "verify"));
        for n in 0..80 {
            let client = [&usual, &verifies][n / 2 % 2];
            let (got, time) = timed(|| match n % 2 {
                0 => say(client, "GET k"),
                _ => say_all(client, &["GET k"]).concat(),
            });
            assert_eq!(got, "v", "read {n}");
            assert!(time < Duration::from_millis(100), "read {n}: {time:?}");
        }
        assert!(fake.node(0).calls("GET") > 0, "{says}");
    }
}

#[test]
fn a_read_that_blocks_goes_to_replicas_too() {
    let fake = FakeCluster::with_replicas(1, 1);
    fake.on(1, |_, command| {
        is(command, "XREAD").then(|| Action::send("*-1\r\n"))
    });
    fake.on(0, |_, command| {
        is(command, "XREAD").then(|| Action::send("*-1\r\n"))
    });
    let readonly = client(&fake.url()).readonly();
    for _ in 0..20 {
        assert_eq!(say(&readonly, "XREAD BLOCK 10 STREAMS k $"), "nil");
    }
    for commands in connections_with(&fake, 2, &["XREAD"]) {
        assert!(commands.contains(&"READONLY".to_string()), "{commands:?}");
    }
    assert!(fake.node(1).calls("XREAD") > 0);
}

#[test]
fn cursors_of_one_key_are_the_primarys_and_never_a_replicas() {
    let fake = FakeCluster::with_replicas(1, 2);
    for node in 0..3 {
        fake.on(node, |_, command| {
            let scan = [&b"HSCAN"[..], b"SSCAN", b"ZSCAN"].contains(&command[0].as_slice());
            scan.then(|| support::Action::send("*2\r\n$1\r\n0\r\n*0\r\n"))
        });
    }
    let readonly = Arc::new(client(&fake.url()).readonly());
    for n in 0..10 {
        for name in ["HSCAN", "SSCAN", "ZSCAN"] {
            let words = format!("{name} {} 0", key_of(0, 1, n));
            assert_eq!(say(&readonly, &words), "[0, []]");
            assert_eq!(say_all(&readonly, &[&words]), ["[0, []]"]);
        }
    }
    for name in ["HSCAN", "SSCAN", "ZSCAN"] {
        assert_eq!(fake.node(0).calls(name), 20, "{name} at the primary");
        assert_eq!(fake.calls(name), 20, "{name} in all");
    }
}
