//! Chooses the node of a shard that serves a read.

use crate::config::ReadFrom;
use crate::deadline::Time;
use crate::topology::{Node, Shard};
use std::sync::Arc;
use std::time::Duration;

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct SelectionCriteria<'a> {
    pub read_from: ReadFrom,
    /// The client's availability zone.
    pub zone: Option<&'a str>,
    /// Selects among equal nodes.
    pub random: u64,
    pub time: Time,
    /// The nodes that failed in this call, by index.
    pub excluded: &'a [usize],
}

/// Why a read skips the node that it would have gone to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// The node is ejected after failures.
    Ejected,
    /// The node is not known to be fresh enough.
    Stale,
}

/// The chosen node.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    pub node: &'a Arc<Node>,
    /// Why another node was skipped.
    pub skipped: Option<SkipReason>,
    /// The node is only a fallback: the primary for `replica`, a node of another zone for `zone`.
    pub fallback: bool,
}

/// Two nodes are equally near if their round trips differ by at most a quarter plus this.
const RTT_TOLERANCE: Duration = Duration::from_micros(100);

/// Chooses a node for a read of one slot. `is_fresh` returns whether a node is fresh enough; the primary
/// always is.
///
/// Among equal nodes the one with fewer requests in flight of two random nodes is chosen, so reads of an
/// idle cluster are spread uniformly. An ejected node is chosen only for a probe that is due, or if it is
/// the primary and no other node is left.
pub fn choose_node<'a>(
    shard: &'a Shard,
    criteria: &SelectionCriteria<'_>,
    is_fresh: &dyn Fn(&Arc<Node>) -> bool,
) -> Option<Choice<'a>> {
    let primary = shard.primary.as_ref();
    if criteria.read_from == ReadFrom::Primary {
        return primary.map(|node| Choice {
            node,
            skipped: None,
            fallback: false,
        });
    }
    let is_primary = |node: &Arc<Node>| primary.is_some_and(|p| Arc::ptr_eq(p, node));
    let rank = |node: &Arc<Node>| rank(node, is_primary(node), criteria);
    let is_healthy = |node: &Arc<Node>| {
        !criteria.excluded.contains(&node.index)
            && (node.peer.health.is_healthy() || node.peer.health.is_probe_due(criteria.time))
    };
    let best = shard.nodes().map(rank).min()?;
    // Mostly this node is healthy and fresh.
    let first = pick(shard.nodes().filter(|n| rank(n) == best), criteria.random)?;
    let skipped = if !is_healthy(first) {
        Some(SkipReason::Ejected)
    } else if !is_fresh(first) {
        Some(SkipReason::Stale)
    } else {
        None
    };
    let is_usable = |node: &&Arc<Node>| is_healthy(node) && is_fresh(node);
    let Some(rank_of_usable) = shard.nodes().filter(is_usable).map(rank).min() else {
        return last_resort(shard, criteria, is_fresh).map(|node| Choice {
            node,
            skipped,
            fallback: is_fallback(rank(node), criteria),
        });
    };
    let equals = shard
        .nodes()
        .filter(is_usable)
        .filter(|n| rank(n) == rank_of_usable);
    let node = if criteria.read_from == ReadFrom::Nearest {
        nearest(equals, criteria)?
    } else if skipped.is_none() && rank_of_usable == best {
        less_loaded(first, equals, criteria.random)?
    } else {
        less_loaded(
            pick(equals.clone(), criteria.random)?,
            equals,
            criteria.random,
        )?
    };
    Some(Choice {
        node,
        skipped,
        fallback: is_fallback(rank_of_usable, criteria),
    })
}

/// The node that [`choose_node`] chooses for reads from any node or from replicas, and whether it is the primary: if all
/// nodes are fresh enough, and the first one that is looked at is healthy and idle. Otherwise `None`.
#[inline]
pub fn choose_first(shard: &Shard, read_from: ReadFrom, random: u64) -> Option<(&Arc<Node>, bool)> {
    let primary = shard.primary.as_ref()?;
    let replicas = shard.replicas.len() as u64;
    let number = match (replicas, read_from) {
        (0, _) => return None,
        (_, ReadFrom::Any) => random % (replicas + 1),
        (_, ReadFrom::Replica) => random % replicas + 1,
        _ => return None,
    };
    let (node, is_primary) = match number {
        0 => (primary, true),
        n => (&shard.replicas[n as usize - 1], false),
    };
    let is_usable = node.peer.health.is_healthy() && node.peer.load.in_flight() == 0;
    is_usable.then_some((node, is_primary))
}

/// The node if none is usable: the primary, then a fresh node that has not failed in this call, then any.
fn last_resort<'a>(
    shard: &'a Shard,
    criteria: &SelectionCriteria<'_>,
    is_fresh: &dyn Fn(&Arc<Node>) -> bool,
) -> Option<&'a Arc<Node>> {
    let primary = shard.primary.as_ref();
    let fresh = || shard.nodes().filter(|node| is_fresh(node));
    let has_failed = |node: &Node| criteria.excluded.contains(&node.index);
    primary
        .filter(|node| !has_failed(node))
        .or_else(|| fresh().find(|node| !has_failed(node)))
        .or(primary)
        .or_else(|| fresh().next())
}

/// The preference for a node: 0 is read from first.
fn rank(node: &Node, is_primary: bool, criteria: &SelectionCriteria<'_>) -> u8 {
    match criteria.read_from {
        ReadFrom::Primary => u8::from(!is_primary),
        ReadFrom::Any | ReadFrom::Nearest => 0,
        ReadFrom::Replica => u8::from(is_primary),
        ReadFrom::Zone => match (is_local(node, criteria.zone), is_primary) {
            (true, false) => 0,
            (true, true) => 1,
            (false, false) => 2,
            (false, true) => 3,
        },
    }
}

/// Whether nodes of a rank are used only as a fallback.
fn is_fallback(rank: u8, criteria: &SelectionCriteria<'_>) -> bool {
    match criteria.read_from {
        ReadFrom::Zone => rank > 1,
        _ => rank > 0,
    }
}

/// Whether a node is in the client's zone. A node without a connection counts as local: its zone becomes
/// known in the handshake, so the first read finds it out.
fn is_local(node: &Node, zone: Option<&str>) -> bool {
    match (&node.zone, node.peer.zone()) {
        (Some(named), _) => Some(named.as_str()) == zone,
        (None, Some(named)) => Some(named.as_str()) == zone,
        (None, None) => !node.peer.was_connected(),
    }
}

/// Selects a node by a random number.
fn pick<'a>(
    mut nodes: impl Iterator<Item = &'a Arc<Node>> + Clone,
    random: u64,
) -> Option<&'a Arc<Node>> {
    let count = nodes.clone().count() as u64;
    nodes.nth((random % count.max(1)) as usize)
}

/// The first node, or another random one with fewer requests in flight.
fn less_loaded<'a>(
    first: &'a Arc<Node>,
    nodes: impl Iterator<Item = &'a Arc<Node>> + Clone,
    random: u64,
) -> Option<&'a Arc<Node>> {
    let load = first.peer.load.in_flight();
    if load == 0 {
        return Some(first);
    }
    let others = nodes.filter(|node| !Arc::ptr_eq(node, first));
    let second = pick(others, random.rotate_left(32));
    Some(
        second
            .filter(|s| s.peer.load.in_flight() < load)
            .unwrap_or(first),
    )
}

/// One of the nearest nodes, or a node whose round trip is due to be measured: one read of each node per
/// second is for that.
fn nearest<'a>(
    nodes: impl Iterator<Item = &'a Arc<Node>> + Clone,
    criteria: &SelectionCriteria<'_>,
) -> Option<&'a Arc<Node>> {
    let to_measure = nodes
        .clone()
        .find(|node| node.peer.load.claim_probe(criteria.time));
    if to_measure.is_some() {
        return to_measure;
    }
    let rtt = |node: &&Arc<Node>| node.peer.load.rtt();
    let least = nodes.clone().filter_map(|node| rtt(&node)).min();
    let limit = least.map_or(Duration::MAX, |least| least + least / 4 + RTT_TOLERANCE);
    let near = nodes
        .clone()
        .filter(|node| rtt(node).is_some_and(|rtt| rtt <= limit));
    match pick(near.clone(), criteria.random) {
        Some(first) => less_loaded(first, near, criteria.random),
        None => pick(nodes, criteria.random),
    }
}

#[cfg(test)]
mod tests;
