//! Where replies come from.

use super::value::{Answer, Value, flag};
use crate::sync::{Mutex, lock};
use std::sync::Arc;

/// Buffers below this are not worth keeping: allocating them costs less than the lock.
pub(super) const RECYCLE_FROM: usize = 64 * 1024;

/// And no more than this many bytes are kept for one node.
const RECYCLE_UP_TO: usize = 32 << 20;

/// The node that replies come from: its name, the two replies that need no memory of their own,
/// and large buffers waiting to be used again (a fresh large allocation costs more, in page
/// faults, than decoding what goes into it).
#[derive(Debug)]
#[repr(C)]
pub struct Origin {
    /// OK and nil, sealed; a handle on one of them holds a reference on the whole.
    pub ok: Answer,
    pub nil: Answer,
    /// "host:port" and a NUL.
    name: Box<[u8]>,
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
        let shared = flag::ANSWER | flag::ROOT | flag::SHARED | flag::SENT;
        let mut ok = Answer {
            value: Value::ok(),
            node,
        };
        ok.value.flags |= shared;
        ok.value.data = OK_TEXT.as_ptr().expose_provenance() as u64;
        let mut nil = Answer {
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

    /// The name with its NUL.
    pub fn c_name(&self) -> &[u8] {
        &self.name
    }

    /// An empty buffer of at least `size` bytes that was used before, if there is one.
    pub fn spare(&self, size: usize) -> Option<Vec<u8>> {
        if size < RECYCLE_FROM {
            return None;
        }
        let mut spare = lock(&self.spare);
        // The largest: what needs much now will often need more.
        let largest = (0..spare.len()).max_by_key(|i| spare[*i].capacity())?;
        (spare[largest].capacity() >= size).then(|| spare.swap_remove(largest))
    }

    /// An empty buffer of at least `size` bytes.
    pub fn buffer(&self, size: usize) -> Vec<u8> {
        self.spare(size).unwrap_or_else(|| Vec::with_capacity(size))
    }

    /// Takes back a buffer that is no longer needed.
    pub fn recycle(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() < RECYCLE_FROM {
            return;
        }
        buffer.clear();
        let mut spare = lock(&self.spare);
        let kept: usize = spare.iter().map(Vec::capacity).sum();
        if spare.len() < 4 && kept + buffer.capacity() <= RECYCLE_UP_TO {
            spare.push(buffer);
        }
    }
}
