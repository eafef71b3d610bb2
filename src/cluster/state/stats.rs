//! The counters of `rdc_stats`.

use crate::net::CredentialCounters;
use std::sync::Arc;
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
    pub messages: AtomicU64,
    pub gaps: AtomicU64,
    pub subscriber_losses: AtomicU64,
    pub refreshes: AtomicU64,
    pub refresh_failures: AtomicU64,
    /// Counted by the connections.
    pub credentials: Arc<CredentialCounters>,
}

/// The name of a counter, the counter, and one sentence of documentation.
type CounterRow = (&'static str, fn(&Stats) -> &AtomicU64, &'static str);

/// Every counter, as in STATISTICS.md.
pub const COUNTERS: &[CounterRow] = &[
    (
        "commands",
        |s| &s.commands,
        "Commands called, including those in pipelines.",
    ),
    ("pipelines", |s| &s.pipelines, "Pipelines executed."),
    (
        "errors",
        |s| &s.errors,
        "Commands that ended with an error, from a server or from the library.",
    ),
    (
        "retries",
        |s| &s.retries,
        "Times a command was sent again, for any reason.",
    ),
    ("moved", |s| &s.moved, "MOVED redirections followed."),
    ("ask", |s| &s.ask, "ASK redirections followed."),
    (
        "tryagain",
        |s| &s.tryagain,
        "TRYAGAIN, LOADING and similar refusals after which the command was sent again.",
    ),
    (
        "clusterdown",
        |s| &s.clusterdown,
        "Times no node served the slot: CLUSTERDOWN and MASTERDOWN replies, and slots without a known owner.",
    ),
    (
        "noscript",
        |s| &s.noscript,
        "NOSCRIPT replies after which the body of the script was sent.",
    ),
    (
        "timeouts",
        |s| &s.timeouts,
        "Times a node did not reply within `attempt_timeout_ms`.",
    ),
    (
        "refused_writes",
        |s| &s.refused_writes,
        "Writes refused on read-only handles, before any byte was sent.",
    ),
    (
        "primary_reads",
        |s| &s.primary_reads,
        "Reads that could have gone to a replica and went to the primary.",
    ),
    (
        "replica_reads",
        |s| &s.replica_reads,
        "Reads sent to replicas.",
    ),
    (
        "reads_fallback",
        |s| &s.reads_fallback,
        "Reads sent to the primary with `read_from=replica`, because no replica could serve them.",
    ),
    (
        "reads_out_of_zone",
        |s| &s.reads_out_of_zone,
        "Reads sent to another zone with `read_from=zone`, because no node in the configured zone could serve them.",
    ),
    (
        "reads_skipped_ejected",
        |s| &s.reads_skipped_ejected,
        "Reads sent elsewhere because the preferred node was ejected after failures.",
    ),
    (
        "reads_skipped_stale",
        |s| &s.reads_skipped_stale,
        "Reads sent elsewhere because the preferred node was not proven fresh enough.",
    ),
    (
        "reads_stale_rejected",
        |s| &s.reads_stale_rejected,
        "Replies discarded because the replica was no longer proven fresh enough on arrival; the primary was asked instead.",
    ),
    (
        "reads_rechecked",
        |s| &s.reads_rechecked,
        "Reads repeated at the primary because the reply of a replica lacked a key.",
    ),
    (
        "lag_probes",
        |s| &s.lag_probes,
        "Times the replication offsets of a shard were requested, to measure the lag of its replicas.",
    ),
    (
        "lag_probe_failures",
        |s| &s.lag_probe_failures,
        "Nodes that did not report a usable replication offset.",
    ),
    (
        "messages",
        |s| &s.messages,
        "Messages that subscribers have delivered. A subscriber adds those that it received together at once.",
    ),
    (
        "gaps",
        |s| &s.gaps,
        "Gaps that subscribers have reported: channels of which messages may have been missed.",
    ),
    (
        "subscriber_losses",
        |s| &s.subscriber_losses,
        "Connections that subscribers have lost.",
    ),
    ("refreshes", |s| &s.refreshes, "Topology refreshes."),
    (
        "refresh_failures",
        |s| &s.refresh_failures,
        "Topology refreshes that failed because no node returned a usable topology.",
    ),
    (
        "reauthentications",
        |s| &s.credentials.accepted,
        "Open connections that were authenticated again after the credentials had changed.",
    ),
    (
        "credentials_refused",
        |s| &s.credentials.refused,
        "Times a node refused credentials that had changed. Its open connections keep the user that they have.",
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
