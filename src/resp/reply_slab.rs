//! Small replies that share one allocation. The allocator costs more than all else that such a reply needs.

use super::origin::{OK_TEXT, Origin};
use super::reply::Reply;
use super::value::{NodeValue, SINGLE_SLAB, Value, flag};
use std::sync::Arc;

/// The text of a small reply has less bytes than this.
pub const SMALL_TEXT: usize = 40;

/// The number of replies of a slab. The allocator of the C library is fastest up to 1032 bytes.
pub const SLAB_LEN: usize = 15;

/// Replies of one node that are one value each: without elements, and with a short text or none. Each reply that a C
/// caller holds holds a reference on the slab.
#[derive(Debug)]
#[repr(C)]
pub struct ReplySlab<const LEN: usize = SLAB_LEN> {
    pub replies: [SmallReply; LEN],
    len: usize,
    /// Keeps the name of the node alive.
    origin: Arc<Origin>,
}

/// A small reply, with addresses as for C callers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SmallReply {
    pub root: NodeValue,
    text: [u8; SMALL_TEXT],
}

impl<const LEN: usize> ReplySlab<LEN> {
    pub fn new(origin: Arc<Origin>) -> Arc<ReplySlab<LEN>> {
        const { assert!(LEN < SINGLE_SLAB as usize) };
        let unused = SmallReply {
            root: NodeValue::NIL,
            text: [0; SMALL_TEXT],
        };
        Arc::new(ReplySlab {
            replies: [unused; LEN],
            len: 0,
            origin,
        })
    }

    /// Adds a reply with this value, whose text and a NUL are at the beginning of `bytes`. False if the slab is full.
    #[inline(always)]
    pub fn push(&mut self, value: Value, bytes: &[u8]) -> bool {
        let node = self.origin.c_name().as_ptr().expose_provenance() as u64;
        let Some(reply) = self.replies.get_mut(self.len) else {
            return false;
        };
        self.len += 1;
        let mut value = value;
        value.flags |= flag::NODE_VALUE | flag::ROOT | flag::SENT;
        value.slab_len = match LEN {
            1 => SINGLE_SLAB,
            _ => self.len as u8,
        };
        if value.in_chunk() {
            copy_text(&mut reply.text, bytes);
            value.data = reply.text.as_ptr().expose_provenance() as u64;
        } else if value.kind.has_text() {
            value.data = OK_TEXT.as_ptr().expose_provenance() as u64;
        }
        reply.root = NodeValue { value, node };
        true
    }

    /// The number of replies.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for replies of this node, if no caller holds a reply. Returns whether that is so.
    pub fn renew(self: &mut Arc<Self>, origin: &Arc<Origin>) -> bool {
        let Some(slab) = Arc::get_mut(self) else {
            return false;
        };
        slab.len = 0;
        if !Arc::ptr_eq(&slab.origin, origin) {
            slab.origin = origin.clone();
        }
        true
    }

    /// Whether it has room for another reply of this node.
    pub fn takes(&self, origin: &Arc<Origin>) -> bool {
        self.len < LEN && Arc::ptr_eq(&self.origin, origin)
    }
}

/// Copies at least the text and the NUL that begin `bytes`. To copy a constant number of bytes takes a few instructions,
/// any other number a call. Bytes behind the NUL are never read.
#[inline(always)]
fn copy_text(text: &mut [u8; SMALL_TEXT], bytes: &[u8]) {
    const PART: usize = 16;
    let len = bytes.len();
    if let Some(bytes) = bytes.first_chunk() {
        *text = *bytes;
    } else if len <= 2 * PART
        && let Some(first) = bytes.first_chunk::<PART>()
        && let Some(last) = bytes.last_chunk::<PART>()
    {
        // They may overlap.
        text[..PART].copy_from_slice(first);
        text[len - PART..len].copy_from_slice(last);
    } else {
        text[..len].copy_from_slice(bytes);
    }
}

impl ReplySlab<1> {
    /// Makes room again, if no caller holds the reply.
    #[inline(always)]
    pub fn reuse(self: &mut Arc<Self>) -> Option<&mut Self> {
        let slab = Arc::get_mut(self)?;
        slab.len = 0;
        Some(slab)
    }
}

impl<const LEN: usize> ReplySlab<LEN> {
    /// A copy of a reply, without addresses: for callers in Rust.
    pub fn copy(&self, index: usize) -> Reply {
        let small = &self.replies[index];
        let mut value = small.root.value;
        value.flags &= !flag::ROOT;
        value.slab_len = 0;
        let mut reply = Reply::from_node(value, self.origin.clone());
        if value.in_chunk() {
            reply.set_inline_text(&small.text[..=value.len as usize]);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Kind;
    use super::*;

    #[test]
    fn slab_takes_replies_of_one_node_until_it_is_full() {
        let (origin, other) = (Origin::new("a:1"), Origin::new("b:2"));
        let mut slab: Arc<ReplySlab> = ReplySlab::new(origin.clone());
        let slab = Arc::get_mut(&mut slab).unwrap();
        let value = Value::new(Kind::String, 2, 0);
        assert!(!slab.takes(&other));
        for len in 1..=SLAB_LEN {
            let mut bytes = [b'x'; 60];
            bytes[..3].copy_from_slice(b"ab\0");
            let bytes = if len % 2 == 0 {
                &bytes[..]
            } else {
                &bytes[..3]
            };
            assert!(slab.takes(&origin) && slab.push(value, bytes));
            let reply = &slab.replies[len - 1];
            assert_eq!(&reply.text[..3], b"ab\0");
            assert_eq!(reply.root.value.data, reply.text.as_ptr() as u64);
            assert_eq!(usize::from(reply.root.value.slab_len), len);
        }
        assert!(!slab.takes(&origin) && !slab.push(value, b"ab\0"));
    }

    #[test]
    fn text_of_any_length_is_copied() {
        let bytes: [u8; 60] = std::array::from_fn(|n| n as u8);
        for len in 0..=60 {
            let mut text = [0xff; SMALL_TEXT];
            copy_text(&mut text, &bytes[..len]);
            let copied = len.min(SMALL_TEXT);
            assert_eq!(text[..copied], bytes[..copied]);
        }
    }

    #[test]
    fn slab_is_renewed_for_another_node_when_nobody_holds_its_replies() {
        let (origin, other) = (Origin::new("a:1"), Origin::new("b:2"));
        let mut slab: Arc<ReplySlab> = ReplySlab::new(origin.clone());
        assert!(Arc::get_mut(&mut slab).unwrap().push(Value::NIL, b""));
        let held = slab.clone();
        assert!(!slab.renew(&other) && slab.len() == 1);
        drop(held);
        assert!(slab.renew(&other) && slab.is_empty() && slab.takes(&other));
        assert_eq!(
            Arc::strong_count(&origin),
            1,
            "it keeps the former one no more"
        );
    }

    #[test]
    fn single_slab_is_reused_when_nobody_holds_its_reply() {
        let mut slab: Arc<ReplySlab<1>> = ReplySlab::new(Origin::new("a:1"));
        for round in 0..3u8 {
            let unique = slab.reuse().expect("no caller holds it");
            assert!(unique.push(Value::new(Kind::String, 1, 0), &[b'a' + round, 0]));
            assert!(!unique.push(Value::NIL, b""), "there is room for one");
            assert_eq!(unique.replies[0].root.value.slab_len, SINGLE_SLAB);
            let held = slab.clone();
            assert!(slab.reuse().is_none());
            let reply = held.copy(0);
            assert_eq!(reply.view().text(), Some(&[b'a' + round][..]));
        }
    }
}
