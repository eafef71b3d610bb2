//! The servers' ends of connections: input, and the replies to it.

use super::commands::{NULL_ARRAY, execute};
use super::faults::Fault;
use crate::simulation::simulator::{Event, MS, State, US};

/// The state of a connection at its server.
#[derive(Default, Debug)]
pub(super) struct Session {
    input: Vec<u8>,
    pub(super) resp3: bool,
    pub(super) readonly: bool,
    pub(super) asking: bool,
    /// The queued commands of a transaction.
    pub(super) queue: Option<Vec<Vec<String>>>,
    /// A command of the transaction was refused.
    pub(super) dirty: bool,
    /// The client has closed its end.
    closing: bool,
    pub(super) had_topology_request: bool,
    pub(super) had_command: bool,
}

/// A connection was accepted.
pub fn on_connect(state: &mut State, id: usize) {
    let node = state.connections[id].node;
    state.cluster.sessions.insert(id, Session::default());
    if state.cluster.nodes[node].clients_full_until > state.now {
        let now = state.now;
        state.send_to_client(id, b"-ERR max number of clients reached\r\n", now);
        state.cluster.end_session(id);
        state.close_from_server(id, now);
    }
}

/// Bytes have arrived from the client.
pub fn on_data(state: &mut State, id: usize, bytes: &[u8]) {
    let Some(session) = state.cluster.sessions.get_mut(&id) else {
        return;
    };
    session.input.extend_from_slice(bytes);
    process_input(state, id);
}

/// The client's end is closed or lost.
pub fn on_disconnect(state: &mut State, id: usize) {
    let is_reset = state.rng.chance(300);
    if let Some(session) = state.cluster.sessions.get_mut(&id) {
        // A busy server reads its buffered input before it notices the disconnect.
        session.closing = true;
        if session.input.is_empty() || is_reset {
            state.cluster.end_session(id);
        }
    }
}

/// Executes the commands that have arrived in full. A frozen node does so later.
pub(super) fn process_input(state: &mut State, id: usize) {
    let node = state.connections[id].node;
    let frozen_until = state.cluster.nodes[node].frozen_until;
    if frozen_until > state.now {
        state.schedule(frozen_until, Event::Fault(Fault::Thaw(id)));
        return;
    }
    loop {
        let Some(session) = state.cluster.sessions.get_mut(&id) else {
            return;
        };
        let Some((args, size)) = parse_command(&session.input) else {
            if session.closing {
                state.cluster.end_session(id);
            }
            return;
        };
        session.input.drain(..size);
        let resp3 = session.resp3;
        reply_to(state, id, &args, resp3);
    }
}

/// Executes a command and sends its reply, with push messages around it if `resp3`.
fn reply_to(state: &mut State, id: usize, args: &[String], resp3: bool) {
    let node = state.connections[id].node;
    let conditions = state.cluster.conditions;
    let mut out = Vec::new();
    if resp3 && state.rng.chance(conditions.pushes) {
        out.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nfoo\r\n");
    }
    if resp3 && state.rng.chance(conditions.pushes) {
        out.extend_from_slice(b"|1\r\n+ttl\r\n:3600\r\n");
    }
    let reply = execute(state, node, id, args);
    out.extend_from_slice(&reply);
    if resp3 && state.rng.chance(conditions.pushes) {
        out.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nbar\r\n");
    }
    let mut time = state.now + 5 * US;
    if args[0] == "BLPOP" && reply == NULL_ARRAY {
        // It blocks for its whole timeout: no list ever receives an element.
        time += args[2].parse::<u64>().unwrap_or(0) * 1000 * MS;
    }
    if state.rng.chance(conditions.slow_replies) {
        time += state.rng.below(conditions.max_reply_delay);
    }
    state.log(|| {
        format!(
            "node {node} on connection {id}: {args:?} -> {:?}",
            String::from_utf8_lossy(&reply[..reply.len().min(80)])
        )
    });
    state.send_to_client(id, &out, time);
}

/// A command as clients encode it, and its size.
fn parse_command(input: &[u8]) -> Option<(Vec<String>, usize)> {
    let number_at = |at: usize| {
        let end = at + input.get(at..)?.iter().position(|b| *b == b'\n')?;
        let text = std::str::from_utf8(&input[at + 1..end - 1]).ok()?;
        Some((text.parse::<usize>().ok()?, end + 1))
    };
    let (count, mut next) = number_at(0)?;
    let mut args = Vec::with_capacity(count);
    for _ in 0..count {
        let (size, start) = number_at(next)?;
        let text = input.get(start..start + size)?;
        next = start + size + 2;
        input.get(start + size..next)?;
        args.push(String::from_utf8_lossy(text).into_owned());
    }
    Some((args, next))
}
