//! How fast a node answers, and how much it has been asked: what a choice among equals goes by.

use crate::deadline::Time;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// An estimate that is older than this is worth a read to renew it.
const STALE_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub struct NodeLoad {
    /// The smoothed round trip in nanoseconds; 0 while none has been measured.
    rtt: AtomicU64,
    /// When it was measured last, or somebody set out to.
    measured: AtomicU64,
    /// Commands under way, of handles that read from replicas.
    in_flight: AtomicU32,
}

impl NodeLoad {
    /// The round trip, if it is known.
    pub fn rtt(&self) -> Option<Duration> {
        let ns = self.rtt.load(Ordering::Relaxed);
        (ns > 0).then(|| Duration::from_nanos(ns))
    }

    /// A command took this long. What is faster than thought counts for a half, what is slower for
    /// an eighth: a slow command says little of the way to the node, a fast one much.
    pub fn record_rtt(&self, time: Time, took: Duration) {
        let sample = (took.as_nanos() as u64).max(1);
        let old = self.rtt.load(Ordering::Relaxed);
        let new = match old {
            0 => sample,
            _ if sample < old => old - (old - sample) / 2,
            _ => old + (sample - old) / 8,
        };
        // Of two that measure at once one is lost, which does no harm.
        self.rtt.store(new.max(1), Ordering::Relaxed);
        self.measured.store(time.nanos().max(1), Ordering::Relaxed);
    }

    /// A first estimate, by whoever opens a connection; it may lie.
    pub fn seed_rtt(&self, time: Time, took: Duration) {
        if self.rtt.load(Ordering::Relaxed) == 0 {
            self.record_rtt(time, took);
        }
    }

    /// Whether it is time to measure again, and the caller is the one to do it.
    pub fn claim_probe(&self, time: Time) -> bool {
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

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// NodeCounters commands as under way until the guard is dropped.
    pub fn track_in_flight(&self, commands: u32) -> InFlightGuard<'_> {
        self.in_flight.fetch_add(commands, Ordering::Relaxed);
        InFlightGuard(self, commands)
    }
}

/// Commands that are under way.
pub struct InFlightGuard<'a>(&'a NodeLoad, u32);

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(self.1, Ordering::Relaxed);
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
        let load = NodeLoad::default();
        assert_eq!(load.rtt(), None);
        load.seed_rtt(at(1), us(900));
        load.seed_rtt(at(1), us(100));
        assert_eq!(load.rtt(), Some(us(900)));
        load.record_rtt(at(2), us(100));
        assert_eq!(load.rtt(), Some(us(500)));
        load.record_rtt(at(3), us(8500));
        assert_eq!(load.rtt(), Some(us(1500)));
        for n in 0..60 {
            load.record_rtt(at(4 + n), us(200));
        }
        let settled = load.rtt().unwrap();
        assert!(settled < us(201) && settled >= us(200), "{settled:?}");
    }

    #[test]
    fn one_caller_a_second_measures_again() {
        let load = NodeLoad::default();
        assert!(load.claim_probe(at(5)), "nothing is known");
        assert!(!load.claim_probe(at(6)), "somebody is at it");
        load.record_rtt(at(7), us(100));
        assert!(!load.claim_probe(at(1000)));
        assert!(load.claim_probe(at(1008)));
        assert!(!load.claim_probe(at(1009)));
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_ends() {
        let load = NodeLoad::default();
        let one = load.track_in_flight(1);
        let two = load.track_in_flight(2);
        assert_eq!(load.in_flight(), 3);
        drop(one);
        assert_eq!(load.in_flight(), 2);
        drop(two);
        assert_eq!(load.in_flight(), 0);
    }
}
