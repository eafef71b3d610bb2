//! ## Replies

use super::args::{NTS, bytes_arg};
use super::panic_boundary::catch_panic;
use super::reply_layout::{self, element, element_in, value};
use crate::error::Code;
use crate::resp::{Kind, Value, flag, parse_double};
use std::ffi::c_char;

/// A reply: a value or an error. Any number of threads may read it; one frees it. Elements
/// are replies too, and belong to the reply that contains them. Functions on replies do no
/// I/O.
#[allow(non_camel_case_types)]
pub struct rdc_reply(());

/// ## Replies
///
/// Returns the type of a reply: one of RDC_STRING ... RDC_VERBATIM. RDC_NIL for NULL.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_type(reply: *const rdc_reply) -> i32 {
    // SAFETY: header rule 1.
    unsafe { value(reply) }.kind as i32
}

/// Returns the error code of an RDC_ERROR (RDC_ERR_SERVER ...), and RDC_OK for any other
/// type. The message of the error is in rdc_reply_str().
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

/// Returns the text of a STRING, STATUS, ERROR, DOUBLE, BIGNUM or VERBATIM; NULL for other
/// types. The text has rdc_reply_len() bytes, which may include NULs, and a NUL after its
/// last byte. It belongs to the reply.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_str(reply: *const rdc_reply) -> *const c_char {
    // SAFETY: header rule 1.
    reply_layout::text(unsafe { value(reply) })
}

/// Returns the length of the text in bytes, or the number of elements (two for each pair of a
/// MAP); 0 for other types.
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
        Kind::Error if value.flags & flag::SUBSCRIBED_AGAIN != 0 => 1,
        Kind::Error if value.flags & flag::GIVEN_UP != 0 => 2,
        _ => 0,
    }
}

/// Returns the value of an INTEGER or a BOOL; of an ERROR of rdc_subscriber_next() which kind it is; 0 for
/// all others.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_int(reply: *const rdc_reply) -> i64 {
    // SAFETY: header rule 1.
    int(unsafe { value(reply) })
}

/// Returns the value of a DOUBLE or an INTEGER, or of a text that contains a number (RESP2
/// sends doubles as text); otherwise 0.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_double(reply: *const rdc_reply) -> f64 {
    // SAFETY: header rule 1.
    let value = unsafe { value(reply) };
    match value.kind {
        Kind::Integer | Kind::Bool => int(value) as f64,
        // SAFETY: header rule 1.
        _ => unsafe { reply_layout::text_bytes(value) }
            .and_then(parse_double)
            .unwrap_or(0.0),
    }
}

/// Returns the element at index i (from 0) of an ARRAY, SET, PUSH or MAP (key, value, key,
/// value, ...); NULL past the end. The element belongs to the reply: freeing it does nothing.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_at(reply: *const rdc_reply, i: usize) -> *const rdc_reply {
    // SAFETY: header rule 1.
    unsafe { element(value(reply), i) }
}

/// Returns the value of a key in a MAP, or in an ARRAY of keys and values (RESP2 sends maps
/// as arrays); NULL if the key is missing. The value belongs to the reply.
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
        let Ok(key) = bytes_arg(key, NTS, "key") else {
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

/// Returns "host:port" of the node that sent the reply, or that the error is about; of a unix
/// socket, its path. NULL if no node or several nodes sent it. Elements have a node only in the reply of a pipeline. The
/// string belongs to the reply.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_node(reply: *const rdc_reply) -> *const c_char {
    // SAFETY: header rule 1.
    unsafe { reply_layout::node(reply) }
}

/// Returns 0 if the command certainly did not run: it was not sent, or every node that
/// received it refused to run it (NOPERM, OOM, READONLY, unknown command ...). Sending it
/// again is then safe. Returns 1 if the command ran or may have run, and for the error of a
/// command that ran and failed (WRONGTYPE, a syntax error). A script or a module can choose
/// the text of its error, so only whole sentences of the server count there.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_sent(reply: *const rdc_reply) -> i32 {
    if reply.is_null() {
        return 0;
    }
    // SAFETY: header rule 1.
    i32::from(unsafe { value(reply) }.may_have_run())
}

/// One call instead of three. Returns the type. Stores the text in *str (NULL if there is
/// none), and in *num the value of an INTEGER or a BOOL, or the length of any other type. str
/// and num may be NULL.
///
/// # Safety
/// Header rule 1; str and num are NULL or point to a place for one value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_read(
    reply: *const rdc_reply,
    str: *mut *const c_char,
    num: *mut i64,
) -> i32 {
    // SAFETY: the rules above.
    unsafe {
        // A copy: what is stored may not change what is read next.
        let value = *value(reply);
        if let Some(str) = str.as_mut() {
            *str = reply_layout::text(&value);
        }
        if let Some(num) = num.as_mut() {
            *num = number(&value);
        }
        value.kind as i32
    }
}

/// The number that [`rdc_reply_read`] stores.
#[inline]
fn number(value: &Value) -> i64 {
    match value.kind {
        Kind::Integer | Kind::Bool => value.data as i64,
        _ => i64::from(value.len),
    }
}

/// One call instead of 3 * n. Reads up to n elements from index first on, as rdc_reply_read()
/// does, into three arrays of n entries. Any of the arrays may be NULL. Returns the number of
/// elements read.
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
    // SAFETY: the rules above.
    unsafe {
        let array = value(reply);
        if !array.kind.has_elements() {
            return 0;
        }
        let count = (array.len as usize).saturating_sub(first).min(n);
        let store = |i: usize, value: &Value| {
            if !types.is_null() {
                *types.add(i) = value.kind as i32;
            }
            if !strs.is_null() {
                *strs.add(i) = reply_layout::text(value);
            }
            if !nums.is_null() {
                *nums.add(i) = number(value);
            }
        };
        match reply_layout::element_places(array) {
            // The index of each is below the length, so that there is a value.
            Some(places) => (0..count).for_each(|i| {
                store(i, &*element_in(places, first.wrapping_add(i)).cast());
            }),
            None => (0..count).for_each(|i| store(i, value(element(array, first + i)))),
        }
        count
    }
}

/// Frees a reply with all its elements, and returns its error code, as rdc_reply_error()
/// does. So a reply can be checked and freed at once: if (rdc_reply_free(rdc_set(...))) ...
/// Returns RDC_OK for NULL.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_reply_free(reply: *mut rdc_reply) -> i32 {
    // SAFETY: header rule 1.
    match unsafe { reply_layout::free_in_slab(reply) } {
        true => Code::Ok as i32,
        // SAFETY: the same rule.
        false => unsafe { free_other(reply) },
    }
}

/// # Safety
/// As [`rdc_reply_free`].
#[inline(never)]
unsafe fn free_other(reply: *mut rdc_reply) -> i32 {
    // SAFETY: header rule 1. Panics are caught, because this may drop the last reference on an Origin.
    unsafe {
        let error = rdc_reply_error(reply);
        catch_panic(|_| (), || reply_layout::free(reply));
        error
    }
}
