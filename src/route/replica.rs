//! Which node of a shard serves a read.

use crate::config::ReadFrom;
use crate::deadline::Time;
use crate::topology::{Node, Shard};
use std::sync::Arc;

/// Chooses a node for a read of one slot.
///
/// `random` decides among equals, so that one number chooses the same node for every command of
/// a slot in a pipeline. `shunned` are nodes that this call has asked in vain. A node that is
/// left alone is chosen only if nobody else is there, or when it is time to try it again.
pub fn choose<'a>(
    shard: &'a Shard,
    read_from: ReadFrom,
    random: u64,
    time: Time,
    shunned: &[usize],
) -> Option<&'a Arc<Node>> {
    let primary = shard.primary.as_ref();
    if read_from == ReadFrom::Primary {
        return primary;
    }
    // The primary is a candidate like others for "any", and the last resort for "replica".
    let alike = match read_from {
        ReadFrom::Replica => None,
        _ => primary,
    };
    let candidates = alike.iter().copied().chain(&shard.replicas);
    let good = |node: &&Arc<Node>| {
        !shunned.contains(&node.index)
            && (node.peer.health.is_well() || node.peer.health.is_due(time))
    };
    // In the usual case everybody is well: no list is made.
    let all = usize::from(alike.is_some()) + shard.replicas.len();
    if all > 0 {
        let at = (random % all as u64) as usize;
        if let Some(node) = candidates.clone().nth(at)
            && good(&node)
        {
            return Some(node);
        }
    }
    let count = candidates.clone().filter(good).count();
    if count > 0 {
        let at = (random % count as u64) as usize;
        if let Some(node) = candidates.clone().filter(good).nth(at) {
            return Some(node);
        }
    }
    // Nobody is well: the primary, then whoever has not failed this very call, then anybody.
    primary
        .filter(|node| !shunned.contains(&node.index))
        .or_else(|| candidates.clone().find(|n| !shunned.contains(&n.index)))
        .or(primary)
        .or_else(|| shard.replicas.first())
}
