//! Commands that are sent together.

use super::client::{Client, guess, targets};
use super::exchange::{Part, Target};
use super::stats::count;
use crate::error::{Code, Error, Result};
use crate::resp::{Answer, Body, Kind, Reply, Value, View, command, flag, named, split};
use crate::route::{
    Access, BlockingTimeout, Merge, Nodes, Pieces, Plan, Row, access, blocking_timeout, crossslot,
    find, merge, plan, printable, shareable,
};
use crate::topology::of_key;
use std::sync::Arc;

/// Commands of one handle, gathered to be sent together.
pub struct Pipeline {
    client: Arc<Client>,
    /// The commands, encoded, one behind the other.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    row: Option<&'static Row>,
    access: Access,
    /// The command's own bytes begin here.
    begin: usize,
    /// And end here; pieces of a split command lie behind them.
    end: usize,
    route: Route,
}

enum Route {
    Slot(u16),
    Primary(u16),
    Anywhere,
    Fan(Nodes, Merge),
    /// Where each piece ends.
    Split(Box<(Pieces, Merge, Vec<usize>)>),
    /// Malformed: this is its answer.
    Failed(Box<Error>),
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
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
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
        let route = match self.route(row, args) {
            Ok(plan) => {
                command(&mut self.bytes, args);
                plan
            }
            Err(error) => {
                // For its message only: enough of it to know it by.
                command(&mut self.bytes, &args[..args.len().min(2)]);
                Route::Failed(Box::new(error))
            }
        };
        let end = self.bytes.len();
        let mut route = route;
        if let Route::Split(split) = &mut route {
            split.2 = split.0.encode(args, &mut self.bytes);
        }
        self.entries.push(Entry {
            row,
            access,
            begin,
            end,
            route,
        });
    }

    fn route(&self, row: Option<&'static Row>, args: &[&[u8]]) -> Result<Route> {
        if args.is_empty() {
            return Err(Error::invalid("an empty command"));
        }
        if self.client.pinned_slot().is_some() {
            // Sent one by one to the one node there is, which judges for itself.
            return Ok(Route::Anywhere);
        }
        let planned = match row {
            Some(row) => {
                shareable(row)?;
                if let Some(wait) = blocking_timeout(row, args)
                    && wait != BlockingTimeout::After(std::time::Duration::ZERO)
                {
                    return Err(Error::invalid(format_args!(
                        "{} blocks, and would hold up the whole pipeline: call it by itself",
                        row.name
                    )));
                }
                plan(row, args, self.client.config.split_writes)?
            }
            None => guess(args),
        };
        Ok(match planned {
            Plan::Slot(slot) => Route::Slot(slot),
            Plan::Primary(slot) => Route::Primary(slot),
            Plan::Anywhere => Route::Anywhere,
            Plan::Fan(nodes, merge) => Route::Fan(nodes, merge),
            Plan::Split(pieces, merge) => Route::Split(Box::new((pieces, merge, Vec::new()))),
            Plan::Scan => {
                return Err(Error::invalid(
                    "SCAN goes from node to node, a step with each reply: call it by itself",
                ));
            }
        })
    }

    /// Adds a command with one key whose row is known; `name` is its encoded beginning.
    #[inline]
    pub fn keyed(
        &mut self,
        row: &'static Row,
        access: Access,
        key: &[u8],
        name: &'static [u8],
        rest: &[&[u8]],
    ) {
        let begin = self.bytes.len();
        named(&mut self.bytes, name, rest);
        self.entries.push(Entry {
            row: Some(row),
            access,
            begin,
            end: self.bytes.len(),
            route: Route::Slot(of_key(key)),
        });
    }

    /// Adds an error in the place of a command that could not even be read.
    pub fn fail(&mut self, error: Error) {
        let at = self.bytes.len();
        self.entries.push(Entry {
            row: None,
            access: Access::Read,
            begin: at,
            end: at,
            route: Route::Failed(Box::new(error)),
        });
    }

    /// Adds any number of encoded commands. What follows the first that is malformed cannot be
    /// told apart, and is answered with one error.
    pub fn resp(&mut self, bytes: &[u8]) {
        let mut at = 0;
        let mut args = Vec::new();
        loop {
            match split(bytes, at, &mut args) {
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

    fn try_execute(&self) -> Result<Box<Reply>> {
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
        let call = self.client.call(&core, 0);
        let topology = core.process().topology.load_full();
        let mut parts = Vec::with_capacity(self.entries.len());
        let mut merged = false;
        // Of each command that goes to several nodes: to how many, or why to none.
        let mut fans: Vec<Result<usize>> = Vec::new();
        for entry in &self.entries {
            let read = entry.access == Access::Read;
            let body = Body::Encoded(&self.bytes[entry.begin..entry.end]);
            let part = |body, target| Part::new(body, entry.name(), target, read);
            match &entry.route {
                Route::Slot(slot) => parts.push(part(body, Target::Slot(*slot))),
                Route::Primary(slot) => parts.push(part(body, Target::Primary(*slot))),
                Route::Anywhere => parts.push(part(body, Target::Anywhere)),
                Route::Fan(nodes, how) => {
                    merged = true;
                    let targets = targets(&topology, *nodes, *how);
                    fans.push(targets.map(|targets| {
                        let count = targets.len();
                        parts.extend(targets.into_iter().map(|target| part(body, target)));
                        count
                    }));
                }
                Route::Split(split) => {
                    merged = true;
                    let mut begin = entry.end;
                    for ((slot, _), end) in split.0.iter().zip(&split.2) {
                        let body = Body::Encoded(&self.bytes[begin..*end]);
                        parts.push(part(body, Target::Slot(slot)));
                        begin = *end;
                    }
                }
                Route::Failed(_) => parts.push(part(body, Target::Anywhere).closed()),
            }
        }
        let manner = self.client.manner();
        let mut reply = self.client.several(&core, &mut parts, &call, manner);
        if merged {
            self.merge(&mut reply, fans);
        }
        self.finish(&mut reply, &core);
        Ok(reply)
    }

    /// Makes one answer of those to the parts of each command.
    fn merge(&self, reply: &mut Reply, fans: Vec<Result<usize>>) {
        let (mut rest, mut fans) = (
            std::mem::take(&mut reply.answers).into_iter(),
            fans.into_iter(),
        );
        let mut answers = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let none = Pieces::default();
            let (count, how, pieces) = match &entry.route {
                Route::Fan(_, how) => (fans.next().unwrap_or(Ok(0)), *how, &none),
                Route::Split(split) => (Ok(split.0.len()), split.1, &split.0),
                _ => {
                    answers.extend(rest.next());
                    continue;
                }
            };
            match count {
                Ok(count) => {
                    reply.answers = rest.by_ref().take(count).collect();
                    merge(how, reply, pieces);
                }
                Err(error) => reply.root = reply.store_error(&error),
            }
            answers.push(reply.root);
        }
        reply.answers = answers;
    }

    /// Puts the errors of malformed commands in their places and each error's command before
    /// it, and makes the whole an array.
    fn finish(&self, reply: &mut Reply, core: &super::core::Core) {
        for (number, entry) in self.entries.iter().enumerate() {
            if let Route::Failed(error) = &entry.route {
                reply.answers[number] = reply.store_error(error);
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
        let shown = match split(&self.bytes[..entry.end], entry.begin, &mut args) {
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
            let got = match &entry.route {
                Route::Failed(error) => Box::new(Reply::error(error)),
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

    fn try_atomic(&self) -> Result<Box<Reply>> {
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
        let slot = self.one_slot()?;
        let mut bytes = Vec::with_capacity(self.bytes.len() + 40);
        command(&mut bytes, &[b"MULTI"]);
        for entry in &self.entries {
            bytes.extend_from_slice(&self.bytes[entry.begin..entry.end]);
        }
        command(&mut bytes, &[b"EXEC"]);
        let read = self.entries.iter().all(|e| e.access == Access::Read);
        let mut part = Part::new(Body::Encoded(&bytes), "EXEC", Target::Slot(slot), read);
        part.preludes = self.entries.len() as u32 + 1;
        let call = self.client.call(&core, 0);
        let manner = self.client.manner();
        let mut reply = self.client.several(&core, &mut [part], &call, manner);
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
            match &entry.route {
                Route::Slot(slot) | Route::Primary(slot) => match found {
                    None => found = Some((*slot, number)),
                    Some((first, _)) if first == *slot => {}
                    Some((_, other)) => {
                        return Err(crossslot(
                            "one transaction",
                            &self.first_key(other),
                            &self.first_key(number),
                        ));
                    }
                },
                Route::Anywhere => {}
                Route::Failed(error) => {
                    let mut error = (**error).clone();
                    error.message = format!("{}{}", self.title(number), error.message);
                    return Err(error);
                }
                Route::Fan(..) => {
                    return Err(Error::invalid(format_args!(
                        "{}goes to several nodes, and a transaction to one",
                        self.title(number)
                    )));
                }
                Route::Split(split) => {
                    let mut args = Vec::new();
                    split_at(&self.bytes, entry, &mut args)?;
                    let mut keys = split.0.iter().map(|(_, keys)| args[keys[0] as usize]);
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
    split(&bytes[..entry.end], entry.begin, args)
}
