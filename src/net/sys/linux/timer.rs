//! Timers (timerfd).

use crate::deadline::Time;
use crate::net::sys::result::{check, timespec};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

pub fn new_timer() -> io::Result<RawFd> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: takes no pointers and returns a new descriptor.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
    check(fd as isize).map(|_| fd)
}

pub fn set_timer(timer: RawFd, at: Option<Time>) {
    // Zero turns the timer off.
    let at = at.map_or(Duration::ZERO, |at| Duration::from_nanos(at.nanos().max(1)));
    let spec = libc::itimerspec {
        it_interval: timespec(Duration::ZERO),
        it_value: timespec(at),
    };
    // SAFETY: the pointer is that of a live value; the former value is not asked for. It fails only for values that are
    // out of range, and those of `timespec` are not.
    unsafe {
        libc::timerfd_settime(
            timer,
            libc::TFD_TIMER_ABSTIME,
            &raw const spec,
            std::ptr::null_mut(),
        )
    };
}
