//! The address of a node: a host and a port in canonical form, so that equal addresses compare
//! equal; or the path of a unix socket.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::net::SocketAddr;
use std::path::Path;

use crate::error::{Error, Result};

/// Maximum length of a host name, in DNS and in the redirections of servers.
const MAX_HOST: usize = 255;

/// A host name or IP address, and a TCP port. Or, in the field `host`, the path of a unix socket, which has no port.
///
/// [`Address::new`] and [`Address::parse`] give the canonical form: names in lower case, IPv6
/// addresses in their shortest form and without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Checks a host (IPv6 without brackets) and a port, and brings them into canonical form.
    pub fn new(host: &str, port: u16) -> Result<Address> {
        let host = canonical_host(host).map_err(Error::invalid)?;
        if port == 0 {
            return Err(Error::invalid(BAD_PORT));
        }
        Ok(Address { host, port })
    }

    /// The unix socket at an absolute path, or what is wrong with the path.
    ///
    /// Only a URL names one: no server announces a path, and none of the functions that parse what a server says
    /// returns one.
    pub fn unix(path: &str) -> std::result::Result<Address, &'static str> {
        if !path.starts_with('/') {
            return Err("the path of the socket is not absolute");
        }
        if path.len() == 1 {
            return Err("the path of the socket is empty");
        }
        if path.chars().any(char::is_control) {
            return Err("the path of the socket contains a control character");
        }
        if SocketAddr::from_pathname(Path::new(path)).is_err() {
            return Err(
                "the path of the socket is longer than the system allows (107 bytes on Linux)",
            );
        }
        Ok(Address {
            host: path.to_owned(),
            port: 0,
        })
    }

    /// Whether it is the path of a unix socket. No host begins with a slash.
    pub fn is_unix(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Parses `host:port`, `[v6]:port` and `v6:port`, as in `MOVED 1 ::1:7000`.
    pub fn parse(text: &str) -> Result<Address> {
        let (host, port) = Address::split(text)?;
        Address::new(host, port)
    }

    /// Splits "host:port". The host is not checked, and has no brackets.
    ///
    /// For redirections, where the host may be empty (Redis >= 7.0 with
    /// `cluster-preferred-endpoint-type unknown-endpoint`) or "?" (type `hostname`, and none set).
    pub fn split(text: &str) -> Result<(&str, u16)> {
        // Servers print IPv6 without brackets: the port is after the last colon.
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| Error::invalid("the address has no port; write host:port"))?;
        let port = parse_port(port).ok_or_else(|| Error::invalid(BAD_PORT))?;
        Ok((without_brackets(host), port))
    }
}

/// A host without the brackets that an IPv6 address may have.
pub(crate) fn without_brackets(host: &str) -> &str {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    bare.filter(|bare| bare.contains(':')).unwrap_or(host)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unix() {
            f.write_str(&self.host)
        } else if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

pub(crate) const BAD_PORT: &str = "the port is not a number from 1 to 65535";

/// Parses a decimal port without a sign.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0)
}

/// The canonical form of a host, or what is wrong with it. The error does not repeat the host, which
/// may be a misplaced password.
pub(crate) fn canonical_host(host: &str) -> std::result::Result<String, &'static str> {
    if host.is_empty() {
        return Err("the host is empty");
    }
    if host.len() > MAX_HOST {
        return Err("the host is longer than 255 bytes");
    }
    if host.parse::<Ipv4Addr>().is_ok() {
        // IPv4 addresses have only one form.
        return Ok(host.to_string());
    }
    if host.contains(':') {
        return canonical_ipv6(host);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.split('.').any(str::is_empty) {
        return Err("the host has an empty label");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if !host.bytes().all(allowed) {
        return Err("the host has a character other than A-Z a-z 0-9 . - _");
    }
    // getaddrinfo() reads "1.2.3" and "1" as IPv4 addresses, which is never what was meant.
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|b| b.is_ascii_digit()) && name.parse::<Ipv4Addr>().is_err() {
        return Err("the host ends in a number but is not an IPv4 address");
    }
    Ok(host.to_ascii_lowercase())
}

fn canonical_ipv6(host: &str) -> std::result::Result<String, &'static str> {
    const BAD: &str = "the host is not an IPv6 address";
    let (address, scope) = match host.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (host, None),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| BAD)?;
    let Some(scope) = scope else {
        return Ok(address.to_string());
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if scope.is_empty() || !scope.bytes().all(allowed) {
        return Err("the scope of the IPv6 address is not the name or number of an interface");
    }
    Ok(format!("{address}%{scope}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_addresses_are_parsed() {
        for (text, host, port, shown) in [
            ("127.0.0.1:7000", "127.0.0.1", 7000, "127.0.0.1:7000"),
            (
                "Node-1.Example.COM:1",
                "node-1.example.com",
                1,
                "node-1.example.com:1",
            ),
            ("::1:7000", "::1", 7000, "[::1]:7000"),
            ("[::1]:7000", "::1", 7000, "[::1]:7000"),
            ("0:0:0:0:0:0:0:1:7000", "::1", 7000, "[::1]:7000"),
            (
                "fe80::1%eth0:65535",
                "fe80::1%eth0",
                65535,
                "[fe80::1%eth0]:65535",
            ),
            ("my_service:6379", "my_service", 6379, "my_service:6379"),
            ("host.:6379", "host.", 6379, "host.:6379"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(
                (address.host.as_str(), address.port),
                (host, port),
                "{text}"
            );
            assert_eq!(address.to_string(), shown);
            assert_eq!(Address::parse(shown).unwrap(), address);
        }
    }

    #[test]
    fn invalid_addresses_are_rejected() {
        let long = format!("{}:1", "a".repeat(256));
        for (text, why) in [
            ("", "no port"),
            ("host", "no port"),
            ("host:", "the port is not"),
            ("host:0", "the port is not"),
            ("host:65536", "the port is not"),
            ("host:+80", "the port is not"),
            ("host: 80", "the port is not"),
            (":7000", "the host is empty"),
            ("?:7000", "a character other"),
            ("a b:7000", "a character other"),
            ("h\u{f6}st:7000", "a character other"),
            ("a..b:7000", "an empty label"),
            ("1.2.3:7000", "not an IPv4 address"),
            ("256.0.0.1:7000", "not an IPv4 address"),
            ("fe80::1%:7000", "the scope"),
            ("12345::1:7000", "not an IPv6 address"),
            (&long, "longer than 255"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.message.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn unix_address_is_an_absolute_path_that_fits() {
        let longest = format!("/{}", "a".repeat(106));
        for path in ["/run/redis.sock", "/a:7000", "/a b", &longest] {
            let address = Address::unix(path).unwrap();
            assert!(address.is_unix() && address.port == 0);
            assert_eq!(address.to_string(), path);
        }
        let too_long = format!("{longest}a");
        for (path, why) in [
            ("", "not absolute"),
            ("run/redis.sock", "not absolute"),
            ("/", "is empty"),
            ("/a\nb", "a control character"),
            (&too_long, "longer than the system allows"),
        ] {
            assert!(Address::unix(path).unwrap_err().contains(why), "{path}");
        }
        for text in ["/run/redis.sock", "/run/redis.sock:7000"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn address_splits_into_host_and_port() {
        assert_eq!(Address::split(":7000").unwrap(), ("", 7000));
        assert_eq!(Address::split("?:7000").unwrap(), ("?", 7000));
        assert_eq!(Address::split("[::1]:7000").unwrap(), ("::1", 7000));
    }
}
