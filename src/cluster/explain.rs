//! Explains how a command would be executed, without executing it.

use super::context::{ExecContext, is_permitted, is_permitted_as};
use super::fan_out::peers;
use super::module_commands;
use super::node_selector::not_selected;
use crate::config::ReadFrom;
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::Peer;
use crate::resp::{Builder, Kind, Reply};
use crate::route::{Access, Nodes, Route, classify};
use crate::topology::{KeySpace, Node, Shard, Topology, key_slot};
use std::sync::Arc;

/// How one command would be executed.
struct Explanation<'a> {
    context: &'a ExecContext<'a>,
    access: Access,
    route: Result<Route>,
    topology: &'a Topology,
}

/// A map of the command's properties, the nodes that may serve it, and why the other nodes do not.
pub fn explain(context: &ExecContext<'_>, args: &[&[u8]]) -> Reply {
    let command = classify(args);
    let topology = context.process.load_topology();
    let permitted = is_permitted(context.config, &command);
    let mut positions = Vec::new();
    let route = command
        .key_positions(&mut positions)
        .and_then(|()| command.route(context.route_options()));
    let (route, access, keys) = match route.transpose() {
        Some(route) => {
            let route = route.and_then(|route| match route {
                Route::Selected => Err(not_selected(&command)),
                Route::Writes => Err(command.shared_connection()),
                route => Ok(route),
            });
            let keys = positions.iter().map(|at| args[*at].to_vec()).collect();
            (route, command.access, keys)
        }
        None => {
            let (route, access, keys) = module_commands::route_offline(context.core, args);
            let permitted = is_permitted_as(context.config, &command, access);
            let route = route.and_then(|route| permitted.map(|()| route));
            (route, access, keys)
        }
    };
    let slots = slots_of(&keys, topology.key_space());
    let explanation = Explanation {
        context,
        access,
        // A refused command has no route.
        route: permitted.and(route),
        topology: &topology,
    };
    let mut out = Builder::new();
    out.text("command");
    match command.row {
        Some(row) => out.text(row.name),
        None => out.text(args[0].to_ascii_uppercase()),
    };
    out.text("known").int(i64::from(command.row.is_some()));
    out.text("keys");
    write_array(&mut out, &keys, |out, key| {
        out.text(key);
    });
    out.text("slots");
    write_array(&mut out, &slots, |out, slot| {
        out.int(i64::from(*slot));
    });
    out.text("access").text(match access {
        Access::Read => "read",
        Access::Write => "write",
    });
    let database = context.policy.kind.database();
    out.text("database").int(i64::from(database));
    out.text("read_from").text(context.policy.read_from.name());
    explanation.write_nodes(&mut out);
    out.text("policy").text(policy_name(&explanation));
    let unserved = unserved(&topology, &slots);
    if let Some(error) = explanation.route.err().or(unserved) {
        out.text("error").text(&error.message);
    }
    out.aggregate(Kind::Map, 0);
    out.finish()
}

/// Why no node can serve the slots.
fn unserved(topology: &Topology, slots: &[u16]) -> Option<Error> {
    if topology.version == 0 {
        let message = "the client is not connected yet: the next command connects";
        return Some(Error::new(Code::Connect, message));
    }
    let slot = slots.iter().find(|s| topology.shard(**s).is_none())?;
    let message = format_args!("no node serves slot {slot}");
    Some(Error::new(Code::Down, message))
}

/// The hash slots of the keys; none at a server without cluster support.
fn slots_of(keys: &[Vec<u8>], key_space: KeySpace) -> Vec<u16> {
    if key_space == KeySpace::OneSlot {
        return Vec::new();
    }
    let mut slots: Vec<u16> = keys.iter().map(|key| key_slot(key)).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

fn write_array<T>(out: &mut Builder, items: &[T], write: impl Fn(&mut Builder, &T)) {
    let at = out.depth();
    for item in items {
        write(out, item);
    }
    out.aggregate(Kind::Array, at);
}

/// The value of the field "policy".
fn policy_name(explanation: &Explanation<'_>) -> &'static str {
    match (&explanation.route, explanation.topology.key_space()) {
        (Err(_), _) => "refused",
        (Ok(Route::Slot(_)), KeySpace::HashSlots) => "one slot",
        (Ok(Route::Slot(_)), KeySpace::OneSlot) => "one server",
        (Ok(Route::Primary(_)), KeySpace::HashSlots) => "one slot, at its primary",
        (Ok(Route::Primary(_)), KeySpace::OneSlot) => "one server, at the primary",
        (Ok(Route::Scan), _) => "all primaries, one after another",
        (Ok(Route::AnyNodeOf(_)), _) => "any node, the same for a channel while it is healthy",
        (Ok(Route::AnyNode | Route::Selected | Route::Writes), _) => "any node",
        (Ok(Route::FanOut(Nodes::All, _)), _) => "all nodes",
        (Ok(Route::FanOut(Nodes::Primaries, _)), _) => "all primaries",
        (Ok(Route::Split(..)), _) => "split by slot",
    }
}

impl Explanation<'_> {
    /// The fields "nodes" and "others".
    fn write_nodes(&self, out: &mut Builder) {
        let mut addresses = Vec::new();
        let mut others = Vec::new();
        if let Ok(route) = &self.route {
            let candidates = self.candidates(route);
            for node in self.topology.nodes.iter() {
                let address = node.peer.address().to_string();
                match self.why_not(node, route, &candidates) {
                    None => addresses.push(address),
                    Some(why) => others.push((address, why)),
                }
            }
        }
        out.text("nodes");
        write_array(out, &addresses, |out, address| {
            out.text(address);
        });
        out.text("others");
        let at = out.depth();
        for (address, why) in &others {
            out.text(address).text(why);
        }
        out.aggregate(Kind::Map, at);
    }

    /// The nodes that the route and `read_from` allow, ejected nodes included.
    fn candidates(&self, route: &Route) -> Vec<Arc<Peer>> {
        let topology = self.topology;
        let of_shard = |shard: &Shard| self.candidates_of_shard(shard);
        let mut candidates: Vec<Arc<Peer>> = match route {
            Route::Slot(slot) => topology.shard(*slot).map(of_shard).unwrap_or_default(),
            Route::Primary(slot) | Route::AnyNodeOf(slot) => {
                let primary = topology.shard(*slot).and_then(|s| s.primary.as_ref());
                primary.map(|node| node.peer.clone()).into_iter().collect()
            }
            Route::Scan => peers(topology, Nodes::Primaries),
            Route::Split(groups, _) => groups
                .iter()
                .filter_map(|(slot, _)| topology.shard(slot))
                .flat_map(of_shard)
                .collect(),
            Route::AnyNode | Route::Selected | Route::Writes => {
                topology.shards.iter().flat_map(of_shard).collect()
            }
            Route::FanOut(nodes, _) => peers(topology, *nodes),
        };
        let mut seen: Vec<Arc<Peer>> = Vec::new();
        candidates.retain(|peer| {
            let is_new = !seen.iter().any(|p| Arc::ptr_eq(p, peer));
            if is_new {
                seen.push(peer.clone());
            }
            is_new
        });
        candidates
    }

    fn candidates_of_shard(&self, shard: &Shard) -> Vec<Arc<Peer>> {
        let read_from = self.context.policy.read_from;
        let nodes: Vec<&Arc<Node>> =
            if self.access == Access::Write || read_from == ReadFrom::Primary {
                shard.primary.iter().collect()
            } else if read_from == ReadFrom::Replica && !shard.replicas.is_empty() {
                shard.replicas.iter().collect()
            } else {
                shard.nodes().collect()
            };
        nodes.into_iter().map(|n| n.peer.clone()).collect()
    }

    /// Why a node would not serve the command; `None` if it may.
    fn why_not(&self, node: &Node, route: &Route, candidates: &[Arc<Peer>]) -> Option<String> {
        let is_node = |peer: &Arc<Peer>| Arc::ptr_eq(peer, &node.peer);
        let in_shard = |shard: &Shard| shard.nodes().any(|n| is_node(&n.peer));
        let shard = self.topology.shards.iter().find(|s| in_shard(s))?;
        if candidates.iter().any(is_node) {
            return why_ejected(node, shard, candidates);
        }
        let owns = |slot: u16| self.topology.shard(slot).is_some_and(in_shard);
        let elsewhere = match route {
            Route::Slot(slot) | Route::Primary(slot) => !owns(*slot),
            Route::Split(groups, _) => !groups.iter().any(|(slot, _)| owns(slot)),
            _ => false,
        };
        let is_primary = shard.primary.as_ref().is_some_and(|n| is_node(&n.peer));
        let why = match (route, self.access) {
            (Route::AnyNodeOf(_), _) => "asked only if the primary of the channel's slot fails",
            _ if elsewhere => "it serves other slots",
            _ if is_primary => "the primary, used only if no replica answers",
            (Route::Primary(_), _) => "a replica, and only the primary's answer counts",
            (Route::Scan | Route::FanOut(..), _) => "a replica, and the command is for primaries",
            (_, Access::Write) => "a replica, and the command is a write",
            _ => "a replica, and read_from is primary",
        };
        Some(why.to_owned())
    }
}

/// Why a candidate is skipped: it is ejected, and the shard has a healthy candidate.
fn why_ejected(node: &Node, shard: &Shard, candidates: &[Arc<Peer>]) -> Option<String> {
    let can_replace = |peer: &Arc<Peer>| {
        peer.health.is_healthy() && shard.nodes().any(|n| Arc::ptr_eq(&n.peer, peer))
    };
    let ejected_for = node.peer.health.ejected_for(now())?;
    candidates.iter().any(can_replace).then(|| {
        format!(
            "ejected for {} ms, because it did not answer",
            ejected_for.as_millis()
        )
    })
}
