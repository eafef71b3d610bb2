//! Commands that are split by slot: one command for each group of keys.

use super::context::ExecContext;
use crate::cluster::execute::{PlainCommands, RoutedCommand, Target};
use crate::resp::{CommandBody, CommandBuffer, EncodedPrefix, Reply};
use crate::route::{Classified, KeyGroups, Merge, merge};

/// Executes a command as one command for each group and merges the answers.
pub fn split(
    context: &ExecContext<'_>,
    command: &Classified<'_>,
    groups: &KeyGroups,
    how: Merge,
) -> Box<Reply> {
    // Most groups have one key. Such a command is encoded directly into the buffer of its connection.
    let mut reply = match (groups.prefix(command.args), groups.has_single_keys()) {
        (Some(prefix), true) => context.execution().run_plain(&SingleKeys {
            command,
            groups,
            prefix: &prefix,
        }),
        (prefix, _) => run_groups(context, command, groups, prefix.as_ref()),
    };
    merge(how, &mut reply, groups);
    reply
}

/// A command for each key.
struct SingleKeys<'a> {
    command: &'a Classified<'a>,
    groups: &'a KeyGroups,
    prefix: &'a EncodedPrefix,
}

impl SingleKeys<'_> {
    #[inline]
    fn body(&self, number: usize) -> CommandBody<'_> {
        let key = self.groups.single_key(number);
        CommandBody::Named(self.prefix, self.groups.args_of_key(self.command.args, key))
    }
}

impl PlainCommands for SingleKeys<'_> {
    fn len(&self) -> usize {
        self.groups.len()
    }

    #[inline]
    fn slot(&self, number: usize) -> Option<u16> {
        Some(self.groups.slot(number))
    }

    fn is_read_only(&self) -> bool {
        self.command.is_read()
    }

    fn encoded_len(&self, number: usize) -> usize {
        self.body(number).len()
    }

    fn encode(&self, numbers: &[u32], out: &mut CommandBuffer) {
        for number in numbers {
            out.push(&self.body(*number as usize));
        }
    }

    fn routed(&self, number: usize) -> RoutedCommand<'_> {
        let target = Target::Slot(self.groups.slot(number));
        let (name, read) = (self.command.name(), self.command.is_read());
        RoutedCommand::new(self.body(number), name, target, read)
    }
}

/// Executes a command for each group, some of which have several keys.
fn run_groups(
    context: &ExecContext<'_>,
    command: &Classified<'_>,
    groups: &KeyGroups,
    prefix: Option<&EncodedPrefix>,
) -> Box<Reply> {
    let (args, read) = (command.args, command.is_read());
    let min_keys = if prefix.is_some() { 2 } else { 1 };
    let mut encoded = Vec::new();
    let mut ends = groups.encode(args, min_keys, &mut encoded).into_iter();
    let mut begin = 0;
    let mut commands = Vec::with_capacity(groups.len());
    for (slot, keys) in groups.iter() {
        let body = match (prefix, keys) {
            (Some(prefix), [key]) => CommandBody::Named(prefix, groups.args_of_key(args, *key)),
            _ => {
                let end = ends.next().unwrap_or(begin);
                CommandBody::Encoded(&encoded[std::mem::replace(&mut begin, end)..end])
            }
        };
        let target = Target::Slot(slot);
        commands.push(RoutedCommand::new(body, command.name(), target, read));
    }
    context.run_many(&mut commands)
}
