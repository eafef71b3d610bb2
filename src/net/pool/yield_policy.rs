//! Letting others run first, as long as that is to everybody's good.
//!
//! A thread that has something to wait for anyway, a batch to gather or a reply to come, lets go of
//! its processor for a moment: those run who bring it about, and it need not sleep, which costs a
//! waking. But where something computes all the time, it is that which runs then, for a whole slice
//! of the scheduler's, and all who wait for the thread wait for it, too. So where threads are late for
//! much of the time, nobody lets others run for a while.

use crate::deadline::{Time, now};
use crate::net::sys;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Whoever is away for longer has let run what does not stop: threads that wait for each other take
/// some 10 us a turn, slices are of 1.4 to 4 ms.
const LATE_AFTER: Duration = Duration::from_millis(1);
/// For so much of a [`WINDOW`] any thread may be late: now and then something else has to run. Beside what
/// computes all the time, some thread is late for half of it.
const MAX_LATE: Duration = Duration::from_millis(25);
const WINDOW: Duration = Duration::from_millis(100);
/// For how long nobody lets others run then. Whoever tries it again loses such a slice, at worst.
const PAUSE: Duration = Duration::from_millis(100);

/// Times are those of the clock, in nanoseconds; two threads that come back at the same moment may count as one.
#[derive(Debug, Default)]
pub(super) struct YieldPolicy {
    /// Until when nobody lets others run; 0 where that is well.
    until: AtomicU64,
    /// When the present window began.
    since: AtomicU64,
    /// For how long in it any thread was late, and up to when that has been counted.
    lost: AtomicU64,
    counted: AtomicU64,
}

impl YieldPolicy {
    /// Lets others run, if it has been well of late: false if it has not, or is not any more.
    pub(super) fn maybe_yield(&self) -> bool {
        let began = now();
        let until = self.until.load(Ordering::Relaxed);
        if until != 0 && !self.try_resume(began, until) {
            return false;
        }
        sys::yield_now();
        self.record_yield(began, now(), until != 0)
    }

    /// Whether it is time to try it again, and this thread is the one to.
    fn try_resume(&self, time: Time, until: u64) -> bool {
        let next = time.plus(PAUSE).nanos();
        time.nanos() >= until
            && self
                .until
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    #[inline]
    fn record_yield(&self, began: Time, time: Time, tried: bool) -> bool {
        let late = time.since(began) > LATE_AFTER;
        if !late && !tried {
            return true;
        }
        self.update(began.nanos(), time, late, tried)
    }

    #[cold]
    fn update(&self, began: u64, time: Time, late: bool, tried: bool) -> bool {
        let (often, window) = (MAX_LATE.as_nanos() as u64, WINDOW.as_nanos() as u64);
        let at = time.nanos();
        if !late {
            // A try that went ok is a new beginning, but it may end soon.
            self.since.store(at, Ordering::Relaxed);
            self.lost.store(often * 3 / 4, Ordering::Relaxed);
            self.until.store(0, Ordering::Relaxed);
            return true;
        }
        let from = self.counted.swap(at, Ordering::Relaxed).max(began);
        let mut lost = at.saturating_sub(from);
        if at.saturating_sub(self.since.load(Ordering::Relaxed)) > window {
            self.since.store(began, Ordering::Relaxed);
        } else {
            lost += self.lost.load(Ordering::Relaxed);
        }
        self.lost.store(lost, Ordering::Relaxed);
        let ok = !tried && lost <= often;
        if !ok {
            self.until
                .store(time.plus(PAUSE).nanos(), Ordering::Relaxed);
        }
        ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: u64 = 10;
    const SLICE: u64 = 1001;

    /// Threads that come back one after the other, each after so many microseconds, until one is told that it is
    /// not ok any more.
    fn turns(
        yield_policy: &YieldPolicy,
        mut time: u64,
        away: impl IntoIterator<Item = u64>,
    ) -> (u64, bool) {
        for away in away {
            let until = yield_policy.until.load(Ordering::Relaxed);
            if until != 0 && !yield_policy.try_resume(at(time), until) {
                return (time, false);
            }
            time += away;
            if !yield_policy.record_yield(at(time - away), at(time), until != 0) {
                return (time, false);
            }
        }
        (time, true)
    }

    fn at(us: u64) -> Time {
        Time::of_nanos(us * 1000)
    }

    #[test]
    fn nobody_lets_others_run_where_threads_are_late_for_much_of_the_time() {
        let yield_policy = YieldPolicy::default();
        let seldom = (0..10_000).map(|turn| if turn % 1000 == 0 { 2 * SLICE } else { QUICK });
        let (time, ok) = turns(&yield_policy, 0, seldom);
        assert!(ok, "now and then is well");
        let (time, ok) = turns(&yield_policy, time + 200_000, [QUICK, SLICE].repeat(23));
        assert!(ok);
        let (time, ok) = turns(&yield_policy, time, [SLICE; 5]);
        assert!(!ok);
        assert!(
            !turns(&yield_policy, time + 99_999, [QUICK]).1,
            "for a while"
        );
        assert!(
            !turns(&yield_policy, time + 100_001, [SLICE]).1,
            "one tries it"
        );
        assert!(!turns(&yield_policy, time + 102_000, [QUICK]).1, "in vain");
        let (time, ok) = turns(&yield_policy, time + 300_000, [QUICK, QUICK, SLICE, QUICK]);
        assert!(ok, "and the next with luck");
        let (_, ok) = turns(&yield_policy, time, [SLICE; 8]);
        assert!(!ok, "which ends sooner than it began");
    }

    #[test]
    fn threads_that_are_late_together_lose_their_time_once() {
        let yield_policy = YieldPolicy::default();
        for thread in 0..64 {
            assert!(yield_policy.record_yield(at(thread), at(20_000 + thread), false));
        }
        assert!(!yield_policy.record_yield(at(20_100), at(26_000), false));
    }

    #[test]
    fn while_one_tries_it_the_others_wait_for_what_comes_of_it() {
        let yield_policy = YieldPolicy::default();
        let (time, _) = turns(&yield_policy, 0, [SLICE; 30]);
        let until = yield_policy.until.load(Ordering::Relaxed);
        assert!(!yield_policy.try_resume(at(time), until));
        assert!(yield_policy.try_resume(at(time + 100_001), until));
        let until = yield_policy.until.load(Ordering::Relaxed);
        assert!(!yield_policy.try_resume(at(time + 100_002), until));
    }
}
