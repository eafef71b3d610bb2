//! Commands under way to several nodes at once.
//!
//! Everything for a node is one buffer on one connection; all connections are written to and
//! read from as they are ready, because a node that is not read from stops reading, and a write
//! that waits for it would keep the others idle.

use crate::cluster::execute::RoutedCommand;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Error, Result};
use crate::net::{
    Call, Chunk, Connection, ConnectionKind, OUT, Peer, PollFd, Recv, TryAcquire, interest,
};
use crate::resp::{Answer, CommandBody, Kind, Reply, Value, flag};
use std::sync::Arc;
use std::time::Duration;

/// In [`NodeBatch::order`]: a reply that is nobody's answer.
const NO_OWNER: u32 = u32::MAX;

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// The commands for one node.
pub struct NodeBatch {
    pub peer: Arc<Peer>,
    kind: ConnectionKind,
    connection: Option<Box<Connection>>,
    /// Whether the peer counts a connection as ours, be it there or about to be opened: then it is
    /// told what becomes of it, also when a panic passes through.
    holds: bool,
    /// Whose the expected replies are, by position.
    order: Vec<u32>,
    /// Whether a command has more replies than its own, so that others come between.
    mixed: bool,
    /// Once it has failed: whether the command of each expected reply may have run.
    sent: Vec<bool>,
    arrived: usize,
    chunk: Option<Chunk>,
    origin: u64,
    silent_until: Deadline,
    left: Option<Time>,
    first: Option<Time>,
    pub failed: Option<Error>,
}

/// What came of a batch's commands, beside the answers that are in the reply.
#[derive(Default)]
pub struct BatchErrors {
    /// Commands that were answered with an error.
    pub errors: Vec<u32>,
    /// The first error among the replies that precede a transaction's own.
    pub causes: Vec<(u32, Value)>,
}

impl BatchErrors {
    /// A command, or what precedes the one that is next in `due`, was answered with an error.
    #[cold]
    fn failed(&mut self, number: u32, due: &[u32], value: Value) {
        if number != NO_OWNER {
            self.errors.push(number);
        } else if let Some(owner) = due.iter().find(|n| **n != NO_OWNER)
            && self.causes.last().is_none_or(|(last, _)| last != owner)
        {
            self.causes.push((*owner, value));
        }
    }
}

impl NodeBatch {
    /// With room for so many commands.
    pub fn new(peer: Arc<Peer>, kind: ConnectionKind, room: usize) -> NodeBatch {
        NodeBatch {
            peer,
            kind,
            connection: None,
            holds: false,
            order: Vec::with_capacity(room),
            mixed: false,
            sent: Vec::new(),
            arrived: 0,
            chunk: None,
            origin: 0,
            silent_until: Deadline::NEVER,
            left: None,
            first: None,
            failed: None,
        }
    }

    /// Adds a command; `mixed` if it has more replies than its own, or is not sent as it is.
    #[inline]
    pub fn add(&mut self, number: u32, mixed: bool) {
        self.order.push(number);
        self.mixed |= mixed;
    }

    fn is_over(&self) -> bool {
        self.connection.is_none()
    }

    /// Puts the commands on a connection.
    fn encode(&mut self, parts: &[RoutedCommand<'_>], reply: &mut Reply) {
        if self.mixed {
            self.encode_mixed(parts);
        } else if let Some(connection) = &mut self.connection {
            for number in &self.order {
                connection.push(&parts[*number as usize].plain_body());
            }
        }
        if let Some(connection) = &mut self.connection {
            self.chunk = Some(connection.begin_chunk(reply));
            self.origin = reply.add_origin(connection.origin());
        }
    }

    fn encode_mixed(&mut self, parts: &[RoutedCommand<'_>]) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let numbers = std::mem::take(&mut self.order);
        self.order.reserve(numbers.len());
        for number in numbers {
            let part = &parts[number as usize];
            if part.is_asking() {
                connection.push(&CommandBody::Encoded(ASKING));
                self.order.push(NO_OWNER);
            }
            connection.push(&part.body());
            for _ in 0..part.preludes {
                self.order.push(NO_OWNER);
            }
            self.order.push(number);
        }
    }

    /// Puts the commands on a connection and begins to send them.
    fn start(&mut self, parts: &[RoutedCommand<'_>], reply: &mut Reply) {
        self.encode(parts, reply);
        if let Some(connection) = &mut self.connection
            && let Err(error) = connection.send()
        {
            self.fail(error, parts, reply);
        }
    }

    /// Takes what has been received; gives the connection back when all has.
    fn take(
        &mut self,
        reply: &mut Reply,
        batch_errors: &mut BatchErrors,
        call: &Call<'_>,
    ) -> Result<()> {
        let (Some(connection), Some(chunk)) = (&mut self.connection, &mut self.chunk) else {
            return Ok(());
        };
        let origin = self.origin;
        let mut due = self.order[self.arrived..].iter();
        let took = connection.take_into(reply, chunk, |reply, mut value| {
            let number = due.next().copied().unwrap_or(NO_OWNER);
            if value.kind == Kind::Error {
                batch_errors.failed(number, due.as_slice(), value);
            }
            value.flags |= flag::ANSWER | flag::SENT;
            // NO_OWNER has no place there.
            if let Some(place) = reply.answers.get_mut(number as usize) {
                *place = Answer {
                    value,
                    node: origin,
                };
            }
            !due.as_slice().is_empty()
        });
        self.arrived = self.order.len() - due.as_slice().len();
        let done = took?;
        if done {
            // A node that can serve nobody still tells of itself.
            if self.kind != ConnectionKind::FreshnessProbe {
                self.peer.record_success();
            }
            self.give_back(call.began);
        }
        Ok(())
    }

    /// The connection is lost, with whatever has not been answered on it.
    fn fail(&mut self, error: Error, parts: &[RoutedCommand<'_>], reply: &mut Reply) {
        if let Some(mut connection) = self.connection.take() {
            if let Some(chunk) = &self.chunk {
                connection.end_chunk(reply, chunk);
            }
            self.note_sent(parts, connection.written());
        }
        self.drop_connection();
        self.failed = Some(error);
    }

    /// The connection goes back to its peer, and is used again if nothing is in batch on it.
    fn give_back(&mut self, used: Time) {
        if let Some(connection) = self.connection.take() {
            self.holds = false;
            self.peer.release(self.kind, connection, used);
        }
    }

    /// Whatever is held of a connection is no more.
    fn drop_connection(&mut self) {
        self.connection = None;
        if std::mem::take(&mut self.holds) {
            self.peer.forget_lost(self.kind);
        }
    }

    /// Works out which commands the bytes that were written belong to.
    fn note_sent(&mut self, parts: &[RoutedCommand<'_>], written: usize) {
        let mut end = 0;
        let mut reply = 0;
        while reply < self.order.len() {
            let begin = end;
            // Whatever precedes a command's own reply was sent with it or not at all.
            let owner = self.order[reply..].iter().position(|n| *n != NO_OWNER);
            let last = reply + owner.unwrap_or(self.order.len() - 1 - reply);
            if let Some(part) = parts.get(self.order[last] as usize) {
                end += part.body().len();
                if part.is_asking() {
                    end += ASKING.len();
                }
            }
            for _ in reply..=last {
                self.sent.push(begin < written);
            }
            reply = last + 1;
        }
    }

    pub fn kind(&self) -> ConnectionKind {
        self.kind
    }

    /// The commands that have an answer.
    pub fn answered(&self) -> impl Iterator<Item = u32> {
        let answered = self.order[..self.arrived].iter().copied();
        answered.filter(|number| *number != NO_OWNER)
    }

    /// How many commands go with it.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// From when it left until its first reply came, if that was seen.
    pub fn rtt(&self) -> Option<Duration> {
        Some(self.first?.since(self.left?))
    }

    /// Something has come.
    fn record_first_reply(&mut self, time: Time) {
        self.first.get_or_insert(time);
    }

    /// The commands of a failed batch that have no answer, and whether each may have run.
    pub fn unanswered(&self) -> impl Iterator<Item = (u32, bool)> {
        let sent = |at: usize| self.sent.get(at).is_some_and(|s| *s);
        (self.arrived..self.order.len())
            .map(move |at| (self.order[at], sent(at)))
            .filter(|(number, _)| *number != NO_OWNER)
    }
}

impl Drop for NodeBatch {
    fn drop(&mut self) {
        self.drop_connection();
    }
}

/// Sends all batches and waits for all their replies, or their failure.
pub fn send_and_receive(
    batches: &mut [NodeBatch],
    parts: &[RoutedCommand<'_>],
    reply: &mut Reply,
    call: &Call<'_>,
) -> BatchErrors {
    let mut batch_errors = BatchErrors::default();
    // Everybody takes connections in the same order, so that no two wait for each other.
    batches.sort_by(|a, b| {
        let addresses = a.peer.address().cmp(b.peer.address());
        addresses.then((a.kind as u8).cmp(&(b.kind as u8)))
    });
    if !try_acquire_all(batches, parts, reply, call) {
        for batch in batches.iter_mut() {
            let until = call.attempt_deadline(now());
            match batch.peer.acquire(batch.kind, call, until) {
                Ok(connection) => {
                    batch.holds = true;
                    batch.connection = Some(connection);
                    batch.start(parts, reply);
                }
                Err(error) => batch.fail(error, parts, reply),
            }
        }
    }
    // Only now does everybody's silence begin: opening connections to some took its time.
    let left = now();
    for batch in batches.iter_mut() {
        batch.silent_until = call.attempt_deadline(left);
        batch.left = Some(left);
    }
    loop {
        let mut in_flight = batches.iter_mut().filter(|f| !f.is_over());
        let (Some(first), second) = (in_flight.next(), in_flight.next()) else {
            return batch_errors;
        };
        if second.is_none() {
            finish_single(first, parts, reply, &mut batch_errors, call);
            return batch_errors;
        }
        if let Err(error) = poll_many(batches, parts, reply, &mut batch_errors, call) {
            for batch in batches.iter_mut().filter(|f| !f.is_over()) {
                let at = batch.peer.origin().name().to_string();
                batch.fail(error.clone().at(at), parts, reply);
            }
        }
    }
}

/// Takes a connection for each batch without waiting for another's; false, and nothing taken, if
/// that cannot be done.
///
/// Those that are there already leave first. Those that have to be opened share the time that is
/// left, so that a node that does not answer leaves the others theirs.
fn try_acquire_all(
    batches: &mut [NodeBatch],
    parts: &[RoutedCommand<'_>],
    reply: &mut Reply,
    call: &Call<'_>,
) -> bool {
    for at in 0..batches.len() {
        let batch = &mut batches[at];
        match batch.peer.try_acquire(batch.kind, call) {
            TryAcquire::Idle(connection) => batch.connection = Some(connection),
            TryAcquire::MayOpen => {}
            TryAcquire::Busy => {
                for batch in &mut batches[..at] {
                    if let Some(used) = batch.connection.as_ref().map(|c| c.used) {
                        batch.give_back(used);
                    }
                    batch.drop_connection();
                }
                return false;
            }
        }
        batch.holds = true;
    }
    let mut closed: Vec<&mut NodeBatch> = Vec::with_capacity(batches.len());
    for batch in batches.iter_mut() {
        if batch.connection.is_some() {
            batch.start(parts, reply);
        } else {
            closed.push(batch);
        }
    }
    let mut to_open = closed.len() as u32;
    // Those that have been failing come last: they have most to wait for.
    closed.sort_by_key(|batch| !batch.peer.health.is_healthy());
    for batch in closed {
        let time = now();
        let until = call.attempt_deadline(time).share(time, to_open);
        to_open -= 1;
        match batch.peer.open(batch.kind, call, until) {
            Ok(connection) => {
                batch.connection = Some(connection);
                batch.start(parts, reply);
            }
            Err(error) => batch.fail(error, parts, reply),
        }
    }
    true
}

/// Only one is under way: its receive may wait by itself.
fn finish_single(
    batch: &mut NodeBatch,
    parts: &[RoutedCommand<'_>],
    reply: &mut Reply,
    batch_errors: &mut BatchErrors,
    call: &Call<'_>,
) {
    let mut rounds = 0;
    while let Some(connection) = &mut batch.connection {
        let pumped = if rounds > 0 && call.deadline.passed(now()) {
            Err(connection.timeout_error())
        } else if rounds > 0
            && let Err(error) = call.check_cancelled()
        {
            Err(error.at(batch.peer.origin().name().to_string()))
        } else {
            connection.send_and_recv(call, batch.silent_until)
        };
        if let Err(error) = pumped.and_then(|()| batch.take(reply, batch_errors, call)) {
            batch.fail(error, parts, reply);
            return;
        }
        let time = now();
        batch.silent_until = call.attempt_deadline(time);
        batch.record_first_reply(time);
        rounds += 1;
    }
}

/// Waits for any of several, and does what can be done.
fn poll_many(
    batches: &mut [NodeBatch],
    parts: &[RoutedCommand<'_>],
    reply: &mut Reply,
    batch_errors: &mut BatchErrors,
    call: &Call<'_>,
) -> Result<()> {
    let mut fds: Vec<PollFd> = Vec::with_capacity(batches.len() + 1);
    let mut until = call.deadline;
    let mut holds = false;
    for batch in batches.iter() {
        match &batch.connection {
            Some(connection) => {
                holds |= connection.has_buffered();
                fds.push(interest(connection.fd(), connection.interest()));
                until = until.min(batch.silent_until);
            }
            None => fds.push(interest(-1, 0)),
        }
    }
    fds.push(interest(-1, 0));
    // What is here already is taken first: no poll tells of it.
    if holds {
        call.check_cancelled()?;
    } else {
        call.wait(&mut fds, until)?;
    }
    let time = now();
    let over = call.deadline.passed(time);
    for (batch, ready) in batches.iter_mut().zip(&fds) {
        let Some(connection) = &mut batch.connection else {
            continue;
        };
        let mut outcome = Ok(());
        if ready.revents & OUT != 0 {
            outcome = connection.send();
            batch.silent_until = call.attempt_deadline(time);
        }
        if (ready.revents & !OUT != 0 || connection.has_buffered()) && outcome.is_ok() {
            outcome = match connection.receive(Recv::Now) {
                Ok(true) => {
                    batch.silent_until = call.attempt_deadline(time);
                    batch.record_first_reply(time);
                    batch.take(reply, batch_errors, call)
                }
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
        }
        if outcome.is_ok()
            && (over || batch.silent_until.passed(time))
            && let Some(connection) = &batch.connection
        {
            outcome = Err(connection.timeout_error());
        }
        if let Err(error) = outcome {
            batch.fail(error, parts, reply);
        }
    }
    Ok(())
}
