//! A batch of a queue: commands of one shard, executed in one fiber.

use super::completed::SlabWriter;
use super::entry::{Entry, Progress, Work};
use super::gathered::Gathered;
use super::replies::Replies;
use super::shard_number::ShardNumber;
use super::slot_order::SlotOrder;
use crate::cluster::client::Client;
use crate::cluster::execute::{CommandBatch, RoutedCommand, Target};
use crate::cluster::state::count;
use crate::error::{Error, Result};
use crate::net::{Connection, TakenReply};
use crate::resp::{CommandBody, CommandBuffer, Kind, Reply, Value, flag};
use crate::route::Access;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The commands of a batch, and where their replies go.
pub(super) struct Batch {
    pub(super) group: ShardNumber,
    pub(super) entries: Gathered,
    pub(super) client: Arc<Client>,
    pub(super) replies: Rc<Replies>,
    pub(super) order: Rc<RefCell<SlotOrder>>,
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
        for number in (0..self.entries.len()).filter(|number| self.is_open(*number)) {
            let command = self.entries.locate(number);
            let sent = match self.entries.entry(number).progress.get() {
                Progress::Waiting => false,
                Progress::Sent => true,
                // Only its execution knows. A panic has left that open.
                Progress::Alone | Progress::Done => error.sent,
            };
            self.replies.fail(command, &error.clone().sent(sent));
        }
        self.release_rest();
    }

    /// Commands that were cancelled have a place in the order of their slot until here.
    fn release_rest(&self) {
        let order = &mut *self.order.borrow_mut();
        self.entries.for_each(|entry| {
            if !entry.is_released.get() {
                release(entry, order);
            }
        });
    }

    fn execute(&self) -> Result<()> {
        let core = self.client.ready()?;
        let context = self.client.context(core);
        let count = self.entries.len();
        core.stats
            .commands
            .fetch_add(count as u64, Ordering::Relaxed);
        match count {
            1 => self.deliver(0, context.run_one(self.routed(0))),
            _ => context.execution().run_batch(self),
        }
        Ok(())
    }
}

/// Gives up the place of a command in the order of its slot.
#[inline]
fn release(entry: &Entry, order: &mut SlotOrder) {
    entry.is_released.set(true);
    if let Work::InBatch(command) = &entry.work {
        order.end(command.slot);
    }
}

impl CommandBatch for Batch {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn shard(&self) -> (u64, usize) {
        (self.group.version, self.group.index)
    }

    fn is_read_only(&self) -> bool {
        self.entries.is_read_only()
    }

    fn is_open(&self, number: usize) -> bool {
        self.entries.entry(number).is_open()
    }

    fn begin_send(&self, numbers: &mut Vec<u32>) {
        numbers.retain(|number| {
            let entry = self.entries.entry(*number as usize);
            let is_open = entry.is_open();
            if is_open {
                entry.progress.set(Progress::Sent);
            }
            is_open
        });
    }

    fn body(&self, number: usize) -> CommandBody<'_> {
        let (inbox, index) = self.entries.locate(number);
        CommandBody::Encoded(inbox.bytes_of(&inbox.entries[index]))
    }

    fn encode(&self, numbers: &[u32], out: &mut CommandBuffer) {
        if let Gathered::Whole(inbox) = &self.entries
            && inbox.entries.len() == numbers.len()
        {
            return out.push(&CommandBody::Encoded(&inbox.bytes));
        }
        for number in numbers {
            out.push(&self.body(*number as usize));
        }
    }

    fn routed(&self, number: usize) -> RoutedCommand<'_> {
        let body = self.body(number);
        match &self.entries.entry(number).work {
            Work::InBatch(command) => {
                let target = match command.is_for_primary {
                    true => Target::Primary(command.slot),
                    false => Target::Slot(command.slot),
                };
                RoutedCommand::new(
                    body,
                    command.row.name,
                    target,
                    command.access == Access::Read,
                )
            }
            // No batch has another one.
            _ => RoutedCommand::new(body, "", Target::Anywhere, false),
        }
    }

    fn deliver(&self, number: usize, reply: Box<Reply>) {
        if reply.root.value.kind == Kind::Error
            && let Ok(core) = self.client.ready()
        {
            count(&core.stats.errors);
        }
        release(self.entries.entry(number), &mut self.order.borrow_mut());
        self.replies.complete(self.entries.locate(number), reply);
    }

    fn deliver_received(
        &self,
        numbers: &[u32],
        received: &mut usize,
        connection: &mut Connection,
    ) -> Result<Option<Box<Reply>>> {
        let origin = connection.origin().clone();
        let order = &mut *self.order.borrow_mut();
        let completed = &mut *self.replies.completed.borrow_mut();
        while let Some(number) = numbers.get(*received) {
            let (inbox, index) = self.entries.locate(*number as usize);
            let entry = &inbox.entries[index];
            let reply = match connection.take_single()? {
                None => return Ok(None),
                Some(TakenReply::Whole(reply)) if reply.root.value.kind == Kind::Error => {
                    *received += 1;
                    return Ok(Some(reply));
                }
                Some(reply) => reply,
            };
            *received += 1;
            release(entry, order);
            if !inbox.close(entry) {
                continue;
            }
            match reply {
                TakenReply::Small(value, text) => {
                    if let Some(mut small) = completed.small(&origin) {
                        small.push(entry.tag, value, text);
                        self.deliver_texts(numbers, received, connection, &mut small, order);
                    }
                }
                TakenReply::Whole(mut reply) => {
                    reply.root.value.flags |= flag::NODE_VALUE | flag::SENT;
                    completed.push(entry.tag, reply);
                }
            }
        }
        Ok(None)
    }
}

impl Batch {
    /// Delivers the replies that are short strings, as most are, until there is another one, or no room for more.
    #[inline]
    fn deliver_texts(
        &self,
        numbers: &[u32],
        received: &mut usize,
        connection: &mut Connection,
        small: &mut SlabWriter<'_>,
        order: &mut SlotOrder,
    ) {
        while small.has_room()
            && let Some(number) = numbers.get(*received)
            && let Some((len, bytes)) = connection.take_short_text()
        {
            *received += 1;
            let (inbox, index) = self.entries.locate(*number as usize);
            let entry = &inbox.entries[index];
            release(entry, order);
            if inbox.close(entry) {
                let value = Value::new(Kind::String, len as u32, 0);
                small.push(entry.tag, value, bytes);
            }
        }
    }
}
