//! ## Pipelines

use super::client::rdc_client;
use super::panic_boundary::{
    bytes, catch_panic, catch_panic_uncancelled, panic_error, reply, with_args,
};
use super::registry::enter;
use super::reply::rdc_reply;
use crate::cluster::{Client, Pipeline};
use crate::error::{Error, Result};
use crate::resp::{EncodedPrefix, Reply};
use crate::route::{Access, Row, table};
use std::ffi::c_char;
use std::sync::Arc;

/// Commands of one client, to be sent together. By one thread at a time. Not atomic, unless
/// executed so.
#[allow(non_camel_case_types)]
pub struct rdc_pipeline(Pipeline);

/// ## Pipelines
///
/// A new, empty pipeline of this client, which it keeps alive: the client may be closed first,
/// and executing then fails with RDC_ERR_CLOSED. Never NULL. To be freed with
/// rdc_pipeline_free().
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_new(client: *const rdc_client) -> *mut rdc_pipeline {
    let client = match enter(client) {
        Ok(used) => used.client.clone(),
        Err(error) => Arc::new(Client::failed(error)),
    };
    Box::into_raw(Box::new(rdc_pipeline(Pipeline::new(client))))
}

/// Appends to a pipeline what `f` does; what fails, or panics, becomes an error in its place, so that
/// every later command keeps its own.
unsafe fn append(pipeline: *mut rdc_pipeline, f: impl FnOnce(&mut Pipeline) -> Result<()>) {
    // SAFETY: header rule 1, and rule 4: by one thread at a time.
    let Some(rdc_pipeline(pipeline)) = (unsafe { pipeline.as_mut() }) else {
        return;
    };
    let outcome = catch_panic(|words| Err(panic_error(words)), || f(pipeline));
    if let Err(error) = outcome {
        catch_panic(|_| (), || pipeline.fail(error));
    }
}

/// Appends a command, as in rdc_command(); nothing is sent yet. Appending never fails: a malformed
/// command becomes the error in its place, and counts in the length. The arguments are copied.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_command(
    pipeline: *mut rdc_pipeline,
    argc: usize,
    argv: *const *const c_char,
    lens: *const usize,
) {
    // SAFETY: header rule 3.
    unsafe {
        append(pipeline, |pipeline| {
            with_args(argc, argv, lens, |args| {
                pipeline.command(args);
                Ok(())
            })
        });
    }
}

/// Appends any number of encoded commands, one behind the other. What follows one that is
/// malformed cannot be told apart, and becomes one error.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_resp(
    pipeline: *mut rdc_pipeline,
    resp: *const c_char,
    len: usize,
) {
    // SAFETY: header rule 3.
    unsafe {
        append(pipeline, |pipeline| {
            let resp = bytes(resp, len, "resp")?;
            if resp.is_empty() {
                return Err(Error::invalid("the RESP buffer is empty"));
            }
            pipeline.resp(resp);
            Ok(())
        });
    }
}

#[inline]
unsafe fn keyed(
    pipeline: *mut rdc_pipeline,
    (row, access): (&'static Row, Access),
    (key, key_len): (*const c_char, usize),
    more: impl FnOnce(&[u8], &mut dyn FnMut(&'static EncodedPrefix, &[&[u8]])) -> Result<()>,
) {
    // SAFETY: header rules 1 and 3.
    unsafe {
        append(pipeline, |pipeline| {
            let key = bytes(key, key_len, "key")?;
            more(key, &mut |name, args| {
                pipeline.keyed(row, access, key, name, args)
            })
        });
    }
}

/// Appends a GET.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_get(
    pipeline: *mut rdc_pipeline,
    key: *const c_char,
    key_len: usize,
) {
    // SAFETY: passed on.
    unsafe {
        keyed(
            pipeline,
            (table::GET, Access::Read),
            (key, key_len),
            |key, add| {
                add(
                    const { &EncodedPrefix::new(b"*2\r\n$3\r\nGET\r\n") },
                    &[key],
                );
                Ok(())
            },
        );
    }
}

/// Appends a SET.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_set(
    pipeline: *mut rdc_pipeline,
    key: *const c_char,
    key_len: usize,
    value: *const c_char,
    value_len: usize,
) {
    // SAFETY: passed on, and header rule 3 for the value.
    unsafe {
        keyed(
            pipeline,
            (table::SET, Access::Write),
            (key, key_len),
            |key, add| {
                add(
                    const { &EncodedPrefix::new(b"*3\r\n$3\r\nSET\r\n") },
                    &[key, bytes(value, value_len, "value")?],
                );
                Ok(())
            },
        );
    }
}

/// Appends a SET with a time to live in milliseconds.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_set_px(
    pipeline: *mut rdc_pipeline,
    key: *const c_char,
    key_len: usize,
    value: *const c_char,
    value_len: usize,
    ttl_ms: i64,
) {
    // SAFETY: passed on, and header rule 3 for the value.
    unsafe {
        keyed(
            pipeline,
            (table::SET, Access::Write),
            (key, key_len),
            |key, add| {
                let value = bytes(value, value_len, "value")?;
                add(
                    const { &EncodedPrefix::new(b"*5\r\n$3\r\nSET\r\n") },
                    &[key, value, b"PX", ttl_ms.to_string().as_bytes()],
                );
                Ok(())
            },
        );
    }
}

/// Appends a DEL of one key.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_del(
    pipeline: *mut rdc_pipeline,
    key: *const c_char,
    key_len: usize,
) {
    // SAFETY: passed on.
    unsafe {
        keyed(
            pipeline,
            (table::DEL, Access::Write),
            (key, key_len),
            |key, add| {
                add(
                    const { &EncodedPrefix::new(b"*2\r\n$3\r\nDEL\r\n") },
                    &[key],
                );
                Ok(())
            },
        );
    }
}

/// How many commands have been appended.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_len(pipeline: *const rdc_pipeline) -> usize {
    // SAFETY: header rule 1.
    unsafe { pipeline.as_ref() }.map_or(0, |p| p.0.len())
}

unsafe fn execute(
    pipeline: *mut rdc_pipeline,
    f: impl FnOnce(&mut Pipeline) -> Box<Reply>,
) -> *mut rdc_reply {
    reply(|| {
        // SAFETY: header rule 1, and rule 4: by one thread at a time.
        match unsafe { pipeline.as_mut() } {
            Some(rdc_pipeline(pipeline)) => Ok(f(pipeline)),
            None => Err(Error::invalid("pipeline is NULL")),
        }
    })
}

/// Sends all commands, to all their nodes at once, and waits for all replies: one ARRAY with one
/// element per command, in order (of none, for an empty pipeline). An element may be an ERROR,
/// whose words begin "Command # 2 (SET foo) of pipeline: " (the first is # 1); the others are not
/// concerned. Commands of one slot run in their order, each at most once.
///
/// On a read-only client a pipeline with a write in it is not sent at all: every element is
/// RDC_ERR_READONLY.
///
/// Takes at most timeout_ms. Empties the pipeline, whatever comes of it. The reply is the
/// caller's to free.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_execute(pipeline: *mut rdc_pipeline) -> *mut rdc_reply {
    // SAFETY: passed on.
    unsafe { execute(pipeline, Pipeline::execute) }
}

/// The same inside MULTI and EXEC: all commands or none, with nothing in between. Every key must
/// be in one slot (use {hash tags}), or the reply is RDC_ERR_CROSSSLOT and nothing is sent. Where
/// the servers refuse the whole, the reply is that ERROR.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_execute_atomic(
    pipeline: *mut rdc_pipeline,
) -> *mut rdc_reply {
    // SAFETY: passed on.
    unsafe { execute(pipeline, Pipeline::execute_atomic) }
}

/// Forgets all commands that were appended.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_clear(pipeline: *mut rdc_pipeline) {
    // SAFETY: header rule 1.
    if let Some(pipeline) = unsafe { pipeline.as_mut() } {
        pipeline.0.clear();
    }
}

/// Frees a pipeline. NULL is allowed.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_free(pipeline: *mut rdc_pipeline) {
    if !pipeline.is_null() {
        // SAFETY: header rule 1: made by rdc_pipeline_new and not freed before. What is dropped
        // may be the last reference on a client.
        catch_panic_uncancelled(|_| (), || drop(unsafe { Box::from_raw(pipeline) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Kind;
    use crate::sim_hooks::Layer;
    use crate::simulation::panicking_once;

    #[test]
    fn panic_while_appending_keeps_other_pipeline_positions() {
        panicking_once(Layer::Route, || {
            let mut pipeline = rdc_pipeline(Pipeline::new(Arc::new(Client::failed(
                Error::invalid("nowhere"),
            ))));
            let get = |pipeline: &mut rdc_pipeline| {
                let argv = [c"GET".as_ptr(), c"k".as_ptr()];
                // SAFETY: header rule 3: two C strings, and a pipeline that lives.
                unsafe { rdc_pipeline_command(pipeline, 2, argv.as_ptr(), std::ptr::null()) };
            };
            get(&mut pipeline);
            assert_eq!(pipeline.0.len(), 1, "the one that panicked");
            get(&mut pipeline);
            assert_eq!(pipeline.0.len(), 2);
            assert_eq!(pipeline.0.execute().root.value.kind, Kind::Error);
        });
    }
}
