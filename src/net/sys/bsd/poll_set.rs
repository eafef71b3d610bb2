//! Sets of descriptors (kqueue).

use super::kqueue::{
    Change, EV_ADD, EV_DELETE, EV_EOF, EVFILT_READ, EVFILT_WRITE, change, new_kqueue, no_events,
    wait,
};
use crate::net::sys::process_number;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// Whether this process has the sets, events and timers that a process has made. All of them are queues. A forked child
/// does not have its parent's, and their numbers may be those of something else.
pub fn has_events_of(process: i32) -> bool {
    process == process_number()
}

/// The events of poll(2) and their filters.
const FILTERS: [(i16, i16); 2] = [(libc::POLLIN, EVFILT_READ), (libc::POLLOUT, EVFILT_WRITE)];

/// The number of events that one wait reports at most.
const MAX_READY: usize = 64;

pub fn new_poll_set() -> io::Result<RawFd> {
    new_kqueue()
}

pub fn add(set: RawFd, fd: RawFd, events: i16) -> io::Result<()> {
    for (event, filter) in FILTERS {
        if events & event != 0 {
            change_filter(set, fd, filter, EV_ADD)?;
        }
    }
    Ok(())
}

pub fn replace(set: RawFd, fd: RawFd, events: i16) -> io::Result<()> {
    for (event, filter) in FILTERS {
        if events & event == 0 {
            // It fails if it is not there.
            let _ = change_filter(set, fd, filter, EV_DELETE);
        }
    }
    // What is there already stays as it is.
    add(set, fd, events)
}

pub fn remove(set: RawFd, fd: RawFd) {
    let _ = replace(set, fd, 0);
}

fn change_filter(set: RawFd, fd: RawFd, filter: i16, flags: u16) -> io::Result<()> {
    let ident = usize::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    change(
        set,
        Change {
            ident,
            filter,
            flags,
            filter_flags: 0,
            data: 0,
        },
    )
}

/// Whether a set is readable is exact after this, for what has happened before. An event that was reported stays in the
/// queue until a later look finds that its reason is gone, and only kevent() looks: the queue is readable meanwhile.
pub fn settle(set: RawFd) {
    let _ = wait(set, Some(Duration::ZERO), &mut no_events::<1>());
}

pub fn wait_poll_set(
    set: RawFd,
    timeout: Option<Duration>,
    mut each: impl FnMut(RawFd, i16),
) -> io::Result<()> {
    let mut events = no_events::<MAX_READY>();
    let count = wait(set, timeout, &mut events)?;
    // A descriptor that can be read and written has two events, which poll(2) reports as one.
    let mut ready: Vec<(RawFd, i16)> = Vec::with_capacity(count);
    for event in &events[..count] {
        let fd = event.ident as RawFd;
        let of_filter = FILTERS.iter().find(|(_, filter)| *filter == event.filter);
        let mut occurred = of_filter.map_or(0, |(event, _)| *event);
        if event.flags & EV_EOF != 0 {
            occurred |= libc::POLLHUP;
        }
        match ready.iter_mut().find(|(other, _)| *other == fd) {
            Some((_, events)) => *events |= occurred,
            None => ready.push((fd, occurred)),
        }
    }
    for (fd, events) in ready {
        each(fd, events);
    }
    Ok(())
}
