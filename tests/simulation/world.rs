//! A clock, a network and a scheduler that obey a seed.
//!
//! The threads of a simulation are real, but one runs at a time: whoever has to wait says for
//! what, and the scheduler chooses who goes on. Where nobody can, the clock is put forward to
//! the next thing that happens. So a run of any length takes no time, and the same seed gives
//! the same run, to the byte.

use super::servers::Servers;
use crate::sim_hooks::{Layer, Simulator, Wait, YieldPoint, enter};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub const MS: u64 = 1_000_000;
pub const US: u64 = 1_000;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, and 0 for a limit of 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit.max(1)
    }

    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub fn chance(&mut self, of_thousand: u64) -> bool {
        self.below(1000) < of_thousand
    }
}

/// How rough the network is. Chances are of 1000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Bytes come in pieces.
    pub splits: bool,
    /// A send takes only some of what it is given.
    pub short_sends: u64,
    /// A piece takes up to this long.
    pub delay: u64,
    /// A piece takes ten times that, or more.
    pub stalls: u64,
    /// A connection breaks when so many bytes have gone one way.
    pub cuts: u64,
    /// Bytes that a connection holds on their way to a server.
    pub window: usize,
    /// How long a receive may wait beyond its millisecond.
    pub tick: u64,
}

pub enum Event {
    Connected(usize),
    ToServer(usize, Vec<u8>),
    EndToServer(usize),
    ToClient(usize, Vec<u8>),
    EndToClient(usize),
    /// The client's end is reset.
    Reset(usize),
    /// Something happens to the servers.
    Servers(super::servers::Happening),
}

struct Due(u64, u64, Event);

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    Connecting,
    Open,
    /// The library has closed it.
    Closed,
}

/// One connection.
pub struct Wire {
    pub node: usize,
    phase: Phase,
    error: Option<i32>,
    /// Sent by the client and not received by the server.
    on_the_way: usize,
    inbox: VecDeque<u8>,
    ended: bool,
    /// When the last piece comes, each way: what was sent later does not come earlier.
    last: [u64; 2],
    /// After so many bytes, each way, the connection breaks.
    pub cut: [Option<usize>; 2],
    pub broken: bool,
}

#[derive(Clone, Debug)]
enum For {
    Poll(Vec<(RawFd, i16)>),
    Bytes(RawFd, usize),
    Word(usize),
    Time,
    /// Nothing: others may come first, that is all.
    Turn,
}

/// Who goes on, where it is not left to chance but tried out one by one (see handover.rs).
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What to choose first of all; beyond it, the first there is.
    pub prefix: Vec<usize>,
    /// What was chosen, of how many.
    pub taken: Vec<(usize, usize)>,
    /// How often a thread may still be interrupted that could go on.
    pub preemptions: usize,
    /// Nobody else wants to run where a thread lets others.
    pub alone: bool,
}

impl Script {
    fn decide(&mut self, of: usize) -> usize {
        if of < 2 {
            return 0;
        }
        let at = self.taken.len();
        let choice = self.prefix.get(at).copied().unwrap_or(0);
        self.taken.push((choice, of));
        choice
    }
}

/// What a thread has done since it began its call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deeds {
    pub leads: usize,
    pub read_for_others: usize,
    /// How many commands had run when it joined a batch.
    pub joined_at: Option<u64>,
}

struct Sleeper {
    reason: For,
    until: Option<u64>,
    woken: bool,
}

pub struct State {
    pub now: u64,
    pub dice: Dice,
    sequence: u64,
    due: BinaryHeap<Reverse<Due>>,
    pub wires: Vec<Wire>,
    by_fd: HashMap<RawFd, usize>,
    fired: BTreeSet<RawFd>,
    /// Threads that wait, and which one does not.
    sleepers: BTreeMap<usize, Option<Sleeper>>,
    running: Option<usize>,
    pub weather: Weather,
    pub servers: Servers,
    /// What went wrong, first of all.
    pub failure: Option<String>,
    pub trace: Option<Vec<String>>,
    /// Every so many-th mark of a layer panics.
    pub panic_at: Option<(Layer, u64)>,
    pub marks: u64,
    pub switches: u64,
    pub script: Option<Script>,
    pub deeds: [Deeds; 8],
}

pub struct Shared {
    state: Mutex<State>,
    /// One for each thread.
    turns: [Condvar; 8],
}

impl Shared {
    pub fn new(seed: u64, weather: Weather, servers: Servers) -> Arc<Shared> {
        Arc::new(Shared {
            state: Mutex::new(State {
                now: 1_000 * MS,
                dice: Dice(seed),
                sequence: 0,
                due: BinaryHeap::new(),
                wires: Vec::new(),
                by_fd: HashMap::new(),
                fired: BTreeSet::new(),
                sleepers: BTreeMap::new(),
                running: None,
                weather,
                servers,
                failure: None,
                trace: None,
                panic_at: None,
                marks: 0,
                switches: 0,
                script: None,
                deeds: Default::default(),
            }),
            turns: Default::default(),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, thread: Option<usize>) {
        if let Some(thread) = thread {
            self.turns[thread].notify_one();
        }
    }

    /// Runs `bodies` as the threads of this world, until all have ended.
    pub fn run<'a>(self: &Arc<Shared>, bodies: Vec<Body<'a>>) {
        {
            let mut state = self.lock();
            for me in 0..bodies.len() {
                let ready = Sleeper {
                    reason: For::Time,
                    until: Some(state.now),
                    woken: false,
                };
                state.sleepers.insert(me, Some(ready));
            }
            state.running = state.choose(None);
        }
        std::thread::scope(|scope| {
            for (me, body) in bodies.into_iter().enumerate() {
                let shared = self.clone();
                scope.spawn(move || {
                    let thread = Thread { shared, me };
                    let mut state = thread.await_turn(thread.shared.lock());
                    state.sleepers.insert(me, None);
                    drop(state);
                    enter(Some(Rc::new(thread.clone())));
                    body(&thread);
                    enter(None);
                    let mut state = thread.shared.lock();
                    state.sleepers.remove(&me);
                    state.running = state.choose(None);
                    thread.shared.wake(state.running);
                });
            }
        });
    }
}

impl State {
    pub fn note(&mut self, words: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} {}", now as f64 / MS as f64, words()));
        }
    }

    pub fn fail(&mut self, words: String) {
        self.note(|| format!("FAILED: {words}"));
        self.failure.get_or_insert(words);
    }

    pub fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.due.push(Reverse(Due(time, self.sequence, event)));
    }

    /// Lets happen what is due.
    fn catch_up(&mut self) {
        while self.due.peek().is_some_and(|due| due.0.0 <= self.now) {
            if let Some(Reverse(Due(_, _, event))) = self.due.pop() {
                self.happen(event);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connected(wire) => {
                let node = self.wires[wire].node;
                if self.wires[wire].phase != Phase::Connecting {
                    return;
                }
                match self.servers.accepts(node) {
                    Some(true) => {
                        self.wires[wire].phase = Phase::Open;
                        self.note(|| format!("wire {wire} to node {node} is open"));
                        super::servers::greet(self, wire);
                    }
                    Some(false) => {
                        self.wires[wire].phase = Phase::Open;
                        self.break_wire(wire, libc::ECONNREFUSED);
                    }
                    // Nobody says anything.
                    None => {}
                }
            }
            Event::ToServer(wire, bytes) => {
                self.wires[wire].on_the_way -= bytes.len();
                if self.wires[wire].broken {
                    return;
                }
                let cut = &mut self.wires[wire].cut[0];
                let mut bytes = bytes;
                let mut breaks = false;
                if let Some(left) = cut {
                    breaks = *left <= bytes.len();
                    bytes.truncate(*left);
                    *left -= bytes.len();
                }
                super::servers::receive(self, wire, &bytes);
                if breaks {
                    self.note(|| format!("wire {wire} is cut on the way there"));
                    self.sever(wire);
                }
            }
            Event::EndToServer(wire) => super::servers::hang_up(self, wire),
            Event::ToClient(wire, bytes) => {
                let it = &mut self.wires[wire];
                if it.phase == Phase::Open && it.error.is_none() && !it.ended {
                    it.inbox.extend(bytes);
                }
            }
            Event::EndToClient(wire) => self.wires[wire].ended = true,
            Event::Reset(wire) => self.break_wire(wire, libc::ECONNRESET),
            Event::Servers(happening) => super::servers::happen(self, happening),
        }
    }

    fn break_wire(&mut self, wire: usize, error: i32) {
        let loses = self.dice.chance(500);
        let it = &mut self.wires[wire];
        it.broken = true;
        it.error = Some(error);
        if loses {
            it.inbox.clear();
        }
    }

    /// Breaks a connection for both ends, here or there first.
    pub fn sever(&mut self, wire: usize) {
        if self.wires[wire].broken {
            return;
        }
        self.wires[wire].broken = true;
        super::servers::hang_up(self, wire);
        let (resets, delay) = (self.dice.chance(500), self.dice.below(2 * MS));
        let time = if resets {
            self.now + delay
        } else {
            self.wires[wire].last[1].max(self.now) + delay
        };
        let event = if resets {
            Event::Reset(wire)
        } else {
            Event::EndToClient(wire)
        };
        self.at(time, event);
    }

    /// Every connection to a node.
    pub fn wires_to(&self, node: usize) -> Vec<usize> {
        (0..self.wires.len())
            .filter(|w| self.wires[*w].node == node && self.wires[*w].phase != Phase::Closed)
            .collect()
    }

    /// Carries bytes one way (0 there, 1 back), in pieces, in order.
    fn carry(&mut self, wire: usize, way: usize, bytes: &[u8], mut time: u64) {
        let weather = self.weather;
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = if weather.splits && self.dice.chance(400) {
                self.dice.between(1, rest.len().min(64) as u64) as usize
            } else {
                rest.len()
            };
            let mut delay = 10 * US + self.dice.below(weather.delay);
            if self.dice.chance(weather.stalls) {
                delay += self.dice.below(weather.delay * 20 + 20 * MS);
            }
            time = time.max(self.now) + delay;
            let it = &mut self.wires[wire];
            // What is held up at a node that cannot be reached comes when it can.
            time = time.max(it.last[way]);
            it.last[way] = time;
            let piece = rest[..size].to_vec();
            rest = &rest[size..];
            let event = if way == 0 {
                Event::ToServer(wire, piece)
            } else {
                Event::ToClient(wire, piece)
            };
            self.at(time, event);
        }
    }

    /// A server sends.
    pub fn answer(&mut self, wire: usize, bytes: &[u8], time: u64) {
        if self.wires[wire].broken || bytes.is_empty() {
            return;
        }
        let time = time.max(self.servers.reachable_from(self.wires[wire].node));
        let mut bytes = bytes;
        let mut breaks = false;
        if let Some(left) = &mut self.wires[wire].cut[1] {
            breaks = *left <= bytes.len();
            bytes = &bytes[..(*left).min(bytes.len())];
            *left -= bytes.len();
        }
        self.carry(wire, 1, bytes, time);
        if breaks {
            self.note(|| format!("wire {wire} is cut on the way back"));
            self.sever(wire);
        }
    }

    /// A server closes a connection.
    pub fn close(&mut self, wire: usize, time: u64) {
        self.wires[wire].broken = true;
        let time = time.max(self.wires[wire].last[1]) + 20 * US;
        self.at(time, Event::EndToClient(wire));
    }

    fn ready(&self, fd: RawFd, events: i16) -> i16 {
        if self.fired.contains(&fd) {
            return libc::POLLIN & events;
        }
        let Some(wire) = self.by_fd.get(&fd).map(|w| &self.wires[*w]) else {
            return 0;
        };
        let mut revents = 0;
        if wire.error.is_some() {
            revents |= libc::POLLERR | libc::POLLHUP | (events & (libc::POLLIN | libc::POLLOUT));
        }
        if wire.phase != Phase::Open {
            return revents;
        }
        if !wire.inbox.is_empty() || wire.ended {
            revents |= libc::POLLIN;
        }
        if wire.on_the_way < self.weather.window {
            revents |= libc::POLLOUT;
        }
        revents & (events | libc::POLLERR | libc::POLLHUP)
    }

    fn may_go_on(&self, sleeper: &Sleeper) -> bool {
        sleeper.woken
            || sleeper.until.is_some_and(|until| until <= self.now)
            || match &sleeper.reason {
                For::Poll(fds) => fds.iter().any(|(fd, events)| self.ready(*fd, *events) != 0),
                For::Bytes(fd, bytes) => self.by_fd.get(fd).is_none_or(|w| {
                    let wire = &self.wires[*w];
                    wire.inbox.len() >= *bytes || wire.ended || wire.error.is_some()
                }),
                For::Word(_) | For::Time => false,
                For::Turn => true,
            }
    }

    /// One of those who can, by the script or by chance; `was` ran until now.
    fn pick(&mut self, mut able: Vec<usize>, was: Option<usize>) -> usize {
        let Some(script) = &mut self.script else {
            return able[self.dice.below(able.len() as u64) as usize];
        };
        // Who lets others go first does not count as interrupted.
        let yields = |s: &Sleeper| matches!(s.reason, For::Time);
        let goes_on = was.filter(|was| {
            let sleeper = self.sleepers.get(was).and_then(Option::as_ref);
            able.contains(was) && !sleeper.is_some_and(yields)
        });
        let Some(was) = goes_on else {
            if let Some(was) = was.filter(|was| able.contains(was)) {
                able.retain(|other| *other != was);
                able.push(was);
            }
            return able[script.decide(able.len())];
        };
        if script.preemptions == 0 {
            return was;
        }
        able.retain(|other| *other != was);
        // What is on its way may also come before this thread does anything more.
        let comes = usize::from(!self.due.is_empty());
        let choice = script.decide(1 + able.len() + comes);
        if choice == 0 {
            return was;
        }
        script.preemptions -= 1;
        match able.get(choice - 1) {
            Some(other) => *other,
            None => self.pick_who_is_reached(was),
        }
    }

    /// Lets happen what is on its way, until it reaches somebody.
    fn pick_who_is_reached(&mut self, was: usize) -> usize {
        let before = self.able();
        while let Some(time) = self.due.peek().map(|due| due.0.0) {
            self.now = self.now.max(time);
            self.catch_up();
            let mut reached = self.able();
            reached.retain(|other| !before.contains(other));
            if !reached.is_empty()
                && let Some(script) = &mut self.script
            {
                return reached[script.decide(reached.len())];
            }
        }
        was
    }

    /// Who can go on.
    fn able(&self) -> Vec<usize> {
        let sleepers = self.sleepers.iter();
        sleepers
            .filter(|(_, s)| s.as_ref().is_some_and(|s| self.may_go_on(s)))
            .map(|(me, _)| *me)
            .collect()
    }

    /// Who goes on: somebody who can, or whoever can first.
    fn choose(&mut self, was: Option<usize>) -> Option<usize> {
        self.switches += 1;
        if self.sleepers.is_empty() {
            return None;
        }
        loop {
            self.catch_up();
            let able = self.able();
            if !able.is_empty() {
                return Some(self.pick(able, was));
            }
            let sleeps = self.sleepers.values().flatten().filter_map(|s| s.until);
            let next = sleeps.chain(self.due.peek().map(|due| due.0.0)).min();
            match next {
                Some(next) => self.now = self.now.max(next),
                None => {
                    self.fail("all threads wait for ever".to_string());
                    for sleeper in self.sleepers.values_mut().flatten() {
                        sleeper.woken = true;
                    }
                }
            }
        }
    }

    /// After all threads have ended: lets everything happen that is still on its way.
    pub fn settle(&mut self) {
        while let Some(Reverse(Due(time, _, event))) = self.due.pop() {
            self.now = self.now.max(time);
            self.happen(event);
        }
    }

    /// Connections that the library has not closed.
    pub fn open_wires(&self) -> usize {
        let open = |w: &&Wire| w.phase != Phase::Closed;
        self.wires.iter().filter(open).count()
    }
}

/// What a thread of a world does.
pub type Body<'a> = Box<dyn FnOnce(&Thread) + Send + 'a>;

/// One thread of a world.
#[derive(Clone)]
pub struct Thread {
    pub shared: Arc<Shared>,
    pub me: usize,
}

impl Thread {
    fn await_turn<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while state.running != Some(self.me) {
            let (woken, late) = self.shared.turns[self.me]
                .wait_timeout(state, Duration::from_secs(60))
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if late.timed_out() && state.running != Some(self.me) {
                // The one whose turn it is waits for a lock that another holds while it sleeps.
                state.fail("a lock is held by a thread that waits".to_string());
                let told = state.trace.take().unwrap_or_default().join("\n");
                drop(state);
                // There is no way out for whoever waits for the lock.
                eprintln!("{told}\na lock is held by a thread that waits");
                std::process::abort();
            }
        }
        state
    }

    /// Waits, and lets others go on meanwhile.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        reason: For,
        until: Option<u64>,
    ) -> MutexGuard<'a, State> {
        let sleeper = Sleeper {
            reason,
            until,
            woken: false,
        };
        state.sleepers.insert(self.me, Some(sleeper));
        let next = state.choose(Some(self.me));
        state.running = next;
        if next != Some(self.me) {
            self.shared.wake(next);
        }
        let mut state = self.await_turn(state);
        state.sleepers.insert(self.me, None);
        state
    }

    /// What a thread of the simulation does between two calls.
    pub fn pause(&self, time: u64) {
        let state = self.shared.lock();
        let until = state.now + time;
        drop(self.sleep(state, For::Time, Some(until)));
    }

    fn begin(&self) -> MutexGuard<'_, State> {
        let mut state = self.shared.lock();
        state.now += 200;
        state.catch_up();
        state
    }
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Simulator for Thread {
    fn now(&self) -> u64 {
        let mut state = self.shared.lock();
        state.now += 50;
        state.now
    }

    fn random(&self) -> u64 {
        self.shared.lock().dice.roll()
    }

    fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        let mut state = self.begin();
        // Name servers are as good as the weather.
        let (delay, fails) = (state.weather.delay, state.weather.stalls * 10);
        let until = state.now + state.dice.below(5 * delay);
        let mut state = self.sleep(state, For::Time, Some(until));
        let number = host
            .strip_prefix("node-")
            .and_then(|h| h.strip_suffix(".sim"));
        match number.and_then(|n| n.parse().ok()) {
            Some(node) if !state.dice.chance(fails) => Ok(vec![address(node)]),
            _ => Err(io::Error::other(format!("{host} is not known here"))),
        }
    }

    fn connect(&self, fd: RawFd, to: SocketAddr) -> io::Result<()> {
        let mut state = self.begin();
        let Some(node) = state.servers.at(to) else {
            return Err(error(libc::EHOSTUNREACH));
        };
        let weather = state.weather;
        let (now, wire) = (state.now, state.wires.len());
        let mut cut = [None, None];
        for cut in &mut cut {
            if state.dice.chance(weather.cuts) {
                *cut = Some(state.dice.between(1, 4000) as usize);
            }
        }
        state.wires.push(Wire {
            node,
            phase: Phase::Connecting,
            error: None,
            on_the_way: 0,
            inbox: VecDeque::new(),
            ended: false,
            last: [now, now],
            cut,
            broken: false,
        });
        state.servers.connected();
        // A number that another had is its no more.
        if let Some(old) = state.by_fd.insert(fd, wire) {
            state.wires[old].phase = Phase::Closed;
        }
        state.fired.remove(&fd);
        let time =
            now.max(state.servers.reachable_from(node)) + 20 * US + state.dice.below(weather.delay);
        state.at(time, Event::Connected(wire));
        Err(error(libc::EINPROGRESS))
    }

    fn error_of(&self, fd: RawFd) -> Option<io::Error> {
        let mut state = self.begin();
        let wire = *state.by_fd.get(&fd)?;
        state.wires[wire].error.take().map(error)
    }

    fn send(&self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.begin();
        if state.script.is_some() {
            state = self.sleep(state, For::Turn, None);
        } else if state.dice.chance(100) {
            // Another thread may come first.
            let now = state.now;
            state = self.sleep(state, For::Time, Some(now));
        }
        let Some(wire) = state.by_fd.get(&fd).copied() else {
            return Err(error(libc::EBADF));
        };
        let weather = state.weather;
        let short = state.dice.chance(weather.short_sends);
        let less = state.dice.between(1, bytes.len() as u64) as usize;
        let it = &mut state.wires[wire];
        if let Some(number) = it.error {
            return Err(error(number));
        }
        if it.phase == Phase::Closed {
            return Err(error(libc::EPIPE));
        }
        let room = weather.window.saturating_sub(it.on_the_way);
        let size = if short { less } else { bytes.len() }.min(room);
        if size == 0 {
            return Err(error(libc::EAGAIN));
        }
        it.on_the_way += size;
        let node = it.node;
        let time = state.servers.reachable_from(node);
        state.carry(wire, 0, &bytes[..size], time);
        state.note(|| {
            format!(
                "{} sends on wire {wire} to node {node}: {:?}",
                self.me,
                String::from_utf8_lossy(&bytes[..size.min(120)])
            )
        });
        Ok(size)
    }

    fn recv(&self, fd: RawFd, room: usize, wait: Wait) -> io::Result<Vec<u8>> {
        let mut state = self.begin();
        let wanted = match wait {
            Wait::No => 0,
            Wait::First => 1,
            Wait::All => room,
        };
        if wanted > 0 {
            let tick = state.weather.tick;
            let until = state.now + MS + state.dice.below(tick);
            let reason = For::Bytes(fd, wanted);
            state = self.sleep(state, reason, Some(until));
        }
        let Some(wire) = state.by_fd.get(&fd).copied() else {
            return Err(error(libc::EBADF));
        };
        let it = &mut state.wires[wire];
        if it.inbox.is_empty() {
            return match it.error {
                Some(number) => Err(error(number)),
                None if it.ended => Ok(Vec::new()),
                None => Err(error(libc::EAGAIN)),
            };
        }
        let size = room.min(it.inbox.len());
        let bytes: Vec<u8> = it.inbox.drain(..size).collect();
        state.note(|| {
            format!(
                "{} receives on wire {wire}: {:?}",
                self.me,
                String::from_utf8_lossy(&bytes[..size.min(120)])
            )
        });
        Ok(bytes)
    }

    fn has_news(&self, fd: RawFd) -> bool {
        let state = self.begin();
        state.by_fd.get(&fd).is_none_or(|w| {
            let wire = &state.wires[*w];
            !wire.inbox.is_empty() || wire.ended || wire.error.is_some()
        })
    }

    fn closed(&self, fd: RawFd) {
        let mut state = self.begin();
        let Some(wire) = state.by_fd.remove(&fd) else {
            return;
        };
        state.wires[wire].phase = Phase::Closed;
        state.note(|| format!("{} closes wire {wire}", self.me));
        let (now, last) = (state.now, state.wires[wire].last[0]);
        state.at(now.max(last), Event::EndToServer(wire));
    }

    fn poll(&self, fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
        let state = self.begin();
        let wanted = fds.iter().filter(|p| p.fd >= 0);
        let reason = For::Poll(wanted.map(|p| (p.fd, p.events)).collect());
        // A timeout has the grain of the kernel's clock.
        let until = timeout.map(|t| state.now + t.as_nanos() as u64 + 50 * US);
        let state = self.sleep(state, reason, until);
        let mut count = 0;
        for entry in fds.iter_mut() {
            entry.revents = 0;
            if entry.fd >= 0 {
                entry.revents = state.ready(entry.fd, entry.events);
                count += usize::from(entry.revents != 0);
            }
        }
        Ok(count)
    }

    fn fire(&self, event: RawFd) {
        self.begin().fired.insert(event);
    }

    fn clear(&self, event: RawFd) {
        self.begin().fired.remove(&event);
    }

    fn futex_wait(&self, word: usize, timeout: Option<Duration>) {
        let state = self.begin();
        let until = timeout.map(|timeout| state.now + timeout.as_nanos() as u64);
        drop(self.sleep(state, For::Word(word), until));
    }

    fn futex_wake(&self, word: usize, count: i32) {
        let mut state = self.begin();
        let sleeps = |sleeper: &Option<Sleeper>| {
            let asleep = sleeper.as_ref().filter(|s| !s.woken);
            asleep.is_some_and(|s| matches!(s.reason, For::Word(w) if w == word))
        };
        for _ in 0..count {
            let there = state.sleepers.iter().filter(|(_, s)| sleeps(s));
            let there: Vec<usize> = there.map(|(thread, _)| *thread).collect();
            if there.is_empty() {
                break;
            }
            // Which of them wakes up is the kernel's choice, where not all of them do.
            let all = usize::try_from(count).is_ok_and(|count| count >= there.len());
            let which = match &mut state.script {
                Some(script) if !all => script.decide(there.len()),
                _ => 0,
            };
            if let Some(Some(sleeper)) = state.sleepers.get_mut(&there[which]) {
                sleeper.woken = true;
            }
        }
    }

    fn yield_now(&self) {
        let state = self.begin();
        if state.script.as_ref().is_some_and(|script| script.alone) {
            return;
        }
        let now = state.now;
        drop(self.sleep(state, For::Time, Some(now)));
    }

    fn panic_point(&self, layer: Layer) {
        let mut state = self.shared.lock();
        let Some((wanted, at)) = state.panic_at else {
            return;
        };
        if wanted != layer {
            return;
        }
        state.marks += 1;
        if state.marks == at {
            state.note(|| format!("{} panics in {layer:?}", self.me));
            drop(state);
            // No hook is called for it, so that nothing is printed.
            std::panic::resume_unwind(Box::new("a panic that was asked for"));
        }
    }

    fn yield_point(&self, what: YieldPoint) {
        let mut state = self.shared.lock();
        let executed = state.servers.executed;
        let deeds = &mut state.deeds[self.me];
        match what {
            YieldPoint::Between => {}
            YieldPoint::Joined => deeds.joined_at = Some(executed),
            YieldPoint::Leads => deeds.leads += 1,
            YieldPoint::ReadForAnother => deeds.read_for_others += 1,
        }
        if state.script.is_some() {
            state.catch_up();
            drop(self.sleep(state, For::Turn, None));
        }
    }
}

/// The address of a node.
pub fn address(node: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, node as u8 + 1)), 7000)
}
