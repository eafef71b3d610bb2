//! The nodes that a caller of `rdc_command_to` selects, and the commands that need such a selection.

use super::fan_out::peers;
use crate::address::Address;
use crate::cluster::execute::Target;
use crate::error::{Error, Result};
use crate::net::Peer;
use crate::route::{Classified, Nodes};
use crate::topology::{SLOTS, Topology};
use std::sync::Arc;

pub enum SelectedNodes {
    One(Target),
    /// The reply is a map from each node to its reply.
    Several(Vec<Arc<Peer>>),
}

/// Reads "host:port", the path of a unix socket, "slot:N", "key:K", "random", "all", "primaries" or "replicas".
pub fn select_nodes(selector: &str, topology: &Topology) -> Result<SelectedNodes> {
    let one = |target| Ok(SelectedNodes::One(target));
    let several = |peers| Ok(SelectedNodes::Several(peers));
    match selector.split_once(':') {
        Some(("slot", slot)) => match slot.parse::<u16>() {
            Ok(slot) if usize::from(slot) < SLOTS => {
                one(Target::Slot(topology.key_space().of_hash_slot(slot)))
            }
            _ => Err(Error::invalid(format_args!(
                "{selector} is not a valid slot: slots are 0 to 16383"
            ))),
        },
        Some(("key", key)) => one(Target::Slot(topology.key_space().slot(key.as_bytes()))),
        None if selector == "random" => one(Target::Anywhere),
        None if selector == "all" => several(peers(topology, Nodes::All)),
        None if selector == "primaries" => several(peers(topology, Nodes::Primaries)),
        None if selector == "replicas" => {
            let replicas = topology.shards.iter().flat_map(|shard| &shard.replicas);
            several(replicas.map(|node| node.peer.clone()).collect())
        }
        _ => {
            let address = Address::parse(selector).or_else(|_| Address::unix(selector));
            match address.ok().and_then(|address| topology.node_at(&address)) {
                Some(node) => one(Target::Peer(node.peer.clone())),
                None => Err(unknown_selector(selector, topology)),
            }
        }
    }
}

/// The error of a command that is only for a node that the caller selects.
#[cold]
pub fn not_selected(command: &Classified<'_>) -> Error {
    Error::invalid(format_args!(
        "{} concerns one node, and none is selected: use rdc_command_to() with host:port, slot:N or key:K, or with all, \
         primaries or replicas",
        command.full_name()
    ))
}

fn unknown_selector(selector: &str, topology: &Topology) -> Error {
    let known: Vec<String> = topology
        .nodes
        .iter()
        .take(8)
        .map(|n| n.peer.address().to_string())
        .collect();
    Error::invalid(format_args!(
        "{selector:?} selects no node: use slot:N, key:K, random, all, primaries, replicas, or a node ({})",
        known.join(", ")
    ))
}
