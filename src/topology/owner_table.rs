//! For each slot, the index of the shard that owns it.

use super::key_slot::SLOTS;
use std::hint::black_box;

/// The owners of the slots.
///
/// It is the largest part of an idle client, so it has one byte for each slot while the cluster has few shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum OwnerTable {
    /// No slot has an owner.
    #[default]
    Empty,
    /// For at most 255 shards. The number behind them means that a slot has no owner.
    Bytes(Box<[u8; SLOTS]>),
    /// For more shards. `u16::MAX` means that a slot has no owner.
    Words(Box<[u16; SLOTS]>),
}

use OwnerTable::{Bytes, Empty, Words};

impl OwnerTable {
    /// The table of shards that have these ranges: each is its first slot, its last slot and the index of the shard. Of
    /// overlapping ranges, the last one counts.
    pub fn of(shards: usize, ranges: &[(u16, u16, usize)]) -> OwnerTable {
        match shards <= usize::from(u8::MAX) {
            true => Bytes(table_of(ranges, |shard| shard as u8, u8::MAX)),
            false => Words(table_of(ranges, |shard| shard as u16, u16::MAX)),
        }
    }

    /// The shard that owns a slot, among those that the table is for: for every command.
    #[inline(always)]
    pub fn shard<'s, T>(&self, slot: u16, shards: &'s [T]) -> Option<&'s T> {
        // The number that means no owner is no index of a shard.
        shards.get(self.index(slot)?)
    }

    /// The index of the shard that owns a slot, or one that no shard has.
    #[inline(always)]
    pub fn index(&self, slot: u16) -> Option<usize> {
        let slot = usize::from(slot);
        match self {
            Bytes(owners) => owners.get(slot).copied().map(usize::from),
            Words(owners) => owners.get(slot).copied().map(usize::from),
            Empty => None,
        }
    }

    /// The index of the shard that owns a slot.
    #[inline(always)]
    pub fn get(&self, slot: u16) -> Option<usize> {
        let slot = usize::from(slot);
        match self {
            Bytes(owners) => {
                let owner = *owners.get(slot)?;
                (owner != u8::MAX).then_some(usize::from(owner))
            }
            Words(owners) => {
                let owner = *owners.get(slot)?;
                (owner != u16::MAX).then_some(usize::from(owner))
            }
            Empty => None,
        }
    }

    /// Gives a slot to a shard. There are fewer than 65,535 shards.
    pub fn set(&mut self, slot: u16, shard: usize) {
        let at = usize::from(slot);
        match self {
            Bytes(owners) if shard < usize::from(u8::MAX) => owners[at] = shard as u8,
            Words(owners) => owners[at] = shard as u16,
            Bytes(_) | Empty => {
                *self = OwnerTable::of(shard + 1, &self.runs());
                self.set(slot, shard);
            }
        }
    }

    /// The first slot of a shard.
    pub fn first_slot_of(&self, shard: usize) -> Option<u16> {
        let slot = match self {
            Bytes(owners) => owners.iter().position(|of| usize::from(*of) == shard),
            Words(owners) => owners.iter().position(|of| usize::from(*of) == shard),
            Empty => None,
        };
        slot.map(|slot| slot as u16)
    }

    /// The number of slots that have an owner.
    pub fn assigned(&self) -> usize {
        match self {
            Bytes(owners) => count_other(&**owners, u8::MAX),
            Words(owners) => count_other(&**owners, u16::MAX),
            Empty => 0,
        }
    }

    /// Whether any slot has an owner.
    pub fn has_assigned(&self) -> bool {
        match self {
            Bytes(owners) => owners.iter().any(|of| *of != u8::MAX),
            Words(owners) => owners.iter().any(|of| *of != u16::MAX),
            Empty => false,
        }
    }

    /// The runs of slots with one owner: first slot, last slot and the index of the owner.
    pub fn runs(&self) -> Vec<(u16, u16, usize)> {
        match self {
            Bytes(owners) => runs(&**owners, u8::MAX),
            Words(owners) => runs(&**owners, u16::MAX),
            Empty => Vec::new(),
        }
    }
}

fn table_of<T: Copy>(
    ranges: &[(u16, u16, usize)],
    owner_of: impl Fn(usize) -> T,
    none: T,
) -> Box<[T; SLOTS]> {
    let mut owners = Vec::with_capacity(SLOTS);
    for (first, last, shard) in ranges {
        let (first, next, owner) = (
            usize::from(*first),
            usize::from(*last) + 1,
            owner_of(*shard),
        );
        extend_to(&mut owners, first, none);
        let known = owners.len().min(next);
        owners[first..known].fill(owner);
        extend_to(&mut owners, next, owner);
    }
    extend_to(&mut owners, SLOTS, none);
    let owners = owners.into_boxed_slice().try_into();
    owners.unwrap_or_else(|_| unreachable!("a slot is less than {SLOTS}"))
}

/// Extends a table by slots of one owner, up to the slot `next`.
fn extend_to<T: Copy>(owners: &mut Vec<T>, next: usize, owner: T) {
    const BLOCK: usize = 512;
    // The optimizer would make it a `memset`, which begins slowly and counts as one instruction for each byte.
    let block = black_box([owner; BLOCK]);
    while owners.len() + BLOCK <= next {
        owners.extend_from_slice(&block);
    }
    if owners.len() < next {
        owners.extend_from_slice(&block[..next - owners.len()]);
    }
}

/// How many owners are another one.
fn count_other<T: Copy + PartialEq>(owners: &[T], none: T) -> usize {
    // Wrapping, because overflow checks would prevent vectorization.
    let count = |n: usize, owner: &T| n.wrapping_add(usize::from(*owner != none));
    owners.iter().fold(0, count)
}

fn runs<T: Copy + PartialEq + Into<usize>>(owners: &[T], none: T) -> Vec<(u16, u16, usize)> {
    let mut runs = Vec::new();
    let mut first = 0;
    for run in owners.chunk_by(|a, b| a == b) {
        let next = first + run.len();
        if run[0] != none {
            runs.push((first as u16, next as u16 - 1, run[0].into()));
        }
        first = next;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_grows_with_the_number_of_shards() {
        for shards in [1, 255, 256, 1000] {
            let last = shards - 1;
            let mut table = OwnerTable::of(shards, &[(0, 9, 0), (20, 16383, last)]);
            assert_eq!(matches!(table, Bytes(_)), shards <= 255);
            // The index of a new shard: it may be the first that does not fit a byte.
            table.set(5, shards);
            let expected = [(0, 4, 0), (5, 5, shards), (6, 9, 0), (20, 16383, last)];
            assert_eq!(table.runs(), expected, "{shards}");
            assert_eq!(matches!(table, Bytes(_)), shards < 255);
            assert_eq!(table.get(5), Some(shards));
            let all: Vec<usize> = (0..shards + 1).collect();
            let found = [5, 10, 16384].map(|slot| table.shard(slot, &all[..]));
            assert_eq!(found, [Some(&shards), None, None]);
            assert_eq!([table.get(10), table.get(16384)], [None, None]);
            assert_eq!(table.first_slot_of(shards), Some(5));
            assert_eq!(table.first_slot_of(shards + 1), None);
            assert_eq!(table.assigned(), 16384 - 10);
        }
    }

    #[test]
    fn last_of_overlapping_ranges_counts() {
        let table = OwnerTable::of(3, &[(100, 299, 0), (0, 149, 1), (200, 200, 2)]);
        let expected = [(0, 149, 1), (150, 199, 0), (200, 200, 2), (201, 299, 0)];
        assert_eq!(table.runs(), expected);
        assert!(table.has_assigned());
        for table in [OwnerTable::default(), OwnerTable::of(0, &[])] {
            assert!(!table.has_assigned() && table.runs().is_empty());
            assert_eq!((table.get(0), table.assigned()), (None, 0));
        }
    }
}
