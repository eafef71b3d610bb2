//! What the fibers of a queue leave behind: replies, and what may go on.

use super::entry::EntryRef;
use super::groups::GroupNumber;
use crate::error::{Error, Result};
use crate::net::TaskNumber;
use crate::resp::{Reply, ReplyPool};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

/// A reply that waits to be taken, and the tag of its command.
pub type Completion = (u64, Box<Reply>);

#[derive(Default)]
pub(super) struct Replies {
    /// In the order of completion.
    completed: RefCell<VecDeque<Completion>>,
    /// The slots of commands that have ended.
    released: RefCell<Vec<u16>>,
    ended: RefCell<Vec<Ended>>,
    /// How many submitted commands have no reply yet.
    open: Cell<usize>,
    /// The memory of replies that were taken and freed.
    pub(super) pool: Arc<ReplyPool>,
}

/// A task that has ended.
pub(super) struct Ended {
    pub(super) number: TaskNumber,
    pub(super) what: EndedTask,
}

pub(super) enum EndedTask {
    Batch(GroupNumber),
    Alone(EntryRef),
    Connect(Result<()>),
}

impl Replies {
    pub(super) fn add_open(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// How many submitted commands have no reply, or one that has not been taken.
    pub(super) fn len(&self) -> usize {
        self.open.get() + self.completed()
    }

    /// How many replies wait to be taken.
    pub(super) fn completed(&self) -> usize {
        self.completed.borrow().len()
    }

    /// Completes a command, unless it has its reply already.
    pub(super) fn complete(&self, entry: &EntryRef, reply: Box<Reply>) {
        if entry.close() {
            self.complete_tag(entry.tag, reply);
        }
    }

    pub(super) fn fail(&self, entry: &EntryRef, error: &Error) {
        self.complete(entry, Box::new(Reply::error(error)));
    }

    /// Completes a command that was open.
    pub(super) fn complete_tag(&self, tag: u64, reply: Box<Reply>) {
        self.open.set(self.open.get() - 1);
        self.completed.borrow_mut().push_back((tag, reply));
    }

    /// The next completion, and whether it was the last.
    pub(super) fn next(&self) -> (Option<Completion>, bool) {
        let mut completed = self.completed.borrow_mut();
        (completed.pop_front(), completed.is_empty())
    }

    pub(super) fn release(&self, slot: u16) {
        self.released.borrow_mut().push(slot);
    }

    pub(super) fn end(&self, ended: Ended) {
        self.ended.borrow_mut().push(ended);
    }

    /// The released slots; the buffer is given back by [`Replies::put_released`].
    pub(super) fn take_released(&self) -> Vec<u16> {
        self.released.take()
    }

    pub(super) fn put_released(&self, mut buffer: Vec<u16>) {
        buffer.clear();
        self.released.replace(buffer);
    }

    pub(super) fn take_ended(&self) -> Vec<Ended> {
        self.ended.take()
    }
}
