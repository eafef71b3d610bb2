//! Commands to all shards of a real cluster.

use crate::common::shared::{SharedCluster, shared};
use crate::common::{client, key_of, run, send, wait_for};
use std::collections::BTreeSet;
use support::{Cluster, slot_of};

fn cluster() -> SharedCluster {
    // A script that runs for longer than this can be killed.
    shared(module_path!(), || {
        Cluster::builder().option("lua-time-limit", "50")
    })
}

#[test]
fn whole_cluster_commands_return_merged_replies() {
    let cluster = &cluster();
    let client = client(&(cluster.url() + "?split_writes=yes"));
    let run = |words: &str| run(&client, words);
    assert_eq!(run("FLUSHALL"), "OK");
    assert_eq!(
        (run("DBSIZE"), run("RANDOMKEY")),
        ("0".into(), "nil".into())
    );
    let pairs: Vec<String> = (0..30).map(|n| format!("k{n} {n}")).collect();
    assert_eq!(run(&format!("MSET {}", pairs.join(" "))), "OK");
    let keys: BTreeSet<String> = (0..30).map(|n| format!("k{n}")).collect();
    let list = keys.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(run("DBSIZE"), "30");
    let all = run("KEYS *");
    let found: BTreeSet<String> = all[1..all.len() - 1]
        .split(", ")
        .map(String::from)
        .collect();
    assert_eq!(found, keys);
    assert_eq!(run(&format!("EXISTS {list}")), "30");
    assert_eq!(run(&format!("TOUCH {list}")), "30");
    // After some time RANDOMKEY has returned keys of every shard.
    let mut shards = BTreeSet::new();
    wait_for("a random key of each shard", || {
        shards.insert(
            cluster
                .primary_of(slot_of(run("RANDOMKEY").as_bytes()))
                .unwrap(),
        );
        shards.len() == 3
    });
    assert_eq!(run("PING"), "PONG");
    assert_eq!(run("PING x"), "x");
    assert!(run("WAIT 1 1000").contains("waits for the writes of its own connection"));
    assert_eq!(
        send(&client, "INFO server").view().len(),
        6,
        "a pair for each primary"
    );
    assert_eq!(send(&client, "MEMORY STATS").view().len(), 6);
    // Every key is counted at the owner of its slot.
    for n in 0..30 {
        let slot = slot_of(format!("k{n}").as_bytes());
        let count: i64 = run(&format!("CLUSTER COUNTKEYSINSLOT {slot}"))
            .parse()
            .unwrap();
        assert!(count >= 1, "k{n}");
        assert!(run(&format!("CLUSTER GETKEYSINSLOT {slot} 10")).contains(&format!("k{n}")));
    }
    assert_eq!(run("PUBSUB NUMPAT"), "0");
    assert_eq!(run("PUBSUB NUMSUB a b"), "[a, 0, b, 0]");
    assert_eq!(run("PUBSUB CHANNELS"), "[]");
    assert_eq!(run("ACL LOG RESET"), "OK");
    assert!(run("DEBUG JMAP").contains("DEBUG JMAP concerns one node"));
    assert_eq!(run("PFADD h a b c"), "1");
    assert_eq!(run("PFMERGE {h}new"), "OK");
    assert_eq!(run("PFCOUNT {h}new"), "0");
    assert_eq!(run("DEL h {h}new"), "2");
    assert_eq!(run("MEMORY PURGE"), "OK");
    assert_eq!(run("SLOWLOG RESET"), "OK");
    assert_eq!(run("CONFIG RESETSTAT"), "OK");
    assert_eq!(run("LATENCY RESET"), "0");

    assert_eq!(run("CONFIG SET slowlog-max-len 77"), "OK");
    for port in cluster.ports() {
        let set = cluster
            .command(port, &["CONFIG", "GET", "slowlog-max-len"])
            .unwrap();
        assert_eq!(set.elements()[1].text(), "77", "{port}");
    }
    let wrong = run("CONFIG SET slowlog-max-len many");
    assert!(
        wrong.contains(" [127.0.0.1:") && wrong.contains("(0 of 6 parts"),
        "{wrong}"
    );
    assert_eq!(run("ACL SETUSER ann on nopass ~* +@all"), "OK");
    assert_eq!(run("ACL DELUSER ann"), "1");

    assert_eq!(run(&format!("UNLINK {list}")), "30");
    assert_eq!(run("DBSIZE"), "0");
}

#[test]
fn scripts_and_functions_load_on_every_node() {
    let cluster = &cluster();
    let plain = client(&cluster.url());
    let sha = run(&plain, "SCRIPT LOAD \"return redis.call('GET', KEYS[1])\"");
    assert_eq!(sha.len(), 40, "{sha}");
    assert_eq!(run(&plain, &format!("SCRIPT EXISTS {sha} x")), "[1, 0]");
    // Scripts are not replicated: SCRIPT LOAD goes to replicas too.
    for port in cluster.ports() {
        let exists = cluster.command(port, &["SCRIPT", "EXISTS", &sha]).unwrap();
        assert_eq!(exists.elements()[0].text(), "1", "{port}");
    }
    let readonly = plain.readonly();
    for n in 0..20 {
        let key = key_of(n % 3, 3, n);
        run(&plain, &format!("SET {key} {n}"));
        assert_eq!(
            run(&plain, &format!("EVALSHA {sha} 1 {key}")),
            n.to_string()
        );
    }
    cluster.wait_replicas_in_sync().unwrap();
    for n in 0..20 {
        let key = key_of(n % 3, 3, n);
        assert_eq!(
            run(&readonly, &format!("EVALSHA_RO {sha} 1 {key}")),
            n.to_string()
        );
    }
    assert_eq!(run(&plain, "SCRIPT FLUSH"), "OK");
    assert_eq!(run(&plain, &format!("SCRIPT EXISTS {sha}")), "[0]");

    // Functions are replicated.
    let code = "\"#!lua name=lib\\nredis.register_function{function_name='f', flags={'no-writes'}, \
                callback=function(keys) return redis.call('GET', keys[1]) end}\"";
    assert_eq!(run(&plain, &format!("FUNCTION LOAD {code}")), "lib");
    let again = run(&plain, &format!("FUNCTION LOAD {code}"));
    assert!(
        again.contains("already exists") && again.contains(" [127.0.0.1:"),
        "{again}"
    );
    cluster.wait_replicas_in_sync().unwrap();
    for n in 0..20 {
        let key = key_of(n % 3, 3, n);
        assert_eq!(run(&plain, &format!("FCALL f 1 {key}")), n.to_string());
        assert_eq!(
            run(&readonly, &format!("FCALL_RO f 1 {key}")),
            n.to_string()
        );
    }
    assert_eq!(
        send(&plain, "FUNCTION STATS").view().len(),
        6,
        "a pair for each primary"
    );
    assert_eq!(run(&plain, "FUNCTION DELETE lib"), "OK");
    assert_eq!(run(&plain, "FUNCTION FLUSH"), "OK");
}

#[test]
fn script_kill_reaches_the_busy_shard() {
    let cluster = &cluster();
    let client = client(&(cluster.url() + "?attempt_timeout_ms=5000"));
    let idle = run(&client, "SCRIPT KILL");
    assert!(idle.starts_with("NOTBUSY"), "{idle}");
    let key = key_of(1, 3, 1);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&client, &format!("EVAL \"while true do end\" 1 {key}")));
        let killer = client.with("attempt_timeout_ms", "1000");
        wait_for("a script to kill", || run(&killer, "SCRIPT KILL") == "OK");
        let ended = running.join().unwrap();
        assert!(ended.contains("Script killed"), "{ended}");
    });
}

#[test]
fn dbsize_waits_for_promotion_after_primary_loss() {
    let cluster = &cluster();
    let client = client(&(cluster.url() + "?timeout_ms=15000&attempt_timeout_ms=300"));
    assert_eq!(run(&client, "FLUSHALL"), "OK");
    for n in 0..9 {
        run(&client, &format!("SET {} v", key_of(n % 3, 3, n)));
    }
    cluster.wait_replicas_in_sync().unwrap();
    let slot = slot_of(key_of(1, 3, 1).as_bytes());
    let old = cluster.primary_of(slot).unwrap();
    let short = client.with("timeout_ms", "200");
    cluster.kill(old).unwrap();
    // At first no node can answer, and the error says so.
    let early = run(&short, "DBSIZE");
    assert!(early.contains(&old.to_string()) || early == "9", "{early}");
    assert_eq!(run(&client, "DBSIZE"), "9", "from the promoted replica");
    assert_ne!(cluster.primary_of(slot).unwrap(), old);
    assert_eq!(run(&client, "FLUSHALL"), "OK");
    cluster.restart(old).unwrap();
}
