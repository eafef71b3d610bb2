//! Large topologies. The nodes exist only as values: no connection is made.

use super::*;
use crate::config::Config;
use crate::net::PeerContext;

fn id(number: usize) -> Arc<str> {
    format!("{number:040x}").into()
}

fn address(number: usize) -> Address {
    Address::new(&format!("10.0.{}.{}", number / 250, number % 250), 7000).unwrap()
}

fn node(number: usize) -> NodeView {
    NodeView {
        id: id(number),
        address: address(number),
        names: Vec::new(),
        zone: None,
        online: true,
        offset: None,
    }
}

/// The view of a cluster of this many shards with two nodes each.
fn view(shards: usize) -> ClusterView {
    let shard = |number: usize| ShardView {
        ranges: vec![(
            (number * SLOTS / shards) as u16,
            ((number + 1) * SLOTS / shards - 1) as u16,
        )],
        primary: Some(node(2 * number)),
        replicas: vec![node(2 * number + 1)],
    };
    ClusterView {
        shards: (0..shards).map(shard).collect(),
        ..ClusterView::default()
    }
}

fn peer(node: NodeView) -> Arc<Peer> {
    Arc::new(Peer::new(
        node.address,
        PeerContext::of_config(Config::new()),
    ))
}

/// A cluster of this many shards of equal size.
pub fn topology(shards: usize) -> Topology {
    Topology::from_view(view(shards), &Topology::empty(), peer)
}

fn no_peer(node: NodeView) -> Arc<Peer> {
    panic!("a new peer for {node:?}");
}

#[test]
fn moved_slot_shares_everything_but_the_owners() {
    let before = topology(1000);
    let no_new_peer = || panic!("the node is known");
    let after = before.patched(0, &address(1998), no_new_peer).unwrap();
    assert_eq!((after.owner(0), after.owner(1)), (Some(999), Some(0)));
    assert!(Arc::ptr_eq(&before.shards, &after.shards));
    assert!(Arc::ptr_eq(&before.nodes, &after.nodes));
    assert!(Arc::ptr_eq(&before.by_address, &after.by_address));
    assert!(after.patched(0, &address(1998), no_new_peer).is_none());
    // A replica that is named as the owner has been promoted, with all slots of its shard.
    let promoted = before.patched(0, &address(1), no_new_peer).unwrap();
    let primary = promoted.shard(5).unwrap().primary.as_ref().unwrap();
    assert_eq!(*primary.peer.address(), address(1));
    assert!(Arc::ptr_eq(&before.nodes, &promoted.nodes));
}

#[test]
fn new_view_shares_unchanged_nodes() {
    let before = topology(1000);
    let same = Topology::from_view(view(1000), &before, no_peer);
    assert!(before.is_equivalent(&same));
    assert!((before.nodes.iter().zip(same.nodes.iter())).all(|(a, b)| Arc::ptr_eq(a, b)));
    let mut failover = view(1000);
    let shard = &mut failover.shards[7];
    std::mem::swap(shard.primary.as_mut().unwrap(), &mut shard.replicas[0]);
    let find = |node: NodeView| before.node_at(&node.address).unwrap().peer.clone();
    let after = Topology::from_view(failover, &before, find);
    assert!(!before.is_equivalent(&after));
    let pairs = before.nodes.iter().zip(after.nodes.iter());
    assert_eq!(pairs.filter(|(a, b)| !Arc::ptr_eq(a, b)).count(), 2);
    // A promoted replica has had the slots all the time.
    assert_eq!(after.slots_of_new_shards(&before).count(), 0);
    assert!(before.is_equivalent(&Topology::from_view(before.view(1), &before, no_peer)));
}

#[test]
fn every_slot_may_have_a_shard_of_its_own() {
    let topology = topology(SLOTS);
    assert_eq!(topology.nodes.len(), 2 * SLOTS);
    for slot in [0, 1, 16_382, 16_383] {
        assert_eq!(topology.owner(slot), Some(usize::from(slot)));
        let primary = topology.shard(slot).unwrap().primary.as_ref().unwrap();
        assert_eq!(topology.first_slot_of(primary.peer.address()), Some(slot));
    }
    // Redirections may add a few shards more.
    let new = Address::new("10.9.9.9", 7000).unwrap();
    let new_peer = || {
        peer(NodeView {
            address: new.clone(),
            ..node(0)
        })
    };
    let patched = topology.patched(16_383, &new, new_peer).unwrap();
    assert_eq!(patched.owner(16_383), Some(SLOTS));
    assert_eq!(patched.assigned_slots(), SLOTS);
    assert!(!patched.has_slots(16_383) && patched.has_slots(SLOTS));
    assert_eq!(
        patched.slots_of_new_shards(&topology).collect::<Vec<_>>(),
        [16_383]
    );
}

#[test]
fn second_node_at_an_address_is_found_by_its_id() {
    let mut view = view(2);
    view.shards[1].replicas[0].address = address(0);
    let topology = Topology::from_view(view, &Topology::empty(), peer);
    assert_eq!(topology.node_at(&address(0)).unwrap().id, id(0));
    for number in [0, 3] {
        let found = topology.node_with(&id(number), &address(0)).unwrap();
        assert_eq!(found.id, id(number));
    }
    assert!(topology.node_with(&id(1), &address(0)).is_none());
}
