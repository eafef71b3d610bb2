//! Events that wake a poll (eventfd).

use super::syscall::check;
#[cfg(test)]
use crate::sim_hooks;
use std::io;
use std::os::fd::RawFd;

/// A new event. A poll on it returns once the event was [`fire`]d. The caller closes it.
pub fn new_event() -> io::Result<RawFd> {
    // SAFETY: takes no pointers and returns a new descriptor.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    check(fd as isize).map(|_| fd)
}

/// Resets an event.
pub fn clear(fd: RawFd) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.clear(fd);
    }
    let mut count = 0u64;
    // SAFETY: a read of an eventfd writes eight bytes, the size of `count`. It fails only if the event was not fired.
    unsafe { libc::syscall(libc::SYS_read, fd, &raw mut count, 8usize) };
}

/// Fires an event. Async-signal-safe: it also keeps `errno`.
pub fn fire(fd: RawFd) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.fire(fd);
    }
    let one = 1u64;
    // SAFETY: the write reads eight bytes of a live integer. It fails only if the counter is full, and then the event
    // has been fired already. The pointer to `errno` is that of this thread.
    unsafe {
        let errno = *libc::__errno_location();
        libc::syscall(libc::SYS_write, fd, &raw const one, 8usize);
        *libc::__errno_location() = errno;
    }
}
