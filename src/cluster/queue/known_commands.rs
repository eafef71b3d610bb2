//! What is known about the commands that were submitted last: programs submit few different ones.

use crate::resp::{CommandBody, CommandBuffer, EncodedPrefix};
use crate::route::{Access, Row, access, find, has_valid_count};

/// The number of commands that are remembered.
const COUNT: usize = 16;

/// Commands as most are: with one key, to any node of its shard.
#[derive(Default)]
pub(super) struct KnownCommands([Option<KnownCommand>; COUNT]);

/// A command without its key and its other arguments.
pub(super) struct KnownCommand {
    /// As the program has spelled it.
    name: PackedName,
    /// The number of arguments.
    count: usize,
    pub(super) row: &'static Row,
    pub(super) access: Access,
    prefix: EncodedPrefix,
}

impl KnownCommands {
    /// The command with these arguments. None if it is another one than most.
    #[inline(always)]
    pub(super) fn find(&mut self, args: &[&[u8]]) -> Option<&KnownCommand> {
        let (name, count) = (*args.first()?, args.len());
        let [first, second, ..] = name else {
            return None;
        };
        let letters = usize::from(*first) * 5 + usize::from(*second) * 3;
        let at = letters.wrapping_add(name.len()).wrapping_add(count);
        let known = &mut self.0[at % COUNT];
        let name = PackedName::of(name)?;
        let is_same = |known: &KnownCommand| count == known.count && name == known.name;
        if !known.as_ref().is_some_and(is_same) {
            *known = KnownCommand::new(args);
        }
        known.as_ref()
    }
}

impl KnownCommand {
    #[cold]
    fn new(args: &[&[u8]]) -> Option<KnownCommand> {
        let row = find(args).filter(|row| row.is_plain() && has_valid_count(row, args))?;
        // Another argument decides about a sub-command.
        if row.name.contains(' ') {
            return None;
        }
        Some(KnownCommand {
            name: PackedName::of(args.first()?)?,
            count: args.len(),
            row,
            access: access(row, args),
            prefix: EncodedPrefix::of(args.len(), row.name.as_bytes())?,
        })
    }

    /// Appends the command with these arguments.
    #[inline(never)]
    pub(super) fn push(&self, out: &mut CommandBuffer, args: &[&[u8]]) {
        out.push(&CommandBody::Named(&self.prefix, &args[1..]));
    }
}

/// A name of 2 to 16 bytes, for fast comparison.
#[derive(PartialEq)]
struct PackedName {
    len: usize,
    first: u64,
    last: u64,
}

impl PackedName {
    #[inline(always)]
    fn of(name: &[u8]) -> Option<PackedName> {
        let len = name.len();
        let (first, last) = match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) if len <= 16 => {
                (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
            }
            _ => match (name.first_chunk(), name.last_chunk()) {
                (Some(first), Some(last)) if len < 8 => (
                    u32::from_le_bytes(*first).into(),
                    u32::from_le_bytes(*last).into(),
                ),
                _ => match name {
                    [a, b] => (u16::from_le_bytes([*a, *b]).into(), 0),
                    [a, b, c] => (u16::from_le_bytes([*a, *b]).into(), u64::from(*c)),
                    _ => return None,
                },
            },
        };
        Some(PackedName { len, first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_by_name_and_number_of_arguments() {
        let mut known = KnownCommands::default();
        let mut encoded = |args: &[&[u8]]| {
            let mut out = CommandBuffer::default();
            known.find(args)?.push(&mut out, args);
            Some(out.escape_ascii().to_string())
        };
        let rows: [(&[&[u8]], _); 9] = [
            (&[b"GET", b"k"], Some(r"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")),
            (&[b"get", b"l"], Some(r"*2\r\n$3\r\nGET\r\n$1\r\nl\r\n")),
            (&[b"GET"], None),
            (&[b"GET", b"k", b"l"], None),
            (&[b"GEX", b"k"], None),
            (&[b"MGET", b"k"], None),
            (&[b"OBJECT", b"ENCODING", b"k"], None),
            (&[b"BLPOP", b"k", b"0"], None),
            (&[b"", b"k"], None),
        ];
        for _ in 0..2 {
            for (args, expected) in rows {
                assert_eq!(encoded(args).as_deref(), expected, "{args:?}");
            }
        }
    }
}
