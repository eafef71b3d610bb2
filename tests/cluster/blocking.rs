//! Commands that wait at the server: as long as they ask to, and in nobody's way.

use crate::common;
use crate::common::shared::{SharedCluster, shared};
use crate::common::{ask, client, code, is_sent, key_of, say, say_all, show, timed};
use rediscluster::error::Code;
use std::sync::Arc;
use std::time::Duration;
use support::{Cluster, Failover, slot_of};

fn cluster() -> SharedCluster {
    shared(module_path!(), Cluster::builder)
}

/// Waits until a client is blocked at the primary of a slot.
#[track_caller]
fn until_blocked(cluster: &Cluster, slot: u16) {
    let is_blocked = || {
        let info = cluster
            .primary_of(slot)
            .and_then(|port| cluster.command(port, &["INFO", "clients"]));
        info.is_ok_and(|info| info.text().contains("blocked_clients:1\r"))
    };
    assert!(
        support::wait_until(is_blocked, common::SOON),
        "nobody is blocked"
    );
}

#[test]
fn a_command_that_blocks_has_its_own_time_besides_that_of_the_call() {
    let cluster = &cluster();
    // Also where a node may keep a single connection, nobody waits for those that block.
    let client = client(
        &(cluster.url() + "?timeout_ms=1000&attempt_timeout_ms=1000&connections_per_node=1"),
    );
    say(&client, "XADD {b}s 1-1 f v");
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
            ("WAIT 3 1300", "1"),
        ]
        .into_iter()
        .map(|(words, expected)| {
            let client = &client;
            scope.spawn(move || {
                let (got, time) = timed(|| say(client, words));
                assert_eq!(got, expected, "{words}");
                assert!(time >= Duration::from_millis(1250), "{words}: {time:?}");
                assert!(time < Duration::from_millis(2400), "{words}: {time:?}");
            })
        })
        .collect();
        let mut calls = 0;
        while blocking.iter().any(|thread| !thread.is_finished()) {
            let (got, time) = timed(|| say(&client, "INCR {b}n"));
            calls += 1;
            assert_eq!(got, calls.to_string());
            assert!(time < Duration::from_millis(1000), "{time:?}");
        }
        assert!(calls > 100, "{calls} while others were blocked");
    });
    // One that does not block has no more time than others.
    let (got, time) = timed(|| say(&client, "XREAD COUNT 1 STREAMS {b}s 1-1"));
    assert!(
        got == "nil" && time < Duration::from_millis(300),
        "{got} {time:?}"
    );
}

#[test]
fn what_blocks_without_end_is_ended_by_what_it_waits_for_or_by_an_interrupt() {
    let cluster = &cluster();
    let client = client(&(cluster.url() + "?timeout_ms=300"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| say(&client, "BLPOP {w}l 0"));
        until_blocked(cluster, slot_of(b"w"));
        assert_eq!(say(&client, "RPUSH {w}l v"), "1");
        assert_eq!(waiting.join().unwrap(), "[{w}l, v]");
        let twin = client.with("timeout_ms", "300");
        let interrupted = scope.spawn(|| {
            let reply = ask(&client, "BLPOP {w}l 0");
            assert_eq!(
                code(reply.view()),
                Code::Interrupted,
                "{}",
                show(reply.view())
            );
            assert!(is_sent(reply.view()));
        });
        until_blocked(cluster, slot_of(b"w"));
        let (_, time) = timed(|| {
            client.interrupt();
            interrupted.join().unwrap();
        });
        assert!(time < Duration::from_millis(200), "{time:?}");
        // Nobody pops what comes later.
        assert_eq!(say(&twin, "RPUSH {w}l later"), "1");
        assert_eq!(say(&twin, "LPOP {w}l"), "later");
    });
}

#[test]
fn in_a_pipeline_what_would_block_is_refused_in_its_place() {
    let cluster = &cluster();
    let client = Arc::new(client(&cluster.url()));
    let got = say_all(
        &client,
        &[
            "SET {p}a 1",
            "BLPOP {p}l 0",
            "WAIT 1 0",
            "XREAD BLOCK 10 STREAMS {p}s $",
            "GET {p}a",
        ],
    );
    assert_eq!((got[0].as_str(), got[4].as_str()), ("OK", "1"));
    for (n, name) in [(1, "BLPOP"), (2, "WAIT"), (3, "XREAD")] {
        assert!(
            got[n].contains(&format!("INVALID {name} blocks")) && !got[n].contains("sent)"),
            "{got:?}"
        );
    }
    assert_eq!(say_all(&client, &["XREAD STREAMS {p}s 0"]), ["nil"]);
    // On a handle with a connection of its own it may.
    assert_eq!(say(&client.pin(b"p"), "BLPOP {p}l 0.01"), "nil");
}

#[test]
fn what_is_blocked_while_its_slot_moves_or_its_primary_steps_down_goes_on_at_the_new_one() {
    let cluster = &cluster();
    let client = client(&cluster.url());
    let key = key_of(0, 3, 0);
    let slot = slot_of(key.as_bytes());
    let pop = format!("BLPOP {key} 20");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| say(&client, &pop));
        until_blocked(cluster, slot);
        cluster
            .migrate_slot(slot, cluster.primary_of(16383).unwrap())
            .unwrap();
        until_blocked(cluster, slot);
        assert_eq!(say(&client, &format!("RPUSH {key} moved")), "1");
        assert_eq!(waiting.join().unwrap(), format!("[{key}, moved]"));

        let waiting = scope.spawn(|| say(&client, &pop));
        until_blocked(cluster, slot);
        let replica = cluster.replicas_of(slot).unwrap()[0];
        cluster.failover(replica, Failover::Plain).unwrap();
        until_blocked(cluster, slot);
        assert_eq!(say(&client, &format!("RPUSH {key} promoted")), "1");
        assert_eq!(waiting.join().unwrap(), format!("[{key}, promoted]"));
    });
}
