//! The probe that comes before the first transaction at a node: MULTI and DISCARD.
//!
//! A node may refuse MULTI: the rights of the user do not include it, the command has been renamed, a proxy does not
//! support it. Then the commands of a transaction would run one by one. So they leave only when the node has accepted
//! MULTI once. It may refuse MULTI later all the same, and then `prelude_replies` finds out what has run.

use super::batch_assignment::BatchTable;
use super::exec_state::ExecState;
use super::pending_reply::{PendingCommand, PendingReply};
use super::routed_command::RoutedCommand;
use crate::deadline::now;
use crate::net::no_answer;
use crate::resp::Kind;
use crate::route::table;

/// Replaces a transaction by the probe, if its node has not accepted MULTI yet.
pub(super) fn plan_multi_probe(commands: &mut [RoutedCommand<'_>], table: &BatchTable<'_>) {
    if let ([command], [batch]) = (commands, &table.batches[..])
        && command.preludes > 0
        && !batch.peer.accepts_multi()
    {
        command.retry_state().multi_probe = true;
    }
}

impl ExecState<'_> {
    /// Handles the outcome of a probe. Returns whether the transaction may be sent now.
    #[cold]
    pub(super) fn finish_multi_probe(
        &mut self,
        command: &mut RoutedCommand<'_>,
        reply: &mut PendingReply,
        batches: &BatchTable<'_>,
    ) -> bool {
        let [batch] = &batches.batches[..] else {
            return false;
        };
        let is_accepted = (batch.preludes().first()).is_some_and(|multi| multi.kind != Kind::Error);
        if is_accepted {
            batch.peer.record_multi(true);
        }
        // The call may have ended, or the node been lost, before the reply to DISCARD.
        let may_be_sent = is_accepted && batch.error.is_none();
        if may_be_sent {
            self.round_began = now();
        } else {
            let destination = batches.failed_destination_of(batch, command);
            let mut pending = PendingCommand::new(command, 0, reply);
            match &batch.error {
                Some(error) => {
                    let error = match batch.is_silent {
                        true => {
                            let ms = self.attempt_elapsed().as_millis() as u64;
                            no_answer(batch.peer.origin().name(), table::MULTI.name, ms)
                        }
                        false => error.clone().sent(false),
                    };
                    self.handle_io_error(&mut pending, &destination, error);
                }
                None => {
                    let (topology, preludes) = (batches.topology, batch.preludes());
                    self.handle_error_reply(&mut pending, &destination, topology, preludes);
                }
            }
        }
        command.retry_state().multi_probe = false;
        may_be_sent
    }
}
