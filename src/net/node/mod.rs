//! What is known about a node: identity, health, load, replica freshness and counters.

mod counters;
mod health;
mod identity;
mod load;
mod replica_freshness;
mod state;

pub use counters::NodeCounters;
pub use health::Health;
pub use identity::{ExpectedRole, NodeIdentity};
pub use load::NodeLoad;
pub use replica_freshness::{FreshnessProof, Link, OffsetSample, ReplicaFreshness};
pub use state::NodeState;
