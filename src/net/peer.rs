//! One node as seen from here: where it is, the connections to it, and how it has been doing.

use super::connection::Connection;
use super::door::Door;
use super::handshake::handshake;
use super::lane::{Lane, Taken};
use super::memory::Memory;
use super::pace::Pace;
use super::poll::Uncancelled;
use super::resolver::Resolver;
use super::standing::Standing;
use super::stream::Stream;
use super::tls::Tls;
use super::wake::Call;
use crate::address::Address;
use crate::config::Config;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::log;
use crate::resp::{Body, Limits, Origin, Reply};
use crate::sync::{Mutex, lock};
use arc_swap::ArcSwapOption;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// What a connection is for. A connection on which READONLY was said serves whatever the replica
/// has, so it is never used for a client that reads from primaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Primary,
    Replicas,
    /// Commands that block: each has its connection to itself for as long as it takes.
    Blocking,
    /// And those of clients that read from replicas.
    BlockingReplicas,
    /// Finding out how far replicas are behind: never in front of anybody's command.
    Standing,
}

impl Use {
    /// Whether READONLY is said on such a connection.
    pub fn is_readonly(self) -> bool {
        matches!(self, Use::Replicas | Use::BlockingReplicas)
    }

    /// The same for a command that blocks.
    pub fn blocking(self) -> Use {
        if self.is_readonly() {
            Use::BlockingReplicas
        } else {
            Use::Blocking
        }
    }

    /// The same for what only a primary may answer: without READONLY a node that has been demoted
    /// says so.
    #[inline]
    pub fn at_primary(self) -> Use {
        match self {
            Use::Replicas => Use::Primary,
            Use::BlockingReplicas => Use::Blocking,
            other => other,
        }
    }

    /// Whether a connection carries one command at a time.
    pub fn is_blocking(self) -> bool {
        matches!(self, Use::Blocking | Use::BlockingReplicas)
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
    lanes: [Lane; 5],
    descriptors: Arc<Descriptors>,
    memory: Arc<Memory>,
    /// For connections on which READONLY is said, which may be refused alone, and for the others.
    doors: [Door; 2],
    resolver: Resolver,
    pub health: Health,
    pub pace: Pace,
    pub standing: Standing,
    /// The availability zone that it named when it was greeted.
    zone: ArcSwapOption<String>,
    pub counts: Counts,
}

impl Peer {
    pub fn new(
        address: Address,
        config: Arc<Config>,
        tls: Option<&Tls>,
        descriptors: Arc<Descriptors>,
        memory: Arc<Memory>,
    ) -> Peer {
        let most = config.connections_per_node;
        Peer {
            origin: Origin::new(&address.to_string()),
            address,
            config,
            tls: tls.map(Tls::of_peer),
            lanes: [
                Lane::new(Use::Primary, most),
                Lane::new(Use::Replicas, most),
                // One more caller that blocks never waits for another that does.
                Lane::new(Use::Blocking, usize::MAX),
                Lane::new(Use::BlockingReplicas, usize::MAX),
                Lane::new(Use::Standing, 1),
            ],
            descriptors,
            memory,
            doors: Default::default(),
            resolver: Resolver::default(),
            health: Health::default(),
            pace: Pace::default(),
            standing: Standing::default(),
            zone: ArcSwapOption::empty(),
            counts: Counts::default(),
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    #[inline]
    fn lane(&self, kind: Use) -> &Lane {
        match kind {
            Use::Primary => &self.lanes[0],
            Use::Replicas => &self.lanes[1],
            Use::Blocking => &self.lanes[2],
            Use::BlockingReplicas => &self.lanes[3],
            Use::Standing => &self.lanes[4],
        }
    }

    /// The availability zone that it named, if any.
    pub fn zone(&self) -> Option<Arc<String>> {
        self.zone.load_full()
    }

    /// Whether it has ever been greeted, and so could have named its zone.
    pub fn was_greeted(&self) -> bool {
        self.counts.connects.load(Ordering::Relaxed) > 0
    }

    /// It has answered.
    #[inline]
    pub fn worked(&self) {
        if !self.health.is_well() && self.health.worked() {
            log::log(log::INFO, || format!("{} answers again", self.address));
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.lanes.iter().map(Lane::open).sum()
    }

    /// As where many threads have called of late.
    #[cfg(test)]
    pub fn crowd(&self, kind: Use) {
        self.lane(kind).crowd();
    }

    /// One command and its reply; threads that call at the same time share connections.
    #[inline]
    pub fn call(
        &self,
        kind: Use,
        body: &Body<'_>,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        self.lane(kind).call(self, body, call, until)
    }

    /// A connection for one user alone, counted among those that the lane may have.
    pub fn take(&self, kind: Use, call: &Call<'_>, until: Deadline) -> Result<Box<Connection>> {
        self.lane(kind).take(self, call, until)
    }

    /// The same, if it can be had without waiting.
    pub fn try_take(&self, kind: Use, call: &Call<'_>) -> Taken {
        self.lane(kind).try_take(self, call)
    }

    /// Takes back what [`Peer::take`] gave, or drops it if anything is in flight on it.
    pub fn give(&self, kind: Use, connection: Box<Connection>, used: Time) {
        self.lane(kind).give(connection, used);
    }

    /// What [`Peer::take`] gave has been dropped.
    pub fn lost(&self, kind: Use) {
        self.lane(kind).lost();
    }

    /// Opens a connection, where there is none yet.
    pub fn warm(&self, kind: Use, call: &Call<'_>, until: Deadline) -> Result<()> {
        if self.lane(kind).open() > 0 {
            return Ok(());
        }
        let connection = self.take(kind, call, until)?;
        let used = connection.used;
        self.give(kind, connection, used);
        Ok(())
    }

    /// How long it took lately to be connected and greeted.
    pub fn greeting_ms(&self) -> u64 {
        let times = self.doors.iter().map(Door::greeting_ms);
        times.max().unwrap_or_default()
    }

    /// Whether the last try to open a connection has failed, so recently that no other is made.
    pub(super) fn is_shut(&self, kind: Use) -> bool {
        self.door(kind).is_shut(now())
    }

    /// Why the last connection that was tried did not open, if that is how it stands.
    pub fn why_shut(&self) -> Option<Error> {
        self.doors.iter().find_map(Door::reason)
    }

    fn door(&self, kind: Use) -> &Door {
        &self.doors[usize::from(kind.is_readonly())]
    }

    /// By when a connection should be open that nobody waits for.
    pub(super) fn soon(&self, time: Time) -> Deadline {
        Deadline::after(time, SOON_MS.max(self.greeting_ms() * 4))
    }

    /// A new connection, set up, that no lane counts. Where one has just failed, the same error, at
    /// once: so that not every call of every thread knocks at a door that does not open.
    pub fn open(&self, kind: Use, call: &Call<'_>, until: Deadline) -> Result<Box<Connection>> {
        let mut connection = self.open_and_ask(kind, &[], call, until)?;
        if !connection.rest(now()) {
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
    pub(super) fn open_with(
        &self,
        kind: Use,
        body: &Body<'_>,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Connection>> {
        if call.early && !kind.is_readonly() {
            return self.open_and_ask(kind, &[*body], call, until);
        }
        let mut connection = self.open(kind, call, until)?;
        connection.push(body);
        Ok(connection)
    }

    /// The same with something sent on it already, whose replies are still to be taken. An error says whether
    /// any of that may have run.
    pub fn open_and_ask(
        &self,
        kind: Use,
        first: &[Body<'_>],
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Connection>> {
        let (door, began) = (self.door(kind), now());
        door.knock(began)?;
        let opened = self.connect(kind, first, call, until);
        match &opened {
            Ok(_) => door.opened(began, now()),
            // Credentials that are refused at one are refused at the other.
            Err(error) if error.code == Code::Auth => {
                let both = self.doors.iter();
                both.for_each(|door| door.stays_shut(began, now(), error));
            }
            Err(error) => door.stays_shut(began, now(), error),
        }
        opened
    }

    fn connect(
        &self,
        kind: Use,
        first: &[Body<'_>],
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Connection>> {
        let _uncancelled = Uncancelled::begin();
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
        self.pace.greeted(time, time.since(began));
        if zone.is_some() {
            self.zone.store(zone.map(Arc::new));
        }
        if kind.is_readonly() {
            self.standing.reborn();
        }
        self.counts.connects.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }
}

/// Adds a descriptor to those that a forked child closes, and returns what takes it off again.
pub(super) fn register(descriptors: &Arc<Descriptors>, fd: RawFd) -> Registered {
    lock(descriptors).push(fd);
    Registered {
        descriptors: descriptors.clone(),
        fd,
    }
}

#[derive(Debug)]
pub(super) struct Registered {
    descriptors: Arc<Descriptors>,
    fd: RawFd,
}

impl Drop for Registered {
    fn drop(&mut self) {
        #[cfg(test)]
        if let Some(world) = crate::world::here() {
            world.closed(self.fd);
        }
        let mut all = lock(&self.descriptors);
        if let Some(at) = all.iter().position(|fd| *fd == self.fd) {
            all.swap_remove(at);
        }
    }
}

/// How long at least a connection is waited for beside those that there are.
const SOON_MS: u64 = 60;

/// A node that failed is left alone for a while: at first shortly, then longer each time.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU32,
    /// When it may be tried again, in milliseconds on [`Health::millis`]; 0 while it is well.
    until: AtomicU64,
    /// When it was last tried in vain, or is just being tried.
    tried: AtomicU64,
}

const AWAY_FIRST_MS: u64 = 50;
const AWAY_LAST_MS: u64 = 2000;
/// One that nobody can replace is tried at least so often.
const NEEDED_MS: u64 = 200;
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
    pub fn is_well(&self) -> bool {
        self.until.load(Ordering::Relaxed) == 0
    }

    /// Whether a node that is not well is to be tried again.
    pub fn is_due(&self, time: Time) -> bool {
        Health::millis(time) >= self.until.load(Ordering::Relaxed)
    }

    /// The same for a node that nobody can stand in for: a primary, for a write.
    pub fn is_called_for(&self, time: Time) -> bool {
        let tried = self.tried.load(Ordering::Relaxed);
        self.is_due(time) || Health::millis(time) >= tried + NEEDED_MS
    }

    /// The caller is about to try a node that is not well; others wait for what comes of it.
    pub fn probed(&self, time: Time) {
        self.until
            .store(Health::millis(time) + PROBE_MS, Ordering::Relaxed);
        self.tried.store(Health::millis(time), Ordering::Relaxed);
    }

    /// It has answered. Of all who say so, one is told that this is news.
    pub fn worked(&self) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        self.until.swap(0, Ordering::Relaxed) != 0
    }

    /// It has not answered, or said that it cannot serve; `jitter` is in 0..1. Of all who say so,
    /// one is told that this is news.
    pub fn failed(&self, time: Time, jitter: f64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let away = (AWAY_FIRST_MS << failures.min(8)).min(AWAY_LAST_MS) as f64;
        let until = Health::millis(time) + (away * (0.5 + jitter / 2.0)) as u64;
        self.tried.store(Health::millis(time), Ordering::Relaxed);
        self.until.swap(until, Ordering::Relaxed) == 0
    }

    /// For how long the node is still left alone.
    pub fn away(&self, time: Time) -> Option<Duration> {
        let until = self.until.load(Ordering::Relaxed);
        (until > 0).then(|| Duration::from_millis(until.saturating_sub(Health::millis(time))))
    }

    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// What has been done with a node.
#[derive(Debug, Default)]
pub struct Counts {
    /// Reads that went to it because it was chosen among several.
    pub reads: AtomicU64,
    pub errors: AtomicU64,
    pub connects: AtomicU64,
}
