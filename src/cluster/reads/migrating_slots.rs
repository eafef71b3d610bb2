//! Slots that are known to be on the move: there a replica's word that a key does not exist is worth
//! little.

use crate::deadline::Time;
use crate::sync::{Mutex, lock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So long after the last sign of it a slot is taken to be migrating_slots still, and a replica of its new
/// owner to be behind.
const MEMORY_MS: u64 = 10_000;

#[derive(Default)]
pub struct MigratingSlots {
    /// How many slots are known: usually none, and then nobody takes the lock.
    known: AtomicUsize,
    signs: Mutex<Signs>,
}

#[derive(Default)]
struct Signs {
    last: HashMap<u16, Time>,
    /// When what is too old was last sorted out.
    sorted: Option<Time>,
}

impl MigratingSlots {
    /// A sign that the slot is migrating_slots, or has just moved: ASK, TRYAGAIN, MOVED, another owner.
    pub fn mark(&self, slots: impl IntoIterator<Item = u16>, time: Time) {
        let mut signs = lock(&self.signs);
        if signs.sorted.is_none_or(|s| s.is_before(time, MEMORY_MS)) {
            signs
                .last
                .retain(|_, last| !last.is_before(time, MEMORY_MS));
            signs.sorted = Some(time);
        }
        signs
            .last
            .extend(slots.into_iter().map(|slot| (slot, time)));
        self.known.store(signs.last.len(), Ordering::Relaxed);
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.known.load(Ordering::Relaxed) == 0
    }

    /// Whether a slot is migrating_slots, as far as anybody knows.
    pub fn contains(&self, slot: u16, time: Time) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut signs = lock(&self.signs);
        match signs.last.get(&slot) {
            None => false,
            Some(last) if !last.is_before(time, MEMORY_MS) => true,
            Some(_) => {
                signs.last.remove(&slot);
                self.known.store(signs.last.len(), Ordering::Relaxed);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_moving_until_nobody_has_said_so_for_a_while() {
        let at = |ms: u64| Time::of_nanos(ms * 1_000_000);
        let migrating_slots = MigratingSlots::default();
        assert!(!migrating_slots.contains(7, at(1)));
        migrating_slots.mark([7, 8], at(1000));
        migrating_slots.mark([8], at(6000));
        assert!(
            migrating_slots.contains(7, at(11_000)) && !migrating_slots.contains(9, at(11_000))
        );
        assert!(
            !migrating_slots.contains(7, at(11_001)) && migrating_slots.contains(8, at(11_001))
        );
        assert!(!migrating_slots.contains(8, at(16_001)));
        assert!(migrating_slots.is_empty(), "nothing is kept for ever");
    }
}
