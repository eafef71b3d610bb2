//! Events that wake a poll.

use super::system;
#[cfg(test)]
use crate::sim_hooks;
use std::io;
use std::os::fd::RawFd;

/// A new event. A poll on it returns once the event was [`fire`]d. The caller closes it.
pub fn new_event() -> io::Result<RawFd> {
    system::new_event()
}

/// Resets an event.
pub fn clear(fd: RawFd) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.clear(fd);
    }
    system::clear(fd);
}

/// Fires an event. Async-signal-safe: it also keeps `errno`.
pub fn fire(fd: RawFd) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.fire(fd);
    }
    system::fire(fd);
}
