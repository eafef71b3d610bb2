//! To which node a command goes, in this round.

use super::{Execution, RoutedCommand, Target};
use crate::cluster::reads::Seen;
use crate::cluster::reads::{FreshnessRequirement, ReadConsistency};
use crate::cluster::state::count;
use crate::config::ReadFrom;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::{ConnectionKind, Peer};
use crate::route::{Choice, SelectionCriteria, SkipReason, choose_node};
use crate::sim_hooks::rng;
use crate::topology::{Node, Shard, Topology};
use rand::Rng;
use std::sync::Arc;

/// How long a node that has been failing has to greet us: a quarter of an attempt, within these; or
/// longer, if it is so far away that it took a quarter of that when it was well.
const PROBE_LEAST_MS: u64 = 50;
const PROBE_MOST_MS: u64 = 250;

/// A node to ask.
pub(super) struct Destination<'t> {
    pub(super) peer: &'t Arc<Peer>,
    pub(super) index: Option<usize>,
    /// On which connection: a replica serves only those that say READONLY.
    pub(super) kind: ConnectionKind,
    /// One of several that could be asked.
    pub(super) any_replica_ok: bool,
    pub(super) selection: ReplicaChoice,
}

/// How a read's node was chosen.
#[derive(Clone, Copy)]
pub(super) struct ReplicaChoice {
    /// What it had to be shown to have.
    pub(super) requirement: FreshnessRequirement,
    /// The incarnation that it had; 0 where nobody cares.
    pub(super) incarnation: u32,
    skipped: Option<SkipReason>,
    fallback: bool,
    pub(super) primary: bool,
}

impl ReplicaChoice {
    const NONE: ReplicaChoice = ReplicaChoice {
        requirement: FreshnessRequirement::NOTHING,
        incarnation: 0,
        skipped: None,
        fallback: false,
        primary: true,
    };
}

impl<'t> Destination<'t> {
    #[inline]
    pub(super) fn of_node(
        node: &'t Node,
        any_replica_ok: bool,
        kind: ConnectionKind,
    ) -> Destination<'t> {
        Destination {
            index: Some(node.index),
            any_replica_ok,
            ..Destination::of_peer(&node.peer, kind)
        }
    }

    #[inline]
    pub(super) fn of_peer(peer: &'t Arc<Peer>, kind: ConnectionKind) -> Destination<'t> {
        Destination {
            peer,
            index: None,
            kind,
            any_replica_ok: false,
            selection: ReplicaChoice::NONE,
        }
    }
}

/// There is nobody to send it to.
#[cold]
pub(super) fn unserved(slot: u16, name: &str) -> Error {
    Error::new(
        Code::Down,
        format_args!("no node serves slot {slot}, which {name} needs"),
    )
}

impl Execution<'_> {
    pub(super) fn note_writes(&mut self, parts: &[RoutedCommand<'_>]) {
        let mut written: Option<Box<[u64; 256]>> = None;
        for part in parts.iter().filter(|p| !p.read) {
            if let Some(slot) = part.slot() {
                written.get_or_insert_with(|| Box::new([0; 256]))[usize::from(slot >> 6)] |=
                    1 << (slot & 63);
            }
        }
        self.written = written;
    }

    pub(super) fn is_written(&self, slot: u16) -> bool {
        self.written
            .as_ref()
            .is_some_and(|w| w[usize::from(slot >> 6)] & (1 << (slot & 63)) != 0)
    }

    /// Whether a replica may answer the part, as far as is known before it is asked. What a
    /// transaction of reads says does not tell whether a key is missing.
    #[inline]
    pub(super) fn replica_eligible(&self, part: &RoutedCommand<'_>) -> bool {
        part.replica_eligible()
            && (part.preludes == 0
                || self.consistency.is_none_or(|p| !p.rechecks_missing_keys())
                    && self.process.migrating_slots.is_empty())
    }

    /// The node that a part goes to.
    #[inline]
    pub(super) fn place<'t>(
        &self,
        target: &'t Target,
        redirect_target: Option<&'t Arc<Peer>>,
        (read, name): (bool, &str),
        topology: &'t Topology,
    ) -> Result<Destination<'t>> {
        let home = self.policy.kind.at_primary();
        if let Some(peer) = redirect_target {
            return Ok(Destination::of_peer(peer, home));
        }
        let slot = match target {
            Target::Slot(slot) => *slot,
            Target::Primary(slot) => return self.primary(*slot, name, topology),
            Target::Anywhere => return self.anywhere(read, topology),
            Target::Peer(peer) => return Ok(Destination::of_peer(peer, self.policy.kind)),
        };
        let nobody = || unserved(slot, name);
        let shard = topology.shard(slot).ok_or_else(nobody)?;
        if read
            && self.policy.read_from != ReadFrom::Primary
            && !self.is_written(slot)
            && let Some(place) = self.read_place(shard, Some(slot), u64::from(slot))
        {
            return Ok(place);
        }
        let Some(primary) = &shard.primary else {
            return Err(nobody());
        };
        if primary.peer.health.is_healthy() {
            return Ok(Destination::of_node(primary, false, home));
        }
        Ok(self.route_around_failed_primary(shard, &primary.peer))
    }

    /// The primary of a slot: where it has been failing and has replicas, one of them may take its
    /// place, which the next refresh tells.
    fn primary<'t>(
        &self,
        slot: u16,
        name: &str,
        topology: &'t Topology,
    ) -> Result<Destination<'t>> {
        let shard = topology.shard(slot);
        let Some((shard, primary)) = shard.and_then(|s| s.primary.as_ref().map(|p| (s, p))) else {
            return Err(unserved(slot, name));
        };
        let health = &primary.peer.health;
        let asked = health.is_healthy()
            || shard.replicas.is_empty()
            || (health.is_required_probe_due(now()) && self.probe(&primary.peer));
        if asked {
            let home = self.policy.kind.at_primary();
            return Ok(Destination::of_node(primary, false, home));
        }
        let node = primary.peer.origin().name();
        Err(Error::new(
            Code::Down,
            format_args!("{node} does not answer, and {name} needs it or its successor"),
        )
        .at(node))
    }

    /// The primary has been failing. It is tried now and then; meanwhile its replicas are asked
    /// in turn, because one of them may have been promoted: it then serves the command, and
    /// otherwise says MOVED without executing it. Also those that have been failing themselves:
    /// the primary that was lost before this one may be its successor.
    #[cold]
    pub(super) fn route_around_failed_primary<'t>(
        &self,
        shard: &'t Shard,
        primary: &'t Arc<Peer>,
    ) -> Destination<'t> {
        let (time, home) = (now(), self.policy.kind.at_primary());
        let ready = |peer: &Peer| peer.health.is_healthy() || peer.health.is_probe_due(time);
        // Where there is nobody else, there is nothing to find out first.
        if !shard.replicas.iter().any(|n| ready(&n.peer)) {
            return Destination::of_peer(primary, home);
        }
        if primary.health.is_required_probe_due(time) && self.probe(primary) {
            return Destination::of_peer(primary, home);
        }
        let (before, after) = shard
            .replicas
            .split_at(self.tries as usize % shard.replicas.len());
        for node in after.iter().chain(before) {
            let health = &node.peer.health;
            if health.is_healthy() || (health.is_probe_due(time) && self.probe(&node.peer)) {
                return Destination::of_peer(&node.peer, home);
            }
        }
        Destination::of_peer(primary, home)
    }

    /// Whether a node that has been failing lives: a new connection and its greeting tell, and a
    /// caller's command, whose fate would be unknown, is not risked. One that lives gets this
    /// caller's command, and others only once that has been answered: a node that greets may still
    /// be loading its data.
    #[cold]
    pub(super) fn probe(&self, peer: &Peer) -> bool {
        let time = now();
        peer.health.record_probe(time);
        let most = (self.policy.attempt_ms / 4)
            .clamp(PROBE_LEAST_MS, PROBE_MOST_MS)
            .max(peer.handshake_ms() * 4)
            .min(self.policy.attempt_ms.max(PROBE_LEAST_MS));
        let until = Deadline::after(time, most).min(self.call.deadline);
        let lives = peer.open(self.policy.kind, &self.call, until).is_ok();
        if lives {
            self.probing.set(std::ptr::from_ref(peer).addr());
        } else {
            peer.health
                .record_failure(now(), rng().random_range(0.0..1.0));
        }
        lives
    }

    /// The node that serves a read; nobody where only the primary may, as for a write.
    pub(super) fn read_place<'t>(
        &self,
        shard: &'t Shard,
        slot: Option<u16>,
        salt: u64,
    ) -> Option<Destination<'t>> {
        if shard.replicas.is_empty() {
            self.missed_replicas.set(true);
        }
        let kind = self.policy.kind;
        let primary = shard.primary.as_ref();
        let is_primary = |node: &Arc<Node>| primary.is_some_and(|p| Arc::ptr_eq(p, node));
        let bound = match (self.consistency?, slot) {
            (consistency, Some(slot)) if consistency.needs_freshness_proof() => {
                Some((consistency, slot))
            }
            _ => None,
        };
        // Nobody knows how fresh a replica will be when the wait is over.
        if bound.is_some() && kind.is_blocking() {
            return None;
        }
        // One number for each slot, so that the commands of a slot go to one node.
        let random = (self.seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_mul(0xd6e8_feb8_6659_fd93)
            .rotate_left(32)
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mut criteria = SelectionCriteria {
            read_from: self.policy.read_from,
            zone: self.consistency?.zone.as_deref(),
            random,
            time: self.call.began,
            excluded: &self.excluded,
        };
        let requirement = bound.map(|(consistency, slot)| {
            criteria.time = now();
            self.requirement(consistency, slot, criteria.time)
        });
        let fits = |node: &Arc<Node>| match (&requirement, primary) {
            (None, _) => true,
            (Some(_), Some(primary)) if Arc::ptr_eq(primary, node) => true,
            (Some(requirement), Some(primary)) => requirement.is_met(&node.peer, &primary.peer),
            (Some(_), None) => false,
        };
        let same = |criteria: &SelectionCriteria<'_>| {
            requirement.and_then(|requirement| self.same_as_before(shard, requirement, criteria))
        };
        let mut choice = match same(&criteria).filter(|node| fits(node)) {
            Some(node) => Choice {
                node,
                skipped: None,
                fallback: false,
            },
            None => choose_node(shard, &criteria, &fits)?,
        };
        if let Some((consistency, _)) = bound
            && (choice.skipped == Some(SkipReason::Stale)
                || is_wearing(consistency, choice.node, primary, criteria.time))
            && (self.core).probe_freshness(self.process, shard, kind, &self.call, consistency)
        {
            choice = match same(&criteria).filter(|node| fits(node)) {
                Some(node) => Choice { node, ..choice },
                None => choose_node(shard, &criteria, &fits)?,
            };
        }
        // A node that has been demoted would serve this as a replica, if it was asked as one.
        if is_primary(choice.node) && self.consistency?.rechecks_missing_keys() {
            let selection = selection_of(&choice, true);
            self.count_read(choice.node, &selection);
            let place = match choice.node.peer.health.is_healthy() {
                true => Destination::of_node(choice.node, true, kind.at_primary()),
                false => self.route_around_failed_primary(shard, &choice.node.peer),
            };
            return Some(Destination { selection, ..place });
        }
        // One that has been failing is asked whether it lives before it gets the command. It is
        // not due again at once, so this ends.
        while !choice.node.peer.health.is_healthy()
            && choice.node.peer.health.is_probe_due(now())
            && !self.probe(&choice.node.peer)
        {
            criteria.time = now();
            choice = choose_node(shard, &criteria, &fits)?;
        }
        let mut selection = selection_of(&choice, is_primary(choice.node));
        if let Some(requirement) = requirement {
            selection.requirement = requirement;
            // A connection that is opened only for the command would be to a process that nobody
            // knows.
            self.ensure_connected(&choice.node.peer);
            selection.incarnation = (choice.node.peer.freshness)
                .incarnation_or_assign(|| self.core.session.next_incarnation());
        }
        self.count_read(choice.node, &selection);
        Some(Destination {
            selection,
            ..Destination::of_node(choice.node, true, kind)
        })
    }

    /// Opens the first connection for reads to a node, so that what is shown of it and what is seen
    /// there is of the process behind it. Should that fail, the command finds out why.
    fn ensure_connected(&self, peer: &Peer) {
        if peer.freshness.incarnation() == 0 {
            let _ = peer.ensure_connected(
                self.policy.kind,
                &self.call,
                self.call.attempt_deadline(now()),
            );
        }
    }

    /// What a replica must be shown to have for a read of a slot at this time.
    pub(super) fn requirement(
        &self,
        consistency: &ReadConsistency,
        slot: u16,
        time: Time,
    ) -> FreshnessRequirement {
        let session = &self.core.session;
        let written = consistency.read_your_writes.then(|| session.written(slot));
        let since = written.max(consistency.oldest(time));
        FreshnessRequirement {
            since,
            seen: match consistency.monotonic {
                true => session.seen(slot),
                false => Seen::NOTHING,
            },
        }
    }

    /// The replica that has everything that was seen of a slot, because it was seen there.
    fn same_as_before<'t>(
        &self,
        shard: &'t Shard,
        requirement: FreshnessRequirement,
        criteria: &SelectionCriteria<'_>,
    ) -> Option<&'t Arc<Node>> {
        if requirement.seen.incarnation() == 0 {
            return None;
        }
        shard.replicas.iter().find(|node| {
            node.peer.freshness.incarnation() == requirement.seen.incarnation()
                && node.peer.health.is_healthy()
                && !criteria.excluded.contains(&node.index)
        })
    }

    pub(super) fn count_read(&self, node: &Node, selection: &ReplicaChoice) {
        let stats = &self.core.stats;
        count(match selection.primary {
            true => &stats.primary_reads,
            false => &stats.replica_reads,
        });
        count(&node.peer.counters.reads);
        match selection.skipped {
            None => {}
            Some(SkipReason::Ejected) => count(&stats.reads_skipped_ejected),
            Some(SkipReason::Stale) => count(&stats.reads_skipped_stale),
        }
        if selection.fallback {
            count(match self.policy.read_from {
                ReadFrom::Zone => &stats.reads_out_of_zone,
                _ => &stats.reads_fallback,
            });
        }
    }

    /// Any shard's node that is well.
    pub(super) fn anywhere<'t>(
        &self,
        read: bool,
        topology: &'t Topology,
    ) -> Result<Destination<'t>> {
        let nobody = || Error::new(Code::Down, "no node of the cluster is known");
        let shards: Vec<&Shard> = topology
            .shards
            .iter()
            .filter(|s| s.primary.is_some())
            .collect();
        let well: Vec<&&Shard> = shards
            .iter()
            .filter(|s| {
                s.primary.as_ref().is_some_and(|p| {
                    p.peer.health.is_healthy() && !self.excluded.contains(&p.index)
                })
            })
            .collect();
        let random: usize = rng().random_range(0..usize::MAX);
        let shard = match (well.len(), shards.len()) {
            (0, 0) => return Err(nobody()),
            (0, n) => shards[random % n],
            (n, _) => well[random % n],
        };
        if read && self.policy.read_from != ReadFrom::Primary {
            return self
                .read_place(shard, None, random as u64)
                .or_else(|| {
                    let primary = shard.primary.as_ref()?;
                    Some(Destination::of_node(
                        primary,
                        true,
                        self.policy.kind.at_primary(),
                    ))
                })
                .ok_or_else(nobody);
        }
        shard
            .primary
            .as_ref()
            .map(|primary| Destination::of_node(primary, true, self.policy.kind.at_primary()))
            .ok_or_else(nobody)
    }
}

fn selection_of(choice: &Choice<'_>, primary: bool) -> ReplicaChoice {
    ReplicaChoice {
        skipped: choice.skipped,
        fallback: choice.fallback,
        primary,
        ..ReplicaChoice::NONE
    }
}

/// Whether what is shown of a replica will soon be too old: it is renewed before it is, by one
/// caller, so that nobody has to wait for it.
fn is_wearing(
    consistency: &ReadConsistency,
    node: &Arc<Node>,
    primary: Option<&Arc<Node>>,
    time: Time,
) -> bool {
    let Some(primary) = primary.filter(|p| !Arc::ptr_eq(p, node)) else {
        return false;
    };
    consistency.max_staleness_ms > 0
        && (node.peer.freshness.fresh_as_of(&primary.peer))
            .is_none_or(|since| since.is_before(time, consistency.max_staleness_ms / 2))
}
