//! Waiting for changing sets of descriptors (epoll), and for a time (timerfd). Both are descriptors themselves, which
//! another poll can wait for.

use super::poll::{IN, interest, poll};
use super::syscall::{NULL, check, timespec};
use crate::deadline::Time;
#[cfg(test)]
use crate::sim_hooks;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The descriptor of a set. The caller closes it.
pub fn new_epoll() -> io::Result<RawFd> {
    // SAFETY: takes no pointers and returns a new descriptor.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    check(fd as isize).map(|_| fd)
}

/// How a set changes.
#[derive(Clone, Copy, PartialEq)]
pub enum EpollChange {
    Add,
    Modify,
    Remove,
}

/// Adds a descriptor to a set, changes its events, or removes it. Events are those of poll(2), which have the same
/// numbers. They are reported for as long as they last.
pub fn change_epoll(epoll: RawFd, change: EpollChange, fd: RawFd, events: i16) -> io::Result<()> {
    let operation = match change {
        EpollChange::Add => libc::EPOLL_CTL_ADD,
        EpollChange::Modify => libc::EPOLL_CTL_MOD,
        EpollChange::Remove => libc::EPOLL_CTL_DEL,
    };
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.change_epoll(epoll, operation, fd, events);
    }
    let mut event = libc::epoll_event {
        events: u32::from(events.cast_unsigned()),
        u64: u64::from(fd.cast_unsigned()),
    };
    // SAFETY: the pointer is that of a live event, which the kernel only reads.
    let changed = unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) };
    check(changed as isize).map(drop)
}

/// The number of descriptors that one wait reports at most.
const MAX_READY: usize = 64;

/// Waits until a descriptor of the set is ready, `timeout` has passed or a signal arrived. Calls `each` with every ready
/// descriptor and its events.
pub fn wait_epoll(
    epoll: RawFd,
    timeout: Option<Duration>,
    mut each: impl FnMut(RawFd, i16),
) -> io::Result<usize> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        let ready = simulator.wait_epoll(epoll, timeout);
        ready.iter().for_each(|(fd, events)| each(*fd, *events));
        return Ok(ready.len());
    }
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; MAX_READY];
    let ready = match epoll_pwait2(epoll, &mut events, timeout) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
            let mut fds = [interest(epoll, IN)];
            poll(&mut fds, timeout)?;
            take_ready(epoll, &mut events)?
        }
        ready => ready?,
    };
    for event in &events[..ready] {
        let (fd, events) = (event.u64 as RawFd, event.events as i16);
        each(fd, events);
    }
    Ok(ready)
}

/// The kernel has no epoll_pwait2(): it is older than Linux 5.11.
static IS_OLD: AtomicBool = AtomicBool::new(false);

fn epoll_pwait2(
    epoll: RawFd,
    events: &mut [libc::epoll_event],
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

fn take_ready(epoll: RawFd, events: &mut [libc::epoll_event]) -> io::Result<usize> {
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

/// A descriptor that is readable from a certain time on. The caller closes it.
pub fn new_timer() -> io::Result<RawFd> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: takes no pointers and returns a new descriptor.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
    check(fd as isize).map(|_| fd)
}

/// Makes a timer readable from `at` on, or never.
pub fn set_timer(timer: RawFd, at: Option<Time>) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.set_timer(timer, at.map(Time::nanos));
    }
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
