//! What is known of a command: a row of the generated table, and how it is found.
//!
//! A name is found by one multiplication, in an index built at compile time: no allocation, no hashing of bytes one by one.
//! Counted by callgrind in a release build: 56 instructions for GET, 98 for OBJECT ENCODING, 110 for CLUSTER COUNTKEYSINSLOT.

use super::access::Access;
use super::keys::{Begin, Find, KeySpec, Presence};
use super::option_arg::OptionArg;
use super::table::ROWS;

/// What servers say of a command (COMMAND), and three things they do not: `MayReplicate`, `Connection`, `Cursor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// May change data: a replica answers MOVED.
    Write,
    /// Changes none. Not yet a promise that it may go to a replica: that is [`access`](super::access()).
    Read,
    Blocking,
    /// Publishes, subscribes, or tells about it.
    Pubsub,
    Admin,
    /// Refused inside scripts.
    Noscript,
    /// Refused inside MULTI.
    NoMulti,
    /// Refused when the server is out of memory.
    Denyoom,
    /// Answered while the server loads its data.
    Loading,
    /// Answered by a replica that lost its primary.
    Stale,
    Fast,
    /// Answered before AUTH.
    NoAuth,
    /// May be without a key: EVAL with a numkeys of 0.
    KeysOptional,
    /// Its keys are not at fixed places.
    KeysMovable,
    /// Not flagged Write, and yet replicated to others when it changes something.
    MayReplicate,
    /// Changes the state of its connection: not for one that is shared.
    Connection,
    /// Goes on from a cursor that means something to the process that gave it, and to no other.
    Cursor,
    /// Has sub-commands, each with a row of its own.
    Container,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    const fn of(flags: &[Flag]) -> Flags {
        let (mut bits, mut i) = (0, 0);
        while i < flags.len() {
            bits |= 1 << flags[i] as u32;
            i += 1;
        }
        Flags(bits)
    }

    #[inline]
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u32) != 0
    }
}

/// To whom a command goes that is not for the owner of one slot (request_policy of the servers' command tips).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Default,
    AllNodes,
    AllShards,
    MultiShard,
    Special,
}

/// How the replies of several nodes become one (response_policy of the servers' command tips).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    Default,
    AllSucceeded,
    OneSucceeded,
    AggSum,
    AggMin,
    AggMax,
    AggLogicalAnd,
    AggLogicalOr,
    Special,
}

/// Where a command says how long it may block. A negative index counts from the end.
#[derive(Clone, Copy, Debug)]
pub enum Block {
    Never,
    Seconds(i8),
    Millis(i8),
    MillisAfter(&'static OptionArg),
}

/// One command, or one sub-command.
pub struct Row {
    packed: Packed,
    /// Its index in [`ROWS`].
    pub id: u16,
    /// The number of arguments, the name included; negative: at least so many.
    pub arity: i16,
    pub flags: Flags,
    /// Whether it is provably a read. Ask [`access`](super::access()), which also knows unknown sub-commands.
    pub(super) access: Access,
    /// The index of its only key, if it has exactly one, always there, and any node of its shard may
    /// serve it; else 0. Less than `arity` is.
    pub only_key: u8,
    pub request: Request,
    pub response: Response,
    /// In upper case, a sub-command after its container: "GET", "OBJECT ENCODING".
    pub name: &'static str,
    pub keys: &'static [KeySpec],
    pub(super) block: Block,
}

impl Row {
    pub(super) const fn new(
        id: u16,
        parent: Option<u16>,
        name: &'static str,
        arity: i16,
        flags: &[Flag],
        keys: &'static [KeySpec],
    ) -> Row {
        let flags = Flags::of(flags);
        let only_key = match keys {
            // Not to be taken for one of the many that any node of the shard may serve.
            _ if flags.has(Flag::Cursor) => 0,
            [
                KeySpec {
                    begin: Begin::Index(at),
                    find: Find::Range { last: 0, .. },
                    presence: Presence::Required,
                    ..
                },
            ] => *at,
            _ => 0,
        };
        // So that who has checked the arity may take the key without asking.
        assert!((only_key as u16) < arity.unsigned_abs());
        Row {
            packed: Packed::of_row(name, parent),
            id,
            arity,
            flags,
            access: Access::Write,
            only_key,
            request: Request::Default,
            response: Response::Default,
            name,
            keys,
            block: Block::Never,
        }
    }

    pub(super) const fn policy(mut self, request: Request, response: Response) -> Row {
        (self.request, self.response) = (request, response);
        self
    }

    pub(super) const fn read(mut self) -> Row {
        self.access = Access::Read;
        self
    }

    pub(super) const fn block(mut self, block: Block) -> Row {
        self.block = block;
        self
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.id == other.id
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The row of a command, or of its sub-command where it has those. A sub-command that is not known gives the row of its
/// container, which counts as a write then; a command that is not known gives none.
#[inline]
pub fn find(args: &[&[u8]]) -> Option<&'static Row> {
    let row = look_up(args.first()?, TOP)?;
    if row.flags.has(Flag::Container) && args.len() > 1 {
        return Some(look_up(args[1], row.id).unwrap_or(row));
    }
    Some(row)
}

/// A name prepared for comparison: of a sub-command, without that of its container.
struct Packed {
    head: Eight,
    /// The last 8 bytes, and the 8 after the first 8, where the name is longer than 8 and 16.
    last: Eight,
    middle: Eight,
    tag: u32,
}

impl Packed {
    const fn of_row(name: &'static str, parent: Option<u16>) -> Packed {
        let mut word = name.as_bytes();
        let parent = match parent {
            None => TOP,
            Some(id) => {
                while let [byte, rest @ ..] = word {
                    word = rest;
                    if *byte == b' ' {
                        break;
                    }
                }
                id
            }
        };
        assert!(word.len() <= LONGEST);
        Packed {
            head: Eight::of(head(word)),
            last: Eight::of(last(word)),
            middle: Eight::of(middle(word)),
            tag: tag(word, parent),
        }
    }

    /// Whether what follows the first 8 bytes is the same.
    #[inline]
    fn ends_like(&self, word: &[u8]) -> bool {
        word.len() <= LONGEST && self.last.is(last(word)) && self.middle.is(middle(word))
    }
}

const LONGEST: usize = 24;

/// Up to eight bytes to compare without case.
struct Eight {
    capitals: u64,
    /// The bits that must be the same: all but those that make letters small.
    significant: u64,
}

impl Eight {
    const fn of(capitals: u64) -> Eight {
        let (mut bytes, mut i) = (capitals.to_le_bytes(), 0);
        while i < 8 {
            bytes[i] = if bytes[i].is_ascii_alphabetic() {
                !SMALL
            } else {
                !0
            };
            i += 1;
        }
        Eight {
            capitals,
            significant: u64::from_le_bytes(bytes),
        }
    }

    #[inline]
    fn is(&self, word: u64) -> bool {
        (self.capitals ^ word) & self.significant == 0
    }
}

/// The bit that makes a letter small.
const SMALL: u8 = b'a' ^ b'A';
/// What commands have that are of no container: no row has this id.
const TOP: u16 = u16::MAX;

/// The container and the length.
#[inline]
const fn tag(word: &[u8], parent: u16) -> u32 {
    word.len() as u32 ^ (parent as u32) << 16
}

/// The first 8 bytes.
#[inline]
const fn head(word: &[u8]) -> u64 {
    match (
        word,
        word.first_chunk(),
        word.first_chunk(),
        word.last_chunk(),
    ) {
        (_, Some(eight), _, _) => u64::from_le_bytes(*eight),
        // Four and four, which overlap, and agree where they do.
        (_, _, Some(first), Some(last)) => {
            u32::from_le_bytes(*first) as u64
                | (u32::from_le_bytes(*last) as u64) << (8 * (word.len() - 4))
        }
        ([a, b, c], ..) => *a as u64 | (*b as u64) << 8 | (*c as u64) << 16,
        ([a, b], ..) => *a as u64 | (*b as u64) << 8,
        ([a], ..) => *a as u64,
        _ => 0,
    }
}

/// The last 8 bytes of more than 8.
#[inline]
const fn last(word: &[u8]) -> u64 {
    match word.last_chunk() {
        Some(eight) if word.len() > 8 => u64::from_le_bytes(*eight),
        _ => 0,
    }
}

/// The 8 bytes after the first 8 of more than 16.
#[inline]
const fn middle(word: &[u8]) -> u64 {
    if word.len() > 16 {
        head(word.split_at(8).1)
    } else {
        0
    }
}

const INDEX_BITS: u32 = 11;
const LAST: usize = (1 << INDEX_BITS) - 1;
/// Where no row is.
const EMPTY: u16 = u16::MAX;

/// Where in the index the search for a name begins: the same for small and capital letters.
#[inline]
const fn place(head: u64, tag: u32) -> usize {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    const CAPITAL: u64 = u64::from_le_bytes([!SMALL; 8]);
    (((head & CAPITAL) ^ (tag as u64) << 7).wrapping_mul(MULTIPLIER) >> (64 - INDEX_BITS)) as usize
}

/// Ids of rows by name; on a collision, in the next free place.
static INDEX: [u16; LAST + 1] = {
    let mut index = [EMPTY; LAST + 1];
    let mut id = 0;
    while id < ROWS.len() {
        let name = &ROWS[id].packed;
        let mut at = place(name.head.capitals, name.tag);
        while index[at] != EMPTY {
            at = (at + 1) & LAST;
        }
        index[at] = id as u16;
        id += 1;
    }
    index
};

#[inline]
fn look_up(word: &[u8], parent: u16) -> Option<&'static Row> {
    let (head, tag) = (head(word), tag(word, parent));
    let mut at = place(head, tag);
    loop {
        let row = ROWS.get(usize::from(INDEX[at]))?;
        let name = &row.packed;
        if name.head.is(head) && name.tag == tag && (word.len() <= 8 || name.ends_like(word)) {
            return Some(row);
        }
        at = (at + 1) & LAST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::table;

    #[test]
    fn every_name_is_found_in_any_case_and_nothing_near_it() {
        for row in &ROWS {
            for name in [row.name.to_owned(), row.name.to_lowercase()] {
                let args: Vec<&[u8]> = name.split(' ').map(str::as_bytes).collect();
                assert_eq!(find(&args), Some(row), "{name}");
            }
            // One bit of one byte, or one byte more or less, is another name.
            let name = row.name.split(' ').next_back().unwrap().as_bytes();
            let parent = row.name.split_once(' ').map_or(TOP, |(container, _)| {
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
                    look_up(other, parent),
                    Some(row),
                    "{other:?} is not {row:?}"
                );
            }
        }
    }

    #[test]
    fn names_nobody_has_are_not_found() {
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
    fn a_name_is_found_at_once() {
        let steps = |row: &Row| {
            let at = INDEX.iter().position(|&id| id == row.id).unwrap();
            at.wrapping_sub(place(row.packed.head.capitals, row.packed.tag)) & LAST
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

    #[test]
    fn the_facts_others_build_on() {
        assert_eq!(
            (table::GET.name, table::GET.arity, table::GET.only_key),
            ("GET", 2, 1)
        );
        assert_eq!(
            (
                table::OBJECT_ENCODING.only_key,
                table::MGET.only_key,
                table::EVAL.only_key
            ),
            (2, 0, 0)
        );
        assert_eq!(
            (table::DEL.request, table::DEL.response),
            (Request::MultiShard, Response::AggSum)
        );
        assert_eq!(
            (table::MSETNX.request, table::MSETNX.response),
            (Request::Default, Response::Default)
        );
        assert_eq!(
            (table::DBSIZE.request, table::DBSIZE.response),
            (Request::AllShards, Response::AggSum)
        );
        assert_eq!(
            (table::CONFIG_SET.request, table::CONFIG_SET.response),
            (Request::AllNodes, Response::AllSucceeded)
        );
        assert_eq!(table::SCRIPT_EXISTS.response, Response::AggLogicalAnd);
        assert_eq!(
            (table::SCAN.request, table::PING.response),
            (Request::Special, Response::AllSucceeded)
        );
        for row in [
            table::MULTI,
            table::WATCH,
            table::CLIENT_REPLY,
            table::SUBSCRIBE,
            table::SELECT,
            table::HELLO,
        ] {
            assert!(row.flags.has(Flag::Connection), "{row:?}");
        }
        for row in [table::BLPOP, table::XREAD, table::WAIT] {
            assert!(row.flags.has(Flag::Blocking), "{row:?}");
        }
        for row in [table::PFCOUNT, table::PUBLISH, table::EVAL] {
            assert!(row.flags.has(Flag::MayReplicate), "{row:?}");
        }
    }
}
