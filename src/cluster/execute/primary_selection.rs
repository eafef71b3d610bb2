//! The node for a command that the primary of a slot serves, also while that primary is failing.

use super::destination::{Destination, unowned_slot, unreachable};
use super::exec_state::ExecState;
use crate::deadline::now;
use crate::error::Result;
use crate::net::Peer;
use crate::topology::{Shard, Topology};
use std::sync::Arc;

impl ExecState<'_> {
    /// The primary of a slot and no other node. An unhealthy primary with replicas may be replaced by
    /// one of them, which the next refresh shows.
    pub(super) fn only_primary<'t>(
        &self,
        slot: u16,
        name: &str,
        topology: &'t Topology,
    ) -> Result<Destination<'t>> {
        let shard = topology.shard(slot);
        let Some((shard, primary)) = shard.and_then(|s| s.primary.as_ref().map(|p| (s, p))) else {
            return Err(unowned_slot(slot, name));
        };
        let peer = &primary.peer;
        let usable = peer.health.is_healthy()
            || shard.replicas.is_empty()
            || (peer.health.is_required_probe_due(now()) && self.probe(peer));
        if usable {
            let kind = self.policy.kind.at_primary();
            return Ok(Destination::of_node(primary, false, kind));
        }
        Err(unreachable(peer, name))
    }

    /// The primary of a shard, by its index in this version of the topology, if that is the present one and the primary is
    /// healthy.
    pub(super) fn healthy_primary(&self, (version, shard): (u64, usize)) -> Option<Arc<Peer>> {
        let topology = self.process.load_topology_in(self.call.in_fiber);
        if topology.version != version {
            return None;
        }
        let peer = &topology.shards.get(shard)?.primary.as_ref()?.peer;
        peer.health.is_healthy().then(|| peer.clone())
    }

    /// The node that stands in for an unhealthy primary: one of its replicas, which may have been
    /// promoted. A promoted replica serves the command; any other replies MOVED without executing it.
    ///
    /// The primary itself is tried whenever a probe is due. The replicas are tried in turn, also those
    /// that were ejected: the primary that failed before this one may be its successor.
    ///
    /// A server without cluster support has no stand-in: its replicas would serve reads as well, with data that may be
    /// stale. Only a refresh shows which of them has been promoted.
    #[cold]
    pub(super) fn route_around_failed_primary<'t>(
        &self,
        shard: &'t Shard,
        primary: &'t Arc<Peer>,
    ) -> Destination<'t> {
        let (time, kind) = (now(), self.policy.kind.at_primary());
        if primary.with_identity(|identity| identity.is_standalone()) {
            return Destination::of_peer(primary, kind);
        }
        let is_candidate = |peer: &Peer| peer.health.is_healthy() || peer.health.is_probe_due(time);
        // Without another candidate a probe would decide nothing.
        if !shard.replicas.iter().any(|n| is_candidate(&n.peer)) {
            return Destination::of_peer(primary, kind);
        }
        if primary.health.is_required_probe_due(time) && self.probe(primary) {
            return Destination::of_peer(primary, kind);
        }
        let (before, after) = shard
            .replicas
            .split_at(self.tries as usize % shard.replicas.len());
        for node in after.iter().chain(before) {
            let health = &node.peer.health;
            if health.is_healthy() || (health.is_probe_due(time) && self.probe(&node.peer)) {
                return Destination::of_peer(&node.peer, kind);
            }
        }
        Destination::of_peer(primary, kind)
    }
}
