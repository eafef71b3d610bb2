//! Whether a replica's answer may be wrong because a key is missing there.
//!
//! While a slot migrates, a replica of the old owner no longer has the keys that have moved, and answers as if
//! they did not exist (Valkey 8 and later redirect). And a replica of the new owner may not have them yet.

use super::command::{Flag, Row};
use super::find::find;
use super::keys::each_key;
use super::merge::{Merge, merge_of};
use crate::resp::{Kind, View};

/// Whether the primary might give another answer because the replica lacks a key: the answer is one that a
/// key which does not exist can have, or does not show whether all keys exist.
pub fn may_be_missing_key(args: &[&[u8]], reply: View<'_>) -> bool {
    let row = find(args);
    let mut keys = 0;
    if let Some(row) = row
        && each_key(row, args, &mut |_, _| keys += 1).is_err()
    {
        keys = 0;
    }
    if hides_missing_keys(row, keys) {
        return true;
    }
    match reply.kind() {
        Kind::Nil => true,
        // 0 of EXISTS, LLEN, SISMEMBER; -1 of BITPOS; -2 of TTL; and less than the number of keys of
        // EXISTS.
        Kind::Integer | Kind::Bool => reply.int().is_none_or(|n| n <= 0 || n < keys),
        // "" of GETRANGE, "none" of TYPE; not the report of MEMORY DOCTOR.
        Kind::Status => matches!(reply.text(), Some(b"none" | b"")),
        // XINFO STREAM, OBJECT FREQ.
        Kind::Error => reply
            .text()
            .is_some_and(|text| text.starts_with(b"ERR no such key")),
        kind if kind.has_text() => reply.text().is_none_or(<[u8]>::is_empty),
        // A nil element of MGET or HMGET; only zeros of SMISMEMBER.
        _ => {
            reply.is_empty()
                || reply.elements().any(View::is_nil)
                || reply
                    .elements()
                    .all(|e| e.kind() == Kind::Integer && e.int() == Some(0))
        }
    }
}

/// Whether a command combines its keys so that a missing one does not show in the answer: a script, a union,
/// a difference. A command that answers for each key, or counts the keys, does not.
fn hides_missing_keys(row: Option<&'static Row>, keys: i64) -> bool {
    let Some(row) = row else { return true };
    let script = row.flags.has(Flag::KeysOptional) && row.flags.has(Flag::KeysMovable);
    let by_key = matches!(merge_of(row), Some(Merge::InOrder | Merge::Sum));
    (script && keys > 0) || (keys > 1 && !by_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Builder, Kind, Reply};

    fn reply(build: impl FnOnce(&mut Builder)) -> Reply {
        let mut out = Builder::new();
        build(&mut out);
        out.finish()
    }

    fn list(words: &[Option<&str>]) -> Reply {
        reply(|out| {
            for word in words {
                match word {
                    Some(word) => out.text(word),
                    None => out.nil(),
                };
            }
            out.aggregate(Kind::Array, 0);
        })
    }

    fn int(n: i64) -> Reply {
        reply(|out| {
            out.int(n);
        })
    }

    fn text(word: &str) -> Reply {
        reply(|out| {
            out.text(word);
        })
    }

    #[test]
    fn missing_key_replies_are_recognised() {
        let (a, b) = (Some("a"), Some("b"));
        let mut none = Reply::default();
        none.root.value = none.store_text(Kind::Status, b"none");
        let mut gone = Reply::default();
        gone.root.value = gone.store_text(Kind::Error, b"ERR no such key");
        let mut wrong = Reply::default();
        wrong.root.value = wrong.store_text(Kind::Error, b"WRONGTYPE Operation");
        for (command, reply, doubtful) in [
            ("GET k", Reply::default(), true),
            ("GET k", text("v"), false),
            ("GET k", text(""), true),
            ("EXISTS k", int(0), true),
            ("EXISTS k", int(1), false),
            ("EXISTS {k}a {k}b", int(1), true),
            ("EXISTS {k}a {k}b", int(2), false),
            ("TTL k", int(-2), true),
            ("TTL k", int(-1), true),
            ("TTL k", int(7), false),
            ("STRLEN k", int(0), true),
            ("TYPE k", none, true),
            ("XINFO STREAM k", gone, true),
            ("GET k", wrong, false),
            ("MGET {k}a {k}b", list(&[a, b]), false),
            ("MGET {k}a {k}b", list(&[a, None]), true),
            ("HMGET k f g", list(&[a, None]), true),
            ("HGETALL k", list(&[]), true),
            ("HGETALL k", list(&[a, b]), false),
            ("LRANGE k 0 -1", list(&[a]), false),
            (
                "SMISMEMBER k a b",
                {
                    reply(|out| {
                        out.int(0).int(0);
                        out.aggregate(Kind::Array, 0);
                    })
                },
                true,
            ),
            // These answers do not show that one of several keys is missing.
            ("SUNION {k}a {k}b", list(&[a]), true),
            ("SUNION k", list(&[a]), false),
            ("LCS {k}a {k}b", text("v"), true),
            ("EVAL_RO s 1 k", text("v"), true),
            ("EVAL_RO s 0", text("v"), false),
            ("FCALL_RO f 1 k", int(5), true),
            ("NOSUCH k", text("v"), true),
        ] {
            let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            assert_eq!(
                may_be_missing_key(&args, reply.view()),
                doubtful,
                "{command}"
            );
        }
    }
}
