//! Commands that have been submitted to a queue.

use super::shard_number::ShardNumber;
use crate::cluster::pipeline::Pipeline;
use crate::deadline::{Deadline, Time};
use crate::resp::{CommandBody, CommandBuffer};
use crate::route::{Access, Row};
use std::cell::{Cell, RefCell};
use std::mem::take;
use std::ops::Deref;
use std::rc::Rc;

/// The commands that were submitted between two runs. They share a buffer.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) bytes: CommandBuffer,
    pub(super) entries: Vec<Entry>,
    /// How those of them are executed that have no place in a batch. Few have none.
    others: Vec<OtherWork>,
    /// When the first run after their submission began: their timeout runs from here on.
    pub(super) at: Option<Time>,
    /// How many of them have no reply yet.
    pub(super) open: Cell<usize>,
    /// A command may change something.
    pub(super) has_writes: bool,
    /// A command has to be decided about before it is executed.
    pub(super) is_undecided: bool,
    /// All commands have one slot each, which this shard owns.
    pub(super) shard: Option<ShardNumber>,
    pub(super) admission: Cell<Admission>,
    /// All commands may have been sent, in a batch.
    pub(super) is_sent: Cell<bool>,
    tags: RefCell<TagIndex>,
}

/// Finds the entries of a tag, so that cancelling many commands one by one does not look at all of them each time.
#[derive(Default)]
struct TagIndex {
    /// The tags and numbers of the first entries, sorted. The others are searched one by one.
    sorted: Vec<(u64, u32)>,
    /// How many entries have been searched one by one since then.
    searched: usize,
}

/// How the order of slots knows the commands of an inbox.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum Admission {
    /// One by one.
    #[default]
    Counted,
    /// All have been admitted.
    Gathered,
    /// All are in one batch.
    Running,
}

/// One command, or one pipeline.
pub(super) struct Entry {
    pub(super) tag: u64,
    /// The range of the command in [`Inbox::bytes`].
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) work: EntryWork,
    /// See [`Inbox::progress`].
    progress: Cell<Progress>,
    /// It no longer has a place in the order of its slot.
    pub(super) is_released: Cell<bool>,
}

/// How a command is executed.
pub(super) enum Work {
    /// In one batch with other commands of the shard that serves the slot.
    InBatch(BatchedCommand),
    Other(OtherWork),
}

/// The same in an entry, which needs nothing to be done when it is dropped.
#[derive(Clone, Copy)]
pub(super) enum EntryWork {
    InBatch(BatchedCommand),
    /// The index in the inbox.
    Other(u32),
}

pub(super) enum OtherWork {
    /// By itself, as the call of a thread. It has a place in the order of these slots.
    Alone(Box<[u16]>),
    /// The same, at the nodes of this selector, and in no order.
    Selected(Box<str>),
    /// The same, of a command that may block at its server: on a connection of its own, and in no order.
    Blocking,
    /// The same, of a pipeline, perhaps in a transaction.
    Pipeline {
        pipeline: RefCell<Option<Box<Pipeline>>>,
        is_atomic: bool,
        slots: Box<[u16]>,
    },
    /// Not decided yet: the client has not connected.
    Undecided,
}

impl EntryWork {
    /// Whether it is a read, as far as is known.
    #[inline]
    pub(super) fn is_read(&self) -> bool {
        matches!(self, EntryWork::InBatch(command) if command.access == Access::Read)
    }
}

impl From<OtherWork> for Work {
    fn from(other: OtherWork) -> Work {
        Work::Other(other)
    }
}

#[derive(Clone, Copy)]
pub(super) struct BatchedCommand {
    pub(super) slot: u16,
    /// Only the primary may execute it, whatever the handle reads from.
    pub(super) is_for_primary: bool,
    pub(super) row: &'static Row,
    pub(super) access: Access,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Progress {
    /// It has not been sent.
    Waiting,
    /// It may have been sent, in a batch.
    Sent,
    /// It is executed by itself.
    Alone,
    /// It has its reply.
    Done,
}

impl Entry {
    pub(super) fn set_progress(&self, progress: Progress) {
        self.progress.set(progress);
    }

    pub(super) fn is_open(&self) -> bool {
        self.progress.get() != Progress::Done
    }

    /// Its slot, if it is executed in a batch.
    #[inline(always)]
    pub(super) fn batch_slot(&self) -> Option<u16> {
        match &self.work {
            EntryWork::InBatch(command) => Some(command.slot),
            EntryWork::Other(_) => None,
        }
    }
}

/// An entry, which keeps its inbox alive.
#[derive(Clone)]
pub(super) struct EntryRef {
    pub(super) inbox: Rc<Inbox>,
    index: u32,
}

impl EntryRef {
    pub(super) fn new(inbox: &Rc<Inbox>, index: usize) -> EntryRef {
        EntryRef {
            inbox: inbox.clone(),
            index: index as u32,
        }
    }

    /// Its inbox, and its index there.
    #[inline]
    pub(super) fn location(&self) -> (&Inbox, usize) {
        (&self.inbox, self.index as usize)
    }

    pub(super) fn other(&self) -> Option<&OtherWork> {
        self.inbox.other(self)
    }

    pub(super) fn is_blocking(&self) -> bool {
        matches!(self.other(), Some(OtherWork::Blocking))
    }

    /// The slots in whose order it has a place.
    pub(super) fn slots(&self) -> &[u16] {
        match &self.work {
            EntryWork::InBatch(command) => std::slice::from_ref(&command.slot),
            EntryWork::Other(index) => match &self.inbox.others[*index as usize] {
                OtherWork::Alone(slots) | OtherWork::Pipeline { slots, .. } => slots,
                OtherWork::Selected(_) | OtherWork::Blocking | OtherWork::Undecided => &[],
            },
        }
    }

    /// Its encoded command.
    pub(super) fn bytes(&self) -> &[u8] {
        self.inbox.bytes_of(self)
    }

    /// When its timeout began.
    pub(super) fn at(&self) -> Time {
        self.inbox.at.unwrap_or(Time::ZERO)
    }

    /// Marks the command as done. Returns whether it was open.
    #[cfg(test)]
    pub(super) fn close(&self) -> bool {
        self.inbox.close(self)
    }
}

impl Deref for EntryRef {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.inbox.entries[self.index as usize]
    }
}

/// The most memory that an inbox keeps for other commands.
const MAX_KEPT_ENTRIES: usize = 512;
const MAX_KEPT_BYTES: usize = 16 << 10;

impl Inbox {
    /// Empties the inbox for other commands. Returns whether its memory is worth keeping.
    pub(super) fn clear(&mut self) -> bool {
        let is_kept = self.entries.capacity() <= MAX_KEPT_ENTRIES;
        self.bytes.clear(MAX_KEPT_BYTES);
        let (bytes, mut entries) = (take(&mut self.bytes), take(&mut self.entries));
        entries.clear();
        *self = Inbox {
            bytes,
            entries,
            ..Inbox::default()
        };
        is_kept
    }

    /// Whether a command has its reply.
    pub(super) fn has_closed(&self) -> bool {
        self.open.get() < self.entries.len()
    }

    /// What is known of a command.
    pub(super) fn progress(&self, entry: &Entry) -> Progress {
        match entry.progress.get() {
            Progress::Waiting if self.is_sent.get() => Progress::Sent,
            progress => progress,
        }
    }

    /// An encoded command.
    pub(super) fn bytes_of(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.begin..entry.end]
    }

    /// Adds a command, whose bytes begin there.
    pub(super) fn push(&mut self, tag: u64, begin: usize, work: Work) {
        let work = match work {
            Work::InBatch(command) => EntryWork::InBatch(command),
            Work::Other(other) => {
                self.others.push(other);
                EntryWork::Other(self.others.len() as u32 - 1)
            }
        };
        self.push_entry(tag, begin, work);
    }

    #[inline(always)]
    pub(super) fn push_entry(&mut self, tag: u64, begin: usize, work: EntryWork) {
        self.open.set(self.open.get() + 1);
        self.has_writes |= !work.is_read();
        self.entries.push(Entry {
            tag,
            begin,
            end: self.bytes.len(),
            work,
            progress: Cell::new(Progress::Waiting),
            is_released: Cell::new(false),
        });
    }

    /// How a command is executed that has no place in a batch.
    pub(super) fn other(&self, entry: &Entry) -> Option<&OtherWork> {
        match &entry.work {
            EntryWork::InBatch(_) => None,
            EntryWork::Other(index) => self.others.get(*index as usize),
        }
    }

    pub(super) fn other_mut(&mut self, index: usize) -> Option<&mut OtherWork> {
        match &self.entries[index].work {
            EntryWork::InBatch(_) => None,
            EntryWork::Other(index) => self.others.get_mut(*index as usize),
        }
    }

    /// Decides about a command that was undecided.
    pub(super) fn decide(&mut self, index: usize, work: Work) {
        match work {
            Work::InBatch(command) => self.entries[index].work = EntryWork::InBatch(command),
            Work::Other(other) => {
                if let Some(undecided) = self.other_mut(index) {
                    *undecided = other;
                }
            }
        }
    }

    /// Moves a command to an inbox of its own, so that it does not keep the memory of the others for as long as it blocks.
    pub(super) fn split_off_blocking(&self, index: usize) -> Inbox {
        let entry = &self.entries[index];
        let mut own = Inbox {
            at: self.at,
            ..Inbox::default()
        };
        let bytes = self.bytes_of(entry);
        own.bytes.push(&CommandBody::Encoded(bytes));
        own.push(entry.tag, 0, OtherWork::Blocking.into());
        self.close(entry);
        own
    }

    /// The numbers of the entries with this tag, in order.
    pub(super) fn with_tag(&self, tag: u64) -> Vec<usize> {
        let index = &mut *self.tags.borrow_mut();
        if index.searched > self.entries.len() {
            let tags = self.entries.iter().map(|entry| entry.tag);
            index.sorted = tags.zip(0..).collect();
            index.sorted.sort_unstable();
            index.searched = 0;
        }
        let others = index.sorted.len();
        index.searched += self.entries.len() - others;
        let first = index.sorted.partition_point(|(other, _)| *other < tag);
        let sorted = index.sorted[first..].iter();
        let mut numbers: Vec<usize> = sorted
            .take_while(|(other, _)| *other == tag)
            .map(|(_, number)| *number as usize)
            .collect();
        numbers.extend((others..self.entries.len()).filter(|n| self.entries[*n].tag == tag));
        numbers
    }

    /// When the time of its commands is over.
    pub(super) fn deadline(&self, timeout_ms: u64) -> Deadline {
        Deadline::after(self.at.unwrap_or(Time::ZERO), timeout_ms)
    }

    /// Marks a command of the inbox as done. Returns whether it was open.
    #[inline]
    pub(super) fn close(&self, entry: &Entry) -> bool {
        let was_open = entry.progress.replace(Progress::Done) != Progress::Done;
        if was_open {
            self.open.set(self.open.get() - 1);
        }
        was_open
    }
}

/// An inbox whose commands have these slots: those with one slot are executed in a batch, the others by themselves.
#[cfg(test)]
pub(super) fn inbox_of(at: Time, commands: &[&[u16]]) -> Rc<Inbox> {
    use crate::route::table;
    let mut inbox = Inbox {
        at: Some(at),
        ..Inbox::default()
    };
    for (tag, slots) in commands.iter().enumerate() {
        let work = match slots {
            [slot] => Work::InBatch(BatchedCommand {
                slot: *slot,
                is_for_primary: false,
                row: table::GET,
                access: Access::Read,
            }),
            slots => OtherWork::Alone((*slots).into()).into(),
        };
        inbox.push(tag as u64, 0, work);
    }
    Rc::new(inbox)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_tag_also_when_more_are_added() {
        let mut inbox = Inbox::default();
        for count in 0..300 {
            inbox.push(count * 7 % 100, 0, OtherWork::Undecided.into());
            for tag in [0, 7, 63, 99, 100] {
                let entries = inbox.entries.iter().enumerate();
                let expected = entries.filter(|(_, entry)| entry.tag == tag);
                let expected: Vec<usize> = expected.map(|(number, _)| number).collect();
                assert_eq!(inbox.with_tag(tag), expected, "tag {tag} of {count}");
            }
        }
    }

    #[test]
    fn many_tags_are_found_without_searching_all_entries_for_each() {
        const COUNT: u64 = 20_000;
        let mut inbox = Inbox::default();
        for tag in 0..COUNT {
            inbox.push(tag, 0, OtherWork::Undecided.into());
        }
        let mut searched = 0;
        for tag in 0..COUNT {
            assert_eq!(inbox.with_tag(tag), [tag as usize]);
            searched = searched.max(inbox.tags.borrow().searched);
        }
        assert!(searched <= 2 * inbox.entries.len(), "{searched}");
    }
}
