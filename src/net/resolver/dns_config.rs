//! The settings of resolv.conf: name servers, search domains, timeout and attempts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// glibc and musl use no more name servers than this.
const MAX_SERVERS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DnsConfig {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// A name with fewer dots is tried with the search domains first.
    pub(super) ndots: usize,
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
}

impl DnsConfig {
    /// Lines and options that cannot be parsed are ignored, as in the C library's resolver. The limits on the options
    /// are also those of that resolver. A name server with a scope (`fe80::1%eth0`) is ignored.
    pub(super) fn parse(bytes: &[u8]) -> DnsConfig {
        let (file, _ignored) = resolv_conf::Config::parse_with_errors(bytes);
        let plain = file.nameservers.iter().filter_map(|ip| match ip {
            resolv_conf::ScopedIp::V6(_, Some(_)) => None,
            ip => Some(IpAddr::from(ip)),
        });
        let mut servers: Vec<SocketAddr> = plain
            .take(MAX_SERVERS)
            .map(|ip| SocketAddr::new(ip, 53))
            .collect();
        if servers.is_empty() {
            servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
        }
        DnsConfig {
            servers,
            search: file.get_last_search_or_domain().cloned().collect(),
            ndots: file.ndots.min(15) as usize,
            timeout: Duration::from_secs(file.timeout.clamp(1, 30).into()),
            attempts: file.attempts.clamp(1, 5),
        }
    }

    /// The names to look up for a host, in order.
    pub(super) fn candidates(&self, host: &str) -> Vec<String> {
        if host.ends_with('.') {
            return vec![host.to_string()];
        }
        let qualified = self.search.iter().map(|domain| format!("{host}.{domain}"));
        let mut names: Vec<String> = qualified.collect();
        let as_is_first = host.matches('.').count() >= self.ndots;
        let position = if as_is_first { 0 } else { names.len() };
        names.insert(position, host.to_string());
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_the_c_library_reads_it() {
        let text = b"# a comment\nnameserver 10.0.0.1 ; another\nnameserver fd00::1\nnameserver nonsense\n\
            nameserver fe80::1%eth0\nnameserver 10.0.0.3\nnameserver 10.0.0.4\nunknown word\n\xff\xff\ndomain a\n\
            search b c\noptions ndots:5 timeout:2 attempts:9 ndots:x rotate unknown\n";
        let servers = ["10.0.0.1:53", "[fd00::1]:53", "10.0.0.3:53"];
        let expected = DnsConfig {
            servers: servers.iter().map(|s| s.parse().unwrap()).collect(),
            search: vec!["b".to_string(), "c".to_string()],
            ndots: 5,
            timeout: Duration::from_secs(2),
            attempts: 5,
        };
        assert_eq!(DnsConfig::parse(text), expected);
        assert_eq!(expected.candidates("h.d"), ["h.d.b", "h.d.c", "h.d"]);
        assert_eq!(expected.candidates("h.d."), ["h.d."]);
        assert_eq!(DnsConfig::parse(b"search b c\ndomain a\n").search, ["a"]);
        let limits = DnsConfig::parse(b"options ndots:99 timeout:0 attempts:0\n");
        assert_eq!((limits.ndots, limits.attempts), (15, 1));
        assert_eq!(limits.timeout, Duration::from_secs(1));
    }

    #[test]
    fn empty_resolv_conf_means_local_server_and_defaults() {
        let empty = DnsConfig::parse(b"");
        assert_eq!(empty.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(empty.candidates("h.d"), ["h.d"]);
        assert_eq!((empty.ndots, empty.attempts), (1, 2));
        assert_eq!(empty.timeout, Duration::from_secs(5));
    }
}
