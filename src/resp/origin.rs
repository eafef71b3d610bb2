//! The node that a reply came from, and what its replies share.

use super::value::{NodeValue, Value, flag};
use crate::sync::{Mutex, try_lock};
use std::sync::Arc;

/// Smaller buffers are not kept: allocating them costs less than the lock. In bytes.
pub(super) const RECYCLE_FROM: usize = 64 * 1024;

/// At most this many bytes of buffers are kept for one node.
const RECYCLE_UP_TO: usize = 32 << 20;

/// At most this many buffers are kept for one node.
const RECYCLE_COUNT: usize = 4;

/// A node as the origin of replies: its name, the two replies that need no memory of their own, and
/// large buffers for reuse. The page faults of a fresh large allocation cost more than decoding what
/// is received into it.
#[derive(Debug)]
#[repr(C)]
pub struct Origin {
    /// The replies OK and nil, with addresses as for C callers. An `rdc_reply` that is one of them
    /// holds a reference on the `Origin`.
    pub ok: NodeValue,
    pub nil: NodeValue,
    /// "host:port" and a NUL.
    name: Box<[u8]>,
    /// Never waited for: a forked child may have inherited the lock locked, and frees replies of its parent.
    spare: Mutex<Vec<Vec<u8>>>,
}

/// The text of [`Value::ok`].
pub static OK_TEXT: [u8; 3] = *b"OK\0";

impl Origin {
    pub fn new(name: &str) -> Arc<Origin> {
        let mut bytes: Vec<u8> = name.bytes().filter(|b| *b != 0).collect();
        bytes.push(0);
        let name = bytes.into_boxed_slice();
        let node = name.as_ptr().expose_provenance() as u64;
        let shared = flag::NODE_VALUE | flag::ROOT | flag::SHARED | flag::SENT;
        let mut ok = NodeValue {
            value: Value::ok(),
            node,
        };
        ok.value.flags |= shared;
        ok.value.data = OK_TEXT.as_ptr().expose_provenance() as u64;
        let mut nil = NodeValue {
            value: Value::NIL,
            node,
        };
        nil.value.flags |= shared;
        Arc::new(Origin {
            ok,
            nil,
            name,
            spare: Mutex::new(Vec::new()),
        })
    }

    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.name[..self.name.len() - 1]).unwrap_or("?")
    }

    /// The name and a NUL.
    pub fn c_name(&self) -> &[u8] {
        &self.name
    }

    /// A kept buffer of at least `size` bytes, empty, if there is one.
    pub fn spare_buffer(&self, size: usize) -> Option<Vec<u8>> {
        if size < RECYCLE_FROM {
            return None;
        }
        let mut spare = try_lock(&self.spare)?;
        // The largest, because a large reply often turns out to be larger still.
        let largest = (0..spare.len()).max_by_key(|i| spare[*i].capacity())?;
        (spare[largest].capacity() >= size).then(|| spare.swap_remove(largest))
    }

    /// An empty buffer of at least `size` bytes, kept or new.
    pub fn buffer(&self, size: usize) -> Vec<u8> {
        self.spare_buffer(size)
            .unwrap_or_else(|| Vec::with_capacity(size))
    }

    /// Keeps a buffer for reuse, or frees it.
    pub fn recycle(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() < RECYCLE_FROM {
            return;
        }
        buffer.clear();
        let Some(mut spare) = try_lock(&self.spare) else {
            return;
        };
        let kept: usize = spare.iter().map(Vec::capacity).sum();
        if spare.len() < RECYCLE_COUNT && kept + buffer.capacity() <= RECYCLE_UP_TO {
            spare.push(buffer);
        }
    }
}
