//! Sharded channels whose slots move.

use crate::common::{newest, run, servers};
use crate::listener::Listener;
use support::{Cluster, slot_of};

/// Takes what comes until a message of this payload, and checks that a gap precedes the first message.
#[track_caller]
fn expect_gap_then(listener: &mut Listener, channel: &str, publish: impl Fn() -> String) -> String {
    let gap = listener.next_push();
    let begin = format!("[gap, smessage, {channel}, moved, ");
    assert!(gap.starts_with(&begin), "{gap}");
    assert_eq!(publish(), "1");
    assert_eq!(
        listener.next_push(),
        format!("[smessage, {channel}, after]")
    );
    gap
}

#[test]
fn channel_follows_slot_that_moves_in_place() {
    for server in servers() {
        println!("{server:?}");
        let cluster = Cluster::builder().server(server).start().unwrap();
        for protocol in ["3", "2"] {
            let mut listener = Listener::new(&format!("{}?protocol={protocol}", cluster.url()));
            let client = listener.client.clone();
            let slot = slot_of(b"a");
            listener.subscribe("SSUBSCRIBE a b{a} other");
            let from = cluster.primary_of(slot).unwrap();
            let to = cluster.ports().into_iter().find(|port| {
                *port != from && cluster.node(*port).is_ok_and(|node| node.primary.is_none())
            });
            let to = to.unwrap();
            cluster.migrate_slot(slot, to).unwrap();
            let mut gaps = vec![listener.next_push(), listener.next_push()];
            gaps.sort();
            let gap = |name: &str| format!("[gap, smessage, {name}, moved, 127.0.0.1:{to}]");
            assert_eq!(gaps, [gap("a"), gap("b{a}")]);
            for name in ["a", "b{a}", "other"] {
                assert_eq!(
                    run(&client, &format!("SPUBLISH {name} after")),
                    "1",
                    "{name}"
                );
                assert_eq!(listener.next_push(), format!("[smessage, {name}, after]"));
            }
            assert_eq!(listener.next_within(50), "nil");
        }
    }
}

#[test]
fn channel_follows_atomic_slot_migration() {
    let cluster = Cluster::builder().server(newest("valkey")).start().unwrap();
    assert!(cluster.has_atomic_migration());
    let mut listener = Listener::new(&cluster.url());
    let client = listener.client.clone();
    let slot = slot_of(b"a");
    listener.subscribe("SSUBSCRIBE a");
    let from = cluster.primary_of(slot).unwrap();
    let to = cluster
        .ports()
        .into_iter()
        .find(|port| *port != from)
        .unwrap();
    cluster.migrate_slots_atomically(slot, slot, to).unwrap();
    let gap = expect_gap_then(&mut listener, "a", || run(&client, "SPUBLISH a after"));
    assert!(gap.ends_with(&format!("127.0.0.1:{to}]")), "{gap}");
}
