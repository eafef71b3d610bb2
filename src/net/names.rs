//! The IP addresses of a host, by a deadline.
//!
//! The system's own resolver cannot be told how long it may take, nor be interrupted, and its
//! asynchronous form starts threads. So what nearly every system is set up for is done here: the
//! hosts file, then the name servers of resolv.conf, asked like any other peer. Only where the
//! system knows other sources and these two know nothing is it asked itself.

mod files;
mod servers;

use files::{HOSTS, SERVERS, SOURCES, Settings, has_other_sources, listed, read};
use servers::{ask, socket_to};

use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::sys;
use crate::net::wait::Call;
use crate::sync::{Mutex, lock};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long what was found holds, whatever the servers say: not asked at every connection, and not
/// believed for long after a change.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);

/// For how long what was known before has to do where nobody can say what holds now.
const STALE: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub addresses: Vec<IpAddr>,
    pub holds: Duration,
}

/// What is known of the name of one node.
#[derive(Debug, Default)]
pub struct Names {
    known: Mutex<Option<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    until: Time,
}

impl Names {
    /// Where a host can be reached, by `until`. What was known before serves where it cannot be
    /// looked up again in half of that time.
    pub fn of(
        &self,
        host: &str,
        port: u16,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        if is_numeric(host) {
            // The system reads them without asking anybody.
            return sys::resolve(host, port).map_err(|e| unknown(host, e));
        }
        let time = now();
        let known = lock(&self.known).clone();
        let with_port = |addresses: Vec<IpAddr>| {
            let ips = addresses.into_iter();
            ips.map(|ip| SocketAddr::new(ip, port)).collect()
        };
        let (until, known) = match known {
            Some(known) if time < known.until => return Ok(with_port(known.addresses)),
            Some(known) => (until.share(time, 2), Some(known.addresses)),
            None => (until, None),
        };
        let (addresses, holds) = match (look_up(host, call, until), known) {
            (Ok(found), _) => (found.addresses, found.holds),
            (Err(e), _) if matches!(e.code, Code::Interrupted | Code::Closed) => return Err(e),
            (Err(_), Some(known)) => (known, STALE),
            (Err(e), None) => return Err(e),
        };
        let until = now().plus(holds);
        *lock(&self.known) = Some(Known {
            addresses: addresses.clone(),
            until,
        });
        Ok(with_port(addresses))
    }

    /// At none of its addresses was anybody: they may have changed.
    pub fn doubt(&self) {
        if let Some(known) = &mut *lock(&self.known) {
            known.until = now();
        }
    }
}

/// An address of a form that only the system reads: with a zone, or of fewer than four numbers.
fn is_numeric(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    host.contains('%') || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

/// Looks a host up, by `until`.
pub fn look_up(host: &str, call: &Call<'_>, until: Deadline) -> Result<Found> {
    #[cfg(test)]
    if let Some(simulator) = crate::sim_hooks::current() {
        return match simulator.resolve(host, 0) {
            Ok(found) => Ok(lasting(
                found.iter().map(SocketAddr::ip).collect(),
                u32::MAX,
            )),
            Err(e) => Err(unknown(host, e)),
        };
    }
    let mut addresses = listed(&read(HOSTS), host);
    let plain = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if addresses.is_empty() && (plain == "localhost" || plain.ends_with(".localhost")) {
        addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    if !addresses.is_empty() {
        // A file is quickly read again.
        return Ok(lasting(addresses, 0));
    }
    let asked = ask(host, &Settings::parse(&read(SERVERS)), call, until);
    match asked {
        Err(error) if error.code == Code::Connect && has_other_sources(&read(SOURCES)) => {
            match sys::resolve(host, 0) {
                Ok(found) => Ok(lasting(found.iter().map(SocketAddr::ip).collect(), 0)),
                Err(e) => Err(unknown(host, e)),
            }
        }
        asked => asked,
    }
}

fn lasting(mut addresses: Vec<IpAddr>, seconds: u32) -> Found {
    // Those that there is a way to come first, and IPv6 before IPv4 where there is a way to both.
    addresses.sort_by_cached_key(|ip| (!has_route(*ip), ip.is_ipv4()));
    Found {
        addresses,
        holds: Duration::from_secs(seconds.into()).clamp(LEAST, MOST),
    }
}

/// Whether the system would know where to send something for this address; nothing is sent.
fn has_route(ip: IpAddr) -> bool {
    socket_to(SocketAddr::new(ip, 9)).is_ok()
}

fn unknown(host: &str, why: impl std::fmt::Display) -> Error {
    Error::new(
        Code::Connect,
        format_args!("{host} cannot be resolved: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_only_the_system_reads() {
        for (host, numeric) in [
            ("fe80::1%eth0", true),
            ("127.1", true),
            ("node-1", false),
            ("h.example.", false),
        ] {
            assert_eq!(is_numeric(host), numeric, "{host}");
        }
    }
}
