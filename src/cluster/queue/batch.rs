//! A batch of a queue: commands of one shard, executed in one fiber.

use super::entry::{EntryRef, Progress, Work};
use super::replies::Replies;
use crate::cluster::client::Client;
use crate::cluster::execute::{ReplySink, RoutedCommand, Target};
use crate::cluster::state::count;
use crate::error::{Error, Result};
use crate::resp::{CommandBody, Kind, Reply, ReplyPool};
use crate::route::Access;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The commands of a batch, and where their replies go.
pub(super) struct Batch {
    pub(super) entries: Vec<EntryRef>,
    pub(super) client: Arc<Client>,
    pub(super) replies: Rc<Replies>,
}

impl Batch {
    /// Executes all commands.
    pub(super) fn run(&self) {
        match self.execute() {
            Ok(()) => self.release_rest(),
            Err(error) => self.end(&error),
        }
    }

    /// Ends the batch with an error for all open commands.
    pub(super) fn end(&self, error: &Error) {
        for entry in self.entries.iter().filter(|entry| entry.is_open()) {
            let sent = match entry.progress.get() {
                Progress::Waiting => false,
                Progress::Sent => true,
                // Only its execution knows. A panic has left that open.
                Progress::Alone | Progress::Done => error.sent,
            };
            self.replies.fail(entry, &error.clone().sent(sent));
        }
        self.release_rest();
    }

    /// Commands that were cancelled have a place in the order of their slot until here.
    fn release_rest(&self) {
        for entry in self.entries.iter().filter(|e| !e.is_released.get()) {
            self.release(entry);
        }
    }

    fn execute(&self) -> Result<()> {
        let core = self.client.ready()?;
        let context = self.client.context(core);
        let count = self.entries.len();
        core.stats
            .commands
            .fetch_add(count as u64, Ordering::Relaxed);
        let mut commands: Vec<RoutedCommand<'_>> = Vec::with_capacity(count);
        commands.extend(self.entries.iter().filter_map(routed));
        if count > 1 {
            context.execution().run_into(self, &mut commands);
        } else if let Some(command) = commands.pop() {
            self.deliver(0, context.run_one(command));
        }
        Ok(())
    }

    fn release(&self, entry: &EntryRef) {
        entry.is_released.set(true);
        if let Work::InBatch(command) = &entry.work {
            self.replies.release(command.slot);
        }
    }
}

fn routed(entry: &EntryRef) -> Option<RoutedCommand<'_>> {
    let Work::InBatch(command) = &entry.work else {
        return None;
    };
    let target = match command.is_for_primary {
        true => Target::Primary(command.slot),
        false => Target::Slot(command.slot),
    };
    let body = CommandBody::Encoded(entry.bytes());
    let read = command.access == Access::Read;
    Some(RoutedCommand::new(body, command.row.name, target, read))
}

impl ReplySink for Batch {
    fn is_open(&self, number: usize) -> bool {
        self.entries[number].is_open()
    }

    fn pool(&self) -> &Arc<ReplyPool> {
        &self.replies.pool
    }

    fn begin_send(&self, numbers: &mut Vec<u32>) {
        numbers.retain(|number| {
            let entry = &self.entries[*number as usize];
            let is_open = entry.is_open();
            if is_open {
                entry.progress.set(Progress::Sent);
            }
            is_open
        });
    }

    fn deliver(&self, number: usize, reply: Box<Reply>) {
        let entry = &self.entries[number];
        if reply.root.value.kind == Kind::Error
            && let Ok(core) = self.client.ready()
        {
            count(&core.stats.errors);
        }
        self.release(entry);
        self.replies.complete(entry, reply);
    }
}
