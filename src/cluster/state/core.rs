//! What all handles on one cluster share, and how a forked child gets its own.

use crate::address::Address;
use crate::cluster::module_commands::ModuleCommands;
use crate::cluster::reads::MigratingSlots;
use crate::cluster::reads::Session;
use crate::cluster::scan::Scans;
use crate::cluster::state::Refresh;
use crate::cluster::state::Scripts;
use crate::cluster::state::Stats;
use crate::config::Config;
use crate::error::Result;
use crate::log;
use crate::net::{DescriptorRegistry, ForkMark, MemoryBudget, Peer, Tls, Wakers};
use crate::sync::{Condvar, Mutex, lock};
use crate::topology::Topology;
use arc_swap::ArcSwap;
use once_cell::sync::{Lazy, OnceCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

static MARK: Lazy<ForkMark> = Lazy::new(ForkMark::default);

/// A cluster.
pub struct Core {
    pub config: Arc<Config>,
    pub wakers: Wakers,
    pub stats: Stats,
    pub session: Session,
    /// Of the process that created it; a forked child's hangs on its parent's. Boxed, and always
    /// there but while it is dropped.
    process: Option<Box<ProcessState>>,
}

/// What belongs to one process: everything with a lock or a connection in it.
pub struct ProcessState {
    number: i32,
    tls: Option<Tls>,
    pub topology: ArcSwap<Topology>,
    peers: Mutex<BTreeMap<Address, Arc<Peer>>>,
    descriptors: Arc<DescriptorRegistry>,
    memory: Arc<MemoryBudget>,
    pub refresh: Mutex<Refresh>,
    /// When a reader that finds a shard without replicas may look for some, in
    /// [`Time::millis`](crate::deadline::Time::millis).
    pub find_replicas_at: AtomicU64,
    /// When whoever reads from replicas learns the topology again, in the same unit: replicas come and
    /// change their roles without a word to those who are content with any of them.
    pub refresh_replicas_at: AtomicU64,
    pub migrating_slots: MigratingSlots,
    pub refreshed: Condvar,
    pub scans: Mutex<Scans>,
    pub scripts: Mutex<Scripts>,
    pub module_commands: Mutex<ModuleCommands>,
    /// That of a child which was forked from this process.
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
            refresh: Mutex::new(Refresh::default()),
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

    /// Its number; a forked child has another.
    pub fn number(&self) -> i32 {
        self.number
    }

    /// The peer at an address; there is one for each.
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

    /// Forgets the peers that are not in `topology`: their connections are closed when the last call
    /// on them ends. A seed that has left the cluster is no exception: it is met anew when it is
    /// asked again.
    pub fn keep_only(&self, topology: &Topology) {
        lock(&self.peers)
            .retain(|_, peer| topology.nodes.iter().any(|n| Arc::ptr_eq(&n.peer, peer)));
    }

    /// Every peer that is known.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        lock(&self.peers).values().cloned().collect()
    }
}

impl Core {
    /// With the files that the options name read, once.
    pub fn new(config: Config) -> Result<Core> {
        let tls = Tls::load(&config)?;
        Ok(Core {
            wakers: Wakers::default(),
            stats: Stats::default(),
            session: Session::default(),
            process: Some(Box::new(ProcessState::new(MARK.process(), tls, &config))),
            config: Arc::new(config),
        })
    }

    /// The state of this process.
    #[inline]
    pub fn process(&self) -> &ProcessState {
        let number = MARK.process();
        match &self.process {
            Some(process) if process.number == number => process,
            Some(process) => self.forked(process, number),
            None => unreachable!("only a drop takes it"),
        }
    }

    /// In a forked child: starts afresh with what is known of the cluster. What the parent's
    /// threads may have locked is neither touched nor freed; its connections are closed without
    /// a word to the server.
    #[cold]
    fn forked<'a>(&'a self, parent: &'a ProcessState, number: i32) -> &'a ProcessState {
        let mut last = parent;
        while let Some(child) = last.child.get() {
            if child.number == number {
                return child;
            }
            last = child;
        }
        let parent = last;
        let mut made = false;
        let fresh = parent.child.get_or_init(|| {
            let new = ProcessState::new(number, parent.tls.clone(), &self.config);
            let known = parent.topology.load_full();
            new.topology.store(Arc::new(
                known.with_peers(|address| new.peer(address, &self.config)),
            ));
            // As with the descriptors below: what is locked at the fork is left, and a scan begins anew.
            if let Ok(scans) = parent.scans.try_lock() {
                *lock(&new.scans) = scans.clone();
            }
            if let Ok(scripts) = parent.scripts.try_lock() {
                *lock(&new.scripts) = scripts.clone();
            }
            if let Ok(module_commands) = parent.module_commands.try_lock() {
                *lock(&new.module_commands) = module_commands.clone();
            }
            self.wakers.forget();
            parent.descriptors.close_inherited();
            // The child would otherwise choose and wait in step with its siblings. That the
            // system has no randomness to give is no reason to fail: they go on in step.
            let _ = rand::rng().reseed();
            made = true;
            Box::new(new)
        });
        // Only now that it is there: the logger may call the library.
        if made {
            log::log(log::INFO, || {
                "forked: the child opens connections of its own".to_string()
            });
        }
        if fresh.number == number {
            return fresh;
        }
        self.forked(fresh, number)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let number = MARK.process();
        let mut next = self.process.take();
        while let Some(mut process) = next {
            next = process.child.take();
            // A parent's state is not dropped: that would lock, and close what has been closed.
            if process.number != number {
                std::mem::forget(process);
            }
        }
    }
}
