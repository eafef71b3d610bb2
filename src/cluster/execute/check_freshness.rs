//! Checks that a replica's reply meets the handle's consistency, and records in the session what a
//! call has read and written.

use super::batch_assignment::BatchTable;
use super::destination::{Destination, ReplicaChoice};
use super::exec_state::ExecState;
use super::pending_reply::{PendingCommand, PendingReply};
use super::routed_command::RoutedCommand;
use crate::cluster::state::count;
use crate::deadline::now;
use crate::error::Code;
use crate::resp::{Kind, View};
use crate::route::may_be_missing_key;
use crate::topology::Topology;

/// What becomes of a replica's reply.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum FreshnessCheck {
    Accepted,
    /// It does not meet the handle's consistency: the primary is read next.
    Rejected,
    /// It lacks a key of a slot that is known to migrate. The primary is read next, and if that is not possible, this
    /// reply stands: the handle does not ask for a verified one.
    Unverified,
}

impl ExecState<'_> {
    /// Whether every reply meets the handle's consistency, as far as is known now.
    #[inline]
    pub(super) fn accepts_any_reply(&self) -> bool {
        self.consistency.is_none_or(|consistency| {
            !consistency.rechecks_missing_keys() && !self.process.has_migrations()
        })
    }

    /// Whether a reply meets the handle's consistency.
    pub(super) fn check_freshness(
        &self,
        command: &mut RoutedCommand<'_>,
        reply: View<'_>,
        destination: &Destination<'_>,
        topology: &Topology,
    ) -> FreshnessCheck {
        let (Some(consistency), Some(slot)) = (self.consistency, command.slot()) else {
            return FreshnessCheck::Accepted;
        };
        if !destination.kind.is_readonly() || destination.kind.is_blocking() {
            return FreshnessCheck::Accepted;
        }
        let time = now();
        let ReplicaChoice {
            requirement,
            incarnation,
            ..
        } = destination.choice;
        if consistency.needs_freshness_proof() {
            let primary = topology.shard(slot).and_then(|s| s.primary.as_ref());
            let mut requirement = requirement;
            requirement.since = requirement.since.max(consistency.oldest(time));
            if !primary.is_some_and(|p| requirement.is_met(destination.peer, &p.peer)) {
                count(&self.core.stats.reads_stale_rejected);
                recheck_at_primary(command);
                return FreshnessCheck::Rejected;
            }
        }
        if (consistency.rechecks_missing_keys()
            || self.process.migrating_slots.contains(slot, time))
            && command
                .body
                .with_args(|args| may_be_missing_key(args, reply))
        {
            count(&self.core.stats.reads_rechecked);
            recheck_at_primary(command);
            return match consistency.rechecks_missing_keys() {
                true => FreshnessCheck::Rejected,
                false => FreshnessCheck::Unverified,
            };
        }
        if consistency.monotonic && reply.kind() != Kind::Error {
            // The node may have restarted since it was chosen, and another process have answered.
            let is_same = destination.peer.freshness.incarnation() == incarnation;
            let incarnation = if is_same { incarnation } else { 0 };
            self.core
                .session
                .saw(slot, requirement.seen, incarnation, time);
            command.seen = true;
        }
        FreshnessCheck::Accepted
    }

    /// Whether the error reply of a replica is the answer: some are sent because a key is missing.
    pub(super) fn check_error_freshness(
        &self,
        pending: &mut PendingCommand<'_, '_>,
        (destination, code): (&Destination<'_>, Code),
        topology: &Topology,
    ) -> bool {
        let value = pending.answer().value;
        let Some(reply) = &*pending.reply else {
            return true;
        };
        let view = View::new(reply, value);
        let check = self.check_freshness(pending.command, view, destination, topology);
        if check == FreshnessCheck::Unverified {
            pending.keep_unverified();
            if let Some(answer) = &mut pending.command.retry_state().unverified {
                answer.value.code = code as u8;
            }
        }
        check == FreshnessCheck::Accepted
    }

    /// The same for all replies of a round but errors, which are checked when they are handled.
    pub(super) fn check_freshness_all(
        &self,
        commands: &mut [RoutedCommand<'_>],
        pending: &mut PendingReply,
        table: &BatchTable<'_>,
    ) {
        if self.accepts_any_reply() {
            return;
        }
        for batch in table.batches.iter().filter(|b| b.kind().is_readonly()) {
            for number in batch.answered() {
                let number = number as usize;
                let Some(reply) = &*pending else {
                    return;
                };
                let value = reply.node_values[number].value;
                if value.kind == Kind::Error {
                    continue;
                }
                let command = &mut commands[number];
                let destination = table.destination_of(batch, command);
                let view = View::new(reply, value);
                let check = self.check_freshness(command, view, &destination, table.topology);
                if check == FreshnessCheck::Unverified {
                    PendingCommand::new(command, number, pending).keep_unverified();
                }
            }
        }
    }

    /// Closes the commands whose unverified answers stand.
    #[cold]
    pub(super) fn accept_unverified(
        &self,
        commands: &mut [RoutedCommand<'_>],
        reply: &mut PendingReply,
    ) {
        for (number, command) in commands.iter_mut().enumerate() {
            if command.is_pending
                && let Some(answer) = command.unverified()
                && command.retry_state().unverifiable
            {
                PendingCommand::new(command, number, reply).complete(answer);
            }
        }
    }

    /// Records, at the end of a call, what it has written and seen: later reads build on that.
    pub(super) fn record_session(&self, commands: &[RoutedCommand<'_>]) {
        let session = &self.core.session;
        if !session.is_on() {
            return;
        }
        let monotonic = self.consistency.is_some_and(|p| p.monotonic);
        for command in commands {
            let slot = command.slot();
            if !command.read {
                session.wrote(slot);
            }
            if let (Some(slot), true, false) = (slot, monotonic, command.seen) {
                session.saw(slot, session.seen(slot), 0, now());
            }
        }
    }
}

fn recheck_at_primary(command: &mut RoutedCommand<'_>) {
    command.recheck = true;
    command.retry_state().primary_only = true;
}
