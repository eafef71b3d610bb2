//! WAIT and WAITAOF in a pipeline, across retries.
//!
//! A server counts the replicas that have the writes of the connection on which WAIT arrives. So the answer counts only if
//! all writes before it were sent with it, in one round, on one connection. If none of them has run, it is sent again with
//! them. If some have, it fails: no connection has all of them.

use super::pending_reply::{PendingCommand, PendingReply};
use super::routed_command::RoutedCommand;
use crate::error::{Code, Error};

/// Opens a command that waits for writes again if they are sent again, and fails it if they run apart.
pub(super) fn keep_waits_with_writes(commands: &mut [RoutedCommand<'_>], reply: &mut PendingReply) {
    let (mut open, mut closed, mut is_asking) = (0, 0, false);
    for (number, command) in commands.iter_mut().enumerate() {
        if !command.waits_for_writes() {
            match command.is_pending {
                _ if command.read => {}
                true => (open, is_asking) = (open + 1, is_asking || command.is_asking()),
                false => closed += 1,
            }
        } else if open > 0 && closed == 0 && !is_asking {
            command.is_pending = true;
        } else if open > 0 || command.is_pending {
            let error = writes_apart(command);
            PendingCommand::new(command, number, reply).fail(&error);
        }
    }
}

#[cold]
fn writes_apart(command: &RoutedCommand<'_>) -> Error {
    let message = format_args!(
        "{} says nothing about the writes before it: they did not all run on one connection, because the slot has moved or \
         the connection was lost",
        command.name
    );
    Error::new(Code::Io, message)
}
