//! The commands of an execution whose answers go one by one, as soon as each is final. A blocking call has none: it
//! returns all its answers at once.

use super::routed_command::RoutedCommand;
use crate::error::Result;
use crate::net::Connection;
use crate::resp::{CommandBody, CommandBuffer, Reply};

/// The commands of an execution, which are called by their numbers, and where their answers go. All are of one shard.
pub trait CommandBatch {
    fn len(&self) -> usize;
    /// The version of the topology and the index of the shard that serves all commands.
    fn shard(&self) -> (u64, usize);
    /// Whether all commands are reads.
    fn is_read_only(&self) -> bool;
    /// Whether the command has no answer yet. One that has been cancelled is not sent.
    fn is_open(&self, number: usize) -> bool;
    /// Commands are about to be sent, by their numbers. Removes those that have been cancelled.
    fn begin_send(&self, numbers: &mut Vec<u32>);
    /// The encoded command.
    fn body(&self, number: usize) -> CommandBody<'_>;
    /// Appends encoded commands.
    fn encode(&self, numbers: &[u32], out: &mut CommandBuffer);
    fn routed(&self, number: usize) -> RoutedCommand<'_>;
    /// The answer of the command. It is the first one, or the command has been cancelled.
    fn deliver(&self, number: usize, reply: Box<Reply>);
    /// Delivers the replies that have been received for these commands, one after another, from the number `received` on.
    /// Stops behind an error, which may be no answer, and returns it.
    fn deliver_received(
        &self,
        numbers: &[u32],
        received: &mut usize,
        connection: &mut Connection,
    ) -> Result<Option<Box<Reply>>>;
}

/// Where the answers of a round go.
#[derive(Clone, Copy, Default)]
pub struct RoundSink<'c> {
    pub(super) batch: Option<&'c dyn CommandBatch>,
    /// A reply that is no error is the answer as soon as it has been received.
    pub(super) is_immediate: bool,
}
