//! What reads from replicas guarantee, and the state that the guarantees depend on.

mod consistency;
mod migrating_slots;
mod session;

pub use consistency::{FreshnessRequirement, ReadConsistency};
pub use migrating_slots::MigratingSlots;
pub use session::{Seen, Session};
