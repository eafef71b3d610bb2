//! CLUSTER SLOTS and CLUSTER SHARDS, from reply to view.
//!
//! An invalid entry is skipped and recorded in the view; valid entries are kept. If no entry is
//! valid, the first defect is the error. A reply that is larger than that of any real cluster is
//! rejected.

use super::key_slot::SLOTS;
use super::view::{ClusterView, NodeEntry, Source, ViewBuilder, is_unspecified, resolve_address};
use crate::address::Address;
use crate::error::{Code, Error, ErrorFields, Result};
use crate::resp::{Kind, View};
use std::borrow::Cow;

/// Maximum length of a node id. Servers use 40 bytes.
const MAX_ID: usize = 255;

/// Parses the reply of the node at `from` to CLUSTER SLOTS. The reply is empty if no slots are
/// assigned. More than `max_nodes` nodes are an error.
///
/// An entry is `[first, last, primary, replica ...]`. A node is `[host, port, id, metadata]`: with an
/// id since Redis 4.0, and with metadata, a map, since 7.0.
pub fn slots(reply: View<'_>, from: &Address, max_nodes: usize) -> Result<ClusterView> {
    let source = Source {
        command: "CLUSTER SLOTS",
        node: from,
    };
    let mut builder = ViewBuilder::new(source, reply.len(), max_nodes);
    let mut replicas = Vec::new();
    for (i, entry) in entries(reply, source)?.enumerate() {
        let range = entry.at(0).zip(entry.at(1)).and_then(parse_range);
        let primary = entry.at(2).and_then(|node| parse_slots_node(node, from));
        let (Kind::Array, Some(range), Some(primary)) = (entry.kind(), range, primary) else {
            let why = match range {
                _ if entry.kind() != Kind::Array => "it is not an array",
                None => "it does not begin with a slot range within 0 to 16383",
                Some(_) if entry.len() < 3 => "it contains no node",
                Some(_) => "its primary is not an array of a host and a port",
            };
            builder.record_defect(i, why);
            continue;
        };
        for node in entry.elements().skip(3) {
            match parse_slots_node(node, from) {
                Some(node) => replicas.push(node),
                None => builder.record_defect(i, "a replica is not an array of a host and a port"),
            }
        }
        builder.add_shard(i, &[range], Some(primary), &mut replicas)?;
    }
    builder.finish()
}

/// Parses the reply of the node at `from` to CLUSTER SHARDS (Redis >= 7.0). With `tls`, the addresses
/// are those for TLS connections.
///
/// A shard is a map of `slots` (first and last slot of each range, in one array) and `nodes` (maps).
/// In RESP2, maps are flat arrays.
pub fn shards(reply: View<'_>, from: &Address, tls: bool, max_nodes: usize) -> Result<ClusterView> {
    let source = Source {
        command: "CLUSTER SHARDS",
        node: from,
    };
    let mut builder = ViewBuilder::new(source, reply.len(), max_nodes);
    for (i, shard) in entries(reply, source)?.enumerate() {
        let (Some(slots), Some(nodes)) = (find_array(shard, "slots"), find_array(shard, "nodes"))
        else {
            builder.record_defect(i, "it is not a map with arrays of slots and nodes");
            continue;
        };
        let mut ranges = Vec::new();
        for pair in 0..slots.len().div_ceil(2) {
            if pair == SLOTS {
                return Err(source.too_many("slot ranges", SLOTS));
            }
            match slots
                .at(2 * pair)
                .zip(slots.at(2 * pair + 1))
                .and_then(parse_range)
            {
                Some(range) => ranges.push(range),
                None => builder.record_defect(i, "one of its slot ranges is not within 0 to 16383"),
            }
        }
        let mut primary: Option<NodeEntry<'_>> = None;
        let mut replicas = Vec::new();
        for node in nodes.elements() {
            let parsed = parse_shards_node(node, from, tls);
            match (node.find("role").and_then(View::text), parsed) {
                (Some(b"master" | b"primary"), Some(node)) => {
                    // After a failover, the old primary is listed as a primary without slots until it
                    // rejoins (Redis >= 7.0). The one that is online has the slots.
                    if primary
                        .as_ref()
                        .is_none_or(|p| !is_online(p, from) && is_online(&node, from))
                    {
                        primary = Some(node);
                    }
                }
                (Some(b"replica" | b"slave"), Some(node)) => replicas.push(node),
                _ => builder.record_defect(i, "a node is not a map with a role, a host and a port"),
            }
        }
        builder.add_shard(i, &ranges, primary, &mut replicas)?;
    }
    builder.finish()
}

fn is_online(entry: &NodeEntry<'_>, from: &Address) -> bool {
    entry.online && resolve_address(entry.host, entry.port, from).is_ok()
}

/// The entries of a reply.
fn entries<'a>(
    reply: View<'a>,
    source: Source<'_>,
) -> Result<impl Iterator<Item = View<'a>> + use<'a>> {
    match reply.kind() {
        Kind::Array if reply.len() > SLOTS => Err(source.too_many("slot ranges", SLOTS)),
        Kind::Array => Ok(reply.elements()),
        Kind::Error => Err(error_reply(reply)),
        _ => Err(source.error("is not an array")),
    }
}

/// The error that a server sent as its reply, such as NOPERM or `ERR This instance has cluster
/// support disabled`.
pub(super) fn error_reply(reply: View<'_>) -> Error {
    let text = String::from_utf8_lossy(reply.text().unwrap_or_default());
    Error::from(ErrorFields {
        code: Code::from_number(i32::from(reply.value().code)).unwrap_or(Code::Server),
        // A RESP3 bulk error may have several lines.
        message: text.replace(char::is_control, "?"),
        sent: false,
        node: None,
    })
}

/// The array with this key of a map.
fn find_array<'a>(map: View<'a>, key: &str) -> Option<View<'a>> {
    let value = map.find(key)?;
    matches!(value.kind(), Kind::Array | Kind::Set).then_some(value)
}

/// The first and last slot of a range.
fn parse_range((first, last): (View<'_>, View<'_>)) -> Option<(u16, u16)> {
    let slot = |n: View<'_>| u16::try_from(n.int()?).ok();
    let (first, last) = (slot(first)?, slot(last)?);
    (first <= last && usize::from(last) < SLOTS).then_some((first, last))
}

/// Parses a node of CLUSTER SLOTS. `None` if it does not have the form of a node.
fn parse_slots_node<'a>(node: View<'a>, from: &Address) -> Option<NodeEntry<'a>> {
    if node.kind() != Kind::Array {
        return None;
    }
    let (host, port) = (parse_host(node.at(0)?)?, node.at(1)?.int()?);
    let (id, metadata) = (node.at(2).and_then(parse_id), node.at(3));
    let host = usable_host(host, metadata);
    Some(NodeEntry {
        key: key_of(id, host, port, from),
        value: node,
        host,
        port,
        metadata,
        online: true,
        offset: None,
    })
}

/// Parses a node of CLUSTER SHARDS. `None` if it does not have the form of a node.
fn parse_shards_node<'a>(node: View<'a>, from: &Address, tls: bool) -> Option<NodeEntry<'a>> {
    // Without `tls-port`, a TLS proxy in front of the server may listen on the announced port.
    let port = match tls {
        true => node.find("tls-port").or_else(|| node.find("port")),
        false => node.find("port"),
    };
    // A server that accepts only TLS has no `port`. CLUSTER SLOTS contains port 0 in that case.
    let port = port.map_or(Some(0), View::int)?;
    let host = match node.find("endpoint").or_else(|| node.find("ip")) {
        Some(endpoint) => parse_host(endpoint)?,
        None => return None,
    };
    let (id, host) = (
        node.find("id").and_then(parse_id),
        usable_host(host, Some(node)),
    );
    let health = node.find("health").and_then(View::text);
    let offset = node.find("replication-offset").and_then(View::int);
    Some(NodeEntry {
        key: key_of(id, host, port, from),
        value: node,
        host,
        port,
        metadata: Some(node),
        online: health.is_none_or(|health| health == b"online"),
        offset: offset.and_then(|offset| u64::try_from(offset).ok()),
    })
}

/// Parses a host: a text, or null for the host of the node that sent the reply.
fn parse_host<'a>(value: View<'a>) -> Option<Option<&'a str>> {
    if value.is_nil() {
        return Some(None);
    }
    value.str().map(Some)
}

fn parse_id<'a>(value: View<'a>) -> Option<&'a str> {
    value
        .str()
        .filter(|id| !id.is_empty() && id.len() <= MAX_ID)
}

/// The host to connect to, of the one that a node announces and its metadata.
fn usable_host<'a>(host: Option<&'a str>, metadata: Option<View<'a>>) -> Option<&'a str> {
    match (host, metadata) {
        // Until a node has a hostname, its IP address is the only way to it.
        (Some("?"), Some(metadata)) => {
            let ip = metadata.find("ip").and_then(View::str);
            ip.filter(|ip| !is_unspecified(ip)).or(host)
        }
        _ => host,
    }
}

/// The identity of a node within a reply: its id, or its address if it has none.
fn key_of<'a>(id: Option<&'a str>, host: Option<&str>, port: i64, from: &Address) -> Cow<'a, str> {
    match id.ok_or_else(|| resolve_address(host, port, from)) {
        Ok(id) => id.into(),
        Err(Ok(address)) => address.to_string().into(),
        Err(Err(_)) => format!("{}:{port}", host.unwrap_or_default()).into(),
    }
}

#[cfg(test)]
pub(super) mod tests;
