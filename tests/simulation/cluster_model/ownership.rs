//! Which node serves which keys: the check before a command, and CLUSTER SLOTS.

use super::{ClusterModel, MOVED, PORT, announced_host, bulk_string, redirection};
use crate::simulation::simulator::State;
use crate::topology::key_slot;

const TRYAGAIN: &str = "-TRYAGAIN Multiple keys request during rehashing of slot\r\n";

/// Whether a node executes a command with these keys on this connection; if not, its error reply.
pub(super) fn check_ownership(
    state: &mut State,
    (node, id): (usize, usize),
    keys: &[&str],
    writes: bool,
    asking: bool,
) -> Result<(), String> {
    let now = state.now;
    let slot = key_slot(keys[0].as_bytes());
    let cluster = &mut state.cluster;
    if keys.iter().any(|key| key_slot(key.as_bytes()) != slot) {
        return Err("-CROSSSLOT Keys in request don't hash to the same slot\r\n".to_string());
    }
    let model = &cluster.nodes[node];
    if model.loading_until > now {
        return Err("-LOADING Redis is loading the dataset in memory\r\n".to_string());
    }
    if model.cluster_down_until > now {
        return Err("-CLUSTERDOWN The cluster is down\r\n".to_string());
    }
    let shard = model.view.shard(slot);
    let primary = model.view.primary[shard];
    let is_demoted = model.demoted_until > now;
    if let Some(result) = check_migrating_slot(cluster, node, slot, keys, asking) {
        return result;
    }
    if primary == node {
        return match is_demoted && writes {
            true => Err("-READONLY You can't write against a read only replica.\r\n".to_string()),
            false => Ok(()),
        };
    }
    let readonly = cluster.sessions.get(&id).is_some_and(|s| s.readonly);
    let is_migrating = cluster.migrations.contains_key(&slot);
    let in_shard = node % cluster.actual_view.shards() == shard;
    if readonly && !writes && in_shard && !is_migrating {
        return Ok(());
    }
    cluster.redirections += 1;
    Err(redirection(cluster.uses_hostnames, MOVED, slot, primary))
}

/// The same for the owner and the target of a migrating slot, and `None` for other nodes.
fn check_migrating_slot(
    cluster: &mut ClusterModel,
    node: usize,
    slot: u16,
    keys: &[&str],
    asking: bool,
) -> Option<Result<(), String>> {
    let view = &cluster.nodes[node].view;
    let shard = view.shard(slot);
    let migration = cluster.migrations.get_mut(&slot)?;
    let target = view.primary[migration.to];
    let migrated_keys = keys
        .iter()
        .filter(|key| migration.migrated_keys.contains(**key))
        .count();
    if view.primary[shard] == node && shard == migration.from {
        return Some(match migrated_keys {
            0 => Ok(()),
            n if n == keys.len() => {
                cluster.redirections += 1;
                Err(redirection(cluster.uses_hostnames, "ASK", slot, target))
            }
            _ => Err(TRYAGAIN.to_string()),
        });
    }
    if !asking || target != node {
        return None;
    }
    if migrated_keys == keys.len() {
        return Some(Ok(()));
    }
    if keys.len() > 1 {
        return Some(Err(TRYAGAIN.to_string()));
    }
    // The command creates its key at the target.
    migration.migrated_keys.insert(keys[0].to_string());
    Some(Ok(()))
}

/// The reply to CLUSTER SLOTS of a node. A primary that was just promoted leaves out the former one.
pub(super) fn cluster_slots(cluster: &ClusterModel, node: usize, now: u64) -> String {
    let (view, uses_hostnames) = (&cluster.nodes[node].view, cluster.uses_hostnames);
    let shards = view.shards();
    let is_known = |other: usize| {
        let shard = other % shards;
        let is_outdated = view.primary[shard] != cluster.actual_view.primary[shard];
        node == other || is_outdated || cluster.is_known_as_replica(other, now)
    };
    let mut bounds: Vec<u16> = (1..shards)
        .map(|shard| (shard * 16384).div_ceil(shards) as u16)
        .collect();
    for slot in view.migrated.keys() {
        bounds.extend([*slot, slot + 1]);
    }
    bounds.push(16384);
    bounds.sort_unstable();
    bounds.dedup();
    let mut ranges: Vec<(u16, u16, usize)> = Vec::new();
    let mut begin = 0u16;
    for bound in bounds {
        if bound > begin {
            ranges.push((begin, bound - 1, view.shard(begin)));
            begin = bound;
        }
    }
    let mut out = format!("*{}\r\n", ranges.len());
    for (first, last, shard) in ranges {
        let primary = view.primary[shard];
        let mut nodes = vec![primary];
        let others = [shard, shard + shards].into_iter();
        nodes.extend(others.filter(|n| *n != primary && is_known(*n)));
        out += &format!("*{}\r\n:{first}\r\n:{last}\r\n", nodes.len() + 2);
        for node in nodes {
            out += &format!(
                "*4\r\n{}:{PORT}\r\n{}*0\r\n",
                bulk_string(&announced_host(uses_hostnames, node)),
                bulk_string(&format!("{node:040}"))
            );
        }
    }
    out
}
