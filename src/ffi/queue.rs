//! ## Event loops

use super::args::{bytes_arg, text_arg, with_args};
use super::client::rdc_client;
use super::exclusive::{BusyGuard, Exclusive, ExclusiveHandle, free};
use super::panic_boundary::{catch_panic, catch_panic_without_pthread_cancel, panic_error};
use super::pipeline::rdc_pipeline;
use super::registry::acquire;
use super::reply::rdc_reply;
use super::reply_layout;
use crate::cluster::{Client, CompletedReply, Queue, Wake};
use crate::deadline::{Deadline, now};
use crate::error::Result;
use std::ffi::c_char;
use std::sync::Arc;

/// Commands of one client for an event loop. Used by one thread at a time, except by
/// rdc_queue_wake().
///
/// A logger that is called during rdc_queue_run() cannot use that queue: what it submits is not
/// executed, and the other functions return as for an empty queue. rdc_queue_free() takes effect
/// when the call ends.
#[allow(non_camel_case_types)]
pub struct rdc_queue {
    queue: Exclusive<Queue>,
    fd: i32,
    wake: Wake,
}

impl ExclusiveHandle for rdc_queue {
    type Value = Queue;

    #[inline]
    fn exclusive(&self) -> &Exclusive<Queue> {
        &self.queue
    }
}

/// ## Event loops
///
/// Commands for a program that must not block. A queue takes commands and gives back their
/// replies; between the two, the program polls one descriptor, with whatever loop it has:
///
/// ```text
/// rdc_queue *queue = rdc_queue_new(client);
/// loop_watch_readable(loop, rdc_queue_fd(queue));
///
/// rdc_queue_command(queue, tag, argc, argv, lens);    any time
///
/// when the descriptor is readable:
///     rdc_queue_run(queue, 0);
///     while ((reply = rdc_queue_next(queue, &tag)) != NULL) {
///         ...
///         rdc_reply_free(reply);
///     }
/// ```
///
/// There are no callbacks and no threads. Nothing here blocks, except rdc_queue_run() with a
/// timeout. A queue executes commands as the other functions do: it follows redirections, retries,
/// reads from replicas and ends each command within the timeout of its client, counted from the
/// first run after its submission. Commands that are submitted between two runs are sent together.
/// Commands of one slot are executed in the order of their submission; only blocking commands
/// (BLPOP) and SCAN have no place in that order. Commands of different slots may complete in any
/// order.
///
/// A queue is used by one thread at a time. A client may have any number of queues, beside any
/// number of threads. A forked child cannot use a queue of its parent: its commands complete with
/// RDC_ERR_INTERRUPTED there.
///
/// Returns a new, empty queue of a client. Its commands are executed with the options of that
/// handle. The client may be closed first: commands then complete with RDC_ERR_CLOSED. Never
/// returns NULL. Free it with rdc_queue_free().
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_new(client: *const rdc_client) -> *mut rdc_queue {
    let client = match acquire(client) {
        Ok(handle) => handle.client.clone(),
        Err(error) => Arc::new(Client::failed(error)),
    };
    let queue = Queue::new(client);
    Box::into_raw(Box::new(rdc_queue {
        fd: queue.fd(),
        wake: queue.wake_handle(),
        queue: Exclusive::new(queue),
    }))
}

/// Submits what `f` makes. An error or a panic of `f` becomes the reply.
///
/// # Safety
/// Header rules 1 and 4.
unsafe fn submit(queue: *mut rdc_queue, tag: u64, f: impl FnOnce(&mut Queue) -> Result<()>) {
    // SAFETY: the rules above.
    let Some(mut guard) = (unsafe { BusyGuard::enter(queue) }) else {
        return;
    };
    let queue = guard.value();
    let outcome = catch_panic(|message| Err(panic_error(message)), || f(queue));
    if let Err(error) = outcome {
        catch_panic(|_| (), || queue.fail(tag, &error));
    }
}

/// Submits a command; the arguments are those of rdc_command(), and are copied. `tag` is the
/// caller's and need not be unique: rdc_queue_next() returns it with the reply. Neither waits nor
/// sends. Never fails: what is wrong becomes the reply.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_command(
    queue: *mut rdc_queue,
    tag: u64,
    argc: usize,
    argv: *const *const c_char,
    lens: *const usize,
) {
    // SAFETY: header rules 1, 3 and 4.
    unsafe {
        submit(queue, tag, |queue| {
            with_args(argc, argv, lens, |args| {
                queue.command(tag, args);
                Ok(())
            })
        });
    }
}

/// As rdc_queue_command(), for one command that is encoded already, as for rdc_command_resp().
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_resp(
    queue: *mut rdc_queue,
    tag: u64,
    resp: *const c_char,
    len: usize,
) {
    // SAFETY: header rules 1, 3 and 4.
    unsafe {
        submit(queue, tag, |queue| {
            queue.command_resp(tag, bytes_arg(resp, len, "resp")?);
            Ok(())
        });
    }
}

/// As rdc_queue_command(), at nodes that the caller selects, as for rdc_command_to(). It has no place
/// in the order of a slot.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_command_to(
    queue: *mut rdc_queue,
    tag: u64,
    r#where: *const c_char,
    argc: usize,
    argv: *const *const c_char,
    lens: *const usize,
) {
    // SAFETY: header rules 1, 3 and 4.
    unsafe {
        submit(queue, tag, |queue| {
            let selector = text_arg(r#where, "where")?;
            with_args(argc, argv, lens, |args| {
                queue.command_to(tag, selector, args)
            })
        });
    }
}

/// Submits the commands of a pipeline, which is empty afterwards. Its reply is that of
/// rdc_pipeline_execute(): one ARRAY. The pipeline belongs to the same cluster as the queue, and is
/// executed with the options of its own client handle.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_pipeline(
    queue: *mut rdc_queue,
    tag: u64,
    pipeline: *mut rdc_pipeline,
) {
    // SAFETY: header rules 1 and 4.
    unsafe { submit_pipeline(queue, tag, pipeline, false) };
}

/// As rdc_queue_pipeline(), inside MULTI and EXEC: see rdc_pipeline_execute_atomic().
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_pipeline_atomic(
    queue: *mut rdc_queue,
    tag: u64,
    pipeline: *mut rdc_pipeline,
) {
    // SAFETY: header rules 1 and 4.
    unsafe { submit_pipeline(queue, tag, pipeline, true) };
}

/// # Safety
/// Header rules 1 and 4.
unsafe fn submit_pipeline(
    queue: *mut rdc_queue,
    tag: u64,
    pipeline: *mut rdc_pipeline,
    is_atomic: bool,
) {
    // SAFETY: the rules above.
    unsafe {
        submit(queue, tag, |queue| {
            let taken = super::pipeline::take_commands(pipeline)?;
            queue.pipeline(tag, taken, is_atomic)
        });
    }
}

/// The descriptor to poll for readability: with poll(), epoll, kqueue, libuv or any other loop. It
/// is readable if and only if rdc_queue_run() or rdc_queue_next() has something to do, for as long
/// as that is so (level-triggered): a command was submitted, a socket is ready, a deadline has
/// passed, or a reply waits to be taken. While commands are in flight, it may also be readable once
/// at the deadline of a command that has completed: the run then sets the timer to the next one. It
/// is the same for the whole life of the queue, which closes it. The program must neither read nor
/// close it. -1 if the queue is NULL or no descriptor was left; then each command completes at once
/// with that error.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_fd(queue: *const rdc_queue) -> i32 {
    // SAFETY: header rules 1 and 4.
    let guard = unsafe { BusyGuard::enter(queue.cast_mut()) };
    // SAFETY: the same rules.
    match (guard, unsafe { queue.as_ref() }) {
        (Some(mut guard), _) => guard.value().fd_for_polling(),
        (None, shared) => shared.map_or(-1, |shared| shared.fd),
    }
}

/// Does what can be done: connects, sends, receives, retries. Waits until a reply is complete, for
/// at most `timeout_ms` milliseconds: 0 does not wait, -1 sets no limit. Also returns when the queue
/// is empty, and after rdc_queue_wake(), rdc_interrupt() or rdc_close(). Returns the number of replies that wait to be taken.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_run(queue: *mut rdc_queue, timeout_ms: i32) -> i32 {
    // SAFETY: header rules 1 and 4.
    let Some(mut guard) = (unsafe { BusyGuard::enter(queue) }) else {
        return 0;
    };
    let until = match u64::try_from(timeout_ms) {
        Ok(0) => None,
        Ok(ms) => Some(Deadline::after(now(), ms)),
        Err(_) => Some(Deadline::NEVER),
    };
    let waiting = catch_panic_without_pthread_cancel(|_| 0, || guard.value().run(until));
    i32::try_from(waiting).unwrap_or(i32::MAX)
}

/// The next complete reply, in the order of completion. Stores the tag of its command in `tag`,
/// which may be NULL. NULL if no reply is complete. The caller frees the reply. Does no I/O.
///
/// # Safety
/// Header rule 1; `tag` is NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_next(queue: *mut rdc_queue, tag: *mut u64) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 4.
    let Some(mut guard) = (unsafe { BusyGuard::enter(queue) }) else {
        return std::ptr::null_mut();
    };
    // SAFETY: the rule above.
    let set_tag = |of_command: u64| unsafe {
        if let Some(tag) = tag.as_mut() {
            *tag = of_command;
        }
    };
    let small = catch_panic(|_| None, || guard.value().next_small());
    if let Some((of_command, slab, index)) = small {
        set_tag(of_command);
        return reply_layout::small_into_raw(slab, index);
    }
    next_other(&mut guard, set_tag)
}

/// The next reply, if it is not one of the slab that is taken now.
#[inline(never)]
fn next_other(guard: &mut BusyGuard<rdc_queue>, set_tag: impl FnOnce(u64)) -> *mut rdc_reply {
    let Some(next) = catch_panic(|_| None, || guard.value().next_reply()) else {
        return std::ptr::null_mut();
    };
    set_tag(next.tag);
    match next.reply {
        CompletedReply::Small(slab, index) => reply_layout::small_into_raw(slab, index),
        CompletedReply::Whole(reply) => reply_layout::into_raw(reply),
    }
}

/// Ends all commands with this tag that are not complete: each completes at once with
/// RDC_ERR_INTERRUPTED, or with the reply that it has by then. rdc_reply_sent() tells whether it may
/// have been executed.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_cancel(queue: *mut rdc_queue, tag: u64) {
    // SAFETY: header rules 1 and 4.
    if let Some(mut guard) = unsafe { BusyGuard::enter(queue) } {
        catch_panic_without_pthread_cancel(|_| (), || guard.value().cancel(tag));
    }
}

/// The number of commands that have been submitted and whose replies have not been taken.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_len(queue: *const rdc_queue) -> usize {
    // SAFETY: header rules 1 and 4.
    let guard = unsafe { BusyGuard::enter(queue.cast_mut()) };
    guard.map_or(0, |mut guard| guard.value().len())
}

/// Makes the descriptor readable, and a running rdc_queue_run() return. Any thread may call it, and
/// a signal handler.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_wake(queue: *const rdc_queue) {
    // SAFETY: header rule 1.
    if let Some(queue) = unsafe { queue.as_ref() } {
        queue.wake.wake();
    }
}

/// Frees a queue. Commands that are not complete are given up: their connections are closed, so that
/// no reply reaches another command. Replies that were taken stay valid. Remove the descriptor from
/// the program's loop first. NULL is ignored.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_queue_free(queue: *mut rdc_queue) {
    // SAFETY: header rules 1 and 4.
    unsafe { free(queue) }
}
