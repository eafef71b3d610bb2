//! The resolver: the IP addresses of a host, by the hosts file and DNS, within a deadline.
//!
//! getaddrinfo() has no deadline and cannot be interrupted, and its asynchronous form starts threads. So this resolver
//! reads the hosts file and queries the name servers of resolv.conf itself. It calls getaddrinfo() only where
//! nsswitch.conf names other sources and neither of these two has the name.

mod dns_client;
mod dns_config;
pub mod dns_message;
mod dns_transport;
mod host_files;

use dns_client::{query_servers, unresolved};
use dns_config::{DnsConfig, RESOLV_CONF};
use host_files::{HOSTS, NSSWITCH, addresses_of, has_other_sources, read, read_text};

use crate::deadline::{Time, now};
use crate::error::{Code, Result};
use crate::net::sys;
use crate::net::wait::Attempt;
use crate::sync::{Mutex, lock};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Limits on the TTL. The minimum saves look-ups when many connections are opened. With the maximum, a change takes
/// effect within a minute.
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(60);

/// How long expired addresses stay in use after a failed lookup.
const STALE_TTL: Duration = Duration::from_secs(5);

/// The result of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lookup {
    addresses: Vec<IpAddr>,
    ttl: Duration,
}

/// Resolves the name of one node and caches its addresses.
#[derive(Debug, Default)]
pub struct Resolver {
    cache: Mutex<Option<CachedAddresses>>,
}

#[derive(Clone, Debug)]
struct CachedAddresses {
    addresses: Vec<IpAddr>,
    expires: Time,
}

impl Resolver {
    /// The socket addresses of a host. If the cache has expired, the lookup gets half of the attempt's time, and expired
    /// addresses are used if it fails.
    pub fn resolve(&self, host: &str, port: u16, attempt: Attempt<'_>) -> Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        if is_numeric(host) {
            // getaddrinfo() only parses these, without I/O.
            return sys::resolve(host, port).map_err(|e| unresolved(host, e));
        }
        let time = now();
        let cached = lock(&self.cache).clone();
        let with_port = |addresses: Vec<IpAddr>| {
            let ips = addresses.into_iter();
            ips.map(|ip| SocketAddr::new(ip, port)).collect()
        };
        let (attempt, expired) = match cached {
            Some(cached) if time < cached.expires => return Ok(with_port(cached.addresses)),
            Some(cached) => (attempt.share(time, 2), Some(cached.addresses)),
            None => (attempt, None),
        };
        let (addresses, ttl) = match (look_up(host, attempt), expired) {
            (Ok(found), _) => (found.addresses, found.ttl),
            (Err(e), _) if matches!(e.code, Code::Interrupted | Code::Closed) => return Err(e),
            (Err(_), Some(expired)) => (expired, STALE_TTL),
            (Err(e), None) => return Err(e),
        };
        let expires = now().plus(ttl);
        *lock(&self.cache) = Some(CachedAddresses {
            addresses: addresses.clone(),
            expires,
        });
        Ok(with_port(addresses))
    }

    /// Forgets the cached addresses, which have led to another node. Whether there were any.
    pub fn forget(&self) -> bool {
        lock(&self.cache).take().is_some()
    }

    /// Expires the cached addresses: none of them accepted a connection, so they may have changed.
    pub fn invalidate(&self) {
        if let Some(cached) = &mut *lock(&self.cache) {
            cached.expires = now();
        }
    }
}

/// Whether a host is an address in a form that only getaddrinfo() parses: with a zone, or of fewer than four numbers.
fn is_numeric(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    host.contains('%') || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

fn look_up(host: &str, attempt: Attempt<'_>) -> Result<Lookup> {
    #[cfg(test)]
    if crate::sim_hooks::current().is_some() {
        return system_look_up(host, u32::MAX);
    }
    let mut addresses = addresses_of(&read_text(HOSTS), host);
    let plain = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if addresses.is_empty() && (plain == "localhost" || plain.ends_with(".localhost")) {
        addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    if !addresses.is_empty() {
        // Reading the file again is cheap.
        return Ok(lookup(addresses, 0));
    }
    let config = DnsConfig::parse(&read(RESOLV_CONF));
    match query_servers(host, &config, attempt) {
        Err(error) if error.code == Code::Connect && has_other_sources(&read_text(NSSWITCH)) => {
            system_look_up(host, 0)
        }
        outcome => outcome.map(|found| lookup(found.ips, found.ttl)),
    }
}

fn system_look_up(host: &str, ttl: u32) -> Result<Lookup> {
    let found = sys::resolve(host, 0).map_err(|e| unresolved(host, e))?;
    Ok(lookup(found.iter().map(SocketAddr::ip).collect(), ttl))
}

fn lookup(mut addresses: Vec<IpAddr>, ttl_seconds: u32) -> Lookup {
    // Reachable addresses first; IPv6 before IPv4 where both are reachable.
    addresses.sort_by_cached_key(|ip| (!has_route(*ip), ip.is_ipv4()));
    Lookup {
        addresses,
        ttl: Duration::from_secs(ttl_seconds.into()).clamp(MIN_TTL, MAX_TTL),
    }
}

/// Whether the kernel has a route to this address; nothing is sent.
fn has_route(ip: IpAddr) -> bool {
    dns_transport::udp_socket(SocketAddr::new(ip, 9)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_zone_or_few_numbers_are_numeric() {
        for (host, numeric) in [
            ("fe80::1%eth0", true),
            ("127.1", true),
            ("node-1", false),
            ("h.example.", false),
        ] {
            assert_eq!(is_numeric(host), numeric, "{host}");
        }
    }

    #[test]
    fn ttl_is_at_least_a_second_and_at_most_a_minute() {
        for (ttl, expected) in [(0, 1), (30, 30), (3600, 60), (u32::MAX, 60)] {
            assert_eq!(lookup(vec![], ttl).ttl, Duration::from_secs(expected));
        }
    }
}
