//! Takes the replies that a connection has received.

use super::Connection;
use crate::error::{Code, Error, Result};
use crate::net::conn::recv_buffer::{Chunk, RecvBuffer};
use crate::resp::{
    CommandReply, Decoder, INLINE_TEXT, Kind, MessageSlab, Origin, Reply, ReplySlab, SMALL_TEXT,
    Value, chunk_tag,
};
use crate::sim_hooks::sim_panic_point;
use std::sync::Arc;

/// A reply with fewer values is not counted in the memory budget.
const UNCOUNTED_VALUES: usize = 4096;

/// The reply of one command.
pub enum TakenReply<'a> {
    /// One value without elements, which is no error: and the bytes that its text of less than [`SMALL_TEXT`] bytes and a
    /// NUL begin, if it has one.
    Small(Value, &'a [u8]),
    Whole(Box<Reply>),
}

impl Connection {
    /// The next reply, if all of it has been received.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Result<Option<Box<Reply>>> {
        self.take_with(Connection::detach)
    }

    /// The same, with the memory of the last small reply if it is small.
    #[inline(always)]
    pub(super) fn take_command_reply(&mut self) -> Result<Option<CommandReply>> {
        if let Some((len, text)) = short_text(&mut self.input, &self.decoder) {
            let value = Value::new(Kind::String, len as u32, 0);
            return Ok(Some(small_reply(
                &mut self.small,
                &self.origin,
                value,
                text,
            )));
        }
        if self.take_ok() {
            return Ok(Some(small_reply(
                &mut self.small,
                &self.origin,
                Value::OK,
                &[],
            )));
        }
        self.take_other_reply()
    }

    /// Whether the next reply is OK, which is taken then.
    #[inline(always)]
    fn take_ok(&mut self) -> bool {
        const OK: &[u8] = b"+OK\r\n";
        let (start, end) = (self.input.start, self.input.start + OK.len());
        let is_ok = self.decoder.is_between_replies()
            && self
                .input
                .bytes
                .get(start..end)
                .is_some_and(|head| head == OK);
        if is_ok {
            self.input.start = end;
        }
        is_ok
    }

    /// The same for a reply that is neither a short string nor OK.
    #[inline(never)]
    fn take_other_reply(&mut self) -> Result<Option<CommandReply>> {
        let start = self.input.start;
        let input = &mut self.input;
        if let Some((value, end)) = self
            .decoder
            .decode_short(&mut input.bytes, start, bias(start))
        {
            input.start = end;
            return Ok(Some(match value.in_chunk() {
                true => self.detach(value, start, end).into(),
                // A nil.
                false => small_reply(&mut self.small, &self.origin, value, &[]),
            }));
        }
        let mut small = self.small.take();
        let origin = self.origin.clone();
        let taken = self.take_single();
        let taken = taken.map(|taken| {
            taken.map(|taken| match taken {
                TakenReply::Whole(reply) => CommandReply::Whole(reply),
                TakenReply::Small(value, text) => small_reply(&mut small, &origin, value, text),
            })
        });
        self.small = small;
        taken
    }

    /// The same, without memory of its own if it is small.
    pub fn take_single(&mut self) -> Result<Option<TakenReply<'_>>> {
        let taken = self.take_with(|connection, value, start, end| {
            let is_small = match value.in_chunk() {
                true => (value.len as usize) < SMALL_TEXT && value.kind != Kind::Error,
                false => !value.kind.has_elements(),
            };
            match is_small {
                true => Err((value, start)),
                false => Ok(connection.detach(value, start, end)),
            }
        })?;
        Ok(taken.map(|taken| match taken {
            Ok(whole) => TakenReply::Whole(whole),
            Err((value, start)) => {
                let text = if value.in_chunk() {
                    start + value.data as usize
                } else {
                    start
                };
                TakenReply::Small(value, &self.input.bytes[text..])
            }
        }))
    }

    /// Decodes the messages of channels that are received next, as many as the slab takes. False if there is none that is
    /// short and complete.
    pub fn take_messages(&mut self, slab: &mut MessageSlab) -> bool {
        if !self.decoder.is_between_replies() {
            return false;
        }
        let bytes = &self.input.bytes[self.input.start..];
        let len = slab.fill(bytes, &self.origin);
        self.input.start += len;
        len > 0
    }

    /// The next frame of any kind, push frames included, if all of it has been received.
    pub fn take_frame(&mut self) -> Result<Option<Box<Reply>>> {
        self.take_where(|_| true, Connection::detach)
    }

    /// The next reply, if it has been received and is a string of less than [`SMALL_TEXT`] bytes: the length of the string,
    /// and the bytes that it and a NUL begin.
    #[inline(always)]
    pub fn take_short_text(&mut self) -> Option<(usize, &[u8])> {
        short_text(&mut self.input, &self.decoder)
    }

    /// Gives the value of the next reply to `detach`, with the range of its bytes.
    #[inline(always)]
    fn take_with<R>(
        &mut self,
        detach: impl FnOnce(&mut Connection, Value, usize, usize) -> R,
    ) -> Result<Option<R>> {
        self.take_where(|kind| kind != Kind::Push, detach)
    }

    /// The same for the next frame of a kind that the caller wants. Others are dropped.
    #[inline(always)]
    fn take_where<R>(
        &mut self,
        is_wanted: impl Fn(Kind) -> bool,
        detach: impl FnOnce(&mut Connection, Value, usize, usize) -> R,
    ) -> Result<Option<R>> {
        while !self.input.is_empty() {
            let start = self.input.start;
            let decoded = self
                .decoder
                .decode(&mut self.input.bytes, start, bias(start), &mut self.values)
                .map_err(|e| decode_error(&self.origin, self.written, e))?;
            let Some((value, end)) = decoded else {
                self.lease_values()?;
                return Ok(None);
            };
            self.input.start = end;
            if self.values.total_capacity() > UNCOUNTED_VALUES {
                self.lease_values()?;
            }
            if !is_wanted(value.kind) {
                self.values.clear();
                continue;
            }
            return Ok(Some(detach(self, value, start, end)));
        }
        Ok(None)
    }

    /// Leases the memory of the values of a single reply.
    fn lease_values(&mut self) -> Result<()> {
        let capacity = self.values.total_capacity();
        self.lease_growth(self.leased_values, capacity)?;
        self.leased_values = capacity + self.decoder.pending_capacity();
        Ok(())
    }

    /// Leases the memory of values whose capacity has grown from `before` to `capacity` and the decoder's own.
    fn lease_growth(&mut self, before: usize, capacity: usize) -> Result<()> {
        let lease = &mut self.input.lease;
        let leased = lease.take_values(before, capacity + self.decoder.pending_capacity());
        leased.map_err(|e| e.sent(self.written > 0))
    }

    /// Makes a reply from a decoded value and its bytes.
    #[inline]
    fn detach(&mut self, value: Value, start: usize, end: usize) -> Box<Reply> {
        sim_panic_point!(Net);
        let mut reply = Box::new(Reply::from_node(value, self.origin.clone()));
        let len = value.len as usize;
        if value.in_chunk() && len < INLINE_TEXT {
            let text = start + value.data as usize;
            reply.set_inline_text(&self.input.bytes[text..=text + len]);
        } else if value.in_chunk() || !self.values.is_unused() {
            reply.first = self.input.take_reply(start, end);
            reply.values = std::mem::take(&mut self.values);
        }
        reply
    }

    /// Begins to receive the replies of a pipeline, which become part of one reply.
    pub fn begin_chunk(&mut self, reply: &mut Reply) -> Chunk {
        sim_panic_point!(Net);
        self.input.begin_chunk(reply)
    }

    /// Decodes the received replies directly into `reply`. `each` gets the values in order and returns whether more are
    /// expected.
    #[inline]
    pub fn take_into(
        &mut self,
        reply: &mut Reply,
        chunk: &mut Chunk,
        each: impl FnMut(&mut Reply, Value) -> bool,
    ) -> Result<bool> {
        let before = reply.values.total_capacity() + self.decoder.pending_capacity();
        let done = self.decode_into(reply, chunk, each)?;
        self.lease_growth(before, reply.values.total_capacity())?;
        Ok(done)
    }

    #[inline]
    fn decode_into(
        &mut self,
        reply: &mut Reply,
        chunk: &mut Chunk,
        mut each: impl FnMut(&mut Reply, Value) -> bool,
    ) -> Result<bool> {
        while !self.input.is_empty() {
            let tag = chunk_tag(chunk.number);
            // The fast paths, for most replies.
            while let Some((value, end)) = {
                let (bytes, start) = (&mut self.input.bytes, self.input.start);
                let short = self.decoder.decode_short(bytes, start, tag);
                short.or_else(|| {
                    let values = &mut reply.values;
                    self.decoder.decode_short_single(bytes, start, tag, values)
                })
            } {
                self.input.start = end;
                if !each(reply, value) {
                    self.end_chunk(reply, chunk);
                    return Ok(true);
                }
            }
            let decoded = self
                .decoder
                .decode_general(
                    &mut self.input.bytes,
                    self.input.start,
                    tag,
                    &mut reply.values,
                )
                .map_err(|e| decode_error(&self.origin, self.written, e))?;
            let Some((value, end)) = decoded else {
                break;
            };
            self.input.start = end;
            if value.kind == Kind::Push {
                continue;
            }
            if !each(reply, value) {
                self.end_chunk(reply, chunk);
                return Ok(true);
            }
        }
        self.input
            .next_chunk(reply, chunk, &mut self.decoder, &self.origin)
            .map_err(|e| e.sent(self.written > 0))?;
        Ok(false)
    }

    /// Gives the bytes of the replies taken so far to `reply`.
    pub fn end_chunk(&mut self, reply: &mut Reply, chunk: &Chunk) {
        self.input.end_chunk(reply, chunk);
    }
}

/// What makes positions relative to this start of a reply.
#[inline(always)]
pub(super) fn bias(start: usize) -> u64 {
    0u64.wrapping_sub(start as u64)
}

/// See [`Connection::take_short_text`].
#[inline(always)]
fn short_text<'a>(input: &'a mut RecvBuffer, decoder: &Decoder) -> Option<(usize, &'a [u8])> {
    let text = decoder.decode_short_text(&mut input.bytes, input.start, SMALL_TEXT)?;
    input.start = text.next;
    Some((text.end - text.begin, &input.bytes[text.begin..]))
}

/// A value that needs no arena as a reply, in the memory of the last small one unless a caller holds that.
#[inline(always)]
fn small_reply(
    last: &mut Option<Arc<ReplySlab<1>>>,
    origin: &Arc<Origin>,
    value: Value,
    text: &[u8],
) -> CommandReply {
    let slab = match last {
        Some(slab) if Arc::strong_count(slab) == 1 => slab,
        _ => last.insert(new_slab(origin)),
    };
    if let Some(unused) = slab.reuse() {
        unused.push(value, text);
    }
    CommandReply::Small(slab.clone())
}

#[cold]
fn new_slab(origin: &Arc<Origin>) -> Arc<ReplySlab<1>> {
    ReplySlab::new(origin.clone())
}

/// The error of the decoder, with the node's name.
fn decode_error(origin: &Origin, written: usize, error: Error) -> Error {
    let problem = error.message.trim_start_matches("PROTOCOL the peer sent ");
    Error::new(
        Code::Protocol,
        format_args!("{} sent {problem}", origin.name()),
    )
    .at(origin.name())
    .sent(written > 0)
}
