//! Learning the topology: one thread at a time, seldom, and without holding anybody up. The old
//! map serves meanwhile.

use crate::address::Address;
use crate::cluster::state::count;
use crate::cluster::state::{Core, ProcessState};
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::log;
use crate::net::{Call, CancelDisabled, POLL_INTERVAL, Peer};
use crate::sim_hooks::rng;
use crate::sync::{lock, notify_all, wait};
use crate::topology::{Discovered, Topology, discover};
use rand::Rng;
use rand::seq::SliceRandom;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two refreshes lies at least this, doubled for each that brought no news, up to the
/// last. Half of it at least, the rest at random, so that many clients do not ask in step.
const INTERVAL_FIRST: Duration = Duration::from_millis(100);
const INTERVAL_LAST: Duration = Duration::from_millis(1000);

/// Nodes that a refresh asks, when there are so many.
const OPINIONS: usize = 2;

/// A shard without replicas may be about to get some: Redis names a replica in CLUSTER SLOTS
/// only once it has received something, which in a cluster that is not written to takes seconds
/// (7.0.15: 9). A reader that misses them looks again after this, doubled each time.
const BARE_FIRST_MS: u64 = 1000;
const BARE_LAST_MS: u64 = 60_000;

/// Readers of replicas learn the topology again after this, or up to a half more.
const RELEARN_MS: u64 = 5_000;

/// A newer epoch is believed for so many refreshes that do not confirm it; then the cluster has
/// been made anew.
const DISBELIEF: u32 = 20;

/// What is known of refreshes past and present.
#[derive(Debug, Default)]
pub struct Refresh {
    running: bool,
    /// When the last one began.
    last: Option<Time>,
    /// What it failed of.
    failure: Option<Error>,
    /// Not before this, unless somebody asks for one by name.
    next: Option<Time>,
    fruitless: u32,
    /// The newest epoch that was ever believed.
    epoch: u64,
    disbelieved: u32,
    /// How often replicas have been missed in vain.
    bare: u32,
}

/// Ends a refresh however it ends.
struct Running<'a>(&'a ProcessState);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(&self.0.refresh).running = false;
        notify_all(&self.0.refreshed);
    }
}

impl Core {
    /// Learns the topology if it is time to; otherwise the present one has to do.
    pub fn refresh_if_due(&self, process: &ProcessState, call: &Call<'_>) {
        {
            let mut refresh = lock(&process.refresh);
            if refresh.running || refresh.next.is_some_and(|next| now() < next) {
                return;
            }
            refresh.running = true;
        }
        // A failure is counted and logged; the call goes on with what is known.
        let _ = self.discover_topology(process, call, OPINIONS);
    }

    /// Learns the topology now, or takes part in what another thread has begun to learn since.
    pub fn refresh_now(
        &self,
        process: &ProcessState,
        call: &Call<'_>,
        opinions: usize,
    ) -> Result<()> {
        let began = now();
        let mut refresh = lock(&process.refresh);
        while refresh.running {
            call.check()?;
            let left = call.deadline.left(now()).unwrap_or(POLL_INTERVAL);
            if left.is_zero() {
                return Err(Error::new(
                    Code::Timeout,
                    "another thread was still learning the topology when the time was up",
                ));
            }
            refresh = wait(
                &process.refreshed,
                &process.refresh,
                refresh,
                left.min(POLL_INTERVAL),
            );
            // One that had begun before may have asked before whatever the caller knows of.
            if refresh.last.is_some_and(|last| last >= began) {
                match &refresh.failure {
                    None => return Ok(()),
                    Some(error) if is_of_the_cluster(error) => return Err(error.clone()),
                    Some(_) => {}
                }
            }
            // What is asked of the caller's thread is asked with no lock held.
            drop(refresh);
            call.check_cancelled()?;
            refresh = lock(&process.refresh);
        }
        refresh.running = true;
        drop(refresh);
        self.discover_topology(process, call, opinions)
    }

    fn discover_topology(
        &self,
        process: &ProcessState,
        call: &Call<'_>,
        opinions: usize,
    ) -> Result<()> {
        let _running = Running(process);
        let _uncancelled = CancelDisabled::begin();
        let time = now();
        let peers = self.refresh_order(process, time);
        let found = self.discover_from(process, &peers, opinions, &call.with_start(time));
        count(&self.stats.refreshes);
        let news = match found {
            Ok(Discovered::Single(peer)) => Ok(self.adopt(process, Topology::single(peer), None)),
            Ok(Discovered::Cluster(view)) => {
                if let Some(defect) = &view.defect {
                    log::log(log::WARN, || format!("topology: {defect}"));
                }
                let topology =
                    Topology::of_view(&view, |address| process.peer(address, &self.config));
                Ok(self.adopt(process, topology, Some(view.epoch)))
            }
            Err(error) => {
                count(&self.stats.refresh_failures);
                log::log(log::WARN, || format!("refresh failed: {error}"));
                Err(error)
            }
        };
        let bare = process.topology.load().has_shard_without_replicas();
        let mut refresh = lock(&process.refresh);
        refresh.bare = if bare { refresh.bare + 1 } else { 0 };
        let patience = (BARE_FIRST_MS << (refresh.bare.clamp(1, 10) - 1)).min(BARE_LAST_MS);
        process
            .find_replicas_at
            .store(now().millis() + patience, Ordering::Relaxed);
        let relearn = now().millis() + rng().random_range(RELEARN_MS..RELEARN_MS * 3 / 2);
        process
            .refresh_replicas_at
            .store(relearn, Ordering::Relaxed);
        refresh.fruitless = match news {
            Ok(true) => 0,
            _ => refresh.fruitless.saturating_add(1),
        };
        let interval = INTERVAL_FIRST
            .saturating_mul(1 << refresh.fruitless.min(8))
            .min(INTERVAL_LAST);
        refresh.last = Some(time);
        refresh.failure = news.as_ref().err().cloned();
        refresh.next = Some(now().plus(interval.mul_f64(rng().random_range(0.5..1.0))));
        news.map(drop)
    }

    /// Asks until so many have answered. Once the cluster is known, a node that hangs costs a moment,
    /// unless all do: somebody's command is waiting.
    fn discover_from(
        &self,
        process: &ProcessState,
        peers: &[Arc<Peer>],
        opinions: usize,
        call: &Call<'_>,
    ) -> Result<Discovered> {
        let mode = self.config.cluster;
        if process.topology.load().version > 0 {
            let far = peers.iter().map(|peer| peer.handshake_ms()).max();
            let moment = (call.attempt_ms / 4).max(far.unwrap_or_default() * 4);
            let hasty = call.with_attempt_timeout(moment.min(call.attempt_ms));
            match discover(peers, opinions, mode, &hasty) {
                Err(error) if error.code == Code::Timeout => {}
                found => return found,
            }
        }
        discover(peers, opinions, mode, &call.with_start(now()))
    }

    /// Nodes in an order of trust: those that are well, at random, then the seeds, then those
    /// that have been failing. So a node that causes a refresh is not the one to be asked.
    fn refresh_order(&self, process: &ProcessState, time: Time) -> Vec<Arc<Peer>> {
        let topology = process.topology.load();
        let mut known: Vec<Arc<Peer>> = topology.nodes.iter().map(|n| n.peer.clone()).collect();
        known.shuffle(&mut rng());
        let (mut order, sick): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|p| p.health.is_healthy());
        let mut add = |peers: &mut dyn Iterator<Item = Arc<Peer>>| {
            for peer in peers {
                if !order.iter().any(|p| Arc::ptr_eq(p, &peer)) {
                    order.push(peer);
                }
            }
        };
        let mut seeds: Vec<Address> = self.config.seeds.clone();
        // The first time the caller's own order holds, and later none.
        if topology.version > 0 {
            seeds.shuffle(&mut rng());
        }
        add(&mut seeds.iter().map(|seed| process.peer(seed, &self.config)));
        add(&mut sick.into_iter());
        if topology.version > 0 {
            order.sort_by_key(|p| !p.health.is_healthy() && !p.health.is_probe_due(time));
        }
        order
    }

    /// Whoever reads from replicas next learns the topology again.
    pub fn request_replica_refresh(&self, process: &ProcessState) {
        process.refresh_replicas_at.store(0, Ordering::Relaxed);
    }

    /// Makes a topology the present one, if it may be; returns whether it is news.
    fn adopt(&self, process: &ProcessState, topology: Topology, epoch: Option<u64>) -> bool {
        // Said with no lock held: the logger may call the library.
        match self.judge(process, topology, epoch) {
            Judged::Old(epoch) => log::log(log::WARN, || {
                format!("an old view of the cluster is not believed (epoch {epoch})")
            }),
            Judged::Same => log::log(log::DEBUG, || {
                "refreshed: the topology is what it was".to_string()
            }),
            Judged::News(topology) => {
                log::log(log::INFO, || {
                    format!(
                        "topology {}: {} shards, {} nodes, {} of 16384 slots served",
                        topology.version,
                        topology.shards.len(),
                        topology.nodes.len(),
                        topology.covered()
                    )
                });
                return true;
            }
        }
        false
    }

    fn judge(&self, process: &ProcessState, mut topology: Topology, epoch: Option<u64>) -> Judged {
        let mut refresh = lock(&process.refresh);
        if let Some(epoch) = epoch.filter(|e| *e > 0) {
            if epoch < refresh.epoch && refresh.disbelieved < DISBELIEF {
                refresh.disbelieved += 1;
                return Judged::Old(epoch);
            }
            refresh.epoch = epoch;
            refresh.disbelieved = 0;
        }
        let present = process.topology.load();
        if present.version > 0 && present.agrees(&topology) {
            return Judged::Same;
        }
        topology.version = present.version + 1;
        process.keep_only(&topology);
        // A new owner's replicas may be behind it.
        if present.version > 0 {
            process
                .migrating_slots
                .mark(topology.moved(&present), now());
        }
        let topology = Arc::new(topology);
        process.topology.store(topology.clone());
        Judged::News(topology)
    }

    /// Remembers what a MOVED said.
    pub fn patch(&self, process: &ProcessState, slot: u16, to: &Address) {
        // Serialised by the refresh's lock, which is never held while waiting for a socket.
        let mut refresh = lock(&process.refresh);
        let present = process.topology.load();
        let patched = present.patched(slot, to, || process.peer(to, &self.config));
        if let Some(mut topology) = patched {
            topology.version = present.version + 1;
            // A node that has given its last slot away may be about to leave, and nothing may be heard of it ever
            // again: so whether it is to be kept is asked at once.
            if (present.owner(slot)).is_some_and(|owner| !topology.has_slots(owner)) {
                refresh.next = None;
            }
            process.topology.store(Arc::new(topology));
        }
    }

    /// Learns the topology for the first time: one seed's word is enough.
    pub fn connect(&self, call: &Call<'_>) -> Result<()> {
        let process = self.process();
        self.refresh_now(process, call, 1)?;
        if !process.topology.load().serves() {
            return Err(crate::error::Error::new(
                Code::Down,
                "the cluster serves no slots: it has not been set up",
            ));
        }
        Ok(())
    }
}

/// Whether a refresh that failed so would have failed for another caller, too: not if it was ended, or had less
/// time than the other has.
fn is_of_the_cluster(error: &Error) -> bool {
    !matches!(
        error.code,
        Code::Timeout | Code::Interrupted | Code::Closed | Code::Internal
    )
}

/// What a view of the cluster was found to be.
enum Judged {
    /// Of an epoch that has passed.
    Old(u64),
    /// What is known.
    Same,
    /// Something else, which is believed now.
    News(Arc<Topology>),
}

/// Until when a call sleeps before its `n`-th try.
pub fn backoff(n: u32) -> Deadline {
    let us = crate::route::backoff_us(n, rng().random_range(0.0..1.0));
    Deadline::after_us(now(), us)
}

/// Until when a call sleeps that has been sent to and fro for the `n`-th time too often.
pub fn redirect_backoff(n: u32) -> Deadline {
    let us = crate::route::redirect_backoff_us(n, rng().random_range(0.0..1.0));
    Deadline::after_us(now(), us)
}
