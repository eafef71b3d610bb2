//! Read-only clients on a real cluster.

use crate::common::load::{assert_pairs_are_current_while_replication_is_paused, assert_uniform};
use crate::common::serial::serial;
use crate::common::shared::{SharedCluster, shared};
use crate::common::{client, key_of, run, run_all, servers, stat};
use rediscluster::cluster::Client;
use std::sync::Arc;
use support::Cluster;

fn cluster() -> SharedCluster {
    shared(module_path!(), Cluster::builder)
}

/// How often the primary and the replica of each shard executed a command.
fn counts(cluster: &Cluster, command: &str) -> Vec<[u64; 2]> {
    [0, 8000, 16000]
        .map(|slot| {
            let primary = cluster.primary_of(slot).unwrap();
            let replica = cluster.replicas_of(slot).unwrap()[0];
            [primary, replica].map(|port| cluster.commandstats(port, command).unwrap())
        })
        .to_vec()
}

fn plain_and_readonly(cluster: &Cluster) -> (Arc<Client>, Arc<Client>) {
    let client = Arc::new(client(&cluster.url()));
    let readonly = Arc::new(client.readonly());
    (client, readonly)
}

#[test]
fn single_reads_are_distributed_uniformly() {
    let cluster = &cluster();
    let (_client, readonly) = plain_and_readonly(cluster);
    cluster.reset_stats().unwrap();
    let keys: Vec<String> = (0..3).map(|shard| key_of(shard, 3, 1)).collect();
    for _ in 0..1000 {
        for key in &keys {
            run(&readonly, &format!("GET {key}"));
        }
    }
    for shard in counts(cluster, "get") {
        assert_eq!(shard.iter().sum::<u64>(), 1000, "{shard:?}");
        assert_uniform(&shard);
    }
}

#[test]
fn pipelined_reads_are_distributed_uniformly() {
    let cluster = &cluster();
    let (_client, readonly) = plain_and_readonly(cluster);
    cluster.reset_stats().unwrap();
    // The reads of one slot stay together, so that each pipeline makes one random choice for each slot.
    let gets: Vec<String> = (0..30)
        .map(|n| format!("EXISTS {}", key_of(n % 3, 3, n)))
        .collect();
    for _ in 0..200 {
        for got in run_all(&readonly, &gets) {
            assert_eq!(got, "0");
        }
    }
    for shard in counts(cluster, "exists") {
        assert_eq!(shard.iter().sum::<u64>(), 2000, "{shard:?}");
        assert_uniform(&shard);
    }
}

#[test]
fn pipeline_reads_own_writes_while_replication_is_paused() {
    let cluster = &cluster();
    let any = Arc::new(client(&cluster.url()).with("read_from", "any"));
    assert_pairs_are_current_while_replication_is_paused(cluster, &any, 20);
}

#[test]
fn table_reads_run_on_real_replica() {
    let cluster = &cluster();
    let (client, readonly) = plain_and_readonly(cluster);
    assert_eq!(run(&client, "RPUSH {r}list a b"), "2");
    assert_eq!(run(&client, "SET {r}string abc"), "OK");
    assert_eq!(run(&client, "ZADD {r}zset 1 a"), "1");
    cluster.wait_replicas_in_sync().unwrap();
    let replicas = client.with("read_from", "replica").readonly();
    for (words, expected) in [
        ("LRANGE {r}list 0 -1", "[a, b]"),
        ("GETRANGE {r}string 0 1", "ab"),
        ("ZRANGE {r}zset 0 -1", "[a]"),
        ("MGET {r}string {r}none", "[abc, nil]"),
        ("BITFIELD_RO {r}string GET u8 0", "[97]"),
        ("SORT_RO {r}list ALPHA", "[a, b]"),
        (
            "EVAL_RO \"return redis.call('GET', KEYS[1])\" 1 {r}string",
            "abc",
        ),
        ("OBJECT ENCODING {r}string", "embstr"),
    ] {
        assert_eq!(run(&replicas, words), expected, "{words}");
        assert_eq!(run(&readonly, words), expected, "{words}");
    }
    assert_eq!(stat(&client, "moved"), 0);
    let refused = run(&readonly, "EVAL \"return 1\" 1 {r}string");
    assert!(refused.ends_with("(READONLY)"), "{refused}");
}

#[test]
fn pfcount_of_replica_changes_nothing_at_the_primary() {
    let _serial = serial();
    for server in servers() {
        let cluster = Cluster::builder().server(server.clone()).start().unwrap();
        let (client, readonly) = plain_and_readonly(&cluster);
        let replica = readonly.with("read_from", "replica");
        assert_eq!(run(&client, "PFADD {h}a x y z"), "1");
        assert_eq!(run(&client, "PFADD {h}b z w"), "1");
        cluster.wait_replicas_in_sync().unwrap();
        let (before, earlier) = (run(&client, "GET {h}a"), counts(&cluster, "pfcount"));
        for _ in 0..3 {
            assert_eq!(run(&replica, "PFCOUNT {h}a"), "3", "{server}");
            assert_eq!(run(&replica, "PFCOUNT {h}a {h}b"), "4", "{server}");
        }
        assert_eq!(run(&client, "GET {h}a"), before, "{server}");
        let served = counts(&cluster, "pfcount");
        let at_replicas: u64 = served
            .iter()
            .zip(earlier)
            .map(|(now, then)| now[1] - then[1])
            .sum();
        assert_eq!(at_replicas, 6, "{server}: {served:?}");
    }
}
