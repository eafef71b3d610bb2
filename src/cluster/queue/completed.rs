//! The replies of a queue that wait to be taken.

use crate::resp::{Origin, Reply, ReplySlab, SLAB_LEN, Value};
use std::collections::VecDeque;
use std::sync::Arc;

/// A reply that waits to be taken, and the tag of its command.
pub struct Completion {
    pub tag: u64,
    pub reply: CompletedReply,
}

pub enum CompletedReply {
    Whole(Box<Reply>),
    /// One of a slab, by its index.
    Small(Arc<ReplySlab>, usize),
}

impl Completion {
    /// The reply, for a caller in Rust.
    pub fn whole(self) -> Box<Reply> {
        match self.reply {
            CompletedReply::Whole(reply) => reply,
            CompletedReply::Small(slab, index) => Box::new(slab.copy(index)),
        }
    }
}

/// The replies, in the order of completion.
#[derive(Default)]
pub(super) struct CompletedReplies {
    entries: VecDeque<CompletedEntry>,
    len: usize,
    /// Those whose replies have all been taken, to be used again when all have been freed.
    taken: VecDeque<Box<SmallReplies>>,
}

/// The most slabs that are kept to be used again.
const MAX_TAKEN: usize = 32;

pub(super) enum CompletedEntry {
    Whole(u64, Box<Reply>),
    Small(Box<SmallReplies>),
}

/// Replies of a slab, and the tags of their commands.
pub(super) struct SmallReplies {
    slab: Arc<ReplySlab>,
    tags: [u64; SLAB_LEN],
    /// The index of the first reply that has not been taken.
    begin: usize,
}

impl CompletedReplies {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, tag: u64, reply: Box<Reply>) {
        self.len += 1;
        self.entries.push_back(CompletedEntry::Whole(tag, reply));
    }

    /// Where small replies of a node can be added: at least one.
    #[inline]
    pub(super) fn small(&mut self, origin: &Arc<Origin>) -> Option<SlabWriter<'_>> {
        let has_room = match self.entries.back_mut() {
            Some(CompletedEntry::Small(last)) => last.takes(origin),
            _ => false,
        };
        if !has_room {
            let unused = self.unused(origin);
            self.entries.push_back(CompletedEntry::Small(unused));
        }
        let Some(CompletedEntry::Small(last)) = self.entries.back_mut() else {
            return None;
        };
        let slab = Arc::get_mut(&mut last.slab)?;
        Some(SlabWriter {
            before: slab.len(),
            slab,
            tags: &mut last.tags,
            len: &mut self.len,
        })
    }

    /// An empty slab for replies of a node. One whose replies a program keeps is left to them.
    fn unused(&mut self, origin: &Arc<Origin>) -> Box<SmallReplies> {
        if let Some(mut taken) = self.taken.pop_front()
            && taken.slab.renew(origin)
        {
            taken.begin = 0;
            return taken;
        }
        Box::new(SmallReplies {
            slab: ReplySlab::new(origin.clone()),
            tags: [0; SLAB_LEN],
            begin: 0,
        })
    }

    /// All replies of a slab have been taken.
    pub(super) fn recycle(&mut self, small: Box<SmallReplies>) {
        if self.taken.len() < MAX_TAKEN {
            self.taken.push_back(small);
        }
    }

    /// The next reply, or the next ones of a slab.
    pub(super) fn pop(&mut self) -> Option<CompletedEntry> {
        let entry = self.entries.pop_front()?;
        self.len -= match &entry {
            CompletedEntry::Whole(..) => 1,
            CompletedEntry::Small(small) => small.len(),
        };
        Some(entry)
    }
}

impl SmallReplies {
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.slab.len() - self.begin
    }

    /// The next of the replies: the tag of its command, and its index.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<(u64, Arc<ReplySlab>, usize)> {
        let index = self.begin;
        let tag = self.tags.get(index).filter(|_| index < self.slab.len())?;
        self.begin = index + 1;
        Some((*tag, self.slab.clone(), index))
    }

    /// Whether replies of this node can be added. The slab may be full, or a caller may hold a reply of it.
    fn takes(&mut self, origin: &Arc<Origin>) -> bool {
        Arc::get_mut(&mut self.slab).is_some_and(|slab| slab.takes(origin))
    }
}

/// Adds replies to a slab.
pub(super) struct SlabWriter<'a> {
    slab: &'a mut ReplySlab,
    tags: &'a mut [u64; SLAB_LEN],
    /// The number of replies that the slab had before.
    before: usize,
    /// The number of all replies.
    len: &'a mut usize,
}

impl SlabWriter<'_> {
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.slab.len() < SLAB_LEN
    }

    /// Adds a reply, for which there must be room: see [`ReplySlab::push`].
    #[inline(always)]
    pub(super) fn push(&mut self, tag: u64, value: Value, bytes: &[u8]) {
        if let Some(of_reply) = self.tags.get_mut(self.slab.len()) {
            *of_reply = tag;
            self.slab.push(value, bytes);
        }
    }
}

impl Drop for SlabWriter<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.len += self.slab.len() - self.before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Kind;

    /// Takes the next replies as a queue does. Returns their tags and texts.
    fn take(completed: &mut CompletedReplies, held: &mut Vec<Completion>) -> Vec<(u64, u64)> {
        let before = held.len();
        match completed.pop() {
            None => {}
            Some(CompletedEntry::Whole(tag, reply)) => held.push(Completion {
                tag,
                reply: CompletedReply::Whole(reply),
            }),
            Some(CompletedEntry::Small(mut small)) => {
                assert!(small.len() > 0);
                let replies = std::iter::from_fn(|| small.pop());
                held.extend(replies.map(|(tag, slab, index)| Completion {
                    tag,
                    reply: CompletedReply::Small(slab, index),
                }));
            }
        }
        let taken = held[before..].iter();
        taken.map(|one| (one.tag, number_of(one))).collect()
    }

    fn push_small(
        completed: &mut CompletedReplies,
        tag: u64,
        value: Value,
        bytes: &[u8],
        origin: &Arc<Origin>,
    ) {
        let mut small = completed.small(origin).expect("a slab of its own");
        assert!(small.has_room());
        small.push(tag, value, bytes);
    }

    fn number_of(completion: &Completion) -> u64 {
        match &completion.reply {
            CompletedReply::Small(slab, index) => slab.replies[*index].root.value.data,
            CompletedReply::Whole(reply) => reply.root.value.data,
        }
    }

    #[test]
    fn replies_are_taken_in_order_and_stay_as_they_are() {
        let mut completed = CompletedReplies::default();
        let origins = [Origin::new("a:1"), Origin::new("b:2")];
        let (mut held, mut taken, mut tag) = (Vec::new(), Vec::new(), 0);
        for round in 0..200 {
            for _ in 0..round % 23 {
                tag += 1;
                let value = Value::integer(tag as i64);
                match tag % 7 {
                    0 => completed.push(tag, Box::new(Reply::of(value))),
                    n => push_small(
                        &mut completed,
                        tag,
                        value,
                        b"",
                        &origins[usize::from(n == 6)],
                    ),
                }
            }
            if round % 3 > 0 {
                taken.extend(take(&mut completed, &mut held));
            }
        }
        while completed.len() > 0 {
            taken.extend(take(&mut completed, &mut held));
        }
        let expected: Vec<(u64, u64)> = (1..=tag).map(|n| (n, n)).collect();
        assert_eq!(taken, expected);
        let numbers: Vec<u64> = held.iter().map(number_of).collect();
        assert!(numbers.into_iter().eq(1..=tag), "none has changed");
        assert!(take(&mut completed, &mut held).is_empty());
        assert!(Arc::strong_count(&origins[0]) > 1);
        drop(held);
        assert_eq!(Arc::strong_count(&origins[0]), 1, "all slabs are freed");
    }

    #[test]
    fn small_replies_of_one_node_share_slabs() {
        let mut completed = CompletedReplies::default();
        let origin = Origin::new("a:1");
        for tag in 0..2 * SLAB_LEN as u64 + 1 {
            let value = Value::new(Kind::String, 1, 0);
            push_small(&mut completed, tag, value, b"x\0", &origin);
        }
        assert_eq!(completed.entries.len(), 3);
    }
}
