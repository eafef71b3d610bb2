//! What every function does at the edge: no panic leaves, and no pointer is believed.

use super::reply::rdc_reply;
use super::reply_layout;
use crate::error::{Code, Error, Result};
use crate::log;
use crate::net::CancelDisabled;
use crate::resp::Reply;
use crate::sim_hooks::sim_panic_point;
use once_cell::sync::Lazy;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// "The length is that of a C string": RDC_NTS.
const NTS: usize = usize::MAX;

/// A panic inside the library is told to the logger and not printed: standard error is the
/// host's. A shared library has a standard library of its own, so no other hook is replaced.
static QUIET: Lazy<()> = Lazy::new(|| {
    std::panic::set_hook(Box::new(|info| {
        log::log(log::ERROR, || format!("INTERNAL {info}").replace('\n', " "));
    }));
});

/// Called by whatever makes a handle, so before anything that could panic.
pub fn install_panic_hook() {
    Lazy::force(&QUIET);
}

/// Runs `f`; a panic in it becomes `failed`.
#[inline]
pub fn catch_panic<T>(failed: impl FnOnce(&str) -> T, f: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => value,
        Err(panic) => {
            let words = panic
                .downcast_ref::<&str>()
                .map(|s| s.to_string())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            failed(&words)
        }
    }
}

/// What a panic becomes for the caller.
pub fn panic_error(words: &str) -> Error {
    Error::new(
        Code::Internal,
        format_args!("a bug in librediscluster: {words}"),
    )
}

/// The same for what may wait or takes long: a pthread_cancel() of the thread takes effect behind it.
/// Commands see to that themselves, where it costs nothing.
pub fn catch_panic_uncancelled<T>(failed: impl FnOnce(&str) -> T, f: impl FnOnce() -> T) -> T {
    let _uncancelled = CancelDisabled::begin();
    catch_panic(failed, f)
}

/// Runs what makes a reply, and hands it over.
#[inline]
pub fn reply(f: impl FnOnce() -> Result<Box<Reply>>) -> *mut rdc_reply {
    let made = catch_panic(
        |words| Err(panic_error(words).sent(true)),
        || {
            sim_panic_point!(Ffi);
            f()
        },
    );
    reply_layout::into_raw(made.unwrap_or_else(|error| Box::new(Reply::error(&error))))
}

/// The bytes that a caller's pointer and length name.
///
/// # Safety
/// Header rule 3: `pointer` is valid for `len` bytes, or is a C string where `len` is RDC_NTS.
#[inline]
pub unsafe fn bytes<'a>(pointer: *const c_char, len: usize, what: &str) -> Result<&'a [u8]> {
    // Not NULL, not empty, and within the address space: nearly always so.
    if !pointer.is_null() && len.wrapping_sub(1) < isize::MAX as usize {
        // SAFETY: header rule 3.
        return Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), len) });
    }
    // SAFETY: passed on.
    unsafe { checked_bytes(pointer, len, what) }
}

/// The same where there are none, or a C string, or a mistake.
///
/// # Safety
/// As [`bytes`].
unsafe fn checked_bytes<'a>(pointer: *const c_char, len: usize, what: &str) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Error::invalid(format_args!("{what} is NULL")));
    }
    if len == NTS {
        // SAFETY: header rule 3; RDC_NTS promises a NUL.
        return Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes());
    }
    Err(Error::invalid(format_args!(
        "the length of {what}, {len}, is beyond half the address space"
    )))
}

/// A caller's C string that has to be text.
///
/// # Safety
/// As [`bytes`] with RDC_NTS.
pub unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Result<&'a str> {
    // SAFETY: passed on.
    let bytes = unsafe { bytes(pointer, NTS, what) }?;
    std::str::from_utf8(bytes).map_err(|_| Error::invalid(format_args!("{what} is not UTF-8")))
}

/// Arguments that fit here need no memory of their own.
const FEW: usize = 16;

/// Of so many the number is believed before they have been seen.
const MANY: usize = 4096;

/// Calls `f` with the arguments that a caller's argc, argv and lens name.
///
/// # Safety
/// Header rule 3, for each of the `argc` pointers; `lens` is NULL or has as many entries.
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
            "argc, {argc}, is beyond half the address space"
        )));
    }
    let arg = |i: usize| {
        // SAFETY: i < argc, so both lists have the entry.
        unsafe {
            let len = if lens.is_null() { NTS } else { *lens.add(i) };
            let pointer = *argv.add(i);
            if pointer.is_null() && len == NTS {
                return Err(Error::invalid(format_args!("argument {i} is NULL")));
            }
            bytes(pointer, len, "an argument")
        }
    };
    if argc <= FEW {
        let mut few: [&[u8]; FEW] = [&[]; FEW];
        for (i, place) in few.iter_mut().enumerate().take(argc) {
            *place = arg(i)?;
        }
        return f(&few[..argc]);
    }
    let mut many: Vec<&[u8]> = Vec::with_capacity(argc.min(MANY));
    for i in 0..argc {
        many.push(arg(i)?);
    }
    f(&many)
}

#[cfg(test)]
mod tests {
    use super::super::command::rdc_command;
    use super::super::reply::{rdc_reply_error, rdc_reply_free, rdc_reply_sent};
    use crate::error::Code;
    use crate::sim_hooks::Layer;
    use crate::simulation::panicking_once;

    #[test]
    fn caught_panic_returns_error_and_next_call_succeeds() {
        panicking_once(Layer::Ffi, || {
            let argv = [c"PING".as_ptr()];
            // SAFETY: header rules 1 and 3: a C string, no client, and a reply that is freed once.
            let call = || unsafe {
                let reply = rdc_command(std::ptr::null(), 1, argv.as_ptr(), std::ptr::null());
                let sent = rdc_reply_sent(reply);
                let error = rdc_reply_error(reply);
                assert_eq!(rdc_reply_free(reply), error);
                (error, sent)
            };
            // Nobody knows how far it had got.
            assert_eq!(call(), (Code::Internal as i32, 1));
            assert_eq!(call(), (Code::Invalid as i32, 0));
        });
    }
}
