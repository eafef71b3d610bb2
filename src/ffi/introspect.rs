//! ## Introspection

use super::args::{bytes_arg, with_args};
use super::client::rdc_client;
use super::panic_boundary::{catch_panic, return_reply};
use super::registry::acquire;
use super::reply::rdc_reply;
use crate::error::Code;
use crate::topology::key_slot;
use std::ffi::c_char;

/// ## Introspection
///
/// Returns the known topology: an ARRAY of shards, empty before the client has connected. Does
/// no I/O. The caller frees the reply.
///
/// A shard is a map of "slots" (an array of [first, last]), "primary" (nil if unknown),
/// "replicas" and "database" (the number of the handle's database). A node is a map of:
///   "address"      "host:port", or the path of a unix socket
///   "id"           the node id
///   "zone"         its availability zone, or nil
///   "health"       "healthy" or "unhealthy"
///   "ejected_ms"   for how many more milliseconds reads avoid the node after failures
///   "connections"  the number of open connections, in all databases
///   "reads"        reads for which the node was chosen among several
///   "rtt_us"       smoothed round-trip time in microseconds; -1 if not measured
///   "in_flight"    commands in flight, of handles that read from replicas
/// A replica has in addition:
///   "link"         its link to the primary: "up", "down" or "unknown"
///   "lag_bytes"    the bytes of the primary's writes that it lacked when last probed; -1 if never
///   "lag_ms"       the age in milliseconds of its data, as far as proven; -1 if not proven
/// Fields whose option is off are not collected: see docs/replica-reads.md.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_topology(client: *const rdc_client) -> *mut rdc_reply {
    return_reply(|| Ok(acquire(client)?.client.topology()))
}

/// Returns a MAP of the counters that STATISTICS.md lists. They count all handles on the
/// cluster. Does no I/O. The caller frees the reply.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_stats(client: *const rdc_client) -> *mut rdc_reply {
    return_reply(|| Ok(acquire(client)?.client.stats()))
}

/// Refreshes the topology now. Returns the STATUS OK, or an error that names each node that
/// did not answer. Takes at most timeout_ms. Calling it is optional: the client refreshes the
/// topology by itself when an error or a redirection suggests a change. The caller frees the
/// reply.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_refresh(client: *const rdc_client) -> *mut rdc_reply {
    return_reply(|| Ok(acquire(client)?.client.refresh()))
}

/// Returns the slot of a key, 0 to 16383: CRC16 modulo 16384. If the key contains a "{" and a
/// "}" after it with bytes between them, only the bytes between the first two count. Returns
/// a negative number if key is NULL and len is not 0.
///
/// # Safety
/// Header rule 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_key_slot(key: *const c_char, len: usize) -> i32 {
    catch_panic(
        |_| -(Code::Internal as i32),
        // SAFETY: header rule 3.
        || match unsafe { bytes_arg(key, len, "key") } {
            Ok(key) => i32::from(key_slot(key)),
            Err(error) => -(error.code as i32),
        },
    )
}

/// Returns how a command would be routed, without sending it. Does no I/O. The caller frees
/// the reply, which is a map of "command", "known" (0 for a command that is not in the
/// library's table, such as a module's), "keys", "slots" (empty for a server without cluster
/// support), "access" ("read" or "write"), "database" (its number),
/// "read_from", "nodes" (the nodes that may get it), "others" (a map from every other node to
/// the reason why not), "policy" and, if the command would be rejected, "error".
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
    return_reply(|| {
        let handle = acquire(client)?;
        // SAFETY: header rule 3.
        unsafe { with_args(argc, argv, lens, |args| Ok(handle.client.explain(args))) }
    })
}

/// Returns the name of an error code: "TIMEOUT" for RDC_ERR_TIMEOUT, "UNKNOWN" for an unknown
/// code. The string is static.
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
        Some(Code::QueueFull) => c"QUEUE_FULL",
        None => c"UNKNOWN",
    };
    name.as_ptr()
}

/// Returns the version of the loaded library, such as "0.1.0". The string is static.
#[unsafe(no_mangle)]
pub extern "C" fn rdc_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Returns the version of the loaded library as a number: 1000000 * major + 1000 * minor +
/// patch.
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
