//! A thread that makes calls, and the checks of each call's duration and reply.

use super::CALL_TIMEOUT_MS;
use super::history::{WriteOutcome, WriteRecord};
use super::run::{RunContext, lock};
use crate::cluster::Client;
use crate::error::Code;
use crate::resp::{CommandReply, Kind, Reply, Value, View, flag};
use crate::sim_hooks::Layer;
use crate::simulation::simulator::{MS, SeededRng, SimThread, US};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How long a call may take beyond its deadline: the timer slack of the kernel, a poll interval, and work.
const DEADLINE_SLACK: u64 = 12 * MS;
/// How long a call may take after an interrupt or the closing of its handle.
const INTERRUPT_LATENCY: u64 = 12 * MS;
/// How long a write and a read may take when all faults are over.
pub(super) const RECOVERED_LATENCY: u64 = 300 * MS;

pub(super) struct Caller<'a> {
    pub(super) context: &'a RunContext<'a>,
    pub(super) thread: &'a SimThread,
    pub(super) id: usize,
}

impl Caller<'_> {
    pub(super) fn now(&self) -> u64 {
        self.thread.simulation.lock().now
    }

    pub(super) fn fail(&self, message: String) {
        self.thread.simulation.lock().fail(message);
    }

    /// Makes a call of this handle. Returns when it began, and its reply unless it panicked.
    pub(super) fn call<R: Into<CommandReply>>(
        &self,
        name: &str,
        handle: &Client,
        f: impl FnOnce() -> R,
    ) -> (u64, Option<Box<Reply>>) {
        self.blocking_call(name, handle, 0, f)
    }

    /// The same for a command that may block for `blocking_time` at the server.
    pub(super) fn blocking_call<R: Into<CommandReply>>(
        &self,
        name: &str,
        handle: &Client,
        blocking_time: u64,
        f: impl FnOnce() -> R,
    ) -> (u64, Option<Box<Reply>>) {
        let began = self.now();
        let reply = catch_unwind(AssertUnwindSafe(|| {
            crate::sim_hooks::panic_point(Layer::Ffi);
            f().into().whole()
        }));
        let ended = self.now();
        self.thread.simulation.lock().log(|| {
            let shown = reply.as_ref().map(|r| describe(r, r.root.value));
            let micros = (ended - began) / US;
            format!("thread {} {name} took {micros} us: {shown:?}", self.id)
        });
        if ended - began > CALL_TIMEOUT_MS * MS + blocking_time + DEADLINE_SLACK {
            self.fail(format!("{name} took {} ms", (ended - began) / MS));
        }
        self.check_cancellation(name, handle, began, ended);
        lock(&self.context.stats).calls += 1;
        if reply.is_err() {
            lock(&self.context.stats).panics += 1;
            if self.context.scenario.panic_at.is_none() {
                self.fail(format!("{name} panicked"));
            }
        }
        (began, reply.ok())
    }

    /// Checks that a call ended soon after an interrupt or the closing of its handle.
    fn check_cancellation(&self, name: &str, handle: &Client, began: u64, ended: u64) {
        let is_late = |at: u64| at > began && at < ended && ended - at > INTERRUPT_LATENCY;
        let is_client = std::ptr::eq(handle, &raw const *self.context.client);
        if is_client && lock(&self.context.interrupts).iter().any(|at| is_late(*at)) {
            self.fail(format!("{name} continued after an interrupt"));
        }
        let is_closed = is_client || std::ptr::eq(handle, &raw const *self.context.reader);
        if is_closed && lock(&self.context.closed_at).is_some_and(is_late) {
            self.fail(format!("{name} continued after its handle was closed"));
        }
    }

    fn count_error(&self, reply: &Reply, value: Value) {
        lock(&self.context.stats).errors += 1;
        if self.context.scenario.is_healthy {
            let error = describe(reply, value);
            self.fail(format!("error without a fault: {error}"));
        }
    }

    /// What a reply says of its write.
    pub(super) fn write_outcome(&self, reply: &Reply, value: Value) -> WriteOutcome {
        if value.kind != Kind::Error {
            lock(&self.context.stats).successes += 1;
            return WriteOutcome::Executed((value.kind == Kind::Integer).then_some(value.data));
        }
        self.count_error(reply, value);
        let code = Code::from_number(i32::from(value.code)).unwrap_or(Code::Internal);
        // A server of this model executes no command to which it replies with an error.
        if matches!(code, Code::Server | Code::Redirects) || value.flags & flag::SENT == 0 {
            return WriteOutcome::NotExecuted;
        }
        lock(&self.context.stats).unknown_outcomes += 1;
        WriteOutcome::Unknown
    }

    /// Records a write. A reported execution is checked at once.
    pub(super) fn record_write(&self, key: &str, token: &str, reply: Option<(&Reply, Value)>) {
        let outcome = reply.map_or(WriteOutcome::Unknown, |(reply, value)| {
            self.write_outcome(reply, value)
        });
        if let WriteOutcome::Executed(_) = outcome {
            let state = self.thread.simulation.lock();
            let executions = state.cluster.executions.get(token).cloned();
            drop(state);
            match executions.as_deref() {
                Some([execution]) => {
                    let mut acknowledged = lock(&self.context.acknowledged);
                    let highest = acknowledged.entry(key.to_string()).or_default();
                    *highest = execution.version.max(*highest);
                }
                other => self.fail(format!(
                    "{token} is reported as executed, executions: {other:?}"
                )),
            }
        }
        lock(&self.context.history).writes.push(WriteRecord {
            token: token.to_string(),
            outcome,
            reply: reply.map_or("a panic".to_string(), |(r, v)| describe(r, v)),
        });
    }

    /// Checks the reply to a read of a key with a nonce, and returns the version of the key.
    /// The read began at `began`; `floor` is the least version that it may return.
    pub(super) fn check_read(
        &self,
        (key, nonce): (&str, &str),
        (began, floor): (u64, u64),
        reply: &Reply,
        value: Value,
    ) -> Option<u64> {
        if value.kind == Kind::Error {
            self.count_error(reply, value);
            return None;
        }
        lock(&self.context.stats).successes += 1;
        let text = View::new(reply, value).str().unwrap_or_default();
        let fields: Vec<&str> = text.split('|').collect();
        let number = |i: usize| fields.get(i).and_then(|field| field.parse::<u64>().ok());
        let padding = fields.get(5);
        let is_whole = padding.is_some_and(|padding| padding.bytes().all(|b| b == b'x'));
        let (Some(version), Some(time), true) = (number(3), number(4), is_whole) else {
            self.fail(format!("malformed value: {}", describe(reply, value)));
            return None;
        };
        if fields[0] != key || fields[1] != nonce {
            let shown = describe(reply, value);
            self.fail(format!(
                "the reply to a read of {key} {nonce} is that of another: {shown}"
            ));
        }
        if time < began {
            self.fail(format!("the reply to {key} is older than its call"));
        }
        if version < floor {
            self.fail(format!(
                "a read of {key} returned version {version}, and {floor} was acknowledged"
            ));
        }
        Some(version)
    }

    /// The least version of a key that a read of the primary may return.
    pub(super) fn acknowledged_version(&self, key: &str) -> u64 {
        let acknowledged = lock(&self.context.acknowledged);
        acknowledged.get(key).copied().unwrap_or(0)
    }

    pub(super) fn random_key<'k>(&'k self, rng: &mut SeededRng) -> &'k str {
        let keys = &self.context.keys;
        let count = match self.context.scenario.is_contended {
            true => 2,
            false => keys.len(),
        };
        &keys[rng.below(count as u64) as usize]
    }

    /// Checks that calls succeed, and soon, once the faults have been over for 1.2 s.
    pub(super) fn check_recovery(&self) {
        let begin = self.context.heal_time + 1200 * MS;
        self.thread.sleep(begin.saturating_sub(self.now()));
        self.thread.simulation.lock().panic_at = None;
        // Each thread checks a share of the keys.
        let threads = self.context.scenario.threads;
        let keys = self.context.keys.iter().enumerate();
        for (number, key) in keys.filter(|(number, _)| number % threads == self.id) {
            let token = 1_000_000 * (self.id as u64 + 1) + 900_000 + number as u64;
            let began = self.now();
            let written = self.incrby(key, &token.to_string());
            let read = self.get(&self.context.client, key, self.acknowledged_version(key));
            if !(written && read) {
                self.fail(format!("{key} is not served after all faults ended"));
            }
            let took = self.now() - began;
            if took > RECOVERED_LATENCY {
                let millis = took / MS;
                self.fail(format!("{key} took {millis} ms after all faults ended"));
            }
        }
    }
}

/// A value as a line of the trace, with at most 160 characters of its text.
pub(super) fn describe(reply: &Reply, value: Value) -> String {
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
