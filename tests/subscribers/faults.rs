//! Nodes that die, stop, and are demoted.

use crate::common::{run, wait_for};
use crate::healthy::cluster;
use crate::listener::Listener;
use std::time::{Duration, Instant};
use support::{Cluster, Failover, slot_of};

/// Makes a replica the primary of the slot of channel "a". An election of the shard a moment ago may stand against it.
fn fail_over(cluster: &Cluster, replica: u16) {
    wait_for("the failover", || {
        cluster.failover(replica, Failover::Plain).unwrap();
        cluster.primary_of(slot_of(b"a")).ok() == Some(replica)
    });
}

#[test]
fn sharded_channel_follows_planned_failover() {
    let cluster = cluster();
    for protocol in ["3", "2"] {
        let mut listener = Listener::new(&format!("{}?protocol={protocol}", cluster.url()));
        let client = listener.client.clone();
        listener.subscribe("SSUBSCRIBE a");
        let replica = cluster.replicas_of(slot_of(b"a")).unwrap()[0];
        fail_over(&cluster, replica);
        let gap = listener.next_push();
        assert_eq!(
            gap,
            format!("[gap, smessage, a, moved, 127.0.0.1:{replica}]")
        );
        assert_eq!(run(&client, "SPUBLISH a after"), "1");
        assert_eq!(listener.next_push(), "[smessage, a, after]");
        cluster.wait_healthy().unwrap();
    }
}

#[test]
fn killed_node_costs_an_error_and_a_gap() {
    let cluster = cluster();
    let mut listener = Listener::new(&cluster.url());
    let client = listener.client.clone();
    let slot = slot_of(b"a");
    listener.subscribe("SSUBSCRIBE a");
    let port = cluster.primary_of(slot).unwrap();
    cluster.kill(port).unwrap();
    let error = listener.next();
    assert!(error.contains("1 channel is subscribed again"), "{error}");
    let gap = listener.next_push();
    assert!(
        gap.starts_with("[gap, smessage, a, disconnected, "),
        "{gap}"
    );
    assert!(!gap.contains(&port.to_string()), "{gap}");
    wait_for("a promotion", || run(&client, "SPUBLISH a after") == "1");
    assert_eq!(listener.next_push(), "[smessage, a, after]");
    cluster.restart(port).unwrap();
    cluster.wait_healthy().unwrap();
}

#[test]
fn channels_and_patterns_move_to_another_node_when_theirs_dies() {
    let cluster = cluster();
    let mut listener = Listener::new(&cluster.url());
    let client = listener.client.clone();
    listener.subscribe("SUBSCRIBE a b");
    listener.subscribe("PSUBSCRIBE c*");
    run(&client, "PUBLISH a m");
    let node = listener.node_of_next();
    let port: u16 = node.rsplit(':').next().unwrap().parse().unwrap();
    cluster.kill(port).unwrap();
    let mut gaps: Vec<String> = (0..3).map(|_| listener.next_push()).collect();
    gaps.sort();
    for (gap, begin) in gaps.iter().zip([
        "[gap, message, a, disconnected, ",
        "[gap, message, b, disconnected, ",
        "[gap, pmessage, c*, disconnected, ",
    ]) {
        assert!(gap.starts_with(begin) && !gap.contains(&node), "{gap}");
    }
    cluster.restart(port).unwrap();
    cluster.wait_healthy().unwrap();
    run(&client, "PUBLISH c m");
    assert_eq!(listener.next_push(), "[pmessage, c*, c, m]");
}

#[test]
fn stopped_node_is_noticed_within_the_ping_time() {
    let cluster = cluster();
    let url = format!("{}?subscriber_ping_ms=400&timeout_ms=1000", cluster.url());
    let mut listener = Listener::new(&url);
    listener.subscribe("SUBSCRIBE a");
    run(&listener.client.clone(), "PUBLISH a m");
    let node = listener.node_of_next();
    let port: u16 = node.rsplit(':').next().unwrap().parse().unwrap();
    cluster.stop(port).unwrap();
    let began = Instant::now();
    let error = listener.next();
    let took = began.elapsed();
    assert!(error.contains("has sent nothing for 400 ms"), "{error}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    let gap = listener.next_push();
    assert!(gap.starts_with("[gap, message, a, disconnected, "), "{gap}");
    cluster.cont(port).unwrap();
    cluster.wait_healthy().unwrap();
}
