//! A cluster of scripted nodes, which can give replies that no real cluster gives.

use crate::process::lock;
use crate::script::{Action, Listener, Script};
use crate::slot::{SLOTS, slot_of};
use crate::wire::{Command, array, bulk, handshake, map};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

type Override = Box<dyn FnMut(usize, &Command) -> Option<Action> + Send>;

/// Scripted nodes whose CLUSTER SLOTS and SHARDS name each other.
///
/// By default they answer HELLO, AUTH, CLIENT, READONLY, ASKING, PING, CLUSTER SLOTS, SHARDS and MYID, and GET, SET,
/// DEL, EXISTS, INCR, MGET on one shared map, with MOVED for slots of other nodes. [`FakeCluster::on`] changes one of
/// them.
pub struct FakeCluster {
    nodes: Vec<Script>,
    shared: Arc<Shared>,
}

struct Shared {
    addresses: Vec<SocketAddr>,
    state: Mutex<State>,
    overrides: Vec<Mutex<Option<Override>>>,
}

struct State {
    /// The node that serves each slot; the number of nodes if none does.
    owners: Vec<usize>,
    /// The number from which the id of each node is made.
    ids: Vec<usize>,
    /// The host and the port that each node announces; `None` stands for a null.
    announced: Vec<(Option<String>, u16)>,
    /// The additional names of each node: `[("hostname", "h")]`.
    metadata: Vec<Vec<(String, String)>>,
    /// The primary of each node that is a replica.
    primaries: Vec<Option<usize>>,
    data: HashMap<Vec<u8>, Vec<u8>>,
    /// By node and connection: what HELLO, READONLY and ASKING have set.
    peers: HashMap<(usize, usize), PeerState>,
}

#[derive(Clone, Copy, Default)]
struct PeerState {
    resp3: bool,
    readonly: bool,
    asking: bool,
}

impl FakeCluster {
    /// This many primaries, with equal parts of the slots.
    pub fn new(primaries: usize) -> FakeCluster {
        FakeCluster::with_replicas(primaries, 0)
    }

    /// Primaries 0, 1, 2, ... and then their replicas in turn: with 3 primaries, nodes 3 and 6 are replicas of node 0.
    pub fn with_replicas(primaries: usize, replicas: usize) -> FakeCluster {
        let count = primaries * (1 + replicas);
        let listeners = (0..count).map(|_| Script::listen()).collect();
        FakeCluster::on_listeners(listeners, primaries)
    }

    /// One primary at each address, all on the same port; 0 stands for a free one.
    pub fn on_one_port(port: u16, ips: &[&str]) -> FakeCluster {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        for _ in 0..100 {
            let first = Listener::bind(ips[0], port).unwrap();
            let port = first.port();
            let others = ips[1..].iter().map(|ip| Listener::bind(*ip, port).ok());
            let listeners: Option<Vec<_>> = std::iter::once(Some(first)).chain(others).collect();
            if let Some(listeners) = listeners {
                return FakeCluster::on_listeners(listeners, ips.len());
            }
        }
        panic!("no port is free on all of {ips:?}");
    }

    /// This many primaries at one address.
    pub fn at(ip: &str, primaries: usize) -> FakeCluster {
        let ip = ip.parse().unwrap();
        let listeners = (0..primaries).map(|_| Listener::bind(ip, 0).unwrap());
        FakeCluster::on_listeners(listeners.collect(), primaries)
    }

    fn on_listeners(listeners: Vec<Listener>, primaries: usize) -> FakeCluster {
        let count = listeners.len();
        let slots = usize::from(SLOTS);
        let addresses: Vec<_> = listeners.iter().map(Listener::address).collect();
        let announced = addresses
            .iter()
            .map(|a| (Some(a.ip().to_string()), a.port()));
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                owners: (0..slots).map(|slot| slot * primaries / slots).collect(),
                ids: (1..=count).collect(),
                announced: announced.collect(),
                metadata: vec![Vec::new(); count],
                primaries: (0..count)
                    .map(|n| (n >= primaries).then_some(n % primaries))
                    .collect(),
                data: HashMap::new(),
                peers: HashMap::new(),
            }),
            overrides: (0..count).map(|_| Mutex::new(None)).collect(),
            addresses,
        });
        let nodes = listeners.into_iter().enumerate().map(|(node, listener)| {
            let shared = shared.clone();
            listener.serve(move |connection, command| {
                if let Some(answer) = &mut *lock(&shared.overrides[node])
                    && let Some(action) = answer(connection, command)
                {
                    return action;
                }
                Action::Send(shared.answer(node, connection, command))
            })
        });
        FakeCluster {
            nodes: nodes.collect(),
            shared,
        }
    }

    /// A closure answers the commands of one node; for `None` the node uses its default answer. The closure must not
    /// call [`FakeCluster::on`] or [`FakeCluster::off`].
    pub fn on(
        &self,
        node: usize,
        answer: impl FnMut(usize, &Command) -> Option<Action> + Send + 'static,
    ) {
        *lock(&self.shared.overrides[node]) = Some(Box::new(answer));
    }

    /// Ends [`FakeCluster::on`].
    pub fn off(&self, node: usize) {
        *lock(&self.shared.overrides[node]) = None;
    }

    /// Assigns slots to a node, which all nodes report from now on.
    pub fn assign(&self, slots: RangeInclusive<u16>, node: usize) {
        let mut state = lock(&self.shared.state);
        for slot in slots {
            state.owners[usize::from(slot)] = node;
        }
    }

    /// Takes slots away from their owners.
    pub fn unassign(&self, slots: RangeInclusive<u16>) {
        self.assign(slots, self.nodes.len());
    }

    /// Gives a node another id, as CLUSTER RESET HARD does.
    pub fn set_id(&self, node: usize, number: usize) {
        lock(&self.shared.state).ids[node] = number;
    }

    /// Makes a node announce this host, or null, and this port.
    pub fn announce(&self, node: usize, host: Option<&str>, port: u16) {
        let mut state = lock(&self.shared.state);
        state.announced[node] = (host.map(str::to_string), port);
    }

    /// The host and the port that a node announces.
    pub fn announced(&self, node: usize) -> (String, u16) {
        let (host, port) = lock(&self.shared.state).announced[node].clone();
        (host.unwrap_or_default(), port)
    }

    /// The additional names of a node in CLUSTER SLOTS: `[("hostname", "h")]`.
    pub fn set_metadata(&self, node: usize, names: &[(&str, &str)]) {
        let names = names.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        lock(&self.shared.state).metadata[node] = names.collect();
    }

    /// Makes a replica the primary of its shard. The other nodes of the shard become its replicas.
    pub fn promote(&self, replica: usize) {
        let mut state = lock(&self.shared.state);
        let old = state.primaries[replica].unwrap_or(replica);
        for owner in state.owners.iter_mut().filter(|owner| **owner == old) {
            *owner = replica;
        }
        for primary in state.primaries.iter_mut().filter(|p| **p == Some(old)) {
            *primary = Some(replica);
        }
        state.primaries[old] = Some(replica);
        state.primaries[replica] = None;
    }

    /// The node that serves a slot, if one does.
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let owner = lock(&self.shared.state).owners[usize::from(slot)];
        (owner < self.nodes.len()).then_some(owner)
    }

    /// The default answer of a node, for closures that change only a part of it.
    pub fn default_answer(
        &self,
        node: usize,
    ) -> impl FnMut(usize, &Command) -> Vec<u8> + Send + use<> {
        let shared = self.shared.clone();
        move |connection, command| shared.answer(node, connection, command)
    }

    /// One node: what it received, its address.
    pub fn node(&self, node: usize) -> &Script {
        &self.nodes[node]
    }

    /// Closes the connections of a node and refuses new ones permanently.
    pub fn stop(&mut self, node: usize) {
        self.nodes[node].stop();
    }

    /// The port of a node.
    pub fn port(&self, node: usize) -> u16 {
        self.shared.addresses[node].port()
    }

    /// `127.0.0.1:7000,127.0.0.1:7001,...`
    pub fn seeds(&self) -> String {
        let names: Vec<_> = self.nodes.iter().map(Script::address).collect();
        names.join(",")
    }

    /// `redis://127.0.0.1:7000,127.0.0.1:7001,...`
    pub fn url(&self) -> String {
        format!("redis://{}", self.seeds())
    }

    /// The number of commands that begin with these words, at all nodes.
    pub fn calls(&self, words: &str) -> usize {
        self.nodes.iter().map(|node| node.calls(words)).sum()
    }

    /// Puts a value into the map that all nodes share.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (key, value) = (key.as_ref().to_vec(), value.as_ref().to_vec());
        lock(&self.shared.state).data.insert(key, value);
    }

    /// A value of that map.
    pub fn value(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        lock(&self.shared.state).data.get(key.as_ref()).cloned()
    }
}

impl State {
    /// 40 hexadecimal digits that identify the node.
    fn id(&self, node: usize) -> Vec<u8> {
        bulk(format!("{:040x}", self.ids[node]))
    }
}

fn int(n: impl std::fmt::Display) -> Vec<u8> {
    format!(":{n}\r\n").into_bytes()
}

impl Shared {
    fn answer(&self, node: usize, connection: usize, command: &Command) -> Vec<u8> {
        let mut state = lock(&self.state);
        let mut peer = *state.peers.entry((node, connection)).or_default();
        let asked = std::mem::take(&mut peer.asking);
        let name = command.first().map(|w| w.to_ascii_uppercase());
        let name = name.unwrap_or_default();
        let word = |i: usize| command.get(i).map(|w| w.to_ascii_uppercase());
        match name.as_slice() {
            b"HELLO" => peer.resp3 = word(1).as_deref() == Some(b"3"),
            b"READONLY" => peer.readonly = true,
            b"READWRITE" => peer.readonly = false,
            b"ASKING" => peer.asking = true,
            _ => {}
        }
        state.peers.insert((node, connection), peer);
        if let Some(reply) = handshake(command) {
            return reply;
        }
        match name.as_slice() {
            b"PING" => return command.get(1).map_or(b"+PONG\r\n".to_vec(), bulk),
            b"ASKING" => return b"+OK\r\n".to_vec(),
            b"CLUSTER" => {
                return match word(1).as_deref() {
                    Some(b"MYID") => state.id(node),
                    Some(b"SLOTS") => self.slots(&state),
                    Some(b"SHARDS") => self.shards(&state, peer.resp3),
                    _ => b"-ERR unknown subcommand of CLUSTER\r\n".to_vec(),
                };
            }
            _ => {}
        }
        let write = matches!(name.as_slice(), b"SET" | b"DEL" | b"INCR");
        let read = matches!(name.as_slice(), b"GET" | b"EXISTS" | b"MGET");
        let keys = match name.as_slice() {
            b"DEL" | b"EXISTS" | b"MGET" => command.get(1..).unwrap_or_default(),
            _ => command.get(1..2).unwrap_or_default(),
        };
        let shown = String::from_utf8_lossy(&name).into_owned();
        if !(write || read) {
            return format!("-ERR unknown command '{shown}'\r\n").into_bytes();
        }
        let least = if name == b"SET" { 3 } else { 2 };
        if command.len() < least {
            let words = "wrong number of arguments for";
            return format!("-ERR {words} '{shown}' command\r\n").into_bytes();
        }
        let slot = slot_of(&keys[0]);
        if keys.iter().any(|key| slot_of(key) != slot) {
            return b"-CROSSSLOT Keys in request don't hash to the same slot\r\n".to_vec();
        }
        let owner = state.owners[usize::from(slot)];
        let copies = state.primaries[node] == Some(owner) && peer.readonly && read;
        if owner != node && !copies && !asked {
            return match state.announced.get(owner) {
                Some((host, port)) => {
                    let host = host.as_deref().unwrap_or_default();
                    format!("-MOVED {slot} {host}:{port}\r\n").into_bytes()
                }
                None => b"-CLUSTERDOWN Hash slot not served\r\n".to_vec(),
            };
        }
        let nil: &[u8] = if peer.resp3 { b"_\r\n" } else { b"$-1\r\n" };
        let get = |data: &HashMap<Vec<u8>, Vec<u8>>, key: &Vec<u8>| match data.get(key) {
            Some(value) => bulk(value),
            None => nil.to_vec(),
        };
        let data = &mut state.data;
        match name.as_slice() {
            b"SET" => {
                data.insert(keys[0].clone(), command[2].clone());
                b"+OK\r\n".to_vec()
            }
            b"INCR" => {
                let text = data
                    .get(&keys[0])
                    .map_or("0".into(), |v| String::from_utf8_lossy(v));
                match text.parse::<i64>() {
                    Ok(n) => {
                        data.insert(keys[0].clone(), (n + 1).to_string().into_bytes());
                        int(n + 1)
                    }
                    Err(_) => b"-ERR value is not an integer or out of range\r\n".to_vec(),
                }
            }
            b"DEL" => int(keys.iter().filter(|k| data.remove(*k).is_some()).count()),
            b"EXISTS" => int(keys.iter().filter(|k| data.contains_key(*k)).count()),
            b"MGET" => array(&keys.iter().map(|k| get(data, k)).collect::<Vec<_>>()),
            _ => get(data, &keys[0]),
        }
    }

    /// First slot, last slot, owner.
    fn ranges(&self, state: &State) -> Vec<(usize, usize, usize)> {
        let mut ranges: Vec<(usize, usize, usize)> = Vec::new();
        for (slot, &owner) in state.owners.iter().enumerate() {
            match ranges.last_mut() {
                Some((_, last, same)) if *same == owner && *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot, owner)),
            }
        }
        ranges.retain(|&(_, _, owner)| owner < self.addresses.len());
        ranges
    }

    /// A primary and its replicas.
    fn shard<'a>(&self, state: &'a State, primary: usize) -> impl Iterator<Item = usize> + 'a {
        let replicas = state.primaries.iter().enumerate();
        let replicas = replicas.filter(move |(_, of)| **of == Some(primary));
        std::iter::once(primary).chain(replicas.map(|(node, _)| node))
    }

    fn slots(&self, state: &State) -> Vec<u8> {
        let entry = |node: usize| {
            let (host, port) = &state.announced[node];
            let host = host.as_ref().map_or(b"$-1\r\n".to_vec(), bulk);
            let metadata = state.metadata[node].iter();
            let metadata: Vec<_> = metadata.flat_map(|(k, v)| [bulk(k), bulk(v)]).collect();
            array(&[host, int(port), state.id(node), array(&metadata)])
        };
        let range = |&(first, last, owner): &(usize, usize, usize)| {
            let mut items = vec![int(first), int(last)];
            items.extend(self.shard(state, owner).map(entry));
            array(&items)
        };
        array(&self.ranges(state).iter().map(range).collect::<Vec<_>>())
    }

    fn shards(&self, state: &State, resp3: bool) -> Vec<u8> {
        let ranges = self.ranges(state);
        let primaries = (0..self.addresses.len()).filter(|&n| state.primaries[n].is_none());
        let shards = primaries.map(|primary| {
            let own = ranges.iter().filter(|(_, _, owner)| *owner == primary);
            let slots: Vec<_> = own.flat_map(|&(a, b, _)| [int(a), int(b)]).collect();
            let nodes = self.shard(state, primary).map(|node| {
                let role = if node == primary { "master" } else { "replica" };
                let ip = self.addresses[node].ip().to_string();
                let (host, port) = &state.announced[node];
                let endpoint = host.as_ref().map_or(b"$-1\r\n".to_vec(), bulk);
                let fields = [
                    ("id", state.id(node)),
                    ("port", int(port)),
                    ("ip", bulk(ip)),
                    ("endpoint", endpoint),
                    ("role", bulk(role)),
                    ("replication-offset", int(0)),
                    ("health", bulk("online")),
                ];
                map(resp3, &fields)
            });
            let nodes = array(&nodes.collect::<Vec<_>>());
            map(resp3, &[("slots", array(&slots)), ("nodes", nodes)])
        });
        array(&shards.collect::<Vec<_>>())
    }
}
