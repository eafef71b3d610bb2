//! The option `address_map`: maps the addresses that the cluster announces to reachable ones.

use std::fmt;

use crate::address::{Address, BAD_PORT, canonical_host, parse_port};

/// One side of a pair: a host, and optionally a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: Option<u16>,
}

impl HostPort {
    /// Parses host or host:port, with IPv6 in brackets.
    fn parse(text: &str) -> std::result::Result<HostPort, &'static str> {
        let (host, port) = split_host_port(text)?;
        Ok(HostPort {
            host: canonical_host(host)?,
            port: match port {
                Some(port) => Some(parse_port(port).ok_or(BAD_PORT)?),
                None => None,
            },
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Splits host, host:port, `[v6]` or `[v6]:port`. Neither part is checked.
pub(super) fn split_host_port(
    text: &str,
) -> std::result::Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or("the bracket of the IPv6 address is not closed")?;
        if !host.contains(':') {
            return Err("only an IPv6 address may be in brackets");
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("only a port may follow the bracket"),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            Err("it has several colons; write an IPv6 address in brackets, as [::1]:6379")
        }
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

/// Pairs of announced and reachable addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressMap {
    pub pairs: Vec<(HostPort, HostPort)>,
}

impl AddressMap {
    /// Parses `from=to,from=to`. An empty text is an empty map.
    pub(super) fn parse(text: &str) -> std::result::Result<AddressMap, String> {
        let mut map = AddressMap::default();
        if text.is_empty() {
            return Ok(map);
        }
        for (index, pair) in text.split(',').enumerate() {
            let error = |why: &str| format!("pair {}: {why}", index + 1);
            let (from, to) = pair
                .split_once('=')
                .ok_or_else(|| error("it has no '=' between announced and reachable address"))?;
            let from = HostPort::parse(from).map_err(error)?;
            let to = HostPort::parse(to).map_err(error)?;
            if map.pairs.iter().any(|(known, _)| *known == from) {
                return Err(error(&format!("{from} is mapped twice")));
            }
            map.pairs.push((from, to));
        }
        Ok(map)
    }

    /// The reachable address of a node. A pair with the announced host and port takes precedence over
    /// a pair with the host only; without a pair the address is unchanged. A target without a port
    /// keeps the announced port.
    pub fn apply(&self, announced: &Address) -> Address {
        let same_host = |from: &HostPort| from.host == announced.host;
        let pair = self
            .pairs
            .iter()
            .find(|(from, _)| same_host(from) && from.port == Some(announced.port))
            .or_else(|| {
                self.pairs
                    .iter()
                    .find(|(from, _)| same_host(from) && from.port.is_none())
            });
        match pair {
            Some((_, to)) => Address {
                host: to.host.clone(),
                port: to.port.unwrap_or(announced.port),
            },
            None => announced.clone(),
        }
    }
}

impl fmt::Display for AddressMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to)) in self.pairs.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{from}={to}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_map_replaces_announced_addresses() {
        let map = AddressMap::parse("10.0.0.1:7000=h:1,10.0.0.1=h2,[fd00::1]=[::1]:9").unwrap();
        for (announced, reached) in [
            ("10.0.0.1:7000", "h:1"),
            ("10.0.0.1:7001", "h2:7001"),
            ("fd00:0::1:5", "[::1]:9"),
            ("10.0.0.2:7000", "10.0.0.2:7000"),
        ] {
            let reached = Address::parse(reached).unwrap();
            assert_eq!(map.apply(&Address::parse(announced).unwrap()), reached);
        }
        let shown = map.to_string();
        assert_eq!(shown, "10.0.0.1:7000=h:1,10.0.0.1=h2,[fd00::1]=[::1]:9");
        assert_eq!(AddressMap::parse(&shown).unwrap(), map);
        assert_eq!(AddressMap::parse("").unwrap(), AddressMap::default());
    }

    #[test]
    fn exact_address_rule_wins_in_any_position() {
        let map = AddressMap::parse("a=b,a:1=c:2").unwrap();
        assert_eq!(
            map.apply(&Address::parse("a:1").unwrap()).to_string(),
            "c:2"
        );
        assert_eq!(
            map.apply(&Address::parse("a:3").unwrap()).to_string(),
            "b:3"
        );
    }

    #[test]
    fn invalid_address_maps_are_rejected() {
        for (text, why) in [
            ("a", "pair 1: it has no '='"),
            ("a=b,", "pair 2: it has no '='"),
            ("=b", "pair 1: the host is empty"),
            ("a=", "pair 1: the host is empty"),
            ("a=b:0", "the port is not"),
            ("a:=b", "the port is not"),
            ("::1=b", "write an IPv6 address in brackets"),
            ("[::1=b", "not closed"),
            ("[::1]7=b", "only a port may follow"),
            ("[a]=b", "only an IPv6 address"),
            ("a=b=c", "a character other"),
            ("a:1=b,A:1=c", "pair 2: a:1 is mapped twice"),
        ] {
            let error = AddressMap::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
