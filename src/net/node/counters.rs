//! Counters of one node.

use std::sync::atomic::AtomicU64;

#[derive(Debug, Default)]
pub struct NodeCounters {
    /// Reads for which the node was chosen among several.
    pub reads: AtomicU64,
    pub errors: AtomicU64,
    pub connects: AtomicU64,
}
