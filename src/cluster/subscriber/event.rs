//! What the library itself tells the program of a subscriber: confirmations, gaps and errors.

use super::channel::{ChannelKind, Verb};
use crate::error::Error;
use crate::resp::{Builder, Kind, Origin, Reply, flag};
use std::sync::Arc;

/// Why messages may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapReason {
    /// The connection was lost, or the server closed it.
    Disconnected,
    /// The server has ended the subscription: the slot has moved, or the node was demoted.
    Moved,
    /// The topology names another node.
    Topology,
    /// A primary was added, whose events were not received before.
    Added,
}

impl GapReason {
    pub(super) fn word(self) -> &'static str {
        match self {
            GapReason::Disconnected => "disconnected",
            GapReason::Moved => "moved",
            GapReason::Topology => "topology",
            GapReason::Added => "added",
        }
    }
}

/// A number of channels, with the verb.
pub(super) fn channels_are(count: usize) -> String {
    match count {
        1 => "1 channel is".into(),
        n => format!("{n} channels are"),
    }
}

fn from_node(mut reply: Reply, node: Option<&Arc<Origin>>) -> Box<Reply> {
    if let Some(node) = node {
        reply.root.node = reply.add_origin(node);
    }
    Box::new(reply)
}

/// The confirmation of a command, as servers give it. `node` is the node that has confirmed it.
pub(super) fn confirmation(
    (kind, verb): (ChannelKind, Verb),
    name: Option<&[u8]>,
    count: usize,
    node: Option<&Arc<Origin>>,
) -> Box<Reply> {
    let mut builder = Builder::new();
    builder.text(kind.confirmation(verb));
    match name {
        Some(name) => builder.text(name),
        None => builder.nil(),
    };
    builder.int(count as i64).aggregate(Kind::Push, 0);
    from_node(builder.finish(), node)
}

pub(super) fn gap(
    kind: ChannelKind,
    name: &[u8],
    reason: GapReason,
    node: &Arc<Origin>,
) -> Box<Reply> {
    let mut builder = Builder::new();
    builder
        .text("gap")
        .text(kind.message())
        .text(name)
        .text(reason.word())
        .text(node.name())
        .aggregate(Kind::Push, 0);
    from_node(builder.finish(), Some(node))
}

pub(super) fn error(error: &Error) -> Box<Reply> {
    Box::new(Reply::error(error))
}

/// A connection was lost, and its channels are subscribed again.
pub(super) fn subscribed_again(lost: &Error) -> Box<Reply> {
    let mut reply = error(lost);
    reply.root.value.flags |= flag::SUBSCRIBED_AGAIN;
    reply
}

/// A channel was refused, and is given up.
pub(super) fn given_up(refused: &Error) -> Box<Reply> {
    let mut reply = error(refused);
    reply.root.value.flags |= flag::GIVEN_UP;
    reply
}
