//! The files that say how this system finds hosts: hosts, resolv.conf and nsswitch.conf.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(super) const HOSTS: &str = "/etc/hosts";
pub(super) const SERVERS: &str = "/etc/resolv.conf";
pub(super) const SOURCES: &str = "/etc/nsswitch.conf";

/// What resolv.conf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// A name with fewer dots is first tried with the endings of `search`.
    pub(super) dots: usize,
    pub(super) patience: Duration,
    pub(super) rounds: u32,
}

impl Settings {
    /// As the system's resolver reads it: no more than three servers, and the last of several lists.
    pub(super) fn parse(text: &str) -> Settings {
        let mut settings = Settings {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            patience: Duration::from_secs(5),
            rounds: 2,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let ip = words.next().and_then(|ip| ip.parse().ok());
                    if let (Some(ip), 0..3) = (ip, settings.servers.len()) {
                        settings.servers.push(SocketAddr::new(ip, 53));
                    }
                }
                Some("search" | "domain") => {
                    settings.search = words.map(str::to_string).collect();
                }
                Some("options") => {
                    for option in words {
                        let number = |name: &str| {
                            let value = option.strip_prefix(name)?;
                            value.parse::<u32>().ok()
                        };
                        if let Some(dots) = number("ndots:") {
                            settings.dots = dots.min(15) as usize;
                        } else if let Some(seconds) = number("timeout:") {
                            settings.patience =
                                Duration::from_secs(u64::from(seconds.clamp(1, 30)));
                        } else if let Some(rounds) = number("attempts:") {
                            settings.rounds = rounds.clamp(1, 5);
                        }
                    }
                }
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
            settings.servers.push(SocketAddr::new(local, 53));
        }
        settings
    }

    /// The names to ask for, in order.
    pub(super) fn candidates(&self, host: &str) -> Vec<String> {
        if host.ends_with('.') {
            return vec![host.to_string()];
        }
        let longer = self.search.iter().map(|end| format!("{host}.{end}"));
        let mut names: Vec<String> = longer.collect();
        let first = host.matches('.').count() >= self.dots;
        names.insert(if first { 0 } else { names.len() }, host.to_string());
        names
    }
}

/// What the hosts file says of a host.
pub(super) fn listed(text: &str, host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let ip = words.next().and_then(|ip| ip.parse().ok());
        if let Some(ip) = ip
            && words.any(|name| name.eq_ignore_ascii_case(host))
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found
}

/// Whether the system knows sources of host names that are not known here.
pub(super) fn has_other_sources(text: &str) -> bool {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("hosts:"));
    let known = ["files", "dns", "resolve", "myhostname", "mymachines"];
    line.is_some_and(|line| {
        line.split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            // What stands in brackets says what to do about the source before it.
            .any(|word| !word.contains(['[', ']', '=']) && !known.contains(&word))
    })
}

pub(super) fn read(path: &str) -> String {
    // What cannot be read says nothing: a system without the file works as if it were empty.
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn files_as_systems_have_them() {
        let hosts = "127.0.0.1 localhost\n# 1.1.1.1 h\n10.0.0.1\tnode-1.Example node-1 # node-2\n\
                     ::1 localhost\n10.0.0.2 node-1\nnonsense node-1\n10.0.0.1 node-1\n";
        assert_eq!(listed(hosts, "NODE-1"), [ip("10.0.0.1"), ip("10.0.0.2")]);
        assert_eq!(listed(hosts, "localhost"), [ip("127.0.0.1"), ip("::1")]);
        assert_eq!(listed(hosts, "node-2"), [] as [IpAddr; 0]);
        let text = "# a comment\nnameserver 10.0.0.1 ; another\nnameserver fd00::1\nnameserver nonsense\n\
                    nameserver 10.0.0.3\nnameserver 10.0.0.4\ndomain a\nsearch b c\n\
                    options ndots:5 timeout:2 attempts:9 rotate\n";
        let servers = ["10.0.0.1:53", "[fd00::1]:53", "10.0.0.3:53"];
        let expected = Settings {
            servers: servers.iter().map(|s| s.parse().unwrap()).collect(),
            search: vec!["b".to_string(), "c".to_string()],
            dots: 5,
            patience: Duration::from_secs(2),
            rounds: 5,
        };
        assert_eq!(Settings::parse(text), expected);
        assert_eq!(expected.candidates("h.d"), ["h.d.b", "h.d.c", "h.d"]);
        assert_eq!(expected.candidates("h.d."), ["h.d."]);
        let nothing = Settings::parse("");
        assert_eq!(nothing.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(nothing.candidates("h.d"), ["h.d"]);
        for (line, others) in [
            ("hosts: files dns", false),
            (
                "passwd: files ldap\nhosts:\tfiles resolve [!UNAVAIL=return] myhostname dns # mdns",
                false,
            ),
            ("hosts: files mdns4_minimal [NOTFOUND=return] dns", true),
            ("hosts: files ldap dns", true),
            ("", false),
        ] {
            assert_eq!(has_other_sources(line), others, "{line}");
        }
    }
}
