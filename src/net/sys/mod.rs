//! The system calls that the standard library has no safe form of. The only unsafe code beside
//! the C boundary; Linux.
//!
//! Every send carries MSG_NOSIGNAL, so that a closed peer is an error here and not a SIGPIPE in
//! the host process; every descriptor is close-on-exec.
//!
//! What the C library makes of a system call that may wait is a point where a thread can be
//! cancelled, and a cancellation unwinds the stack: past Rust's functions that ends the process,
//! and it would leave the others of a batch without their leader. So a call is always carried out,
//! and a cancelled thread ends behind it. What every command does (send, receive, poll) goes to the
//! kernel without the C library, which costs nothing; what is rare holds an [`CancelDisabled`].

#[cfg(test)]
use crate::sim_hooks;
use socket2::{SockAddr, Socket};
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::Deref;
#[cfg(test)]
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

/// What to wait for on a descriptor, and what came.
pub type PollFd = libc::pollfd;

pub const IN: i16 = libc::POLLIN;
pub const OUT: i16 = libc::POLLOUT;

/// An entry for a poll; a negative descriptor is ignored.
pub fn interest(fd: RawFd, events: i16) -> PollFd {
    PollFd {
        fd,
        events,
        revents: 0,
    }
}

/// No pointer, where a system call would take one.
const NONE: *const u8 = std::ptr::null();

// The crate libc does not have it for Linux. The number is that of glibc and of musl.
const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;
unsafe extern "C" {
    fn pthread_setcancelstate(state: libc::c_int, before: *mut libc::c_int) -> libc::c_int;
}

/// While it lives, a pthread_cancel() of this thread waits.
#[derive(Debug)]
pub struct CancelDisabled {
    before: libc::c_int,
    /// It is this thread's.
    _here: PhantomData<*const ()>,
}

impl CancelDisabled {
    pub fn begin() -> CancelDisabled {
        let mut before = 0;
        // SAFETY: the pointer is that of a live integer.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut before) };
        CancelDisabled {
            before,
            _here: PhantomData,
        }
    }
}

impl Drop for CancelDisabled {
    fn drop(&mut self) {
        // SAFETY: it was the state before, and a NULL is not written to.
        unsafe { pthread_setcancelstate(self.before, std::ptr::null_mut()) };
    }
}

/// What may wait when it is dropped, as a socket may that is closed: a cancellation waits meanwhile.
#[derive(Debug)]
pub struct Dropped<T>(ManuallyDrop<T>);

impl<T> Dropped<T> {
    pub fn whole(value: T) -> Dropped<T> {
        Dropped(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Dropped<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Dropped<T> {
    fn drop(&mut self) {
        let _uncancelled = CancelDisabled::begin();
        // SAFETY: dropped here, once, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

/// Turns a C return value into a count or the error it announces.
fn check(n: isize) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Begins to connect a socket that does not wait.
pub fn connect(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.connect(socket.as_raw_fd(), to);
    }
    socket.connect(&SockAddr::from(to))
}

/// What became of it.
pub fn connected(socket: &Socket) -> io::Result<()> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.error_of(socket.as_raw_fd()).map_or(Ok(()), Err);
    }
    socket.take_error()?.map_or(Ok(()), Err)
}

/// The IP addresses of a host.
pub fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.resolve(host, port);
    }
    (host, port).to_socket_addrs().map(Iterator::collect)
}

/// Sends what fits without waiting.
#[inline]
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.send(fd, bytes);
    }
    // SAFETY: the pointer and the length are those of a live slice; there is no address.
    check(unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fd,
            bytes.as_ptr(),
            bytes.len(),
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
            NONE,
            NONE,
        )
    } as isize)
}

/// How a receive waits.
#[derive(Clone, Copy, PartialEq)]
pub enum Recv {
    /// Not at all.
    Now,
    /// For the first byte, as long as the socket's receive timeout says.
    Some,
    /// For all of the room, as long as the socket's receive timeout says.
    All,
}

/// Receives into the spare capacity of `buf`, `room` bytes at most; 0 is the end of the stream.
#[inline]
pub fn recv(fd: RawFd, buf: &mut Vec<u8>, room: usize, how: Recv) -> io::Result<usize> {
    let len = buf.len();
    let spare = buf.spare_capacity_mut();
    let room = room.min(spare.len());
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        let wait = match how {
            Recv::Now => sim_hooks::Wait::No,
            Recv::Some => sim_hooks::Wait::First,
            Recv::All => sim_hooks::Wait::All,
        };
        let bytes = simulator.recv(fd, room, wait)?;
        buf.extend_from_slice(&bytes);
        return Ok(bytes.len());
    }
    let flags = match how {
        Recv::Now => libc::MSG_DONTWAIT,
        Recv::Some => 0,
        Recv::All => libc::MSG_WAITALL,
    };
    // SAFETY: the kernel writes at most `room` bytes, which the spare capacity has.
    let n = check(unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            fd,
            spare.as_mut_ptr(),
            room,
            flags,
            NONE,
            NONE,
        )
    } as isize)?;
    // SAFETY: the first n bytes of the spare capacity have been written just now.
    unsafe { buf.set_len(len + n.min(room)) };
    Ok(n)
}

/// Whether a connection that should be silent has something to say: bytes or its end.
pub fn has_news(fd: RawFd) -> bool {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.has_news(fd);
    }
    let mut byte = 0u8;
    // SAFETY: one byte of room is what the pointer has.
    let n = unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            fd,
            &raw mut byte,
            1usize,
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
            NONE,
            NONE,
        )
    };
    n >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
}

/// Waits until one of `fds` is ready, `timeout` has passed or a signal came; returns how many
/// are ready.
pub fn poll(fds: &mut [PollFd], timeout: Option<Duration>) -> io::Result<usize> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.poll(fds, timeout);
    }
    // The kernel writes what is left of it.
    let mut spec = timeout.map(timespec);
    let spec = spec
        .as_mut()
        .map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the list and its length belong together; the timeout is NULL or lives on; no signal
    // mask is set, so that its size does not matter.
    check(unsafe {
        libc::syscall(
            libc::SYS_ppoll,
            fds.as_mut_ptr(),
            fds.len(),
            spec,
            NONE,
            0usize,
        )
    } as isize)
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(duration.subsec_nanos() as i32),
    }
}

/// A new descriptor that makes a poll return once [`fire`]d. Whoever asked closes it.
pub fn event() -> io::Result<RawFd> {
    // SAFETY: takes no pointers; what it returns is a descriptor of our own.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    check(fd as isize).map(|_| fd)
}

/// Makes an event silent again.
pub fn clear(fd: RawFd) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.clear(fd);
    }
    let mut count = 0u64;
    // SAFETY: eight bytes are what a read of an eventfd writes. Its failure means that it was
    // silent already.
    unsafe { libc::syscall(libc::SYS_read, fd, &raw mut count, 8usize) };
}

/// Makes the event with this descriptor fire. Async-signal-safe.
pub fn fire(fd: RawFd) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.fire(fd);
    }
    let one = 1u64;
    // SAFETY: eight bytes are read from a live integer. It can only fail where the counter is
    // full, which is as good as fired.
    unsafe { libc::syscall(libc::SYS_write, fd, &raw const one, 8usize) };
}

/// Sleeps while `word` is `expected`, until woken, `timeout` has passed or a signal came.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        // A word that has changed already is no reason to sleep.
        if word.load(Ordering::SeqCst) == expected {
            simulator.futex_wait(word.as_ptr().addr(), timeout);
        }
        return;
    }
    let spec = timeout.map(timespec);
    let spec = spec
        .as_ref()
        .map_or(std::ptr::null(), |spec| &raw const *spec);
    // SAFETY: the word and the timeout live as long as the call. Every return is a reason for
    // the caller to look again, so its value says nothing.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            spec,
        );
    }
}

/// Wakes up to `count` threads that sleep on `word`.
pub fn futex_wake(word: &AtomicU32, count: i32) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.futex_wake(word.as_ptr().addr(), count);
    }
    // SAFETY: the word is alive; a wake reads nothing.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            count,
        );
    }
}

/// Lets another thread run.
pub fn yield_now() {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.yield_now();
    }
    std::thread::yield_now();
}

/// Closes a descriptor that a forked child inherited and nothing else here will close.
pub fn close(fd: RawFd) {
    // SAFETY: the caller owns the descriptor and gives it up. There is nobody to tell of an error.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}

/// Makes a socket wait that did not.
pub fn let_wait(fd: RawFd) -> io::Result<()> {
    let mut not: libc::c_int = 0;
    // SAFETY: the request reads one integer, which lives.
    let n = unsafe { libc::ioctl(fd, libc::FIONBIO, &raw mut not) };
    check(n as isize).map(drop)
}

/// Makes the socket answer a receive that waits with "would block" after `timeout`.
pub fn set_receive_timeout(fd: RawFd, timeout: Duration) -> io::Result<()> {
    let value = libc::timeval {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: libc::suseconds_t::from(timeout.subsec_micros() as i32),
    };
    // SAFETY: the option's value is a timeval of just that size.
    let n = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const value).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    check(n as isize).map(drop)
}

/// Tells a forked child from its parent without a system call: a word on a page that the kernel
/// wipes in the child.
#[derive(Debug)]
pub struct ForkMark {
    word: &'static AtomicI32,
    /// Whether the kernel does wipe it; otherwise the process is asked for its number each time.
    wiped: bool,
}

impl Default for ForkMark {
    fn default() -> ForkMark {
        // SAFETY: an anonymous mapping of one page touches nothing that exists.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            static NONE: AtomicI32 = AtomicI32::new(0);
            return ForkMark {
                word: &NONE,
                wiped: false,
            };
        }
        // SAFETY: the page is ours. Kernels before 4.14 refuse, which `wiped` remembers.
        let wiped = unsafe { libc::madvise(page, 4096, libc::MADV_WIPEONFORK) } == 0;
        // SAFETY: the page is never unmapped, is aligned, and zero is a valid value.
        let word: &'static AtomicI32 = unsafe { &*page.cast::<AtomicI32>() };
        ForkMark { word, wiped }
    }
}

impl ForkMark {
    /// A number that differs between a process and its parent.
    #[inline]
    pub fn process(&self) -> i32 {
        let known = self.word.load(Ordering::Relaxed);
        if self.wiped && known != 0 {
            return known;
        }
        let pid = std::process::id() as i32;
        self.word.store(pid, Ordering::Relaxed);
        pid
    }
}
