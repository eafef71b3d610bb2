//! A handle on one connection of its own: for WATCH, MULTI and EXEC, and for CLIENT REPLY.
//!
//! Nothing is retried or redirected here: what the connection knows (watched keys, queued
//! commands) is lost with it, and a command that followed would run outside its transaction. So
//! after such a loss every command fails, until EXEC, DISCARD, UNWATCH or RESET ends what was
//! begun. A slot that has moved is an error too; as soon as nothing is begun any more, the next
//! command opens a connection to whoever serves it now.

use crate::address::Address;
use crate::cluster::state::Core;
use crate::cluster::state::count;
use crate::deadline::now;
use crate::error::{Code, Error, Fault, Result};
use crate::net::{Call, CancelDisabled, Connection, ConnectionKind, POLL_INTERVAL, Peer};
use crate::resp::{CommandBody, Kind, Reply, Value, flag};
use crate::route::{ErrorContext, RetryAction, Row, action_for_reply, table};
use crate::sync::{Condvar, Mutex, lock, notify_one, wait};
use arc_swap::ArcSwap;
use std::sync::Arc;

pub struct PinnedConnection {
    slot: u16,
    held: ArcSwap<PinState>,
}

/// What belongs to one process.
struct PinState {
    process: i32,
    state: Mutex<State>,
    free: Condvar,
}

impl PinState {
    fn new(process: i32, lost: bool) -> PinState {
        PinState {
            process,
            state: Mutex::new(State {
                lost,
                ..State::default()
            }),
            free: Condvar::new(),
        }
    }
}

#[derive(Default)]
struct State {
    busy: bool,
    held: Option<Held>,
    /// WATCH or MULTI has been said, and not what ends it.
    begun: bool,
    /// The connection was lost with something begun on it.
    lost: bool,
    /// The connection leads to a node that does not serve the slot any more.
    slot_moved: bool,
    replies: Replies,
}

struct Held {
    peer: Arc<Peer>,
    connection: Box<Connection>,
}

/// What CLIENT REPLY has been told.
#[derive(Clone, Copy, Default, PartialEq)]
enum Replies {
    #[default]
    On,
    Off,
    /// The next command has none.
    Skip,
}

/// Commands that begin what a connection must be kept for.
const BEGIN: &[&Row] = &[table::WATCH, table::MULTI];
/// Commands that end it.
const END: &[&Row] = &[table::EXEC, table::DISCARD, table::UNWATCH, table::RESET];
/// Commands after which a connection is none for replies by position.
const REFUSED: &[&Row] = &[
    table::MONITOR,
    table::SYNC,
    table::PSYNC,
    table::SUBSCRIBE,
    table::PSUBSCRIBE,
    table::SSUBSCRIBE,
    table::UNSUBSCRIBE,
    table::PUNSUBSCRIBE,
    table::SUNSUBSCRIBE,
];

impl PinnedConnection {
    pub fn new(slot: u16) -> PinnedConnection {
        PinnedConnection {
            slot,
            // No process has this number: the first call makes it its own.
            held: ArcSwap::from_pointee(PinState::new(0, false)),
        }
    }

    /// The state of this process. That of a parent is left standalone, locks and connection and all;
    /// a transaction that was begun there is lost to the child.
    fn own(&self, process: i32) -> Arc<PinState> {
        let own = self.held.load_full();
        if own.process == process {
            return own;
        }
        let begun = own.state.try_lock().is_ok_and(|state| state.begun);
        let fresh = Arc::new(PinState::new(process, begun));
        let before = self.held.compare_and_swap(&own, fresh);
        if Arc::ptr_eq(&before, &own) {
            if own.process != 0 {
                std::mem::forget(own);
            }
            return self.held.load_full();
        }
        drop(before);
        self.own(process)
    }

    pub fn slot(&self) -> u16 {
        self.slot
    }

    pub fn call(
        &self,
        core: &Arc<Core>,
        row: Option<&'static Row>,
        args: &[&[u8]],
        body: &CommandBody<'_>,
        call: &Call<'_>,
    ) -> Result<Box<Reply>> {
        let _uncancelled = CancelDisabled::begin();
        if let Some(row) = row
            && REFUSED.contains(&row)
        {
            return Err(Error::invalid(format_args!(
                "{} turns a connection into a stream of messages, which this library does not read",
                row.name
            )));
        }
        let is = |rows: &[&Row]| row.is_some_and(|row| rows.contains(&row));
        let own = self.own(core.process().number());
        let (held, lost, slot_moved, replies) = own.enter(call)?;
        let mut guard = CallGuard {
            own: &own,
            held,
            lost,
            slot_moved,
            replies,
            was_begun: false,
        };
        if lost {
            if is(END) {
                guard.lost = false;
                guard.leave(false);
            }
            return Err(Error::new(
                Code::Io,
                "the connection of this pinned handle was lost, and its transaction with it: nothing that was queued has run",
            ));
        }
        if guard.held.is_none() {
            guard.held = Some(self.open(core, call)?);
        }
        let begun = guard.begun();
        guard.was_begun = begun || is(BEGIN);
        let silent = guard.tell(row, args);
        let Some(held) = &mut guard.held else {
            return Err(Error::new(Code::Internal, "a pin without a connection"));
        };
        held.connection.push(body);
        let outcome = if silent {
            flush(&mut held.connection, call)
        } else {
            held.connection.reply(call.attempt_at(call.began))
        };
        match outcome {
            Ok(mut reply) => {
                let refused = reply.root.value.kind == Kind::Error;
                reply.root.value.flags |= flag::ANSWER | flag::SENT;
                guard.slot_moved |=
                    refused && self.told(core, &mut reply, held.peer.address(), call);
                let begun = if is(END) {
                    false
                } else {
                    begun || (is(BEGIN) && !refused)
                };
                if held.connection.reset_for_reuse(call.began) {
                    guard.leave(begun);
                }
                Ok(reply)
            }
            Err(mut error) => {
                if error.code == Code::Timeout
                    && let Some(row) = row
                {
                    error.message = format!(
                        "TIMEOUT {} did not answer {} within {} ms",
                        held.peer.origin().name(),
                        row.name,
                        call.attempt_ms
                    );
                }
                // EXEC ends the transaction whatever becomes of it.
                guard.was_begun &= !is(END);
                Err(error)
            }
        }
    }

    /// Reads what a server refused a command with, and says what it means here; true if the node does
    /// not serve the slot any more. What the caller does next goes to who does; what was begun ends
    /// where it began.
    #[cold]
    fn told(&self, core: &Core, reply: &mut Reply, from: &Address, call: &Call<'_>) -> bool {
        const FACTS: ErrorContext = ErrorContext {
            repeatable: false,
            pinned_by_caller: false,
            any_replica_ok: false,
            is_not_primary: false,
        };
        let text = reply.view().text().unwrap_or_default().to_vec();
        let process = core.process();
        let (code, words, slot_moved) = match action_for_reply(&text, from, FACTS) {
            RetryAction::Deliver(code) => {
                reply.root.value.code = code as u8;
                if text.starts_with(b"EXECABORT") {
                    // Nothing that was queued has run.
                    reply.root.value.flags &= !flag::SENT;
                }
                return false;
            }
            RetryAction::ResendScript => return false,
            RetryAction::Moved { slot, to } => {
                count(&core.stats.moved);
                core.patch(process, slot, &to);
                let own = slot == self.slot;
                let words = match own {
                    true => {
                        "the slot has moved, and what was begun here is void; once it is ended, this handle goes there"
                    }
                    false => "this handle is pinned to another slot",
                };
                (Code::Redirects, words, own)
            }
            RetryAction::Ask { .. } => {
                count(&core.stats.ask);
                let words =
                    "the slot is just moving, and a pinned handle goes nowhere else in the middle";
                (Code::Redirects, words, false)
            }
            RetryAction::Retry(plan) => {
                if plan.refresh {
                    core.refresh_if_due(process, call);
                }
                let down = [&b"CLUSTERDOWN"[..], b"MASTERDOWN"];
                let code = match down.iter().any(|word| text.starts_with(word)) {
                    true => Code::Down,
                    false => Code::Server,
                };
                // A node that was demoted, or that waits to be: it may be another's slot soon.
                (code, "nothing of it ran; try again", plan.refresh)
            }
        };
        let node = reply.origin_of(reply.root).map(|o| o.name().to_owned());
        let fault = Fault {
            code,
            message: format!("{} ({words})", String::from_utf8_lossy(&text)),
            sent: false,
            node,
        };
        reply.root = reply.store_error(&Error::from(fault));
        slot_moved
    }

    fn open(&self, core: &Core, call: &Call<'_>) -> Result<Held> {
        let process = core.process();
        let primary = process
            .topology
            .load()
            .shard(self.slot)
            .and_then(|s| s.primary.clone());
        let Some(primary) = primary else {
            return Err(Error::new(
                Code::Down,
                format_args!("no node serves slot {}", self.slot),
            ));
        };
        match primary
            .peer
            .open(ConnectionKind::Primary, call.attempt_until(call.deadline))
        {
            Ok(connection) => Ok(Held {
                peer: primary.peer.clone(),
                connection,
            }),
            Err(error) => {
                // Somebody else may be serving the slot by now; the caller's next try finds out.
                core.refresh_if_due(process, call);
                Err(error)
            }
        }
    }
}

impl PinState {
    /// Waits until no other thread uses the handle.
    fn enter(&self, call: &Call<'_>) -> Result<(Option<Held>, bool, bool, Replies)> {
        let mut state = lock(&self.state);
        while state.busy {
            call.check()?;
            let left = call.deadline.left(now()).unwrap_or(POLL_INTERVAL);
            if left.is_zero() {
                return Err(Error::new(
                    Code::Timeout,
                    "another thread is using this pinned handle",
                ));
            }
            state = wait(&self.free, &self.state, state, left.min(POLL_INTERVAL));
            // What is asked of the caller's thread is asked with no lock held.
            drop(state);
            call.check_cancelled()?;
            state = lock(&self.state);
        }
        state.busy = true;
        Ok((
            state.held.take(),
            state.lost,
            state.slot_moved,
            state.replies,
        ))
    }
}

/// The use of the handle by one call.
struct CallGuard<'a> {
    own: &'a PinState,
    held: Option<Held>,
    lost: bool,
    slot_moved: bool,
    replies: Replies,
    was_begun: bool,
}

impl CallGuard<'_> {
    fn begun(&self) -> bool {
        lock(&self.own.state).begun
    }

    /// Notes what CLIENT REPLY says; returns whether this very command gets no reply.
    fn tell(&mut self, row: Option<&'static Row>, args: &[&[u8]]) -> bool {
        if row == Some(table::CLIENT_REPLY) {
            let word = args.get(2).copied().unwrap_or_default();
            if word.eq_ignore_ascii_case(b"ON") {
                self.replies = Replies::On;
            } else if word.eq_ignore_ascii_case(b"OFF") {
                self.replies = Replies::Off;
            } else if word.eq_ignore_ascii_case(b"SKIP") && self.replies == Replies::On {
                self.replies = Replies::Skip;
            }
            return self.replies != Replies::On;
        }
        match self.replies {
            Replies::On => false,
            Replies::Off => true,
            Replies::Skip => {
                self.replies = Replies::On;
                true
            }
        }
    }

    /// Ends the guard with the connection as good as before.
    fn leave(&mut self, begun: bool) {
        let held = self.held.take();
        let mut state = lock(&self.own.state);
        state.slot_moved = self.slot_moved && begun;
        if !self.slot_moved || begun {
            state.held = held;
        }
        state.begun = begun;
        state.lost = self.lost;
        state.replies = self.replies;
        self.was_begun = false;
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.own.state);
        if self.was_begun {
            state.lost = true;
        }
        if state.held.is_none() {
            state.begun = false;
            state.slot_moved = false;
            state.replies = Replies::On;
        }
        state.busy = false;
        drop(state);
        notify_one(&self.own.free);
    }
}

/// Sends a command that has no reply.
fn flush(connection: &mut Connection, call: &Call<'_>) -> Result<Box<Reply>> {
    connection.flush(call)?;
    Ok(Box::new(Reply::of(Value::NIL)))
}
