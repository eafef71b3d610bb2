//! Parses an encoded command into its arguments, for callers that encode commands themselves.

use crate::error::{Error, Result};

/// The arguments of a command.
pub trait ArgList<'a> {
    fn clear(&mut self);
    fn push(&mut self, arg: &'a [u8]);
}

impl<'a> ArgList<'a> for Vec<&'a [u8]> {
    fn clear(&mut self) {
        self.clear();
    }

    fn push(&mut self, arg: &'a [u8]) {
        self.push(arg);
    }
}

/// The arguments of one command, of which most have few: those need no memory of their own.
#[derive(Default)]
pub struct CommandArgs<'a> {
    few: [&'a [u8]; CommandArgs::FEW],
    len: usize,
    /// All arguments, if there are more.
    many: Vec<&'a [u8]>,
}

impl CommandArgs<'_> {
    const FEW: usize = 8;
}

impl<'a> CommandArgs<'a> {
    #[inline]
    pub fn as_slice(&self) -> &[&'a [u8]] {
        match self.few.get(..self.len) {
            Some(few) => few,
            None => &self.many,
        }
    }

    #[cold]
    fn push_beyond_few(&mut self, arg: &'a [u8]) {
        if self.many.is_empty() {
            self.many.extend_from_slice(&self.few);
        }
        self.many.push(arg);
    }
}

impl<'a> ArgList<'a> for CommandArgs<'a> {
    fn clear(&mut self) {
        self.len = 0;
        self.many.clear();
    }

    #[inline]
    fn push(&mut self, arg: &'a [u8]) {
        match self.few.get_mut(self.len) {
            Some(entry) => *entry = arg,
            None => self.push_beyond_few(arg),
        }
        self.len += 1;
    }
}

/// Parses the command at index `at` of `bytes` into `args`, and returns the index after it.
///
/// Strict, because the bytes are sent to a server unchanged: the command must be an array of at least
/// one bulk string, and every length must be correct.
#[inline]
pub fn parse_command<'a>(bytes: &'a [u8], at: usize, args: &mut impl ArgList<'a>) -> Result<usize> {
    args.clear();
    let (count, mut at) = parse_length(bytes, at, b'*')?;
    if count == 0 {
        return Err(Error::invalid(format_args!(
            "the command that ends at byte {at} of the RESP buffer is empty"
        )));
    }
    // An argument has at least 5 bytes, so an impossible count is rejected before any is parsed.
    if count > (bytes.len() - at) / 5 {
        return Err(Error::invalid(format_args!(
            "the RESP buffer ends inside a command of {count} arguments"
        )));
    }
    for n in 0..count {
        let (len, start) = parse_length(bytes, at, b'$')?;
        let end = start.checked_add(len).filter(|e| e + 2 <= bytes.len());
        let Some(end) = end else {
            return Err(Error::invalid(format_args!(
                "the RESP buffer ends inside argument {} of a command",
                n + 1
            )));
        };
        if &bytes[end..end + 2] != b"\r\n" {
            return Err(Error::invalid(format_args!(
                "argument {} of a command does not end with CRLF at byte {end} of the RESP buffer",
                n + 1
            )));
        }
        args.push(&bytes[start..end]);
        at = end + 2;
    }
    Ok(at)
}

/// Parses `<sign><digits>\r\n`. Returns the number and the index after it.
#[inline]
fn parse_length(bytes: &[u8], at: usize, sign: u8) -> Result<(usize, usize)> {
    // Most have one digit or two.
    let digit = |byte: u8| usize::from(byte - b'0');
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some([first, a @ b'0'..=b'9', b'\r', b'\n', _]) if *first == sign => {
            Ok((digit(*a), at + 4))
        }
        Some([first, a @ b'0'..=b'9', b @ b'0'..=b'9', b'\r', b'\n']) if *first == sign => {
            Ok((digit(*a) * 10 + digit(*b), at + 5))
        }
        _ => parse_any_length(bytes, at, sign),
    }
}

#[inline(never)]
fn parse_any_length(bytes: &[u8], at: usize, sign: u8) -> Result<(usize, usize)> {
    let expected = |found: &str| {
        Error::invalid(format_args!(
            "expected {:?} and a length at byte {at} of the RESP buffer, found {found}",
            char::from(sign)
        ))
    };
    match bytes.get(at) {
        None => return Err(expected("its end")),
        Some(b) if *b != sign => return Err(expected(&format!("byte 0x{b:02x}"))),
        Some(_) => {}
    }
    let mut n: usize = 0;
    let mut i = at + 1;
    while let Some(digit) = bytes.get(i).filter(|b| b.is_ascii_digit()) {
        n = n
            .checked_mul(10)
            .and_then(|n| n.checked_add(usize::from(digit - b'0')))
            .ok_or_else(|| expected("a number that does not fit in 64 bits"))?;
        i += 1;
    }
    if i == at + 1 || bytes.get(i..i + 2) != Some(b"\r\n") {
        return Err(expected("no valid length"));
    }
    Ok((n, i + 2))
}

#[cfg(test)]
mod tests {
    use super::super::encode::encode_command;
    use super::*;

    #[test]
    fn encoded_commands_are_parsed_in_sequence() {
        let bytes = b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n";
        let mut args = Vec::new();
        let next = parse_command(bytes, 0, &mut args).unwrap();
        assert_eq!(args, [b"PING"]);
        assert_eq!(parse_command(bytes, next, &mut args).unwrap(), bytes.len());
        assert_eq!(args, [b"GET".as_slice(), b"\r\n"]);
    }

    #[test]
    fn few_and_many_arguments_are_listed_in_order() {
        let text = b"some text".as_slice();
        let args = |count: usize| -> Vec<&[u8]> { (0..count).map(|n| &text[..n % 9]).collect() };
        let counts = [1, 8, 9, 300, 7, 9];
        let encoded = counts.map(|count| {
            let mut bytes = Vec::new();
            encode_command(&mut bytes, &args(count));
            bytes
        });
        let mut parsed = CommandArgs::default();
        for (count, bytes) in counts.into_iter().zip(&encoded) {
            assert_eq!(parse_command(bytes, 0, &mut parsed).unwrap(), bytes.len());
            assert_eq!(parsed.as_slice(), args(count));
        }
    }

    #[test]
    fn malformed_encoded_commands_are_rejected() {
        for bytes in [
            b"".as_slice(),
            b"PING\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*1\r\n",
            b"*1\r\n$4\r\nPIN",
            b"*1\r\n$3\r\nPINGX\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n+PING\r\n",
            b"*1\r\n$99999999999999999999999\r\nx\r\n",
            b"*18446744073709551615\r\n$1\r\nx\r\n",
            b"*2\r\n$18446744073709551615\r\nx\r\n$1\r\nx\r\n",
            b"*1\n$4\nPING\n",
            b"*+1\r\n$4\r\nPING\r\n",
        ] {
            let mut args = Vec::new();
            let error = parse_command(bytes, 0, &mut args).unwrap_err();
            assert_eq!(error.code, crate::error::Code::Invalid, "{bytes:?}");
        }
    }
}
