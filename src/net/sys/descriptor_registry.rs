//! The open sockets of a process, which a forked child closes.

use super::closed_sockets::count_closed;
use super::fork_mark::process_number;
use super::pthread_cancel::PthreadCancelDisabled;
use super::socket::close;
use super::system::{SocketIdentity, socket_identity};
use crate::sync::{Mutex, lock, try_lock};
use socket2::Socket;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// The descriptors of all connections of one process.
#[derive(Debug, Default)]
pub struct DescriptorRegistry {
    open: Mutex<Vec<Descriptor>>,
}

/// A descriptor, and the socket that it refers to.
#[derive(Debug, PartialEq)]
struct Descriptor {
    fd: RawFd,
    identity: SocketIdentity,
}

impl Descriptor {
    /// What `fd` refers to now; `None` if it is not open.
    fn of(fd: RawFd) -> Option<Descriptor> {
        let identity = socket_identity(fd)?;
        Some(Descriptor { fd, identity })
    }
}

impl DescriptorRegistry {
    /// Takes a socket, and registers it until it is dropped.
    pub fn register(self: &Arc<DescriptorRegistry>, socket: Socket) -> RegisteredSocket {
        // The library opened it: this fails only if the program closes descriptors that are not its own.
        if let Some(descriptor) = Descriptor::of(socket.as_raw_fd()) {
            lock(&self.open).push(descriptor);
        }
        RegisteredSocket {
            registry: self.clone(),
            process: process_number(),
            socket: ManuallyDrop::new(socket),
        }
    }

    /// In a forked child: closes the sockets that the parent had registered. A number that refers to something else by
    /// now belongs to the program: a daemon closes all descriptors after the fork and opens its own. If another thread of
    /// the parent held the lock at the fork, the lock is never released in the child. The sockets then stay open.
    pub fn close_inherited(&self) {
        let Some(open) = try_lock(&self.open) else {
            return;
        };
        for inherited in open.iter() {
            if Descriptor::of(inherited.fd).as_ref() == Some(inherited) {
                close(inherited.fd);
            }
        }
    }
}

/// A registered socket, closed when it is dropped. In a forked child the drop does nothing: there the number may belong
/// to the program, another thread may have held the registry's lock at the fork, and
/// [`DescriptorRegistry::close_inherited`] closes what has to be closed.
#[derive(Debug)]
pub struct RegisteredSocket {
    registry: Arc<DescriptorRegistry>,
    /// The process that opened the socket.
    process: i32,
    socket: ManuallyDrop<Socket>,
}

impl Deref for RegisteredSocket {
    type Target = Socket;

    #[inline]
    fn deref(&self) -> &Socket {
        &self.socket
    }
}

impl Drop for RegisteredSocket {
    fn drop(&mut self) {
        if self.process != process_number() {
            return;
        }
        count_closed();
        let fd = self.socket.as_raw_fd();
        #[cfg(test)]
        if let Some(simulator) = crate::sim_hooks::current() {
            simulator.closed(fd);
        }
        // Before the close: after it, another socket may get the same number.
        let mut open = lock(&self.registry.open);
        if let Some(at) = open.iter().position(|entry| entry.fd == fd) {
            open.swap_remove(at);
        }
        drop(open);
        // close() is a cancellation point.
        let _cancel_disabled = PthreadCancelDisabled::begin();
        // SAFETY: dropped only here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.socket) };
    }
}
