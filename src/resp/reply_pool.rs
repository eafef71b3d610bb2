//! The memory of small replies that were freed, for others. The allocator of the C library is slow for blocks that are
//! freed long after they were allocated.

use super::origin::Origin;
use super::reply::Reply;
use super::value::{NodeValue, Value};
use crate::sync::{Mutex, try_lock};
use std::sync::Arc;

/// The most memory that a spare reply keeps for its text, in bytes, and for its elements.
const MAX_SPARE_TEXT: usize = 1024;
const MAX_SPARE_VALUES: usize = 16;

/// The number of replies that a pool keeps.
const MAX_SPARE_REPLIES: usize = 256;

/// Replies of a subscriber, which all have some elements with short texts.
#[derive(Debug, Default)]
// The replies are given away in their boxes.
#[allow(clippy::vec_box)]
pub struct ReplyPool {
    /// Never waited for, as [`Origin`]'s.
    spare: Mutex<Vec<Box<Reply>>>,
}

impl ReplyPool {
    /// A reply whose text and elements are copied, with the memory of a reply that was freed, if there is one.
    #[inline]
    pub fn reply(
        self: &Arc<ReplyPool>,
        (root, text, values): (Value, &[u8], &[Value]),
        origin: &Arc<Origin>,
    ) -> Box<Reply> {
        let spare = try_lock(&self.spare).and_then(|mut spare| spare.pop());
        let mut reply = spare.unwrap_or_default();
        reply.root = NodeValue {
            value: root,
            node: 1,
        };
        if !(reply.origin.as_ref()).is_some_and(|of| Arc::ptr_eq(of, origin)) {
            reply.origin = Some(origin.clone());
        }
        reply.pool = Some(self.clone());
        reply.first.extend_from_slice(text);
        reply.values.extend_from_slice(values);
        reply
    }

    /// Keeps the memory of a reply that is freed, if it is little.
    pub(super) fn put(&self, mut reply: Box<Reply>) {
        let is_small = reply.first.capacity() <= MAX_SPARE_TEXT
            && reply.values.total_capacity() <= MAX_SPARE_VALUES;
        if !is_small || !reply.is_single() {
            return;
        }
        reply.first.clear();
        reply.values.clear();
        if let Some(mut spare) = try_lock(&self.spare)
            && spare.len() < MAX_SPARE_REPLIES
        {
            spare.push(reply);
        }
    }
}
