//! The topology and the counters as replies.

use crate::cluster::state::{COUNTERS, Core, ProcessState};
use crate::deadline::now;
use crate::net::{Link, NodeCounters, NodeState, Peer};
use crate::resp::{Builder, Kind, Reply};
use crate::topology::{Node, Shard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An array of shards, for a handle of this database.
pub fn topology(process: &ProcessState, database: u16) -> Reply {
    let topology = process.topology.load();
    let ranges = topology.ranges();
    let mut out = Builder::new();
    for (shard, ranges) in topology.shards.iter().zip(&ranges) {
        out.text("slots");
        for (first, last) in ranges {
            let at = out.depth();
            out.int(i64::from(*first)).int(i64::from(*last));
            out.aggregate(Kind::Array, at);
        }
        let at = out.depth() - ranges.len();
        out.aggregate(Kind::Array, at);
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
        out.aggregate(Kind::Array, at);
        out.text("database").int(i64::from(database));
        let at = out.depth() - 8;
        out.aggregate(Kind::Map, at);
    }
    out.aggregate(Kind::Array, 0);
    out.finish()
}

/// A map of a node's fields; of a replica also its lag behind the primary of `shard`.
fn node(out: &mut Builder, node: &Arc<Node>, shard: Option<&Shard>) {
    let at = out.depth();
    let peer = &node.peer;
    let time = now();
    out.text("address").text(peer.address().to_string());
    out.text("id").text(&*node.id);
    out.text("zone");
    match (&node.zone, peer.state_if_used().and_then(NodeState::zone)) {
        (Some(zone), _) => out.text(zone.as_str()),
        (None, Some(zone)) => out.text(zone.as_str()),
        (None, None) => out.nil(),
    };
    let state = peer.state_if_used();
    out.text("health").text(health(peer));
    let ejected_for = state.and_then(|state| state.health.ejected_for(time));
    out.text("ejected_ms")
        .int(ejected_for.map_or(0, |d| d.as_millis() as i64));
    out.text("connections").int(peer.connections() as i64);
    let reads = state.map_or(0, |state| state.counters.reads.load(Ordering::Relaxed));
    out.text("reads").int(reads as i64);
    let rtt = state.and_then(|state| state.load.rtt());
    out.text("rtt_us")
        .int(rtt.map_or(-1, |d| d.as_micros() as i64));
    let in_flight = state.map_or(0, |state| state.load.in_flight());
    out.text("in_flight").int(i64::from(in_flight));
    if let Some(shard) = shard {
        let freshness = state.map(|state| &state.freshness);
        let link = freshness.map_or(Link::Unknown, |freshness| freshness.link());
        out.text("link").text(match link {
            Link::Unknown => "unknown",
            Link::Up => "up",
            Link::Down => "down",
        });
        let lag_bytes = freshness.and_then(|freshness| freshness.lag_bytes());
        out.text("lag_bytes").int(lag_bytes.unwrap_or(-1));
        let primary = shard.primary.as_ref().map(|node| &node.peer);
        let fresh_as_of = (freshness.zip(primary))
            .and_then(|(freshness, primary)| freshness.fresh_as_of(primary.origin()));
        let lag_ms = fresh_as_of.map_or(-1, |since| time.since(since).as_millis() as i64);
        out.text("lag_ms").int(lag_ms);
    }
    out.aggregate(Kind::Map, at);
}

fn health(peer: &Peer) -> &'static str {
    if peer.is_healthy() {
        "healthy"
    } else {
        "unhealthy"
    }
}

/// Whether the client has connected and some node has not failed since, as far as calls have shown.
fn is_connected(process: &ProcessState) -> bool {
    let topology = process.topology.load();
    topology
        .nodes
        .iter()
        .any(|node| node.peer.health.is_healthy() && node.peer.last_connect_error().is_none())
}

/// A map of the counters, with a map of the nodes in it.
pub fn stats(core: &Core) -> Reply {
    let process = core.process();
    let mut out = Builder::new();
    for (name, counter, _) in COUNTERS {
        out.text(name)
            .int(counter(&core.stats).load(Ordering::Relaxed) as i64);
    }
    out.text("connected").int(i64::from(is_connected(process)));
    out.text("topology_version")
        .int(process.topology.load().version as i64);
    out.text("nodes");
    let nodes = out.depth();
    for peer in process.peers() {
        out.text(peer.address().to_string());
        let at = out.depth();
        let counters = peer.state_if_used().map(|state| &state.counters);
        let count = |counter: fn(&NodeCounters) -> &AtomicU64| {
            counters.map_or(0, |c| counter(c).load(Ordering::Relaxed) as i64)
        };
        out.text("connections").int(peer.connections() as i64);
        out.text("connects").int(count(|c| &c.connects));
        out.text("failures").int(count(|c| &c.errors));
        out.text("reads").int(count(|c| &c.reads));
        out.text("health").text(health(&peer));
        out.aggregate(Kind::Map, at);
    }
    out.aggregate(Kind::Map, nodes);
    out.aggregate(Kind::Map, 0);
    out.finish()
}
