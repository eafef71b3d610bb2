//! A model of a cluster: what real servers answer, as far as a client can tell, and a record of
//! what they have executed.
//!
//! All copies of the data are one, so that nothing that was acknowledged is ever lost: what the
//! servers may lose is not the client's to answer for, and so every check here is exact.

use super::world::{Event, MS, State, US, address};
use crate::topology::key_slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

pub const SHARDS: usize = 3;
/// Nodes 0, 1 and 2 begin as primaries; node n belongs to shard n % 3.
pub const NODES: usize = 6;

/// How many keys the nodes of each shard count, so that a sum tells which have been asked.
pub const SIZES: [u64; SHARDS] = [1, 100, 10_000];

/// Who serves what, as a node sees it.
#[derive(Clone, Debug)]
pub struct View {
    pub epoch: u64,
    pub primary: [usize; SHARDS],
    pub moved: BTreeMap<u16, usize>,
}

impl View {
    pub fn shard(&self, slot: u16) -> usize {
        let home = usize::from(slot) * SHARDS / 16384;
        self.moved.get(&slot).copied().unwrap_or(home)
    }
}

#[derive(Clone, Debug)]
pub struct Node {
    pub alive: bool,
    pub view: View,
    /// It does nothing until then, but its kernel accepts connections and bytes.
    pub frozen: u64,
    /// Nothing goes to it or comes from it until then.
    pub cut_off: u64,
    /// It hears nothing from its peers until then.
    pub deaf: u64,
    pub loading: u64,
    pub down: u64,
    /// It was demoted and has not heard who was promoted.
    pub demoted: u64,
    /// It takes no more clients.
    pub full: u64,
}

/// A slot on its way.
#[derive(Clone, Debug)]
pub struct Migration {
    pub from: usize,
    pub to: usize,
    /// Keys that are there already.
    pub there: BTreeSet<String>,
}

#[derive(Default, Debug)]
struct Session {
    input: Vec<u8>,
    resp3: bool,
    readonly: bool,
    asking: bool,
    queue: Option<Vec<Vec<String>>>,
    dirty: bool,
    closing: bool,
    topology: bool,
    users: bool,
}

const PORT: u16 = 7000;
const NOTHING: &[u8] = b"*-1\r\n";

/// How a node is spoken of.
fn host(named: bool, node: usize) -> String {
    match named {
        true => format!("node-{node}.sim"),
        false => address(node).ip().to_string(),
    }
}

/// One execution of a command that writes.
#[derive(Clone, Debug)]
pub struct Run {
    pub serial: u64,
    pub version: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    /// Of 1000 commands, so many are answered with something odd and not executed.
    pub oddities: u64,
    /// Before so many replies of 1000 comes something that is none.
    pub pushes: u64,
    /// So many answers of 1000 take up to `slow` longer.
    pub slowness: u64,
    pub slow: u64,
    /// So many values of 1000 are large.
    pub large: u64,
}

#[derive(Clone, Debug)]
pub enum Happening {
    Process(usize),
    Kill(usize),
    Revive(usize),
    Promote(usize, usize),
    Failover(usize),
    Hear(usize),
    Freeze(usize, u64),
    CutOff(usize, u64),
    Loading(usize, u64),
    Down(usize, u64),
    Full(usize, u64),
    Disconnect(usize),
    Migrate(u16, usize),
    MoveKey(u16, String),
    Settle(u16),
    Heal,
}

#[derive(Debug)]
pub struct Servers {
    pub nodes: Vec<Node>,
    pub truth: View,
    pub migrations: BTreeMap<u16, Migration>,
    sessions: HashMap<usize, Session>,
    pub odds: Odds,
    pub keys: Vec<String>,
    /// Nodes are spoken of by their names.
    pub named: bool,
    serial: u64,
    versions: HashMap<String, u64>,
    /// By what only one command says.
    pub runs: HashMap<String, Vec<Run>>,
    pub refreshes: Vec<u64>,
    pub connects: u64,
    pub executed: u64,
    pub redirections: u64,
}

impl Servers {
    pub fn new(keys: Vec<String>, odds: Odds) -> Servers {
        let truth = View {
            epoch: 6,
            primary: std::array::from_fn(|shard| shard),
            moved: BTreeMap::new(),
        };
        let node = Node {
            alive: true,
            view: truth.clone(),
            frozen: 0,
            cut_off: 0,
            deaf: 0,
            loading: 0,
            down: 0,
            demoted: 0,
            full: 0,
        };
        Servers {
            nodes: vec![node; NODES],
            truth,
            migrations: BTreeMap::new(),
            sessions: HashMap::new(),
            odds,
            keys,
            named: false,
            serial: 0,
            versions: HashMap::new(),
            runs: HashMap::new(),
            refreshes: Vec::new(),
            connects: 0,
            executed: 0,
            redirections: 0,
        }
    }

    pub fn at(&self, to: SocketAddr) -> Option<usize> {
        (0..self.nodes.len()).find(|node| address(*node) == to)
    }

    /// Until when what goes to or from a node is held up.
    pub fn reachable_from(&self, node: usize) -> u64 {
        self.nodes[node].cut_off
    }

    pub fn accepts(&self, node: usize) -> Option<bool> {
        Some(self.nodes[node].alive)
    }

    pub fn connected(&mut self) {
        self.connects += 1;
    }

    pub fn version(&self, key: &str) -> u64 {
        self.versions.get(key).copied().unwrap_or(0)
    }

    fn run(&mut self, key: &str, token: &str) -> u64 {
        self.serial += 1;
        self.executed += 1;
        let version = self.versions.entry(key.to_string()).or_default();
        *version += 1;
        let run = Run {
            serial: self.serial,
            version: *version,
        };
        self.runs.entry(token.to_string()).or_default().push(run);
        self.serial
    }
}

/// A connection has been accepted.
pub fn greet(state: &mut State, wire: usize) {
    let node = state.wires[wire].node;
    state.servers.sessions.insert(wire, Session::default());
    if state.servers.nodes[node].full > state.now {
        let now = state.now;
        state.answer(wire, b"-ERR max number of clients reached\r\n", now);
        state.servers.sessions.remove(&wire);
        state.close(wire, now);
    }
}

pub fn receive(state: &mut State, wire: usize, bytes: &[u8]) {
    let Some(session) = state.servers.sessions.get_mut(&wire) else {
        return;
    };
    session.input.extend_from_slice(bytes);
    process(state, wire);
}

/// The client's end is closed, or lost.
pub fn hang_up(state: &mut State, wire: usize) {
    let reset = state.dice.chance(300);
    if let Some(session) = state.servers.sessions.get_mut(&wire) {
        // A server that is busy reads what lies in its buffers before it learns of the end.
        session.closing = true;
        if session.input.is_empty() || reset {
            state.servers.sessions.remove(&wire);
        }
    }
}

fn process(state: &mut State, wire: usize) {
    let node = state.wires[wire].node;
    let now = state.now;
    let frozen = state.servers.nodes[node].frozen;
    if frozen > now {
        state.at(frozen, Event::Servers(Happening::Process(wire)));
        return;
    }
    loop {
        let Some(session) = state.servers.sessions.get_mut(&wire) else {
            return;
        };
        let Some((words, size)) = parse(&session.input) else {
            if session.closing {
                state.servers.sessions.remove(&wire);
            }
            return;
        };
        session.input.drain(..size);
        let mut out = Vec::new();
        let resp3 = session.resp3;
        let odds = state.servers.odds;
        if resp3 && state.dice.chance(odds.pushes) {
            out.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nfoo\r\n");
        }
        if resp3 && state.dice.chance(odds.pushes) {
            out.extend_from_slice(b"|1\r\n+ttl\r\n:3600\r\n");
        }
        let reply = execute(state, node, wire, &words);
        out.extend_from_slice(&reply);
        if resp3 && state.dice.chance(odds.pushes) {
            out.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nbar\r\n");
        }
        let mut time = now + 5 * US;
        if words[0] == "BLPOP" && reply == NOTHING {
            // It waits for as long as it was told to; nobody puts anything there.
            time += words[2].parse::<u64>().unwrap_or(0) * 1000 * MS;
        }
        if state.dice.chance(odds.slowness) {
            time += state.dice.below(odds.slow);
        }
        state.note(|| {
            format!(
                "node {node} on wire {wire}: {words:?} -> {:?}",
                String::from_utf8_lossy(&reply[..reply.len().min(80)])
            )
        });
        state.answer(wire, &out, time);
    }
}

/// A command of the form that clients send, and its size.
fn parse(input: &[u8]) -> Option<(Vec<String>, usize)> {
    let mut at = 0;
    let mut line = || {
        let end = at + input.get(at..)?.iter().position(|b| *b == b'\n')?;
        let text = std::str::from_utf8(&input[at + 1..end - 1]).ok()?;
        at = end + 1;
        Some((text.parse::<usize>().ok()?, at))
    };
    let (count, mut next) = line()?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let end = next + input.get(next..)?.iter().position(|b| *b == b'\n')?;
        let size: usize = std::str::from_utf8(&input[next + 1..end - 1])
            .ok()?
            .parse()
            .ok()?;
        let text = input.get(end + 1..end + 1 + size)?;
        input.get(end + 1 + size..end + 3 + size)?;
        words.push(String::from_utf8_lossy(text).into_owned());
        next = end + 3 + size;
    }
    Some((words, next))
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn execute(state: &mut State, node: usize, wire: usize, words: &[String]) -> Vec<u8> {
    let name = words[0].to_ascii_uppercase();
    let Some(session) = state.servers.sessions.get_mut(&wire) else {
        return Vec::new();
    };
    let asking = session.asking;
    // It holds for one command, or for one transaction.
    session.asking = asking && session.queue.is_some();
    let text = match name.as_str() {
        "HELLO" => {
            session.resp3 = words.get(1).is_some_and(|v| v == "3");
            "%1\r\n$5\r\nproto\r\n:3\r\n".to_string()
        }
        "CLIENT" | "AUTH" => "+OK\r\n".to_string(),
        "READONLY" => {
            session.readonly = true;
            "+OK\r\n".to_string()
        }
        "PING" => "+PONG\r\n".to_string(),
        "DBSIZE" => format!(":{}\r\n", SIZES[node % SHARDS]),
        "WATCH" | "UNWATCH" => "+OK\r\n".to_string(),
        "DISCARD" => {
            session.queue = None;
            "+OK\r\n".to_string()
        }
        "ASKING" => {
            session.asking = true;
            "+OK\r\n".to_string()
        }
        "CLUSTER" => {
            session.topology = true;
            let mixed = session.users;
            if mixed {
                state.fail(format!("wire {wire} carries commands and topology alike"));
            }
            if words[1].eq_ignore_ascii_case("SLOTS") {
                let now = state.now;
                state.servers.refreshes.push(now);
                slots(&state.servers.nodes[node].view, state.servers.named)
            } else {
                let epoch = state.servers.nodes[node].view.epoch;
                let down = state.servers.nodes[node].down > state.now;
                bulk(&format!(
                    "cluster_state:{}\r\ncluster_slots_assigned:16384\r\ncluster_known_nodes:{NODES}\r\ncluster_current_epoch:{epoch}\r\ncluster_my_epoch:{epoch}\r\n",
                    if down { "fail" } else { "ok" }
                ))
            }
        }
        "MULTI" => {
            session.asking = asking;
            session.queue = Some(Vec::new());
            session.dirty = false;
            "+OK\r\n".to_string()
        }
        "EXEC" => {
            session.asking = false;
            let dirty = std::mem::take(&mut session.dirty);
            match session.queue.take() {
                None => "-ERR EXEC without MULTI\r\n".to_string(),
                Some(_) if dirty => {
                    "-EXECABORT Transaction discarded because of previous errors.\r\n".to_string()
                }
                Some(queue) => {
                    let keys: Vec<&str> = queue.iter().map(|c| c[1].as_str()).collect();
                    match serves(state, node, wire, &keys, true, asking) {
                        Err(error) => error,
                        Ok(()) => {
                            let mut out = format!("*{}\r\n", queue.len());
                            for words in &queue {
                                out += &perform(state, words);
                            }
                            out
                        }
                    }
                }
            }
        }
        _ => {
            session.users = true;
            let queued = session.queue.is_some();
            let (mixed, readonly) = (session.topology, session.readonly);
            let writes = writes(&name);
            if mixed {
                state.fail(format!("wire {wire} carries commands and topology alike"));
            }
            if readonly && writes {
                state.fail(format!("a client that only reads has sent {words:?}"));
            }
            let odds = state.servers.odds;
            let odd = state.dice.chance(odds.oddities);
            let keys: Vec<&str> = match name.as_str() {
                "MGET" => words[1..].iter().map(String::as_str).collect(),
                _ => vec![words[1].as_str()],
            };
            let verdict = if odd {
                Err(oddity(state, node))
            } else {
                serves(state, node, wire, &keys, writes, asking)
            };
            match verdict {
                Err(error) => {
                    if queued && let Some(session) = state.servers.sessions.get_mut(&wire) {
                        session.dirty = true;
                    }
                    error
                }
                Ok(()) if queued => {
                    if let Some(session) = state.servers.sessions.get_mut(&wire)
                        && let Some(queue) = &mut session.queue
                    {
                        queue.push(words.to_vec());
                    }
                    "+QUEUED\r\n".to_string()
                }
                Ok(()) => perform(state, words),
            }
        }
    };
    text.into_bytes()
}

fn writes(name: &str) -> bool {
    matches!(name, "SET" | "INCRBY" | "RPUSH" | "BLPOP")
}

/// What a server may say to any command at a bad moment, without executing it.
fn oddity(state: &mut State, node: usize) -> String {
    let shard = node % SHARDS;
    let replica = state.servers.nodes[node].view.primary[shard] != node;
    let odd = [
        "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        "-CLUSTERDOWN Hash slot not served\r\n",
        "-CLUSTERDOWN The cluster is down\r\n",
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-BUSY Redis is busy running a script.\r\n",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    ];
    let most = if replica { odd.len() } else { odd.len() - 1 };
    odd[state.dice.below(most as u64) as usize].to_string()
}

/// Whether a node executes a command on these keys.
fn serves(
    state: &mut State,
    node: usize,
    wire: usize,
    keys: &[&str],
    writes: bool,
    asking: bool,
) -> Result<(), String> {
    let now = state.now;
    let slot = key_slot(keys[0].as_bytes());
    let servers = &mut state.servers;
    if keys.iter().any(|k| key_slot(k.as_bytes()) != slot) {
        return Err("-CROSSSLOT Keys in request don't hash to the same slot\r\n".to_string());
    }
    let here = &servers.nodes[node];
    if here.loading > now {
        return Err("-LOADING Redis is loading the dataset in memory\r\n".to_string());
    }
    if here.down > now {
        return Err("-CLUSTERDOWN The cluster is down\r\n".to_string());
    }
    let shard = here.view.shard(slot);
    let primary = here.view.primary[shard];
    let mine = primary == node;
    let named = servers.named;
    let to =
        |node: usize, how: &str| Err(format!("-{how} {slot} {}:{PORT}\r\n", host(named, node)));
    if let Some(migration) = servers.migrations.get_mut(&slot) {
        let there = keys
            .iter()
            .filter(|k| migration.there.contains(**k))
            .count();
        if mine && shard == migration.from {
            let target = servers.nodes[node].view.primary[migration.to];
            return match there {
                0 => Ok(()),
                n if n == keys.len() => {
                    servers.redirections += 1;
                    to(target, "ASK")
                }
                _ => {
                    Err("-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_string())
                }
            };
        }
        if asking && servers.nodes[node].view.primary[migration.to] == node {
            if there == keys.len() {
                return Ok(());
            }
            if keys.len() > 1 {
                return Err(
                    "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_string(),
                );
            }
            // A key that is not there yet comes with the command that needs it.
            migration.there.insert(keys[0].to_string());
            return Ok(());
        }
    }
    if mine {
        return match servers.nodes[node].demoted > now && writes {
            true => Err("-READONLY You can't write against a read only replica.\r\n".to_string()),
            false => Ok(()),
        };
    }
    let readonly = servers.sessions.get(&wire).is_some_and(|s| s.readonly);
    if readonly && !writes && node % SHARDS == shard && !servers.migrations.contains_key(&slot) {
        return Ok(());
    }
    servers.redirections += 1;
    to(primary, "MOVED")
}

/// Executes a command.
fn perform(state: &mut State, words: &[String]) -> String {
    let now = state.now;
    let key = words[1].as_str();
    let value = |state: &mut State, key: &str, nonce: &str| {
        let large = state.servers.odds.large;
        let pad = if state.dice.chance(large) {
            state.dice.below(120_000)
        } else {
            state.dice.below(60)
        };
        state.servers.serial += 1;
        let (serial, version) = (state.servers.serial, state.servers.version(key));
        bulk(&format!(
            "{key}|{nonce}|{serial}|{version}|{now}|{}",
            "x".repeat(pad as usize)
        ))
    };
    match words[0].to_ascii_uppercase().as_str() {
        "GET" => value(state, key, ""),
        "GETRANGE" => value(state, key, &words[3]),
        "MGET" => {
            let mut out = format!("*{}\r\n", words.len() - 1);
            for key in &words[1..] {
                out += &value(state, key, "");
            }
            out
        }
        "SET" => {
            state.servers.run(key, &words[2]);
            "+OK\r\n".to_string()
        }
        "BLPOP" => String::from_utf8_lossy(NOTHING).into_owned(),
        "INCRBY" | "RPUSH" => format!(":{}\r\n", state.servers.run(key, &words[2])),
        other => format!("-ERR unknown command '{other}'\r\n"),
    }
}

fn slots(view: &View, named: bool) -> String {
    let mut ranges: Vec<(u16, u16, usize)> = Vec::new();
    let mut begin = 0u16;
    let mut bounds: Vec<u16> = (1..SHARDS)
        .map(|shard| (shard * 16384).div_ceil(SHARDS) as u16)
        .collect();
    for slot in view.moved.keys() {
        bounds.extend([*slot, slot + 1]);
    }
    bounds.push(16384);
    bounds.sort_unstable();
    bounds.dedup();
    for bound in bounds {
        if bound > begin {
            ranges.push((begin, bound - 1, view.shard(begin)));
            begin = bound;
        }
    }
    let mut out = format!("*{}\r\n", ranges.len());
    for (first, last, shard) in ranges {
        let primary = view.primary[shard];
        let mut nodes = vec![primary];
        nodes.extend((0..NODES).filter(|n| n % SHARDS == shard && *n != primary));
        out += &format!("*{}\r\n:{first}\r\n:{last}\r\n", nodes.len() + 2);
        for node in nodes {
            out += &format!(
                "*4\r\n{}:{PORT}\r\n{}*0\r\n",
                bulk(&host(named, node)),
                bulk(&format!("{node:040}"))
            );
        }
    }
    out
}

/// A node's peers tell it what they know, sooner or later.
fn spread(state: &mut State, first: &[usize]) {
    for node in 0..NODES {
        let delay = if first.contains(&node) {
            0
        } else {
            state.dice.below(80 * MS)
        };
        let time = state.now.max(state.servers.nodes[node].deaf) + delay;
        state.at(time, Event::Servers(Happening::Hear(node)));
    }
}

pub fn happen(state: &mut State, happening: Happening) {
    state.note(|| format!("{happening:?}"));
    let now = state.now;
    match happening {
        Happening::Process(wire) => process(state, wire),
        Happening::Kill(node) => {
            state.servers.nodes[node].alive = false;
            for wire in state.wires_to(node) {
                state.servers.sessions.remove(&wire);
                state.sever(wire);
            }
        }
        Happening::Revive(node) => {
            let deaf = now + state.dice.below(60 * MS);
            state.servers.nodes[node].alive = true;
            state.servers.nodes[node].frozen = 0;
            state.at(deaf, Event::Servers(Happening::Hear(node)));
        }
        Happening::Promote(shard, node) => {
            let old = state.servers.truth.primary[shard];
            if !state.servers.nodes[node].alive || old == node {
                return;
            }
            state.servers.truth.primary[shard] = node;
            state.servers.truth.epoch += 1;
            state.servers.nodes[old].demoted = now + 10_000 * MS;
            spread(state, &[node]);
        }
        Happening::Failover(shard) => {
            let primary = state.servers.truth.primary[shard];
            let next = (0..NODES).find(|n| n % SHARDS == shard && *n != primary);
            if let Some(next) = next {
                happen(state, Happening::Promote(shard, next));
            }
        }
        Happening::Hear(node) => {
            let it = &mut state.servers.nodes[node];
            if it.alive && it.deaf <= now {
                it.view = state.servers.truth.clone();
                it.demoted = 0;
            }
        }
        Happening::Freeze(node, time) => state.servers.nodes[node].frozen = now + time,
        Happening::CutOff(node, time) => {
            // From clients; and from its peers as well, so that it knows nothing new meanwhile.
            state.servers.nodes[node].cut_off = now + time;
            state.servers.nodes[node].deaf = now + time;
            let time = now + time;
            state.at(time, Event::Servers(Happening::Hear(node)));
        }
        Happening::Loading(node, time) => state.servers.nodes[node].loading = now + time,
        Happening::Down(node, time) => state.servers.nodes[node].down = now + time,
        Happening::Full(node, time) => state.servers.nodes[node].full = now + time,
        Happening::Disconnect(node) => {
            for wire in state.wires_to(node) {
                state.sever(wire);
            }
        }
        Happening::Migrate(slot, to) => {
            let from = state.servers.truth.shard(slot);
            if from == to || state.servers.migrations.contains_key(&slot) {
                return;
            }
            let migration = Migration {
                from,
                to,
                there: BTreeSet::new(),
            };
            state.servers.migrations.insert(slot, migration);
            let keys = state.servers.keys.clone();
            let mut time = now;
            for key in keys.iter().filter(|k| key_slot(k.as_bytes()) == slot) {
                time += state.dice.below(150 * MS);
                let moves = Happening::MoveKey(slot, key.clone());
                state.at(time, Event::Servers(moves));
            }
            time += state.dice.below(50 * MS);
            state.at(time, Event::Servers(Happening::Settle(slot)));
        }
        Happening::MoveKey(slot, key) => {
            if let Some(migration) = state.servers.migrations.get_mut(&slot) {
                migration.there.insert(key);
            }
        }
        Happening::Settle(slot) => {
            let Some(migration) = state.servers.migrations.remove(&slot) else {
                return;
            };
            state.servers.truth.moved.insert(slot, migration.to);
            state.servers.truth.epoch += 1;
            // Where the old owner is told first, both send clients to each other for a while.
            let first = if state.dice.chance(500) {
                state.servers.truth.primary[migration.to]
            } else {
                state.servers.truth.primary[migration.from]
            };
            spread(state, &[first]);
        }
        Happening::Heal => {
            let slots: Vec<u16> = state.servers.migrations.keys().copied().collect();
            for slot in slots {
                happen(state, Happening::Settle(slot));
            }
            state.weather.cuts = 0;
            for wire in &mut state.wires {
                wire.cut = [None, None];
            }
            state.weather.stalls = 0;
            state.servers.odds.oddities = 0;
            state.servers.odds.slowness = 0;
            let truth = state.servers.truth.clone();
            for node in &mut state.servers.nodes {
                node.alive = true;
                node.view = truth.clone();
                node.frozen = 0;
                node.cut_off = 0;
                node.deaf = 0;
                node.loading = 0;
                node.down = 0;
                node.demoted = 0;
                node.full = 0;
            }
        }
    }
}
