//! Commands that go to several nodes unchanged.

use super::context::ExecContext;
use crate::cluster::execute::{RoutedCommand, Target};
use crate::error::{Code, Error, Result};
use crate::net::Peer;
use crate::resp::Reply;
use crate::route::{KeyGroups, Merge, Nodes, merge};
use crate::sim_hooks::rng;
use crate::topology::{Node, Shard, Topology};
use rand::seq::SliceRandom;
use std::sync::Arc;

/// Executes one command at several nodes and merges their answers.
pub fn fan_out(
    context: &ExecContext<'_>,
    mut commands: Vec<RoutedCommand<'_>>,
    how: Merge,
) -> Result<Box<Reply>> {
    if commands.is_empty() {
        return Err(Error::new(
            Code::Down,
            "the cluster has no node of the requested kind",
        ));
    }
    let mut reply = context.run_many(&mut commands);
    merge(how, &mut reply, &KeyGroups::default());
    Ok(reply)
}

/// The targets of a command without keys: each node, or the primary of each shard.
///
/// Fails if a shard with slots has no primary: an answer without its keys would be incomplete.
pub fn targets(topology: &Topology, nodes: Nodes, how: Merge) -> Result<Vec<Target>> {
    let of_node = |node: &Arc<Node>| Ok(Target::Peer(node.peer.clone()));
    let mut targets: Vec<Target> = match nodes {
        Nodes::All => topology.nodes.iter().map(of_node).collect::<Result<_>>()?,
        Nodes::Primaries => {
            let ranges = topology.ranges();
            let shards = topology.shards.iter().zip(&ranges);
            // A shard is identified by a slot of its longest range: a migration moves single slots.
            let of_shard = |(shard, ranges): (&Shard, &Vec<(u16, u16)>)| match (
                &shard.primary,
                ranges.iter().max_by_key(|(first, last)| last - first),
            ) {
                (Some(_), Some((slot, _))) => Some(Ok(Target::Primary(*slot))),
                (Some(primary), None) => Some(of_node(primary)),
                (None, Some((slot, _))) => Some(Err(no_primary(*slot))),
                (None, None) => None,
            };
            shards.filter_map(of_shard).collect::<Result<_>>()?
        }
    };
    // Only the first answer counts: without the shuffle it would always be the same node's.
    if how == Merge::FirstFound {
        targets.shuffle(&mut rng());
    }
    Ok(targets)
}

#[cold]
fn no_primary(slot: u16) -> Error {
    Error::new(
        Code::Down,
        format_args!("the shard of slot {slot} has no reachable primary"),
    )
}

/// The peers of all nodes or of all primaries, each once.
pub fn peers(topology: &Topology, nodes: Nodes) -> Vec<Arc<Peer>> {
    match nodes {
        Nodes::All => topology.nodes.iter().map(|n| n.peer.clone()).collect(),
        Nodes::Primaries => topology
            .shards
            .iter()
            .filter_map(|s| s.primary.as_ref())
            .map(|n| n.peer.clone())
            .collect(),
    }
}
