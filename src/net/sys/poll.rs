//! Waiting for several descriptors.

use super::system;
#[cfg(test)]
use crate::sim_hooks;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// A descriptor, the events to wait for, and the events that occurred.
pub type PollFd = libc::pollfd;

pub const IN: i16 = libc::POLLIN;
pub const OUT: i16 = libc::POLLOUT;

/// An entry for `poll`. A negative descriptor is ignored.
pub fn interest(fd: RawFd, events: i16) -> PollFd {
    PollFd {
        fd,
        events,
        revents: 0,
    }
}

/// Waits until one of `fds` is ready, `timeout` has passed or a signal arrived. Returns how many are ready.
pub fn poll(fds: &mut [PollFd], timeout: Option<Duration>) -> io::Result<usize> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.poll(fds, timeout);
    }
    system::poll(fds, timeout)
}
