//! Waiting for several descriptors (ppoll).

use super::NULL;
use crate::net::sys::result::{check, timespec};
use std::io;
use std::time::Duration;

pub fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
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
