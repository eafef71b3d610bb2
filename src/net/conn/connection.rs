//! One connection: a stream to a node and the commands in flight on it.
//!
//! Replies are matched to commands by position alone. So a connection whose position may be wrong (after a timeout, a
//! protocol error or unsolicited bytes) must be dropped and never used again.

mod take;

pub use take::TakenReply;

use super::memory_budget::MemoryBudget;
use super::recv_buffer::{KEEP, RecvBuffer};
use super::release_time::release_time;
use super::stream::Stream;
use crate::deadline::{Time, now};
use crate::error::{Code, Error, Result};
use crate::net::sys::{self, Recv};
use crate::net::wait::{Attempt, Call, TICK_MS};
use crate::resp::{
    CommandBody, CommandBuffer, CommandReply, Decoder, Limits, Origin, Reply, ReplySlab, Value,
    ValueList,
};
use crate::sim_hooks::sim_panic_point;
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

/// The most that is sent before the call looks at the clock.
const MAX_SENT: usize = 8 << 20;

/// The bytes of most handshakes.
const HANDSHAKE: usize = 256;

/// A connection that has been set up.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    origin: Arc<Origin>,
    /// Encoded commands, and the number of bytes of them that have been sent.
    out: CommandBuffer,
    written: usize,
    input: RecvBuffer,
    decoder: Decoder,
    /// The values of an incomplete reply. They belong to the connection, because another thread may read the rest.
    values: ValueList,
    /// The last small reply, whose memory is used again if it was freed.
    small: Option<Arc<ReplySlab<1>>>,
    /// The number of values that the memory lease covers.
    leased_values: usize,
    /// Whether push frames may arrive between replies: RESP3 was negotiated.
    pub pushes: bool,
    /// The connection serves one user, and is dropped then.
    pub is_single_use: bool,
    /// The number of the credentials that the connection has, or that its node has refused (see `CredentialStore`).
    pub credentials: u32,
    /// When the connection was last released.
    pub used: Time,
}

impl Connection {
    pub fn new(
        stream: Stream,
        origin: Arc<Origin>,
        limits: Limits,
        memory: &Arc<MemoryBudget>,
    ) -> Connection {
        Connection {
            stream,
            origin,
            out: CommandBuffer::with_capacity(HANDSHAKE),
            written: 0,
            input: RecvBuffer::new(memory),
            decoder: Decoder::new(limits),
            values: ValueList::default(),
            small: None,
            leased_values: 0,
            pushes: false,
            is_single_use: false,
            credentials: 0,
            used: now(),
        }
    }

    /// The connection will be idle most of the time, so its buffers begin small.
    pub fn begin_small(&mut self) {
        self.input.begin_small();
    }

    pub fn fd(&self) -> RawFd {
        self.stream.fd()
    }

    /// The IP address of the node.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        self.stream.remote_ip()
    }

    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Appends a command to the bytes to send.
    #[inline]
    pub fn push(&mut self, body: &CommandBody<'_>) {
        sim_panic_point!(Net);
        self.out.push(body);
    }

    /// The bytes to send, to append commands.
    #[inline]
    pub fn output(&mut self) -> &mut CommandBuffer {
        sim_panic_point!(Net);
        &mut self.out
    }

    /// Moves encoded commands to the bytes to send. If there are none yet, the buffers are swapped.
    pub fn push_all(&mut self, encoded: &mut Vec<u8>) {
        sim_panic_point!(Net);
        self.out.append(encoded);
    }

    /// Removes bytes, none of which has been sent, from the bytes to send.
    pub fn remove_unsent(&mut self, bytes: std::ops::Range<usize>) {
        self.out.remove(bytes);
    }

    /// The number of bytes to send, including those that have been sent.
    pub fn pushed(&self) -> usize {
        self.out.len()
    }

    /// The number of bytes that have been sent.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Whether all bytes have been sent.
    #[inline(always)]
    pub fn is_flushed(&self) -> bool {
        self.written == self.out.len()
    }

    /// Forgets the commands that have been sent. For a connection whose replies are not waited for one by one.
    pub fn drop_sent(&mut self) {
        if self.is_flushed() {
            self.out.clear(KEEP);
            self.written = 0;
        }
    }

    /// Whether the TLS session holds received bytes. A poll does not report them, so they must be received before it.
    pub fn has_buffered(&self) -> bool {
        self.stream.has_buffered()
    }

    /// The events that a poll should wait for.
    pub fn interest(&self) -> i16 {
        if self.is_flushed() {
            sys::IN
        } else {
            sys::IN | sys::OUT
        }
    }

    /// Sends as much as possible without blocking.
    #[inline(always)]
    pub fn send(&mut self) -> Result<()> {
        if !self.stream.is_plain() {
            return self.send_tls();
        }
        self.send_by(Stream::send)
    }

    // Separate from the plain path, so that TLS costs nothing where it is not used.
    #[cold]
    fn send_tls(&mut self) -> Result<()> {
        self.send_by(Stream::send_tls)
    }

    /// Mostly, the first send takes everything.
    #[inline(always)]
    fn send_by(&mut self, send: impl Fn(&mut Stream, &[u8]) -> io::Result<usize>) -> Result<()> {
        if self.is_flushed() {
            return Ok(());
        }
        let outcome = send(&mut self.stream, &self.out[self.written..]);
        if let Ok(n) = outcome {
            self.written += n;
            if self.is_flushed() {
                return Ok(());
            }
        }
        self.send_rest_by(outcome, send)
    }

    /// Sends more after a send with this outcome.
    #[cold]
    #[inline(never)]
    fn send_rest_by(
        &mut self,
        first: io::Result<usize>,
        send: impl Fn(&mut Stream, &[u8]) -> io::Result<usize>,
    ) -> Result<()> {
        let mut outcome = first;
        let until = self.written.saturating_add(MAX_SENT);
        loop {
            match outcome {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.io_error(&e)),
            }
            if self.written >= self.out.len().min(until) {
                return Ok(());
            }
            outcome = send(&mut self.stream, &self.out[self.written..]);
            if let Ok(n) = outcome {
                self.written += n;
            }
        }
    }

    /// Receives once. False if nothing has arrived.
    #[inline(always)]
    pub fn receive(&mut self, how: Recv) -> Result<bool> {
        match self.receive_bytes(how)? {
            Ok(1..) => Ok(true),
            outcome => self.received_nothing(outcome),
        }
    }

    /// The outcome of one receive. An error of the outer kind is one of the memory budget.
    #[inline(always)]
    fn receive_bytes(&mut self, how: Recv) -> Result<io::Result<usize>> {
        let room = self
            .input
            .make_room(&self.decoder, &self.origin)
            .map_err(|e| e.sent(self.written > 0))?;
        let how = match how {
            Recv::Some if room.announced => Recv::All,
            how => how,
        };
        match self.stream.is_plain() {
            true => Ok(self.stream.recv(&mut self.input.bytes, room.bytes, how)),
            false => Ok(self.receive_tls(room.bytes, how)),
        }
    }

    #[cold]
    fn receive_tls(&mut self, room: usize, how: Recv) -> io::Result<usize> {
        self.stream.recv_tls(&mut self.input.bytes, room, how)
    }

    #[cold]
    fn received_nothing(&self, outcome: io::Result<usize>) -> Result<bool> {
        use io::ErrorKind::{Interrupted, WouldBlock};
        match outcome {
            Ok(_) => Err(Error::new(
                Code::Io,
                format_args!("{} closed the connection", self.origin.name()),
            )
            .at(self.origin.name())
            .sent(self.written > 0)),
            Err(e) if matches!(e.kind(), WouldBlock | Interrupted) => Ok(false),
            Err(e) => Err(self.io_error(&e)),
        }
    }

    /// Sends and receives until something has been received.
    #[inline(always)]
    pub fn send_and_recv(&mut self, attempt: Attempt<'_>) -> Result<()> {
        self.send()?;
        if attempt.call.in_fiber && !self.has_buffered() {
            return self.poll_send_and_recv(attempt);
        }
        // A blocking receive saves the system call of a poll.
        let short = attempt.until.is_near(attempt.call.began, TICK_MS);
        let first = if self.is_flushed() && !short {
            Recv::Some
        } else {
            Recv::Now
        };
        match self.receive_bytes(first)? {
            Ok(1..) => Ok(()),
            outcome => self.poll_after_nothing(outcome, attempt),
        }
    }

    #[cold]
    fn poll_after_nothing(
        &mut self,
        outcome: io::Result<usize>,
        attempt: Attempt<'_>,
    ) -> Result<()> {
        match self.received_nothing(outcome)? {
            true => Ok(()),
            false => self.poll_send_and_recv(attempt),
        }
    }

    #[cold]
    fn poll_send_and_recv(&mut self, attempt: Attempt<'_>) -> Result<()> {
        loop {
            let mut fds = [
                sys::interest(self.fd(), self.interest()),
                sys::interest(-1, 0),
            ];
            match attempt.wait(&mut fds) {
                Ok(true) => {}
                Ok(false) => return Err(self.timeout_error(attempt)),
                Err(error) => return Err(error.at(self.origin.name()).sent(self.written > 0)),
            }
            if fds[0].revents & sys::OUT != 0 {
                self.send()?;
            }
            if fds[0].revents & !sys::OUT != 0 && self.receive(Recv::Now)? {
                return Ok(());
            }
        }
    }

    /// Sends everything. For a command without a reply.
    pub fn flush(&mut self, call: &Call<'_>) -> Result<()> {
        loop {
            self.send()?;
            if self.is_flushed() {
                return Ok(());
            }
            let mut fds = [sys::interest(self.fd(), sys::OUT), sys::interest(-1, 0)];
            let attempt = call.attempt_until(call.deadline);
            match attempt.wait(&mut fds) {
                Ok(true) => {}
                Ok(false) => return Err(self.timeout_error(attempt)),
                Err(error) => return Err(error.at(self.origin.name()).sent(self.written > 0)),
            }
        }
    }

    /// Fails if the call has been cancelled. Needed while bytes keep arriving, because then nothing waits.
    pub fn check(&self, call: &Call<'_>) -> Result<()> {
        call.check_cancelled()
            .map_err(|e| e.at(self.origin.name()).sent(self.written > 0))
    }

    /// The memory that is freed if the connection is closed, as far as it grows with what is sent and received.
    pub fn held_bytes(&self) -> usize {
        let values = self.values.total_len() + self.decoder.pending_values();
        self.out.len() + self.input.bytes.len() + values * size_of::<Value>()
    }

    /// Waits for the next reply.
    pub fn reply(&mut self, attempt: Attempt<'_>) -> Result<Box<Reply>> {
        self.wait_for(attempt, Connection::take)
    }

    /// The same, with the memory of the last small reply if this one is small.
    #[inline(always)]
    pub fn command_reply(&mut self, attempt: Attempt<'_>) -> Result<CommandReply> {
        self.wait_for(attempt, |connection| connection.take_command_reply())
    }

    #[inline(always)]
    fn wait_for<R>(
        &mut self,
        attempt: Attempt<'_>,
        take: impl Fn(&mut Connection) -> Result<Option<R>>,
    ) -> Result<R> {
        // Mostly, nothing has been received yet.
        if !self.input.is_empty()
            && let Some(reply) = take(self)?
        {
            return Ok(reply);
        }
        self.send_and_recv(attempt)?;
        match take(self)? {
            Some(reply) => Ok(reply),
            None => self.wait_for_rest(attempt, take),
        }
    }

    /// The same after a part of the reply.
    #[cold]
    fn wait_for_rest<R>(
        &mut self,
        attempt: Attempt<'_>,
        take: impl Fn(&mut Connection) -> Result<Option<R>>,
    ) -> Result<R> {
        let mut attempt = attempt;
        loop {
            // The attempt timeout starts again while a long reply keeps arriving. The deadline of the call bounds a
            // node that sends single bytes.
            attempt = self.next_attempt(attempt)?;
            self.send_and_recv(attempt)?;
            if let Some(reply) = take(self)? {
                return Ok(reply);
            }
        }
    }

    /// Whether the node, on a connection without TLS, has closed it before any reply, or has sent a TLS record: what the
    /// TLS port of a server does.
    #[cold]
    pub fn looks_like_tls_port(&self) -> bool {
        /// A handshake record or an alert, of any version of TLS.
        const RECORDS: [[u8; 2]; 2] = [[0x16, 0x03], [0x15, 0x03]];
        let received = &self.input.bytes;
        self.stream.is_plain()
            && !self.pushes
            && (received.is_empty() || RECORDS.iter().any(|record| received.starts_with(record)))
    }

    /// The time for more of a reply, after a part of it.
    #[cold]
    fn next_attempt<'a>(&self, attempt: Attempt<'a>) -> Result<Attempt<'a>> {
        let (call, time) = (attempt.call, now());
        let deadline = call.deadline.earlier(release_time(self.held_bytes(), 1));
        if deadline.passed(time) {
            return Err(self.timeout_error(attempt));
        }
        self.check(call)?;
        Ok(call.attempt_at(time).limited_to(deadline))
    }

    /// The error that a server sent before it closed a connection that is being set up.
    #[cold]
    pub fn read_final_error(&mut self) -> Option<String> {
        // A receive error adds nothing: the caller already knows that the connection is lost.
        let _ = self.receive(Recv::Now);
        let line = self.input.bytes[self.input.start..].strip_prefix(b"-")?;
        let end = line.windows(2).position(|two| two == b"\r\n")?;
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    /// Prepares the connection for its next user. False if there are unsolicited bytes, or commands that have not been
    /// sent completely. Then the connection must be dropped.
    #[inline(always)]
    pub fn reset_for_reuse(&mut self, used: Time) -> bool {
        sim_panic_point!(Net);
        if (!self.input.is_empty() && !self.drop_pushes())
            || self.decoder.is_mid_reply()
            || !self.is_flushed()
            || self.is_single_use
            || self.stream.has_buffered()
        {
            return false;
        }
        self.input.reset(&self.origin);
        self.out.clear(KEEP);
        self.written = 0;
        if !self.input.lease.is_empty() {
            self.input.lease.give_back();
            self.leased_values = 0;
        }
        self.used = used;
        true
    }

    /// Drops the push frames after the last reply. False if there is anything else, or an incomplete push frame.
    #[cold]
    fn drop_pushes(&mut self) -> bool {
        while self.pushes && self.input.bytes.get(self.input.start) == Some(&b'>') {
            let (bytes, start) = (&mut self.input.bytes, self.input.start);
            let decoded =
                self.decoder
                    .decode_general(bytes, start, take::bias(start), &mut self.values);
            let Ok(Some((_, end))) = decoded else {
                return false;
            };
            self.values.clear();
            self.input.start = end;
        }
        self.input.is_empty()
    }

    /// Reads the rest of an incomplete push frame after the last reply.
    pub fn finish_pushes(&mut self, attempt: Attempt<'_>) -> Result<()> {
        while !self.input.is_empty()
            && !self.drop_pushes()
            && self.pushes
            && self.input.bytes[self.input.start] == b'>'
        {
            self.send_and_recv(attempt)?;
        }
        Ok(())
    }

    /// Whether the node has closed an idle connection or sent unsolicited bytes on it.
    pub fn was_closed_while_idle(&self) -> bool {
        self.stream.is_readable()
    }

    /// Whether an idle connection of one user is still open. Push frames that have arrived meanwhile are dropped; the rest
    /// of the last one may be outstanding. Anything else means that the connection must be dropped.
    pub fn is_open_after_idle(&mut self, call: &Call<'_>) -> bool {
        while self.was_closed_while_idle() {
            let received = self.receive(Recv::Now);
            let is_push =
                self.drop_pushes() || (self.pushes && self.input.bytes[self.input.start] == b'>');
            if received.is_err() || !is_push || call.deadline.passed(now()) {
                return false;
            }
        }
        true
    }

    /// The error of an attempt whose deadline has passed.
    pub fn timeout_error(&self, attempt: Attempt<'_>) -> Error {
        let error = attempt.timeout_error(self.origin.name());
        error.sent(self.written > 0)
    }

    #[cold]
    fn io_error(&self, error: &io::Error) -> Error {
        let node = self.origin.name();
        let error = match error.kind() {
            io::ErrorKind::InvalidData => Error::new(Code::Tls, format_args!("{node} {error}")),
            _ => Error::new(
                Code::Io,
                format_args!("the connection to {node} broke: {error}"),
            ),
        };
        error.at(node).sent(self.written > 0)
    }
}
