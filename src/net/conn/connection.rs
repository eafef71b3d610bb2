//! One stream to one node, and what is in flight on it.
//!
//! Replies are matched to commands by position alone, so a connection whose position is in any
//! doubt (a deadline passed, the protocol was broken, bytes came that nobody asked for) is never
//! used again: whoever holds it drops it.

use super::memory_budget::{MemoryBudget, MemoryLease};
use super::stream::Stream;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::sys::{self, Recv};
use crate::net::wait::{Call, TICK_MS};
use crate::resp::{CommandBody, Decoder, Kind, Limits, Origin, Reply, SMALL, Value, chunk_tag};
use crate::sim_hooks::sim_panic_point;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// What a receive has room for when nothing is known of what comes.
const ROOM: usize = 16 * 1024;
/// A string of which more than this is missing is received in one call.
const LARGE: usize = 64 * 1024;
/// Buffers for a pipeline's replies grow up to this.
const CHUNK: usize = 256 * 1024;
/// A reply of at most this size is copied out of the receive buffer, which stays; a larger one
/// takes the buffer with it.
const COPY: usize = 16 * 1024;
/// So many values are not worth counting.
const FEW: usize = 4096;
/// An idle connection keeps no larger buffer than this.
const KEEP: usize = 64 * 1024;

/// A connection that has been set up.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    origin: Arc<Origin>,
    /// Encoded commands, and how much of them has been sent.
    out: Vec<u8>,
    written: usize,
    /// Received bytes, and where the next reply begins.
    input: Vec<u8>,
    start: usize,
    decoder: Decoder,
    /// Elements of a reply that is not all there: they stay with the connection, because whoever
    /// reads on may be another than who began.
    values: Vec<Value>,
    /// Of the memory for replies; and the room for values that it covers.
    share: MemoryLease,
    valued: usize,
    /// The replies of a pipeline lie before `start`, known by their place there: nothing of the
    /// buffer may move.
    collects: bool,
    /// Whether push frames may come between replies: RESP3 was agreed upon.
    pub pushes: bool,
    /// When it was last given back.
    pub used: Time,
}

/// Where the replies of a pipeline go from this connection.
#[derive(Debug)]
pub struct Chunk {
    /// The number under which the receive buffer will become part of the reply.
    number: usize,
    /// What the next buffer holds.
    size: usize,
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
            out: Vec::new(),
            written: 0,
            input: Vec::new(),
            start: 0,
            decoder: Decoder::new(limits),
            values: Vec::new(),
            share: MemoryLease::of(memory),
            valued: 0,
            collects: false,
            pushes: false,
            used: now(),
        }
    }

    pub fn fd(&self) -> RawFd {
        self.stream.fd()
    }

    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Adds a command to what is to be sent.
    #[inline]
    pub fn push(&mut self, body: &CommandBody<'_>) {
        sim_panic_point!(Net);
        body.write(&mut self.out);
    }

    /// Adds encoded commands to what is to be sent; where there is nothing yet, the buffers
    /// change places.
    pub fn push_all(&mut self, encoded: &mut Vec<u8>) {
        sim_panic_point!(Net);
        if self.out.is_empty() {
            std::mem::swap(&mut self.out, encoded);
        } else {
            self.out.extend_from_slice(encoded);
        }
        encoded.clear();
    }

    /// Takes these bytes, none of which has been sent, out of what is to be sent.
    pub fn remove_unsent(&mut self, bytes: std::ops::Range<usize>) {
        self.out.drain(bytes);
    }

    /// How many bytes there are to send, with those that have been.
    pub fn pushed(&self) -> usize {
        self.out.len()
    }

    /// How many of them have been sent.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Whether all has been sent.
    #[inline(always)]
    pub fn is_flushed(&self) -> bool {
        self.written == self.out.len()
    }

    /// Whether something has been received that a poll does not tell of: to be taken before the next one.
    pub fn has_buffered(&self) -> bool {
        self.stream.has_buffered()
    }

    /// What a poll should wait for.
    pub fn interest(&self) -> i16 {
        if self.is_flushed() {
            sys::IN
        } else {
            sys::IN | sys::OUT
        }
    }

    /// Sends what fits without waiting.
    #[inline(always)]
    pub fn send(&mut self) -> Result<()> {
        if !self.stream.is_plain() {
            return self.send_tls();
        }
        self.send_by(Stream::send)
    }

    // Apart, so that TLS costs nothing where there is none: a common path would have to suit both.
    #[cold]
    fn send_tls(&mut self) -> Result<()> {
        self.send_by(Stream::send_tls)
    }

    #[inline(always)]
    fn send_by(&mut self, send: impl Fn(&mut Stream, &[u8]) -> io::Result<usize>) -> Result<()> {
        while self.written < self.out.len() {
            match send(&mut self.stream, &self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.io_error(&e)),
            }
        }
        Ok(())
    }

    /// Receives once; false where nothing has come.
    #[inline(always)]
    pub fn receive(&mut self, how: Recv) -> Result<bool> {
        let room = self.make_room()?;
        let how = match how {
            Recv::Some if room.announced => Recv::All,
            how => how,
        };
        if !self.stream.is_plain() {
            return self.receive_tls(room.bytes, how);
        }
        match self.stream.recv(&mut self.input, room.bytes, how) {
            Ok(1..) => Ok(true),
            nothing => self.received_nothing(nothing),
        }
    }

    #[cold]
    fn receive_tls(&mut self, room: usize, how: Recv) -> Result<bool> {
        match self.stream.recv_tls(&mut self.input, room, how) {
            Ok(1..) => Ok(true),
            nothing => self.received_nothing(nothing),
        }
    }

    #[cold]
    fn received_nothing(&self, how: io::Result<usize>) -> Result<bool> {
        use io::ErrorKind::{Interrupted, WouldBlock};
        match how {
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

    /// Makes room for what comes: as much as is announced, but never more than has come already
    /// (or a little), so that memory follows the bytes received.
    #[inline(always)]
    fn make_room(&mut self) -> Result<Room> {
        if self.start == self.input.len() && !self.collects {
            self.input.clear();
            self.start = 0;
        }
        let have = self.input.len() - self.start;
        let wants = self.decoder.wants(have);
        let announced = wants > LARGE;
        if self.input.capacity() - self.input.len() < ROOM / 4 || announced {
            self.grow(have, wants)?;
        }
        let spare = self.input.capacity() - self.input.len();
        Ok(Room {
            bytes: if announced { wants.min(spare) } else { spare },
            announced,
        })
    }

    /// Enlarges the receive buffer, if `wants` more bytes, or any, do not fit. A buffer that was
    /// used before may be larger than that: it is there already.
    #[cold]
    fn grow(&mut self, have: usize, wants: usize) -> Result<()> {
        let more = wants.min(have.max(LARGE)).max(ROOM);
        if self.input.capacity() - self.input.len() >= more {
            return Ok(());
        }
        if self.collects && self.start > 0 {
            let more = more.max(have);
            self.hold(self.input.len() + more)?;
            self.input.reserve_exact(more);
            return Ok(());
        }
        let size = (have + more).max(2 * have);
        // One that was used before is taken as large as it is, if that fits.
        let spare = self.origin.spare(size);
        if let Some(mut larger) = spare.filter(|spare| self.hold(spare.capacity()).is_ok()) {
            larger.extend_from_slice(&self.input[self.start..]);
            self.input = larger;
        } else {
            self.hold(size)?;
            self.input.drain(..self.start);
            self.input.reserve_exact(size - have);
        }
        self.start = 0;
        Ok(())
    }

    /// NodeCounters a receive buffer of `size` bytes that takes the place of the present one. One of the size that
    /// idle connections keep is not worth it.
    fn hold(&mut self, size: usize) -> Result<()> {
        let beyond = |size: usize| if size > KEEP { size } else { 0 };
        let more = beyond(size).saturating_sub(beyond(self.input.capacity()));
        self.share.take(more).map_err(|e| e.sent(self.written > 0))
    }

    /// Sends and receives until something has been received, by `until`.
    #[inline(always)]
    pub fn send_and_recv(&mut self, call: &Call<'_>, until: Deadline) -> Result<()> {
        self.send()?;
        // A receive that waits is one system call; a poll before it would be a second.
        let short = until.is_near(call.began, TICK_MS);
        let first = if self.is_flushed() && !short {
            Recv::Some
        } else {
            Recv::Now
        };
        if self.receive(first)? {
            return Ok(());
        }
        self.poll_send_and_recv(call, until)
    }

    #[cold]
    fn poll_send_and_recv(&mut self, call: &Call<'_>, until: Deadline) -> Result<()> {
        loop {
            let mut fds = [
                sys::interest(self.fd(), self.interest()),
                sys::interest(-1, 0),
            ];
            match call.wait(&mut fds, until) {
                Ok(true) => {}
                Ok(false) => return Err(self.timeout_error()),
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

    /// Sends everything, for a command that has no reply.
    pub fn flush(&mut self, call: &Call<'_>) -> Result<()> {
        loop {
            self.send()?;
            if self.is_flushed() {
                return Ok(());
            }
            let mut fds = [sys::interest(self.fd(), sys::OUT), sys::interest(-1, 0)];
            match call.wait(&mut fds, call.deadline) {
                Ok(true) => {}
                Ok(false) => return Err(self.timeout_error()),
                Err(error) => return Err(error.at(self.origin.name()).sent(self.written > 0)),
            }
        }
    }

    /// Fails if the call has been interrupted: where bytes keep coming, nothing else would look.
    pub fn check(&self, call: &Call<'_>) -> Result<()> {
        call.check_cancelled()
            .map_err(|e| e.at(self.origin.name()).sent(self.written > 0))
    }

    /// The next reply, by `until`.
    pub fn reply(&mut self, call: &Call<'_>, until: Deadline) -> Result<Box<Reply>> {
        let mut until = until;
        let mut rounds = 0;
        loop {
            if let Some(reply) = self.take()? {
                return Ok(reply);
            }
            // While a long reply keeps coming the node is not silent; but a peer that sends a
            // byte now and then does not outlive the call.
            rounds += 1;
            if rounds > 1 {
                let time = now();
                if call.deadline.passed(time) {
                    return Err(self.timeout_error());
                }
                self.check(call)?;
                until = call.attempt_deadline(time);
            }
            self.send_and_recv(call, until)?;
        }
    }

    /// The error that a peer sent before it hung up on a connection that is just being set up.
    #[cold]
    pub fn read_final_error(&mut self) -> Option<String> {
        // That nothing has come is no other error than that it broke.
        let _ = self.receive(Recv::Now);
        let line = self.input[self.start..].strip_prefix(b"-")?;
        let end = line.windows(2).position(|two| two == b"\r\n")?;
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    /// The next reply, if it has been received.
    #[inline(always)]
    fn take(&mut self) -> Result<Option<Box<Reply>>> {
        while self.start < self.input.len() {
            let start = self.start;
            let bias = 0u64.wrapping_sub(start as u64);
            let decoded = self
                .decoder
                .decode(&mut self.input, start, bias, &mut self.values)
                .map_err(|e| decode_error(&self.origin, self.written, e))?;
            let Some((value, end)) = decoded else {
                self.hold_own_values()?;
                return Ok(None);
            };
            self.start = end;
            if self.values.capacity() > FEW {
                self.hold_own_values()?;
            }
            if value.kind == Kind::Push {
                self.values.clear();
                continue;
            }
            return Ok(Some(self.detach(value, start, end)));
        }
        Ok(None)
    }

    /// NodeCounters the room for values of a reply by itself, beyond what is counted already.
    fn hold_own_values(&mut self) -> Result<()> {
        let room = self.values.capacity();
        self.hold_values(self.valued, room)?;
        self.valued = room + self.decoder.room();
        Ok(())
    }

    /// NodeCounters what has been added to `before`: `room` is that of the values that are done with.
    fn hold_values(&mut self, before: usize, room: usize) -> Result<()> {
        let held = self.share.take_values(before, room + self.decoder.room());
        held.map_err(|e| e.sent(self.written > 0))
    }

    /// Makes a reply of a decoded value and its bytes.
    #[inline]
    fn detach(&mut self, value: Value, start: usize, end: usize) -> Box<Reply> {
        sim_panic_point!(Net);
        let mut reply = Box::new(Reply::from(value, self.origin.clone()));
        let len = value.len as usize;
        if value.in_chunk() && len < SMALL {
            let text = start + value.data as usize;
            reply.hold(&self.input[text..=text + len]);
        } else if value.in_chunk() || !self.values.is_empty() {
            if start == 0 && end == self.input.len() && end > COPY {
                reply.first = std::mem::take(&mut self.input);
                self.start = 0;
            } else {
                reply.first = self.input[start..end].to_vec();
            }
            reply.values = std::mem::take(&mut self.values);
        }
        reply
    }

    /// Begins to receive replies that become part of one large reply.
    pub fn begin_chunk(&mut self, reply: &mut Reply) -> Chunk {
        sim_panic_point!(Net);
        self.collects = true;
        Chunk {
            number: reply.add_chunk_later(),
            size: ROOM,
        }
    }

    /// Decodes what has been received, straight into `reply`; `each` gets the values in order
    /// and says whether more are due.
    #[inline]
    pub fn take_into(
        &mut self,
        reply: &mut Reply,
        chunk: &mut Chunk,
        each: impl FnMut(&mut Reply, Value) -> bool,
    ) -> Result<bool> {
        let before = reply.values.capacity() + self.decoder.room();
        let done = self.decode_into(reply, chunk, each)?;
        self.hold_values(before, reply.values.capacity())?;
        Ok(done)
    }

    #[inline]
    fn decode_into(
        &mut self,
        reply: &mut Reply,
        chunk: &mut Chunk,
        mut each: impl FnMut(&mut Reply, Value) -> bool,
    ) -> Result<bool> {
        while self.start < self.input.len() {
            let tag = chunk_tag(chunk.number);
            // By far most replies end here.
            while let Some((value, end)) = self.decoder.short(&mut self.input, self.start, tag) {
                self.start = end;
                if !each(reply, value) {
                    self.end_chunk(reply, chunk);
                    return Ok(true);
                }
            }
            let decoded = self
                .decoder
                .decode_more(&mut self.input, self.start, tag, &mut reply.values)
                .map_err(|e| decode_error(&self.origin, self.written, e))?;
            let Some((value, end)) = decoded else {
                break;
            };
            self.start = end;
            if value.kind == Kind::Push {
                continue;
            }
            if !each(reply, value) {
                self.end_chunk(reply, chunk);
                return Ok(true);
            }
        }
        // The buffer is nearly full of whole replies: it becomes theirs, and a new one begins
        // with what has come of the next.
        if self.start > 0 && self.input.capacity() - self.input.len() < ROOM / 4 {
            chunk.size = (chunk.size * 2).min(CHUNK);
            let tail = self.input.len() - self.start;
            let size = chunk.size.max(2 * tail);
            let mut next = self.origin.buffer(size);
            (self.share.take(next.capacity())).map_err(|e| e.sent(self.written > 0))?;
            next.extend_from_slice(&self.input[self.start..]);
            self.input.truncate(self.start);
            let full = std::mem::replace(&mut self.input, next);
            reply.set_chunk(chunk.number, full);
            let old = chunk_tag(chunk.number) + self.start as u64;
            chunk.number = reply.add_chunk_later();
            let delta = chunk_tag(chunk.number).wrapping_sub(old);
            self.decoder.moved(&mut reply.values, old, delta);
            self.start = 0;
        }
        Ok(false)
    }

    /// Gives the bytes of the replies taken so far to `reply`. What is still undecoded is not
    /// looked at again: either nothing is left, or the connection is about to be dropped.
    pub fn end_chunk(&mut self, reply: &mut Reply, chunk: &Chunk) {
        self.collects = false;
        let whole = &self.input[..self.start];
        if whole.is_empty() {
            return;
        }
        if self.start == self.input.len() && whole.len() > COPY {
            reply.set_chunk(chunk.number, std::mem::take(&mut self.input));
        } else {
            let copy = whole.to_vec();
            reply.set_chunk(chunk.number, copy);
            self.input.drain(..self.start);
        }
        self.start = 0;
    }

    /// Ready for the next user? False if bytes are there that nobody asked for, or not all was
    /// sent; then the connection must be dropped.
    #[inline]
    pub fn reset_for_reuse(&mut self, used: Time) -> bool {
        sim_panic_point!(Net);
        if (self.start != self.input.len() && !self.drop_pushes())
            || self.decoder.is_inside()
            || !self.is_flushed()
            || self.stream.has_buffered()
        {
            return false;
        }
        self.start = 0;
        self.input.clear();
        self.out.clear();
        self.written = 0;
        if self.input.capacity() > KEEP {
            self.origin.recycle(std::mem::take(&mut self.input));
        }
        if self.out.capacity() > KEEP {
            self.out = Vec::new();
        }
        if !self.share.is_empty() {
            self.share.give_back();
            self.valued = 0;
        }
        self.used = used;
        true
    }

    /// Drops the push frames behind the last reply: they are as good as those before it, and nobody's. False
    /// if there is anything else, or one that is not all there.
    #[cold]
    fn drop_pushes(&mut self) -> bool {
        while self.pushes && self.input.get(self.start) == Some(&b'>') {
            let bias = 0u64.wrapping_sub(self.start as u64);
            let decoded =
                self.decoder
                    .decode_more(&mut self.input, self.start, bias, &mut self.values);
            let Ok(Some((_, end))) = decoded else {
                return false;
            };
            self.values.clear();
            self.start = end;
        }
        self.start == self.input.len()
    }

    /// Reads on where a push frame has come in part, by `until`: for a connection that has just been greeted.
    pub fn finish_pushes(&mut self, call: &Call<'_>, until: Deadline) -> Result<()> {
        while self.start != self.input.len()
            && !self.drop_pushes()
            && self.pushes
            && self.input[self.start] == b'>'
        {
            self.send_and_recv(call, until)?;
        }
        Ok(())
    }

    /// Whether the peer has closed the connection, or broken the silence, while it was idle.
    pub fn is_stale(&self) -> bool {
        self.stream.has_news()
    }

    pub fn timeout_error(&self) -> Error {
        Error::new(
            Code::Timeout,
            format_args!("{} did not answer in time", self.origin.name()),
        )
        .at(self.origin.name())
        .sent(self.written > 0)
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

/// A decoder's error, with the node that caused it.
fn decode_error(origin: &Origin, written: usize, error: Error) -> Error {
    let words = error.message.trim_start_matches("PROTOCOL the peer sent ");
    Error::new(
        Code::Protocol,
        format_args!("{} sent {words}", origin.name()),
    )
    .at(origin.name())
    .sent(written > 0)
}

struct Room {
    bytes: usize,
    announced: bool,
}
