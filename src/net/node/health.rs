//! The health of a node: whether it may be chosen, or is ejected (outlier ejection).

use crate::deadline::Time;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The health of a node. After a failure it is ejected for a while, and for longer after each further failure.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU32,
    /// When a probe is due, in milliseconds on [`Health::millis`]; 0 while the node is healthy.
    ejected_until: AtomicU64,
    /// When the last probe began or the last failure was recorded.
    last_tried: AtomicU64,
}

const EJECT_FIRST_MS: u64 = 50;
const EJECT_MAX_MS: u64 = 2000;
/// The longest time between two probes of a node that no other can replace.
const REQUIRED_PROBE_MS: u64 = 200;
/// The time that one caller has for its probe before another may begin one.
const PROBE_MS: u64 = 100;

impl Health {
    /// Milliseconds on the process's clock, never 0: that means healthy.
    fn millis(time: Time) -> u64 {
        time.millis() + 1
    }

    #[inline]
    pub fn is_healthy(&self) -> bool {
        self.ejected_until.load(Ordering::Relaxed) == 0
    }

    /// Whether an ejected node may be probed.
    pub fn is_probe_due(&self, time: Time) -> bool {
        Health::millis(time) >= self.ejected_until.load(Ordering::Relaxed)
    }

    /// The same for a node that no other can replace: a primary, for a write.
    pub fn is_required_probe_due(&self, time: Time) -> bool {
        let last_tried = self.last_tried.load(Ordering::Relaxed);
        self.is_probe_due(time) || Health::millis(time) >= last_tried + REQUIRED_PROBE_MS
    }

    /// The caller is about to probe the node. Until the outcome is known, no other probe is due.
    pub fn record_probe(&self, time: Time) {
        self.ejected_until
            .store(Health::millis(time) + PROBE_MS, Ordering::Relaxed);
        self.last_tried
            .store(Health::millis(time), Ordering::Relaxed);
    }

    /// The node has answered. Returns whether it was ejected; of concurrent callers, one gets true.
    pub fn record_success(&self) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        self.ejected_until.swap(0, Ordering::Relaxed) != 0
    }

    /// The node has not answered, or cannot serve. `jitter` is in 0..1. Returns whether it was healthy; of concurrent
    /// callers, one gets true.
    pub fn record_failure(&self, time: Time, jitter: f64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let ejected_ms = (EJECT_FIRST_MS << failures.min(8)).min(EJECT_MAX_MS) as f64;
        let until = Health::millis(time) + (ejected_ms * (0.5 + jitter / 2.0)) as u64;
        self.last_tried
            .store(Health::millis(time), Ordering::Relaxed);
        self.ejected_until.swap(until, Ordering::Relaxed) == 0
    }

    /// The time until the next probe of an ejected node.
    pub fn ejected_for(&self, time: Time) -> Option<Duration> {
        let until = self.ejected_until.load(Ordering::Relaxed);
        (until > 0).then(|| Duration::from_millis(until.saturating_sub(Health::millis(time))))
    }

    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }
}
