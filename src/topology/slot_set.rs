//! A set of slots, as a bitmap.

use super::key_slot::SLOTS;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSet([u64; SLOTS / 64]);

impl Default for SlotSet {
    fn default() -> SlotSet {
        SlotSet::new()
    }
}

impl SlotSet {
    pub fn new() -> SlotSet {
        SlotSet([0; SLOTS / 64])
    }

    /// For each word of the bitmap that contains slots from `first` to `last`: its index, and the mask
    /// of those slots.
    fn masks(first: u16, last: u16) -> impl Iterator<Item = (usize, u64)> {
        let (first, last) = (usize::from(first), usize::from(last));
        let (begin, end) = (first / 64, last / 64);
        (begin..end + 1).map(move |word| {
            let mut mask = u64::MAX;
            if word == begin {
                mask &= u64::MAX << (first % 64);
            }
            if word == end {
                mask &= u64::MAX >> (63 - last % 64);
            }
            (word, mask)
        })
    }

    /// Adds the slots from `first` to `last`.
    pub fn add(&mut self, first: u16, last: u16) {
        for (word, mask) in SlotSet::masks(first, last) {
            self.0[word] |= mask;
        }
    }

    /// Adds a slot. False if the set has it already.
    #[inline(always)]
    pub fn insert(&mut self, slot: u16) -> bool {
        let slot = usize::from(slot) % SLOTS;
        let (word, bit) = (&mut self.0[slot / 64], 1 << (slot % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub fn remove(&mut self, slot: u16) {
        self.0[usize::from(slot) / 64] &= !(1 << (slot % 64));
    }

    pub fn contains(&self, slot: usize) -> bool {
        self.0[slot / 64] >> (slot % 64) & 1 == 1
    }

    /// Adds all slots of another set.
    pub fn union_with(&mut self, other: &SlotSet) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// The slots that are in both.
    pub fn intersection(&self, other: &SlotSet) -> SlotSet {
        let mut common = self.clone();
        for (word, more) in common.0.iter_mut().zip(&other.0) {
            *word &= more;
        }
        common
    }

    /// Whether a slot is in both.
    pub fn intersects(&self, other: &SlotSet) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// The slots that are not in it, in order.
    pub fn missing(&self) -> impl Iterator<Item = u16> {
        self.0.iter().zip(0u16..).flat_map(|(word, at)| {
            let mut left = !word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as u16;
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(at * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// First and last slot of each run of adjacent slots.
    pub fn runs(set: &SlotSet) -> Vec<(usize, usize)> {
        let slots: Vec<usize> = (0..SLOTS).filter(|slot| set.contains(*slot)).collect();
        let runs = slots.chunk_by(|a, b| a + 1 == *b);
        runs.map(|run| (run[0], run[run.len() - 1])).collect()
    }

    #[test]
    fn slot_set_adds_removes_and_lists_ranges() {
        let mut some = SlotSet::new();
        some.add(0, 63);
        some.add(100, 100);
        some.add(16000, 16383);
        assert_eq!(runs(&some), [(0, 63), (100, 100), (16000, 16383)]);
        let mut whole = SlotSet::new();
        assert_eq!(runs(&whole), []);
        whole.add(0, 16383);
        assert_eq!(runs(&whole), [(0, 16383)]);
        whole.remove(64);
        whole.remove(8191);
        assert_eq!(runs(&whole), [(0, 63), (65, 8190), (8192, 16383)]);
        for slot in (1..16384).step_by(2) {
            whole.remove(slot);
        }
        assert_eq!(runs(&whole).len(), 8192 - 1);
        assert_eq!(some.missing().count(), SLOTS - 64 - 1 - 384);
        assert_eq!(some.missing().next(), Some(64));
        some.remove(100);
        let mut other = SlotSet::new();
        other.add(63, 16000);
        assert_eq!(runs(&some.intersection(&other)), [(63, 63), (16000, 16000)]);
        assert!(some.intersects(&other));
        some.union_with(&other);
        assert_eq!(some.missing().next(), None);
        assert!(!SlotSet::new().intersects(&some));
    }
}
