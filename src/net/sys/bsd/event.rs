//! Events. Each is a queue with one event of its user: a pipe would take two descriptors.

use super::kqueue::{
    Change, EV_ADD, EV_CLEAR, EVFILT_USER, NOTE_TRIGGER, change, new_kqueue, no_events, wait,
};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// The event in its queue.
const EVENT: Change = Change {
    // In a forked child, the number of the descriptor may be that of another queue: this is a number that others hardly
    // use.
    ident: 0x7264_6300,
    filter: EVFILT_USER,
    flags: 0,
    filter_flags: 0,
    data: 0,
};

pub fn new_event() -> io::Result<RawFd> {
    let fd = new_kqueue()?;
    let flags = EV_ADD | EV_CLEAR;
    let added = change(fd, Change { flags, ..EVENT });
    added.inspect_err(|_| super::socket::close(fd)).map(|()| fd)
}

pub fn clear(fd: RawFd) {
    // An event that has been taken from the queue is reset. An error means that it was not fired.
    let _ = wait(fd, Some(Duration::ZERO), &mut no_events::<1>());
}

pub fn fire(fd: RawFd) {
    let filter_flags = NOTE_TRIGGER;
    // SAFETY: the pointer to `errno` is that of this thread.
    unsafe {
        let errno = *errno_location();
        let _ = change(
            fd,
            Change {
                filter_flags,
                ..EVENT
            },
        );
        *errno_location() = errno;
    }
}

#[cfg(target_os = "linux")]
use libc::__errno_location as errno_location;
#[cfg(not(target_os = "linux"))]
use libc::__error as errno_location;
