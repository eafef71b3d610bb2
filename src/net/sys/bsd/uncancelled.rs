//! The system calls of each command, without cancellation points.
//!
//! macOS has a second name for each. FreeBSD's cancellation is switched off meanwhile, which needs no system call there,
//! but one on macOS.

use libc::{c_int, c_void, nfds_t, pollfd, size_t, ssize_t};
use std::ptr;

#[cfg(target_vendor = "apple")]
mod names {
    use super::*;
    use libc::{sockaddr, socklen_t};

    unsafe extern "C" {
        #[link_name = "sendto$NOCANCEL"]
        pub fn sendto(
            fd: c_int,
            bytes: *const c_void,
            len: size_t,
            flags: c_int,
            address: *const sockaddr,
            address_len: socklen_t,
        ) -> ssize_t;
        #[link_name = "recvfrom$NOCANCEL"]
        pub fn recvfrom(
            fd: c_int,
            room: *mut c_void,
            len: size_t,
            flags: c_int,
            address: *mut sockaddr,
            address_len: *mut socklen_t,
        ) -> ssize_t;
        #[link_name = "poll$NOCANCEL"]
        pub fn poll(fds: *mut pollfd, count: nfds_t, timeout_ms: c_int) -> c_int;
    }

    /// `kevent` is no cancellation point.
    pub fn uncancelled<T>(call: impl FnOnce() -> T) -> T {
        call()
    }
}

#[cfg(not(target_vendor = "apple"))]
mod names {
    pub use libc::{poll, recvfrom, sendto};

    use crate::net::sys::pthread_cancel::PthreadCancelDisabled;

    pub fn uncancelled<T>(call: impl FnOnce() -> T) -> T {
        let _uncancelled = PthreadCancelDisabled::begin();
        call()
    }
}

pub fn send(fd: c_int, bytes: &[u8], flags: c_int) -> ssize_t {
    // SAFETY: the pointer and the length are those of a live slice; the address is NULL.
    names::uncancelled(|| unsafe {
        names::sendto(
            fd,
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
            ptr::null(),
            0,
        )
    })
}

/// # Safety
///
/// `room` is the beginning of `len` bytes that may be written.
pub unsafe fn recv(fd: c_int, room: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: as the caller promises; the address is NULL.
    names::uncancelled(|| unsafe {
        names::recvfrom(fd, room, len, flags, ptr::null_mut(), ptr::null_mut())
    })
}

pub fn poll(fds: &mut [pollfd], timeout_ms: c_int) -> c_int {
    // SAFETY: the pointer and the length are those of a live slice.
    names::uncancelled(|| unsafe { names::poll(fds.as_mut_ptr(), fds.len() as nfds_t, timeout_ms) })
}

/// Runs a call of kevent().
pub fn kevent(call: impl FnOnce() -> c_int) -> c_int {
    names::uncancelled(call)
}
