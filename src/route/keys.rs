//! Which arguments of a command are keys, and whether the number of arguments is valid. A command that is refused here
//! would be refused by every server, so nothing is sent.

use super::command::{Access, Flag, Row};
use super::key_spec::{Begin, Find, KeyAccess, KeySpec, Presence};
use crate::error::Error;

/// Checks the number of arguments.
#[inline]
pub fn check(row: &Row, args: &[&[u8]]) -> Result<(), Error> {
    match has_valid_count(row, args) {
        true => Ok(()),
        false => Err(wrong_count(row, args)),
    }
}

/// Whether a command has as many arguments as its row says.
#[inline]
pub fn has_valid_count(row: &Row, args: &[&[u8]]) -> bool {
    let needed = usize::from(row.arity.unsigned_abs());
    args.len() == needed || (row.arity < 0 && args.len() > needed)
}

/// The key of a plain command ([`Row::is_plain`]) with a valid number of arguments, and whether the command writes.
#[inline]
pub fn plain_key<'a>(row: &Row, args: &[&'a [u8]]) -> Option<(&'a [u8], Access)> {
    if !row.is_plain() || !has_valid_count(row, args) {
        return None;
    }
    let key = args.get(usize::from(row.only_key))?;
    Some((key, row.access))
}

#[cold]
fn wrong_count(row: &Row, args: &[&[u8]]) -> Error {
    // The arity includes the name and the sub-command; the message does not.
    let name_len = row.name.split(' ').count();
    let needed = usize::from(row.arity.unsigned_abs()).saturating_sub(name_len);
    let given = args.len().saturating_sub(name_len);
    let at_least = if row.arity < 0 { "at least " } else { "" };
    let plural = if needed == 1 { "" } else { "s" };
    Error::invalid(format!(
        "{} needs {at_least}{needed} argument{plural}, not {given}",
        row.name
    ))
}

/// Calls `f` with the index of each key, in the order of the specifications.
pub fn each_key(
    row: &Row,
    args: &[&[u8]],
    f: &mut dyn FnMut(usize, KeyAccess),
) -> Result<(), Error> {
    for spec in row.keys {
        let Some(begin) = begin_of(row, spec, args)? else {
            continue;
        };
        let range = match spec.find {
            Find::Range { last, step, share } => {
                let (step, share) = (usize::from(step), usize::from(share));
                keys_in_range(row, args.len(), begin, (last, step, share))?
            }
            Find::Count { first, step } => {
                let (first, step) = (usize::from(first), usize::from(step));
                counted_keys(row, args, begin, (first, step))?
            }
        };
        for i in 0..range.count {
            f(range.first + i * range.step, spec.access);
        }
        if spec.presence == Presence::Instead {
            return Ok(());
        }
    }
    Ok(())
}

/// Keys at regular distances.
struct KeyRange {
    first: usize,
    count: usize,
    step: usize,
}

/// Where the keys of a specification begin; `None` if they are optional and absent.
fn begin_of(row: &Row, spec: &KeySpec, args: &[&[u8]]) -> Result<Option<usize>, Error> {
    let is_required = spec.presence == Presence::Required;
    let begin = match spec.begin {
        Begin::Index(index) => usize::from(index),
        Begin::IndexIf(index, word) => {
            let index = usize::from(index);
            let is_word = |arg: &&[u8]| arg.eq_ignore_ascii_case(word.as_bytes());
            if !args.iter().skip(index + 1).any(is_word) {
                return Ok(None);
            }
            index
        }
        Begin::After(option) => match option.find(args) {
            Some(index) => index,
            None if !is_required => return Ok(None),
            None => {
                let words = option.words.join(" or ");
                return Err(refuse(row, format!("{words} and keys after it")));
            }
        },
    };
    if begin < args.len() {
        return Ok(Some(begin));
    }
    if is_required {
        return Err(refuse(row, format!("a key as argument {begin}")));
    }
    Ok(None)
}

fn keys_in_range(
    row: &Row,
    args_len: usize,
    begin: usize,
    (last, step, share): (i8, usize, usize),
) -> Result<KeyRange, Error> {
    let left = args_len - begin;
    let len = if last >= 0 {
        usize::from(last.unsigned_abs()) + 1
    } else {
        (left / share + 1).saturating_sub(last.unsigned_abs().into())
    };
    if len == 0 || len > left {
        return Err(refuse(row, format!("a key as argument {begin}")));
    }
    if last == -1 && !(left.is_multiple_of(share) && len.is_multiple_of(step)) {
        return Err(refuse(
            row,
            format!(
                "{} arguments to each key from argument {begin} on, not {left} in all",
                share.max(step)
            ),
        ));
    }
    Ok(KeyRange {
        first: begin,
        count: len.div_ceil(step),
        step,
    })
}

fn counted_keys(
    row: &Row,
    args: &[&[u8]],
    begin: usize,
    (first, step): (usize, usize),
) -> Result<KeyRange, Error> {
    let Some(count) = number(args[begin]) else {
        return Err(refuse(row, format!("a number of keys as argument {begin}")));
    };
    if count == 0 && !row.flags.has(Flag::KeysOptional) {
        return Err(refuse(
            row,
            format!("at least one key, but argument {begin} is 0"),
        ));
    }
    let room = (args.len() - begin).saturating_sub(first) / step;
    if count > room {
        return Err(refuse(
            row,
            format!("{count} keys, the number in argument {begin}, but has arguments for {room}"),
        ));
    }
    Ok(KeyRange {
        first: begin + first,
        count,
        step,
    })
}

/// The index of the first key; `None` if there is none.
#[inline]
pub fn first_key(row: &Row, args: &[&[u8]]) -> Result<Option<usize>, Error> {
    let only = usize::from(row.only_key);
    if only != 0 && only < args.len() {
        return Ok(Some(only));
    }
    search_first_key(row, args)
}

fn search_first_key(row: &Row, args: &[&[u8]]) -> Result<Option<usize>, Error> {
    let mut first = None;
    each_key(row, args, &mut |index, _| first = first.or(Some(index)))?;
    Ok(first)
}

/// Parses a number of keys as servers do: no sign, no leading zero, no space; at most 9 digits.
fn number(text: &[u8]) -> Option<usize> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.len() < 10 && rest.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(text).ok()?.parse().ok()
        }
        _ => None,
    }
}

#[cold]
fn refuse(row: &Row, needs: String) -> Error {
    Error::invalid(format!("{} needs {needs}", row.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::find;

    /// `""` stands for an empty argument.
    fn arguments(line: &str) -> Vec<&[u8]> {
        line.split(' ')
            .map(|word| if word == "\"\"" { &[] } else { word.as_bytes() })
            .collect()
    }

    fn keys(line: &str) -> Result<Vec<usize>, String> {
        let args = arguments(line);
        let row = find(&args).unwrap();
        let mut keys = Vec::new();
        check(row, &args)
            .and_then(|()| each_key(row, &args, &mut |index, _| keys.push(index)))
            .map_err(|error| error.message.clone())?;
        let first = first_key(row, &args).map_err(|error| error.message.clone())?;
        assert_eq!(first, keys.first().copied(), "{line}");
        Ok(keys)
    }

    #[test]
    fn key_positions_are_found_for_every_key_spec() {
        for (line, expected) in [
            ("GET k", &[1][..]),
            ("get \"\"", &[1]),
            ("PING", &[]),
            ("HELLO 3", &[]),
            ("AUTH u p", &[]),
            ("MGET a b c", &[1, 2, 3]),
            ("MSET a 1 b 2", &[1, 3]),
            ("DEL a b", &[1, 2]),
            ("EVAL s 0 x", &[]),
            ("EVAL s 2 a b x", &[3, 4]),
            ("EVALSHA_RO s 1 a", &[3]),
            ("FCALL f 1 a x", &[3]),
            ("XREAD STREAMS a b 0 0", &[2, 3]),
            ("XREAD COUNT 1 streams STREAMS 0", &[4]),
            ("XREADGROUP GROUP STREAMS STREAMS STREAMS a >", &[5]),
            (
                "XREADGROUP GROUP g c COUNT 1 NOACK STREAMS a b > >",
                &[8, 9],
            ),
            ("ZUNION 2 a b WITHSCORES", &[2, 3]),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", &[1, 3, 4]),
            ("ZINTERCARD 2 a b LIMIT 1", &[2, 3]),
            ("SINTERCARD 1 a", &[2]),
            ("SINTERSTORE d a b", &[1, 2, 3]),
            ("LMPOP 2 a b LEFT", &[2, 3]),
            ("ZMPOP 1 a MIN", &[2]),
            ("BLMPOP 0 2 a b LEFT", &[3, 4]),
            ("BZMPOP 0 1 a MIN", &[3]),
            ("BLPOP a b 0", &[1, 2]),
            ("BLMOVE a b LEFT RIGHT 0", &[1, 2]),
            ("SORT k", &[1]),
            ("SORT k BY STORE GET STORE LIMIT STORE 1 STORE d", &[1, 10]),
            ("SORT k STORE a STORE b", &[1, 5]),
            ("SORT_RO k BY w_* GET x_*", &[1]),
            ("GEORADIUS k 1 2 3 m", &[1]),
            ("GEORADIUS k 1 2 3 m STORE d", &[1, 7]),
            ("GEORADIUSBYMEMBER k m 3 m COUNT 1 storedist d", &[1, 8]),
            ("GEORADIUSBYMEMBER k m 3 m STORE STOREDIST STORE d", &[1, 8]),
            ("GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 m", &[1, 2]),
            ("MIGRATE h 1 k 0 9", &[3]),
            ("MIGRATE h 1 \"\" 0 9 KEYS a b", &[7, 8]),
            (
                "MIGRATE h 1 \"\" 0 9 COPY REPLACE AUTH2 KEYS KEYS keys a",
                &[12],
            ),
            ("MIGRATE h 1 \"\" 0 9", &[3]),
            ("OBJECT ENCODING k", &[2]),
            ("OBJECT HELP", &[]),
            ("MEMORY USAGE k SAMPLES 5", &[2]),
            ("XGROUP CREATE k g $", &[2]),
            ("XINFO STREAM k", &[2]),
            ("BITOP AND d a b", &[2, 3, 4]),
            ("PFCOUNT a b", &[1, 2]),
            ("PFMERGE d a b", &[1, 2, 3]),
            ("COPY a b", &[1, 2]),
            ("RENAME a b", &[1, 2]),
            ("LCS a b", &[1, 2]),
            ("MSETEX 2 a 1 b 2 EX 9", &[2, 4]),
            ("SPUBLISH c m", &[1]),
            ("SSUBSCRIBE a b", &[1, 2]),
            ("SUNSUBSCRIBE", &[]),
            ("SUNSUBSCRIBE a", &[1]),
            ("PUBLISH c m", &[]),
            ("WATCH a b", &[1, 2]),
            ("CLUSTER KEYSLOT k", &[]),
        ] {
            assert_eq!(keys(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn incomplete_command_error_names_missing_argument() {
        for (line, expected) in [
            ("GET", "GET needs 1 argument, not 0"),
            ("GET a b", "GET needs 1 argument, not 2"),
            ("SET k", "SET needs at least 2 arguments, not 1"),
            ("OBJECT ENCODING", "OBJECT ENCODING needs 1 argument, not 0"),
            (
                "MSET a 1 b",
                "MSET needs 2 arguments to each key from argument 1 on, not 3 in all",
            ),
            (
                "XREAD STREAMS a b 0",
                "XREAD needs 2 arguments to each key from argument 2 on, not 3 in all",
            ),
            ("XREAD COUNT 1 a 0", "XREAD needs STREAMS and keys after it"),
            (
                "XREAD COUNT 1 STREAMS",
                "XREAD needs STREAMS and keys after it",
            ),
            ("EVAL s x", "EVAL needs a number of keys as argument 2"),
            ("EVAL s -1", "EVAL needs a number of keys as argument 2"),
            (
                "EVAL s 2 a",
                "EVAL needs 2 keys, the number in argument 2, but has arguments for 1",
            ),
            (
                "EVAL s 9999999999",
                "EVAL needs 9999999999 keys, the number in argument 2, but has arguments for 0",
            ),
            (
                "EVAL s 99999999999999999999",
                "EVAL needs a number of keys as argument 2",
            ),
            (
                "ZUNION 0 a",
                "ZUNION needs at least one key, but argument 1 is 0",
            ),
            ("ZUNION 1x a", "ZUNION needs a number of keys as argument 1"),
            ("ZUNION 01 a", "ZUNION needs a number of keys as argument 1"),
            ("ZUNION +1 a", "ZUNION needs a number of keys as argument 1"),
            (
                "ZUNIONSTORE d 3 a b",
                "ZUNIONSTORE needs 3 keys, the number in argument 2, but has arguments for 2",
            ),
            (
                "MSETEX 2 a 1 b",
                "MSETEX needs 2 keys, the number in argument 1, but has arguments for 1",
            ),
            ("BLPOP 0", "BLPOP needs at least 2 arguments, not 1"),
        ] {
            assert_eq!(keys(line), Err(format!("INVALID {expected}")), "{line}");
        }
    }

    #[test]
    fn argument_errors_never_contain_argument_values() {
        assert!(!keys("EVAL s secret").unwrap_err().contains("secret"));
        assert!(!keys("MSET a secret b").unwrap_err().contains("secret"));
    }
}
