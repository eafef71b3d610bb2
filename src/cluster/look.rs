//! Looking inside: the topology, the counters, and what would be done with a command, all as
//! ordinary replies.

use super::client::Client;
use super::core::{Core, Process};
use super::learned;
use super::stats::ROWS;
use crate::config::ReadFrom;
use crate::deadline::now;
use crate::error::{Code, Result};
use crate::net::{Link, Peer};
use crate::resp::{Builder, Kind, Reply};
use crate::route::{Access, Nodes, Plan, access, each_key, find, plan, shareable};
use crate::topology::{Node, Shard, Topology, of_key};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// An array of shards.
pub fn topology(process: &Process) -> Reply {
    let topology = process.topology.load();
    let ranges = topology.ranges();
    let mut out = Builder::new();
    for (shard, ranges) in topology.shards.iter().zip(&ranges) {
        out.text("slots");
        for (first, last) in ranges {
            let at = out.depth();
            out.int(i64::from(*first)).int(i64::from(*last));
            out.gather(Kind::Array, at);
        }
        let at = out.depth() - ranges.len();
        out.gather(Kind::Array, at);
        out.text("primary");
        match &shard.primary {
            Some(primary) => node(&mut out, primary, None),
            None => {
                out.nil();
            }
        }
        out.text("replicas");
        for replica in &shard.replicas {
            node(&mut out, replica, Some(shard));
        }
        let at = out.depth() - shard.replicas.len();
        out.gather(Kind::Array, at);
        let at = out.depth() - 6;
        out.gather(Kind::Map, at);
    }
    out.gather(Kind::Array, 0);
    out.finish()
}

/// A map of what is known of a node, of a replica also how far it is behind.
fn node(out: &mut Builder, node: &Arc<Node>, of: Option<&Shard>) {
    let at = out.depth();
    let peer = &node.peer;
    let time = now();
    out.text("address").text(peer.address().to_string());
    out.text("id").text(&node.id);
    out.text("zone");
    match (&node.zone, peer.zone()) {
        (Some(zone), _) => out.text(zone),
        (None, Some(zone)) => out.text(zone.as_str()),
        (None, None) => out.nil(),
    };
    out.text("health").text(health(peer));
    let away = peer.health.away(time).map_or(0, |d| d.as_millis() as i64);
    out.text("left_alone_ms").int(away);
    out.text("connections").int(peer.connections() as i64);
    let reads = peer.counts.reads.load(Ordering::Relaxed);
    out.text("reads").int(reads as i64);
    let trip = peer.pace.round_trip().map_or(-1, |d| d.as_micros() as i64);
    out.text("round_trip_us").int(trip);
    out.text("under_way").int(i64::from(peer.pace.load()));
    if let Some(shard) = of {
        let standing = &peer.standing;
        out.text("link").text(match standing.link() {
            Link::Unknown => "unknown",
            Link::Up => "up",
            Link::Down => "down",
        });
        out.text("lag_bytes").int(standing.behind().unwrap_or(-1));
        let primary = shard.primary.as_ref();
        let proven = primary.and_then(|p| standing.proven(&p.peer));
        let lag = proven.map_or(-1, |since| time.since(since).as_millis() as i64);
        out.text("lag_ms").int(lag);
    }
    out.gather(Kind::Map, at);
}

fn health(peer: &Peer) -> &'static str {
    if peer.health.is_well() {
        "well"
    } else {
        "failing"
    }
}

/// A map of counters, with one of nodes in it.
pub fn stats(core: &Core) -> Reply {
    let process = core.process();
    let mut out = Builder::new();
    for (name, counter, _) in ROWS {
        out.text(name)
            .int(counter(&core.stats).load(Ordering::Relaxed) as i64);
    }
    out.text("topology_version")
        .int(process.topology.load().version as i64);
    out.text("nodes");
    let nodes = out.depth();
    for peer in process.peers() {
        out.text(peer.address().to_string());
        let at = out.depth();
        let counts = &peer.counts;
        out.text("connections").int(peer.connections() as i64);
        out.text("connects")
            .int(counts.connects.load(Ordering::Relaxed) as i64);
        out.text("failures")
            .int(counts.errors.load(Ordering::Relaxed) as i64);
        out.text("reads")
            .int(counts.reads.load(Ordering::Relaxed) as i64);
        out.text("health").text(health(&peer));
        out.gather(Kind::Map, at);
    }
    out.gather(Kind::Map, nodes);
    out.gather(Kind::Map, 0);
    out.finish()
}

/// A map that says what would be done with a command.
pub fn explain(client: &Client, core: &Core, args: &[&[u8]]) -> Result<Reply> {
    if args.is_empty() {
        return Err(crate::error::Error::invalid("an empty command"));
    }
    let row = find(args);
    let mut access = row.map_or(Access::Write, |row| access(row, args));
    let process = core.process();
    let topology = process.topology.load();
    // What is learned of a command opens no door.
    let allowed = client.permit(row.map_or("the command", |r| r.name), access);
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let planned = match row {
        Some(row) => shareable(row)
            .and_then(|()| each_key(row, args, &mut |at, _| keys.push(args[at].to_vec())))
            .and_then(|()| plan(row, args, client.config.split_writes)),
        None => {
            let (planned, learned, found) = learned::plan_unasked(core, args);
            (access, keys) = (learned, found);
            planned
        }
    };
    let mut out = Builder::new();
    out.text("command");
    match row {
        Some(row) => out.text(row.name),
        None => out.text(args[0].to_ascii_uppercase()),
    };
    out.text("known").int(i64::from(row.is_some()));
    out.text("keys");
    let at = out.depth();
    for key in &keys {
        out.text(key);
    }
    out.gather(Kind::Array, at);
    let mut slots: Vec<u16> = keys.iter().map(|k| of_key(k)).collect();
    slots.sort_unstable();
    slots.dedup();
    out.text("slots");
    let at = out.depth();
    for slot in &slots {
        out.int(i64::from(*slot));
    }
    out.gather(Kind::Array, at);
    out.text("access").text(match access {
        Access::Read => "read",
        Access::Write => "write",
    });
    out.text("read_from").text(client.read_from().name());
    out.text("nodes");
    let at = out.depth();
    let may_read = access == Access::Read && client.read_from() != ReadFrom::Primary;
    if allowed.is_ok()
        && let Ok(plan) = &planned
    {
        for peer in asked(plan, &topology, client.read_from(), may_read) {
            out.text(peer.address().to_string());
        }
    }
    out.gather(Kind::Array, at);
    out.text("policy").text(match &planned {
        Err(_) => "refused",
        Ok(_) if allowed.is_err() => "refused",
        Ok(Plan::Slot(_)) => "one slot",
        Ok(Plan::Primary(_)) => "one slot, at its primary",
        Ok(Plan::Scan) => "all primaries, one after another",
        Ok(Plan::Anywhere) => "any node",
        Ok(Plan::Fan(Nodes::All, _)) => "all nodes",
        Ok(Plan::Fan(Nodes::Primaries, _)) => "all primaries",
        Ok(Plan::Split(..)) => "split by slot",
    });
    let unserved = slots.iter().find(|s| topology.shard(**s).is_none());
    let error = planned.err().or(allowed.err()).or(unserved.map(|slot| {
        crate::error::Error::new(Code::Down, format_args!("no node serves slot {slot}"))
    }));
    if let Some(error) = error {
        out.text("error").text(&error.message);
    }
    out.gather(Kind::Map, 0);
    Ok(out.finish())
}

/// Every node that might be asked.
fn asked(plan: &Plan, topology: &Topology, read_from: ReadFrom, may_read: bool) -> Vec<Arc<Peer>> {
    let of_shard = |shard: &Shard| -> Vec<Arc<Peer>> {
        let replicas = shard.replicas.iter();
        let nodes: Vec<&Arc<Node>> = if !may_read {
            shard.primary.iter().collect()
        } else if read_from == ReadFrom::Replica && !shard.replicas.is_empty() {
            replicas.collect()
        } else {
            shard.nodes().collect()
        };
        nodes.into_iter().map(|n| n.peer.clone()).collect()
    };
    let mut found: Vec<Arc<Peer>> = match plan {
        Plan::Slot(slot) => topology.shard(*slot).map(of_shard).unwrap_or_default(),
        Plan::Primary(slot) => {
            let primary = topology.shard(*slot).and_then(|s| s.primary.as_ref());
            primary.map(|node| node.peer.clone()).into_iter().collect()
        }
        Plan::Scan => super::client::peers(topology, Nodes::Primaries),
        Plan::Split(pieces, _) => pieces
            .iter()
            .filter_map(|(slot, _)| topology.shard(slot))
            .flat_map(of_shard)
            .collect(),
        Plan::Anywhere => topology.shards.iter().flat_map(of_shard).collect(),
        Plan::Fan(nodes, _) => super::client::peers(topology, *nodes),
    };
    let mut seen: Vec<Arc<Peer>> = Vec::new();
    found.retain(|peer| {
        let new = !seen.iter().any(|p| Arc::ptr_eq(p, peer));
        if new {
            seen.push(peer.clone());
        }
        new
    });
    found
}
