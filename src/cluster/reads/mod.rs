//! What reads from replicas guarantee, and how it is verified.

mod consistency;
mod freshness_probe;
mod migrating_slots;
mod session;

pub use consistency::{FreshnessRequirement, ReadConsistency};
pub use migrating_slots::MigratingSlots;
pub use session::{Seen, Session};
