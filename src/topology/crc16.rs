//! CRC16, by which keys are divided into slots.

/// The CRC16 of each byte followed by 0 to 7 zeros. The CRC of eight bytes is the XOR of the CRCs of
/// the single bytes, so it takes eight independent look-ups.
///
/// The build script fills the tables. A table that is computed on first use would need a lock, for which a child that is
/// forked meanwhile would wait for ever.
static TABLES: [[u16; 256]; 8] = include!(concat!(env!("OUT_DIR"), "/crc16_tables.rs"));

/// The CRC16 (XMODEM) of some bytes, and whether they contain a `{`.
#[inline]
pub fn crc(bytes: &[u8]) -> (u16, bool) {
    #[cfg(target_arch = "x86_64")]
    if let Some(found) = super::carryless::crc(bytes) {
        return found;
    }
    crc_by_tables(bytes)
}

fn crc_by_tables(bytes: &[u8]) -> (u16, bool) {
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

/// CRC16 bit by bit, as in the cluster specification: polynomial 0x1021, most significant bit
/// first, initial value 0.
#[cfg(test)]
pub fn reference_crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            let carry = if crc & 0x8000 != 0 { 0x1021 } else { 0 };
            (crc << 1) ^ carry
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_that_of_the_specification_at_every_length() {
        for length in 0..200usize {
            for seed in [1, 7, 97, 255] {
                let bytes: Vec<u8> = (0..length).map(|i| (i * seed + length) as u8).collect();
                let expected = (reference_crc(&bytes), bytes.contains(&b'{'));
                assert_eq!(crc(&bytes), expected, "{length}, {seed}");
                assert_eq!(crc_by_tables(&bytes), expected, "{length}, {seed}");
            }
        }
    }

    #[test]
    fn brace_is_found_at_every_position() {
        for length in 1..70 {
            for at in 0..length {
                let mut bytes = vec![0xfb; length];
                bytes[at] = b'{';
                assert!(crc(&bytes).1 && crc_by_tables(&bytes).1, "{length}, {at}");
            }
        }
    }
}
