//! The receive buffer of a connection, and the part of the memory budget that its replies use.

use super::memory_budget::{MemoryBudget, MemoryLease};
use crate::error::Result;
use crate::resp::{Decoder, Origin, Reply, chunk_tag};
use std::sync::Arc;

/// The room for a receive when the size of the next reply is unknown.
const ROOM: usize = 16 * 1024;
/// The buffer is enlarged before a receive with less room.
const MIN_ROOM: usize = 2 * 1024;
/// The rest of a string is received in one call if more than this is missing.
const LARGE: usize = 64 * 1024;
/// The most that one receive takes: the call looks at the clock between two. Copying the rest of a string is fast,
/// decoding many short values is slower.
const MAX_STRING_PART: usize = 8 << 20;
const MAX_RECEIVED: usize = 256 << 10;
/// The largest buffer for the replies of a pipeline.
const CHUNK: usize = 256 * 1024;
/// A reply of at most this size is copied out of the buffer. A larger one takes the buffer with it.
const COPY: usize = 16 * 1024;
/// The largest buffer that an idle connection keeps.
pub(super) const KEEP: usize = 64 * 1024;

/// Received bytes. The next reply begins at `start`.
#[derive(Debug)]
pub(super) struct RecvBuffer {
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
    /// The replies of a pipeline lie before `start` and are known by their positions: no byte may move.
    collects: bool,
    pub(super) lease: MemoryLease,
}

/// Where the replies of a pipeline go from this connection.
#[derive(Debug)]
pub struct Chunk {
    /// The number under which the receive buffer becomes part of the reply.
    pub(super) number: usize,
    /// The size of the next buffer.
    size: usize,
}

/// The room for one receive.
pub(super) struct Room {
    pub(super) bytes: usize,
    /// Whether the room is the rest of a string whose length is known.
    pub(super) announced: bool,
}

impl RecvBuffer {
    pub(super) fn new(memory: &Arc<MemoryBudget>) -> RecvBuffer {
        RecvBuffer {
            bytes: Vec::new(),
            start: 0,
            collects: false,
            lease: MemoryLease::of(memory),
        }
    }

    /// Begins with little room, which suffices for most commands. The first larger reply replaces the buffer, which costs
    /// that reply one more receive.
    pub(super) fn begin_small(&mut self) {
        self.bytes.reserve_exact(MIN_ROOM);
    }

    /// Whether all received bytes have been decoded.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Makes room for the next receive: as much as is announced, but never much more than has been received already,
    /// so that memory grows with the bytes received.
    #[inline(always)]
    pub(super) fn make_room(&mut self, decoder: &Decoder, origin: &Origin) -> Result<Room> {
        if self.is_empty() && !self.collects {
            self.bytes.clear();
            self.start = 0;
        }
        let have = self.bytes.len() - self.start;
        let wants = decoder.bytes_needed(have);
        let announced = wants > LARGE;
        if self.spare() < MIN_ROOM || announced {
            self.grow(have, wants, origin)?;
        }
        let spare = self.spare();
        Ok(Room {
            bytes: if announced {
                wants.min(spare).min(MAX_STRING_PART)
            } else {
                spare.min(MAX_RECEIVED)
            },
            announced,
        })
    }

    /// Enlarges the buffer if `wants` more bytes do not fit. A recycled buffer may be larger than needed.
    #[cold]
    fn grow(&mut self, have: usize, wants: usize, origin: &Origin) -> Result<()> {
        let more = wants.min(have.max(LARGE)).max(ROOM);
        if self.spare() >= more {
            return Ok(());
        }
        if self.collects && self.start > 0 {
            let more = more.max(have);
            self.lease_buffer(self.bytes.len() + more)?;
            self.bytes.reserve_exact(more);
            return Ok(());
        }
        let size = (have + more).max(2 * have);
        let recycled = origin.spare_buffer(size);
        if let Some(mut larger) = recycled.filter(|r| self.lease_buffer(r.capacity()).is_ok()) {
            larger.extend_from_slice(&self.bytes[self.start..]);
            self.bytes = larger;
        } else {
            self.lease_buffer(size)?;
            self.bytes.drain(..self.start);
            self.bytes.reserve_exact(size - have);
        }
        self.start = 0;
        Ok(())
    }

    /// Leases the memory of a buffer of `size` bytes that replaces the present one. A buffer of a size that idle
    /// connections keep is not counted.
    fn lease_buffer(&mut self, size: usize) -> Result<()> {
        let counted = |size: usize| if size > KEEP { size } else { 0 };
        let more = counted(size).saturating_sub(counted(self.bytes.capacity()));
        self.lease.take(more)
    }

    /// The bytes of a reply that ends at `end`, as a buffer of their own.
    #[inline]
    pub(super) fn take_reply(&mut self, start: usize, end: usize) -> Vec<u8> {
        if start == 0 && end == self.bytes.len() && end > COPY {
            self.start = 0;
            std::mem::take(&mut self.bytes)
        } else {
            self.bytes[start..end].to_vec()
        }
    }

    /// Begins to collect the replies of a pipeline for `reply`.
    pub(super) fn begin_chunk(&mut self, reply: &mut Reply) -> Chunk {
        self.collects = true;
        Chunk {
            number: reply.reserve_chunk(),
            size: ROOM,
        }
    }

    /// If the buffer is nearly full of complete replies, gives it to `reply` and begins a new one with the bytes of the
    /// next reply.
    #[inline]
    pub(super) fn next_chunk(
        &mut self,
        reply: &mut Reply,
        chunk: &mut Chunk,
        decoder: &mut Decoder,
        origin: &Origin,
    ) -> Result<()> {
        if self.start == 0 || self.spare() >= ROOM / 4 {
            return Ok(());
        }
        chunk.size = (chunk.size * 2).min(CHUNK);
        let tail = self.bytes.len() - self.start;
        let mut next = origin.buffer(chunk.size.max(2 * tail));
        self.lease.take(next.capacity())?;
        next.extend_from_slice(&self.bytes[self.start..]);
        self.bytes.truncate(self.start);
        let full = std::mem::replace(&mut self.bytes, next);
        reply.set_chunk(chunk.number, full);
        let old = chunk_tag(chunk.number) + self.start as u64;
        chunk.number = reply.reserve_chunk();
        let delta = chunk_tag(chunk.number).wrapping_sub(old);
        decoder.relocate(&mut reply.values, old, delta);
        self.start = 0;
        Ok(())
    }

    /// Gives the bytes of the replies taken so far to `reply`. The rest is not decoded any more: it is empty, or the
    /// connection is about to be dropped.
    pub(super) fn end_chunk(&mut self, reply: &mut Reply, chunk: &Chunk) {
        self.collects = false;
        let whole = &self.bytes[..self.start];
        if whole.is_empty() {
            return;
        }
        if self.is_empty() && whole.len() > COPY {
            reply.set_chunk(chunk.number, std::mem::take(&mut self.bytes));
        } else {
            let copy = whole.to_vec();
            reply.set_chunk(chunk.number, copy);
            self.bytes.drain(..self.start);
        }
        self.start = 0;
    }

    /// Clears the buffer for the next command. A large one goes back to the node's recycled buffers.
    #[inline]
    pub(super) fn reset(&mut self, origin: &Origin) {
        self.start = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEEP {
            origin.recycle(std::mem::take(&mut self.bytes));
        }
    }
}
