//! What tells a socket from another one with the same descriptor. Sockets have no inodes here. So each that the library
//! opens has a receive timeout that no other has: they never block, so that it has no other effect.

use socket2::Socket;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[derive(Debug, PartialEq)]
pub struct SocketIdentity {
    timeout_seconds: libc::time_t,
}

/// The timeouts are from here on, in seconds: programs hardly use such ones.
const FIRST: u32 = 40_000;
const COUNT: u32 = 1 << 16;

static OPENED: AtomicU32 = AtomicU32::new(0);

/// Gives a new socket its identity.
pub fn mark(socket: &Socket) -> io::Result<()> {
    let number = OPENED.fetch_add(1, Ordering::Relaxed) % COUNT;
    socket.set_read_timeout(Some(Duration::from_secs(u64::from(FIRST + number))))
}

/// What `fd` refers to now; `None` if it is no open socket.
pub fn socket_identity(fd: RawFd) -> Option<SocketIdentity> {
    let mut timeout = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let mut size = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: the pointers are those of live values, and the size is that of the first one.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw mut timeout).cast(),
            &raw mut size,
        )
    };
    let timeout_seconds = timeout.tv_sec;
    (result == 0).then_some(SocketIdentity { timeout_seconds })
}
