//! Slots that are known to migrate. A replica of such a slot may lack a key that exists.

use crate::deadline::Time;
use crate::sync::{Mutex, lock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How long a slot counts as migrating after the last sign of it. A replica of the new owner may be
/// behind for a while.
const MEMORY_MS: u64 = 10_000;

#[derive(Default)]
pub struct MigratingSlots {
    /// How many slots are known. There are usually none, and then no call takes the lock.
    known: AtomicUsize,
    signs: Mutex<Signs>,
}

#[derive(Default)]
struct Signs {
    /// When each slot was last marked.
    last: HashMap<u16, Time>,
    /// When expired slots were last removed.
    pruned: Option<Time>,
}

impl MigratingSlots {
    /// Records a sign that slots migrate or have just done so: ASK, TRYAGAIN, MOVED, a new owner.
    pub fn mark(&self, slots: impl IntoIterator<Item = u16>, time: Time) {
        let mut signs = lock(&self.signs);
        if signs.pruned.is_none_or(|s| s.is_before(time, MEMORY_MS)) {
            signs
                .last
                .retain(|_, last| !last.is_before(time, MEMORY_MS));
            signs.pruned = Some(time);
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

    /// Whether a slot is known to migrate at `time`.
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
    fn slot_is_migrating_until_last_report_expires() {
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
        assert!(migrating_slots.is_empty(), "expired slots are removed");
    }
}
