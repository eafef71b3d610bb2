//! Replies across the edge.
//!
//! Inside, a value says where its text or its elements are by place; a C caller holds only the
//! address of the value. So before a reply is handed over, each place becomes an address, once.

use super::reply::rdc_reply;
use crate::resp::{Answer, Kind, OK_TEXT, Origin, Reply, Value, flag};
use std::mem::offset_of;
use std::sync::Arc;

/// Gives a reply to the caller.
#[inline]
pub fn into_raw(mut reply: Box<Reply>) -> *mut rdc_reply {
    let root = reply.root.value;
    if reply.root.node == 1 && reply.answers.is_empty() {
        // These need no memory: the node keeps one of each.
        if root.flags & flag::OK != 0
            && let Some(origin) = reply.origin.take()
        {
            let origin = Arc::into_raw(origin);
            // SAFETY: the pointer came from an Arc just now.
            return unsafe { &raw const (*origin).ok }.cast_mut().cast();
        }
        if root.kind == Kind::Nil
            && let Some(origin) = reply.origin.take()
        {
            let origin = Arc::into_raw(origin);
            // SAFETY: as above.
            return unsafe { &raw const (*origin).nil }.cast_mut().cast();
        }
    }
    reply.root.value.flags |= flag::ROOT | flag::ANSWER;
    seal(&mut reply);
    let reply = Box::into_raw(reply);
    // SAFETY: the pointer came from a Box just now.
    unsafe { &raw mut (*reply).root }.cast()
}

/// Turns every place into an address.
fn seal(reply: &mut Reply) {
    if reply.values.is_empty() && reply.answers.is_empty() {
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
    // The addresses of the chunks, and behind them those of the origins' names, that of nobody first.
    let chunks = 1 + reply.chunks().len();
    let mut places = Vec::with_capacity(chunks + 1 + reply.origins().count());
    places.push(address(&reply.first));
    places.extend(reply.chunks().iter().map(|c| address(c)));
    places.push(0);
    places.extend(reply.origins().map(|o| address(o.c_name())));
    let (chunks, names) = places.split_at(chunks);
    let chunks = Chunks {
        places: chunks,
        values: reply.values.as_ptr().expose_provenance() as u64,
        answers: reply.answers.as_ptr().expose_provenance() as u64,
    };
    for value in &mut reply.values {
        chunks.seal(value);
    }
    for answer in reply.answers.iter_mut().chain([&mut reply.root]) {
        chunks.seal(&mut answer.value);
        answer.node = names[answer.node as usize];
    }
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

struct Chunks<'a> {
    places: &'a [u64],
    values: u64,
    answers: u64,
}

impl Chunks<'_> {
    #[inline(always)]
    fn seal(&self, value: &mut Value) {
        if value.in_chunk() {
            let (chunk, at) = value.position();
            value.data = self.places[chunk].wrapping_add(at as u64);
        } else {
            self.seal_other(value);
        }
    }

    fn seal_other(&self, value: &mut Value) {
        if value.kind.has_text() {
            value.data = address(&OK_TEXT);
        } else if value.kind.has_elements() {
            value.data = if value.flags & flag::WIDE != 0 {
                self.answers + value.data * size_of::<Answer>() as u64
            } else {
                self.values + value.data * size_of::<Value>() as u64
            };
        }
    }
}

/// A value that a caller's pointer names, sealed; nil for NULL.
///
/// # Safety
/// Header rule 1: the pointer is NULL, or a reply or an element of one that has not been freed.
#[inline]
pub unsafe fn value<'a>(reply: *const rdc_reply) -> &'a Value {
    static NIL: Value = Value::NIL;
    // SAFETY: every reply that leaves is the address of a value.
    unsafe { reply.cast::<Value>().as_ref() }.unwrap_or(&NIL)
}

/// The element at `i`.
///
/// # Safety
/// `value` is sealed.
#[inline]
pub unsafe fn element(value: &Value, i: usize) -> *const rdc_reply {
    if !value.kind.has_elements() || i >= value.len as usize {
        return std::ptr::null();
    }
    let stride = if value.flags & flag::WIDE != 0 {
        size_of::<Answer>()
    } else {
        size_of::<Value>()
    };
    std::ptr::with_exposed_provenance(value.data as usize + i * stride)
}

/// The text of a value, NULL if it has none.
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
/// `value` is sealed and its reply not freed.
#[inline]
pub unsafe fn text_bytes<'a>(value: &Value) -> Option<&'a [u8]> {
    let text = text(value);
    if text.is_null() {
        return None;
    }
    // SAFETY: a sealed text is an address and a length in the reply's arena.
    Some(unsafe { std::slice::from_raw_parts(text.cast(), value.len as usize) })
}

/// The name of the node that gave an answer.
///
/// # Safety
/// As [`value`].
pub unsafe fn node(reply: *const rdc_reply) -> *const std::ffi::c_char {
    // SAFETY: passed on.
    if reply.is_null() || unsafe { value(reply) }.flags & flag::ANSWER == 0 {
        return std::ptr::null();
    }
    // SAFETY: the mark says that the value is the beginning of an answer.
    let answer = unsafe { &*reply.cast::<Answer>() };
    std::ptr::with_exposed_provenance(answer.node as usize)
}

/// Takes a reply back. An element, which its reply owns, is left alone.
///
/// # Safety
/// Header rule 1: NULL, or a reply that has not been freed, or an element of one.
pub unsafe fn free(reply: *mut rdc_reply) {
    // SAFETY: passed on.
    let flags = unsafe { value(reply) }.flags;
    if reply.is_null() || flags & flag::ROOT == 0 {
        return;
    }
    if flags & flag::SHARED != 0 {
        // SAFETY: a shared reply is one of two fields of an origin, told apart by its kind, and
        // holds one reference on it.
        unsafe {
            let field = match value(reply).kind {
                Kind::Nil => offset_of!(Origin, nil),
                _ => offset_of!(Origin, ok),
            };
            drop(Arc::from_raw(reply.byte_sub(field).cast::<Origin>()));
        }
        return;
    }
    // SAFETY: any other root is that of a boxed reply.
    drop(unsafe { Box::from_raw(reply.byte_sub(offset_of!(Reply, root)).cast::<Reply>()) });
}
