//! Read-only clients: where reads go, and what is rejected.

use crate::common::{
    client, code, is_command, is_sent, key_of, pipeline, run, run_all, send, show, stat, timed,
};
use rediscluster::cluster::Pipeline;
use rediscluster::error::Code;
use rediscluster::resp::Reply;
use rediscluster::route::{Access, access, find, table};
use std::sync::Arc;
use std::time::Duration;
use support::{Action, FakeCluster, slot_of};

/// The commands of each connection that carried one of these commands.
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
fn readonly_is_sent_once_on_each_readonly_connection() {
    let fake = FakeCluster::with_replicas(2, 2);
    let client = Arc::new(client(&fake.url()));
    let readonly = Arc::new(client.readonly());
    let keys: Vec<String> = (0..40).map(|n| key_of(n % 2, 2, n)).collect();
    for key in &keys {
        assert_eq!(run(&client, &format!("SET {key} v")), "OK");
    }
    for key in &keys {
        assert_eq!(run(&readonly, &format!("GET {key}")), "v");
        assert_eq!(run(&client, &format!("EXISTS {key}")), "1");
    }
    let gets: Vec<String> = keys.iter().map(|k| format!("GET {k}")).collect();
    for _ in 0..5 {
        assert_eq!(run_all(&readonly, &gets), vec!["v"; gets.len()]);
    }
    let plain = connections_with(&fake, 6, &["SET", "EXISTS"]);
    assert!(
        plain.iter().flatten().all(|c| c != "READONLY"),
        "{plain:#?}"
    );
    let reading = connections_with(&fake, 6, &["GET"]);
    assert!(
        reading.len() >= 6,
        "all six nodes serve reads: {reading:#?}"
    );
    for commands in reading {
        let said = commands.iter().filter(|c| *c == "READONLY").count();
        let at = commands.iter().position(|c| c == "READONLY");
        let first = commands.iter().position(|c| c.starts_with("GET"));
        assert!(said == 1 && at < first, "{commands:?}");
    }
}

#[test]
fn node_refusing_readonly_serves_no_read() {
    let fake = FakeCluster::with_replicas(1, 1);
    fake.put("k", "v");
    for node in 0..2 {
        fake.on(node, |_, command| {
            is_command(command, "READONLY")
                .then(|| Action::send("-NOPERM no rights for 'readonly'\r\n"))
        });
    }
    let readonly = client(&fake.url()).with("timeout_ms", "300").readonly();
    let reply = send(&readonly, "GET k");
    assert!(
        matches!(code(reply.view()), Code::Auth | Code::Connect),
        "{}",
        show(reply.view())
    );
    assert!(!is_sent(reply.view()));
    assert_eq!(fake.calls("GET"), 0);
    // If one of several nodes refuses, the attempt fails but not the read.
    fake.on(1, |_, command| {
        is_command(command, "READONLY").then(|| Action::send("-ERR cannot\r\n"))
    });
    fake.off(0);
    for _ in 0..20 {
        assert_eq!(run(&readonly, "GET k"), "v");
    }
    assert_eq!(fake.node(1).calls("GET"), 0);
}

/// Arguments with enough keys and options for every command.
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
fn readonly_client_sends_only_known_reads() {
    let fake = FakeCluster::with_replicas(1, 1);
    let readonly = Arc::new(client(&fake.url()).readonly());
    assert_eq!(run(&readonly, "GET k"), "nil");
    assert_eq!(run_all(&readonly, &["GET k", "EXISTS k"]), ["nil", "0"]);
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
        "MOD.GET k",
        "CONFIG NOSUCH x",
        "OBJECT NOSUCH k",
        "CLUSTER NOSUCH",
        "GET\\0 k",
        "\"GET \" k",
        "\"\" k",
    ] {
        commands.push(support::words::split(words).unwrap());
    }
    // The same in the other case, which servers treat alike.
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
        refused(&readonly.command(&args).whole(), command);
        refused(
            &readonly.command_resp(&support::encode(&args)).whole(),
            command,
        );
        for place in ["slot:0", "key:k", "random", "all", "primaries", "replicas"] {
            refused(&readonly.command_to(place, &args), command);
        }
        refused(&readonly.pin(b"k").command(&args).whole(), command);
        // A pipeline that contains one of them is rejected as a whole.
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
    // Ten calls for each command. A command that is only explained is not refused.
    readonly.explain(&[b"SET", b"k", b"v"]);
    assert_eq!(
        stat(&readonly, "refused_writes"),
        10 * commands.len() as i64
    );
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
    assert_eq!(run(&readonly, "GET k"), "nil", "the client still works");
}

#[test]
fn pipeline_reads_of_one_slot_go_to_one_node() {
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
fn pipeline_reads_written_slot_at_primary() {
    let fake = FakeCluster::with_replicas(2, 2);
    let any = Arc::new(client(&fake.url()).with("read_from", "replica"));
    let (key, other) = (key_of(0, 2, 1), key_of(1, 2, 2));
    fake.put(&other, "elsewhere");
    for n in 0..20 {
        let got = run_all(
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
        "reads of the other slot still go to replicas"
    );
}

#[test]
fn moved_from_replica_is_followed_and_keeps_replicas() {
    let fake = FakeCluster::with_replicas(1, 2);
    fake.put("k", "v");
    let there = format!("127.0.0.1:{}", fake.port(0));
    fake.on(1, move |_, command| {
        let slot = slot_of(b"k");
        is_command(command, "GET").then(|| Action::send(format!("-MOVED {slot} {there}\r\n")))
    });
    let readonly = client(&fake.url()).readonly();
    for _ in 0..60 {
        assert_eq!(run(&readonly, "GET k"), "v");
    }
    assert!(fake.node(1).calls("GET") > 0, "the replica was never asked");
    assert!(
        fake.node(2).calls("GET") > 5,
        "the other replica is not used any more"
    );
}

#[test]
fn unavailable_primary_keeps_replica_reads() {
    for says in [
        // A server replies so for two seconds after its start, and for longer when it is cut off.
        "-CLUSTERDOWN The cluster is down\r\n",
        "-BUSY Redis is busy running a script.\r\n",
    ] {
        let fake = FakeCluster::with_replicas(1, 1);
        fake.put("k", "v");
        fake.put("{k}2", "v");
        fake.on(0, move |_, command| {
            is_command(command, "GET").then(|| Action::send(says))
        });
        let client = client(&fake.url());
        let usual = Arc::new(client.readonly());
        // It trusts the values of a replica and checks missing keys at the primary.
        let verifies = Arc::new(usual.with("nil", "verify"));
        for n in 0..120 {
            // The primary is ejected and asked again by each handle, several times.
            std::thread::sleep(Duration::from_millis(5));
            let client = [&usual, &verifies][n / 3 % 2];
            let (got, time) = timed(|| match n % 3 {
                0 => run(client, "GET k"),
                1 => run_all(client, &["GET k"]).concat(),
                _ => run_all(client, &["GET k", "GET {k}2"]).concat(),
            });
            assert_eq!(got, ["v", "v", "vv"][n % 3], "read {n}");
            assert!(time < Duration::from_millis(100), "read {n}: {time:?}");
        }
        assert!(fake.node(0).calls("GET") > 0, "{says}");
    }
}

#[test]
fn blocking_reads_go_to_replicas() {
    let fake = FakeCluster::with_replicas(1, 1);
    fake.on(1, |_, command| {
        is_command(command, "XREAD").then(|| Action::send("*-1\r\n"))
    });
    fake.on(0, |_, command| {
        is_command(command, "XREAD").then(|| Action::send("*-1\r\n"))
    });
    let readonly = client(&fake.url()).readonly();
    for _ in 0..20 {
        assert_eq!(run(&readonly, "XREAD BLOCK 10 STREAMS k $"), "nil");
    }
    for commands in connections_with(&fake, 2, &["XREAD"]) {
        assert!(commands.contains(&"READONLY".to_string()), "{commands:?}");
    }
    assert!(fake.node(1).calls("XREAD") > 0);
}

#[test]
fn key_scans_always_use_the_primary() {
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
            assert_eq!(run(&readonly, &words), "[0, []]");
            assert_eq!(run_all(&readonly, &[&words]), ["[0, []]"]);
        }
    }
    for name in ["HSCAN", "SSCAN", "ZSCAN"] {
        assert_eq!(fake.node(0).calls(name), 20, "{name} at the primary");
        assert_eq!(fake.calls(name), 20, "{name} in all");
    }
}
