//! Waiting for changing sets of descriptors. A set is a descriptor itself, which another poll can wait for.

use super::system;
#[cfg(test)]
use crate::sim_hooks;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// The descriptor of a set. The caller closes it.
pub fn new_poll_set() -> io::Result<RawFd> {
    system::new_poll_set()
}

/// Adds a descriptor to a set. Events are those of poll(2). They are reported for as long as they last. A closed
/// descriptor leaves the set by itself.
pub fn add(set: RawFd, fd: RawFd, events: i16) -> io::Result<()> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.change_poll_set(set, fd, Some(events));
    }
    system::add(set, fd, events)
}

/// Replaces the events of a descriptor in a set. Adds it if it is not there.
pub fn replace(set: RawFd, fd: RawFd, events: i16) -> io::Result<()> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.change_poll_set(set, fd, Some(events));
    }
    system::replace(set, fd, events)
}

/// Removes a descriptor from a set, if it is there.
pub fn remove(set: RawFd, fd: RawFd) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        let _ = simulator.change_poll_set(set, fd, None);
        return;
    }
    system::remove(set, fd);
}

/// Waits until a descriptor of the set is ready, `timeout` has passed or a signal arrived. Calls `each` with every ready
/// descriptor and its events.
pub fn wait_poll_set(
    set: RawFd,
    timeout: Option<Duration>,
    each: impl FnMut(RawFd, i16),
) -> io::Result<()> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        let mut each = each;
        let ready = simulator.wait_poll_set(set, timeout);
        ready.iter().for_each(|(fd, events)| each(*fd, *events));
        return Ok(());
    }
    system::wait_poll_set(set, timeout, each)
}
