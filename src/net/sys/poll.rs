//! Waiting for several descriptors.

use super::syscall::{NULL, check, timespec};
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
    // Mutable because the kernel writes the remaining time to it.
    let mut spec = timeout.map(timespec);
    let spec = spec
        .as_mut()
        .map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the pointer and the length are those of a live slice; the timeout is NULL or alive; the signal mask is
    // NULL, so the kernel ignores its size.
    check(unsafe {
        libc::syscall(
            libc::SYS_ppoll,
            fds.as_mut_ptr(),
            fds.len(),
            spec,
            NULL,
            0usize,
        )
    } as isize)
}
