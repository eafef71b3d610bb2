//! Keyspace notifications, which each node sends of its own keys only, while nodes change their roles.

use crate::common::run;
use crate::listener::{Listener, WAIT_MS};
use support::{Cluster, Failover, slot_of};

const EVENTS: &str = "__keyevent@0__:set";

/// The node that sends the event of a key, which comes once.
#[track_caller]
fn node_of_event(listener: &mut Listener, key: &str) -> String {
    let client = listener.client.clone();
    assert_eq!(run(&client, &format!("SET {key} v")), "OK");
    let reply = listener.next_reply(WAIT_MS);
    let expected = format!("[pmessage, {EVENTS}, {EVENTS}, {key}]");
    assert_eq!(crate::common::show(reply.view()), expected);
    assert_eq!(listener.next_within(100), "nil", "{key}: a second event");
    let origin = reply.origin_of(reply.root);
    origin.map_or_else(String::new, |origin| origin.name().to_string())
}

/// Waits until the listener has a gap of this node.
#[track_caller]
fn expect_gap_of(listener: &mut Listener, port: u16) {
    let end = format!(", 127.0.0.1:{port}]");
    for _ in 0..10 {
        let push = listener.next_push();
        assert!(
            push.starts_with(&format!("[gap, pmessage, {EVENTS}, ")),
            "{push}"
        );
        if push.ends_with(&end) {
            return;
        }
    }
    panic!("no gap of {port}");
}

#[test]
fn keyspace_channel_leaves_demoted_node_and_takes_added_one() {
    let builder = Cluster::builder().replicas(1);
    let builder = builder.option("notify-keyspace-events", "KEA");
    let mut cluster = builder.start().unwrap();
    let mut listener = Listener::new(&format!("{}?subscriber_ping_ms=400", cluster.url()));
    listener.subscribe(&format!("PSUBSCRIBE {EVENTS}"));
    let slot = slot_of(b"a");
    let former = cluster.primary_of(slot).unwrap();
    assert_eq!(
        node_of_event(&mut listener, "a"),
        format!("127.0.0.1:{former}")
    );

    // The demoted node executes the writes that it replicates, and would tell of them too.
    let replica = cluster.replicas_of(slot).unwrap()[0];
    cluster.failover(replica, Failover::Plain).unwrap();
    expect_gap_of(&mut listener, replica);
    assert_eq!(
        node_of_event(&mut listener, "a"),
        format!("127.0.0.1:{replica}")
    );

    let new = cluster.start_node().unwrap();
    cluster.meet(new).unwrap();
    cluster.migrate_slot(slot, new).unwrap();
    expect_gap_of(&mut listener, new);
    assert_eq!(
        node_of_event(&mut listener, "a"),
        format!("127.0.0.1:{new}")
    );
}
