//! Handles error replies: `route` decides, the cluster's state is updated, the command is retried or
//! completed.

use super::destination::Destination;
use super::exec_state::ExecState;
use super::pending_reply::PendingCommand;
use super::prelude_replies::{PreludeReplies, Verdict};
use super::routed_command::{RoutedCommand, Target};
use crate::cluster::state::count;
use crate::config::ClusterMode;
use crate::deadline::{Time, now};
use crate::error::{Code, Error, ErrorFields};
use crate::resp::{Value, View, flag};
use crate::route::{RetryAction, action_for_reply};
use crate::sync::lock;
use crate::topology::Topology;

/// An error reply of a server.
struct ErrorReply {
    /// For the caller.
    message: String,
    /// The text that decides what to do: the message, or the error reply that has caused it.
    reason: String,
    outcome: Outcome,
    node: String,
}

/// Whether the command has run.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    /// The reason tells.
    ByReason,
    NotRun,
    MayHaveRun,
}

/// What to do where MULTI is refused.
const USE_NO_MULTI: &str =
    "grant the user @transaction, or execute the pipeline without a transaction";

impl ErrorReply {
    /// The error that answers a command, in the light of the replies that precede it.
    fn read(
        pending: &mut PendingCommand<'_, '_>,
        destination: &Destination<'_>,
        preludes: &[Value],
    ) -> ErrorReply {
        let answer = pending.answer().value;
        let reply = &**pending.reply.get_or_insert_default();
        let command = &*pending.command;
        let node = destination.peer.origin().name().to_string();
        let error = text_of(View::new(reply, answer));
        let replies = PreludeReplies::new(reply, command, preludes);
        let verdict = replies.verdict(command, answer);
        if let Verdict::MultiRefused(_) | Verdict::RanWithoutMulti(_) = verdict {
            destination.peer.record_multi(false);
        }
        ErrorReply::new(verdict, command, error, node)
    }

    /// The error of a command with this verdict. `error` is its own error reply.
    fn new(
        verdict: Verdict<'_>,
        command: &RoutedCommand<'_>,
        error: String,
        node: String,
    ) -> ErrorReply {
        let name = command.name;
        let (reason, outcome) = match verdict {
            Verdict::OwnError => (reason_of_exec(&error, command), Outcome::ByReason),
            Verdict::Aborted(cause) => (text_of(cause), Outcome::NotRun),
            Verdict::AskingRefused(asking) => (text_of(asking), Outcome::NotRun),
            Verdict::MultiRefused(multi) => (text_of(multi), Outcome::NotRun),
            Verdict::RanWithoutMulti(multi) => (text_of(multi), Outcome::MayHaveRun),
            Verdict::RanInMulti => (error.clone(), Outcome::MayHaveRun),
        };
        let message = match verdict {
            Verdict::Aborted(_) if error.starts_with("EXECABORT") => format!("{error} ({reason})"),
            Verdict::OwnError | Verdict::Aborted(_) => error,
            Verdict::AskingRefused(_) => format!(
                "{reason} ({node} refused ASKING, so {name} has not run: grant the user +asking)"
            ),
            Verdict::MultiRefused(_) => {
                format!("{reason} ({node} refused MULTI, and no command has run: {USE_NO_MULTI})")
            }
            Verdict::RanWithoutMulti(_) => format!(
                "{reason} ({node} refused MULTI, so the commands may have run one by one: {USE_NO_MULTI})"
            ),
            Verdict::RanInMulti => format!(
                "{error} ({node} did not queue the commands behind MULTI, so they may have run one by one)"
            ),
        };
        ErrorReply {
            message,
            reason,
            outcome,
            node,
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

    /// The same as an error of this library. A command that is sent again has not run.
    fn error(&self, code: Code) -> Error {
        Error::from(ErrorFields {
            code,
            message: self.message.clone(),
            sent: self.outcome == Outcome::MayHaveRun,
            node: Some(self.node.clone()),
        })
    }
}

/// The reason in an error reply, which is the error itself unless EXEC was refused.
fn reason_of_exec(error: &str, command: &RoutedCommand<'_>) -> String {
    let because = error.split_once("Transaction discarded because of: ");
    match because {
        Some((_, reason)) if command.preludes > 0 => reason.to_string(),
        _ => error.to_string(),
    }
}

fn text_of(view: View<'_>) -> String {
    String::from_utf8_lossy(view.text().unwrap_or_default()).into_owned()
}

impl ExecState<'_> {
    /// Handles an error reply: answers the command with it, or leaves it open for another round.
    /// `preludes` are the replies that precede it: see [`PreludeReplies`].
    #[cold]
    pub(super) fn handle_error_reply(
        &mut self,
        pending: &mut PendingCommand<'_, '_>,
        destination: &Destination<'_>,
        topology: &Topology,
        preludes: &[Value],
    ) {
        let reply = ErrorReply::read(pending, destination, preludes);
        let action = self.action_for(&reply, pending.command, destination);
        self.record_error_reply(&action, &reply, pending.command, destination);
        match action {
            RetryAction::Deliver(code) | RetryAction::Refused(code) => {
                if self.check_error_freshness(pending, (destination, code), topology) {
                    deliver(pending, &reply, &action, code);
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
        match (reply.outcome, action) {
            (Outcome::MayHaveRun, RetryAction::Deliver(code) | RetryAction::Refused(code)) => {
                RetryAction::Deliver(code)
            }
            (Outcome::MayHaveRun, _) => RetryAction::Deliver(reply.retry_code()),
            (Outcome::NotRun, RetryAction::Deliver(code)) => RetryAction::Refused(code),
            (_, RetryAction::ResendScript) if !self.resend_script_body(command) => {
                RetryAction::Refused(Code::Server)
            }
            (_, action) => action,
        }
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
        if let RetryAction::Refused(Code::Auth) = action {
            // The rights of the user may have changed, that to MULTI too.
            peer.record_multi(false);
        }
        match action {
            RetryAction::Deliver(code) | RetryAction::Refused(code) => {
                peer.record_success();
                // A cluster has taken the place of the server.
                self.topology_outdated |= *code == Code::CrossSlot && self.follows_cluster();
            }
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
                if plan.demoted {
                    self.process.doubt_primary();
                }
            }
            RetryAction::ResendScript => {
                peer.health.record_success();
            }
            RetryAction::Moved { slot, to } => {
                count(&stats.moved);
                peer.record_success();
                // A primary that another node of its shard has replaced has given no key away.
                if !self.process.load_topology().is_in_shard_of(*slot, to) {
                    migrating.mark([*slot], now());
                }
                self.core.patch(self.process, *slot, to);
                // If a refresh is not due yet, no later error may show that one is needed.
                self.process.want_refresh_at(Time::ZERO);
                self.topology_outdated = true;
            }
            RetryAction::Ask { .. } => {
                count(&stats.ask);
                peer.record_success();
                migrating.mark(command.slot(), now());
            }
        }
    }

    /// Whether the topology is a server that is no cluster, and a refresh would find that it has become one.
    fn follows_cluster(&self) -> bool {
        self.core.config.cluster == ClusterMode::Auto && self.process.load_topology().standalone
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
fn deliver(
    pending: &mut PendingCommand<'_, '_>,
    reply: &ErrorReply,
    action: &RetryAction,
    code: Code,
) {
    if reply.outcome != Outcome::ByReason {
        return pending.fail(&reply.error(code));
    }
    let mut answer = pending.answer();
    answer.value.code = code as u8;
    if matches!(action, RetryAction::Refused(_)) && !pending.command.may_have_run() {
        answer.value.flags &= !flag::SENT;
    }
    pending.complete(answer);
}
