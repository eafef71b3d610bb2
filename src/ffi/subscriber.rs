//! ## Publish / subscribe

use super::args::with_args;
use super::client::rdc_client;
use super::exclusive::{BusyGuard, Exclusive, ExclusiveHandle, free};
use super::panic_boundary::{catch_panic, catch_panic_without_pthread_cancel, panic_error};
use super::registry::acquire;
use super::reply::rdc_reply;
use super::reply_layout;
use crate::cluster::{Client, DeliveredReply, Subscriber, SubscriberWake};
use crate::deadline::{Deadline, now};
use crate::error::Error;
use crate::resp::Reply;
use std::ffi::c_char;
use std::sync::Arc;

/// Channels and patterns of one client, and the messages on them. Used by one thread at a time,
/// except by rdc_subscriber_wake().
///
/// A logger or wait callback that is called during rdc_subscriber_next() cannot use that subscriber:
/// its calls return an error. rdc_subscriber_free() takes effect when the call ends.
#[allow(non_camel_case_types)]
pub struct rdc_subscriber {
    subscriber: Exclusive<Subscriber>,
    fd: i32,
    wake: SubscriberWake,
}

impl ExclusiveHandle for rdc_subscriber {
    type Value = Subscriber;

    #[inline]
    fn exclusive(&self) -> &Exclusive<Subscriber> {
        &self.subscriber
    }
}

#[cold]
fn refused(subscriber: *mut rdc_subscriber) -> Error {
    Error::invalid(match subscriber.is_null() {
        true => "subscriber is NULL",
        false => "a callback of a call with a subscriber cannot use that subscriber",
    })
}

/// Executes `f` with the subscriber; what fails becomes the reply.
///
/// # Safety
/// Header rules 1 and 4.
#[inline]
unsafe fn reply_of(
    subscriber: *mut rdc_subscriber,
    f: impl FnOnce(&mut Subscriber) -> DeliveredReply,
) -> *mut rdc_reply {
    let failed = |error: &Error| DeliveredReply::Whole(Box::new(Reply::error(error)));
    // SAFETY: the rules above.
    let reply = match unsafe { BusyGuard::enter(subscriber) } {
        Some(mut guard) => {
            catch_panic(|message| failed(&panic_error(message)), || f(guard.value()))
        }
        None => failed(&refused(subscriber)),
    };
    match reply {
        DeliveredReply::Message(slab, index) => reply_layout::message_into_raw(slab, index),
        DeliveredReply::Whole(reply) => reply_layout::into_raw(reply),
    }
}

/// ## Publish / subscribe
///
/// A subscriber receives the messages of channels and patterns. It is driven by the thread that calls
/// rdc_subscriber_next(): there is no other thread, and no callback.
///
/// ```text
/// rdc_subscriber *subscriber = rdc_subscriber_new(client);
/// rdc_reply_free(rdc_subscriber_command(subscriber, 3, (const char *[]){"SSUBSCRIBE", "a", "b"}, NULL));
/// for (;;) {
///     rdc_reply *reply = rdc_subscriber_next(subscriber, -1);
///     ...
///     rdc_reply_free(reply);
/// }
/// ```
///
/// What rdc_subscriber_next() returns is one of:
///
/// | reply | elements |
/// |---|---|
/// | PUSH | "message", channel, payload |
/// | PUSH | "pmessage", pattern, channel, payload |
/// | PUSH | "smessage", sharded channel, payload |
/// | PUSH | "subscribe", "psubscribe" or "ssubscribe", channel or pattern, count |
/// | PUSH | "unsubscribe", "punsubscribe" or "sunsubscribe", channel or pattern (or NIL), count |
/// | PUSH | "gap", kind, channel or pattern, reason, node |
/// | NIL | the time has passed, or rdc_subscriber_wake() was called |
/// | ERROR | something is broken; call again to go on |
///
/// These look the same whether the servers speak RESP3 or RESP2. rdc_reply_node() names the node that
/// a message came from.
///
/// A channel stays subscribed until it is unsubscribed. The subscriber follows slots, failovers and
/// nodes that come and go. On every channel, the program gets either all messages since the last one, in
/// order, or a gap before the next one. A gap says that messages of the channel may have been missed
/// until now: its kind is "message", "pmessage" or "smessage", the reason is one word ("disconnected",
/// "moved", "topology" or "added"; there may be more), the node is the one that the channel is on now.
/// A message is delivered once; only after a gap, one that was delivered before the gap may come again.
///
/// Channels and patterns are on one node, sharded channels on the primaries of their slots (with
/// read_from, on replicas), and patterns and channels that begin with `__keyspace@` or `__keyevent@` on
/// every primary. docs/pubsub.md describes this.
///
/// Returns a new subscriber of a client, without channels. It uses the options of that handle, also of
/// a read-only one. A client may have any number of subscribers; the client may be closed first. A
/// forked child cannot use a subscriber of its parent. Never returns NULL. Free it with
/// rdc_subscriber_free().
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_subscriber_new(client: *const rdc_client) -> *mut rdc_subscriber {
    let client = match acquire(client) {
        Ok(handle) => handle.client.clone(),
        Err(error) => Arc::new(Client::failed(error)),
    };
    let subscriber = Subscriber::new(client);
    Box::into_raw(Box::new(rdc_subscriber {
        fd: subscriber.fd(),
        wake: subscriber.wake_handle(),
        subscriber: Exclusive::new(subscriber),
    }))
}

/// Executes SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE, UNSUBSCRIBE, PUNSUBSCRIBE or SUNSUBSCRIBE; the arguments
/// are those of rdc_command(), and are copied. Channels of several slots are allowed.
///
/// Never waits. Returns the status OK: from now on the channels are wanted, or no longer. Returns
/// RDC_ERR_INVALID, and changes nothing, if it is another command or names no channel. Whatever follows
/// is returned by rdc_subscriber_next(), which also does the work:
///
/// - one confirmation for each channel of the command, as servers give it. That of SUBSCRIBE comes when a
///   server has confirmed the channel (each primary, for keyspace patterns), that of UNSUBSCRIBE at once.
///   No message of a channel comes before the former or after the latter. The order is that of one
///   server only for channels on one node. The count is the number of confirmed channels and patterns of
///   this subscriber, or of its confirmed sharded channels;
/// - an ERROR for a channel that a server refuses for good (NOPERM, a server without sharded channels):
///   the channel is not wanted any more;
/// - an ERROR if channels cannot be subscribed within the option timeout_ms, and again after each such
///   time: the subscriber goes on trying.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_subscriber_command(
    subscriber: *mut rdc_subscriber,
    argc: usize,
    argv: *const *const c_char,
    lens: *const usize,
) -> *mut rdc_reply {
    // SAFETY: header rules 1, 3 and 4.
    unsafe {
        reply_of(subscriber, |subscriber| {
            let reply = with_args(argc, argv, lens, |args| Ok(subscriber.command(args)));
            DeliveredReply::Whole(reply.unwrap_or_else(|error| Box::new(Reply::error(&error))))
        })
    }
}

/// The next PUSH: see rdc_subscriber_new(). Waits for it at most `timeout_ms` milliseconds: 0 does not
/// wait, -1 sets no limit. Returns NIL after that time, and after rdc_subscriber_wake(), unless there is
/// a PUSH.
///
/// Returns ERROR
/// - with RDC_ERR_IO, RDC_ERR_TIMEOUT or another code when a connection was lost that held channels, once
///   for each. The channels are subscribed again: call again to go on. The gaps of the channels follow.
///   rdc_reply_int() of this error is 1;
/// - with RDC_ERR_SERVER when a server refuses a channel for good. The subscriber has given it up. The
///   message is "CODE NODE refused COMMAND CHANNEL, which is not tried again: REASON". rdc_reply_int() of
///   this error is 2, and of all others 0;
/// - with the code of the last failure, once per timeout_ms, while channels cannot be subscribed. The
///   subscriber goes on trying;
/// - for what rdc_subscriber_command() says;
/// - with RDC_ERR_INTERRUPTED when rdc_interrupt() or the wait callback ends the call. The subscriber
///   goes on with the next call;
/// - with RDC_ERR_CLOSED, at once and for ever, when the client handle was closed.
///
/// A connection that is silent is tested with PING, and given up after the option subscriber_ping_ms.
/// Only calls do that: a program that does not call for long learns of a loss, and of its gaps, with
/// the next calls. Messages that it does not take stay in the socket, until the server closes the
/// connection (client-output-buffer-limit).
///
/// Up to 32 messages that arrive together share their memory, which is freed with the last of them: a message
/// that is kept holds at most 7.5 KiB, or, if it is longer, itself alone.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_subscriber_next(
    subscriber: *mut rdc_subscriber,
    timeout_ms: i32,
) -> *mut rdc_reply {
    // SAFETY: header rules 1 and 4.
    unsafe {
        reply_of(subscriber, |subscriber| {
            subscriber.next(|| match u64::try_from(timeout_ms) {
                Ok(0) => None,
                Ok(ms) => Some(Deadline::after(now(), ms)),
                Err(_) => Some(Deadline::NEVER),
            })
        })
    }
}

/// Makes rdc_subscriber_next() return NIL: the call that waits, or the next one that would. Any thread may
/// call it, and a signal handler. NULL is ignored.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_subscriber_wake(subscriber: *const rdc_subscriber) {
    // SAFETY: header rule 1.
    if let Some(subscriber) = unsafe { subscriber.as_ref() } {
        subscriber.wake.wake();
    }
}

/// The descriptor to poll for readability: with poll(), epoll, kqueue, libuv or any other loop. It is
/// readable if and only if rdc_subscriber_next() with a timeout of 0 has something to do, for as long as
/// that is so (level-triggered): there is a PUSH or an ERROR, a socket is ready, a time has come (to send
/// PING, to try again), or rdc_subscriber_wake() was called. So call rdc_subscriber_next() with 0 until it
/// returns NIL or RDC_ERR_CLOSED, or once for each time that the descriptor is readable. It may also be readable once at a
/// time that had been set before something arrived. It is the same for the whole life of the subscriber,
/// which closes it. The program must neither read nor close it. -1 if the subscriber is NULL or no
/// descriptor was left; then the calls return that error.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_subscriber_fd(subscriber: *const rdc_subscriber) -> i32 {
    // SAFETY: header rules 1 and 4.
    let guard = unsafe { BusyGuard::enter(subscriber.cast_mut()) };
    // SAFETY: the same rules.
    match (guard, unsafe { subscriber.as_ref() }) {
        (Some(mut guard), _) => {
            let on_panic = |_: &str| -1;
            catch_panic_without_pthread_cancel(on_panic, || guard.value().fd_for_polling())
        }
        (None, shared) => shared.map_or(-1, |shared| shared.fd),
    }
}

/// Frees a subscriber and closes its connections. Replies that were taken stay valid. Remove the
/// descriptor from the program's loop first. NULL is ignored.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_subscriber_free(subscriber: *mut rdc_subscriber) {
    // SAFETY: header rules 1 and 4.
    unsafe { free(subscriber) }
}
