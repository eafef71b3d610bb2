//! One node as this client uses it: its address, its state and the connections to it.

use super::conn::{Connection, ConnectionKind, Endpoint, Greeting, MemoryBudget, Security};
use super::node::{NodeIdentity, NodeState};
use super::pool::{Connector, Pool, TryAcquire};
use super::sys::DescriptorRegistry;
use super::wait::Attempt;
use crate::address::Address;
use crate::config::Config;
use crate::deadline::Time;
use crate::error::{Error, Result};
use crate::log;
use crate::net::wait::Call;
use crate::resp::{CommandBody, CommandReply, Origin};
use crate::sync::{Mutex, lock};
use once_cell::race::OnceBox;
use std::ops::Deref;
use std::sync::Arc;

/// What all peers of a process have in common.
#[derive(Debug)]
pub struct PeerContext {
    pub config: Arc<Config>,
    pub security: Arc<Security>,
    pub descriptors: Arc<DescriptorRegistry>,
    pub memory: Arc<MemoryBudget>,
}

impl PeerContext {
    pub fn new(config: Arc<Config>, security: Arc<Security>) -> Arc<PeerContext> {
        Arc::new(PeerContext {
            memory: MemoryBudget::new(config.max_memory_bytes),
            config,
            security,
            descriptors: Arc::default(),
        })
    }

    /// For tests without files of credentials and certificates.
    #[cfg(test)]
    pub fn of_config(config: Config) -> Arc<PeerContext> {
        let config = Arc::new(config);
        let security = Security::new(&config, Arc::default()).expect("no files");
        PeerContext::new(config, security)
    }
}

/// One node. Dereferences to its [`NodeState`].
///
/// A large cluster has thousands of peers, of which most are never used. So what only a used one needs is created on
/// first use.
#[derive(Debug)]
pub struct Peer {
    address: Address,
    context: Arc<PeerContext>,
    /// What is expected of the node, until the connector has it.
    unused: Mutex<NodeIdentity>,
    used: OnceBox<UsedPeer>,
}

#[derive(Debug)]
struct UsedPeer {
    /// Also holds the state of the node, so that it is stored once.
    connector: Arc<Connector>,
    /// The pools of the database that was used first. In a large cluster, most nodes are never used.
    pools: OnceBox<DatabasePools>,
}

/// The pools of one database: one for each use of a connection, created when it is needed.
#[derive(Debug)]
struct DatabasePools {
    database: u16,
    pools: [OnceBox<Pool>; ConnectionKind::USAGES],
    /// Those of the database that was used next.
    next: OnceBox<DatabasePools>,
}

impl DatabasePools {
    fn new(database: u16) -> Box<DatabasePools> {
        Box::new(DatabasePools {
            database,
            pools: Default::default(),
            next: OnceBox::new(),
        })
    }
}

impl Deref for Peer {
    type Target = NodeState;

    #[inline]
    fn deref(&self) -> &NodeState {
        self.connector().node()
    }
}

impl Peer {
    pub fn new(address: Address, context: Arc<PeerContext>) -> Peer {
        Peer {
            address,
            context,
            unused: Mutex::default(),
            used: OnceBox::new(),
        }
    }

    #[inline]
    fn used(&self) -> &UsedPeer {
        match self.used.get() {
            Some(used) => used,
            None => self.begin_use(),
        }
    }

    #[cold]
    fn begin_use(&self) -> &UsedPeer {
        // The lock keeps the identity from changing until the connector has it.
        let identity = lock(&self.unused);
        self.used.get_or_init(|| {
            let context = &*self.context;
            let endpoint = Endpoint::new(
                self.address.clone(),
                context.config.clone(),
                context.security.clone(),
                context.descriptors.clone(),
            );
            let memory = context.memory.clone();
            let connector = Connector::new(endpoint, identity.clone(), memory);
            Box::new(UsedPeer {
                connector: Arc::new(connector),
                pools: OnceBox::new(),
            })
        })
    }

    #[inline]
    fn connector(&self) -> &Arc<Connector> {
        &self.used().connector
    }

    /// The state of the node, if the peer was ever used.
    pub fn state_if_used(&self) -> Option<&NodeState> {
        self.used.get().map(|used| used.connector.node())
    }

    /// Reads or changes what is expected of the node.
    pub fn with_identity<R>(&self, f: impl FnOnce(&mut NodeIdentity) -> R) -> R {
        let mut unused = lock(&self.unused);
        match self.used.get() {
            Some(used) => f(&mut used.connector.identity()),
            None => f(&mut unused),
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn origin(&self) -> &Arc<Origin> {
        self.connector().origin()
    }

    #[inline]
    fn pool(&self, kind: ConnectionKind) -> &Pool {
        self.used().pool(kind)
    }

    /// Whether the node may be chosen. A peer that was never used is healthy.
    pub fn is_healthy(&self) -> bool {
        self.state_if_used().is_none_or(|s| s.health.is_healthy())
    }

    /// The node has answered.
    #[inline]
    pub fn record_success(&self) {
        if !self.health.is_healthy() && self.health.record_success() {
            log::log(log::INFO, || format!("{} answers again", self.address()));
        }
    }

    /// The number of open connections, in all databases.
    pub fn connections(&self) -> usize {
        let first = self.used.get().and_then(|used| used.pools.get());
        let databases = std::iter::successors(first, |of| of.next.get());
        let pools = databases.flat_map(|of| of.pools.iter().filter_map(OnceBox::get));
        pools.map(Pool::open).sum()
    }

    /// Makes a pool contended, as many concurrent callers do.
    #[cfg(test)]
    pub fn force_contended(&self, kind: ConnectionKind) {
        self.pool(kind).force_contended();
    }

    /// Sends one command and returns its reply. Concurrent callers share connections.
    #[inline]
    pub fn call(
        &self,
        kind: ConnectionKind,
        body: &CommandBody<'_>,
        attempt: Attempt<'_>,
    ) -> Result<CommandReply> {
        self.pool(kind).call(body, attempt)
    }

    /// The same, unless the node is ejected. For commands that neither block nor are secret.
    #[inline]
    pub fn call_if_healthy(
        &self,
        kind: ConnectionKind,
        body: &CommandBody<'_>,
        attempt: Attempt<'_>,
    ) -> Option<Result<CommandReply>> {
        let used = self.used();
        let is_healthy = used.connector.node().health.is_healthy();
        is_healthy.then(|| used.pool(kind).call_shared(body, attempt))
    }

    /// A connection for the exclusive use of the caller. It counts towards the pool's limit. Give it back by
    /// [`Peer::release`], or drop it and call [`Peer::forget_lost`].
    pub fn acquire(&self, kind: ConnectionKind, attempt: Attempt<'_>) -> Result<Box<Connection>> {
        self.pool(kind).acquire(attempt)
    }

    /// The same without waiting.
    pub fn try_acquire(&self, kind: ConnectionKind, call: &Call<'_>) -> TryAcquire {
        self.pool(kind).try_acquire(call)
    }

    /// Whether the connection has the current credentials, or its node has refused them.
    pub fn has_current_credentials(&self, connection: &Connection) -> bool {
        self.connector().has_current_credentials(connection)
    }

    /// Sends changed credentials on an open connection. See [`Connector::reauthenticate`].
    pub fn reauthenticate(
        &self,
        connection: &mut Connection,
        attempt: Attempt<'_>,
    ) -> Result<bool> {
        self.connector().reauthenticate(connection, attempt)
    }

    /// Takes back a connection from [`Peer::acquire`]; drops it if anything is in flight on it.
    pub fn release(&self, kind: ConnectionKind, connection: Box<Connection>, used: Time) {
        self.pool(kind).release(connection, used);
    }

    /// A connection from [`Peer::acquire`] has been dropped.
    pub fn forget_lost(&self, kind: ConnectionKind) {
        self.pool(kind).forget_lost();
    }

    /// Opens a connection if there is none.
    pub fn ensure_connected(&self, kind: ConnectionKind, attempt: Attempt<'_>) -> Result<()> {
        if self.pool(kind).open() > 0 {
            return Ok(());
        }
        let connection = self.acquire(kind, attempt)?;
        let used = connection.used;
        self.release(kind, connection, used);
        Ok(())
    }

    /// The time that connect and handshake took recently.
    pub fn handshake_ms(&self) -> u64 {
        let used = self.used.get();
        used.map_or(0, |used| used.connector.handshake_ms())
    }

    /// The error of the last connect, if none has succeeded since.
    pub fn last_connect_error(&self) -> Option<Error> {
        self.used.get()?.connector.last_error()
    }

    /// Opens a connection that no pool counts. See [`Connector::open`].
    pub fn open(&self, kind: ConnectionKind, attempt: Attempt<'_>) -> Result<Box<Connection>> {
        self.connector().open(kind, attempt)
    }

    /// Opens a connection to ask for the topology. See [`Connector::open_for_discovery`].
    pub fn open_for_discovery(
        &self,
        database: u16,
        first: &[CommandBody<'_>],
        attempt: Attempt<'_>,
    ) -> Result<(Box<Connection>, Greeting)> {
        self.connector()
            .open_for_discovery(database, first, attempt)
    }

    /// See [`Connector::address_of`].
    pub fn address_of(&self, connection: &Connection) -> Address {
        self.connector().address_of(connection)
    }

    /// See [`Connector::try_other_address`].
    pub fn try_other_address(&self) -> bool {
        let used = self.used.get();
        used.is_some_and(|used| used.connector.try_other_address())
    }

    /// The next connection resolves the host's name again. False if the host is an address.
    pub fn resolve_again(&self) -> bool {
        let used = self.used.get();
        used.is_some_and(|used| used.connector.resolve_again())
    }
}

impl UsedPeer {
    #[inline]
    fn pool(&self, kind: ConnectionKind) -> &Pool {
        if let Some(first) = self.pools.get()
            && first.database == kind.database()
            && let Some(pool) = first.pools[kind.usage()].get()
        {
            return pool;
        }
        self.other_pool(kind)
    }

    /// A pool of another database than the first one, or a new pool. Of threads that create the same one, all use the
    /// first that is stored.
    #[cold]
    fn other_pool(&self, kind: ConnectionKind) -> &Pool {
        let mut link = &self.pools;
        let of_database = loop {
            let of_database = link.get_or_init(|| DatabasePools::new(kind.database()));
            if of_database.database == kind.database() {
                break of_database;
            }
            link = &of_database.next;
        };
        let max = kind.max_connections(self.connector.config().connections_per_node);
        of_database.pools[kind.usage()]
            .get_or_init(|| Box::new(Pool::new(kind, max, self.connector.clone())))
    }
}
