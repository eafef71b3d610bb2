//! Ends commands of a queue before they have their replies.

use super::Queue;
use super::entry::{Entry, Inbox, Progress};
use crate::cluster::event_loop::EventLoop;
use crate::deadline::Time;
use crate::error::{Code, Error};
use crate::net::process_number;
use std::rc::Rc;

impl Queue {
    /// Completes commands that have not been started.
    pub(super) fn close_where(&self, inbox: &Inbox, error: &Error, which: impl Fn(&Entry) -> bool) {
        for (index, entry) in inbox.entries.iter().enumerate() {
            if inbox.progress(entry) == Progress::Waiting && which(entry) {
                self.close_entry(inbox, index, error);
            }
        }
    }

    fn close_entry(&self, inbox: &Inbox, index: usize, error: &Error) {
        if inbox.close(&inbox.entries[index]) {
            self.replies.fail_tag(inbox.entries[index].tag, error);
        }
    }

    fn open_inboxes(&self) -> impl Iterator<Item = &Inbox> {
        let routed = self.inboxes.iter().map(Rc::as_ref);
        let submitted = self.shard_inboxes.iter().chain([&self.inbox]);
        let all = routed.chain(&self.unrouted).chain(submitted);
        all.filter(|inbox| inbox.open.get() > 0)
    }

    /// Completes the commands that have waited for their whole timeout.
    pub(super) fn expire(&mut self, time: Time) {
        let timeout_ms = self.client.config.timeout_ms;
        while let Some(inbox) = self.expiring.front() {
            let is_done = inbox.open.get() == 0;
            if !is_done && !inbox.deadline(timeout_ms).passed(time) {
                return;
            }
            if !is_done {
                let message = format_args!(
                    "the command timed out after {timeout_ms} ms, behind an earlier one of its slot or shard; it was not sent"
                );
                self.close_where(inbox, &Error::new(Code::Timeout, message), |_| true);
            }
            if let Some(inbox) = self.expiring.pop_front() {
                self.shard_inboxes.recycle(inbox);
            }
        }
    }

    /// An interrupt ends the commands that were submitted before it, also if they have not been started, and no later one.
    #[inline]
    pub(super) fn cancel_if_interrupted(&mut self) {
        if self.client.cancels() != self.cancels {
            self.cancel_ended_handles();
        }
    }

    /// Ends the commands of handles that have been closed or interrupted.
    #[cold]
    pub(super) fn cancel_ended_handles(&mut self) {
        let cancels = self.client.cancels();
        if std::mem::replace(&mut self.cancels, cancels) != cancels {
            self.takes_plain &= self.client.ready().is_ok();
            let error = match self.client.ready() {
                Ok(_) => Error::new(
                    Code::Interrupted,
                    "the command was interrupted before it was sent",
                ),
                Err(error) => error,
            };
            self.close_waiting(&error, |_| true);
        }
        if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop {
            self.running.cancel_ended_handles(tasks);
        }
    }

    /// Completes all commands that have not been started.
    pub(super) fn close_waiting(&self, error: &Error, which: impl Fn(&Entry) -> bool + Copy) {
        for inbox in self.open_inboxes() {
            self.close_where(inbox, error, which);
        }
    }

    /// Ends all commands with this tag that are not complete.
    pub fn cancel(&mut self, tag: u64) {
        if self.process != process_number() {
            return self.abandon();
        }
        let cancelled = |problem: &str| Error::new(Code::Interrupted, problem);
        let unsent = cancelled("the command was cancelled before it was sent");
        let sent = cancelled("the command was cancelled after it was sent").sent(true);
        for inbox in self.open_inboxes() {
            for index in inbox.with_tag(tag) {
                let error = match inbox.progress(&inbox.entries[index]) {
                    Progress::Waiting => &unsent,
                    Progress::Sent => &sent,
                    Progress::Alone | Progress::Done => continue,
                };
                self.close_entry(inbox, index, error);
            }
        }
        for number in self.running.with_tag(tag) {
            if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop {
                self.running.cancel(number, tasks);
            }
        }
        self.is_run_due |= self.collect();
        self.update_signal();
    }

    /// In a forked child: completes all commands with an error, and leaves the connections alone.
    #[cold]
    pub(super) fn abandon(&mut self) {
        self.close_waiting(&after_fork(), |_| true);
        for inbox in &self.inboxes {
            for index in 0..inbox.entries.len() {
                self.replies.fail((inbox, index), &after_fork().sent(true));
            }
        }
        if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop {
            tasks.leak();
        }
    }
}

#[cold]
pub(super) fn after_fork() -> Error {
    Error::new(
        Code::Interrupted,
        "the queue belongs to the parent of this process: make a queue after the fork",
    )
}
