//! Commands with one slot each, which are in one order.

use super::entry::{Entry, EntryRef, Inbox};
use crate::deadline::Time;
use std::rc::Rc;

/// Commands of one shard, in the order in which they are sent.
pub(super) enum Gathered {
    /// All commands of an inbox.
    Whole(Rc<Inbox>),
    Mixed(Vec<EntryRef>),
}

impl Default for Gathered {
    fn default() -> Gathered {
        Gathered::Mixed(Vec::new())
    }
}

impl Gathered {
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Gathered::Whole(inbox) => inbox.entries.len(),
            Gathered::Mixed(entries) => entries.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inbox of a command, and its index there.
    #[inline]
    pub(super) fn locate(&self, number: usize) -> (&Inbox, usize) {
        match self {
            Gathered::Whole(inbox) => (inbox, number),
            Gathered::Mixed(entries) => entries[number].location(),
        }
    }

    #[inline]
    pub(super) fn entry(&self, number: usize) -> &Entry {
        let (inbox, index) = self.locate(number);
        &inbox.entries[index]
    }

    pub(super) fn first(&self) -> Option<EntryRef> {
        match self {
            Gathered::Whole(inbox) => Some(EntryRef::new(inbox, 0)),
            Gathered::Mixed(entries) => entries.first().cloned(),
        }
    }

    #[inline]
    pub(super) fn for_each(&self, mut f: impl FnMut(&Entry)) {
        match self {
            Gathered::Whole(inbox) => inbox.entries.iter().for_each(f),
            Gathered::Mixed(entries) => entries.iter().for_each(|entry| f(entry)),
        }
    }

    /// Whether all commands are reads.
    pub(super) fn is_read_only(&self) -> bool {
        match self {
            Gathered::Whole(inbox) => !inbox.has_writes,
            Gathered::Mixed(entries) => entries.iter().all(|entry| entry.work.is_read()),
        }
    }

    /// When the timeout of the oldest command began.
    pub(super) fn oldest(&self) -> Option<Time> {
        match self {
            Gathered::Whole(inbox) => inbox.at,
            Gathered::Mixed(entries) => entries.iter().map(EntryRef::at).min(),
        }
    }

    /// The same commands one by one.
    pub(super) fn mixed(&mut self) -> &mut Vec<EntryRef> {
        if let Gathered::Whole(inbox) = self {
            let entries = (0..inbox.entries.len()).map(|index| EntryRef::new(inbox, index));
            *self = Gathered::Mixed(entries.collect());
        }
        match self {
            Gathered::Mixed(entries) => entries,
            Gathered::Whole(_) => unreachable!("it is mixed now"),
        }
    }

    /// Takes all commands.
    pub(super) fn take(&mut self) -> Gathered {
        let room = match self {
            Gathered::Whole(_) => 0,
            Gathered::Mixed(entries) => entries.len(),
        };
        std::mem::replace(self, Gathered::Mixed(Vec::with_capacity(room)))
    }
}
