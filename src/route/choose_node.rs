//! Which node of a shard serves a read.

use crate::config::ReadFrom;
use crate::deadline::Time;
use crate::topology::{Node, Shard};
use std::sync::Arc;
use std::time::Duration;

/// What a read wishes for.
#[derive(Clone, Copy, Debug)]
pub struct SelectionCriteria<'a> {
    pub read_from: ReadFrom,
    /// Our availability zone.
    pub zone: Option<&'a str>,
    /// Decides among equals.
    pub random: u64,
    pub time: Time,
    /// Nodes that this call has asked in vain.
    pub excluded: &'a [usize],
}

/// Why a read does not go to the node that it would have gone to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// It is left alone after failures.
    Ejected,
    /// It is not shown to be as fresh as it must be.
    Stale,
}

/// The node that serves a read.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    pub node: &'a Arc<Node>,
    /// Why another one was skipped over.
    pub skipped: Option<SkipReason>,
    /// It is none of those that are wished for: the primary for `replica`, a node of another zone
    /// for `zone`.
    pub fallback: bool,
}

/// Two nodes are equally near whose round trips differ by no more than a quarter and this.
const NEAR: Duration = Duration::from_micros(100);

/// Chooses a node for a read of one slot; `fits` says whether one is fresh enough, which the
/// primary always is.
///
/// Among equals two are drawn, and the one with less to do is taken; so an idle cluster is read
/// from uniformly. A node that is left alone is chosen only if it is time to try it again, or if
/// it is the primary and nobody else is there.
pub fn choose_node<'a>(
    shard: &'a Shard,
    criteria: &SelectionCriteria<'_>,
    fits: &dyn Fn(&Arc<Node>) -> bool,
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
    let tier = |node: &Arc<Node>| tier(node, is_primary(node), criteria);
    let is_healthy = |node: &Arc<Node>| {
        !criteria.excluded.contains(&node.index)
            && (node.peer.health.is_healthy() || node.peer.health.is_probe_due(criteria.time))
    };
    let best = shard.nodes().map(tier).min()?;
    // In the usual case everybody is well and fits: no list is made.
    let first = draw(shard.nodes().filter(|n| tier(n) == best), criteria.random)?;
    let skipped = if !is_healthy(first) {
        Some(SkipReason::Ejected)
    } else if !fits(first) {
        Some(SkipReason::Stale)
    } else {
        None
    };
    let good = |node: &&Arc<Node>| is_healthy(node) && fits(node);
    let Some(level) = shard.nodes().filter(good).map(tier).min() else {
        // Nobody is well: the primary, then whoever has not failed this very call, then anybody.
        let fitting = || shard.nodes().filter(|node| fits(node));
        return primary
            .filter(|node| !criteria.excluded.contains(&node.index))
            .or_else(|| fitting().find(|n| !criteria.excluded.contains(&n.index)))
            .or(primary)
            .or_else(|| fitting().next())
            .map(|node| Choice {
                node,
                skipped,
                fallback: is_fallback(tier(node), criteria),
            });
    };
    let equals = shard.nodes().filter(good).filter(|n| tier(n) == level);
    let node = if criteria.read_from == ReadFrom::Nearest {
        nearest(equals, criteria)?
    } else if skipped.is_none() && level == best {
        less_busy(first, equals, criteria.random)?
    } else {
        less_busy(
            draw(equals.clone(), criteria.random)?,
            equals,
            criteria.random,
        )?
    };
    Some(Choice {
        node,
        skipped,
        fallback: is_fallback(level, criteria),
    })
}

/// How gladly a node is read from: 0 first.
fn tier(node: &Node, is_primary: bool, criteria: &SelectionCriteria<'_>) -> u8 {
    match criteria.read_from {
        ReadFrom::Primary => u8::from(!is_primary),
        ReadFrom::Any | ReadFrom::Nearest => 0,
        ReadFrom::Replica => u8::from(is_primary),
        ReadFrom::Zone => match (is_ours(node, criteria.zone), is_primary) {
            (true, false) => 0,
            (true, true) => 1,
            (false, false) => 2,
            (false, true) => 3,
        },
    }
}

/// Whether a tier is none of those that are wished for.
fn is_fallback(tier: u8, criteria: &SelectionCriteria<'_>) -> bool {
    match criteria.read_from {
        ReadFrom::Zone => tier > 1,
        _ => tier > 0,
    }
}

/// Whether a node is in our zone. One that has not named its own yet is taken to be: it does when
/// it is greeted, and so is found out about by the first read.
fn is_ours(node: &Node, zone: Option<&str>) -> bool {
    match (&node.zone, node.peer.zone()) {
        (Some(named), _) => Some(named.as_str()) == zone,
        (None, Some(named)) => Some(named.as_str()) == zone,
        (None, None) => !node.peer.was_connected(),
    }
}

/// One of these, by this number.
fn draw<'a>(
    mut nodes: impl Iterator<Item = &'a Arc<Node>> + Clone,
    random: u64,
) -> Option<&'a Arc<Node>> {
    let count = nodes.clone().count() as u64;
    nodes.nth((random % count.max(1)) as usize)
}

/// This one, or another of these with less to do.
fn less_busy<'a>(
    first: &'a Arc<Node>,
    nodes: impl Iterator<Item = &'a Arc<Node>> + Clone,
    random: u64,
) -> Option<&'a Arc<Node>> {
    let load = first.peer.load.in_flight();
    if load == 0 {
        return Some(first);
    }
    let others = nodes.filter(|node| !Arc::ptr_eq(node, first));
    let second = draw(others, random.rotate_left(32));
    Some(
        second
            .filter(|s| s.peer.load.in_flight() < load)
            .unwrap_or(first),
    )
}

/// One of the nearest, or one whose distance is to be measured again: of each node one read a
/// second is for that.
fn nearest<'a>(
    nodes: impl Iterator<Item = &'a Arc<Node>> + Clone,
    criteria: &SelectionCriteria<'_>,
) -> Option<&'a Arc<Node>> {
    let unsure = nodes
        .clone()
        .find(|node| node.peer.load.claim_probe(criteria.time));
    if unsure.is_some() {
        return unsure;
    }
    let trip = |node: &&Arc<Node>| node.peer.load.rtt();
    let least = nodes.clone().filter_map(|node| trip(&node)).min();
    let limit = least.map_or(Duration::MAX, |least| least + least / 4 + NEAR);
    let near = nodes
        .clone()
        .filter(|node| trip(node).is_some_and(|trip| trip <= limit));
    match draw(near.clone(), criteria.random) {
        Some(first) => less_busy(first, near, criteria.random),
        None => draw(nodes, criteria.random),
    }
}

#[cfg(test)]
mod tests;
