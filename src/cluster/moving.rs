//! Slots that are known to be on the move: there a replica's word that a key does not exist is worth
//! little.

use crate::deadline::Time;
use crate::sync::{Mutex, lock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So long after the last sign of it a slot is taken to be moving still, and a replica of its new
/// owner to be behind.
const MEMORY_MS: u64 = 10_000;

#[derive(Default)]
pub struct Moving {
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

impl Moving {
    /// A sign that the slot is moving, or has just moved: ASK, TRYAGAIN, MOVED, another owner.
    pub fn saw(&self, slots: impl IntoIterator<Item = u16>, time: Time) {
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
    pub fn is_nothing(&self) -> bool {
        self.known.load(Ordering::Relaxed) == 0
    }

    /// Whether a slot is moving, as far as anybody knows.
    pub fn has(&self, slot: u16, time: Time) -> bool {
        if self.is_nothing() {
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
        let moving = Moving::default();
        assert!(!moving.has(7, at(1)));
        moving.saw([7, 8], at(1000));
        moving.saw([8], at(6000));
        assert!(moving.has(7, at(11_000)) && !moving.has(9, at(11_000)));
        assert!(!moving.has(7, at(11_001)) && moving.has(8, at(11_001)));
        assert!(!moving.has(8, at(16_001)));
        assert!(moving.is_nothing(), "nothing is kept for ever");
    }
}
