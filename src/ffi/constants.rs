//! The constants of the header, checked against the enums of the library.

use crate::error::Code;
use crate::resp::Kind;

/// Reply type: bytes, in rdc_reply_str() and rdc_reply_len().
pub const RDC_STRING: i32 = 1;
/// Reply type: elements in order, in rdc_reply_at().
pub const RDC_ARRAY: i32 = 2;
/// Reply type: a 64-bit integer, in rdc_reply_int().
pub const RDC_INTEGER: i32 = 3;
/// Reply type: nil. There is no such key, field or element.
pub const RDC_NIL: i32 = 4;
/// Reply type: a short text such as OK, in rdc_reply_str().
pub const RDC_STATUS: i32 = 5;
/// Reply type: an error. Its code is in rdc_reply_error(), its message in rdc_reply_str().
pub const RDC_ERROR: i32 = 6;
/// Reply type: a double. Its value is in rdc_reply_double(), its text in rdc_reply_str().
pub const RDC_DOUBLE: i32 = 7;
/// Reply type: a boolean, 0 or 1 in rdc_reply_int().
pub const RDC_BOOL: i32 = 8;
/// Reply type: pairs, as elements key, value, key, value, ...
pub const RDC_MAP: i32 = 9;
/// Reply type: elements without an order.
pub const RDC_SET: i32 = 10;
/// Reply type: a pub/sub message, as elements.
pub const RDC_PUSH: i32 = 12;
/// Reply type: an integer of any size, as decimal digits in rdc_reply_str().
pub const RDC_BIGNUM: i32 = 13;
/// Reply type: a text in rdc_reply_str(), without its prefix such as "txt:".
pub const RDC_VERBATIM: i32 = 14;

/// No error.
pub const RDC_OK: i32 = 0;
/// The server replied with an error; the message begins with its code (WRONGTYPE, NOSCRIPT,
/// OOM ...).
pub const RDC_ERR_SERVER: i32 = 1;
/// An invalid argument, option or URL; nothing was sent.
pub const RDC_ERR_INVALID: i32 = 2;
/// No node could be reached; nothing was sent.
pub const RDC_ERR_CONNECT: i32 = 3;
/// The connection broke.
pub const RDC_ERR_IO: i32 = 4;
/// A timeout passed: timeout_ms, or attempt_timeout_ms where no retry was possible.
pub const RDC_ERR_TIMEOUT: i32 = 5;
/// The node sent invalid RESP, or a reply above a limit (max_reply_bytes and similar
/// options).
pub const RDC_ERR_PROTOCOL: i32 = 6;
/// The server rejected the credentials, or their permissions do not suffice.
pub const RDC_ERR_AUTH: i32 = 7;
/// CLUSTERDOWN, or no node serves the slot.
pub const RDC_ERR_DOWN: i32 = 8;
/// The keys are in different slots; nothing was sent.
pub const RDC_ERR_CROSSSLOT: i32 = 9;
/// More than max_redirects MOVED or ASK redirections; on a pinned handle: its slot has moved.
pub const RDC_ERR_REDIRECTS: i32 = 10;
/// A write on a read-only handle; nothing was sent.
pub const RDC_ERR_READONLY: i32 = 11;
/// The call was interrupted: rdc_interrupt() was called, or the wait callback returned 0.
pub const RDC_ERR_INTERRUPTED: i32 = 12;
/// A bug in the library: a panic, caught at the C boundary.
pub const RDC_ERR_INTERNAL: i32 = 13;
/// The handle was closed.
pub const RDC_ERR_CLOSED: i32 = 14;
/// TLS failed: one side rejected the certificate of the other, or the session broke.
pub const RDC_ERR_TLS: i32 = 15;
/// The queue holds `queue_limit` commands; nothing was sent.
pub const RDC_ERR_QUEUE_FULL: i32 = 16;

const _: () = assert!(
    RDC_STRING == Kind::String as i32
        && RDC_ARRAY == Kind::Array as i32
        && RDC_INTEGER == Kind::Integer as i32
        && RDC_NIL == Kind::Nil as i32
        && RDC_STATUS == Kind::Status as i32
        && RDC_ERROR == Kind::Error as i32
        && RDC_DOUBLE == Kind::Double as i32
        && RDC_BOOL == Kind::Bool as i32
        && RDC_MAP == Kind::Map as i32
        && RDC_SET == Kind::Set as i32
        && RDC_PUSH == Kind::Push as i32
        && RDC_BIGNUM == Kind::Bignum as i32
        && RDC_VERBATIM == Kind::Verbatim as i32
);
const _: () = assert!(
    RDC_OK == Code::Ok as i32
        && RDC_ERR_SERVER == Code::Server as i32
        && RDC_ERR_INVALID == Code::Invalid as i32
        && RDC_ERR_CONNECT == Code::Connect as i32
        && RDC_ERR_IO == Code::Io as i32
        && RDC_ERR_TIMEOUT == Code::Timeout as i32
        && RDC_ERR_PROTOCOL == Code::Protocol as i32
        && RDC_ERR_AUTH == Code::Auth as i32
        && RDC_ERR_DOWN == Code::Down as i32
        && RDC_ERR_CROSSSLOT == Code::CrossSlot as i32
        && RDC_ERR_REDIRECTS == Code::Redirects as i32
        && RDC_ERR_READONLY == Code::ReadOnly as i32
        && RDC_ERR_INTERRUPTED == Code::Interrupted as i32
        && RDC_ERR_INTERNAL == Code::Internal as i32
        && RDC_ERR_CLOSED == Code::Closed as i32
        && RDC_ERR_TLS == Code::Tls as i32
        && RDC_ERR_QUEUE_FULL == Code::QueueFull as i32
);
