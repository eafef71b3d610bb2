//! Commands to several shards: split by slot, or sent to all nodes. A failing shard fails the command.

use crate::common::serial::in_child_process;
use crate::common::{client, code, is_command, is_sent, key_of, run, run_all, send, show, stat};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::Arc;
use support::{Action, FakeCluster, slot_of};

/// A cluster whose nodes reply to `name` with these answers.
fn answering(name: &'static str, answers: &[&'static str]) -> FakeCluster {
    let fake = FakeCluster::new(answers.len());
    for (node, answer) in answers.iter().copied().enumerate() {
        fake.on(node, move |_, command| {
            is_command(command, name).then(|| Action::send(answer))
        });
    }
    fake
}

/// `MSET` with one key in each of three shards.
fn mset_over_three() -> String {
    format!(
        "MSET {} 0 {} 1 {} 2",
        key_of(0, 3, 0),
        key_of(1, 3, 1),
        key_of(2, 3, 2)
    )
}

fn fails(client: &Client, words: &str) -> (Code, bool, String) {
    let reply = send(client, words);
    (
        code(reply.view()),
        is_sent(reply.view()),
        show(reply.view()),
    )
}

// ---- Split by slot -------------------------------------------------------------------------------

#[test]
fn multi_slot_mset_requires_split_writes() {
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
    let refused = run_all(&plain, &[words.clone(), "GET a".to_string()]);
    assert!(
        refused[0].contains("CROSSSLOT") && refused[1] == "nil",
        "{refused:?}"
    );
    assert_eq!(fake.calls("MSET"), 0, "nothing was sent");

    let splitting = Arc::new(plain.with("split_writes", "yes"));
    assert_eq!(run(&splitting, &words), "OK");
    assert_eq!(run_all(&splitting, &[words]), ["OK"]);
    let of_node = |node: usize| -> Vec<String> {
        let all = fake.node(node).received_text().concat();
        all.into_iter().filter(|c| c.starts_with("MSET")).collect()
    };
    for node in 0..3 {
        let own = format!("MSET {} {node}", key_of(node, 3, node));
        assert_eq!(
            of_node(node),
            [own.clone(), own],
            "each shard gets its own keys"
        );
    }
    // The last value of a repeated key wins, in one command to one shard.
    let (a, b) = (key_of(0, 3, 0), key_of(1, 3, 1));
    run(&splitting, &format!("MSET {a} 1 {b} 2 {a} 3"));
    assert_eq!(of_node(0)[2], format!("MSET {a} 1 {a} 3"));
    // MSETNX is atomic, so that no option splits it.
    let (code, sent, text) = fails(&splitting, &format!("MSETNX {a} 1 {b} 2"));
    assert!(code == Code::CrossSlot && !sent, "{text}");
    assert!(!text.contains("split_writes"), "{text}");
}

#[test]
fn partly_refused_split_write_names_failed_shard() {
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
    let got = run_all(&client, &["GET a".to_string(), words]);
    assert!(
        got[1].starts_with("Command # 2 (MSET") && got[1].contains(&node),
        "{got:?}"
    );
}

#[test]
fn partly_unsent_split_write_reports_sent() {
    for name in ["DEL", "UNLINK", "MSET"] {
        let mut fake = FakeCluster::new(2);
        let answer = if name == "MSET" { "+OK\r\n" } else { ":1\r\n" };
        fake.on(0, move |_, command| {
            is_command(command, name).then(|| Action::send(answer))
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
fn split_read_follows_redirections_and_keeps_order() {
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
    assert_eq!(run(&client, &words), format!("[{}]", expected.join(", ")));
    assert_eq!(run(&client, &format!("EXISTS {}", keys.join(" "))), "8");
    assert_eq!(
        run(&client, &format!("DEL {} {}", keys.join(" "), keys[1])),
        "8"
    );
}

// ---- To all --------------------------------------------------------------------------------------

#[test]
fn replies_of_all_nodes_merge_by_response_policy() {
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
        assert_eq!(run(&client, words), expected, "{words}");
        assert_eq!(run_all(&client, &[words]), [expected], "{words}");
        let each = fake.calls(name) / 3;
        for node in 0..3 {
            assert_eq!(fake.node(node).calls(name), each, "{words}");
        }
    }
}

#[test]
fn failing_shard_is_named_and_fails_merged_reply() {
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
    ] {
        let fake = answering(name, &[good, "-ERR not today\r\n", good]);
        let client = client(&fake.url());
        let node = format!("127.0.0.1:{}", fake.port(1));
        assert_eq!(
            run(&client, words),
            format!("ERR not today [{node}] (2 of 3 parts succeeded) (SERVER, sent)"),
            "{words}"
        );
    }
    // In a map by node, the failed node stands beside the others.
    let fake = answering("INFO", &["$1\r\ni\r\n", "-ERR not today\r\n"]);
    let client = client(&fake.url());
    let info = send(&client, "INFO");
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
fn unkillable_script_is_reported_over_notbusy() {
    const IDLE: &str = "-NOTBUSY No scripts in execution right now.\r\n";
    let fake = answering("SCRIPT", &[IDLE, "-UNKILLABLE it has written\r\n", IDLE]);
    let got = run(&client(&fake.url()), "SCRIPT KILL");
    assert!(got.starts_with("UNKILLABLE it has written ["), "{got}");
    let fake = answering("SCRIPT", &[IDLE; 3]);
    let got = run(&client(&fake.url()), "SCRIPT KILL");
    assert!(got.starts_with("NOTBUSY"), "{got}");
}

#[test]
fn unreachable_shard_fails_the_merged_reply() {
    let mut fake = FakeCluster::new(2);
    fake.on(0, |_, command| {
        is_command(command, "DBSIZE").then(|| Action::send(":7\r\n"))
    });
    let client = Arc::new(client(&(fake.url() + "?timeout_ms=300")));
    fake.stop(1);
    let node = format!("127.0.0.1:{}", fake.port(1));
    let (code, _, text) = fails(&client, "DBSIZE");
    assert!(code != Code::Ok && text.contains(&node), "{text}");
    let got = run_all(
        &client,
        &["DBSIZE".to_string(), format!("GET {}", key_of(0, 2, 0))],
    );
    assert!(got[0].contains(&node) && got[1] == "nil", "{got:?}");
}

#[test]
fn promoted_shard_named_by_moved_is_counted_once() {
    let fake = FakeCluster::with_replicas(2, 1);
    let client = client(&fake.url());
    let counts = [":1\r\n", ":10\r\n"];
    for node in 0..4 {
        fake.on(node, move |_, command| {
            if is_command(command, "DBSIZE") {
                return Some(Action::send(counts[node % 2]));
            }
            // Refreshes fail, so that the known topology stays.
            is_command(command, "CLUSTER SLOTS").then_some(Action::Close)
        });
    }
    // The second shard has a new primary and owns a slot of the first.
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    fake.assign(8192..=16383, 3);
    fake.assign(slot..=slot, 3);
    assert_eq!(run(&client, &format!("GET {key}")), "nil");
    assert_eq!(stat(&client, "moved"), 1);
    assert_eq!(run(&client, "DBSIZE"), "11");
    assert_eq!(fake.node(1).calls("DBSIZE"), 0, "the old primary");
    assert_eq!(run(&client, &format!("GET {}", key_of(1, 2, 1))), "nil");
    assert_eq!(
        stat(&client, "moved"),
        1,
        "all slots of the shard are updated"
    );
}

#[test]
fn moved_to_replica_is_undone_by_next_redirection() {
    let fake = FakeCluster::with_replicas(2, 1);
    let client = client(&fake.url());
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    let old = format!("-MOVED {slot} 127.0.0.1:{}\r\n", fake.port(3));
    for node in 0..4 {
        let old = old.clone();
        fake.on(node, move |_, command| {
            if node == 0 && is_command(command, "GET") {
                return Some(Action::send(&old));
            }
            is_command(command, "CLUSTER SLOTS").then_some(Action::Close)
        });
    }
    // The slot moved to the second shard. Its old owner redirects to the replica, which was the primary before.
    fake.assign(slot..=slot, 1);
    assert_eq!(run(&client, &format!("GET {key}")), "nil");
    assert_eq!(
        stat(&client, "moved"),
        2,
        "one MOVED to the replica and one from it"
    );
    for n in 1..4 {
        assert_eq!(run(&client, &format!("GET {}", key_of(1, 2, n))), "nil");
    }
    assert_eq!(run(&client, &format!("GET {key}")), "nil");
    assert_eq!(
        stat(&client, "moved"),
        2,
        "the replica is not used as owner"
    );
}

/// Reads as a C caller does. An element stores no node; its place holds the bytes of the next element.
#[test]
fn reply_map_by_node_is_readable_with_silent_node() {
    use rediscluster::ffi::client::{rdc_close, rdc_create};
    use rediscluster::ffi::command::rdc_command_to;
    use rediscluster::ffi::reply::{
        rdc_reply_at, rdc_reply_error, rdc_reply_free, rdc_reply_len, rdc_reply_node, rdc_reply_str,
    };
    use std::ffi::{CStr, CString};
    // In its own process: the C functions replace the panic hook, and failing tests would print nothing.
    in_child_process("", |_| {
        let fake = FakeCluster::new(3);
        fake.on(1, |_, command| {
            is_command(command, "PING").then_some(Action::Nothing)
        });
        let url = CString::new(fake.url() + "?attempt_timeout_ms=60&timeout_ms=60").unwrap();
        // SAFETY: the strings are C strings, and the handles are live until they are freed.
        unsafe {
            let handle = rdc_create(url.as_ptr());
            let ping = [c"PING".as_ptr()];
            let place = c"primaries".as_ptr();
            let reply = rdc_command_to(handle, place, 1, ping.as_ptr(), std::ptr::null());
            assert_eq!(rdc_reply_len(reply), 6);
            let mut failed = Vec::new();
            for i in 0..6 {
                let element = rdc_reply_at(reply, i);
                assert!(rdc_reply_node(element).is_null(), "element {i}");
                if rdc_reply_error(element) == Code::Timeout as i32 {
                    let name = rdc_reply_str(rdc_reply_at(reply, i - 1));
                    failed.push(CStr::from_ptr(name).to_str().unwrap().to_string());
                }
            }
            assert_eq!(failed, [format!("127.0.0.1:{}", fake.port(1))]);
            rdc_reply_free(reply);
            rdc_close(handle);
        }
    });
}

#[test]
fn ping_to_shard_that_has_gone_is_answered_by_the_others() {
    let mut fake = FakeCluster::new(2);
    let client = client(&fake.url());
    assert_eq!(run(&client, "PING"), "PONG");
    fake.assign(0..=16383, 0);
    fake.stop(1);
    assert_eq!(run(&client, "PING"), "PONG");
}

#[test]
fn repeated_ping_to_silent_node_times_out() {
    let fake = FakeCluster::with_replicas(1, 1);
    let client = client(&(fake.url() + "?timeout_ms=400&attempt_timeout_ms=100"));
    assert_eq!(run(&client, "PING"), "PONG");
    for node in 0..2 {
        fake.node(node).close_connections();
        fake.on(node, |_, _| Some(Action::Nothing));
    }
    for _ in 0..3 {
        let reply = send(&client, "PING");
        let text = show(reply.view());
        assert_eq!(code(reply.view()), Code::Timeout, "{text}");
    }
}

// ---- Large clusters ------------------------------------------------------------------------------

#[test]
fn more_nodes_than_max_nodes_is_an_error_that_names_the_option() {
    let fake = FakeCluster::with_replicas(3, 1);
    let enough = client(&format!("{}?max_nodes=6", fake.url()));
    assert_eq!(run(&enough, "SET k v"), "OK");
    let refused = Client::create(&format!("{}?max_nodes=5", fake.url()));
    let error = refused.error().expect("there are six nodes").to_string();
    assert!(
        error.contains("lists more than 5 nodes, the limit of the option max_nodes"),
        "{error}"
    );
}

/// The error of a refresh names a few of the nodes that failed, however many there are.
#[test]
fn refresh_of_dead_large_cluster_asks_few_nodes() {
    let mut fake = FakeCluster::new(100);
    let client = client(&format!("redis://{}", fake.node(0).address()));
    for node in 0..100 {
        fake.stop(node);
    }
    let error = client.refresh();
    assert_eq!(code(error.view()), Code::Connect);
    let text = show(error.view());
    assert!(text.contains("and 24 more nodes failed"), "{text}");
    assert!(text.len() < 1500, "{text}");
}
