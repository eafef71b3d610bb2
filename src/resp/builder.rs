//! Replies of our own making.

use super::reply::Reply;
use super::value::{Kind, Value};

/// Builds a reply by hand: values first, then what gathers them.
#[derive(Default)]
pub struct Builder {
    reply: Reply,
    stack: Vec<Value>,
}

impl Builder {
    pub fn new() -> Builder {
        Builder::default()
    }

    pub fn text(&mut self, text: impl AsRef<[u8]>) -> &mut Builder {
        let value = self.reply.store_text(Kind::String, text.as_ref());
        self.value(value)
    }

    pub fn int(&mut self, n: i64) -> &mut Builder {
        self.value(Value::integer(n))
    }

    pub fn nil(&mut self) -> &mut Builder {
        self.value(Value::NIL)
    }

    pub fn double(&mut self, n: f64) -> &mut Builder {
        let value = self
            .reply
            .store_text(Kind::Double, format!("{n}").as_bytes());
        self.value(value)
    }

    /// A value whose bytes and elements are already in the arena.
    pub fn value(&mut self, value: Value) -> &mut Builder {
        self.stack.push(value);
        self
    }

    /// A whole reply as a value.
    pub fn reply(&mut self, other: Reply) -> &mut Builder {
        let root = self.reply.absorb(other);
        self.value(root.value)
    }

    /// How many values are waiting to be gathered.
    pub fn depth(&self) -> usize {
        self.stack.len()
    }

    /// Makes all values from the `from`-th on the elements of one aggregate.
    pub fn gather(&mut self, kind: Kind, from: usize) -> &mut Builder {
        let first = self.reply.values.len();
        let from = from.min(self.stack.len());
        let count = self.stack.len() - from;
        self.reply.values.extend(self.stack.drain(from..));
        self.value(Value::new(kind, count as u32, first as u64))
    }

    /// The reply whose root is the last value.
    pub fn finish(mut self) -> Reply {
        self.reply.root.value = self.stack.pop().unwrap_or(Value::NIL);
        self.reply
    }
}
