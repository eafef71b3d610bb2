//! What a pinned handle knows of its connection: which state was begun on it, and which of that is lost.

use crate::call_scope::ThreadMark;
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::{Call, Connection, POLL_INTERVAL, Peer};
use crate::resp::Origin;
use crate::route::{Classified, StateChange, StateEffect, StatePart, StateParts};
use crate::sync::{Condvar, Mutex, lock, notify_one};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const TRANSACTION: StateParts = StateParts::of(StatePart::Transaction);
const NEXT_COMMAND: StateParts = StateParts::of(StatePart::NextCommand);
const REPLIES: StateParts = StateParts::of(StatePart::Replies);
/// While one of these has begun, the connection is not authenticated again: the caller has chosen the user, AUTH would be
/// queued or get no reply, or it would take the place of the next command.
const KEEP_USER: StateParts = TRANSACTION
    .with(NEXT_COMMAND)
    .with(REPLIES)
    .with(StateParts::of(StatePart::User));
/// Only WAIT depends on it.
const WRITES: StateParts = StateParts::of(StatePart::Writes);

/// The connection of one process, used by one call at a time.
pub(super) struct PinnedState {
    pub(super) process: i32,
    /// The parts of the state that were begun and have not ended, as bits. Outside the lock, because a forked child
    /// reads it.
    begun: AtomicU32,
    state: Mutex<State>,
    /// Notified when `user` becomes `None`.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    /// The thread whose call uses the handle.
    user: Option<ThreadMark>,
    kept: Kept,
}

/// What is kept from one call to the next.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) held: Option<HeldConnection>,
    /// The begun parts that the connection does not have; all of them, if there is no connection.
    lost: StateParts,
    /// The node of the last connection that was lost.
    lost_at: Option<Arc<Origin>>,
    /// The node of the connection does not own the slot any more.
    pub(super) slot_moved: bool,
    replies: ReplyMode,
}

pub(super) struct HeldConnection {
    pub(super) peer: Arc<Peer>,
    pub(super) connection: Box<Connection>,
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

impl PinnedState {
    /// The state of a handle in a new process, after the loss of what was begun in its parent.
    pub(super) fn new(process: i32, begun: StateParts) -> PinnedState {
        let kept = Kept {
            lost: begun,
            ..Kept::default()
        };
        PinnedState {
            process,
            begun: AtomicU32::new(begun.bits()),
            state: Mutex::new(State { user: None, kept }),
            idle: Condvar::new(),
        }
    }

    pub(super) fn begun(&self) -> StateParts {
        StateParts::from_bits(self.begun.load(Ordering::Relaxed))
    }

    fn set_begun(&self, begun: StateParts) {
        self.begun.store(begun.bits(), Ordering::Relaxed);
    }
}

/// The exclusive use of the handle by one call.
pub(super) struct CallGuard<'a> {
    shared: &'a PinnedState,
    pub(super) kept: Kept,
    /// A command is on the connection, which is closed if the call ends now.
    in_use: bool,
}

impl<'a> CallGuard<'a> {
    /// Waits until no other thread uses the handle. A callback of a call on this handle may not use it.
    pub(super) fn enter(shared: &'a PinnedState, call: &Call<'_>) -> Result<CallGuard<'a>> {
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
            state = call.wait_on(&shared.idle, &shared.state, state, left.min(POLL_INTERVAL));
            // The wait callback is called with no lock held.
            drop(state);
            call.check_cancelled()?;
            state = lock(&shared.state);
        }
        state.user = Some(thread);
        Ok(CallGuard {
            shared,
            kept: std::mem::take(&mut state.kept),
            in_use: false,
        })
    }

    /// Closes the connection if the node has closed it while it was idle.
    pub(super) fn check_idle(&mut self, call: &Call<'_>) {
        let held = self.kept.held.as_mut();
        if held.is_some_and(|held| !held.connection.is_open_after_idle(call)) {
            self.lose();
        }
    }

    /// Sends changed credentials, unless [`KEEP_USER`] forbids it.
    pub(super) fn reauthenticate(&mut self, call: &Call<'_>) -> Result<()> {
        let Some(held) = &mut self.kept.held else {
            return Ok(());
        };
        if held.peer.has_current_credentials(&held.connection)
            || self.shared.begun().meets(KEEP_USER)
        {
            return Ok(());
        }
        let attempt = call.attempt_at(call.began);
        let is_usable = held.peer.reauthenticate(&mut held.connection, attempt);
        if !matches!(is_usable, Ok(true)) {
            self.lose();
        }
        is_usable.map(|_| ())
    }

    /// Closes the connection: everything that was begun on it is lost.
    fn lose(&mut self) {
        if let Some(held) = self.kept.held.take() {
            self.kept.lost_at = Some(held.peer.origin().clone());
        }
        self.kept.lost = self.shared.begun();
        self.kept.slot_moved = false;
        self.kept.replies = ReplyMode::On;
    }

    /// Closes the connection and forgets what was begun on it.
    pub(super) fn reset(&mut self) {
        self.kept = Kept::default();
        self.shared.set_begun(StateParts::NONE);
    }

    /// Fails if the command depends on state that is lost. A command that restores a lost part passes; one that ends a
    /// lost transaction does so by this error.
    pub(super) fn check_not_lost(&mut self, command: &Classified<'_>) -> Result<()> {
        let Kept { lost, .. } = self.kept;
        let effect = command.state_effect();
        let needed = match command.state_change() {
            StateChange::Needs(part) => StateParts::of(part),
            _ => StateParts::NONE,
        };
        let missing = lost.without(WRITES.without(needed));
        let restored = effect.begins.with(effect.ends).without(TRANSACTION);
        if missing.is_empty() || restored.meets(missing) {
            return Ok(());
        }
        if !(missing.meets(TRANSACTION) && effect.ends.meets(TRANSACTION)) {
            return Err(self.loss(missing, missing));
        }
        self.kept.lost = lost.without(TRANSACTION);
        let begun = self.shared.begun();
        self.shared.set_begun(begun.without(TRANSACTION));
        Err(self.loss(missing, missing.without(TRANSACTION)))
    }

    /// The error of a command that depends on lost parts. `remaining` has to be restored before the next command.
    #[cold]
    fn loss(&self, missing: StateParts, remaining: StateParts) -> Error {
        let node = self.kept.lost_at.as_ref();
        let to_node = node.map(|node| format!(" to {}", node.name()));
        let queued = match missing.meets(TRANSACTION) {
            true => " (no queued command has run)",
            false => "",
        };
        let again = listed(remaining.without(TRANSACTION.with(WRITES)));
        let advice = match again.as_str() {
            "" if remaining.meets(TRANSACTION) => {
                ": send RESET or DISCARD before other commands".to_string()
            }
            "" if remaining.meets(WRITES) => {
                ": send RESET or another write before WAIT".to_string()
            }
            "" => String::new(),
            again if remaining.meets(TRANSACTION) => {
                format!(": send RESET, or DISCARD and {again} again, before other commands")
            }
            again => format!(": send RESET, or {again} again, before other commands"),
        };
        Error::new(
            Code::Io,
            format_args!(
                "the connection of this pinned handle{} was lost, and with it {}{queued}{advice}",
                to_node.unwrap_or_default(),
                listed(missing)
            ),
        )
    }

    /// A command is about to be sent. Returns the parts that were begun before it. Those that it begins count at once: it
    /// may run even if no reply comes.
    pub(super) fn begin(&mut self, effect: StateEffect) -> StateParts {
        let before = self.shared.begun();
        self.shared.set_begun(before.with(effect.begins));
        self.in_use = true;
        before
    }

    /// The command has been answered: `changed` is what it has begun and ended. The connection is kept for the next call.
    pub(super) fn settle(&mut self, before: StateParts, changed: StateEffect) {
        let begun = before.without(NEXT_COMMAND).with(changed.begins);
        self.shared.set_begun(begun.without(changed.ends));
        let restored = changed.begins.with(changed.ends);
        self.kept.lost = self.kept.lost.without(restored);
    }

    /// The command was not answered, and the connection is lost.
    pub(super) fn fail(&mut self, before: StateParts, effect: StateEffect, error: &Error) {
        let begun = match error.sent {
            true => before.with(effect.begins),
            false => before,
        };
        // The error is the outcome of EXEC and DISCARD: it tells the caller that the transaction has ended.
        let ended = match effect.ends.meets(TRANSACTION) {
            true => TRANSACTION,
            false => StateParts::NONE,
        };
        self.shared.set_begun(begun.without(ended));
    }

    /// The connection can be used by the next call.
    pub(super) fn keep(&mut self) {
        self.in_use = false;
    }

    /// Applies CLIENT REPLY; returns whether this command gets a reply.
    pub(super) fn track_reply_mode(&mut self, command: &Classified<'_>) -> bool {
        let replies = &mut self.kept.replies;
        if matches!(command.state_change(), StateChange::Switches(part, _) if part == StatePart::Replies)
        {
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
                let begun = self.shared.begun();
                self.shared.set_begun(begun.without(REPLIES));
                false
            }
        }
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        // An open transaction stays at its node: a command of it must not run elsewhere.
        let leaves = self.kept.slot_moved && !self.shared.begun().meets(TRANSACTION);
        if self.in_use || leaves || self.kept.held.is_none() {
            self.lose();
        }
        let mut state = lock(&self.shared.state);
        state.kept = std::mem::take(&mut self.kept);
        state.user = None;
        drop(state);
        notify_one(&self.shared.idle);
    }
}

/// The names of parts: "A", "A and B", "A, B and C".
fn listed(parts: StateParts) -> String {
    let names: Vec<_> = parts.names().collect();
    match names.split_last() {
        None => String::new(),
        Some((only, [])) => (*only).to_string(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}
