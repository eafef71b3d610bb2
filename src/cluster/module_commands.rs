//! Commands that the table does not describe, such as those of modules: a server describes each once,
//! and the description is kept.
//!
//! The description does not affect read-only handles, which refuse every such command, unless the option
//! `trust_module_flags` is on.

use super::context::ExecContext;
use crate::cluster::execute::{RoutedCommand, Target};
use crate::cluster::state::{CommandInfo, Core, KeyPositions};
use crate::error::{Code, Result};
use crate::resp::{CommandBody, Kind, Reply, View};
use crate::route::{Access, Classified, Route, crossslot, printable};
use crate::sync::lock;
use crate::topology::KeySpace;

/// The route of a command that the table does not describe, and whether the command writes.
pub fn route(context: &ExecContext<'_>, args: &[&[u8]]) -> Result<(Route, Access)> {
    let name = args.first().copied().unwrap_or_default();
    let key_space = context.key_space();
    let known = lock(&context.process.module_commands).get(name);
    let info = match known {
        Some(info) => info,
        None => {
            let reply = query(context, &[b"COMMAND", b"INFO", name]);
            let Some(info) = parse_info(&reply) else {
                // The server does not know the command, or did not answer: let it refuse the command itself.
                return Ok((guess(args, key_space), Access::Write));
            };
            lock(&context.process.module_commands).put(name, info);
            info
        }
    };
    let keys: Vec<Vec<u8>> = match info.keys {
        KeyPositions::Movable => {
            let getkeys: Vec<&[u8]> = [&b"COMMAND"[..], b"GETKEYS"]
                .into_iter()
                .chain(args.iter().copied())
                .collect();
            let reply = query(context, &getkeys);
            let text = |key: View<'_>| key.text().map(<[u8]>::to_vec);
            reply.view().elements().filter_map(text).collect()
        }
        positions => keys_at(positions, args),
    };
    Ok((route_of_keys(info, &keys, args, key_space)?, info.access))
}

/// Refuses a command that the table does not describe on a read-only handle, unless a server describes it as a read.
/// Returns whether the command writes.
pub fn permit(context: &ExecContext<'_>, command: &Classified<'_>) -> Result<Access> {
    if command.row.is_some() || !context.config.readonly {
        return Ok(command.access);
    }
    let (_, access) = route(context, command.args)?;
    context.permit_described(command, access)?;
    Ok(access)
}

/// The same as [`route`] without asking a server, and the keys: from the kept description, or a guess.
pub fn route_offline(core: &Core, args: &[&[u8]]) -> (Result<Route>, Access, Vec<Vec<u8>>) {
    let name = args.first().copied().unwrap_or_default();
    let key_space = core.process().key_space().unwrap_or_default();
    let info = lock(&core.process().module_commands).get(name);
    let Some(info) = info.filter(|info| info.keys != KeyPositions::Movable) else {
        let key = args.get(1).map(|key| key.to_vec());
        return (
            Ok(guess(args, key_space)),
            Access::Write,
            key.into_iter().collect(),
        );
    };
    let keys = keys_at(info.keys, args);
    let route = route_of_keys(info, &keys, args, key_space);
    (route, info.access, keys)
}

/// To the slot of all keys.
fn route_of_keys(
    info: CommandInfo,
    keys: &[Vec<u8>],
    args: &[&[u8]],
    key_space: KeySpace,
) -> Result<Route> {
    let Some(first) = keys.first() else {
        return Ok(match info.keys {
            KeyPositions::Refused => guess(args, key_space),
            _ => without_keys(key_space),
        });
    };
    let slot = key_space.slot(first);
    match keys.iter().find(|key| key_space.slot(key) != slot) {
        None => Ok(Route::Slot(slot)),
        Some(stray) => {
            let name = args.first().copied().unwrap_or_default();
            Err(crossslot(&printable(name), first, stray))
        }
    }
}

fn keys_at(positions: KeyPositions, args: &[&[u8]]) -> Vec<Vec<u8>> {
    let KeyPositions::Range { first, last, step } = positions else {
        return Vec::new();
    };
    let end = if last < 0 {
        args.len().saturating_sub(last.unsigned_abs() as usize - 1)
    } else {
        (last as usize + 1).min(args.len())
    };
    (first..end)
        .step_by(step)
        .map(|at| args[at].to_vec())
        .collect()
}

/// The route of a command without a description: the first argument is mostly the key. If not, the
/// server answers MOVED with the right slot.
pub fn guess(args: &[&[u8]], key_space: KeySpace) -> Route {
    match args.get(1) {
        Some(key) => Route::Slot(key_space.slot(key)),
        None => without_keys(key_space),
    }
}

/// At one server, a command without keys keeps its place among the others of a pipeline, too.
fn without_keys(key_space: KeySpace) -> Route {
    match key_space {
        KeySpace::HashSlots => Route::AnyNode,
        KeySpace::OneSlot => Route::Slot(0),
    }
}

/// Reads the reply to COMMAND INFO of one command.
fn parse_info(reply: &Reply) -> Option<CommandInfo> {
    let view = reply.view();
    if view.kind() == Kind::Error {
        // A server's refusal is kept, because it will refuse again; a lost connection is not.
        let refused = [Code::Server, Code::Auth].map(|code| code as u8);
        let refused = refused.contains(&view.value().code);
        return refused.then_some(CommandInfo {
            access: Access::Write,
            keys: KeyPositions::Refused,
        });
    }
    let info = view.at(0)?;
    let flags = info.at(2)?;
    let has = |name: &str| flags.elements().any(|flag| flag.str() == Some(name));
    let [first, last, step] = [3, 4, 5].map(|n| info.at(n).and_then(View::int));
    let access = if has("readonly") && !has("write") {
        Access::Read
    } else {
        Access::Write
    };
    let has_key_specs = info.at(8).is_some_and(|specs| !specs.is_empty());
    let keys = match (first?, last?, step?) {
        _ if has("movablekeys") => KeyPositions::Movable,
        (first @ 1.., last, step @ 1..) => KeyPositions::Range {
            first: first as usize,
            last,
            step: step as usize,
        },
        _ if has_key_specs => KeyPositions::Movable,
        _ => KeyPositions::None,
    };
    Some(CommandInfo { access, keys })
}

/// Sends a query to any primary.
fn query(context: &ExecContext<'_>, args: &[&[u8]]) -> Box<Reply> {
    let context = context.reading_from_primaries();
    let body = CommandBody::Args(args);
    context.run_one(RoutedCommand::new(body, "COMMAND", Target::Anywhere, true))
}
