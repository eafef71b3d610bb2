//! The state that all handles of one cluster share, and how a forked child gets its own.

use super::module_commands::ModuleCommands;
use super::refresh_state::RefreshState;
use super::scans::Scans;
use super::scripts::{Scripts, may_have_script};
use super::stats::Stats;
use crate::address::Address;
use crate::cluster::reads::{MigratingSlots, Session};
use crate::config::Config;
use crate::error::Result;
use crate::log;
use crate::net::{DescriptorRegistry, ForkMark, MemoryBudget, Peer, Tls, Wakers};
use crate::route::Classified;
use crate::sync::{Condvar, Mutex, lock};
use crate::topology::Topology;
use arc_swap::ArcSwap;
use once_cell::sync::{Lazy, OnceCell};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

static FORK_MARK: Lazy<ForkMark> = Lazy::new(ForkMark::default);

/// The shared state of one cluster.
pub struct Core {
    pub config: Arc<Config>,
    pub wakers: Wakers,
    pub stats: Stats,
    pub session: Session,
    /// The state of the process that created the client. The state of a forked child is linked to its parent's. `None`
    /// only while it is dropped.
    process: Option<Box<ProcessState>>,
}

/// The state of one process: everything that holds a lock or a connection.
pub struct ProcessState {
    number: i32,
    tls: Option<Tls>,
    pub topology: ArcSwap<Topology>,
    peers: Mutex<BTreeMap<Address, Arc<Peer>>>,
    descriptors: Arc<DescriptorRegistry>,
    memory: Arc<MemoryBudget>,
    pub refresh: Mutex<RefreshState>,
    /// When a read that finds a shard without replicas may refresh the topology, in
    /// [`Time::millis`](crate::deadline::Time::millis).
    pub find_replicas_at: AtomicU64,
    /// When a handle that reads from replicas refreshes the topology next, in the same unit. New replicas
    /// and changed roles cause no error that such a handle would see.
    pub refresh_replicas_at: AtomicU64,
    pub migrating_slots: MigratingSlots,
    /// Notified at the end of a refresh; used with the lock `refresh`.
    pub refreshed: Condvar,
    pub scans: Mutex<Scans>,
    pub scripts: Mutex<Scripts>,
    pub module_commands: Mutex<ModuleCommands>,
    /// The state of a child that was forked from this process.
    child: OnceCell<Box<ProcessState>>,
}

impl ProcessState {
    fn new(number: i32, tls: Option<Tls>, config: &Config) -> ProcessState {
        ProcessState {
            number,
            tls,
            topology: ArcSwap::from_pointee(Topology::empty()),
            peers: Mutex::new(BTreeMap::new()),
            descriptors: Arc::default(),
            memory: MemoryBudget::new(config.max_memory_bytes),
            refresh: Mutex::default(),
            find_replicas_at: AtomicU64::new(0),
            refresh_replicas_at: AtomicU64::new(0),
            migrating_slots: MigratingSlots::default(),
            refreshed: Condvar::new(),
            scans: Mutex::default(),
            scripts: Mutex::default(),
            module_commands: Mutex::default(),
            child: OnceCell::new(),
        }
    }

    /// Its process number ([`ForkMark::process`]).
    pub fn number(&self) -> i32 {
        self.number
    }

    /// The only peer at an address.
    pub fn peer(&self, address: &Address, config: &Arc<Config>) -> Arc<Peer> {
        lock(&self.peers)
            .entry(address.clone())
            .or_insert_with(|| {
                Arc::new(Peer::new(
                    address.clone(),
                    config.clone(),
                    self.tls.as_ref(),
                    self.descriptors.clone(),
                    self.memory.clone(),
                ))
            })
            .clone()
    }

    /// Drops the peers that are not in `topology`. Their connections are closed when the last call
    /// on them ends. This includes a seed that has left the cluster: a later refresh connects to it again.
    pub fn retain_peers_of(&self, topology: &Topology) {
        let used: HashSet<*const Peer> = topology
            .nodes
            .iter()
            .map(|n| Arc::as_ptr(&n.peer))
            .collect();
        lock(&self.peers).retain(|_, peer| used.contains(&Arc::as_ptr(peer)));
    }

    pub fn peers(&self) -> Vec<Arc<Peer>> {
        lock(&self.peers).values().cloned().collect()
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
        let child = ProcessState::new(number, parent.tls.clone(), config);
        let topology = parent.topology.load_full();
        child.topology.store(Arc::new(
            topology.with_peers(|address| child.peer(address, config)),
        ));
        copy_unless_locked(&parent.scans, &child.scans);
        copy_unless_locked(&parent.scripts, &child.scripts);
        copy_unless_locked(&parent.module_commands, &child.module_commands);
        child
    }
}

fn copy_unless_locked<T: Clone>(from: &Mutex<T>, to: &Mutex<T>) {
    if let Ok(table) = from.try_lock() {
        *lock(to) = table.clone();
    }
}

impl Core {
    /// Reads the files that the options name.
    pub fn new(config: Config) -> Result<Core> {
        let tls = Tls::load(&config)?;
        let process = ProcessState::new(FORK_MARK.process(), tls, &config);
        Ok(Core {
            wakers: Wakers::default(),
            stats: Stats::default(),
            session: Session::default(),
            process: Some(Box::new(process)),
            config: Arc::new(config),
        })
    }

    /// The state of this process.
    #[inline]
    pub fn process(&self) -> &ProcessState {
        let number = FORK_MARK.process();
        match &self.process {
            Some(process) if process.number == number => process,
            Some(process) => self.process_after_fork(process, number),
            None => unreachable!("the state is taken only by drop"),
        }
    }

    /// In a forked child: its own state, created on first use. The child never locks or frees the state
    /// of an ancestor, whose threads may have held a lock at the fork.
    #[cold]
    fn process_after_fork<'a>(
        &'a self,
        ancestor: &'a ProcessState,
        number: i32,
    ) -> &'a ProcessState {
        let mut parent = ancestor;
        while let Some(child) = parent.child.get() {
            if child.number == number {
                return child;
            }
            parent = child;
        }
        let mut is_new = false;
        let child = parent.child.get_or_init(|| {
            let child = ProcessState::of_child(parent, number, &self.config);
            self.wakers.forget();
            parent.descriptors.close_inherited();
            // Otherwise the child and its siblings would draw the same random numbers. If the system has
            // no entropy, they do: that is no reason to fail.
            let _ = rand::rng().reseed();
            is_new = true;
            Box::new(child)
        });
        // Only after the state exists: the logger may call the library.
        if is_new {
            log::log(log::INFO, || {
                "forked: the child process opens its own connections".to_string()
            });
        }
        if child.number == number {
            return child;
        }
        self.process_after_fork(child, number)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let number = FORK_MARK.process();
        let mut next = self.process.take();
        while let Some(mut process) = next {
            next = process.child.take();
            // The state of an ancestor is not dropped: that would take its locks and close descriptors
            // that are closed already.
            if process.number != number {
                std::mem::forget(process);
            }
        }
    }
}
