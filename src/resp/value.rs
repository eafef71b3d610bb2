//! A decoded reply: one arena of values and the received bytes they point into.
//!
//! A [`Value`] is 16 bytes and says where its text or its elements are: texts as a place in one
//! of the reply's chunks of bytes, elements as a place in its list of values. The C boundary
//! turns these places into addresses once ("sealing"), after which a reply is read without
//! knowing the arena it lives in. Texts are followed by a NUL, which the decoder writes over the
//! CR of the wire.

/// What a value is. The numbers are those of the C header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    String = 1,
    Array = 2,
    Integer = 3,
    Nil = 4,
    Status = 5,
    Error = 6,
    Double = 7,
    Bool = 8,
    Map = 9,
    Set = 10,
    Push = 12,
    Bignum = 13,
    Verbatim = 14,
}

impl Kind {
    /// Whether values of this kind carry text.
    #[inline]
    pub fn has_text(self) -> bool {
        matches!(
            self,
            Kind::String
                | Kind::Status
                | Kind::Error
                | Kind::Double
                | Kind::Bignum
                | Kind::Verbatim
        )
    }

    /// Whether values of this kind carry elements.
    #[inline]
    pub fn has_elements(self) -> bool {
        matches!(self, Kind::Array | Kind::Map | Kind::Set | Kind::Push)
    }
}

/// Bits of [`Value::flags`].
pub mod flag {
    /// The whole reply, or an element of a pipeline's: an [`Answer`](super::Answer).
    pub const ANSWER: u8 = 1;
    /// The value that owns the arena; freeing any other does nothing.
    pub const ROOT: u8 = 2;
    /// The elements are answers.
    pub const WIDE: u8 = 4;
    /// The status OK: its text is a constant, not in the arena.
    pub const OK: u8 = 8;
    /// The command may have run.
    pub const SENT: u8 = 16;
    /// Lives in an [`Origin`](crate::resp::Origin), not in an arena of its own.
    pub const SHARED: u8 = 32;
}

/// How far a chunk's number is shifted in [`Value::data`]; below are offsets of up to 1 TiB.
const CHUNK_SHIFT: u32 = 40;

/// The part of [`Value::data`] that names a chunk.
#[inline]
pub fn chunk_tag(chunk: usize) -> u64 {
    (chunk as u64) << CHUNK_SHIFT
}

/// The number of the chunk that is part of the reply itself.
pub const WITHIN: usize = (1 << (64 - CHUNK_SHIFT)) - 1;

/// One value of a reply.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Value {
    pub kind: Kind,
    pub flags: u8,
    /// The [`Code`](crate::error::Code) of an error.
    pub code: u8,
    spare: u8,
    /// Bytes of text, or number of elements (two for each pair of a map).
    pub len: u32,
    /// An integer or a bool; or the place of the text: chunk and offset; or the index of the
    /// first element.
    pub data: u64,
}

impl Value {
    pub const NIL: Value = Value::new(Kind::Nil, 0, 0);

    #[inline]
    pub const fn new(kind: Kind, len: u32, data: u64) -> Value {
        Value {
            kind,
            flags: 0,
            code: 0,
            spare: 0,
            len,
            data,
        }
    }

    #[inline]
    pub fn integer(n: i64) -> Value {
        Value::new(Kind::Integer, 0, n as u64)
    }

    /// The status OK, which needs no bytes.
    #[inline]
    pub fn ok() -> Value {
        let mut value = Value::new(Kind::Status, 2, 0);
        value.flags = flag::OK;
        value
    }

    /// The chunk and the offset of a text.
    #[inline]
    pub fn place(self) -> (usize, usize) {
        (
            (self.data >> CHUNK_SHIFT) as usize,
            (self.data & ((1 << CHUNK_SHIFT) - 1)) as usize,
        )
    }

    /// Whether the text is in a chunk.
    #[inline]
    pub fn in_chunk(self) -> bool {
        self.kind.has_text() && self.flags & flag::OK == 0
    }
}

/// A value that a node gave to a command: the root of a reply, or an element of a pipeline's.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Answer {
    pub value: Value,
    /// 0, or one more than the index of the reply's origin; once sealed the address of its name.
    pub node: u64,
}

impl Answer {
    pub const NIL: Answer = Answer {
        value: Value::NIL,
        node: 0,
    };
}
