//! What the fibers of a queue leave behind: replies, and what may go on.

use super::completed::CompletedReplies;
use super::entry::{EntryRef, Inbox};
use super::shard_number::ShardNumber;
use crate::error::{Error, Result};
use crate::net::TaskNumber;
use crate::resp::Reply;
use std::cell::RefCell;
use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct Replies {
    /// The replies that wait to be taken.
    pub(super) completed: RefCell<CompletedReplies>,
    ended: RefCell<VecDeque<Ended>>,
}

/// A task that has ended.
pub(super) struct Ended {
    pub(super) number: TaskNumber,
    pub(super) what: EndedTask,
}

pub(super) enum EndedTask {
    Batch(ShardNumber),
    Alone(EntryRef),
    Connect(Result<()>),
}

impl Replies {
    /// How many replies wait to be taken.
    pub(super) fn completed(&self) -> usize {
        self.completed.borrow().len()
    }

    /// Completes a command, unless it has its reply already.
    pub(super) fn complete(&self, (inbox, index): (&Inbox, usize), reply: Box<Reply>) {
        if inbox.close(&inbox.entries[index]) {
            self.complete_tag(inbox.entries[index].tag, reply);
        }
    }

    pub(super) fn fail(&self, command: (&Inbox, usize), error: &Error) {
        self.complete(command, Box::new(Reply::error(error)));
    }

    pub(super) fn fail_tag(&self, tag: u64, error: &Error) {
        self.complete_tag(tag, Box::new(Reply::error(error)));
    }

    /// Completes a command that was open.
    pub(super) fn complete_tag(&self, tag: u64, reply: Box<Reply>) {
        self.completed.borrow_mut().push(tag, reply);
    }

    pub(super) fn end(&self, ended: Ended) {
        self.ended.borrow_mut().push_back(ended);
    }

    pub(super) fn next_ended(&self) -> Option<Ended> {
        self.ended.borrow_mut().pop_front()
    }
}
