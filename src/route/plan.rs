//! Where a command goes: to the owner of a slot, to several nodes, or anywhere. No I/O.
//!
//! Counted by callgrind in a release build, finding the row and hashing the keys included: 244 instructions for GET of a key of
//! 9 bytes, 282 for OBJECT ENCODING of one, 1,445 for EVALSHA of two keys, 1,634 for XREAD of two, 190 for DBSIZE.

use super::access::{Access, access};
use super::command::{Flag, Request, Row};
use super::keys::{Begin, Find, KeySpec, check, each_key};
use super::merge::{Merge, merge_of};
use crate::error::{Code, Error, Result};
use crate::resp::{EncodedPrefix, encode_command};
use crate::sim_hooks::sim_panic_point;
use crate::topology::key_slot;

/// Whom a command without keys is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    All,
    Primaries,
}

/// The keys of a command that is split, those of a slot side by side. One list for all: most
/// slots have one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyGroups {
    /// The indexes of the keys among the arguments.
    keys: Vec<u32>,
    /// Of each group the slot, and where its keys end.
    ends: Vec<(u16, u32)>,
    /// How many arguments belong to each key.
    step: usize,
}

impl KeyGroups {
    /// Groups keys by slot, the slots in the order in which they are met.
    fn new(keys: Vec<u32>, args: &[&[u8]], step: usize) -> KeyGroups {
        let mut index = Index::new(keys.len());
        // Of each group how many keys it has, for now.
        let mut ends: Vec<(u16, u32)> = Vec::with_capacity(keys.len());
        let mut slots: Vec<u16> = Vec::with_capacity(keys.len());
        for key in &keys {
            let slot = key_slot(args[*key as usize]);
            slots.push(slot);
            let group = index.find(slot, &ends);
            match ends.get_mut(group) {
                Some((_, count)) => *count += 1,
                None => ends.push((slot, 1)),
            }
        }
        let placed = if ends.len() == keys.len() {
            for (end, (_, count)) in (1..).zip(&mut ends) {
                *count = end;
            }
            keys
        } else {
            let mut placed = vec![0; keys.len()];
            let mut end = 0;
            for (_, count) in &mut ends {
                (*count, end) = (end, end + *count);
            }
            // Now where each begins; once its keys are there it has moved to where it ends.
            for (key, slot) in keys.iter().zip(slots) {
                let group = index.find(slot, &ends);
                let place = &mut ends[group].1;
                placed[*place as usize] = *key;
                *place += 1;
            }
            placed
        };
        KeyGroups {
            keys: placed,
            ends,
            step,
        }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The slot and the key of each group, in the order of the keys, if each has but one.
    pub fn single_keys(&self) -> Option<impl Iterator<Item = (u16, u32)>> {
        let slots = self.ends.iter().map(|(slot, _)| *slot);
        (self.ends.len() == self.keys.len()).then(|| slots.zip(self.keys.iter().copied()))
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

    /// How many keys there are in all.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The place of a key among all the keys.
    pub fn rank(&self, key: u32) -> usize {
        (key as usize - 1) / self.step
    }

    /// The beginning of the command that asks for a group of one key, if it is short.
    pub fn opening(&self, args: &[&[u8]]) -> Option<EncodedPrefix> {
        EncodedPrefix::of(1 + self.step, args[0])
    }

    /// The other arguments of that command.
    pub fn arguments<'a, 'b>(&self, args: &'a [&'b [u8]], key: u32) -> &'a [&'b [u8]] {
        &args[key as usize..key as usize + self.step]
    }

    /// Encodes the commands that ask for the groups of at least so many keys; returns where each of them ends.
    pub fn encode(&self, args: &[&[u8]], least: usize, out: &mut Vec<u8>) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut words = Vec::new();
        for (_, keys) in self.iter().filter(|(_, keys)| keys.len() >= least) {
            words.clear();
            words.push(args[0]);
            for key in keys {
                words.extend_from_slice(self.arguments(args, *key));
            }
            encode_command(out, &words);
            ends.push(out.len());
        }
        ends
    }
}

/// Finds the group of a slot: where a part of the slot's number says, or behind that.
struct Index {
    /// One more than the group; 0 where there is none.
    places: Vec<u32>,
    /// How far a product is shifted to be a place.
    shift: u32,
}

impl Index {
    /// For so many groups.
    fn new(most: usize) -> Index {
        let size = (2 * most).next_power_of_two();
        Index {
            places: vec![0; size],
            shift: u32::BITS - size.ilog2(),
        }
    }

    /// The group of `slot`, which is the next one if there is none yet.
    #[inline]
    fn find(&mut self, slot: u16, groups: &[(u16, u32)]) -> usize {
        // The numbers of slots often have a pattern.
        let product = u32::from(slot).wrapping_mul(0x9e37_79b9);
        let mut at = (product >> self.shift) as usize;
        loop {
            // It is at most half full, so this ends.
            match self.places.get_mut(at) {
                Some(place @ 0) => {
                    *place = groups.len() as u32 + 1;
                    return groups.len();
                }
                Some(place) if groups[*place as usize - 1].0 == slot => return *place as usize - 1,
                Some(_) => at += 1,
                None => at = 0,
            }
        }
    }
}

#[derive(Clone, Debug)]
pub enum Route {
    /// To the shard that serves the slot.
    Slot(u16),
    /// To the primary that serves the slot: where the next cursor goes, too.
    Primary(u16),
    /// To any node: its answer is as good as another's.
    AnyNode,
    /// To several nodes, as it is.
    FanOut(Nodes, Merge),
    /// To several shards, each with its own keys.
    Split(KeyGroups, Merge),
    /// To one primary after another.
    Scan,
}

/// Where a known command goes.
pub fn plan(row: &Row, args: &[&[u8]], split_writes: bool) -> Result<Route> {
    sim_panic_point!(Route);
    check(row, args)?;
    let only = usize::from(row.only_key);
    if only != 0 {
        return Ok(Route::Slot(key_slot(args[only])));
    }
    split_by_slot(row, args, split_writes)
}

fn split_by_slot(row: &Row, args: &[&[u8]], split_writes: bool) -> Result<Route> {
    let keys = match step(row) {
        Some(step) if (args.len() - 1).is_multiple_of(step) => {
            (1..args.len() as u32).step_by(step).collect()
        }
        _ => {
            let mut keys: Vec<u32> = Vec::new();
            each_key(row, args, &mut |index, _| keys.push(index as u32))?;
            keys
        }
    };
    let key = |at: u32| args[at as usize];
    let Some(first) = keys.first().copied() else {
        return Ok(match (row.request, merge_of(row)) {
            (Request::AllNodes, Some(merge)) => Route::FanOut(Nodes::All, merge),
            (Request::AllShards, Some(merge)) => Route::FanOut(Nodes::Primaries, merge),
            (Request::Special, _) => Route::Scan,
            _ => Route::AnyNode,
        });
    };
    let slot = key_slot(key(first));
    let Some(stray) = keys.iter().copied().find(|k| key_slot(key(*k)) != slot) else {
        return Ok(if row.flags.has(Flag::Cursor) {
            Route::Primary(slot)
        } else {
            Route::Slot(slot)
        });
    };
    if row.request == Request::MultiShard
        && let Some(step) = step(row)
        && let Some(merge) = merge_of(row)
        && (access(row, args) == Access::Read || !merge.is_atomic() || split_writes)
    {
        return Ok(Route::Split(KeyGroups::new(keys, args, step), merge));
    }
    let mut error = crossslot(row.name, key(first), key(stray));
    if row.request == Request::MultiShard && step(row).is_some() {
        error.message += ", and the option split_writes lets each slot be written by itself";
    }
    Err(error)
}

/// Two keys that do not go together, by name.
pub fn crossslot(command: &str, a: &[u8], b: &[u8]) -> Error {
    Error::new(
        Code::CrossSlot,
        format_args!(
            "the keys of {command} live in different slots: {} in {}, {} in {}; a common {{hash tag}} puts them in one",
            printable(a),
            key_slot(a),
            printable(b),
            key_slot(b),
        ),
    )
}

/// A key as it may stand in a message: short, and of printable characters.
pub fn printable(key: &[u8]) -> String {
    const MOST: usize = 64;
    let shown: String = key[..key.len().min(MOST)].escape_ascii().to_string();
    if key.len() > MOST {
        format!("{shown}...")
    } else {
        shown
    }
}

/// Whether a client whose connections are shared may send the command: not what changes the
/// state of the connection it happens to get.
pub fn check_shareable(row: &Row) -> Result<()> {
    if !row.flags.has(Flag::Connection) {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "{} changes the state of a connection, and this client's are shared: a handle of rdc_pin has one of its own",
        row.name
    )))
}

/// How many arguments belong to each key of a command that can be split, if its keys are all
/// that follows its name.
fn step(row: &Row) -> Option<usize> {
    match row.keys {
        [
            KeySpec {
                begin: Begin::Index(1),
                find: Find::Range { last: -1, step, .. },
                ..
            },
        ] => Some(usize::from(*step).max(1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::find;
    use super::*;

    fn planned(words: &str, split_writes: bool) -> Result<Route> {
        let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        plan(find(&args).unwrap(), &args, split_writes)
    }

    #[test]
    fn keys_of_one_slot_go_together_and_others_are_split_only_where_nothing_is_promised() {
        for words in [
            "GET a",
            "MGET {t}a {t}b",
            "MSET {t}a 1 {t}b 2",
            "EVAL x 1 a",
        ] {
            assert!(
                matches!(planned(words, false), Ok(Route::Slot(_))),
                "{words}"
            );
        }
        for words in [
            "MGET a b",
            "EXISTS a b",
            "DEL a b",
            "UNLINK a b",
            "TOUCH a b",
        ] {
            assert!(
                matches!(planned(words, false), Ok(Route::Split(p, _)) if p.len() == 2),
                "{words}"
            );
        }
        assert_eq!(
            planned("MSET a 1 b 2", false).unwrap_err().code,
            Code::CrossSlot
        );
        assert!(matches!(
            planned("MSET a 1 b 2", true),
            Ok(Route::Split(..))
        ));
        for words in ["RENAME a b", "SUNION a b", "EVAL x 2 a b"] {
            let error = planned(words, true).unwrap_err();
            assert_eq!(error.code, Code::CrossSlot, "{words}");
            assert!(error.message.contains("a in 15495"), "{}", error.message);
        }
    }

    #[test]
    fn commands_without_keys_go_where_the_servers_say() {
        assert!(matches!(
            planned("DBSIZE", false),
            Ok(Route::FanOut(Nodes::Primaries, _))
        ));
        assert!(matches!(
            planned("CONFIG SET maxmemory 1", false),
            Ok(Route::FanOut(Nodes::All, _))
        ));
        assert!(matches!(planned("ECHO x", false), Ok(Route::AnyNode)));
        assert!(matches!(planned("SCAN 0", false), Ok(Route::Scan)));
        for words in ["HSCAN k 0", "SSCAN k 0", "ZSCAN k 0", "CLUSTERSCAN 0"] {
            assert!(
                matches!(planned(words, false), Ok(Route::Primary(_))),
                "{words}"
            );
        }
    }

    #[test]
    fn a_duplicated_key_stays_with_its_slot() {
        let Ok(Route::Split(groups, _)) = planned("MGET a b a", false) else {
            panic!();
        };
        let of_a = groups.iter().find(|(slot, _)| *slot == key_slot(b"a"));
        assert_eq!(of_a, Some((key_slot(b"a"), [1, 3].as_slice())));
    }
}
