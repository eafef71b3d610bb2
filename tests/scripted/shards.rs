//! Commands that are for several shards at once: split by slot, or sent to all; and what a shard that fails does to them.

use crate::common;
use crate::common::{ask, client, code, is, is_sent, key_of, say, say_all, show, stat, until};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, OnceLock};
use support::{Action, Cluster, FakeCluster, slot_of};

/// A cluster whose nodes answer `name` with this, each.
fn answering(name: &'static str, answers: &[&'static str]) -> FakeCluster {
    let fake = FakeCluster::new(answers.len());
    for (node, answer) in answers.iter().copied().enumerate() {
        fake.on(node, move |_, command| {
            is(command, name).then(|| Action::send(answer))
        });
    }
    fake
}

/// `MSET` of one key of each of three shards.
fn mset_over_three() -> String {
    format!(
        "MSET {} 0 {} 1 {} 2",
        key_of(0, 3, 0),
        key_of(1, 3, 1),
        key_of(2, 3, 2)
    )
}

fn fails(client: &Client, words: &str) -> (Code, bool, String) {
    let reply = ask(client, words);
    (
        code(reply.view()),
        is_sent(reply.view()),
        show(reply.view()),
    )
}

// ---- Split by slot -------------------------------------------------------------------------------

#[test]
fn an_mset_over_several_slots_is_for_those_who_gave_up_all_at_once() {
    let fake = answering("MSET", &["+OK\r\n"; 3]);
    let plain = Arc::new(client(&fake.url()));
    let words = mset_over_three();
    let (code, sent, text) = fails(&plain, &words);
    assert!(code == Code::CrossSlot && !sent, "{text}");
    for part in [
        key_of(0, 3, 0),
        slot_of(key_of(0, 3, 0).as_bytes()).to_string(),
        key_of(1, 3, 1),
        slot_of(key_of(1, 3, 1).as_bytes()).to_string(),
        "split_writes".to_string(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let refused = say_all(&plain, &[words.clone(), "GET a".to_string()]);
    assert!(
        refused[0].contains("CROSSSLOT") && refused[1] == "nil",
        "{refused:?}"
    );
    assert_eq!(fake.calls("MSET"), 0, "not a byte of it");

    let splitting = Arc::new(plain.with("split_writes", "yes"));
    assert_eq!(say(&splitting, &words), "OK");
    assert_eq!(say_all(&splitting, &[words]), ["OK"]);
    let of_node = |node: usize| -> Vec<String> {
        let all = fake.node(node).received_text().concat();
        all.into_iter().filter(|c| c.starts_with("MSET")).collect()
    };
    for node in 0..3 {
        let own = format!("MSET {} {node}", key_of(node, 3, node));
        assert_eq!(of_node(node), [own.clone(), own], "each shard its own");
    }
    // The last value of a key wins, in one command to one shard.
    let (a, b) = (key_of(0, 3, 0), key_of(1, 3, 1));
    say(&splitting, &format!("MSET {a} 1 {b} 2 {a} 3"));
    assert_eq!(of_node(0)[2], format!("MSET {a} 1 {a} 3"));
    // MSETNX promises more than anybody can give up.
    let (code, sent, text) = fails(&splitting, &format!("MSETNX {a} 1 {b} 2"));
    assert!(code == Code::CrossSlot && !sent, "{text}");
    assert!(!text.contains("split_writes"), "{text}");
}

#[test]
fn a_write_that_one_shard_refused_says_which_and_that_others_did_it() {
    let fake = answering("MSET", &["+OK\r\n", "-OOM no room\r\n", "+OK\r\n"]);
    let client = Arc::new(client(&(fake.url() + "?split_writes=yes")));
    let words = mset_over_three();
    let (code, sent, text) = fails(&client, &words);
    let node = format!("127.0.0.1:{}", fake.port(1));
    assert!(code == Code::Server && sent, "{text}");
    assert_eq!(
        text,
        format!("OOM no room [{node}] (2 of 3 parts succeeded) (SERVER, sent)")
    );
    let got = say_all(&client, &["GET a".to_string(), words]);
    assert!(
        got[1].starts_with("Command # 2 (MSET") && got[1].contains(&node),
        "{got:?}"
    );
}

#[test]
fn a_write_of_which_one_part_never_left_has_been_sent_all_the_same() {
    for name in ["DEL", "UNLINK", "MSET"] {
        let mut fake = FakeCluster::new(2);
        let answer = if name == "MSET" { "+OK\r\n" } else { ":1\r\n" };
        fake.on(0, move |_, command| {
            is(command, name).then(|| Action::send(answer))
        });
        let url = fake.url() + "?split_writes=yes&timeout_ms=300&attempt_timeout_ms=100";
        let client = client(&url);
        fake.stop(1);
        let words = format!("{name} {} x {} y", key_of(0, 2, 0), key_of(1, 2, 1));
        let words = match name {
            "MSET" => words,
            _ => words.replace(" x", "").replace(" y", ""),
        };
        let (_, sent, text) = fails(&client, &words);
        assert!(sent, "one shard has run it: {text}");
        assert!(
            text.contains(&format!("127.0.0.1:{}", fake.port(1))),
            "{text}"
        );
        assert!(text.contains("(1 of 2 parts succeeded)"), "{text}");
    }
}

#[test]
fn a_split_read_follows_each_part_and_keeps_the_callers_order() {
    let fake = FakeCluster::new(3);
    let client = client(&fake.url());
    let keys: Vec<String> = (0..9).map(|n| key_of(n % 3, 3, n)).collect();
    for key in keys.iter().skip(1) {
        fake.put(key, format!("of {key}"));
    }
    let moved = slot_of(keys[4].as_bytes());
    fake.assign(moved..=moved, 0);
    let words = format!("MGET {} {}", keys.join(" "), keys[4]);
    let mut expected = vec!["nil".to_string()];
    expected.extend(keys.iter().skip(1).map(|key| format!("of {key}")));
    expected.push(format!("of {}", keys[4]));
    assert_eq!(say(&client, &words), format!("[{}]", expected.join(", ")));
    assert_eq!(say(&client, &format!("EXISTS {}", keys.join(" "))), "8");
    assert_eq!(
        say(&client, &format!("DEL {} {}", keys.join(" "), keys[1])),
        "8"
    );
}

// ---- To all --------------------------------------------------------------------------------------

#[test]
fn what_several_nodes_say_becomes_one_reply_as_the_servers_tips_want_it() {
    for (words, name, answers, expected) in [
        ("DBSIZE", "DBSIZE", [":1\r\n", ":20\r\n", ":300\r\n"], "321"),
        (
            "KEYS *",
            "KEYS",
            ["*1\r\n$1\r\na\r\n", "*0\r\n", "*1\r\n$1\r\nb\r\n"],
            "[a, b]",
        ),
        ("FLUSHALL", "FLUSHALL", ["+OK\r\n"; 3], "OK"),
        (
            "SCRIPT EXISTS x y z",
            "SCRIPT",
            [
                "*3\r\n:1\r\n:1\r\n:0\r\n",
                "*3\r\n:1\r\n:0\r\n:0\r\n",
                "*3\r\n:1\r\n:1\r\n:0\r\n",
            ],
            "[1, 0, 0]",
        ),
        (
            "SCRIPT KILL",
            "SCRIPT",
            [
                "-NOTBUSY No scripts in execution right now.\r\n",
                "+OK\r\n",
                "-NOTBUSY No scripts in execution right now.\r\n",
            ],
            "OK",
        ),
        ("WAIT 1 100", "WAIT", [":2\r\n", ":1\r\n", ":3\r\n"], "1"),
        (
            "WAITAOF 1 1 100",
            "WAITAOF",
            [
                "*2\r\n:1\r\n:2\r\n",
                "*2\r\n:0\r\n:3\r\n",
                "*2\r\n:1\r\n:1\r\n",
            ],
            "[0, 1]",
        ),
        (
            "SLOWLOG LEN",
            "SLOWLOG",
            [":1\r\n", ":2\r\n", ":3\r\n"],
            "6",
        ),
        (
            "RANDOMKEY",
            "RANDOMKEY",
            ["$-1\r\n", "$1\r\nk\r\n", "$-1\r\n"],
            "k",
        ),
        ("RANDOMKEY", "RANDOMKEY", ["$-1\r\n"; 3], "nil"),
    ] {
        let fake = answering(name, &answers);
        let client = Arc::new(client(&fake.url()));
        assert_eq!(say(&client, words), expected, "{words}");
        if !name.starts_with("WAIT") {
            assert_eq!(say_all(&client, &[words]), [expected], "{words}");
        }
        let each = fake.calls(name) / 3;
        for node in 0..3 {
            assert_eq!(fake.node(node).calls(name), each, "{words}");
        }
    }
}

#[test]
fn one_shard_that_fails_is_named_and_no_part_passes_for_the_whole() {
    for (words, name, good) in [
        ("DBSIZE", "DBSIZE", ":1\r\n"),
        ("KEYS *", "KEYS", "*0\r\n"),
        ("FLUSHALL", "FLUSHALL", "+OK\r\n"),
        ("PING", "PING", "+PONG\r\n"),
        ("SCRIPT LOAD x", "SCRIPT", "$1\r\nx\r\n"),
        ("SCRIPT EXISTS x", "SCRIPT", "*1\r\n:1\r\n"),
        ("SCRIPT FLUSH", "SCRIPT", "+OK\r\n"),
        ("FUNCTION DELETE x", "FUNCTION", "+OK\r\n"),
        ("CONFIG SET maxmemory 0", "CONFIG", "+OK\r\n"),
        ("RANDOMKEY", "RANDOMKEY", "$1\r\nk\r\n"),
        ("WAIT 1 100", "WAIT", ":1\r\n"),
    ] {
        let fake = answering(name, &[good, "-ERR not today\r\n", good]);
        let client = client(&fake.url());
        let node = format!("127.0.0.1:{}", fake.port(1));
        assert_eq!(
            say(&client, words),
            format!("ERR not today [{node}] (2 of 3 parts succeeded) (SERVER, sent)"),
            "{words}"
        );
    }
    // By name, the one that failed stands beside the others.
    let fake = answering("INFO", &["$1\r\ni\r\n", "-ERR not today\r\n"]);
    let client = client(&fake.url());
    let info = ask(&client, "INFO");
    let of = |node: usize| {
        let name = format!("127.0.0.1:{}", fake.port(node));
        show(info.view().find(&name).unwrap())
    };
    assert_eq!(
        (of(0), of(1)),
        ("i".into(), "ERR not today (SERVER, sent)".into())
    );
}

#[test]
fn a_script_that_will_not_be_killed_is_told_from_nodes_that_run_none() {
    const IDLE: &str = "-NOTBUSY No scripts in execution right now.\r\n";
    let fake = answering("SCRIPT", &[IDLE, "-UNKILLABLE it has written\r\n", IDLE]);
    let got = say(&client(&fake.url()), "SCRIPT KILL");
    assert!(got.starts_with("UNKILLABLE it has written ["), "{got}");
    let fake = answering("SCRIPT", &[IDLE; 3]);
    let got = say(&client(&fake.url()), "SCRIPT KILL");
    assert!(got.starts_with("NOTBUSY"), "{got}");
}

#[test]
fn a_shard_that_cannot_be_reached_is_not_left_out() {
    let mut fake = FakeCluster::new(2);
    fake.on(0, |_, command| {
        is(command, "DBSIZE").then(|| Action::send(":7\r\n"))
    });
    let client = Arc::new(client(&(fake.url() + "?timeout_ms=300")));
    fake.stop(1);
    let node = format!("127.0.0.1:{}", fake.port(1));
    let (code, _, text) = fails(&client, "DBSIZE");
    assert!(code != Code::Ok && text.contains(&node), "{text}");
    let got = say_all(
        &client,
        &["DBSIZE".to_string(), format!("GET {}", key_of(0, 2, 0))],
    );
    assert!(got[0].contains(&node) && got[1] == "nil", "{got:?}");
}

// ---- The same days on real servers ---------------------------------------------------------------

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// The tests below change the one cluster: one at a time.
fn serial() -> (MutexGuard<'static, ()>, &'static Cluster) {
    let guard = common::serial::serial();
    let cluster = CLUSTER.get_or_init(|| {
        // So that a script is soon one that can be killed.
        let builder = Cluster::builder().option("lua-time-limit", "50");
        builder.start().unwrap()
    });
    cluster.wait_healthy().unwrap();
    (guard, cluster)
}

#[test]
fn a_whole_cluster_answers_as_one_server() {
    let (_serial, cluster) = serial();
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
    let (_serial, cluster) = serial();
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
    let (_serial, cluster) = serial();
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
    let (_serial, cluster) = serial();
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

#[test]
fn a_shard_is_counted_once_where_a_moved_names_its_successor() {
    let fake = FakeCluster::with_replicas(2, 1);
    let client = client(&fake.url());
    let counts = [":1\r\n", ":10\r\n"];
    for node in 0..4 {
        fake.on(node, move |_, command| {
            if is(command, "DBSIZE") {
                return Some(Action::send(counts[node % 2]));
            }
            // What is known of the cluster stays what it was.
            is(command, "CLUSTER").then_some(Action::Close)
        });
    }
    // The second shard has a new primary, and has got a slot of the first.
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    fake.assign(8192..=16383, 3);
    fake.assign(slot..=slot, 3);
    assert_eq!(say(&client, &format!("GET {key}")), "nil");
    assert_eq!(stat(&client, "moved"), 1);
    assert_eq!(say(&client, "DBSIZE"), "11");
    assert_eq!(fake.node(1).calls("DBSIZE"), 0, "the old primary");
    assert_eq!(say(&client, &format!("GET {}", key_of(1, 2, 1))), "nil");
    assert_eq!(
        stat(&client, "moved"),
        1,
        "all its slots are known to be there"
    );
}

#[test]
fn an_old_word_that_a_replica_serves_a_slot_is_taken_back_with_the_next() {
    let fake = FakeCluster::with_replicas(2, 1);
    let client = client(&fake.url());
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    let old = format!("-MOVED {slot} 127.0.0.1:{}\r\n", fake.port(3));
    for node in 0..4 {
        let old = old.clone();
        fake.on(node, move |_, command| {
            if node == 0 && is(command, "GET") {
                return Some(Action::send(&old));
            }
            is(command, "CLUSTER").then_some(Action::Close)
        });
    }
    // It went to the second shard, whose replica, as that was primary once, is where its old owner sends to.
    fake.assign(slot..=slot, 1);
    assert_eq!(say(&client, &format!("GET {key}")), "nil");
    assert_eq!(stat(&client, "moved"), 2, "there, and from there");
    for n in 1..4 {
        assert_eq!(say(&client, &format!("GET {}", key_of(1, 2, n))), "nil");
    }
    assert_eq!(say(&client, &format!("GET {key}")), "nil");
    assert_eq!(stat(&client, "moved"), 2, "nobody is sent astray by it");
}
