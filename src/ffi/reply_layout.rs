//! The layout of replies that C callers hold.
//!
//! Inside the library, a value refers to its text by a position and to its elements by an index. A C
//! caller has only the address of a value. So before a reply is returned, each position and index is
//! replaced by an address, once (pointer swizzling).

use super::reply::rdc_reply;
use crate::resp::{
    BLOCK_LEN, Block, Element, Kind, MessageSlab, NodeValue, OK_TEXT, Origin, Reply, ReplySlab,
    SINGLE_SLAB, SlabMessage, SmallReply, Value, flag,
};
use std::mem::offset_of;
use std::sync::Arc;

/// Converts a reply to the pointer that a caller gets.
#[inline]
pub fn into_raw(mut reply: Box<Reply>) -> *mut rdc_reply {
    let root = reply.root.value;
    if reply.root.node == 1 && reply.node_values.is_empty() {
        // An OK or a nil needs no memory: the origin has one of each.
        if root.flags & flag::OK != 0
            && let Some(origin) = reply.origin.take()
        {
            return raw_ok(origin);
        }
        if root.kind == Kind::Nil
            && let Some(origin) = reply.origin.take()
        {
            return raw_nil(origin);
        }
    }
    reply.root.value.flags |= flag::ROOT | flag::NODE_VALUE;
    swizzle(&mut reply);
    let reply = Box::into_raw(reply);
    // SAFETY: the pointer comes from the Box above.
    unsafe { &raw mut (*reply).root }.cast()
}

fn raw_ok(origin: Arc<Origin>) -> *mut rdc_reply {
    let origin = Arc::into_raw(origin);
    // SAFETY: the pointer comes from the Arc above.
    unsafe { &raw const (*origin).ok }.cast_mut().cast()
}

fn raw_nil(origin: Arc<Origin>) -> *mut rdc_reply {
    let origin = Arc::into_raw(origin);
    // SAFETY: the pointer comes from the Arc above.
    unsafe { &raw const (*origin).nil }.cast_mut().cast()
}

/// The same for a reply of a slab, by its index.
#[inline]
pub fn small_into_raw<const LEN: usize>(slab: Arc<ReplySlab<LEN>>, index: usize) -> *mut rdc_reply {
    let slab = Arc::into_raw(slab);
    // SAFETY: the pointer comes from the Arc above.
    unsafe { &raw const (*slab).replies[index].root }
        .cast_mut()
        .cast()
}

/// The same for a message of a slab, by its index.
#[inline]
pub fn message_into_raw(slab: Arc<MessageSlab>, index: usize) -> *mut rdc_reply {
    let message: *const SlabMessage = &raw const slab.messages[index];
    // The address of the slab is a part of the message.
    Arc::into_raw(slab).expose_provenance();
    message.cast_mut().cast()
}

/// Replaces every position and index by an address.
fn swizzle(reply: &mut Reply) {
    if reply.values.is_unused() && reply.node_values.is_empty() {
        reply.root.node = reply
            .origin_of(reply.root)
            .map_or(0, |o| address(o.c_name()));
        let value = reply.root.value;
        if value.in_chunk() {
            let (chunk, at) = value.position();
            reply.root.value.data = address(reply.chunk(chunk)) + at as u64;
        } else if value.kind.has_text() {
            reply.root.value.data = address(&OK_TEXT);
        }
        return;
    }
    if reply.chunks().is_empty() && reply.node_values.is_empty() && reply.root.node <= 1 {
        return swizzle_single(reply);
    }
    // One allocation: the addresses of the chunks, then those of the origins' names, with NULL as
    // number 0.
    let chunks = 1 + reply.chunks().len();
    let mut addresses = Vec::with_capacity(chunks + 1 + reply.origins().count());
    addresses.push(address(&reply.first));
    addresses.extend(reply.chunks().iter().map(|c| address(c)));
    addresses.push(0);
    addresses.extend(reply.origins().map(|o| address(o.c_name())));
    let (chunks, names) = addresses.split_at(chunks);
    let addresses = Addresses {
        chunks,
        values: reply.values.as_ptr().expose_provenance() as u64,
        blocks: reply.values.blocks.as_ptr().expose_provenance() as u64,
        node_values: reply.node_values.as_ptr().expose_provenance() as u64,
    };
    for value in reply.values.iter_mut() {
        addresses.swizzle(value);
    }
    for block in &mut reply.values.blocks {
        block.others = addresses.of_value(block.others);
    }
    let swizzle = |answer: &mut NodeValue| {
        addresses.swizzle(&mut answer.value);
        answer.node = names[answer.node as usize];
    };
    reply.node_values.iter_mut().for_each(swizzle);
    swizzle(&mut reply.root);
}

/// The same for a reply of one node, whose texts are all in chunk 0.
fn swizzle_single(reply: &mut Reply) {
    let chunk = address(&reply.first);
    let addresses = Addresses {
        chunks: &[chunk],
        values: reply.values.as_ptr().expose_provenance() as u64,
        blocks: reply.values.blocks.as_ptr().expose_provenance() as u64,
        node_values: 0,
    };
    // Most lists consist of strings: four are looked at together.
    let (fours, rest) = reply.values.as_chunks_mut::<4>();
    for four in fours {
        if four.iter().all(|value| value.kind == Kind::String) {
            for value in four {
                value.data = value.data.wrapping_add(chunk);
            }
        } else {
            four.iter_mut()
                .for_each(|value| addresses.swizzle_in(chunk, value));
        }
    }
    rest.iter_mut()
        .for_each(|value| addresses.swizzle_in(chunk, value));
    for block in &mut reply.values.blocks {
        block.others = addresses.of_value(block.others);
    }
    addresses.swizzle_in(chunk, &mut reply.root.value);
    reply.root.node = match reply.root.node {
        0 => 0,
        _ => reply.origin.as_ref().map_or(0, |o| address(o.c_name())),
    };
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

/// The addresses of the memory of a reply.
struct Addresses<'a> {
    chunks: &'a [u64],
    values: u64,
    blocks: u64,
    node_values: u64,
}

impl Addresses<'_> {
    #[inline(always)]
    fn swizzle(&self, value: &mut Value) {
        if value.kind == Kind::String || value.in_chunk() {
            let (chunk, at) = value.position();
            value.data = self.chunks[chunk].wrapping_add(at as u64);
        } else {
            self.swizzle_other(value);
        }
    }

    /// The same where all texts are in a chunk at this address.
    #[inline(always)]
    fn swizzle_in(&self, chunk: u64, value: &mut Value) {
        match value.kind {
            Kind::String => value.data = value.data.wrapping_add(chunk),
            Kind::Integer | Kind::Nil | Kind::Bool => {}
            _ if value.in_chunk() => value.data = value.data.wrapping_add(chunk),
            _ => self.swizzle_other(value),
        }
    }

    fn swizzle_other(&self, value: &mut Value) {
        if value.kind.has_text() {
            value.data = address(&OK_TEXT);
        } else if value.kind.has_elements() && value.flags & flag::INLINE == 0 {
            value.data = if value.flags & flag::NODE_VALUES != 0 {
                self.node_values + value.data * size_of::<NodeValue>() as u64
            } else if value.flags & flag::PACKED != 0 {
                self.blocks + value.data * size_of::<Block>() as u64
            } else {
                self.of_value(value.data)
            };
        }
    }

    fn of_value(&self, index: u64) -> u64 {
        self.values + index * size_of::<Value>() as u64
    }
}

/// The swizzled value of a caller's pointer; nil for NULL.
///
/// # Safety
/// Header rule 1: the pointer is NULL, a reply that has not been freed, or an element of one.
#[inline]
pub unsafe fn value<'a>(reply: *const rdc_reply) -> &'a Value {
    static NIL: Value = Value::NIL;
    // SAFETY: the pointer of every reply is the address of a value.
    unsafe { reply.cast::<Value>().as_ref() }.unwrap_or(&NIL)
}

/// The address of the first element of an aggregate, and the distance from one to the next, if they lie one after another.
#[inline(always)]
pub fn element_places(value: &Value) -> Option<(usize, usize)> {
    let distance = match value.flags & (flag::NODE_VALUES | flag::PACKED | flag::INLINE) {
        0 => size_of::<Value>(),
        flag::NODE_VALUES => size_of::<NodeValue>(),
        _ => return None,
    };
    Some((value.data as usize, distance))
}

/// The element at index `i`; NULL if there is none.
///
/// # Safety
/// `value` is swizzled.
#[inline]
pub unsafe fn element(value: &Value, i: usize) -> *const rdc_reply {
    if !value.kind.has_elements() || i >= value.len as usize {
        return std::ptr::null();
    }
    match element_places(value) {
        Some(places) => element_in(places, i),
        // SAFETY: the same rule, and i is below the length.
        None => unsafe { compact_element(value, i) },
    }
}

/// The element at index `i`, which must exist, of an aggregate with these places.
#[inline(always)]
pub fn element_in((first, distance): (usize, usize), i: usize) -> *const rdc_reply {
    // The elements are in memory, so nothing overflows.
    std::ptr::with_exposed_provenance(first.wrapping_add(i.wrapping_mul(distance)))
}

/// The element of a packed or inline aggregate at index `i`.
///
/// # Safety
/// `value` is swizzled, and `i` is below its length.
#[cold]
unsafe fn compact_element(value: &Value, i: usize) -> *const rdc_reply {
    let (element, others) = if value.flags & flag::INLINE != 0 {
        (Element::of_inline(value.data, i), 0)
    } else {
        let blocks: *const Block = std::ptr::with_exposed_provenance(value.data as usize);
        // SAFETY: the blocks of a packed aggregate contain all its elements.
        let block = unsafe { &*blocks.add(i / BLOCK_LEN) };
        (block.element(i % BLOCK_LEN), block.others as usize)
    };
    match element {
        Some(Element::Constant(constant)) => (&raw const *constant).cast(),
        Some(Element::Other(rank)) => {
            std::ptr::with_exposed_provenance(others + rank * size_of::<Value>())
        }
        None => std::ptr::null(),
    }
}

/// The text of a value; NULL if it has none.
#[inline]
pub fn text(value: &Value) -> *const std::ffi::c_char {
    if value.kind.has_text() {
        std::ptr::with_exposed_provenance(value.data as usize)
    } else {
        std::ptr::null()
    }
}

/// The text of a value as bytes.
///
/// # Safety
/// `value` is swizzled and its reply has not been freed.
#[inline]
pub unsafe fn text_bytes<'a>(value: &Value) -> Option<&'a [u8]> {
    let text = text(value);
    if text.is_null() {
        return None;
    }
    // SAFETY: a swizzled text is an address and a length in the reply's arena.
    Some(unsafe { std::slice::from_raw_parts(text.cast(), value.len as usize) })
}

/// The name of the node that returned a reply; NULL if there is none.
///
/// # Safety
/// As [`value`].
pub unsafe fn node(reply: *const rdc_reply) -> *const std::ffi::c_char {
    // SAFETY: the same rule.
    if reply.is_null() || unsafe { value(reply) }.flags & flag::NODE_VALUE == 0 {
        return std::ptr::null();
    }
    // SAFETY: the flag means that the value is the beginning of a NodeValue.
    let answer = unsafe { &*reply.cast::<NodeValue>() };
    std::ptr::with_exposed_provenance(answer.node as usize)
}

/// Frees a reply that is a part of a slab, and thus no error, and neither a list nor an element. False for any other one.
///
/// # Safety
/// Header rule 1: NULL, a reply that has not been freed, or an element of one.
#[inline(always)]
pub unsafe fn free_in_slab(reply: *mut rdc_reply) -> bool {
    // SAFETY: the same rule.
    match unsafe { value(reply) }.slab_len {
        0 => false,
        SINGLE_SLAB => {
            let before = offset_of!(ReplySlab<1>, replies) + offset_of!(SmallReply, root);
            // SAFETY: such a root is that of a reply of a ReplySlab<1>, and holds one reference on it.
            drop(unsafe { Arc::from_raw(reply.byte_sub(before).cast::<ReplySlab<1>>()) });
            true
        }
        len => {
            let before = usize::from(len - 1) * size_of::<SmallReply>();
            let before = offset_of!(ReplySlab, replies) + before + offset_of!(SmallReply, root);
            // SAFETY: such a root is that of a reply of a ReplySlab, and holds one reference on it.
            drop(unsafe { Arc::from_raw(reply.byte_sub(before).cast::<ReplySlab>()) });
            true
        }
    }
}

/// Frees a reply that is no part of a slab. Does nothing for an element, which belongs to its reply.
///
/// # Safety
/// As [`free_in_slab`].
pub unsafe fn free(reply: *mut rdc_reply) {
    // SAFETY: the same rule.
    let root = unsafe { value(reply) };
    let flags = root.flags;
    if reply.is_null() || flags & flag::ROOT == 0 {
        return;
    }
    if flags & flag::SHARED != 0 {
        // SAFETY: the flags of the root.
        return unsafe { free_shared(reply, root.kind) };
    }
    // SAFETY: any other root is the field `root` of a boxed Reply.
    drop(unsafe { Box::from_raw(reply.byte_sub(offset_of!(Reply, root)).cast::<Reply>()) });
}

/// Drops the reference that a shared reply holds.
///
/// # Safety
/// The root of the reply has the flag SHARED, and this kind.
#[inline]
unsafe fn free_shared(reply: *mut rdc_reply, kind: Kind) {
    // SAFETY: a shared reply is a message of a MessageSlab, or the field `nil` or `ok` of an Origin, according to its kind,
    // and holds one reference on that.
    unsafe {
        match kind {
            Kind::Push => {
                let slab = (*reply.cast::<SlabMessage>()).slab as usize;
                let slab = std::ptr::with_exposed_provenance::<MessageSlab>(slab);
                drop(Arc::from_raw(slab));
            }
            Kind::Nil => drop(Arc::from_raw(
                reply.byte_sub(offset_of!(Origin, nil)).cast::<Origin>(),
            )),
            _ => drop(Arc::from_raw(
                reply.byte_sub(offset_of!(Origin, ok)).cast::<Origin>(),
            )),
        }
    }
}
