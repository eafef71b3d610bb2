//! Sets of descriptors (epoll).

use super::NULL;
use super::poll::poll;
use crate::net::sys::result::{check, timespec};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether this process has the sets, events and timers that a process has made: a forked child has its parent's, and
/// closes them.
#[inline(always)]
pub fn has_events_of(_process: i32) -> bool {
    true
}

pub fn new_poll_set() -> io::Result<RawFd> {
    // SAFETY: takes no pointers and returns a new descriptor.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    check(fd as isize).map(|_| fd)
}

pub fn add(set: RawFd, fd: RawFd, events: i16) -> io::Result<()> {
    change(set, libc::EPOLL_CTL_ADD, fd, events)
}

pub fn replace(set: RawFd, fd: RawFd, events: i16) -> io::Result<()> {
    match change(set, libc::EPOLL_CTL_MOD, fd, events) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => add(set, fd, events),
        changed => changed,
    }
}

pub fn remove(set: RawFd, fd: RawFd) {
    let _not_there = change(set, libc::EPOLL_CTL_DEL, fd, 0);
}

/// Events of epoll have the same numbers as those of poll(2).
fn change(set: RawFd, operation: libc::c_int, fd: RawFd, events: i16) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: u32::from(events.cast_unsigned()),
        u64: u64::from(fd.cast_unsigned()),
    };
    // SAFETY: the pointer is that of a live event, which the kernel only reads.
    let changed = unsafe { libc::epoll_ctl(set, operation, fd, &raw mut event) };
    check(changed as isize).map(drop)
}

/// Whether a set is readable is always exact.
#[inline(always)]
pub fn settle(_set: RawFd) {}

/// The number of descriptors that one wait reports at most.
const MAX_READY: usize = 64;

pub fn wait_poll_set(
    set: RawFd,
    timeout: Option<Duration>,
    mut each: impl FnMut(RawFd, i16),
) -> io::Result<()> {
    // Not initialized: each wait of a queue would write all of it.
    let mut events = [const { MaybeUninit::uninit() }; MAX_READY];
    let ready = match epoll_pwait2(set, &mut events, timeout) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
            let mut fds = [libc::pollfd {
                fd: set,
                events: libc::POLLIN,
                revents: 0,
            }];
            poll(&mut fds, timeout)?;
            take_ready(set, &mut events)?
        }
        ready => ready?,
    };
    for event in &events[..ready] {
        // SAFETY: the kernel has written as many as it has reported.
        let event: libc::epoll_event = unsafe { event.assume_init() };
        let (fd, events) = (event.u64 as RawFd, event.events as i16);
        each(fd, events);
    }
    Ok(())
}

/// The kernel has no epoll_pwait2(): it is older than Linux 5.11.
static IS_OLD: AtomicBool = AtomicBool::new(false);

fn epoll_pwait2(
    epoll: RawFd,
    events: &mut [MaybeUninit<libc::epoll_event>],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    if IS_OLD.load(Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
    }
    let spec = timeout.map(timespec);
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointer and the length are those of a live slice; the timeout is NULL or alive; the signal mask is
    // NULL, so the kernel ignores its size.
    let waited = check(unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll,
            events.as_mut_ptr(),
            events.len() as libc::c_int,
            spec,
            NULL,
            0usize,
        )
    } as isize);
    if let Err(error) = &waited
        && error.raw_os_error() == Some(libc::ENOSYS)
    {
        IS_OLD.store(true, Ordering::Relaxed);
    }
    waited
}

fn take_ready(epoll: RawFd, events: &mut [MaybeUninit<libc::epoll_event>]) -> io::Result<usize> {
    // SAFETY: as above.
    check(unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait,
            epoll,
            events.as_mut_ptr(),
            events.len() as libc::c_int,
            0,
            NULL,
            0usize,
        )
    } as isize)
}
