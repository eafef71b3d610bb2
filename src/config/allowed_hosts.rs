//! The option `allowed_hosts`: which hosts the cluster's maps and redirections may lead to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::canonical_host;

/// Whether a connection to a host may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Allowed,
    Refused,
    /// A name that only its addresses can allow: those that [`AllowedHosts::has_ip`] accepts.
    IfResolved,
}

/// A list of names, patterns of names, and networks. The empty list allows every host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Name(String),
    /// `*.` and this domain: every name below it, but not the domain itself.
    Below(String),
    Network {
        ip: IpAddr,
        prefix: u8,
    },
}

impl AllowedHosts {
    /// Parses `name,*.domain,10.0.0.1,10.0.0.0/8,fd00::/8`.
    pub(super) fn parse(text: &str) -> std::result::Result<AllowedHosts, String> {
        let mut hosts = AllowedHosts::default();
        if text.is_empty() {
            return Ok(hosts);
        }
        for (index, entry) in text.split(',').enumerate() {
            let entry = Entry::parse(entry).map_err(|why| format!("entry {}: {why}", index + 1))?;
            hosts.entries.push(entry);
        }
        Ok(hosts)
    }

    /// Whether a canonical host may be connected to: an IP address by the networks, a name by the names. A name that
    /// no entry matches may still resolve to an address of a network.
    pub fn admission(&self, host: &str) -> Admission {
        if self.entries.is_empty() {
            return Admission::Allowed;
        }
        let is_allowed = match parse_ip(host) {
            Some(ip) => self.has_ip(ip),
            None => self.entries.iter().any(|entry| entry.has_name(host)),
        };
        let has_network = || (self.entries.iter()).any(|e| matches!(e, Entry::Network { .. }));
        match is_allowed {
            true => Admission::Allowed,
            false if parse_ip(host).is_none() && has_network() => Admission::IfResolved,
            false => Admission::Refused,
        }
    }

    /// Whether an address is in one of the networks.
    pub fn has_ip(&self, ip: IpAddr) -> bool {
        self.entries.iter().any(|entry| entry.has_ip(ip))
    }
}

impl Entry {
    fn parse(text: &str) -> std::result::Result<Entry, &'static str> {
        if let Some(domain) = text.strip_prefix("*.") {
            let domain = canonical_host(domain)?;
            return match parse_ip(&domain) {
                Some(_) => Err("a wildcard stands for names; write a network as 10.0.0.0/8"),
                None => Ok(Entry::Below(without_dot(&domain).to_owned())),
            };
        }
        let (host, prefix) = match text.split_once('/') {
            Some((host, prefix)) => (host, Some(prefix)),
            None => (text, None),
        };
        if host.matches(':').count() == 1 {
            return Err("hosts are listed without a port");
        }
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = canonical_host(bare.unwrap_or(host))?;
        match (parse_ip(&host), prefix) {
            (Some(ip), prefix) => Entry::network(ip, prefix),
            (None, None) => Ok(Entry::Name(without_dot(&host).to_owned())),
            (None, Some(_)) => Err("only an IP address can have a prefix length"),
        }
    }

    fn network(ip: IpAddr, prefix: Option<&str>) -> std::result::Result<Entry, &'static str> {
        const BAD: &str = "the prefix length is not a number up to 32 (IPv4) or 128 (IPv6)";
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok().filter(|n| *n <= bits).ok_or(BAD)?
            }
            Some(_) => return Err(BAD),
        };
        Ok(Entry::Network {
            ip: masked(ip, prefix),
            prefix,
        })
    }

    fn has_name(&self, host: &str) -> bool {
        let host = without_dot(host);
        match self {
            Entry::Name(name) => host == name,
            Entry::Below(domain) => host
                .strip_suffix(domain.as_str())
                .is_some_and(|label| label.len() > 1 && label.ends_with('.')),
            Entry::Network { .. } => false,
        }
    }

    fn has_ip(&self, other: IpAddr) -> bool {
        let other = other.to_canonical();
        match self {
            Entry::Network { ip, prefix } if ip.is_ipv4() == other.is_ipv4() => {
                masked(other, *prefix) == *ip
            }
            _ => false,
        }
    }
}

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.entries.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match entry {
                Entry::Name(name) => f.write_str(name)?,
                Entry::Below(domain) => write!(f, "*.{domain}")?,
                Entry::Network { ip, prefix } => match (ip, *prefix) {
                    (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{ip}")?,
                    _ => write!(f, "{ip}/{prefix}")?,
                },
            }
        }
        Ok(())
    }
}

/// A name with and without its final dot is the same name.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// An address without its scope. An IPv4 address within IPv6 is the IPv4 address.
fn parse_ip(host: &str) -> Option<IpAddr> {
    let ip: IpAddr = host.split('%').next()?.parse().ok()?;
    Some(ip.to_canonical())
}

/// The network of this prefix length that an address is in.
fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    let shift = u32::from(prefix);
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - shift).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - shift).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Admission::{Allowed, IfResolved, Refused};

    #[test]
    fn names_and_networks_decide_which_hosts_are_allowed() {
        for (list, host, expected) in [
            ("", "anything", Allowed),
            ("", "10.0.0.1", Allowed),
            ("n1.example", "n1.example", Allowed),
            ("n1.example", "n1.example.", Allowed),
            ("N1.Example.", "n1.example", Allowed),
            ("n1.example", "n2.example", Refused),
            ("n1.example", "10.0.0.1", Refused),
            ("*.example", "a.example", Allowed),
            ("*.example", "a.b.example", Allowed),
            ("*.example", "example", Refused),
            ("*.example", "badexample", Refused),
            ("*.example", "example.org", Refused),
            ("10.0.0.1", "10.0.0.1", Allowed),
            ("10.0.0.1", "10.0.0.2", Refused),
            ("10.0.0.7/8", "10.255.0.1", Allowed),
            ("10.0.0.0/8", "11.0.0.1", Refused),
            ("10.0.0.0/8", "::ffff:10.1.1.1", Allowed),
            ("10.0.0.128/25", "10.0.0.127", Refused),
            ("0.0.0.0/0", "192.0.2.1", Allowed),
            ("0.0.0.0/0", "fd00::1", Refused),
            ("::/0", "fd00::1", Allowed),
            ("::/0", "10.0.0.1", Refused),
            ("fd00::/8", "fd12::9", Allowed),
            ("[fd00::1]", "fd00::1", Allowed),
            ("fe80::/10", "fe80::1%eth0", Allowed),
            ("fd00::/8,n1", "n1", Allowed),
            ("fd00::/8,n1", "n2", IfResolved),
            ("fd00::/8,n1", "10.0.0.1", Refused),
        ] {
            let hosts = AllowedHosts::parse(list).unwrap();
            assert_eq!(hosts.admission(host), expected, "{list}: {host}");
            let shown = hosts.to_string();
            assert_eq!(AllowedHosts::parse(&shown).unwrap(), hosts, "{shown}");
        }
    }

    #[test]
    fn invalid_lists_of_allowed_hosts_are_rejected() {
        for (text, why) in [
            (",", "entry 1: the host is empty"),
            ("a,", "entry 2: the host is empty"),
            ("*", "entry 1: the host has a character"),
            ("a*.b", "the host has a character"),
            ("*.", "the host is empty"),
            ("*.10.0.0.1", "a wildcard stands for names"),
            ("10.0.0.0/33", "the prefix length"),
            ("fd00::/129", "the prefix length"),
            ("10.0.0.0/", "the prefix length"),
            ("10.0.0.0/+8", "the prefix length"),
            ("10.0.0.0/256", "the prefix length"),
            ("a/8", "only an IP address"),
            ("a:1", "hosts are listed without a port"),
            ("10.0.0.0/8 ", "the prefix length"),
        ] {
            let error = AllowedHosts::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
