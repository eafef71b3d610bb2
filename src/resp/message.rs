//! Complete messages of channels, which come in great numbers: decoded at once, not value by value.

use super::value::{Kind, Value};

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// `message`, of a channel.
    Message,
    /// `pmessage`, of a pattern.
    PatternMessage,
    /// `smessage`, of a sharded channel.
    ShardedMessage,
}

/// The most elements of a message.
pub(super) const MAX_ELEMENTS: usize = 4;

/// A message among received bytes. Its values have positions there.
#[derive(Debug)]
pub(super) struct Message {
    /// Type, channel and payload; or type, pattern, channel and payload. The first ones may be those of an earlier message
    /// that has the same.
    values: [Value; MAX_ELEMENTS],
    count: usize,
    /// How many of the values an earlier message had.
    known: usize,
    /// All before the payload.
    head_begin: usize,
    head_len: usize,
    /// The end of the frame.
    pub(super) end: usize,
}

impl Message {
    /// The message that begins at `begin`. `None` if it is incomplete, long or anything else.
    pub(super) fn at(bytes: &[u8], begin: usize) -> Option<Message> {
        let head: &[u8; 18] = bytes.get(begin..)?.first_chunk()?;
        if !matches!(head[0], b'>' | b'*') {
            return None;
        }
        let (word_len, count) = match &head[1..17] {
            b"3\r\n$7\r\nmessage\r\n" => (7, 3),
            b"4\r\n$8\r\npmessage\r" if head[17] == b'\n' => (8, 4),
            b"3\r\n$8\r\nsmessage\r" if head[17] == b'\n' => (8, 3),
            _ => return None,
        };
        let mut values = [Value::NIL; MAX_ELEMENTS];
        values[0] = Value::new(Kind::String, word_len, (begin + WORD) as u64);
        let mut end = begin + WORD + word_len as usize + 2;
        let mut head_len = 0;
        for value in &mut values[1..count] {
            head_len = end - begin;
            (*value, end) = string(bytes, end)?;
        }
        Some(Message {
            values,
            count,
            known: 0,
            head_begin: begin,
            head_len,
            end,
        })
    }

    /// Becomes the message after this one. False if there is none. The channel is often the same.
    #[inline(always)]
    pub(super) fn advance(&mut self, bytes: &[u8]) -> bool {
        let begin = self.end;
        let payload = begin + self.head_len;
        let head = &bytes[self.head_begin..self.head_begin + self.head_len];
        if bytes.get(begin..payload) != Some(head) {
            let other = Message::at(bytes, begin);
            return other.map(|other| *self = other).is_some();
        }
        let Some((text, end)) = string(bytes, payload) else {
            return false;
        };
        self.known = self.count - 1;
        self.values[self.known] = text;
        self.end = end;
        true
    }

    /// Its values. Those past [`Message::len`] are nil.
    pub(super) fn values(&self) -> &[Value; MAX_ELEMENTS] {
        &self.values
    }

    /// The values that no earlier message had.
    pub(super) fn new_values(&self) -> &[Value] {
        &self.values[self.known..self.count]
    }

    /// The number of values.
    pub(super) fn len(&self) -> usize {
        self.count
    }
}

/// Where the first text of a frame begins.
const WORD: usize = 8;

/// The most digits of the length of a text.
const MAX_DIGITS: usize = 5;

/// The complete string at `at`, and its end.
#[inline(always)]
fn string(bytes: &[u8], at: usize) -> Option<(Value, usize)> {
    if *bytes.get(at)? != b'$' {
        return None;
    }
    let mut len = 0usize;
    let mut digits = 0;
    loop {
        let byte = *bytes.get(at + 1 + digits)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        digits += 1;
        if digits > MAX_DIGITS {
            return None;
        }
        len = len.wrapping_mul(10).wrapping_add(usize::from(digit));
    }
    let text = at + digits + 3;
    let is_string = digits > 0
        && bytes.get(text - 2..text)? == b"\r\n"
        && bytes.get(text + len..text + len + 2)? == b"\r\n";
    let value = Value::new(Kind::String, len as u32, text as u64);
    is_string.then_some((value, text + len + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of the messages that these bytes begin with, and how many bytes they are.
    fn decode(bytes: &[u8]) -> (Vec<String>, usize) {
        let (mut texts, mut end) = (Vec::new(), 0);
        let mut message = Message::at(bytes, 0);
        while let Some(one) = &mut message {
            let text = |value: &Value| {
                let (at, len) = (value.data as usize, value.len as usize);
                String::from_utf8_lossy(&bytes[at..at + len]).into_owned()
            };
            let values = &one.values()[..one.len()];
            texts.push(values.iter().map(text).collect::<Vec<_>>().join(" "));
            end = one.end;
            if !one.advance(bytes) {
                break;
            }
        }
        (texts, end)
    }

    #[test]
    fn messages_are_decoded_and_everything_else_ends_them() {
        let long = "x".repeat(500);
        let whole = [
            (
                ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n",
                "message a hi",
            ),
            (">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$0\r\n\r\n", "message a "),
            ("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$0\r\n\r\n", "message a "),
            (
                "*3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$3\r\n\r\n$\r\n",
                "message b \r\n$",
            ),
            (
                ">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$12\r\n0123456789ab\r\n",
                "pmessage a* ab 0123456789ab",
            ),
            (
                ">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nac\r\n$1\r\nm\r\n",
                "pmessage a* ac m",
            ),
            (
                ">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\nm\r\n",
                "smessage a m",
            ),
            (
                &format!(">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$500\r\n{long}\r\n"),
                &format!("smessage a {long}"),
            ),
        ];
        let others = [
            ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
            ">3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\na\r\n",
            ">3\r\n$7\r\nmessage\r\n$\r\n$1\r\na\r\n___",
            ">3\r\n$7\r\nmessage\r\n$1\r\naXX$1\r\na\r\n",
            ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\naXX",
            ">3\r\n$7\r\nmessage\r\n$999999\r\naXX$1\r\na\r\n",
            "%3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n",
            "+PONG\r\n",
        ];
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        // Twice each: the second has the channel of the one before.
        for (frame, texts) in whole.into_iter().flat_map(|one| [one, one]) {
            let before = bytes.len();
            for cut in 0..frame.len() {
                bytes.truncate(before);
                bytes.extend_from_slice(&frame.as_bytes()[..cut]);
                assert_eq!(
                    decode(&bytes),
                    (expected.clone(), before),
                    "{cut} of {frame}"
                );
            }
            for other in others {
                bytes.truncate(before);
                bytes.extend_from_slice(other.as_bytes());
                assert_eq!(decode(&bytes), (expected.clone(), before), "{other}");
            }
            bytes.truncate(before);
            bytes.extend_from_slice(frame.as_bytes());
            expected.push(texts.to_string());
        }
        assert_eq!(decode(&bytes), (expected, bytes.len()));
    }
}
