//! Delivers the answers of an execution to its sink.

use super::exec_state::ExecState;
use super::pending_reply::PendingReply;
use super::reply_sink::RoundSink;

impl<'c> ExecState<'c> {
    pub(super) fn round_sink(&self) -> RoundSink<'c> {
        RoundSink {
            sink: self.sink,
            is_immediate: self.sink.is_some() && self.needs_no_check(),
        }
    }

    /// Whether nothing is checked or recorded before a reply is an answer.
    fn needs_no_check(&self) -> bool {
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
        let Some(sink) = self.sink else { return };
        for number in (0..count).filter(|number| sink.is_open(*number)) {
            let answer = reply.get_or_insert_default().extract(number);
            sink.deliver(number, Box::new(answer));
        }
    }
}
