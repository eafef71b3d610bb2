//! How far a replica has got, as far as that has been shown.
//!
//! What is shown is a [`Proof`]: that the replica has everything its primary had executed by a
//! certain moment. How it is come by stands in docs/replica-reads.md; here it is kept, with the
//! node that it is about, and forgotten as soon as the node may be another process than it was.

use super::peer::{Health, Peer};
use crate::deadline::Time;
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
pub struct Proof {
    pub since: Time,
    of: Weak<Peer>,
}

impl Proof {
    pub fn new(since: Time, primary: &Arc<Peer>) -> Proof {
        Proof {
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
pub struct Sample {
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
pub struct Standing {
    proof: ArcSwapOption<Proof>,
    /// Of a primary: its latest offsets, the newest last.
    samples: Mutex<VecDeque<Sample>>,
    /// Of a primary: when somebody may next find out about its replicas; later, while somebody
    /// is finding out.
    next: AtomicU64,
    /// The process behind the address, by a number that changes when it may be another; 0 while
    /// nobody has asked for one.
    life: AtomicU32,
    /// How often it may have become another.
    births: AtomicU32,
    link: AtomicU32,
    /// By how many bytes of its primary's history it was behind when last asked; -1: not known.
    behind: AtomicI64,
    /// How finding out has been going.
    pub health: Health,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            proof: ArcSwapOption::empty(),
            samples: Mutex::default(),
            next: AtomicU64::new(0),
            life: AtomicU32::new(0),
            births: AtomicU32::new(0),
            link: AtomicU32::new(Link::Unknown as u32),
            behind: AtomicI64::new(-1),
            health: Health::default(),
        }
    }
}

impl Standing {
    /// Until when the node is known to have everything that `primary` had executed.
    pub fn proven(&self, primary: &Arc<Peer>) -> Option<Time> {
        let proof = self.proof.load();
        proof
            .as_ref()
            .filter(|proof| proof.is_of(primary))
            .map(|proof| proof.since)
    }

    /// Keeps a proof, unless a newer one of the same primary is there. `births` is what it was
    /// before the node was asked.
    pub fn prove(&self, since: Time, primary: &Arc<Peer>, births: u32) {
        if self.proven(primary).is_none_or(|old| old < since) {
            self.proof.store(Some(Arc::new(Proof::new(since, primary))));
        }
        // Afterwards, so that a birth meanwhile is seen either here or by its own hand.
        if self.births() != births {
            self.disprove();
        }
    }

    /// How often the process behind the address may have become another.
    pub fn births(&self) -> u32 {
        self.births.load(Ordering::SeqCst)
    }

    /// What was shown holds no longer.
    pub fn disprove(&self) {
        self.proof.store(None);
    }

    /// A connection that serves reads has been opened, and may lead to a process that has just
    /// been started, with older data.
    pub fn reborn(&self) {
        self.births.fetch_add(1, Ordering::SeqCst);
        self.disprove();
        self.life.store(0, Ordering::Release);
    }

    /// The number of the process behind the address; `fresh` gives one that nobody has.
    pub fn life(&self, fresh: impl FnOnce() -> u32) -> u32 {
        match self.life.load(Ordering::Acquire) {
            0 => {
                let new = fresh();
                let set = self
                    .life
                    .compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire);
                set.map_or_else(|other| other, |_| new)
            }
            life => life,
        }
    }

    /// The same, or 0 where it has none.
    pub fn known_life(&self) -> u32 {
        self.life.load(Ordering::Acquire)
    }

    /// Whether the caller is the one to find out about this primary's replicas, and nobody else
    /// until `until`.
    pub fn claim(&self, time: Time, until: Time) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        time.nanos() >= next
            && self
                .next
                .compare_exchange(next, until.nanos(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Finding out has ended; the next may begin at `next`.
    pub fn release(&self, next: Time) {
        self.next.store(next.nanos(), Ordering::Relaxed);
    }

    /// Remembers a primary's offset.
    pub fn sampled(&self, sample: Sample) {
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
    pub fn date(&self, history: &str, offset: u64) -> (Option<Time>, i64) {
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
    pub fn said(&self, link: Link, behind: i64) -> Link {
        let before = self.link();
        self.link.store(link as u32, Ordering::Relaxed);
        self.behind.store(behind, Ordering::Relaxed);
        before
    }

    pub fn behind(&self) -> Option<i64> {
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

    fn sample(ms: u64, history: &str, offset: u64) -> Sample {
        Sample {
            since: at(ms),
            history: history.to_string(),
            offset,
        }
    }

    #[test]
    fn a_replica_is_dated_by_the_newest_offset_that_it_has_reached() {
        let primary = Standing::default();
        assert_eq!(primary.date("a", 5), (None, -1));
        for (ms, offset) in [(10, 100), (20, 200), (30, 300)] {
            primary.sampled(sample(ms, "a", offset));
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
                primary.date("a", offset),
                (since.map(at), behind),
                "{offset}"
            );
        }
        assert_eq!(primary.date("b", 999), (None, -1), "another history");
        primary.sampled(sample(40, "a", 300));
        assert_eq!(primary.date("a", 300), (Some(at(40)), 0));
        primary.sampled(sample(50, "b", 10));
        assert_eq!(primary.date("a", 999), (None, -1));
        assert_eq!(primary.date("b", 10), (Some(at(50)), 0));
        for n in 0..1000 {
            primary.sampled(sample(60 + n, "b", 20 + n));
        }
        assert!(lock(&primary.samples).len() <= SAMPLES);
    }

    #[test]
    fn one_caller_finds_out_at_a_time() {
        let primary = Standing::default();
        assert!(primary.claim(at(1), at(250)));
        assert!(!primary.claim(at(2), at(252)));
        primary.release(at(50));
        assert!(!primary.claim(at(49), at(300)));
        assert!(primary.claim(at(50), at(300)));
        assert!(primary.claim(at(300), at(600)), "the one before was lost");
    }

    #[test]
    fn a_new_connection_is_a_new_life() {
        let standing = Standing::default();
        assert_eq!(standing.known_life(), 0);
        assert_eq!(standing.life(|| 7), 7);
        assert_eq!(standing.life(|| 8), 7);
        standing.reborn();
        assert_eq!(standing.known_life(), 0);
        assert_eq!(standing.life(|| 9), 9);
    }
}
