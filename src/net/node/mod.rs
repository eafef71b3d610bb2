//! One node as this client sees it: its pools, health, load and replica freshness.

mod connect_backoff;
mod load;
mod peer;
mod replica_freshness;

pub use load::NodeLoad;
pub use peer::{ConnectionKind, Descriptors, Health, NodeCounters, Peer};
pub(in crate::net) use peer::{Registered, register};
pub use replica_freshness::{FreshnessProof, Link, OffsetSample, ReplicaFreshness};
