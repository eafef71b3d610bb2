//! Commands that are queued for another key space than that of their execution. Some routes depend on whether there is a
//! cluster: what is queued before the client has connected is routed when the pipeline is executed.

use super::pipeline::{Pipeline, QueuedCommand, QueuedRoute};
use crate::cluster::state::Core;
use crate::deadline::now;
use crate::error::Result;
use crate::resp::CommandBody;
use crate::route::classify;
use crate::topology::KeySpace;
use std::time::Duration;

impl Pipeline {
    /// Queues a command without a route.
    pub(super) fn defer(&mut self, args: &[&[u8]]) {
        let begin = self.bytes.len();
        let command = classify(args);
        self.bytes.push(&command.marked(CommandBody::Args(args)));
        self.is_simple = false;
        self.has_unknown_commands |= command.row.is_none();
        self.queued.push(QueuedCommand {
            row: command.row,
            access: command.access,
            route: QueuedRoute::Deferred,
            begin,
            end: self.bytes.len(),
        });
    }

    /// Connects if the client had not when the first command was queued, and routes the commands if they were queued for
    /// another key space. Returns how long the connecting took of the call's time.
    pub(super) fn connect(&mut self, core: &Core) -> Result<Duration> {
        let mut spent = Duration::ZERO;
        if self.key_space.is_none() && !self.queued.is_empty() {
            let client = self.client.clone();
            let mut context = client.context(core);
            context.connect()?;
            spent = context.call.elapsed(now());
        }
        self.route_in(self.client.key_space());
        Ok(spent)
    }

    /// Routes the commands if they were queued for another key space. Returns whether they were.
    pub(super) fn route_in(&mut self, key_space: KeySpace) -> bool {
        let is_new = self.key_space != Some(key_space);
        if is_new {
            self.reroute(Some(key_space));
        }
        is_new
    }

    /// Queues all commands again: there was no topology then, or a cluster has taken the place of a server.
    #[cold]
    fn reroute(&mut self, key_space: Option<KeySpace>) {
        let queued = std::mem::take(&mut self.queued);
        let errors = std::mem::take(&mut self.errors);
        let bytes = std::mem::take(&mut self.bytes);
        self.clear();
        self.key_space = key_space;
        let mut args = Vec::new();
        for command in &queued {
            match (command.parse(&bytes, &mut args), command.route) {
                // What could not be parsed when it was appended.
                (Err(_), QueuedRoute::Invalid(at)) => self.fail(errors[at as usize].clone()),
                (Err(error), _) => self.fail(error),
                (Ok(_), _) => self.command(&args),
            }
        }
    }
}
