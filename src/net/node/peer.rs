//! One node as seen from here: where it is, the connections to it, and how it has been doing.

use super::connect_backoff::ConnectBackoff;
use super::load::NodeLoad;
use super::replica_freshness::ReplicaFreshness;
use crate::address::Address;
use crate::config::Config;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::log;
use crate::net::conn::Connection;
use crate::net::conn::MemoryBudget;
use crate::net::conn::Stream;
use crate::net::conn::Tls;
use crate::net::conn::handshake;
use crate::net::pool::{Pool, TryAcquire};
use crate::net::resolver::Resolver;
use crate::net::sys::CancelDisabled;
use crate::net::wait::Call;
use crate::resp::{CommandBody, Limits, Origin, Reply};
use crate::sync::{Mutex, lock};
use arc_swap::ArcSwapOption;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// What a connection is for. A connection on which READONLY was said serves whatever the replica
/// has, so it is never used for a client that reads from primaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    Primary,
    Replicas,
    /// Commands that block: each has its connection to itself for as long as it takes.
    Blocking,
    /// And those of clients that read from replicas.
    BlockingReplicas,
    /// Finding out how far replicas are behind: never in front of anybody's command.
    FreshnessProbe,
}

impl ConnectionKind {
    /// Whether READONLY is said on such a connection.
    pub fn is_readonly(self) -> bool {
        matches!(
            self,
            ConnectionKind::Replicas | ConnectionKind::BlockingReplicas
        )
    }

    /// The same for a command that blocks.
    pub fn blocking(self) -> ConnectionKind {
        if self.is_readonly() {
            ConnectionKind::BlockingReplicas
        } else {
            ConnectionKind::Blocking
        }
    }

    /// The same for what only a primary may answer: without READONLY a node that has been demoted
    /// says so.
    #[inline]
    pub fn at_primary(self) -> ConnectionKind {
        match self {
            ConnectionKind::Replicas => ConnectionKind::Primary,
            ConnectionKind::BlockingReplicas => ConnectionKind::Blocking,
            other => other,
        }
    }

    /// Whether a connection carries one command at a time.
    pub fn is_blocking(self) -> bool {
        matches!(
            self,
            ConnectionKind::Blocking | ConnectionKind::BlockingReplicas
        )
    }
}

/// The descriptors of all connections, for a forked child to close.
pub type Descriptors = Mutex<Vec<RawFd>>;

#[derive(Debug)]
pub struct Peer {
    address: Address,
    origin: Arc<Origin>,
    config: Arc<Config>,
    tls: Option<Tls>,
    pools: [Pool; 5],
    descriptors: Arc<Descriptors>,
    memory: Arc<MemoryBudget>,
    /// For connections on which READONLY is said, which may be refused alone, and for the others.
    backoffs: [ConnectBackoff; 2],
    resolver: Resolver,
    pub health: Health,
    pub load: NodeLoad,
    pub freshness: ReplicaFreshness,
    /// The availability zone that it named when it was greeted.
    zone: ArcSwapOption<String>,
    pub counters: NodeCounters,
}

impl Peer {
    pub fn new(
        address: Address,
        config: Arc<Config>,
        tls: Option<&Tls>,
        descriptors: Arc<Descriptors>,
        memory: Arc<MemoryBudget>,
    ) -> Peer {
        let most = config.connections_per_node;
        Peer {
            origin: Origin::new(&address.to_string()),
            address,
            config,
            tls: tls.map(Tls::of_peer),
            pools: [
                Pool::new(ConnectionKind::Primary, most),
                Pool::new(ConnectionKind::Replicas, most),
                // One more caller that blocks never waits for another that does.
                Pool::new(ConnectionKind::Blocking, usize::MAX),
                Pool::new(ConnectionKind::BlockingReplicas, usize::MAX),
                Pool::new(ConnectionKind::FreshnessProbe, 1),
            ],
            descriptors,
            memory,
            backoffs: Default::default(),
            resolver: Resolver::default(),
            health: Health::default(),
            load: NodeLoad::default(),
            freshness: ReplicaFreshness::default(),
            zone: ArcSwapOption::empty(),
            counters: NodeCounters::default(),
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    #[inline]
    fn pool(&self, kind: ConnectionKind) -> &Pool {
        match kind {
            ConnectionKind::Primary => &self.pools[0],
            ConnectionKind::Replicas => &self.pools[1],
            ConnectionKind::Blocking => &self.pools[2],
            ConnectionKind::BlockingReplicas => &self.pools[3],
            ConnectionKind::FreshnessProbe => &self.pools[4],
        }
    }

    /// The availability zone that it named, if any.
    pub fn zone(&self) -> Option<Arc<String>> {
        self.zone.load_full()
    }

    /// Whether it has ever been greeted, and so could have named its zone.
    pub fn was_connected(&self) -> bool {
        self.counters.connects.load(Ordering::Relaxed) > 0
    }

    /// It has answered.
    #[inline]
    pub fn record_success(&self) {
        if !self.health.is_healthy() && self.health.record_success() {
            log::log(log::INFO, || format!("{} answers again", self.address));
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.pools.iter().map(Pool::open).sum()
    }

    /// As where many threads have called of late.
    #[cfg(test)]
    pub fn force_contended(&self, kind: ConnectionKind) {
        self.pool(kind).force_contended();
    }

    /// One command and its reply; threads that call at the same time share connections.
    #[inline]
    pub fn call(
        &self,
        kind: ConnectionKind,
        body: &CommandBody<'_>,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        self.pool(kind).call(self, body, call, until)
    }

    /// A connection for one user alone, counted among those that the pool may have.
    pub fn acquire(
        &self,
        kind: ConnectionKind,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Connection>> {
        self.pool(kind).acquire(self, call, until)
    }

    /// The same, if it can be had without waiting.
    pub fn try_acquire(&self, kind: ConnectionKind, call: &Call<'_>) -> TryAcquire {
        self.pool(kind).try_acquire(self, call)
    }

    /// Takes back what [`Peer::acquire`] gave, or drops it if anything is in flight on it.
    pub fn release(&self, kind: ConnectionKind, connection: Box<Connection>, used: Time) {
        self.pool(kind).release(connection, used);
    }

    /// What [`Peer::acquire`] gave has been dropped.
    pub fn forget_lost(&self, kind: ConnectionKind) {
        self.pool(kind).forget_lost();
    }

    /// Opens a connection, where there is none yet.
    pub fn ensure_connected(
        &self,
        kind: ConnectionKind,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<()> {
        if self.pool(kind).open() > 0 {
            return Ok(());
        }
        let connection = self.acquire(kind, call, until)?;
        let used = connection.used;
        self.release(kind, connection, used);
        Ok(())
    }

    /// How long it took lately to be connected and greeted.
    pub fn handshake_ms(&self) -> u64 {
        let times = self.backoffs.iter().map(ConnectBackoff::handshake_ms);
        times.max().unwrap_or_default()
    }

    /// Whether the last try to open a connection has failed, so recently that no other is made.
    pub(in crate::net) fn is_backing_off(&self, kind: ConnectionKind) -> bool {
        self.backoff(kind).is_backing_off(now())
    }

    /// Why the last connection that was tried did not open, if that is how it stands.
    pub fn last_connect_error(&self) -> Option<Error> {
        self.backoffs.iter().find_map(ConnectBackoff::last_error)
    }

    fn backoff(&self, kind: ConnectionKind) -> &ConnectBackoff {
        &self.backoffs[usize::from(kind.is_readonly())]
    }

    /// By when a connection should be open that nobody waits for.
    pub(in crate::net) fn extra_connection_deadline(&self, time: Time) -> Deadline {
        Deadline::after(time, EXTRA_CONNECTION_MIN_MS.max(self.handshake_ms() * 4))
    }

    /// A new connection, set up, that no pool counts. Where one has just failed, the same error, at
    /// once: so that not every call of every thread knocks at a backoff that does not open.
    pub fn open(
        &self,
        kind: ConnectionKind,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Connection>> {
        let mut connection = self.open_with_commands(kind, &[], call, until)?;
        if !connection.reset_for_reuse(now()) {
            return Err(Error::new(
                Code::Io,
                format_args!(
                    "{} said more than it was asked on a new connection",
                    self.origin.name()
                ),
            )
            .at(self.origin.name()));
        }
        Ok(connection)
    }

    /// The same with a command on it, which went out with the greeting if it may: see [`Call::early`]. Where READONLY
    /// is part of that, it may be refused, and then no read is served there.
    pub(in crate::net) fn open_with(
        &self,
        kind: ConnectionKind,
        body: &CommandBody<'_>,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Connection>> {
        if call.early && !kind.is_readonly() {
            return self.open_with_commands(kind, &[*body], call, until);
        }
        let mut connection = self.open(kind, call, until)?;
        connection.push(body);
        Ok(connection)
    }

    /// The same with something sent on it already, whose replies are still to be taken. An error says whether
    /// any of that may have run.
    pub fn open_with_commands(
        &self,
        kind: ConnectionKind,
        first: &[CommandBody<'_>],
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Connection>> {
        let (backoff, began) = (self.backoff(kind), now());
        backoff.try_start(began)?;
        let opened = self.connect(kind, first, call, until);
        match &opened {
            Ok(_) => backoff.on_success(began, now()),
            // Credentials that are refused at one are refused at the other.
            Err(error) if error.code == Code::Auth => {
                let both = self.backoffs.iter();
                both.for_each(|backoff| backoff.on_failure(began, now(), error));
            }
            Err(error) => backoff.on_failure(began, now(), error),
        }
        opened
    }

    fn connect(
        &self,
        kind: ConnectionKind,
        first: &[CommandBody<'_>],
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Connection>> {
        let _uncancelled = CancelDisabled::begin();
        let connect = Deadline::after(now(), self.config.connect_timeout_ms).min(until);
        let stream = Stream::connect(
            &self.address,
            &self.config,
            self.tls.as_ref(),
            call,
            connect,
            &self.descriptors,
            &self.resolver,
        )?;
        let limits = Limits {
            bytes: self.config.max_reply_bytes,
            elements: self.config.max_reply_elements,
            depth: self.config.max_reply_depth,
        };
        let mut connection = Box::new(Connection::new(
            stream,
            self.origin.clone(),
            limits,
            &self.memory,
        ));
        let began = now();
        let zone = handshake(
            &mut connection,
            &self.config,
            kind.is_readonly(),
            first,
            call,
            connect,
        )
        .and_then(|zone| {
            if first.is_empty() {
                connection.finish_pushes(call, connect)?;
            }
            // Before anything else of the caller's is sent on it.
            connection.check(call)?;
            Ok(zone)
        })
        .map_err(|e| {
            let sent = e.sent && !first.is_empty();
            e.sent(sent)
        })?;
        let time = now();
        self.load.seed_rtt(time, time.since(began));
        if zone.is_some() {
            self.zone.store(zone.map(Arc::new));
        }
        if kind.is_readonly() {
            self.freshness.new_incarnation();
        }
        self.counters.connects.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }
}

/// Adds a descriptor to those that a forked child closes, and returns what takes it off again.
pub(in crate::net) fn register(descriptors: &Arc<Descriptors>, fd: RawFd) -> Registered {
    lock(descriptors).push(fd);
    Registered {
        descriptors: descriptors.clone(),
        fd,
    }
}

#[derive(Debug)]
pub(in crate::net) struct Registered {
    descriptors: Arc<Descriptors>,
    fd: RawFd,
}

impl Drop for Registered {
    fn drop(&mut self) {
        #[cfg(test)]
        if let Some(simulator) = crate::sim_hooks::current() {
            simulator.closed(self.fd);
        }
        let mut all = lock(&self.descriptors);
        if let Some(at) = all.iter().position(|fd| *fd == self.fd) {
            all.swap_remove(at);
        }
    }
}

/// How long at least a connection is waited for beside those that there are.
const EXTRA_CONNECTION_MIN_MS: u64 = 60;

/// A node that failed is left alone for a while: at first shortly, then longer each time.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU32,
    /// When it may be tried again, in milliseconds on [`Health::millis`]; 0 while it is well.
    until: AtomicU64,
    /// When it was last tried in vain, or is just being tried.
    tried: AtomicU64,
}

const EJECT_FIRST_MS: u64 = 50;
const EJECT_MAX_MS: u64 = 2000;
/// One that nobody can replace is tried at least so often.
const REQUIRED_PROBE_MS: u64 = 200;
/// For how long one caller tries it alone.
const PROBE_MS: u64 = 100;

impl Health {
    /// Milliseconds on a clock of the process.
    fn millis(time: Time) -> u64 {
        // 0 means that the node is well.
        time.millis() + 1
    }

    /// Whether a choice may fall on the node.
    #[inline]
    pub fn is_healthy(&self) -> bool {
        self.until.load(Ordering::Relaxed) == 0
    }

    /// Whether a node that is not well is to be tried again.
    pub fn is_probe_due(&self, time: Time) -> bool {
        Health::millis(time) >= self.until.load(Ordering::Relaxed)
    }

    /// The same for a node that nobody can stand in for: a primary, for a write.
    pub fn is_required_probe_due(&self, time: Time) -> bool {
        let tried = self.tried.load(Ordering::Relaxed);
        self.is_probe_due(time) || Health::millis(time) >= tried + REQUIRED_PROBE_MS
    }

    /// The caller is about to try a node that is not well; others wait for what comes of it.
    pub fn record_probe(&self, time: Time) {
        self.until
            .store(Health::millis(time) + PROBE_MS, Ordering::Relaxed);
        self.tried.store(Health::millis(time), Ordering::Relaxed);
    }

    /// It has answered. Of all who say so, one is told that this is news.
    pub fn record_success(&self) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        self.until.swap(0, Ordering::Relaxed) != 0
    }

    /// It has not answered, or said that it cannot serve; `jitter` is in 0..1. Of all who say so,
    /// one is told that this is news.
    pub fn record_failure(&self, time: Time, jitter: f64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let away = (EJECT_FIRST_MS << failures.min(8)).min(EJECT_MAX_MS) as f64;
        let until = Health::millis(time) + (away * (0.5 + jitter / 2.0)) as u64;
        self.tried.store(Health::millis(time), Ordering::Relaxed);
        self.until.swap(until, Ordering::Relaxed) == 0
    }

    /// For how long the node is still left alone.
    pub fn ejected_for(&self, time: Time) -> Option<Duration> {
        let until = self.until.load(Ordering::Relaxed);
        (until > 0).then(|| Duration::from_millis(until.saturating_sub(Health::millis(time))))
    }

    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// What has been done with a node.
#[derive(Debug, Default)]
pub struct NodeCounters {
    /// Reads that went to it because it was chosen among several.
    pub reads: AtomicU64,
    pub errors: AtomicU64,
    pub connects: AtomicU64,
}
