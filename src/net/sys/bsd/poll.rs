//! Waiting for several descriptors (poll).

use super::uncancelled;
use crate::net::sys::result::check;
use std::io;
use std::time::Duration;

pub fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    // Rounded up: otherwise a call would poll without waiting until its deadline has passed.
    let ms = timeout.map_or(-1, |timeout| {
        let ms = timeout.as_nanos().div_ceil(1_000_000);
        libc::c_int::try_from(ms).unwrap_or(libc::c_int::MAX)
    });
    check(uncancelled::poll(fds, ms) as isize)
}
