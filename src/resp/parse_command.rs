//! Encoded commands back to their arguments, for callers that encode for themselves.

use crate::error::{Error, Result};

/// Reads one command of `bytes` from `at` on into `args`; returns where it ends.
///
/// Strict, because what passes here goes to a server as it is: only arrays of bulk strings, with
/// at least one argument, whose lengths are what they say.
pub fn parse_command<'a>(bytes: &'a [u8], at: usize, args: &mut Vec<&'a [u8]>) -> Result<usize> {
    args.clear();
    let (count, mut at) = length(bytes, at, b'*')?;
    if count == 0 {
        return Err(Error::invalid(format_args!(
            "an empty command ends at byte {at} of the RESP buffer"
        )));
    }
    // An argument takes 5 bytes at least, so a count beyond what is there is refused unread.
    if count > (bytes.len() - at) / 5 {
        return Err(Error::invalid(format_args!(
            "the RESP buffer ends inside a command of {count} arguments"
        )));
    }
    for n in 1..=count {
        let (len, start) = length(bytes, at, b'$')?;
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

/// Reads "<sign><digits>\r\n".
fn length(bytes: &[u8], at: usize, sign: u8) -> Result<(usize, usize)> {
    let wrong = |what: &str| {
        Error::invalid(format_args!(
            "{what} at byte {at} of the RESP buffer, where {:?} and a length are due",
            char::from(sign)
        ))
    };
    match bytes.get(at) {
        None => return Err(wrong("nothing")),
        Some(b) if *b != sign => return Err(wrong(&format!("byte 0x{b:02x}"))),
        Some(_) => {}
    }
    let mut n: usize = 0;
    let mut i = at + 1;
    while let Some(digit) = bytes.get(i).filter(|b| b.is_ascii_digit()) {
        n = n
            .checked_mul(10)
            .and_then(|n| n.checked_add(usize::from(digit - b'0')))
            .ok_or_else(|| wrong("a length beyond all bounds"))?;
        i += 1;
    }
    if i == at + 1 || bytes.get(i..i + 2) != Some(b"\r\n") {
        return Err(wrong("no length"));
    }
    Ok((n, i + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_one_after_the_other() {
        let bytes = b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n";
        let mut args = Vec::new();
        let next = parse_command(bytes, 0, &mut args).unwrap();
        assert_eq!(args, [b"PING"]);
        assert_eq!(parse_command(bytes, next, &mut args).unwrap(), bytes.len());
        assert_eq!(args, [b"GET".as_slice(), b"\r\n"]);
    }

    #[test]
    fn whatever_is_not_a_command_is_refused() {
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
