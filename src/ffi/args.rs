//! Checks the arguments of C callers, and turns them into slices.

use crate::error::{Error, Result};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

/// RDC_NTS: the string is NUL-terminated.
pub const NTS: usize = usize::MAX;

/// The bytes of a caller's pointer and length. `name` is the argument's name, for errors.
///
/// # Safety
/// Header rule 3: `pointer` is valid for `len` bytes, or is a C string if `len` is RDC_NTS.
#[inline]
pub unsafe fn bytes_arg<'a>(pointer: *const c_char, len: usize, name: &str) -> Result<&'a [u8]> {
    // The common case: not NULL, not empty, and shorter than half the address space.
    if !pointer.is_null() && len.wrapping_sub(1) < isize::MAX as usize {
        // SAFETY: header rule 3.
        return Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), len) });
    }
    // SAFETY: the same rule.
    unsafe { checked_bytes(pointer, len, name) }
}

/// The other cases: an empty string, a C string, or an invalid argument.
///
/// # Safety
/// As [`bytes_arg`].
unsafe fn checked_bytes<'a>(pointer: *const c_char, len: usize, name: &str) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Error::invalid(format_args!("{name} is NULL")));
    }
    if len == NTS {
        // SAFETY: header rule 3: with RDC_NTS the string is NUL-terminated.
        return Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes());
    }
    Err(Error::invalid(format_args!(
        "the length of {name}, {len}, is more than half the address space"
    )))
}

/// A caller's C string, which must be UTF-8.
///
/// # Safety
/// As [`bytes_arg`] with RDC_NTS.
pub unsafe fn text_arg<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: the same rule.
    let bytes = unsafe { bytes_arg(pointer, NTS, name) }?;
    std::str::from_utf8(bytes).map_err(|_| Error::invalid(format_args!("{name} is not UTF-8")))
}

/// The same; NULL is the empty text.
///
/// # Safety
/// As [`text_arg`], except that `pointer` may be NULL.
pub unsafe fn optional_text_arg<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    match pointer.is_null() {
        true => Ok(""),
        // SAFETY: the same rule.
        false => unsafe { text_arg(pointer, name) },
    }
}

/// Up to this many arguments are listed on the stack.
const STACK_ARGS: usize = 16;

/// Memory is reserved for at most this many arguments before they have been read.
const MAX_RESERVED_ARGS: usize = 4096;

/// Calls `f` with the arguments of a caller's argc, argv and lens.
///
/// # Safety
/// Header rule 3, for each of the `argc` pointers; `lens` is NULL or has `argc` entries.
#[inline]
pub unsafe fn with_args<T>(
    argc: usize,
    argv: *const *const c_char,
    lens: *const usize,
    f: impl FnOnce(&[&[u8]]) -> Result<T>,
) -> Result<T> {
    if argc == 0 {
        return Err(Error::invalid("an empty command"));
    }
    if argv.is_null() {
        return Err(Error::invalid("argv is NULL"));
    }
    if argc > isize::MAX as usize / size_of::<*const c_char>() {
        return Err(Error::invalid(format_args!(
            "argc, {argc}, is more than fits in half the address space"
        )));
    }
    let arg = |i: usize| {
        // SAFETY: i < argc, so both arrays have this entry.
        unsafe {
            let len = if lens.is_null() { NTS } else { *lens.add(i) };
            let pointer = *argv.add(i);
            if pointer.is_null() && len == NTS {
                return Err(Error::invalid(format_args!("argument {i} is NULL")));
            }
            bytes_arg(pointer, len, "an argument")
        }
    };
    // Not initialized first: that would take longer than the rest.
    let mut few = [MaybeUninit::<&[u8]>::uninit(); STACK_ARGS];
    let mut many = Vec::new();
    let args = if argc <= STACK_ARGS {
        for (i, entry) in few.iter_mut().enumerate().take(argc) {
            entry.write(arg(i)?);
        }
        // SAFETY: the first `argc` entries have been written, and `MaybeUninit` has the layout of its content.
        unsafe { std::slice::from_raw_parts(few.as_ptr().cast::<&[u8]>(), argc) }
    } else {
        many.reserve(argc.min(MAX_RESERVED_ARGS));
        for i in 0..argc {
            many.push(arg(i)?);
        }
        &many
    };
    // Called in one place, so that it is inlined.
    f(args)
}
