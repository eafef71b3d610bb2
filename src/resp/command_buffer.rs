//! A buffer of encoded commands. Memory that has held a password is overwritten before it is freed.

use super::encode::{CommandBody, encode_command, encode_with_prefix};
use std::ops::{Deref, Range};
use zeroize::Zeroize;

/// The encoder writes up to so many bytes behind a command before it truncates the buffer.
const OVERSHOOT: usize = SHORT;

/// A command of at most so many bytes is copied with as many: a copy of constant size takes a few instructions.
const SHORT: usize = 64;

/// Encoded commands.
#[derive(Default)]
pub struct CommandBuffer {
    bytes: Vec<u8>,
    /// One of the commands contains a password.
    has_secret: bool,
}

impl CommandBuffer {
    pub fn with_capacity(bytes: usize) -> CommandBuffer {
        CommandBuffer {
            bytes: Vec::with_capacity(bytes),
            has_secret: false,
        }
    }

    /// Appends a command.
    #[inline(always)]
    pub fn push(&mut self, body: &CommandBody<'_>) {
        if self.has_secret {
            return self.push_beside_secret(body);
        }
        match body {
            CommandBody::Named(prefix, rest) => encode_with_prefix(&mut self.bytes, prefix, rest),
            CommandBody::Args(args) => encode_command(&mut self.bytes, args),
            CommandBody::Encoded(bytes) => self.bytes.extend_from_slice(bytes),
            _ => self.push_beside_secret(body),
        }
    }

    #[cold]
    fn push_beside_secret(&mut self, body: &CommandBody<'_>) {
        self.has_secret |= body.is_secret();
        let room = body.len();
        body.write(self.appendable(|| room));
    }

    /// The buffer, to append at most `len` bytes that are not secret.
    #[inline(always)]
    pub fn appendable(&mut self, len: impl FnOnce() -> usize) -> &mut Vec<u8> {
        if self.has_secret {
            self.reserve(len());
        }
        &mut self.bytes
    }

    /// Makes room for a command of `len` bytes. A growing `Vec` frees its old memory as it is.
    fn reserve(&mut self, len: usize) {
        let len = len + OVERSHOOT;
        if self.bytes.capacity() - self.bytes.len() >= len {
            return;
        }
        let capacity = (self.bytes.len() + len).max(2 * self.bytes.capacity());
        let mut larger = Vec::with_capacity(capacity);
        larger.extend_from_slice(&self.bytes);
        self.bytes.zeroize();
        self.bytes = larger;
    }

    /// All commands as one.
    pub fn body(&self) -> CommandBody<'_> {
        let body = CommandBody::Encoded(&self.bytes);
        if self.has_secret {
            body.with_secret()
        } else {
            body
        }
    }

    /// Whether one of the commands contains a password.
    pub fn has_secret(&self) -> bool {
        self.has_secret
    }

    /// Appends a part of another buffer, none of them secret.
    #[inline(always)]
    pub fn push_part(&mut self, whole: &[u8], part: Range<usize>) {
        let len = part.len();
        match whole
            .get(part.start..)
            .and_then(|rest| rest.first_chunk::<SHORT>())
        {
            Some(chunk) if len <= SHORT => {
                let bytes = self.appendable(|| SHORT);
                let end = bytes.len() + len;
                bytes.extend_from_slice(chunk);
                bytes.truncate(end);
            }
            _ => self.appendable(|| len).extend_from_slice(&whole[part]),
        }
    }

    /// Moves encoded commands, none of them secret, to the end. If there are none yet, the buffers are swapped.
    pub fn append(&mut self, encoded: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, encoded);
        } else {
            self.appendable(|| encoded.len()).extend_from_slice(encoded);
        }
        encoded.clear();
    }

    /// Removes a part.
    pub fn remove(&mut self, part: Range<usize>) {
        self.bytes.drain(part);
    }

    /// Empties the buffer, and frees it if it is larger than `max_kept` bytes.
    #[inline(always)]
    pub fn clear(&mut self, max_kept: usize) {
        if self.has_secret || self.bytes.capacity() > max_kept {
            self.overwrite_or_free(max_kept);
        }
        self.bytes.clear();
    }

    #[cold]
    fn overwrite_or_free(&mut self, max_kept: usize) {
        if self.has_secret {
            self.overwrite();
        }
        if self.bytes.capacity() > max_kept {
            self.bytes = Vec::new();
        }
    }

    #[cold]
    fn overwrite(&mut self) {
        self.bytes.zeroize();
        self.has_secret = false;
    }
}

impl Deref for CommandBuffer {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for CommandBuffer {
    fn drop(&mut self) {
        if self.has_secret {
            self.overwrite();
        }
    }
}

impl std::fmt::Debug for CommandBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_their_order_beside_a_secret() {
        let mut buffer = CommandBuffer::default();
        let (get, auth): ([&[u8]; 2], [&[u8]; 2]) = ([b"GET", b"k"], [b"AUTH", b"secret"]);
        let mut expected = Vec::new();
        for round in 0..100 {
            let body = match round {
                3 => CommandBody::SecretArgs(&auth),
                _ => CommandBody::Args(&get),
            };
            body.write(&mut expected);
            buffer.push(&body);
        }
        assert_eq!(&*buffer, &*expected);
        assert!(!format!("{buffer:?}").contains("secret"));
        buffer.append(&mut b"*1\r\n$4\r\nPING\r\n".to_vec());
        assert_eq!(buffer.len(), expected.len() + 14);
        buffer.clear(usize::MAX);
        assert!(buffer.is_empty() && !buffer.has_secret && buffer.bytes.capacity() > 0);
        // Zeroize overwrites the whole capacity.
        buffer.bytes.resize(buffer.bytes.capacity(), 1);
        buffer.has_secret = true;
        buffer.clear(0);
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn parts_are_copied_as_they_are() {
        let whole: Vec<u8> = (0..200).map(|n| n as u8).collect();
        for (begin, end) in [
            (0, 0),
            (0, 64),
            (1, 66),
            (100, 164),
            (136, 200),
            (150, 200),
            (0, 200),
        ] {
            let mut buffer = CommandBuffer::default();
            buffer.push_part(b"x", 0..1);
            buffer.push_part(&whole, begin..end);
            buffer.push_part(&whole, 3..5);
            let expected = [b"x", &whole[begin..end], &[3, 4]].concat();
            assert_eq!(&*buffer, &*expected, "{begin}..{end}");
        }
    }

    #[test]
    fn length_of_command_is_that_of_its_encoding() {
        let long = [b'x'; 1000];
        for args in [&[][..], &[&b""[..]], &[&long[..], b"k"], &[&b"a"[..]; 123]] {
            let mut out = Vec::new();
            CommandBody::Args(args).write(&mut out);
            assert_eq!(CommandBody::Args(args).len(), out.len());
            assert_eq!(CommandBody::SecretArgs(args).len(), out.len());
            assert_eq!(CommandBody::SecretEncoded(&out).len(), out.len());
        }
    }
}
