//! One day in the life of a client, and whether it kept its promises.

use super::servers::{Happening, NODES, Odds, Run, SHARDS, SIZES, Servers};
use super::world::{Body, Dice, Event, MS, Shared, Thread, US, Weather, address};
use crate::cluster::{Client, Pipeline};
use crate::config::Config;
use crate::error::{Code, Error};
use crate::resp::{EncodedPrefix, Kind, Reply, Value, View, flag};
use crate::route::{Access, table};
use crate::sim_hooks::Layer;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// What a call may take beyond its deadline: a tick of the kernel's clock, a glance, some work.
const GRACE: u64 = 12 * MS;
/// How soon an interrupt ends a call.
const INTERRUPT: u64 = 12 * MS;
/// How long after everything is well again a call may take.
const RECOVERY: u64 = 300 * MS;

/// What the seed has decided beforehand.
pub struct Day {
    seed: u64,
    weather: Weather,
    odds: Odds,
    threads: usize,
    calls: u64,
    think: u64,
    mishaps: Vec<(u64, Happening)>,
    options: Vec<(&'static str, String)>,
    interrupts: u64,
    closes: bool,
    calm: bool,
    /// Everybody wants the same of the same node.
    crowd: bool,
    /// Nodes have names, which have to be looked up.
    named: bool,
    panic_at: Option<(Layer, u64)>,
}

#[derive(Debug, Default)]
pub struct Tally {
    pub calls: u64,
    pub good: u64,
    pub errors: u64,
    pub doubts: u64,
    pub executed: u64,
    pub redirections: u64,
    pub refreshes: u64,
    pub connects: u64,
    pub panics: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.calls += other.calls;
        self.good += other.good;
        self.errors += other.errors;
        self.doubts += other.doubts;
        self.executed += other.executed;
        self.redirections += other.redirections;
        self.refreshes += other.refreshes;
        self.connects += other.connects;
        self.panics += other.panics;
    }

    pub fn is_eventful(&self) -> bool {
        self.calls > 0 && self.good > 0 && self.executed > 0
    }
}

impl Day {
    fn calm(seed: u64, dice: &mut Dice) -> Day {
        let options = vec![
            ("timeout_ms", "2000".to_string()),
            ("attempt_timeout_ms", dice.between(150, 500).to_string()),
            ("connect_timeout_ms", dice.between(100, 500).to_string()),
            ("connections_per_node", dice.between(1, 3).to_string()),
            ("protocol", dice.between(2, 3).to_string()),
        ];
        Day {
            seed,
            weather: Weather {
                splits: dice.chance(500),
                short_sends: 0,
                delay: dice.between(10 * US, MS),
                stalls: 0,
                cuts: 0,
                window: 65536,
                tick: dice.between(1, 7) * MS,
            },
            odds: Odds {
                oddities: 0,
                pushes: 0,
                slowness: 0,
                slow: 0,
                large: dice.below(40),
            },
            threads: dice.between(1, 4) as usize,
            calls: dice.between(4, 10),
            think: dice.between(1, 60) * MS,
            mishaps: Vec::new(),
            options,
            interrupts: 0,
            closes: false,
            calm: true,
            crowd: false,
            named: dice.chance(200),
            panic_at: None,
        }
    }

    pub fn of_calm(seed: u64) -> Day {
        Day::calm(seed, &mut Dice(seed ^ 0xca1f))
    }

    pub fn of_panic(seed: u64) -> Day {
        let mut dice = Dice(seed ^ 0xdead);
        let mut day = if dice.chance(500) {
            Day::of_trouble(seed)
        } else {
            Day::calm(seed, &mut dice)
        };
        let layers = [
            Layer::Ffi,
            Layer::Cluster,
            Layer::Route,
            Layer::Topology,
            Layer::Net,
            Layer::Resp,
        ];
        let layer = layers[dice.below(layers.len() as u64) as usize];
        day.panic_at = Some((layer, dice.between(1, 60)));
        day.calm = false;
        day
    }

    pub fn of_trouble(seed: u64) -> Day {
        let mut dice = Dice(seed);
        let mut day = Day::calm(seed, &mut dice);
        day.calm = false;
        if dice.chance(700) {
            day.weather.short_sends = dice.below(200);
            day.weather.stalls = dice.below(30);
            day.weather.cuts = dice.below(150);
            day.weather.window = dice.between(30, 65536) as usize;
            day.odds.pushes = dice.below(60);
            day.odds.slowness = dice.below(50);
            day.odds.slow = dice.between(1, 800) * MS;
        }
        if dice.chance(500) {
            day.odds.oddities = dice.below(50);
        }
        if dice.chance(150) {
            day.interrupts = dice.between(1, 5);
        }
        day.closes = dice.chance(50);
        if dice.chance(300) {
            // A crowd on one connection.
            day.crowd = true;
            day.threads = dice.between(4, 7) as usize;
            day.calls = dice.between(2, 6);
            day.think = dice.between(1, 2000) * US;
            day.options.push(("connections_per_node", "1".to_string()));
            day.interrupts = dice.below(6);
        }
        for _ in 0..dice.below(6) {
            let time = dice.below(1500) * MS;
            let node = dice.below(NODES as u64) as usize;
            let shard = dice.below(SHARDS as u64) as usize;
            let last = dice.between(1, 1500) * MS;
            let keys = keys();
            let key = &keys[dice.below(keys.len() as u64) as usize];
            let slot = crate::topology::key_slot(key.as_bytes());
            let what = match dice.below(12) {
                0 | 1 => Happening::Failover(shard),
                2 => {
                    // The primary dies, and a while later its replica is promoted.
                    let promoted = time + dice.between(50, 1200) * MS;
                    let back = promoted + dice.below(400) * MS;
                    let mishaps = &mut day.mishaps;
                    mishaps.push((promoted, Happening::Failover(node % SHARDS)));
                    mishaps.push((back, Happening::Revive(node)));
                    Happening::Kill(node)
                }
                3 => {
                    let promoted = time + dice.between(50, 1200) * MS;
                    if dice.chance(500) {
                        let mishap = Happening::Failover(node % SHARDS);
                        day.mishaps.push((promoted, mishap));
                    }
                    Happening::Freeze(node, last)
                }
                4 => Happening::CutOff(node, last),
                5 => Happening::Loading(node, last / 2),
                6 => Happening::Down(node, last / 2),
                7 => Happening::Full(node, last / 2),
                8 => Happening::Disconnect(node),
                _ => Happening::Migrate(slot, dice.below(SHARDS as u64) as usize),
            };
            day.mishaps.push((time, what));
        }
        day
    }
}

/// Two in each of several slots, one elsewhere.
fn keys() -> Vec<String> {
    ["{a}1", "{a}2", "{b}1", "{b}2", "{c}1", "{c}2", "d"]
        .map(str::to_string)
        .to_vec()
}

/// What a caller was told of a command that writes.
#[derive(Clone, Debug)]
enum Told {
    /// Done; and what the server said.
    Done(Option<u64>),
    /// Not executed.
    NotDone,
    /// Perhaps.
    Perhaps,
}

#[derive(Clone)]
struct Claim {
    token: String,
    told: Told,
    words: String,
}

/// What all threads of a day know.
struct Life {
    client: Arc<Client>,
    reader: Arc<Client>,
    claims: Mutex<Vec<Claim>>,
    /// Tokens that ran in this order, of one slot or key in one pipeline.
    orders: Mutex<Vec<Vec<String>>>,
    /// Tokens of which all ran or none.
    wholes: Mutex<Vec<Vec<String>>>,
    acknowledged: Mutex<HashMap<String, u64>>,
    interrupted: Mutex<Vec<u64>>,
    closed: Mutex<Option<u64>>,
    tally: Mutex<Tally>,
    timeout: u64,
    keys: Vec<String>,
    threads: usize,
    crowd: bool,
    calm: bool,
    panics: bool,
    migrates: bool,
    heal: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lives through a day. What went wrong, if anything did; and what happened, if it is to be told.
pub fn live(day: &Day, told: bool) -> (Result<Tally, String>, Vec<String>) {
    let mut dice = Dice(day.seed ^ 0x5eed);
    let shared = Shared::new(dice.roll(), day.weather, Servers::new(keys(), day.odds));
    shared.lock().servers.named = day.named;
    if told {
        shared.lock().trace = Some(Vec::new());
    }
    let created: Mutex<Option<Client>> = Mutex::new(None);
    shared.run(vec![Box::new(|_: &Thread| {
        let seeds: Vec<String> = (0..NODES).map(|n| address(n).to_string()).collect();
        let mut config = Config::from_url(&format!("redis://{}", seeds.join(",")));
        if let Ok(config) = &mut config {
            for (name, value) in &day.options {
                config.set(name, value).unwrap();
            }
        }
        *lock(&created) = config.ok().map(Client::create_with);
    })]);
    let client = Arc::new(created.into_inner().ok().flatten().unwrap());
    if let Some(error) = client.error() {
        return (Err(format!("cannot connect: {error}")), Vec::new());
    }
    let begin = shared.lock().now;
    let heal = begin + 3200 * MS;
    {
        let mut state = shared.lock();
        for (time, what) in &day.mishaps {
            state.at(begin + time, Event::Servers(what.clone()));
        }
        state.at(heal, Event::Servers(Happening::Heal));
        state.panic_at = day.panic_at;
    }
    let life = Life {
        reader: Arc::new(client.readonly()),
        client,
        claims: Mutex::default(),
        orders: Mutex::default(),
        wholes: Mutex::default(),
        acknowledged: Mutex::default(),
        interrupted: Mutex::default(),
        closed: Mutex::default(),
        tally: Mutex::default(),
        timeout: 2000 * MS,
        keys: keys(),
        crowd: day.crowd,
        calm: day.calm,
        threads: day.threads,
        panics: day.panic_at.is_some(),
        migrates: day
            .mishaps
            .iter()
            .any(|(_, what)| matches!(what, Happening::Migrate(..))),
        heal,
    };
    let mut bodies: Vec<Body<'_>> = Vec::new();
    for number in 0..day.threads {
        let mut dice = Dice(dice.roll());
        let life = &life;
        bodies.push(Box::new(move |thread| {
            let caller = Caller {
                life,
                thread,
                number,
            };
            for round in 0..day.calls {
                thread.pause(dice.below(day.think));
                caller.something(&mut dice, round);
            }
            if !day.closes {
                caller.afterwards();
            }
        }));
    }
    if day.interrupts > 0 || day.closes {
        let mut dice = Dice(dice.roll());
        let life = &life;
        bodies.push(Box::new(move |thread| {
            for _ in 0..day.interrupts {
                let most = if day.crowd { 20 * MS } else { 400 * MS };
                thread.pause(dice.below(most));
                let now = thread.shared.lock().now;
                lock(&life.interrupted).push(now);
                life.client.interrupt();
            }
            if day.closes {
                thread.pause(dice.below(1500 * MS));
                let now = thread.shared.lock().now;
                *lock(&life.closed) = Some(now);
                life.client.close();
                life.reader.close();
            }
        }));
    }
    shared.run(bodies);
    let open = shared.lock().open_wires();
    // A handle that was closed tells nothing.
    let connections = open_connections(&life.reader).unwrap_or(open);
    if connections != open {
        let words = format!("{connections} connections are counted and {open} are open");
        shared.lock().fail(words);
    }
    let Life {
        client,
        reader,
        claims,
        orders,
        wholes,
        tally,
        ..
    } = life;
    let ends: Vec<Body<'_>> = vec![Box::new(move |_| {
        drop(reader);
        drop(client);
    })];
    shared.run(ends);
    let mut state = shared.lock();
    state.settle();
    if state.open_wires() > 0 {
        let words = format!("{} connections are left behind", state.open_wires());
        state.fail(words);
    }
    let claims = lock(&claims).clone();
    if let Err(words) = verify(&state.servers.runs, &claims, &lock(&orders), &lock(&wholes)) {
        state.fail(words);
    }
    // At most two nodes are asked, twice in 100 ms.
    let refreshes = &state.servers.refreshes;
    let storm = refreshes.windows(44).find(|w| w[43] - w[0] < 500 * MS);
    if storm.is_some() {
        state.fail("more than 43 refreshes in half a second".to_string());
    }
    let mut tally = std::mem::take(&mut *lock(&tally));
    tally.executed = state.servers.executed;
    tally.redirections = state.servers.redirections;
    tally.refreshes = state.servers.refreshes.len() as u64;
    tally.connects = state.servers.connects;
    let trace = state.trace.take().unwrap_or_default();
    (state.failure.take().map_or(Ok(tally), Err), trace)
}

fn open_connections(client: &Client) -> Option<usize> {
    let stats = client.stats();
    let nodes = stats.view().find("nodes")?;
    let count = |i: usize| {
        nodes
            .at(i)
            .and_then(|n| n.find("connections"))
            .and_then(View::int)
    };
    Some((0..nodes.len()).filter_map(count).sum::<i64>() as usize)
}

/// Holds what was told against what was done.
fn verify(
    runs: &HashMap<String, Vec<Run>>,
    claims: &[Claim],
    orders: &[Vec<String>],
    wholes: &[Vec<String>],
) -> Result<(), String> {
    let ran = |token: &str| runs.get(token).map_or(&[][..], Vec::as_slice);
    for (token, runs) in runs {
        if runs.len() > 1 {
            return Err(format!("{token} has run {} times", runs.len()));
        }
    }
    for claim in claims {
        let runs = ran(&claim.token);
        let wrong = match &claim.told {
            Told::Done(serial) => {
                runs.len() != 1 || serial.is_some_and(|serial| runs[0].serial != serial)
            }
            Told::NotDone => !runs.is_empty(),
            Told::Perhaps => false,
        };
        if wrong {
            let Claim { token, told, words } = claim;
            return Err(format!(
                "{token}: {told:?} ({words}), and it ran so: {runs:?}"
            ));
        }
    }
    for order in orders {
        let serials: Vec<u64> = order
            .iter()
            .filter_map(|t| ran(t).first().map(|r| r.serial))
            .collect();
        if !serials.is_sorted() {
            return Err(format!("{order:?} ran in another order: {serials:?}"));
        }
    }
    for whole in wholes {
        let count = whole.iter().filter(|t| !ran(t).is_empty()).count();
        if count != 0 && count != whole.len() {
            return Err(format!("of the transaction {whole:?} a part has run"));
        }
    }
    Ok(())
}

struct Caller<'a> {
    life: &'a Life,
    thread: &'a Thread,
    number: usize,
}

/// One command of a pipeline.
enum YieldPoint {
    Write { key: String, token: String },
    Read { key: String, nonce: String },
}

impl Caller<'_> {
    fn now(&self) -> u64 {
        self.thread.shared.lock().now
    }

    fn fail(&self, words: String) {
        self.thread.shared.lock().fail(words);
    }

    /// Makes a call and looks at the clock.
    fn call(
        &self,
        what: &str,
        of: &Client,
        f: impl FnOnce() -> Box<Reply>,
    ) -> (u64, Option<Box<Reply>>) {
        self.longer(what, of, 0, f)
    }

    /// The same for a call that may take longer by itself.
    fn longer(
        &self,
        what: &str,
        of: &Client,
        more: u64,
        f: impl FnOnce() -> Box<Reply>,
    ) -> (u64, Option<Box<Reply>>) {
        let began = self.now();
        let reply = catch_unwind(AssertUnwindSafe(|| {
            crate::sim_hooks::panic_point(Layer::Ffi);
            f()
        }));
        let ended = self.now();
        let took = ended - began;
        self.thread.shared.lock().note(|| {
            let words = reply.as_ref().map(|r| describe(r, r.root.value));
            format!("{} {what} took {} us: {words:?}", self.number, took / US)
        });
        if took > self.life.timeout + more + GRACE {
            self.fail(format!("{what} took {} ms", took / MS));
        }
        let slow = |at: u64| at > began && at < ended && ended - at > INTERRUPT;
        let whole = std::ptr::eq(of, &raw const *self.life.client);
        if whole && lock(&self.life.interrupted).iter().any(|at| slow(*at)) {
            self.fail(format!("{what} went on after an interrupt"));
        }
        let closed = whole || std::ptr::eq(of, &raw const *self.life.reader);
        if closed && lock(&self.life.closed).is_some_and(slow) {
            self.fail(format!("{what} went on after its handle was closed"));
        }
        let mut tally = lock(&self.life.tally);
        tally.calls += 1;
        if reply.is_err() {
            tally.panics += 1;
            if !self.life.panics {
                drop(tally);
                self.fail(format!("{what} panicked"));
            }
        }
        (began, reply.ok())
    }

    /// What a call's end says of a command that writes.
    fn told(&self, reply: &Reply, value: Value) -> Told {
        if value.kind != Kind::Error {
            lock(&self.life.tally).good += 1;
            return Told::Done((value.kind == Kind::Integer).then_some(value.data));
        }
        lock(&self.life.tally).errors += 1;
        let code = Code::from_number(i32::from(value.code)).unwrap_or(Code::Internal);
        if self.life.calm {
            self.fail(format!("on a calm day: {}", describe(reply, value)));
        }
        // A server that says no has not run it, in this model.
        if matches!(code, Code::Server | Code::Redirects) || value.flags & flag::SENT == 0 {
            return Told::NotDone;
        }
        lock(&self.life.tally).doubts += 1;
        Told::Perhaps
    }

    /// Notes what was told of a write, and looks at once whether it is true.
    fn claim(&self, key: &str, token: &str, reply: Option<(&Reply, Value)>) {
        let told = reply.map_or(Told::Perhaps, |(reply, value)| self.told(reply, value));
        let words = reply.map_or("a panic".to_string(), |(r, v)| describe(r, v));
        if let Told::Done(_) = told {
            let runs = self.thread.shared.lock().servers.runs.get(token).cloned();
            match runs.as_deref() {
                Some([run]) => {
                    let mut known = lock(&self.life.acknowledged);
                    let known = known.entry(key.to_string()).or_default();
                    *known = run.version.max(*known);
                }
                other => self.fail(format!("{token} is said to be done, and ran so: {other:?}")),
            }
        }
        lock(&self.life.claims).push(Claim {
            token: token.to_string(),
            told,
            words,
        });
    }

    /// Looks at what was read; returns the version.
    fn read(
        &self,
        (key, nonce): (&str, &str),
        began: u64,
        floor: u64,
        reply: &Reply,
        value: Value,
    ) -> Option<u64> {
        if value.kind == Kind::Error {
            lock(&self.life.tally).errors += 1;
            if self.life.calm {
                self.fail(format!("on a calm day: {}", describe(reply, value)));
            }
            return None;
        }
        lock(&self.life.tally).good += 1;
        let text = View::new(reply, value).str().unwrap_or_default();
        let words: Vec<&str> = text.split('|').collect();
        let number = |i: usize| words.get(i).and_then(|w| w.parse::<u64>().ok());
        let whole = words
            .get(5)
            .is_some_and(|pad| pad.bytes().all(|b| b == b'x'));
        let (Some(version), Some(time), true) = (number(3), number(4), whole) else {
            self.fail(format!("a value is no value: {}", describe(reply, value)));
            return None;
        };
        if words[0] != key || words[1] != nonce {
            self.fail(format!(
                "{key} {nonce} was answered {}",
                describe(reply, value)
            ));
        }
        if time < began {
            self.fail(format!("{key} was answered before it was asked"));
        }
        if version < floor {
            self.fail(format!(
                "{key} was read at {version}, after {floor} was acknowledged"
            ));
        }
        Some(version)
    }

    fn floor(&self, key: &str) -> u64 {
        lock(&self.life.acknowledged).get(key).copied().unwrap_or(0)
    }

    fn key<'k>(&'k self, dice: &mut Dice) -> &'k str {
        let keys = self.life.keys.len();
        &self.life.keys[dice.below(if self.life.crowd { 2 } else { keys } as u64) as usize]
    }

    fn incrby(&self, key: &str, token: &str) -> bool {
        let args = [key.as_bytes(), token.as_bytes()];
        let (_, reply) = self.call(&format!("INCRBY {key} {token}"), &self.life.client, || {
            let name = const { &EncodedPrefix::new(b"*3\r\n$6\r\nINCRBY\r\n") };
            let client = &self.life.client;
            client.keyed(table::INCRBY, Access::Write, args[0], name, &args)
        });
        self.claim(key, token, reply.as_ref().map(|r| (&**r, r.root.value)));
        reply.is_some_and(|r| r.root.value.kind != Kind::Error)
    }

    fn get(&self, client: &Client, key: &str, floor: u64) -> bool {
        let (began, reply) = self.call(&format!("GET {key}"), client, || {
            let name = const { &EncodedPrefix::new(b"*2\r\n$3\r\nGET\r\n") };
            client.keyed(
                table::GET,
                Access::Read,
                key.as_bytes(),
                name,
                &[key.as_bytes()],
            )
        });
        reply.is_some_and(|r| {
            self.read((key, ""), began, floor, &r, r.root.value)
                .is_some()
        })
    }

    /// One call of some kind.
    fn something(&self, dice: &mut Dice, round: u64) {
        let token = format!("{}", 1_000_000 * (self.number as u64 + 1) + 1000 * round);
        let client = &self.life.client;
        let key = self.key(dice).to_string();
        match dice.below(if self.life.crowd { 6 } else { 14 }) {
            0 | 1 => {
                self.incrby(&key, &token);
            }
            2 => {
                self.get(client, &key, self.floor(&key));
            }
            3 => {
                let args = [key.as_bytes(), token.as_bytes()];
                let (_, reply) = self.call(&format!("SET {key} {token}"), client, || {
                    let name = const { &EncodedPrefix::new(b"*3\r\n$3\r\nSET\r\n") };
                    client.keyed(table::SET, Access::Write, args[0], name, &args)
                });
                self.claim(&key, &token, reply.as_ref().map(|r| (&**r, r.root.value)));
            }
            4 => {
                let args: [&[u8]; 3] = [b"RPUSH", key.as_bytes(), token.as_bytes()];
                let (_, reply) = self.call(&format!("RPUSH {key} {token}"), client, || {
                    client.command(&args)
                });
                self.claim(&key, &token, reply.as_ref().map(|r| (&**r, r.root.value)));
            }
            5 if self.life.crowd && dice.chance(500) => self.refresh(dice),
            5 => {
                let floor = self.floor(&key);
                let args: [&[u8]; 4] = [b"GETRANGE", key.as_bytes(), b"0", token.as_bytes()];
                let what = format!("GETRANGE {key} 0 {token}");
                let (began, reply) = self.call(&what, client, || client.command(&args));
                if let Some(r) = reply {
                    self.read((&key, &token), began, floor, &r, r.root.value);
                }
            }
            6 => self.mget(dice),
            7 => {
                self.get(&self.life.reader, &key, 0);
                let reader = &self.life.reader;
                let args: [&[u8]; 3] = [b"RPUSH", key.as_bytes(), token.as_bytes()];
                let (_, reply) = self.call("RPUSH of a reader", reader, || reader.command(&args));
                if let Some(r) = reply
                    && ![Code::ReadOnly as u8, Code::Closed as u8].contains(&r.root.value.code)
                {
                    self.fail("a reader was let write".to_string());
                }
            }
            8 => self.atomic(dice, &key, &token),
            9 => self.pinned(dice, &key, &token),
            10 if dice.chance(400) => self.refresh(dice),
            10 => self.everywhere(),
            11 => {
                let args: [&[u8]; 3] = [b"BLPOP", key.as_bytes(), b"1"];
                let (_, reply) = self.longer("BLPOP", client, 1000 * MS, || client.command(&args));
                if let Some(r) = reply {
                    self.told(&r, r.root.value);
                }
            }
            12 => self.reads(dice, &token),
            _ => self.pipeline(dice, &token),
        }
    }

    fn mget(&self, dice: &mut Dice) {
        let keys: Vec<String> = (0..dice.between(1, 6))
            .map(|_| self.key(dice).to_string())
            .collect();
        let floors: Vec<u64> = keys.iter().map(|k| self.floor(k)).collect();
        let mut args: Vec<&[u8]> = vec![b"MGET"];
        args.extend(keys.iter().map(|k| k.as_bytes()));
        let (began, reply) = self.call(&format!("MGET {keys:?}"), &self.life.client, || {
            self.life.client.command(&args)
        });
        let Some(reply) = reply else { return };
        let view = reply.view();
        if view.kind() == Kind::Error {
            self.told(&reply, reply.root.value);
            return;
        }
        if view.len() != keys.len() {
            self.fail(format!(
                "MGET of {} keys has {} values",
                keys.len(),
                view.len()
            ));
        }
        for ((key, floor), value) in keys.iter().zip(floors).zip(view.elements()) {
            self.read((key, ""), began, floor, &reply, value.value());
        }
    }

    fn pipeline(&self, dice: &mut Dice, token: &str) {
        let mut steps = Vec::new();
        let count = if dice.chance(100) {
            60
        } else {
            dice.between(1, 12)
        };
        for number in 0..count {
            let key = self.key(dice).to_string();
            let token = format!("{}", token.parse::<u64>().unwrap_or(0) + number);
            steps.push(if dice.chance(600) {
                YieldPoint::Write { key, token }
            } else {
                YieldPoint::Read { key, nonce: token }
            });
        }
        let mut pipeline = Pipeline::new(self.life.client.clone());
        for step in &steps {
            match step {
                YieldPoint::Write { key, token } => {
                    append(
                        &mut pipeline,
                        &[b"INCRBY", key.as_bytes(), token.as_bytes()],
                    );
                }
                YieldPoint::Read { key, nonce } => {
                    append(
                        &mut pipeline,
                        &[b"GETRANGE", key.as_bytes(), b"0", nonce.as_bytes()],
                    );
                }
            }
        }
        let floors: HashMap<String, u64> = lock(&self.life.acknowledged).clone();
        let (began, reply) =
            self.call(&format!("{count} in a pipeline"), &self.life.client, || {
                pipeline.execute()
            });
        let answers: Vec<Option<Value>> = match &reply {
            None => vec![None; steps.len()],
            Some(reply) if reply.root.value.kind == Kind::Error => {
                vec![Some(reply.root.value); steps.len()]
            }
            Some(reply) => reply.view().elements().map(|v| Some(v.value())).collect(),
        };
        if answers.len() != steps.len() {
            self.fail(format!(
                "{} answers for {} commands",
                answers.len(),
                steps.len()
            ));
            return;
        }
        // Of a slot that is on its way some keys have moved and some have not: then order is kept
        // among the commands of each.
        let group = |key: &str| match self.life.migrates {
            true => key.to_string(),
            false => crate::topology::key_slot(key.as_bytes()).to_string(),
        };
        let mut orders: HashMap<String, Vec<String>> = HashMap::new();
        let mut seen: Vec<(usize, &str, u64)> = Vec::new();
        for (number, (step, answer)) in steps.iter().zip(&answers).enumerate() {
            let answer = reply.as_deref().zip(*answer);
            match step {
                YieldPoint::Write { key, token } => {
                    orders.entry(group(key)).or_default().push(token.clone());
                    self.claim(key, token, answer);
                }
                YieldPoint::Read { key, nonce } => {
                    let floor = floors.get(key).copied().unwrap_or(0);
                    if let Some((reply, value)) = answer
                        && let Some(version) = self.read((key, nonce), began, floor, reply, value)
                    {
                        seen.push((number, key, version));
                    }
                }
            }
        }
        let state = self.thread.shared.lock();
        let mut wrong = None;
        for (read, key, version) in seen {
            for (write, step) in steps.iter().enumerate() {
                if let YieldPoint::Write { key: other, token } = step
                    && other == key
                    && let Some([run]) = state.servers.runs.get(token).map(Vec::as_slice)
                    && let Some(answer) = answers[write]
                    && answer.kind != Kind::Error
                    && (write < read) != (run.version <= version)
                {
                    wrong = Some(format!(
                        "command {read} of a pipeline saw {key} at {version}, and command {write} made it {}",
                        run.version
                    ));
                }
            }
        }
        drop(state);
        if let Some(words) = wrong {
            self.fail(words);
        }
        lock(&self.life.orders).extend(orders.into_values());
    }

    /// A transaction on a connection of its own, a command at a time.
    fn pinned(&self, dice: &mut Dice, key: &str, token: &str) {
        let pin = self.life.client.pin(key.as_bytes());
        let commands = dice.between(1, 3);
        let tokens: Vec<String> = (0..commands)
            .map(|n| format!("{}", token.parse::<u64>().unwrap_or(0) + n))
            .collect();
        let say = |words: &[&str]| {
            let args: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
            let what = format!("pinned {words:?}");
            self.call(&what, &pin, || pin.command(&args)).1
        };
        if dice.chance(300) {
            say(&["WATCH", key]);
        }
        let went_well =
            |reply: Option<Box<Reply>>| reply.is_some_and(|r| r.root.value.kind != Kind::Error);
        // Without it what follows is no transaction.
        if !went_well(say(&["MULTI"])) {
            return;
        }
        if !tokens
            .iter()
            .all(|token| went_well(say(&["INCRBY", key, token])))
        {
            say(&["DISCARD"]);
            let mut claims = lock(&self.life.claims);
            claims.extend(tokens.into_iter().map(|token| Claim {
                token,
                told: Told::NotDone,
                words: "a transaction that was given up".to_string(),
            }));
            return;
        }
        let reply = say(&["EXEC"]);
        for (number, token) in tokens.iter().enumerate() {
            let answer = reply.as_ref().map(|reply| {
                let value = match reply.view().at(number) {
                    Some(view) => view.value(),
                    None => reply.root.value,
                };
                (&**reply, value)
            });
            self.claim(key, token, answer);
        }
        lock(&self.life.orders).push(tokens.clone());
        lock(&self.life.wholes).push(tokens);
    }

    /// Something that every primary has to answer.
    fn everywhere(&self) {
        let client = &self.life.client;
        let (_, reply) = self.call("DBSIZE", client, || client.command(&[b"DBSIZE"]));
        if let Some(reply) = reply
            && let Told::Done(sum) = self.told(&reply, reply.root.value)
            && sum != Some(SIZES.iter().sum())
        {
            self.fail(format!("DBSIZE is {sum:?}"));
        }
    }

    /// Learns the topology, and others may at the same time.
    fn refresh(&self, dice: &mut Dice) {
        let whole = dice.chance(500);
        let client = match whole {
            true => &self.life.client,
            false => &self.life.reader,
        };
        let (began, reply) = self.call("a refresh", client, || client.refresh());
        let Some(reply) = reply else { return };
        let asked = self.thread.shared.lock().servers.refreshes.last().copied();
        match self.told(&reply, reply.root.value) {
            Told::Done(_) if asked.is_none_or(|asked| asked < began) => {
                self.fail("a refresh is said to be done, and nobody was asked".to_string());
            }
            // Whoever is waited for may be interrupted, which is nothing to those who wait.
            _ if !whole && reply.root.value.code == Code::Interrupted as u8 => {
                self.fail("a refresh ended by an interrupt of another handle".to_string());
            }
            _ => {}
        }
    }

    /// Reads together, from wherever.
    fn reads(&self, dice: &mut Dice, token: &str) {
        let mut pipeline = Pipeline::new(self.life.reader.clone());
        let mut asked = Vec::new();
        for number in 0..dice.between(1, 20) {
            let key = self.key(dice).to_string();
            let nonce = format!("{}", token.parse::<u64>().unwrap_or(0) + number);
            let args: [&[u8]; 4] = [b"GETRANGE", key.as_bytes(), b"0", nonce.as_bytes()];
            append(&mut pipeline, &args);
            asked.push((key, nonce));
        }
        let reader = &self.life.reader;
        let (began, reply) = self.call("reads together", reader, || pipeline.execute());
        let Some(reply) = reply else { return };
        if reply.root.value.kind == Kind::Error {
            self.told(&reply, reply.root.value);
            return;
        }
        for ((key, nonce), value) in asked.iter().zip(reply.view().elements()) {
            self.read((key, nonce), began, 0, &reply, value.value());
        }
    }

    fn atomic(&self, dice: &mut Dice, key: &str, token: &str) {
        let slot = crate::topology::key_slot(key.as_bytes());
        let keys: Vec<&String> = self
            .life
            .keys
            .iter()
            .filter(|k| crate::topology::key_slot(k.as_bytes()) == slot)
            .collect();
        let mut pipeline = Pipeline::new(self.life.client.clone());
        let mut tokens = Vec::new();
        for number in 0..dice.between(1, 5) {
            let key = keys[dice.below(keys.len() as u64) as usize].clone();
            let token = format!("{}", token.parse::<u64>().unwrap_or(0) + number);
            append(
                &mut pipeline,
                &[b"INCRBY", key.as_bytes(), token.as_bytes()],
            );
            tokens.push((key, token));
        }
        let (_, reply) = self.call("a transaction", &self.life.client, || {
            pipeline.execute_atomic()
        });
        for (number, (key, token)) in tokens.iter().enumerate() {
            let answer = reply.as_ref().map(|reply| {
                let value = match reply.view().at(number) {
                    Some(view) if reply.root.value.kind != Kind::Error => view.value(),
                    _ => reply.root.value,
                };
                (&**reply, value)
            });
            self.claim(key, token, answer);
        }
        let tokens: Vec<String> = tokens.into_iter().map(|(_, token)| token).collect();
        lock(&self.life.orders).push(tokens.clone());
        lock(&self.life.wholes).push(tokens);
    }

    /// All is well again, and has been for a moment: so is every call.
    fn afterwards(&self) {
        let now = self.now();
        self.thread
            .pause((self.life.heal + 1200 * MS).saturating_sub(now));
        {
            // What interrupted before and what was asked to panic is over, too.
            self.thread.shared.lock().panic_at = None;
        }
        // Each looks after some.
        let mine = |number: usize| number % self.life.threads == self.number;
        let keys = self.life.keys.iter().enumerate();
        for (number, key) in keys.filter(|(number, _)| mine(*number)) {
            let token = 1_000_000 * (self.number as u64 + 1) + 900_000 + number as u64;
            let began = self.now();
            let written = self.incrby(key, &token.to_string());
            let read = self.get(&self.life.client, key, self.floor(key));
            if !(written && read) {
                self.fail(format!("{key} is not served although all is well"));
            }
            if self.now() - began > RECOVERY {
                self.fail(format!(
                    "{key} took {} ms although all is well",
                    (self.now() - began) / MS
                ));
            }
        }
    }
}

fn describe(reply: &Reply, value: Value) -> String {
    let view = View::new(reply, value);
    match value.kind {
        Kind::Integer => format!("{}", value.data),
        kind if kind.has_text() => {
            let text = String::from_utf8_lossy(view.text().unwrap_or_default()).into_owned();
            let sent = if value.flags & flag::SENT != 0 {
                "sent"
            } else {
                "unsent"
            };
            let end = text.char_indices().nth(160).map_or(text.len(), |(i, _)| i);
            format!("{kind:?} {sent} {}", &text[..end])
        }
        kind => format!("{kind:?} of {}", view.len()),
    }
}

/// What the C interface does: a panic becomes an error in the command's place.
fn append(pipeline: &mut Pipeline, args: &[&[u8]]) {
    if catch_unwind(AssertUnwindSafe(|| pipeline.command(args))).is_err() {
        pipeline.fail(Error::new(Code::Internal, "a panic"));
    }
}
