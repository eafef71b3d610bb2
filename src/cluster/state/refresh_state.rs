//! When the topology was refreshed, with which result, and when the next refresh may begin.

use crate::call_scope::ThreadMark;
use crate::deadline::{Time, now};
use crate::error::Error;
use std::time::Duration;

/// A refresh of an event loop that takes longer does not hold others up: its program may not come back to it.
const MAX_IN_FIBER: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub struct RefreshState {
    /// Who is refreshing the topology, and since when.
    running: Option<(ThreadMark, Time)>,
    /// When the last refresh began.
    pub(super) last_began: Option<Time>,
    /// Why the last refresh failed.
    pub(super) last_error: Option<Error>,
    /// A refresh that is only due waits until then; one that is demanded does not.
    pub(super) next_at: Option<Time>,
    /// Successive refreshes that failed or found no change.
    pub(super) without_change: u32,
    /// The newest epoch that was accepted.
    pub(super) epoch: u64,
    /// Successive views that were rejected because their epoch was older.
    pub(super) rejected_views: u32,
    /// Successive refreshes that found a shard without replicas.
    pub(super) without_replicas: u32,
}

impl RefreshState {
    /// Who is refreshing the topology, if others should wait for that.
    pub(super) fn running(&self) -> Option<ThreadMark> {
        let (mark, since) = self.running?;
        match mark {
            ThreadMark::Fiber(_) if now().since(since) > MAX_IN_FIBER => None,
            mark => Some(mark),
        }
    }

    pub(super) fn begin(&mut self, mark: ThreadMark) {
        self.running = Some((mark, now()));
    }

    /// Ends the refresh of `mark`, unless another has begun one meanwhile.
    pub(super) fn end(&mut self, mark: ThreadMark) {
        if self.running.is_some_and(|(running, _)| running == mark) {
            self.running = None;
        }
    }
}
