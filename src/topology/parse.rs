//! CLUSTER SLOTS and CLUSTER SHARDS, from reply to view.
//!
//! One bad entry does not cost the good ones: it is left out, and the view says so. Where nothing
//! is left, the first defect is the error. What cannot be an honest cluster's map, by its sheer
//! size, is refused whole.

use super::info::refusal;
use super::key_slot::SLOTS;
use super::view::too_many;
use super::view::{ClusterView, Named, NodeView, ViewBuilder, add_name, is_unspecified, place};
use crate::address::Address;
use crate::error::{Code, Error, Result};
use crate::resp::{Kind, View};

/// Ids are 40 bytes; a longer text than this is not one.
const MAX_ID: usize = 255;

/// Reads the reply to CLUSTER SLOTS of the node at `asked`. An empty one is that of a cluster
/// whose slots have not been given out.
///
/// An entry is `[first, last, primary, replica ...]` and a node `[host, port, id, metadata]`; the
/// id came with Redis 4.0, the metadata, a map, with 7.0.
pub fn slots(reply: View<'_>, asked: &Address) -> Result<ClusterView> {
    const WHAT: &str = "CLUSTER SLOTS";
    let mut gathering = ViewBuilder::new();
    for (i, entry) in list(reply, WHAT)?.enumerate() {
        let range = entry.at(0).zip(entry.at(1)).and_then(range);
        let primary = entry.at(2).and_then(|node| node_of_slots(node, asked));
        let (Kind::Array, Some(range), Some(primary)) = (entry.kind(), range, primary) else {
            let why = match range {
                _ if entry.kind() != Kind::Array => "it is not an array",
                None => "it begins with no range of slots from 0 to 16383",
                Some(_) if entry.len() < 3 => "it names no node",
                Some(_) => "its primary is not an array of a host and a port",
            };
            gathering.leave_out(i, why);
            continue;
        };
        let mut replicas = Vec::with_capacity(entry.len() - 3);
        for node in entry.elements().skip(3) {
            match node_of_slots(node, asked) {
                Some(named) => replicas.push(named),
                None => gathering.leave_out(i, "a replica is not an array of a host and a port"),
            }
        }
        gathering.add(i, &[range], Some(primary), replicas)?;
    }
    gathering.finish(WHAT)
}

/// Reads the reply to CLUSTER SHARDS (Redis >= 7.0) of the node at `asked`; with `tls`, for
/// connections by TLS.
///
/// A shard is a map of `slots` (first and last of each range, in one array) and `nodes` (maps);
/// maps are flat arrays in RESP2.
pub fn shards(reply: View<'_>, asked: &Address, tls: bool) -> Result<ClusterView> {
    const WHAT: &str = "CLUSTER SHARDS";
    let mut gathering = ViewBuilder::new();
    for (i, shard) in list(reply, WHAT)?.enumerate() {
        let (Some(slots), Some(nodes)) = (array(shard, "slots"), array(shard, "nodes")) else {
            gathering.leave_out(i, "it is not a map with arrays of slots and nodes");
            continue;
        };
        let mut ranges = Vec::new();
        for pair in 0..slots.len().div_ceil(2) {
            if pair == SLOTS {
                return Err(too_many("ranges of slots", SLOTS));
            }
            match slots
                .at(2 * pair)
                .zip(slots.at(2 * pair + 1))
                .and_then(range)
            {
                Some(range) => ranges.push(range),
                None => gathering.leave_out(i, "a range of its slots is not within 0 to 16383"),
            }
        }
        let mut primary: Option<Named> = None;
        let mut replicas = Vec::new();
        for node in nodes.elements() {
            let named = node_of_shards(node, asked, tls);
            match (node.find("role").and_then(View::text), named) {
                (Some(b"master" | b"primary"), Some(named)) => {
                    // A primary that failed and was replaced stays one, without slots, until it
                    // is back and learns of it (Redis >= 7.0): the one that is up has the slots.
                    if primary.as_ref().is_none_or(|p| !is_up(p) && is_up(&named)) {
                        primary = Some(named);
                    }
                }
                (Some(b"replica" | b"slave"), Some(named)) => replicas.push(named),
                _ => gathering.leave_out(i, "a node is not a map with a role, a host and a port"),
            }
        }
        gathering.add(i, &ranges, primary, replicas)?;
    }
    gathering.finish(WHAT)
}

fn is_up(named: &Named) -> bool {
    named.node.as_ref().is_ok_and(|node| node.online)
}

/// The entries of a reply.
fn list<'a>(reply: View<'a>, what: &str) -> Result<impl Iterator<Item = View<'a>> + use<'a>> {
    match reply.kind() {
        Kind::Array if reply.len() > SLOTS => Err(too_many("ranges of slots", SLOTS)),
        Kind::Array => Ok(reply.elements()),
        Kind::Error => Err(refusal(reply)),
        _ => Err(Error::new(
            Code::Protocol,
            format!("{what} was not answered with an array"),
        )),
    }
}

/// An array in a map.
fn array<'a>(map: View<'a>, key: &str) -> Option<View<'a>> {
    let value = map.find(key)?;
    matches!(value.kind(), Kind::Array | Kind::Set).then_some(value)
}

/// The first and last slot of a range.
fn range((first, last): (View<'_>, View<'_>)) -> Option<(u16, u16)> {
    let slot = |n: View<'_>| u16::try_from(n.int()?).ok();
    let (first, last) = (slot(first)?, slot(last)?);
    (first <= last && usize::from(last) < SLOTS).then_some((first, last))
}

/// A node of CLUSTER SLOTS. Nothing if it has not even the shape of one.
fn node_of_slots(node: View<'_>, asked: &Address) -> Option<Named> {
    if node.kind() != Kind::Array {
        return None;
    }
    let (host, port) = (host(node.at(0)?)?, node.at(1)?.int()?);
    let id = node.at(2).and_then(id);
    Some(named(id, host, port, node.at(3), asked))
}

/// A node of CLUSTER SHARDS. Nothing if it has not even the shape of one.
fn node_of_shards(node: View<'_>, asked: &Address, tls: bool) -> Option<Named> {
    // Without `tls-port` there may be a TLS proxy before the server, at the port it announces.
    let port = match tls {
        true => node.find("tls-port").or_else(|| node.find("port")),
        false => node.find("port"),
    };
    // A server that serves TLS alone has no `port`, which is as good as port 0 of CLUSTER SLOTS.
    let port = port.map_or(Some(0), View::int)?;
    let host = match node.find("endpoint").or_else(|| node.find("ip")) {
        Some(endpoint) => host(endpoint)?,
        None => return None,
    };
    let id = node.find("id").and_then(id);
    let mut named = named(id, host, port, Some(node), asked);
    if let Ok(view) = &mut named.node {
        let health = node.find("health").and_then(View::text);
        view.online = health.is_none_or(|health| health == b"online");
        let offset = node.find("replication-offset").and_then(View::int);
        view.offset = offset.and_then(|offset| u64::try_from(offset).ok());
    }
    Some(named)
}

/// A host: a text, or null for that of the node that was asked.
fn host<'a>(value: View<'a>) -> Option<Option<&'a str>> {
    if value.is_nil() {
        return Some(None);
    }
    value.str().map(Some)
}

fn id<'a>(value: View<'a>) -> Option<&'a str> {
    value
        .str()
        .filter(|id| !id.is_empty() && id.len() <= MAX_ID)
}

fn named(
    id: Option<&str>,
    host: Option<&str>,
    port: i64,
    metadata: Option<View<'_>>,
    asked: &Address,
) -> Named {
    let address = place(host, port, asked);
    let key = match (id, &address) {
        (Some(id), _) => id.to_string(),
        (None, Ok(address)) => address.to_string(),
        (None, Err(_)) => format!("{}:{port}", host.unwrap_or_default()),
    };
    let node = address.map(|address| {
        let mut node = NodeView {
            id: key.clone(),
            address,
            names: Vec::new(),
            zone: None,
            online: true,
            offset: None,
        };
        if let Some(metadata) = metadata {
            let text = |key| metadata.find(key).and_then(View::str);
            for host in ["ip", "hostname"].into_iter().filter_map(text) {
                // Unset names are "" or "?", and one that is no name is no loss.
                if !is_unspecified(host)
                    && let Ok(name) = place(Some(host), port, asked)
                {
                    add_name(&mut node, name);
                }
            }
            let zone = text("availability-zone").filter(|zone| !zone.is_empty());
            node.zone = zone.map(str::to_string);
        }
        node
    });
    Named { key, node }
}

#[cfg(test)]
pub(super) mod tests;
