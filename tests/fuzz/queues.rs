//! The fuzz target for queues: a program of submissions, runs, cancellations and frees, against two scripted nodes.
//!
//! The first byte of the input chooses options and divides the rest into the program and what the nodes do. Each byte of
//! the program is one step, each byte for the nodes what one of them does about the next command.

use rediscluster::cluster::{Client, Completion, Pipeline, Queue};
use rediscluster::deadline::{Deadline, now};
use rediscluster::resp::{Kind, View, flag};
use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::{Action, Command, FakeCluster, slot_of};

const KEYS: u8 = 8;
/// Every command has its reply by then.
const PATIENCE: Duration = Duration::from_secs(20);
/// No timer is due before.
const NO_TIMER: Duration = Duration::from_millis(40);
const OPTIONS: &str = "timeout_ms=150&attempt_timeout_ms=50&connect_timeout_ms=100";

/// Each submitted command completes exactly once, with the reply to it; one whose reply says that it was not sent has not
/// run. The descriptor is readable while there is something to do, and not for long without.
pub fn queues(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else {
        return;
    };
    let (program, script) = rest.split_at(rest.len() * usize::from(options >> 2) / 64);
    let nodes = FakeCluster::new(2);
    let observed = Arc::new(Mutex::new(Observed::default()));
    for node in 0..2 {
        serve(&nodes, node, script, &observed);
    }
    let lazy = if options & 1 == 0 { "no" } else { "yes" };
    let client = Client::create(&format!("{}?{OPTIONS}&lazy={lazy}", nodes.url()));
    let mut test = Test::new(Arc::new(client), observed, 200 + 60 * rest.len());
    for step in program {
        test.step(*step);
        test.check();
    }
    test.finish();
}

/// What the nodes have seen and done.
#[derive(Default)]
struct Observed {
    /// The tags of the writes that may have been executed.
    ran: HashSet<u64>,
    /// A node has sent something else than replies.
    has_lied: bool,
    /// A node has closed a connection, or does not answer.
    has_failed: bool,
    /// The bytes of the script that have been used.
    used: usize,
}

fn locked(observed: &Mutex<Observed>) -> std::sync::MutexGuard<'_, Observed> {
    observed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a node answer as the script says, and as usual after its end.
fn serve(nodes: &FakeCluster, node: usize, script: &[u8], observed: &Arc<Mutex<Observed>>) {
    let (script, observed) = (script.to_vec(), observed.clone());
    let mut usual = nodes.default_answer(node);
    let other = nodes.port(1 - node);
    nodes.on(node, move |connection, command| {
        let name = command[0].to_ascii_uppercase();
        if !matches!(&name[..], b"GET" | b"SET" | b"MGET" | b"BLPOP") {
            return None;
        }
        let mut observed = locked(&observed);
        let byte = script.get(observed.used).copied().unwrap_or(0);
        observed.used += 1;
        let slot = slot_of(&command[1]);
        let key = String::from_utf8_lossy(&command[1]).into_owned();
        let refusal = match byte & 15 {
            7 => Some(format!("-MOVED {slot} 127.0.0.1:{other}\r\n")),
            8 => Some(format!("-ASK {slot} 127.0.0.1:{other}\r\n")),
            9 => Some("-TRYAGAIN scripted\r\n".to_string()),
            10 => Some("-ERR scripted\r\n".to_string()),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Some(Action::send(refusal));
        }
        let usual = usual(connection, command);
        if !usual.starts_with(b"-") {
            observed.ran.extend(tag_of(command));
        }
        observed.has_failed |= matches!(byte & 15, 11 | 12 | 15);
        Some(match byte & 15 {
            11 => Action::Close,
            12 => Action::SendClose(usual[..usual.len() / 2].to_vec()),
            13 => Action::send(format!("$60\r\n{key:-<60}\r\n")),
            14 => Action::SendSlow(usual, 3, Duration::from_micros(100)),
            15 if byte >> 4 == 0 => Action::Hang,
            15 => {
                observed.has_lied = true;
                let from = observed.used.min(script.len());
                observed.used += usize::from(byte >> 4);
                Action::send(&script[from..observed.used.min(script.len())])
            }
            _ => Action::Send(usual),
        })
    });
}

/// The tag of a SET, which is in its value.
fn tag_of(command: &Command) -> Option<u64> {
    let value = std::str::from_utf8(command.get(2)?).ok()?;
    value.split_once('=')?.1.parse().ok()
}

/// A program that is being executed.
struct Test {
    client: Arc<Client>,
    queue: Queue,
    /// Asked for once, as programs do.
    fd: RawFd,
    /// The commands that have no reply yet.
    open: HashMap<u64, Submitted>,
    next_tag: u64,
    has_submitted: bool,
    /// How many replies wait to be taken, as the last run has said.
    waiting: usize,
    observed: Arc<Mutex<Observed>>,
    /// When the test began, unless something has happened since that is left to a later run.
    began: Option<Instant>,
    /// How often the queue may still be run because its descriptor is readable.
    turns_left: usize,
}

struct Submitted {
    key: String,
    is_write: bool,
    kinds: &'static [Kind],
}

const STRING: &[Kind] = &[Kind::String, Kind::Nil];
// The scripted string may be the reply to any command.
const STATUS: &[Kind] = &[Kind::Status, Kind::String];
const ARRAY: &[Kind] = &[Kind::Array, Kind::String];

impl Test {
    fn new(client: Arc<Client>, observed: Arc<Mutex<Observed>>, turns_left: usize) -> Test {
        let mut queue = Queue::new(client.clone());
        Test {
            fd: queue.fd_for_polling(),
            queue,
            client,
            open: HashMap::new(),
            next_tag: 0,
            has_submitted: false,
            waiting: 0,
            observed,
            began: Some(Instant::now()),
            turns_left,
        }
    }

    fn step(&mut self, step: u8) {
        let (what, number) = (step & 15, step >> 4);
        let until = Deadline::after(now(), 2);
        match what {
            0..=6 => self.submit(what, number),
            7 => (0..20).for_each(|n| self.submit(n & 3, number + n / 4)),
            8 | 9 => self.run(None),
            10 => self.run(Some(until)),
            11 => self.take(1 + usize::from(number)),
            12 => self.take(usize::MAX),
            13 => self.cancel(u64::from(number)),
            14 => self.free(),
            _ => self.client.interrupt(),
        }
        if what >= 13 {
            self.began = None;
        }
    }

    fn submit(&mut self, kind: u8, number: u8) {
        let tag = self.next_tag;
        self.next_tag += 1;
        let key = format!("key:{:08}", number % KEYS);
        let value = format!("{key}={tag}");
        let other = format!("key:{:08}", (number + 3) % KEYS);
        let (name, kinds): (&[&[u8]], _) = match kind {
            0 | 1 => (&[b"GET", key.as_bytes()], STRING),
            2 | 3 => (&[b"SET", key.as_bytes(), value.as_bytes()], STATUS),
            4 => (&[b"MGET", key.as_bytes(), other.as_bytes()], ARRAY),
            5 => (&[b"BLPOP", key.as_bytes(), b"0.01"], ARRAY),
            _ => (&[], ARRAY),
        };
        if name.is_empty() {
            let mut pipeline = Pipeline::new(self.client.clone());
            pipeline.command(&[b"GET", key.as_bytes()]);
            pipeline.command(&[b"GET", other.as_bytes()]);
            let submitted = self.queue.pipeline(tag, pipeline, false);
            submitted.expect("a pipeline of the same client");
        } else {
            self.queue.command(tag, name);
        }
        self.has_submitted = true;
        let submitted = Submitted {
            key,
            is_write: matches!(kind, 2 | 3),
            kinds,
        };
        self.open.insert(tag, submitted);
    }

    fn run(&mut self, until: Option<Deadline>) {
        self.waiting = self.queue.run(until);
        self.has_submitted = false;
    }

    fn take(&mut self, most: usize) {
        for _ in 0..most {
            let Some(next) = self.queue.next_reply() else {
                return assert_eq!(self.waiting, 0, "replies that a run has counted");
            };
            self.waiting = self.waiting.saturating_sub(1);
            self.check_reply(next);
        }
    }

    fn check_reply(&mut self, next: Completion) {
        let tag = next.tag;
        let submitted = self.open.remove(&tag);
        let submitted = submitted.unwrap_or_else(|| panic!("{tag} has completed twice"));
        let reply = next.whole();
        let view = reply.view();
        let observed = locked(&self.observed);
        if observed.has_lied {
            return;
        }
        let kind = view.kind();
        if kind == Kind::Error {
            let is_sent = reply.root.value.flags & flag::SENT != 0;
            let has_run = submitted.is_write && observed.ran.contains(&tag);
            assert!(is_sent || !has_run, "{tag} was sent: {}", text(view));
            return;
        }
        assert!(submitted.kinds.contains(&kind), "{tag}: {kind:?}");
        let is_own = kind != Kind::String || text(view).starts_with(&submitted.key);
        assert!(is_own, "{tag} of {}: {}", submitted.key, text(view));
    }

    /// Cancels one of the commands that were submitted last.
    fn cancel(&mut self, number: u64) {
        let Some(tag) = self.next_tag.checked_sub(1 + number) else {
            return;
        };
        self.queue.cancel(tag);
        // The queue has completed it, and perhaps others: only a run tells how many.
        self.waiting = 0;
        while let Some(next) = self.queue.next_reply() {
            self.check_reply(next);
        }
        assert!(!self.open.contains_key(&tag), "{tag} was cancelled");
    }

    /// Frees the queue with all its commands, and makes another one.
    fn free(&mut self) {
        self.queue = Queue::new(self.client.clone());
        self.fd = self.queue.fd_for_polling();
        self.open.clear();
        (self.waiting, self.has_submitted) = (0, false);
    }

    fn check(&mut self) {
        assert_eq!(self.queue.len(), self.open.len());
        let has_something = self.has_submitted || self.waiting > 0;
        assert!(
            !has_something || self.is_readable(0),
            "submitted: {}, replies that wait: {}",
            self.has_submitted,
            self.waiting
        );
        let is_undisturbed = self.began.is_some_and(|t| t.elapsed() < NO_TIMER)
            && !locked(&self.observed).has_failed;
        if self.open.is_empty() && is_undisturbed {
            assert!(!self.is_readable(0), "there is nothing to do");
        }
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

    /// Runs the queue whenever it is readable, until all commands have completed.
    fn finish(&mut self) {
        let began = Instant::now();
        while !self.open.is_empty() {
            let numbers: Vec<_> = self.open.keys().collect();
            assert!(began.elapsed() < PATIENCE, "{numbers:?} never complete");
            if self.is_readable(1000) {
                self.turn();
            }
        }
        while self.is_readable(0) {
            self.turn();
        }
        assert!(self.queue.is_empty() && self.queue.next_reply().is_none());
    }

    fn turn(&mut self) {
        let left = self.turns_left.checked_sub(1);
        self.turns_left = left.expect("the descriptor is readable without a reason");
        self.run(None);
        self.take(usize::MAX);
        self.check();
    }
}

fn text(view: View<'_>) -> String {
    String::from_utf8_lossy(view.text().unwrap_or_default()).into_owned()
}
