//! The numbers of the header, and that they are those used inside.

use crate::error::Code;
use crate::resp::Kind;

/// Bytes.
pub const RDC_STRING: i32 = 1;
/// Elements, in order.
pub const RDC_ARRAY: i32 = 2;
/// In rdc_reply_int().
pub const RDC_INTEGER: i32 = 3;
/// No such key, field or element.
pub const RDC_NIL: i32 = 4;
/// A word such as OK.
pub const RDC_STATUS: i32 = 5;
/// See rdc_reply_error(); the words are in rdc_reply_str().
pub const RDC_ERROR: i32 = 6;
/// Text in rdc_reply_str(), value in rdc_reply_double().
pub const RDC_DOUBLE: i32 = 7;
/// 0 or 1, in rdc_reply_int().
pub const RDC_BOOL: i32 = 8;
/// Key, value, key, value, ...
pub const RDC_MAP: i32 = 9;
/// Elements, in no order.
pub const RDC_SET: i32 = 10;
/// A pub/sub message.
pub const RDC_PUSH: i32 = 12;
/// Decimal digits in rdc_reply_str().
pub const RDC_BIGNUM: i32 = 13;
/// Text in rdc_reply_str(), without its "txt:" prefix.
pub const RDC_VERBATIM: i32 = 14;

/// No error.
pub const RDC_OK: i32 = 0;
/// The server said no; its first word says why: WRONGTYPE, NOSCRIPT, OOM ...
pub const RDC_ERR_SERVER: i32 = 1;
/// A bad argument, option or URL; nothing was sent.
pub const RDC_ERR_INVALID: i32 = 2;
/// No node could be reached; nothing was sent.
pub const RDC_ERR_CONNECT: i32 = 3;
/// The connection broke.
pub const RDC_ERR_IO: i32 = 4;
/// A deadline passed.
pub const RDC_ERR_TIMEOUT: i32 = 5;
/// The peer does not speak RESP, or broke a limit.
pub const RDC_ERR_PROTOCOL: i32 = 6;
/// The server refused the credentials, or their rights.
pub const RDC_ERR_AUTH: i32 = 7;
/// CLUSTERDOWN, or no node serves the slot.
pub const RDC_ERR_DOWN: i32 = 8;
/// The keys live in different slots; nothing was sent.
pub const RDC_ERR_CROSSSLOT: i32 = 9;
/// Followed max_redirects and still not home.
pub const RDC_ERR_REDIRECTS: i32 = 10;
/// A write through a read-only handle; nothing was sent.
pub const RDC_ERR_READONLY: i32 = 11;
/// rdc_interrupt() was called, or the function of rdc_set_wait_callback() said no.
pub const RDC_ERR_INTERRUPTED: i32 = 12;
/// A bug in this library, caught at its edge.
pub const RDC_ERR_INTERNAL: i32 = 13;
/// The handle was closed.
pub const RDC_ERR_CLOSED: i32 = 14;
/// TLS: a certificate was not accepted, by us or by the node, or the session broke down.
pub const RDC_ERR_TLS: i32 = 15;

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
);
