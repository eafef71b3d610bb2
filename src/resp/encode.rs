//! Encodes commands as RESP.

use super::parse_command::parse_command;

/// A command, as its arguments or already encoded.
#[derive(Clone, Copy, Debug)]
pub enum CommandBody<'a> {
    Args(&'a [&'a [u8]]),
    /// The encoded argument count and name, and the other arguments.
    Named(&'a EncodedPrefix, &'a [&'a [u8]]),
    Encoded(&'a [u8]),
    /// As `Args`, with a password among them: a buffer that holds it is overwritten.
    SecretArgs(&'a [&'a [u8]]),
    /// As `Encoded`, with a password.
    SecretEncoded(&'a [u8]),
}

/// The first part of a command, encoded at compile time: its argument count and its name.
#[derive(Debug)]
pub struct EncodedPrefix {
    /// Padded with zeros: copying a constant number of bytes takes a few instructions, copying `len`
    /// bytes takes a call.
    bytes: [u8; EncodedPrefix::CAPACITY],
    len: usize,
}

impl EncodedPrefix {
    const CAPACITY: usize = 24;

    pub const fn new(encoded: &[u8]) -> EncodedPrefix {
        let mut bytes = [0; EncodedPrefix::CAPACITY];
        let (used, _) = bytes.split_at_mut(encoded.len());
        used.copy_from_slice(encoded);
        EncodedPrefix {
            bytes,
            len: encoded.len(),
        }
    }

    /// Encodes the prefix of a command with `arguments` arguments, the name included. Returns `None`
    /// if it is longer than 24 bytes.
    pub fn of(arguments: usize, name: &[u8]) -> Option<EncodedPrefix> {
        let mut encoded = Vec::with_capacity(2 * EncodedPrefix::CAPACITY);
        push_header(&mut encoded, b'*', arguments);
        push_string(&mut encoded, name);
        (encoded.len() <= EncodedPrefix::CAPACITY).then(|| EncodedPrefix::new(&encoded))
    }
}

impl CommandBody<'_> {
    /// The length of the encoded command in bytes.
    pub fn len(&self) -> usize {
        let header = |n: usize| 3 + n.checked_ilog10().unwrap_or(0) as usize + 1;
        let string = |bytes: &&[u8]| header(bytes.len()) + bytes.len() + 2;
        match self {
            CommandBody::Encoded(bytes) | CommandBody::SecretEncoded(bytes) => bytes.len(),
            CommandBody::Args(args) | CommandBody::SecretArgs(args) => {
                header(args.len()) + args.iter().map(string).sum::<usize>()
            }
            CommandBody::Named(prefix, rest) => prefix.len + rest.iter().map(string).sum::<usize>(),
        }
    }

    /// Whether the command contains a password.
    #[inline]
    pub fn is_secret(&self) -> bool {
        matches!(
            self,
            CommandBody::SecretArgs(_) | CommandBody::SecretEncoded(_)
        )
    }

    /// The same command, as one that contains a password.
    #[inline]
    pub fn with_secret(self) -> Self {
        match self {
            CommandBody::Args(args) => CommandBody::SecretArgs(args),
            CommandBody::Encoded(bytes) => CommandBody::SecretEncoded(bytes),
            other => other,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `f` with the arguments of the command; with none if the command is malformed.
    pub fn with_args<T>(&self, f: impl FnOnce(&[&[u8]]) -> T) -> T {
        let mut args = Vec::new();
        let mut out = Vec::new();
        match self {
            CommandBody::Args(args) | CommandBody::SecretArgs(args) => return f(args),
            CommandBody::Encoded(bytes) | CommandBody::SecretEncoded(bytes) => {
                // An error leaves no arguments, as documented above.
                let _ = parse_command(bytes, 0, &mut args);
            }
            CommandBody::Named(..) => {
                self.write(&mut out);
                let _ = parse_command(&out, 0, &mut args);
            }
        }
        f(&args)
    }

    /// Appends the encoded command.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            CommandBody::Args(args) | CommandBody::SecretArgs(args) => encode_command(out, args),
            CommandBody::Named(name, rest) => encode_with_prefix(out, name, rest),
            CommandBody::Encoded(bytes) | CommandBody::SecretEncoded(bytes) => {
                out.extend_from_slice(bytes);
            }
        }
    }
}

/// Appends the first `len` bytes of a small array. It copies all `N` and truncates, because a copy of
/// constant size is faster.
#[inline(always)]
fn push_first<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N], len: usize) {
    let end = out.len() + len;
    out.extend_from_slice(bytes);
    out.truncate(end);
}

/// Appends the header of an array of `n` elements or of a string of `n` bytes.
#[inline(always)]
fn push_header(out: &mut Vec<u8>, sign: u8, n: usize) {
    if n < 10 {
        out.extend_from_slice(&[sign, b'0' + n as u8, b'\r', b'\n']);
    } else if n < 100 {
        let (tens, ones) = (b'0' + n as u8 / 10, b'0' + n as u8 % 10);
        push_first(out, &[sign, tens, ones, b'\r', b'\n', 0, 0, 0], 5);
    } else {
        push_long_header(out, sign, n);
    }
}

fn push_long_header(out: &mut Vec<u8>, sign: u8, n: usize) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = n;
    while left > 0 {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    out.push(sign);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends a command: an array of bulk strings.
#[inline]
pub fn encode_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    push_header(out, b'*', args.len());
    for arg in args {
        push_string(out, arg);
    }
}

/// Appends a command whose argument count and name are already encoded.
#[inline(always)]
pub fn encode_with_prefix(out: &mut Vec<u8>, name: &EncodedPrefix, rest: &[&[u8]]) {
    let rest = match rest {
        [arg, rest @ ..] if let Some(short) = ShortString::of(arg) => {
            let mut encoded = [0; EncodedPrefix::CAPACITY + ShortString::CAPACITY];
            encoded[..EncodedPrefix::CAPACITY].copy_from_slice(&name.bytes);
            let begin = name.len.min(EncodedPrefix::CAPACITY);
            let string = &mut encoded[begin..];
            let end = begin
                + string
                    .first_chunk_mut()
                    .map_or(0, |string| short.write(string));
            push_first(out, &encoded, end);
            rest
        }
        _ => {
            push_first(out, &name.bytes, name.len);
            rest
        }
    };
    for arg in rest {
        push_string(out, arg);
    }
}

/// A string of 8 to 16 bytes, as most keys and many values are: its first and its last eight bytes, which may overlap. It is
/// encoded with one check for room, and without a call.
struct ShortString<'a> {
    len: usize,
    first: &'a [u8; 8],
    last: &'a [u8; 8],
}

/// The headers of short strings, padded.
static SHORT_HEADERS: [[u8; 8]; ShortString::MOST + 1] = {
    let mut headers = [[0; 8]; ShortString::MOST + 1];
    let mut n = 0;
    while n <= ShortString::MOST {
        let digit = b'0' + n as u8 % 10;
        headers[n] = match n < 10 {
            true => [b'$', digit, b'\r', b'\n', 0, 0, 0, 0],
            false => [b'$', b'0' + n as u8 / 10, digit, b'\r', b'\n', 0, 0, 0],
        };
        n += 1;
    }
    headers
};

impl<'a> ShortString<'a> {
    const MOST: usize = 16;
    const CAPACITY: usize = 24;

    #[inline(always)]
    fn of(bytes: &'a [u8]) -> Option<ShortString<'a>> {
        let len = bytes.len();
        match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) if len <= ShortString::MOST => {
                Some(ShortString { len, first, last })
            }
            _ => None,
        }
    }

    /// Writes the encoded string, and returns its length.
    #[inline(always)]
    fn write(&self, out: &mut [u8; ShortString::CAPACITY]) -> usize {
        let begin = if self.len < 10 { 4 } else { 5 };
        let end = begin + self.len;
        out[..8].copy_from_slice(&SHORT_HEADERS[self.len]);
        out[begin..begin + 8].copy_from_slice(self.first);
        out[end - 8..end].copy_from_slice(self.last);
        out[end..end + 2].copy_from_slice(b"\r\n");
        end + 2
    }
}

/// Appends a bulk string.
#[inline(always)]
fn push_string(out: &mut Vec<u8>, bytes: &[u8]) {
    match ShortString::of(bytes) {
        Some(short) => {
            let mut encoded = [0; ShortString::CAPACITY];
            let len = short.write(&mut encoded);
            push_first(out, &encoded, len);
        }
        None => push_long_string(out, bytes),
    }
}

#[inline]
fn push_long_string(out: &mut Vec<u8>, bytes: &[u8]) {
    push_header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_size_encode_in_decimal() {
        for n in [0, 9, 10, 99, 100, 12345, 4_294_967_296] {
            let mut out = Vec::new();
            push_header(&mut out, b'$', n);
            assert_eq!(out, format!("${n}\r\n").into_bytes());
        }
    }

    #[test]
    fn command_encodes_as_array_of_bulk_strings() {
        let encoded = b"*3\r\n$3\r\nSET\r\n$2\r\nk\0\r\n$0\r\n\r\n";
        let mut out = Vec::new();
        encode_command(&mut out, &[b"SET", b"k\0", b""]);
        assert_eq!(out, encoded);
        out.clear();
        encode_with_prefix(
            &mut out,
            &EncodedPrefix::of(3, b"SET").unwrap(),
            &[b"k\0", b""],
        );
        assert_eq!(out, encoded);
    }

    #[test]
    fn strings_of_every_length_encode_as_they_are() {
        for len in 0..=150 {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut out = vec![b'x'; len % 7];
            push_string(&mut out, &bytes);
            let header = format!("{}${len}\r\n", "x".repeat(len % 7));
            assert_eq!(out, [header.as_bytes(), &bytes, b"\r\n"].concat());
        }
    }

    #[test]
    fn long_command_name_has_no_encoded_prefix() {
        assert!(EncodedPrefix::of(9, &[b'x'; 13]).is_some());
        assert!(EncodedPrefix::of(10, &[b'x'; 13]).is_none());
        assert!(EncodedPrefix::of(usize::MAX, b"").is_none());
    }
}
