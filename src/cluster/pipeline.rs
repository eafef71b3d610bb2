//! Commands that are sent together.

use super::client::{Client, targets};
use super::module_commands;
use crate::cluster::execute::{RoutedCommand, Target};
use crate::cluster::state::Core;
use crate::cluster::state::concerns;
use crate::cluster::state::count;
use crate::error::{Code, Error, Result};
use crate::net::Call;
use crate::resp::{
    Answer, CommandBody, EncodedPrefix, Kind, Reply, Value, View, encode_command,
    encode_with_prefix, flag, parse_command,
};
use crate::route::{
    Access, BlockingTimeout, KeyGroups, Merge, Nodes, Route, Row, access, blocking_timeout,
    check_shareable, crossslot, find, merge, plan, printable,
};
use crate::sync::lock;
use crate::topology::{Topology, key_slot};
use std::sync::Arc;

/// Commands of one handle, gathered to be sent together.
pub struct Pipeline {
    client: Arc<Client>,
    /// The commands, encoded, one behind the other.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// What few entries have is not in them: there are many.
    splits: Vec<Split>,
    failures: Vec<Error>,
    /// Every command is whole and goes to one node.
    is_plain: bool,
    /// Among them is a command that no row describes.
    is_strange: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    row: Option<&'static Row>,
    access: Access,
    route: EntryRoute,
    /// The command's own bytes begin here.
    begin: usize,
    /// And end here; groups of a split command lie behind them.
    end: usize,
}

#[derive(Clone, Copy)]
enum EntryRoute {
    Slot(u16),
    Primary(u16),
    AnyNode,
    FanOut(Nodes, Merge),
    /// In groups: which of [`Pipeline::splits`].
    Split(u32),
    /// Malformed: which of [`Pipeline::failures`] is its answer.
    Failed(u32),
}

struct Split {
    groups: KeyGroups,
    merge: Merge,
    /// Where each piece ends.
    ends: Vec<usize>,
}

impl Entry {
    fn name(&self) -> &'static str {
        self.row.map_or("the command", |row| row.name)
    }
}

impl Pipeline {
    pub fn new(client: Arc<Client>) -> Pipeline {
        Pipeline {
            client,
            bytes: Vec::new(),
            entries: Vec::new(),
            splits: Vec::new(),
            failures: Vec::new(),
            is_plain: true,
            is_strange: false,
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn clear(&mut self) {
        self.splits.clear();
        self.failures.clear();
        self.entries.clear();
        self.is_plain = true;
        self.is_strange = false;
        // What a large pipeline needed is not kept for ever.
        if self.bytes.capacity() > 1 << 20 {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
    }

    /// Adds a command. One that is malformed is answered in its place.
    pub fn command(&mut self, args: &[&[u8]]) {
        let begin = self.bytes.len();
        let row = find(args);
        let access = match row {
            Some(row) => access(row, args),
            None if args.is_empty() => Access::Read,
            None => Access::Write,
        };
        self.is_strange |= row.is_none();
        let planned = self.plan(row, args);
        // Of what failed, for its message only: enough of it to know it by.
        let most = if planned.is_ok() { args.len() } else { 2 };
        encode_command(&mut self.bytes, &args[..args.len().min(most)]);
        let end = self.bytes.len();
        let route = match planned {
            Ok(Route::Slot(slot)) => EntryRoute::Slot(slot),
            Ok(Route::Primary(slot)) => EntryRoute::Primary(slot),
            Ok(Route::AnyNode) => EntryRoute::AnyNode,
            Ok(Route::FanOut(nodes, merge)) => EntryRoute::FanOut(nodes, merge),
            Ok(Route::Split(groups, merge)) => {
                let ends = groups.encode(args, 1, &mut self.bytes);
                self.splits.push(Split {
                    groups,
                    merge,
                    ends,
                });
                EntryRoute::Split(self.splits.len() as u32 - 1)
            }
            Ok(Route::Scan) => self.failed(Error::invalid(
                "SCAN goes from node to node, a step with each reply: call it by itself",
            )),
            Err(error) => self.failed(error),
        };
        self.is_plain &= matches!(
            route,
            EntryRoute::Slot(_) | EntryRoute::Primary(_) | EntryRoute::AnyNode
        );
        self.entries.push(Entry {
            row,
            access,
            route,
            begin,
            end,
        });
    }

    fn failed(&mut self, error: Error) -> EntryRoute {
        self.is_plain = false;
        self.failures.push(error);
        EntryRoute::Failed(self.failures.len() as u32 - 1)
    }

    fn plan(&self, row: Option<&'static Row>, args: &[&[u8]]) -> Result<Route> {
        if args.is_empty() {
            return Err(Error::invalid("an empty command"));
        }
        if self.client.pinned_slot().is_some() {
            // Sent one by one to the one node there is, which judges for itself.
            return Ok(Route::AnyNode);
        }
        let Some(row) = row else {
            // Who knows better is asked when the pipeline is executed.
            return Ok(module_commands::guess(args));
        };
        check_shareable(row)?;
        if let Some(wait) = blocking_timeout(row, args)
            && wait != BlockingTimeout::After(std::time::Duration::ZERO)
        {
            return Err(Error::invalid(format_args!(
                "{} blocks, and would hold up the whole pipeline: call it by itself",
                row.name
            )));
        }
        let planned = plan(row, args, self.client.config.split_writes)?;
        if concerns(row)
            && let Some(core) = &self.client.core
        {
            lock(&core.process().scripts).note(row, args);
        }
        Ok(planned)
    }

    /// Adds a command with one key whose row is known; `name` is its encoded beginning.
    #[inline]
    pub fn keyed(
        &mut self,
        row: &'static Row,
        access: Access,
        key: &[u8],
        name: &'static EncodedPrefix,
        rest: &[&[u8]],
    ) {
        let begin = self.bytes.len();
        encode_with_prefix(&mut self.bytes, name, rest);
        self.entries.push(Entry {
            row: Some(row),
            access,
            route: EntryRoute::Slot(key_slot(key)),
            begin,
            end: self.bytes.len(),
        });
    }

    /// Adds an error in the place of a command that could not even be read.
    pub fn fail(&mut self, error: Error) {
        let at = self.bytes.len();
        let route = self.failed(error);
        self.entries.push(Entry {
            row: None,
            access: Access::Read,
            route,
            begin: at,
            end: at,
        });
    }

    /// Adds any number of encoded commands. What follows the first that is malformed cannot be
    /// told apart, and is answered with one error.
    pub fn resp(&mut self, bytes: &[u8]) {
        let mut at = 0;
        let mut args = Vec::new();
        loop {
            match parse_command(bytes, at, &mut args) {
                Ok(next) => {
                    self.command(&args);
                    at = next;
                    if at == bytes.len() {
                        return;
                    }
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Sends all commands and returns their replies: an array with an element for each, in
    /// order. The pipeline is empty afterwards.
    pub fn execute(&mut self) -> Box<Reply> {
        let reply = self.try_execute();
        self.clear();
        reply.unwrap_or_else(|error| Box::new(Reply::error(&error)))
    }

    fn try_execute(&mut self) -> Result<Box<Reply>> {
        let core = self.client.ready()?.clone();
        count(&core.stats.pipelines);
        core.stats.commands.fetch_add(
            self.entries.len() as u64,
            std::sync::atomic::Ordering::Relaxed,
        );
        if let Some(refused) = self.refused() {
            return Ok(refused);
        }
        if self.client.pinned_slot().is_some() {
            return self.one_by_one();
        }
        let client = self.client.clone();
        let call = client.call(&core, 0);
        if self.is_strange {
            self.learn(&core, &call);
        }
        let topology = core.process().topology.load_full();
        let mut parts = Vec::new();
        let fans = self.parts(&topology, &mut parts);
        let policy = self.client.policy();
        let mut reply = self.client.run_many(&core, &mut parts, &call, policy);
        if !self.is_plain {
            self.merge(&mut reply, fans);
        }
        self.finish(&mut reply, &core);
        Ok(reply)
    }

    /// Asks about commands that no row describes where they go, those of which nobody knows yet.
    fn learn(&mut self, core: &Core, call: &Call<'_>) {
        for at in 0..self.entries.len() {
            let entry = self.entries[at];
            if entry.row.is_some() || matches!(entry.route, EntryRoute::Failed(_)) {
                continue;
            }
            let mut args = Vec::new();
            let module_commands = split_at(&self.bytes, &entry, &mut args)
                .and_then(|_| module_commands::plan(&self.client, core, &args, call));
            match module_commands {
                Ok((Route::Slot(slot), access)) => {
                    (self.entries[at].route, self.entries[at].access) =
                        (EntryRoute::Slot(slot), access);
                }
                Ok((_, access)) => {
                    (self.entries[at].route, self.entries[at].access) =
                        (EntryRoute::AnyNode, access);
                }
                Err(error) => self.entries[at].route = self.failed(error),
            }
        }
    }

    /// The parts of all commands. Of each command that goes to several nodes: to how many, or why to none.
    fn parts<'a>(
        &'a self,
        topology: &Topology,
        parts: &mut Vec<RoutedCommand<'a>>,
    ) -> Vec<Result<usize>> {
        fn part<'a>(entry: &Entry, body: &'a [u8], target: Target) -> RoutedCommand<'a> {
            let read = entry.access == Access::Read;
            RoutedCommand::new(CommandBody::Encoded(body), entry.name(), target, read)
        }
        let body = |entry: &Entry| &self.bytes[entry.begin..entry.end];
        let whole = |entry: &Entry| match entry.route {
            EntryRoute::Slot(slot) => part(entry, body(entry), Target::Slot(slot)),
            EntryRoute::Primary(slot) => part(entry, body(entry), Target::Primary(slot)),
            _ => part(entry, body(entry), Target::Anywhere),
        };
        let mut fans = Vec::new();
        if self.is_plain {
            parts.extend(self.entries.iter().map(whole));
            return fans;
        }
        for entry in &self.entries {
            match entry.route {
                EntryRoute::Slot(_) | EntryRoute::Primary(_) | EntryRoute::AnyNode => {
                    parts.push(whole(entry))
                }
                EntryRoute::Failed(_) => parts.push(whole(entry).closed()),
                EntryRoute::FanOut(nodes, how) => {
                    fans.push(targets(topology, nodes, how).map(|targets| {
                        let count = targets.len();
                        let targets = targets.into_iter();
                        parts.extend(targets.map(|target| part(entry, body(entry), target)));
                        count
                    }));
                }
                EntryRoute::Split(at) => {
                    let split = &self.splits[at as usize];
                    let mut begin = entry.end;
                    for ((slot, _), end) in split.groups.iter().zip(&split.ends) {
                        let body = &self.bytes[begin..*end];
                        parts.push(part(entry, body, Target::Slot(slot)));
                        begin = *end;
                    }
                }
            }
        }
        fans
    }

    /// Makes one answer of those to the parts of each command.
    fn merge(&self, reply: &mut Reply, fans: Vec<Result<usize>>) {
        let (mut rest, mut fans) = (
            std::mem::take(&mut reply.answers).into_iter(),
            fans.into_iter(),
        );
        let mut answers = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let none = KeyGroups::default();
            let (count, how, groups) = match entry.route {
                EntryRoute::FanOut(_, how) => (fans.next().unwrap_or(Ok(0)), how, &none),
                EntryRoute::Split(at) => {
                    let split = &self.splits[at as usize];
                    (Ok(split.groups.len()), split.merge, &split.groups)
                }
                _ => {
                    answers.extend(rest.next());
                    continue;
                }
            };
            match count {
                Ok(count) => {
                    reply.answers = rest.by_ref().take(count).collect();
                    merge(how, reply, groups);
                }
                Err(error) => reply.root = reply.store_error(&error),
            }
            answers.push(reply.root);
        }
        reply.answers = answers;
    }

    /// Puts the errors of malformed commands in their places and each error's command before
    /// it, and makes the whole an array.
    fn finish(&self, reply: &mut Reply, core: &Core) {
        for (number, entry) in self.entries.iter().enumerate() {
            if let EntryRoute::Failed(at) = entry.route {
                reply.answers[number] = reply.store_error(&self.failures[at as usize]);
            }
            let value = &mut reply.answers[number].value;
            value.flags |= flag::ANSWER;
            if value.kind == Kind::Error {
                count(&core.stats.errors);
                self.name_error(reply, number);
            }
        }
        let mut root = Value::new(Kind::Array, self.entries.len() as u32, 0);
        root.flags = flag::WIDE | flag::SENT;
        reply.root = Answer {
            value: root,
            node: 0,
        };
    }

    /// "Command # 2 (SET foo) of pipeline: " before the words of an error.
    fn name_error(&self, reply: &mut Reply, number: usize) {
        let answer = reply.answers[number];
        let text = View::new(reply, answer.value).text().unwrap_or_default();
        let text = String::from_utf8_lossy(text).into_owned();
        let mut named = reply.store_text(
            Kind::Error,
            format!("{}{text}", self.title(number)).as_bytes(),
        );
        named.code = answer.value.code;
        named.flags = answer.value.flags;
        reply.answers[number].value = named;
    }

    /// A command's number, name and key; never a value.
    fn title(&self, number: usize) -> String {
        let entry = &self.entries[number];
        let mut args = Vec::new();
        let shown = match parse_command(&self.bytes[..entry.end], entry.begin, &mut args) {
            Err(_) => "?".to_string(),
            Ok(_) => {
                let words = entry.name().split(' ').count();
                let name = match entry.row {
                    Some(row) => row.name.to_string(),
                    None => printable(args[0]),
                };
                match args.get(words.min(args.len())) {
                    Some(key) => format!("{name} {}", printable(key)),
                    None => name,
                }
            }
        };
        format!("Command # {} ({shown}) of pipeline: ", number + 1)
    }

    /// On a read-only handle a pipeline with a write in it is refused whole.
    fn refused(&self) -> Option<Box<Reply>> {
        if !self.client.config.readonly {
            return None;
        }
        // A write that is malformed is a write; what cannot even be read is not taken for one.
        let wrong = |e: &Entry| self.client.permit(e.name(), e.access).is_err();
        let first = self.entries.iter().position(wrong)?;
        let mut reply = Box::<Reply>::default();
        reply.answers = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let error = match self.client.permit(entry.name(), entry.access) {
                Err(error) => error,
                Ok(()) => Error::new(
                    Code::ReadOnly,
                    format_args!(
                        "not sent, because command # {} ({}) is not known to be a read, and this client only reads",
                        first + 1,
                        self.entries[first].name()
                    ),
                ),
            };
            let answer = reply.store_error(&error);
            reply.answers.push(answer);
        }
        if let Ok(core) = self.client.ready() {
            self.finish(&mut reply, core);
        }
        Some(reply)
    }

    /// On a pinned handle, whose connection may be inside a transaction.
    fn one_by_one(&self) -> Result<Box<Reply>> {
        let core = self.client.ready()?.clone();
        let mut reply = Box::<Reply>::default();
        reply.answers = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let got = match entry.route {
                EntryRoute::Failed(at) => Box::new(Reply::error(&self.failures[at as usize])),
                _ => self
                    .client
                    .command_resp(&self.bytes[entry.begin..entry.end]),
            };
            let answer = reply.absorb(*got);
            reply.answers.push(answer);
        }
        self.finish(&mut reply, &core);
        Ok(reply)
    }

    /// The same inside MULTI and EXEC: all or nothing, in one slot.
    pub fn execute_atomic(&mut self) -> Box<Reply> {
        let reply = self.try_atomic();
        self.clear();
        reply.unwrap_or_else(|error| Box::new(Reply::error(&error)))
    }

    fn try_atomic(&mut self) -> Result<Box<Reply>> {
        let core = self.client.ready()?.clone();
        count(&core.stats.pipelines);
        if self.client.pinned_slot().is_some() {
            return Err(Error::invalid(
                "a pinned handle sends MULTI and EXEC itself: execute the pipeline between them",
            ));
        }
        if let Some(refused) = self.refused() {
            return Ok(refused);
        }
        if self.entries.is_empty() {
            let mut reply = Box::<Reply>::default();
            self.finish(&mut reply, &core);
            return Ok(reply);
        }
        let client = self.client.clone();
        let call = client.call(&core, 0);
        if self.is_strange {
            self.learn(&core, &call);
        }
        let slot = self.one_slot()?;
        let mut bytes = Vec::with_capacity(self.bytes.len() + 40);
        encode_command(&mut bytes, &[b"MULTI"]);
        for entry in &self.entries {
            bytes.extend_from_slice(&self.bytes[entry.begin..entry.end]);
        }
        encode_command(&mut bytes, &[b"EXEC"]);
        let read = self.entries.iter().all(|e| e.access == Access::Read);
        let mut part = RoutedCommand::new(
            CommandBody::Encoded(&bytes),
            "EXEC",
            Target::Slot(slot),
            read,
        );
        part.preludes = self.entries.len() as u32 + 1;
        let policy = client.policy();
        let mut reply = client.run_many(&core, &mut [part], &call, policy);
        reply.root = reply.answers[0];
        reply.answers.clear();
        if reply.root.value.kind == Kind::Error {
            count(&core.stats.errors);
            return Ok(reply);
        }
        let results = View::new(&reply, reply.root.value);
        if results.len() != self.entries.len() {
            return Err(Error::new(
                Code::Protocol,
                "the reply to EXEC has not as many elements as there were commands",
            )
            .sent(true));
        }
        let node = reply.root.node;
        reply.answers = results
            .elements()
            .map(|element| {
                let mut value = element.value();
                value.flags |= flag::SENT;
                Answer { value, node }
            })
            .collect();
        self.finish(&mut reply, &core);
        reply.root.node = node;
        Ok(reply)
    }

    /// The slot of all keys.
    fn one_slot(&self) -> Result<u16> {
        let mut found: Option<(u16, usize)> = None;
        for (number, entry) in self.entries.iter().enumerate() {
            match entry.route {
                EntryRoute::Slot(slot) | EntryRoute::Primary(slot) => match found {
                    None => found = Some((slot, number)),
                    Some((first, _)) if first == slot => {}
                    Some((_, other)) => {
                        return Err(crossslot(
                            "one transaction",
                            &self.first_key(other),
                            &self.first_key(number),
                        ));
                    }
                },
                EntryRoute::AnyNode => {}
                EntryRoute::Failed(at) => {
                    let mut error = self.failures[at as usize].clone();
                    error.message = format!("{}{}", self.title(number), error.message);
                    return Err(error);
                }
                EntryRoute::FanOut(..) => {
                    return Err(Error::invalid(format_args!(
                        "{}goes to several nodes, and a transaction to one",
                        self.title(number)
                    )));
                }
                EntryRoute::Split(at) => {
                    let mut args = Vec::new();
                    split_at(&self.bytes, entry, &mut args)?;
                    let groups = &self.splits[at as usize].groups;
                    let mut keys = groups.iter().map(|(_, keys)| args[keys[0] as usize]);
                    let (a, b) = (keys.next(), keys.next());
                    return Err(crossslot(
                        entry.name(),
                        a.unwrap_or_default(),
                        b.unwrap_or_default(),
                    ));
                }
            }
        }
        found.map(|(slot, _)| slot).ok_or_else(|| {
            Error::invalid("a transaction needs at least one command with a key, to know its node")
        })
    }

    fn first_key(&self, number: usize) -> Vec<u8> {
        let entry = &self.entries[number];
        let mut args = Vec::new();
        if split_at(&self.bytes, entry, &mut args).is_err() {
            return Vec::new();
        }
        let at = entry
            .row
            .and_then(|row| crate::route::first_key(row, &args).ok().flatten())
            .unwrap_or(1);
        args.get(at).map(|k| k.to_vec()).unwrap_or_default()
    }
}

/// Reads an entry's arguments back.
fn split_at<'a>(bytes: &'a [u8], entry: &Entry, args: &mut Vec<&'a [u8]>) -> Result<usize> {
    parse_command(&bytes[..entry.end], entry.begin, args)
}
