//! Commands of a call as most are: with one slot each, for any node of its shard.

use super::routed_command::RoutedCommand;
use crate::resp::CommandBuffer;

/// The commands of a call, by their numbers.
pub trait PlainCommands {
    fn len(&self) -> usize;
    /// The slot of a command that any node of its shard may execute. None for another one.
    fn slot(&self, number: usize) -> Option<u16>;
    fn is_read_only(&self) -> bool;
    /// The length of the encoded command.
    fn encoded_len(&self, number: usize) -> usize;
    /// Appends encoded commands.
    fn encode(&self, numbers: &[u32], out: &mut CommandBuffer);
    fn routed(&self, number: usize) -> RoutedCommand<'_>;
}
