//! How keys are divided into slots: at a cluster, and at a server that is none.

use super::key_slot::key_slot;

/// Which keys may be in one command, and which commands keep their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySpace {
    /// Each key is in one of the 16384 hash slots of a cluster.
    #[default]
    HashSlots,
    /// All keys are in slot 0: a server without cluster support has them all.
    OneSlot,
}

impl KeySpace {
    /// The slot of a key.
    #[inline(always)]
    pub fn slot(self, key: &[u8]) -> u16 {
        match self {
            KeySpace::HashSlots => key_slot(key),
            KeySpace::OneSlot => 0,
        }
    }

    /// The same for a key of which only the hash slot is known.
    pub fn of_hash_slot(self, slot: u16) -> u16 {
        match self {
            KeySpace::HashSlots => slot,
            KeySpace::OneSlot => 0,
        }
    }
}
