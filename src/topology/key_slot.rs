//! The slot of a key.

use super::crc16::crc;

/// The number of slots of a cluster.
pub const SLOTS: usize = 16384;

/// The slot of a key: CRC16 of its hash tag, or of the whole key if it has none, modulo 16384.
///
/// The hash tag is the text between the first `{` and the first `}` after it, unless it is empty.
#[inline(always)]
pub fn key_slot(key: &[u8]) -> u16 {
    let (crc, has_brace) = crc(key);
    let crc = if has_brace { crc_of_tag(key) } else { crc };
    crc % SLOTS as u16
}

#[cold]
fn crc_of_tag(key: &[u8]) -> u16 {
    crc(hashed(key)).0
}

/// The part of a key that is hashed: the hash tag or the whole key.
fn hashed(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let rest = &key[open + 1..];
    match memchr::memchr(b'}', rest) {
        Some(0) | None => key,
        Some(close) => &rest[..close],
    }
}

#[cfg(test)]
mod tests {
    use super::super::crc16::reference_crc;
    use super::*;

    #[test]
    fn key_slots_match_servers() {
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
            assert_eq!(key_slot(key), slot, "{:?}", key.escape_ascii().to_string());
        }
    }

    #[test]
    fn hash_tag_is_extracted() {
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
            assert_eq!(key_slot(key), reference_crc(part) % 16384, "{name}");
        }
    }

    #[test]
    fn hash_tags_of_every_length_and_position_are_found() {
        for length in 0..70usize {
            let plain: Vec<u8> = (0..length)
                .map(|i| (i * 31 + length) as u8 & 0x5f)
                .collect();
            assert_eq!(key_slot(&plain), reference_crc(&plain) % 16384);
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
