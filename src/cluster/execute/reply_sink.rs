//! Where the answers of an execution go one by one, as soon as each is final. A blocking call has none: it returns all
//! its answers at once.

use crate::resp::{Reply, ReplyPool};
use std::sync::Arc;

/// Takes the answers of the commands of an execution, which it calls by their numbers.
pub trait ReplySink {
    /// Whether the command has no answer yet. One that has been cancelled is not sent.
    fn is_open(&self, number: usize) -> bool;
    /// Where replies get their memory.
    fn pool(&self) -> &Arc<ReplyPool>;
    /// Commands are about to be sent, by their numbers. Removes those that have been cancelled.
    fn begin_send(&self, numbers: &mut Vec<u32>);
    /// The answer of the command. It is the first one, or the command has been cancelled.
    fn deliver(&self, number: usize, reply: Box<Reply>);
}

/// The sink of a round.
#[derive(Clone, Copy, Default)]
pub struct RoundSink<'c> {
    pub(super) sink: Option<&'c dyn ReplySink>,
    /// A reply that is no error is the answer as soon as it has been received.
    pub(super) is_immediate: bool,
}
