//! Delivers the answers of an execution one by one.

use super::command_batch::RoundSink;
use super::exec_state::ExecState;
use super::pending_reply::PendingReply;

impl<'c> ExecState<'c> {
    pub(super) fn round_sink(&self) -> RoundSink<'c> {
        RoundSink {
            batch: self.batch,
            is_immediate: self.batch.is_some() && self.needs_no_check(),
        }
    }

    /// Whether nothing is checked or recorded before a reply is an answer.
    pub(super) fn needs_no_check(&self) -> bool {
        if self.core.session.is_on() {
            return false;
        }
        let Some(consistency) = self.consistency else {
            return true;
        };
        // What needs a proof of freshness rechecks missing keys, too.
        !consistency.rechecks_missing_keys() && self.process.migrating_slots.is_empty()
    }

    /// Delivers the answers that have not been delivered in the rounds.
    #[cold]
    pub(super) fn deliver_rest(&self, count: usize, reply: &mut PendingReply) {
        let Some(batch) = self.batch else { return };
        for number in (0..count).filter(|number| batch.is_open(*number)) {
            let answer = reply.get_or_insert_default().extract(number);
            batch.deliver(number, Box::new(answer));
        }
    }
}
