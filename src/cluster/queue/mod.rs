//! Commands for an event loop: submitted, executed without blocking, and their replies taken.
//!
//! Commands run in fibers, by the same code as the calls of threads. Where a call would wait, the fiber is suspended, and
//! [`Queue::run`] goes on with another one. Most commands share a fiber with others of their shard: a [`Batch`].
//!
//! From the bottom up: `shard_number`; `entry`, what has been submitted; `known_commands`; `shard_inboxes`, `gathered` and
//! `groups`, by shard; `completed`, the replies; `replies`, what fibers leave behind; `slot_order`; `batch`; `decide`, how
//! a command is executed; `running`, the fibers; and the queue, whose functions are also in `submit`, `dispatch` and
//! `cancel`.

mod batch;
mod cancel;
mod completed;
mod decide;
mod dispatch;
mod entry;
mod gathered;
mod groups;
mod known_commands;
mod replies;
mod running;
mod shard_inboxes;
mod shard_number;
mod slot_order;
mod submit;
mod wake;

pub use completed::{CompletedReply, Completion};
pub use wake::Wake;

use super::client::Client;
use super::event_loop::EventLoop;
use crate::deadline::{Deadline, Time, now};
use crate::error::Result;
use crate::net::process_number;
use crate::resp::ReplySlab;
use completed::{CompletedEntry, SmallReplies};
use entry::{EntryRef, Inbox};
use groups::Groups;
use known_commands::KnownCommands;
use replies::Replies;
use running::RunningTasks;
use shard_inboxes::ShardInboxes;
use slot_order::SlotOrder;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

/// Commands of one handle and their replies, for an event loop. Used by one thread at a time.
pub struct Queue {
    client: Arc<Client>,
    /// The process that made the queue. A forked child cannot use it: the connections are its parent's.
    process: i32,
    event_loop: Result<EventLoop>,
    /// What has been submitted since the last run: first this, then `inbox`.
    shard_inboxes: ShardInboxes,
    inbox: Inbox,
    /// Inboxes with open commands, in order.
    inboxes: VecDeque<Rc<Inbox>>,
    /// Those of them whose timeout has not passed. Any of their commands may be waiting.
    expiring: VecDeque<Rc<Inbox>>,
    /// Inboxes that wait for the client to connect.
    unrouted: VecDeque<Inbox>,
    is_connecting: bool,
    order: Rc<RefCell<SlotOrder>>,
    groups: Groups,
    /// Commands that are executed by themselves, and wait only for others of their kind.
    alone: VecDeque<EntryRef>,
    /// How many of them are running and use connections that threads share.
    sharing: usize,
    running: RunningTasks,
    replies: Rc<Replies>,
    /// Those of them that are taken next.
    next_replies: Option<Box<SmallReplies>>,
    /// How many commands have been submitted and their replies not been taken.
    len: usize,
    /// How many bytes the inboxes hold.
    held_bytes: usize,
    /// The number of inboxes from which on all are looked at, for those that are done.
    inboxes_to_scan: usize,
    /// How often the handle had been closed or interrupted when this was last looked at.
    cancels: u32,
    max_commands: usize,
    max_bytes: usize,
    /// The handle neither refuses writes nor is pinned, and can execute commands.
    takes_plain: bool,
    /// Commands can be started since one was cancelled.
    is_run_due: bool,
    /// The program has asked for the descriptor.
    has_poller: bool,
    known_commands: KnownCommands,
}

/// The least number of inboxes that are looked at together.
const MIN_INBOXES_TO_SCAN: usize = 64;

impl Queue {
    pub fn new(client: Arc<Client>) -> Queue {
        let cancels = client.cancels();
        let event_loop = EventLoop::new(&client, "a queue");
        let can_execute = event_loop.is_ok() && client.ready().is_ok();
        let limit = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        Queue {
            max_commands: limit(client.config.queue_limit),
            max_bytes: limit(client.config.max_memory_bytes),
            process: process_number(),
            takes_plain: can_execute && !client.config.readonly && !client.is_pinned(),
            event_loop,
            client,
            shard_inboxes: ShardInboxes::default(),
            inbox: Inbox::default(),
            inboxes: VecDeque::new(),
            expiring: VecDeque::new(),
            unrouted: VecDeque::new(),
            is_connecting: false,
            order: Rc::default(),
            groups: Groups::default(),
            alone: VecDeque::new(),
            sharing: 0,
            running: RunningTasks::default(),
            replies: Rc::default(),
            next_replies: None,
            len: 0,
            held_bytes: 0,
            inboxes_to_scan: MIN_INBOXES_TO_SCAN,
            cancels,
            is_run_due: false,
            has_poller: false,
            known_commands: KnownCommands::default(),
        }
    }

    /// The descriptor. -1 if the system refused one.
    pub fn fd(&self) -> RawFd {
        self.event_loop.as_ref().map_or(-1, |l| l.tasks.fd())
    }

    /// The same. From now on it is readable if and only if there is something to do.
    pub fn fd_for_polling(&mut self) -> RawFd {
        self.has_poller = true;
        self.update_descriptor();
        self.fd()
    }

    /// What makes [`Queue::run`] return.
    pub fn wake_handle(&self) -> Wake {
        Wake {
            fd: self.event_loop.as_ref().map_or(-1, |l| l.wake.fd()),
            process: self.process,
        }
    }

    /// The number of commands that have been submitted and whose replies have not been taken.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the descriptor readable while the queue knows of something to do. Before a program has asked for the
    /// descriptor, nothing polls it. A forked child shares the descriptor with its parent.
    #[inline]
    fn signal(&mut self, is_needed: bool) {
        if self.has_poller
            && self.process == process_number()
            && let Ok(EventLoop { tasks, .. }) = &mut self.event_loop
        {
            tasks.set_signal(is_needed);
        }
    }

    /// The next complete reply and the tag of its command.
    pub fn next_reply(&mut self) -> Option<Completion> {
        if let Some((tag, slab, index)) = self.next_small() {
            let reply = CompletedReply::Small(slab, index);
            return Some(Completion { tag, reply });
        }
        let entry = self.replies.completed.borrow_mut().pop()?;
        match entry {
            CompletedEntry::Whole(tag, reply) => {
                self.len -= 1;
                self.update_signal();
                let reply = CompletedReply::Whole(reply);
                Some(Completion { tag, reply })
            }
            CompletedEntry::Small(small) => {
                self.next_replies = Some(small);
                self.next_reply()
            }
        }
    }

    /// The next reply of the slab whose replies are taken now: the tag of its command, the slab, and its index there.
    #[inline(always)]
    pub fn next_small(&mut self) -> Option<(u64, Arc<ReplySlab>, usize)> {
        let small = self.next_replies.as_mut()?;
        let next = small.pop()?;
        self.len -= 1;
        if small.len() == 0 {
            self.end_small();
        }
        Some(next)
    }

    /// The replies of a slab have been taken.
    #[inline(never)]
    fn end_small(&mut self) {
        if let Some(small) = self.next_replies.take() {
            self.replies.completed.borrow_mut().recycle(small);
        }
        self.update_signal();
    }

    /// The number of replies that wait to be taken.
    fn completed(&self) -> usize {
        let next = self.next_replies.as_ref().map_or(0, |small| small.len());
        next + self.replies.completed()
    }

    /// Does what can be done. Waits until a reply is complete, but at most until `until`; not at all without it. Returns
    /// the number of replies that wait to be taken.
    pub fn run(&mut self, until: Option<Deadline>) -> usize {
        if self.process != process_number() {
            self.abandon();
            return self.completed();
        }
        let began = now();
        let was_idle = self.is_idle();
        self.cancel_if_interrupted();
        self.seal(began);
        self.go_on(began);
        // What has just been sent has no reply yet. To look for one would cost a system call.
        let has_just_begun = was_idle && !self.is_idle() && self.completed() == 0;
        let mut is_over = until.is_none();
        while !(is_over && has_just_begun) {
            is_over |= self.completed() > 0 || self.is_empty();
            let (is_woken, goes_on) = self.poll(until.filter(|_| !is_over), began);
            let time = now();
            self.expire(time);
            self.go_on(time);
            is_over |= is_woken || !goes_on || until.is_none_or(|until| until.passed(time));
            if is_over || self.completed() > 0 {
                break;
            }
        }
        self.drop_done_inboxes();
        self.is_run_due = false;
        let completed = self.completed();
        self.update_descriptor();
        completed
    }

    /// Whether there are no fibers.
    fn is_idle(&self) -> bool {
        (self.event_loop.as_ref()).is_ok_and(|l| l.tasks.is_empty())
    }

    /// Looks which fibers can go on; with `until`, waits for that. Returns whether another thread has woken the queue, and
    /// whether the wait callback lets the run go on.
    fn poll(&mut self, until: Option<Deadline>, began: Time) -> (bool, bool) {
        let next_at = self.next_at();
        let Ok(EventLoop { tasks, .. }) = &mut self.event_loop else {
            return (true, false);
        };
        let until = until.map(|until| next_at.map_or(until, |at| until.min(Deadline::at(at))));
        let goes_on = tasks.poll(until, began);
        let is_woken = tasks.take_woken();
        if is_woken {
            self.cancel_ended_handles();
        }
        (is_woken, goes_on)
    }

    /// When the queue itself has something to do.
    fn next_at(&self) -> Option<Time> {
        let timeout_ms = self.client.config.timeout_ms;
        let waiting = self.expiring.iter().find(|inbox| inbox.open.get() > 0);
        let expires = waiting.and_then(|inbox| inbox.deadline(timeout_ms).time());
        self.groups.next_at().into_iter().chain(expires).min()
    }

    /// Frees the inboxes whose commands all have their replies.
    fn drop_done_inboxes(&mut self) {
        let is_done = |inbox: &Rc<Inbox>| inbox.open.get() == 0;
        while self.inboxes.front().is_some_and(is_done) {
            if let Some(done) = self.inboxes.pop_front() {
                self.held_bytes -= done.bytes.len();
                self.shard_inboxes.recycle(done);
            }
        }
        if self.inboxes.len() > self.inboxes_to_scan {
            let held_bytes = &mut self.held_bytes;
            self.inboxes.retain(|inbox| {
                let is_open = inbox.open.get() > 0;
                if !is_open {
                    *held_bytes -= inbox.bytes.len();
                }
                is_open
            });
            // Their commands may all be younger than one that is still open.
            self.expiring.retain(|inbox| inbox.open.get() > 0);
            self.inboxes_to_scan = 2 * self.inboxes.len() + MIN_INBOXES_TO_SCAN;
        }
    }

    /// Makes the descriptor readable when there is something to do.
    fn update_descriptor(&mut self) {
        self.update_signal();
        if !self.has_poller {
            return;
        }
        let next_at = self.next_at();
        if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop {
            tasks.set_timer(next_at);
        }
    }

    /// Whether something has been submitted since the last run.
    fn has_submitted(&self) -> bool {
        !(self.inbox.entries.is_empty() && self.shard_inboxes.is_empty())
    }

    fn update_signal(&mut self) {
        let has_runnable = (self.event_loop.as_ref()).is_ok_and(|l| l.tasks.has_runnable());
        let has_submitted = self.has_submitted();
        let has_replies = self.completed() > 0;
        self.signal(has_runnable || has_submitted || has_replies || self.is_run_due);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.process != process_number() {
            return self.abandon();
        }
        if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop {
            for number in self.running.numbers() {
                self.running.cancel(number, tasks);
            }
            // A fiber that does not end after it was cancelled is a bug. Unwinding it might abort the process.
            tasks.leak();
        }
    }
}
