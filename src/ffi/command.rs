//! ## Commands

use super::client::rdc_client;
use super::panic_boundary::{bytes, reply, text, with_args};
use super::registry::enter;
use super::reply::rdc_reply;
use crate::error::Result;
use crate::resp::{EncodedPrefix, Reply};
use crate::route::{Access, Row, table};
use std::ffi::c_char;

/// ## Commands
///
/// Sends one command, of argc arguments with its name as the first, to where it belongs, and
/// waits for its reply. lens may be NULL if every argument is NUL-terminated; an entry may be
/// RDC_NTS.
///
/// Takes at most timeout_ms; a command that blocks by itself (BLPOP, XREAD BLOCK, WAIT) as much
/// longer as it asks to. Follows redirections, waits out failovers, and sends again what has
/// certainly not run; see rdc_reply_sent(). Never NULL; the reply is the caller's to free.
///
/// Keys in several slots: MGET, EXISTS, TOUCH, DEL and UNLINK are split by slot and merged in order,
/// MSET if the option split_writes is on; all else is RDC_ERR_CROSSSLOT, and nothing is sent. Without
/// a key, a command goes to all the nodes that it is for (DBSIZE, FLUSHALL, SCRIPT LOAD, CONFIG SET
/// ...). SCAN walks the whole cluster, with cursors of its own. docs/commands.md has it all.
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
    reply(|| {
        let used = enter(client)?;
        // SAFETY: header rule 3.
        unsafe { with_args(argc, argv, lens, |args| Ok(used.client.command(args))) }
    })
}

/// The same for a command that is encoded already: "*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n". Exactly
/// one; what is not is refused with RDC_ERR_INVALID. One call and one buffer: what bindings use.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_command_resp(
    client: *const rdc_client,
    resp: *const c_char,
    len: usize,
) -> *mut rdc_reply {
    reply(|| {
        let used = enter(client)?;
        // SAFETY: header rule 3.
        Ok(used
            .client
            .command_resp(unsafe { bytes(resp, len, "resp") }?))
    })
}

/// The same to a place of your choosing: "slot:N", "key:K", "random", or a node of the cluster as
/// "host:port" (not redirected); or to several, with a map of their names and replies: "all",
/// "primaries", "replicas".
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
    reply(|| {
        let used = enter(client)?;
        // SAFETY: header rule 3.
        unsafe {
            let place = text(r#where, "where")?;
            with_args(argc, argv, lens, |args| {
                Ok(used.client.command_to(place, args))
            })
        }
    })
}

/// A command whose only key is its first argument.
#[inline]
unsafe fn keyed(
    client: *const rdc_client,
    (row, access): (&'static Row, Access),
    (key, key_len): (*const c_char, usize),
    more: impl FnOnce(
        &[u8],
        &mut dyn FnMut(&'static EncodedPrefix, &[&[u8]]) -> Box<Reply>,
    ) -> Result<Box<Reply>>,
) -> *mut rdc_reply {
    reply(|| {
        let used = enter(client)?;
        // SAFETY: header rule 3.
        let key = unsafe { bytes(key, key_len, "key") }?;
        more(key, &mut |name, args| {
            used.client.keyed(row, access, key, name, args)
        })
    })
}

/// GET: a STRING, or NIL.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_get(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
) -> *mut rdc_reply {
    // SAFETY: passed on.
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

/// SET: the STATUS OK.
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
    // SAFETY: passed on, and header rule 3 for the value.
    unsafe {
        keyed(
            client,
            (table::SET, Access::Write),
            (key, key_len),
            |key, send| {
                Ok(send(
                    const { &EncodedPrefix::new(b"*3\r\n$3\r\nSET\r\n") },
                    &[key, bytes(value, value_len, "value")?],
                ))
            },
        )
    }
}

/// SET with a time to live in milliseconds (PX), which is more than 0: the STATUS OK.
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
    // SAFETY: passed on, and header rule 3 for the value.
    unsafe {
        keyed(
            client,
            (table::SET, Access::Write),
            (key, key_len),
            |key, send| {
                let value = bytes(value, value_len, "value")?;
                let ttl = ttl_ms.to_string();
                Ok(send(
                    const { &EncodedPrefix::new(b"*5\r\n$3\r\nSET\r\n") },
                    &[key, value, b"PX", ttl.as_bytes()],
                ))
            },
        )
    }
}

/// DEL of one key: the INTEGER 1 if it was there, else 0.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_del(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
) -> *mut rdc_reply {
    // SAFETY: passed on.
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

/// EXISTS of one key: the INTEGER 1 if it is there, else 0.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_exists(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
) -> *mut rdc_reply {
    // SAFETY: passed on.
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

/// INCRBY: the INTEGER that the key holds afterwards. Where the reply is lost it may have run or
/// not, and is not sent again: see rdc_reply_sent().
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
    // SAFETY: passed on.
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

/// PEXPIRE, in milliseconds from now: the INTEGER 1 if the key is there, else 0.
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
    // SAFETY: passed on.
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
