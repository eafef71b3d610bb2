//! A pipeline: commands that are sent together.

use super::client::{Client, empty_command};
use super::context::{ExecContext, is_permitted, refused_write};
use super::fan_out::targets;
use super::module_commands;
use super::node_selector::not_selected;
use crate::cluster::execute::{PlainCommands, RoutedCommand, Target};
use crate::cluster::state::{Core, count};
use crate::error::{Code, Error, Result};
use crate::resp::{
    CommandBody, CommandBuffer, EncodedPrefix, Kind, NodeValue, Reply, Value, View,
    encode_with_prefix, flag, parse_command,
};
use crate::route::{
    Access, BlockingTimeout, Classified, KeyGroups, Merge, Nodes, Route, RouteOptions, Row,
    StateChange, classify, is_refused_by_transaction, marked, merge, printable,
};
use crate::topology::{KeySpace, Topology};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A larger buffer is freed after the pipeline is executed.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// Commands of one handle that are queued and then sent together.
pub struct Pipeline {
    pub(super) client: Arc<Client>,
    /// The encoded commands.
    pub(super) bytes: CommandBuffer,
    pub(super) queued: Vec<QueuedCommand>,
    /// The groups of split commands. Few commands have any, so they are not in `queued`.
    pub(super) split_commands: Vec<SplitCommand>,
    /// The errors of invalid commands.
    pub(super) errors: Vec<Error>,
    /// Every command is valid and goes to one node.
    pub(super) is_simple: bool,
    /// The table does not describe every command.
    pub(super) has_unknown_commands: bool,
    /// The key space that the commands were routed for; `None` if the client had not connected.
    pub(super) key_space: Option<KeySpace>,
}

#[derive(Clone, Copy)]
pub(super) struct QueuedCommand {
    pub(super) row: Option<&'static Row>,
    pub(super) access: Access,
    pub(super) route: QueuedRoute,
    /// The range of the command in [`Pipeline::bytes`].
    pub(super) begin: usize,
    /// The groups of a split command follow here.
    pub(super) end: usize,
}

/// Like [`Route`], but `Copy`.
#[derive(Clone, Copy)]
pub(super) enum QueuedRoute {
    Slot(u16),
    Primary(u16),
    AnyNode,
    AnyNodeOf(u16),
    FanOut(Nodes, Merge),
    /// The command waits for the writes before it. The slot of these is known when the pipeline is executed.
    Wait(Option<u16>),
    /// An index of [`Pipeline::split_commands`].
    Split(u32),
    /// None yet: the client was not connected when the command was queued.
    Deferred,
    /// The command is answered with an error: an index of [`Pipeline::errors`].
    Invalid(u32),
}

pub(super) struct SplitCommand {
    pub(super) groups: KeyGroups,
    merge: Merge,
    /// The end of each group in [`Pipeline::bytes`].
    ends: Vec<usize>,
}

/// How many targets a fan-out has, or why it has none.
type FanOutCount = Result<usize>;

impl QueuedCommand {
    /// The name for error messages.
    pub(super) fn name(&self) -> &'static str {
        self.row.map_or("the command", |row| row.name)
    }

    /// Its encoded bytes, or those of a part of it, marked if they contain a password.
    #[inline]
    pub(super) fn body<'a>(&self, bytes: &'a [u8]) -> CommandBody<'a> {
        marked(self.row, CommandBody::Encoded(bytes))
    }

    /// Decodes the arguments.
    pub(super) fn parse<'a>(&self, bytes: &'a [u8], args: &mut Vec<&'a [u8]>) -> Result<usize> {
        parse_command(&bytes[..self.end], self.begin, args)
    }

    /// Calls `f` with the command as it was appended; `None` if its bytes are not a command.
    pub(super) fn with_classified<T>(
        &self,
        bytes: &[u8],
        f: impl FnOnce(&Classified<'_>) -> T,
    ) -> Option<T> {
        let mut args = Vec::new();
        self.parse(bytes, &mut args).ok()?;
        Some(f(&classify(&args)))
    }
}

impl Pipeline {
    pub fn new(client: Arc<Client>) -> Pipeline {
        Pipeline {
            key_space: client.connected_key_space(),
            client,
            bytes: CommandBuffer::default(),
            queued: Vec::new(),
            split_commands: Vec::new(),
            errors: Vec::new(),
            is_simple: true,
            has_unknown_commands: false,
        }
    }

    pub fn len(&self) -> usize {
        self.queued.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    pub fn clear(&mut self) {
        self.split_commands.clear();
        self.errors.clear();
        self.queued.clear();
        self.is_simple = true;
        self.has_unknown_commands = false;
        self.key_space = self.client.connected_key_space();
        self.bytes.clear(MAX_KEPT_BYTES);
    }

    /// Takes the commands, and leaves this pipeline empty.
    pub fn take_commands(&mut self) -> Pipeline {
        let empty = Pipeline::new(self.client.clone());
        std::mem::replace(self, empty)
    }

    /// The slots of its commands, as far as they are known.
    pub(super) fn slots(&self) -> impl Iterator<Item = u16> {
        let groups = self.split_commands.iter().map(|split| &split.groups);
        let split = groups.flat_map(|groups| groups.iter().map(|(slot, _)| slot));
        let single = self
            .queued
            .iter()
            .filter_map(|command| match command.route {
                QueuedRoute::Slot(slot)
                | QueuedRoute::Primary(slot)
                | QueuedRoute::AnyNodeOf(slot) => Some(slot),
                _ => None,
            });
        single.chain(split)
    }

    /// Queues a command. An invalid command is answered with an error at its position.
    pub fn command(&mut self, args: &[&[u8]]) {
        if self.key_space.is_none() && !args.is_empty() && !self.client.is_pinned() {
            return self.defer(args);
        }
        let begin = self.bytes.len();
        let command = classify(args);
        self.has_unknown_commands |= command.row.is_none();
        let route = self.route(&command);
        // An invalid command is kept, too: see `reroute`.
        let body = command.marked(CommandBody::Args(args));
        self.bytes.push(&body);
        let end = self.bytes.len();
        let route = match route {
            Ok(route) => self.queued_route(route, args),
            Err(error) => self.invalid(error),
        };
        self.is_simple &= matches!(
            route,
            QueuedRoute::Slot(_)
                | QueuedRoute::Primary(_)
                | QueuedRoute::AnyNode
                | QueuedRoute::AnyNodeOf(_)
        );
        self.queued.push(QueuedCommand {
            row: command.row,
            // An empty command writes nothing.
            access: if args.is_empty() {
                Access::Read
            } else {
                command.access
            },
            route,
            begin,
            end,
        });
    }

    /// Encodes the groups of a split command.
    fn queued_route(&mut self, route: Route, args: &[&[u8]]) -> QueuedRoute {
        match route {
            Route::Slot(slot) => QueuedRoute::Slot(slot),
            Route::Primary(slot) => QueuedRoute::Primary(slot),
            Route::AnyNode | Route::Selected => QueuedRoute::AnyNode,
            Route::AnyNodeOf(slot) => QueuedRoute::AnyNodeOf(slot),
            Route::Writes => QueuedRoute::Wait(None),
            Route::FanOut(nodes, merge) => QueuedRoute::FanOut(nodes, merge),
            Route::Split(groups, merge) => {
                let len = || groups.max_encoded_len(args);
                let ends = groups.encode(args, 1, self.bytes.appendable(len));
                self.split_commands.push(SplitCommand {
                    groups,
                    merge,
                    ends,
                });
                QueuedRoute::Split(self.split_commands.len() as u32 - 1)
            }
            Route::Scan => self.invalid(Error::invalid(
                "SCAN cannot run in a pipeline, because each step needs the cursor of the last reply: call it by itself",
            )),
        }
    }

    pub(super) fn invalid(&mut self, error: Error) -> QueuedRoute {
        self.is_simple = false;
        self.errors.push(error);
        QueuedRoute::Invalid(self.errors.len() as u32 - 1)
    }

    fn route(&self, command: &Classified<'_>) -> Result<Route> {
        if command.args.is_empty() {
            return Err(empty_command());
        }
        if self.client.is_pinned() {
            // There is one node; the pinned connection checks each command when it is sent.
            return Ok(Route::AnyNode);
        }
        if let Some(wait) = command.blocking_timeout
            && !command.waits_for_writes()
            && wait != BlockingTimeout::After(Duration::ZERO)
        {
            return Err(Error::invalid(format_args!(
                "{} blocks, and would delay the whole pipeline: call it by itself",
                command.name()
            )));
        }
        let options = RouteOptions {
            key_space: self.key_space.unwrap_or_default(),
            split_writes: self.client.config.split_writes,
        };
        let Some(route) = command.route(options)? else {
            // A server is asked for the route when the pipeline is executed.
            return Ok(module_commands::guess(command.args, options.key_space));
        };
        if let Some(core) = &self.client.core {
            core.process().note_script(command);
            if command.publishes() {
                core.note_publication(core.process(), &self.client.config);
            }
        }
        match route {
            Route::Selected => Err(not_selected(command)),
            route => Ok(route),
        }
    }

    /// Queues a command with one key whose row is known at compile time. `prefix` is its encoded
    /// beginning, `rest` its arguments.
    #[inline(always)]
    pub fn keyed(
        &mut self,
        row: &'static Row,
        access: Access,
        key: &[u8],
        prefix: &'static EncodedPrefix,
        rest: &[&[u8]],
    ) {
        let begin = self.bytes.len();
        let body = CommandBody::Named(prefix, rest);
        let bytes = self.bytes.appendable(|| body.len());
        encode_with_prefix(bytes, prefix, rest);
        self.queued.push(QueuedCommand {
            row: Some(row),
            access,
            route: QueuedRoute::Slot(self.key_space.unwrap_or_default().slot(key)),
            begin,
            end: self.bytes.len(),
        });
    }

    /// Queues an error in place of a command that could not be parsed.
    pub fn fail(&mut self, error: Error) {
        let at = self.bytes.len();
        let route = self.invalid(error);
        self.queued.push(QueuedCommand {
            row: None,
            access: Access::Read,
            route,
            begin: at,
            end: at,
        });
    }

    /// Queues any number of encoded commands. After the first malformed one the buffer cannot be
    /// parsed: the rest is answered with one error.
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

    /// Sends all commands and returns an array of their replies, in order. The pipeline is empty
    /// afterwards.
    pub fn execute(&mut self) -> Box<Reply> {
        let reply = self.try_execute();
        self.clear();
        reply.unwrap_or_else(|error| Box::new(Reply::error(&error)))
    }

    fn try_execute(&mut self) -> Result<Box<Reply>> {
        let client = self.client.clone();
        let core = client.ready()?;
        count(&core.stats.pipelines);
        let commands = &core.stats.commands;
        commands.fetch_add(self.queued.len() as u64, Ordering::Relaxed);
        if let Some(refused) = self.refuse_writes(core) {
            return Ok(refused);
        }
        if client.is_pinned() {
            return Ok(self.execute_one_by_one(core));
        }
        let spent = self.connect(core)?;
        let waiting_ms = match self.is_simple {
            true => 0,
            false => self.waiting_ms(),
        };
        let mut context = match waiting_ms {
            0 => client.context(core),
            waiting_ms => client.blocking_context(core, waiting_ms),
        };
        context.call = context.call.shortened(spent);
        if let Some(refused) = self.route_unknown_commands(&context) {
            return Ok(refused);
        }
        if !self.is_simple {
            self.route_waits();
        }
        let mut reply = match self.is_simple {
            true => context.execution().run_plain(self),
            false => {
                let mut routes = self.queued.iter().map(|command| command.route);
                let topology = match routes.any(|route| matches!(route, QueuedRoute::FanOut(..))) {
                    true => context.topology_of_all(),
                    false => context.process.load_whole_topology(),
                };
                let mut commands = Vec::new();
                let fan_outs = self.routed_commands(&topology, &mut commands);
                let mut reply = context.run_many(&mut commands);
                self.merge_answers(&mut reply, fan_outs);
                reply
            }
        };
        self.finish(&mut reply, core);
        Ok(reply)
    }

    /// Asks a server for the routes of commands that the table does not describe. On a read-only handle, a pipeline
    /// in which one of them writes is refused as a whole.
    pub(super) fn route_unknown_commands(
        &mut self,
        context: &ExecContext<'_>,
    ) -> Option<Box<Reply>> {
        if !std::mem::take(&mut self.has_unknown_commands) {
            return None;
        }
        for at in 0..self.queued.len() {
            let command = self.queued[at];
            if command.row.is_some() || matches!(command.route, QueuedRoute::Invalid(_)) {
                continue;
            }
            let mut args = Vec::new();
            let routed = command
                .parse(&self.bytes, &mut args)
                .and_then(|_| module_commands::route(context, &args));
            let (route, access) = match routed {
                Ok((Route::Slot(slot), access)) => (QueuedRoute::Slot(slot), access),
                Ok((_, access)) => (QueuedRoute::AnyNode, access),
                Err(error) => (self.invalid(error), command.access),
            };
            (self.queued[at].route, self.queued[at].access) = (route, access);
        }
        self.refuse_writes(context.core)
    }

    /// Appends what is sent for every command; returns an element for each fan-out.
    fn routed_commands<'a>(
        &'a self,
        topology: &Topology,
        commands: &mut Vec<RoutedCommand<'a>>,
    ) -> Vec<FanOutCount> {
        let mut fan_outs = Vec::new();
        for command in &self.queued {
            let body = &self.bytes[command.begin..command.end];
            match command.route {
                QueuedRoute::Slot(_)
                | QueuedRoute::Primary(_)
                | QueuedRoute::AnyNode
                | QueuedRoute::AnyNodeOf(_)
                | QueuedRoute::Deferred => {
                    commands.push(self.single(command));
                }
                QueuedRoute::Wait(slot) => {
                    let target = slot.map_or(Target::Anywhere, Target::Writes);
                    commands.push(routed(command, body, target));
                }
                QueuedRoute::Invalid(_) => commands.push(self.single(command).completed()),
                QueuedRoute::FanOut(nodes, how) => {
                    fan_outs.push(targets(topology, nodes, how).map(|targets| {
                        let count = targets.len();
                        let targets = targets.into_iter();
                        commands.extend(targets.map(|target| routed(command, body, target)));
                        count
                    }));
                }
                QueuedRoute::Split(at) => {
                    let split = &self.split_commands[at as usize];
                    let mut begin = command.end;
                    for ((slot, _), end) in split.groups.iter().zip(&split.ends) {
                        let body = &self.bytes[begin..*end];
                        commands.push(routed(command, body, Target::Slot(slot)));
                        begin = *end;
                    }
                }
            }
        }
        fan_outs
    }

    /// A command that goes to one node.
    #[inline]
    fn single(&self, command: &QueuedCommand) -> RoutedCommand<'_> {
        let target = match command.route {
            QueuedRoute::Slot(slot) => Target::Slot(slot),
            QueuedRoute::Primary(slot) => Target::Primary(slot),
            QueuedRoute::AnyNodeOf(slot) => Target::Near(slot),
            _ => Target::Anywhere,
        };
        routed(command, &self.bytes[command.begin..command.end], target)
    }

    /// Merges the answers of each fan-out and of each split command into one.
    fn merge_answers(&self, reply: &mut Reply, fan_outs: Vec<FanOutCount>) {
        let mut unmerged = std::mem::take(&mut reply.node_values).into_iter();
        let mut fan_outs = fan_outs.into_iter();
        let mut answers = Vec::with_capacity(self.queued.len());
        let no_groups = KeyGroups::default();
        for command in &self.queued {
            let (count, how, groups) = match command.route {
                QueuedRoute::FanOut(_, how) => (fan_outs.next().unwrap_or(Ok(0)), how, &no_groups),
                QueuedRoute::Split(at) => {
                    let split = &self.split_commands[at as usize];
                    (Ok(split.groups.len()), split.merge, &split.groups)
                }
                _ => {
                    answers.extend(unmerged.next());
                    continue;
                }
            };
            match count {
                Ok(count) => {
                    reply.node_values = unmerged.by_ref().take(count).collect();
                    merge(how, reply, groups);
                }
                Err(error) => reply.root = reply.store_error(&error),
            }
            answers.push(reply.root);
        }
        reply.node_values = answers;
    }

    /// Inserts the errors of invalid commands, names the command in each error, and makes the reply
    /// an array.
    pub(super) fn finish(&self, reply: &mut Reply, core: &Core) {
        let mut has_errors = !self.errors.is_empty();
        for answer in &mut reply.node_values {
            has_errors |= answer.value.kind == Kind::Error;
            answer.value.flags |= flag::NODE_VALUE;
        }
        if has_errors {
            self.finish_errors(reply, core);
        }
        let mut root = Value::new(Kind::Array, self.queued.len() as u32, 0);
        root.flags = flag::NODE_VALUES | flag::SENT;
        reply.root = NodeValue {
            value: root,
            node: 0,
        };
    }

    #[cold]
    fn finish_errors(&self, reply: &mut Reply, core: &Core) {
        for (number, command) in self.queued.iter().enumerate() {
            if let QueuedRoute::Invalid(at) = command.route {
                reply.node_values[number] = reply.store_error(&self.errors[at as usize]);
                reply.node_values[number].value.flags |= flag::NODE_VALUE;
            }
            if reply.node_values[number].value.kind == Kind::Error {
                count(&core.stats.errors);
                self.name_error(reply, number);
            }
        }
    }

    /// Prepends "Command # 2 (SET foo) of pipeline: " to the message of an error.
    fn name_error(&self, reply: &mut Reply, number: usize) {
        let answer = reply.node_values[number];
        let text = View::new(reply, answer.value).text().unwrap_or_default();
        let text = String::from_utf8_lossy(text).into_owned();
        let named_text = format!("{}{text}", self.title(number));
        let mut named = reply.store_text(Kind::Error, named_text.as_bytes());
        named.code = answer.value.code;
        named.flags = answer.value.flags;
        reply.node_values[number].value = named;
    }

    /// A command's number, its name, and its first key if the row tells where that is: any other argument may be a value
    /// or a password.
    pub(super) fn title(&self, number: usize) -> String {
        let command = &self.queued[number];
        let mut args = Vec::new();
        let shown = match command.parse(&self.bytes, &mut args) {
            Err(_) => "?".to_string(),
            Ok(_) => match command.row {
                None => printable(args[0]),
                Some(row) => match row.fixed_first_key().and_then(|at| args.get(at)) {
                    Some(key) => format!("{} {}", row.name, printable(key)),
                    None => row.name.to_string(),
                },
            },
        };
        format!("Command # {} ({shown}) of pipeline: ", number + 1)
    }

    /// On a read-only handle, a pipeline that contains a write is refused as a whole.
    pub(super) fn refuse_writes(&self, core: &Core) -> Option<Box<Reply>> {
        let config = &self.client.config;
        if !config.readonly || self.is_read_only() {
            return None;
        }
        // An invalid write is a write; a command that could not be parsed is not.
        let permitted = |c: &QueuedCommand| {
            if c.access == Access::Read {
                return Ok(());
            }
            let permitted =
                c.with_classified(&self.bytes, |command| match self.has_unknown_commands {
                    true => is_permitted(config, command),
                    false => Err(refused_write(&command.full_name())),
                });
            permitted.unwrap_or_else(|| Err(refused_write(c.name())))
        };
        let first = self.queued.iter().position(|c| permitted(c).is_err())?;
        let first_name =
            self.queued[first].with_classified(&self.bytes, |command| command.full_name());
        let first_name = first_name.unwrap_or_default();
        let mut reply = Box::<Reply>::default();
        reply.node_values = Vec::with_capacity(self.queued.len());
        for command in &self.queued {
            let error = match permitted(command) {
                Err(error) => {
                    count(&core.stats.refused_writes);
                    error
                }
                Ok(()) => Error::new(
                    Code::ReadOnly,
                    format_args!(
                        "not sent, because command # {} ({first_name}) is not known to be a read, and this handle is read-only",
                        first + 1,
                    ),
                ),
            };
            let answer = reply.store_error(&error);
            reply.node_values.push(answer);
        }
        self.finish(&mut reply, core);
        Some(reply)
    }

    /// On a pinned handle: its connection may be in a transaction. Once a command that changes the state of the
    /// connection has failed, the rest is not sent: after MULTI it would run one by one, after SELECT elsewhere.
    fn execute_one_by_one(&self, core: &Core) -> Box<Reply> {
        let mut reply = Box::<Reply>::default();
        reply.node_values = Vec::with_capacity(self.queued.len());
        let mut failed: Option<&QueuedCommand> = None;
        for command in &self.queued {
            let single = match (command.route, failed) {
                (QueuedRoute::Invalid(at), _) => Box::new(Reply::error(&self.errors[at as usize])),
                (_, Some(failed)) => Box::new(Reply::error(&not_sent_behind(failed))),
                _ => self
                    .client
                    .command_resp(&self.bytes[command.begin..command.end])
                    .whole(),
            };
            if failed.is_none() && self.leaves_wrong_state(command, &single) {
                failed = Some(command);
            }
            let answer = reply.absorb(*single);
            reply.node_values.push(answer);
        }
        self.finish(&mut reply, core);
        reply
    }

    /// Whether a command should have begun a state of its connection and has not.
    fn leaves_wrong_state(&self, command: &QueuedCommand, reply: &Reply) -> bool {
        let view = reply.view();
        let is_refused = view.kind() == Kind::Error
            && !is_refused_by_transaction(view.text().unwrap_or_default());
        let begins_state = |command: &Classified<'_>| {
            command.state_change() != StateChange::Nothing
                && !command.state_effect().begins.is_empty()
        };
        is_refused && command.with_classified(&self.bytes, begins_state) == Some(true)
    }
}

impl PlainCommands for Pipeline {
    fn len(&self) -> usize {
        self.queued.len()
    }

    #[inline]
    fn slot(&self, number: usize) -> Option<u16> {
        match self.queued[number].route {
            QueuedRoute::Slot(slot) => Some(slot),
            _ => None,
        }
    }

    fn is_read_only(&self) -> bool {
        let mut commands = self.queued.iter();
        commands.all(|command| command.access == Access::Read)
    }

    fn encoded_len(&self, number: usize) -> usize {
        let QueuedCommand { begin, end, .. } = self.queued[number];
        end - begin
    }

    fn encode(&self, numbers: &[u32], out: &mut CommandBuffer) {
        let commands = numbers.iter().map(|number| &self.queued[*number as usize]);
        if !self.bytes.has_secret() {
            let whole: &[u8] = &self.bytes;
            return commands.for_each(|command| out.push_part(whole, command.begin..command.end));
        }
        for command in commands {
            out.push(&command.body(&self.bytes[command.begin..command.end]));
        }
    }

    fn routed(&self, number: usize) -> RoutedCommand<'_> {
        self.single(&self.queued[number])
    }
}

#[cold]
fn not_sent_behind(failed: &QueuedCommand) -> Error {
    Error::new(
        Code::Io,
        format_args!(
            "not sent, because {} failed before it in this pipeline, and the connection is not in the state that {0} sets",
            failed.name()
        ),
    )
}

#[inline]
fn routed<'a>(command: &QueuedCommand, bytes: &'a [u8], target: Target) -> RoutedCommand<'a> {
    let read = command.access == Access::Read;
    RoutedCommand::new(command.body(bytes), command.name(), target, read)
}
