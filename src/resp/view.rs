//! Read access to the values of a reply.

use super::origin::OK_TEXT;
use super::reply::Reply;
use super::value::{Kind, Value, flag};

/// A value together with its reply, for reading.
#[derive(Clone, Copy)]
pub struct View<'a> {
    reply: &'a Reply,
    value: Value,
}

impl<'a> View<'a> {
    pub fn new(reply: &'a Reply, value: Value) -> View<'a> {
        View { reply, value }
    }

    pub fn kind(self) -> Kind {
        self.value.kind
    }

    pub fn value(self) -> Value {
        self.value
    }

    pub fn is_nil(self) -> bool {
        self.value.kind == Kind::Nil
    }

    /// The text, if the value has one.
    pub fn text(self) -> Option<&'a [u8]> {
        if self.value.flags & flag::OK != 0 {
            return Some(&OK_TEXT[..2]);
        }
        if !self.value.kind.has_text() {
            return None;
        }
        let (chunk, at) = self.value.position();
        self.reply
            .chunk(chunk)
            .get(at..at + self.value.len as usize)
    }

    /// The text, if it is UTF-8.
    pub fn str(self) -> Option<&'a str> {
        self.text().and_then(|t| std::str::from_utf8(t).ok())
    }

    /// The integer, or the integer that the text represents.
    pub fn int(self) -> Option<i64> {
        match self.value.kind {
            Kind::Integer | Kind::Bool => Some(self.value.data as i64),
            _ => self.str().and_then(|t| t.parse().ok()),
        }
    }

    /// Whether two values of one reply say the same.
    pub fn is_same(self, other: View<'_>) -> bool {
        self.kind() == other.kind()
            && self.len() == other.len()
            && self.text() == other.text()
            && (self.kind().has_text() || !self.is_empty() || self.value.data == other.value.data)
            && (self.elements().zip(other.elements())).all(|(a, b)| a.is_same(b))
    }

    /// The number of elements.
    pub fn len(self) -> usize {
        if self.value.kind.has_elements() {
            self.value.len as usize
        } else {
            0
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The element at index `i`.
    pub fn at(self, i: usize) -> Option<View<'a>> {
        if i >= self.len() {
            return None;
        }
        let at = (self.value.data as usize).wrapping_add(i);
        let value = if self.value.is_compact() {
            self.reply.values.element(self.value, i)?
        } else if self.value.flags & flag::NODE_VALUES != 0 {
            self.reply.node_values.get(at)?.value
        } else {
            *self.reply.values.get(at)?
        };
        Some(View {
            reply: self.reply,
            value,
        })
    }

    /// The value of a key in a map, or in a flat array of pairs (how RESP2 represents maps).
    pub fn find(self, key: &str) -> Option<View<'a>> {
        self.index_of(key).and_then(|i| self.at(i))
    }

    /// The index of that value.
    pub fn index_of(self, key: &str) -> Option<usize> {
        let is_key = |i: &usize| (self.at(2 * i)).is_some_and(|k| k.text() == Some(key.as_bytes()));
        (0..self.len() / 2).find(is_key).map(|i| 2 * i + 1)
    }

    /// The keys of a map, or of a flat array of pairs, with their values.
    pub fn pairs(self) -> impl Iterator<Item = (View<'a>, View<'a>)> {
        (0..self.len() / 2).filter_map(move |i| self.at(2 * i).zip(self.at(2 * i + 1)))
    }

    /// All elements, in order.
    pub fn elements(self) -> impl Iterator<Item = View<'a>> {
        (0..self.len()).filter_map(move |i| self.at(i))
    }
}
