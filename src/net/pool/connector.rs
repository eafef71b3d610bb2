//! Opening connections to one node.

use super::connect_backoff::{ConnectBackoff, FailedConnect};
use super::database_backoff::DatabaseBackoffs;
use super::hello_support::HelloSupport;
use super::node_credentials::NodeCredentials;
use crate::address::Address;
use crate::config::{ClusterMode, Config, Credentials};
use crate::deadline::{Deadline, now};
use crate::error::{Code, Error, Result};
use crate::log;
use crate::net::conn::{
    Connection, ConnectionKind, Endpoint, Greeting, HandshakeError, HandshakePlan, MemoryBudget,
    Opening, ReportedIdentity, Stream, handshake,
};
use crate::net::node::{NodeIdentity, NodeState};
use crate::net::sys::PthreadCancelDisabled;
use crate::net::wait::Attempt;
use crate::resp::{CommandBody, Limits, Origin};
use crate::sync::{MutexGuard, lock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
    /// For a node that is not the one that the map names. The topology is still asked of it.
    identity_backoff: ConnectBackoff,
    /// For databases that the node refuses.
    database_backoffs: DatabaseBackoffs,
    /// For connections beside others: see [`Connector::open_extra`].
    extra_backoff: ConnectBackoff,
    hello: HelloSupport,
    /// A refusal in a handshake has been logged.
    has_warned: AtomicBool,
    credentials: NodeCredentials,
}

/// A connection that has been set up, and what the node said meanwhile.
struct Opened {
    connection: Box<Connection>,
    greeting: Greeting,
    took: Duration,
}

/// The use of a new connection.
#[derive(Clone, Copy)]
struct Purpose<'a> {
    kind: ConnectionKind,
    /// Commands to send with the handshake.
    first: &'a [CommandBody<'a>],
    /// It is opened beside others: see [`Connector::open_extra`].
    is_extra: bool,
    /// It learns the topology, and is closed then.
    is_discovery: bool,
}

impl Purpose<'_> {
    fn of(kind: ConnectionKind) -> Self {
        Purpose {
            kind,
            first: &[],
            is_extra: false,
            is_discovery: false,
        }
    }
}

impl Connector {
    pub fn new(endpoint: Endpoint, identity: NodeIdentity, memory: Arc<MemoryBudget>) -> Connector {
        let origin = Origin::new(&endpoint.address.to_string());
        Connector {
            credentials: NodeCredentials::new(endpoint.security.clone(), origin.clone()),
            origin,
            endpoint,
            memory,
            node: NodeState::of(identity),
            backoffs: Default::default(),
            identity_backoff: ConnectBackoff::default(),
            database_backoffs: DatabaseBackoffs::default(),
            extra_backoff: ConnectBackoff::default(),
            hello: HelloSupport::default(),
            has_warned: AtomicBool::new(false),
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

    /// What is expected of the node.
    pub fn identity(&self) -> MutexGuard<'_, NodeIdentity> {
        lock(&self.node.identity)
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
        let time = now();
        self.backoff(kind).is_backing_off(time)
            || self.identity_backoff.is_backing_off(time)
            || self.database_backoffs.is_backing_off(kind.database(), time)
    }

    /// Whether a connection may be opened beside others.
    pub(super) fn may_open_extra(&self, kind: ConnectionKind) -> bool {
        !self.is_backing_off(kind) && !self.extra_backoff.is_backing_off(now())
    }

    /// The error of the last connect, if none has succeeded since.
    pub fn last_error(&self) -> Option<Error> {
        let backoffs = std::iter::once(&self.identity_backoff).chain(&self.backoffs);
        backoffs.into_iter().find_map(ConnectBackoff::last_error)
    }

    /// The time that connect and handshake took recently.
    pub fn handshake_ms(&self) -> u64 {
        let times = self.backoffs.iter().map(ConnectBackoff::handshake_ms);
        times.max().unwrap_or_default()
    }

    /// Opens a connection. During a backoff this fails at once with the error of the last connect, so that not every
    /// call of every thread connects to a node that refuses.
    pub fn open(&self, kind: ConnectionKind, attempt: Attempt<'_>) -> Result<Box<Connection>> {
        self.open_empty(Purpose::of(kind), attempt)
    }

    /// Opens a connection beside others, with a command on it if there is one. The caller can wait for one of the
    /// others instead, so it waits for this one only a short time. A timeout then shows nothing about the node: it
    /// delays the next connection beside others, and no connection that is needed.
    pub(super) fn open_extra(
        &self,
        kind: ConnectionKind,
        body: Option<&CommandBody<'_>>,
        attempt: Attempt<'_>,
    ) -> Result<Box<Connection>> {
        let limit = EXTRA_CONNECTION_MIN_MS.max(self.handshake_ms() * 4);
        let attempt = attempt.limited_to(Deadline::after(now(), limit));
        let purpose = Purpose {
            is_extra: true,
            ..Purpose::of(kind)
        };
        match body {
            Some(body) => self.open_for(purpose, body, attempt),
            None => self.open_empty(purpose, attempt),
        }
    }

    fn open_empty(&self, purpose: Purpose<'_>, attempt: Attempt<'_>) -> Result<Box<Connection>> {
        let mut connection = self.open_verified(purpose, attempt)?;
        let is_single_use = std::mem::take(&mut connection.is_single_use);
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
        connection.is_single_use = is_single_use;
        Ok(connection)
    }

    /// Opens a connection with a command on it. A command that may be sent early ([`Call::early`]) is sent with the
    /// handshake, if the kind of the connection allows it.
    ///
    /// [`Call::early`]: crate::net::Call::early
    pub(super) fn open_with(
        &self,
        kind: ConnectionKind,
        body: &CommandBody<'_>,
        attempt: Attempt<'_>,
    ) -> Result<Box<Connection>> {
        self.open_for(Purpose::of(kind), body, attempt)
    }

    fn open_for(
        &self,
        purpose: Purpose<'_>,
        body: &CommandBody<'_>,
        attempt: Attempt<'_>,
    ) -> Result<Box<Connection>> {
        if attempt.call.early && purpose.kind.allows_early_send() {
            let first = &[*body];
            return self.open_verified(Purpose { first, ..purpose }, attempt);
        }
        let mut connection = self.open_empty(purpose, attempt)?;
        connection.push(body);
        Ok(connection)
    }

    /// Opens a connection to learn the topology, and sends `first` with the handshake. The caller reads the replies to
    /// `first`. The node may be another one than the map names: the map that it returns may say so, too. `database` is
    /// selected to learn whether the node has it.
    pub fn open_for_discovery(
        &self,
        database: u16,
        first: &[CommandBody<'_>],
        attempt: Attempt<'_>,
    ) -> Result<(Box<Connection>, Greeting)> {
        let kind = ConnectionKind::primary(database);
        // The caller's command was not sent, only those of the discovery.
        let purpose = Purpose {
            first,
            is_discovery: true,
            ..Purpose::of(kind)
        };
        let opened = self.open_unverified(purpose, attempt);
        let opened = opened.map_err(|e| e.sent(false))?;
        if self.verify_identity(&opened.greeting).is_ok() {
            self.record(kind, opened.took, opened.greeting.zone.clone());
        }
        Ok((opened.connection, opened.greeting))
    }

    /// Opens a connection to the node that the map names at this address, and to no other. An error reports whether
    /// any of the first commands may have run.
    fn open_verified(&self, purpose: Purpose<'_>, attempt: Attempt<'_>) -> Result<Box<Connection>> {
        let began = now();
        self.identity_backoff
            .try_start(began, self.credentials.store().number())?;
        let Opened {
            mut connection,
            greeting,
            took,
        } = self.open_unverified(purpose, attempt)?;
        if let Err(error) = self.verify(&greeting, purpose.kind) {
            let failed = FailedConnect::new(began, self.credentials.store().number(), &error);
            self.identity_backoff.on_failure(now(), failed);
            // Reads that are sent early have reached the other node. Their replies are discarded.
            return Err(error.sent(!purpose.first.is_empty()));
        }
        self.identity_backoff.on_success(began, now());
        // Until it says which node it is, it serves one caller.
        connection.is_single_use =
            greeting.identity == ReportedIdentity::NotNow && self.identity().is_of_cluster();
        self.record(purpose.kind, took, greeting.zone);
        Ok(connection)
    }

    /// See [`Endpoint::resolve_again`].
    pub fn resolve_again(&self) -> bool {
        self.endpoint.resolve_again()
    }

    /// Whether the node is the one that the map names, and has the role that its commands need.
    fn verify(&self, greeting: &Greeting, kind: ConnectionKind) -> Result<()> {
        self.verify_identity(greeting)?;
        if self.node.hides_primary.load(Ordering::Relaxed) {
            return Ok(());
        }
        let verified = self
            .identity()
            .verify_role(greeting.role, kind, self.address());
        self.try_other_unless(verified)
    }

    fn verify_identity(&self, greeting: &Greeting) -> Result<()> {
        let verified = self.identity().verify(&greeting.identity, self.address());
        self.try_other_unless(verified)
    }

    /// Another node than expected has answered: the name may have the address of another node too, or belong to other
    /// addresses by now.
    fn try_other_unless(&self, verified: Result<()>) -> Result<()> {
        if verified.is_err() && !self.try_other_address() {
            self.resolve_again();
        }
        verified
    }

    fn record(&self, kind: ConnectionKind, took: Duration, zone: Option<String>) {
        self.node.record_connection(kind, now(), took, zone);
    }

    fn open_unverified(&self, purpose: Purpose<'_>, attempt: Attempt<'_>) -> Result<Opened> {
        let credentials = self.credentials.store();
        credentials.read_changed_files();
        let (backoff, began) = (self.backoff(purpose.kind), now());
        let database = purpose.kind.database();
        let number = credentials.number();
        self.database_backoffs.try_start(database, began, number)?;
        backoff.try_start(began, number)?;
        let failed = |error| FailedConnect::new(began, number, error);
        let opened = self.connect(purpose, attempt).map_err(|e| {
            let sent = e.sent && !purpose.first.is_empty();
            e.sent(sent)
        });
        match &opened {
            Ok(_) => {
                backoff.on_success(began, now());
                // Credentials that are accepted for one kind are accepted for the other.
                for backoff in &self.backoffs {
                    backoff.forget_refused_credentials();
                }
                self.extra_backoff.on_success(began, now());
            }
            Err(error) if purpose.is_extra && error.code == Code::Timeout => {
                self.extra_backoff.on_failure(now(), failed(error));
            }
            // Credentials that are refused for one kind are refused for the other.
            Err(error) if error.code == Code::Auth => {
                for backoff in &self.backoffs {
                    backoff.on_failure(now(), failed(error));
                }
            }
            Err(error) => backoff.on_failure(now(), failed(error)),
        }
        let mut opened = opened?;
        match opened.greeting.refused_database.take() {
            None => self.database_backoffs.on_success(database),
            Some(error) => {
                // Which databases another node has does not matter.
                self.verify_identity(&opened.greeting)?;
                let failed = FailedConnect::new(began, number, &error);
                self.database_backoffs.on_refusal(database, now(), failed);
                return Err(error);
            }
        }
        Ok(opened)
    }

    /// Connects to an address of the node. If what is behind an address accepts the connection and then does not serve
    /// it, the others of the name are tried.
    fn connect(&self, purpose: Purpose<'_>, attempt: Attempt<'_>) -> Result<Opened> {
        let _cancel_disabled = PthreadCancelDisabled::begin();
        let limit = Deadline::after(now(), self.endpoint.config.connect_timeout_ms);
        let attempt = attempt.limited_to(limit);
        loop {
            match self.connect_to_one(purpose, attempt) {
                // A refusal of the credentials or a wrong certificate is an answer.
                Err(error)
                    if matches!(
                        error.code,
                        Code::Io | Code::Connect | Code::Timeout | Code::Protocol
                    ) && self.try_other_address()
                        && !attempt.until.passed(now()) => {}
                outcome => return outcome,
            }
        }
    }

    /// The node at the address that was connected to last is not usable: others are tried first for a while. Whether
    /// the name has one that has not failed.
    pub fn try_other_address(&self) -> bool {
        self.endpoint.avoid_connected()
    }

    /// The address of the node that answers on a connection: its IP address if the name may stand for several nodes.
    pub fn address_of(&self, connection: &Connection) -> Address {
        let Address { host, port } = self.address();
        let ip = self.endpoint.is_ambiguous().then(|| connection.remote_ip());
        let host = ip
            .flatten()
            .map_or_else(|| host.clone(), |ip| ip.to_string());
        Address { host, port: *port }
    }

    /// Connects to one address.
    fn connect_to_one(&self, purpose: Purpose<'_>, attempt: Attempt<'_>) -> Result<Opened> {
        let connect = |credentials: &_| self.connect_by_hello(credentials, purpose, attempt);
        let (mut opened, number) = self.credentials.connect(connect)?;
        opened.connection.credentials = number;
        Ok(opened)
    }

    /// See [`NodeCredentials::are_current`].
    #[inline]
    pub fn has_current_credentials(&self, connection: &Connection) -> bool {
        self.credentials.are_current(connection)
    }

    /// See [`NodeCredentials::reauthenticate`].
    pub fn reauthenticate(
        &self,
        connection: &mut Connection,
        attempt: Attempt<'_>,
    ) -> Result<bool> {
        self.credentials.reauthenticate(connection, attempt)
    }

    /// Connects with HELLO, or without it to a node that closes connections on it.
    fn connect_by_hello(
        &self,
        credentials: &Credentials,
        purpose: Purpose<'_>,
        attempt: Attempt<'_>,
    ) -> Result<Opened> {
        let is_unknown = self.hello.is_unknown();
        if self.hello.is_refused() {
            let opened = self.connect_once(credentials, purpose, Opening::NoHello, attempt);
            return opened.map_err(|failure| {
                self.hello.on_failed_connect();
                failure.into_error()
            });
        }
        if !self.hello.sends_hello() {
            return self.connect_without_hello(credentials, purpose, attempt);
        }
        match self.connect_once(credentials, purpose, Opening::Hello, attempt) {
            Err(HandshakeError::ClosedOnHello(error)) => {
                self.hello.on_close();
                if !is_unknown {
                    return Err(error);
                }
                let opened = self.connect_without_hello(credentials, purpose, attempt);
                opened.map_err(|_| error)
            }
            Err(HandshakeError::Other(error)) => Err(error),
            Ok(opened) => Ok(opened),
        }
    }

    /// Connects without HELLO. The first time that this succeeds, HELLO is tried once more: the node, or what is behind
    /// it, may just have been restarted.
    fn connect_without_hello(
        &self,
        credentials: &Credentials,
        purpose: Purpose<'_>,
        attempt: Attempt<'_>,
    ) -> Result<Opened> {
        // A node of a cluster is a server, and knows the other commands.
        let opening = match self.identity().is_of_cluster() {
            true => Opening::NoHello,
            false => Opening::Minimal,
        };
        let is_certain = self.hello.is_certain();
        match self.connect_once(credentials, purpose, opening, attempt) {
            Ok(opened) if is_certain => Ok(opened),
            Ok(opened) => match self.connect_once(credentials, purpose, Opening::Hello, attempt) {
                Ok(opened) => Ok(opened),
                Err(HandshakeError::ClosedOnHello(_)) => {
                    self.hello.on_served_without();
                    let node = self.origin.name();
                    self.warn_once(|| {
                        format!("{node} closes connections on HELLO, and is used with RESP2")
                    });
                    Ok(opened)
                }
                // Undecided. The next connection tries again.
                Err(HandshakeError::Other(_)) => Ok(opened),
            },
            Err(failure) => {
                self.hello.on_failure_without();
                Err(failure.into_error())
            }
        }
    }

    fn connect_once(
        &self,
        credentials: &Credentials,
        purpose: Purpose<'_>,
        opening: Opening,
        attempt: Attempt<'_>,
    ) -> std::result::Result<Opened, HandshakeError> {
        let config = &self.endpoint.config;
        let stream = Stream::connect(&self.endpoint, attempt)?;
        let limits = Limits {
            bytes: config.max_reply_bytes,
            elements: config.max_reply_elements,
            depth: config.max_reply_depth,
        };
        let origin = self.origin.clone();
        let mut connection = Box::new(Connection::new(stream, origin, limits, &self.memory));
        if !purpose.is_discovery {
            connection.begin_small();
        }
        let began = now();
        let attempt = match self.endpoint.has_other_address() {
            // Some time is left for the other addresses.
            true => attempt.share(began, 2),
            false => attempt,
        };
        let plan = HandshakePlan {
            config,
            credentials,
            kind: purpose.kind,
            opening,
            is_standalone: config.cluster == ClusterMode::No || self.identity().is_standalone(),
            is_temporary: purpose.is_discovery,
            has_replicas: self.identity().has_replicas,
            first: purpose.first,
        };
        let greeting = self
            .set_up(&mut connection, &plan, attempt)
            .map_err(|error| {
                error.map(|mut e| {
                    let is_closed_or_invalid = matches!(e.code, Code::Io | Code::Protocol);
                    if is_closed_or_invalid && connection.looks_like_tls_port() {
                        e.message += " (is it a TLS port? Then the URL begins with rediss://)";
                    }
                    e
                })
            })?;
        match (opening, greeting.refused_hello) {
            (Opening::Hello, true) => self.hello.on_refusal(),
            (Opening::Hello, false) => self.hello.on_reply(),
            (Opening::NoHello | Opening::Minimal, _) => {}
        }
        if let Some(warning) = &greeting.warning {
            self.warn_once(|| warning.clone());
        }
        Ok(Opened {
            connection,
            greeting,
            took: now().since(began),
        })
    }

    /// Makes the handshake.
    fn set_up(
        &self,
        connection: &mut Connection,
        plan: &HandshakePlan<'_>,
        attempt: Attempt<'_>,
    ) -> std::result::Result<Greeting, HandshakeError> {
        let greeting = handshake(connection, plan, attempt)?;
        if plan.first.is_empty() {
            connection.finish_pushes(attempt)?;
        }
        // Before the caller sends more on the connection.
        connection.check(attempt.call)?;
        Ok(greeting)
    }

    /// Logs a warning about the node, but not for each of its connections.
    fn warn_once(&self, message: impl FnOnce() -> String) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            log::log(log::WARN, message);
        }
    }
}
