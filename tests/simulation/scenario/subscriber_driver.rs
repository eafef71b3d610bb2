//! A thread that uses a subscriber: in an event loop, with calls that wait, or slowly.

use super::caller::Caller;
use super::message_check::{ChannelName, MessageCheck, is_node_local};
use super::publisher::{CHANNELS, EVENTS, PATTERNS, SHARDED};
use super::run::lock;
use crate::cluster::Subscriber;
use crate::deadline::{Deadline, now};
use crate::resp::Kind;
use crate::simulation::cluster_model::{ChannelKind, SHARDS};
use crate::simulation::simulator::{MS, SeededRng};
use crate::topology::key_slot;

/// How many calls of `next` a subscriber may need until it has done all that can be done without an event from outside.
const MAX_CALLS_UNTIL_IDLE: usize = 500;
/// How long after the faults a subscriber may need until each channel is where it belongs, besides the time in which it
/// notices silence.
const SETTLED: u64 = 2000 * MS;
/// How long a message may need when all is well.
const DELIVERED: u64 = 300 * MS;

pub(super) struct SubscriberDriver<'a> {
    caller: &'a Caller<'a>,
    subscriber: Subscriber,
    check: MessageCheck,
}

impl<'a> SubscriberDriver<'a> {
    pub(super) fn new(caller: &'a Caller<'a>) -> SubscriberDriver<'a> {
        let mut subscriber = Subscriber::new(caller.context.client.clone());
        subscriber.fd_for_polling();
        SubscriberDriver {
            caller,
            subscriber,
            check: MessageCheck::new(caller.thread.id),
        }
    }

    /// The life of the subscriber.
    pub(super) fn drive(mut self, rng: &mut SeededRng) {
        let (context, scenario) = (self.caller.context, self.caller.context.scenario);
        let end = context.heal_time - rng.below(2500) * MS;
        self.subscribe(rng);
        while self.caller.now() < end {
            self.step(rng);
        }
        if !scenario.closes_handles {
            self.check_recovery();
        }
        let mut stats = lock(&context.stats);
        stats.messages += self.check.messages;
        stats.gaps += self.check.gaps;
        stats.errors += self.check.errors;
        drop(stats);
        self.caller.thread.without_waiting(|| drop(self.subscriber));
    }

    fn step(&mut self, rng: &mut SeededRng) {
        match rng.below(14) {
            0 => self.subscribe(rng),
            1 if rng.chance(400) => self.unsubscribe(rng),
            2..=6 => {
                self.poll(rng.below(40 * MS));
                self.take(if rng.chance(300) { 1 } else { usize::MAX });
            }
            7..=9 => self.wait_for_next(rng),
            10 => {
                let longest = if rng.chance(100) { 1500 * MS } else { 20 * MS };
                let left = self
                    .caller
                    .context
                    .heal_time
                    .saturating_sub(self.caller.now());
                self.caller.thread.sleep(rng.below(longest).min(left));
            }
            11 => self.subscriber.wake_handle().wake(),
            _ => self.take(rng.between(1, 20) as usize),
        }
        if rng.chance(700) {
            self.check_descriptor();
        }
    }

    /// Executes a command, which must not wait.
    fn command(&mut self, word: &str, names: &[ChannelName], is_subscribe: bool) {
        let mut args: Vec<&[u8]> = vec![word.as_bytes()];
        args.extend(names.iter().map(|(_, name)| name.as_bytes()));
        let thread = self.caller.thread;
        thread
            .simulation
            .lock()
            .log(|| format!("thread {} {word} {names:?}", thread.id));
        let reply = thread.without_waiting(|| self.subscriber.command(&args));
        match reply.root.value.kind {
            Kind::Error if self.caller.context.scenario.closes_handles => {}
            Kind::Error => self.caller.fail(format!("{word} was refused")),
            _ => self.check.on_command(names, is_subscribe),
        }
    }

    fn subscribe(&mut self, rng: &mut SeededRng) {
        let (kind, all): (ChannelKind, &[&str]) = match rng.below(8) {
            0..=3 => (ChannelKind::Sharded, &SHARDED),
            4 | 5 => (ChannelKind::Channel, &CHANNELS),
            6 => (ChannelKind::Pattern, &PATTERNS),
            _ => (ChannelKind::Channel, &[EVENTS]),
        };
        let first = rng.below(all.len() as u64) as usize;
        let count = rng.between(1, (all.len() - first) as u64) as usize;
        let names = all[first..first + count].iter();
        let names: Vec<ChannelName> = names.map(|name| (kind, (*name).to_string())).collect();
        self.command(kind.subscribe(), &names, true);
    }

    fn unsubscribe(&mut self, rng: &mut SeededRng) {
        let confirmed = self.check.confirmed();
        if confirmed.is_empty() {
            return;
        }
        let name = confirmed[rng.below(confirmed.len() as u64) as usize].clone();
        self.command(name.0.unsubscribe(), std::slice::from_ref(&name), false);
        if rng.chance(300) {
            self.command(name.0.subscribe(), &[name], true);
        }
    }

    /// Waits for the descriptor as an event loop does.
    fn poll(&self, time: u64) -> bool {
        self.caller.thread.poll_readable(self.subscriber.fd(), time)
    }

    /// `rdc_subscriber_next(subscriber, 0)`. Returns whether it was something.
    fn next_now(&mut self) -> bool {
        let next = || self.subscriber.next(|| None);
        let reply = self.caller.thread.without_waiting(next).whole();
        self.check.check(self.caller, &reply);
        reply.root.value.kind != Kind::Nil
    }

    fn is_over(&self) -> bool {
        lock(&self.caller.context.closed_at).is_some()
    }

    fn take(&mut self, count: usize) {
        for _ in 0..count {
            // A closed client is an error each time.
            if !self.next_now() || self.is_over() {
                return;
            }
        }
    }

    fn wait_for_next(&mut self, rng: &mut SeededRng) {
        let (began, longest) = (self.caller.now(), rng.between(1, 60));
        let reply = self
            .subscriber
            .next(|| Some(Deadline::after(now(), longest)))
            .whole();
        self.check.check(self.caller, &reply);
        let took = self.caller.now() - began;
        if took > (longest + 12) * MS {
            let took = took / MS;
            self.caller
                .fail(format!("next took {took} ms instead of {longest}"));
        }
    }

    /// While no time passes and nothing arrives: the descriptor is readable if and only if `next` has something to do.
    fn check_descriptor(&mut self) {
        let thread = self.caller.thread;
        // Of a closed client, each call returns an error.
        if self.is_over() {
            return;
        }
        thread.simulation.lock().freeze(true);
        for calls in 0.. {
            let is_readable = thread.simulation.lock().is_readable(self.subscriber.fd());
            let before = thread.effects();
            let has_something = self.next_now();
            let after = thread.effects();
            if !is_readable && (has_something || after.io != before.io) {
                self.caller.fail(format!(
                    "the descriptor is not readable, but next does something: {has_something}, {before:?}, {after:?}"
                ));
            }
            if is_readable && !has_something && after == before {
                self.caller
                    .fail("the descriptor is readable, but next has nothing to do".to_string());
            }
            if calls > MAX_CALLS_UNTIL_IDLE {
                self.caller
                    .fail("the descriptor stays readable without an event".to_string());
            }
            if !is_readable || calls > MAX_CALLS_UNTIL_IDLE {
                break;
            }
        }
        thread.simulation.lock().freeze(false);
    }

    /// Takes everything until a time, as an event loop does.
    fn take_until(&mut self, end: u64) {
        while self.caller.now() < end {
            self.poll(end - self.caller.now());
            self.take(usize::MAX);
        }
    }

    /// After the faults, each message comes once, on the node where the channel belongs.
    fn check_recovery(&mut self) {
        let context = self.caller.context;
        let ping_ms = context.scenario.option("subscriber_ping_ms");
        let silence = 2 * ping_ms.and_then(|ms| ms.parse().ok()).unwrap_or(0) * MS;
        self.take_until(context.heal_time + SETTLED + silence);
        self.caller.thread.simulation.lock().panic_at = None;
        if let Some(owed) = self.check.first_owed() {
            return self
                .caller
                .fail(format!("{owed:?} is not confirmed after all faults ended"));
        }
        let before = (self.check.gaps, self.check.errors);
        let mut expected: Vec<(ChannelName, String)> = Vec::new();
        for name in self.check.confirmed() {
            let channel = match name.1.as_str() {
                "*" => "any".to_string(),
                pattern => pattern.replace('*', "last"),
            };
            if is_node_local(&name) {
                let key = self.caller.change_key();
                expected.push((name, format!("{EVENTS} {key}")));
            } else if let Some(text) = self.caller.publish(name.0, &channel) {
                expected.push((name, format!("{channel} {text}")));
            } else {
                self.caller.fail(format!(
                    "{channel} cannot be published to after all faults ended"
                ));
            }
        }
        let end = self.caller.now() + DELIVERED;
        self.take_until(end);
        for (name, message) in &expected {
            self.check_last(name, message);
        }
        if before != (self.check.gaps, self.check.errors) {
            self.caller
                .fail("a gap or an error long after all faults ended".to_string());
        }
        self.check.check_complete(self.caller);
    }

    /// The message has come, from a node where its channel belongs.
    fn check_last(&self, name: &ChannelName, message: &str) {
        let Some(node) = self.check.origin(name, message) else {
            let name = format!("{name:?}: {message:?}");
            return self
                .caller
                .fail(format!("{name} has not come after all faults ended"));
        };
        let reads_primaries = self.caller.context.scenario.option("read_from").is_none();
        let state = self.caller.thread.simulation.lock();
        let view = &state.cluster.actual_view;
        let slot = key_slot(name.1.as_bytes());
        let is_right = match name.0 {
            ChannelKind::Sharded if reads_primaries => node == view.primary[view.shard(slot)],
            ChannelKind::Sharded => node % SHARDS == view.shard(slot),
            _ => true,
        };
        drop(state);
        if !is_right {
            self.caller
                .fail(format!("{name:?} is on node {node} after all faults ended"));
        }
    }
}
