//! Sockets: connect, send, receive.

use super::result::check;
use super::system;
#[cfg(test)]
use crate::sim_hooks;
use socket2::{SockAddr, Socket};
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
#[cfg(test)]
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;

/// The time that a receive blocks before a call checks for an interrupt. Linux counts it in ticks of its clock, of 4 ms
/// or 10 ms, and rounds up, so that a longer timeout would mean more than one tick.
pub const RECV_TIMEOUT_MS: u64 = 1;

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

/// Sends as much as fits into the socket's send buffer, without blocking. A closed peer is an error.
#[inline]
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.send(fd, bytes);
    }
    check(system::send(fd, bytes))
}

/// Whether a receive blocks, which takes at most `RECV_TIMEOUT_MS`, as the system measures it. On systems other than
/// Linux, a receive that blocks also returns before its room is full.
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
    let n = check(system::recv(fd, &mut spare[..room], how))?;
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
    if system::peek(fd) >= 0 {
        return true;
    }
    // An error of the system owns nothing. To drop it nevertheless would cost each write 17 instructions.
    let error = ManuallyDrop::new(io::Error::last_os_error());
    error.raw_os_error() != Some(libc::EAGAIN)
}

/// Closes a descriptor that no Rust object owns: an event, or a socket that a forked child inherited.
pub fn close(fd: RawFd) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        simulator.closed(fd);
    }
    system::close(fd);
}
