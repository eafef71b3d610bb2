//! When a subscriber refreshes the topology.

use super::tasks::Task;
use crate::deadline::{Time, now};
use std::time::Duration;

#[derive(Default)]
pub(super) struct RefreshPlan {
    running: Option<Task>,
    /// Since when a refresh is wanted. One that began before may not show what happened.
    wanted_since: Option<Time>,
    /// Not before.
    next_at: Option<Time>,
    /// The next refresh without a reason.
    due_at: Option<Time>,
}

/// When a refresh is tried again that was not due yet: refreshes are limited for all users of a client together.
const RETRY: Duration = Duration::from_millis(25);

impl RefreshPlan {
    /// Something has happened that the topology does not show.
    pub(super) fn want(&mut self) {
        self.wanted_since = Some(now());
    }

    pub(super) fn task(&self) -> Option<&Task> {
        self.running.as_ref()
    }

    /// When the next refresh begins.
    pub(super) fn next_at(&self) -> Option<Time> {
        if self.running.is_some() {
            return None;
        }
        let at = self.wanted_since.or(self.due_at)?;
        Some(self.next_at.map_or(at, |next| next.max(at)))
    }

    /// Whether a refresh begins now. Without a reason, the next one begins after `interval_ms`.
    pub(super) fn takes_turn(&mut self, time: Time, interval_ms: u64) -> bool {
        let next = time.plus(Duration::from_millis(interval_ms));
        self.due_at.get_or_insert(next);
        if self.next_at().is_none_or(|at| at > time) {
            return false;
        }
        self.due_at = Some(next);
        self.next_at = Some(time.plus(RETRY));
        true
    }

    pub(super) fn begin(&mut self, task: Task) {
        self.running = Some(task);
    }

    /// The task has ended. `last` is when the last refresh began, and `next` when another one may begin.
    pub(super) fn end(&mut self, time: Time, last: Option<Time>, next: Option<Time>) {
        self.running = None;
        if let Some(since) = self.wanted_since
            && last.is_some_and(|last| last >= since)
        {
            self.wanted_since = None;
        }
        let retry = time.plus(RETRY);
        self.next_at = Some(next.map_or(retry, |next| next.max(retry)));
    }
}
