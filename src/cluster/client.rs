//! A cluster and a way of using it.

use super::module_commands;
use super::pinned_connection::PinnedConnection;
use crate::address::Address;
use crate::cluster::execute::{ExecPolicy, Execution, RoutedCommand, Target};
use crate::cluster::reads::ReadConsistency;
use crate::cluster::state::concerns;
use crate::cluster::state::count;
use crate::cluster::state::{Core, ProcessState};
use crate::config::{Config, ReadFrom};
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::{Call, CancelFlag, ConnectionKind, Peer};
use crate::resp::{Answer, CommandBody, EncodedPrefix, Kind, Reply, flag, parse_command};
use crate::route::{
    Access, BlockingTimeout, KeyGroups, Merge, Nodes, Route, Row, access, allows_early_send,
    blocking_timeout, check_shareable, find, merge, plan,
};
use crate::sim_hooks::{rng, sim_panic_point};
use crate::sync::lock;
use crate::topology::{Node, Shard, Topology, key_slot};
use rand::seq::SliceRandom;
use std::sync::Arc;

/// A handle on a cluster. Cheap twins with other options share its topology and connections.
pub struct Client {
    pub(super) core: Option<Arc<Core>>,
    pub(super) config: Arc<Config>,
    policy: ExecPolicy,
    /// Of a handle that reads from replicas.
    consistency: Option<ReadConsistency>,
    pub(super) cancel_flag: CancelFlag,
    error: Option<Error>,
    pin: Option<PinnedConnection>,
}

/// What a command without a row is called in messages.
const UNKNOWN: &str = "the command";

fn policy(config: &Config) -> ExecPolicy {
    let read_from = config.read_from();
    ExecPolicy {
        kind: if config.readonly || read_from != ReadFrom::Primary {
            ConnectionKind::Replicas
        } else {
            ConnectionKind::Primary
        },
        read_from,
        retry_writes: config.retry_writes,
        max_redirects: config.max_redirects,
        timeout_ms: config.timeout_ms,
        attempt_ms: config.attempt_timeout_ms,
    }
}

impl Client {
    /// Connects as a URL says. A client that could not connect says why in [`Client::error`].
    pub fn create(url: &str) -> Client {
        match Config::from_url(url) {
            Ok(config) => Client::create_with(config),
            Err(error) => Client::failed(error),
        }
    }

    /// Connects as the options say.
    pub fn create_with(config: Config) -> Client {
        if let Err(error) = config.check() {
            return Client::failed(error);
        }
        let core = match Core::new(config) {
            Ok(core) => Arc::new(core),
            Err(error) => return Client::failed(error),
        };
        let mut client = Client::of(core.clone(), core.config.clone());
        let call = client.call(&core, 0);
        let connected = core.connect(&call);
        client.error = connected.err();
        client
    }

    /// A client that answers every command with this error.
    pub fn failed(error: Error) -> Client {
        let config = Config::new();
        Client {
            core: None,
            policy: policy(&config),
            consistency: None,
            config: Arc::new(config),
            cancel_flag: CancelFlag::default(),
            error: Some(error),
            pin: None,
        }
    }

    fn of(core: Arc<Core>, config: Arc<Config>) -> Client {
        let consistency = ReadConsistency::of(&config);
        if let Some(consistency) = &consistency {
            if consistency.read_your_writes {
                core.session.keep_writes();
            }
            if consistency.monotonic {
                core.session.keep_seen();
            }
        }
        Client {
            core: Some(core),
            policy: policy(&config),
            consistency,
            config,
            cancel_flag: CancelFlag::default(),
            error: None,
            pin: None,
        }
    }

    /// Why the client could not connect.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// A twin with one option changed.
    pub fn with(&self, name: &str, value: &str) -> Client {
        let core = match self.ready() {
            Ok(core) => core.clone(),
            Err(error) => return Client::failed(error),
        };
        let mut config = Config::clone(&self.config);
        let changed = config
            .set_per_handle(name, value)
            .and_then(|()| config.check());
        match changed {
            Ok(()) => Client::of(core, Arc::new(config)),
            Err(error) => Client::failed(error),
        }
    }

    /// A twin that reads from primaries and replicas alike and refuses writes.
    pub fn readonly(&self) -> Client {
        self.with("readonly", "yes")
    }

    /// A twin on a connection of its own to the primary that serves `key`.
    pub fn pin(&self, key: &[u8]) -> Client {
        let core = match self.ready() {
            Ok(core) => core.clone(),
            Err(error) => return Client::failed(error),
        };
        let mut client = Client::of(core, self.config.clone());
        client.pin = Some(PinnedConnection::new(key_slot(key)));
        client
    }

    /// Ends the calls under way on this handle. Async-signal-safe.
    pub fn interrupt(&self) {
        self.cancel_flag.interrupt();
        if let Some(core) = &self.core {
            core.wakers.fire();
        }
    }

    /// Ends all calls on this handle, now and later.
    pub fn close(&self) {
        self.cancel_flag.close();
        if let Some(core) = &self.core {
            core.wakers.fire();
        }
    }

    #[inline]
    pub(super) fn ready(&self) -> Result<&Arc<Core>> {
        match (&self.error, &self.core) {
            (None, Some(core)) if !self.cancel_flag.is_closed() => Ok(core),
            (None, Some(_)) => Err(Error::new(Code::Closed, "the client handle was closed")),
            (Some(error), _) => Err(error.clone()),
            (None, None) => Err(Error::new(Code::Internal, "a client without a cluster")),
        }
    }

    /// A call that begins now; `more_ms` is what the command itself may wait for.
    #[inline]
    pub(super) fn call<'a>(&'a self, core: &'a Core, more_ms: u64) -> Call<'a> {
        Call::new(
            now(),
            self.policy.timeout_ms.saturating_add(more_ms),
            self.policy.attempt_ms.saturating_add(more_ms),
            &self.cancel_flag,
            &core.wakers,
        )
    }

    /// A call that begins now, and how its command is treated: one that blocks has its own time
    /// besides, and a connection to itself.
    fn blocking_call<'a>(
        &'a self,
        core: &'a Core,
        row: Option<&'static Row>,
        args: &[&[u8]],
    ) -> (Call<'a>, ExecPolicy) {
        let mut policy = self.policy;
        let more_ms = match row.and_then(|row| blocking_timeout(row, args)) {
            None => {
                return (
                    self.call(core, 0).early(row.is_some_and(allows_early_send)),
                    policy,
                );
            }
            Some(BlockingTimeout::Forever) => u64::MAX,
            Some(BlockingTimeout::After(time)) => time.as_millis() as u64,
        };
        let call = self.call(core, more_ms);
        policy.kind = policy.kind.blocking();
        policy.attempt_ms = call.attempt_ms;
        policy.timeout_ms = policy.timeout_ms.saturating_add(more_ms);
        (call, policy)
    }

    /// Refuses a write on a read-only handle.
    #[inline]
    pub(super) fn permit(&self, name: &str, access: Access) -> Result<()> {
        if !self.config.readonly || access == Access::Read {
            return Ok(());
        }
        if let Some(core) = &self.core {
            count(&core.stats.refused_writes);
        }
        Err(Error::new(
            Code::ReadOnly,
            format_args!(
                "{name} is not known to be a read, and this client only reads; nothing was sent"
            ),
        ))
    }

    /// Any command.
    pub fn command(&self, args: &[&[u8]]) -> Box<Reply> {
        self.counted(|core| self.run_command(core, args, CommandBody::Args(args)))
    }

    /// Any command, already encoded.
    pub fn command_resp(&self, bytes: &[u8]) -> Box<Reply> {
        self.counted(|core| {
            let mut args = Vec::new();
            if parse_command(bytes, 0, &mut args)? != bytes.len() {
                return Err(Error::invalid(
                    "the RESP buffer holds more than one command: use a pipeline",
                ));
            }
            self.run_command(core, &args, CommandBody::Encoded(bytes))
        })
    }

    /// A command whose row is known, and which has one key; `name` is its encoded beginning and
    /// `rest` its other arguments.
    #[inline]
    pub fn keyed(
        &self,
        row: &'static Row,
        access: Access,
        key: &[u8],
        name: &'static EncodedPrefix,
        rest: &[&[u8]],
    ) -> Box<Reply> {
        self.counted(|core| {
            self.permit(row.name, access)?;
            let body = CommandBody::Named(name, rest);
            if let Some(pin) = &self.pin {
                // No command of this kind cares for its arguments there.
                let got = pin.call(core, Some(row), &[], &body, &self.call(core, 0));
                self.record_session(core, pin.slot(), access);
                return got;
            }
            let (slot, read) = (key_slot(key), access == Access::Read);
            let call = self.call(core, 0).early(allows_early_send(row));
            let part = || RoutedCommand::new(body, row.name, Target::Slot(slot), read);
            if read && self.policy.read_from != ReadFrom::Primary {
                return Ok(self.run_one(core, part(), &call, self.policy));
            }
            // Nearly always the first attempt is the only one: the exchange is for the rest.
            let process = core.process();
            let topology = process.topology.load();
            let primary = topology.shard(slot).and_then(|s| s.primary.as_ref());
            let Some(primary) = primary.filter(|p| p.peer.health.is_healthy()) else {
                return Ok(self.run_one(core, part(), &call, self.policy));
            };
            // A write, or a read of a handle that reads from primaries alone.
            let attempt = call.attempt_at(call.began);
            match primary.peer.call(ConnectionKind::Primary, &body, attempt) {
                Ok(mut reply) if reply.root.value.kind != Kind::Error => {
                    reply.root.value.flags |= flag::ANSWER | flag::SENT;
                    if !read && core.session.is_on() {
                        self.record_session(core, slot, access);
                    }
                    Ok(reply)
                }
                got => {
                    let exchange = self.exchange(core, process, self.policy, call);
                    Ok(exchange.resume_after_first(part(), got, primary))
                }
            }
        })
    }

    /// A command of a slot has been answered by its primary.
    #[cold]
    fn record_session(&self, core: &Core, slot: u16, access: Access) {
        let session = &core.session;
        if access == Access::Write {
            session.wrote(Some(slot));
        }
        if self.consistency.as_ref().is_some_and(|p| p.monotonic) {
            session.saw(slot, session.seen(slot), 0, now());
        }
    }

    #[inline]
    fn exchange<'c>(
        &'c self,
        core: &'c Core,
        process: &'c ProcessState,
        policy: ExecPolicy,
        call: Call<'c>,
    ) -> Execution<'c> {
        Execution::new(core, process, policy, self.consistency.as_ref(), call)
    }

    #[inline]
    fn counted(&self, f: impl FnOnce(&Arc<Core>) -> Result<Box<Reply>>) -> Box<Reply> {
        let reply = match self.ready() {
            Ok(core) => {
                count(&core.stats.commands);
                f(core)
            }
            Err(error) => Err(error),
        };
        let reply = reply.unwrap_or_else(|error| Box::new(Reply::error(&error)));
        if reply.root.value.kind == Kind::Error
            && let Some(core) = &self.core
        {
            count(&core.stats.errors);
        }
        reply
    }

    #[inline]
    pub(super) fn run_one(
        &self,
        core: &Core,
        part: RoutedCommand<'_>,
        call: &Call<'_>,
        policy: ExecPolicy,
    ) -> Box<Reply> {
        let process = core.process();
        let mut reply = None;
        self.exchange(core, process, policy, *call)
            .run(&mut [part], &mut reply);
        reply.unwrap_or_default()
    }

    fn run_command(
        &self,
        core: &Arc<Core>,
        args: &[&[u8]],
        body: CommandBody<'_>,
    ) -> Result<Box<Reply>> {
        sim_panic_point!(Cluster);
        if args.is_empty() {
            return Err(Error::invalid("an empty command"));
        }
        let row = find(args);
        let mut access = row.map_or(Access::Write, |row| access(row, args));
        let name = row.map_or(UNKNOWN, |row| row.name);
        self.permit(name, access)?;
        let (call, mut policy) = self.blocking_call(core, row, args);
        if let Some(pin) = &self.pin {
            let got = pin.call(core, row, args, &body, &call);
            self.record_session(core, pin.slot(), access);
            return got;
        }
        let planned = match row {
            Some(row) => {
                check_shareable(row)?;
                let planned = plan(row, args, self.config.split_writes)?;
                if concerns(row) {
                    lock(&core.process().scripts).note(row, args);
                }
                planned
            }
            None => {
                let module_commands = module_commands::plan(self, core, args, &call)?;
                access = module_commands.1;
                module_commands.0
            }
        };
        let read = access == Access::Read;
        let part = |target| RoutedCommand::new(body, name, target, read);
        Ok(match planned {
            Route::Slot(slot) => self.run_one(core, part(Target::Slot(slot)), &call, policy),
            Route::Primary(slot) => self.run_one(core, part(Target::Primary(slot)), &call, policy),
            Route::AnyNode => self.run_one(core, part(Target::Anywhere), &call, policy),
            Route::Scan => {
                // Replicas would answer, and their cursors mean nothing to each other.
                policy.read_from = ReadFrom::Primary;
                if core.process().topology.load().standalone {
                    self.run_one(core, part(Target::Anywhere), &call, policy)
                } else {
                    super::scan::scan(self, core, args, &call, policy)?
                }
            }
            Route::FanOut(nodes, merge) => {
                let targets = targets(&core.process().topology.load(), nodes, merge)?;
                let parts = targets.into_iter().map(part).collect();
                self.fan_out(core, parts, merge, &call, policy)?
            }
            Route::Split(groups, how) => {
                self.split(core, args, name, read, &groups, how, &call, policy)
            }
        })
    }

    /// A command in groups, each to the shard of its keys.
    #[allow(clippy::too_many_arguments)]
    fn split(
        &self,
        core: &Core,
        args: &[&[u8]],
        name: &'static str,
        read: bool,
        groups: &KeyGroups,
        how: Merge,
        call: &Call<'_>,
        policy: ExecPolicy,
    ) -> Box<Reply> {
        // Most groups have one key, and requirement not be encoded before they are where they go.
        let opening = groups.opening(args);
        let mut encoded = Vec::new();
        let mut parts = Vec::with_capacity(groups.len());
        let part = |body, slot| RoutedCommand::new(body, name, Target::Slot(slot), read);
        let alone = |opening, key| CommandBody::Named(opening, groups.arguments(args, key));
        match (&opening, groups.single_keys()) {
            (Some(opening), Some(lone)) => {
                parts.extend(lone.map(|(slot, key)| part(alone(opening, key), slot)));
            }
            _ => {
                let least = if opening.is_some() { 2 } else { 1 };
                let mut ends = groups.encode(args, least, &mut encoded).into_iter();
                let mut begin = 0;
                for (slot, keys) in groups.iter() {
                    let body = match (&opening, keys) {
                        (Some(opening), [key]) => alone(opening, *key),
                        _ => {
                            let end = ends.next().unwrap_or(begin);
                            CommandBody::Encoded(&encoded[std::mem::replace(&mut begin, end)..end])
                        }
                    };
                    parts.push(part(body, slot));
                }
            }
        }
        let mut reply = self.run_many(core, &mut parts, call, policy);
        merge(how, &mut reply, groups);
        reply
    }

    pub(super) fn run_many(
        &self,
        core: &Core,
        parts: &mut [RoutedCommand<'_>],
        call: &Call<'_>,
        policy: ExecPolicy,
    ) -> Box<Reply> {
        let mut reply = Box::<Reply>::default();
        reply.answers = vec![Answer::NIL; parts.len()];
        let mut reply = Some(reply);
        self.exchange(core, core.process(), policy, *call)
            .run(parts, &mut reply);
        reply.unwrap_or_default()
    }

    fn fan_out(
        &self,
        core: &Core,
        mut parts: Vec<RoutedCommand<'_>>,
        how: Merge,
        call: &Call<'_>,
        policy: ExecPolicy,
    ) -> Result<Box<Reply>> {
        if parts.is_empty() {
            return Err(Error::new(
                Code::Down,
                "there is no such node in the cluster",
            ));
        }
        let mut reply = self.run_many(core, &mut parts, call, policy);
        merge(how, &mut reply, &KeyGroups::default());
        Ok(reply)
    }

    /// A command to a place of the caller's choice: "host:port", "slot:N", "key:K", "random",
    /// or a map of replies from "all", "primaries", "replicas".
    pub fn command_to(&self, place: &str, args: &[&[u8]]) -> Box<Reply> {
        self.counted(|core| {
            if args.is_empty() {
                return Err(Error::invalid("an empty command"));
            }
            if self.pin.is_some() {
                return Err(Error::invalid(
                    "a pinned handle has one node: use the client it was made from",
                ));
            }
            let row = find(args);
            let access = row.map_or(Access::Write, |row| access(row, args));
            let name = row.map_or(UNKNOWN, |row| row.name);
            self.permit(name, access)?;
            if let Some(row) = row {
                check_shareable(row)?;
                crate::route::check(row, args)?;
            }
            let read = access == Access::Read;
            let topology = core.process().topology.load();
            let (call, policy) = self.blocking_call(core, row, args);
            let part = |target| RoutedCommand::new(CommandBody::Args(args), name, target, read);
            let one = |target| Ok(self.run_one(core, part(target), &call, policy));
            let several = |peers: Vec<Arc<Peer>>| {
                let parts = peers.into_iter().map(|p| part(Target::Peer(p))).collect();
                self.fan_out(core, parts, Merge::ByNode, &call, policy)
            };
            match place.split_once(':') {
                Some(("slot", slot)) => match slot.parse::<u16>() {
                    Ok(slot) if slot < 16384 => one(Target::Slot(slot)),
                    _ => Err(Error::invalid(format_args!(
                        "{place} is no slot: slots are 0 to 16383"
                    ))),
                },
                Some(("key", key)) => one(Target::Slot(key_slot(key.as_bytes()))),
                None if place == "random" => one(Target::Anywhere),
                None if place == "all" => several(peers(&topology, Nodes::All)),
                None if place == "primaries" => several(peers(&topology, Nodes::Primaries)),
                None if place == "replicas" => {
                    let shards = topology.shards.iter();
                    several(
                        shards
                            .flat_map(|s| &s.replicas)
                            .map(|n| n.peer.clone())
                            .collect(),
                    )
                }
                _ => match Address::parse(place)
                    .ok()
                    .and_then(|a| topology.node_at(&a).cloned())
                {
                    Some(node) => one(Target::Peer(node.peer.clone())),
                    None => Err(no_such_place(place, &topology)),
                },
            }
        })
    }

    /// What would be done with a command, without doing it.
    pub fn explain(&self, args: &[&[u8]]) -> Box<Reply> {
        self.counted(|core| Ok(Box::new(super::explain::explain(self, core, args)?)))
    }

    /// The cluster as it is known.
    pub fn topology(&self) -> Box<Reply> {
        self.counted(|core| Ok(Box::new(super::introspect::topology(core.process()))))
    }

    /// What has happened so far.
    pub fn stats(&self) -> Box<Reply> {
        self.counted(|core| Ok(Box::new(super::introspect::stats(core))))
    }

    /// Learns the topology again, now.
    pub fn refresh(&self) -> Box<Reply> {
        self.counted(|core| {
            let call = self.call(core, 0);
            core.refresh_now(core.process(), &call, 2)?;
            Ok(Box::new(Reply::of(crate::resp::Value::ok())))
        })
    }

    pub(super) fn policy(&self) -> ExecPolicy {
        self.policy
    }

    pub(super) fn read_from(&self) -> ReadFrom {
        self.policy.read_from
    }

    pub(super) fn pinned_slot(&self) -> Option<u16> {
        self.pin.as_ref().map(PinnedConnection::slot)
    }
}

/// To whom a command without keys goes: to each node, or to the primary of each shard.
///
/// A shard without one has keys that nobody could be asked for: a part is no answer.
pub(super) fn targets(topology: &Topology, nodes: Nodes, how: Merge) -> Result<Vec<Target>> {
    let peer = |node: &Arc<Node>| Ok(Target::Peer(node.peer.clone()));
    let mut targets: Vec<Target> = match nodes {
        Nodes::All => topology.nodes.iter().map(peer).collect::<Result<_>>()?,
        Nodes::Primaries => {
            let ranges = topology.ranges();
            let shards = topology.shards.iter().zip(&ranges);
            // The shard is known by a slot of its longest run, as slots move one by one.
            let target = |(shard, ranges): (&Shard, &Vec<(u16, u16)>)| match (
                &shard.primary,
                ranges.iter().max_by_key(|(first, last)| last - first),
            ) {
                (Some(_), Some((slot, _))) => Some(Ok(Target::Primary(*slot))),
                (Some(primary), None) => Some(peer(primary)),
                (None, Some((slot, _))) => Some(Err(unreachable_shard(*slot))),
                (None, None) => None,
            };
            shards.filter_map(target).collect::<Result<_>>()?
        }
    };
    // Where one answer is as good as another, it is not always the same node's.
    if how == Merge::FirstFound {
        targets.shuffle(&mut rng());
    }
    Ok(targets)
}

#[cold]
fn unreachable_shard(slot: u16) -> Error {
    Error::new(
        Code::Down,
        format_args!("the shard that serves slot {slot} has no primary that can be reached"),
    )
}

/// The peers of a topology, each once.
pub(super) fn peers(topology: &Topology, nodes: Nodes) -> Vec<Arc<Peer>> {
    match nodes {
        Nodes::All => topology.nodes.iter().map(|n| n.peer.clone()).collect(),
        Nodes::Primaries => topology
            .shards
            .iter()
            .filter_map(|s| s.primary.as_ref())
            .map(|n| n.peer.clone())
            .collect(),
    }
}

fn no_such_place(place: &str, topology: &Topology) -> Error {
    let known: Vec<String> = topology
        .nodes
        .iter()
        .take(8)
        .map(|n| n.peer.address().to_string())
        .collect();
    Error::invalid(format_args!(
        "{place:?} is no place: use slot:N, key:K, random, all, primaries, replicas, or a node ({})",
        known.join(", ")
    ))
}
