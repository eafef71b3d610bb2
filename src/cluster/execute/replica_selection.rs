//! The node that serves a read of a handle that reads from replicas.

use super::destination::{Destination, ReplicaChoice};
use super::exec_state::ExecState;
use crate::cluster::reads::{FreshnessRequirement, ReadConsistency, Seen};
use crate::cluster::state::{Core, count};
use crate::config::ReadFrom;
use crate::deadline::{Time, now};
use crate::net::Peer;
use crate::random::mixed;
use crate::route::{Choice, SelectionCriteria, SkipReason, choose_node};
use crate::topology::{Node, Shard};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The nodes of a shard, and what one needs to serve a read.
struct Candidates<'t> {
    shard: &'t Shard,
    /// None where any replica will do, however stale it is.
    requirement: Option<FreshnessRequirement>,
}

impl<'t> Candidates<'t> {
    fn is_primary(&self, node: &Arc<Node>) -> bool {
        let primary = self.shard.primary.as_ref();
        primary.is_some_and(|p| Arc::ptr_eq(p, node))
    }

    fn is_fresh(&self, node: &Arc<Node>) -> bool {
        match (&self.requirement, &self.shard.primary) {
            (None, _) => true,
            (Some(_), Some(primary)) if Arc::ptr_eq(primary, node) => true,
            (Some(requirement), Some(primary)) => requirement.is_met(&node.peer, &primary.peer),
            (Some(_), None) => false,
        }
    }

    /// The replica where the slot's last reads were served: it has all that was seen there.
    fn last_seen(&self, criteria: &SelectionCriteria<'_>) -> Option<&'t Arc<Node>> {
        let incarnation = self.requirement?.seen.incarnation();
        if incarnation == 0 {
            return None;
        }
        let node = self.shard.replicas.iter().find(|node| {
            node.peer.freshness.incarnation() == incarnation
                && node.peer.health.is_healthy()
                && !criteria.excluded.contains(&node.index)
        });
        node.filter(|node| self.is_fresh(node))
    }

    fn choose(&self, criteria: &SelectionCriteria<'_>) -> Option<Choice<'t>> {
        choose_node(self.shard, criteria, &|node| self.is_fresh(node))
    }

    /// Whether the proof of a replica's freshness has passed half of the staleness bound. One caller
    /// renews it then, before any other has to wait for it.
    fn proof_expires_soon(
        &self,
        consistency: &ReadConsistency,
        node: &Arc<Node>,
        time: Time,
    ) -> bool {
        let Some(primary) = (self.shard.primary.as_ref()).filter(|p| !Arc::ptr_eq(p, node)) else {
            return false;
        };
        consistency.max_staleness_ms > 0
            && (node.peer.freshness.fresh_as_of(primary.peer.origin()))
                .is_none_or(|since| since.is_before(time, consistency.max_staleness_ms / 2))
    }
}

impl ExecState<'_> {
    /// The node that serves a read, of a slot or of none. None where only the primary may, as for a
    /// write.
    pub(super) fn read_destination<'t>(
        &self,
        shard: &'t Shard,
        slot: Option<u16>,
        salt: u64,
    ) -> Option<Destination<'t>> {
        if shard.replicas.is_empty() {
            self.missed_replicas.set(true);
        }
        let (kind, consistency) = (self.policy.kind, self.consistency?);
        let proven_slot = slot.filter(|_| consistency.needs_freshness_proof());
        // No proof of freshness outlasts a wait in the server.
        if proven_slot.is_some() && kind.is_blocking() {
            return None;
        }
        let mut criteria = SelectionCriteria {
            read_from: self.policy.read_from,
            zone: consistency.zone.as_deref(),
            // A number for each slot of a call, so that all its reads of a slot go to one node.
            random: mixed(self.seed, salt),
            time: self.call.began,
            excluded: &self.excluded,
        };
        let requirement = proven_slot.map(|slot| {
            criteria.time = now();
            self.requirement(consistency, slot, criteria.time)
        });
        let candidates = Candidates { shard, requirement };
        let choice = self.fresh_choice(&candidates, consistency, &criteria)?;
        if candidates.is_primary(choice.node) && consistency.rechecks_missing_keys() {
            return Some(self.primary_read(shard, &choice));
        }
        let choice = self.reachable_choice(&candidates, choice, criteria)?;
        let mut how = ReplicaChoice::new(&choice, candidates.is_primary(choice.node));
        if let Some(requirement) = requirement {
            how.requirement = requirement;
            how.incarnation = self.incarnation_of(&choice.node.peer);
        }
        self.count_choice(choice.node, &how);
        Some(Destination {
            choice: how,
            ..Destination::of_node(choice.node, true, kind)
        })
    }

    /// Chooses a node that is proven fresh enough; probes the shard's freshness where that is missing
    /// or about to expire.
    fn fresh_choice<'t>(
        &self,
        candidates: &Candidates<'t>,
        consistency: &ReadConsistency,
        criteria: &SelectionCriteria<'_>,
    ) -> Option<Choice<'t>> {
        let choice = match candidates.last_seen(criteria) {
            Some(node) => Choice {
                node,
                skipped: None,
                fallback: false,
            },
            None => candidates.choose(criteria)?,
        };
        let probes = candidates.requirement.is_some()
            && (choice.skipped == Some(SkipReason::Stale)
                || candidates.proof_expires_soon(consistency, choice.node, criteria.time))
            && self.core.probe_freshness(
                self.process,
                candidates.shard,
                self.policy.kind,
                &self.call,
                consistency,
            );
        if !probes {
            return Some(choice);
        }
        match candidates.last_seen(criteria) {
            Some(node) => Some(Choice { node, ..choice }),
            None => candidates.choose(criteria),
        }
    }

    /// A read at the primary whose missing keys count. It is not sent as READONLY, because a primary
    /// that has been demoted would serve it as a replica.
    fn primary_read<'t>(&self, shard: &'t Shard, choice: &Choice<'t>) -> Destination<'t> {
        let how = ReplicaChoice::new(choice, true);
        self.count_choice(choice.node, &how);
        let primary = &choice.node.peer;
        let mut destination =
            Destination::of_node(choice.node, true, self.policy.kind.at_primary());
        if !primary.health.is_healthy() {
            let other = self.route_around_failed_primary(shard, primary);
            // Replicas can still serve the read if the primary refuses it.
            if !Arc::ptr_eq(other.peer, primary) {
                destination = other;
            }
        }
        Destination {
            choice: how,
            ..destination
        }
    }

    /// The chosen node, or the next choice while an ejected one fails its probe. A node that has just
    /// failed is not due for another, so this ends.
    fn reachable_choice<'t>(
        &self,
        candidates: &Candidates<'t>,
        mut choice: Choice<'t>,
        mut criteria: SelectionCriteria<'_>,
    ) -> Option<Choice<'t>> {
        while !choice.node.peer.health.is_healthy()
            && choice.node.peer.health.is_probe_due(now())
            && !self.probe(&choice.node.peer)
        {
            criteria.time = now();
            choice = candidates.choose(&criteria)?;
        }
        Some(choice)
    }

    /// The incarnation of a node. Its first connection for reads is opened before, because a later one
    /// might reach another process than the one that the proof is about. If that fails, the command's
    /// own attempt reports why.
    fn incarnation_of(&self, peer: &Peer) -> u32 {
        if peer.freshness.incarnation() == 0 {
            let _ = peer.ensure_connected(self.policy.kind, self.call.attempt_at(now()));
        }
        peer.freshness
            .incarnation_or_assign(|| self.core.session.next_incarnation())
    }

    /// What a replica must be proven to have, to serve a read of a slot at `time`.
    fn requirement(
        &self,
        consistency: &ReadConsistency,
        slot: u16,
        time: Time,
    ) -> FreshnessRequirement {
        let session = &self.core.session;
        let written = consistency.read_your_writes.then(|| session.written(slot));
        FreshnessRequirement {
            since: written.max(consistency.oldest(time)),
            seen: match consistency.monotonic {
                true => session.seen(slot),
                false => Seen::NOTHING,
            },
        }
    }

    pub(super) fn count_choice(&self, node: &Node, choice: &ReplicaChoice) {
        count_read(self.core, node, choice.primary);
        let stats = &self.core.stats;
        match choice.skipped {
            None => {}
            Some(SkipReason::Ejected) => count(&stats.reads_skipped_ejected),
            Some(SkipReason::Stale) => count(&stats.reads_skipped_stale),
        }
        if choice.fallback {
            count(match self.policy.read_from {
                ReadFrom::Zone => &stats.reads_out_of_zone,
                _ => &stats.reads_fallback,
            });
        }
    }
}

/// Counts a read of a handle that reads from replicas.
#[inline]
pub fn count_read(core: &Core, node: &Node, is_primary: bool) {
    count_reads(core, node, is_primary, 1);
}

/// The same for several.
pub(super) fn count_reads(core: &Core, node: &Node, is_primary: bool, reads: u32) {
    let of_role = match is_primary {
        true => &core.stats.primary_reads,
        false => &core.stats.replica_reads,
    };
    for counter in [of_role, &node.peer.counters.reads] {
        counter.fetch_add(reads.into(), Ordering::Relaxed);
    }
}
