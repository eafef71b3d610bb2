//! When the topology was refreshed, with which result, and when the next refresh may begin.

use crate::call_scope::ThreadMark;
use crate::deadline::Time;
use crate::error::Error;

#[derive(Debug, Default)]
pub struct RefreshState {
    /// The thread that is refreshing the topology.
    pub(super) running: Option<ThreadMark>,
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
