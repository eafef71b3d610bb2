//! Whether what a replica answered keeps the handle's consistency, and what has been seen and written
//! when a call ends.

use super::destination::{Destination, ReplicaChoice};
use super::node_batch::NodeBatch;
use super::{Execution, PendingReply, RoutedCommand};
use crate::cluster::state::count;
use crate::deadline::now;
use crate::net::Peer;
use crate::resp::{Kind, Value, View};
use crate::route::may_be_missing_key;
use crate::topology::Topology;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where each slot's reads go in one round of a pipeline.
pub(super) type ReplicaChoices = BTreeMap<u16, ChosenForSlot>;

pub(super) struct ChosenForSlot {
    /// The batch, as long as they are being made up.
    pub(super) batch: usize,
    /// The node's place in the topology.
    pub(super) index: Option<usize>,
    pub(super) selection: ReplicaChoice,
}

impl Execution<'_> {
    /// Whether a reply from a replica is an answer; otherwise the primary is asked.
    pub(super) fn check_freshness(
        &self,
        part: &mut RoutedCommand<'_>,
        reply: View<'_>,
        place: &Destination<'_>,
        topology: &Topology,
    ) -> bool {
        let (Some(consistency), Some(slot)) = (self.consistency, part.slot()) else {
            return true;
        };
        if !place.kind.is_readonly() || place.kind.is_blocking() {
            return true;
        }
        let time = now();
        let ReplicaChoice {
            requirement,
            incarnation,
            ..
        } = place.selection;
        if consistency.needs_freshness_proof() {
            let primary = topology.shard(slot).and_then(|s| s.primary.as_ref());
            let mut requirement = requirement;
            requirement.since = requirement.since.max(consistency.oldest(time));
            if !primary.is_some_and(|p| requirement.is_met(place.peer, &p.peer)) {
                count(&self.core.stats.reads_stale_rejected);
                self.recheck_at_primary(part);
                return false;
            }
        }
        if (consistency.rechecks_missing_keys()
            || self.process.migrating_slots.contains(slot, time))
            && part.body.with_args(|args| may_be_missing_key(args, reply))
        {
            count(&self.core.stats.reads_rechecked);
            self.recheck_at_primary(part);
            return false;
        }
        if consistency.monotonic && reply.kind() != Kind::Error {
            // Another process may have answered than was chosen.
            let same = place.peer.freshness.incarnation() == incarnation;
            let incarnation = if same { incarnation } else { 0 };
            self.core
                .session
                .saw(slot, requirement.seen, incarnation, time);
            part.seen = true;
        }
        true
    }

    fn recheck_at_primary(&self, part: &mut RoutedCommand<'_>) {
        part.recheck = true;
        part.retry_state().primary_only = true;
    }

    /// The same for all replies of a round but errors, which are judged by themselves.
    pub(super) fn check_freshness_all(
        &self,
        parts: &mut [RoutedCommand<'_>],
        reply: &PendingReply,
        batches: &[NodeBatch],
        picks: &ReplicaChoices,
        topology: &Topology,
    ) {
        let (Some(_), Some(reply)) = (self.consistency, reply) else {
            return;
        };
        for batch in batches.iter().filter(|f| f.kind().is_readonly()) {
            for number in batch.answered() {
                let (number, value) = (number as usize, reply.answers[number as usize].value);
                if value.kind == Kind::Error {
                    continue;
                }
                let part = &mut parts[number];
                let place = destination_of(&batch.peer, batch, part, picks);
                self.check_freshness(part, View::new(reply, value), &place, topology);
            }
        }
    }

    /// An error that a replica sent: one of those that there are for a missing key?
    pub(super) fn is_doubtful_error(
        &self,
        part: &mut RoutedCommand<'_>,
        reply: &PendingReply,
        value: Value,
        place: &Destination<'_>,
        topology: &Topology,
    ) -> bool {
        match reply {
            Some(reply) => !self.check_freshness(part, View::new(reply, value), place, topology),
            None => false,
        }
    }

    /// Before the call returns: what it has written and seen counts for those that follow.
    pub(super) fn record_session(&self, parts: &[RoutedCommand<'_>]) {
        let session = &self.core.session;
        if !session.is_on() {
            return;
        }
        let monotonic = self.consistency.is_some_and(|p| p.monotonic);
        for part in parts {
            let slot = part.slot();
            if !part.read {
                session.wrote(slot);
            }
            if let (Some(slot), true, false) = (slot, monotonic, part.seen) {
                session.saw(slot, session.seen(slot), 0, now());
            }
        }
    }
}

/// Where a part of a batch went, with how that was chosen.
pub(super) fn destination_of<'t>(
    peer: &'t Arc<Peer>,
    batch: &NodeBatch,
    part: &RoutedCommand<'_>,
    picks: &ReplicaChoices,
) -> Destination<'t> {
    let mut place = Destination::of_peer(peer, batch.kind());
    if let Some(picked) = part.slot().and_then(|slot| picks.get(&slot)) {
        place.index = picked.index;
        place.selection = picked.selection;
    }
    place
}
