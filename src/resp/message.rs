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

/// A decoded message, which begins at the start of its frame.
#[derive(Debug)]
pub struct Message {
    pub kind: MessageType,
    /// Type, channel and payload; or type, pattern, channel and payload.
    values: [Value; 4],
    count: usize,
    /// The length of the frame.
    pub len: usize,
}

impl Message {
    pub fn values(&self) -> &[Value] {
        &self.values[..self.count]
    }

    /// The channel or pattern that the frame names.
    #[inline]
    pub fn channel<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        let at = self.values[1].data as usize;
        &frame[at..at + self.values[1].len as usize]
    }

    /// The frame as a value: a push frame, also if it is an array of RESP2.
    pub fn root(&self) -> Value {
        Value::new(Kind::Push, self.count as u32, 0)
    }

    /// Decodes a frame in place: a NUL follows each text. `None`, and nothing is changed, if it is incomplete, long or
    /// anything else.
    #[inline]
    pub fn decode(frame: &mut [u8]) -> Option<Message> {
        let head: &[u8; 18] = frame.first_chunk()?;
        if !matches!(head[0], b'>' | b'*') {
            return None;
        }
        let (kind, word_len, count, mut at) = if head[1..17] == *b"3\r\n$7\r\nmessage\r\n" {
            (MessageType::Message, 7, 3, 17)
        } else if head[1..18] == *b"4\r\n$8\r\npmessage\r\n" {
            (MessageType::PatternMessage, 8, 4, 18)
        } else if head[1..18] == *b"3\r\n$8\r\nsmessage\r\n" {
            (MessageType::ShardedMessage, 8, 3, 18)
        } else {
            return None;
        };
        let mut values = [Value::NIL; 4];
        values[0] = Value::new(Kind::String, word_len, WORD as u64);
        for value in &mut values[1..count] {
            let (text, len) = string(frame, at)?;
            *value = Value::new(Kind::String, len as u32, text as u64);
            at = text + len + 2;
        }
        for value in &values[..count] {
            frame[value.data as usize + value.len as usize] = 0;
        }
        Some(Message {
            kind,
            values,
            count,
            len: at,
        })
    }
}

/// Where the first text begins.
const WORD: usize = 8;

/// The most digits of the length of a text.
const MAX_DIGITS: usize = 5;

/// The position and the length of the text of the complete string at `at`.
#[inline]
fn string(frame: &[u8], at: usize) -> Option<(usize, usize)> {
    if *frame.get(at)? != b'$' {
        return None;
    }
    let mut len = 0usize;
    let mut digits = 0;
    loop {
        let byte = *frame.get(at + 1 + digits)?;
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
        && frame.get(text - 2..text)? == b"\r\n"
        && frame.get(text + len..text + len + 2)? == b"\r\n";
    is_string.then_some((text, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(frame: &[u8]) -> Option<(MessageType, Vec<String>, usize)> {
        let mut frame = frame.to_vec();
        let before = frame.clone();
        let Some(message) = Message::decode(&mut frame) else {
            assert_eq!(frame, before, "nothing is changed");
            return None;
        };
        let text = |value: &Value| {
            let (at, len) = (value.data as usize, value.len as usize);
            assert_eq!(frame[at + len], 0);
            String::from_utf8_lossy(&frame[at..at + len]).into_owned()
        };
        let texts: Vec<String> = message.values().iter().map(text).collect();
        assert_eq!(message.channel(&frame), texts[1].as_bytes());
        Some((message.kind, texts, message.len))
    }

    #[test]
    fn messages_are_decoded_and_everything_else_is_left_alone() {
        let long = format!(
            ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$500\r\n{}\r\n",
            "x".repeat(500)
        );
        for (frame, kind, expected) in [
            (
                ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n",
                MessageType::Message,
                "message a hi",
            ),
            (
                "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$0\r\n\r\n",
                MessageType::Message,
                "message a ",
            ),
            (
                ">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$12\r\n0123456789ab\r\n",
                MessageType::PatternMessage,
                "pmessage a* ab 0123456789ab",
            ),
            (
                ">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\nm\r\n",
                MessageType::ShardedMessage,
                "smessage a m",
            ),
            (
                &long,
                MessageType::Message,
                &format!("message a {}", "x".repeat(500)),
            ),
        ] {
            let (found, texts_found, len) = texts(frame.as_bytes()).unwrap();
            assert_eq!((found, texts_found.join(" ").as_str()), (kind, expected));
            assert_eq!(len, frame.len());
            for cut in 0..frame.len() {
                assert!(
                    texts(&frame.as_bytes()[..cut]).is_none(),
                    "{cut} bytes of {frame:?}"
                );
            }
        }
        for frame in [
            ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
            ">3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\na\r\n",
            ">3\r\n$7\r\nmessage\r\n$\r\n$1\r\na\r\n___",
            ">3\r\n$7\r\nmessage\r\n$1\r\naXX$1\r\na\r\n",
            ">3\r\n$7\r\nmessage\r\n$999999\r\naXX$1\r\na\r\n",
            "%3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n",
            "+PONG\r\n",
        ] {
            assert!(texts(frame.as_bytes()).is_none(), "{frame:?}");
        }
    }
}
