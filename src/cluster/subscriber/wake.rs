//! Wakes a subscriber from another thread.

use crate::net::{fire, process_number};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes [`Subscriber::next`](super::Subscriber::next) return: from any thread, or from a signal handler.
#[derive(Clone)]
pub struct SubscriberWake {
    /// The event is also fired for all calls of the client: only this tells that the subscriber is meant.
    is_woken: Arc<AtomicBool>,
    fd: RawFd,
    /// A forked child would wake its parent.
    process: i32,
}

impl SubscriberWake {
    pub(super) fn new(fd: RawFd) -> SubscriberWake {
        SubscriberWake {
            is_woken: Arc::default(),
            fd,
            process: process_number(),
        }
    }

    pub fn wake(&self) {
        if self.fd >= 0 && self.process == process_number() {
            self.is_woken.store(true, Ordering::SeqCst);
            fire(self.fd);
        }
    }

    /// Whether it was woken since this was last asked.
    pub(super) fn take(&self) -> bool {
        self.is_woken.load(Ordering::Relaxed) && self.is_woken.swap(false, Ordering::SeqCst)
    }
}
