//! Sends the commands of a round to several nodes at once and receives their replies.
//!
//! All commands for a node are one buffer on one connection. All connections are written and read
//! as poll(2) reports them ready. Writing to one node after another is not sufficient: a node whose
//! replies are not read stops reading, and a write that waits for it would delay the other nodes.

use super::command_batch::{CommandBatch, RoundSink};
use super::round_commands::{ASKING, RoundCommands};
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::{
    Attempt, Call, Chunk, Connection, ConnectionKind, OUT, Peer, PollFd, Recv, TryAcquire,
    interest, release_time,
};
use crate::resp::{CommandBody, Kind, NodeValue, Reply, Value, View, flag};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// In [`NodeBatch::reply_owners`]: a reply that is not the answer of a command.
const NO_COMMAND: u32 = u32::MAX;

/// Errors of EXEC or DISCARD that leave no transaction open.
const ENDS_TRANSACTION: &[&[u8]] = &[
    b"EXECABORT",
    b"MOVED ",
    b"ASK ",
    b"ERR EXEC without MULTI",
    b"ERR DISCARD without MULTI",
];

/// The commands of one round for one node, on one connection.
pub struct NodeBatch {
    pub peer: Arc<Peer>,
    kind: ConnectionKind,
    connection: Option<Box<Connection>>,
    /// Whether the peer's pool counts a connection for this batch, open or about to be opened. The
    /// pool is told when that connection is lost, also when a panic unwinds.
    has_permit: bool,
    /// For each expected reply, by position: the command that it answers, or [`NO_COMMAND`].
    reply_owners: Vec<u32>,
    /// Whether a command has more than one reply or is not sent as the caller gave it.
    special: bool,
    /// Filled on failure: for each expected reply, whether its command may have run.
    may_have_run: Vec<bool>,
    /// How many replies have been received.
    received: usize,
    /// The replies among them that are not the answer of a command, in order.
    preludes: Vec<Value>,
    chunk: Option<Chunk>,
    origin: u64,
    attempt_deadline: Deadline,
    sent_at: Option<Time>,
    first_reply_at: Option<Time>,
    pub error: Option<Error>,
    /// The error is that the node has not answered in time.
    pub is_silent: bool,
}

/// The commands of a round that were answered with an error. The replies themselves are in the [`Reply`].
#[derive(Default)]
pub struct BatchErrors {
    pub errors: Vec<u32>,
}

/// What a round needs beside its batches and commands.
#[derive(Clone, Copy)]
struct RoundIo<'c> {
    call: &'c Call<'c>,
    round: RoundSink<'c>,
}

impl BatchErrors {
    /// Records an error reply of command `number`.
    #[cold]
    fn record(&mut self, number: u32) {
        if number != NO_COMMAND {
            self.errors.push(number);
        }
    }
}

impl NodeBatch {
    /// Makes an empty batch with room for `capacity` commands.
    pub fn new(peer: Arc<Peer>, kind: ConnectionKind, capacity: usize) -> NodeBatch {
        NodeBatch {
            peer,
            kind,
            connection: None,
            has_permit: false,
            reply_owners: Vec::with_capacity(capacity),
            special: false,
            may_have_run: Vec::new(),
            received: 0,
            preludes: Vec::new(),
            chunk: None,
            origin: 0,
            attempt_deadline: Deadline::NEVER,
            sent_at: None,
            first_reply_at: None,
            error: None,
            is_silent: false,
        }
    }

    /// The batch of the first attempt of `count` commands.
    pub fn of_first(peer: Arc<Peer>, kind: ConnectionKind, count: usize) -> NodeBatch {
        let mut batch = NodeBatch::new(peer, kind, 0);
        batch.reply_owners = (0..count as u32).collect();
        batch
    }

    /// Adds a command. It is `special` if it has more than one reply or is not sent as the caller
    /// gave it.
    #[inline]
    pub fn add(&mut self, number: u32, special: bool) {
        self.reply_owners.push(number);
        self.special |= special;
    }

    fn is_done(&self) -> bool {
        self.connection.is_none()
    }

    /// Whether there is a connection that can be used at once.
    fn has_current_credentials(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|c| self.peer.has_current_credentials(c))
    }

    /// Sends changed credentials on the connection, alone, or opens one if there is none or it is lost.
    fn connect(&mut self, attempt: Attempt<'_>) -> Result<()> {
        if let Some(mut connection) = self.connection.take()
            && self.peer.reauthenticate(&mut connection, attempt)?
        {
            self.connection = Some(connection);
            return Ok(());
        }
        self.connection = Some(self.peer.open(self.kind, attempt)?);
        Ok(())
    }

    /// Writes the commands into the connection's output buffer.
    fn encode(&mut self, commands: RoundCommands<'_>) {
        if self.special {
            self.encode_special(commands);
        } else if let Some(connection) = &mut self.connection {
            commands.push_all(&self.reply_owners, connection);
        }
    }

    fn begin_chunk(&mut self, reply: &mut Reply) {
        if let Some(connection) = &mut self.connection {
            self.chunk = Some(connection.begin_chunk(reply));
            self.origin = reply.add_origin(connection.origin());
        }
    }

    fn encode_special(&mut self, commands: RoundCommands<'_>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let numbers = std::mem::take(&mut self.reply_owners);
        self.reply_owners.reserve(numbers.len());
        for number in numbers {
            let command = &commands.routed()[number as usize];
            if command.sends_asking() {
                connection.push(&CommandBody::Encoded(ASKING));
                self.reply_owners.push(NO_COMMAND);
            }
            connection.push(&command.body());
            for _ in 0..command.replies_before() {
                self.reply_owners.push(NO_COMMAND);
            }
            self.reply_owners.push(number);
        }
    }

    /// Encodes the commands and begins to send them.
    fn start(&mut self, commands: RoundCommands<'_>, reply: &mut Reply, round: RoundSink<'_>) {
        if let Some(batch) = round.batch {
            // Connecting may have taken time.
            batch.begin_send(&mut self.reply_owners);
            if self.reply_owners.is_empty() {
                return self.release(now());
            }
        }
        self.encode(commands);
        if !self.is_immediate(round) {
            self.begin_chunk(reply);
        }
        if let Some(connection) = &mut self.connection
            && let Err(error) = connection.send()
        {
            self.fail(error, commands, reply);
        }
    }

    /// Takes the replies that have been received. After the last one the connection goes back to the pool.
    fn take_replies(
        &mut self,
        commands: RoundCommands<'_>,
        reply: &mut Reply,
        batch_errors: &mut BatchErrors,
        io: RoundIo<'_>,
    ) -> Result<()> {
        let is_done = match io.round.batch {
            Some(batch) if self.is_immediate(io.round) => {
                self.deliver_replies(reply, batch_errors, batch)?
            }
            _ => self.collect_replies(reply, batch_errors)?,
        };
        if is_done {
            // A node that cannot serve commands (LOADING) still answers INFO: a probe's reply does
            // not show that it is healthy.
            if self.kind != ConnectionKind::FRESHNESS_PROBE {
                self.peer.record_success();
            }
            if self.special && !self.transactions_ended(commands, reply) {
                self.drop_connection();
            }
            self.release(io.call.began);
        }
        Ok(())
    }

    fn is_immediate(&self, round: RoundSink<'_>) -> bool {
        round.is_immediate && !self.special
    }

    /// Delivers the replies that have been received, except errors, which may be retried. Returns whether all have been
    /// received.
    fn deliver_replies(
        &mut self,
        reply: &mut Reply,
        batch_errors: &mut BatchErrors,
        batch: &dyn CommandBatch,
    ) -> Result<bool> {
        let Some(connection) = &mut self.connection else {
            return Ok(false);
        };
        let numbers = &self.reply_owners;
        while let Some(error) = batch.deliver_received(numbers, &mut self.received, connection)? {
            let number = numbers[self.received - 1];
            batch_errors.record(number);
            store_error(*error, number as usize, batch.len(), reply);
        }
        Ok(self.received == numbers.len())
    }

    /// Stores the replies that have been received in `reply`. Returns whether all have been received.
    fn collect_replies(
        &mut self,
        reply: &mut Reply,
        batch_errors: &mut BatchErrors,
    ) -> Result<bool> {
        let (Some(connection), Some(chunk)) = (&mut self.connection, &mut self.chunk) else {
            return Ok(false);
        };
        let origin = self.origin;
        let mut due = self.reply_owners[self.received..].iter();
        let taken = connection.take_into(reply, chunk, |reply, mut value| {
            let number = due.next().copied().unwrap_or(NO_COMMAND);
            if value.kind == Kind::Error {
                batch_errors.record(number);
            }
            value.flags |= flag::NODE_VALUE | flag::SENT;
            match reply.node_values.get_mut(number as usize) {
                Some(answer) => {
                    *answer = NodeValue {
                        value,
                        node: origin,
                    };
                }
                // NO_COMMAND is beyond the end.
                None => self.preludes.push(value),
            }
            !due.as_slice().is_empty()
        });
        self.received = self.reply_owners.len() - due.as_slice().len();
        taken
    }

    /// Whether no transaction is open on the connection. One that was not ended by its last command, because the node
    /// refuses that command, would take in the commands of the next user.
    fn transactions_ended(&self, commands: RoundCommands<'_>, reply: &Reply) -> bool {
        let transactions = self
            .answered()
            .filter(|n| commands.routed()[*n as usize].preludes > 0);
        transactions.into_iter().all(|number| {
            let answer = View::new(reply, reply.node_values[number as usize].value);
            let text = answer.text().unwrap_or_default();
            match answer.kind() {
                Kind::Error => ENDS_TRANSACTION.iter().any(|words| text.starts_with(words)),
                Kind::Status => text == b"OK",
                _ => true,
            }
        })
    }

    /// Drops the connection and keeps `error` for the commands without a reply.
    fn fail(&mut self, error: Error, commands: RoundCommands<'_>, reply: &mut Reply) {
        if let Some(mut connection) = self.connection.take() {
            self.is_silent = error.code == Code::Timeout;
            if let Some(chunk) = &self.chunk {
                connection.end_chunk(reply, chunk);
            }
            self.mark_sent(commands, connection.written());
        }
        self.drop_connection();
        self.error = Some(error);
    }

    /// Gives the connection back to the pool, which keeps it if nothing is in flight on it.
    fn release(&mut self, used: Time) {
        if let Some(connection) = self.connection.take() {
            self.has_permit = false;
            self.peer.release(self.kind, connection, used);
        }
    }

    /// Closes the connection, if any, and gives its permit back to the pool.
    fn drop_connection(&mut self) {
        self.connection = None;
        if std::mem::take(&mut self.has_permit) {
            self.peer.forget_lost(self.kind);
        }
    }

    /// Finds which commands the first `written` bytes belong to: these may have run.
    fn mark_sent(&mut self, commands: RoundCommands<'_>, written: usize) {
        let mut end = 0;
        let mut reply = 0;
        while reply < self.reply_owners.len() {
            let begin = end;
            // The replies before a command's own belong to bytes that are sent together with it.
            let owner = self.reply_owners[reply..]
                .iter()
                .position(|n| *n != NO_COMMAND);
            let last = reply + owner.unwrap_or(self.reply_owners.len() - 1 - reply);
            if self.reply_owners[last] != NO_COMMAND {
                end += commands.sent_len(self.reply_owners[last] as usize);
            }
            for _ in reply..=last {
                self.may_have_run.push(begin < written);
            }
            reply = last + 1;
        }
    }

    pub fn kind(&self) -> ConnectionKind {
        self.kind
    }

    /// The commands that have been answered.
    pub fn answered(&self) -> impl Iterator<Item = u32> {
        let answered = self.reply_owners[..self.received].iter().copied();
        answered.filter(|number| *number != NO_COMMAND)
    }

    /// For each command that other replies precede, which of [`NodeBatch::preludes`] these are.
    pub fn prelude_ranges(&self) -> HashMap<u32, Range<usize>> {
        let mut ranges = HashMap::new();
        if self.special {
            let (mut begin, mut end) = (0, 0);
            for number in &self.reply_owners[..self.received] {
                if *number == NO_COMMAND {
                    end += 1;
                } else {
                    ranges.insert(*number, begin..end);
                    begin = end;
                }
            }
        }
        ranges
    }

    /// The replies received that are not the answer of a command.
    pub fn preludes(&self) -> &[Value] {
        &self.preludes
    }

    /// How many commands were added; once they are encoded, how many replies are expected.
    pub fn len(&self) -> usize {
        self.reply_owners.len()
    }

    /// The time from sending the batch to its first reply, if one has come.
    pub fn rtt(&self) -> Option<Duration> {
        Some(self.first_reply_at?.since(self.sent_at?))
    }

    /// Notes when the first reply came.
    fn record_first_reply(&mut self, time: Time) {
        self.first_reply_at.get_or_insert(time);
    }

    /// The commands of a failed batch without an answer, and whether each may have run.
    pub fn unanswered(&self) -> impl Iterator<Item = (u32, bool)> {
        let sent = |at: usize| self.may_have_run.get(at).is_some_and(|s| *s);
        (self.received..self.reply_owners.len())
            .map(move |at| (self.reply_owners[at], sent(at)))
            .filter(|(number, _)| *number != NO_COMMAND)
    }
}

/// Stores the error that answers one of `count` commands in `reply`.
#[cold]
fn store_error(mut answer: Reply, number: usize, count: usize, reply: &mut Reply) {
    answer.root.value.flags |= flag::NODE_VALUE | flag::SENT;
    reply.node_values.resize(count, NodeValue::NIL);
    reply.node_values[number] = reply.absorb(answer);
}

impl Drop for NodeBatch {
    fn drop(&mut self) {
        self.drop_connection();
    }
}

/// Sends all batches and waits until each has its replies or has failed.
pub fn send_and_receive(
    batches: &mut [NodeBatch],
    commands: RoundCommands<'_>,
    reply: &mut Reply,
    call: &Call<'_>,
    round: RoundSink<'_>,
) -> BatchErrors {
    let io = RoundIo { call, round };
    let mut batch_errors = BatchErrors::default();
    // The call may have been cancelled while it waited for something else, for example a refresh.
    if let Err(error) = call.check() {
        for batch in batches {
            batch.fail(error.clone(), commands, reply);
        }
        return batch_errors;
    }
    // All threads take connections in the same order, so that no two of them wait for each other.
    batches.sort_unstable_by(|a, b| {
        let addresses = a.peer.address().cmp(b.peer.address());
        addresses.then(a.kind.cmp(&b.kind))
    });
    if !try_acquire_all(batches, commands, reply, io) {
        let last = last_connect(batches, call);
        for batch in batches.iter_mut() {
            let time = now();
            if last.passed(time) {
                batch.fail(not_asked(batch, call, time), commands, reply);
                continue;
            }
            let attempt = call.attempt_at(time).limited_to(last);
            // The call may have been cancelled while it waited for another node.
            let acquired = call.check();
            match acquired.and_then(|()| batch.peer.acquire(batch.kind, attempt)) {
                Ok(connection) => {
                    batch.has_permit = true;
                    batch.connection = Some(connection);
                    batch.start(commands, reply, round);
                }
                Err(error) => batch.fail(error, commands, reply),
            }
        }
    }
    // The attempt timeout of all nodes begins now: opening some of the connections took time.
    let sent_at = now();
    for batch in batches.iter_mut() {
        batch.attempt_deadline = call.attempt_deadline(sent_at);
        batch.sent_at = Some(sent_at);
    }
    loop {
        let mut in_flight = batches.iter_mut().filter(|b| !b.is_done());
        let (Some(first), second) = (in_flight.next(), in_flight.next()) else {
            return batch_errors;
        };
        if second.is_none() {
            finish_single(first, commands, reply, &mut batch_errors, io);
            return batch_errors;
        }
        if let Err(error) = poll_many(batches, commands, reply, &mut batch_errors, io) {
            for batch in batches.iter_mut().filter(|b| !b.is_done()) {
                let at = batch.peer.origin().name().to_string();
                batch.fail(error.clone().at(at), commands, reply);
            }
        }
    }
}

/// Takes a connection for each batch without waiting for a busy one. Returns false, with nothing
/// taken, if a pool has neither an idle connection nor a permit to open one.
///
/// Batches with an idle connection are sent first. The others then connect one after another and
/// share the remaining time, so that a node that does not answer leaves time for the rest.
fn try_acquire_all(
    batches: &mut [NodeBatch],
    commands: RoundCommands<'_>,
    reply: &mut Reply,
    RoundIo { call, round }: RoundIo<'_>,
) -> bool {
    for at in 0..batches.len() {
        let batch = &mut batches[at];
        match batch.peer.try_acquire(batch.kind, call) {
            TryAcquire::Idle(connection) => batch.connection = Some(connection),
            TryAcquire::MayOpen => {}
            TryAcquire::Busy => {
                for batch in &mut batches[..at] {
                    if let Some(used) = batch.connection.as_ref().map(|c| c.used) {
                        batch.release(used);
                    }
                    batch.drop_connection();
                }
                return false;
            }
        }
        batch.has_permit = true;
    }
    let last = last_connect(batches, call);
    // Unhealthy nodes come last: connecting to them is likely to take longest.
    let (mut unconnected, mut unhealthy) = (Vec::new(), Vec::new());
    for batch in batches.iter_mut() {
        if batch.has_current_credentials() {
            batch.start(commands, reply, round);
        } else if batch.peer.health.is_healthy() {
            unconnected.push(batch);
        } else {
            unhealthy.push(batch);
        }
    }
    unconnected.append(&mut unhealthy);
    let mut to_open = unconnected.len() as u32;
    for batch in unconnected {
        let time = now();
        if last.passed(time) {
            batch.fail(not_asked(batch, call, time), commands, reply);
            continue;
        }
        let until = call.attempt_deadline(time).min(last).share(time, to_open);
        to_open -= 1;
        let connected = call.check();
        match connected.and_then(|()| batch.connect(call.attempt_until(until))) {
            Ok(()) => batch.start(commands, reply, round),
            Err(error) => batch.fail(error, commands, reply),
        }
    }
    true
}

/// When a call has to stop waiting, so that it ends by its deadline: then it closes the connections and frees what they
/// have received.
fn last_moment(batches: &[NodeBatch], reply: &Reply, call: &Call<'_>) -> Deadline {
    let connections = batches.iter().filter_map(|batch| batch.connection.as_ref());
    let held: usize = connections.map(|connection| connection.held_bytes()).sum();
    let open = batches.iter().filter(|b| !b.is_done()).count();
    // A single connection is no more than any other call closes.
    let closed = if open > 1 { open } else { 0 };
    let reserve = release_time(reply.held_bytes() + held, closed);
    call.deadline.earlier(reserve)
}

/// The same for the connections that are being opened.
fn last_connect(batches: &[NodeBatch], call: &Call<'_>) -> Deadline {
    match batches.len() {
        1 => call.deadline,
        n => call.deadline.earlier(release_time(0, n)),
    }
}

/// The error of a batch for which no time was left. It blames no node.
fn not_asked(batch: &NodeBatch, call: &Call<'_>, time: Time) -> Error {
    let ms = call.elapsed(time).as_millis();
    let node = batch.peer.origin().name();
    let message = format_args!("the call timed out after {ms} ms, before {node} was asked");
    Error::new(Code::Timeout, message)
}

/// Finishes the last batch in flight with blocking receives, without poll(2).
fn finish_single(
    batch: &mut NodeBatch,
    commands: RoundCommands<'_>,
    reply: &mut Reply,
    batch_errors: &mut BatchErrors,
    io: RoundIo<'_>,
) {
    let call = io.call;
    let mut rounds = 0;
    while batch.connection.is_some() {
        let last = last_moment(std::slice::from_ref(batch), reply, call);
        let Some(connection) = &mut batch.connection else {
            return;
        };
        let outcome = if rounds > 0 && last.passed(now()) {
            Err(connection.timeout_error(call.attempt_until(call.deadline)))
        } else if rounds > 0
            && let Err(error) = call.check_cancelled()
        {
            Err(error.at(batch.peer.origin().name().to_string()))
        } else {
            connection.send_and_recv(call.attempt_until(batch.attempt_deadline.min(last)))
        };
        if let Err(error) =
            outcome.and_then(|()| batch.take_replies(commands, reply, batch_errors, io))
        {
            batch.fail(error, commands, reply);
            return;
        }
        let time = now();
        batch.attempt_deadline = call.attempt_deadline(time);
        batch.record_first_reply(time);
        rounds += 1;
    }
}

/// Waits until any of several connections is ready, then sends and receives on all that are.
fn poll_many(
    batches: &mut [NodeBatch],
    commands: RoundCommands<'_>,
    reply: &mut Reply,
    batch_errors: &mut BatchErrors,
    io: RoundIo<'_>,
) -> Result<()> {
    let call = io.call;
    let mut fds: Vec<PollFd> = Vec::with_capacity(batches.len() + 1);
    let last = last_moment(batches, reply, call);
    let mut until = last;
    let mut has_buffered = false;
    for batch in batches.iter() {
        match &batch.connection {
            Some(connection) => {
                has_buffered |= connection.has_buffered();
                fds.push(interest(connection.fd(), connection.interest()));
                until = until.min(batch.attempt_deadline);
            }
            None => fds.push(interest(-1, 0)),
        }
    }
    fds.push(interest(-1, 0));
    // Bytes that a connection has read but not decoded come first: poll(2) does not report them.
    if has_buffered {
        call.check_cancelled()?;
    } else {
        call.wait(&mut fds, until)?;
    }
    let time = now();
    let over = last.passed(time);
    for (batch, ready) in batches.iter_mut().zip(&fds) {
        let Some(connection) = &mut batch.connection else {
            continue;
        };
        let mut outcome = Ok(());
        if ready.revents & OUT != 0 {
            outcome = connection.send();
            batch.attempt_deadline = call.attempt_deadline(time);
        }
        if (ready.revents & !OUT != 0 || connection.has_buffered()) && outcome.is_ok() {
            outcome = match connection.receive(Recv::Now) {
                Ok(true) => {
                    batch.attempt_deadline = call.attempt_deadline(time);
                    batch.record_first_reply(time);
                    batch.take_replies(commands, reply, batch_errors, io)
                }
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
        }
        if outcome.is_ok()
            && (over || batch.attempt_deadline.passed(time))
            && let Some(connection) = &batch.connection
        {
            outcome = Err(connection.timeout_error(call.attempt_until(call.deadline)));
        }
        if let Err(error) = outcome {
            batch.fail(error, commands, reply);
        }
    }
    Ok(())
}
