//! Messages that share their memory. The allocator costs more than all else that a short message needs.

use super::message::{MAX_ELEMENTS, Message, MessageType};
use super::origin::Origin;
use super::reply::Reply;
use super::value::{Kind, NodeValue, Value, flag};
use std::sync::Arc;

/// The most messages of a slab, and the most bytes of their frames. A longer message has a slab of its own.
const MAX_MESSAGES: usize = 32;
const MAX_BYTES: usize = 4096;

/// Successive messages of one node. Each message that a C caller holds holds a reference on the slab.
#[derive(Debug)]
pub struct MessageSlab {
    pub messages: Vec<SlabMessage>,
    /// Their frames, with a NUL after each text.
    text: Vec<u8>,
    /// Keeps the name of the node alive.
    origin: Option<Arc<Origin>>,
}

/// A message, with addresses as for C callers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SlabMessage {
    pub root: NodeValue,
    /// The address of the slab.
    pub slab: u64,
    /// Type, channel and payload; or type, pattern, channel and payload.
    pub elements: [Value; MAX_ELEMENTS],
}

impl SlabMessage {
    /// The address of its channel or pattern. Successive messages of a slab that have the same, have the same address.
    #[inline(always)]
    pub fn channel_address(&self) -> u64 {
        self.elements[1].data
    }
}

impl MessageSlab {
    pub fn new() -> Arc<MessageSlab> {
        Arc::new(MessageSlab {
            messages: Vec::new(),
            text: Vec::new(),
            origin: None,
        })
    }

    /// Replaces the messages by those that `bytes` begin with: complete ones, and not all of many. Returns the length of
    /// their frames, 0 if there is none.
    // Inlined into its caller, the loop has too few registers.
    #[inline(never)]
    pub fn fill(&mut self, bytes: &[u8], origin: &Arc<Origin>) -> usize {
        self.clear();
        let Some(mut message) = Message::at(bytes, 0) else {
            return 0;
        };
        let (first, available) = (message.end, bytes.len());
        let len = available
            .min(first.max(MAX_BYTES))
            .min(first * MAX_MESSAGES);
        let bytes = &bytes[..len];
        // Nothing is allocated after this: the messages have addresses.
        let room = len / first;
        self.messages.reserve_exact(room);
        self.text.reserve_exact(len);
        self.text.extend_from_slice(bytes);
        if !(self.origin.as_ref()).is_some_and(|of| Arc::ptr_eq(of, origin)) {
            self.origin = Some(origin.clone());
        }
        let node = origin.c_name().as_ptr().expose_provenance() as u64;
        let mut end;
        loop {
            self.push(&message, node);
            end = message.end;
            if self.messages.len() >= room || !message.advance(bytes) {
                break;
            }
        }
        // Only now, because a pointer that is exposed earlier may not be used after a change.
        self.messages.as_ptr().expose_provenance();
        self.text.as_ptr().expose_provenance();
        end
    }

    /// Keeps the memory, but for that of a long message.
    fn clear(&mut self) {
        self.messages.clear();
        self.text.clear();
        if self.text.capacity() > MAX_BYTES {
            self.text = Vec::new();
        }
    }

    #[inline(always)]
    fn push(&mut self, message: &Message, node: u64) {
        for value in message.new_values() {
            self.text[value.data as usize + value.len as usize] = 0;
        }
        let text = self.text.as_ptr().addr() as u64;
        let mut elements = *message.values();
        for element in &mut elements {
            element.data += text;
        }
        let at = self.messages.as_ptr().wrapping_add(self.messages.len());
        let at = at.addr() + std::mem::offset_of!(SlabMessage, elements);
        let mut value = Value::new(Kind::Push, message.len() as u32, at as u64);
        value.flags = flag::NODE_VALUE | flag::ROOT | flag::SHARED | flag::SENT;
        self.messages.push(SlabMessage {
            root: NodeValue { value, node },
            slab: std::ptr::from_ref(self).addr() as u64,
            elements,
        });
    }
}

impl MessageSlab {
    fn text_of(&self, value: Value) -> &[u8] {
        let at = value.data as usize - self.text.as_ptr().addr();
        &self.text[at..at + value.len as usize]
    }

    /// The kind of a message, and its channel or pattern.
    pub fn channel(&self, message: &SlabMessage) -> (MessageType, &[u8]) {
        let [word, channel, ..] = message.elements;
        let kind = match (message.root.value.len, word.len) {
            (4, _) => MessageType::PatternMessage,
            (_, 7) => MessageType::Message,
            _ => MessageType::ShardedMessage,
        };
        (kind, self.text_of(channel))
    }

    /// A copy of a message, without addresses: for callers in Rust.
    pub fn copy(&self, index: usize) -> Reply {
        let message = &self.messages[index];
        let mut reply = Reply::default();
        let len = message.root.value.len;
        for element in &message.elements[..len as usize] {
            let element = reply.store_text(Kind::String, self.text_of(*element));
            reply.values.push(element);
        }
        reply.root.value = Value::new(Kind::Push, len, 0);
        if let Some(origin) = &self.origin {
            reply.root.node = reply.add_origin(origin);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::View;
    use super::*;

    fn frame(channel: &str, payload: &str) -> String {
        let (channel_len, len) = (channel.len(), payload.len());
        format!(">3\r\n$7\r\nmessage\r\n${channel_len}\r\n{channel}\r\n${len}\r\n{payload}\r\n")
    }

    fn texts(slab: &MessageSlab) -> Vec<String> {
        let text = |view: View<'_>| view.str().unwrap().to_string();
        let of = |index| {
            let reply = slab.copy(index);
            let (_, channel) = slab.channel(&slab.messages[index]);
            assert_eq!(reply.view().at(1).and_then(View::text), Some(channel));
            reply
                .view()
                .elements()
                .map(text)
                .collect::<Vec<_>>()
                .join(" ")
        };
        (0..slab.messages.len()).map(of).collect()
    }

    /// Decodes all of `bytes`. Returns the messages of each slab.
    fn fill_all(
        slab: &mut MessageSlab,
        mut bytes: &[u8],
        origin: &Arc<Origin>,
    ) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        loop {
            let len = slab.fill(bytes, origin);
            assert_eq!(len == 0, slab.messages.is_empty());
            if len == 0 {
                return all;
            }
            all.push(texts(slab));
            bytes = &bytes[len..];
        }
    }

    #[test]
    fn slab_has_addresses_of_texts_that_end_with_nul() {
        let origin = Origin::new("a:1");
        let mut shared = MessageSlab::new();
        let slab = Arc::get_mut(&mut shared).unwrap();
        let bytes = frame("a", "one") + &frame("a", "two") + &frame("b", "six");
        assert_eq!(slab.fill(bytes.as_bytes(), &origin), bytes.len());
        let slab = &shared;
        assert_eq!(
            texts(slab),
            ["message a one", "message a two", "message b six"]
        );
        for message in &slab.messages {
            assert_eq!(
                message.root.value.data,
                message.elements.as_ptr().addr() as u64
            );
            assert_eq!(message.slab, Arc::as_ptr(&shared).addr() as u64);
            for element in &message.elements[..3] {
                let end = element.data as usize + element.len as usize;
                assert_eq!(shared.text[end - shared.text.as_ptr().addr()], 0);
            }
        }
        let channels: Vec<u64> = shared
            .messages
            .iter()
            .map(SlabMessage::channel_address)
            .collect();
        assert!(channels[0] == channels[1] && channels[1] != channels[2]);
    }

    #[test]
    fn slab_is_bounded_by_messages_and_bytes() {
        let origin = Origin::new("a:1");
        let mut slab = MessageSlab::new();
        let slab = Arc::get_mut(&mut slab).unwrap();
        for (len, expected) in [(16, MAX_MESSAGES), (1000, 3), (4000, 1), (90_000, 1)] {
            let count = 2 * expected + 1;
            let bytes = frame("channel", &"x".repeat(len)).repeat(count);
            let all = fill_all(slab, bytes.as_bytes(), &origin);
            let lens: Vec<usize> = all.iter().map(Vec::len).collect();
            assert_eq!(lens, [expected, expected, 1], "{len} bytes");
            assert!(
                slab.text.capacity() <= MAX_BYTES,
                "an empty slab keeps little"
            );
            slab.fill(bytes.as_bytes(), &origin);
            let bound = MAX_BYTES.max(bytes.len() / count);
            assert!(slab.text.capacity() <= bound && slab.messages.capacity() <= MAX_MESSAGES);
        }
        // A short message, and what it does not fit into a slab with.
        let bytes = frame("a", "") + &frame("a", &"x".repeat(5000)) + &frame("a", "");
        let all = fill_all(slab, bytes.as_bytes(), &origin);
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
