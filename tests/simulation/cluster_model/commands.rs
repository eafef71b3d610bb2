//! The commands of the model.

use super::ownership::{check_ownership, cluster_slots};
use super::session::Session;
use super::{DBSIZE_OF_SHARD, SHARDS, bulk_string, pubsub};
use crate::simulation::simulator::State;

pub(super) const NULL_ARRAY: &[u8] = b"*-1\r\n";

/// Executes a command at a node, and returns its reply.
pub(super) fn execute(state: &mut State, node: usize, id: usize, args: &[String]) -> Vec<u8> {
    let name = args[0].to_ascii_uppercase();
    let is_subscribed = state.cluster.pubsub.is_subscribed(id);
    let role = role(state, node);
    let Some(session) = state.cluster.sessions.get_mut(&id) else {
        return Vec::new();
    };
    // With RESP2, such a connection serves nothing else.
    if is_subscribed && !session.resp3 && name == "PING" {
        return b"*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_vec();
    }
    if let Some(reply) = pubsub::execute(state, (node, id), args) {
        return reply.into_bytes();
    }
    let Some(session) = state.cluster.sessions.get_mut(&id) else {
        return Vec::new();
    };
    if is_subscribed && !session.resp3 {
        let refused = format!("-ERR Can't execute '{name}': only (P|S)SUBSCRIBE are allowed\r\n");
        return refused.into_bytes();
    }
    let asking = session.asking;
    // ASKING holds for one command or one transaction.
    session.asking = asking && session.queue.is_some();
    let reply = match name.as_str() {
        "HELLO" | "READONLY" | "ASKING" | "MULTI" | "DISCARD" => {
            session_command(session, &name, args, asking, role)
        }
        "ROLE" => format!("*3\r\n{}:0\r\n*0\r\n", bulk_string(role)),
        "CLIENT" | "AUTH" | "WATCH" | "UNWATCH" => "+OK\r\n".to_string(),
        "PING" => "+PONG\r\n".to_string(),
        "DBSIZE" => format!(":{}\r\n", DBSIZE_OF_SHARD[node % SHARDS]),
        "CLUSTER" => topology_request(state, node, id, args),
        "EXEC" => exec(state, node, id, asking),
        _ => keyed_command(state, node, id, args, asking),
    };
    reply.into_bytes()
}

/// The role of a node, as far as it knows.
fn role(state: &State, node: usize) -> &'static str {
    let view = &state.cluster.nodes[node].view;
    match view.primary[node % view.shards()] == node {
        true => "master",
        false => "slave",
    }
}

/// A command that changes the state of its connection.
fn session_command(
    session: &mut Session,
    name: &str,
    args: &[String],
    asking: bool,
    role: &str,
) -> String {
    match name {
        "HELLO" => {
            session.resp3 = args.get(1).is_some_and(|version| version == "3");
            let role = bulk_string(role);
            return format!("%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n{role}");
        }
        "READONLY" => session.readonly = true,
        "ASKING" => session.asking = true,
        "MULTI" => {
            session.asking = asking;
            session.queue = Some(Vec::new());
            session.dirty = false;
        }
        _ => session.queue = None,
    }
    "+OK\r\n".to_string()
}

/// CLUSTER SLOTS, CLUSTER INFO and CLUSTER MYID.
fn topology_request(state: &mut State, node: usize, id: usize, args: &[String]) -> String {
    // Part of every handshake.
    if args[1].eq_ignore_ascii_case("MYID") {
        return bulk_string(&format!("{node:040}"));
    }
    if args[1].eq_ignore_ascii_case("REPLICAS") {
        return replicas(state, node, &args[2]);
    }
    if let Some(session) = state.cluster.sessions.get_mut(&id) {
        session.had_topology_request = true;
        if session.had_command {
            fail_for_shared_connection(state, id);
        }
    }
    if args[1].eq_ignore_ascii_case("SLOTS") {
        let now = state.now;
        state.cluster.refreshes.push(now);
        return cluster_slots(&state.cluster, node, now);
    }
    let epoch = state.cluster.nodes[node].view.epoch;
    let nodes = state.cluster.nodes.len();
    let is_down = state.cluster.nodes[node].cluster_down_until > state.now;
    bulk_string(&format!(
        "cluster_state:{}\r\ncluster_slots_assigned:16384\r\ncluster_known_nodes:{nodes}\r\ncluster_current_epoch:{epoch}\r\ncluster_my_epoch:{epoch}\r\n",
        if is_down { "fail" } else { "ok" }
    ))
}

/// CLUSTER REPLICAS: the replica of a primary, if the node knows it as one.
fn replicas(state: &State, node: usize, id: &str) -> String {
    let view = &state.cluster.nodes[node].view;
    let primary = id.parse().unwrap_or(usize::MAX);
    if !view.primary.contains(&primary) {
        return "-ERR The specified node is not a master\r\n".to_string();
    }
    let nodes = 0..state.cluster.nodes.len();
    let is_replica = |other: &usize| {
        other % view.shards() == primary % view.shards()
            && *other != primary
            && state.cluster.is_known_as_replica(*other, state.now)
    };
    let lines: Vec<String> = { nodes }
        .filter(is_replica)
        .map(|replica| bulk_string(&format!("{replica:040} :0@0 slave {id} 0 0 1 connected")))
        .collect();
    format!("*{}\r\n{}", lines.len(), lines.concat())
}

fn fail_for_shared_connection(state: &mut State, id: usize) {
    state.fail(format!(
        "connection {id} carries commands and topology requests"
    ));
}

fn exec(state: &mut State, node: usize, id: usize, asking: bool) -> String {
    let Some(session) = state.cluster.sessions.get_mut(&id) else {
        return String::new();
    };
    session.asking = false;
    let dirty = std::mem::take(&mut session.dirty);
    let Some(queue) = session.queue.take() else {
        return "-ERR EXEC without MULTI\r\n".to_string();
    };
    if dirty {
        return "-EXECABORT Transaction discarded because of previous errors.\r\n".to_string();
    }
    let keys: Vec<&str> = queue.iter().map(|args| args[1].as_str()).collect();
    if let Err(error) = check_ownership(state, (node, id), &keys, true, asking) {
        return error;
    }
    let mut out = format!("*{}\r\n", queue.len());
    for args in &queue {
        out += &apply(state, node, args);
    }
    out
}

/// A command with keys: refuses, queues or executes it.
fn keyed_command(
    state: &mut State,
    node: usize,
    id: usize,
    args: &[String],
    asking: bool,
) -> String {
    let Some(session) = state.cluster.sessions.get_mut(&id) else {
        return String::new();
    };
    session.had_command = true;
    let queued = session.queue.is_some();
    let (had_topology_request, readonly) = (session.had_topology_request, session.readonly);
    let name = args[0].to_ascii_uppercase();
    let writes = matches!(name.as_str(), "SET" | "INCRBY" | "RPUSH" | "BLPOP");
    if had_topology_request {
        fail_for_shared_connection(state, id);
    }
    if readonly && writes {
        state.fail(format!("a read-only client has sent {args:?}"));
    }
    let keys: Vec<&str> = match name.as_str() {
        "MGET" => args[1..].iter().map(String::as_str).collect(),
        _ => vec![args[1].as_str()],
    };
    let random_errors = state.cluster.conditions.random_errors;
    let refusal = if state.rng.chance(random_errors) {
        Err(random_error(state, node))
    } else {
        check_ownership(state, (node, id), &keys, writes, asking)
    };
    if refusal.is_ok() && !queued {
        return apply(state, node, args);
    }
    let Some(session) = state.cluster.sessions.get_mut(&id) else {
        return String::new();
    };
    match refusal {
        Err(error) => {
            session.dirty |= queued;
            error
        }
        Ok(()) => {
            if let Some(queue) = &mut session.queue {
                queue.push(args.to_vec());
            }
            "+QUEUED\r\n".to_string()
        }
    }
}

/// An error that a server may reply to any command, without executing it.
fn random_error(state: &mut State, node: usize) -> String {
    let view = &state.cluster.nodes[node].view;
    let is_replica = view.primary[node % view.shards()] != node;
    // The last one is for replicas only.
    let errors = [
        "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        "-CLUSTERDOWN Hash slot not served\r\n",
        "-CLUSTERDOWN The cluster is down\r\n",
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-BUSY Redis is busy running a script.\r\n",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    ];
    let count = errors.len() - usize::from(!is_replica);
    errors[state.rng.below(count as u64) as usize].to_string()
}

/// Executes a command that the node may execute.
fn apply(state: &mut State, node: usize, args: &[String]) -> String {
    let key = args[1].as_str();
    match args[0].to_ascii_uppercase().as_str() {
        "GET" => value_of(state, key, ""),
        "GETRANGE" => value_of(state, key, &args[3]),
        "MGET" => {
            let mut out = format!("*{}\r\n", args.len() - 1);
            for key in &args[1..] {
                out += &value_of(state, key, "");
            }
            out
        }
        "SET" => {
            state.cluster.record_execution(key, &args[2]);
            pubsub::notify(state, node, "set", key);
            "+OK\r\n".to_string()
        }
        "BLPOP" => String::from_utf8_lossy(NULL_ARRAY).into_owned(),
        "INCRBY" | "RPUSH" => {
            format!(":{}\r\n", state.cluster.record_execution(key, &args[2]))
        }
        other => format!("-ERR unknown command '{other}'\r\n"),
    }
}

/// A value that identifies its read: key, nonce, serial number, version, time and padding.
fn value_of(state: &mut State, key: &str, nonce: &str) -> String {
    let large_values = state.cluster.conditions.large_values;
    let padding = if state.rng.chance(large_values) {
        state.rng.below(120_000)
    } else {
        state.rng.below(60)
    };
    state.cluster.serial += 1;
    let (serial, version) = (state.cluster.serial, state.cluster.version(key));
    bulk_string(&format!(
        "{key}|{nonce}|{serial}|{version}|{}|{}",
        state.now,
        "x".repeat(padding as usize)
    ))
}
