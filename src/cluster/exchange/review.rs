//! Whether what a replica answered keeps the handle's promise, and what has been seen and written
//! when a call ends.

use super::place::{Pick, Place};
use super::{Exchange, Part, Slot};
use crate::cluster::flight::Flight;
use crate::cluster::stats::count;
use crate::deadline::now;
use crate::net::Peer;
use crate::resp::{Kind, Value, View};
use crate::route::may_be_missing_key;
use crate::topology::Topology;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where each slot's reads go in one round of a pipeline.
pub(super) type Picks = BTreeMap<u16, Picked>;

pub(super) struct Picked {
    /// The flight, as long as they are being made up.
    pub(super) flight: usize,
    /// The node's place in the topology.
    pub(super) index: Option<usize>,
    pub(super) pick: Pick,
}

impl Exchange<'_> {
    /// Whether a reply from a replica is an answer; otherwise the primary is asked.
    pub(super) fn review(
        &self,
        part: &mut Part<'_>,
        reply: View<'_>,
        place: &Place<'_>,
        topology: &Topology,
    ) -> bool {
        let (Some(promise), Some(slot)) = (self.promise, part.slot()) else {
            return true;
        };
        if !place.kind.is_readonly() || place.kind.is_blocking() {
            return true;
        }
        let time = now();
        let Pick {
            need, incarnation, ..
        } = place.pick;
        if promise.needs_proof() {
            let primary = topology.shard(slot).and_then(|s| s.primary.as_ref());
            let mut need = need;
            need.since = need.since.max(promise.oldest(time));
            if !primary.is_some_and(|p| need.is_met(place.peer, &p.peer)) {
                count(&self.core.stats.reads_stale_rejected);
                self.doubt(part);
                return false;
            }
        }
        if (promise.verifies() || self.process.moving.has(slot, time))
            && part.body.with_args(|args| may_be_missing_key(args, reply))
        {
            count(&self.core.stats.reads_rechecked);
            self.doubt(part);
            return false;
        }
        if promise.monotonic && reply.kind() != Kind::Error {
            // Another process may have answered than was chosen.
            let same = place.peer.freshness.incarnation() == incarnation;
            let incarnation = if same { incarnation } else { 0 };
            self.core.session.saw(slot, need.seen, incarnation, time);
            part.seen = true;
        }
        true
    }

    fn doubt(&self, part: &mut Part<'_>) {
        part.doubted = true;
        part.trouble().home = true;
    }

    /// The same for all replies of a round but errors, which are judged by themselves.
    pub(super) fn review_all(
        &self,
        parts: &mut [Part<'_>],
        reply: &Slot,
        flights: &[Flight],
        picks: &Picks,
        topology: &Topology,
    ) {
        let (Some(_), Some(reply)) = (self.promise, reply) else {
            return;
        };
        for flight in flights.iter().filter(|f| f.kind().is_readonly()) {
            for number in flight.answered() {
                let (number, value) = (number as usize, reply.answers[number as usize].value);
                if value.kind == Kind::Error {
                    continue;
                }
                let part = &mut parts[number];
                let place = pick_up(&flight.peer, flight, part, picks);
                self.review(part, View::new(reply, value), &place, topology);
            }
        }
    }

    /// An error that a replica sent: one of those that there are for a missing key?
    pub(super) fn is_doubtful_error(
        &self,
        part: &mut Part<'_>,
        reply: &Slot,
        value: Value,
        place: &Place<'_>,
        topology: &Topology,
    ) -> bool {
        match reply {
            Some(reply) => !self.review(part, View::new(reply, value), place, topology),
            None => false,
        }
    }

    /// Before the call returns: what it has written and seen counts for those that follow.
    pub(super) fn remember(&self, parts: &[Part<'_>]) {
        let session = &self.core.session;
        if !session.is_on() {
            return;
        }
        let monotonic = self.promise.is_some_and(|p| p.monotonic);
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

/// Where a part of a flight went, with how that was chosen.
pub(super) fn pick_up<'t>(
    peer: &'t Arc<Peer>,
    flight: &Flight,
    part: &Part<'_>,
    picks: &Picks,
) -> Place<'t> {
    let mut place = Place::of_peer(peer, flight.kind());
    if let Some(picked) = part.slot().and_then(|slot| picks.get(&slot)) {
        place.index = picked.index;
        place.pick = picked.pick;
    }
    place
}
