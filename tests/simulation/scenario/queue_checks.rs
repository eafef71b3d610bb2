//! The contract of a queue's descriptor, checked while the simulated world stands still.

use super::caller::Caller;
use super::queue_driver::{QueueDriver, catch};
use crate::simulation::simulator::MS;

/// How many runs a queue may need until it has done all that can be done without an event from outside.
const MAX_RUNS_UNTIL_IDLE: usize = 60;
/// How soon a queue looks at what other threads have changed: 2 ms for what a thread would wait for on a condition variable,
/// and 5 ms for gathered commands, whose shard may have changed.
const POLL_INTERVAL: u64 = 5 * MS;
/// How much later than its deadline a command may be found incomplete: the clock ticks during a run.
const EXPIRY_SLACK: u64 = MS;

impl QueueDriver {
    /// Runs the queue while no time passes and nothing arrives, until its descriptor is not readable. The descriptor must be
    /// readable if and only if a run, or taking a reply, does something.
    pub(super) fn check_descriptor(&mut self, caller: &Caller<'_>) {
        caller.thread.simulation.lock().freeze(true);
        let mut runs = 0;
        while self.check_one_run(caller) {
            runs += 1;
            if runs > MAX_RUNS_UNTIL_IDLE {
                caller.fail("the descriptor stays readable without an event".to_string());
                break;
            }
        }
        self.check_overdue(caller);
        caller.thread.simulation.lock().freeze(false);
    }

    /// One run of a world that stands still. Returns whether the descriptor was readable.
    fn check_one_run(&mut self, caller: &Caller<'_>) -> bool {
        let is_readable = self.is_readable(caller);
        let follows_others = self.follows_others(caller);
        let waited_before = self.completed;
        let before = caller.thread.effects();
        let completed = self.run_now(caller);
        let after = caller.thread.effects();
        let has_completed = completed > waited_before;
        if !is_readable
            && !follows_others
            && (has_completed || completed > 0 || after.io != before.io)
        {
            caller.fail(format!(
                "the descriptor was not readable, but a run did something: {completed} replies, {before:?}, {after:?}"
            ));
        }
        if is_readable && completed == 0 && after == before {
            caller.fail("the descriptor is readable, but a run has nothing to do".to_string());
        }
        if completed > 0 && !self.is_readable(caller) {
            caller.fail("replies wait, but the descriptor is not readable".to_string());
        }
        let before = caller.thread.effects();
        self.take_replies(caller, usize::MAX);
        if caller.thread.effects().io != before.io {
            caller.fail("taking replies does I/O".to_string());
        }
        is_readable
    }

    /// Whether the queue may have something to do since another thread has changed what they share: a connection was freed,
    /// or a topology learned. The queue notices that within an interval. While it connects, it notices that another thread
    /// has connected at the end of its own attempt.
    fn follows_others(&self, caller: &Caller<'_>) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        let state = caller.thread.simulation.lock();
        let is_due = state.is_due_within(queue.fd(), POLL_INTERVAL);
        drop(state);
        let has_changed = caller.thread.effects_of_others() != self.seen_of_others;
        has_changed && (is_due || !self.has_connected)
    }

    /// After a run that had nothing left to do, no command is incomplete that has to be complete.
    fn check_overdue(&self, caller: &Caller<'_>) {
        let now = caller.now();
        for submitted in self.open.values() {
            let Some(first_run) = submitted.first_run else {
                caller.fail("a command was not started by a run".to_string());
                continue;
            };
            let deadline = first_run
                + super::CALL_TIMEOUT_MS * MS
                + submitted.command.blocking_time()
                + EXPIRY_SLACK;
            let name = submitted.command.describe();
            if now > deadline {
                let late = (now - deadline) / MS;
                caller.fail(format!("{name} is {late} ms beyond its deadline"));
            }
            if let Some(ended) = self.ended_since(caller, submitted.at, now) {
                caller.fail(format!("{name} continues after its handle {ended}"));
            }
        }
    }

    /// Whether the handle was interrupted or closed after `at`, and a run has begun since.
    fn ended_since(&self, caller: &Caller<'_>, at: u64, now: u64) -> Option<&'static str> {
        let is_since = |time: u64| time > at && time + MS < now;
        let context = caller.context;
        let interrupts = super::run::lock(&context.interrupts);
        if !self.is_reader && interrupts.iter().any(|time| is_since(*time)) {
            return Some("was interrupted");
        }
        let closed_at = super::run::lock(&context.closed_at);
        closed_at.is_some_and(is_since).then_some("was closed")
    }

    pub(super) fn is_readable(&self, caller: &Caller<'_>) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        caller.thread.simulation.lock().is_readable(queue.fd())
    }

    /// rdc_queue_run(queue, 0).
    pub(super) fn run_now(&mut self, caller: &Caller<'_>) -> usize {
        self.note_run(caller.now());
        let Some(queue) = &mut self.queue else {
            return 0;
        };
        self.is_woken = false;
        let run = || caller.thread.without_waiting(|| queue.run(None));
        self.completed = catch(caller, run).unwrap_or(0);
        self.seen_of_others = caller.thread.effects_of_others();
        self.completed
    }

    /// The timeout of what has been submitted begins.
    pub(super) fn note_run(&mut self, now: u64) {
        for submitted in self.open.values_mut() {
            submitted.first_run.get_or_insert(now);
        }
    }

    /// Compares what was executed with the order of submission.
    pub(super) fn check_order(&self, caller: &Caller<'_>) {
        let state = caller.thread.simulation.lock();
        let executions = state.cluster.executions.clone();
        drop(state);
        for key in &caller.context.keys {
            // The versions of the key that the commands so far have written or read.
            let (mut written, mut read) = (0, 0);
            for command in self.ordered.iter().filter(|command| command.key == *key) {
                let execution = command.token.as_ref().and_then(|token| {
                    let executions = executions.get(token)?;
                    executions.first().map(|execution| execution.version)
                });
                match (execution, command.version) {
                    (Some(version), _) if version <= written.max(read) => {
                        caller.fail(format!(
                            "{key}: {:?} ran as version {version}, after {written} was written and {read} read",
                            command.token
                        ));
                    }
                    (Some(version), _) if command.is_acknowledged => written = version,
                    (None, Some(version)) if version < written => caller.fail(format!(
                        "{key}: version {version} was read behind the write of {written}"
                    )),
                    (None, Some(version)) => read = read.max(version),
                    _ => {}
                }
            }
        }
    }
}
