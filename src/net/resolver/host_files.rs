//! The files with host names: /etc/hosts, and nsswitch.conf, which names the other sources.

use std::net::IpAddr;

pub(super) const HOSTS: &str = "/etc/hosts";
pub(super) const NSSWITCH: &str = "/etc/nsswitch.conf";

/// The addresses that the hosts file has for a host.
pub(super) fn addresses_of(text: &str, host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = words(line);
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

/// Whether nsswitch.conf names sources of host names that this resolver does not read.
pub(super) fn has_other_sources(text: &str) -> bool {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("hosts:"));
    let known = ["files", "dns", "resolve", "myhostname", "mymachines"];
    line.is_some_and(|line| {
        // Brackets hold the action for the source before them.
        words(line).any(|word| !word.contains(['[', ']', '=']) && !known.contains(&word))
    })
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    let line = line.split('#').next().unwrap_or_default();
    line.split_whitespace()
}

/// The contents of a file. A file that cannot be read counts as empty, like a missing one.
pub(super) fn read(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

pub(super) fn read_text(path: &str) -> String {
    String::from_utf8_lossy(&read(path)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_file_gives_every_address_of_a_name_once() {
        let hosts = "127.0.0.1 localhost\n# 1.1.1.1 h\n10.0.0.1\tnode-1.Example node-1 # node-2\n\
                     ::1 localhost\n10.0.0.2 node-1\nnonsense node-1\n10.0.0.1 node-1\n";
        let expected = [ip("10.0.0.1"), ip("10.0.0.2")];
        assert_eq!(addresses_of(hosts, "NODE-1"), expected);
        let expected = [ip("127.0.0.1"), ip("::1")];
        assert_eq!(addresses_of(hosts, "localhost"), expected);
        assert_eq!(addresses_of(hosts, "node-2"), [] as [IpAddr; 0]);
    }

    #[test]
    fn nsswitch_sources_besides_files_and_dns_are_found() {
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
