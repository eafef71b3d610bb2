//! The first attempt of plain commands, which mostly succeeds: it is made without a state for each command.

use super::batch_assignment::BatchTable;
use super::exec_state::ExecState;
use super::node_batch::{BatchErrors, send_and_receive};
use super::pending_reply::PendingReply;
use super::plain_commands::PlainCommands;
use super::round_commands::RoundCommands;
use crate::config::ReadFrom;
use crate::sim_hooks::rng;
use crate::topology::Topology;
use rand::Rng;

impl ExecState<'_> {
    /// The batches of the first attempt. None where a command needs a look at more than its slot.
    pub(super) fn assign_plain<'t>(
        &mut self,
        commands: &impl PlainCommands,
        topology: &'t Topology,
    ) -> Option<BatchTable<'t>> {
        let is_read_only = commands.is_read_only();
        if self.policy.read_from != ReadFrom::Primary {
            self.seed = rng().random();
        }
        let (state, count) = (&*self, commands.len());
        let may_read_replicas = state.policy.read_from != ReadFrom::Primary;
        // A command that is alone shares a connection with those of other threads.
        if count == 1 || (!is_read_only && (may_read_replicas || state.core.session.is_on())) {
            return None;
        }
        let mut table = BatchTable::new(state, topology, count);
        table.reads_only = is_read_only;
        for number in 0..count {
            if !table.join_plain(state, number, commands.slot(number)?) {
                return None;
            }
        }
        table.count_reads(state);
        Some(table)
    }

    /// Sends the batches. None in place of the errors if every command has its answer.
    pub(super) fn attempt_plain<'t>(
        &self,
        commands: &dyn PlainCommands,
        mut table: BatchTable<'t>,
        reply: &mut PendingReply,
    ) -> (BatchTable<'t>, Option<BatchErrors>) {
        let call = self.attempt().repeatable(table.reads_only);
        let (batches, sink) = (&mut table.batches, self.round_sink());
        let sent = RoundCommands::Plain(commands);
        let mut whole = reply.take().unwrap_or_default();
        let errors = match self.consistency {
            None => send_and_receive(batches, sent, &mut whole, &call, sink),
            Some(_) => self.send_and_receive_timed(batches, sent, &mut whole, &call, sink),
        };
        *reply = Some(whole);
        let is_complete = errors.errors.is_empty()
            && table.batches.iter().all(|batch| batch.error.is_none())
            && self.accepts_any_reply();
        (table, (!is_complete).then_some(errors))
    }
}
