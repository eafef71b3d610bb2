//! Refreshing the topology: one thread at a time and at a limited rate. Other calls use the old topology in the
//! meantime.

use super::core::{Core, ProcessState};
use super::refresh_state::RefreshState;
use super::stats::count;
use crate::address::Address;
use crate::call_scope::{CallScope, ThreadMark};
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::log;
use crate::net::{Call, POLL_INTERVAL, Peer, PthreadCancelDisabled};
use crate::sim_hooks::rng;
use crate::sync::{MutexGuard, lock, notify_all};
use crate::topology::{
    ClusterView, Discovered, Discovery, NodeView, RoleQuery, StandaloneView, Topology, discover,
};
use rand::Rng;
use rand::seq::SliceRandom;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The least time between two refreshes, doubled for each refresh without a change up to the maximum.
/// Half of it is fixed and half is random, so that many clients do not refresh in step.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_millis(1000);

/// The number of nodes whose view of the cluster a refresh collects, if there are that many.
pub const VIEWS_PER_REFRESH: usize = 2;

/// A shard without replicas may get some soon: Redis names a replica in CLUSTER SLOTS only once the
/// replica has received data, which takes seconds in a cluster without writes (7.0.15: 9 s). A reader that
/// misses replicas refreshes again after this time, doubled each time.
const MIN_REPLICA_SEARCH_MS: u64 = 1000;
const MAX_REPLICA_SEARCH_MS: u64 = 60_000;

/// Handles that read from replicas refresh again after this time, or up to a half more.
const REPLICA_REFRESH_MS: u64 = 5_000;

/// After this many successive views with an epoch older than the accepted one, the older epoch is accepted: the cluster
/// has been created anew.
const MAX_REJECTED_VIEWS: u32 = 20;

/// Marks a refresh as ended when it is dropped, also by a panic.
struct RefreshGuard<'a>(&'a ProcessState, ThreadMark);

impl Drop for RefreshGuard<'_> {
    fn drop(&mut self) {
        lock(&self.0.refresh).end(self.1);
        notify_all(&self.0.refreshed);
    }
}

impl Core {
    /// Refreshes the topology if a refresh is due and none is running.
    pub fn refresh_if_due(&self, process: &ProcessState, call: &Call<'_>) {
        {
            let mut refresh = lock(&process.refresh);
            let time = now();
            let next_at = refresh.next_at.filter(|next| time < *next);
            if refresh.running().is_some() || next_at.is_some() {
                return process.put_off_wanted_refresh(next_at.unwrap_or(time.plus(MIN_INTERVAL)));
            }
            refresh.begin(ThreadMark::current());
        }
        // A failure is counted and logged; the call continues with the old topology.
        let _ = self.refresh(process, call, VIEWS_PER_REFRESH);
    }

    /// Refreshes the topology now, or waits for a refresh that another thread began after this call.
    pub fn refresh_now(&self, process: &ProcessState, call: &Call<'_>, views: usize) -> Result<()> {
        let (began, thread) = (now(), ThreadMark::current());
        let mut refresh = lock(&process.refresh);
        while let Some(running) = refresh.running() {
            if running == thread {
                return Err(Error::invalid(
                    "a callback of a topology refresh cannot refresh the topology: the refresh ends when it returns",
                ));
            }
            refresh = wait_for_refresh(process, call, refresh)?;
            // A refresh that began earlier may not have seen the change that the caller knows of.
            if refresh.last_began.is_some_and(|last| last >= began) {
                match &refresh.last_error {
                    None => return Ok(()),
                    Some(error) if applies_to_other_callers(error) => return Err(error.clone()),
                    Some(_) => {}
                }
            }
        }
        refresh.begin(thread);
        drop(refresh);
        self.refresh(process, call, views)
    }

    /// When the last refresh that has ended began.
    pub fn last_refresh(&self, process: &ProcessState) -> Option<Time> {
        lock(&process.refresh).last_began
    }

    /// When a refresh that is only due may begin.
    pub fn next_refresh(&self, process: &ProcessState) -> Option<Time> {
        lock(&process.refresh).next_at
    }

    /// The refresh itself; the caller has begun it in the state.
    pub(super) fn refresh(
        &self,
        process: &ProcessState,
        call: &Call<'_>,
        views: usize,
    ) -> Result<()> {
        let _guard = RefreshGuard(process, ThreadMark::current());
        let _uncancelled = PthreadCancelDisabled::begin();
        let _scope = CallScope::enter(call.deadline, call.in_fiber);
        let began = now();
        let was_wanted = process.take_wanted_refresh();
        let present = process.load_whole_topology();
        let discovery = Discovery {
            wanted: views,
            config: &self.config,
            present: &present,
            role_query: self.role_query(process, &present),
            peer_at: &|address| process.peer(address),
        };
        let peers = self.refresh_order(process, began);
        let discovered = discover_from(&peers, discovery, &call.with_start(began));
        count(&self.stats.refreshes);
        let changed = match discovered {
            Ok(Discovered::Standalone(view)) => {
                process.is_primary_in_doubt.store(false, Ordering::Relaxed);
                let topology = self.topology_of_standalone(process, view);
                self.adopt(process, topology, Epoch::Unknown)
            }
            // Redirections may have changed it meanwhile.
            Ok(Discovered::Unchanged(epoch)) => {
                self.adopt(process, Topology::clone(&present), Epoch::of(epoch))
            }
            Ok(Discovered::Cluster(view)) => {
                let epoch = Epoch::of(view.epoch);
                let topology = self.topology_of(process, view);
                self.adopt(process, topology, epoch)
            }
            Ok(Discovered::NewCluster(view)) => {
                log::log(log::WARN, || {
                    "topology: no node of the cluster is left; the seeds lead to another one, which is used from now on"
                        .to_string()
                });
                let epoch = Epoch::OfNewCluster(view.epoch);
                let topology = self.topology_of(process, view);
                self.adopt(process, topology, epoch)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &changed {
            count(&self.stats.refresh_failures);
            log::log(log::WARN, || format!("topology refresh failed: {error}"));
        }
        let next_at = schedule_next(process, began, &changed);
        if was_wanted && changed.is_err() {
            process.want_refresh_at(next_at);
        }
        changed.map(drop)
    }

    /// The topology of a view, without replicas that the option `allowed_hosts` refuses. A refused primary stays, so that
    /// commands for its slots fail with the reason.
    fn topology_of(&self, process: &ProcessState, mut view: ClusterView) -> Topology {
        if let Some(defect) = &view.defect {
            log::log(log::WARN, || format!("topology: {defect}"));
        }
        for shard in &mut view.shards {
            let nodes = shard.primary.iter().chain(&shard.replicas);
            for error in nodes.filter_map(|node| self.config.admission(&node.address).err()) {
                log::log(log::WARN, || format!("topology: {error}"));
            }
            let is_admitted = |node: &NodeView| self.config.admission(&node.address).is_ok();
            shard.replicas.retain(is_admitted);
        }
        let has_foreign_ids = view.has_foreign_ids;
        let present = process.load_topology();
        Topology::from_view(view, &present, |node| {
            process.peer_of(node, has_foreign_ids)
        })
    }

    /// The topology of a server without cluster support; the option `allowed_hosts` applies as in
    /// [`Core::topology_of`].
    fn topology_of_standalone(&self, process: &ProcessState, view: StandaloneView) -> Topology {
        let nodes = std::iter::once(&view.primary).chain(&view.replicas);
        for error in nodes.filter_map(|node| self.config.admission(node).err()) {
            log::log(log::WARN, || format!("topology: {error}"));
        }
        let replicas = view.replicas.iter();
        let admitted = replicas.filter(|replica| self.config.admission(replica).is_ok());
        let replicas = admitted.map(|replica| process.peer(replica));
        Topology::of_standalone(process.peer(&view.primary), replicas.collect())
    }

    /// What a server without cluster support is asked for its role.
    fn role_query(&self, process: &ProcessState, present: &Topology) -> RoleQuery {
        let is_needed = self.reads_replicas.load(Ordering::Relaxed)
            || process.is_primary_in_doubt.load(Ordering::Relaxed)
            || (present.standalone && present.nodes.len() > 1);
        match is_needed {
            true => RoleQuery::Always,
            false => RoleQuery::IfReplica,
        }
    }

    /// The nodes to ask, in order: healthy nodes in random order, among them the seeds, then unhealthy nodes. So a node
    /// that causes a refresh is rarely the one that answers it.
    ///
    /// Enough nodes for a refresh come before the seeds. If these do not answer, every second node is a seed: if the
    /// addresses of all nodes have changed, only the names of the seeds lead to the cluster.
    ///
    /// Without a cluster, only the primary knows its replicas: it is the first.
    fn refresh_order(&self, process: &ProcessState, time: Time) -> Vec<Arc<Peer>> {
        let topology = process.load_topology();
        let mut known: Vec<Arc<Peer>> = topology.nodes.iter().map(|n| n.peer.clone()).collect();
        if !topology.standalone {
            known.shuffle(&mut rng());
        }
        let (mut order, unhealthy): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|p| p.is_healthy());
        let mut seeds: Vec<Address> = self.config.seeds.clone();
        // The first refresh asks the seeds in the caller's order.
        if topology.version > 0 {
            seeds.shuffle(&mut rng());
        }
        let seeds = seeds.iter().map(|seed| process.peer(seed));
        let is_known = |peer: &Arc<Peer>| {
            let node = topology.node_at(peer.address());
            node.is_some_and(|node| Arc::ptr_eq(&node.peer, peer))
        };
        let seeds: Vec<_> = seeds.filter(|peer| !is_known(peer)).collect();
        let rest = order.split_off(order.len().min(VIEWS_PER_REFRESH));
        let mut rest = rest.into_iter();
        for seed in seeds {
            order.push(seed);
            order.extend(rest.next());
        }
        order.extend(rest);
        order.extend(unhealthy);
        if topology.version > 0 {
            let is_usable = |p: &Arc<Peer>| p.is_healthy() || p.health.is_probe_due(time);
            let (usable, others): (Vec<_>, Vec<_>) = order.into_iter().partition(is_usable);
            order = usable;
            order.extend(others);
        }
        order
    }

    /// Makes the next read from a replica refresh the topology.
    pub fn request_replica_refresh(&self, process: &ProcessState) {
        process.refresh_replicas_at.store(0, Ordering::Relaxed);
    }

    /// Replaces the topology unless the new one is older or the same; returns whether it changed. The first topology
    /// must have slots.
    fn adopt(&self, process: &ProcessState, topology: Topology, epoch: Epoch) -> Result<bool> {
        if !process.has_topology() && !topology.has_assigned_slots() {
            return Err(Error::new(
                Code::Down,
                "the cluster serves no slots: it has not been set up",
            ));
        }
        // Logged with no lock held: the logger may call the library.
        match self.try_adopt(process, topology, epoch) {
            Adoption::Outdated(epoch) => log::log(log::WARN, || {
                format!("topology: a view with an older epoch ({epoch}) was rejected")
            }),
            Adoption::Unchanged => log::log(log::DEBUG, || {
                "refreshed: the topology is unchanged".to_string()
            }),
            Adoption::Changed(topology) => {
                log::log(log::INFO, || {
                    format!(
                        "topology {}: {} shards, {} nodes, {} of 16384 slots served",
                        topology.version,
                        topology.shards.len(),
                        topology.nodes.len(),
                        topology.assigned_slots()
                    )
                });
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[inline(never)]
    fn try_adopt(&self, process: &ProcessState, mut topology: Topology, epoch: Epoch) -> Adoption {
        let mut refresh = lock(&process.refresh);
        match epoch {
            Epoch::Unknown => {}
            Epoch::Known(epoch)
                if epoch < refresh.epoch && refresh.rejected_views < MAX_REJECTED_VIEWS =>
            {
                refresh.rejected_views += 1;
                return Adoption::Outdated(epoch);
            }
            Epoch::Known(epoch) | Epoch::OfNewCluster(epoch) => {
                refresh.epoch = epoch;
                refresh.rejected_views = 0;
            }
        }
        let present = process.load_topology();
        if present.version > 0 && present.is_equivalent(&topology) {
            if let Some(confirmed) = present.confirmed_by(&topology) {
                process.topology.store(Arc::new(confirmed));
            }
            return Adoption::Unchanged;
        }
        topology.version = present.version + 1;
        // A new owner's replicas may lag behind it. A promoted replica has had the slot all the time.
        if present.version > 0 {
            process
                .migrating_slots
                .mark(topology.slots_of_new_shards(&present), now());
        }
        let topology = Arc::new(topology);
        process.set_topology(topology.clone());
        Adoption::Changed(topology)
    }

    /// Assigns one slot to the node that a MOVED names.
    pub fn patch(&self, process: &ProcessState, slot: u16, to: &Address) {
        if self.config.admission(to).is_err() {
            return;
        }
        // Serialized by the lock of refreshes, which is never held while waiting for a socket.
        let mut refresh = lock(&process.refresh);
        let present = process.load_topology();
        let patched = present.patched(slot, to, || process.peer(to));
        if let Some(mut topology) = patched {
            topology.version = present.version + 1;
            // A node without slots may be about to leave the cluster, and no later error would show it:
            // the next refresh, which decides whether to keep the node, may begin at once.
            if (present.owner(slot)).is_some_and(|owner| !topology.has_slots(owner)) {
                refresh.next_at = None;
            }
            process.set_patched_topology(Arc::new(topology), to);
        }
    }
}

/// Waits until another thread's refresh may have ended.
pub(super) fn wait_for_refresh<'p>(
    process: &'p ProcessState,
    call: &Call<'_>,
    refresh: MutexGuard<'p, RefreshState>,
) -> Result<MutexGuard<'p, RefreshState>> {
    call.check()?;
    let left = call.deadline.left(now()).unwrap_or(POLL_INTERVAL);
    if left.is_zero() {
        return Err(Error::new(
            Code::Timeout,
            "the topology refresh of another thread did not end within timeout_ms",
        ));
    }
    let left = left.min(POLL_INTERVAL);
    let refresh = call.wait_on(&process.refreshed, &process.refresh, refresh, left);
    // The wait callback is called with no lock held.
    drop(refresh);
    call.check_cancelled()?;
    Ok(lock(&process.refresh))
}

/// Collects views. When the topology is known, an unresponsive node gets a shorter attempt timeout, unless every node
/// fails so: a caller's command is waiting.
fn discover_from(
    peers: &[Arc<Peer>],
    discovery: Discovery<'_>,
    call: &Call<'_>,
) -> Result<Discovered> {
    if discovery.present.version > 0 {
        let slowest = peers.iter().map(|peer| peer.handshake_ms()).max();
        let timeout_ms = (call.attempt_ms / 4).max(slowest.unwrap_or_default() * 4);
        let short_call = call.with_attempt_timeout(timeout_ms.min(call.attempt_ms));
        match discover(peers, discovery, &short_call) {
            Err(error) if error.code == Code::Timeout => {}
            discovered => return discovered,
        }
    }
    discover(peers, discovery, &call.with_start(now()))
}

/// Stores the result of a refresh and when the next ones may begin. Returns when the next one may.
fn schedule_next(process: &ProcessState, began: Time, changed: &Result<bool>) -> Time {
    let topology = process.load_whole_topology();
    let without_replicas = topology.has_shard_without_replicas();
    let mut refresh = lock(&process.refresh);
    refresh.without_replicas = match without_replicas {
        true => refresh.without_replicas + 1,
        false => 0,
    };
    let doublings = refresh.without_replicas.clamp(1, 10) - 1;
    let search_after_ms = (MIN_REPLICA_SEARCH_MS << doublings).min(MAX_REPLICA_SEARCH_MS);
    let refresh_after_ms = rng().random_range(REPLICA_REFRESH_MS..REPLICA_REFRESH_MS * 3 / 2);
    let time_after = |ms| match topology.hides_replicas() {
        true => u64::MAX,
        false => now().millis() + ms,
    };
    (process.find_replicas_at).store(time_after(search_after_ms), Ordering::Relaxed);
    (process.refresh_replicas_at).store(time_after(refresh_after_ms), Ordering::Relaxed);
    refresh.without_change = match changed {
        Ok(true) => 0,
        _ => refresh.without_change.saturating_add(1),
    };
    let interval = MIN_INTERVAL
        .saturating_mul(1 << refresh.without_change.min(8))
        .min(MAX_INTERVAL);
    refresh.last_began = Some(began);
    refresh.last_error = changed.as_ref().err().cloned();
    let next_at = now().plus(interval.mul_f64(rng().random_range(0.5..1.0)));
    refresh.next_at = Some(next_at);
    next_at
}

/// Whether a refresh of another caller would have failed in the same way. An interrupted refresh does not, nor does a
/// timeout: another caller may have more time.
fn applies_to_other_callers(error: &Error) -> bool {
    !matches!(
        error.code,
        Code::Timeout | Code::Interrupted | Code::Closed | Code::Internal
    )
}

/// The epoch of a new view of the cluster.
#[derive(Clone, Copy)]
enum Epoch {
    Unknown,
    Known(u64),
    /// That of another cluster: the epochs before it mean nothing.
    OfNewCluster(u64),
}

impl Epoch {
    fn of(number: u64) -> Epoch {
        match number {
            0 => Epoch::Unknown,
            number => Epoch::Known(number),
        }
    }
}

/// The outcome of a new view of the cluster.
enum Adoption {
    /// Rejected: its epoch is older than the accepted one.
    Outdated(u64),
    /// It is the same as the present topology.
    Unchanged,
    /// It is the present topology now.
    Changed(Arc<Topology>),
}

/// The end of the backoff before the `n`-th retry.
pub fn backoff(n: u32) -> Deadline {
    let us = crate::route::backoff_us(n, rng().random_range(0.0..1.0));
    Deadline::after_us(now(), us)
}

/// The end of the backoff after the `n`-th redirection beyond what a migration explains.
pub fn redirect_backoff(n: u32) -> Deadline {
    let us = crate::route::redirect_backoff_us(n, rng().random_range(0.0..1.0));
    Deadline::after_us(now(), us)
}
