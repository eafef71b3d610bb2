//! The encoded beginning of the command that was encoded last: programs often send the same one again.

use crate::resp::{CommandBody, CommandBuffer, EncodedPrefix};
use crate::route::Row;

#[derive(Default)]
pub(super) struct EncodedName {
    /// The id of the row, and the number of arguments.
    of: (u16, usize),
    prefix: Option<EncodedPrefix>,
}

impl EncodedName {
    /// Appends a command of a row.
    #[inline]
    pub(super) fn push(&mut self, out: &mut CommandBuffer, row: &'static Row, args: &[&[u8]]) {
        if self.of != (row.id, args.len()) {
            self.encode(row, args);
        }
        match (&self.prefix, args) {
            (Some(prefix), [_, rest @ ..]) => out.push(&CommandBody::Named(prefix, rest)),
            _ => out.push(&CommandBody::Args(args)),
        }
    }

    #[cold]
    fn encode(&mut self, row: &'static Row, args: &[&[u8]]) {
        self.of = (row.id, args.len());
        // The row of a sub-command has two words for its name.
        self.prefix = match row.name.contains(' ') {
            true => None,
            false => EncodedPrefix::of(args.len(), row.name.as_bytes()),
        };
    }
}
