//! What wakes a queue from another thread.

use crate::net::{fire, process_number};
use std::os::fd::RawFd;

/// Wakes a queue from any thread, or from a signal handler.
#[derive(Clone, Copy)]
pub struct Wake {
    pub(super) fd: RawFd,
    /// A forked child would wake the queue of its parent.
    pub(super) process: i32,
}

impl Wake {
    /// Makes [`Queue::run`](super::Queue::run) return.
    pub fn wake(self) {
        if self.fd >= 0 && self.process == process_number() {
            fire(self.fd);
        }
    }
}
