//! Applies the outcomes of a round to its commands.

use super::batch_assignment::BatchTable;
use super::exec_state::ExecState;
use super::node_batch::{BatchErrors, NodeBatch};
use super::pending_reply::{PendingCommand, PendingReply};
use super::routed_command::RoutedCommand;
use super::slot_order::enforce_slot_order;
use super::waits::keep_waits_with_writes;
use crate::error::Error;
use crate::net::no_answer;
use crate::resp::{Reply, Value};
use crate::sim_hooks::sim_panic_point;
use std::sync::Arc;

impl ExecState<'_> {
    /// Closes every command of a round that has its answer, and leaves the others open.
    pub(super) fn apply_outcomes(
        &mut self,
        commands: &mut [RoutedCommand<'_>],
        reply: &mut PendingReply,
        table: &BatchTable<'_>,
        batch_errors: &BatchErrors,
    ) {
        sim_panic_point!(Cluster);
        let failures = self.failures(commands, &table.batches);
        let errors = reply
            .as_ref()
            .map_or_else(Vec::new, |r| error_replies(r, &table.batches, batch_errors));
        if failures.is_empty() && errors.is_empty() {
            for command in commands.iter_mut().filter(|c| c.is_pending) {
                command.is_pending = command.unroutable || command.recheck;
            }
            return;
        }
        let mut handled: Vec<usize> = Vec::new();
        for (number, batch, error) in failures {
            let command = &mut commands[number];
            let destination = table.failed_destination_of(batch, command);
            let mut pending = PendingCommand::new(command, number, reply);
            self.handle_io_error(&mut pending, &destination, error);
            handled.push(number);
        }
        for (number, batch, preludes) in errors {
            let command = &mut commands[number];
            let destination = table.failed_destination_of(batch, command);
            let mut pending = PendingCommand::new(command, number, reply);
            self.handle_error_reply(&mut pending, &destination, table.topology, preludes);
            handled.push(number);
        }
        handled.sort_unstable();
        let open = close_answered(commands, &handled);
        enforce_slot_order(commands, reply, &open);
        keep_waits_with_writes(commands, reply);
    }

    /// The commands of failed batches that have no reply, each with its batch and error.
    fn failures<'b>(
        &self,
        commands: &[RoutedCommand<'_>],
        batches: &'b [NodeBatch],
    ) -> Vec<(usize, &'b NodeBatch, Error)> {
        let mut failures = Vec::new();
        for batch in batches {
            let Some(error) = &batch.error else { continue };
            for (number, sent) in batch.unanswered() {
                let number = number as usize;
                let error = match batch.is_silent {
                    true => {
                        let ms = self.attempt_elapsed().as_millis() as u64;
                        let node = batch.peer.origin().name();
                        no_answer(node, commands[number].name, ms)
                    }
                    false => error.clone(),
                };
                failures.push((number, batch, error.sent(sent)));
            }
        }
        failures
    }
}

/// A command that was answered with an error, its batch, and the replies that precede the error.
type ErrorAnswer<'b> = (usize, &'b NodeBatch, &'b [Value]);

/// The commands that were answered with an error.
fn error_replies<'b>(
    reply: &Reply,
    batches: &'b [NodeBatch],
    batch_errors: &BatchErrors,
) -> Vec<ErrorAnswer<'b>> {
    let mut errors = Vec::new();
    if batch_errors.errors.is_empty() {
        return errors;
    }
    let ranges: Vec<_> = batches.iter().map(NodeBatch::prelude_ranges).collect();
    for number in &batch_errors.errors {
        let answer = reply.node_values[*number as usize];
        if let Some(origin) = reply.origin_of(answer)
            && let Some(at) = batches
                .iter()
                .position(|b| Arc::ptr_eq(b.peer.origin(), origin))
        {
            let range = ranges[at].get(number).cloned().unwrap_or_default();
            let preludes = &batches[at].preludes()[range];
            errors.push((*number as usize, &batches[at], preludes));
        }
    }
    errors
}

/// Closes the commands that were answered without an error. Returns those that are sent again in
/// the order of their slot: a read that is repeated at the primary changes nothing, so its order
/// does not matter. A command that waits for writes has no place in the order of its slot.
fn close_answered(commands: &mut [RoutedCommand<'_>], handled: &[usize]) -> Vec<usize> {
    let mut open = Vec::new();
    for (number, command) in commands.iter_mut().enumerate() {
        if !command.is_pending || command.recheck {
            continue;
        }
        if command.unroutable || handled.binary_search(&number).is_ok() {
            if !command.waits_for_writes() {
                open.push(number);
            }
        } else {
            command.is_pending = false;
        }
    }
    open
}
