//! Commands that are queued before the client has connected. Some routes depend on whether there is a cluster, so these
//! commands are routed when the pipeline is executed.

use super::pipeline::{Pipeline, QueuedCommand, QueuedRoute};
use crate::cluster::state::Core;
use crate::deadline::now;
use crate::error::Result;
use crate::resp::CommandBody;
use crate::route::classify;
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

    /// Connects if the client had not when the first command was queued, and routes the commands. Returns how long that
    /// took of the call's time.
    pub(super) fn connect(&mut self, core: &Core) -> Result<Duration> {
        if self.has_routes || self.queued.is_empty() {
            return Ok(Duration::ZERO);
        }
        let client = self.client.clone();
        let mut context = client.context(core);
        context.connect()?;
        self.route_deferred();
        Ok(context.call.elapsed(now()))
    }

    /// Queues all commands again.
    fn route_deferred(&mut self) {
        let queued = std::mem::take(&mut self.queued);
        let bytes = std::mem::take(&mut self.bytes);
        let errors = std::mem::take(&mut self.errors);
        self.clear();
        for command in queued {
            match command.route {
                QueuedRoute::Deferred => {
                    let mut args = Vec::new();
                    match command.parse(&bytes, &mut args) {
                        Ok(_) => self.command(&args),
                        Err(error) => self.fail(error),
                    }
                }
                QueuedRoute::Invalid(at) => self.fail(errors[at as usize].clone()),
                _ => {
                    let begin = self.bytes.len();
                    self.bytes
                        .push(&command.body(&bytes[command.begin..command.end]));
                    let end = self.bytes.len();
                    self.queued.push(QueuedCommand {
                        begin,
                        end,
                        ..command
                    });
                }
            }
        }
    }
}
