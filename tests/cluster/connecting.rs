//! Clients that are created before their servers are ready.

use crate::common::serial::serial;
use crate::common::{client, run, servers, stat, timed, wait_for};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::time::Duration;
use support::{Cluster, Server};

/// Longer than any server needs.
const PATIENT: &str = "timeout_ms=20000";

#[test]
fn clients_made_before_their_server_starts_live() {
    let _serial = serial();
    for found in servers() {
        let server = Server::builder().server(found).start().unwrap();
        server.kill();
        let url = server.url();
        let early = Client::create(&format!("{url}?timeout_ms=200"));
        let error = early.error().expect("the server does not run").clone();
        assert_eq!(error.code, Code::Connect, "{error}");
        let lazy = client(&format!("{url}?lazy=yes&{PATIENT}"));
        let patient = early.with("timeout_ms", "20000");
        let reader = early.readonly();
        std::thread::scope(|scope| {
            let created = scope.spawn(|| client(&format!("{url}?{PATIENT}")));
            let mut calls = Vec::new();
            for n in 0..32 {
                let handle = if n % 2 == 0 { &lazy } else { &patient };
                calls.push(scope.spawn(move || run(handle, &format!("SET early{n} v"))));
            }
            wait_for("the calls wait", || stat(&early, "refreshes") > 3);
            assert_eq!(stat(&early, "connected"), 0);
            server.restart().unwrap();
            for call in calls {
                assert_eq!(call.join().unwrap(), "OK");
            }
            assert_eq!(run(&created.join().unwrap(), "SET k v"), "OK");
        });
        assert_eq!(run(&early, "GET k"), "v");
        assert_eq!(run(&reader, "GET k"), "v");
        assert_eq!(early.error(), Some(&error));
        assert_eq!(stat(&early, "connected"), 1);
        // It goes away again, and comes back.
        server.kill();
        wait_for("the loss is noticed", || {
            run(&early, "GET k");
            stat(&early, "connected") == 0
        });
        server.restart().unwrap();
        assert_eq!(run(&patient, "SET k w"), "OK");
        assert_eq!(stat(&early, "connected"), 1);
    }
}

#[test]
fn client_made_before_slots_are_assigned_lives() {
    let _serial = serial();
    let mut cluster = Cluster::builder().primaries(1).replicas(0).start().unwrap();
    let port = cluster.start_node().unwrap();
    let url = format!("redis://127.0.0.1:{port}");
    let early = Client::create(&format!("{url}?timeout_ms=200"));
    let error = early.error().expect("no slot is assigned").clone();
    assert_eq!(error.code, Code::Down, "{error}");
    std::thread::scope(|scope| {
        let created = scope.spawn(|| client(&format!("{url}?{PATIENT}")));
        let calling = scope.spawn(|| run(&early.with("timeout_ms", "20000"), "SET k v"));
        wait_for("the calls wait", || stat(&early, "refreshes") > 3);
        // Half of the slots are enough to connect.
        for range in [["0", "8191"], ["8192", "16383"]] {
            let assigned = cluster.command(port, &["CLUSTER", "ADDSLOTSRANGE", range[0], range[1]]);
            assert_eq!(assigned.unwrap().text(), "OK");
        }
        assert_eq!(calling.join().unwrap(), "OK");
        assert_eq!(run(&created.join().unwrap(), "GET k"), "v");
    });
    assert_eq!(early.error(), Some(&error));
}

#[test]
fn client_made_while_server_loads_lives() {
    let _serial = serial();
    let server = Server::builder()
        .option("key-load-delay", "500")
        .option("loading-process-events-interval-bytes", "1024")
        .start()
        .unwrap();
    let order = |words: &[&str]| server.command(words).unwrap().text();
    assert_eq!(order(&["DEBUG", "POPULATE", "4000", "k", "100"]), "OK");
    std::thread::scope(|scope| {
        // It takes 2 s.
        let reload = scope.spawn(|| order(&["DEBUG", "RELOAD"]));
        wait_for("the server loads", || {
            order(&["GET", "k:1"]).contains("LOADING")
        });
        let (value, took) = timed(|| {
            let early = client(&format!("{}?{PATIENT}", server.url()));
            run(&early, "EXISTS k:1")
        });
        assert_eq!(value, "1");
        assert!(took > Duration::from_millis(100), "{took:?}");
        assert_eq!(reload.join().unwrap(), "OK");
    });
}

#[test]
fn client_made_before_its_user_exists_lives() {
    let _serial = serial();
    let cluster = Cluster::builder().primaries(3).replicas(0).start().unwrap();
    let url = cluster.url().replace("redis://", "redis://app:right@");
    let (early, took) = timed(|| Client::create(&url));
    let error = early.error().expect("there is no such user").clone();
    assert_eq!(error.code, Code::Auth, "{error}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(run(&early, "SET k v").contains("(AUTH)"));
    for port in cluster.ports() {
        let user = ["ACL", "SETUSER", "app", "on", ">right", "~*", "+@all"];
        assert_eq!(cluster.command(port, &user).unwrap().text(), "OK");
    }
    let (_, took) = timed(|| wait_for("the client lives", || run(&early, "SET k v") == "OK"));
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(run(&early.readonly(), "GET k"), "v");
    assert_eq!(early.error(), Some(&error));
}

#[test]
fn lazy_client_of_cluster_connects_with_its_first_call() {
    let _serial = serial();
    let cluster = Cluster::builder().primaries(3).replicas(0).start().unwrap();
    for words in [
        "SET k v",
        "MSET {t}a 1 {t}b 2",
        "SCAN 0 COUNT 1000",
        "DBSIZE",
    ] {
        let lazy = client(&(cluster.url() + "?lazy=yes"));
        assert_eq!(stat(&lazy, "connected"), 0);
        let answer = run(&lazy, words);
        assert!(!answer.contains('('), "{words}: {answer}");
        assert_eq!(stat(&lazy, "connected"), 1, "{words}");
    }
    let lazy = client(&(cluster.url() + "?lazy=yes"));
    let one = lazy.command_to(&format!("127.0.0.1:{}", cluster.ports()[1]), &[b"PING"]);
    assert_eq!(crate::common::show(one.view()), "PONG");
}
