//! The pool under test. Only this file uses the interface of `src/net`.

use super::case::Caller;
use crate::address::Address;
use crate::config::Config;
use crate::deadline::now;
use crate::error::Result;
use crate::net::{Call, CancelFlag, ConnectionKind, Peer, PeerContext, TryAcquire, Wakers};
use crate::resp::{CommandBody, CommandReply, Reply};
use crate::simulation::simulator::node_address;

const KIND: ConnectionKind = ConnectionKind::primary(0);

/// A key that node 0 serves.
const KEY: &str = "{b}1";

/// The pool of node 0, and the cancel flag of each caller.
pub(super) struct PoolUnderTest {
    peer: Peer,
    wakers: Wakers,
    cancel_flags: Vec<CancelFlag>,
}

impl PoolUnderTest {
    pub(super) fn new(connections: usize, callers: usize) -> PoolUnderTest {
        let mut config = Config::new();
        config
            .set("connections_per_node", &connections.to_string())
            .expect("a valid number");
        let address = Address::parse(&node_address(0).to_string()).expect("a valid address");
        PoolUnderTest {
            peer: Peer::new(address, PeerContext::of_config(config)),
            wakers: Wakers::default(),
            cancel_flags: (0..callers).map(|_| CancelFlag::default()).collect(),
        }
    }

    /// Opens the first connection.
    pub(super) fn connect(&self, contended: bool) {
        let cancel_flag = CancelFlag::default();
        let call = Call::new(now(), 2000, 2000, &cancel_flag, &self.wakers);
        let connected = self
            .peer
            .ensure_connected(KIND, call.attempt_until(call.deadline));
        connected.expect("the node is healthy");
        if contended {
            self.peer.force_contended(KIND);
        }
    }

    /// Increments the key for a caller.
    pub(super) fn incrby(&self, id: usize, caller: Caller, token: &str) -> Result<Box<Reply>> {
        let timeout = caller.timeout_ms;
        let cancel_flag = &self.cancel_flags[id];
        let call = Call::new(now(), timeout, timeout, cancel_flag, &self.wakers);
        let args = [b"INCRBY".as_slice(), KEY.as_bytes(), token.as_bytes()];
        let (body, attempt) = (CommandBody::Args(&args), call.attempt_at(call.began));
        if !caller.acquires_connection {
            return self
                .peer
                .call(KIND, &body, attempt)
                .map(CommandReply::whole);
        }
        let mut connection = self.peer.acquire(KIND, attempt)?;
        connection.push(&body);
        let reply = connection.reply(attempt);
        match &reply {
            Ok(_) => self.peer.release(KIND, connection, call.began),
            Err(_) => {
                drop(connection);
                self.peer.forget_lost(KIND);
            }
        }
        reply
    }

    pub(super) fn interrupt(&self, id: usize) {
        self.cancel_flags[id].interrupt();
        self.wakers.fire();
    }

    /// How many connections the pool counts.
    pub(super) fn counted_connections(&self) -> usize {
        self.peer.connections()
    }

    /// Checks that every counted connection is idle, for the next caller.
    pub(super) fn check_all_idle(&self, most: usize) -> std::result::Result<(), String> {
        let cancel_flag = CancelFlag::default();
        let call = Call::new(now(), 500, 500, &cancel_flag, &self.wakers);
        let mut idle = Vec::new();
        while idle.len() < most {
            match self.peer.try_acquire(KIND, &call) {
                TryAcquire::Idle(connection) => idle.push(connection),
                TryAcquire::MayOpen => {
                    self.peer.forget_lost(KIND);
                    break;
                }
                TryAcquire::Busy => break,
            }
        }
        let counted = self.peer.connections();
        if idle.len() != counted {
            return Err(format!("{} of {counted} connections are idle", idle.len()));
        }
        for connection in idle {
            let used = connection.used;
            self.peer.release(KIND, connection, used);
        }
        Ok(())
    }
}
