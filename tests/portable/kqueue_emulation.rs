//! The part of kqueue(2) that the library uses, on Linux, so that the tests run what macOS and FreeBSD compile.
//!
//! It emulates FreeBSD's least convenient behaviour: a queue that has reported a descriptor stays readable until a later
//! kevent() finds that the descriptor is not ready any more. It differs in that a forked child inherits queues, and in
//! that kevent() is not async-signal-safe.

#![allow(non_camel_case_types, clippy::upper_case_acronyms)]

use crate::net::sys::pthread_cancel::PthreadCancelDisabled;
use libc::{c_int, c_void, timespec};
use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct kevent {
    pub ident: usize,
    pub filter: i16,
    pub flags: u16,
    pub fflags: u32,
    pub data: i64,
    pub udata: *mut c_void,
}

pub const EVFILT_READ: i16 = -1;
pub const EVFILT_WRITE: i16 = -2;
pub const EVFILT_TIMER: i16 = -7;
pub const EVFILT_USER: i16 = -11;
pub const EV_ADD: u16 = 0x1;
pub const EV_DELETE: u16 = 0x2;
pub const EV_ONESHOT: u16 = 0x10;
pub const EV_CLEAR: u16 = 0x20;
pub const EV_EOF: u16 = 0x8000;
pub const NOTE_NSECONDS: u32 = 0x8;
pub const NOTE_TRIGGER: u32 = 0x0100_0000;

/// What a queue watches, besides its epoll descriptor.
struct Queue {
    /// The filters of each descriptor.
    descriptors: HashMap<RawFd, BTreeSet<i16>>,
    /// The eventfd or timerfd of each user event and timer.
    others: HashMap<(usize, i16), OwnedFd>,
    /// Readable from a report until the next look that finds nothing.
    stale: OwnedFd,
}

/// By the number of the epoll descriptor. The entry of a closed one stays until the number is used again.
static QUEUES: LazyLock<Mutex<HashMap<RawFd, Queue>>> = LazyLock::new(Mutex::default);

fn queues() -> MutexGuard<'static, HashMap<RawFd, Queue>> {
    QUEUES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the number of an epoll event stands for, in its upper half.
const DESCRIPTOR: u64 = 0;
const OTHER: u64 = 1;
const STALE: u64 = 2;

fn owned(fd: c_int) -> OwnedFd {
    assert!(fd >= 0, "no descriptor left");
    // SAFETY: the caller has just opened it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn change_epoll(queue: RawFd, operation: c_int, fd: RawFd, events: c_int, kind: u64) -> c_int {
    let mut event = libc::epoll_event {
        events: events as u32,
        u64: kind << 32 | fd as u64,
    };
    // SAFETY: the pointer is that of a live event.
    unsafe { libc::epoll_ctl(queue, operation, fd, &raw mut event) }
}

fn fire(fd: &OwnedFd) {
    let one = 1u64;
    // SAFETY: the write reads eight bytes of a live integer.
    unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) };
}

fn reset(fd: &OwnedFd) {
    let mut count = 0u64;
    // SAFETY: the read writes eight bytes to a live integer.
    unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
}

fn new_event() -> OwnedFd {
    // SAFETY: takes no pointers.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// # Safety
///
/// None: it is unsafe like the function that it stands for.
pub unsafe fn kqueue() -> c_int {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if fd < 0 {
        return fd;
    }
    let stale = new_event();
    change_epoll(
        fd,
        libc::EPOLL_CTL_ADD,
        stale.as_raw_fd(),
        libc::EPOLLIN,
        STALE,
    );
    let queue = Queue {
        descriptors: HashMap::new(),
        others: HashMap::new(),
        stale,
    };
    queues().insert(fd, queue);
    fd
}

/// # Safety
///
/// The pointers are those of arrays of these lengths, and of a time or NULL.
pub unsafe fn kevent(
    queue: c_int,
    changes: *const kevent,
    change_count: c_int,
    events: *mut kevent,
    event_count: c_int,
    timeout: *const timespec,
) -> c_int {
    for at in 0..change_count as usize {
        // SAFETY: as the caller promises.
        let result = change(queue, unsafe { &*changes.add(at) });
        if let Err(error) = result {
            // SAFETY: the pointer is that of this thread.
            unsafe { *libc::__errno_location() = error };
            return -1;
        }
    }
    if event_count == 0 {
        return 0;
    }
    // SAFETY: as the caller promises.
    let (events, timeout) = unsafe {
        let events = std::slice::from_raw_parts_mut(events, event_count as usize);
        (events, timeout.as_ref())
    };
    wait(queue, events, timeout)
}

fn change(fd: RawFd, change: &kevent) -> Result<(), c_int> {
    // kevent() is no cancellation point without room for events.
    let _uncancelled = PthreadCancelDisabled::begin();
    let mut queues = queues();
    let queue = queues.get_mut(&fd).ok_or(libc::EBADF)?;
    match change.filter {
        EVFILT_READ | EVFILT_WRITE => change_descriptor(queue, fd, change),
        EVFILT_USER | EVFILT_TIMER => change_other(queue, fd, change),
        _ => Err(libc::EINVAL),
    }
}

fn change_descriptor(queue: &mut Queue, epoll: RawFd, change: &kevent) -> Result<(), c_int> {
    let fd = change.ident as RawFd;
    let filters = queue.descriptors.entry(fd).or_default();
    if change.flags & EV_DELETE != 0 {
        if !filters.remove(&change.filter) {
            return Err(libc::ENOENT);
        }
    } else {
        filters.insert(change.filter);
    }
    let event = |filter, event| if filters.contains(&filter) { event } else { 0 };
    let events =
        event(EVFILT_READ, libc::EPOLLIN | libc::EPOLLRDHUP) | event(EVFILT_WRITE, libc::EPOLLOUT);
    if events == 0 {
        change_epoll(epoll, libc::EPOLL_CTL_DEL, fd, 0, DESCRIPTOR);
        return Ok(());
    }
    // A descriptor that was closed has left the epoll.
    if change_epoll(epoll, libc::EPOLL_CTL_MOD, fd, events, DESCRIPTOR) != 0
        && change_epoll(epoll, libc::EPOLL_CTL_ADD, fd, events, DESCRIPTOR) != 0
    {
        filters.remove(&change.filter);
        return Err(libc::EBADF);
    }
    Ok(())
}

fn change_other(queue: &mut Queue, epoll: RawFd, change: &kevent) -> Result<(), c_int> {
    let key = (change.ident, change.filter);
    if change.flags & EV_DELETE != 0 {
        return queue.others.remove(&key).map(drop).ok_or(libc::ENOENT);
    }
    if change.flags & EV_ADD != 0 && !queue.others.contains_key(&key) {
        let other = match change.filter {
            EVFILT_USER => new_event(),
            // SAFETY: takes no pointers.
            _ => owned(unsafe {
                let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
                libc::timerfd_create(libc::CLOCK_MONOTONIC, flags)
            }),
        };
        change_epoll(
            epoll,
            libc::EPOLL_CTL_ADD,
            other.as_raw_fd(),
            libc::EPOLLIN,
            OTHER,
        );
        queue.others.insert(key, other);
    }
    let other = queue.others.get(&key).ok_or(libc::ENOENT)?;
    if change.filter == EVFILT_TIMER {
        assert_eq!(change.fflags, NOTE_NSECONDS, "other units are not emulated");
        assert!(
            change.flags & EV_ONESHOT != 0,
            "other timers are not emulated"
        );
        // SAFETY: the structure consists of numbers.
        let mut spec: libc::itimerspec = unsafe { std::mem::zeroed() };
        spec.it_value.tv_sec = change.data / 1_000_000_000;
        spec.it_value.tv_nsec = change.data % 1_000_000_000;
        // SAFETY: the pointer is that of a live value.
        unsafe {
            libc::timerfd_settime(other.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut())
        };
    } else if change.fflags & NOTE_TRIGGER != 0 {
        fire(other);
    }
    Ok(())
}

fn wait(fd: RawFd, events: &mut [kevent], timeout: Option<&timespec>) -> c_int {
    if let Some(queue) = queues().get(&fd) {
        reset(&queue.stale);
    }
    // A descriptor may have two events.
    let mut ready = vec![libc::epoll_event { events: 0, u64: 0 }; (events.len() / 2).max(1)];
    let mut fds = [libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }];
    let spec = timeout.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointers are those of live values; there is no signal mask.
    if unsafe { libc::ppoll(fds.as_mut_ptr(), 1, spec, std::ptr::null()) } < 0 {
        return -1;
    }
    // SAFETY: the pointer and the length are those of a live vector.
    let count = unsafe { libc::epoll_wait(fd, ready.as_mut_ptr(), ready.len() as c_int, 0) };
    if count < 0 {
        return count;
    }
    let mut queues = queues();
    let Some(queue) = queues.get_mut(&fd) else {
        return 0;
    };
    let mut reported = 0;
    for event in &ready[..count as usize] {
        for event in report(queue, event) {
            if reported < events.len() {
                events[reported] = event;
                reported += 1;
            }
        }
    }
    reported as c_int
}

/// The events of kqueue that an event of epoll stands for.
fn report(queue: &mut Queue, ready: &libc::epoll_event) -> Vec<kevent> {
    let (number, events) = (ready.u64 as u32 as RawFd, ready.events as c_int);
    let event = |ident, filter, flags| kevent {
        ident,
        filter,
        flags,
        fflags: 0,
        data: 0,
        udata: std::ptr::null_mut(),
    };
    match ready.u64 >> 32 {
        DESCRIPTOR => {
            fire(&queue.stale);
            let ended = events & (libc::EPOLLHUP | libc::EPOLLRDHUP | libc::EPOLLERR);
            let flags = if ended != 0 { EV_EOF } else { 0 };
            let filters = queue.descriptors.get(&number).into_iter().flatten();
            let occurs = |filter: &&i16| match **filter {
                EVFILT_READ => events & libc::EPOLLIN != 0 || ended != 0,
                _ => events & libc::EPOLLOUT != 0 || ended & !libc::EPOLLRDHUP != 0,
            };
            let filters = filters.filter(occurs);
            filters.map(|f| event(number as usize, *f, flags)).collect()
        }
        OTHER => {
            let mut others = queue.others.iter();
            let Some((key, other)) = others.find(|(_, other)| other.as_raw_fd() == number) else {
                return Vec::new();
            };
            let (ident, filter) = *key;
            reset(other);
            if filter == EVFILT_TIMER {
                queue.others.remove(&(ident, filter));
            }
            vec![event(ident, filter, 0)]
        }
        _ => Vec::new(),
    }
}
