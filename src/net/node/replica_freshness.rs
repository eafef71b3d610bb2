//! How far a replica has got, as far as that has been shown.
//!
//! What is shown is a [`FreshnessProof`]: that the replica has everything its primary had executed by a
//! certain moment. How it is come by stands in docs/replica-reads.md; here it is kept, with the
//! node that it is about, and forgotten as soon as the node may be another process than it was.

use crate::deadline::Time;
use crate::net::node::{Health, Peer};
use crate::sync::{Mutex, lock};
use arc_swap::ArcSwapOption;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// So many of a primary's offsets are remembered: enough to tell the age of a replica that is
/// behind by that many probes.
const SAMPLES: usize = 64;

/// The replica has everything that this primary had executed by `since`.
#[derive(Debug)]
pub struct FreshnessProof {
    pub since: Time,
    of: Weak<Peer>,
}

impl FreshnessProof {
    pub fn new(since: Time, primary: &Arc<Peer>) -> FreshnessProof {
        FreshnessProof {
            since,
            of: Arc::downgrade(primary),
        }
    }

    /// Whether it is about copying this primary.
    pub fn is_of(&self, primary: &Arc<Peer>) -> bool {
        std::ptr::eq(self.of.as_ptr(), Arc::as_ptr(primary))
    }
}

/// A primary's offset in a history of writes, which had at least that length at a moment.
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
    /// Of a primary: its latest offsets, the newest last.
    samples: Mutex<VecDeque<OffsetSample>>,
    /// Of a primary: when somebody may next find out about its replicas; later, while somebody
    /// is finding out.
    next: AtomicU64,
    /// The process behind the address, by a number that changes when it may be another; 0 while
    /// nobody has asked for one.
    incarnation: AtomicU32,
    /// How often it may have become another.
    generation: AtomicU32,
    link: AtomicU32,
    /// By how many bytes of its primary's history it was behind when last asked; -1: not known.
    behind: AtomicI64,
    /// How finding out has been going.
    pub health: Health,
}

impl Default for ReplicaFreshness {
    fn default() -> ReplicaFreshness {
        ReplicaFreshness {
            proof: ArcSwapOption::empty(),
            samples: Mutex::default(),
            next: AtomicU64::new(0),
            incarnation: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            link: AtomicU32::new(Link::Unknown as u32),
            behind: AtomicI64::new(-1),
            health: Health::default(),
        }
    }
}

impl ReplicaFreshness {
    /// Until when the node is known to have everything that `primary` had executed.
    pub fn fresh_as_of(&self, primary: &Arc<Peer>) -> Option<Time> {
        let proof = self.proof.load();
        proof
            .as_ref()
            .filter(|proof| proof.is_of(primary))
            .map(|proof| proof.since)
    }

    /// Keeps a proof, unless a newer one of the same primary is there. `generation` is what it was
    /// before the node was asked.
    pub fn record_proof(&self, since: Time, primary: &Arc<Peer>, generation: u32) {
        if self.fresh_as_of(primary).is_none_or(|old| old < since) {
            self.proof
                .store(Some(Arc::new(FreshnessProof::new(since, primary))));
        }
        // Afterwards, so that a birth meanwhile is seen either here or by its own hand.
        if self.generation() != generation {
            self.invalidate();
        }
    }

    /// How often the process behind the address may have become another.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }

    /// What was shown holds no longer.
    pub fn invalidate(&self) {
        self.proof.store(None);
    }

    /// A connection that serves reads has been opened, and may lead to a process that has just
    /// been started, with older data.
    pub fn new_incarnation(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.invalidate();
        self.incarnation.store(0, Ordering::Release);
    }

    /// The number of the process behind the address; `fresh` gives one that nobody has.
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

    /// The same, or 0 where it has none.
    pub fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// Whether the caller is the one to find out about this primary's replicas, and nobody else
    /// until `until`.
    pub fn claim_probe(&self, time: Time, until: Time) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        time.nanos() >= next
            && self
                .next
                .compare_exchange(next, until.nanos(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Finding out has ended; the next may begin at `next`.
    pub fn release_probe(&self, next: Time) {
        self.next.store(next.nanos(), Ordering::Relaxed);
    }

    /// Remembers a primary's offset.
    pub fn record_offset(&self, sample: OffsetSample) {
        let mut samples = lock(&self.samples);
        if samples
            .back()
            .is_some_and(|last| last.history != sample.history)
        {
            samples.clear();
        }
        // One at the same offset proves more: nothing was written in between.
        if samples
            .back()
            .is_some_and(|last| last.offset == sample.offset)
        {
            samples.pop_back();
        }
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Of a primary: up to which moment a replica that has got to `offset` of `history` is known
    /// to have everything, and by how many bytes it is behind.
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
        let behind = known
            .clone()
            .next()
            .map_or(-1, |newest| newest.offset.saturating_sub(offset) as i64);
        (since, behind)
    }

    pub fn link(&self) -> Link {
        match self.link.load(Ordering::Relaxed) {
            n if n == Link::Up as u32 => Link::Up,
            n if n == Link::Down as u32 => Link::Down,
            _ => Link::Unknown,
        }
    }

    /// What a replica said of itself; returns what was known before.
    pub fn record_link(&self, link: Link, behind: i64) -> Link {
        let before = self.link();
        self.link.store(link as u32, Ordering::Relaxed);
        self.behind.store(behind, Ordering::Relaxed);
        before
    }

    pub fn lag_bytes(&self) -> Option<i64> {
        let behind = self.behind.load(Ordering::Relaxed);
        (behind >= 0).then_some(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::of_nanos(ms * 1_000_000)
    }

    fn sample(ms: u64, history: &str, offset: u64) -> OffsetSample {
        OffsetSample {
            since: at(ms),
            history: history.to_string(),
            offset,
        }
    }

    #[test]
    fn a_replica_is_dated_by_the_newest_offset_that_it_has_reached() {
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
        assert!(lock(&primary.samples).len() <= SAMPLES);
    }

    #[test]
    fn one_caller_finds_out_at_a_time() {
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
    fn a_new_connection_is_a_new_life() {
        let freshness = ReplicaFreshness::default();
        assert_eq!(freshness.incarnation(), 0);
        assert_eq!(freshness.incarnation_or_assign(|| 7), 7);
        assert_eq!(freshness.incarnation_or_assign(|| 8), 7);
        freshness.new_incarnation();
        assert_eq!(freshness.incarnation(), 0);
        assert_eq!(freshness.incarnation_or_assign(|| 9), 9);
    }
}
