//! One connection for one handle: for WATCH, MULTI and EXEC, and for CLIENT REPLY.
//!
//! Nothing is retried or redirected here. The state of the connection (watched keys, queued commands) is
//! lost with it, and a later command would run outside its transaction. So after such a loss every
//! command fails until EXEC, DISCARD, UNWATCH or RESET ends the transaction. A moved slot is an error
//! too. When no transaction is open, the next command connects to the new owner.

use super::context::ExecContext;
use crate::address::Address;
use crate::call_scope::ThreadMark;
use crate::cluster::state::count;
use crate::deadline::now;
use crate::error::{Code, Error, ErrorFields, Result};
use crate::net::{Call, Connection, ConnectionKind, POLL_INTERVAL, Peer, PthreadCancelDisabled};
use crate::resp::{CommandBody, Kind, Reply, Value, flag};
use crate::route::{Classified, ErrorContext, RetryAction, Row, action_for_reply, table};
use crate::sync::{Condvar, Mutex, lock, notify_one, wait};
use arc_swap::ArcSwap;
use std::sync::Arc;

pub struct PinnedConnection {
    slot: u16,
    shared: ArcSwap<PinState>,
}

/// The connection of one process, used by one call at a time.
struct PinState {
    process: i32,
    state: Mutex<State>,
    /// Notified when `user` becomes `None`.
    idle: Condvar,
}

impl PinState {
    fn new(process: i32, lost: bool) -> PinState {
        PinState {
            process,
            state: Mutex::new(State {
                saved: SavedState {
                    lost,
                    ..SavedState::default()
                },
                ..State::default()
            }),
            idle: Condvar::new(),
        }
    }
}

#[derive(Default)]
struct State {
    /// The thread whose call uses the handle.
    user: Option<ThreadMark>,
    held: Option<HeldConnection>,
    saved: SavedState,
}

/// What is kept from one call to the next beside the connection.
#[derive(Clone, Copy, Default)]
struct SavedState {
    /// WATCH or MULTI was sent, and no command that ends it.
    in_transaction: bool,
    /// The connection was lost during a transaction.
    lost: bool,
    /// The node of the connection does not own the slot any more.
    slot_moved: bool,
    replies: ReplyMode,
}

struct HeldConnection {
    peer: Arc<Peer>,
    connection: Box<Connection>,
}

/// The mode that CLIENT REPLY has set.
#[derive(Clone, Copy, Default, PartialEq)]
enum ReplyMode {
    #[default]
    On,
    Off,
    /// The next command gets no reply.
    Skip,
}

/// Commands that begin a transaction, or a watch that leads to one.
const BEGIN: &[&Row] = &[table::WATCH, table::MULTI];
/// Commands that end it.
const END: &[&Row] = &[table::EXEC, table::DISCARD, table::UNWATCH, table::RESET];
/// Commands after which replies do not follow commands one by one.
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

fn is_one_of(row: Option<&'static Row>, rows: &[&Row]) -> bool {
    row.is_some_and(|row| rows.contains(&row))
}

impl PinnedConnection {
    pub fn new(slot: u16) -> PinnedConnection {
        PinnedConnection {
            slot,
            // 0 is no process number: the first call creates the state of its process.
            shared: ArcSwap::from_pointee(PinState::new(0, false)),
        }
    }

    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// The state of this process. A forked child neither locks nor frees its parent's state; a
    /// transaction that the parent began is lost to the child.
    fn state_of(&self, process: i32) -> Arc<PinState> {
        let current = self.shared.load_full();
        if current.process == process {
            return current;
        }
        let state = current.state.try_lock();
        let lost = state.is_ok_and(|state| state.saved.in_transaction);
        let new = Arc::new(PinState::new(process, lost));
        let before = self.shared.compare_and_swap(&current, new);
        if Arc::ptr_eq(&before, &current) {
            if current.process != 0 {
                std::mem::forget(current);
            }
            return self.shared.load_full();
        }
        drop(before);
        self.state_of(process)
    }

    /// Executes one command on the connection.
    pub fn call(
        &self,
        context: &ExecContext<'_>,
        command: &Classified<'_>,
        body: &CommandBody<'_>,
    ) -> Result<Box<Reply>> {
        let _uncancelled = PthreadCancelDisabled::begin();
        if let Some(row) = command.row
            && REFUSED.contains(&row)
        {
            return Err(Error::invalid(format_args!(
                "{} turns a connection into a stream of messages, which a pinned handle cannot read",
                row.name
            )));
        }
        let state = self.state_of(context.process.number());
        let mut guard = CallGuard::enter(&state, &context.call)?;
        guard.check_not_lost(command)?;
        if guard.held.is_none() {
            guard.held = Some(self.open(context)?);
        }
        let was_in_transaction = guard.saved.in_transaction;
        guard.in_transaction = was_in_transaction || is_one_of(command.row, BEGIN);
        let gets_reply = guard.track_reply_mode(command);
        let Some(held) = &mut guard.held else {
            return Err(Error::new(
                Code::Internal,
                "a pinned handle without a connection",
            ));
        };
        match held.send_and_receive(body, gets_reply, &context.call) {
            Ok(mut reply) => {
                let failed = reply.root.value.kind == Kind::Error;
                reply.root.value.flags |= flag::NODE_VALUE | flag::SENT;
                if failed {
                    let from = held.peer.address();
                    guard.saved.slot_moved |= self.handle_error_reply(context, &mut reply, from);
                }
                let in_transaction = !is_one_of(command.row, END)
                    && (was_in_transaction || (is_one_of(command.row, BEGIN) && !failed));
                if held.connection.reset_for_reuse(context.call.began) {
                    guard.put_back(in_transaction);
                }
                Ok(reply)
            }
            Err(error) => {
                let error = name_timeout(error, held, command, &context.call);
                // EXEC ends the transaction even if its reply is lost.
                guard.in_transaction &= !is_one_of(command.row, END);
                Err(error)
            }
        }
    }

    /// Rewrites an error reply for the caller; returns whether the node does not own the slot any more.
    /// Then the next command outside a transaction connects to the new owner.
    #[cold]
    fn handle_error_reply(
        &self,
        context: &ExecContext<'_>,
        reply: &mut Reply,
        from: &Address,
    ) -> bool {
        const NOT_REPEATABLE: ErrorContext = ErrorContext {
            repeatable: false,
            node_chosen_by_caller: false,
            any_replica_ok: false,
            is_not_primary: false,
        };
        let text = reply.view().text().unwrap_or_default().to_vec();
        let refusal = match action_for_reply(&text, from, NOT_REPEATABLE) {
            RetryAction::Deliver(code) => {
                reply.root.value.code = code as u8;
                if text.starts_with(b"EXECABORT") {
                    // No queued command has run.
                    reply.root.value.flags &= !flag::SENT;
                }
                return false;
            }
            RetryAction::ResendScript => return false,
            RetryAction::Moved { slot, to } => self.moved(context, slot, &to),
            RetryAction::Ask { .. } => {
                count(&context.core.stats.ask);
                Refusal {
                    code: Code::Redirects,
                    advice: "the slot is being migrated, and a pinned handle does not follow ASK",
                    slot_moved: false,
                }
            }
            RetryAction::Retry(plan) => {
                if plan.refresh {
                    let call = &context.call;
                    context.core.refresh_if_due(context.process, call);
                }
                let down = [&b"CLUSTERDOWN"[..], b"MASTERDOWN"];
                Refusal {
                    code: match down.iter().any(|prefix| text.starts_with(prefix)) {
                        true => Code::Down,
                        false => Code::Server,
                    },
                    advice: "the command did not run; try again",
                    // A demoted node: another node may own the slot soon.
                    slot_moved: plan.refresh,
                }
            }
        };
        let node = reply.origin_of(reply.root).map(|o| o.name().to_owned());
        let fault = ErrorFields {
            code: refusal.code,
            message: format!("{} ({})", String::from_utf8_lossy(&text), refusal.advice),
            sent: false,
            node,
        };
        reply.root = reply.store_error(&Error::from(fault));
        refusal.slot_moved
    }

    fn moved(&self, context: &ExecContext<'_>, slot: u16, to: &Address) -> Refusal {
        count(&context.core.stats.moved);
        context.core.patch(context.process, slot, to);
        let slot_moved = slot == self.slot;
        let advice = match slot_moved {
            true => {
                "the slot has moved, and the transaction is void: end it to continue at the new owner"
            }
            false => "this handle is pinned to another slot",
        };
        Refusal {
            code: Code::Redirects,
            advice,
            slot_moved,
        }
    }

    fn open(&self, context: &ExecContext<'_>) -> Result<HeldConnection> {
        let call = &context.call;
        let topology = context.process.topology.load();
        let primary = topology.shard(self.slot).and_then(|s| s.primary.clone());
        drop(topology);
        let Some(primary) = primary else {
            return Err(Error::new(
                Code::Down,
                format_args!("no node serves slot {}", self.slot),
            ));
        };
        let peer = primary.peer.clone();
        match peer.open(ConnectionKind::Primary, call.attempt_until(call.deadline)) {
            Ok(connection) => Ok(HeldConnection { peer, connection }),
            Err(error) => {
                // Another node may own the slot by now; the caller's next try goes there.
                context.core.refresh_if_due(context.process, call);
                Err(error)
            }
        }
    }
}

/// An error reply after which the command has not run.
struct Refusal {
    code: Code,
    advice: &'static str,
    slot_moved: bool,
}

impl HeldConnection {
    /// Sends a command and receives its reply; nil if CLIENT REPLY suppresses it.
    fn send_and_receive(
        &mut self,
        body: &CommandBody<'_>,
        gets_reply: bool,
        call: &Call<'_>,
    ) -> Result<Box<Reply>> {
        self.connection.push(body);
        if gets_reply {
            return self.connection.reply(call.attempt_at(call.began));
        }
        self.connection.flush(call)?;
        Ok(Box::new(Reply::of(Value::NIL)))
    }
}

/// Adds the node and the command to a timeout.
fn name_timeout(
    mut error: Error,
    held: &HeldConnection,
    command: &Classified<'_>,
    call: &Call<'_>,
) -> Error {
    if error.code == Code::Timeout
        && let Some(row) = command.row
    {
        error.message = format!(
            "TIMEOUT {} did not answer {} within {} ms",
            held.peer.origin().name(),
            row.name,
            call.attempt_ms
        );
    }
    error
}

/// The exclusive use of the handle by one call. Dropped without [`CallGuard::put_back`], it closes the
/// connection.
struct CallGuard<'a> {
    shared: &'a PinState,
    held: Option<HeldConnection>,
    saved: SavedState,
    /// The loss of the connection now would lose a transaction.
    in_transaction: bool,
}

impl<'a> CallGuard<'a> {
    /// Waits until no other thread uses the handle. A callback of a call on this handle may not use it.
    fn enter(shared: &'a PinState, call: &Call<'_>) -> Result<CallGuard<'a>> {
        let thread = ThreadMark::current();
        let mut state = lock(&shared.state);
        while let Some(user) = state.user {
            if user == thread {
                return Err(Error::invalid(
                    "a callback cannot use the pinned handle whose call it runs in: use another handle",
                ));
            }
            call.check()?;
            let left = call.deadline.left(now()).unwrap_or(POLL_INTERVAL);
            if left.is_zero() {
                return Err(Error::new(
                    Code::Timeout,
                    "another thread is using this pinned handle",
                ));
            }
            state = wait(&shared.idle, &shared.state, state, left.min(POLL_INTERVAL));
            // The wait callback is called with no lock held.
            drop(state);
            call.check_cancelled()?;
            state = lock(&shared.state);
        }
        state.user = Some(thread);
        Ok(CallGuard {
            shared,
            held: state.held.take(),
            saved: state.saved,
            in_transaction: false,
        })
    }

    /// Fails if the connection was lost during a transaction, until a command ends the transaction.
    fn check_not_lost(&mut self, command: &Classified<'_>) -> Result<()> {
        if !self.saved.lost {
            return Ok(());
        }
        if is_one_of(command.row, END) {
            self.saved.lost = false;
            self.put_back(false);
        }
        Err(Error::new(
            Code::Io,
            "the connection of this pinned handle was lost, and its transaction with it: no queued command has run",
        ))
    }

    /// Applies CLIENT REPLY; returns whether this command gets a reply.
    fn track_reply_mode(&mut self, command: &Classified<'_>) -> bool {
        let replies = &mut self.saved.replies;
        if command.row == Some(table::CLIENT_REPLY) {
            let mode = command.args.get(2).copied().unwrap_or_default();
            if mode.eq_ignore_ascii_case(b"ON") {
                *replies = ReplyMode::On;
            } else if mode.eq_ignore_ascii_case(b"OFF") {
                *replies = ReplyMode::Off;
            } else if mode.eq_ignore_ascii_case(b"SKIP") && *replies == ReplyMode::On {
                *replies = ReplyMode::Skip;
            }
            return *replies == ReplyMode::On;
        }
        match replies {
            ReplyMode::On => true,
            ReplyMode::Off => false,
            ReplyMode::Skip => {
                *replies = ReplyMode::On;
                false
            }
        }
    }

    /// Keeps the connection for the next call.
    fn put_back(&mut self, in_transaction: bool) {
        let held = self.held.take();
        let mut state = lock(&self.shared.state);
        if !self.saved.slot_moved || in_transaction {
            state.held = held;
        }
        state.saved = SavedState {
            in_transaction,
            slot_moved: self.saved.slot_moved && in_transaction,
            ..self.saved
        };
        self.in_transaction = false;
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        if self.in_transaction {
            state.saved.lost = true;
        }
        if state.held.is_none() {
            state.saved = SavedState {
                lost: state.saved.lost,
                ..SavedState::default()
            };
        }
        state.user = None;
        drop(state);
        notify_one(&self.shared.idle);
    }
}
