//! Commands that are split by slot: one command for each group of keys.

use super::context::ExecContext;
use crate::cluster::execute::{RoutedCommand, Target};
use crate::resp::{CommandBody, Reply};
use crate::route::{Classified, KeyGroups, Merge, merge};

/// Executes a command as one command for each group and merges the answers.
pub fn split(
    context: &ExecContext<'_>,
    command: &Classified<'_>,
    groups: &KeyGroups,
    how: Merge,
) -> Box<Reply> {
    let (args, read) = (command.args, command.is_read());
    // Most groups have one key. Such a command is encoded directly into the buffer of its connection.
    let prefix = groups.prefix(args);
    let mut encoded = Vec::new();
    let mut commands = Vec::with_capacity(groups.len());
    let routed = |body, slot| RoutedCommand::new(body, command.name(), Target::Slot(slot), read);
    let single = |prefix, key| CommandBody::Named(prefix, groups.args_of_key(args, key));
    match (&prefix, groups.single_keys()) {
        (Some(prefix), Some(keys)) => {
            commands.extend(keys.map(|(slot, key)| routed(single(prefix, key), slot)));
        }
        _ => {
            let min_keys = if prefix.is_some() { 2 } else { 1 };
            let mut ends = groups.encode(args, min_keys, &mut encoded).into_iter();
            let mut begin = 0;
            for (slot, keys) in groups.iter() {
                let body = match (&prefix, keys) {
                    (Some(prefix), [key]) => single(prefix, *key),
                    _ => {
                        let end = ends.next().unwrap_or(begin);
                        CommandBody::Encoded(&encoded[std::mem::replace(&mut begin, end)..end])
                    }
                };
                commands.push(routed(body, slot));
            }
        }
    }
    let mut reply = context.run_many(&mut commands);
    merge(how, &mut reply, groups);
    reply
}
