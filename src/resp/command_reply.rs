//! The reply of one command, which mostly is small.

use super::reply::Reply;
use super::reply_slab::ReplySlab;
use super::value::Kind;
use std::sync::Arc;

/// The reply of one command.
#[derive(Debug)]
pub enum CommandReply {
    /// One value without elements, which is no error, with a short text or none. The connection that it came from uses its
    /// memory again when it is freed.
    Small(Arc<ReplySlab<1>>),
    Whole(Box<Reply>),
}

impl CommandReply {
    #[inline]
    pub fn is_error(&self) -> bool {
        match self {
            CommandReply::Small(_) => false,
            CommandReply::Whole(reply) => reply.root.value.kind == Kind::Error,
        }
    }

    /// The reply in an arena of its own.
    pub fn whole(self) -> Box<Reply> {
        match self {
            CommandReply::Small(slab) => Box::new(slab.copy(0)),
            CommandReply::Whole(reply) => reply,
        }
    }
}

impl From<Box<Reply>> for CommandReply {
    #[inline]
    fn from(reply: Box<Reply>) -> CommandReply {
        CommandReply::Whole(reply)
    }
}
