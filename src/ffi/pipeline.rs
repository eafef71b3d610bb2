//! ## Pipelines

use super::args::{bytes_arg, with_args};
use super::client::rdc_client;
use super::exclusive::{BusyGuard, Exclusive, ExclusiveHandle, free};
use super::panic_boundary::{catch_panic, panic_error, return_reply};
use super::registry::acquire;
use super::reply::rdc_reply;
use crate::cluster::{Client, Pipeline};
use crate::error::{Error, Result};
use crate::resp::{EncodedPrefix, Reply};
use crate::route::{Access, Row, table};
use std::cell::Cell;
use std::ffi::c_char;
use std::sync::Arc;

/// Commands of one client that are sent together. Used by one thread at a time. Atomic only
/// with rdc_pipeline_execute_atomic().
///
/// A callback (logger, wait callback) cannot use the pipeline that its call executes.
/// Executing it there returns RDC_ERR_INVALID. Appending there sends nothing: it becomes
/// RDC_ERR_INVALID at its position in the next reply of the pipeline. rdc_pipeline_free()
/// takes effect when the call ends.
#[allow(non_camel_case_types)]
pub struct rdc_pipeline {
    pipeline: Exclusive<Pipeline>,
    /// The length when it became busy.
    len: Cell<usize>,
    /// The number of commands that callbacks have tried to append since.
    refused: Cell<usize>,
}

impl rdc_pipeline {
    fn new(client: Arc<Client>) -> rdc_pipeline {
        rdc_pipeline {
            pipeline: Exclusive::new(Pipeline::new(client)),
            len: Cell::new(0),
            refused: Cell::new(0),
        }
    }
}

impl ExclusiveHandle for rdc_pipeline {
    type Value = Pipeline;

    #[inline]
    fn exclusive(&self) -> &Exclusive<Pipeline> {
        &self.pipeline
    }

    #[inline]
    fn on_enter(&self, pipeline: &mut Pipeline) {
        self.len.set(pipeline.len());
    }

    #[inline]
    fn on_leave(&self, pipeline: &mut Pipeline) {
        for _ in 0..self.refused.take() {
            pipeline.fail(in_callback());
        }
    }
}

#[cold]
fn in_callback() -> Error {
    Error::invalid("a callback cannot use the pipeline whose call it runs in: use another pipeline")
}

/// ## Pipelines
///
/// Returns a new, empty pipeline of a client. The client may be closed first: executing the
/// pipeline then returns RDC_ERR_CLOSED. Never returns NULL. Free it with
/// rdc_pipeline_free().
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_new(client: *const rdc_client) -> *mut rdc_pipeline {
    let client = match acquire(client) {
        Ok(handle) => handle.client.clone(),
        Err(error) => Arc::new(Client::failed(error)),
    };
    Box::into_raw(Box::new(rdc_pipeline::new(client)))
}

/// Takes the commands of a pipeline, which is empty afterwards.
///
/// # Safety
/// Header rules 1 and 4.
pub(super) unsafe fn take_commands(pipeline: *mut rdc_pipeline) -> Result<Pipeline> {
    if pipeline.is_null() {
        return Err(Error::invalid("pipeline is NULL"));
    }
    // SAFETY: the rules above.
    let mut guard = unsafe { BusyGuard::enter(pipeline) }.ok_or_else(in_callback)?;
    Ok(guard.value().take_commands())
}

/// Appends the commands that `f` adds. An error or a panic of `f` becomes an error at the command's
/// position, so that later commands keep their positions.
///
/// # Safety
/// Header rules 1 and 4.
unsafe fn append(pipeline: *mut rdc_pipeline, f: impl FnOnce(&mut Pipeline) -> Result<()>) {
    // SAFETY: header rules 1 and 4: valid, and used by one thread at a time.
    let Some(shared) = (unsafe { pipeline.as_ref() }) else {
        return;
    };
    // SAFETY: the same rules.
    let Some(mut guard) = (unsafe { BusyGuard::enter(pipeline) }) else {
        return shared.refused.set(shared.refused.get() + 1);
    };
    let pipeline = guard.value();
    let outcome = catch_panic(|message| Err(panic_error(message)), || f(pipeline));
    if let Err(error) = outcome {
        catch_panic(|_| (), || pipeline.fail(error));
    }
}

/// Appends a command; the arguments are those of rdc_command(), and are copied. Does no I/O.
/// Appending never fails: an invalid command becomes an error at its position in the reply,
/// and counts in rdc_pipeline_len().
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

/// Appends any number of encoded commands from one buffer. The boundaries after a malformed
/// command are unknown: it and the rest of the buffer become one error.
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
            let resp = bytes_arg(resp, len, "resp")?;
            if resp.is_empty() {
                return Err(Error::invalid("the RESP buffer is empty"));
            }
            pipeline.resp(resp);
            Ok(())
        });
    }
}

/// Appends a command whose only key is its first argument. `prefix` is its encoded beginning; `arguments` gets the key and
/// returns all other arguments.
///
/// # Safety
/// Header rules 1 and 3.
#[inline(always)]
unsafe fn keyed<'a, const COUNT: usize>(
    pipeline: *mut rdc_pipeline,
    (row, access): (&'static Row, Access),
    (key, key_len): (*const c_char, usize),
    prefix: &'static EncodedPrefix,
    arguments: impl FnOnce(&'a [u8]) -> Result<[&'a [u8]; COUNT]>,
) {
    // SAFETY: header rules 1 and 3.
    unsafe {
        append(pipeline, |pipeline| {
            let key = bytes_arg(key, key_len, "key")?;
            pipeline.keyed(row, access, key, prefix, &arguments(key)?);
            Ok(())
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
    // SAFETY: header rules 1 and 3.
    unsafe {
        keyed(
            pipeline,
            (table::GET, Access::Read),
            (key, key_len),
            const { &EncodedPrefix::new(b"*2\r\n$3\r\nGET\r\n") },
            |key| Ok([key]),
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
    // SAFETY: header rules 1 and 3, for the key and the value.
    unsafe {
        keyed(
            pipeline,
            (table::SET, Access::Write),
            (key, key_len),
            const { &EncodedPrefix::new(b"*3\r\n$3\r\nSET\r\n") },
            |key| Ok([key, bytes_arg(value, value_len, "value")?]),
        );
    }
}

/// Appends a SET with a time to live in milliseconds, which must be greater than 0.
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
    let ttl = ttl_ms.to_string();
    // SAFETY: header rules 1 and 3, for the key and the value.
    unsafe {
        keyed(
            pipeline,
            (table::SET, Access::Write),
            (key, key_len),
            const { &EncodedPrefix::new(b"*5\r\n$3\r\nSET\r\n") },
            |key| {
                let value = bytes_arg(value, value_len, "value")?;
                Ok([key, value, b"PX", ttl.as_bytes()])
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
    // SAFETY: header rules 1 and 3.
    unsafe {
        keyed(
            pipeline,
            (table::DEL, Access::Write),
            (key, key_len),
            const { &EncodedPrefix::new(b"*2\r\n$3\r\nDEL\r\n") },
            |key| Ok([key]),
        );
    }
}

/// Returns the number of commands in the pipeline.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_len(pipeline: *const rdc_pipeline) -> usize {
    // SAFETY: header rule 1.
    let Some(shared) = (unsafe { pipeline.as_ref() }) else {
        return 0;
    };
    // SAFETY: header rule 4.
    match unsafe { BusyGuard::enter(pipeline.cast_mut()) } {
        Some(mut guard) => guard.value().len(),
        None => shared.len.get(),
    }
}

/// # Safety
/// Header rules 1 and 4.
unsafe fn execute(
    pipeline: *mut rdc_pipeline,
    f: impl FnOnce(&mut Pipeline) -> Box<Reply>,
) -> *mut rdc_reply {
    return_reply(|| {
        if pipeline.is_null() {
            return Err(Error::invalid("pipeline is NULL"));
        }
        // SAFETY: header rules 1 and 4: valid, and used by one thread at a time.
        let mut guard = unsafe { BusyGuard::enter(pipeline) }.ok_or_else(in_callback)?;
        Ok(f(guard.value()))
    })
}

/// Sends each command to its node, to all nodes concurrently, and waits for all replies. Returns
/// an ARRAY with one element per command, in order; an empty ARRAY for an empty pipeline. An element may be
/// an ERROR, whose message begins "Command # 2 (SET foo) of pipeline: " (the first command is
/// # 1); the other commands are not affected. Commands of the same slot run in order; while the
/// slot migrates, commands of the same key do. A write runs at most once, unless retry_writes
/// is on. WAIT and WAITAOF wait for the writes before them, which must be to one slot, and take
/// their own timeout in addition.
///
/// On a read-only client, a pipeline that contains a write is not sent: every element is
/// RDC_ERR_READONLY.
///
/// If the client is not connected and cannot connect, the reply is one ERROR.
///
/// Takes at most timeout_ms. Empties the pipeline in any case. The caller frees the reply.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_execute(pipeline: *mut rdc_pipeline) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 4.
    unsafe { execute(pipeline, Pipeline::execute) }
}

/// As rdc_pipeline_execute(), inside MULTI and EXEC: either all commands run, with no other
/// command between them, or none. On a cluster, all keys must be in one slot (use {hash
/// tags}). Otherwise the reply is RDC_ERR_CROSSSLOT, and nothing is sent. Without a key, the
/// transaction runs at any primary. If the server rejects the transaction, the reply is its ERROR.
///
/// The user needs the right to MULTI. Each node is asked for it once, before the first
/// transaction. If a node refuses MULTI later, its commands run one by one: the reply is an
/// ERROR that names MULTI, and rdc_reply_sent() is 1.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_execute_atomic(
    pipeline: *mut rdc_pipeline,
) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 4.
    unsafe { execute(pipeline, Pipeline::execute_atomic) }
}

/// Removes all commands from the pipeline.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_clear(pipeline: *mut rdc_pipeline) {
    // SAFETY: header rule 1.
    let Some(shared) = (unsafe { pipeline.as_ref() }) else {
        return;
    };
    // SAFETY: header rules 1 and 4.
    match unsafe { BusyGuard::enter(pipeline) } {
        Some(mut guard) => guard.value().clear(),
        // In a callback: what it has appended. The execution removes the rest.
        None => shared.refused.set(0),
    }
}

/// Frees a pipeline. Does nothing for NULL.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pipeline_free(pipeline: *mut rdc_pipeline) {
    // SAFETY: header rules 1 and 4.
    unsafe { free(pipeline) }
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
            let mut pipeline =
                rdc_pipeline::new(Arc::new(Client::failed(Error::invalid("nowhere"))));
            let get = |pipeline: &mut rdc_pipeline| {
                let argv = [c"GET".as_ptr(), c"k".as_ptr()];
                // SAFETY: header rule 3: two C strings, and a pipeline that lives.
                unsafe { rdc_pipeline_command(pipeline, 2, argv.as_ptr(), std::ptr::null()) };
            };
            get(&mut pipeline);
            // SAFETY: header rules 1 and 4.
            let len = unsafe { rdc_pipeline_len(&raw const pipeline) };
            assert_eq!(len, 1, "the one that panicked");
            get(&mut pipeline);
            // SAFETY: header rules 1 and 4.
            let mut guard = unsafe { BusyGuard::enter(&raw mut pipeline) }.unwrap();
            assert_eq!(guard.value().len(), 2);
            assert_eq!(guard.value().execute().root.value.kind, Kind::Error);
        });
    }
}
