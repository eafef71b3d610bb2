//! An event loop: a thread that submits commands to a queue, waits for its descriptor, and takes the replies.

use super::caller::{Caller, RECOVERED_LATENCY, describe};
use super::queue_command::{OrderedCommand, QueueCommand, is_queue_full};
use super::run::{RunContext, lock};
use crate::cluster::{Client, Queue, Wake};
use crate::deadline::{Deadline, now};
use crate::error::Code;
use crate::resp::{Kind, Reply};
use crate::simulation::simulator::{MS, SeededRng};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The tokens of one command.
const TOKENS: u64 = 100;

/// A command that has no reply yet.
pub(super) struct Submitted {
    pub(super) command: QueueCommand,
    pub(super) at: u64,
    /// When the first run after the submission began.
    pub(super) first_run: Option<u64>,
    /// The acknowledged versions when it was submitted.
    floors: HashMap<String, u64>,
    /// Its places in `QueueDriver::ordered`.
    places: Range<usize>,
}

/// A queue, and what has been submitted to it.
pub(super) struct QueueDriver {
    /// None after it was freed.
    pub(super) queue: Option<Queue>,
    handle: Arc<Client>,
    pub(super) is_reader: bool,
    pub(super) open: BTreeMap<u64, Submitted>,
    /// How many replies waited after the last run.
    pub(super) completed: usize,
    pub(super) ordered: Vec<OrderedCommand>,
    next_tag: u64,
    first_token: u64,
    /// A run without a limit may return without a reply.
    pub(super) is_woken: bool,
    /// What other threads had changed at the last run.
    pub(super) seen_of_others: u64,
    /// A command has succeeded.
    pub(super) has_connected: bool,
    /// All faults are over.
    must_succeed: bool,
}

/// A queue that several threads drive in turns.
pub(super) struct SharedQueue {
    driver: Mutex<AssertSend<QueueDriver>>,
    /// None before the queue is made, and once it is freed.
    wake: Mutex<Option<Wake>>,
    threads: usize,
    ended: AtomicUsize,
}

struct AssertSend<T>(T);
// SAFETY: a queue may be used by one thread after the other. The mutex admits one at a time.
unsafe impl<T> Send for AssertSend<T> {}

/// As the C interface does: a panic ends the call.
pub(super) fn catch<T>(caller: &Caller<'_>, f: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(f)).ok();
    if result.is_none() && caller.context.scenario.panic_at.is_none() {
        caller.fail("a function of a queue panicked".to_string());
    }
    result
}

impl SharedQueue {
    /// A queue for this number of threads. `number` tells the queues of a run apart. The queue itself is made by the first
    /// thread.
    pub(super) fn new(context: &RunContext<'_>, number: usize, threads: usize) -> SharedQueue {
        let is_reader = number == 2;
        let handle = match is_reader {
            true => context.reader.clone(),
            false => context.client.clone(),
        };
        let driver = QueueDriver {
            queue: None,
            handle,
            is_reader,
            open: BTreeMap::new(),
            completed: 0,
            ordered: Vec::new(),
            next_tag: 1,
            first_token: 1_000_000 * (100 + number as u64),
            is_woken: false,
            seen_of_others: 0,
            has_connected: false,
            must_succeed: false,
        };
        SharedQueue {
            driver: Mutex::new(AssertSend(driver)),
            wake: Mutex::default(),
            threads,
            ended: AtomicUsize::new(0),
        }
    }

    /// One of the threads of the queue. The last one that ends frees it.
    pub(super) fn drive(&self, caller: &Caller<'_>, rng: &mut SeededRng) {
        let scenario = caller.context.scenario;
        for _ in 0..scenario.calls_per_thread {
            let think_time = rng.below(scenario.max_think_time / 4 + 1);
            caller.thread.sleep(think_time);
            let Ok(mut driver) = self.driver.try_lock() else {
                self.wake_from_another_thread();
                continue;
            };
            let driver = &mut driver.0;
            driver.create(&self.wake);
            for _ in 0..rng.between(1, 6) {
                driver.step(caller, rng);
            }
        }
        if self.ended.fetch_add(1, Ordering::SeqCst) + 1 < self.threads {
            return;
        }
        if let Ok(mut driver) = self.driver.try_lock() {
            let driver = &mut driver.0;
            driver.create(&self.wake);
            driver.finish(caller, rng);
            *lock(&self.wake) = None;
            driver.free(caller);
        } else {
            caller.fail("a queue is still in use".to_string());
        }
    }

    /// rdc_queue_wake() by a thread that does not drive the queue.
    fn wake_from_another_thread(&self) {
        if let Some(wake) = *lock(&self.wake) {
            wake.wake();
        }
    }
}

impl QueueDriver {
    fn create(&mut self, wake: &Mutex<Option<Wake>>) {
        let queue = self
            .queue
            .get_or_insert_with(|| Queue::new(self.handle.clone()));
        queue.fd_for_polling();
        *lock(wake) = Some(queue.wake_handle());
    }

    /// What an event loop may do next.
    fn step(&mut self, caller: &Caller<'_>, rng: &mut SeededRng) {
        let is_healthy = caller.context.scenario.is_healthy;
        match rng.below(12) {
            0..=3 => {
                let most = if rng.chance(100) { 40 } else { 8 };
                for _ in 0..rng.between(1, most) {
                    self.submit_random(caller, rng);
                }
            }
            4 | 5 => {
                self.run_now(caller);
            }
            6 | 7 => self.wait_readable(caller, rng.below(50 * MS)),
            8 => self.run_until(caller, rng),
            9 if !is_healthy => self.cancel_random(caller, rng),
            10 => {
                let longest = if rng.chance(100) { 3000 * MS } else { 20 * MS };
                let longest = if is_healthy { MS } else { longest };
                // A loop that does not run holds connections. When the faults are over, threads need them.
                let left = caller.context.heal_time.saturating_sub(caller.now());
                caller.thread.sleep(rng.below(longest).min(left));
            }
            _ => {
                if let Some(queue) = &self.queue {
                    self.is_woken = true;
                    queue.wake_handle().wake();
                }
            }
        }
        if rng.chance(500) {
            let count = if rng.chance(300) { 1 } else { usize::MAX };
            self.take_replies(caller, count);
        }
        self.check_len(caller);
        if rng.chance(700) {
            self.check_descriptor(caller);
        }
    }

    fn submit_random(&mut self, caller: &Caller<'_>, rng: &mut SeededRng) {
        let token = self.first_token + TOKENS * self.next_tag;
        let command = QueueCommand::random(caller, rng, token, self.is_reader);
        self.submit(caller, command);
    }

    fn submit(&mut self, caller: &Caller<'_>, command: QueueCommand) {
        let tag = self.next_tag;
        self.next_tag += 1;
        let before = caller.thread.effects();
        caller.thread.simulation.lock().log(|| {
            let id = caller.id;
            format!("thread {id} submits {tag}: {}", command.describe())
        });
        let at = caller.now();
        let handle = &self.handle;
        let Some(queue) = &mut self.queue else { return };
        let submit = || {
            let thread = caller.thread;
            thread.without_waiting(|| command.submit(queue, handle, tag));
        };
        if catch(caller, submit).is_none() {
            queue.fail(tag, &crate::error::Error::new(Code::Internal, "a panic"));
        }
        if caller.thread.effects().io != before.io {
            caller.fail("a submission does I/O".to_string());
        }
        if !self.is_readable(caller) {
            caller.fail("the descriptor is not readable after a submission".to_string());
        }
        let ordered = command.ordered();
        let places = self.ordered.len()..self.ordered.len() + ordered.len();
        self.ordered.extend(ordered);
        let floors = match self.is_reader {
            true => HashMap::new(),
            false => lock(&caller.context.acknowledged).clone(),
        };
        let submitted = Submitted {
            command,
            at,
            first_run: None,
            floors,
            places,
        };
        self.open.insert(tag, submitted);
        lock(&caller.context.stats).calls += 1;
    }

    /// Takes up to `count` replies and checks each.
    pub(super) fn take_replies(&mut self, caller: &Caller<'_>, count: usize) {
        for _ in 0..count {
            let Some(queue) = &mut self.queue else { return };
            let next = catch(caller, || {
                caller.thread.without_waiting(|| queue.next_reply())
            });
            let Some(next) = next.flatten() else {
                self.completed = 0;
                return;
            };
            self.completed = self.completed.saturating_sub(1);
            self.check_reply(caller, next.tag, &next.whole());
        }
    }

    fn check_reply(&mut self, caller: &Caller<'_>, tag: u64, reply: &Reply) {
        let Some(submitted) = self.open.remove(&tag) else {
            return caller.fail(format!("tag {tag} has completed twice, or is unknown"));
        };
        caller.thread.simulation.lock().log(|| {
            let shown = describe(reply, reply.root.value);
            format!("thread {} takes {tag}: {shown}", caller.id)
        });
        if submitted.first_run.is_none() && reply.root.value.kind != Kind::Error {
            caller.fail(format!("tag {tag} has completed without a run"));
        }
        if self.must_succeed && reply.root.value.kind == Kind::Error && !is_queue_full(reply) {
            let name = submitted.command.describe();
            caller.fail(format!("{name} failed after all faults ended"));
        }
        if is_queue_full(reply) {
            lock(&caller.context.stats).refused += 1;
        }
        self.has_connected |= reply.root.value.kind != Kind::Error;
        let request = (submitted.at, &submitted.floors);
        let results = caller.check_queue_reply(&submitted.command, request, reply);
        for (place, (is_acknowledged, version)) in submitted.places.zip(results) {
            self.ordered[place].is_acknowledged = is_acknowledged;
            self.ordered[place].version = version;
        }
    }

    fn check_len(&self, caller: &Caller<'_>) {
        let len = self.queue.as_ref().map_or(0, Queue::len);
        if len != self.open.len() {
            let open = self.open.len();
            caller.fail(format!("the queue has {len} commands, not {open}"));
        }
    }

    /// Waits for the descriptor as an event loop does, and runs the queue if it is readable.
    fn wait_readable(&mut self, caller: &Caller<'_>, time: u64) {
        let Some(queue) = &self.queue else { return };
        if caller.thread.poll_readable(queue.fd(), time) {
            self.run_now(caller);
        }
    }

    /// rdc_queue_run() with a timeout, or without a limit.
    fn run_until(&mut self, caller: &Caller<'_>, rng: &mut SeededRng) {
        let began = caller.now();
        self.note_run(began);
        let longest = rng.below(200);
        let until = match rng.chance(300) {
            true => Deadline::NEVER,
            false => Deadline::after(now(), longest),
        };
        let Some(queue) = &mut self.queue else { return };
        let run = || queue.run(Some(until));
        self.completed = catch(caller, run).unwrap_or(0);
        let may_be_woken = self.may_be_woken(caller);
        self.is_woken = false;
        let took = caller.now() - began;
        let most = match until.time() {
            Some(_) => longest * MS,
            // A blocking command has its own time.
            None => super::CALL_TIMEOUT_MS * MS + 1000 * MS,
        };
        if took > most + 12 * MS {
            let took = took / MS;
            caller.fail(format!("a run took {took} ms instead of {}", most / MS));
        }
        if until.time().is_none() && self.completed == 0 && !self.open.is_empty() && !may_be_woken {
            caller.fail("a run without a limit has returned without a reply".to_string());
        }
    }

    /// Whether a run may return without a reply.
    fn may_be_woken(&self, caller: &Caller<'_>) -> bool {
        let scenario = caller.context.scenario;
        // An interrupt of any handle of the cluster wakes all its queues.
        self.is_woken
            || scenario.interrupts > 0
            || scenario.closes_handles
            || scenario.moves_queues
            || scenario.panic_at.is_some()
    }

    /// The command completes at once.
    fn cancel_random(&mut self, caller: &Caller<'_>, rng: &mut SeededRng) {
        let tags: Vec<u64> = self.open.keys().copied().collect();
        if tags.is_empty() {
            return;
        }
        let tag = tags[rng.below(tags.len() as u64) as usize];
        caller
            .thread
            .simulation
            .lock()
            .log(|| format!("thread {} cancels {tag}", caller.id));
        let before = caller.thread.effects();
        let Some(queue) = &mut self.queue else { return };
        let cancel = || caller.thread.without_waiting(|| queue.cancel(tag));
        catch(caller, cancel);
        if caller.thread.effects().sends != before.sends {
            caller.fail("cancelling a command sends something".to_string());
        }
        self.check_len(caller);
        if !self.is_readable(caller) {
            caller.fail("the descriptor is not readable after a command was cancelled".to_string());
        }
        self.take_replies(caller, usize::MAX);
        if self.open.contains_key(&tag) && caller.context.scenario.panic_at.is_none() {
            caller.fail(format!("tag {tag} is not complete after it was cancelled"));
        }
        lock(&caller.context.stats).cancelled += 1;
    }

    /// Ends the work: waits for all commands or gives them up, and when the faults are over, each command succeeds.
    fn finish(&mut self, caller: &Caller<'_>, rng: &mut SeededRng) {
        let scenario = caller.context.scenario;
        if scenario.is_healthy || rng.chance(600) {
            self.drain(caller);
        }
        if !scenario.closes_handles && rng.chance(700) {
            self.drain(caller);
            self.check_recovery(caller);
        }
    }

    /// Runs the queue as an event loop does, until every command is complete.
    fn drain(&mut self, caller: &Caller<'_>) {
        while !self.open.is_empty() {
            let Some(queue) = &self.queue else { return };
            let longest = super::CALL_TIMEOUT_MS * MS + 2000 * MS;
            if !caller.thread.poll_readable(queue.fd(), longest) {
                let open = self.open.len();
                return caller.fail(format!(
                    "{open} commands are open and the descriptor is not readable"
                ));
            }
            self.run_now(caller);
            self.take_replies(caller, usize::MAX);
            self.check_len(caller);
        }
    }

    fn check_recovery(&mut self, caller: &Caller<'_>) {
        let begin = caller.context.heal_time + 1200 * MS;
        caller.thread.sleep(begin.saturating_sub(caller.now()));
        caller.thread.simulation.lock().panic_at = None;
        self.must_succeed = true;
        let began = caller.now();
        for key in &caller.context.keys {
            let token = self.first_token + TOKENS * self.next_tag;
            let (key, token) = (key.clone(), token.to_string());
            if !self.is_reader {
                let (key, token) = (key.clone(), token.clone());
                let name = "INCRBY";
                self.submit(caller, QueueCommand::Write { name, key, token });
            }
            self.submit(caller, QueueCommand::Read { key, nonce: token });
        }
        self.drain(caller);
        let took = caller.now() - began;
        if took > RECOVERED_LATENCY {
            caller.fail(format!(
                "a queue took {} ms after all faults ended",
                took / MS
            ));
        }
    }

    /// rdc_queue_free().
    fn free(&mut self, caller: &Caller<'_>) {
        let Some(queue) = self.queue.take() else {
            return;
        };
        caller
            .thread
            .simulation
            .lock()
            .log(|| format!("thread {} frees its queue", caller.id));
        catch(caller, || caller.thread.without_waiting(|| drop(queue)));
        for submitted in std::mem::take(&mut self.open).into_values() {
            caller.record_abandoned(&submitted.command, submitted.first_run.is_some());
        }
        self.check_order(caller);
    }
}
