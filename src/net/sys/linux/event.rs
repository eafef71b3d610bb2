//! Events (eventfd).

use crate::net::sys::result::check;
use std::io;
use std::os::fd::RawFd;

pub fn new_event() -> io::Result<RawFd> {
    // SAFETY: takes no pointers and returns a new descriptor.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    check(fd as isize).map(|_| fd)
}

pub fn clear(fd: RawFd) {
    let mut count = 0u64;
    // SAFETY: a read of an eventfd writes eight bytes, the size of `count`. It fails only if the event was not fired.
    unsafe { libc::syscall(libc::SYS_read, fd, &raw mut count, 8usize) };
}

pub fn fire(fd: RawFd) {
    let one = 1u64;
    // SAFETY: the write reads eight bytes of a live integer. It fails only if the counter is full, and then the event
    // has been fired already. The pointer to `errno` is that of this thread.
    unsafe {
        let errno = *libc::__errno_location();
        libc::syscall(libc::SYS_write, fd, &raw const one, 8usize);
        *libc::__errno_location() = errno;
    }
}
