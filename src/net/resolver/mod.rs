//! The resolver: the IP addresses of a host, by the hosts file and DNS, within a deadline.
//!
//! getaddrinfo() has no deadline and cannot be interrupted, and its asynchronous form starts threads. So this resolver
//! reads the hosts file and queries the name servers of resolv.conf itself. It calls getaddrinfo() only where
//! nsswitch.conf names other sources, or the system has some, and neither of these two has the name.

mod dns_client;
mod dns_config;
pub mod dns_message;
mod dns_transport;
mod host_files;

use dns_client::{query_servers, unresolved};
use dns_config::{DnsConfig, RESOLV_CONF};
use host_files::{HOSTS, NSSWITCH, addresses_of, has_other_sources, read, read_text};

#[cfg(test)]
use crate::deadline::Deadline;
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

/// How long an address that has failed is tried after the others of its name.
const FAILURE_TTL: Duration = Duration::from_secs(10);

/// The result of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lookup {
    addresses: Vec<IpAddr>,
    ttl: Duration,
}

/// Resolves the name of one node and caches its addresses.
#[derive(Debug, Default)]
pub struct Resolver {
    /// Boxed, because most nodes have no name.
    cache: Mutex<Option<Box<CachedAddresses>>>,
}

#[derive(Clone, Debug)]
struct CachedAddresses {
    addresses: Vec<IpAddr>,
    expires: Time,
    /// The addresses that have failed, and when. They outlive a lookup.
    failed: Vec<(IpAddr, Time)>,
    /// The last address that accepted a connection.
    connected: Option<IpAddr>,
}

impl CachedAddresses {
    /// When an address failed, if it has recently.
    fn failed_at(&self, ip: IpAddr, time: Time) -> Option<Time> {
        let failure = self.failed.iter().find(|(failed, _)| *failed == ip);
        let at = failure.map(|(_, at)| *at)?;
        (time < at.plus(FAILURE_TTL)).then_some(at)
    }

    /// The addresses in the order in which they are tried: first those that have not failed, then the one whose
    /// failure is the longest ago.
    fn in_order(&self, port: u16, time: Time) -> Vec<SocketAddr> {
        let mut order: Vec<(Option<Time>, IpAddr)> = Vec::with_capacity(self.addresses.len());
        for ip in &self.addresses {
            let failed_at = self.failed_at(*ip, time);
            // Few addresses: insertion takes less code than sorting.
            let place = order.partition_point(|(other, _)| *other <= failed_at);
            order.insert(place, (failed_at, *ip));
        }
        let ips = order.into_iter().map(|(_, ip)| ip);
        ips.map(|ip| SocketAddr::new(ip, port)).collect()
    }

    fn record_failure(&mut self, ip: IpAddr, time: Time) {
        self.failed
            .retain(|(failed, at)| *failed != ip && time < at.plus(FAILURE_TTL));
        self.failed.push((ip, time));
    }
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
        let (attempt, expired) = match cached {
            Some(cached) if time < cached.expires => return Ok(cached.in_order(port, time)),
            Some(cached) => (attempt.share(time, 2), Some(cached.addresses)),
            None => (attempt, None),
        };
        let (addresses, ttl) = match (look_up(host, attempt), expired) {
            (Ok(found), _) => (found.addresses, found.ttl),
            (Err(e), _) if matches!(e.code, Code::Interrupted | Code::Closed) => return Err(e),
            (Err(_), Some(expired)) => (expired, STALE_TTL),
            (Err(e), None) => return Err(e),
        };
        let time = now();
        let mut cache = lock(&self.cache);
        let before = cache.take().map(|before| *before);
        let cached = CachedAddresses {
            addresses,
            expires: time.plus(ttl),
            connected: before.as_ref().and_then(|before| before.connected),
            failed: before.map(|before| before.failed).unwrap_or_default(),
        };
        let addresses = cached.in_order(port, time);
        *cache = Some(Box::new(cached));
        Ok(addresses)
    }

    /// An address has accepted a connection.
    pub fn record_connection(&self, ip: IpAddr) {
        if let Some(cached) = &mut *lock(&self.cache) {
            cached.connected = Some(ip);
            cached.failed.retain(|(failed, _)| *failed != ip);
        }
    }

    /// An address has not accepted a connection.
    pub fn record_failure(&self, ip: IpAddr) {
        if let Some(cached) = &mut *lock(&self.cache) {
            cached.record_failure(ip, now());
        }
    }

    /// The node at the last address that accepted a connection is not usable. Whether the name has another address that
    /// has not failed recently.
    pub fn avoid_connected(&self) -> bool {
        let time = now();
        let mut cache = lock(&self.cache);
        let Some(cached) = &mut *cache else {
            return false;
        };
        let Some(ip) = cached.connected.take() else {
            return false;
        };
        cached.record_failure(ip, time);
        let mut others = cached.addresses.iter();
        others.any(|ip| cached.failed_at(*ip, time).is_none())
    }

    /// Whether the name has an address that has not failed recently, besides the one that was connected to last.
    pub fn has_other(&self) -> bool {
        let time = now();
        let cache = lock(&self.cache);
        cache.as_ref().is_some_and(|cached| {
            let is_other = |ip: &&IpAddr| cached.connected != Some(**ip);
            let mut others = cached.addresses.iter().filter(is_other);
            others.any(|ip| cached.failed_at(*ip, time).is_none())
        })
    }

    /// Whether the name has several addresses of one family, which may be different nodes. One of each family belongs
    /// to the same node.
    pub fn has_several(&self) -> bool {
        let cache = lock(&self.cache);
        cache.as_ref().is_some_and(|cached| {
            let v4 = cached.addresses.iter().filter(|ip| ip.is_ipv4()).count();
            v4 > 1 || cached.addresses.len() - v4 > 1
        })
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
    if let Some(simulator) = crate::sim_hooks::current() {
        if attempt.call.in_fiber {
            let answered = Deadline::at(now().plus(simulator.resolve_delay()));
            attempt.call.sleep(answered.min(attempt.until))?;
        }
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
        Err(error)
            if error.code == Code::Connect
                && (sys::HAS_OTHER_SOURCES || has_other_sources(&read_text(NSSWITCH))) =>
        {
            system_look_up(host, 0)
        }
        outcome => outcome.map(|found| lookup(found.ips, found.ttl)),
    }
}

fn system_look_up(host: &str, ttl: u32) -> Result<Lookup> {
    let found = sys::resolve(host, 0).map_err(|e| unresolved(host, e))?;
    Ok(lookup(found.iter().map(SocketAddr::ip).collect(), ttl))
}

fn lookup(addresses: Vec<IpAddr>, ttl_seconds: u32) -> Lookup {
    // Reachable addresses first; IPv6 before IPv4 where both are reachable.
    let rank = |ip: &IpAddr| (!has_route(*ip), ip.is_ipv4());
    let ranks: Vec<_> = addresses.iter().map(rank).collect();
    let of_rank = |wanted| {
        let ranked = addresses.iter().zip(&ranks);
        ranked
            .filter(move |(_, rank)| **rank == wanted)
            .map(|(ip, _)| *ip)
    };
    let order = [(false, false), (false, true), (true, false), (true, true)];
    Lookup {
        addresses: order.into_iter().flat_map(of_rank).collect(),
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
    fn failed_addresses_are_tried_last_and_oldest_failure_first() {
        let (a, b, c) = ("10.0.0.1", "10.0.0.2", "10.0.0.3");
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let time = now();
        let resolver = Resolver::default();
        assert!(!resolver.avoid_connected() && !resolver.has_several());
        *lock(&resolver.cache) = Some(Box::new(CachedAddresses {
            addresses: vec![ip(a), ip(b), ip(c)],
            expires: time.plus(MAX_TTL),
            failed: Vec::new(),
            connected: None,
        }));
        let order = |time| {
            let cache = lock(&resolver.cache);
            let addresses = cache.as_ref().unwrap().in_order(1, time);
            addresses
                .iter()
                .map(|address| address.ip().to_string())
                .collect::<Vec<_>>()
        };
        assert!(resolver.has_several());
        resolver.record_failure(ip(a));
        resolver.record_connection(ip(b));
        assert_eq!(order(time), [b, c, a]);
        assert!(resolver.avoid_connected(), "{c} is left");
        assert!(!resolver.avoid_connected(), "nothing is connected");
        assert_eq!(order(time), [c, a, b]);
        resolver.record_connection(ip(c));
        assert!(!resolver.avoid_connected(), "all have failed");
        assert_eq!(order(time), [a, b, c]);
        resolver.record_connection(ip(c));
        assert_eq!(order(time), [c, a, b]);
        assert_eq!(
            order(now().plus(FAILURE_TTL)),
            [a, b, c],
            "failures are forgotten"
        );
    }

    #[test]
    fn ttl_is_at_least_a_second_and_at_most_a_minute() {
        for (ttl, expected) in [(0, 1), (30, 30), (3600, 60), (u32::MAX, 60)] {
            assert_eq!(lookup(vec![], ttl).ttl, Duration::from_secs(expected));
        }
    }
}
