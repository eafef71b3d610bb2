//! Threads that sleep on a word of memory (futex).

use crate::net::sys::result::timespec;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// The kernel has a list of them.
#[derive(Debug, Default)]
pub struct Sleepers;

impl Sleepers {
    pub fn sleep(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        let spec = timeout.map(timespec);
        let spec = spec
            .as_ref()
            .map_or(std::ptr::null(), |spec| &raw const *spec);
        // SAFETY: the word and the timeout outlive the call. The result is ignored because callers check their condition
        // after every return.
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

    pub fn wake(&self, word: &AtomicU32, count: i32) {
        // SAFETY: the word is alive; a wake does not access memory.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                count,
            );
        }
    }
}
