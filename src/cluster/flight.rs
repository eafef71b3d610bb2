//! Commands under way to several nodes at once.
//!
//! Everything for a node is one buffer on one connection; all connections are written to and
//! read from as they are ready, because a node that is not read from stops reading, and a write
//! that waits for it would keep the others idle.

use super::exchange::Part;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Error, Result};
use crate::net::{
    Call, Chunk, Connection, ConnectionKind, OUT, Peer, PollFd, Recv, TryAcquire, interest,
};
use crate::resp::{Answer, CommandBody, Kind, Reply, Value, flag};
use std::sync::Arc;
use std::time::Duration;

/// In [`Flight::order`]: a reply that is nobody's answer.
const NOBODY: u32 = u32::MAX;

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// The commands for one node.
pub struct Flight {
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

/// What came of a flight's commands, beside the answers that are in the reply.
#[derive(Default)]
pub struct Landed {
    /// Commands that were answered with an error.
    pub errors: Vec<u32>,
    /// The first error among the replies that precede a transaction's own.
    pub causes: Vec<(u32, Value)>,
}

impl Landed {
    /// A command, or what precedes the one that is next in `due`, was answered with an error.
    #[cold]
    fn failed(&mut self, number: u32, due: &[u32], value: Value) {
        if number != NOBODY {
            self.errors.push(number);
        } else if let Some(owner) = due.iter().find(|n| **n != NOBODY)
            && self.causes.last().is_none_or(|(last, _)| last != owner)
        {
            self.causes.push((*owner, value));
        }
    }
}

impl Flight {
    /// With room for so many commands.
    pub fn new(peer: Arc<Peer>, kind: ConnectionKind, room: usize) -> Flight {
        Flight {
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
    fn board(&mut self, parts: &[Part<'_>], reply: &mut Reply) {
        if self.mixed {
            self.board_mixed(parts);
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

    fn board_mixed(&mut self, parts: &[Part<'_>]) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let numbers = std::mem::take(&mut self.order);
        self.order.reserve(numbers.len());
        for number in numbers {
            let part = &parts[number as usize];
            if part.is_asking() {
                connection.push(&CommandBody::Encoded(ASKING));
                self.order.push(NOBODY);
            }
            connection.push(&part.body());
            for _ in 0..part.preludes {
                self.order.push(NOBODY);
            }
            self.order.push(number);
        }
    }

    /// Puts the commands on a connection and begins to send them.
    fn depart(&mut self, parts: &[Part<'_>], reply: &mut Reply) {
        self.board(parts, reply);
        if let Some(connection) = &mut self.connection
            && let Err(error) = connection.send()
        {
            self.fail(error, parts, reply);
        }
    }

    /// Takes what has been received; gives the connection back when all has.
    fn take(&mut self, reply: &mut Reply, landed: &mut Landed, call: &Call<'_>) -> Result<()> {
        let (Some(connection), Some(chunk)) = (&mut self.connection, &mut self.chunk) else {
            return Ok(());
        };
        let origin = self.origin;
        let mut due = self.order[self.arrived..].iter();
        let took = connection.take_into(reply, chunk, |reply, mut value| {
            let number = due.next().copied().unwrap_or(NOBODY);
            if value.kind == Kind::Error {
                landed.failed(number, due.as_slice(), value);
            }
            value.flags |= flag::ANSWER | flag::SENT;
            // NOBODY has no place there.
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
    fn fail(&mut self, error: Error, parts: &[Part<'_>], reply: &mut Reply) {
        if let Some(mut connection) = self.connection.take() {
            if let Some(chunk) = &self.chunk {
                connection.end_chunk(reply, chunk);
            }
            self.note_sent(parts, connection.written());
        }
        self.let_go();
        self.failed = Some(error);
    }

    /// The connection goes back to its peer, and is used again if nothing is in flight on it.
    fn give_back(&mut self, used: Time) {
        if let Some(connection) = self.connection.take() {
            self.holds = false;
            self.peer.release(self.kind, connection, used);
        }
    }

    /// Whatever is held of a connection is no more.
    fn let_go(&mut self) {
        self.connection = None;
        if std::mem::take(&mut self.holds) {
            self.peer.forget_lost(self.kind);
        }
    }

    /// Works out which commands the bytes that were written belong to.
    fn note_sent(&mut self, parts: &[Part<'_>], written: usize) {
        let mut end = 0;
        let mut reply = 0;
        while reply < self.order.len() {
            let begin = end;
            // Whatever precedes a command's own reply was sent with it or not at all.
            let owner = self.order[reply..].iter().position(|n| *n != NOBODY);
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
        answered.filter(|number| *number != NOBODY)
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
    fn heard(&mut self, time: Time) {
        self.first.get_or_insert(time);
    }

    /// The commands of a failed flight that have no answer, and whether each may have run.
    pub fn unanswered(&self) -> impl Iterator<Item = (u32, bool)> {
        let sent = |at: usize| self.sent.get(at).is_some_and(|s| *s);
        (self.arrived..self.order.len())
            .map(move |at| (self.order[at], sent(at)))
            .filter(|(number, _)| *number != NOBODY)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Sends all flights and waits for all their replies, or their failure.
pub fn fly(
    flights: &mut [Flight],
    parts: &[Part<'_>],
    reply: &mut Reply,
    call: &Call<'_>,
) -> Landed {
    let mut landed = Landed::default();
    // Everybody takes connections in the same order, so that no two wait for each other.
    flights.sort_by(|a, b| {
        let addresses = a.peer.address().cmp(b.peer.address());
        addresses.then((a.kind as u8).cmp(&(b.kind as u8)))
    });
    if !at_once(flights, parts, reply, call) {
        for flight in flights.iter_mut() {
            let until = call.attempt_deadline(now());
            match flight.peer.acquire(flight.kind, call, until) {
                Ok(connection) => {
                    flight.holds = true;
                    flight.connection = Some(connection);
                    flight.depart(parts, reply);
                }
                Err(error) => flight.fail(error, parts, reply),
            }
        }
    }
    // Only now does everybody's silence begin: opening connections to some took its time.
    let left = now();
    for flight in flights.iter_mut() {
        flight.silent_until = call.attempt_deadline(left);
        flight.left = Some(left);
    }
    loop {
        let mut under_way = flights.iter_mut().filter(|f| !f.is_over());
        let (Some(first), second) = (under_way.next(), under_way.next()) else {
            return landed;
        };
        if second.is_none() {
            last_one(first, parts, reply, &mut landed, call);
            return landed;
        }
        if let Err(error) = several(flights, parts, reply, &mut landed, call) {
            for flight in flights.iter_mut().filter(|f| !f.is_over()) {
                let at = flight.peer.origin().name().to_string();
                flight.fail(error.clone().at(at), parts, reply);
            }
        }
    }
}

/// Takes a connection for each flight without waiting for another's; false, and nothing taken, if
/// that cannot be done.
///
/// Those that are there already leave first. Those that have to be opened share the time that is
/// left, so that a node that does not answer leaves the others theirs.
fn at_once(flights: &mut [Flight], parts: &[Part<'_>], reply: &mut Reply, call: &Call<'_>) -> bool {
    for at in 0..flights.len() {
        let flight = &mut flights[at];
        match flight.peer.try_acquire(flight.kind, call) {
            TryAcquire::Idle(connection) => flight.connection = Some(connection),
            TryAcquire::MayOpen => {}
            TryAcquire::Busy => {
                for flight in &mut flights[..at] {
                    if let Some(used) = flight.connection.as_ref().map(|c| c.used) {
                        flight.give_back(used);
                    }
                    flight.let_go();
                }
                return false;
            }
        }
        flight.holds = true;
    }
    let mut closed: Vec<&mut Flight> = Vec::with_capacity(flights.len());
    for flight in flights.iter_mut() {
        if flight.connection.is_some() {
            flight.depart(parts, reply);
        } else {
            closed.push(flight);
        }
    }
    let mut to_open = closed.len() as u32;
    // Those that have been failing come last: they have most to wait for.
    closed.sort_by_key(|flight| !flight.peer.health.is_healthy());
    for flight in closed {
        let time = now();
        let until = call.attempt_deadline(time).share(time, to_open);
        to_open -= 1;
        match flight.peer.open(flight.kind, call, until) {
            Ok(connection) => {
                flight.connection = Some(connection);
                flight.depart(parts, reply);
            }
            Err(error) => flight.fail(error, parts, reply),
        }
    }
    true
}

/// Only one is under way: its receive may wait by itself.
fn last_one(
    flight: &mut Flight,
    parts: &[Part<'_>],
    reply: &mut Reply,
    landed: &mut Landed,
    call: &Call<'_>,
) {
    let mut rounds = 0;
    while let Some(connection) = &mut flight.connection {
        let pumped = if rounds > 0 && call.deadline.passed(now()) {
            Err(connection.timeout_error())
        } else if rounds > 0
            && let Err(error) = call.check_cancelled()
        {
            Err(error.at(flight.peer.origin().name().to_string()))
        } else {
            connection.send_and_recv(call, flight.silent_until)
        };
        if let Err(error) = pumped.and_then(|()| flight.take(reply, landed, call)) {
            flight.fail(error, parts, reply);
            return;
        }
        let time = now();
        flight.silent_until = call.attempt_deadline(time);
        flight.heard(time);
        rounds += 1;
    }
}

/// Waits for any of several, and does what can be done.
fn several(
    flights: &mut [Flight],
    parts: &[Part<'_>],
    reply: &mut Reply,
    landed: &mut Landed,
    call: &Call<'_>,
) -> Result<()> {
    let mut fds: Vec<PollFd> = Vec::with_capacity(flights.len() + 1);
    let mut until = call.deadline;
    let mut holds = false;
    for flight in flights.iter() {
        match &flight.connection {
            Some(connection) => {
                holds |= connection.has_buffered();
                fds.push(interest(connection.fd(), connection.interest()));
                until = until.min(flight.silent_until);
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
    for (flight, ready) in flights.iter_mut().zip(&fds) {
        let Some(connection) = &mut flight.connection else {
            continue;
        };
        let mut outcome = Ok(());
        if ready.revents & OUT != 0 {
            outcome = connection.send();
            flight.silent_until = call.attempt_deadline(time);
        }
        if (ready.revents & !OUT != 0 || connection.has_buffered()) && outcome.is_ok() {
            outcome = match connection.receive(Recv::Now) {
                Ok(true) => {
                    flight.silent_until = call.attempt_deadline(time);
                    flight.heard(time);
                    flight.take(reply, landed, call)
                }
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
        }
        if outcome.is_ok()
            && (over || flight.silent_until.passed(time))
            && let Some(connection) = &flight.connection
        {
            outcome = Err(connection.timeout_error());
        }
        if let Err(error) = outcome {
            flight.fail(error, parts, reply);
        }
    }
    Ok(())
}
