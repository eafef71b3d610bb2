//! Sockets. They never block: macOS has no send that does not block on a socket that does.

use super::poll::poll;
use super::socket_identity::mark;
use super::uncancelled;
use crate::net::sys::pthread_cancel::PthreadCancelDisabled;
use crate::net::sys::socket::{RECV_TIMEOUT_MS, Recv};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::time::Duration;

/// What keeps a send to a closed peer from causing a SIGPIPE. macOS has an option of the socket instead.
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: libc::c_int = 0;
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: libc::c_int = libc::MSG_NOSIGNAL;

/// A new socket that does not block.
pub fn new_stream_socket(domain: Domain, protocol: Option<Protocol>) -> io::Result<Socket> {
    // socket2 sets close-on-exec, and SO_NOSIGPIPE on macOS.
    let socket = Socket::new(domain, Type::STREAM, protocol)?;
    socket.set_nonblocking(true)?;
    mark(&socket)?;
    Ok(socket)
}

/// Receives wait in a poll.
pub fn wait_in_receive(_fd: RawFd) -> io::Result<()> {
    Ok(())
}

#[inline]
pub fn send(fd: RawFd, bytes: &[u8]) -> isize {
    uncancelled::send(fd, bytes, NO_SIGNAL)
}

#[inline]
pub fn recv(fd: RawFd, room: &mut [MaybeUninit<u8>], how: Recv) -> isize {
    if how != Recv::Now {
        let mut fds = [libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        }];
        // After a signal, the receive fails as it does when nothing has arrived in time.
        let _ = poll(&mut fds, Some(Duration::from_millis(RECV_TIMEOUT_MS)));
    }
    // SAFETY: the pointer and the length are those of a live slice.
    unsafe { uncancelled::recv(fd, room.as_mut_ptr().cast(), room.len(), 0) }
}

/// Receives a byte without taking it.
pub fn peek(fd: RawFd) -> isize {
    let mut byte = 0u8;
    // SAFETY: the pointer is that of one live byte.
    unsafe { uncancelled::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK) }
}

pub fn close(fd: RawFd) {
    let _uncancelled = PthreadCancelDisabled::begin();
    // SAFETY: the caller owns the descriptor and does not use it again. An error of close() has no remedy.
    unsafe { libc::close(fd) };
}
