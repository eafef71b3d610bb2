//! What has happened so far, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a cluster, shared by all its handles.
#[derive(Debug, Default)]
pub struct Stats {
    pub commands: AtomicU64,
    pub pipelines: AtomicU64,
    pub errors: AtomicU64,
    pub retries: AtomicU64,
    pub moved: AtomicU64,
    pub ask: AtomicU64,
    pub tryagain: AtomicU64,
    pub clusterdown: AtomicU64,
    pub noscript: AtomicU64,
    pub timeouts: AtomicU64,
    pub refused_writes: AtomicU64,
    pub replica_reads: AtomicU64,
    pub primary_reads: AtomicU64,
    pub refreshes: AtomicU64,
    pub refresh_failures: AtomicU64,
}

/// A counter: its name, where it is, and one sentence of documentation.
type Row = (&'static str, fn(&Stats) -> &AtomicU64, &'static str);

/// Every counter, as in STATISTICS.md.
pub const ROWS: &[Row] = &[
    (
        "commands",
        |s| &s.commands,
        "Commands called, those of pipelines included.",
    ),
    ("pipelines", |s| &s.pipelines, "Pipelines executed."),
    (
        "errors",
        |s| &s.errors,
        "Commands that ended with an error, of a server or of ours.",
    ),
    (
        "retries",
        |s| &s.retries,
        "Times that commands were sent again, for whatever reason.",
    ),
    ("moved", |s| &s.moved, "MOVED redirections followed."),
    ("ask", |s| &s.ask, "ASK redirections followed."),
    (
        "tryagain",
        |s| &s.tryagain,
        "TRYAGAIN and LOADING replies waited out.",
    ),
    (
        "clusterdown",
        |s| &s.clusterdown,
        "Times that no node served the slot.",
    ),
    (
        "noscript",
        |s| &s.noscript,
        "Times that a node did not have a script, and was sent its body.",
    ),
    (
        "timeouts",
        |s| &s.timeouts,
        "Times that a node did not answer within attempt_timeout_ms.",
    ),
    (
        "refused_writes",
        |s| &s.refused_writes,
        "Writes refused on read-only handles, before a byte was sent.",
    ),
    (
        "primary_reads",
        |s| &s.primary_reads,
        "Reads that might have gone to a replica and went to the primary.",
    ),
    (
        "replica_reads",
        |s| &s.replica_reads,
        "Reads sent to replicas.",
    ),
    (
        "refreshes",
        |s| &s.refreshes,
        "Times that the topology was learned again.",
    ),
    (
        "refresh_failures",
        |s| &s.refresh_failures,
        "Times that no node could tell it.",
    ),
];

/// The name of each counter and what it counts, for STATISTICS.md.
pub fn statistics() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROWS.iter().map(|(name, _, help)| (*name, *help))
}

#[inline]
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
