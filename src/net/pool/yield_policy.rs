//! Whether a thread yields its processor before it blocks.
//!
//! A thread that waits anyway, for a batch to fill or for its reply, yields the processor to the threads that it waits
//! for. Then it need not sleep and be woken. But if another program computes all the time, a yield gives it a whole time
//! slice, and the threads that depend on this one wait as well. So if yields take long for much of the time, no thread
//! yields for a while.

use crate::deadline::{Time, now};
use crate::net::sys;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A yield that takes longer has given a time slice away. Threads that wait for each other return after some 10 us; time
/// slices are 1.4 to 4 ms long.
const LATE_AFTER: Duration = Duration::from_millis(1);
/// The part of a [`WINDOW`] in which late yields are tolerated, since other programs have to run sometimes. Next to a
/// program that computes all the time, some thread is late for half of the window.
const MAX_LATE: Duration = Duration::from_millis(25);
const WINDOW: Duration = Duration::from_millis(100);
/// For how long no thread yields after that. The first yield afterwards loses one time slice at worst.
const PAUSE: Duration = Duration::from_millis(100);

/// Times are in nanoseconds on the library's clock. Two threads that return at the same moment may count as one.
#[derive(Debug, Default)]
pub(super) struct YieldPolicy {
    /// Until when no thread yields; 0 if yields are allowed.
    paused_until: AtomicU64,
    /// When the present window began.
    window_start: AtomicU64,
    /// The time in this window during which any thread was late, counted up to `counted_until`.
    late: AtomicU64,
    counted_until: AtomicU64,
}

#[derive(Clone, Copy, PartialEq)]
enum YieldKind {
    Regular,
    /// The first yield after a pause. It decides whether yields are allowed again.
    Trial,
}

impl YieldPolicy {
    /// Yields, if yields have been short recently. False if they have not, or this one was not.
    pub(super) fn maybe_yield(&self) -> bool {
        let began = now();
        let until = self.paused_until.load(Ordering::Relaxed);
        let kind = match until {
            0 => YieldKind::Regular,
            _ if self.try_resume(began, until) => YieldKind::Trial,
            _ => return false,
        };
        sys::yield_now();
        self.record_yield(began, now(), kind)
    }

    /// Whether the pause is over and this thread should try the first yield.
    fn try_resume(&self, time: Time, until: u64) -> bool {
        let next = time.plus(PAUSE).nanos();
        time.nanos() >= until
            && self
                .paused_until
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Records a yield from `began` to `time`. Returns whether yields are allowed.
    #[inline]
    fn record_yield(&self, began: Time, time: Time, kind: YieldKind) -> bool {
        if time.since(began) <= LATE_AFTER && kind == YieldKind::Regular {
            return true;
        }
        self.update(began, time, kind)
    }

    #[cold]
    fn update(&self, began: Time, time: Time, kind: YieldKind) -> bool {
        let (max_late, window) = (MAX_LATE.as_nanos() as u64, WINDOW.as_nanos() as u64);
        let (start, at) = (began.nanos(), time.nanos());
        if time.since(began) <= LATE_AFTER {
            // The first yield after a pause was short: yields are allowed again, with little tolerance.
            self.window_start.store(at, Ordering::Relaxed);
            self.late.store(max_late * 3 / 4, Ordering::Relaxed);
            self.paused_until.store(0, Ordering::Relaxed);
            return true;
        }
        let from = self.counted_until.swap(at, Ordering::Relaxed).max(start);
        let mut late_ns = at.saturating_sub(from);
        if at.saturating_sub(self.window_start.load(Ordering::Relaxed)) > window {
            self.window_start.store(start, Ordering::Relaxed);
        } else {
            late_ns += self.late.load(Ordering::Relaxed);
        }
        self.late.store(late_ns, Ordering::Relaxed);
        let is_allowed = kind == YieldKind::Regular && late_ns <= max_late;
        if !is_allowed {
            self.paused_until
                .store(time.plus(PAUSE).nanos(), Ordering::Relaxed);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: u64 = 10;
    const SLICE: u64 = 1001;

    /// Yields one after the other, each of the given number of microseconds, until one is not allowed. Returns the
    /// time, and whether all were allowed.
    fn turns(
        yield_policy: &YieldPolicy,
        mut time: u64,
        durations: impl IntoIterator<Item = u64>,
    ) -> (u64, bool) {
        for duration in durations {
            let until = yield_policy.paused_until.load(Ordering::Relaxed);
            let kind = match until {
                0 => YieldKind::Regular,
                _ if yield_policy.try_resume(at(time), until) => YieldKind::Trial,
                _ => return (time, false),
            };
            time += duration;
            if !yield_policy.record_yield(at(time - duration), at(time), kind) {
                return (time, false);
            }
        }
        (time, true)
    }

    fn at(us: u64) -> Time {
        Time::from_nanos(us * 1000)
    }

    #[test]
    fn yielding_stops_when_wakeups_are_often_late() {
        let yield_policy = YieldPolicy::default();
        let rarely_late = (0..10_000).map(|turn| if turn % 1000 == 0 { 2 * SLICE } else { QUICK });
        let (time, ok) = turns(&yield_policy, 0, rarely_late);
        assert!(ok, "rare late yields are allowed");
        let (time, ok) = turns(&yield_policy, time + 200_000, [QUICK, SLICE].repeat(23));
        assert!(ok);
        let (time, ok) = turns(&yield_policy, time, [SLICE; 5]);
        assert!(!ok);
        assert!(!turns(&yield_policy, time + 99_999, [QUICK]).1, "paused");
        assert!(
            !turns(&yield_policy, time + 100_001, [SLICE]).1,
            "the first yield after the pause is late"
        );
        assert!(
            !turns(&yield_policy, time + 102_000, [QUICK]).1,
            "paused again"
        );
        let (time, ok) = turns(&yield_policy, time + 300_000, [QUICK, QUICK, SLICE, QUICK]);
        assert!(ok, "a short yield ends the pause");
        let (_, ok) = turns(&yield_policy, time, [SLICE; 8]);
        assert!(!ok, "with less tolerance");
    }

    #[test]
    fn simultaneous_late_wakeups_are_charged_once() {
        let yield_policy = YieldPolicy::default();
        for thread in 0..64 {
            assert!(yield_policy.record_yield(at(thread), at(20_000 + thread), YieldKind::Regular));
        }
        assert!(!yield_policy.record_yield(at(20_100), at(26_000), YieldKind::Regular));
    }

    #[test]
    fn yielding_is_retried_by_one_thread_at_a_time() {
        let yield_policy = YieldPolicy::default();
        let (time, _) = turns(&yield_policy, 0, [SLICE; 30]);
        let until = yield_policy.paused_until.load(Ordering::Relaxed);
        assert!(!yield_policy.try_resume(at(time), until));
        assert!(yield_policy.try_resume(at(time + 100_001), until));
        let until = yield_policy.paused_until.load(Ordering::Relaxed);
        assert!(!yield_policy.try_resume(at(time + 100_002), until));
    }
}
