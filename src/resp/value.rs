//! The values of a decoded reply, which is one arena: a list of values, and the received bytes.
//!
//! A [`Value`] has 16 bytes. It refers to its text by a position in one of the reply's chunks of
//! bytes, and to its elements by an index in the reply's list of values. The C boundary turns
//! positions and indices into addresses once (pointer swizzling, `ffi/reply_layout.rs`). Short values of long lists take
//! less than 16 bytes: see [`ValueList`](super::ValueList). After that,
//! a value can be read without the arena. A NUL follows each text: the decoder writes it over the CR
//! that was received.

/// The type of a value. The numbers are those of the C header.
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
    /// Whether this is one of the kinds of a bit set.
    #[inline(always)]
    const fn is_in(self, kinds: u32) -> bool {
        kinds.wrapping_shr(self as u32) & 1 != 0
    }

    /// Whether values of this kind have a text.
    #[inline]
    pub const fn has_text(self) -> bool {
        const KINDS: u32 = 1 << Kind::String as u32
            | 1 << Kind::Status as u32
            | 1 << Kind::Error as u32
            | 1 << Kind::Double as u32
            | 1 << Kind::Bignum as u32
            | 1 << Kind::Verbatim as u32;
        self.is_in(KINDS)
    }

    /// Whether values of this kind have elements.
    #[inline]
    pub const fn has_elements(self) -> bool {
        const KINDS: u32 = 1 << Kind::Array as u32
            | 1 << Kind::Map as u32
            | 1 << Kind::Set as u32
            | 1 << Kind::Push as u32;
        self.is_in(KINDS)
    }
}

/// Bits of [`Value::flags`].
pub mod flag {
    /// The value is the beginning of a [`NodeValue`](super::NodeValue): the root, or an element of the
    /// reply of a pipeline.
    pub const NODE_VALUE: u8 = 1;
    /// The value owns the arena. Freeing any other value does nothing.
    pub const ROOT: u8 = 2;
    /// The elements are [`NodeValue`](super::NodeValue)s, not plain values.
    pub const NODE_VALUES: u8 = 4;
    /// The status OK: its text is a constant, and not in the arena.
    pub const OK: u8 = 8;
    /// The command may have run.
    pub const SENT: u8 = 16;
    /// The value has no arena of its own. It is a field of an [`Origin`](crate::resp::Origin), or, if it is a push frame, a
    /// message of a [`MessageSlab`](crate::resp::MessageSlab).
    pub const SHARED: u8 = 32;
    /// The elements are in blocks: see [`ValueList`](crate::resp::ValueList).
    pub const PACKED: u8 = 64;
    /// The elements are constants, whose codes are the bytes of [`Value::data`](super::Value::data).
    pub const INLINE: u8 = 128;
    /// Of an error of a subscriber: a connection was lost, and its channels are subscribed again.
    pub const SUBSCRIBED_AGAIN: u8 = 64;
    /// Of an error of a subscriber: a channel was refused, and is given up.
    pub const GIVEN_UP: u8 = 128;
}

/// The bits of [`Value::data`] below this are an offset (up to 1 TiB), the others a chunk number.
const CHUNK_SHIFT: u32 = 40;

/// A chunk number as part of [`Value::data`].
#[inline]
pub fn chunk_tag(chunk: usize) -> u64 {
    (chunk as u64) << CHUNK_SHIFT
}

/// The chunk number of the inline text of a small reply.
pub(super) const INLINE_CHUNK: usize = (1 << (64 - CHUNK_SHIFT)) - 1;

/// [`Value::slab_len`] of the reply of a slab that has one.
pub const SINGLE_SLAB: u8 = u8::MAX;

/// One value of a reply.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Value {
    pub kind: Kind,
    pub flags: u8,
    /// The [`Code`](crate::error::Code) of an error.
    pub code: u8,
    /// Of the root of a small reply: how many replies of its [`ReplySlab`](super::ReplySlab) there are up to this one, or
    /// [`SINGLE_SLAB`]. 0 for any other value.
    pub slab_len: u8,
    /// Length of the text in bytes, or number of elements (two for each pair of a map).
    pub len: u32,
    /// An integer or a boolean; or the position of the text (chunk number and offset); or the index
    /// of the first element or block. At the C boundary, an address in place of a position or an index.
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
            slab_len: 0,
            len,
            data,
        }
    }

    /// Whether the command that this value is of may have run. An element of another reply is of one that ran.
    #[inline]
    pub fn may_have_run(self) -> bool {
        let of_node = self.flags & (flag::NODE_VALUE | flag::SENT);
        self.kind != Kind::Error || of_node != flag::NODE_VALUE
    }

    #[inline]
    pub fn integer(n: i64) -> Value {
        Value::new(Kind::Integer, 0, n as u64)
    }

    /// The status OK, whose text is a constant.
    pub const OK: Value = {
        let mut value = Value::new(Kind::Status, 2, 0);
        value.flags = flag::OK;
        value
    };

    #[inline]
    pub fn ok() -> Value {
        Value::OK
    }

    /// Whether this is an aggregate whose elements do not lie one after another.
    #[inline]
    pub fn is_compact(self) -> bool {
        self.flags & (flag::PACKED | flag::INLINE) != 0
    }

    /// The position of a text: chunk number and offset.
    #[inline]
    pub fn position(self) -> (usize, usize) {
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

/// A value with the node that returned it: the root of a reply, or an element of the reply of a
/// pipeline.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct NodeValue {
    pub value: Value,
    /// The number of the origin in the reply, or 0 for none. At the C boundary, the address of its
    /// name.
    pub node: u64,
}

impl NodeValue {
    pub const NIL: NodeValue = NodeValue {
        value: Value::NIL,
        node: 0,
    };
}
