//! The counters of a cluster.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of a cluster, shared by all its handles.
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
    pub reads_fallback: AtomicU64,
    pub reads_out_of_zone: AtomicU64,
    pub reads_skipped_ejected: AtomicU64,
    pub reads_skipped_stale: AtomicU64,
    pub reads_stale_rejected: AtomicU64,
    pub reads_rechecked: AtomicU64,
    pub lag_probes: AtomicU64,
    pub lag_probe_failures: AtomicU64,
    pub refreshes: AtomicU64,
    pub refresh_failures: AtomicU64,
}

/// The name of a counter, the counter, and one sentence of documentation.
type CounterRow = (&'static str, fn(&Stats) -> &AtomicU64, &'static str);

/// Every counter, as in STATISTICS.md.
pub const COUNTERS: &[CounterRow] = &[
    (
        "commands",
        |s| &s.commands,
        "Commands executed, including the commands of pipelines.",
    ),
    ("pipelines", |s| &s.pipelines, "Pipelines executed."),
    (
        "errors",
        |s| &s.errors,
        "Commands that failed with an error of a server or of the client.",
    ),
    (
        "retries",
        |s| &s.retries,
        "Times that commands were sent again, for any reason.",
    ),
    ("moved", |s| &s.moved, "MOVED redirections followed."),
    ("ask", |s| &s.ask, "ASK redirections followed."),
    (
        "tryagain",
        |s| &s.tryagain,
        "TRYAGAIN and LOADING replies after which the command was retried.",
    ),
    (
        "clusterdown",
        |s| &s.clusterdown,
        "Times that no node served the slot of a command.",
    ),
    (
        "noscript",
        |s| &s.noscript,
        "Times that a node did not have a script and its body was sent instead.",
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
        "Reads that could have gone to a replica but went to the primary.",
    ),
    (
        "replica_reads",
        |s| &s.replica_reads,
        "Reads sent to replicas.",
    ),
    (
        "reads_fallback",
        |s| &s.reads_fallback,
        "Of these, reads sent to the primary with `read_from=replica`, because no replica could serve them.",
    ),
    (
        "reads_out_of_zone",
        |s| &s.reads_out_of_zone,
        "Of these, reads sent to another zone with `read_from=zone`, because no node of the client's zone could serve them.",
    ),
    (
        "reads_skipped_ejected",
        |s| &s.reads_skipped_ejected,
        "Of these, reads that skipped a node because it was ejected after failures.",
    ),
    (
        "reads_skipped_stale",
        |s| &s.reads_skipped_stale,
        "Of these, reads that skipped a node because it was not known to be fresh enough.",
    ),
    (
        "reads_stale_rejected",
        |s| &s.reads_stale_rejected,
        "Replies of replicas that were rejected because the replica was not known to be fresh enough when they arrived; the read was repeated at the primary.",
    ),
    (
        "reads_rechecked",
        |s| &s.reads_rechecked,
        "Replies of replicas that lacked a key, after which the read was repeated at the primary.",
    ),
    (
        "lag_probes",
        |s| &s.lag_probes,
        "Times that the replication lag of a shard was measured.",
    ),
    (
        "lag_probe_failures",
        |s| &s.lag_probe_failures,
        "Nodes that did not answer such a measurement.",
    ),
    (
        "refreshes",
        |s| &s.refreshes,
        "Times that the topology was refreshed.",
    ),
    (
        "refresh_failures",
        |s| &s.refresh_failures,
        "Refreshes that failed on every node.",
    ),
];

/// The name and the documentation of each counter, for STATISTICS.md.
pub fn statistics() -> impl Iterator<Item = (&'static str, &'static str)> {
    COUNTERS.iter().map(|(name, _, help)| (*name, *help))
}

#[inline]
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
