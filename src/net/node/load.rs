//! The load of a node: its round-trip time and the commands in flight. Used to choose among equal nodes.

use crate::deadline::Time;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// An older estimate is renewed by a read.
const STALE_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub struct NodeLoad {
    /// The smoothed round-trip time in nanoseconds; 0 if none has been measured.
    rtt: AtomicU64,
    /// When the last measurement was made or started.
    measured: AtomicU64,
    /// Commands in flight, of handles that read from replicas.
    in_flight: AtomicU32,
}

impl NodeLoad {
    /// The estimated round-trip time, if known.
    pub fn rtt(&self) -> Option<Duration> {
        let ns = self.rtt.load(Ordering::Relaxed);
        (ns > 0).then(|| Duration::from_nanos(ns))
    }

    /// Records how long a command took. A shorter sample has a weight of 1/2 and a longer one 1/8: a fast command shows
    /// the delay of the network path, a slow one mostly other delays.
    pub fn record_rtt(&self, time: Time, took: Duration) {
        let sample = (took.as_nanos() as u64).max(1);
        let old = self.rtt.load(Ordering::Relaxed);
        let new = match old {
            0 => sample,
            _ if sample < old => old - (old - sample) / 2,
            _ => old + (sample - old) / 8,
        };
        // Of two concurrent samples one may be lost, which is harmless.
        self.rtt.store(new.max(1), Ordering::Relaxed);
        self.measured.store(time.nanos().max(1), Ordering::Relaxed);
    }

    /// Sets a first, rough estimate if there is none.
    pub fn seed_rtt(&self, time: Time, took: Duration) {
        if self.rtt.load(Ordering::Relaxed) == 0 {
            self.record_rtt(time, took);
        }
    }

    /// Whether the estimate is old and the caller should renew it. One caller per interval gets true.
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

    /// Counts commands as in flight until the guard is dropped.
    pub fn track_in_flight(&self, commands: u32) -> InFlightGuard<'_> {
        self.in_flight.fetch_add(commands, Ordering::Relaxed);
        InFlightGuard(self, commands)
    }
}

/// Commands in flight.
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
        Time::from_nanos(ms * 1_000_000)
    }

    const fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn rtt_estimate_rises_slowly_and_falls_quickly() {
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
    fn idle_node_rtt_is_probed_once_a_second() {
        let load = NodeLoad::default();
        assert!(load.claim_probe(at(5)), "nothing is known");
        assert!(!load.claim_probe(at(6)), "another caller measures");
        load.record_rtt(at(7), us(100));
        assert!(!load.claim_probe(at(1000)));
        assert!(load.claim_probe(at(1008)));
        assert!(!load.claim_probe(at(1009)));
    }

    #[test]
    fn in_flight_requests_are_counted_until_they_end() {
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
