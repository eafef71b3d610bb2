//! What a queue and a subscriber have of the system: fibers with their descriptors, and the event that wakes them.

use super::client::Client;
use super::state::Core;
use crate::error::{Code, Error, Result};
use crate::net::{TaskSet, close, has_events_of, new_event, process_number};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// What the system provides for an event loop.
pub struct EventLoop {
    pub tasks: TaskSet,
    pub wake: WakeEvent,
}

impl EventLoop {
    /// `user` is who needs it, for error messages.
    pub fn new(client: &Client, user: &str) -> Result<EventLoop> {
        let wake = WakeEvent::new(client)
            .map_err(|e| Error::new(Code::Io, format_args!("no descriptor for {user}: {e}")))?;
        let tasks = TaskSet::new(wake.fd())?;
        Ok(EventLoop { tasks, wake })
    }
}

/// The event that wakes a queue or a subscriber from another thread. It is one of those that an interrupt of the client
/// fires, if the client has a cluster.
pub struct WakeEvent {
    core: Option<Arc<Core>>,
    fd: RawFd,
    /// The process that has it.
    process: i32,
}

impl WakeEvent {
    fn new(client: &Client) -> io::Result<WakeEvent> {
        let core = client.core.clone();
        let fd = match &core {
            Some(core) => core.process().wakers.acquire_for_loop()?,
            None => new_event()?,
        };
        let process = process_number();
        Ok(WakeEvent { core, fd, process })
    }

    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// From now on, it is also fired when another thread has learned a new topology.
    pub fn follow_topology(&self) {
        if let Some(core) = &self.core {
            core.process().wakers.follow_topology(self.fd);
        }
    }
}

impl Drop for WakeEvent {
    fn drop(&mut self) {
        if !has_events_of(self.process) {
            return;
        }
        match &self.core {
            Some(core) => core.process().wakers.release_for_loop(self.fd),
            None => close(self.fd),
        }
    }
}
