//! Commands that block on the server: they may wait as long as they ask for, and delay no other command.

use crate::common;
use crate::common::shared::{SharedCluster, shared};
use crate::common::{client, code, is_sent, key_of, run, run_all, send, show, timed};
use rediscluster::error::Code;
use std::sync::Arc;
use std::time::Duration;
use support::{Cluster, Failover, slot_of};

fn cluster() -> SharedCluster {
    shared(module_path!(), Cluster::builder)
}

/// Waits until a client is blocked at the primary of a slot.
#[track_caller]
fn wait_until_blocked(cluster: &Cluster, slot: u16) {
    let is_blocked = || {
        let info = cluster
            .primary_of(slot)
            .and_then(|port| cluster.command(port, &["INFO", "clients"]));
        info.is_ok_and(|info| info.text().contains("blocked_clients:1\r"))
    };
    assert!(
        support::wait_until(is_blocked, common::WAIT_LIMIT),
        "no client is blocked"
    );
}

#[test]
fn blocking_time_is_added_to_call_timeout() {
    let cluster = &cluster();
    // With one connection per node, other commands do not wait for blocked ones either.
    let client = client(
        &(cluster.url() + "?timeout_ms=1000&attempt_timeout_ms=1000&connections_per_node=1"),
    );
    run(&client, "XADD {b}s 1-1 f v");
    std::thread::scope(|scope| {
        let blocking: Vec<_> = [
            ("BLPOP {b}none 1.3", "nil"),
            ("BRPOP {b}none 1.3", "nil"),
            ("BRPOPLPUSH {b}none {b}other 1.3", "nil"),
            ("BLMOVE {b}none {b}other LEFT RIGHT 1.3", "nil"),
            ("BLMPOP 1.3 1 {b}none LEFT", "nil"),
            ("BZPOPMIN {b}none 1.3", "nil"),
            ("BZPOPMAX {b}none 1.3", "nil"),
            ("BZMPOP 1.3 1 {b}none MIN", "nil"),
            ("XREAD COUNT 1 BLOCK 1300 STREAMS {b}s 1-1", "nil"),
        ]
        .into_iter()
        .map(|(words, expected)| {
            let client = &client;
            scope.spawn(move || {
                let (got, time) = timed(|| run(client, words));
                assert_eq!(got, expected, "{words}");
                assert!(time >= Duration::from_millis(1250), "{words}: {time:?}");
                assert!(time < Duration::from_millis(2400), "{words}: {time:?}");
            })
        })
        .collect();
        let mut calls = 0;
        while blocking.iter().any(|thread| !thread.is_finished()) {
            let (got, time) = timed(|| run(&client, "INCR {b}n"));
            calls += 1;
            assert_eq!(got, calls.to_string());
            assert!(time < Duration::from_millis(1000), "{time:?}");
        }
        assert!(calls > 100, "{calls} while others were blocked");
    });
    // A command that does not block gets no extra time.
    let (got, time) = timed(|| run(&client, "XREAD COUNT 1 STREAMS {b}s 1-1"));
    assert!(
        got == "nil" && time < Duration::from_millis(300),
        "{got} {time:?}"
    );
}

#[test]
fn endless_blocking_call_ends_by_reply_or_interrupt() {
    let cluster = &cluster();
    let client = client(&(cluster.url() + "?timeout_ms=300"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&client, "BLPOP {w}l 0"));
        wait_until_blocked(cluster, slot_of(b"w"));
        assert_eq!(run(&client, "RPUSH {w}l v"), "1");
        assert_eq!(waiting.join().unwrap(), "[{w}l, v]");
        let derived = client.with("timeout_ms", "300");
        let interrupted = scope.spawn(|| {
            let reply = send(&client, "BLPOP {w}l 0");
            assert_eq!(
                code(reply.view()),
                Code::Interrupted,
                "{}",
                show(reply.view())
            );
            assert!(is_sent(reply.view()));
        });
        wait_until_blocked(cluster, slot_of(b"w"));
        let (_, time) = timed(|| {
            client.interrupt();
            interrupted.join().unwrap();
        });
        assert!(time < Duration::from_millis(200), "{time:?}");
        // The interrupted command pops nothing later.
        assert_eq!(run(&derived, "RPUSH {w}l later"), "1");
        assert_eq!(run(&derived, "LPOP {w}l"), "later");
    });
}

#[test]
fn blocking_command_in_pipeline_is_rejected_in_place() {
    let cluster = &cluster();
    let client = Arc::new(client(&cluster.url()));
    let got = run_all(
        &client,
        &[
            "SET {p}a 1",
            "BLPOP {p}l 0",
            "XREAD BLOCK 10 STREAMS {p}s $",
            "GET {p}a",
        ],
    );
    assert_eq!((got[0].as_str(), got[3].as_str()), ("OK", "1"));
    for (n, name) in [(1, "BLPOP"), (2, "XREAD")] {
        assert!(
            got[n].contains(&format!("INVALID {name} blocks")) && !got[n].contains("sent)"),
            "{got:?}"
        );
    }
    assert_eq!(run_all(&client, &["XREAD STREAMS {p}s 0"]), ["nil"]);
    // A pinned handle has its own connection, so it may block.
    assert_eq!(run(&client.pin(b"p"), "BLPOP {p}l 0.01"), "nil");
}

#[test]
fn wait_behind_writes_counts_replicas_that_have_them() {
    let cluster = &cluster();
    let url = cluster.url() + "?timeout_ms=1000&attempt_timeout_ms=300";
    let client = Arc::new(client(&url));
    let commands = |ms| {
        [
            "INCR {w}a".to_owned(),
            "INCR {w}b".to_owned(),
            format!("WAIT 1 {ms}"),
        ]
    };
    let got = run_all(&client, &commands(5000));
    assert_eq!(got, ["1", "1", "1"]);
    let replica = cluster.replicas_of(slot_of(b"w")).unwrap()[0];
    // A frozen replica has no write, although its connection is open: WAIT waits for its whole time.
    cluster.stop(replica).unwrap();
    let (got, time) = timed(|| run_all(&client, &commands(700)));
    cluster.cont(replica).unwrap();
    assert_eq!(got, ["2", "2", "0"]);
    assert!(time >= Duration::from_millis(700), "{time:?}");
    let got = run_all(&client, &commands(5000));
    assert_eq!(got, ["3", "3", "1"]);
    let pinned = client.pin(b"w");
    assert_eq!(run(&pinned, "INCR {w}a"), "4");
    assert_eq!(run(&pinned, "WAIT 1 5000"), "1");
}

#[test]
fn blocked_call_follows_slot_migration_and_failover() {
    let cluster = &cluster();
    let client = client(&cluster.url());
    let key = key_of(0, 3, 0);
    let slot = slot_of(key.as_bytes());
    let pop = format!("BLPOP {key} 20");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&client, &pop));
        wait_until_blocked(cluster, slot);
        cluster
            .migrate_slot(slot, cluster.primary_of(16383).unwrap())
            .unwrap();
        wait_until_blocked(cluster, slot);
        assert_eq!(run(&client, &format!("RPUSH {key} moved")), "1");
        assert_eq!(waiting.join().unwrap(), format!("[{key}, moved]"));

        let waiting = scope.spawn(|| run(&client, &pop));
        wait_until_blocked(cluster, slot);
        let replica = cluster.replicas_of(slot).unwrap()[0];
        cluster.failover(replica, Failover::Plain).unwrap();
        wait_until_blocked(cluster, slot);
        assert_eq!(run(&client, &format!("RPUSH {key} promoted")), "1");
        assert_eq!(waiting.join().unwrap(), format!("[{key}, promoted]"));
    });
}
