//! A reply and all its memory.

use super::origin::{Origin, RECYCLE_FROM};
use super::value::{INLINE_CHUNK, Kind, NodeValue, Value, chunk_tag, flag};
use super::value_list::ValueList;
use super::view::View;
use crate::error::Error;
use std::sync::Arc;

/// A reply that is one text shorter than this is stored inline. In bytes, with the NUL.
pub const INLINE_TEXT: usize = 40;

/// A reply and all its memory: an arena that is freed at once.
#[derive(Debug)]
pub struct Reply {
    pub root: NodeValue,
    /// Elements of aggregates.
    pub values: ValueList,
    /// Elements of the reply of a pipeline, or of several nodes.
    pub node_values: Vec<NodeValue>,
    /// Chunk 0 of the bytes that contain the texts.
    pub first: Vec<u8>,
    /// Origin 1: the node that the reply came from.
    pub origin: Option<Arc<Origin>>,
    /// Further chunks and origins. Most replies have none.
    more: Option<Box<More>>,
    /// The inline text of a small reply, and a NUL.
    small: [u8; INLINE_TEXT],
}

#[derive(Debug, Default)]
struct More {
    chunks: Vec<Vec<u8>>,
    origins: Vec<Arc<Origin>>,
}

impl Default for Reply {
    fn default() -> Reply {
        Reply {
            root: NodeValue::NIL,
            values: ValueList::default(),
            node_values: Vec::new(),
            first: Vec::new(),
            origin: None,
            more: None,
            small: [0; INLINE_TEXT],
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(origin) = &self.origin {
            if self.first.capacity() >= RECYCLE_FROM {
                origin.recycle(std::mem::take(&mut self.first));
            }
            if let Some(more) = &mut self.more {
                for chunk in more.chunks.drain(..) {
                    origin.recycle(chunk);
                }
            }
        }
    }
}

impl Reply {
    /// Frees the reply. Its buffers are not kept for reuse: no other large reply of the node is expected.
    pub fn discard(mut self) {
        self.origin = None;
    }

    /// A reply of one value that has no text in a chunk.
    pub fn of(value: Value) -> Reply {
        let mut reply = Reply::default();
        reply.root.value = value;
        reply
    }

    /// A reply of one value from a node.
    #[inline]
    pub fn from_node(value: Value, origin: Arc<Origin>) -> Reply {
        Reply {
            root: NodeValue { value, node: 1 },
            values: ValueList::default(),
            node_values: Vec::new(),
            first: Vec::new(),
            origin: Some(origin),
            more: None,
            small: [0; INLINE_TEXT],
        }
    }

    /// Stores the text of the root inline: at most [`INLINE_TEXT`] bytes, with the NUL.
    #[inline]
    pub fn set_inline_text(&mut self, text: &[u8]) {
        self.small[..text.len()].copy_from_slice(text);
        self.root.value.data = chunk_tag(INLINE_CHUNK);
    }

    /// An error as a reply.
    pub fn error(error: &Error) -> Reply {
        let mut reply = Reply::default();
        reply.root = reply.store_error(error);
        reply
    }

    /// Stores an error in this arena.
    pub fn store_error(&mut self, error: &Error) -> NodeValue {
        let mut value = self.store_text(Kind::Error, error.message.as_bytes());
        value.code = error.code as u8;
        if error.sent {
            value.flags |= flag::SENT;
        }
        let node = match &error.node {
            Some(node) => self.add_origin(&Origin::new(node)),
            None => 0,
        };
        NodeValue { value, node }
    }

    /// Stores a text and a NUL in chunk 0.
    pub fn store_text(&mut self, kind: Kind, text: &[u8]) -> Value {
        let text = &text[..text.len().min(u32::MAX as usize)];
        let at = self.first.len();
        self.first.extend_from_slice(text);
        self.first.push(0);
        Value::new(kind, text.len() as u32, at as u64)
    }

    /// Adds an origin, which the reply keeps alive, and returns its number for [`NodeValue::node`].
    pub fn add_origin(&mut self, origin: &Arc<Origin>) -> u64 {
        match &self.origin {
            None => {
                self.origin = Some(origin.clone());
                1
            }
            Some(known) if Arc::ptr_eq(known, origin) => 1,
            Some(_) => {
                let origins = &mut self.more.get_or_insert_default().origins;
                let at = origins.iter().position(|o| Arc::ptr_eq(o, origin));
                let at = at.unwrap_or_else(|| {
                    origins.push(origin.clone());
                    origins.len() - 1
                });
                at as u64 + 2
            }
        }
    }

    /// The origin of an answer.
    pub fn origin_of(&self, answer: NodeValue) -> Option<&Arc<Origin>> {
        match answer.node {
            0 => None,
            1 => self.origin.as_ref(),
            n => self.more.as_ref()?.origins.get(n as usize - 2),
        }
    }

    /// All origins, in the order of their numbers.
    pub fn origins(&self) -> impl Iterator<Item = &Arc<Origin>> {
        let more = self.more.as_ref().map_or(&[][..], |m| &m.origins);
        self.origin.iter().chain(more)
    }

    /// All chunks but chunk 0.
    pub fn chunks(&self) -> &[Vec<u8>] {
        self.more.as_ref().map_or(&[], |m| m.chunks.as_slice())
    }

    fn has_no_chunks(&self) -> bool {
        self.first.capacity() == 0 && self.chunks().is_empty()
    }

    /// Adds a chunk of bytes and returns its number.
    pub fn add_chunk(&mut self, chunk: Vec<u8>) -> usize {
        if self.has_no_chunks() {
            self.first = chunk;
            return 0;
        }
        let chunks = &mut self.more.get_or_insert_default().chunks;
        chunks.push(chunk);
        chunks.len()
    }

    /// Reserves the number of a chunk that is still being received.
    pub fn reserve_chunk(&mut self) -> usize {
        let chunks = &mut self.more.get_or_insert_default().chunks;
        chunks.push(Vec::new());
        chunks.len()
    }

    /// Sets the bytes of a chunk reserved by [`Reply::reserve_chunk`].
    pub fn set_chunk(&mut self, number: usize, bytes: Vec<u8>) {
        match number {
            0 => self.first = bytes,
            n => self.more.get_or_insert_default().chunks[n - 1] = bytes,
        }
    }

    /// The memory of the reply, as far as it grows with what is received.
    pub fn held_bytes(&self) -> usize {
        let chunks = self.chunks().iter().map(Vec::len).sum::<usize>();
        let values = self.values.total_len() * size_of::<Value>();
        self.first.len() + chunks + values + self.node_values.len() * size_of::<NodeValue>()
    }

    /// The bytes of a chunk.
    pub fn chunk(&self, number: usize) -> &[u8] {
        match number {
            0 => &self.first,
            INLINE_CHUNK => &self.small,
            n => self.chunks().get(n - 1).map_or(&[], |c| c.as_slice()),
        }
    }

    /// Moves the memory of another reply into this one, and returns its root with positions in this
    /// arena.
    pub fn absorb(&mut self, mut other: Reply) -> NodeValue {
        let chunks = if self.has_no_chunks() {
            0
        } else {
            self.chunks().len() + 1
        };
        let values = self.values.len() as u64;
        let blocks = self.values.blocks.len() as u64;
        let relocate = |mut value: Value| {
            if value.in_chunk() {
                value.data += chunk_tag(chunks);
            } else if value.flags & flag::PACKED != 0 {
                value.data += blocks;
            } else if value.kind.has_elements() && value.flags & flag::INLINE == 0 {
                value.data += values;
            }
            value
        };
        let mut root = other.root;
        if root.value.in_chunk() && root.value.position().0 == INLINE_CHUNK {
            let text = other.view().text().unwrap_or_default().to_vec();
            root.value.data = self.store_text(root.value.kind, &text).data;
        } else {
            root.value = relocate(root.value);
        }
        root.value.flags &= !flag::ROOT;
        root.node = match other.origin_of(other.root).cloned() {
            Some(origin) => self.add_origin(&origin),
            None => 0,
        };
        self.values.extend(other.values.drain(..).map(relocate));
        let others = other.values.blocks.drain(..).map(|mut block| {
            block.others += values;
            block
        });
        self.values.blocks.extend(others);
        self.add_chunk(std::mem::take(&mut other.first));
        if let Some(more) = &mut other.more {
            let chunks = &mut self.more.get_or_insert_default().chunks;
            chunks.append(&mut more.chunks);
        }
        root
    }

    /// A copy of one answer as a reply of its own.
    pub fn extract(&self, number: usize) -> Reply {
        let Some(answer) = self.node_values.get(number) else {
            return Reply::default();
        };
        let mut reply = Reply::default();
        reply.root.value = reply.copy(View::new(self, answer.value));
        if let Some(origin) = self.origin_of(*answer) {
            reply.root.node = reply.add_origin(origin);
        }
        reply
    }

    /// Copies a value of another reply into this one.
    fn copy(&mut self, view: View<'_>) -> Value {
        let original = view.value();
        let mut value = original;
        if original.in_chunk() {
            let text = view.text().unwrap_or_default();
            value.data = self.store_text(original.kind, text).data;
        } else if original.kind.has_elements() && original.flags & flag::INLINE == 0 {
            let elements: Vec<Value> = view.elements().map(|e| self.copy(e)).collect();
            value = self.values.plain(original.kind, &elements);
            value.flags |= original.flags & (flag::SENT | flag::NODE_VALUE);
        }
        value.flags &= !(flag::ROOT | flag::NODE_VALUES);
        value
    }

    /// The same aggregate with its elements one after another, from the index [`Value::data`] of the values on.
    pub fn unpacked(&mut self, aggregate: Value) -> Value {
        if !aggregate.is_compact() {
            return aggregate;
        }
        let elements = View::new(self, aggregate).elements().map(View::value);
        let elements: Vec<Value> = elements.collect();
        self.values.plain(aggregate.kind, &elements)
    }

    pub fn view(&self) -> View<'_> {
        View::new(self, self.root.value)
    }
}
