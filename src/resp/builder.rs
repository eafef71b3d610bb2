//! Replies that the library itself makes.

use super::reply::Reply;
use super::value::{Kind, Value};

/// Builds a reply: first the values, then the aggregates that contain them.
#[derive(Default)]
pub struct Builder {
    reply: Reply,
    /// Values that are in no aggregate yet.
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

    /// Adds a value whose text or elements are already in the reply.
    pub fn value(&mut self, value: Value) -> &mut Builder {
        self.stack.push(value);
        self
    }

    /// Adds another reply as a value.
    pub fn reply(&mut self, other: Reply) -> &mut Builder {
        let root = self.reply.absorb(other);
        self.value(root.value)
    }

    /// How many values are in no aggregate yet.
    pub fn depth(&self) -> usize {
        self.stack.len()
    }

    /// Replaces the values from index `from` on with an aggregate of them.
    pub fn aggregate(&mut self, kind: Kind, from: usize) -> &mut Builder {
        let first = self.reply.values.len();
        let from = from.min(self.stack.len());
        let count = self.stack.len() - from;
        self.reply.values.extend(self.stack.drain(from..));
        self.value(Value::new(kind, count as u32, first as u64))
    }

    /// The reply, whose root is the last value.
    pub fn finish(mut self) -> Reply {
        self.reply.root.value = self.stack.pop().unwrap_or(Value::NIL);
        self.reply
    }
}
