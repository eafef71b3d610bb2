//! The slot of a key.

use crc16::{State, XMODEM};

/// How many slots a cluster has.
pub const SLOTS: usize = 16384;

/// The slot of a key: of its hash tag, if it has one.
///
/// The tag is what lies between the first `{` and the first `}` behind it, unless that is
/// nothing: then the whole key counts.
#[inline]
pub fn of_key(key: &[u8]) -> u16 {
    State::<XMODEM>::calculate(hashed(key)) % SLOTS as u16
}

/// The part of a key that is hashed.
#[inline]
fn hashed(key: &[u8]) -> &[u8] {
    // Most keys are short and have no tag: a loop takes fewer instructions than the call of
    // memchr, or `contains`, up to some 40 bytes.
    #[allow(clippy::manual_contains)]
    let has_tag = key.iter().any(|b| *b == b'{');
    if !has_tag {
        return key;
    }
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let behind = &key[open + 1..];
    match memchr::memchr(b'}', behind) {
        Some(0) | None => key,
        Some(close) => &behind[..close],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC16 as the cluster specification defines it (polynomial 1021, most significant bit
    /// first, from 0), bit by bit.
    fn crc_by_the_book(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
                let carry = if crc & 0x8000 != 0 { 0x1021 } else { 0 };
                (crc << 1) ^ carry
            })
        })
    }

    #[test]
    fn slots_that_servers_give() {
        // CLUSTER KEYSLOT of Redis 7.0.15.
        for (key, slot) in [
            (&b"123456789"[..], 0x31c3),
            (b"", 0),
            (b"foo", 12182),
            (b"bar", 5061),
            (b"hello", 866),
            (b"{", 4092),
            (b"{}", 15257),
            (b"user:1000", 1649),
            (b"{user1000}.following", 3443),
            (b"\x00", 0),
            (b"\xff\xfe{\x00\xff}\r\n", 7920),
        ] {
            assert_eq!(of_key(key), slot, "{:?}", key.escape_ascii().to_string());
        }
    }

    #[test]
    fn the_part_of_a_key_that_is_hashed() {
        for (key, part) in [
            (&b"{user1000}.following"[..], &b"user1000"[..]),
            (b"foo{}{bar}", b"foo{}{bar}"),
            (b"foo{{bar}}zap", b"{bar"),
            (b"foo{bar}{zap}", b"bar"),
            (b"{}x", b"{}x"),
            (b"{a}{b}", b"a"),
            (b"a{", b"a{"),
            (b"a{b", b"a{b"),
            (b"}{", b"}{"),
            (b"}{a}", b"a"),
            (b"a}", b"a}"),
            (b"{{a}}", b"{a"),
            (b"{{}", b"{"),
            (b"{}{a}", b"{}{a}"),
            (b"{ }", b" "),
            (b"x{\0}y", b"\0"),
            (b"\xff{\xfe\r\n}\xfd", b"\xfe\r\n"),
            (b"", b""),
        ] {
            let name = key.escape_ascii().to_string();
            assert_eq!(hashed(key), part, "{name}");
            assert_eq!(of_key(key), crc_by_the_book(part) % 16384, "{name}");
        }
    }

    #[test]
    fn every_length_and_place_of_a_tag() {
        for length in 0..70usize {
            let plain: Vec<u8> = (0..length)
                .map(|i| (i * 31 + length) as u8 & 0x5f)
                .collect();
            assert_eq!(of_key(&plain), crc_by_the_book(&plain) % 16384);
            for open in 0..length {
                for close in open + 2..length {
                    let mut key = plain.clone();
                    (key[open], key[close]) = (b'{', b'}');
                    assert_eq!(hashed(&key), &plain[open + 1..close]);
                }
            }
        }
    }
}
