//! What would be done with a command, without doing it: for those who wonder why.

use super::client::{Client, peers};
use super::module_commands;
use crate::cluster::state::Core;
use crate::config::ReadFrom;
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::Peer;
use crate::resp::{Builder, Kind, Reply};
use crate::route::{Access, Nodes, Route, access, check, check_shareable, each_key, find, plan};
use crate::topology::{Node, Shard, Topology, key_slot};
use std::sync::Arc;

/// A map that says what would be done with a command.
pub fn explain(client: &Client, core: &Core, args: &[&[u8]]) -> Result<Reply> {
    if args.is_empty() {
        return Err(Error::invalid("an empty command"));
    }
    let row = find(args);
    let mut access = row.map_or(Access::Write, |row| access(row, args));
    let process = core.process();
    let topology = process.topology.load();
    // What is learned of a command opens no door.
    let allowed = client.permit(row.map_or("the command", |r| r.name), access);
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let planned = match row {
        Some(row) => check_shareable(row)
            .and_then(|()| check(row, args))
            .and_then(|()| each_key(row, args, &mut |at, _| keys.push(args[at].to_vec())))
            .and_then(|()| plan(row, args, client.config.split_writes)),
        None => {
            let (planned, module_commands, found) = module_commands::plan_unasked(core, args);
            (access, keys) = (module_commands, found);
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
    let mut slots: Vec<u16> = keys.iter().map(|k| key_slot(k)).collect();
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
    let allowed_plan = planned.as_ref().ok().filter(|_| allowed.is_ok());
    let mut others = Vec::new();
    if let Some(plan) = allowed_plan {
        let all = asked(plan, &topology, client.read_from(), may_read);
        for node in &topology.nodes {
            let address = node.peer.address().to_string();
            match why_not(node, plan, &topology, &all, access) {
                None => {
                    out.text(address);
                }
                Some(why) => others.push((address, why)),
            }
        }
    }
    out.gather(Kind::Array, at);
    out.text("others");
    let at = out.depth();
    for (address, why) in &others {
        out.text(address).text(why);
    }
    out.gather(Kind::Map, at);
    out.text("policy").text(match &planned {
        Err(_) => "refused",
        Ok(_) if allowed.is_err() => "refused",
        Ok(Route::Slot(_)) => "one slot",
        Ok(Route::Primary(_)) => "one slot, at its primary",
        Ok(Route::Scan) => "all primaries, one after another",
        Ok(Route::AnyNode) => "any node",
        Ok(Route::FanOut(Nodes::All, _)) => "all nodes",
        Ok(Route::FanOut(Nodes::Primaries, _)) => "all primaries",
        Ok(Route::Split(..)) => "split by slot",
    });
    let unserved = slots.iter().find(|s| topology.shard(**s).is_none());
    let error =
        planned
            .err()
            .or(allowed.err())
            .or(unserved
                .map(|slot| Error::new(Code::Down, format_args!("no node serves slot {slot}"))));
    if let Some(error) = error {
        out.text("error").text(&error.message);
    }
    out.gather(Kind::Map, 0);
    Ok(out.finish())
}

/// Every node that might be asked.
fn asked(plan: &Route, topology: &Topology, read_from: ReadFrom, may_read: bool) -> Vec<Arc<Peer>> {
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
        Route::Slot(slot) => topology.shard(*slot).map(of_shard).unwrap_or_default(),
        Route::Primary(slot) => {
            let primary = topology.shard(*slot).and_then(|s| s.primary.as_ref());
            primary.map(|node| node.peer.clone()).into_iter().collect()
        }
        Route::Scan => peers(topology, Nodes::Primaries),
        Route::Split(groups, _) => groups
            .iter()
            .filter_map(|(slot, _)| topology.shard(slot))
            .flat_map(of_shard)
            .collect(),
        Route::AnyNode => topology.shards.iter().flat_map(of_shard).collect(),
        Route::FanOut(nodes, _) => peers(topology, *nodes),
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

/// Why a node would not be asked; `None` if it might be.
fn why_not(
    node: &Node,
    plan: &Route,
    topology: &Topology,
    asked: &[Arc<Peer>],
    access: Access,
) -> Option<String> {
    let is = |other: &Arc<Peer>| Arc::ptr_eq(other, &node.peer);
    let shard = topology
        .shards
        .iter()
        .find(|s| s.nodes().any(|n| is(&n.peer)))?;
    if asked.iter().any(is) {
        let instead = |peer: &Arc<Peer>| {
            let mut others = shard.nodes().filter(|n| Arc::ptr_eq(&n.peer, peer));
            peer.health.is_healthy() && others.next().is_some()
        };
        let away = node
            .peer
            .health
            .ejected_for(now())
            .filter(|_| asked.iter().any(instead));
        return away.map(|time| {
            format!(
                "left alone for {} ms, since it did not answer",
                time.as_millis()
            )
        });
    }
    let serves = |slot: u16| {
        let primary = topology.shard(slot).map(|s| s.nodes().any(|n| is(&n.peer)));
        primary.unwrap_or_default()
    };
    let elsewhere = match plan {
        Route::Slot(slot) | Route::Primary(slot) => !serves(*slot),
        Route::Split(groups, _) => !groups.iter().any(|(slot, _)| serves(slot)),
        _ => false,
    };
    let is_primary = shard.primary.as_ref().is_some_and(|n| is(&n.peer));
    let why = match (plan, access) {
        _ if elsewhere => "it serves other slots",
        _ if is_primary => "the primary, asked only if no replica answers",
        (Route::Primary(_), _) => "a replica, and the cursor is the primary's",
        (Route::Scan | Route::FanOut(..), _) => "a replica, and this is for primaries",
        (_, Access::Write) => "a replica, and this is a write",
        _ => "a replica, and read_from is primary",
    };
    Some(why.to_owned())
}
