//! A value of a reply.

use super::from_value::FromValue;
use crate::error::{Code, Error, ErrorFields, Result};
use crate::resp::{self, Kind, NodeValue, View, flag, parse_double};
use std::fmt;

/// A value of a [`Reply`](crate::Reply), which it borrows from.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    reply: &'a resp::Reply,
    view: View<'a>,
    /// What came from one node together with this value, if it is not known to be the whole reply.
    whole: NodeValue,
}

impl<'a> Value<'a> {
    pub(super) fn root(reply: &'a resp::Reply) -> Value<'a> {
        Value {
            reply,
            view: reply.view(),
            whole: reply.root,
        }
    }

    /// The type.
    pub fn kind(self) -> Kind {
        self.view.kind()
    }

    /// Whether there is no such key, field or element.
    pub fn is_nil(self) -> bool {
        self.view.is_nil()
    }

    /// The text, of a value that has one: a string, a status, a double, a big number, an error.
    pub fn bytes(self) -> Option<&'a [u8]> {
        self.view.text()
    }

    /// The text, if it is UTF-8.
    pub fn str(self) -> Option<&'a str> {
        self.view.str()
    }

    /// The integer, or the integer that the text represents; of a boolean 0 or 1.
    pub fn int(self) -> Option<i64> {
        self.view.int()
    }

    /// The number, or the number that the text represents.
    pub fn double(self) -> Option<f64> {
        match self.kind() {
            Kind::Integer => self.int().map(|n| n as f64),
            _ => self.bytes().and_then(parse_double),
        }
    }

    /// The number of elements; a map has two for each pair.
    pub fn len(self) -> usize {
        self.view.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(self) -> bool {
        self.view.is_empty()
    }

    /// The element at an index.
    pub fn at(self, i: usize) -> Option<Value<'a>> {
        let view = self.view.at(i)?;
        let is_of_node = self.view.value().flags & flag::NODE_VALUES != 0;
        let index = (self.view.value().data as usize).wrapping_add(i);
        let own = is_of_node.then(|| self.reply.node_values.get(index));
        Some(Value {
            view,
            whole: own.flatten().copied().unwrap_or(self.whole),
            ..self
        })
    }

    /// The value of a key, of a map or of a flat list of pairs.
    pub fn find(self, key: &str) -> Option<Value<'a>> {
        self.view.index_of(key).and_then(|i| self.at(i))
    }

    /// All elements, in order.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        (0..self.len()).filter_map(move |i| self.at(i))
    }

    /// `"host:port"` of the node that this value came from.
    pub fn node(self) -> Option<&'a str> {
        self.reply.origin_of(self.whole).map(|origin| origin.name())
    }

    /// The error that this value is, if it is one.
    pub fn error(self) -> Option<Error> {
        if self.kind() != Kind::Error {
            return None;
        }
        let value = self.view.value();
        Some(Error::from(ErrorFields {
            code: Code::from_number(value.code.into()).unwrap_or(Code::Server),
            message: String::from_utf8_lossy(self.bytes().unwrap_or_default()).into_owned(),
            sent: value.may_have_run(),
            node: self.node().map(str::to_owned),
        }))
    }

    /// Converts the value; an error is the `Err`. See [`FromValue`].
    pub fn to<T: FromValue>(self) -> Result<T> {
        T::from_value(self)
    }
}

/// The value as text; of long texts the beginning.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Nil => f.write_str("nil"),
            Kind::Integer | Kind::Bool => write!(f, "{}", self.int().unwrap_or_default()),
            Kind::Map => {
                let pairs = (0..self.len() / 2).map(|i| (self.at(2 * i), self.at(2 * i + 1)));
                f.debug_map()
                    .entries(pairs.filter_map(|(k, v)| k.zip(v)))
                    .finish()
            }
            kind if kind.has_elements() => f.debug_list().entries(self.iter()).finish(),
            _ => {
                let text = self.bytes().unwrap_or_default();
                let short = &text[..text.len().min(100)];
                let more = if short.len() < text.len() { "..." } else { "" };
                write!(f, "{:?}{more}", String::from_utf8_lossy(short))
            }
        }
    }
}
