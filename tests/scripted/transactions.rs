//! Transactions: by hand on a pinned handle, and in one go by an atomic pipeline; while slots move and connections die.

use crate::common;
use crate::common::{ask, client, code, is, is_sent, key_of, say, show, stat, until};
use rediscluster::cluster::{Client, Pipeline};
use rediscluster::error::Code;
use rediscluster::resp::Reply;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};
use support::{Action, Cluster, FakeCluster, slot_of};

/// Executes these commands as one transaction.
fn atomic<S: AsRef<str>>(client: &Arc<Client>, commands: &[S]) -> Reply {
    let mut pipeline = Pipeline::new(client.clone());
    for words in commands {
        let words = support::words::split(words.as_ref()).unwrap();
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        pipeline.command(&args);
    }
    *pipeline.execute_atomic()
}

/// A node that queues what comes after MULTI, and says this to EXEC.
fn queueing(fake: &FakeCluster, node: usize, exec: impl Fn() -> Action + Send + 'static) {
    fake.on(node, move |_, command| {
        if is(command, "MULTI") {
            return Some(Action::send("+OK\r\n"));
        }
        if is(command, "EXEC") {
            return Some(exec());
        }
        is(command, "INCR").then(|| Action::send("+QUEUED\r\n"))
    });
}

#[test]
fn a_transaction_whose_exec_may_have_run_is_not_sent_again() {
    for (action, expected) in [
        (Action::Close, Code::Io),
        (Action::Reset, Code::Io),
        (Action::Hang, Code::Timeout),
        (Action::SendClose(b"*2\r\n:1\r\n".to_vec()), Code::Io),
    ] {
        let fake = FakeCluster::new(1);
        let what = format!("{action:?}");
        queueing(&fake, 0, move || action.clone());
        let client = Arc::new(client(&(fake.url() + "?attempt_timeout_ms=200")));
        let reply = atomic(&client, &["INCR a", "INCR a"]);
        assert_eq!(
            code(reply.view()),
            expected,
            "{what}: {}",
            show(reply.view())
        );
        assert!(is_sent(reply.view()), "{what}");
        assert_eq!((fake.calls("MULTI"), fake.calls("EXEC")), (1, 1), "{what}");
    }
}

#[test]
fn a_transaction_that_a_server_refused_says_why_and_that_nothing_ran() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        Some(Action::send(match () {
            () if is(command, "MULTI") => "+OK\r\n",
            () if is(command, "EXEC") => {
                "-EXECABORT Transaction discarded because of previous errors.\r\n"
            }
            () if is(command, "INCR b") => "-OOM no room for b\r\n",
            () if is(command, "INCR") => "+QUEUED\r\n",
            () => return None,
        }))
    });
    let client = Arc::new(client(&fake.url()));
    let reply = atomic(&client, &["INCR {b}1", "INCR b", "INCR {b}2"]);
    let text = show(reply.view());
    assert!(
        text.starts_with("EXECABORT") && text.contains("(OOM no room for b)"),
        "{text}"
    );
    assert!(!is_sent(reply.view()), "{text}");
    // One that failed when it ran is one element; the others have run.
    let fake = FakeCluster::new(1);
    queueing(&fake, 0, || {
        Action::send("*2\r\n:1\r\n-WRONGTYPE no number\r\n")
    });
    let client = Arc::new(common::client(&fake.url()));
    let reply = atomic(&client, &["INCR a", "INCR {a}"]);
    assert_eq!(show(reply.view().at(0).unwrap()), "1");
    let second = show(reply.view().at(1).unwrap());
    assert!(
        second.starts_with("Command # 2 (INCR {a}) of pipeline: WRONGTYPE"),
        "{second}"
    );
}

#[test]
fn a_transaction_over_two_slots_or_two_nodes_is_refused_before_a_byte_is_sent() {
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&(fake.url() + "?split_writes=yes")));
    let (a, b) = (key_of(0, 2, 0), key_of(1, 2, 1));
    for (commands, expected) in [
        (
            vec![format!("INCR {a}"), format!("INCR {b}")],
            Code::CrossSlot,
        ),
        (vec![format!("DEL {a} {b}")], Code::CrossSlot),
        (vec![format!("MSET {a} 1 {b} 2")], Code::CrossSlot),
        (
            vec![format!("INCR {a}"), "DBSIZE".to_string()],
            Code::Invalid,
        ),
        (
            vec![format!("INCR {a}"), "BLPOP l 0".to_string()],
            Code::Invalid,
        ),
        (
            vec![format!("INCR {a}"), "MULTI".to_string()],
            Code::Invalid,
        ),
        (vec![format!("INCR {a}"), "GET".to_string()], Code::Invalid),
        (vec!["PUBLISH c m".to_string()], Code::Invalid),
    ] {
        let reply = atomic(&client, &commands);
        assert_eq!(
            code(reply.view()),
            expected,
            "{commands:?}: {}",
            show(reply.view())
        );
        assert!(!is_sent(reply.view()), "{commands:?}");
    }
    assert_eq!(fake.calls("MULTI"), 0);
}

#[test]
fn a_pinned_handle_says_that_its_slot_has_moved_and_goes_there_when_nothing_is_begun() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let key = key_of(0, 2, 0);
    let slot = slot_of(key.as_bytes());
    let pinned = client.pin(key.as_bytes());
    assert_eq!(say(&pinned, &format!("SET {key} 1")), "OK");
    fake.assign(slot..=slot, 1);
    let reply = ask(&pinned, &format!("GET {key}"));
    let text = show(reply.view());
    assert_eq!(code(reply.view()), Code::Redirects, "{text}");
    assert!(
        text.starts_with("MOVED") && !is_sent(reply.view()),
        "{text}"
    );
    assert_eq!(say(&pinned, &format!("GET {key}")), "1");
    assert_eq!(fake.node(1).calls("GET"), 1);
    // The map has it too.
    assert_eq!(say(&client, &format!("GET {key}")), "1");
    assert_eq!(fake.node(0).calls("GET"), 1);
    // Another key's redirection is not its own.
    let other = key_of(0, 2, 7);
    let text = say(&pinned, &format!("GET {other}"));
    assert!(text.contains("pinned to another slot"), "{text}");
    assert_eq!(say(&pinned, &format!("GET {key}")), "1");
    assert_eq!(fake.node(1).connections(), 2, "the pinned one is kept");
}

#[test]
fn a_transaction_by_hand_whose_slot_moves_ends_without_a_trace() {
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    let key = key_of(0, 2, 0);
    let slot = slot_of(key.as_bytes());
    let pinned = client.pin(key.as_bytes());
    let moved = format!("-MOVED {slot} 127.0.0.1:{}\r\n", fake.port(1));
    let has_moved = Arc::new(AtomicBool::new(false));
    let moves = has_moved.clone();
    fake.on(0, move |_, command| {
        Some(match () {
            () if is(command, "WATCH") || is(command, "MULTI") || is(command, "DISCARD") => {
                Action::send("+OK\r\n")
            }
            () if is(command, "EXEC") => {
                Action::send("-EXECABORT Transaction discarded because of previous errors.\r\n")
            }
            () if is(command, "SET") && moves.load(Ordering::SeqCst) => Action::send(&moved),
            () => return None,
        })
    });
    for end in ["EXEC", "DISCARD"] {
        fake.assign(slot..=slot, 0);
        assert_eq!(say(&client, "PING"), "PONG");
        client.refresh();
        has_moved.store(false, Ordering::SeqCst);
        let pinned = client.pin(key.as_bytes());
        assert_eq!(say(&pinned, &format!("WATCH {key}")), "OK");
        assert_eq!(say(&pinned, "MULTI"), "OK");
        has_moved.store(true, Ordering::SeqCst);
        fake.assign(slot..=slot, 1);
        let text = say(&pinned, &format!("SET {key} 2"));
        assert!(
            text.starts_with("MOVED") && text.contains("is void"),
            "{text}"
        );
        // Not silently somewhere else: the transaction is where it was begun, and void.
        let text = say(&pinned, &format!("SET {key} 3"));
        assert!(text.starts_with("MOVED"), "{text}");
        let text = say(&pinned, end);
        assert!(text.starts_with("EXECABORT") || text == "OK", "{text}");
        assert_eq!(
            say(&pinned, &format!("GET {key}")),
            "nil",
            "nothing has run"
        );
        assert!(fake.node(1).calls("GET") > 0, "at the new place");
    }
    drop(pinned);
}

// ---- The same days on real servers ---------------------------------------------------------------

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

fn serial() -> (MutexGuard<'static, ()>, &'static Cluster) {
    let guard = common::serial::serial();
    let cluster = CLUSTER.get_or_init(|| Cluster::builder().replicas(0).start().unwrap());
    cluster.wait_healthy().unwrap();
    (guard, cluster)
}

/// Where slots move to: always the same node, whose epoch is then the newest, so that no node takes an older claim for
/// true.
fn destination(cluster: &Cluster) -> u16 {
    cluster.primary_of(16383).unwrap()
}

/// So many keys with slots of their own, elsewhere; `from` distinguishes.
fn movable(cluster: &Cluster, from: usize, count: usize) -> Vec<String> {
    let there =
        |key: &String| cluster.primary_of(slot_of(key.as_bytes())).unwrap() == destination(cluster);
    let keys = (from..).map(|n| key_of(n % 2, 3, n));
    keys.filter(|key| !there(key)).take(count).collect()
}

#[test]
fn transactions_run_whole_and_once_while_their_slots_move() {
    let (_serial, cluster) = serial();
    let client = Arc::new(client(
        &(cluster.url() + "?timeout_ms=20000&attempt_timeout_ms=10000"),
    ));
    let tags = movable(cluster, 0, 20);
    let mut ran = vec![0i64; tags.len()];
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for tag in &tags {
                let slot = slot_of(tag.as_bytes());
                cluster.migrate_slot(slot, destination(cluster)).unwrap();
            }
        });
        let mut rounds = 0;
        while rounds < 30 || !mover.is_finished() {
            rounds += 1;
            for (tag, ran) in tags.iter().zip(&mut ran) {
                let commands = [
                    format!("INCR {{{tag}}}a"),
                    format!("RPUSH {{{tag}}}l x"),
                    format!("INCR {{{tag}}}b"),
                ];
                let reply = atomic(&client, &commands);
                match code(reply.view()) {
                    Code::Ok => {
                        *ran += 1;
                        assert_eq!(show(reply.view()), format!("[{ran}, {ran}, {ran}]"));
                    }
                    _ => assert!(!is_sent(reply.view()), "{}", show(reply.view())),
                }
            }
        }
    });
    for (tag, ran) in tags.iter().zip(ran) {
        assert!(ran >= 30, "{ran}");
        assert_eq!(say(&client, &format!("GET {{{tag}}}b")), ran.to_string());
        assert_eq!(say(&client, &format!("LLEN {{{tag}}}l")), ran.to_string());
    }
    assert!(stat(&client, "moved") + stat(&client, "ask") > 0);
}

/// Adds one to a key as WATCH does it; whether that counts, if it came so far.
fn add_one(pinned: &Client, key: &str) -> Option<bool> {
    (say(pinned, &format!("WATCH {key}")) == "OK").then_some(())?;
    let now: i64 = say(pinned, &format!("GET {key}")).parse().ok()?;
    (say(pinned, "MULTI") == "OK").then_some(())?;
    say(pinned, &format!("SET {key} {}", now + 1));
    let reply = ask(pinned, "EXEC");
    if code(reply.view()) != Code::Ok {
        // Discarded, because of what was refused or because it would be.
        assert!(!is_sent(reply.view()), "{}", show(reply.view()));
    }
    Some(show(reply.view()) == "[OK]")
}

#[test]
fn a_counter_that_is_watched_counts_right_while_its_slot_moves() {
    let (_serial, cluster) = serial();
    let client = client(&cluster.url());
    for key in movable(cluster, 1000, 8) {
        say(&client, &format!("SET {key} 0"));
        let over = &AtomicBool::new(false);
        let counted = &AtomicUsize::new(0);
        // Two that race with each other, and with the migration.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (key, pinned) = (&key, client.pin(key.as_bytes()));
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        match add_one(&pinned, key) {
                            Some(counts) => {
                                counted.fetch_add(counts.into(), Ordering::SeqCst);
                            }
                            None => drop(say(&pinned, "DISCARD")),
                        }
                    }
                });
            }
            until("counting", || counted.load(Ordering::SeqCst) > 20);
            let moved = cluster.migrate_slot(slot_of(key.as_bytes()), destination(cluster));
            let before = counted.load(Ordering::SeqCst);
            // Also where it fails, the threads end.
            let goes_on = support::wait_until(
                || counted.load(Ordering::SeqCst) > before + 20,
                common::SOON,
            );
            over.store(true, Ordering::SeqCst);
            moved.unwrap();
            assert!(goes_on, "nothing counts at the new place");
        });
        let counted = counted.load(Ordering::SeqCst);
        assert_eq!(say(&client, &format!("GET {key}")), counted.to_string());
    }
}

#[test]
fn a_watched_key_that_others_write_makes_exec_nil() {
    let (_serial, cluster) = serial();
    let client = client(&cluster.url());
    let pinned = client.pin(b"w");
    assert_eq!(say(&pinned, "WATCH w"), "OK");
    assert_eq!(say(&client, "SET w 1"), "OK");
    assert_eq!(say(&pinned, "MULTI"), "OK");
    assert_eq!(say(&pinned, "SET w 2"), "QUEUED");
    assert_eq!(say(&pinned, "EXEC"), "nil");
    assert_eq!(say(&pinned, "GET w"), "1");
}
