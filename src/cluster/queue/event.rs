//! The event that wakes a queue or a subscriber from another thread.

use crate::cluster::client::Client;
use crate::cluster::state::Core;
use crate::net::{close, fire, new_event, process_number};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// The event of a queue. It is one of those that an interrupt of the client fires, if the client has a cluster.
pub struct WakeEvent {
    core: Option<Arc<Core>>,
    pub(super) fd: RawFd,
}

impl WakeEvent {
    pub fn new(client: &Client) -> io::Result<WakeEvent> {
        let core = client.core.clone();
        let fd = match &core {
            Some(core) => core.process().wakers.acquire_for_loop()?,
            None => new_event()?,
        };
        Ok(WakeEvent { core, fd })
    }

    pub fn fd(&self) -> RawFd {
        self.fd
    }
}

impl Drop for WakeEvent {
    fn drop(&mut self) {
        match &self.core {
            Some(core) => core.process().wakers.release_for_loop(self.fd),
            None => close(self.fd),
        }
    }
}

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
