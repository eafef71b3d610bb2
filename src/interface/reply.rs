//! The reply of a call.

use super::from_value::FromValue;
use super::value::Value;
use crate::error::Result;
use crate::resp::{self, flag};
use std::fmt;

/// The reply of a call, which owns all its values. It is no error: that is the `Err` of the call. Elements may be errors.
pub struct Reply(Box<resp::Reply>);

impl Reply {
    /// The reply, or its error.
    pub(super) fn checked(mut reply: Box<resp::Reply>) -> Result<Reply> {
        reply.root.value.flags |= flag::NODE_VALUE;
        let reply = Reply(reply);
        let error = reply.value().error();
        error.map_or(Ok(reply), Err)
    }

    /// The value.
    pub fn value(&self) -> Value<'_> {
        Value::root(&self.0)
    }

    /// Converts the value: see [`FromValue`].
    pub fn to<T: FromValue>(&self) -> Result<T> {
        self.value().to()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}
