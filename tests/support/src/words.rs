//! Lines of words, as redis-cli parses them: blanks separate words, double quotes join them, and `\r \n \t \0 \\ \"
//! \xNN` stand for bytes that a line cannot contain.

use crate::error::{Result, fail};

/// Splits a line into its words.
pub fn split(line: &str) -> Result<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let mut word = Vec::new();
        let mut quoted = false;
        let mut end = rest.len();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => quoted = !quoted,
                '\\' => word.push(escape(&mut chars, line)?),
                c if c.is_whitespace() && !quoted => {
                    end = at;
                    break;
                }
                c => word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if quoted {
            fail!("a quote is not closed in: {line}");
        }
        words.push(word);
        rest = rest[end..].trim_start();
    }
    Ok(words)
}

/// The bytes of a text in which only escapes are special.
pub fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chars = text.char_indices();
    while let Some((_, c)) = chars.next() {
        match c {
            '\\' => bytes.push(escape(&mut chars, text)?),
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(bytes)
}

fn escape(chars: &mut std::str::CharIndices<'_>, line: &str) -> Result<u8> {
    match chars.next().map(|(_, c)| c) {
        Some('r') => Ok(b'\r'),
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('"') => Ok(b'"'),
        Some('x') => {
            let digits: String = chars.take(2).map(|(_, c)| c).collect();
            match u8::from_str_radix(&digits, 16) {
                Ok(byte) if digits.len() == 2 => Ok(byte),
                _ => fail!("\\x wants two hexadecimal digits in: {line}"),
            }
        }
        Some(c) => fail!("\\{c} is no escape (\\r \\n \\t \\0 \\\\ \\\" \\xNN are) in: {line}"),
        None => fail!("a lone \\ at the end of: {line}"),
    }
}

/// A word for [`split`], always in quotes.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        out.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// As [`quote`], but without quotes if the word needs none.
pub fn word(bytes: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_graphic() && *b != b'"' && *b != b'\\';
    if !bytes.is_empty() && bytes.iter().all(plain) {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        quote(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{quote, split, unescape, word};

    #[test]
    fn quoted_words_survive_line_round_trip() {
        for bytes in [
            &b"a b"[..],
            b"",
            b"\"q\" \\",
            b"\0\r\n\xff\x7f",
            "é".as_bytes(),
        ] {
            assert_eq!(split(&quote(bytes)).unwrap(), [bytes]);
            assert_eq!(split(&word(bytes)).unwrap(), [bytes]);
        }
        let line = "  GET  \"a b\" x\\x41\\0 ";
        assert_eq!(split(line).unwrap(), [&b"GET"[..], b"a b", b"xA\0"]);
        assert_eq!(unescape("+\"OK\"\\r\\n").unwrap(), b"+\"OK\"\r\n");
        assert!(split("\"open").is_err());
        assert!(unescape("\\q").is_err());
        assert!(unescape("\\x4").is_err());
    }
}
