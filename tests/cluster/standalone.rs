//! Real servers without cluster support.

use crate::common::serial::serial;
use crate::common::{atomic, client, code, newest, run, run_all, send, show, wait_for};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::Arc;
use support::{Cluster, Server};

/// Runs a test with each kind of server, and under each option with which it is used.
fn on_each_server(test: impl Fn(&Server, Arc<Client>)) {
    let _alone = serial();
    for kind in ["redis", "valkey"] {
        let server = Server::builder().server(newest(kind)).start().unwrap();
        for mode in ["?cluster=auto", "?cluster=no"] {
            server.command(&["FLUSHALL"]).unwrap();
            server.command(&["CONFIG", "RESETSTAT"]).unwrap();
            test(&server, Arc::new(client(&(server.url() + mode))));
        }
    }
}

#[test]
fn commands_of_one_server_may_have_any_keys() {
    on_each_server(|server, client| {
        for (words, reply) in [
            ("MSET a 1 b 2 c 3", "OK"),
            ("MGET a b c none", "[1, 2, 3, nil]"),
            ("EXISTS a b c none", "3"),
            ("TOUCH a b", "2"),
            ("DEL a b", "2"),
            ("UNLINK c none", "1"),
            ("MSETNX a 1 b 2", "1"),
            ("MSETNX b 1 c 2", "0"),
            ("RENAME a c", "OK"),
            ("COPY c d", "1"),
            ("SADD s 1 2", "2"),
            ("SADD t 2 3", "2"),
            ("SINTER s t", "[2]"),
            ("SINTERSTORE u s t", "1"),
            ("PFMERGE p q", "OK"),
            (
                "EVAL \"return redis.call('GET', KEYS[1]) .. redis.call('GET', KEYS[2])\" 2 b c",
                "21",
            ),
            ("LPUSH l x", "1"),
            ("BLPOP k1 l k2 1", "[l, x]"),
            ("LPUSH l x", "1"),
            ("LMOVE l m LEFT RIGHT", "x"),
        ] {
            assert_eq!(run(&client, words), reply, "{words}");
        }
        for command in ["mset", "mget", "exists", "touch", "del", "unlink"] {
            assert_eq!(
                server.commandstats(command).unwrap(),
                1,
                "{command} was split"
            );
        }
    });
}

#[test]
fn commands_for_the_whole_cluster_work_as_on_one_server() {
    on_each_server(|_, client| {
        assert_eq!(run(&client, "MSET a 1 b 2 c 3"), "OK");
        assert_eq!(run(&client, "DBSIZE"), "3");
        assert_eq!(send(&client, "KEYS *").view().len(), 3);
        assert_eq!(run(&client, "PUBSUB NUMSUB x"), "[x, 0]");
        assert!(["a", "b", "c"].contains(&run(&client, "RANDOMKEY").as_str()));
        assert!(run(&client, "INFO replication").starts_with("# Replication"));
        assert_eq!(run(&client, "PING"), "PONG");
        assert_eq!(run(&client, "PUBLISH channel message"), "0");
        assert_eq!(run(&client, "CONFIG SET maxmemory-samples 6"), "OK");
        let samples = send(&client, "CONFIG GET maxmemory-samples");
        assert_eq!(
            samples.view().find("maxmemory-samples").map(show).unwrap(),
            "6"
        );
        let digest = run(&client, "SCRIPT LOAD \"return 7\"");
        assert_eq!(run(&client, &format!("EVALSHA {digest} 0")), "7");
        assert_eq!(run(&client, "SWAPDB 0 1"), "OK");
        assert_eq!(run(&client, "DBSIZE"), "0");
        assert_eq!(run(&client, "SWAPDB 0 1"), "OK");
        let scanned = run_all(
            &client,
            &["SET d 4", "SCAN 0 COUNT 100", "FLUSHALL", "DBSIZE"],
        );
        assert!(
            scanned[1].starts_with("[0, [") && scanned[1].contains('d'),
            "{scanned:?}"
        );
        assert_eq!(scanned[2..], ["OK", "0"]);
    });
}

#[test]
fn pipelines_and_transactions_of_one_server_may_have_any_keys() {
    on_each_server(|server, client| {
        let replies = run_all(
            &client,
            &[
                "MSET a 1 b 2",
                "RENAME a c",
                "MGET a b c",
                "DEL b c",
                "WAIT 0 10",
                "EXISTS b c",
            ],
        );
        assert_eq!(replies, ["OK", "OK", "[nil, 2, 1]", "2", "0", "0"]);
        assert_eq!(server.commandstats("mget").unwrap(), 1);
        let reply = atomic(
            &client,
            &["SET a 1", "INCR b", "MGET a b", "DBSIZE", "FLUSHALL"],
        );
        assert_eq!(show(reply.view()), "[OK, 1, [1, 1], 2, OK]");
        let pinned = client.pin(b"a");
        for (words, reply) in [
            ("WATCH a b c", "OK"),
            ("MULTI", "OK"),
            ("SET b 1", "QUEUED"),
            ("RENAME b c", "QUEUED"),
            ("EXEC", "[OK, OK]"),
            ("MGET a b c", "[nil, nil, 1]"),
        ] {
            assert_eq!(run(&pinned, words), reply, "{words}");
        }
    });
}

#[test]
fn server_that_shuts_down_by_command_is_reported_as_lost() {
    let _alone = serial();
    let server = Server::start().unwrap();
    let client = client(&(server.url() + "?timeout_ms=500"));
    let reply = send(&client, "SHUTDOWN NOSAVE");
    assert_ne!(code(reply.view()), Code::Invalid, "{}", show(reply.view()));
    server.restart().unwrap();
    assert_eq!(run(&client, "SET k v"), "OK");
}

#[test]
fn server_restarted_as_a_cluster_is_used_as_one() {
    let _alone = serial();
    let cluster = Cluster::builder().primaries(1).replicas(0).start().unwrap();
    let port = cluster.primary_of(0).unwrap();
    cluster.restart_without_cluster(port).unwrap();
    let client = client(&format!("redis://127.0.0.1:{port}?timeout_ms=2000"));
    assert_eq!(run(&client, "MSET a 1 b 2"), "OK");
    cluster.restart(port).unwrap();
    wait_for("the cluster is used", || run(&client, "SET a 1") == "OK");
    wait_for("its slots are known", || {
        run(&client, "MSET a 1 b 2").contains("a common {hash tag}")
    });
    assert_eq!(run(&client, "MGET a b"), "[1, nil]");
}
