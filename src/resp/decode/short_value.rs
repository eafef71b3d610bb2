//! Short complete values, of which most lists consist, in the forms that servers send. A value in any other form, or of
//! which a part is missing, is left to the decoder.

use super::super::value::{Kind, Value};
use super::decode_short_string;

/// The longest integer that is decoded here, in digits.
const MAX_DIGITS: usize = 18;
/// The longest double that is checked here, in characters.
const MAX_DOUBLE: usize = 24;

/// Eight bytes as a number, the first one lowest.
const fn word(bytes: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*bytes)
}

/// Complete short values that follow each other in a buffer.
pub(super) struct ShortValues<'a> {
    pub(super) buf: &'a mut [u8],
    /// The index of the next value.
    pub(super) at: usize,
    /// The position of a text is its index plus this.
    pub(super) bias: u64,
}

/// The header of a string.
#[derive(Clone, Copy)]
struct StringHeader {
    /// The bytes of the header are these bits of the 8 bytes that it begins.
    mask: u64,
    bytes: u64,
    /// The length of the header.
    header_len: usize,
    /// The length of the string.
    len: usize,
}

impl StringHeader {
    /// No header: no 8 bytes begin with it.
    const NONE: StringHeader = StringHeader {
        mask: 0,
        bytes: 1,
        header_len: 0,
        len: 0,
    };

    /// The header of a string of less than 1,000 bytes, by its 8 first bytes.
    #[inline(always)]
    fn of(head: u64) -> Option<StringHeader> {
        const TWO_DIGITS: HeaderForm = HeaderForm::new(b"$00\r\n\0\0\0", 2);
        const ONE_DIGIT: HeaderForm = HeaderForm::new(b"$0\r\n\0\0\0\0", 1);
        const THREE_DIGITS: HeaderForm = HeaderForm::new(b"$000\r\n\0\0", 3);
        let (form, digits) = if let Some(digits) = TWO_DIGITS.digits(head) {
            (TWO_DIGITS, digits)
        } else if let Some(digits) = ONE_DIGIT.digits(head) {
            (ONE_DIGIT, digits)
        } else {
            (THREE_DIGITS, THREE_DIGITS.digits(head)?)
        };
        let digit = |at: u64| digits >> (8 * at) & 15;
        let len = match form.count {
            1 => digit(1),
            2 => 10 * digit(1) + digit(2),
            _ => 100 * digit(1) + 10 * digit(2) + digit(3),
        };
        Some(StringHeader {
            mask: form.mask,
            bytes: head & form.mask,
            header_len: form.count + 3,
            len: len as usize,
        })
    }

    /// The end of the string behind its header: below 1,010.
    #[inline(always)]
    fn end(&self) -> usize {
        self.header_len.wrapping_add(self.len)
    }

    /// The string whose header is at this index of the buffer.
    #[inline(always)]
    fn value_at(&self, at: usize, bias: u64) -> Value {
        let text = (at as u64).wrapping_add(self.header_len as u64);
        Value::new(Kind::String, self.len as u32, text.wrapping_add(bias))
    }
}

/// The headers with one number of digits.
#[derive(Clone, Copy)]
struct HeaderForm {
    /// The number of digits.
    count: usize,
    /// The header with zeros as digits, and the bits that it takes of 8 bytes.
    zeros: u64,
    mask: u64,
    /// What makes more than 15 of a digit above 9.
    sixes: u64,
    /// The bits that are 0 then, if the bytes differ from `zeros` by digits only.
    fixed: u64,
}

impl HeaderForm {
    const fn new(zeros: &[u8; 8], count: usize) -> HeaderForm {
        let mask = u64::MAX >> (64 - 8 * (count + 3));
        let digits = (u64::MAX >> (64 - 8 * count)) << 8;
        HeaderForm {
            count,
            zeros: word(zeros),
            mask,
            sixes: digits & 0x0606_0606_0606_0606,
            fixed: mask & !(digits & 0x0f0f_0f0f_0f0f_0f0f),
        }
    }

    /// What the bytes have in addition to the zeros, if that is digits.
    #[inline(always)]
    fn digits(self, head: u64) -> Option<u64> {
        let digits = (head ^ self.zeros) & self.mask;
        // Without digits above 15, no sum reaches the next byte.
        let is_header = (digits | digits.wrapping_add(self.sixes)) & self.fixed == 0;
        is_header.then_some(digits)
    }
}

/// Decodes the element of a complete list of one short string or nil.
#[inline(always)]
pub(super) fn decode_only_string(
    buf: &mut [u8],
    start: usize,
    bias: u64,
) -> Option<(Value, usize)> {
    let reply = buf.get_mut(start..)?;
    let [b'*', b'1', b'\r', b'\n', string @ ..] = reply else {
        return None;
    };
    // Not more than the length of the buffer.
    let at = start.wrapping_add(4);
    let Some(header) = string.first_chunk().map(word).and_then(StringHeader::of) else {
        return decode_short_string(buf, at, bias);
    };
    let end = header.end();
    let tail = string.get_mut(end..end.wrapping_add(2))?;
    if tail != b"\r\n" {
        return None;
    }
    tail[0] = 0;
    let next = at.wrapping_add(end).wrapping_add(2);
    Some((header.value_at(at, bias), next))
}

impl ShortValues<'_> {
    /// Appends the values that come next to `values`, until it has `most` of them or one is in another form than these: a
    /// string of less than 1,000 bytes, an integer of up to 18 digits, a double in decimal, a boolean, a null, and OK.
    #[inline(always)]
    pub(super) fn append_to(&mut self, values: &mut Vec<Value>, most: usize) {
        while values.len() < most {
            let before = self.at;
            match self.buf.get(before) {
                Some(b'$') => self.append_strings(values, most),
                Some(b':') => self.append_while(values, most, integer),
                Some(b',') => self.append_while(values, most, double),
                Some(b'#' | b'_') => self.append_while(values, most, bool_or_null),
                _ => {}
            }
            if self.at != before {
                continue;
            }
            let Some((value, next)) = decode_short_string(self.buf, before, self.bias) else {
                return;
            };
            values.push(value);
            self.at = next;
        }
    }

    /// A function of its own: inlined, its loop would run out of registers.
    #[inline(never)]
    fn append_strings(&mut self, values: &mut Vec<Value>, most: usize) {
        // Many lists have strings of one length.
        let mut header = StringHeader::NONE;
        let mut at = self.at;
        while values.len() < most {
            let Some(rest) = self.buf.get_mut(at..) else {
                break;
            };
            let Some(head) = rest.first_chunk().map(word) else {
                break;
            };
            if head & header.mask != header.bytes {
                match StringHeader::of(head) {
                    Some(other) => header = other,
                    None => break,
                }
            }
            let end = header.end();
            let Some(tail) = rest.get_mut(end..end.wrapping_add(2)) else {
                break;
            };
            if tail != b"\r\n" {
                break;
            }
            tail[0] = 0;
            values.push(header.value_at(at, self.bias));
            // Not more than the length of the buffer.
            at = at.wrapping_add(end).wrapping_add(2);
        }
        self.at = at;
    }

    /// Appends values for as long as `decode` finds one. It gets the buffer, the index of the value, and the bias.
    #[inline(always)]
    fn append_while(
        &mut self,
        values: &mut Vec<Value>,
        most: usize,
        decode: impl Fn(&mut [u8], usize, u64) -> Option<(Value, usize)>,
    ) {
        let mut at = self.at;
        while values.len() < most
            && let Some((value, next)) = decode(self.buf, at, self.bias)
        {
            values.push(value);
            at = next;
        }
        self.at = at;
    }
}

/// A boolean or a null.
#[inline(always)]
fn bool_or_null(buf: &mut [u8], at: usize, _bias: u64) -> Option<(Value, usize)> {
    match buf.get(at..)? {
        [b'_', b'\r', b'\n', ..] => Some((Value::NIL, at.wrapping_add(3))),
        [b'#', value @ (b't' | b'f'), b'\r', b'\n', ..] => {
            let value = Value::new(Kind::Bool, 0, u64::from(*value == b't'));
            Some((value, at.wrapping_add(4)))
        }
        _ => None,
    }
}

/// An integer of up to 18 digits, which fits in 64 bits.
#[inline(always)]
fn integer(buf: &mut [u8], at: usize, _bias: u64) -> Option<(Value, usize)> {
    let [b':', line @ ..] = buf.get(at..)? else {
        return None;
    };
    let is_negative = line.first() == Some(&b'-');
    let digits = &line[usize::from(is_negative)..];
    let (mut number, mut len) = (0u64, 0usize);
    for byte in &digits[..digits.len().min(MAX_DIGITS)] {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        len = len.wrapping_add(1);
    }
    if len == 0 || digits.get(len..len.wrapping_add(2)) != Some(b"\r\n") {
        return None;
    }
    let number = match is_negative {
        true => number.wrapping_neg(),
        false => number,
    };
    // The sign of the type, the minus, the digits, CR and LF: not more than the length of the buffer.
    let end = at.wrapping_add(len).wrapping_add(usize::from(is_negative));
    Some((Value::new(Kind::Integer, 0, number), end.wrapping_add(3)))
}

/// A double whose text has only digits, and maybe a minus before and a point between them.
#[inline(always)]
fn double(buf: &mut [u8], at: usize, bias: u64) -> Option<(Value, usize)> {
    let [b',', line @ ..] = buf.get_mut(at..)? else {
        return None;
    };
    let text = at.wrapping_add(1);
    let first_digit = usize::from(line.first() == Some(&b'-'));
    let mut len = first_digit;
    let mut first_of_part = first_digit;
    while let Some(byte) = line.get(len).filter(|_| len < MAX_DOUBLE) {
        if byte.wrapping_sub(b'0') > 9 {
            let is_first_point = *byte == b'.' && first_of_part == first_digit && len > first_digit;
            if !is_first_point {
                break;
            }
            first_of_part = len.wrapping_add(1);
        }
        len = len.wrapping_add(1);
    }
    let tail = line.get_mut(len..len.wrapping_add(2))?;
    if tail != b"\r\n" || len == first_of_part {
        return None;
    }
    tail[0] = 0;
    let position = (text as u64).wrapping_add(bias);
    let value = Value::new(Kind::Double, len as u32, position);
    Some((value, text.wrapping_add(len).wrapping_add(2)))
}
