//! The fuzz target for subscribers: a program of subscriptions, calls of `next`, wakes and frees, against two scripted
//! nodes.
//!
//! The first byte of the input chooses options and divides the rest into the program and what the nodes do. Each byte
//! of the program is one step, each byte for the nodes what one of them does about the next command.

use rediscluster::cluster::{Client, Subscriber};
use rediscluster::deadline::{Deadline, now};
use rediscluster::resp::{Kind, View};
use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use support::{Action, Command, FakeCluster, slot_of};

/// Every subscription is confirmed or refused by then.
const PATIENCE: Duration = Duration::from_secs(20);
const OPTIONS: &str = "timeout_ms=150&connect_timeout_ms=100&subscriber_ping_ms=200";
const NAMES: [&str; 4] = ["a", "b", "c", "other"];
const VERBS: [(&str, &str); 3] = [
    ("SUBSCRIBE", "UNSUBSCRIBE"),
    ("PSUBSCRIBE", "PUNSUBSCRIBE"),
    ("SSUBSCRIBE", "SUNSUBSCRIBE"),
];
/// The first elements of messages, in the order of the verbs.
const MESSAGES: [&str; 3] = ["message", "pmessage", "smessage"];

/// A channel: the number of its kind, and its name.
type Key = (usize, String);

/// Each message belongs to a confirmed channel. Between two confirmations or gaps, the messages of a channel are those
/// that one subscription at one node has sent, each once and in order. Nothing is delivered that a connection brings
/// after what breaks the protocol. The descriptor is readable while there is something to do, and not for long without.
/// In the end, every wanted channel is confirmed or refused.
pub fn subscribers(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else {
        return;
    };
    let (program, script) = rest.split_at(rest.len() * usize::from(options >> 2) / 64);
    let nodes = FakeCluster::new(2);
    let observed = Arc::new(Mutex::new(Observed {
        script: script.to_vec(),
        ..Observed::default()
    }));
    for node in 0..2 {
        serve(&nodes, node, &observed);
    }
    let protocol = 2 + (options & 1);
    let spread = if options & 2 == 0 { "no" } else { "yes" };
    let url = format!(
        "{}?{OPTIONS}&protocol={protocol}&spread_channels={spread}",
        nodes.url()
    );
    let mut test = Test::new(
        Arc::new(Client::create(&url)),
        observed,
        400 + 60 * rest.len(),
    );
    for step in program {
        test.step(*step);
    }
    test.finish();
}

// ---- The nodes ------------------------------------------------------------------------------------

/// What the nodes have seen and done.
#[derive(Default)]
struct Observed {
    script: Vec<u8>,
    /// The bytes of the script that have been used.
    used: usize,
    /// By node and connection.
    connections: HashMap<(usize, usize), Served>,
    /// The subscriptions and messages so far.
    serials: u64,
    /// A node has sent bytes of the script, which may be anything.
    has_raw: bool,
}

/// What a node knows of a connection.
#[derive(Default)]
struct Served {
    is_resp3: bool,
    /// It has brought what no node may send: nothing that follows may be delivered.
    is_broken: bool,
    /// Each subscription has a number, and counts its messages.
    channels: HashMap<Key, (u64, u64)>,
}

fn locked(observed: &Mutex<Observed>) -> MutexGuard<'_, Observed> {
    observed.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn kind_of(word: &str) -> Option<usize> {
    let is_it = |verbs: &(&str, &str)| word == verbs.0 || word == verbs.1;
    VERBS.iter().position(is_it)
}

impl Served {
    fn frame(&self, elements: &[String]) -> String {
        let sign = if self.is_resp3 { '>' } else { '*' };
        format!("{sign}{}\r\n{}", elements.len(), elements.concat())
    }

    fn confirmation(&self, word: &str, name: &str) -> String {
        let word = bulk(&word.to_ascii_lowercase());
        self.frame(&[word, bulk(name), ":1\r\n".to_string()])
    }

    fn message(&mut self, key: &Key) -> String {
        let Some((subscription, count)) = self.channels.get_mut(key) else {
            return self.stray(key);
        };
        *count += 1;
        let payload = match self.is_broken {
            true => "broken".to_string(),
            false => format!("{subscription}:{count}"),
        };
        self.text(key, &payload)
    }

    /// A message of a channel that is not subscribed.
    fn stray(&self, key: &Key) -> String {
        self.text(key, "stray")
    }

    fn text(&self, key: &Key, payload: &str) -> String {
        let mut elements = vec![bulk(MESSAGES[key.0]), bulk(&key.1)];
        if key.0 == 1 {
            elements.push(bulk("matched"));
        }
        elements.push(bulk(payload));
        self.frame(&elements)
    }

    fn subscribe(&mut self, word: &str, keys: &[Key], serials: &mut u64) -> String {
        let mut sent = String::new();
        for key in keys {
            *serials += 1;
            self.channels.insert(key.clone(), (*serials, 0));
            sent += &self.confirmation(word, &key.1);
        }
        sent
    }

    fn messages(&mut self, keys: &[Key]) -> String {
        keys.iter().map(|key| self.message(key)).collect()
    }

    fn pong(&self) -> &'static str {
        match self.is_resp3 || self.channels.is_empty() {
            true => "+PONG\r\n",
            false => "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        }
    }
}

/// Makes a node answer as the script says, and as a server after its end.
fn serve(nodes: &FakeCluster, node: usize, observed: &Arc<Mutex<Observed>>) {
    let observed = observed.clone();
    let mut usual = nodes.default_answer(node);
    let other = nodes.port(1 - node);
    nodes.on(node, move |connection, command| {
        let word = String::from_utf8_lossy(&command[0]).to_ascii_uppercase();
        let mut observed = locked(&observed);
        let observed = &mut *observed;
        let served = observed.connections.entry((node, connection)).or_default();
        if word == "HELLO" {
            served.is_resp3 = command.get(1).is_some_and(|version| version == b"3");
        }
        if word == "ROLE" {
            return Some(Action::send("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"));
        }
        let is_ping = word == "PING" && !served.channels.is_empty();
        if kind_of(&word).is_none() && !is_ping {
            return (word == "PING").then(|| Action::Send(usual(connection, command)));
        }
        let byte = observed.script.get(observed.used).copied().unwrap_or(0);
        observed.used += 1;
        Some(match kind_of(&word) {
            Some(kind) => on_channels(
                observed,
                (node, connection),
                &word,
                kind,
                command,
                (byte, other),
            ),
            None => on_ping(observed, (node, connection), byte),
        })
    });
}

/// What a node does about a subscription, or the end of one.
fn on_channels(
    observed: &mut Observed,
    at: (usize, usize),
    word: &str,
    kind: usize,
    command: &Command,
    (byte, other): (u8, u16),
) -> Action {
    let names = command[1..]
        .iter()
        .map(|name| String::from_utf8_lossy(name));
    let keys: Vec<Key> = names.map(|name| (kind, name.into_owned())).collect();
    let served = observed.connections.entry(at).or_default();
    let is_end = word.contains("UNSUB");
    let refusal = match byte & 15 {
        9 => format!(
            "-MOVED {} 127.0.0.1:{other}\r\n",
            slot_of(keys[0].1.as_bytes())
        ),
        10 if byte >> 4 == 0 => "-NOPERM scripted\r\n".to_string(),
        10 => "-CLUSTERDOWN scripted\r\n".to_string(),
        _ => String::new(),
    };
    if !refusal.is_empty() {
        return Action::send(refusal);
    }
    match is_end {
        true => on_end(served, word, &keys, byte),
        false => on_beginning(observed, at, (word, &keys), byte),
    }
}

fn on_end(served: &mut Served, word: &str, keys: &[Key], byte: u8) -> Action {
    let late = match byte & 1 {
        1 => served.messages(keys),
        _ => String::new(),
    };
    let ends = keys.iter().map(|key| {
        served.channels.remove(key);
        served.confirmation(word, &key.1)
    });
    Action::send(late + &ends.collect::<String>())
}

fn on_beginning(
    observed: &mut Observed,
    at: (usize, usize),
    (word, keys): (&str, &[Key]),
    byte: u8,
) -> Action {
    let served = observed.connections.entry(at).or_default();
    let before: String = keys.iter().map(|key| served.stray(key)).collect();
    let confirmed = served.subscribe(word, keys, &mut observed.serials);
    let messages = served.messages(keys);
    let whole = format!("{confirmed}{messages}");
    match byte & 15 {
        5 => Action::send(format!("{before}{whole}")),
        6 => {
            // The channels are confirmed once more.
            served.is_broken = true;
            Action::send(format!("{whole}{confirmed}{}", served.messages(keys)))
        }
        7 => {
            served.is_broken = true;
            let another = served.confirmation(word, "another");
            Action::send(format!("{another}{confirmed}{}", served.messages(keys)))
        }
        8 => {
            // The node ends what it has confirmed.
            let (_, ended) = VERBS[keys[0].0];
            let ended: String = keys
                .iter()
                .map(|key| served.confirmation(ended, &key.1))
                .collect();
            let late: String = keys.iter().map(|key| served.stray(key)).collect();
            served.channels.retain(|key, _| !keys.contains(key));
            Action::send(format!("{whole}{ended}{late}"))
        }
        11 => Action::Close,
        12 => Action::SendClose(
            whole.as_bytes()[..whole.len() / (1 + usize::from(byte >> 4))].to_vec(),
        ),
        13 => Action::SendSlow(
            whole.into_bytes(),
            1 + usize::from(byte >> 4),
            Duration::from_micros(20),
        ),
        14 if byte >> 4 == 0 => Action::Hang,
        15 => raw(observed, byte >> 4),
        _ => Action::send(whole),
    }
}

/// What a node does about PING: any moment of a connection with channels.
fn on_ping(observed: &mut Observed, at: (usize, usize), byte: u8) -> Action {
    let served = observed.connections.entry(at).or_default();
    let pong = served.pong();
    let mut keys: Vec<Key> = served.channels.keys().cloned().collect();
    keys.sort();
    let chosen = keys[usize::from(byte >> 4) % keys.len()].clone();
    let messages = served.messages(&keys);
    match byte & 15 {
        5 | 6 => {
            served.channels.remove(&chosen);
            let ended = served.confirmation(VERBS[chosen.0].1, &chosen.1);
            let late = served.stray(&chosen);
            Action::send(format!("{messages}{ended}{late}{pong}"))
        }
        7 => {
            served.is_broken = true;
            let after = served.messages(&keys);
            Action::send(format!("{pong}{pong}{pong}{pong}:1\r\n{after}"))
        }
        8 => {
            served.is_broken = true;
            let another = served.confirmation("SUBSCRIBE", "another");
            let after = served.messages(&keys);
            Action::send(format!("{messages}{another}{after}{pong}"))
        }
        9 => Action::send(format!(
            "{}{pong}{messages}",
            served.stray(&(2, "never".to_string()))
        )),
        10 => Action::send(format!(
            "{messages}{pong}{}",
            served.confirmation("SUNSUBSCRIBE", "never")
        )),
        11 => Action::Close,
        12 => Action::SendClose(
            messages.as_bytes()[..messages.len() / (1 + usize::from(byte >> 4))].to_vec(),
        ),
        13 => Action::SendSlow(
            format!("{messages}{pong}").into_bytes(),
            2,
            Duration::from_micros(20),
        ),
        14 if byte >> 4 == 0 => Action::Hang,
        15 => raw(observed, byte >> 4),
        _ => Action::send(format!("{messages}{pong}")),
    }
}

/// Sends the next bytes of the script as they are.
fn raw(observed: &mut Observed, len: u8) -> Action {
    observed.has_raw = true;
    let from = observed.used.min(observed.script.len());
    observed.used += usize::from(len);
    let to = observed.used.min(observed.script.len());
    Action::send(&observed.script[from..to])
}

// ---- The program ----------------------------------------------------------------------------------

/// What the program knows of a channel.
#[derive(Default)]
struct Known {
    is_confirmed: bool,
    /// The subscription and the number of the message before, without a gap since.
    last: Option<(u64, u64)>,
}

/// A program that is being executed.
struct Test {
    client: Arc<Client>,
    subscriber: Subscriber,
    /// Asked for once, as programs do.
    fd: RawFd,
    channels: HashMap<Key, Known>,
    /// Those that are wanted and neither confirmed nor refused.
    open: HashSet<Key>,
    /// How many confirmations may still come.
    owed: usize,
    observed: Arc<Mutex<Observed>>,
    /// How often the descriptor may still be readable.
    turns_left: usize,
}

impl Test {
    fn new(client: Arc<Client>, observed: Arc<Mutex<Observed>>, turns_left: usize) -> Test {
        let mut subscriber = Subscriber::new(client.clone());
        Test {
            fd: subscriber.fd_for_polling(),
            subscriber,
            client,
            channels: HashMap::new(),
            open: HashSet::new(),
            owed: 0,
            observed,
            turns_left,
        }
    }

    fn step(&mut self, step: u8) {
        let (what, number) = (step & 15, usize::from(step >> 4));
        match what {
            0..=4 => self.command(number % 3, number / 3 % NAMES.len(), 1, true),
            5 => self.command(number % 3, 0, NAMES.len(), true),
            6 | 7 => self.command(number % 3, number / 3 % NAMES.len(), 1, false),
            8 => self.command(number % 3, 0, 0, false),
            9 | 10 => _ = self.next(0),
            11 | 12 => self.turn(1 + number as i32),
            13 => {
                self.subscriber.wake_handle().wake();
                assert!(self.is_readable(0), "it was woken");
                self.take_all();
            }
            14 => self.client.interrupt(),
            _ => self.free(),
        }
    }

    /// Subscribes to channels of one kind, or unsubscribes.  Without names: unsubscribes from all.
    fn command(&mut self, kind: usize, first: usize, count: usize, is_wanted: bool) {
        let (begin, end) = VERBS[kind];
        let word = if is_wanted { begin } else { end };
        let names = NAMES.iter().cycle().skip(first).take(count);
        let mut args = vec![word.as_bytes()];
        args.extend(names.clone().map(|name| name.as_bytes()));
        let reply = self.subscriber.command(&args);
        assert_eq!(reply.view().kind(), Kind::Status, "{word}");
        for name in names {
            let key = (kind, (*name).to_string());
            self.owed += usize::from(is_wanted);
            match is_wanted {
                true => self.open.insert(key),
                false => self.open.remove(&key),
            };
        }
        if count == 0 {
            self.open.retain(|key| key.0 != kind);
        }
    }

    /// Frees the subscriber with all its connections, and makes another one.
    fn free(&mut self) {
        self.subscriber = Subscriber::new(self.client.clone());
        self.fd = self.subscriber.fd_for_polling();
        self.channels.clear();
        self.open.clear();
        self.owed = 0;
    }

    /// Takes one thing.  Returns whether there was any.
    fn next(&mut self, ms: u64) -> bool {
        let until = || (ms > 0).then(|| Deadline::after(now(), ms));
        let reply = self.subscriber.next(until).whole();
        let view = reply.view();
        match view.kind() {
            Kind::Nil => return false,
            Kind::Error => self.on_error(&text(view)),
            Kind::Push => self.on_push(view),
            kind => panic!("next returns {kind:?}"),
        }
        true
    }

    fn take_all(&mut self) {
        while self.next(0) {}
    }

    fn on_error(&mut self, error: &str) {
        if !error.contains("which is not tried again") {
            return;
        }
        let refused = error.split_once(" refused ").map(|(_, refused)| refused);
        let (command, name) = refused.and_then(|r| r.split_once(' ')).expect("a command");
        let (name, _) = name.split_once(',').expect("a channel");
        let kind = kind_of(command).expect("a command");
        let key = (kind, name.to_string());
        self.channels.remove(&key);
        self.open.remove(&key);
    }

    fn on_push(&mut self, push: View<'_>) {
        let at = |n: usize| push.at(n).map(text).unwrap_or_default();
        let word = at(0);
        if word == "gap" {
            let kind = MESSAGES.iter().position(|m| *m == at(1)).expect("a kind");
            let known = self.channels.get_mut(&(kind, at(2)));
            let known = known.filter(|known| known.is_confirmed);
            known
                .unwrap_or_else(|| panic!("a gap of {}, which is not confirmed", at(2)))
                .last = None;
        } else if let Some(kind) = MESSAGES.iter().position(|m| *m == word) {
            self.on_message(&(kind, at(1)), &at(push.len() - 1));
        } else {
            let kind =
                kind_of(&word.to_ascii_uppercase()).unwrap_or_else(|| panic!("a push {word}"));
            self.on_confirmation((kind, at(1)), word.contains("unsub"));
        }
    }

    fn on_confirmation(&mut self, key: Key, is_end: bool) {
        if is_end {
            self.channels.remove(&key);
            return;
        }
        self.owed = self
            .owed
            .checked_sub(1)
            .expect("a confirmation for each command");
        self.open.remove(&key);
        self.channels.entry(key).or_default().is_confirmed = true;
    }

    fn on_message(&mut self, key: &Key, payload: &str) {
        let has_raw = locked(&self.observed).has_raw;
        let known = self
            .channels
            .get_mut(key)
            .filter(|known| known.is_confirmed);
        let known =
            known.unwrap_or_else(|| panic!("{payload:?} of {key:?}, which is not confirmed"));
        let number = payload.split_once(':').and_then(|(subscription, count)| {
            Some((subscription.parse().ok()?, count.parse().ok()?))
        });
        if has_raw {
            return;
        }
        let (subscription, count) = number.unwrap_or_else(|| panic!("{payload:?} of {key:?}"));
        if let Some((before, last)) = known.last {
            assert_eq!(
                (subscription, count),
                (before, last + 1),
                "after {before}:{last}, of {key:?}"
            );
        }
        known.last = Some((subscription, count));
    }

    fn is_readable(&self, timeout_ms: i32) -> bool {
        let mut poll = libc::pollfd {
            fd: self.fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid entry.
        unsafe { libc::poll(&raw mut poll, 1, timeout_ms) == 1 }
    }

    /// Waits on the descriptor, and takes what is there.
    fn turn(&mut self, timeout_ms: i32) {
        if !self.is_readable(timeout_ms) {
            return;
        }
        let left = self.turns_left.checked_sub(1);
        self.turns_left = left.expect("the descriptor is readable without a reason");
        self.take_all();
    }

    /// Waits until all channels are confirmed or refused.
    fn finish(&mut self) {
        let began = Instant::now();
        while !self.open.is_empty() {
            assert!(
                began.elapsed() < PATIENCE,
                "never subscribed: {:?}",
                self.open
            );
            self.turn(100);
        }
    }
}

fn text(view: View<'_>) -> String {
    String::from_utf8_lossy(view.text().unwrap_or_default()).into_owned()
}
