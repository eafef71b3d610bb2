//! How fast a node answers, and how much it has been asked: what a choice among equals goes by.

use crate::deadline::Time;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// An estimate that is older than this is worth a read to renew it.
const STALE_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub struct Pace {
    /// The smoothed round trip in nanoseconds; 0 while none has been measured.
    round_trip: AtomicU64,
    /// When it was measured last, or somebody set out to.
    measured: AtomicU64,
    /// Commands under way, of handles that read from replicas.
    load: AtomicU32,
}

impl Pace {
    /// The round trip, if it is known.
    pub fn round_trip(&self) -> Option<Duration> {
        let ns = self.round_trip.load(Ordering::Relaxed);
        (ns > 0).then(|| Duration::from_nanos(ns))
    }

    /// A command took this long. What is faster than thought counts for a half, what is slower for
    /// an eighth: a slow command says little of the way to the node, a fast one much.
    pub fn took(&self, time: Time, took: Duration) {
        let sample = (took.as_nanos() as u64).max(1);
        let old = self.round_trip.load(Ordering::Relaxed);
        let new = match old {
            0 => sample,
            _ if sample < old => old - (old - sample) / 2,
            _ => old + (sample - old) / 8,
        };
        // Of two that measure at once one is lost, which does no harm.
        self.round_trip.store(new.max(1), Ordering::Relaxed);
        self.measured.store(time.nanos().max(1), Ordering::Relaxed);
    }

    /// A first estimate, by whoever opens a connection; it may lie.
    pub fn greeted(&self, time: Time, took: Duration) {
        if self.round_trip.load(Ordering::Relaxed) == 0 {
            self.took(time, took);
        }
    }

    /// Whether it is time to measure again, and the caller is the one to do it.
    pub fn explore(&self, time: Time) -> bool {
        let measured = self.measured.load(Ordering::Relaxed);
        let due = measured == 0 || time.nanos().saturating_sub(measured) > STALE_NS;
        due && self
            .measured
            .compare_exchange(
                measured,
                time.nanos().max(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    pub fn load(&self) -> u32 {
        self.load.load(Ordering::Relaxed)
    }

    /// Counts commands as under way until the guard is dropped.
    pub fn under_way(&self, commands: u32) -> UnderWay<'_> {
        self.load.fetch_add(commands, Ordering::Relaxed);
        UnderWay(self, commands)
    }
}

/// Commands that are under way.
pub struct UnderWay<'a>(&'a Pace, u32);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.load.fetch_sub(self.1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::of_nanos(ms * 1_000_000)
    }

    const fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn one_slow_command_moves_the_estimate_little_and_a_fast_one_much() {
        let pace = Pace::default();
        assert_eq!(pace.round_trip(), None);
        pace.greeted(at(1), us(900));
        pace.greeted(at(1), us(100));
        assert_eq!(pace.round_trip(), Some(us(900)));
        pace.took(at(2), us(100));
        assert_eq!(pace.round_trip(), Some(us(500)));
        pace.took(at(3), us(8500));
        assert_eq!(pace.round_trip(), Some(us(1500)));
        for n in 0..60 {
            pace.took(at(4 + n), us(200));
        }
        let settled = pace.round_trip().unwrap();
        assert!(settled < us(201) && settled >= us(200), "{settled:?}");
    }

    #[test]
    fn one_caller_a_second_measures_again() {
        let pace = Pace::default();
        assert!(pace.explore(at(5)), "nothing is known");
        assert!(!pace.explore(at(6)), "somebody is at it");
        pace.took(at(7), us(100));
        assert!(!pace.explore(at(1000)));
        assert!(pace.explore(at(1008)));
        assert!(!pace.explore(at(1009)));
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_ends() {
        let pace = Pace::default();
        let one = pace.under_way(1);
        let two = pace.under_way(2);
        assert_eq!(pace.load(), 3);
        drop(one);
        assert_eq!(pace.load(), 2);
        drop(two);
        assert_eq!(pace.load(), 0);
    }
}
