//! Parses an encoded command into its arguments, for callers that encode commands themselves.

use crate::error::{Error, Result};

/// Parses the command at index `at` of `bytes` into `args`, and returns the index after it.
///
/// Strict, because the bytes are sent to a server unchanged: the command must be an array of at least
/// one bulk string, and every length must be correct.
pub fn parse_command<'a>(bytes: &'a [u8], at: usize, args: &mut Vec<&'a [u8]>) -> Result<usize> {
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
    for n in 1..=count {
        let (len, start) = parse_length(bytes, at, b'$')?;
        let end = start.checked_add(len).filter(|e| e + 2 <= bytes.len());
        let Some(end) = end else {
            return Err(Error::invalid(format_args!(
                "the RESP buffer ends inside argument {n} of a command"
            )));
        };
        if &bytes[end..end + 2] != b"\r\n" {
            return Err(Error::invalid(format_args!(
                "argument {n} of a command does not end with CRLF at byte {end} of the RESP buffer"
            )));
        }
        args.push(&bytes[start..end]);
        at = end + 2;
    }
    Ok(at)
}

/// Parses "<sign><digits>\r\n". Returns the number and the index after it.
fn parse_length(bytes: &[u8], at: usize, sign: u8) -> Result<(usize, usize)> {
    // Most have one digit.
    if let Some([first, digit @ b'0'..=b'9', b'\r', b'\n']) = bytes.get(at..at + 4)
        && *first == sign
    {
        return Ok((usize::from(digit - b'0'), at + 4));
    }
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
