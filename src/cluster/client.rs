//! A cluster and a way of using it.

use super::core::{Core, Process};
use super::exchange::{Exchange, Manner, Part, Target};
use super::learned;
use super::pin::Pin;
use super::promise::Promise;
use super::scripts;
use super::stats::count;
use crate::address::Address;
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
    manner: Manner,
    /// Of a handle that reads from replicas.
    promise: Option<Promise>,
    pub(super) cancel_flag: CancelFlag,
    error: Option<Error>,
    pin: Option<Pin>,
}

/// What a command without a row is called in messages.
const UNKNOWN: &str = "the command";

fn manner(config: &Config) -> Manner {
    let read_from = config.read_from();
    Manner {
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
            Err(error) => Client::broken(error),
        }
    }

    /// Connects as the options say.
    pub fn create_with(config: Config) -> Client {
        if let Err(error) = config.check() {
            return Client::broken(error);
        }
        let core = match Core::new(config) {
            Ok(core) => Arc::new(core),
            Err(error) => return Client::broken(error),
        };
        let mut client = Client::of(core.clone(), core.config.clone());
        let call = client.call(&core, 0);
        let connected = core.connect(&call);
        client.error = connected.err();
        client
    }

    /// A client that answers every command with this error.
    pub fn broken(error: Error) -> Client {
        let config = Config::new();
        Client {
            core: None,
            manner: manner(&config),
            promise: None,
            config: Arc::new(config),
            cancel_flag: CancelFlag::default(),
            error: Some(error),
            pin: None,
        }
    }

    fn of(core: Arc<Core>, config: Arc<Config>) -> Client {
        let promise = Promise::of(&config);
        if let Some(promise) = &promise {
            if promise.read_your_writes {
                core.session.keep_writes();
            }
            if promise.monotonic {
                core.session.keep_seen();
            }
        }
        Client {
            core: Some(core),
            manner: manner(&config),
            promise,
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
            Err(error) => return Client::broken(error),
        };
        let mut config = Config::clone(&self.config);
        let changed = config
            .set_per_handle(name, value)
            .and_then(|()| config.check());
        match changed {
            Ok(()) => Client::of(core, Arc::new(config)),
            Err(error) => Client::broken(error),
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
            Err(error) => return Client::broken(error),
        };
        let mut client = Client::of(core, self.config.clone());
        client.pin = Some(Pin::new(key_slot(key)));
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
            self.manner.timeout_ms.saturating_add(more_ms),
            self.manner.attempt_ms.saturating_add(more_ms),
            &self.cancel_flag,
            &core.wakers,
        )
    }

    /// A call that begins now, and how its command is treated: one that blocks has its own time
    /// besides, and a connection to itself.
    fn patient<'a>(
        &'a self,
        core: &'a Core,
        row: Option<&'static Row>,
        args: &[&[u8]],
    ) -> (Call<'a>, Manner) {
        let mut manner = self.manner;
        let more_ms = match row.and_then(|row| blocking_timeout(row, args)) {
            None => {
                return (
                    self.call(core, 0).early(row.is_some_and(allows_early_send)),
                    manner,
                );
            }
            Some(BlockingTimeout::Forever) => u64::MAX,
            Some(BlockingTimeout::After(time)) => time.as_millis() as u64,
        };
        let call = self.call(core, more_ms);
        manner.kind = manner.kind.blocking();
        manner.attempt_ms = call.attempt_ms;
        manner.timeout_ms = manner.timeout_ms.saturating_add(more_ms);
        (call, manner)
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
        self.replied(|core| self.any(core, args, CommandBody::Args(args)))
    }

    /// Any command, already encoded.
    pub fn command_resp(&self, bytes: &[u8]) -> Box<Reply> {
        self.replied(|core| {
            let mut args = Vec::new();
            if parse_command(bytes, 0, &mut args)? != bytes.len() {
                return Err(Error::invalid(
                    "the RESP buffer holds more than one command: use a pipeline",
                ));
            }
            self.any(core, &args, CommandBody::Encoded(bytes))
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
        self.replied(|core| {
            self.permit(row.name, access)?;
            let body = CommandBody::Named(name, rest);
            if let Some(pin) = &self.pin {
                // No command of this kind cares for its arguments there.
                let got = pin.call(core, Some(row), &[], &body, &self.call(core, 0));
                self.remember(core, pin.slot(), access);
                return got;
            }
            let (slot, read) = (key_slot(key), access == Access::Read);
            let call = self.call(core, 0).early(allows_early_send(row));
            let part = || Part::new(body, row.name, Target::Slot(slot), read);
            if read && self.manner.read_from != ReadFrom::Primary {
                return Ok(self.one(core, part(), &call, self.manner));
            }
            // Nearly always the first attempt is the only one: the exchange is for the rest.
            let process = core.process();
            let topology = process.topology.load();
            let primary = topology.shard(slot).and_then(|s| s.primary.as_ref());
            let Some(primary) = primary.filter(|p| p.peer.health.is_healthy()) else {
                return Ok(self.one(core, part(), &call, self.manner));
            };
            let until = call.attempt_deadline(call.began);
            // A write, or a read of a handle that reads from primaries alone.
            match primary
                .peer
                .call(ConnectionKind::Primary, &body, &call, until)
            {
                Ok(mut reply) if reply.root.value.kind != Kind::Error => {
                    reply.root.value.flags |= flag::ANSWER | flag::SENT;
                    if !read && core.session.is_on() {
                        self.remember(core, slot, access);
                    }
                    Ok(reply)
                }
                got => {
                    let exchange = self.exchange(core, process, self.manner, call);
                    Ok(exchange.resume(part(), got, primary))
                }
            }
        })
    }

    /// A command of a slot has been answered by its primary.
    #[cold]
    fn remember(&self, core: &Core, slot: u16, access: Access) {
        let session = &core.session;
        if access == Access::Write {
            session.wrote(Some(slot));
        }
        if self.promise.as_ref().is_some_and(|p| p.monotonic) {
            session.saw(slot, session.seen(slot), 0, now());
        }
    }

    #[inline]
    fn exchange<'c>(
        &'c self,
        core: &'c Core,
        process: &'c Process,
        manner: Manner,
        call: Call<'c>,
    ) -> Exchange<'c> {
        Exchange::new(core, process, manner, self.promise.as_ref(), call)
    }

    #[inline]
    fn replied(&self, f: impl FnOnce(&Arc<Core>) -> Result<Box<Reply>>) -> Box<Reply> {
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
    pub(super) fn one(
        &self,
        core: &Core,
        part: Part<'_>,
        call: &Call<'_>,
        manner: Manner,
    ) -> Box<Reply> {
        let process = core.process();
        let mut reply = None;
        self.exchange(core, process, manner, *call)
            .run(&mut [part], &mut reply);
        reply.unwrap_or_default()
    }

    fn any(&self, core: &Arc<Core>, args: &[&[u8]], body: CommandBody<'_>) -> Result<Box<Reply>> {
        sim_panic_point!(Cluster);
        if args.is_empty() {
            return Err(Error::invalid("an empty command"));
        }
        let row = find(args);
        let mut access = row.map_or(Access::Write, |row| access(row, args));
        let name = row.map_or(UNKNOWN, |row| row.name);
        self.permit(name, access)?;
        let (call, mut manner) = self.patient(core, row, args);
        if let Some(pin) = &self.pin {
            let got = pin.call(core, row, args, &body, &call);
            self.remember(core, pin.slot(), access);
            return got;
        }
        let planned = match row {
            Some(row) => {
                check_shareable(row)?;
                let planned = plan(row, args, self.config.split_writes)?;
                if scripts::concerns(row) {
                    lock(&core.process().scripts).note(row, args);
                }
                planned
            }
            None => {
                let learned = learned::plan(self, core, args, &call)?;
                access = learned.1;
                learned.0
            }
        };
        let read = access == Access::Read;
        let part = |target| Part::new(body, name, target, read);
        Ok(match planned {
            Route::Slot(slot) => self.one(core, part(Target::Slot(slot)), &call, manner),
            Route::Primary(slot) => self.one(core, part(Target::Primary(slot)), &call, manner),
            Route::AnyNode => self.one(core, part(Target::Anywhere), &call, manner),
            Route::Scan => {
                // Replicas would answer, and their cursors mean nothing to each other.
                manner.read_from = ReadFrom::Primary;
                if core.process().topology.load().standalone {
                    self.one(core, part(Target::Anywhere), &call, manner)
                } else {
                    super::scan::scan(self, core, args, &call, manner)?
                }
            }
            Route::FanOut(nodes, merge) => {
                let targets = targets(&core.process().topology.load(), nodes, merge)?;
                let parts = targets.into_iter().map(part).collect();
                self.fan(core, parts, merge, &call, manner)?
            }
            Route::Split(groups, how) => {
                self.split(core, args, name, read, &groups, how, &call, manner)
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
        manner: Manner,
    ) -> Box<Reply> {
        // Most groups have one key, and need not be encoded before they are where they go.
        let opening = groups.opening(args);
        let mut encoded = Vec::new();
        let mut parts = Vec::with_capacity(groups.len());
        let part = |body, slot| Part::new(body, name, Target::Slot(slot), read);
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
        let mut reply = self.several(core, &mut parts, call, manner);
        merge(how, &mut reply, groups);
        reply
    }

    pub(super) fn several(
        &self,
        core: &Core,
        parts: &mut [Part<'_>],
        call: &Call<'_>,
        manner: Manner,
    ) -> Box<Reply> {
        let mut reply = Box::<Reply>::default();
        reply.answers = vec![Answer::NIL; parts.len()];
        let mut reply = Some(reply);
        self.exchange(core, core.process(), manner, *call)
            .run(parts, &mut reply);
        reply.unwrap_or_default()
    }

    fn fan(
        &self,
        core: &Core,
        mut parts: Vec<Part<'_>>,
        how: Merge,
        call: &Call<'_>,
        manner: Manner,
    ) -> Result<Box<Reply>> {
        if parts.is_empty() {
            return Err(Error::new(
                Code::Down,
                "there is no such node in the cluster",
            ));
        }
        let mut reply = self.several(core, &mut parts, call, manner);
        merge(how, &mut reply, &KeyGroups::default());
        Ok(reply)
    }

    /// A command to a place of the caller's choice: "host:port", "slot:N", "key:K", "random",
    /// or a map of replies from "all", "primaries", "replicas".
    pub fn command_to(&self, place: &str, args: &[&[u8]]) -> Box<Reply> {
        self.replied(|core| {
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
            let (call, manner) = self.patient(core, row, args);
            let part = |target| Part::new(CommandBody::Args(args), name, target, read);
            let one = |target| Ok(self.one(core, part(target), &call, manner));
            let several = |peers: Vec<Arc<Peer>>| {
                let parts = peers.into_iter().map(|p| part(Target::Peer(p))).collect();
                self.fan(core, parts, Merge::ByNode, &call, manner)
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
                    None => Err(nowhere(place, &topology)),
                },
            }
        })
    }

    /// What would be done with a command, without doing it.
    pub fn explain(&self, args: &[&[u8]]) -> Box<Reply> {
        self.replied(|core| Ok(Box::new(super::explain::explain(self, core, args)?)))
    }

    /// The cluster as it is known.
    pub fn topology(&self) -> Box<Reply> {
        self.replied(|core| Ok(Box::new(super::look::topology(core.process()))))
    }

    /// What has happened so far.
    pub fn stats(&self) -> Box<Reply> {
        self.replied(|core| Ok(Box::new(super::look::stats(core))))
    }

    /// Learns the topology again, now.
    pub fn refresh(&self) -> Box<Reply> {
        self.replied(|core| {
            let call = self.call(core, 0);
            core.refresh_now(core.process(), &call, 2)?;
            Ok(Box::new(Reply::of(crate::resp::Value::ok())))
        })
    }

    pub(super) fn manner(&self) -> Manner {
        self.manner
    }

    pub(super) fn read_from(&self) -> ReadFrom {
        self.manner.read_from
    }

    pub(super) fn pinned_slot(&self) -> Option<u16> {
        self.pin.as_ref().map(Pin::slot)
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

fn nowhere(place: &str, topology: &Topology) -> Error {
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
