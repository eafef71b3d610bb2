//! Opening connections to one node.

use super::connect_backoff::ConnectBackoff;
use crate::address::Address;
use crate::config::Config;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::conn::{Connection, ConnectionKind, Endpoint, MemoryBudget, Stream, handshake};
use crate::net::node::NodeState;
use crate::net::sys::PthreadCancelDisabled;
use crate::net::wait::Attempt;
use crate::resp::{CommandBody, Limits, Origin};
use std::sync::Arc;

/// The shortest time that a caller waits for a connection that is opened beside others.
const EXTRA_CONNECTION_MIN_MS: u64 = 60;

/// Opens the connections of all pools of one node.
#[derive(Debug)]
pub struct Connector {
    endpoint: Endpoint,
    origin: Arc<Origin>,
    memory: Arc<MemoryBudget>,
    node: NodeState,
    /// For the kinds without and with READONLY, which a node may refuse by itself.
    backoffs: [ConnectBackoff; 2],
}

impl Connector {
    pub fn new(endpoint: Endpoint, memory: Arc<MemoryBudget>) -> Connector {
        Connector {
            origin: Origin::new(&endpoint.address.to_string()),
            endpoint,
            memory,
            node: NodeState::default(),
            backoffs: Default::default(),
        }
    }

    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }

    pub fn config(&self) -> &Config {
        &self.endpoint.config
    }

    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// The state of the node. A new connection changes it.
    #[inline]
    pub fn node(&self) -> &NodeState {
        &self.node
    }

    /// "host:port" of the node.
    pub(super) fn name(&self) -> &str {
        self.origin.name()
    }

    fn backoff(&self, kind: ConnectionKind) -> &ConnectBackoff {
        &self.backoffs[usize::from(kind.is_readonly())]
    }

    /// Whether a connect has failed so recently that no other is started.
    pub(super) fn is_backing_off(&self, kind: ConnectionKind) -> bool {
        self.backoff(kind).is_backing_off(now())
    }

    /// The error of the last connect, if none has succeeded since.
    pub fn last_error(&self) -> Option<Error> {
        self.backoffs.iter().find_map(ConnectBackoff::last_error)
    }

    /// The time that connect and handshake took recently.
    pub fn handshake_ms(&self) -> u64 {
        let times = self.backoffs.iter().map(ConnectBackoff::handshake_ms);
        times.max().unwrap_or_default()
    }

    /// The deadline for opening a connection beside others: the caller can wait for one of those instead.
    pub(super) fn extra_connection_deadline(&self, time: Time) -> Deadline {
        Deadline::after(time, EXTRA_CONNECTION_MIN_MS.max(self.handshake_ms() * 4))
    }

    /// Opens a connection. During a backoff this fails at once with the error of the last connect, so that not every
    /// call of every thread connects to a node that refuses.
    pub fn open(&self, kind: ConnectionKind, attempt: Attempt<'_>) -> Result<Box<Connection>> {
        let mut connection = self.open_with_commands(kind, &[], attempt)?;
        if !connection.reset_for_reuse(now()) {
            return Err(Error::new(
                Code::Io,
                format_args!(
                    "{} sent unsolicited data on a new connection",
                    self.origin.name()
                ),
            )
            .at(self.origin.name()));
        }
        Ok(connection)
    }

    /// Opens a connection with a command on it. A command that may be sent early ([`Call::early`]) is sent with the
    /// handshake, unless the handshake contains READONLY: a node that refuses READONLY must not serve the read.
    ///
    /// [`Call::early`]: crate::net::Call::early
    pub(super) fn open_with(
        &self,
        kind: ConnectionKind,
        body: &CommandBody<'_>,
        attempt: Attempt<'_>,
    ) -> Result<Box<Connection>> {
        if attempt.call.early && !kind.is_readonly() {
            return self.open_with_commands(kind, &[*body], attempt);
        }
        let mut connection = self.open(kind, attempt)?;
        connection.push(body);
        Ok(connection)
    }

    /// Opens a connection and sends `first` with the handshake. The caller reads the replies to `first`. An error
    /// reports whether any of these commands may have run.
    pub fn open_with_commands(
        &self,
        kind: ConnectionKind,
        first: &[CommandBody<'_>],
        attempt: Attempt<'_>,
    ) -> Result<Box<Connection>> {
        let (backoff, began) = (self.backoff(kind), now());
        backoff.try_start(began)?;
        let opened = self.connect(kind, first, attempt);
        match &opened {
            Ok(_) => backoff.on_success(began, now()),
            // Credentials that are refused for one kind are refused for the other.
            Err(error) if error.code == Code::Auth => {
                for backoff in &self.backoffs {
                    backoff.on_failure(began, now(), error);
                }
            }
            Err(error) => backoff.on_failure(began, now(), error),
        }
        opened
    }

    fn connect(
        &self,
        kind: ConnectionKind,
        first: &[CommandBody<'_>],
        attempt: Attempt<'_>,
    ) -> Result<Box<Connection>> {
        let _cancel_disabled = PthreadCancelDisabled::begin();
        let config = &self.endpoint.config;
        let attempt = attempt.limited_to(Deadline::after(now(), config.connect_timeout_ms));
        let stream = Stream::connect(&self.endpoint, attempt)?;
        let limits = Limits {
            bytes: config.max_reply_bytes,
            elements: config.max_reply_elements,
            depth: config.max_reply_depth,
        };
        let origin = self.origin.clone();
        let mut connection = Box::new(Connection::new(stream, origin, limits, &self.memory));
        let began = now();
        let zone = self
            .set_up(&mut connection, kind, first, attempt)
            .map_err(|mut e| {
                let is_closed_or_invalid = matches!(e.code, Code::Io | Code::Protocol);
                if is_closed_or_invalid && connection.looks_like_tls_port() {
                    e.message += " (is it a TLS port? Then the URL begins with rediss://)";
                }
                let sent = e.sent && !first.is_empty();
                e.sent(sent)
            })?;
        let time = now();
        self.node
            .record_connection(kind, time, time.since(began), zone);
        Ok(connection)
    }

    /// Makes the handshake. Returns the availability zone that the node names.
    fn set_up(
        &self,
        connection: &mut Connection,
        kind: ConnectionKind,
        first: &[CommandBody<'_>],
        attempt: Attempt<'_>,
    ) -> Result<Option<String>> {
        let zone = handshake(connection, &self.endpoint.config, kind, first, attempt)?;
        if first.is_empty() {
            connection.finish_pushes(attempt)?;
        }
        // Before the caller sends more on the connection.
        connection.check(attempt.call)?;
        Ok(zone)
    }
}
