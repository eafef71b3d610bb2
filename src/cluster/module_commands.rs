//! Commands that no row of the table describes, such as those of modules: a server is asked once, and
//! what it says is remembered.
//!
//! Whether such a command may go through a read-only handle is not asked: it may not.

use super::client::Client;
use crate::cluster::execute::{ExecPolicy, RoutedCommand, Target};
use crate::cluster::state::Core;
use crate::config::ReadFrom;
use crate::error::{Code, Result};
use crate::net::Call;
use crate::resp::{CommandBody, Kind, Reply, View};
use crate::route::{Access, Route, crossslot, printable};
use crate::sync::lock;
use crate::topology::key_slot;
use std::collections::HashMap;

/// So many names are remembered; what is called beyond that is asked about each time.
const MOST: usize = 1024;

/// By name, in capitals.
#[derive(Clone, Debug, Default)]
pub struct ModuleCommands(HashMap<Vec<u8>, Shape>);

/// What a server says of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub access: Access,
    pub keys: Keys,
}

/// Where its keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    None,
    /// From the first to the last (before the end, if negative), by steps.
    Range(usize, i64, usize),
    /// Wherever a server finds them, among these very arguments.
    Movable,
    /// It may not be asked.
    Secret,
}

impl ModuleCommands {
    pub fn get(&self, name: &[u8]) -> Option<Shape> {
        self.0.get(&name.to_ascii_uppercase()).copied()
    }

    fn put(&mut self, name: &[u8], shape: Shape) {
        if self.0.len() < MOST {
            self.0.insert(name.to_ascii_uppercase(), shape);
        }
    }
}

/// Where a command goes that no row describes, and whether it writes.
pub fn plan(
    client: &Client,
    core: &Core,
    args: &[&[u8]],
    call: &Call<'_>,
) -> Result<(Route, Access)> {
    let asker = Asker { client, core, call };
    let name = args.first().copied().unwrap_or_default();
    let known = lock(&core.process().module_commands).get(name);
    let shape = match known {
        Some(shape) => shape,
        None => {
            let reply = asker.ask(&[b"COMMAND", b"INFO", name]);
            let Some(shape) = read(&reply) else {
                // It says that there is no such command, or nothing at all: let it say so itself.
                return Ok((guess(args), Access::Write));
            };
            lock(&core.process().module_commands).put(name, shape);
            shape
        }
    };
    let keys: Vec<Vec<u8>> = match shape.keys {
        Keys::Movable => {
            let words: Vec<&[u8]> = [&b"COMMAND"[..], b"GETKEYS"]
                .into_iter()
                .chain(args.iter().copied())
                .collect();
            let reply = asker.ask(&words);
            let text = |key: View<'_>| key.text().map(<[u8]>::to_vec);
            reply.view().elements().filter_map(text).collect()
        }
        keys => in_range(keys, args).map(<[u8]>::to_vec).collect(),
    };
    Ok((together(shape, name, &keys, args)?, shape.access))
}

/// The same without asking anybody: what is known, or a guess.
pub fn plan_unasked(core: &Core, args: &[&[u8]]) -> (Result<Route>, Access, Vec<Vec<u8>>) {
    let name = args.first().copied().unwrap_or_default();
    let shape = lock(&core.process().module_commands).get(name);
    let Some(shape) = shape.filter(|shape| shape.keys != Keys::Movable) else {
        let key = args.get(1).map(|key| key.to_vec());
        return (Ok(guess(args)), Access::Write, key.into_iter().collect());
    };
    let keys: Vec<Vec<u8>> = in_range(shape.keys, args).map(<[u8]>::to_vec).collect();
    (together(shape, name, &keys, args), shape.access, keys)
}

/// To the slot of all keys.
fn together(shape: Shape, name: &[u8], keys: &[Vec<u8>], args: &[&[u8]]) -> Result<Route> {
    let Some(first) = keys.first() else {
        return Ok(match shape.keys {
            Keys::Secret => guess(args),
            _ => Route::AnyNode,
        });
    };
    let slot = key_slot(first);
    match keys.iter().find(|key| key_slot(key) != slot) {
        None => Ok(Route::Slot(slot)),
        Some(stray) => Err(crossslot(&printable(name), first, stray)),
    }
}

fn in_range<'a>(keys: Keys, args: &[&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    let (first, end, step) = match keys {
        Keys::Range(first, last, step) if last < 0 => (
            first,
            args.len().saturating_sub(last.unsigned_abs() as usize - 1),
            step,
        ),
        Keys::Range(first, last, step) => (first, last as usize + 1, step),
        _ => (0, 0, 1),
    };
    let end = end.min(args.len());
    let keys: Vec<&[u8]> = (first..end).step_by(step).map(|at| args[at]).collect();
    keys.into_iter()
}

/// Where a command goes of which nothing is known: most have their key behind their name, and where
/// that is wrong the server says MOVED to the right slot.
pub fn guess(args: &[&[u8]]) -> Route {
    match args.get(1) {
        Some(key) => Route::Slot(key_slot(key)),
        None => Route::AnyNode,
    }
}

/// The reply to COMMAND INFO of one command.
fn read(reply: &Reply) -> Option<Shape> {
    let view = reply.view();
    if view.kind() == Kind::Error {
        // Of a server, which will say the same the next time; not of a connection that broke.
        let refused = [Code::Server, Code::Auth].map(|code| code as u8);
        let refused = refused.contains(&view.value().code);
        return refused.then_some(Shape {
            access: Access::Write,
            keys: Keys::Secret,
        });
    }
    let told = view.at(0)?;
    let flags = told.at(2)?;
    let has = |name: &str| flags.elements().any(|flag| flag.str() == Some(name));
    let [first, last, step] = [3, 4, 5].map(|n| told.at(n).and_then(View::int));
    let access = if has("readonly") && !has("write") {
        Access::Read
    } else {
        Access::Write
    };
    let specs = told.at(8).is_some_and(|specs| !specs.is_empty());
    let keys = match (first?, last?, step?) {
        _ if has("movablekeys") => Keys::Movable,
        (first @ 1.., last, step @ 1..) => Keys::Range(first as usize, last, step as usize),
        _ if specs => Keys::Movable,
        _ => Keys::None,
    };
    Some(Shape { access, keys })
}

struct Asker<'a> {
    client: &'a Client,
    core: &'a Core,
    call: &'a Call<'a>,
}

impl Asker<'_> {
    /// Asks any primary.
    fn ask(&self, words: &[&[u8]]) -> Box<Reply> {
        let policy = ExecPolicy {
            read_from: ReadFrom::Primary,
            ..self.client.policy()
        };
        let part = RoutedCommand::new(CommandBody::Args(words), "COMMAND", Target::Anywhere, true);
        self.client.run_one(self.core, part, self.call, policy)
    }
}
