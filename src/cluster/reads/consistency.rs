//! The consistency of a handle's reads, and what a replica must be proven to have for it.

use super::session::Seen;
use crate::config::{Config, NilPolicy, ReadFrom};
use crate::deadline::Time;
use crate::net::Peer;
use std::sync::Arc;

/// The consistency of the reads of a handle that reads from replicas.
#[derive(Clone)]
pub struct ReadConsistency {
    pub zone: Option<String>,
    /// The staleness bound; 0 for none.
    pub max_staleness_ms: u64,
    pub read_your_writes: bool,
    pub monotonic: bool,
    /// The option `nil=verify`.
    verify: bool,
}

/// The interval between two freshness probes of a shard without a staleness bound, and the limits of the interval with
/// one.
const PROBE_INTERVAL_MS: u64 = 50;
const PROBE_INTERVAL_MIN_MS: u64 = 10;
const PROBE_INTERVAL_MAX_MS: u64 = 1000;

impl ReadConsistency {
    /// The consistency of a configuration; None if reads go to primaries only.
    pub fn of(config: &Config) -> Option<ReadConsistency> {
        (config.read_from() != ReadFrom::Primary).then(|| ReadConsistency {
            zone: config.zone.clone(),
            max_staleness_ms: config.max_staleness_ms,
            read_your_writes: config.read_your_writes,
            monotonic: config.monotonic,
            verify: config.nil == NilPolicy::Verify,
        })
    }

    /// Whether a replica serves a read only with a proof of its freshness.
    pub fn needs_freshness_proof(&self) -> bool {
        self.max_staleness_ms > 0 || self.read_your_writes || self.monotonic
    }

    /// Whether a key that a replica does not have is read again at the primary. A key that has migrated
    /// is missing however fresh the replica is, so every other consistency includes this one.
    pub fn rechecks_missing_keys(&self) -> bool {
        self.verify || self.needs_freshness_proof()
    }

    /// With a staleness bound: the oldest state that a reply received at `time` may be of.
    pub fn oldest(&self, time: Time) -> Option<Time> {
        (self.max_staleness_ms > 0).then(|| time.minus_ms(self.max_staleness_ms))
    }

    /// How long a probe may take: one that takes as long as the bound proves nothing.
    pub fn probe_timeout_ms(&self) -> u64 {
        match self.max_staleness_ms {
            0 => u64::MAX,
            bound => (bound / 4).max(PROBE_INTERVAL_MIN_MS),
        }
    }

    /// The interval between two probes of a shard. Eight within the staleness bound leave room for one
    /// that fails.
    pub fn probe_interval_ms(&self) -> u64 {
        match self.max_staleness_ms {
            0 => PROBE_INTERVAL_MS,
            bound => (bound / 8).clamp(PROBE_INTERVAL_MIN_MS, PROBE_INTERVAL_MAX_MS),
        }
    }
}

/// What a replica must be proven to have, to serve a read of one slot.
#[derive(Clone, Copy, Debug)]
pub struct FreshnessRequirement {
    /// Everything that the primary had executed by this time.
    pub since: Option<Time>,
    /// Everything that earlier reads of the slot have seen.
    pub seen: Seen,
}

impl FreshnessRequirement {
    pub const NOTHING: FreshnessRequirement = FreshnessRequirement {
        since: None,
        seen: Seen::NOTHING,
    };

    /// Whether a replica of `primary` is proven to have it.
    pub fn is_met(&self, replica: &Peer, primary: &Arc<Peer>) -> bool {
        let freshness = &replica.freshness;
        let proven = freshness.fresh_as_of(primary.origin());
        let by = |time: Time| proven.is_some_and(|proven| proven >= time);
        let seen = self.seen == Seen::NOTHING
            || by(self.seen.by())
            || (self.seen.incarnation() != 0 && self.seen.incarnation() == freshness.incarnation());
        seen && self.since.is_none_or(by)
    }
}
