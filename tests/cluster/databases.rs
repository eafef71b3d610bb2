//! Numbered databases of real servers: clusters of Valkey 9, single servers, and clusters that have only one.

use crate::common::serial::{Serial, serial};
use crate::common::set_on_drop::SetOnDrop;
use crate::common::shared::{SharedCluster, migration_target, shared, wait_promotion};
use crate::common::{
    atomic, client, code, key_of, newest, run, run_all, send, servers, show, stat, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Cluster, Failover, Server, slot_of};

/// A cluster with 16 databases.
fn cluster() -> SharedCluster {
    shared(module_path!(), || {
        Cluster::builder()
            .server(newest("valkey"))
            .option("cluster-databases", "16")
    })
}

/// Handles of the databases 0, 3 and 5, all empty.
fn handles(cluster: &Cluster) -> [Arc<Client>; 3] {
    let three = client(&(cluster.url() + "/3?timeout_ms=20000&split_writes=yes"));
    let zero = three.with("database", "0");
    let five = three.with("database", "5");
    assert_eq!(run(&zero, "FLUSHALL"), "OK");
    [zero, three, five].map(Arc::new)
}

#[test]
fn commands_of_each_kind_stay_in_their_database() {
    let cluster = &cluster();
    let handles = handles(cluster);
    let keys: Vec<String> = (0..9).map(|n| key_of(n % 3, 3, n)).collect();
    for (handle, n) in handles.iter().zip([0, 3, 5]) {
        let pairs: Vec<String> = keys.iter().map(|key| format!("{key} {n}")).collect();
        assert_eq!(run(handle, &format!("MSET {}", pairs.join(" "))), "OK");
        assert_eq!(
            run_all(handle, &["SET piped p", "INCR counter"]),
            ["OK", "1"]
        );
        assert_eq!(show(atomic(handle, &["INCR counter"]).view()), "[2]");
        assert_eq!(
            run(
                handle,
                "EVAL \"return redis.call('INCR', KEYS[1])\" 1 counter"
            ),
            "3"
        );
        let pinned = handle.pin(b"counter");
        assert_eq!(run(&pinned, "MULTI"), "OK");
        assert_eq!(run(&pinned, "INCR counter"), "QUEUED");
        assert_eq!(run(&pinned, "EXEC"), "[4]");
        assert_eq!(run(&pinned, "SELECT 7"), "OK");
        assert_eq!(run(&pinned, "GET counter"), "nil");
        assert_eq!(run(&pinned, "RESET"), "RESET");
        assert_eq!(run(&pinned, "GET counter"), "4");
        assert_eq!(run(handle, &format!("RPUSH list {n}")), "1");
        assert_eq!(run(handle, "BLPOP list 1"), format!("[list, {n}]"));
    }
    cluster.wait_replicas_in_sync().unwrap();
    for (handle, n) in handles.iter().zip([0, 3, 5]) {
        let expected = vec![n.to_string(); keys.len()].join(", ");
        assert_eq!(
            run(handle, &format!("MGET {}", keys.join(" "))),
            format!("[{expected}]")
        );
        let replicas = Arc::new(handle.with("read_from", "replica"));
        for key in &keys {
            assert_eq!(run(&replicas, &format!("GET {key}")), n.to_string());
        }
        assert_eq!(run(handle, "DBSIZE"), (keys.len() + 2).to_string());
        assert_eq!(run(handle, "KEYS k*").matches(':').count(), keys.len());
        assert_ne!(run(handle, "RANDOMKEY"), "nil");
        assert_eq!(scan_all(handle).len(), keys.len() + 2);
    }
    let [zero, three, five] = &handles;
    assert_eq!(run(five, "FLUSHDB"), "OK");
    assert_eq!(
        [
            run(zero, "DBSIZE"),
            run(three, "DBSIZE"),
            run(five, "DBSIZE")
        ],
        ["11", "11", "0"]
    );
    assert_eq!(run(five, "RANDOMKEY"), "nil");
    // Commands that name a database.
    let key = &keys[0];
    assert_eq!(run(three, &format!("COPY {key} {{{key}}}copy DB 5")), "1");
    assert_eq!(run(three, &format!("MOVE {key} 6")), "1");
    assert_eq!(run(three, &format!("EXISTS {key}")), "0");
    assert_eq!(run(five, &format!("GET {{{key}}}copy")), "3");
    assert_eq!(
        run(&three.with("database", "6"), &format!("GET {key}")),
        "3"
    );
}

fn scan_all(client: &Client) -> Vec<String> {
    let (mut cursor, mut keys) = ("0".to_string(), Vec::new());
    loop {
        let page = send(client, &format!("SCAN {cursor} COUNT 3"));
        let view = page.view();
        cursor = show(view.at(0).unwrap_or(view));
        keys.extend(view.at(1).iter().flat_map(|page| page.elements()).map(show));
        if cursor == "0" {
            return keys;
        }
    }
}

#[test]
fn scan_cursor_is_refused_in_another_database() {
    let cluster = &cluster();
    let [_, three, five] = handles(cluster);
    for n in 0..60 {
        assert_eq!(run(&three, &format!("SET k{n} v")), "OK");
    }
    let cursor = show(send(&three, "SCAN 0 COUNT 3").view().at(0).unwrap());
    let refused = run(&five, &format!("SCAN {cursor}"));
    assert!(
        refused.contains("is of database 3, and this handle uses database 5"),
        "{refused}"
    );
    assert!(run(&three, &format!("SCAN {cursor} COUNT 3")).starts_with('['));
}

#[test]
fn migrating_slot_and_redirections_keep_the_database() {
    let cluster = &cluster();
    let [zero, three, _] = handles(cluster);
    let tag = key_of(0, 3, 7);
    let slot = slot_of(tag.as_bytes());
    let (from, to) = (cluster.primary_of(slot).unwrap(), migration_target(cluster));
    let keys: Vec<String> = (0..6).map(|n| format!("{{{tag}}}{n}")).collect();
    for key in &keys {
        assert_eq!(run(&zero, &format!("SET {key} 0")), "OK");
        assert_eq!(run(&three, &format!("SET {key} 3")), "OK");
    }
    cluster.begin_migration(slot, to).unwrap();
    // In each database, other keys have been moved: the others are answered with ASK.
    cluster.move_keys(slot, to, &keys[..2]).unwrap();
    let source = three.pin(tag.as_bytes());
    for key in &keys[2..4] {
        assert_eq!(
            run(&source, &format!("MIGRATE 127.0.0.1 {to} {key} 3 5000")),
            "OK"
        );
    }
    let asked = stat(&three, "ask");
    let read = |handle: &Arc<Client>, n: &str| {
        for key in &keys {
            assert_eq!(run(handle, &format!("GET {key}")), n);
        }
        let gets: Vec<String> = keys.iter().map(|key| format!("GET {key}")).collect();
        assert_eq!(run_all(handle, &gets), vec![n; keys.len()]);
    };
    read(&three, "3");
    read(&zero, "0");
    assert!(stat(&three, "ask") > asked);
    assert_eq!(run(&three, &format!("SET {{{tag}}}new 3")), "OK");
    assert_eq!(run(&zero, &format!("EXISTS {{{tag}}}new")), "0");
    for key in &keys[4..] {
        assert_eq!(
            run(&source, &format!("MIGRATE 127.0.0.1 {to} {key} 3 5000")),
            "OK"
        );
    }
    for key in &keys[..2] {
        assert_eq!(
            run(&source, &format!("MIGRATE 127.0.0.1 {to} {key} 3 5000")),
            "OK"
        );
    }
    // A handle whose map is old follows MOVED.
    let old = client(&(cluster.url() + "/3"));
    cluster.finish_migration(slot, to).unwrap();
    let moved = stat(&old, "moved");
    read(&Arc::new(old.with("max_redirects", "3")), "3");
    assert!(stat(&old, "moved") > moved);
    read(&three, "3");
    read(&zero, "0");
    cluster.migrate_slots_atomically(slot, slot, from).unwrap();
    read(&three, "3");
    read(&zero, "0");
}

#[test]
fn database_survives_killed_connections_and_failover() {
    let cluster = &cluster();
    let handles = handles(cluster);
    let key = key_of(1, 3, 3);
    let slot = slot_of(key.as_bytes());
    for (handle, n) in handles.iter().zip([0, 3, 5]) {
        assert_eq!(run(handle, &format!("SET {key} {n}")), "OK");
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&is_over);
        for (handle, n) in handles.iter().zip([0, 3, 5]) {
            let (key, is_over) = (&key, &is_over);
            for _ in 0..3 {
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let got = run(handle, &format!("GET {key}"));
                        assert_eq!(got, n.to_string());
                        let got = run_all(handle, &[format!("GET {key}"), format!("GET {key}")]);
                        assert_eq!(got, [n.to_string(), n.to_string()]);
                        // Its outcome may be unknown when a connection breaks. It must not arrive elsewhere.
                        run(handle, &format!("SET {{{key}}}{n} {n}"));
                    }
                });
            }
        }
        for _ in 0..5 {
            for port in cluster.ports() {
                cluster
                    .command(port, &["CLIENT", "KILL", "TYPE", "normal"])
                    .unwrap();
            }
        }
        let old = cluster.primary_of(slot).unwrap();
        let replica = cluster.replicas_of(slot).unwrap()[0];
        cluster.wait_replicas_in_sync().unwrap();
        cluster.failover(replica, Failover::Plain).unwrap();
        wait_promotion(cluster, slot, old);
        for port in cluster.ports() {
            cluster
                .command(port, &["CLIENT", "KILL", "TYPE", "normal"])
                .unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    for (handle, n) in handles.iter().zip([0, 3, 5]) {
        for other in [0, 3, 5] {
            let got = run(handle, &format!("GET {{{key}}}{other}"));
            assert!(
                got == "nil" || (other == n && got == n.to_string()),
                "{other} in {n}: {got}"
            );
        }
    }
}

/// Fails unless creating a client and a derived handle are refused, with this text, and nothing is written.
#[track_caller]
fn assert_no_database(url: &str, number: &str, text: &str) {
    let failed = Client::create(&format!("{url}/{number}"));
    let error = failed.error().expect("the database is not there");
    let refused = format!("refused SELECT {number} (option database): {text}");
    assert_eq!(error.code, Code::Invalid, "{error}");
    assert!(error.message.starts_with("INVALID 127.0.0.1:"), "{error}");
    assert!(error.message.contains(&refused), "{error}");
    let zero = client(url);
    let derived = zero.with("database", number);
    let reply = send(&derived, "SET k derived");
    assert_eq!(code(reply.view()), Code::Invalid);
    assert!(
        show(reply.view()).contains(&refused),
        "{}",
        show(reply.view())
    );
    assert_eq!(run(&zero, "GET k"), "nil");
    assert_eq!(run(&zero, "SET k v"), "OK");
    assert_eq!(run(&zero, "DEL k"), "1");
}

#[test]
fn cluster_with_one_database_refuses_others() {
    // A cluster of Redis, and one of Valkey 9 without the setting.
    for (kind, text) in [
        (
            "redis",
            "ERR SELECT is not allowed in cluster mode; only a cluster of Valkey 9 or later has several databases",
        ),
        (
            "valkey",
            "ERR DB index is out of range; use a lower number, or raise the server's setting databases \
             (cluster-databases for the nodes of a cluster)",
        ),
    ] {
        let cluster = shared(kind, || Cluster::builder().server(newest(kind)).replicas(0));
        assert_no_database(&cluster.url(), "3", text);
    }
}

fn each_server() -> (Serial, Vec<Server>) {
    let serial = serial();
    let start = |found| Server::builder().server(found).start().unwrap();
    (serial, servers().into_iter().map(start).collect())
}

#[test]
fn standalone_server_has_numbered_databases() {
    let (_serial, servers) = each_server();
    for server in servers {
        for mode in ["auto", "no"] {
            let url = format!(
                "{}/3?cluster={mode}&protocol={}",
                server.url(),
                2 + mode.len() % 2
            );
            let three = Arc::new(client(&url));
            let zero = three.with("database", "0");
            assert_eq!(run(&three, "SET k 3"), "OK");
            assert_eq!(run(&zero, "SET k 0"), "OK");
            assert_eq!(run_all(&three, &["GET k", "DBSIZE"]), ["3", "1"]);
            assert_eq!(run(&three.pin(b"k"), "GET k"), "3");
            server
                .command(&["CLIENT", "KILL", "TYPE", "normal"])
                .unwrap();
            assert_eq!(run(&three, "GET k"), "3");
            assert_eq!(run(&zero, "GET k"), "0");
            assert_eq!(run(&zero, "SWAPDB 0 3"), "OK");
            assert_eq!(
                (run(&three, "GET k"), run(&zero, "GET k")),
                ("0".into(), "3".into())
            );
            assert_eq!(run(&three, "FLUSHDB"), "OK");
            assert_eq!(run(&zero, "GET k"), "3");
            assert_eq!(run(&zero, "FLUSHALL"), "OK");
        }
        assert_no_database(
            &server.url(),
            "16",
            "ERR DB index is out of range; use a lower number",
        );
    }
}

#[test]
fn user_without_select_is_told_so() {
    let (_serial, servers) = each_server();
    for server in servers {
        let user = [
            "ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-select",
        ];
        assert_eq!(server.command(&user).unwrap().text(), "OK");
        let failed = Client::create(&format!("redis://app:secret@{}/3", server.address()));
        let error = failed.error().expect("the user may not select");
        assert_eq!(error.code, Code::Auth, "{error}");
        assert!(
            error
                .message
                .contains("refused SELECT (option database) on a new"),
            "{error}"
        );
        assert_eq!(
            run(
                &client(&format!("redis://app:secret@{}", server.address())),
                "GET k"
            ),
            "nil"
        );
    }
}

#[test]
fn database_that_appears_later_is_used() {
    let (_serial, servers) = each_server();
    let server = servers
        .iter()
        .find(|s| s.command(&["PING"]).is_ok())
        .unwrap();
    let user = [
        "ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-select",
    ];
    assert_eq!(server.command(&user).unwrap().text(), "OK");
    let zero = client(&format!("redis://app:secret@{}", server.address()));
    let three = zero.with("database", "3");
    assert!(run(&three, "GET k").contains("NOPERM"));
    let user = ["ACL", "SETUSER", "app", "+select"];
    assert_eq!(server.command(&user).unwrap().text(), "OK");
    wait_for("the right is used", || run(&three, "GET k") == "nil");
}
