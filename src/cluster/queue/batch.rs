//! A batch of a queue: commands of one shard, executed in one fiber.

use super::completed::CompletedReplies;
use super::entry::{Admission, EntryWork, Inbox, Progress};
use super::gathered::Gathered;
use super::replies::Replies;
use super::shard_number::ShardNumber;
use super::slot_order::SlotOrder;
use crate::cluster::client::Client;
use crate::cluster::execute::{CommandBatch, RoutedCommand, Target};
use crate::cluster::state::count;
use crate::error::{Error, Result};
use crate::net::{Connection, TakenReply};
use crate::resp::{CommandBody, CommandBuffer, Kind, Origin, Reply, Value, flag};
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
            let (inbox, index) = command;
            let sent = match inbox.progress(&inbox.entries[index]) {
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
        if let Gathered::Whole(inbox) = &self.entries
            && inbox.admission.get() == Admission::Running
        {
            return order.end_whole(inbox);
        }
        for number in 0..self.entries.len() {
            let command = self.entries.locate(number);
            if !self.entries.entry(number).is_released.get() {
                release(command, order);
            }
        }
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
#[inline(always)]
fn release((inbox, index): (&Inbox, usize), order: &mut SlotOrder) {
    let entry = &inbox.entries[index];
    entry.is_released.set(true);
    if inbox.admission.get() == Admission::Counted
        && let Some(slot) = entry.batch_slot()
    {
        order.end(slot);
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
        if let Gathered::Whole(inbox) = &self.entries
            && numbers.len() == inbox.entries.len()
            && !inbox.has_closed()
        {
            return inbox.is_sent.set(true);
        }
        numbers.retain(|number| {
            let entry = self.entries.entry(*number as usize);
            let is_open = entry.is_open();
            if is_open {
                entry.set_progress(Progress::Sent);
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
            EntryWork::InBatch(command) => {
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
        let command = self.entries.locate(number);
        release(command, &mut self.order.borrow_mut());
        self.replies.complete(command, reply);
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
        loop {
            match &self.entries {
                Gathered::Whole(inbox) if inbox.entries.len() == numbers.len() => {
                    let locate = |at| (at < numbers.len()).then_some((&**inbox, at));
                    deliver_texts(locate, received, connection, &origin, completed, order);
                }
                entries => {
                    let locate = |at| Some(entries.locate(*numbers.get(at)? as usize));
                    deliver_texts(locate, received, connection, &origin, completed, order);
                }
            }
            let Some(number) = numbers.get(*received) else {
                return Ok(None);
            };
            let command = self.entries.locate(*number as usize);
            let reply = match connection.take_single()? {
                None => return Ok(None),
                Some(TakenReply::Whole(reply)) if reply.root.value.kind == Kind::Error => {
                    *received += 1;
                    return Ok(Some(reply));
                }
                Some(reply) => reply,
            };
            *received += 1;
            let Some(tag) = end(command, order) else {
                continue;
            };
            match reply {
                TakenReply::Small(value, text) => {
                    if let Some(mut small) = completed.small(&origin) {
                        small.push(tag, value, text);
                    }
                }
                TakenReply::Whole(mut reply) => {
                    reply.root.value.flags |= flag::NODE_VALUE | flag::SENT;
                    completed.push(tag, reply);
                }
            }
        }
    }
}

/// A command has a reply that needs no check. Returns its tag if the reply is its answer: it has not been cancelled.
#[inline(always)]
fn end(command: (&Inbox, usize), order: &mut SlotOrder) -> Option<u64> {
    release(command, order);
    let (inbox, index) = command;
    let entry = &inbox.entries[index];
    inbox.close(entry).then_some(entry.tag)
}

/// Delivers the replies that are short strings, as most are, until there is another one. `locate` finds the commands by
/// the numbers of their replies.
#[inline(always)]
fn deliver_texts<'e>(
    locate: impl Fn(usize) -> Option<(&'e Inbox, usize)>,
    received: &mut usize,
    connection: &mut Connection,
    origin: &Arc<Origin>,
    completed: &mut CompletedReplies,
    order: &mut SlotOrder,
) {
    let value = |len: usize| Value::new(Kind::String, len as u32, 0);
    while let Some(command) = locate(*received)
        && let Some((len, bytes)) = connection.take_short_text()
    {
        *received += 1;
        let Some(tag) = end(command, order) else {
            continue;
        };
        let Some(mut small) = completed.small(origin) else {
            continue;
        };
        small.push(tag, value(len), bytes);
        while small.has_room()
            && let Some(command) = locate(*received)
            && let Some((len, bytes)) = connection.take_short_text()
        {
            *received += 1;
            if let Some(tag) = end(command, order) {
                small.push(tag, value(len), bytes);
            }
        }
    }
}
