//! Event queues (kqueue).

#[cfg(target_os = "linux")]
use super::kqueue_emulation as library;
use super::uncancelled;
use crate::net::sys::result::{check, timespec};
#[cfg(not(target_os = "linux"))]
use libc as library;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

pub use library::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_EOF, EV_ONESHOT, EVFILT_READ, EVFILT_TIMER, EVFILT_USER,
    EVFILT_WRITE, NOTE_NSECONDS, NOTE_TRIGGER, kevent as Event,
};

/// What a queue watches, or stops to watch, and how.
#[derive(Clone, Copy)]
pub struct Change {
    /// A descriptor, or the number of something else that is watched.
    pub ident: usize,
    pub filter: i16,
    pub flags: u16,
    pub filter_flags: u32,
    pub data: i64,
}

/// A queue, which is a descriptor. A forked child does not have it.
pub fn new_kqueue() -> io::Result<RawFd> {
    // SAFETY: takes no pointers and returns a new descriptor.
    let fd = check(unsafe { library::kqueue() } as isize)? as RawFd;
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    Ok(fd)
}

fn event(change: Change) -> Event {
    // SAFETY: the structure consists of numbers and a pointer that is not used.
    let mut event: Event = unsafe { std::mem::zeroed() };
    event.ident = change.ident;
    event.filter = change.filter;
    event.flags = change.flags;
    event.fflags = change.filter_flags;
    event.data = change.data as _;
    event
}

/// Async-signal-safe.
pub fn change(kqueue: RawFd, change: Change) -> io::Result<()> {
    let event = event(change);
    // SAFETY: the pointer is that of one live event, which the system only reads; no events are asked for.
    let changed = unsafe {
        library::kevent(
            kqueue,
            &raw const event,
            1,
            std::ptr::null_mut(),
            0,
            std::ptr::null(),
        )
    };
    check(changed as isize).map(drop)
}

/// Waits for an event of the queue, until `timeout` has passed or a signal arrived. Returns the number of `events`.
pub fn wait(kqueue: RawFd, timeout: Option<Duration>, events: &mut [Event]) -> io::Result<usize> {
    let spec = timeout.map(timespec);
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let call = || {
        // SAFETY: the pointer and the length are those of a live slice; the timeout is NULL or alive; there are no
        // changes.
        unsafe {
            library::kevent(
                kqueue,
                std::ptr::null(),
                0,
                events.as_mut_ptr(),
                events.len() as _,
                spec,
            )
        }
    };
    check(uncancelled::kevent(call) as isize)
}

/// Room for the events of a wait.
pub fn no_events<const N: usize>() -> [Event; N] {
    let none = Change {
        ident: 0,
        filter: 0,
        flags: 0,
        filter_flags: 0,
        data: 0,
    };
    std::array::from_fn(|_| event(none))
}
