//! Messages on their way from a connection to the program.

use super::subscriptions::{LinkNumber, Subscriptions};
use crate::net::Connection;
use crate::resp::{MessageSlab, Reply};
use std::sync::Arc;

/// What a subscriber returns.
pub enum DeliveredReply {
    Whole(Box<Reply>),
    /// A message of a slab, by its index.
    Message(Arc<MessageSlab>, usize),
}

impl DeliveredReply {
    /// The reply, for a caller in Rust.
    pub fn whole(self) -> Box<Reply> {
        match self {
            DeliveredReply::Whole(reply) => reply,
            DeliveredReply::Message(slab, index) => Box::new(slab.copy(index)),
        }
    }
}

/// Messages of a link that are decoded and not delivered.
pub(super) struct DecodedMessages {
    slab: Arc<MessageSlab>,
    /// The index of the next one.
    next: usize,
    link: LinkNumber,
    /// The address of the channel of the message before, if it is held at the link, and nothing has happened since.
    held: u64,
}

impl DecodedMessages {
    pub(super) fn new() -> DecodedMessages {
        DecodedMessages {
            slab: MessageSlab::new(),
            next: 0,
            link: 0,
            held: 0,
        }
    }

    /// Decodes messages that a link has received, when all before are delivered. False if the next frame is none.
    pub(super) fn take_from(&mut self, number: LinkNumber, connection: &mut Connection) -> bool {
        // The memory is used again, unless the program still has a message in it.
        if Arc::get_mut(&mut self.slab).is_none() {
            self.slab = MessageSlab::new();
        }
        let Some(slab) = Arc::get_mut(&mut self.slab) else {
            return false;
        };
        (self.next, self.link, self.held) = (0, number, 0);
        connection.take_messages(slab)
    }

    /// The next message of a channel that is held at the link.
    #[inline(always)]
    pub(super) fn pop(&mut self, subscriptions: &Subscriptions) -> Option<DeliveredReply> {
        loop {
            let index = self.next;
            let message = self.slab.messages.get(index)?;
            self.next = index + 1;
            if message.channel_address() == self.held || self.is_held(index, subscriptions) {
                return Some(DeliveredReply::Message(self.slab.clone(), index));
            }
        }
    }

    /// Whether the channel of a message is held at the link: not one that is not wanted any more, or on another node, or that
    /// the node has not confirmed. It is remembered for the next message.
    #[cold]
    fn is_held(&mut self, index: usize, subscriptions: &Subscriptions) -> bool {
        let message = &self.slab.messages[index];
        let (kind, name) = self.slab.channel(message);
        let subscription = subscriptions.get(kind.into(), name);
        let is_held = subscription.is_some_and(|s| s.is_held_at(self.link));
        if is_held {
            self.held = message.channel_address();
        }
        is_held
    }

    /// Looks whether the channel of the next message is held, even if it is that of the one before.
    pub(super) fn forget_held(&mut self) {
        self.held = 0;
    }

    /// Drops the messages of a link that has ended, and what they keep of its node.
    pub(super) fn drop_of(&mut self, number: LinkNumber) {
        if self.link == number {
            *self = DecodedMessages::new();
        }
    }
}
