//! How fresh a replica is, as far as it has been proven.
//!
//! A [`FreshnessProof`] states that a replica has everything its primary had executed by a certain time. See
//! docs/replica-reads.md for how it is obtained. It is kept here for its node, and dropped as soon as another process
//! may have taken the node's address.

use super::health::Health;
use crate::deadline::Time;
use crate::resp::Origin;
use crate::sync::{Mutex, lock};
use arc_swap::ArcSwapOption;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The number of a primary's offsets that are kept. The age of a replica that is behind by up to this many probes can
/// be determined.
const MAX_SAMPLES: usize = 64;

/// The replica has everything that the primary had executed by `since`.
#[derive(Debug)]
pub struct FreshnessProof {
    pub since: Time,
    /// Identifies the primary: each peer has its own origin.
    primary: Weak<Origin>,
}

impl FreshnessProof {
    pub fn new(since: Time, primary: &Arc<Origin>) -> FreshnessProof {
        FreshnessProof {
            since,
            primary: Arc::downgrade(primary),
        }
    }

    /// Whether the proof is about this primary.
    pub fn is_of(&self, primary: &Arc<Origin>) -> bool {
        std::ptr::eq(self.primary.as_ptr(), Arc::as_ptr(primary))
    }
}

/// The replication offset of a primary: its history had at least this length at `since`.
#[derive(Clone, Debug)]
pub struct OffsetSample {
    pub since: Time,
    pub history: String,
    pub offset: u64,
}

/// Whether a replica is connected to its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Unknown,
    Up,
    Down,
}

#[derive(Debug)]
pub struct ReplicaFreshness {
    proof: ArcSwapOption<FreshnessProof>,
    /// Of a primary: its latest offsets, oldest first.
    samples: Mutex<VecDeque<OffsetSample>>,
    /// Of a primary: when the next probe of its replicas may start. During a probe, when that must have ended.
    next_probe: AtomicU64,
    /// Identifies the process at the address; 0 until a number is assigned. Reset when the process may have changed.
    incarnation: AtomicU32,
    /// How often the process at the address may have changed.
    generation: AtomicU32,
    link: AtomicU32,
    /// How many bytes the replica was behind its primary at the last probe; -1 if unknown.
    lag_bytes: AtomicI64,
    /// Whether probes succeed.
    pub health: Health,
}

impl Default for ReplicaFreshness {
    fn default() -> ReplicaFreshness {
        ReplicaFreshness {
            proof: ArcSwapOption::empty(),
            samples: Mutex::default(),
            next_probe: AtomicU64::new(0),
            incarnation: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            link: AtomicU32::new(Link::Unknown as u32),
            lag_bytes: AtomicI64::new(-1),
            health: Health::default(),
        }
    }
}

impl ReplicaFreshness {
    /// The time up to which the node is proven to have everything that `primary` had executed.
    #[inline(never)]
    pub fn fresh_as_of(&self, primary: &Arc<Origin>) -> Option<Time> {
        let proof = self.proof.load();
        proof
            .as_ref()
            .filter(|proof| proof.is_of(primary))
            .map(|proof| proof.since)
    }

    /// Stores a proof, unless there is a newer one for the same primary. `generation` must have been read before the
    /// probe.
    #[inline(never)]
    pub fn record_proof(&self, since: Time, primary: &Arc<Origin>, generation: u32) {
        if self.fresh_as_of(primary).is_none_or(|old| old < since) {
            self.proof
                .store(Some(Arc::new(FreshnessProof::new(since, primary))));
        }
        // After the store: a concurrent new incarnation is noticed here, or invalidates the proof itself.
        if self.generation() != generation {
            self.invalidate();
        }
    }

    /// How often the process at the address may have changed.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Drops the proof.
    #[inline(never)]
    pub fn invalidate(&self) {
        self.proof.store(None);
    }

    /// A connection for reads has been opened. It may be to a process that has just started, with older data.
    pub fn new_incarnation(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.invalidate();
        self.incarnation.store(0, Ordering::Release);
    }

    /// The number of the process at the address. If it has none, assigns the unused number that `fresh` returns.
    pub fn incarnation_or_assign(&self, fresh: impl FnOnce() -> u32) -> u32 {
        match self.incarnation.load(Ordering::Acquire) {
            0 => {
                let new = fresh();
                let set =
                    self.incarnation
                        .compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire);
                set.map_or_else(|other| other, |_| new)
            }
            incarnation => incarnation,
        }
    }

    /// The number of the process at the address; 0 if it has none.
    pub fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// Whether the caller should probe the replicas of this primary. Until `until`, no other caller gets true.
    pub fn claim_probe(&self, time: Time, until: Time) -> bool {
        let next = self.next_probe.load(Ordering::Relaxed);
        time.nanos() >= next
            && self
                .next_probe
                .compare_exchange(next, until.nanos(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// The probe has ended. The next one may start at `next`.
    pub fn release_probe(&self, next: Time) {
        self.next_probe.store(next.nanos(), Ordering::Relaxed);
    }

    /// Stores an offset of a primary.
    pub fn record_offset(&self, sample: OffsetSample) {
        let mut samples = lock(&self.samples);
        if samples
            .back()
            .is_some_and(|last| last.history != sample.history)
        {
            samples.clear();
        }
        // A later sample of the same offset proves more: nothing was written in between.
        if samples
            .back()
            .is_some_and(|last| last.offset == sample.offset)
        {
            samples.pop_back();
        }
        if samples.len() == MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Of a primary: the time up to which a replica at `offset` of `history` has everything, and how many bytes it is
    /// behind (-1 if unknown).
    pub fn fresh_as_of_offset(&self, history: &str, offset: u64) -> (Option<Time>, i64) {
        let samples = lock(&self.samples);
        let known = samples
            .iter()
            .rev()
            .filter(|sample| sample.history == history);
        let since = known
            .clone()
            .find(|sample| sample.offset <= offset)
            .map(|sample| sample.since);
        let lag_bytes = known
            .clone()
            .next()
            .map_or(-1, |newest| newest.offset.saturating_sub(offset) as i64);
        (since, lag_bytes)
    }

    pub fn link(&self) -> Link {
        match self.link.load(Ordering::Relaxed) {
            n if n == Link::Up as u32 => Link::Up,
            n if n == Link::Down as u32 => Link::Down,
            _ => Link::Unknown,
        }
    }

    /// Stores the state of a replica's link to its primary. Returns the former state.
    pub fn record_link(&self, link: Link, lag_bytes: i64) -> Link {
        let before = self.link();
        self.link.store(link as u32, Ordering::Relaxed);
        self.lag_bytes.store(lag_bytes, Ordering::Relaxed);
        before
    }

    pub fn lag_bytes(&self) -> Option<i64> {
        let lag_bytes = self.lag_bytes.load(Ordering::Relaxed);
        (lag_bytes >= 0).then_some(lag_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    fn sample(ms: u64, history: &str, offset: u64) -> OffsetSample {
        OffsetSample {
            since: at(ms),
            history: history.to_string(),
            offset,
        }
    }

    #[test]
    fn replica_freshness_follows_newest_reached_offset() {
        let primary = ReplicaFreshness::default();
        assert_eq!(primary.fresh_as_of_offset("a", 5), (None, -1));
        for (ms, offset) in [(10, 100), (20, 200), (30, 300)] {
            primary.record_offset(sample(ms, "a", offset));
        }
        for (offset, since, behind) in [
            (99, None, 201),
            (100, Some(10), 200),
            (199, Some(10), 101),
            (299, Some(20), 1),
            (300, Some(30), 0),
            (999, Some(30), 0),
        ] {
            assert_eq!(
                primary.fresh_as_of_offset("a", offset),
                (since.map(at), behind),
                "{offset}"
            );
        }
        assert_eq!(
            primary.fresh_as_of_offset("b", 999),
            (None, -1),
            "another history"
        );
        primary.record_offset(sample(40, "a", 300));
        assert_eq!(primary.fresh_as_of_offset("a", 300), (Some(at(40)), 0));
        primary.record_offset(sample(50, "b", 10));
        assert_eq!(primary.fresh_as_of_offset("a", 999), (None, -1));
        assert_eq!(primary.fresh_as_of_offset("b", 10), (Some(at(50)), 0));
        for n in 0..1000 {
            primary.record_offset(sample(60 + n, "b", 20 + n));
        }
        assert!(lock(&primary.samples).len() <= MAX_SAMPLES);
    }

    #[test]
    fn freshness_probe_is_claimed_by_one_caller_at_a_time() {
        let primary = ReplicaFreshness::default();
        assert!(primary.claim_probe(at(1), at(250)));
        assert!(!primary.claim_probe(at(2), at(252)));
        primary.release_probe(at(50));
        assert!(!primary.claim_probe(at(49), at(300)));
        assert!(primary.claim_probe(at(50), at(300)));
        assert!(
            primary.claim_probe(at(300), at(600)),
            "the one before was lost"
        );
    }

    #[test]
    fn incarnation_is_kept_until_renewed() {
        let freshness = ReplicaFreshness::default();
        assert_eq!(freshness.incarnation(), 0);
        assert_eq!(freshness.incarnation_or_assign(|| 7), 7);
        assert_eq!(freshness.incarnation_or_assign(|| 8), 7);
        freshness.new_incarnation();
        assert_eq!(freshness.incarnation(), 0);
        assert_eq!(freshness.incarnation_or_assign(|| 9), 9);
    }
}
