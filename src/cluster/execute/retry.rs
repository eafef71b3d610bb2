//! What a failed attempt changes: the health of the node, and the state of the command's retries.

use super::destination::Destination;
use super::exec_state::ExecState;
use super::pending_reply::PendingCommand;
use super::routed_command::{RoutedCommand, Target};
use crate::cluster::state::count;
use crate::deadline::now;
use crate::error::{Code, Error};
use crate::log;
use crate::route::{
    ErrorContext, RetryAction, RetryPlan, Wording, action_for_failure, find, was_cut_short,
};
use crate::sim_hooks::rng;
use rand::Rng;
use std::sync::Arc;

impl ExecState<'_> {
    /// Handles a command whose reply has not come.
    #[cold]
    pub(super) fn handle_io_error(
        &mut self,
        pending: &mut PendingCommand<'_, '_>,
        destination: &Destination<'_>,
        error: Error,
    ) {
        if error.code == Code::Timeout {
            count(&self.core.stats.timeouts);
        }
        let context = self.error_context(pending.command, destination);
        match action_for_failure(&error, context) {
            RetryAction::Retry(plan) => {
                self.schedule_retry(pending.command, destination, plan, error);
            }
            _ => {
                if matches!(error.code, Code::Timeout | Code::Connect) {
                    self.eject(destination, &error);
                }
                // A node with a wrong certificate may have taken the address of another.
                self.topology_outdated |=
                    matches!(error.code, Code::Timeout | Code::Connect | Code::Tls);
                let is_fault_of_node =
                    matches!(error.code, Code::Auth | Code::Protocol | Code::Tls);
                match pending.command.unverified() {
                    Some(answer) if is_fault_of_node => pending.complete(answer),
                    _ => pending.fail(&error),
                }
            }
        }
    }

    pub(super) fn error_context(
        &self,
        command: &RoutedCommand<'_>,
        destination: &Destination<'_>,
    ) -> ErrorContext {
        let row = command.body.with_args(find);
        ErrorContext {
            repeatable: command.read || self.policy.retry_writes,
            node_chosen_by_caller: matches!(command.target, Target::Peer(_)),
            any_replica_ok: destination.any_replica_ok,
            is_not_primary: destination.any_replica_ok && !destination.choice.primary,
            wording: Wording::of(row, command.slot()),
        }
    }

    /// Leaves a command open for another round, as planned.
    pub(super) fn schedule_retry(
        &mut self,
        command: &mut RoutedCommand<'_>,
        destination: &Destination<'_>,
        plan: RetryPlan,
        error: Error,
    ) {
        if plan.eject {
            self.eject(destination, &error);
        }
        if let (Some(index), true) = (destination.index, destination.any_replica_ok) {
            match self.excluded.iter().position(|excluded| *excluded == index) {
                None => self.excluded.push(index),
                // Another command of the same batch has failed there.
                Some(at) if at >= self.excluded_before => {}
                Some(_) => {
                    // All nodes have failed: from now on each round waits first.
                    self.excluded.clear();
                    self.excluded_before = 0;
                    self.wait = true;
                }
            }
        }
        self.wait |= plan.wait;
        self.refresh |= plan.refresh;
        let (cut_short, read) = (was_cut_short(&error, self.attempt_elapsed()), command.read);
        let retry_state = command.retry_state();
        retry_state.may_have_run |= error.sent && !read;
        retry_state.redirect_target = None;
        retry_state.asking = false;
        // Servers close idle connections: the first loss of one says nothing about the node.
        let is_repeated = |last: &Error| last.code == Code::Io && error.code == Code::Io;
        retry_state.unverifiable |= plan.eject
            || error.code == Code::Down
            || retry_state.last.as_ref().is_some_and(is_repeated);
        // The error of an attempt that the deadline cut short is less useful than the error before it.
        let replaces = match &retry_state.last {
            None => true,
            // After a write that may have run, an error that says it was not sent would mislead.
            Some(last) if last.sent && !read => error.sent,
            // A write must not hide that it was sent; whether a read was sent decides nothing.
            Some(_) => (error.sent && !read) || !cut_short,
        };
        if replaces {
            retry_state.last = Some(error);
        }
    }

    /// Takes a node out of rotation for a while.
    fn eject(&self, destination: &Destination<'_>, error: &Error) {
        // An attempt that the deadline cut short shows nothing about the node.
        if error.node.is_none() || was_cut_short(error, self.attempt_elapsed()) {
            return;
        }
        let health = &destination.peer.health;
        let (was_healthy, time) = (health.is_healthy(), now());
        count(&destination.peer.counters.errors);
        // Of the calls that fail at the same time only one counts. Otherwise the node would be ejected
        // for as long as if it had failed again and again. A call that has probed the node does count.
        let was_probing = self.probing.take() == Arc::as_ptr(destination.peer).addr();
        if !was_healthy && !health.is_probe_due(time) && !was_probing {
            return;
        }
        if health.record_failure(time, rng().random_range(0.0..1.0)) {
            log::log(log::WARN, || {
                let address = destination.peer.address();
                format!("{address} is ejected for a while: {}", error.loggable())
            });
        }
    }
}
