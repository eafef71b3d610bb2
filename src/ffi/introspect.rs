//! ## Looking inside

use super::client::rdc_client;
use super::panic_boundary::{bytes, catch_panic, reply, with_args};
use super::registry::enter;
use super::reply::rdc_reply;
use crate::error::Code;
use crate::log;
use crate::net::{CancelDisabled, set_wait_callback};
use crate::topology::key_slot;
use std::ffi::{CString, c_char, c_void};
use std::rc::Rc;
use std::sync::Arc;

/// ## Looking inside
///
/// The cluster as it is known: an array of shards, each a map of "slots" (an array of first and
/// last), "primary" and "replicas"; each node a map of "address", "id", "zone", "health" ("healthy"
/// or "unhealthy"), "ejected_ms", "connections", "reads" (that went to it because it was chosen among
/// several), "rtt_us" (smoothed; -1: not measured) and "in_flight" (commands, of handles that
/// read from replicas); a replica also of "link" to its primary ("up", "down", "unknown"), "lag_bytes"
/// (of its primary's writes that it lacked when last asked; -1: never) and "lag_ms" (how long ago the
/// moment is up to which it is shown to have everything; -1: it is not). What is not asked for by an
/// option is not found out: see docs/replica-reads.md. No I/O.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_topology(client: *const rdc_client) -> *mut rdc_reply {
    reply(|| Ok(enter(client)?.client.topology()))
}

/// A map of the counters of STATISTICS.md, common to all handles on the cluster. No I/O.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_stats(client: *const rdc_client) -> *mut rdc_reply {
    reply(|| Ok(enter(client)?.client.stats()))
}

/// Learns the topology again, now: OK or an error that names each node that did not answer.
/// There is no need to: the client does so when it meets a reason.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_refresh(client: *const rdc_client) -> *mut rdc_reply {
    reply(|| Ok(enter(client)?.client.refresh()))
}

/// The slot of a key, 0 to 16383: CRC16 of the key, or of the part of it between the first "{"
/// and the "}" behind it, modulo 16384. Negative if key is NULL and len is not 0.
///
/// # Safety
/// Header rule 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_key_slot(key: *const c_char, len: usize) -> i32 {
    catch_panic(
        |_| -(Code::Internal as i32),
        // SAFETY: header rule 3.
        || match unsafe { bytes(key, len, "key") } {
            Ok(key) => i32::from(key_slot(key)),
            Err(error) => -(error.code as i32),
        },
    )
}

/// What would be done with a command, without doing it: a map of "command", "known" (0 if it is a
/// module's, or nobody's), "keys", "slots", "access" ("read" or "write"), "read_from", "nodes" (who
/// might be asked), "others" (a map from every other node to why it is not asked), "policy" and, where
/// the command would be refused, "error".
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_explain(
    client: *const rdc_client,
    argc: usize,
    argv: *const *const c_char,
    lens: *const usize,
) -> *mut rdc_reply {
    reply(|| {
        let used = enter(client)?;
        // SAFETY: header rule 3.
        unsafe { with_args(argc, argv, lens, |args| Ok(used.client.explain(args))) }
    })
}

/// Gets messages: arg is what was given to rdc_set_logger(), level is 1 error, 2 warning, 3
/// information or 4 debug, and message one line that is gone after the call. Called on a thread
/// that is inside an rdc_ call, never from another, and on several threads at once if they are.
/// No password and no value is ever in a message.
#[allow(non_camel_case_types)]
pub type rdc_log_fn =
    Option<unsafe extern "C" fn(arg: *mut c_void, level: i32, message: *const c_char)>;

/// Sends what happens, up to this level, to a function; NULL ends it. One logger for the whole
/// process. When the call returns, the former logger may still be running on other threads.
///
/// # Safety
/// fn may be called with arg until it has been replaced and all calls under way have ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_set_logger(r#fn: rdc_log_fn, arg: *mut c_void, level: i32) {
    catch_panic(
        |_| (),
        || {
            let arg = arg.expose_provenance();
            let logger = r#fn.map(|f| -> log::Logger {
                Arc::new(move |level, words: &str| {
                    // What the function does may be where a thread can be cancelled.
                    let _uncancelled = CancelDisabled::begin();
                    let words = CString::new(words.replace('\0', "?")).unwrap_or_default();
                    // SAFETY: as the caller promised.
                    unsafe {
                        f(
                            std::ptr::with_exposed_provenance_mut(arg),
                            level,
                            words.as_ptr(),
                        )
                    }
                })
            });
            log::set(logger, level);
        },
    );
}

/// Says whether a call that waits shall go on: 1 if so; 0 ends it with RDC_ERR_INTERRUPTED. (So
/// does whatever a language gives back for a function that failed.) arg is what was given to
/// rdc_set_wait_callback(). Called on the thread that waits, inside its rdc_ call, with no lock held: it may
/// call the library, only not the pipeline or the pinned handle that waits.
#[allow(non_camel_case_types)]
pub type rdc_wait_fn = Option<unsafe extern "C" fn(arg: *mut c_void) -> i32>;

/// From now on the calls that this thread makes, on whichever handle, ask a function every 25 ms
/// while they wait, and at once when a signal has interrupted the waiting, whether to go on.
/// Meanwhile a command keeps its place, so that nothing is sent twice. NULL ends it.
///
/// Made for languages that run signal handlers between instructions of their own, as Python and
/// Ruby do: the function is where they get to run, and says whether one of them has raised
/// something. A program in C, whose handlers run at once, has rdc_interrupt().
///
/// Each thread has its own, or none. A forked child keeps that of the thread that forked.
///
/// # Safety
/// fn may be called with arg on this thread until it has been replaced, or the thread has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_set_wait_callback(r#fn: rdc_wait_fn, arg: *mut c_void) {
    catch_panic(
        |_| (),
        || {
            set_wait_callback(r#fn.map(|f| -> Rc<dyn Fn() -> bool> {
                Rc::new(move || {
                    let _uncancelled = CancelDisabled::begin();
                    // SAFETY: as the caller promised.
                    unsafe { f(arg) != 0 }
                })
            }));
        },
    );
}

/// The name of an error code: "TIMEOUT" for RDC_ERR_TIMEOUT, "UNKNOWN" for a number that is none.
/// Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn rdc_error_name(error: i32) -> *const c_char {
    let name = match Code::from_number(error) {
        Some(Code::Ok) => c"OK",
        Some(Code::Server) => c"SERVER",
        Some(Code::Invalid) => c"INVALID",
        Some(Code::Connect) => c"CONNECT",
        Some(Code::Io) => c"IO",
        Some(Code::Timeout) => c"TIMEOUT",
        Some(Code::Protocol) => c"PROTOCOL",
        Some(Code::Auth) => c"AUTH",
        Some(Code::Down) => c"DOWN",
        Some(Code::CrossSlot) => c"CROSSSLOT",
        Some(Code::Redirects) => c"REDIRECTS",
        Some(Code::ReadOnly) => c"READONLY",
        Some(Code::Interrupted) => c"INTERRUPTED",
        Some(Code::Internal) => c"INTERNAL",
        Some(Code::Closed) => c"CLOSED",
        Some(Code::Tls) => c"TLS",
        None => c"UNKNOWN",
    };
    name.as_ptr()
}

/// The version of the library that is loaded, "0.1.0". Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn rdc_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The same as a number: 1000000 * major + 1000 * minor + patch.
#[unsafe(no_mangle)]
pub extern "C" fn rdc_version_number() -> i32 {
    const fn part(text: &str) -> i32 {
        let (bytes, mut n, mut i) = (text.as_bytes(), 0, 0);
        while i < bytes.len() {
            n = n * 10 + (bytes[i] - b'0') as i32;
            i += 1;
        }
        n
    }
    const NUMBER: i32 = 1_000_000 * part(env!("CARGO_PKG_VERSION_MAJOR"))
        + 1000 * part(env!("CARGO_PKG_VERSION_MINOR"))
        + part(env!("CARGO_PKG_VERSION_PATCH"));
    NUMBER
}
