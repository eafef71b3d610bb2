//! Commands to all shards of a real cluster.

use crate::common::shared::{SharedCluster, shared};
use crate::common::{ask, client, key_of, say, until};
use std::collections::BTreeSet;
use support::{Cluster, slot_of};

fn cluster() -> SharedCluster {
    // A script that runs for longer than this can be killed.
    shared(module_path!(), || {
        Cluster::builder().option("lua-time-limit", "50")
    })
}

#[test]
fn a_whole_cluster_answers_as_one_server() {
    let cluster = &cluster();
    let client = client(&(cluster.url() + "?split_writes=yes"));
    let say = |words: &str| say(&client, words);
    assert_eq!(say("FLUSHALL"), "OK");
    assert_eq!(
        (say("DBSIZE"), say("RANDOMKEY")),
        ("0".into(), "nil".into())
    );
    let pairs: Vec<String> = (0..30).map(|n| format!("k{n} {n}")).collect();
    assert_eq!(say(&format!("MSET {}", pairs.join(" "))), "OK");
    let keys: BTreeSet<String> = (0..30).map(|n| format!("k{n}")).collect();
    let list = keys.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(say("DBSIZE"), "30");
    let all = say("KEYS *");
    let found: BTreeSet<String> = all[1..all.len() - 1]
        .split(", ")
        .map(String::from)
        .collect();
    assert_eq!(found, keys);
    assert_eq!(say(&format!("EXISTS {list}")), "30");
    assert_eq!(say(&format!("TOUCH {list}")), "30");
    // In time a random key comes of every shard.
    let mut shards = BTreeSet::new();
    until("a random key of each shard", || {
        shards.insert(
            cluster
                .primary_of(slot_of(say("RANDOMKEY").as_bytes()))
                .unwrap(),
        );
        shards.len() == 3
    });
    assert_eq!(say("PING"), "PONG");
    assert_eq!(say("PING x"), "x");
    assert_eq!(say("WAIT 1 1000"), "1");
    assert_eq!(
        ask(&client, "INFO server").view().len(),
        6,
        "a pair for each primary"
    );
    assert_eq!(ask(&client, "MEMORY STATS").view().len(), 6);
    assert_eq!(say("MEMORY PURGE"), "OK");
    assert_eq!(say("SLOWLOG RESET"), "OK");
    assert_eq!(say("CONFIG RESETSTAT"), "OK");
    assert_eq!(say("LATENCY RESET"), "0");

    assert_eq!(say("CONFIG SET slowlog-max-len 77"), "OK");
    for port in cluster.ports() {
        let set = cluster
            .command(port, &["CONFIG", "GET", "slowlog-max-len"])
            .unwrap();
        assert_eq!(set.elements()[1].text(), "77", "{port}");
    }
    let wrong = say("CONFIG SET slowlog-max-len many");
    assert!(
        wrong.contains(" [127.0.0.1:") && wrong.contains("(0 of 6 parts"),
        "{wrong}"
    );
    assert_eq!(say("ACL SETUSER ann on nopass ~* +@all"), "OK");
    assert_eq!(say("ACL DELUSER ann"), "1");

    assert_eq!(say(&format!("UNLINK {list}")), "30");
    assert_eq!(say("DBSIZE"), "0");
}

#[test]
fn scripts_and_functions_reach_every_node_that_may_be_asked_to_run_them() {
    let cluster = &cluster();
    let plain = client(&cluster.url());
    let sha = say(&plain, "SCRIPT LOAD \"return redis.call('GET', KEYS[1])\"");
    assert_eq!(sha.len(), 40, "{sha}");
    assert_eq!(say(&plain, &format!("SCRIPT EXISTS {sha} x")), "[1, 0]");
    // Scripts are not replicated: replicas have it because they were told.
    for port in cluster.ports() {
        let exists = cluster.command(port, &["SCRIPT", "EXISTS", &sha]).unwrap();
        assert_eq!(exists.elements()[0].text(), "1", "{port}");
    }
    let readonly = plain.readonly();
    for n in 0..20 {
        let key = key_of(n % 3, 3, n);
        say(&plain, &format!("SET {key} {n}"));
        assert_eq!(
            say(&plain, &format!("EVALSHA {sha} 1 {key}")),
            n.to_string()
        );
    }
    cluster.wait_replicas_in_sync().unwrap();
    for n in 0..20 {
        let key = key_of(n % 3, 3, n);
        assert_eq!(
            say(&readonly, &format!("EVALSHA_RO {sha} 1 {key}")),
            n.to_string()
        );
    }
    assert_eq!(say(&plain, "SCRIPT FLUSH"), "OK");
    assert_eq!(say(&plain, &format!("SCRIPT EXISTS {sha}")), "[0]");

    // Functions are.
    let code = "\"#!lua name=lib\\nredis.register_function{function_name='f', flags={'no-writes'}, \
                callback=function(keys) return redis.call('GET', keys[1]) end}\"";
    assert_eq!(say(&plain, &format!("FUNCTION LOAD {code}")), "lib");
    let again = say(&plain, &format!("FUNCTION LOAD {code}"));
    assert!(
        again.contains("already exists") && again.contains(" [127.0.0.1:"),
        "{again}"
    );
    cluster.wait_replicas_in_sync().unwrap();
    for n in 0..20 {
        let key = key_of(n % 3, 3, n);
        assert_eq!(say(&plain, &format!("FCALL f 1 {key}")), n.to_string());
        assert_eq!(
            say(&readonly, &format!("FCALL_RO f 1 {key}")),
            n.to_string()
        );
    }
    assert_eq!(
        ask(&plain, "FUNCTION STATS").view().len(),
        6,
        "a pair for each primary"
    );
    assert_eq!(say(&plain, "FUNCTION DELETE lib"), "OK");
    assert_eq!(say(&plain, "FUNCTION FLUSH"), "OK");
}

#[test]
fn a_script_that_runs_on_one_shard_is_killed_wherever_it_is() {
    let cluster = &cluster();
    let client = client(&(cluster.url() + "?attempt_timeout_ms=5000"));
    let idle = say(&client, "SCRIPT KILL");
    assert!(idle.starts_with("NOTBUSY"), "{idle}");
    let key = key_of(1, 3, 1);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| say(&client, &format!("EVAL \"while true do end\" 1 {key}")));
        let killer = client.with("attempt_timeout_ms", "1000");
        until("a script to kill", || say(&killer, "SCRIPT KILL") == "OK");
        let ended = running.join().unwrap();
        assert!(ended.contains("Script killed"), "{ended}");
    });
}

#[test]
fn a_count_of_all_keys_waits_for_the_successor_of_a_primary_that_has_died() {
    let cluster = &cluster();
    let client = client(&(cluster.url() + "?timeout_ms=15000&attempt_timeout_ms=300"));
    assert_eq!(say(&client, "FLUSHALL"), "OK");
    for n in 0..9 {
        say(&client, &format!("SET {} v", key_of(n % 3, 3, n)));
    }
    cluster.wait_replicas_in_sync().unwrap();
    let slot = slot_of(key_of(1, 3, 1).as_bytes());
    let old = cluster.primary_of(slot).unwrap();
    let short = client.with("timeout_ms", "200");
    cluster.kill(old).unwrap();
    // At once there is nobody to ask, and that is what it says.
    let early = say(&short, "DBSIZE");
    assert!(early.contains(&old.to_string()) || early == "9", "{early}");
    assert_eq!(say(&client, "DBSIZE"), "9", "of the successor");
    assert_ne!(cluster.primary_of(slot).unwrap(), old);
    assert_eq!(say(&client, "FLUSHALL"), "OK");
    cluster.restart(old).unwrap();
}
