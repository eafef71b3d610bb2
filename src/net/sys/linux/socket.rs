//! Sockets. The system calls bypass the C library's wrappers, which are cancellation points.

use super::NULL;
use crate::net::sys::result::check;
use crate::net::sys::socket::{RECV_TIMEOUT_MS, Recv};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::time::Duration;

/// A new socket that does not block.
pub fn new_stream_socket(domain: Domain, protocol: Option<Protocol>) -> io::Result<Socket> {
    // socket2 sets close-on-exec.
    Socket::new(domain, Type::STREAM.nonblocking(), protocol)
}

/// Lets the receives of a connected socket wait in the kernel. A send never does.
pub fn wait_in_receive(fd: RawFd) -> io::Result<()> {
    let mut not: libc::c_int = 0;
    // SAFETY: the request reads one integer, which is alive.
    let n = unsafe { libc::ioctl(fd, libc::FIONBIO, &raw mut not) };
    check(n as isize)?;
    let timeout = Duration::from_millis(RECV_TIMEOUT_MS);
    let value = libc::timeval {
        tv_sec: timeout.as_secs() as _,
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

/// MSG_NOSIGNAL makes a closed peer an error instead of a SIGPIPE in the host process.
#[inline]
pub fn send(fd: RawFd, bytes: &[u8]) -> isize {
    // SAFETY: the pointer and the length are those of a live slice; the address is NULL.
    unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fd,
            bytes.as_ptr(),
            bytes.len(),
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
            NULL,
            NULL,
        ) as isize
    }
}

#[inline]
pub fn recv(fd: RawFd, room: &mut [MaybeUninit<u8>], how: Recv) -> isize {
    let flags = match how {
        Recv::Now => libc::MSG_DONTWAIT,
        Recv::Some => 0,
        Recv::All => libc::MSG_WAITALL,
    };
    // SAFETY: the pointer and the length are those of a live slice.
    unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            fd,
            room.as_mut_ptr(),
            room.len(),
            flags,
            NULL,
            NULL,
        ) as isize
    }
}

/// Receives a byte without taking it.
pub fn peek(fd: RawFd) -> isize {
    let mut byte = 0u8;
    // SAFETY: the pointer is that of one live byte.
    unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            fd,
            &raw mut byte,
            1usize,
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
            NULL,
            NULL,
        ) as isize
    }
}

pub fn close(fd: RawFd) {
    // SAFETY: the caller owns the descriptor and does not use it again. An error of close() has no remedy.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}
