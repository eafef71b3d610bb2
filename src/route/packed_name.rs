//! The name of a command, prepared for fast comparison: no allocation, and at most three 8-byte compares.

/// A name without its container: "ENCODING" of "OBJECT ENCODING".
pub struct PackedName {
    /// The first 8 bytes.
    head: EightBytes,
    /// The last 8 bytes, if the name is longer than 8.
    last: EightBytes,
    /// The 8 bytes after the first 8, if the name is longer than 16.
    middle: EightBytes,
    tag: u32,
}

impl PackedName {
    pub const fn of_row(name: &'static str, parent: Option<u16>) -> PackedName {
        let mut word = name.as_bytes();
        let parent = match parent {
            None => NO_CONTAINER,
            Some(id) => {
                while let [byte, rest @ ..] = word {
                    word = rest;
                    if *byte == b' ' {
                        break;
                    }
                }
                id
            }
        };
        assert!(word.len() <= MAX_LEN);
        PackedName {
            head: EightBytes::of(head(word)),
            last: EightBytes::of(last(word)),
            middle: EightBytes::of(middle(word)),
            tag: tag(word, parent),
        }
    }

    /// The hash of the name.
    pub const fn hash(&self) -> u64 {
        hash(self.head.upper_case, self.tag)
    }

    /// Whether this is the name that was packed, in any case.
    #[inline]
    pub fn is(&self, word: &[u8], key: &NameKey) -> bool {
        self.head.is(key.head) && self.tag == key.tag && (word.len() <= 8 || self.has_end_of(word))
    }

    /// Whether the bytes after the first 8 are the same.
    #[inline]
    fn has_end_of(&self, word: &[u8]) -> bool {
        word.len() <= MAX_LEN && self.last.is(last(word)) && self.middle.is(middle(word))
    }
}

/// The parts of a name that a look-up computes once.
pub struct NameKey {
    head: u64,
    tag: u32,
}

impl NameKey {
    /// `parent` is the id of the container, or [`NO_CONTAINER`].
    #[inline]
    pub fn of(word: &[u8], parent: u16) -> NameKey {
        NameKey {
            head: head(word),
            tag: tag(word, parent),
        }
    }

    #[inline]
    pub fn hash(&self) -> u64 {
        hash(self.head, self.tag)
    }
}

/// The longest name.
const MAX_LEN: usize = 24;

/// Up to 8 bytes that are compared without regard to case.
struct EightBytes {
    upper_case: u64,
    /// The bits to compare: all but the case bit of letters.
    significant: u64,
}

impl EightBytes {
    const fn of(upper_case: u64) -> EightBytes {
        let (mut bytes, mut i) = (upper_case.to_le_bytes(), 0);
        while i < 8 {
            bytes[i] = if bytes[i].is_ascii_alphabetic() {
                !CASE_BIT
            } else {
                !0
            };
            i += 1;
        }
        EightBytes {
            upper_case,
            significant: u64::from_le_bytes(bytes),
        }
    }

    #[inline]
    fn is(&self, word: u64) -> bool {
        (self.upper_case ^ word) & self.significant == 0
    }
}

/// The bit in which upper and lower case of a letter differ.
const CASE_BIT: u8 = b'a' ^ b'A';
/// The parent of a command that is not a sub-command: no row has this id.
pub const NO_CONTAINER: u16 = u16::MAX;

/// Combines the container and the length.
#[inline]
const fn tag(word: &[u8], parent: u16) -> u32 {
    word.len() as u32 ^ (parent as u32) << 16
}

/// The first 8 bytes.
#[inline]
const fn head(word: &[u8]) -> u64 {
    match (
        word,
        word.first_chunk(),
        word.first_chunk(),
        word.last_chunk(),
    ) {
        (_, Some(eight), _, _) => u64::from_le_bytes(*eight),
        // The first four and the last four bytes, which may overlap.
        (_, _, Some(first), Some(last)) => {
            u32::from_le_bytes(*first) as u64
                | (u32::from_le_bytes(*last) as u64) << (8 * (word.len() - 4))
        }
        ([a, b, c], ..) => *a as u64 | (*b as u64) << 8 | (*c as u64) << 16,
        ([a, b], ..) => *a as u64 | (*b as u64) << 8,
        ([a], ..) => *a as u64,
        _ => 0,
    }
}

/// The last 8 bytes of a name longer than 8.
#[inline]
const fn last(word: &[u8]) -> u64 {
    match word.last_chunk() {
        Some(eight) if word.len() > 8 => u64::from_le_bytes(*eight),
        _ => 0,
    }
}

/// The 8 bytes after the first 8 of a name longer than 16.
#[inline]
const fn middle(word: &[u8]) -> u64 {
    if word.len() > 16 {
        head(word.split_at(8).1)
    } else {
        0
    }
}

/// The same for upper and lower case.
#[inline]
const fn hash(head: u64, tag: u32) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    const CASE_MASK: u64 = u64::from_le_bytes([!CASE_BIT; 8]);
    ((head & CASE_MASK) ^ (tag as u64) << 7).wrapping_mul(MULTIPLIER)
}
