//! The commands of a round, as the node batches see them.

use super::command_batch::CommandBatch;
use super::plain_commands::PlainCommands;
use super::routed_command::RoutedCommand;
use crate::net::Connection;

/// The commands of a round, by their numbers.
#[derive(Clone, Copy)]
pub enum RoundCommands<'a> {
    Routed(&'a [RoutedCommand<'a>]),
    /// In their first attempt: each is sent as it is and has one reply.
    Unrouted(&'a dyn CommandBatch),
    Plain(&'a dyn PlainCommands),
}

pub(super) const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

impl<'a> RoundCommands<'a> {
    /// The commands that can be sent in another form than the caller gave.
    pub(super) fn routed(self) -> &'a [RoutedCommand<'a>] {
        match self {
            RoundCommands::Routed(commands) => commands,
            RoundCommands::Unrouted(_) | RoundCommands::Plain(_) => &[],
        }
    }

    /// Writes commands as the caller gave them.
    pub(super) fn push_all(self, numbers: &[u32], connection: &mut Connection) {
        match self {
            RoundCommands::Routed(commands) => {
                for number in numbers {
                    connection.push(&commands[*number as usize].plain_body());
                }
            }
            RoundCommands::Unrouted(batch) => batch.encode(numbers, connection.output()),
            RoundCommands::Plain(commands) => commands.encode(numbers, connection.output()),
        }
    }

    /// How many bytes are sent for a command.
    pub(super) fn sent_len(self, number: usize) -> usize {
        match self {
            RoundCommands::Routed(commands) => commands.get(number).map_or(0, |command| {
                let asking = if command.sends_asking() {
                    ASKING.len()
                } else {
                    0
                };
                command.body().len() + asking
            }),
            RoundCommands::Unrouted(batch) => batch.body(number).len(),
            RoundCommands::Plain(commands) => commands.encoded_len(number),
        }
    }
}
