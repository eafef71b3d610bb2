//! What a handle's reads consistency, and what a replica must have been shown to have for that.

use crate::cluster::reads::Seen;
use crate::config::{Config, NilPolicy, ReadFrom};
use crate::deadline::Time;
use crate::net::Peer;
use std::sync::Arc;

/// What the reads of a handle consistency, of one that reads from replicas.
pub struct ReadConsistency {
    pub zone: Option<String>,
    /// 0: none.
    pub max_staleness_ms: u64,
    pub read_your_writes: bool,
    pub monotonic: bool,
    verify: bool,
}

/// Between two times of finding out about a shard's replicas lies at least this; less often where
/// the bound allows it.
const INTERVAL_MS: u64 = 50;
const INTERVAL_LEAST_MS: u64 = 10;
const INTERVAL_MOST_MS: u64 = 1000;

impl ReadConsistency {
    /// That of a configuration; nothing where reads go to primaries alone.
    pub fn of(config: &Config) -> Option<ReadConsistency> {
        (config.read_from() != ReadFrom::Primary).then(|| ReadConsistency {
            zone: config.zone.clone(),
            max_staleness_ms: config.max_staleness_ms,
            read_your_writes: config.read_your_writes,
            monotonic: config.monotonic,
            verify: config.nil == NilPolicy::Verify,
        })
    }

    /// Whether replicas are asked only for what they are shown to have.
    pub fn needs_freshness_proof(&self) -> bool {
        self.max_staleness_ms > 0 || self.read_your_writes || self.monotonic
    }

    /// Whether a key that a replica does not have is asked for again at the primary. A key that has
    /// moved away is missing however fresh a replica is, so every other consistency includes this one.
    pub fn rechecks_missing_keys(&self) -> bool {
        self.verify || self.needs_freshness_proof()
    }

    /// The moment of which a reply that comes at `time` must at least tell, if there is a bound.
    pub fn oldest(&self, time: Time) -> Option<Time> {
        (self.max_staleness_ms > 0).then(|| time.minus_ms(self.max_staleness_ms))
    }

    /// How long finding out may take: what takes as long as the bound shows nothing.
    pub fn probe_timeout_ms(&self) -> u64 {
        match self.max_staleness_ms {
            0 => u64::MAX,
            bound => (bound / 4).max(INTERVAL_LEAST_MS),
        }
    }

    /// How calmly to find out about replicas. Eight times within the bound leave room for one that
    /// fails.
    pub fn probe_interval_ms(&self) -> u64 {
        match self.max_staleness_ms {
            0 => INTERVAL_MS,
            bound => (bound / 8).clamp(INTERVAL_LEAST_MS, INTERVAL_MOST_MS),
        }
    }
}

/// What a node must be shown to have, to serve a read of one slot.
#[derive(Clone, Copy, Debug)]
pub struct FreshnessRequirement {
    /// Everything that was executed by then, if it matters ...
    pub since: Option<Time>,
    /// ... and everything that has been seen of the slot.
    pub seen: Seen,
}

impl FreshnessRequirement {
    pub const NOTHING: FreshnessRequirement = FreshnessRequirement {
        since: None,
        seen: Seen::NOTHING,
    };

    /// Whether a replica of `primary` has it.
    pub fn is_met(&self, replica: &Peer, primary: &Arc<Peer>) -> bool {
        let freshness = &replica.freshness;
        let proven = freshness.fresh_as_of(primary);
        let by = |time: Time| proven.is_some_and(|proven| proven >= time);
        let seen = self.seen == Seen::NOTHING
            || by(self.seen.by())
            || (self.seen.incarnation() != 0 && self.seen.incarnation() == freshness.incarnation());
        seen && self.since.is_none_or(by)
    }
}
