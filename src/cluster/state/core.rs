//! The state that all handles of one cluster share, and how a forked child gets its own.

use super::module_commands::ModuleCommands;
use super::outside_peers::OutsidePeers;
use super::refresh_state::RefreshState;
use super::scans::Scans;
use super::scripts::{Scripts, may_have_script};
use super::stats::Stats;
use crate::address::Address;
use crate::call_scope::CallScope;
use crate::cluster::reads::{MigratingSlots, Session};
use crate::config::Config;
use crate::deadline::{Deadline, Time, now};
use crate::error::Result;
use crate::log;
use crate::net::{
    CredentialStore, ExpectedRole, Peer, PeerContext, Security, Wakers, process_number,
};
use crate::random;
use crate::route::Classified;
use crate::sync::{Condvar, Mutex, lock, try_lock};
use crate::topology::{KeySpace, NodeView, Topology};
use arc_swap::{ArcSwap, Guard};
use once_cell::race::OnceBox;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// The shared state of one cluster.
pub struct Core {
    pub config: Arc<Config>,
    pub stats: Stats,
    pub session: Session,
    /// Whether a handle reads from replicas, so that those of a server without cluster support are needed.
    pub(super) reads_replicas: AtomicBool,
    /// The state of the process that created the client. The state of a forked child is linked to its parent's.
    process: Box<ProcessState>,
}

/// The state of one process: everything that holds a lock or a descriptor.
///
/// A forked child never locks the state of an ancestor, whose threads may have held a lock at the fork. It frees that
/// state together with the client. No thread of the ancestor was changing it then: such a thread holds a reference on
/// the client, which the child never releases.
pub struct ProcessState {
    number: i32,
    pub wakers: Wakers,
    pub topology: ArcSwap<Topology>,
    /// The key space of the topology, for every command: to load the topology costs 60 instructions more. 0 before the
    /// first topology, which others replace and nothing forgets.
    key_space: AtomicU8,
    /// Its lock is held while the topology changes.
    outside_peers: Mutex<OutsidePeers>,
    peer_context: Arc<PeerContext>,
    pub refresh: Mutex<RefreshState>,
    /// When a read that finds a shard without replicas may refresh the topology, in
    /// [`Time::millis`](crate::deadline::Time::millis).
    pub find_replicas_at: AtomicU64,
    /// When a handle that reads from replicas refreshes the topology next, in the same unit. New replicas
    /// and changed roles cause no error that such a handle would see.
    pub refresh_replicas_at: AtomicU64,
    /// When a refresh that was wanted too early may begin, in nanoseconds; `u64::MAX` if none is wanted.
    refresh_wanted_at: AtomicU64,
    /// See [`ProcessState::doubt_primary`].
    pub(super) is_primary_in_doubt: AtomicBool,
    pub migrating_slots: MigratingSlots,
    /// Notified at the end of a refresh; used with the lock `refresh`.
    pub refreshed: Condvar,
    pub scans: Mutex<Scans>,
    pub scripts: Mutex<Scripts>,
    pub module_commands: Mutex<ModuleCommands>,
    /// The state of a child that was forked from this process. Set without a lock: a grandchild may be forked while
    /// another thread of the child sets it.
    child: OnceBox<ProcessState>,
}

impl ProcessState {
    fn new(number: i32, security: Arc<Security>, config: &Arc<Config>) -> ProcessState {
        ProcessState {
            number,
            wakers: Wakers::default(),
            topology: ArcSwap::from_pointee(Topology::empty()),
            key_space: AtomicU8::new(0),
            outside_peers: Mutex::default(),
            peer_context: PeerContext::new(config.clone(), security),
            refresh: Mutex::default(),
            find_replicas_at: AtomicU64::new(0),
            refresh_replicas_at: AtomicU64::new(0),
            refresh_wanted_at: AtomicU64::new(u64::MAX),
            is_primary_in_doubt: AtomicBool::new(false),
            migrating_slots: MigratingSlots::default(),
            refreshed: Condvar::new(),
            scans: Mutex::default(),
            scripts: Mutex::default(),
            module_commands: Mutex::default(),
            child: OnceBox::new(),
        }
    }

    /// How the present topology divides keys into slots; `None` until the client has connected.
    #[inline]
    pub fn key_space(&self) -> Option<KeySpace> {
        match self.key_space.load(Ordering::Acquire) {
            0 => None,
            1 => Some(KeySpace::HashSlots),
            _ => Some(KeySpace::OneSlot),
        }
    }

    /// Whether a refresh that was wanted too early may begin.
    #[inline]
    pub fn is_refresh_wanted(&self, time: Time) -> bool {
        self.refresh_wanted_at.load(Ordering::Relaxed) <= time.nanos()
    }

    /// Whether a handle that reads from replicas refreshes the topology.
    #[inline]
    pub fn is_replica_refresh_due(&self, time: Time) -> bool {
        time.millis() >= self.refresh_replicas_at.load(Ordering::Relaxed)
    }

    /// Whether slots are known to migrate.
    #[inline]
    pub fn has_migrations(&self) -> bool {
        !self.migrating_slots.is_empty()
    }

    /// The first call after `at` refreshes the topology, unless a refresh begins before.
    pub fn want_refresh_at(&self, at: Time) {
        self.refresh_wanted_at.store(at.nanos(), Ordering::Relaxed);
    }

    /// The same, unless a refresh is wanted earlier.
    pub(super) fn want_refresh_by(&self, at: Time) {
        self.refresh_wanted_at
            .fetch_min(at.nanos(), Ordering::Relaxed);
    }

    /// Puts off a refresh that is wanted, if one is.
    pub(super) fn put_off_wanted_refresh(&self, at: Time) {
        if self.refresh_wanted_at.load(Ordering::Relaxed) != u64::MAX {
            self.want_refresh_at(at);
        }
    }

    /// A refresh begins, which sees what those that were wanted before would see. Returns whether one was.
    pub(super) fn take_wanted_refresh(&self) -> bool {
        self.refresh_wanted_at.swap(u64::MAX, Ordering::Relaxed) != u64::MAX
    }

    /// The present topology. Not inlined: see [`fiber`](crate::fiber).
    #[inline(never)]
    pub fn load_topology(&self) -> Guard<Arc<Topology>> {
        self.topology.load()
    }

    /// The same, to keep it for long.
    #[inline(never)]
    pub fn load_whole_topology(&self) -> Arc<Topology> {
        self.topology.load_full()
    }

    /// The same, for code that knows whether it runs in a fiber.
    #[inline]
    pub fn load_topology_in(&self, is_in_fiber: bool) -> Guard<Arc<Topology>> {
        match is_in_fiber {
            false => self.topology.load(),
            true => self.load_topology(),
        }
    }

    /// Whether the client has connected: a topology has been learned.
    #[inline]
    pub fn has_topology(&self) -> bool {
        self.key_space().is_some()
    }

    /// The credentials of its connections.
    pub fn credentials(&self) -> &CredentialStore {
        &self.peer_context.security.credentials
    }

    /// The primary of a topology without cluster has refused a write as a replica: the next refresh asks for the roles.
    pub fn doubt_primary(&self) {
        self.is_primary_in_doubt.store(true, Ordering::Relaxed);
    }

    /// Its process number ([`process_number`]).
    pub fn number(&self) -> i32 {
        self.number
    }

    /// The peer at an address, for a redirection or a seed.
    pub fn peer(&self, address: &Address) -> Arc<Peer> {
        let mut outside = lock(&self.outside_peers);
        let topology = self.load_topology();
        if let Some(node) = topology.node_at(address) {
            return node.peer.clone();
        }
        let (peer, displaced) = outside.find_or_add(address, || {
            let peer = self.new_peer(address.clone());
            if topology.has_verified_ids {
                peer.with_identity(|identity| identity.expect_cluster_node(None));
            }
            peer
        });
        drop(outside);
        drop(displaced);
        peer
    }

    /// The peer of a node of a new view: the one at its address, unless that is known to be another node. It is not in
    /// the topology before [`ProcessState::set_topology`].
    pub fn peer_of(&self, node: NodeView, has_foreign_ids: bool) -> Arc<Peer> {
        let is_same = |peer: &Arc<Peer>| {
            has_foreign_ids || peer.with_identity(|identity| identity.may_be(&node.id))
        };
        let present = self.load_topology();
        let at_address = match present.node_at(&node.address) {
            Some(known) => Some(known.peer.clone()),
            None => lock(&self.outside_peers).find(&node.address).cloned(),
        };
        if let Some(peer) = at_address.filter(is_same) {
            return peer;
        }
        // Two nodes of the topology may have the same address, one of which is gone.
        let same = present.node_with(&node.id, &node.address);
        match same.filter(|known| is_same(&known.peer)) {
            Some(known) => known.peer.clone(),
            None => self.new_peer(node.address),
        }
    }

    fn new_peer(&self, address: Address) -> Arc<Peer> {
        Arc::new(Peer::new(address, self.peer_context.clone()))
    }

    /// Makes the peers of a topology the only ones, and tells each which node it is. The connections of the others are
    /// closed when the last call on them ends.
    #[inline(never)]
    pub fn set_topology(&self, topology: Arc<Topology>) {
        set_identities(&topology);
        let key_space = match (topology.version, topology.key_space()) {
            (0, _) => 0,
            (_, KeySpace::HashSlots) => 1,
            (_, KeySpace::OneSlot) => 2,
        };
        // Dropped after the lock.
        let _replaced = {
            let mut outside = lock(&self.outside_peers);
            let replaced = self.topology.swap(topology);
            // After the topology: who sees that there is one finds it.
            self.key_space.store(key_space, Ordering::Release);
            (replaced, outside.clear())
        };
        self.wakers.fire_for_topology();
    }

    /// Stores a topology in which a redirection has moved a slot to this node.
    #[inline(never)]
    pub fn set_patched_topology(&self, topology: Arc<Topology>, to: &Address) {
        let mut outside = lock(&self.outside_peers);
        if let Some(node) = topology.node_at(to) {
            outside.remove(&node.peer);
        }
        let replaced = self.topology.swap(topology);
        drop(outside);
        drop(replaced);
        self.wakers.fire_for_topology();
    }

    /// All peers, in the order of their addresses.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        let outside = lock(&self.outside_peers);
        let topology = self.load_topology();
        let mapped = topology.nodes.iter().map(|node| &node.peer);
        let is_unmapped = |peer: &&Arc<Peer>| topology.node_at(peer.address()).is_none();
        let outside_only = outside.iter().filter(is_unmapped);
        let mut all: Vec<Arc<Peer>> = mapped.chain(outside_only).cloned().collect();
        drop(outside);
        all.sort_unstable_by(|a, b| a.address().cmp(b.address()));
        all.dedup_by(|a, b| a.address() == b.address());
        all
    }

    /// Remembers the body of a script that a command loads or runs.
    #[inline]
    pub fn note_script(&self, command: &Classified<'_>) {
        if let Some(row) = command.row
            && may_have_script(row)
        {
            lock(&self.scripts).note(row, command.args);
        }
    }

    /// The state of a forked child: the parent's topology with peers of its own, and copies of the
    /// tables. A table that was locked at the fork cannot be copied and begins empty.
    fn of_child(parent: &ProcessState, number: i32, config: &Arc<Config>) -> ProcessState {
        let child = ProcessState::new(number, parent.peer_context.security.of_child(), config);
        let topology = parent.topology.load_full();
        child.set_topology(Arc::new(
            topology.with_peers(|node| child.new_peer(node.peer.address().clone())),
        ));
        copy_unless_locked(&parent.scans, &child.scans);
        copy_unless_locked(&parent.scripts, &child.scripts);
        copy_unless_locked(&parent.module_commands, &child.module_commands);
        child
    }
}

/// Tells the peers of a topology which node each of them is.
fn set_identities(topology: &Topology) {
    for shard in topology.shards.iter() {
        let has_replicas = !shard.replicas.is_empty();
        let primary = shard
            .primary
            .iter()
            .map(|node| (node, ExpectedRole::Primary));
        let replicas = shard
            .replicas
            .iter()
            .map(|node| (node, ExpectedRole::Replica));
        for (node, role) in primary.chain(replicas) {
            node.peer.with_identity(|identity| {
                identity.has_replicas = has_replicas;
                match (topology.standalone, topology.has_verified_ids) {
                    (true, _) => identity.expect_standalone(role),
                    (false, true) => identity.expect_cluster_node(Some(&node.id)),
                    (false, false) => {}
                }
            });
        }
    }
}

fn copy_unless_locked<T: Clone>(from: &Mutex<T>, to: &Mutex<T>) {
    if let Some(table) = try_lock(from) {
        *lock(to) = table.clone();
    }
}

impl Drop for ProcessState {
    fn drop(&mut self) {
        if self.number != process_number() {
            self.peer_context.descriptors.close_inherited();
        }
    }
}

impl Core {
    /// Reads the files that the options name.
    pub fn new(config: Config) -> Result<Core> {
        let (config, stats) = (Arc::new(config), Stats::default());
        let security = Security::new(&config, stats.credentials.clone())?;
        let process = ProcessState::new(process_number(), security, &config);
        Ok(Core {
            stats,
            session: Session::default(),
            reads_replicas: AtomicBool::new(false),
            process: Box::new(process),
            config,
        })
    }

    /// A handle reads from replicas. Those of a server without cluster support are not known yet: the handle's next read
    /// finds them.
    pub fn note_replica_reads(&self) {
        if !self.reads_replicas.swap(true, Ordering::Relaxed)
            && self.process().load_topology().standalone
        {
            self.process().find_replicas_at.store(0, Ordering::Relaxed);
        }
    }

    /// The state of this process.
    #[inline]
    pub fn process(&self) -> &ProcessState {
        let number = process_number();
        if self.process.number == number {
            return &self.process;
        }
        self.process_after_fork(number)
    }

    /// The state of this process, or the nearest ancestor that has one.
    fn nearest_process(&self, number: i32) -> &ProcessState {
        let mut nearest = &*self.process;
        while nearest.number != number
            && let Some(child) = nearest.child.get()
        {
            nearest = child;
        }
        nearest
    }

    /// In a forked child: its own state, created on first use.
    #[cold]
    fn process_after_fork(&self, number: i32) -> &ProcessState {
        let nearest = self.nearest_process(number);
        if nearest.number == number {
            return nearest;
        }
        let mut made = std::ptr::null();
        // Several threads of the child may get here. The first state to be set is used; the others have no connection
        // yet, and are dropped.
        let child = nearest.child.get_or_init(|| {
            let child = Box::new(ProcessState::of_child(nearest, number, &self.config));
            made = &raw const *child;
            child
        });
        if std::ptr::eq(child, made) {
            random::reseed();
            nearest.peer_context.descriptors.close_inherited();
            // Only after the state exists: the logger may call the library.
            let _scope = CallScope::enter(Deadline::after(now(), self.config.timeout_ms), true);
            log::log(log::INFO, || {
                "forked: the child process opens its own connections".to_string()
            });
        }
        child
    }

    /// Wakes the waiting calls of this process, so that they check their cancel flags. Async-signal-safe.
    pub fn wake_calls(&self) {
        let number = process_number();
        let process = self.nearest_process(number);
        // Without a state of its own, a forked child has no call that waits.
        if process.number == number {
            process.wakers.fire();
        }
    }
}
