//! Timers that wake a poll.

use super::system;
use crate::deadline::Time;
#[cfg(test)]
use crate::sim_hooks;
use std::io;
use std::os::fd::RawFd;

/// A descriptor that is readable from a certain time on. The caller closes it.
pub fn new_timer() -> io::Result<RawFd> {
    system::new_timer()
}

/// Makes a timer readable from `at` on, or never.
pub fn set_timer(timer: RawFd, at: Option<Time>) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.set_timer(timer, at.map(Time::nanos));
    }
    system::set_timer(timer, at);
}
