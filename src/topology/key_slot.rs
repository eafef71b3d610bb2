//! The slot of a key.

/// The number of slots of a cluster.
pub const SLOTS: usize = 16384;

/// The CRC16 of each byte followed by 0 to 7 zeros. The CRC of eight bytes is the XOR of the CRCs of
/// the single bytes, so it takes eight independent look-ups.
///
/// The build script fills the tables. A table that is computed on first use would need a lock, for which a child that is
/// forked meanwhile would wait for ever.
static TABLES: [[u16; 256]; 8] = include!(concat!(env!("OUT_DIR"), "/crc16_tables.rs"));

/// The slot of a key: CRC16 of its hash tag, or of the whole key if it has none, modulo 16384.
///
/// The hash tag is the text between the first `{` and the first `}` after it, unless it is empty.
#[inline]
pub fn key_slot(key: &[u8]) -> u16 {
    let (crc, has_brace) = crc(key);
    let crc = if has_brace { crc_of_tag(key) } else { crc };
    crc % SLOTS as u16
}

#[cold]
fn crc_of_tag(key: &[u8]) -> u16 {
    crc(hashed(key)).0
}

/// The CRC16 (XMODEM) of some bytes, and whether they contain a `{`.
#[inline]
fn crc(bytes: &[u8]) -> (u16, bool) {
    let (head, eights) = bytes.as_rchunks::<8>();
    // The initial value is 0, so leading zeros do not change the CRC.
    let mut word = left_padded(head);
    let mut braces = braces_in(word);
    let mut crc = match head.len() {
        0 => 0,
        1..=4 => crc_of_four((word >> 32) as u32),
        _ => crc_of_eight(word),
    };
    for eight in eights {
        word = u64::from_le_bytes(*eight);
        braces |= braces_in(word);
        crc = crc_of_eight(word ^ u64::from(crc.swap_bytes()));
    }
    (crc, braces != 0)
}

/// Up to seven bytes as a word of eight, with zeros before them.
#[inline]
fn left_padded(bytes: &[u8]) -> u64 {
    let word = match (bytes, bytes.first_chunk(), bytes.last_chunk()) {
        // The first four and the last four bytes, which may overlap.
        (_, Some(first), Some(last)) => {
            let shift = (8 * (bytes.len() - 4)) & 31;
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << shift
        }
        ([a, b, c], ..) => u64::from(*a) | u64::from(*b) << 8 | u64::from(*c) << 16,
        ([a, b], ..) => u64::from(*a) | u64::from(*b) << 8,
        ([a], ..) => u64::from(*a),
        _ => return 0,
    };
    word << ((8 * (8 - bytes.len())) & 63)
}

/// Not 0 if one of eight bytes is a `{`. XOR makes that byte 0, and the subtraction then sets its
/// highest bit.
#[inline]
fn braces_in(word: u64) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let other = word ^ u64::from_ne_bytes([b'{'; 8]);
    other.wrapping_sub(LOW) & !other & HIGH
}

#[inline]
fn crc_of_four(word: u32) -> u16 {
    let [a, b, c, d] = word.to_le_bytes().map(usize::from);
    TABLES[3][a] ^ TABLES[2][b] ^ TABLES[1][c] ^ TABLES[0][d]
}

#[inline]
fn crc_of_eight(word: u64) -> u16 {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes().map(usize::from);
    TABLES[7][a]
        ^ TABLES[6][b]
        ^ TABLES[5][c]
        ^ TABLES[4][d]
        ^ TABLES[3][e]
        ^ TABLES[2][f]
        ^ TABLES[1][g]
        ^ TABLES[0][h]
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
    use super::*;

    /// CRC16 bit by bit, as in the cluster specification: polynomial 0x1021, most significant bit
    /// first, initial value 0.
    fn reference_crc(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
                let carry = if crc & 0x8000 != 0 { 0x1021 } else { 0 };
                (crc << 1) ^ carry
            })
        })
    }

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
