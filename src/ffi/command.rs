//! ## Commands

use super::args::{bytes_arg, text_arg, with_args};
use super::client::rdc_client;
use super::panic_boundary::return_reply;
use super::registry::acquire;
use super::reply::rdc_reply;
use crate::error::Result;
use crate::resp::{CommandReply, EncodedPrefix};
use crate::route::{Access, Row, table};
use std::ffi::c_char;

/// ## Commands
///
/// Sends one command to the node or nodes that it is for, and waits for the reply. argv
/// contains argc arguments, the first of which is the command's name. lens contains their
/// lengths in bytes; an entry may be RDC_NTS. lens may be NULL if every argument is
/// NUL-terminated.
///
/// Takes at most timeout_ms; a blocking command (BLPOP, XREAD BLOCK) takes its own timeout in
/// addition. The call follows redirections, waits for failovers, and sends a
/// command again if it certainly did not run; see rdc_reply_sent(). Never returns NULL. The
/// caller frees the reply.
///
/// Keys in several slots: MGET, EXISTS, TOUCH, DEL and UNLINK are split by slot, and their
/// replies are merged in order. The same holds for MSET if the option split_writes is on. Any
/// other command returns RDC_ERR_CROSSSLOT, and nothing is sent. A command without keys goes
/// to all nodes that it concerns (DBSIZE, FLUSHALL, SCRIPT LOAD, CONFIG SET ...). A command
/// that changes the state of one node (SHUTDOWN, CLUSTER RESET ...) returns RDC_ERR_INVALID:
/// rdc_command_to() selects the node. WAIT and WAITAOF return RDC_ERR_INVALID: they are for
/// pipelines and pinned handles. SCAN iterates over the whole cluster, with cursors of the
/// library. docs/commands.md has the details. A server without cluster support has all keys:
/// it takes every command whole, and none is refused because of its slots or because it is
/// for one node (docs/standalone.md).
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_command(
    client: *const rdc_client,
    argc: usize,
    argv: *const *const c_char,
    lens: *const usize,
) -> *mut rdc_reply {
    return_reply(|| {
        let handle = acquire(client)?;
        // SAFETY: header rule 3.
        unsafe { with_args(argc, argv, lens, |args| Ok(handle.client.command(args))) }
    })
}

/// As rdc_command(), for one command that is already encoded:
/// "*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n". Anything but exactly one command returns
/// RDC_ERR_INVALID. Meant for bindings: one call and one buffer.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_command_resp(
    client: *const rdc_client,
    resp: *const c_char,
    len: usize,
) -> *mut rdc_reply {
    return_reply(|| {
        let handle = acquire(client)?;
        // SAFETY: header rule 3.
        Ok(handle
            .client
            .command_resp(unsafe { bytes_arg(resp, len, "resp") }?))
    })
}

/// As rdc_command(), to a chosen destination. One node: "slot:N", "key:K", "random", or
/// "host:port" for a node of the cluster (redirections are not followed; with a unix socket, its
/// path). Several nodes: "all", "primaries" or "replicas"; the reply is a MAP from "host:port" to the reply of that
/// node.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_command_to(
    client: *const rdc_client,
    r#where: *const c_char,
    argc: usize,
    argv: *const *const c_char,
    lens: *const usize,
) -> *mut rdc_reply {
    return_reply(|| {
        let handle = acquire(client)?;
        // SAFETY: header rule 3.
        unsafe {
            let destination = text_arg(r#where, "where")?;
            with_args(argc, argv, lens, |args| {
                Ok(handle.client.command_to(destination, args))
            })
        }
    })
}

/// Runs a command whose only key is its first argument. `build` gets the key and a function that
/// sends the command.
///
/// # Safety
/// Header rules 1 and 3.
#[inline]
unsafe fn keyed(
    client: *const rdc_client,
    (row, access): (&'static Row, Access),
    (key, key_len): (*const c_char, usize),
    build: impl FnOnce(
        &[u8],
        &mut dyn FnMut(&'static EncodedPrefix, &[&[u8]]) -> CommandReply,
    ) -> Result<CommandReply>,
) -> *mut rdc_reply {
    return_reply(|| {
        let handle = acquire(client)?;
        // SAFETY: header rule 3.
        let key = unsafe { bytes_arg(key, key_len, "key") }?;
        build(key, &mut |name, args| {
            handle.client.keyed(row, access, key, name, args)
        })
    })
}

/// GET. Returns a STRING, or NIL if the key does not exist. The caller frees the reply.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_get(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 3.
    unsafe {
        keyed(
            client,
            (table::GET, Access::Read),
            (key, key_len),
            |key, send| {
                Ok(send(
                    const { &EncodedPrefix::new(b"*2\r\n$3\r\nGET\r\n") },
                    &[key],
                ))
            },
        )
    }
}

/// SET. Returns the STATUS OK. The caller frees the reply.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_set(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
    value: *const c_char,
    value_len: usize,
) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 3, for the key and the value.
    unsafe {
        keyed(
            client,
            (table::SET, Access::Write),
            (key, key_len),
            |key, send| {
                Ok(send(
                    const { &EncodedPrefix::new(b"*3\r\n$3\r\nSET\r\n") },
                    &[key, bytes_arg(value, value_len, "value")?],
                ))
            },
        )
    }
}

/// SET with a time to live in milliseconds (PX), which must be greater than 0. Returns the
/// STATUS OK. The caller frees the reply.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_set_px(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
    value: *const c_char,
    value_len: usize,
    ttl_ms: i64,
) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 3, for the key and the value.
    unsafe {
        keyed(
            client,
            (table::SET, Access::Write),
            (key, key_len),
            |key, send| {
                let value = bytes_arg(value, value_len, "value")?;
                let ttl = ttl_ms.to_string();
                Ok(send(
                    const { &EncodedPrefix::new(b"*5\r\n$3\r\nSET\r\n") },
                    &[key, value, b"PX", ttl.as_bytes()],
                ))
            },
        )
    }
}

/// DEL of one key. Returns the INTEGER 1 if the key existed, otherwise 0. The caller frees
/// the reply.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_del(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 3.
    unsafe {
        keyed(
            client,
            (table::DEL, Access::Write),
            (key, key_len),
            |key, send| {
                Ok(send(
                    const { &EncodedPrefix::new(b"*2\r\n$3\r\nDEL\r\n") },
                    &[key],
                ))
            },
        )
    }
}

/// EXISTS of one key. Returns the INTEGER 1 if the key exists, otherwise 0. The caller frees
/// the reply.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_exists(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 3.
    unsafe {
        keyed(
            client,
            (table::EXISTS, Access::Read),
            (key, key_len),
            |key, send| {
                Ok(send(
                    const { &EncodedPrefix::new(b"*2\r\n$6\r\nEXISTS\r\n") },
                    &[key],
                ))
            },
        )
    }
}

/// INCRBY. Returns the new value as an INTEGER. If the reply is lost, the command may have
/// run and is not sent again: see rdc_reply_sent(). The caller frees the reply.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_incrby(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
    by: i64,
) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 3.
    unsafe {
        keyed(
            client,
            (table::INCRBY, Access::Write),
            (key, key_len),
            |key, send| {
                Ok(send(
                    const { &EncodedPrefix::new(b"*3\r\n$6\r\nINCRBY\r\n") },
                    &[key, by.to_string().as_bytes()],
                ))
            },
        )
    }
}

/// PEXPIRE: sets a time to live in milliseconds. Returns the INTEGER 1 if the key exists,
/// otherwise 0. The caller frees the reply.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pexpire(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
    ttl_ms: i64,
) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 3.
    unsafe {
        keyed(
            client,
            (table::PEXPIRE, Access::Write),
            (key, key_len),
            |key, send| {
                Ok(send(
                    const { &EncodedPrefix::new(b"*3\r\n$7\r\nPEXPIRE\r\n") },
                    &[key, ttl_ms.to_string().as_bytes()],
                ))
            },
        )
    }
}
