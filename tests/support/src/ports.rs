//! Ports that stay reserved while a server is down.
//!
//! Port 0 gives a port of the ephemeral range, which any outgoing connection of this machine may take while a killed
//! node waits for its restart. So ports are chosen below that range, and reserved against other clusters of this tool
//! by an abstract Unix socket: its name belongs to the network namespace, as ports do, and vanishes with the process.

use crate::error::{Result, fail};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// A port that no other cluster of this tool chooses while this value lives.
#[derive(Debug)]
pub(crate) struct Port {
    pub number: u16,
    _claim: UnixListener,
}

impl Port {
    /// Claims this port, if it is free.
    pub fn claim(number: u16) -> Option<Port> {
        let name = SocketAddr::from_abstract_name(format!("rdc-test-port-{number}")).ok()?;
        let claim = UnixListener::bind_addr(&name).ok()?;
        // The claim excludes other clusters of this tool; the bind detects other programs.
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Port {
            number,
            _claim: claim,
        })
    }

    /// Claims a free port and, for servers without `cluster-port`, the port 10000 above it, which they use for the
    /// cluster bus.
    pub fn free(with_bus: bool) -> Result<(Port, Option<Port>)> {
        const FIRST: u16 = 11000;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if NEXT.load(Ordering::Relaxed) == 0 {
            // Each process starts elsewhere, so that parallel test programs rarely collide.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let seed = now.map_or(1, |d| d.subsec_nanos()) ^ std::process::id().rotate_left(16);
            NEXT.store(seed | 1, Ordering::Relaxed);
        }
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let ephemeral = range
            .ok()
            .and_then(|r| r.split_whitespace().next()?.parse::<u16>().ok())
            .filter(|&low| low > FIRST + 2000)
            .unwrap_or(32768);
        let end = if with_bus {
            ephemeral - 10000
        } else {
            ephemeral
        };
        let span = u32::from(end.saturating_sub(FIRST).max(1000));
        for _ in 0..2000 {
            let at = NEXT.fetch_add(1, Ordering::Relaxed) % span;
            let Some(port) = Port::claim(FIRST + at as u16) else {
                continue;
            };
            if !with_bus {
                return Ok((port, None));
            }
            if let Some(bus) = Port::claim(port.number + 10000) {
                return Ok((port, Some(bus)));
            }
        }
        fail!("no free port on 127.0.0.1 between {FIRST} and {end}")
    }
}
