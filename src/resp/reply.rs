//! A whole reply and all its memory.

use super::origin::{Origin, RECYCLE_FROM};
use super::value::{Answer, Kind, Value, WITHIN, chunk_tag, flag};
use super::view::View;
use crate::error::Error;
use std::sync::Arc;

/// A reply that is one text of less than this needs no memory of its own.
pub const SMALL: usize = 40;

/// A whole reply and all its memory.
#[derive(Debug)]
pub struct Reply {
    pub root: Answer,
    /// Elements of aggregates.
    pub values: Vec<Value>,
    /// Elements of a pipeline's reply.
    pub answers: Vec<Answer>,
    /// The bytes that texts are in: chunk 0.
    pub first: Vec<u8>,
    /// Whom it came from: origin 0.
    pub origin: Option<Arc<Origin>>,
    /// The other chunks and origins, which most replies have none of.
    more: Option<Box<More>>,
    /// The text of a small reply, and a NUL.
    small: [u8; SMALL],
}

#[derive(Debug, Default)]
struct More {
    chunks: Vec<Vec<u8>>,
    origins: Vec<Arc<Origin>>,
}

impl Default for Reply {
    fn default() -> Reply {
        Reply {
            root: Answer::NIL,
            values: Vec::new(),
            answers: Vec::new(),
            first: Vec::new(),
            origin: None,
            more: None,
            small: [0; SMALL],
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
    /// A reply of one value that needs no bytes.
    pub fn of(value: Value) -> Reply {
        let mut reply = Reply::default();
        reply.root.value = value;
        reply
    }

    /// A reply of one value from this node.
    #[inline]
    pub fn from(value: Value, origin: Arc<Origin>) -> Reply {
        Reply {
            root: Answer { value, node: 1 },
            values: Vec::new(),
            answers: Vec::new(),
            first: Vec::new(),
            origin: Some(origin),
            more: None,
            small: [0; SMALL],
        }
    }

    /// Makes a text with its NUL, of [`SMALL`] bytes at most, that of the root.
    #[inline]
    pub fn hold(&mut self, text: &[u8]) {
        self.small[..text.len()].copy_from_slice(text);
        self.root.value.data = chunk_tag(WITHIN);
    }

    /// An error of ours, or one made of a server's, as a reply.
    pub fn error(error: &Error) -> Reply {
        let mut reply = Reply::default();
        reply.root = reply.store_error(error);
        reply
    }

    /// Puts an error into this arena.
    pub fn store_error(&mut self, error: &Error) -> Answer {
        let mut value = self.store_text(Kind::Error, error.message.as_bytes());
        value.code = error.code as u8;
        if error.sent {
            value.flags |= flag::SENT;
        }
        let node = match &error.node {
            Some(node) => self.add_origin(&Origin::new(node)),
            None => 0,
        };
        Answer { value, node }
    }

    /// Puts a text and its NUL into chunk 0.
    pub fn store_text(&mut self, kind: Kind, text: &[u8]) -> Value {
        let text = &text[..text.len().min(u32::MAX as usize)];
        let at = self.first.len();
        self.first.extend_from_slice(text);
        self.first.push(0);
        Value::new(kind, text.len() as u32, at as u64)
    }

    /// The number to put into [`Answer::node`] for this origin, which the reply keeps alive.
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
    pub fn origin_of(&self, answer: Answer) -> Option<&Arc<Origin>> {
        match answer.node {
            0 => None,
            1 => self.origin.as_ref(),
            n => self.more.as_ref()?.origins.get(n as usize - 2),
        }
    }

    /// Every origin, in the order of their numbers.
    pub fn origins(&self) -> impl Iterator<Item = &Arc<Origin>> {
        let more = self.more.as_ref().map_or(&[][..], |m| &m.origins);
        self.origin.iter().chain(more)
    }

    /// The chunks behind the first.
    pub fn chunks(&self) -> &[Vec<u8>] {
        self.more.as_ref().map_or(&[], |m| m.chunks.as_slice())
    }

    /// No bytes yet.
    fn is_bare(&self) -> bool {
        self.first.capacity() == 0 && self.chunks().is_empty()
    }

    /// Adds a chunk of bytes and returns its number.
    pub fn add_chunk(&mut self, chunk: Vec<u8>) -> usize {
        if self.is_bare() {
            self.first = chunk;
            return 0;
        }
        let chunks = &mut self.more.get_or_insert_default().chunks;
        chunks.push(chunk);
        chunks.len()
    }

    /// A number for a chunk whose bytes are still coming.
    pub fn add_chunk_later(&mut self) -> usize {
        let chunks = &mut self.more.get_or_insert_default().chunks;
        chunks.push(Vec::new());
        chunks.len()
    }

    /// Gives a chunk of [`Reply::add_chunk_later`] its bytes.
    pub fn set_chunk(&mut self, number: usize, bytes: Vec<u8>) {
        match number {
            0 => self.first = bytes,
            n => self.more.get_or_insert_default().chunks[n - 1] = bytes,
        }
    }

    /// The bytes of a chunk.
    pub fn chunk(&self, number: usize) -> &[u8] {
        match number {
            0 => &self.first,
            WITHIN => &self.small,
            n => self.chunks().get(n - 1).map_or(&[], |c| c.as_slice()),
        }
    }

    /// Takes over everything another reply holds, and returns its root as it reads in here.
    pub fn absorb(&mut self, mut other: Reply) -> Answer {
        let chunks = if self.is_bare() {
            0
        } else {
            self.chunks().len() + 1
        };
        let values = self.values.len() as u64;
        let moved = |mut value: Value| {
            if value.in_chunk() {
                value.data += chunk_tag(chunks);
            } else if value.kind.has_elements() {
                value.data += values;
            }
            value
        };
        let mut root = other.root;
        if root.value.in_chunk() && root.value.place().0 == WITHIN {
            let text = other.view().text().unwrap_or_default().to_vec();
            root.value.data = self.store_text(root.value.kind, &text).data;
        } else {
            root.value = moved(root.value);
        }
        root.value.flags &= !flag::ROOT;
        root.node = match other.origin_of(other.root).cloned() {
            Some(origin) => self.add_origin(&origin),
            None => 0,
        };
        self.values.extend(other.values.drain(..).map(moved));
        self.add_chunk(std::mem::take(&mut other.first));
        if let Some(more) = &mut other.more {
            let chunks = &mut self.more.get_or_insert_default().chunks;
            chunks.append(&mut more.chunks);
        }
        root
    }

    pub fn view(&self) -> View<'_> {
        View::new(self, self.root.value)
    }
}
