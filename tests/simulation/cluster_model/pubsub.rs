//! Publish / subscribe: what each connection is subscribed to and was sent, and the bus between the nodes.
//!
//! The bus loses nothing but what a node has not received when it dies. It delivers the messages of one node to another in
//! order, and those for a stopped or separated node late.

use super::faults::Fault;
use super::{MOVED, SHARDS, bulk_string, redirection};
use crate::simulation::simulator::{Event, MS, State, US};
use crate::topology::key_slot;
use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelKind {
    Channel,
    Pattern,
    Sharded,
}

impl ChannelKind {
    pub const ALL: [ChannelKind; 3] = [
        ChannelKind::Channel,
        ChannelKind::Pattern,
        ChannelKind::Sharded,
    ];

    /// The first element of its messages.
    pub fn message(self) -> &'static str {
        match self {
            ChannelKind::Channel => "message",
            ChannelKind::Pattern => "pmessage",
            ChannelKind::Sharded => "smessage",
        }
    }

    /// The command that subscribes, which is the first element of its confirmation in lower case.
    pub fn subscribe(self) -> &'static str {
        match self {
            ChannelKind::Channel => "SUBSCRIBE",
            ChannelKind::Pattern => "PSUBSCRIBE",
            ChannelKind::Sharded => "SSUBSCRIBE",
        }
    }

    pub fn unsubscribe(self) -> &'static str {
        match self {
            ChannelKind::Channel => "UNSUBSCRIBE",
            ChannelKind::Pattern => "PUNSUBSCRIBE",
            ChannelKind::Sharded => "SUNSUBSCRIBE",
        }
    }

    /// The kind of a command that subscribes or unsubscribes, and whether it subscribes.
    fn of_command(name: &str) -> Option<(ChannelKind, bool)> {
        ChannelKind::ALL.into_iter().find_map(|kind| {
            let is_subscribe = name == kind.subscribe();
            (is_subscribe || name == kind.unsubscribe()).then_some((kind, is_subscribe))
        })
    }
}

/// A message, from where it was published.
#[derive(Clone, Debug)]
pub struct Publication {
    pub channel: String,
    pub text: String,
    pub is_sharded: bool,
}

/// What one connection was sent of one channel or pattern, from a confirmation of the subscription to its end.
#[derive(Debug)]
pub struct SentMessages {
    /// The thread that opened the connection.
    pub thread: usize,
    pub connection: usize,
    pub node: usize,
    pub kind: ChannelKind,
    pub name: String,
    /// Channel and text of each message, in order, and when it was sent.
    pub sent: Vec<(String, u64)>,
    /// Messages that another node accepted and did not pass on although this node knows it as its primary. When each was
    /// accepted.
    pub withheld: Vec<(String, u64)>,
    pub is_open: bool,
}

#[derive(Debug, Default)]
pub struct PubSub {
    pub records: Vec<SentMessages>,
    /// The record of each subscription, by connection.
    subscriptions: BTreeMap<usize, BTreeMap<(ChannelKind, String), usize>>,
    /// When the last message from one node to another arrives.
    last_arrival: HashMap<(usize, usize), u64>,
    pub published: u64,
    pub delivered: u64,
    pub revoked: u64,
}

impl PubSub {
    /// Ends what a connection is subscribed to.
    pub fn forget_connection(&mut self, id: usize) {
        for record in self.subscriptions.remove(&id).into_iter().flatten() {
            self.records[record.1].is_open = false;
        }
    }

    pub(super) fn is_subscribed(&self, id: usize) -> bool {
        self.subscriptions.contains_key(&id)
    }

    /// The connections with subscriptions.
    pub fn connections(&self) -> Vec<usize> {
        self.subscriptions.keys().copied().collect()
    }

    /// The number in a confirmation.
    fn count(&self, id: usize, of: ChannelKind) -> usize {
        let is_counted =
            |kind: ChannelKind| (kind == ChannelKind::Sharded) == (of == ChannelKind::Sharded);
        let subscriptions = self.subscriptions.get(&id);
        let kinds = subscriptions.into_iter().flatten().map(|(key, _)| key.0);
        kinds.filter(|kind| is_counted(*kind)).count()
    }

    fn subscribe(&mut self, record: SentMessages) {
        let key = (record.kind, record.name.clone());
        let of_connection = self.subscriptions.entry(record.connection).or_default();
        if let Some(former) = of_connection.insert(key, self.records.len()) {
            self.records[former].is_open = false;
        }
        self.records.push(record);
    }

    /// Whether there was such a subscription.
    fn unsubscribe(&mut self, id: usize, key: &(ChannelKind, String)) -> bool {
        let Some(of_connection) = self.subscriptions.get_mut(&id) else {
            return false;
        };
        let record = of_connection.remove(key);
        if of_connection.is_empty() {
            self.subscriptions.remove(&id);
        }
        if let Some(record) = record {
            self.records[record].is_open = false;
        }
        record.is_some()
    }
}

/// Executes a command of publish / subscribe. None if it is another one.
pub(super) fn execute(
    state: &mut State,
    (node, id): (usize, usize),
    args: &[String],
) -> Option<String> {
    let name = args[0].to_ascii_uppercase();
    match name.as_str() {
        "PUBLISH" => Some(publish(state, node, &args[1], &args[2], false)),
        "SPUBLISH" => Some(match check_sharded(state, node, &args[1..2]) {
            Ok(()) => publish(state, node, &args[1], &args[2], true),
            Err(error) => error,
        }),
        _ => {
            let (kind, is_subscribe) = ChannelKind::of_command(&name)?;
            if kind == ChannelKind::Sharded
                && let Err(error) = check_sharded(state, node, &args[1..])
            {
                return Some(error);
            }
            let names = &args[1..];
            let change = |name: &String| match is_subscribe {
                true => subscribe(state, (node, id), kind, name),
                false => {
                    let key = (kind, name.clone());
                    state.cluster.pubsub.unsubscribe(id, &key);
                    confirmation(state, id, kind.unsubscribe(), &key)
                }
            };
            Some(names.iter().map(change).collect())
        }
    }
}

/// Whether a node serves the slot of these channels, as far as it knows.
fn check_sharded(state: &mut State, node: usize, names: &[String]) -> Result<(), String> {
    let slot = key_slot(names[0].as_bytes());
    if names.iter().any(|name| key_slot(name.as_bytes()) != slot) {
        return Err("-CROSSSLOT Keys in request don't hash to the same slot\r\n".to_string());
    }
    let random_errors = state.cluster.conditions.random_errors;
    let is_down = state.cluster.nodes[node].cluster_down_until > state.now;
    if is_down || state.rng.chance(random_errors) {
        return Err("-CLUSTERDOWN The cluster is down\r\n".to_string());
    }
    let cluster = &mut state.cluster;
    let view = &cluster.nodes[node].view;
    let shard = view.shard(slot);
    if node % view.shards() == shard {
        return Ok(());
    }
    cluster.redirections += 1;
    let primary = view.primary[shard];
    Err(redirection(cluster.uses_hostnames, MOVED, slot, primary))
}

fn subscribe(
    state: &mut State,
    (node, id): (usize, usize),
    kind: ChannelKind,
    name: &str,
) -> String {
    let record = SentMessages {
        thread: state.connections[id].thread,
        connection: id,
        node,
        kind,
        name: name.to_string(),
        sent: Vec::new(),
        withheld: Vec::new(),
        is_open: true,
    };
    state.cluster.pubsub.subscribe(record);
    confirmation(state, id, kind.subscribe(), &(kind, name.to_string()))
}

/// The sign of a frame that is no reply.
fn sign(state: &State, id: usize) -> char {
    let is_resp3 = state.cluster.is_resp3(id);
    if is_resp3 { '>' } else { '*' }
}

fn confirmation(state: &State, id: usize, command: &str, key: &(ChannelKind, String)) -> String {
    let word = bulk_string(&command.to_ascii_lowercase());
    let count = state.cluster.pubsub.count(id, key.0);
    let name = bulk_string(&key.1);
    format!("{}3\r\n{word}{name}:{count}\r\n", sign(state, id))
}

/// A node accepts a message, and passes it on. Returns the reply.
fn publish(state: &mut State, node: usize, channel: &str, text: &str, is_sharded: bool) -> String {
    let publication = Publication {
        channel: channel.to_string(),
        text: text.to_string(),
        is_sharded,
    };
    state.cluster.pubsub.published += 1;
    let receivers = deliver(state, node, &publication);
    for other in 0..state.cluster.nodes.len() {
        if other != node && (!is_sharded || other % SHARDS == node % SHARDS) {
            pass_on(state, node, other, &publication);
        }
    }
    format!(":{receivers}\r\n")
}

/// Sends a message to another node, if this one knows that it has to.
fn pass_on(state: &mut State, from: usize, to: usize, publication: &Publication) {
    if publication.is_sharded && !knows_as_member(state, from, to) {
        return withhold(state, from, to, publication);
    }
    let delay = 20 * US + state.rng.below(state.network.max_delay);
    let last = state.cluster.pubsub.last_arrival.entry((from, to));
    let last = last.or_default();
    *last = (state.now + delay).max(*last);
    let event = Event::Fault(Fault::PassOn(to, publication.clone()));
    let time = *last;
    state.schedule(time, event);
}

/// Whether a node sends the sharded messages of its shard to the other node of it: to its primary, and to its replicas.
fn knows_as_member(state: &State, from: usize, to: usize) -> bool {
    let shard = from % SHARDS;
    let is_primary = state.cluster.nodes[from].view.primary[shard] == from;
    // Until it learns that it was replaced, a former primary knows its former replica.
    let was_replaced = state.cluster.actual_view.primary[shard] != from;
    !is_primary || was_replaced || state.cluster.is_known_as_replica(to, state.now)
}

fn withhold(state: &mut State, from: usize, to: usize, publication: &Publication) {
    let shard = from % SHARDS;
    // A node that does not know the primary is left by its subscribers when it learns of it.
    if state.cluster.nodes[to].view.primary[shard] != from {
        return;
    }
    let message = (message_of(publication), state.now);
    let records = &mut state.cluster.pubsub.records;
    for record in records.iter_mut().filter(|record| record.is_open) {
        let is_of = record.kind == ChannelKind::Sharded && record.name == publication.channel;
        if record.node == to && is_of {
            record.withheld.push(message.clone());
        }
    }
}

/// A message has arrived at another node.
pub(super) fn receive(state: &mut State, node: usize, publication: Publication) {
    let model = &state.cluster.nodes[node];
    if !model.alive {
        return;
    }
    let until = model.frozen_until.max(model.gossip_lost_until);
    if until > state.now {
        return state.schedule(until, Event::Fault(Fault::PassOn(node, publication)));
    }
    deliver(state, node, &publication);
}

/// An event of a key at the node where it was changed.
pub(super) fn notify(state: &mut State, node: usize, event: &str, key: &str) {
    let publication = Publication {
        channel: format!("__keyevent@0__:{event}"),
        text: key.to_string(),
        is_sharded: false,
    };
    deliver(state, node, &publication);
}

/// Channel and text of a message.
fn message_of(publication: &Publication) -> String {
    format!("{} {}", publication.channel, publication.text)
}

fn matches((kind, name): &(ChannelKind, String), publication: &Publication) -> bool {
    let channel = &publication.channel;
    match kind {
        ChannelKind::Sharded => publication.is_sharded && name == channel,
        ChannelKind::Channel => !publication.is_sharded && name == channel,
        ChannelKind::Pattern => {
            let begin = name.strip_suffix('*').unwrap_or(name);
            !publication.is_sharded && channel.starts_with(begin)
        }
    }
}

/// Sends a message to the subscribers of one node. Returns how many there are.
fn deliver(state: &mut State, node: usize, publication: &Publication) -> usize {
    let mut receivers: Vec<(usize, usize, ChannelKind)> = Vec::new();
    for (id, subscriptions) in &state.cluster.pubsub.subscriptions {
        if state.connections[*id].node == node {
            let found = subscriptions
                .iter()
                .filter(|(key, _)| matches(key, publication));
            receivers.extend(found.map(|(key, record)| (*id, *record, key.0)));
        }
    }
    let (message, now) = (message_of(publication), state.now);
    for (id, record, kind) in &receivers {
        let record = &mut state.cluster.pubsub.records[*record];
        record.sent.push((message.clone(), now));
        let name = bulk_string(&record.name);
        let (pattern, elements) = match kind {
            ChannelKind::Pattern => (name, 4),
            _ => (String::new(), 3),
        };
        let frame = format!(
            "{}{elements}\r\n{}{pattern}{}{}",
            sign(state, *id),
            bulk_string(kind.message()),
            bulk_string(&publication.channel),
            bulk_string(&publication.text)
        );
        state.log(|| {
            format!(
                "node {node} on connection {id}: {} {message}",
                kind.message()
            )
        });
        state.send_to_client(*id, frame.as_bytes(), now);
    }
    state.cluster.pubsub.delivered += receivers.len() as u64;
    receivers.len()
}

/// A node has learned a new view: it ends the subscriptions of slots that it served and whose primary is another one now.
pub(super) fn end_moved(state: &mut State, node: usize, former: &super::OwnershipView) {
    let shard = node % SHARDS;
    let view = &state.cluster.nodes[node].view;
    let has_moved = |name: &str| {
        let slot = key_slot(name.as_bytes());
        let owner = view.shard(slot);
        former.shard(slot) == shard
            && (owner != shard || view.primary[shard] != former.primary[shard])
    };
    let mut ended: Vec<(usize, (ChannelKind, String))> = Vec::new();
    for (id, subscriptions) in &state.cluster.pubsub.subscriptions {
        if state.connections[*id].node == node {
            let moved = subscriptions
                .keys()
                .filter(|(kind, name)| *kind == ChannelKind::Sharded && has_moved(name));
            ended.extend(moved.map(|key| (*id, key.clone())));
        }
    }
    let time = state.now.max(state.cluster.nodes[node].frozen_until);
    for (id, key) in ended {
        state.cluster.pubsub.unsubscribe(id, &key);
        state.cluster.pubsub.revoked += 1;
        let frame = confirmation(state, id, key.0.unsubscribe(), &key);
        state.log(|| format!("node {node} on connection {id}: ends {}", key.1));
        state.send_to_client(id, frame.as_bytes(), time);
    }
}

/// The server closes the connections of its subscribers: their output buffers are full.
pub(super) fn drop_subscribers(state: &mut State, node: usize) {
    for id in state.cluster.pubsub.connections() {
        if state.connections[id].node == node {
            state.break_connection(id);
        }
    }
}

/// From now on, nothing arrives on the connections of its subscribers, and neither end learns of that.
pub(super) fn silence_subscribers(state: &mut State, node: usize) {
    for id in state.cluster.pubsub.connections() {
        if state.connections[id].node == node {
            state.connections[id].is_silent = true;
            state.log(|| format!("connection {id} is silent"));
        }
    }
}

/// How long a new primary does not know that the former one is its replica.
pub(super) const UNKNOWN_FOR: u64 = 150 * MS;
