//! Sleeping on a word of memory and waking its sleepers (futex), and yielding the processor.

use super::syscall::timespec;
#[cfg(test)]
use crate::sim_hooks;
use std::sync::atomic::AtomicU32;
#[cfg(test)]
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Sleeps while `word` has the value `expected`, until woken, `timeout` has passed or a signal arrived.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        if word.load(Ordering::SeqCst) == expected {
            simulator.futex_wait(word.as_ptr().addr(), timeout);
        }
        return;
    }
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

/// Wakes at most `count` threads that sleep on `word`.
pub fn futex_wake(word: &AtomicU32, count: i32) {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.futex_wake(word.as_ptr().addr(), count);
    }
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

/// Yields the processor to another thread.
pub fn yield_now() {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.yield_now();
    }
    std::thread::yield_now();
}
