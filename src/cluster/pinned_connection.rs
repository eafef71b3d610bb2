//! One connection for one handle: for WATCH, MULTI and EXEC, and for state such as SELECT and CLIENT TRACKING.
//!
//! No command is retried or redirected here; only connecting is. The state of the connection is lost with it, and a
//! later command would run outside its transaction or in another database. So after such a loss every command fails,
//! until RESET or the commands that began the state are sent again. A moved slot is an error too: the next command
//! connects to the new owner, which loses the state as well.

use super::context::ExecContext;
use super::pinned_state::{CallGuard, HeldConnection, PinnedState};
use crate::address::Address;
use crate::cluster::state::{backoff, count};
use crate::deadline::now;
use crate::error::{Code, Error, ErrorFields, Result};
use crate::net::{Call, ConnectionKind, PthreadCancelDisabled};
use crate::resp::{CommandBody, Kind, Reply, Value, flag};
use crate::route::{
    Classified, ErrorContext, RetryAction, StateChange, StateEffect, StatePart, StateParts,
    Wording, action_for_reply, may_pass,
};
use arc_swap::ArcSwap;
use std::sync::Arc;

pub struct PinnedConnection {
    slot: u16,
    shared: ArcSwap<PinnedState>,
}

impl PinnedConnection {
    pub fn new(slot: u16) -> PinnedConnection {
        PinnedConnection {
            slot,
            // 0 is no process number: the first call creates the state of its process.
            shared: ArcSwap::from_pointee(PinnedState::new(0, StateParts::NONE)),
        }
    }

    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// The state of this process. A forked child neither locks nor frees its parent's state; what the parent has begun is
    /// lost to the child.
    #[inline(never)]
    fn state_of(&self, process: i32) -> Arc<PinnedState> {
        let current = self.shared.load_full();
        if current.process == process {
            return current;
        }
        let new = Arc::new(PinnedState::new(process, current.begun()));
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
        if command.state_change() == StateChange::Streams {
            return Err(Error::invalid(format_args!(
                "{} turns a connection into a stream of messages, which a pinned handle cannot read",
                command.name()
            )));
        }
        let state = self.state_of(context.process.number());
        let mut guard = CallGuard::enter(&state, &context.call)?;
        if command.state_change() == StateChange::Resets && command.args.len() == 1 {
            return self.reset(context, &mut guard);
        }
        guard.check_idle(&context.call);
        guard.reauthenticate(&context.call)?;
        guard.check_not_lost(command)?;
        if guard.kept.held.is_none() {
            guard.kept.held = Some(self.open(context)?);
        }
        self.execute(context, &mut guard, command, body)
    }

    /// Answers RESET. The server's own RESET would also undo what the handshake has set up: user, protocol and name. A new
    /// connection has the state that the client's options ask for.
    fn reset(&self, context: &ExecContext<'_>, guard: &mut CallGuard<'_>) -> Result<Box<Reply>> {
        guard.reset();
        let held = self.open(context)?;
        let value = Value::new(Kind::Status, 5, 0);
        let mut reply = Reply::from_node(value, held.peer.origin().clone());
        reply.set_inline_text(b"RESET\0");
        reply.root.value.flags |= flag::NODE_VALUE | flag::SENT;
        guard.kept.held = Some(held);
        Ok(Box::new(reply))
    }

    /// Sends a command on the connection that the guard holds, and records what it has changed.
    fn execute(
        &self,
        context: &ExecContext<'_>,
        guard: &mut CallGuard<'_>,
        command: &Classified<'_>,
        body: &CommandBody<'_>,
    ) -> Result<Box<Reply>> {
        let gets_reply = guard.track_reply_mode(command);
        let effect = command.state_effect();
        let before = guard.begin(effect);
        let Some(held) = &mut guard.kept.held else {
            return Err(Error::new(
                Code::Internal,
                "a pinned handle without a connection",
            ));
        };
        let call = &context.call;
        let mut reply = match held.send_and_receive(body, gets_reply, call) {
            Ok(reply) => reply,
            Err(error) => {
                let error = name_timeout(error, held, command, call);
                guard.fail(before, effect, &error);
                return Err(error);
            }
        };
        reply.root.value.flags |= flag::NODE_VALUE | flag::SENT;
        if effect.begins.has(StatePart::Protocol) {
            held.connection.pushes = true;
        }
        let finished = held.connection.finish_pushes(call.attempt_at(call.began));
        let is_reusable = finished.is_ok() && held.connection.reset_for_reuse(call.began);
        let from = held.peer.clone();
        guard.settle(before, changed(effect, &reply));
        if is_reusable {
            guard.keep();
        }
        if reply.root.value.kind == Kind::Error {
            let wording = Wording::of(command.row, Some(self.slot));
            let slot_moved = self.handle_error_reply(context, &mut reply, from.address(), wording);
            guard.kept.slot_moved |= slot_moved;
        }
        Ok(reply)
    }

    /// Rewrites an error reply for the caller; returns whether the node does not own the slot any more.
    /// Then the next command outside a transaction connects to the new owner.
    #[cold]
    fn handle_error_reply(
        &self,
        context: &ExecContext<'_>,
        reply: &mut Reply,
        from: &Address,
        wording: Wording,
    ) -> bool {
        let not_repeatable = ErrorContext {
            repeatable: false,
            node_chosen_by_caller: false,
            any_replica_ok: false,
            is_not_primary: false,
            wording,
        };
        let text = reply.view().text().unwrap_or_default().to_vec();
        let refusal = match action_for_reply(&text, from, not_repeatable) {
            RetryAction::Deliver(code) => {
                reply.root.value.code = code as u8;
                return false;
            }
            RetryAction::Refused(code) => {
                reply.root.value.code = code as u8;
                reply.root.value.flags &= !flag::SENT;
                return false;
            }
            RetryAction::ResendScript => {
                reply.root.value.flags &= !flag::SENT;
                return false;
            }
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
                if plan.demoted {
                    context.process.doubt_primary();
                }
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
        let mut tries = 0;
        loop {
            let error = match self.open_at_primary(context) {
                Ok(held) => return Ok(held),
                Err(error) => error,
            };
            if !may_pass(&error) || call.deadline.passed(now()) {
                return Err(error);
            }
            // Another node may own the slot by now.
            context.core.refresh_if_due(context.process, call);
            call.sleep(backoff(tries).min(call.deadline))?;
            if call.deadline.passed(now()) {
                return Err(error);
            }
            tries += 1;
        }
    }

    fn open_at_primary(&self, context: &ExecContext<'_>) -> Result<HeldConnection> {
        let topology = context.process.load_topology();
        let primary = topology.shard(self.slot).and_then(|s| s.primary.clone());
        drop(topology);
        let Some(primary) = primary else {
            return Err(Error::new(
                Code::Down,
                format_args!("no node serves slot {}", self.slot),
            ));
        };
        let peer = primary.peer.clone();
        let kind = ConnectionKind::primary(context.policy.kind.database());
        let connection = peer.open(kind, context.call.attempt_at(now()))?;
        Ok(HeldConnection { peer, connection })
    }
}

/// What a command has changed, given its reply.
fn changed(effect: StateEffect, reply: &Reply) -> StateEffect {
    let text = reply.view().text().unwrap_or_default();
    match reply.root.value.kind {
        // In a transaction: it may take effect with EXEC.
        Kind::Status if text == b"QUEUED" => effect.only_begins(),
        // "ERR DISCARD without MULTI": there is no transaction to end. A key that is still watched can only discard the
        // next one.
        Kind::Error if text.ends_with(b"without MULTI") => effect.only_ends(StatePart::Transaction),
        // An error of EXEC ends the transaction (EXECABORT, MOVED ...), unless EXEC itself was refused.
        Kind::Error
            if [&b"ERR"[..], b"NOPERM", b"NOAUTH"]
                .iter()
                .any(|word| text.starts_with(word)) =>
        {
            StateEffect::NONE
        }
        Kind::Error => effect.only_ends(StatePart::Transaction),
        _ => effect,
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
        // The call may have had less time than attempt_timeout_ms.
        let ms = now().since(call.began).as_millis() as u64;
        error.message = format!(
            "TIMEOUT {} did not answer {} within {} ms",
            held.peer.origin().name(),
            row.name,
            ms.min(call.attempt_ms)
        );
    }
    error
}
