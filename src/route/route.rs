//! Where a command goes: to the owner of a slot, to several nodes, or to any node. No I/O.
//!
//! Cost, by callgrind in a release build, including the look-up of the row and the hash of the keys: 244 instructions for
//! GET of a key of 9 bytes, 282 for OBJECT ENCODING of one, 1,445 for EVALSHA of two keys, 1,634 for XREAD of two, 190 for DBSIZE.

use super::access::access;
use super::command::{Access, Flag, Request, Row};
use super::key_groups::{KeyGroups, SplitShape};
use super::key_spec::{Begin, Find, KeySpec};
use super::keys::{check, each_key};
use super::merge::{Merge, merge_of};
use crate::error::{Code, Error, Result};
use crate::sim_hooks::sim_panic_point;
use crate::topology::{KeySpace, SLOTS, key_slot};

/// The nodes that receive a command without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    All,
    Primaries,
}

/// The destination of a command.
#[derive(Clone, Debug)]
pub enum Route {
    /// To the shard that owns the slot.
    Slot(u16),
    /// To the primary that owns the slot: only its answer counts.
    Primary(u16),
    /// To any node: every node gives the same answer.
    AnyNode,
    /// To any node, but to the same one while it is healthy: commands with this slot keep their order.
    AnyNodeOf(u16),
    /// To several nodes, unchanged.
    FanOut(Nodes, Merge),
    /// To several shards, each with its own keys.
    Split(KeyGroups, Merge),
    /// To one primary after another.
    Scan,
    /// Only to a node that the caller selects, unless there is only one.
    Selected,
    /// To the connection of the writes before it in a pipeline.
    Writes,
}

/// What routes depend on beside the command.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteOptions {
    pub key_space: KeySpace,
    /// Split a command that is atomic on one server (MSET) when its keys are in several slots.
    pub split_writes: bool,
}

/// The route of a command that the table describes.
pub fn route(row: &Row, args: &[&[u8]], options: RouteOptions) -> Result<Route> {
    sim_panic_point!(Route);
    check(row, args)?;
    let only_key = usize::from(row.only_key);
    if only_key != 0 {
        return Ok(Route::Slot(options.key_space.slot(args[only_key])));
    }
    route_by_keys(row, args, options)
}

fn route_by_keys(row: &Row, args: &[&[u8]], options: RouteOptions) -> Result<Route> {
    let keys = key_positions(row, args)?;
    let key_space = options.key_space;
    let Some(first) = keys.first().copied() else {
        return match key_space {
            KeySpace::HashSlots => route_without_keys(row, args),
            KeySpace::OneSlot => Ok(route_to_one_server(row, args)),
        };
    };
    let key = |at: u32| args[at as usize];
    let slot = key_space.slot(key(first));
    let is_stray = |at: &u32| key_space.slot(key(*at)) != slot;
    let Some(stray) = keys.iter().copied().find(is_stray) else {
        return Ok(if row.flags.has(Flag::PrimaryOnly) {
            Route::Primary(slot)
        } else {
            Route::Slot(slot)
        });
    };
    if row.request == Request::MultiShard
        && let Some(shape) = split_shape(row)
        && let Some(merge) = merge_of(row)
        && (access(row, args) == Access::Read || !merge.is_atomic() || options.split_writes)
    {
        return Ok(Route::Split(KeyGroups::new(keys, args, shape), merge));
    }
    let mut error = crossslot(row.name, key(first), key(stray));
    if row.request == Request::MultiShard && split_shape(row).is_some() {
        error.message += ", and the option split_writes allows one write per slot";
    }
    Err(error)
}

fn key_positions(row: &Row, args: &[&[u8]]) -> Result<Vec<u32>> {
    match split_shape(row) {
        Some(SplitShape { step, tail })
            if args.len() > step + tail && (args.len() - 1 - tail).is_multiple_of(step) =>
        {
            let end = (args.len() - tail) as u32;
            Ok((1..end).step_by(step).collect())
        }
        _ => {
            let mut keys: Vec<u32> = Vec::new();
            each_key(row, args, &mut |index, _| keys.push(index as u32))?;
            Ok(keys)
        }
    }
}

fn route_without_keys(row: &Row, args: &[&[u8]]) -> Result<Route> {
    Ok(match (row.request, merge_of(row)) {
        (Request::AllNodes, Some(merge)) => Route::FanOut(Nodes::All, merge),
        (Request::AllShards, Some(merge)) => Route::FanOut(Nodes::Primaries, merge),
        (Request::Special, _) => Route::Scan,
        (Request::Selected, _) => Route::Selected,
        (Request::Writes, _) => Route::Writes,
        (Request::SlotNumber, _) => Route::Primary(slot_number(row, args)?),
        (Request::Channel, _) => Route::AnyNodeOf(key_slot(args[1])),
        _ => Route::AnyNode,
    })
}

/// The route of a command without keys if one server has all keys: to that server, and not to its replicas, as if it had
/// none. A read that every node answers alike may go to a replica.
fn route_to_one_server(row: &Row, args: &[&[u8]]) -> Route {
    match (row.request, access(row, args)) {
        (Request::Writes, _) => Route::Writes,
        (Request::Default, Access::Read) => Route::AnyNode,
        _ => Route::Primary(0),
    }
}

/// The slot that argument 2 names.
fn slot_number(row: &Row, args: &[&[u8]]) -> Result<u16> {
    let number = args.get(2).and_then(|arg| std::str::from_utf8(arg).ok());
    let slot = number.and_then(|number| number.parse::<u16>().ok());
    slot.filter(|slot| usize::from(*slot) < SLOTS)
        .ok_or_else(|| Error::invalid(format_args!("{} needs a slot, 0 to 16383", row.name)))
}

/// The error for two keys of one command that are in different slots.
pub fn crossslot(command: &str, a: &[u8], b: &[u8]) -> Error {
    Error::new(
        Code::CrossSlot,
        format_args!(
            "the keys of {command} are in different slots: {} in {}, {} in {}; a common {{hash tag}} puts them in one slot",
            printable(a),
            key_slot(a),
            printable(b),
            key_slot(b),
        ),
    )
}

/// A key for an error message: printable characters, and at most 64 bytes of the key.
pub fn printable(key: &[u8]) -> String {
    const MAX_LEN: usize = 64;
    let shown: String = key[..key.len().min(MAX_LEN)].escape_ascii().to_string();
    if key.len() > MAX_LEN {
        format!("{shown}...")
    } else {
        shown
    }
}

/// How the command is split, if the keys and their arguments follow its name.
fn split_shape(row: &Row) -> Option<SplitShape> {
    match row.keys {
        [
            KeySpec {
                begin: Begin::Index(1),
                find:
                    Find::Range {
                        last: last @ ..=-1,
                        step,
                        ..
                    },
                ..
            },
        ] => Some(SplitShape {
            step: usize::from(*step).max(1),
            tail: usize::from(last.unsigned_abs()) - 1,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::find;

    fn route_of(words: &str, split_writes: bool) -> Result<Route> {
        let options = RouteOptions {
            split_writes,
            ..RouteOptions::default()
        };
        route_with(words, options)
    }

    fn route_with(words: &str, options: RouteOptions) -> Result<Route> {
        let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        route(find(&args).unwrap(), &args, options)
    }

    #[test]
    fn multi_key_commands_are_split_by_slot_only_if_allowed() {
        for words in [
            "GET a",
            "MGET {t}a {t}b",
            "MSET {t}a 1 {t}b 2",
            "EVAL x 1 a",
        ] {
            assert!(
                matches!(route_of(words, false), Ok(Route::Slot(_))),
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
                matches!(route_of(words, false), Ok(Route::Split(p, _)) if p.len() == 2),
                "{words}"
            );
        }
        assert_eq!(
            route_of("MSET a 1 b 2", false).unwrap_err().code,
            Code::CrossSlot
        );
        assert!(matches!(
            route_of("MSET a 1 b 2", true),
            Ok(Route::Split(..))
        ));
        for words in ["RENAME a b", "SUNION a b", "EVAL x 2 a b"] {
            let error = route_of(words, true).unwrap_err();
            assert_eq!(error.code, Code::CrossSlot, "{words}");
            assert!(error.message.contains("a in 15495"), "{}", error.message);
        }
    }

    #[test]
    fn keyless_commands_follow_request_policy() {
        assert!(matches!(
            route_of("DBSIZE", false),
            Ok(Route::FanOut(Nodes::Primaries, _))
        ));
        assert!(matches!(
            route_of("CONFIG SET maxmemory 1", false),
            Ok(Route::FanOut(Nodes::All, _))
        ));
        assert!(matches!(route_of("ECHO x", false), Ok(Route::AnyNode)));
        assert!(matches!(route_of("SCAN 0", false), Ok(Route::Scan)));
        for words in ["HSCAN k 0", "SSCAN k 0", "ZSCAN k 0", "CLUSTERSCAN 0"] {
            assert!(
                matches!(route_of(words, false), Ok(Route::Primary(_))),
                "{words}"
            );
        }
    }

    #[test]
    fn messages_of_one_channel_go_to_one_node() {
        let slot = key_slot(b"news");
        assert!(
            matches!(route_of("PUBLISH news m", false), Ok(Route::AnyNodeOf(of)) if of == slot)
        );
        assert!(matches!(route_of("SPUBLISH news m", false), Ok(Route::Primary(of)) if of == slot));
    }

    #[test]
    fn commands_of_one_node_or_slot_go_nowhere_else() {
        for words in [
            "CLUSTER COUNTKEYSINSLOT 7",
            "CLUSTER GETKEYSINSLOT 7 10",
            "cluster flushslot 7",
        ] {
            assert!(
                matches!(route_of(words, false), Ok(Route::Primary(7))),
                "{words}"
            );
        }
        for words in ["CLUSTER COUNTKEYSINSLOT 16384", "CLUSTER GETKEYSINSLOT x 1"] {
            assert_eq!(
                route_of(words, false).unwrap_err().code,
                Code::Invalid,
                "{words}"
            );
        }
        for words in [
            "SHUTDOWN",
            "CLUSTER RESET",
            "CLUSTER NOSUCH",
            "DEBUG SLEEP 1",
            "CLIENT KILL a:1",
        ] {
            assert!(
                matches!(route_of(words, false), Ok(Route::Selected)),
                "{words}"
            );
        }
        assert!(matches!(route_of("WAIT 1 0", false), Ok(Route::Writes)));
        let slot = key_slot(b"k");
        for words in [
            "DEBUG OBJECT k",
            "debug sdslen k",
            "FT.CURSOR READ k 5",
            "FT.AGGREGATE k * withcursor",
        ] {
            assert!(
                matches!(route_of(words, false), Ok(Route::Primary(s)) if s == slot),
                "{words}"
            );
        }
        for words in [
            "FT.AGGREGATE k *",
            "FT.SEARCH k *",
            "FT.CREATE k SCHEMA t TEXT",
        ] {
            assert!(
                matches!(route_of(words, false), Ok(Route::AnyNode)),
                "{words}"
            );
        }
    }

    #[test]
    fn commands_of_known_modules_are_split_by_all_their_keys() {
        for (words, keys) in [("JSON.MGET a b $", 2), ("TS.MADD a 1 2 b 1 2 c 1 2", 3)] {
            assert!(
                matches!(route_of(words, false), Ok(Route::Split(p, _)) if p.keys() == keys),
                "{words}"
            );
        }
        for words in [
            "JSON.MSET a $ 1 b $ 2",
            "CMS.MERGE a 1 b",
            "TDIGEST.MERGE {a} 2 {a} b",
            "TS.CREATERULE a b",
        ] {
            assert_eq!(
                route_of(words, false).unwrap_err().code,
                Code::CrossSlot,
                "{words}"
            );
        }
        assert!(matches!(
            route_of("JSON.MSET a $ 1 b $ 2", true),
            Ok(Route::Split(..))
        ));
        assert!(matches!(
            route_of("JSON.MGET {t}a {t}b $", false),
            Ok(Route::Slot(_))
        ));
        assert!(matches!(route_of("PFMERGE a", false), Ok(Route::Slot(_))));
        for words in ["JSON.MGET a", "TS.MADD a 1", "JSON.MSET a $ 1 b"] {
            assert_eq!(
                route_of(words, true).unwrap_err().code,
                Code::Invalid,
                "{words}"
            );
        }
    }

    #[test]
    fn one_server_takes_each_command_whole() {
        for split_writes in [false, true] {
            let options = RouteOptions {
                key_space: KeySpace::OneSlot,
                split_writes,
            };
            for (words, expected) in [
                ("GET a", "Slot(0)"),
                ("MGET a b", "Slot(0)"),
                ("MSET a 1 b 2", "Slot(0)"),
                ("MSETNX a 1 b 2", "Slot(0)"),
                ("DEL a b", "Slot(0)"),
                ("UNLINK a b", "Slot(0)"),
                ("EXISTS a b", "Slot(0)"),
                ("TOUCH a b", "Slot(0)"),
                ("JSON.MGET a b $", "Slot(0)"),
                ("JSON.MSET a $ 1 b $ 2", "Slot(0)"),
                ("TS.MADD a 1 2 b 1 2", "Slot(0)"),
                ("CMS.MERGE a 1 b", "Slot(0)"),
                ("RENAME a b", "Slot(0)"),
                ("SINTER a b", "Slot(0)"),
                ("EVAL x 2 a b", "Slot(0)"),
                ("BLPOP a b 0", "Slot(0)"),
                ("XREAD STREAMS a b 0 0", "Slot(0)"),
                ("HSCAN k 0", "Primary(0)"),
                ("SCAN 0", "Primary(0)"),
                ("KEYS *", "Primary(0)"),
                ("DBSIZE", "Primary(0)"),
                ("FLUSHALL", "Primary(0)"),
                ("RANDOMKEY", "Primary(0)"),
                ("INFO", "Primary(0)"),
                ("CONFIG SET maxmemory 1", "Primary(0)"),
                ("SCRIPT LOAD x", "Primary(0)"),
                ("PUBSUB CHANNELS", "Primary(0)"),
                ("PUBLISH c m", "Primary(0)"),
                ("EVAL x 0", "Primary(0)"),
                ("SHUTDOWN", "Primary(0)"),
                ("SWAPDB 0 1", "Primary(0)"),
                ("CLIENT KILL a:1", "Primary(0)"),
                ("PING", "Primary(0)"),
                ("ECHO x", "AnyNode"),
                ("TIME", "AnyNode"),
                ("WAIT 1 0", "Writes"),
            ] {
                let route = route_with(words, options).unwrap();
                assert_eq!(format!("{route:?}"), expected, "{words}");
            }
            for words in ["MSET a", "RENAME a", "EVAL x 3 a b"] {
                let error = route_with(words, options).unwrap_err();
                assert_eq!(error.code, Code::Invalid, "{words}");
            }
        }
    }

    #[test]
    fn repeated_key_stays_in_its_key_group() {
        let Ok(Route::Split(groups, _)) = route_of("MGET a b a", false) else {
            panic!();
        };
        let of_a = groups.iter().find(|(slot, _)| *slot == key_slot(b"a"));
        assert_eq!(of_a, Some((key_slot(b"a"), [1, 3].as_slice())));
    }
}
