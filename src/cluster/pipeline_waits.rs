//! WAIT and WAITAOF in a pipeline: they go to the connection of the writes before them.

use super::pipeline::{Pipeline, QueuedCommand, QueuedRoute};
use crate::error::Error;
use crate::route::Access;

/// The slot of the writes that have been passed.
#[derive(Clone, Copy)]
enum WrittenSlot {
    None,
    One(u16),
    Several,
}

impl WrittenSlot {
    /// The same with another command.
    fn with(self, command: &QueuedCommand) -> WrittenSlot {
        match (self, command.route) {
            (_, QueuedRoute::Invalid(_)) => self,
            _ if command.access == Access::Read => self,
            (WrittenSlot::None, QueuedRoute::Slot(slot) | QueuedRoute::Primary(slot)) => {
                WrittenSlot::One(slot)
            }
            (WrittenSlot::One(one), QueuedRoute::Slot(slot) | QueuedRoute::Primary(slot))
                if one == slot =>
            {
                self
            }
            _ => WrittenSlot::Several,
        }
    }
}

impl Pipeline {
    /// How long the commands that wait for writes may block, in all.
    pub(super) fn waiting_ms(&self) -> u64 {
        let waits = self.queued.iter().filter(|c| is_wait(c));
        waits.fold(0, |sum, command| {
            let timeout = command.with_classified(&self.bytes, |command| command.blocking_timeout);
            sum.saturating_add(timeout.flatten().map_or(0, |timeout| timeout.as_millis()))
        })
    }

    /// Routes the commands that wait for writes: to the slot of all writes before them.
    pub(super) fn route_waits(&mut self) {
        let mut written = WrittenSlot::None;
        for at in 0..self.queued.len() {
            let command = self.queued[at];
            if !is_wait(&command) {
                written = written.with(&command);
                continue;
            }
            let name = command.name();
            self.queued[at].route = match written {
                WrittenSlot::One(slot) => QueuedRoute::Wait(Some(slot)),
                WrittenSlot::None => self.invalid(Error::invalid(format_args!(
                    "{name} waits for the writes before it in the pipeline, and there is none"
                ))),
                WrittenSlot::Several => self.invalid(Error::invalid(format_args!(
                    "{name} waits for the writes before it on one connection, and these are not all to one slot"
                ))),
            };
        }
    }
}

fn is_wait(command: &QueuedCommand) -> bool {
    matches!(command.route, QueuedRoute::Wait(_))
}
