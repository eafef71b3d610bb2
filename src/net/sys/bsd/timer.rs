//! Timers. Each is a queue with one timer.

use super::kqueue::{
    Change, EV_ADD, EV_DELETE, EV_ONESHOT, EVFILT_TIMER, NOTE_NSECONDS, change, new_kqueue,
};
use crate::deadline::{Time, now};
use std::io;
use std::os::fd::RawFd;

/// The longest time that a timer is set to. Whoever waits for a later time finds that it is early, and sets it again.
const LONGEST_NANOS: u64 = 24 * 3600 * 1_000_000_000;

/// The clock of `Time` goes on while a Mac sleeps. So does the timer's.
#[cfg(target_vendor = "apple")]
const CLOCK: u32 = libc::NOTE_MACH_CONTINUOUS_TIME;
#[cfg(not(target_vendor = "apple"))]
const CLOCK: u32 = 0;

pub fn new_timer() -> io::Result<RawFd> {
    new_kqueue()
}

pub fn set_timer(timer: RawFd, at: Option<Time>) {
    let none = Change {
        ident: 1,
        filter: EVFILT_TIMER,
        flags: EV_DELETE,
        filter_flags: 0,
        data: 0,
    };
    // Also what is due already. It fails if no timer is set.
    let _ = change(timer, none);
    if let Some(at) = at {
        let left = at.nanos().saturating_sub(now().nanos());
        let set = Change {
            flags: EV_ADD | EV_ONESHOT,
            filter_flags: NOTE_NSECONDS | CLOCK,
            data: left.clamp(1, LONGEST_NANOS) as i64,
            ..none
        };
        // It fails only for lack of memory: then the loop runs when something else happens.
        let _ = change(timer, set);
    }
}
