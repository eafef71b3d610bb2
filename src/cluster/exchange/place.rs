//! To which node a command goes, in this round.

use super::{Exchange, Part, Target};
use crate::cluster::stats::count;
use crate::config::ReadFrom;
use crate::deadline::{Deadline, now};
use crate::error::{Code, Error, Result};
use crate::net::Peer;
use crate::route::choose;
use crate::topology::{Node, Shard, Topology};
use crate::world::rng;
use rand::Rng;
use std::sync::Arc;

/// How long a node that has been failing has to greet us: a quarter of an attempt, within these; or
/// longer, if it is so far away that it took a quarter of that when it was well.
const PROBE_LEAST_MS: u64 = 50;
const PROBE_MOST_MS: u64 = 250;

/// A node to ask.
pub(super) struct Place<'t> {
    pub(super) peer: &'t Arc<Peer>,
    pub(super) index: Option<usize>,
    /// One of several that could be asked.
    pub(super) choice: bool,
}

impl<'t> Place<'t> {
    #[inline]
    pub(super) fn of_node(node: &'t Node, choice: bool) -> Place<'t> {
        Place {
            peer: &node.peer,
            index: Some(node.index),
            choice,
        }
    }

    #[inline]
    pub(super) fn of_peer(peer: &'t Arc<Peer>) -> Place<'t> {
        Place {
            peer,
            index: None,
            choice: false,
        }
    }
}

impl Exchange<'_> {
    pub(super) fn note_writes(&mut self, parts: &[Part<'_>]) {
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

    /// The node that a part goes to.
    #[inline]
    pub(super) fn place<'t>(
        &self,
        target: &'t Target,
        toward: Option<&'t Arc<Peer>>,
        (read, name): (bool, &str),
        topology: &'t Topology,
    ) -> Result<Place<'t>> {
        if let Some(peer) = toward {
            return Ok(Place::of_peer(peer));
        }
        let slot = match target {
            Target::Slot(slot) => *slot,
            Target::Primary(slot) => return self.primary(*slot, name, topology),
            Target::Anywhere => return self.anywhere(read, topology),
            Target::Peer(peer) => return Ok(Place::of_peer(peer)),
        };
        let nobody = || {
            Error::new(
                Code::Down,
                format_args!("no node serves slot {slot}, which {name} needs"),
            )
        };
        let shard = topology.shard(slot).ok_or_else(nobody)?;
        if read && self.manner.read_from != ReadFrom::Primary && !self.is_written(slot) {
            return self.read_place(shard, u64::from(slot)).ok_or_else(nobody);
        }
        let Some(primary) = &shard.primary else {
            return Err(nobody());
        };
        if primary.peer.health.is_well() {
            return Ok(Place::of_node(primary, false));
        }
        Ok(self.instead(shard, &primary.peer))
    }

    /// The primary of a slot: where it has been failing and has replicas, one of them may take its
    /// place, which the next refresh tells.
    fn primary<'t>(&self, slot: u16, name: &str, topology: &'t Topology) -> Result<Place<'t>> {
        let shard = topology.shard(slot);
        let Some((shard, primary)) = shard.and_then(|s| s.primary.as_ref().map(|p| (s, p))) else {
            return Err(Error::new(
                Code::Down,
                format_args!("no node serves slot {slot}, which {name} needs"),
            ));
        };
        let health = &primary.peer.health;
        let asked = health.is_well()
            || shard.replicas.is_empty()
            || (health.is_called_for(now()) && self.probe(&primary.peer));
        if asked {
            return Ok(Place::of_node(primary, false));
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
    pub(super) fn instead<'t>(&self, shard: &'t Shard, primary: &'t Arc<Peer>) -> Place<'t> {
        let time = now();
        let ready = |peer: &Peer| peer.health.is_well() || peer.health.is_due(time);
        // Where there is nobody else, there is nothing to find out first.
        if !shard.replicas.iter().any(|n| ready(&n.peer)) {
            return Place::of_peer(primary);
        }
        if primary.health.is_called_for(time) && self.probe(primary) {
            return Place::of_peer(primary);
        }
        let (before, after) = shard
            .replicas
            .split_at(self.tries as usize % shard.replicas.len());
        for node in after.iter().chain(before) {
            let health = &node.peer.health;
            if health.is_well() || (health.is_due(time) && self.probe(&node.peer)) {
                return Place::of_peer(&node.peer);
            }
        }
        Place::of_peer(primary)
    }

    /// Whether a node that has been failing lives: a new connection and its greeting tell, and a
    /// caller's command, whose fate would be unknown, is not risked.
    #[cold]
    pub(super) fn probe(&self, peer: &Peer) -> bool {
        let time = now();
        peer.health.probed(time);
        let most = (self.manner.attempt_ms / 4)
            .clamp(PROBE_LEAST_MS, PROBE_MOST_MS)
            .max(peer.greeting_ms() * 4)
            .min(self.manner.attempt_ms.max(PROBE_LEAST_MS));
        let until = Deadline::after(time, most).min(self.call.deadline);
        let lives = peer.open(self.manner.kind, &self.call, until).is_ok();
        if lives {
            peer.health.worked();
        } else {
            peer.health.failed(now(), rng().random_range(0.0..1.0));
        }
        lives
    }

    pub(super) fn read_place<'t>(&self, shard: &'t Shard, salt: u64) -> Option<Place<'t>> {
        if shard.replicas.is_empty() {
            self.missed_replicas.set(true);
        }
        // One number for each slot, so that the commands of a slot go to one node.
        let random = (self.seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_mul(0xd6e8_feb8_6659_fd93)
            .rotate_left(32)
            .wrapping_mul(0xd6e8_feb8_6659_fd93)
            >> 16;
        let (read_from, shunned) = (self.manner.read_from, &self.shunned);
        let mut node = choose(shard, read_from, random, self.call.began, shunned)?;
        // One that has been failing is asked whether it lives before it gets the command. It is
        // not due again at once, so this ends.
        while !node.peer.health.is_well()
            && node.peer.health.is_due(now())
            && !self.probe(&node.peer)
        {
            node = choose(shard, read_from, random, now(), shunned)?;
        }
        let primary = shard.primary.as_ref();
        count(if primary.is_some_and(|p| Arc::ptr_eq(p, node)) {
            &self.core.stats.primary_reads
        } else {
            &self.core.stats.replica_reads
        });
        Some(Place::of_node(node, true))
    }

    /// Any shard's node that is well.
    pub(super) fn anywhere<'t>(&self, read: bool, topology: &'t Topology) -> Result<Place<'t>> {
        let nobody = || Error::new(Code::Down, "no node of the cluster is known");
        let shards: Vec<&Shard> = topology
            .shards
            .iter()
            .filter(|s| s.primary.is_some())
            .collect();
        let well: Vec<&&Shard> = shards
            .iter()
            .filter(|s| {
                s.primary
                    .as_ref()
                    .is_some_and(|p| p.peer.health.is_well() && !self.shunned.contains(&p.index))
            })
            .collect();
        let random: usize = rng().random_range(0..usize::MAX);
        let shard = match (well.len(), shards.len()) {
            (0, 0) => return Err(nobody()),
            (0, n) => shards[random % n],
            (n, _) => well[random % n],
        };
        if read && self.manner.read_from != ReadFrom::Primary {
            return self.read_place(shard, random as u64).ok_or_else(nobody);
        }
        shard
            .primary
            .as_ref()
            .map(|primary| Place::of_node(primary, true))
            .ok_or_else(nobody)
    }
}
