//! The resolver of the C library.

use crate::fiber::on_thread_stack;
#[cfg(test)]
use crate::sim_hooks;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// The C library's resolver has sources of names besides files and DNS, whatever nsswitch.conf says: macOS asks a daemon
/// that knows the name servers of each network, and multicast.
pub const HAS_OTHER_SOURCES: bool = cfg!(target_vendor = "apple");

/// The IP addresses of a host, from getaddrinfo(3). Blocks for as long as the system's resolver does.
pub fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.resolve(host, port);
    }
    // Modules of the C library's resolver may need more stack than a fiber has.
    on_thread_stack(|| (host, port).to_socket_addrs().map(Iterator::collect))
}
