//! Parsing of MOVED and ASK.

use super::key_slot::SLOTS;
use super::view::resolve_address;
use crate::address::Address;

/// A MOVED or ASK redirection of a slot to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirection {
    /// ASK: for one command, which ASKING precedes. False for MOVED: the slot has a new owner.
    pub ask: bool,
    pub slot: u16,
    pub to: Address,
}

/// Parses an error message of the node at `from` as a redirection: `MOVED 3999 127.0.0.1:6381`, or
/// the same with `ASK`.
///
/// `None` for any other error, and for a redirection without a usable target: an invalid slot or
/// port, or the host "?" (Redis >= 7.0 with `cluster-preferred-endpoint-type hostname`, of a node
/// without a hostname). An empty host stands for the host of `from` (Redis >= 7.0 with
/// `unknown-endpoint`).
pub fn redirection(text: &[u8], from: &Address) -> Option<Redirection> {
    let (kind, rest) = text.split_at_checked(text.iter().position(|b| *b == b' ')?)?;
    let ask = kind.eq_ignore_ascii_case(b"ASK");
    if !ask && !kind.eq_ignore_ascii_case(b"MOVED") {
        return None;
    }
    let mut fields = rest.split(|b| *b == b' ').filter(|field| !field.is_empty());
    let slot = parse_slot(fields.next()?)?;
    let (host, port) = Address::split(std::str::from_utf8(fields.next()?).ok()?).ok()?;
    let to = resolve_address(Some(host), i64::from(port), from).ok()?;
    Some(Redirection { ask, slot, to })
}

/// Parses a slot. Digits only: `str::parse` would accept a sign.
fn parse_slot(text: &[u8]) -> Option<u16> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let slot: u16 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (usize::from(slot) < SLOTS).then_some(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirection_errors_are_parsed() {
        let from = Address::new("10.0.0.9", 7000).unwrap();
        let long = format!("MOVED 1 {}abc:7001", "a.".repeat(126));
        let long_host = &long["MOVED 1 ".len()..long.len() - ":7001".len()];
        for (text, ask, slot, host, port) in [
            ("MOVED 3999 127.0.0.1:6381", false, 3999, "127.0.0.1", 6381),
            ("ASK 16383 127.0.0.1:65535", true, 16383, "127.0.0.1", 65535),
            ("MOVED 0 ::1:7001", false, 0, "::1", 7001),
            ("MOVED 1 [fe80::2%eth0]:1", false, 1, "fe80::2%eth0", 1),
            ("ASK 1 Node-2.Example:7001", true, 1, "node-2.example", 7001),
            // Redis >= 7.0, unknown-endpoint.
            ("MOVED 1 :7001", false, 1, "10.0.0.9", 7001),
            ("ASK 1 :7001", true, 1, "10.0.0.9", 7001),
            // Announced by a node that never learned its own address.
            ("MOVED 1 0.0.0.0:7001", false, 1, "10.0.0.9", 7001),
            ("MOVED 1 :::7001", false, 1, "10.0.0.9", 7001),
            ("ASK 1 [::]:7001", true, 1, "10.0.0.9", 7001),
            ("moved 12 h:7001", false, 12, "h", 7001),
            ("ask 12 h:7001", true, 12, "h", 7001),
            ("MOVED 12 h:7001 and other words", false, 12, "h", 7001),
            ("MOVED  12  h:7001 ", false, 12, "h", 7001),
            (&long, false, 1, long_host, 7001),
        ] {
            let to = Address {
                host: host.to_string(),
                port,
            };
            let expected = Some(Redirection { ask, slot, to });
            assert_eq!(redirection(text.as_bytes(), &from), expected, "{text}");
        }
    }

    #[test]
    fn other_errors_are_no_redirection() {
        let from = Address::new("10.0.0.9", 7000).unwrap();
        let long = format!("MOVED 1 {}:7001", "a".repeat(256));
        for text in [
            "",
            " ",
            "MOVED",
            "MOVED ",
            "MOVED 1",
            "MOVED 1 ",
            "MOVED 16384 h:7001",
            "MOVED 99999 h:7001",
            "MOVED 184467440737095516160 h:7001",
            "MOVED -1 h:7001",
            "MOVED +1 h:7001",
            "MOVED x h:7001",
            "MOVED 1 h",
            "MOVED 1 h:",
            "MOVED 1 h:0",
            "MOVED 1 h:65536",
            "MOVED 1 h:-1",
            "MOVED 1 h:x",
            "MOVED 1 ?:7001",
            "MOVED 1 a/b:7001",
            "MOVEDX 1 h:7001",
            "MOVED\t1 h:7001",
            "ERR MOVED 1 h:7001",
            " MOVED 1 h:7001",
            "ASKING 1 h:7001",
            "CLUSTERDOWN Hash slot not served",
            &long,
        ] {
            assert_eq!(redirection(text.as_bytes(), &from), None, "{text}");
        }
        assert_eq!(redirection(b"MOVED 1 \xff:7001", &from), None);
        assert_eq!(redirection(b"MOVED 1 h\0:7001", &from), None);
    }
}
