//! Sockets: connect, send, receive, options.

use super::syscall::{NULL, check};
#[cfg(test)]
use crate::sim_hooks;
use socket2::{SockAddr, Socket};
use std::io;
use std::net::SocketAddr;
#[cfg(test)]
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::time::Duration;

/// Starts a connect on a non-blocking socket.
pub fn connect(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.connect(socket.as_raw_fd(), to);
    }
    socket.connect(&SockAddr::from(to))
}

/// Connects a non-blocking socket to a unix socket. Fails with EAGAIN while the backlog is full.
pub fn connect_unix(socket: &Socket, path: &str) -> io::Result<()> {
    socket.connect(&SockAddr::unix(path)?)
}

/// The outcome of a connect that has ended.
pub fn connect_result(socket: &Socket) -> io::Result<()> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.error_of(socket.as_raw_fd()).map_or(Ok(()), Err);
    }
    socket.take_error()?.map_or(Ok(()), Err)
}

/// Sends as much as fits into the socket's send buffer, without blocking. MSG_NOSIGNAL makes a closed peer an error
/// instead of a SIGPIPE in the host process.
#[inline]
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.send(fd, bytes);
    }
    // SAFETY: the pointer and the length are those of a live slice; the address is NULL.
    check(unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fd,
            bytes.as_ptr(),
            bytes.len(),
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
            NULL,
            NULL,
        )
    } as isize)
}

/// Whether a receive blocks. The socket's receive timeout bounds each wait.
#[derive(Clone, Copy, PartialEq)]
pub enum Recv {
    /// Does not block.
    Now,
    /// Blocks until the first byte arrives.
    Some,
    /// Blocks until the room is full.
    All,
}

/// Receives at most `room` bytes into the spare capacity of `buf`. Returns 0 at the end of the stream.
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
    // SAFETY: the kernel writes at most `room` bytes, and the spare capacity has at least that many.
    let n = check(unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            fd,
            spare.as_mut_ptr(),
            room,
            flags,
            NULL,
            NULL,
        )
    } as isize)?;
    // SAFETY: the kernel has initialized the first n bytes of the spare capacity.
    unsafe { buf.set_len(len + n.min(room)) };
    Ok(n)
}

/// Whether a receive would return bytes, the end of the stream or an error. For an idle connection, each of these
/// makes it unusable.
pub fn is_readable(fd: RawFd) -> bool {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.has_news(fd);
    }
    let mut byte = 0u8;
    // SAFETY: the pointer is that of one live byte.
    let n = unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            fd,
            &raw mut byte,
            1usize,
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
            NULL,
            NULL,
        )
    };
    n >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN)
}

/// Makes a non-blocking socket blocking.
pub fn set_blocking(fd: RawFd) -> io::Result<()> {
    let mut not: libc::c_int = 0;
    // SAFETY: the request reads one integer, which is alive.
    let n = unsafe { libc::ioctl(fd, libc::FIONBIO, &raw mut not) };
    check(n as isize).map(drop)
}

/// Makes a blocking receive fail with "would block" after `timeout`.
pub fn set_receive_timeout(fd: RawFd, timeout: Duration) -> io::Result<()> {
    let value = libc::timeval {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::c_long::MAX),
        tv_usec: timeout.subsec_micros() as _,
    };
    // SAFETY: the option takes a timeval, and the size is that of one.
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

/// Closes a descriptor that no Rust object owns: an event, or a socket that a forked child inherited.
pub fn close(fd: RawFd) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        simulator.closed(fd);
    }
    // SAFETY: the caller owns the descriptor and does not use it again. An error of close() has no remedy.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}
