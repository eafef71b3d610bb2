//! ## Replies

use super::panic_boundary::{bytes, catch_panic};
use super::reply_layout::{self, element, value};
use crate::error::Code;
use crate::resp::{Kind, Value, flag};
use std::ffi::c_char;

/// What came back: a value, or an error. Read by any number of threads, freed by one. Elements
/// are replies that belong to the one they are in.
#[allow(non_camel_case_types)]
pub struct rdc_reply(());

/// ## Replies
///
/// What the reply is: one of RDC_STRING ... RDC_VERBATIM. NULL is RDC_NIL.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_type(reply: *const rdc_reply) -> i32 {
    // SAFETY: header rule 1.
    unsafe { value(reply) }.kind as i32
}

/// RDC_OK, or for an RDC_ERROR its code: RDC_ERR_SERVER ...; its words are in rdc_reply_str().
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_error(reply: *const rdc_reply) -> i32 {
    // SAFETY: header rule 1.
    let value = unsafe { value(reply) };
    if value.kind == Kind::Error {
        i32::from(value.code)
    } else {
        Code::Ok as i32
    }
}

/// The text of a STRING, STATUS, ERROR, DOUBLE, BIGNUM or VERBATIM; NULL for other types. It has
/// rdc_reply_len() bytes, any of which may be NUL, and a NUL behind them. Belongs to the reply.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_str(reply: *const rdc_reply) -> *const c_char {
    // SAFETY: header rule 1.
    reply_layout::text(unsafe { value(reply) })
}

/// The bytes of the text, or the number of elements (two for each pair of a MAP); else 0.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_len(reply: *const rdc_reply) -> usize {
    // SAFETY: header rule 1.
    unsafe { value(reply) }.len as usize
}

fn int(value: &Value) -> i64 {
    match value.kind {
        Kind::Integer | Kind::Bool => value.data as i64,
        _ => 0,
    }
}

/// The value of an INTEGER or a BOOL; else 0.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_int(reply: *const rdc_reply) -> i64 {
    // SAFETY: header rule 1.
    int(unsafe { value(reply) })
}

/// The value of a DOUBLE or an INTEGER, or the number that a text spells (RESP2 sends doubles
/// so); else 0.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_double(reply: *const rdc_reply) -> f64 {
    // SAFETY: header rule 1.
    let value = unsafe { value(reply) };
    match value.kind {
        Kind::Integer | Kind::Bool => int(value) as f64,
        // SAFETY: as above.
        _ => unsafe { reply_layout::text_bytes(value) }
            .and_then(|text| std::str::from_utf8(text).ok())
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0),
    }
}

/// The i-th element of an ARRAY, SET, PUSH or MAP (key, value, key, value, ...); NULL past the
/// end. Belongs to the reply: freeing it does nothing.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_at(reply: *const rdc_reply, i: usize) -> *const rdc_reply {
    // SAFETY: header rule 1.
    unsafe { element(value(reply), i) }
}

/// The value of a key of a MAP, or of an ARRAY of keys and values (RESP2 sends maps so); NULL if
/// it is not there. Belongs to the reply.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_find(
    map: *const rdc_reply,
    key: *const c_char,
) -> *const rdc_reply {
    // SAFETY: header rules 1 and 3.
    unsafe {
        let map = value(map);
        let Ok(key) = bytes(key, usize::MAX, "key") else {
            return std::ptr::null();
        };
        if !matches!(map.kind, Kind::Map | Kind::Array) {
            return std::ptr::null();
        }
        for i in 0..map.len as usize / 2 {
            if reply_layout::text_bytes(value(element(map, 2 * i))) == Some(key) {
                return element(map, 2 * i + 1);
            }
        }
        std::ptr::null()
    }
}

/// "host:port" of the node that answered, or that an error is about; NULL if there is none, for
/// several nodes together, and for elements of other replies than a pipeline's. Belongs to the
/// reply.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_node(reply: *const rdc_reply) -> *const c_char {
    // SAFETY: header rule 1.
    unsafe { reply_layout::node(reply) }
}

/// 0 if the command certainly did not run, because it never left or every node that got it
/// refused to execute it: sending it again is safe. 1 if it ran or may have run.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_sent(reply: *const rdc_reply) -> i32 {
    if reply.is_null() {
        return 0;
    }
    // SAFETY: header rule 1.
    let value = unsafe { value(reply) };
    // What is inside another reply came from a command that ran.
    i32::from(
        value.kind != Kind::Error || value.flags & (flag::ANSWER | flag::SENT) != flag::ANSWER,
    )
}

/// One call instead of three: the type is returned, the text stored in *str (NULL if there is
/// none), and in *num the value of an INTEGER or BOOL, or the length of anything else. str and
/// num may be NULL.
///
/// # Safety
/// Header rule 1; str and num are NULL or point to a place for one value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_read(
    reply: *const rdc_reply,
    str: *mut *const c_char,
    num: *mut i64,
) -> i32 {
    // SAFETY: as said above.
    unsafe {
        let value = value(reply);
        if let Some(str) = str.as_mut() {
            *str = reply_layout::text(value);
        }
        if let Some(num) = num.as_mut() {
            *num = number(value);
        }
        value.kind as i32
    }
}

#[inline]
fn number(value: &Value) -> i64 {
    match value.kind {
        Kind::Integer | Kind::Bool => value.data as i64,
        _ => i64::from(value.len),
    }
}

/// One call instead of 3n: reads up to n elements from the first-th on as rdc_reply_read() does,
/// each into its place of the three arrays, any of which may be NULL. Returns how many it read.
///
/// # Safety
/// Header rule 1; each array is NULL or has places for n values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_read_array(
    reply: *const rdc_reply,
    first: usize,
    n: usize,
    types: *mut i32,
    strs: *mut *const c_char,
    nums: *mut i64,
) -> usize {
    // SAFETY: as said above.
    unsafe {
        let catch_panic_uncancelled = value(reply);
        if !catch_panic_uncancelled.kind.has_elements() {
            return 0;
        }
        let count = (catch_panic_uncancelled.len as usize)
            .saturating_sub(first)
            .min(n);
        for i in 0..count {
            let value = value(element(catch_panic_uncancelled, first + i));
            if !types.is_null() {
                *types.add(i) = value.kind as i32;
            }
            if !strs.is_null() {
                *strs.add(i) = reply_layout::text(value);
            }
            if !nums.is_null() {
                *nums.add(i) = number(value);
            }
        }
        count
    }
}

/// Frees a reply with all its elements, and returns its error, so that a reply can be checked and
/// dropped at once: if (rdc_reply_free(rdc_set(...))) ... NULL is allowed.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_free(reply: *mut rdc_reply) -> i32 {
    // SAFETY: header rule 1. The reply may hold the last reference on what it came from.
    unsafe {
        let error = rdc_reply_error(reply);
        catch_panic(|_| (), || reply_layout::free(reply));
        error
    }
}
