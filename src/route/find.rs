//! Finds the row of a command by its name: one multiplication and an index that is built at compile time.
//!
//! Cost, by callgrind in a release build: 56 instructions for GET, 98 for OBJECT ENCODING, 110 for CLUSTER COUNTKEYSINSLOT.

use super::command::{Flag, Row};
use super::packed_name::{NO_CONTAINER, NameKey};
use super::table::ROWS;

/// The row of a command, or of its sub-command. An unknown sub-command gives the row of its container, which counts as a
/// write then. An unknown command gives `None`.
#[inline]
pub fn find(args: &[&[u8]]) -> Option<&'static Row> {
    let row = find_word(args.first()?, NO_CONTAINER)?;
    if row.flags.has(Flag::Container) && args.len() > 1 {
        return Some(find_word(args[1], row.id).unwrap_or(row));
    }
    Some(row)
}

const INDEX_BITS: u32 = 11;
const LAST_BUCKET: usize = (1 << INDEX_BITS) - 1;
/// An empty bucket.
const EMPTY: u16 = u16::MAX;

/// The bucket at which the search for a name begins.
#[inline]
const fn bucket(hash: u64) -> usize {
    (hash >> (64 - INDEX_BITS)) as usize
}

/// A hash table of the rows' ids by name, with linear probing.
static INDEX: [u16; LAST_BUCKET + 1] = {
    let mut index = [EMPTY; LAST_BUCKET + 1];
    let mut id = 0;
    while id < ROWS.len() {
        let mut at = bucket(ROWS[id].packed.hash());
        while index[at] != EMPTY {
            at = (at + 1) & LAST_BUCKET;
        }
        index[at] = id as u16;
        id += 1;
    }
    index
};

#[inline]
fn find_word(word: &[u8], parent: u16) -> Option<&'static Row> {
    let key = NameKey::of(word, parent);
    let mut at = bucket(key.hash());
    loop {
        let row = ROWS.get(usize::from(INDEX[at]))?;
        if row.packed.is(word, &key) {
            return Some(row);
        }
        at = (at + 1) & LAST_BUCKET;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::table;

    #[test]
    fn command_lookup_ignores_case_and_needs_exact_name() {
        for row in &ROWS {
            for name in [row.name.to_owned(), row.name.to_lowercase()] {
                let args: Vec<&[u8]> = name.split(' ').map(str::as_bytes).collect();
                assert_eq!(find(&args), Some(row), "{name}");
            }
            // A name that differs in one bit or by one byte is another name.
            let name = row.name.split(' ').next_back().unwrap().as_bytes();
            let parent = row
                .name
                .split_once(' ')
                .map_or(NO_CONTAINER, |(container, _)| {
                    find(&[container.as_bytes()]).unwrap().id
                });
            let mut others = vec![
                [name, b"\0"].concat(),
                [b"\0", name].concat(),
                name[1..].to_vec(),
            ];
            for (i, bit) in (0..name.len()).flat_map(|i| (0..8).map(move |bit| (i, bit))) {
                let mut other = name.to_vec();
                other[i] ^= 1 << bit;
                others.push(other);
            }
            for other in others
                .iter()
                .filter(|other| !other.eq_ignore_ascii_case(name))
            {
                assert_ne!(
                    find_word(other, parent),
                    Some(row),
                    "{other:?} is not {row:?}"
                );
            }
        }
    }

    #[test]
    fn unknown_command_names_are_not_found() {
        let long = vec![b'G'; 65_536 + 3];
        assert_eq!(find(&[]), None);
        for name in [
            &b""[..],
            b"NOSUCH",
            b"OBJECTENCODING",
            b"OBJECT ENCODING",
            b"ENCODING",
            &long,
        ] {
            assert_eq!(
                find(&[name]),
                None,
                "{} bytes {:?}",
                name.len(),
                name.first()
            );
        }
        assert_eq!(find(&[b"object", b"nosuch"]), Some(table::OBJECT));
        assert_eq!(find(&[b"config", b""]), Some(table::CONFIG));
    }

    #[test]
    fn command_lookup_needs_few_probes() {
        let steps = |row: &Row| {
            let at = INDEX.iter().position(|&id| id == row.id).unwrap();
            at.wrapping_sub(bucket(row.packed.hash())) & LAST_BUCKET
        };
        assert!(ROWS.iter().map(steps).max() <= Some(4));
        let often = [
            table::GET,
            table::SET,
            table::DEL,
            table::MGET,
            table::HGET,
            table::HSET,
            table::INCRBY,
            table::EXPIRE,
            table::EXISTS,
        ];
        assert_eq!(often.map(steps), [0; 9]);
    }
}
