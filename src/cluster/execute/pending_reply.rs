//! The reply of a call while its commands are executed.

use super::routed_command::RoutedCommand;
use crate::error::Error;
use crate::resp::{NodeValue, Reply, flag};

/// The reply of a call. None until there is something to store, so that a reply that arrives whole is
/// not copied.
pub type PendingReply = Option<Box<Reply>>;

/// A command of a call, with the reply that its answer goes to.
pub(super) struct PendingCommand<'r, 'a> {
    pub(super) command: &'r mut RoutedCommand<'a>,
    /// Its position in the call, and in the reply's answers if it has any.
    number: usize,
    pub(super) reply: &'r mut PendingReply,
}

impl<'r, 'a> PendingCommand<'r, 'a> {
    pub(super) fn new(
        command: &'r mut RoutedCommand<'a>,
        number: usize,
        reply: &'r mut PendingReply,
    ) -> Self {
        PendingCommand {
            command,
            number,
            reply,
        }
    }

    /// What is stored as its answer.
    pub(super) fn answer(&mut self) -> NodeValue {
        let reply = self.reply.get_or_insert_default();
        reply
            .node_values
            .get(self.number)
            .copied()
            .unwrap_or(reply.root)
    }

    /// Stores the reply to it, which was sent alone.
    pub(super) fn store(&mut self, reply: Box<Reply>) {
        match self.reply {
            Some(whole) if !whole.node_values.is_empty() => {
                whole.node_values[0] = whole.absorb(*reply);
            }
            // The unverified answer borrows from the reply before this one.
            Some(whole) if self.command.unverified().is_some() => {
                whole.root = whole.absorb(*reply);
            }
            _ => *self.reply = Some(reply),
        }
    }

    /// Keeps what is stored as its answer while the primary is asked.
    pub(super) fn keep_unverified(&mut self) {
        let answer = self.answer();
        let retry_state = self.command.retry_state();
        retry_state.unverified = Some(answer);
        // The failure of another replica says nothing about the primary.
        retry_state.last = None;
        retry_state.unverifiable = false;
    }

    /// Stores its answer and closes it.
    pub(super) fn complete(&mut self, answer: NodeValue) {
        self.command.is_pending = false;
        let reply = self.reply.get_or_insert_default();
        match reply.node_values.get_mut(self.number) {
            Some(stored) => *stored = answer,
            None => reply.root = answer,
        }
    }

    /// Closes it with an error of this library.
    pub(super) fn fail(&mut self, error: &Error) {
        let mut answer = self.reply.get_or_insert_default().store_error(error);
        answer.value.flags |= flag::NODE_VALUE;
        if self.command.may_have_run() {
            answer.value.flags |= flag::SENT;
        }
        self.complete(answer);
    }
}
