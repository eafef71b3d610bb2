//! The node that a command goes to in a round.

use super::destination::{Destination, unowned_slot};
use super::exec_state::ExecState;
use super::routed_command::{RoutedCommand, Target};
use crate::config::ReadFrom;
use crate::error::{Code, Error, Result};
use crate::net::Peer;
use crate::sim_hooks::rng;
use crate::topology::{Shard, Topology};
use rand::Rng;
use std::sync::Arc;

/// The properties that decide the destination of a command.
pub(super) struct RouteRequest<'t> {
    pub(super) target: &'t Target,
    pub(super) redirect_target: Option<&'t Arc<Peer>>,
    /// A replica may answer.
    pub(super) replica_eligible: bool,
    /// The command's name, for error messages.
    pub(super) name: &'static str,
}

impl<'t> RouteRequest<'t> {
    #[inline]
    pub(super) fn new(command: &'t RoutedCommand<'_>, replica_eligible: bool) -> RouteRequest<'t> {
        RouteRequest {
            target: &command.target,
            redirect_target: command.redirect_target(),
            replica_eligible,
            name: command.name,
        }
    }
}

impl ExecState<'_> {
    /// The node that a command goes to.
    #[inline]
    pub(super) fn destination<'t>(
        &self,
        request: &RouteRequest<'t>,
        topology: &'t Topology,
    ) -> Result<Destination<'t>> {
        let at_primary = self.policy.kind.at_primary();
        if let Some(peer) = request.redirect_target {
            return Ok(Destination::of_peer(peer, at_primary));
        }
        let slot = match request.target {
            Target::Slot(slot) | Target::Writes(slot) => *slot,
            Target::Primary(slot) => return self.only_primary(*slot, request.name, topology),
            Target::Near(slot) if self.is_usable(topology.shard(*slot)) => *slot,
            Target::Near(slot) => return self.any_node(usize::from(*slot), false, topology),
            Target::Anywhere => {
                let random = rng().random_range(0..usize::MAX);
                return self.any_node(random, request.replica_eligible, topology);
            }
            Target::Peer(peer) => return Ok(Destination::of_peer(peer, self.policy.kind)),
        };
        let unowned = || unowned_slot(slot, request.name);
        let shard = topology.shard(slot).ok_or_else(unowned)?;
        if request.replica_eligible
            && self.policy.read_from != ReadFrom::Primary
            && !self.is_written(slot)
            && let Some(destination) = self.read_destination(shard, Some(slot), u64::from(slot))
        {
            return Ok(destination);
        }
        let Some(primary) = &shard.primary else {
            return Err(unowned());
        };
        if primary.peer.health.is_healthy() {
            return Ok(Destination::of_node(primary, false, at_primary));
        }
        Ok(self.route_around_failed_primary(shard, &primary.peer))
    }

    /// Whether the primary of the shard is healthy and has not failed in this call.
    fn is_usable(&self, shard: Option<&Shard>) -> bool {
        shard
            .and_then(|shard| shard.primary.as_ref())
            .is_some_and(|p| p.peer.is_healthy() && !self.excluded.contains(&p.index))
    }

    /// The node of a shard, which `number` selects among those with a healthy primary if there is one.
    fn any_node<'t>(
        &self,
        number: usize,
        replica_eligible: bool,
        topology: &'t Topology,
    ) -> Result<Destination<'t>> {
        let no_node = || Error::new(Code::Down, "no node of the cluster is known");
        let shards: Vec<&Shard> = topology
            .shards
            .iter()
            .filter(|s| s.primary.is_some())
            .collect();
        let healthy: Vec<&&Shard> = shards.iter().filter(|s| self.is_usable(Some(s))).collect();
        let shard = match (healthy.len(), shards.len()) {
            (0, 0) => return Err(no_node()),
            (0, n) => shards[number % n],
            (n, _) => healthy[number % n],
        };
        if replica_eligible
            && self.policy.read_from != ReadFrom::Primary
            && let Some(destination) = self.read_destination(shard, None, number as u64)
        {
            return Ok(destination);
        }
        let primary = shard.primary.as_ref().ok_or_else(no_node)?;
        let kind = self.policy.kind.at_primary();
        Ok(Destination::of_node(primary, true, kind))
    }
}
