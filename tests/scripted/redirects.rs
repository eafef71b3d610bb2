//! Slots that move while they are used: each command runs once and in order.

use crate::common::{
    client, code, is_command, is_sent, key_of, run, run_all, send, show, stat, timed, wait_for,
};
use rediscluster::cluster::{Client, Pipeline};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Action, Command, FakeCluster, slot_of};

/// Makes a node reply `answer` to its first `times` commands that begin with `words`.
fn answer_first(
    fake: &FakeCluster,
    node: usize,
    words: &'static str,
    times: usize,
    answer: String,
) {
    let mut left = times;
    fake.on(node, move |_, command| {
        if left == 0 || !is_command(command, words) {
            return None;
        }
        left -= 1;
        Some(Action::send(format!("{answer}\r\n")))
    });
}

fn port_of(fake: &FakeCluster, node: usize) -> String {
    format!("127.0.0.1:{}", fake.port(node))
}

#[test]
fn moved_slot_is_requested_once_from_old_owner() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let (first, second) = (key_of(0, 2, 1), slot_of(key_of(0, 2, 1).as_bytes()));
    fake.put(&first, "v");
    fake.assign(second..=second, 1);
    for _ in 0..5 {
        assert_eq!(run(&client, &format!("GET {first}")), "v");
    }
    assert_eq!(
        fake.node(0).calls("GET"),
        1,
        "the old owner was asked more than once"
    );
    assert_eq!(fake.node(1).calls("GET"), 5);
    assert_eq!(stat(&client, "moved"), 1);
}

#[test]
fn pipeline_follows_moved_and_keeps_reply_order() {
    let fake = FakeCluster::new(3);
    let client = Arc::new(client(&fake.url()));
    let keys: Vec<String> = (0..60).map(|n| key_of(n % 3, 3, n)).collect();
    for key in &keys {
        fake.put(key, format!("value of {key}"));
    }
    for key in keys.iter().step_by(2) {
        let slot = slot_of(key.as_bytes());
        fake.assign(slot..=slot, (fake.owner(slot).unwrap() + 1) % 3);
    }
    let gets: Vec<String> = keys.iter().map(|k| format!("GET {k}")).collect();
    let expected: Vec<String> = keys.iter().map(|k| format!("value of {k}")).collect();
    assert_eq!(run_all(&client, &gets), expected);
    assert_eq!(fake.calls("GET"), 60 + 30);
}

#[test]
fn commands_of_moved_key_keep_their_order() {
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&fake.url()));
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    fake.assign(slot..=slot, 1);
    let mut commands: Vec<String> = (0..50).map(|n| format!("SET {key} {n}")).collect();
    commands.push(format!("GET {key}"));
    assert_eq!(run_all(&client, &commands).last().unwrap(), "49");
    let arrived: Vec<String> = fake.node(1).received_text().concat();
    let sets: Vec<&String> = arrived.iter().filter(|c| c.starts_with("SET")).collect();
    assert_eq!(sets, commands[..50].iter().collect::<Vec<_>>());
}

#[test]
fn conflicting_redirections_of_one_slot_go_to_one_node() {
    let fake = FakeCluster::new(3);
    let client = Arc::new(client(&fake.url()));
    let key = key_of(0, 3, 1);
    let slot = slot_of(key.as_bytes());
    fake.assign(slot..=slot, 1);
    // Between the two commands the node learns of another owner.
    let (first, second) = (port_of(&fake, 1), port_of(&fake, 2));
    fake.on(0, move |_, command| {
        let to = match () {
            () if is_command(command, "GET") => &first,
            () if is_command(command, "SET") => &second,
            () => return None,
        };
        Some(Action::send(format!("-MOVED {slot} {to}\r\n")))
    });
    fake.on(2, |_, command| {
        is_command(command, "SET").then(|| Action::send("+OK\r\n"))
    });
    let commands = [format!("GET {key}"), format!("SET {key} v")];
    assert_eq!(run_all(&client, &commands), ["nil", "OK"]);
    let calls = |node| (fake.node(node).calls("GET"), fake.node(node).calls("SET"));
    assert_eq!(
        (calls(1), calls(2)),
        ((1, 1), (0, 0)),
        "both commands go to one node"
    );
}

#[test]
fn redirection_loop_ends_in_redirects_error() {
    let fake = FakeCluster::new(2);
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    for node in 0..2 {
        let other = port_of(&fake, 1 - node);
        answer_first(
            &fake,
            node,
            "SET",
            usize::MAX,
            format!("-MOVED {slot} {other}"),
        );
    }
    let client = client(&(fake.url() + "?max_redirects=5&timeout_ms=2000"));
    let (reply, time) = timed(|| send(&client, &format!("SET {key} v")));
    assert_eq!(
        code(reply.view()),
        Code::Redirects,
        "{}",
        show(reply.view())
    );
    assert!(!is_sent(reply.view()), "it has not run on any node");
    assert_eq!(
        fake.calls("SET"),
        6,
        "max_redirects=5 means one try and five more"
    );
    assert!(time < Duration::from_millis(2050));
    // The other commands of a pipeline are not affected.
    let client = Arc::new(client);
    let other = key_of(1, 2, 2);
    fake.put(&other, "well");
    let got = run_all(&client, &[format!("SET {key} v"), format!("GET {other}")]);
    assert!(got[0].starts_with("Command # 1 (SET"), "{got:?}");
    assert!(got[0].ends_with("(REDIRECTS)"), "{got:?}");
    assert_eq!(got[1], "well");
}

#[test]
fn self_redirection_is_limited_by_max_redirects() {
    let fake = FakeCluster::new(1);
    let slot = slot_of(b"k");
    let itself = port_of(&fake, 0);
    answer_first(
        &fake,
        0,
        "INCR",
        usize::MAX,
        format!("-MOVED {slot} {itself}"),
    );
    let client = client(&(fake.url() + "?max_redirects=4"));
    let reply = send(&client, "INCR k");
    assert_eq!(
        code(reply.view()),
        Code::Redirects,
        "{}",
        show(reply.view())
    );
    assert_eq!(fake.calls("INCR"), 5);
    // The same for a short time, as after a failover.
    answer_first(&fake, 0, "INCR", 3, format!("-MOVED {slot} {itself}"));
    assert_eq!(run(&client, "INCR k"), "1");
}

#[test]
fn redirection_to_unknown_node_is_followed_in_any_spelling() {
    for spelling in [
        "127.0.0.1:",
        ":",
        "::ffff:127.0.0.1:",
        "[::ffff:127.0.0.1]:",
        "localhost:",
    ] {
        for kind in ["MOVED", "ASK"] {
            let fake = FakeCluster::new(2);
            // Without slots node 1 is in no topology.
            fake.assign(0..=16383, 0);
            let client = client(&format!("redis://{}", port_of(&fake, 0)));
            let slot = slot_of(b"k");
            let there = format!("-{kind} {slot} {spelling}{}", fake.port(1));
            answer_first(&fake, 0, "SET", 1, there.clone());
            let asked = kind == "ASK";
            if !asked {
                fake.assign(slot..=slot, 1);
            }
            assert_eq!(run(&client, "SET k v"), "OK", "{there}");
            assert_eq!(fake.node(1).calls("SET"), 1, "{there}");
            assert_eq!(fake.node(1).calls("ASKING"), usize::from(asked), "{there}");
        }
    }
}

#[test]
fn keys_of_a_node_that_no_view_contains_count_once() {
    let (fake, other) = (FakeCluster::new(2), FakeCluster::new(1));
    let moved = format!("-MOVED {} 127.0.0.1:{}\r\n", slot_of(b"k"), other.port(0));
    let has_moved = Arc::new(AtomicBool::new(false));
    for (cluster, node) in [(&fake, 0), (&fake, 1), (&other, 0)] {
        let is_first = cluster.port(node) != other.port(0);
        let (moved, has_moved) = (moved.clone(), has_moved.clone());
        cluster.on(node, move |_, command| match &command[0][..] {
            b"DBSIZE" => Some(Action::send(":10\r\n")),
            b"SET" if is_first && !has_moved.swap(true, Ordering::SeqCst) => {
                Some(Action::send(&moved))
            }
            _ => None,
        });
    }
    let client = Arc::new(client(&fake.url()));
    let at_primaries = |client: &Client| {
        let reply = client.command_to("primaries", &[b"DBSIZE"]);
        let sizes = reply.view().elements().filter_map(|size| size.int());
        sizes.sum::<i64>().to_string()
    };
    for way in ["alone", "in a pipeline", "at primaries"] {
        has_moved.store(false, Ordering::SeqCst);
        assert_eq!(run(&client, "SET k v"), "OK");
        let size = match way {
            "alone" => run(&client, "DBSIZE"),
            "in a pipeline" => run_all(&client, &["DBSIZE", "GET k"])[0].clone(),
            _ => at_primaries(&client),
        };
        assert_eq!(size, "20", "{way}");
    }
}

#[test]
fn redirection_without_valid_address_is_retried_later() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    for host in ["?", "no such host", ""] {
        for port in ["7000x", "0", "65536", ""] {
            answer_first(&fake, 0, "SET", 2, format!("-MOVED {slot} {host}:{port}"));
            assert_eq!(run(&client, &format!("SET {key} {host}{port}x")), "OK");
        }
    }
    for slot in ["99999", "-1", "16384", "x", ""] {
        answer_first(&fake, 0, "SET", 2, format!("-MOVED {slot} 127.0.0.1:1"));
        assert_eq!(run(&client, &format!("SET {key} v")), "OK", "slot {slot}");
    }
}

#[test]
fn asking_is_sent_with_its_command_and_keeps_slot_map() {
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&fake.url()));
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    fake.put(&key, "there");
    let there = port_of(&fake, 1);
    answer_first(&fake, 0, "GET", usize::MAX, format!("-ASK {slot} {there}"));
    // It answers ASKING only after it has received the command too.
    let mut asked = 0;
    fake.on(1, move |_, command| {
        if is_command(command, "ASKING") {
            asked += 1;
            return Some(Action::Nothing);
        }
        let answer = std::mem::take(&mut asked);
        (answer > 0).then(|| Action::send("+OK\r\n".repeat(answer) + "$5\r\nthere\r\n"))
    });
    for _ in 0..3 {
        assert_eq!(run(&client, &format!("GET {key}")), "there");
    }
    assert_eq!(
        fake.node(0).calls("GET"),
        3,
        "ASK is for once: the slot has not moved"
    );
    // In a pipeline each command has its own ASKING.
    let gets = vec![format!("GET {key}"); 3];
    fake.off(1);
    assert_eq!(run_all(&client, &gets), ["there"; 3]);
    for commands in fake.node(1).received_text() {
        for (n, command) in commands.iter().enumerate() {
            if command.starts_with("GET") {
                assert_eq!(commands[n - 1], "ASKING", "{commands:?}");
            }
        }
    }
    assert_eq!(stat(&client, "moved"), 0);
    assert_eq!(
        fake.calls("CLUSTER SLOTS"),
        1,
        "at the beginning, and never again"
    );
}

#[test]
fn asking_precedes_multi_in_a_transaction() {
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&fake.url()));
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    let there = port_of(&fake, 1);
    fake.on(0, move |_, command| {
        Some(Action::send(match command[0].as_slice() {
            b"MULTI" => "+OK\r\n".to_string(),
            b"SET" => format!("-ASK {slot} {there}\r\n"),
            b"EXEC" => "-EXECABORT Transaction discarded because of previous errors.\r\n".into(),
            _ => return None,
        }))
    });
    fake.on(1, |_, command| {
        Some(Action::send(match command[0].as_slice() {
            b"MULTI" => "+OK\r\n",
            b"SET" => "+QUEUED\r\n",
            b"EXEC" => "*1\r\n+OK\r\n",
            _ => return None,
        }))
    });
    let mut transaction = Pipeline::new(client.clone());
    transaction.command(&[b"SET", key.as_bytes(), b"v"]);
    assert_eq!(show(transaction.execute_atomic().view()), "[OK]");
    let arrived = fake.node(1).received_text().concat();
    let at = arrived.iter().position(|c| c == "ASKING").unwrap();
    assert_eq!(
        arrived[at..],
        ["ASKING", "MULTI", &format!("SET {key} v"), "EXEC"]
    );
}

#[test]
fn tryagain_is_retried_until_migration_ends() {
    let fake = FakeCluster::new(1);
    let client = client(&fake.url());
    fake.put("{k}1", "a");
    fake.put("{k}2", "b");
    let words = "-TRYAGAIN Multiple keys request during rehashing of slot";
    answer_first(&fake, 0, "MGET", 4, words.into());
    assert_eq!(run(&client, "MGET {k}1 {k}2"), "[a, b]");
    assert_eq!(fake.calls("MGET"), 5);
    assert_eq!(stat(&client, "tryagain"), 4);
}

#[test]
fn answered_command_is_not_resent_with_pending_ones() {
    // Commands without a reply are retried, several times.
    for words in [
        "-TRYAGAIN Multiple keys request during rehashing of slot",
        "-CLUSTERDOWN Hash slot not served",
        "-LOADING Redis is loading the dataset in memory",
        "-MOVED 99999 ?:0",
    ] {
        let fake = FakeCluster::new(2);
        let client = Arc::new(client(&fake.url()));
        let (early, late) = (key_of(0, 2, 1), key_of(1, 2, 2));
        answer_first(&fake, 0, "INCR", 1, words.into());
        answer_first(&fake, 1, "INCR", 4, words.into());
        let got = run_all(&client, &[format!("INCR {early}"), format!("INCR {late}")]);
        assert_eq!(got, ["1", "1"], "{words}");
        assert_eq!(fake.node(0).calls("INCR"), 2, "{words}");
        assert_eq!(fake.node(1).calls("INCR"), 5, "{words}");
    }
}

#[test]
fn answered_command_is_not_resent_for_unserved_slot() {
    let fake = FakeCluster::new(2);
    let (early, late) = (key_of(0, 2, 1), key_of(1, 2, 2));
    let slot = slot_of(late.as_bytes());
    fake.unassign(slot..=slot);
    let client = Arc::new(client(&(fake.url() + "?timeout_ms=400")));
    answer_first(&fake, 0, "INCR", 1, "-TRYAGAIN".into());
    let got = run_all(&client, &[format!("INCR {early}"), format!("INCR {late}")]);
    assert_eq!(got[0], "1", "{got:?}");
    assert!(
        got[1].contains("no node serves slot") && got[1].ends_with("(DOWN)"),
        "{got:?}"
    );
    assert_eq!(fake.value(&early).unwrap(), b"1");
}

#[test]
fn refused_command_not_retried_after_later_slot_command_ran() {
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&fake.url()));
    let (key, other) = (key_of(0, 2, 1), key_of(1, 2, 2));
    answer_first(&fake, 0, "SET", 1, "-TRYAGAIN".into());
    answer_first(&fake, 1, "SET", 1, "-TRYAGAIN".into());
    let got = run_all(
        &client,
        &[
            format!("SET {key} first"),
            format!("SET {other} alone"),
            format!("SET {key} second"),
        ],
    );
    let told = "TRYAGAIN (not sent again: a later command of its slot has run) (SERVER)";
    assert!(got[0].ends_with(told), "{got:?}");
    assert_eq!(got[1..], ["OK", "OK"], "another slot is not affected");
    assert_eq!(fake.value(&key).unwrap(), b"second");
    assert_eq!(fake.node(0).calls("SET"), 2);
    assert_eq!(fake.node(1).calls("SET"), 2);
}

#[test]
fn slot_commands_after_primary_failure_go_to_one_node() {
    let fake = FakeCluster::with_replicas(1, 1);
    let client = Arc::new(client(&(fake.url() + "?attempt_timeout_ms=100")));
    fake.on(0, |_, command| {
        is_command(command, "SET").then_some(Action::Nothing)
    });
    assert!(run(&client, "SET k lost").contains("TIMEOUT"));
    fake.off(0);
    // Until the next probe of the node. The first command is the probe; the others would look for a promoted replica.
    let failed = Instant::now();
    wait_for("the time is over", || {
        failed.elapsed() > Duration::from_millis(60)
    });
    let got = run_all(&client, &["GET k", "SET k v", "GET k"]);
    assert_eq!(got, ["nil", "OK", "v"]);
    assert_eq!(fake.node(1).calls("SET"), 0);
}

#[test]
fn refused_command_not_retried_after_later_command_was_asked() {
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&fake.url()));
    let key = format!("{{{}}}", key_of(0, 2, 1));
    let moved = format!("{key}moved");
    let send = format!(
        "-ASK {} 127.0.0.1:{}\r\n",
        slot_of(key.as_bytes()),
        fake.port(1)
    );
    for early in ["SET", "GET"] {
        // The first command is refused for another reason; the others get ASK for the key.
        let (send, gone, mut refused) = (send.clone(), moved.clone(), false);
        fake.on(0, move |_, command| {
            if command.get(1).is_none_or(|key| *key != gone.as_bytes()) {
                return None;
            }
            let loading = "-LOADING Redis is loading the dataset in memory\r\n";
            let is_first = !std::mem::replace(&mut refused, true);
            Some(Action::send(if is_first { loading } else { &send }))
        });
        let first = match early {
            "SET" => format!("SET {moved} first"),
            _ => format!("GET {moved}"),
        };
        let got = run_all(&client, &[first, format!("SET {moved} second")]);
        assert!(
            got[0].contains("(not sent again: a later command of its slot has run)"),
            "{got:?}"
        );
        assert_eq!(got[1], "OK");
        assert_eq!(fake.value(&moved).unwrap(), b"second");
        fake.off(0);
    }
}

#[test]
fn refused_command_not_retried_if_later_write_may_have_run() {
    for early in ["SET", "GET"] {
        let fake = FakeCluster::new(1);
        let client = Arc::new(client(&fake.url()));
        let mut left = vec![Action::SendClose(Vec::new()), Action::send("-TRYAGAIN\r\n")];
        // The first command is refused, and the reply to the second is lost.
        fake.on(0, move |_, command| {
            (is_command(command, "SET") || is_command(command, "GET"))
                .then(|| left.pop())
                .flatten()
        });
        let got = run_all(
            &client,
            &[
                if early == "SET" {
                    "SET k first"
                } else {
                    "GET k"
                },
                "SET k second",
            ],
        );
        let told = "TRYAGAIN (not sent again: a later write of its slot may have run) (SERVER)";
        assert!(got[0].ends_with(told), "{got:?}");
        assert!(got[1].ends_with("(IO, sent)"), "{got:?}");
        assert_eq!(fake.calls("SET") + fake.calls("GET"), 2, "{got:?}");
    }
}

#[test]
fn clusterdown_is_retried_until_deadline() {
    let fake = FakeCluster::new(2);
    let key = key_of(0, 2, 1);
    let long = client(&fake.url());
    for words in [
        "-CLUSTERDOWN The cluster is down",
        "-CLUSTERDOWN Hash slot not served",
    ] {
        answer_first(&fake, 0, "INCR", 3, words.into());
        assert!(!run(&long, &format!("INCR {key}")).contains("DOWN"));
    }
    assert_eq!(fake.value(&key).unwrap(), b"2");
    answer_first(
        &fake,
        0,
        "INCR",
        usize::MAX,
        "-CLUSTERDOWN The cluster is down".into(),
    );
    let short = client(&(fake.url() + "?timeout_ms=300"));
    let (reply, time) = timed(|| send(&short, &format!("INCR {key}")));
    assert_eq!(code(reply.view()), Code::Down, "{}", show(reply.view()));
    assert!(!is_sent(reply.view()));
    assert!(
        time >= Duration::from_millis(290) && time < Duration::from_millis(350),
        "{time:?}"
    );
    assert!(
        fake.calls("INCR") < 8 + 30,
        "asked {} times",
        fake.calls("INCR")
    );
}

#[test]
fn loading_primary_is_retried_and_loading_replica_skipped() {
    for words in [
        "-LOADING Redis is loading the dataset in memory",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ] {
        let fake = FakeCluster::with_replicas(1, 1);
        fake.put("k", "v");
        let client = Arc::new(client(&fake.url()));
        answer_first(&fake, 0, "INCR", 3, words.into());
        assert_eq!(run(&client, "INCR n"), "1");
        assert_eq!(fake.node(0).calls("INCR"), 4, "{words}");
        answer_first(&fake, 0, "GET", 3, words.into());
        assert_eq!(run(&client, "GET k"), "v", "{words}");
        answer_first(&fake, 0, "INCR", 3, words.into());
        assert_eq!(
            run_all(&client, &["INCR n", "GET k"]),
            ["2", "v"],
            "{words}"
        );
        answer_first(&fake, 1, "GET", usize::MAX, words.into());
        let before = fake.node(1).calls("GET");
        let readonly = client.readonly();
        let (_, time) = timed(|| {
            for _ in 0..40 {
                assert_eq!(run(&readonly, "GET k"), "v", "{words}");
            }
        });
        assert!(
            time < Duration::from_millis(500),
            "the primary has it at once: {time:?}"
        );
        let asked = fake.node(1).calls("GET") - before;
        assert!(
            (1..10).contains(&asked),
            "asked {asked} times, and not ejected"
        );
    }
}

#[test]
fn readonly_error_from_demoted_primary_is_retried() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    answer_first(
        &fake,
        0,
        "INCR",
        2,
        "-READONLY You can't write against a read only replica.".into(),
    );
    fake.assign(slot..=slot, 1);
    assert_eq!(run(&client, &format!("INCR {key}")), "1");
    assert_eq!(fake.value(&key).unwrap(), b"1");
}

#[test]
fn pinned_handle_reports_moved_then_follows() {
    let fake = FakeCluster::new(2);
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    let set = format!("SET {key} v");
    for node in 0..2 {
        let mut usual = fake.default_answer(node);
        let mut aborted = None;
        fake.on(node, move |connection, command| {
            Some(Action::send(match command[0].as_slice() {
                b"MULTI" => {
                    aborted = Some(false);
                    "+OK\r\n"
                }
                b"EXEC" => match aborted.take() {
                    Some(true) => {
                        "-EXECABORT Transaction discarded because of previous errors.\r\n"
                    }
                    Some(false) => "*1\r\n+OK\r\n",
                    None => "-ERR EXEC without MULTI\r\n",
                },
                b"SET" => {
                    let answer = usual(connection, command);
                    return Some(match &mut aborted {
                        Some(aborted) if answer.starts_with(b"-") => {
                            *aborted = true;
                            Action::Send(answer)
                        }
                        Some(_) => Action::send("+QUEUED\r\n"),
                        None => Action::Send(answer),
                    });
                }
                _ => return None,
            }))
        });
    }
    let pinned = client(&fake.url()).pin(key.as_bytes());
    assert_eq!(run(&pinned, &set), "OK");
    fake.assign(slot..=slot, 1);
    // The pinned handle does not resend: its caller may rely on one connection.
    assert!(run(&pinned, &set).starts_with("MOVED"));
    assert_eq!(run(&pinned, &set), "OK");
    assert_eq!(fake.node(1).calls("SET"), 1);
    // A transaction ends on the node where it began.
    assert_eq!(run(&pinned, "MULTI"), "OK");
    fake.assign(slot..=slot, 0);
    assert!(run(&pinned, &set).starts_with("MOVED"));
    assert!(run(&pinned, "EXEC").starts_with("EXECABORT"));
    for (words, answer) in [("MULTI", "OK"), (&set, "QUEUED"), ("EXEC", "[OK]")] {
        assert_eq!(run(&pinned, words), answer);
    }
    assert_eq!(fake.node(0).calls("EXEC"), 1);
    assert_eq!(fake.node(1).calls("EXEC"), 1);
}

/// Two nodes that both redirect a slot to each other, as between two SETSLOT commands.
#[test]
fn temporary_redirection_loop_is_retried() {
    for ms in [150, 1200] {
        let fake = FakeCluster::with_replicas(2, 1);
        let key = key_of(0, 2, 1);
        let slot = slot_of(key.as_bytes());
        fake.put(format!("{{{key}}}v"), "v");
        let client = Arc::new(client(&fake.url()));
        let readonly = client.readonly();
        let began = std::time::Instant::now();
        for node in 0..2 {
            let moved = format!("-MOVED {slot} {}\r\n", port_of(&fake, 1 - node));
            fake.on(node, move |_, command| {
                let disagree = began.elapsed() < Duration::from_millis(ms);
                let asked = is_command(command, "INCR")
                    || is_command(command, "DEL")
                    || is_command(command, "GET");
                (asked && disagree).then(|| Action::send(&moved))
            });
        }
        let told = std::thread::scope(|scope| {
            let (client, readonly, key) = (&client, &readonly, &key);
            let get = format!("GET {{{key}}}v");
            let own = get.clone();
            [
                scope.spawn(move || timed(|| run_all(client, &[format!("INCR {key}")]).concat())),
                scope.spawn(move || timed(|| run(client, &format!("DEL {{{key}}}no")))),
                scope.spawn(move || timed(|| run(client, &own))),
                scope.spawn(move || timed(|| run(readonly, &get))),
            ]
            .map(|call| call.join().unwrap())
        });
        for (n, (got, time)) in told.iter().enumerate() {
            assert_eq!(*got, ["1", "0", "v", "v"][n], "{ms} ms");
            // The delay doubles with the time already waited, so that few requests are sent.
            assert!(*time < Duration::from_millis(2 * ms + 700), "{n}: {time:?}");
        }
        for (name, most) in [("INCR", 20), ("DEL", 20), ("GET", 40)] {
            assert!(
                fake.calls(name) < most,
                "{name}: {} times",
                fake.calls(name)
            );
        }
    }
}

/// A node that returns knows the current epoch, but not yet that another node owns its slots.
#[test]
fn stale_view_with_current_epoch_is_outvoted() {
    let fake = FakeCluster::new(3);
    let key = key_of(0, 3, 1);
    let slot = slot_of(key.as_bytes());
    let mut old = fake.default_answer(0);
    let before = old(usize::MAX, &vec![b"CLUSTER".to_vec(), b"SLOTS".to_vec()]);
    for node in 0..3 {
        let before = before.clone();
        fake.on(node, move |_, command| {
            if is_command(command, "CLUSTER INFO") {
                let info = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\n\
                            cluster_known_nodes:3\r\ncluster_size:3\r\ncluster_current_epoch:7\r\n";
                return Some(Action::send(format!("${}\r\n{info}\r\n", info.len())));
            }
            (node == 0 && is_command(command, "CLUSTER SLOTS"))
                .then(|| Action::Send(before.clone()))
        });
    }
    fake.assign(slot..=slot, 1);
    let client = client(&format!("redis://{}", port_of(&fake, 1)));
    for _ in 0..40 {
        assert_eq!(code(client.refresh().view()), Code::Ok);
        assert_eq!(run(&client, &format!("SET {key} v")), "OK");
    }
    assert_eq!(
        fake.node(0).calls("SET"),
        0,
        "the client trusted the old view"
    );
}

#[test]
fn node_without_slots_is_forgotten_immediately() {
    let fake = FakeCluster::new(3);
    let key = key_of(2, 3, 1);
    let slot = slot_of(key.as_bytes());
    fake.assign(10923..=16383, 1);
    fake.assign(slot..=slot, 2);
    let client = client(&format!("redis://{}", port_of(&fake, 0)));
    assert_eq!(run(&client, &format!("SET {key} v")), "OK");
    let named = || show(client.topology().view()).contains(&port_of(&fake, 2));
    assert!(named());
    // The topology was refreshed just now, so that one moved slot causes no new refresh.
    fake.assign(slot..=slot, 1);
    assert_eq!(run(&client, &format!("GET {key}")), "v");
    assert!(!named(), "{}", show(client.topology().view()));
}

#[test]
fn redirection_text_inside_value_is_data() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        Some(Action::send(match command[0].as_slice() {
            b"EVAL" => "*3\r\n-MOVED 1 127.0.0.1:1\r\n-ASK 1 127.0.0.1:1\r\n+TRYAGAIN\r\n",
            b"GET" => "$18\r\nMOVED 1 127.0.0.1:\r\n",
            b"TYPE" => "+MOVED 1 127.0.0.1:1\r\n",
            _ => return None,
        }))
    });
    let client = Arc::new(client(&fake.url()));
    let eval = "EVAL \"return 1\" 1 k";
    let expected = "[MOVED 1 127.0.0.1:1 (SERVER), ASK 1 127.0.0.1:1 (SERVER), TRYAGAIN]";
    assert_eq!(
        run(&client, eval)
            .replace(", sent)", ")")
            .replace("(OK)", "(SERVER)"),
        expected
    );
    assert_eq!(run(&client, "GET k"), "MOVED 1 127.0.0.1:");
    assert_eq!(run(&client, "TYPE k"), "MOVED 1 127.0.0.1:1");
    let all = run_all(&client, &[eval, "GET k", "TYPE k"]);
    assert_eq!(all[1..], ["MOVED 1 127.0.0.1:", "MOVED 1 127.0.0.1:1"]);
    for (name, calls) in [("EVAL", 2), ("GET", 2), ("TYPE", 2)] {
        assert_eq!(fake.calls(name), calls);
    }
}

#[test]
fn thousand_moved_replies_cause_few_refreshes() {
    let fake = FakeCluster::new(3);
    let client = Arc::new(client(&fake.url()));
    let before = fake.calls("CLUSTER SLOTS");
    // The client has just loaded the topology and would not refresh it yet.
    let connected = std::time::Instant::now();
    wait_for("a refresh is due again", || {
        connected.elapsed() > Duration::from_millis(100)
    });
    // Every slot changes its owner at once.
    fake.assign(0..=5460, 1);
    fake.assign(5461..=10922, 2);
    fake.assign(10923..=16383, 0);
    let calls = AtomicUsize::new(0);
    let (_, time) = timed(|| {
        std::thread::scope(|scope| {
            for thread in 0..64 {
                let (client, calls) = (&client, &calls);
                scope.spawn(move || {
                    for n in 0..20 {
                        let key = format!("k{thread}:{n}");
                        assert_eq!(run(client, &format!("SET {key} v")), "OK");
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    });
    assert_eq!(calls.load(Ordering::Relaxed), 64 * 20);
    // A refresh asks two nodes. At least one refresh, and at most one in 50 ms.
    let asked = (fake.calls("CLUSTER SLOTS") - before) / 2;
    let most = 2 + time.as_millis() as usize / 50;
    assert!((1..=most).contains(&asked), "{asked} refreshes in {time:?}");
}

#[test]
fn refresh_wanted_during_pause_follows_with_a_later_call() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let before = fake.calls("CLUSTER SLOTS");
    // The topology has just been loaded: a refresh is not due yet. One slot moves, and no other command shows that.
    let slot = slot_of(b"key");
    let to = 1 - fake.owner(slot).unwrap();
    fake.assign(slot..=slot, to);
    assert_eq!(run(&client, "SET key v"), "OK");
    wait_for("a refresh", || {
        run(&client, "GET other");
        fake.calls("CLUSTER SLOTS") > before
    });
}

/// Until a dead primary is replaced, its replica keeps naming it. The client waits and does not count these
/// redirections: max_redirects limits live nodes that disagree.
#[test]
fn moved_to_dead_primary_does_not_count_as_redirect() {
    let mut cluster = FakeCluster::with_replicas(1, 1);
    let url = format!("{}?max_redirects=2", cluster.url());
    let client = Arc::new(Client::create(&url));
    assert!(client.error().is_none());
    let moved = format!(
        "-MOVED {} 127.0.0.1:{}\r\n",
        slot_of(b"key"),
        cluster.port(0)
    );
    cluster.stop(0);
    let mut asked = 0;
    cluster.on(1, move |_, command| {
        (command[0] == b"GET").then(|| {
            asked += 1;
            Action::send(if asked <= 5 {
                &moved
            } else {
                "$5\r\nfound\r\n"
            })
        })
    });
    let mut pipeline = Pipeline::new(client);
    pipeline.command(&[b"GET", b"key"]);
    let reply = pipeline.execute();
    let text = reply.view().at(0).and_then(|v| v.str().map(str::to_string));
    assert_eq!(text.as_deref(), Some("found"));
}

#[test]
fn refused_asking_is_named_and_ends_the_call() {
    let key = key_of(0, 2, 0);
    let slot = slot_of(key.as_bytes());
    for (refusal, expected) in [
        (
            "NOPERM User default has no permissions to run the 'asking' command",
            Code::Auth,
        ),
        (
            "ERR This instance has cluster support disabled",
            Code::Server,
        ),
    ] {
        let fake = FakeCluster::new(2);
        let ask = format!("-ASK {slot} 127.0.0.1:{}\r\n", fake.port(1));
        let is_of_key = |command: &Command| is_command(command, "INCR");
        fake.on(0, move |_, command| {
            is_of_key(command).then(|| Action::send(&ask))
        });
        let moved = format!("-MOVED {slot} 127.0.0.1:{}\r\n", fake.port(0));
        fake.on(1, move |_, command| match command {
            _ if is_command(command, "ASKING") => Some(Action::send(format!("-{refusal}\r\n"))),
            _ => is_of_key(command).then(|| Action::send(&moved)),
        });
        let client = Arc::new(client(&fake.url()));
        let reply = send(&client, &format!("INCR {key}"));
        let text = show(reply.view());
        assert_eq!(code(reply.view()), expected, "{text}");
        assert!(!is_sent(reply.view()), "{text}");
        assert!(
            text.starts_with(refusal) && text.contains("refused ASKING"),
            "{text}"
        );
        assert_eq!((fake.calls("INCR"), fake.calls("ASKING")), (2, 1));
        assert_eq!(stat(&client, "moved"), 0, "the slot map is not patched");
        let piped = run_all(&client, &[format!("INCR {key}")]);
        assert!(piped[0].contains("refused ASKING"), "{piped:?}");
    }
}

#[test]
fn refused_write_is_not_sent_again_just_before_the_deadline() {
    let fake = FakeCluster::new(1);
    for refusal in [
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "LOADING Redis is loading the dataset in memory",
    ] {
        let late = Duration::from_millis(490);
        fake.on(0, move |_, command| {
            let answer = Action::send(format!("-{refusal}\r\n"));
            is_command(command, "INCR").then(|| Action::Delay(late, Box::new(answer)))
        });
        let client = client(&(fake.url() + "?timeout_ms=500"));
        wait_for("an answer just before the deadline", || {
            let before = fake.calls("INCR");
            let reply = send(&client, "INCR k");
            let text = show(reply.view());
            let calls = fake.calls("INCR") - before;
            assert_eq!(calls, 1, "{text}");
            // On a busy machine the answer comes after the deadline.
            if code(reply.view()) == Code::Timeout {
                return false;
            }
            assert!(text.starts_with(refusal), "{text}");
            assert!(!is_sent(reply.view()), "{text}");
            true
        });
    }
}
