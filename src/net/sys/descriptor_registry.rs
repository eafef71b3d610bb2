//! The open sockets of a process, which a forked child closes.

use super::socket::close;
use crate::sync::{Mutex, lock};
use std::os::fd::RawFd;
use std::sync::Arc;

/// The descriptors of all connections of one process.
#[derive(Debug, Default)]
pub struct DescriptorRegistry {
    open: Mutex<Vec<RawFd>>,
}

impl DescriptorRegistry {
    /// Adds a descriptor, until the result is dropped.
    pub fn register(self: &Arc<DescriptorRegistry>, fd: RawFd) -> RegisteredFd {
        lock(&self.open).push(fd);
        RegisteredFd {
            registry: self.clone(),
            fd,
        }
    }

    /// In a forked child: closes the descriptors that the parent had registered. If another thread of the parent held
    /// the lock at the fork, the lock is never released in the child. The descriptors then stay open.
    pub fn close_inherited(&self) {
        if let Ok(open) = self.open.try_lock() {
            for fd in open.iter() {
                close(*fd);
            }
        }
    }
}

/// A registered descriptor. Drop it before the socket: after that, another socket may get the same number.
#[derive(Debug)]
pub struct RegisteredFd {
    registry: Arc<DescriptorRegistry>,
    fd: RawFd,
}

impl Drop for RegisteredFd {
    fn drop(&mut self) {
        #[cfg(test)]
        if let Some(simulator) = crate::sim_hooks::current() {
            simulator.closed(self.fd);
        }
        let mut open = lock(&self.registry.open);
        if let Some(at) = open.iter().position(|fd| *fd == self.fd) {
            open.swap_remove(at);
        }
    }
}
