//! Handles error replies: `route` decides, the cluster's state is updated, the command is retried or
//! completed.

use super::destination::Destination;
use super::exec_state::ExecState;
use super::pending_reply::PendingCommand;
use super::routed_command::{RoutedCommand, Target};
use crate::cluster::state::count;
use crate::deadline::now;
use crate::error::{Code, Error, ErrorFields};
use crate::resp::{Value, View};
use crate::route::{RetryAction, action_for_reply};
use crate::sync::lock;
use crate::topology::Topology;

/// An error reply of a server.
struct ErrorReply {
    /// For the caller.
    message: String,
    /// The text that decides what to do. Of an aborted transaction this is the error of the command
    /// that aborted it; otherwise it is the message.
    reason: String,
    /// The reply is EXECABORT, and `reason` that of another command.
    is_aborted: bool,
    node: String,
}

impl ErrorReply {
    /// The error that answers a command. `cause` is the error reply that aborted a transaction.
    fn read(
        pending: &mut PendingCommand<'_, '_>,
        destination: &Destination<'_>,
        cause: Option<Value>,
    ) -> ErrorReply {
        let answer = pending.answer().value;
        let reply = pending.reply.get_or_insert_default();
        let text_of = |value: Value| {
            let text = View::new(reply, value).text().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        let mut message = text_of(answer);
        let reason = cause.map_or_else(|| message.clone(), text_of);
        // EXECABORT: nothing has run, and the cause contains the reason.
        if cause.is_some() && message.starts_with("EXECABORT") {
            message = format!("{message} ({reason})");
        }
        ErrorReply {
            message,
            reason,
            is_aborted: cause.is_some(),
            node: destination.peer.origin().name().to_string(),
        }
    }

    /// The first word of the reason.
    fn word(&self) -> &str {
        self.reason.split(' ').next().unwrap_or_default()
    }

    /// The code of a command that is retried and fails in the end.
    fn retry_code(&self) -> Code {
        match self.word() {
            "CLUSTERDOWN" | "MASTERDOWN" => Code::Down,
            _ => Code::Server,
        }
    }

    /// The same as an error of a command that has not run.
    fn error(&self, code: Code) -> Error {
        Error::from(ErrorFields {
            code,
            message: self.message.clone(),
            sent: false,
            node: Some(self.node.clone()),
        })
    }
}

impl ExecState<'_> {
    /// Handles an error reply: answers the command with it, or leaves it open for another round.
    /// `cause` is the error reply that aborted a transaction.
    #[cold]
    pub(super) fn handle_error_reply(
        &mut self,
        pending: &mut PendingCommand<'_, '_>,
        destination: &Destination<'_>,
        topology: &Topology,
        cause: Option<Value>,
    ) {
        let reply = ErrorReply::read(pending, destination, cause);
        let action = self.action_for(&reply, pending.command, destination);
        self.record_error_reply(&action, &reply, pending.command, destination);
        match action {
            RetryAction::Deliver(code) => {
                if self.check_error_freshness(pending, (destination, code), topology) {
                    deliver(pending, &reply, code);
                }
            }
            RetryAction::Retry(plan) => {
                let error = reply.error(reply.retry_code());
                self.schedule_retry(pending.command, destination, plan, error);
                // A read that any node of the shard may serve goes to another one anyway, as a read of
                // a replica.
                if reply.reason.starts_with("CLUSTERDOWN") && !destination.any_replica_ok {
                    self.try_promoted_replica(pending.command, destination);
                }
            }
            RetryAction::ResendScript => {
                pending.command.retry_state().last = Some(reply.error(Code::Server));
            }
            RetryAction::Moved { slot, to } => {
                // Of an unknown command, the key may be another argument than was assumed.
                if pending.command.slot() != Some(slot) {
                    pending.command.target = Target::Slot(slot);
                }
                pending.command.retry_state().asking = false;
                self.follow_redirect(pending, &to, reply.error(Code::Redirects));
            }
            RetryAction::Ask { to } => {
                pending.command.retry_state().asking = true;
                self.follow_redirect(pending, &to, reply.error(Code::Redirects));
            }
        }
    }

    fn action_for(
        &self,
        reply: &ErrorReply,
        command: &mut RoutedCommand<'_>,
        destination: &Destination<'_>,
    ) -> RetryAction {
        let context = self.error_context(command, destination);
        let from = destination.peer.address();
        let action = action_for_reply(reply.reason.as_bytes(), from, context);
        if action == RetryAction::ResendScript && !self.resend_script_body(command) {
            return RetryAction::Deliver(Code::Server);
        }
        action
    }

    /// Updates what the handles of the cluster share: counters, the node's health, the slot map, the
    /// migrating slots.
    fn record_error_reply(
        &mut self,
        action: &RetryAction,
        reply: &ErrorReply,
        command: &RoutedCommand<'_>,
        destination: &Destination<'_>,
    ) {
        let (peer, stats) = (destination.peer, &self.core.stats);
        let migrating = &self.process.migrating_slots;
        match action {
            RetryAction::Deliver(_) => peer.record_success(),
            RetryAction::Retry(plan) => {
                let is_down = reply.retry_code() == Code::Down;
                count(match is_down {
                    true => &stats.clusterdown,
                    false => &stats.tryagain,
                });
                // TRYAGAIN: the command's keys are on both sides of a migration.
                if !is_down && !plan.eject && !plan.refresh {
                    migrating.mark(command.slot(), now());
                }
                // Otherwise the cause is the state of the cluster, not the node.
                if !plan.eject {
                    peer.record_success();
                }
            }
            RetryAction::ResendScript => {
                peer.health.record_success();
            }
            RetryAction::Moved { slot, to } => {
                count(&stats.moved);
                peer.record_success();
                // A primary that another node of its shard has replaced has given no key away.
                if !self.process.topology.load().is_in_shard_of(*slot, to) {
                    migrating.mark([*slot], now());
                }
                self.core.patch(self.process, *slot, to);
                self.topology_outdated = true;
            }
            RetryAction::Ask { .. } => {
                count(&stats.ask);
                peer.record_success();
                migrating.mark(command.slot(), now());
            }
        }
    }

    /// Replaces the digest in a command by the script itself; false if the script is not known.
    fn resend_script_body(&self, command: &mut RoutedCommand<'_>) -> bool {
        // Only once: a script may itself end with NOSCRIPT. And not inside a transaction.
        if command.retry_state().replacement.is_some() || command.preludes > 0 {
            return false;
        }
        let replacement = lock(&self.process.scripts).with_script_body(&command.body);
        let is_known = replacement.is_some();
        if is_known {
            count(&self.core.stats.noscript);
        }
        command.retry_state().replacement = replacement;
        is_known
    }
}

/// Answers the command with the error.
fn deliver(pending: &mut PendingCommand<'_, '_>, reply: &ErrorReply, code: Code) {
    if reply.is_aborted {
        return pending.fail(&reply.error(code));
    }
    let mut answer = pending.answer();
    answer.value.code = code as u8;
    pending.complete(answer);
}
