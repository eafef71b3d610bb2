//! On which node a channel belongs.

use super::channel::{ChannelKey, ChannelKind};
use crate::config::{Config, ReadFrom};
use crate::deadline::Time;
use crate::net::Peer;
use crate::route::{SelectionCriteria, choose_node};
use crate::sim_hooks::rng;
use crate::topology::{Node, Shard, Topology};
use rand::Rng;
use std::sync::Arc;

/// The nodes of the present topology, for channels of one handle.
pub(super) struct Placement<'a> {
    pub(super) topology: &'a Topology,
    pub(super) config: &'a Config,
    pub(super) time: Time,
    /// Whether a node has just failed.
    pub(super) is_failing: &'a dyn Fn(&Peer) -> bool,
}

impl Placement<'_> {
    fn shard(&self, name: &[u8]) -> Option<&Shard> {
        let slot = self.topology.key_space().slot(name);
        self.topology.shard(slot)
    }

    /// Whether a channel that is on this node may stay there. `known_to` is the primary that knows the node as its replica; None
    /// if that is not known yet.
    pub(super) fn fits(
        &self,
        (kind, name): &ChannelKey,
        peer: &Arc<Peer>,
        known_to: Option<&Option<Arc<str>>>,
    ) -> bool {
        if *kind != ChannelKind::Sharded {
            return self.topology.node_at(peer.address()).is_some();
        }
        let Some(shard) = self.shard(name) else {
            return false;
        };
        let is_peer = |node: &Arc<Node>| Arc::ptr_eq(&node.peer, peer);
        if shard.primary.as_ref().is_some_and(is_peer) {
            return true;
        }
        let is_known = || match &shard.primary {
            Some(primary) if !self.topology.standalone => {
                known_to.is_none_or(|known_to| known_to.as_ref() == Some(&primary.id))
            }
            _ => true,
        };
        self.config.read_from() != ReadFrom::Primary
            && shard.replicas.iter().any(is_peer)
            && is_known()
    }

    /// The primary of a sharded channel, which has to know this node as its replica, and the replica's id. None if the node is
    /// the primary, or not in that shard.
    pub(super) fn primary_to_ask(
        &self,
        name: &[u8],
        peer: &Arc<Peer>,
    ) -> Option<(Arc<Node>, Arc<str>)> {
        let shard = self.shard(name)?;
        let mut replicas = shard.replicas.iter();
        let replica = replicas.find(|node| Arc::ptr_eq(&node.peer, peer))?;
        let primary = shard.primary.clone()?;
        (!self.topology.standalone).then(|| (primary, replica.id.clone()))
    }

    /// The node itself, which has to be a primary.
    pub(super) fn node_to_ask(&self, peer: &Arc<Peer>) -> Option<Arc<Node>> {
        let node = self.topology.node_at(peer.address())?;
        (!self.topology.standalone).then(|| node.clone())
    }

    /// Whether a node is the primary of a sharded channel.
    pub(super) fn is_primary_of(&self, name: &[u8], peer: &Arc<Peer>) -> bool {
        let primary = self.shard(name).and_then(|shard| shard.primary.as_ref());
        primary.is_some_and(|node| Arc::ptr_eq(&node.peer, peer))
    }

    /// The node of a sharded channel.
    pub(super) fn of_sharded(&self, name: &[u8]) -> Option<Arc<Peer>> {
        let shard = self.shard(name)?;
        let nodes = self.topology.nodes.iter();
        let failing = nodes.filter(|node| (self.is_failing)(&node.peer));
        let excluded: Vec<usize> = failing.map(|node| node.index).collect();
        let criteria = SelectionCriteria {
            read_from: self.config.read_from(),
            zone: self.config.zone.as_deref(),
            random: rng().random(),
            time: self.time,
            excluded: &excluded,
        };
        let choice = choose_node(shard, &criteria, &|_| true)?;
        Some(choice.node.peer.clone())
    }

    /// All primaries that serve slots.
    pub(super) fn primaries(&self) -> Vec<Arc<Peer>> {
        let shards = self.topology.shards.iter().enumerate();
        let serving = shards.filter(|(index, _)| self.topology.has_slots(*index));
        let primaries = serving.filter_map(|(_, shard)| shard.primary.as_ref());
        primaries.map(|node| node.peer.clone()).collect()
    }

    /// The nodes that a channel or pattern may be on, which receive the messages of all others. Those that have just failed
    /// are left out, unless all have.
    fn candidates(&self) -> Vec<Arc<Peer>> {
        let replicas = self.topology.shards.iter().flat_map(|s| &s.replicas);
        let replicas: Vec<Arc<Peer>> = replicas.map(|node| node.peer.clone()).collect();
        let all = || self.topology.nodes.iter().map(|node| node.peer.clone());
        let mut found = match self.config.read_from() {
            ReadFrom::Primary => self.primaries(),
            ReadFrom::Replica => replicas,
            ReadFrom::Any | ReadFrom::Nearest | ReadFrom::Zone => all().collect(),
        };
        if found.iter().all(|peer| (self.is_failing)(peer)) {
            found = all().collect();
        }
        let is_usable = |peer: &Arc<Peer>| !(self.is_failing)(peer) && peer.is_healthy();
        match found.iter().any(is_usable) {
            true => found.into_iter().filter(is_usable).collect(),
            false => found,
        }
    }

    /// A node for a channel or pattern, if it is the first of all that are on one node, or if they are spread. A channel goes
    /// to the node that PUBLISH is sent to: then its messages do not depend on the cluster bus, and the reply to PUBLISH
    /// counts the subscriber.
    pub(super) fn of_unsharded(&self, (kind, name): &ChannelKey) -> Option<Arc<Peer>> {
        let mut candidates = self.candidates();
        let is_candidate =
            |node: &&Arc<Node>| candidates.iter().any(|c| Arc::ptr_eq(c, &node.peer));
        // A pattern has no slot: its text only spreads patterns.
        if *kind == ChannelKind::Channel || self.config.spread_channels {
            let mut nodes = self.shard(name).into_iter().flat_map(Shard::nodes);
            if let Some(node) = nodes.find(is_candidate) {
                return Some(node.peer.clone());
            }
        }
        if candidates.is_empty() {
            return None;
        }
        let chosen = rng().random_range(0..candidates.len());
        Some(candidates.swap_remove(chosen))
    }
}
