//! Letting others run first, as long as that is to everybody's good.
//!
//! A thread that has something to wait for anyway, a batch to gather or a reply to come, lets go of
//! its processor for a moment: those run who bring it about, and it need not sleep, which costs a
//! waking. But where something computes all the time, it is that which runs then, for a whole slice
//! of the scheduler's, and all who wait for the thread wait for it, too. So whoever comes back late
//! sees to it that nobody lets others run for a while.

use crate::deadline::{Time, now};
use crate::net::poll;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Whoever is away for longer has let run what does not stop: threads that wait for each other take
/// some 10 us a turn, slices are of 1.4 to 4 ms.
const LATE: Duration = Duration::from_millis(1);
/// For how long nobody lets others run then. Whoever tries it again loses such a slice, at worst.
const WHILE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Courtesy {
    /// Until when nobody lets others run; 0 where that is well.
    until: AtomicU64,
}

impl Courtesy {
    /// Lets others run, if it has been well of late: false if it has not, or was not now.
    pub(super) fn let_others_run(&self) -> bool {
        let began = now();
        let until = self.until.load(Ordering::Relaxed);
        if until != 0 && !self.is_tried(began, until) {
            return false;
        }
        poll::yield_now();
        self.came_back(began, now())
    }

    /// Whether it is time to try it again, and this thread is the one to.
    fn is_tried(&self, time: Time, until: u64) -> bool {
        let next = time.plus(WHILE).nanos();
        time.nanos() >= until
            && self
                .until
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn came_back(&self, began: Time, time: Time) -> bool {
        let late = time.since(began) > LATE;
        let until = if late { time.plus(WHILE).nanos() } else { 0 };
        if self.until.load(Ordering::Relaxed) != until {
            self.until.store(until, Ordering::Relaxed);
        }
        !late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_back_late_keeps_the_others_for_a_while() {
        let courtesy = Courtesy::default();
        let at = |us: u64| Time::of_nanos(us * 1000);
        let may = |us: u64| {
            let until = courtesy.until.load(Ordering::Relaxed);
            until == 0 || courtesy.is_tried(at(us), until)
        };
        assert!(may(0) && may(1));
        assert!(courtesy.came_back(at(0), at(1000)) && may(1000));
        assert!(!courtesy.came_back(at(1000), at(2001)));
        assert!(!may(2002) && !may(102_000));
        assert!(may(102_001), "one tries it again");
        assert!(!may(102_002), "and the others wait for what comes of it");
        assert!(courtesy.came_back(at(102_001), at(102_010)));
        assert!(may(102_011) && may(102_012));
    }
}
