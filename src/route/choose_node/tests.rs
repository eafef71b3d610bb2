//! Choices as a table. The nodes exist only as values: no connection is made.

use super::*;
use crate::address::Address;
use crate::config::Config;
use crate::net::{Peer, PeerContext};
use std::collections::BTreeMap;

/// A shard whose first node is the primary; each with its zone.
fn shard(zones: &[&str]) -> Shard {
    let nodes: Vec<Arc<Node>> = zones
        .iter()
        .enumerate()
        .map(|(index, zone)| {
            let address = Address::new("10.0.0.1", 7000 + index as u16).unwrap();
            let peer = Peer::new(address, PeerContext::of_config(Config::new()));
            Arc::new(Node {
                id: index.to_string().into(),
                zone: Some(Arc::new(zone.to_string())).filter(|zone| !zone.is_empty()),
                peer: Arc::new(peer),
                index,
            })
        })
        .collect();
    Shard {
        primary: Some(nodes[0].clone()),
        replicas: nodes[1..].to_vec(),
    }
}

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

fn criteria(read_from: ReadFrom) -> SelectionCriteria<'static> {
    SelectionCriteria {
        read_from,
        zone: Some("a"),
        random: 0,
        time: at(1000),
        excluded: &[],
    }
}

/// How often each node is chosen, over many random numbers.
fn spread(
    shard: &Shard,
    criteria: SelectionCriteria<'_>,
    stale: &[usize],
) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for random in 0..840u64 {
        // Both halves count up.
        let random = random | random << 32;
        let criteria = SelectionCriteria { random, ..criteria };
        let choice = choose_node(shard, &criteria, &|node| !stale.contains(&node.index)).unwrap();
        *counts.entry(choice.node.index).or_default() += 1;
    }
    counts
}

fn nodes(counts: &BTreeMap<usize, usize>) -> Vec<usize> {
    counts.keys().copied().collect()
}

#[test]
fn healthy_nodes_are_selected_by_read_from_mode() {
    let zones = shard(&["a", "a", "a", "b"]);
    for (read_from, expected) in [
        (ReadFrom::Primary, &[0][..]),
        (ReadFrom::Any, &[0, 1, 2, 3]),
        (ReadFrom::Replica, &[1, 2, 3]),
        (ReadFrom::Zone, &[1, 2]),
    ] {
        let counts = spread(&zones, criteria(read_from), &[]);
        assert_eq!(nodes(&counts), expected, "{read_from:?}");
        let share = 840 / expected.len();
        assert!(
            counts.values().all(|n| n.abs_diff(share) <= 1),
            "{read_from:?}: {counts:?}"
        );
    }
}

#[test]
fn first_choice_is_the_choice_among_healthy_idle_nodes() {
    let shards = [shard(&["", "", ""]), shard(&["", ""]), shard(&[""])];
    for (number, of_shard) in shards.iter().enumerate() {
        for read_from in [ReadFrom::Any, ReadFrom::Replica] {
            for random in 0..60 {
                let criteria = SelectionCriteria {
                    random,
                    ..criteria(read_from)
                };
                let chosen = choose_node(of_shard, &criteria, &|_| true).unwrap().node;
                let first = choose_first(of_shard, read_from, random);
                // Without replicas, the topology may need a refresh.
                assert_eq!(first.is_some(), number < 2);
                if let Some((node, is_primary)) = first {
                    assert!(Arc::ptr_eq(node, chosen), "{read_from:?}, {random}");
                    assert_eq!(is_primary, node.index == 0);
                }
            }
        }
    }
    let [three, ..] = shards;
    for read_from in [ReadFrom::Primary, ReadFrom::Zone, ReadFrom::Nearest] {
        assert!(
            choose_first(&three, read_from, 0).is_none(),
            "{read_from:?}"
        );
    }
    let busy = three.replicas[0].peer.load.track_in_flight(1);
    assert!(choose_first(&three, ReadFrom::Any, 1).is_none());
    drop(busy);
    assert!(choose_first(&three, ReadFrom::Any, 1).is_some());
    three.replicas[0].peer.health.record_failure(at(1000), 1.0);
    assert!(choose_first(&three, ReadFrom::Any, 1).is_none());
}

#[test]
fn other_zone_is_used_only_if_own_zone_cannot_serve() {
    let zones = shard(&["a", "a", "b", "c"]);
    let zone = criteria(ReadFrom::Zone);
    for (gone, expected) in [
        (&[][..], &[1][..]),
        (&[1], &[0]),
        (&[0, 1], &[2, 3]),
        (&[0, 1, 2], &[3]),
    ] {
        let counts = spread(
            &zones,
            SelectionCriteria {
                excluded: gone,
                ..zone
            },
            &[],
        );
        assert_eq!(nodes(&counts), expected, "without {gone:?}");
    }
    let elsewhere = shard(&["b", "b", "c"]);
    assert_eq!(nodes(&spread(&elsewhere, zone, &[])), [1, 2]);
    // No node has a known zone: each node is a candidate, because it may be in the zone of the client.
    assert_eq!(nodes(&spread(&shard(&["", "", ""]), zone, &[])), [1, 2]);
    for (excluded, fallback) in [(&[1][..], false), (&[0, 1], true)] {
        let choice =
            choose_node(&zones, &SelectionCriteria { excluded, ..zone }, &|_| true).unwrap();
        assert_eq!(choice.fallback, fallback, "without {excluded:?}");
        assert_eq!(choice.skipped, Some(SkipReason::Ejected));
    }
}

#[test]
fn stale_and_ejected_replicas_are_skipped() {
    let four = shard(&["", "", "", ""]);
    let any = criteria(ReadFrom::Any);
    assert_eq!(nodes(&spread(&four, any, &[1, 3])), [0, 2]);
    let replica = criteria(ReadFrom::Replica);
    assert_eq!(nodes(&spread(&four, replica, &[1])), [2, 3]);
    assert_eq!(nodes(&spread(&four, replica, &[1, 2, 3])), [0]);
    let choice = choose_node(&four, &replica, &|node| node.index == 0).unwrap();
    assert_eq!(choice.skipped, Some(SkipReason::Stale));
    assert!(choice.fallback);
    four.replicas[0].peer.health.record_failure(at(1000), 1.0);
    assert_eq!(nodes(&spread(&four, replica, &[])), [2, 3]);
    let later = SelectionCriteria {
        time: at(2000),
        ..replica
    };
    assert_eq!(nodes(&spread(&four, later, &[])), [1, 2, 3], "it is due");
}

#[test]
fn without_healthy_node_primary_is_selected() {
    let three = shard(&["", "", ""]);
    for node in three.nodes() {
        node.peer.health.record_failure(at(1000), 1.0);
    }
    let any = criteria(ReadFrom::Any);
    assert_eq!(nodes(&spread(&three, any, &[])), [0]);
    let excluded = SelectionCriteria {
        excluded: &[0],
        ..any
    };
    assert_eq!(nodes(&spread(&three, excluded, &[])), [1]);
    assert_eq!(nodes(&spread(&three, excluded, &[1])), [2]);
    assert_eq!(nodes(&spread(&three, excluded, &[1, 2])), [0]);
}

#[test]
fn less_loaded_of_two_nodes_is_selected() {
    let three = shard(&["", "", ""]);
    let any = criteria(ReadFrom::Any);
    let _busy = three.replicas[0].peer.load.track_in_flight(3);
    let counts = spread(&three, any, &[]);
    assert_eq!(nodes(&counts), [0, 2], "{counts:?}");
    let _all = [
        three.primary.as_ref().unwrap().peer.load.track_in_flight(3),
        three.replicas[1].peer.load.track_in_flight(3),
    ];
    let counts = spread(&three, any, &[]);
    assert!(counts.values().all(|n| n.abs_diff(280) <= 1), "{counts:?}");
}

#[test]
fn nearest_nodes_serve_and_others_are_probed() {
    let four = shard(&["", "", "", ""]);
    let trips = [900, 250, 300, 5000];
    for (node, us) in four.nodes().zip(trips) {
        node.peer
            .load
            .record_rtt(at(500), Duration::from_micros(us));
    }
    let near = criteria(ReadFrom::Nearest);
    let counts = spread(&four, near, &[]);
    assert_eq!(
        nodes(&counts),
        [1, 2],
        "250 and 300 us are as good as equal"
    );
    assert!(counts.values().all(|n| n.abs_diff(420) <= 1), "{counts:?}");
    let later = SelectionCriteria {
        time: at(1501),
        ..near
    };
    let counts = spread(&four, later, &[]);
    assert_eq!(
        (counts[&0], counts[&3]),
        (1, 1),
        "one read each measures: {counts:?}"
    );
    // The primary is one of them.
    four.primary
        .as_ref()
        .unwrap()
        .peer
        .load
        .record_rtt(at(1502), Duration::from_micros(1));
    four.primary
        .as_ref()
        .unwrap()
        .peer
        .load
        .record_rtt(at(1502), Duration::from_micros(1));
    assert!(nodes(&spread(&four, later, &[])).contains(&0));
    // A near node that fails is skipped.
    four.replicas[0].peer.health.record_failure(at(1501), 1.0);
    assert!(!nodes(&spread(&four, later, &[])).contains(&1));
}
