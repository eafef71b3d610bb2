//! The keys of a command that is split by slot.

use crate::resp::{EncodedPrefix, encode_command};
use crate::topology::{SlotSet, key_slot};

/// The keys of a split command, grouped by slot. One list holds the keys of all groups: most groups
/// have one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyGroups {
    /// The indexes of the keys among the arguments.
    keys: Vec<u32>,
    /// The slot of each group, and the end of its keys in `keys`.
    ends: Vec<(u16, u32)>,
    shape: SplitShape,
}

/// The arguments of a command that can be split: its name, the keys with their arguments, and arguments for all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SplitShape {
    /// The number of arguments that belong to each key: 1 for MGET, 2 for MSET.
    pub(super) step: usize,
    /// The number of arguments after the last key that belong to all keys: 1 for JSON.MGET.
    pub(super) tail: usize,
}

impl KeyGroups {
    /// Groups keys by slot; the groups are in the order of their first keys.
    pub(super) fn new(keys: Vec<u32>, args: &[&[u8]], shape: SplitShape) -> KeyGroups {
        // In most commands that are split, each key has a slot of its own.
        let mut seen = SlotSet::new();
        let mut ends = Vec::with_capacity(keys.len());
        for (end, key) in (1..).zip(&keys) {
            let slot = key_slot(args[*key as usize]);
            if !seen.insert(slot) {
                return KeyGroups::of_shared_slots(keys, args, shape);
            }
            ends.push((slot, end));
        }
        KeyGroups { keys, ends, shape }
    }

    /// The same for keys of which some have the same slot.
    #[cold]
    fn of_shared_slots(keys: Vec<u32>, args: &[&[u8]], shape: SplitShape) -> KeyGroups {
        let mut index = SlotIndex::new(keys.len());
        // Each group's number of keys at first, and its end later.
        let mut ends: Vec<(u16, u32)> = Vec::with_capacity(keys.len());
        let mut slots: Vec<u16> = Vec::with_capacity(keys.len());
        for key in &keys {
            let slot = key_slot(args[*key as usize]);
            slots.push(slot);
            let group = index.find_or_insert(slot, &ends);
            match ends.get_mut(group) {
                Some((_, count)) => *count += 1,
                None => ends.push((slot, 1)),
            }
        }
        let mut grouped = vec![0; keys.len()];
        let mut end = 0;
        for (_, count) in &mut ends {
            (*count, end) = (end, end + *count);
        }
        // Now it is each group's begin. It is the end when all keys of the group are in place.
        for (key, slot) in keys.iter().zip(slots) {
            let group = index.find_or_insert(slot, &ends);
            let next = &mut ends[group].1;
            grouped[*next as usize] = *key;
            *next += 1;
        }
        KeyGroups {
            keys: grouped,
            ends,
            shape,
        }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether every group has one key.
    pub fn has_single_keys(&self) -> bool {
        self.ends.len() == self.keys.len()
    }

    /// The key of a group, if every group has one.
    #[inline]
    pub fn single_key(&self, group: usize) -> u32 {
        self.keys[group]
    }

    #[inline]
    pub fn slot(&self, group: usize) -> u16 {
        self.ends[group].0
    }

    /// Each group's slot and the indexes of its keys.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u32])> {
        let mut begin = 0;
        self.ends.iter().map(move |(slot, end)| {
            let keys = &self.keys[begin..*end as usize];
            begin = *end as usize;
            (*slot, keys)
        })
    }

    /// The number of keys in all groups.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The position of a key among all keys of the command.
    pub fn rank(&self, key: u32) -> usize {
        (key as usize - 1) / self.shape.step
    }

    /// The encoded beginning of the command for a group of one key, if the name is short and [`KeyGroups::args_of_key`]
    /// is all that follows.
    pub fn prefix(&self, args: &[&[u8]]) -> Option<EncodedPrefix> {
        match self.shape.tail {
            0 => EncodedPrefix::of(1 + self.shape.step, args[0]),
            _ => None,
        }
    }

    /// A key and the arguments that belong to it.
    pub fn args_of_key<'a, 'b>(&self, args: &'a [&'b [u8]], key: u32) -> &'a [&'b [u8]] {
        &args[key as usize..key as usize + self.shape.step]
    }

    /// More bytes than [`KeyGroups::encode`] appends.
    pub fn max_encoded_len(&self, args: &[&[u8]]) -> usize {
        // The sign, up to 20 digits and two line ends.
        const OVERHEAD: usize = 25;
        let arg = |arg: &&[u8]| arg.len() + OVERHEAD;
        let name = args.first().map_or(0, arg) + OVERHEAD;
        args.iter().map(arg).sum::<usize>() + self.len() * name
    }

    /// Encodes the commands for the groups with at least `min_keys` keys; returns the end of each in `out`.
    pub fn encode(&self, args: &[&[u8]], min_keys: usize, out: &mut Vec<u8>) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut group_args = Vec::new();
        for (_, keys) in self.iter().filter(|(_, keys)| keys.len() >= min_keys) {
            group_args.clear();
            group_args.push(args[0]);
            for key in keys {
                group_args.extend_from_slice(self.args_of_key(args, *key));
            }
            group_args.extend_from_slice(&args[args.len() - self.shape.tail..]);
            encode_command(out, &group_args);
            ends.push(out.len());
        }
        ends
    }
}

/// Finds the group of a slot: a hash table with linear probing.
struct SlotIndex {
    /// The number of the group plus 1; 0 in an empty bucket.
    buckets: Vec<u32>,
    /// By how many bits a hash is shifted right to give a bucket.
    shift: u32,
}

impl SlotIndex {
    fn new(max_groups: usize) -> SlotIndex {
        let size = (2 * max_groups).next_power_of_two();
        SlotIndex {
            buckets: vec![0; size],
            shift: u32::BITS - size.ilog2(),
        }
    }

    /// The group of `slot`: a new one, `groups.len()`, if there is none yet.
    #[inline]
    fn find_or_insert(&mut self, slot: u16, groups: &[(u16, u32)]) -> usize {
        // Multiplicative hashing, because the slots of a command often form a pattern.
        let hash = u32::from(slot).wrapping_mul(0x9e37_79b9);
        let mut at = (hash >> self.shift) as usize;
        loop {
            // The table is at most half full, so this ends.
            match self.buckets.get_mut(at) {
                Some(bucket @ 0) => {
                    *bucket = groups.len() as u32 + 1;
                    return groups.len();
                }
                Some(bucket) if groups[*bucket as usize - 1].0 == slot => {
                    return *bucket as usize - 1;
                }
                Some(_) => at += 1,
                None => at = 0,
            }
        }
    }
}
