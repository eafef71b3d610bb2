//! Bytes to values, as they come.
//!
//! The decoder works in place: texts stay where they were received, and the CR behind each is
//! made a NUL. It can stop at any byte and go on when more have come. It recurses nowhere, and
//! grows with the bytes that came, never with a number among them.

use super::value::{Kind, Value, chunk_tag};
use crate::error::{Code, Error, Result};
use crate::sim_hooks::sim_panic_point;

/// What a peer may make us hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one reply.
    pub bytes: usize,
    /// Values in one reply.
    pub elements: usize,
    /// Aggregates within aggregates.
    pub depth: usize,
}

/// A line (a status, an error, a number) may have this many bytes.
const LINE: usize = 64 * 1024;

/// A number has at most so many characters.
const NUMBER: usize = 20;

/// An aggregate whose elements are still coming.
#[derive(Debug)]
struct Frame {
    kind: Frames,
    /// How many values are missing.
    missing: u64,
    /// Where its elements begin among the pending values.
    first: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Frames {
    Aggregate(Kind),
    /// RESP3's `|`: metadata that precedes a value and is not part of it.
    Attribute,
}

/// The state between two calls of [`Decoder::decode`].
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    frames: Vec<Frame>,
    /// Values that belong to the frames and have not been gathered.
    pending: Vec<Value>,
    /// How far into the reply we are; what lies before has been dealt with.
    at: usize,
    /// How far beyond `at` a line has been searched for its end.
    searched: usize,
    elements: usize,
    /// How many bytes the value at `at` is known to need, its header included.
    wanted: usize,
    /// Where the current reply's elements begin in the caller's list.
    first_value: usize,
}

/// The pending list keeps this many entries between replies.
const KEEP_PENDING: usize = 16_384;

enum Line {
    /// The number, and where the next thing begins.
    Number(i64, usize),
    /// Not all there yet.
    More,
}

impl Decoder {
    pub fn new(limits: Limits) -> Decoder {
        Decoder {
            limits,
            frames: Vec::new(),
            pending: Vec::new(),
            at: 0,
            searched: 0,
            elements: 0,
            wanted: 0,
            first_value: 0,
        }
    }

    /// How many more bytes, at least, the string being received is announced to need, when `have`
    /// bytes of this reply are there.
    pub fn wants(&self, have: usize) -> usize {
        (self.at + self.wanted).saturating_sub(have)
    }

    /// How many values it has room for.
    pub fn room(&self) -> usize {
        self.pending.capacity()
    }

    /// Whether a reply has begun.
    pub fn is_inside(&self) -> bool {
        self.at > 0
    }

    /// The bytes of the reply being decoded have moved: texts placed from `from` on, in the same
    /// chunk, are now `delta` further. Others in `values` are not ours to touch.
    pub fn moved(&mut self, values: &mut [Value], from: u64, delta: u64) {
        let gathered = values.get_mut(self.first_value..).unwrap_or_default();
        let ours = from..(from | (chunk_tag(1) - 1)) + 1;
        for value in self.pending.iter_mut().chain(gathered) {
            if value.in_chunk() && ours.contains(&value.data) {
                value.data = value.data.wrapping_add(delta);
            }
        }
    }

    /// Decodes the reply that begins at `start` of `buf`.
    ///
    /// The place of a text is its index in `buf` plus `bias`. Elements go to `values`. Returns
    /// the reply and the index behind it, or `None` if it is not all there: then call again with
    /// the same reply, further received.
    #[inline(always)]
    pub fn decode(
        &mut self,
        buf: &mut [u8],
        start: usize,
        bias: u64,
        values: &mut Vec<Value>,
    ) -> Result<Option<(Value, usize)>> {
        match self.short(buf, start, bias) {
            Some(whole) => Ok(Some(whole)),
            None => self.decode_more(buf, start, bias, values),
        }
    }

    /// What most replies are: one short string that is all there.
    #[inline(always)]
    pub fn short(&self, buf: &mut [u8], start: usize, bias: u64) -> Option<(Value, usize)> {
        // A line of which only a part had come is for who remembers how far it was searched.
        if self.at | self.searched != 0 {
            return None;
        }
        short_string(buf, start, bias)
    }

    /// Decodes what is not [`Decoder::short`].
    #[inline]
    pub fn decode_more(
        &mut self,
        buf: &mut [u8],
        start: usize,
        bias: u64,
        values: &mut Vec<Value>,
    ) -> Result<Option<(Value, usize)>> {
        match self.short_list(buf, start, bias, values) {
            Some(whole) => Ok(Some(whole)),
            None => self.resume(buf, start, bias, values),
        }
    }

    /// A list of up to nine short strings that is all there. Where it turns out to be something
    /// else, [`Decoder::resume`] goes on from there.
    #[inline(never)]
    fn short_list(
        &mut self,
        buf: &mut [u8],
        start: usize,
        bias: u64,
        values: &mut Vec<Value>,
    ) -> Option<(Value, usize)> {
        let Some([b'*', digit @ b'1'..=b'9', b'\r', b'\n']) = buf.get(start..start + 4) else {
            return None;
        };
        let count = usize::from(digit - b'0');
        if self.at | self.searched != 0 || count > self.limits.elements {
            return None;
        }
        let first = values.len();
        if values.capacity() - first < count {
            // Where there are two such lists there are often many.
            values.reserve(if first == 0 { count } else { first.max(64) });
        }
        let mut at = start + 4;
        for done in 0..count {
            let Some((value, end)) = short_string(buf, at, bias) else {
                self.first_value = first;
                self.pending.extend(values.drain(first..));
                self.frames.push(Frame {
                    kind: Frames::Aggregate(Kind::Array),
                    missing: (count - done) as u64,
                    first: 0,
                });
                self.elements = done;
                self.at = at - start;
                return None;
            };
            values.push(value);
            at = end;
        }
        Some((Value::new(Kind::Array, count as u32, first as u64), at))
    }

    fn resume(
        &mut self,
        buf: &mut [u8],
        start: usize,
        bias: u64,
        values: &mut Vec<Value>,
    ) -> Result<Option<(Value, usize)>> {
        sim_panic_point!(Resp);
        if self.at == 0 {
            self.first_value = values.len();
        }
        let mut at = start + self.at;
        loop {
            if let Some(frame) = self.frames.last_mut() {
                // Lists are mostly runs of short strings.
                let before = self.pending.len();
                let most = frame
                    .missing
                    .min((self.limits.elements - self.elements) as u64);
                let most = before + most as usize;
                while self.pending.len() < most
                    && let Some((value, end)) = short_string(buf, at, bias)
                {
                    self.pending.push(value);
                    at = end;
                }
                let run = self.pending.len() - before;
                frame.missing -= run as u64;
                self.elements += run;
                self.at = at - start;
                if frame.missing == 0 && run > 0 {
                    if let Some(value) = self.gather(values)
                        && let Some(whole) = self.close(value, values)
                    {
                        self.reset();
                        return Ok(Some((whole, at)));
                    }
                    continue;
                }
            }
            let here = at;
            let Some(&sign) = buf.get(at) else {
                return self.stop(buf, start, here);
            };
            self.wanted = 0;
            let value = match sign {
                b'$' | b'=' | b'!' => {
                    let (len, text) = match self.number(buf, at + 1)? {
                        Line::Number(len, text) => (len, text),
                        Line::More => return self.stop(buf, start, here),
                    };
                    if len == -1 && sign == b'$' {
                        at = text;
                        Value::NIL
                    } else {
                        let Some(len) =
                            usize::try_from(len).ok().filter(|n| *n < u32::MAX as usize)
                        else {
                            return Err(broken(format_args!("a string of {len} bytes")));
                        };
                        let end = text + len;
                        if end - start > self.limits.bytes {
                            return Err(broken(format_args!(
                                "a reply of more than max_reply_bytes = {}",
                                self.limits.bytes
                            )));
                        }
                        if buf.len() < end + 2 {
                            self.wanted = end + 2 - here;
                            return self.stop(buf, start, here);
                        }
                        if buf[end] != b'\r' || buf[end + 1] != b'\n' {
                            return Err(broken("a string that does not end where it says"));
                        }
                        buf[end] = 0;
                        at = end + 2;
                        if sign == b'!' {
                            // Errors are one line, whatever a server puts into them.
                            let controls = buf[text..end].iter_mut().filter(|b| **b < b' ');
                            controls.for_each(|b| *b = b' ');
                        }
                        string(sign, buf, text, len, bias)?
                    }
                }
                b'+' | b'-' | b',' | b'(' => {
                    let Some(end) = self.line(buf, start, at + 1)? else {
                        return self.stop(buf, start, here);
                    };
                    let text = at + 1;
                    at = end + 2;
                    buf[end] = 0;
                    line_value(sign, &buf[text..end], (text as u64).wrapping_add(bias))?
                }
                b':' => match self.number(buf, at + 1)? {
                    Line::Number(n, next) => {
                        at = next;
                        Value::integer(n)
                    }
                    Line::More => return self.stop(buf, start, here),
                },
                b'_' | b'#' => {
                    let Some(end) = self.line(buf, start, at + 1)? else {
                        return self.stop(buf, start, here);
                    };
                    let value = match (sign, &buf[at + 1..end]) {
                        (b'_', b"") => Value::NIL,
                        (b'#', b"t") => Value::new(Kind::Bool, 0, 1),
                        (b'#', b"f") => Value::new(Kind::Bool, 0, 0),
                        _ => return Err(broken("a null or a bool that is neither")),
                    };
                    at = end + 2;
                    value
                }
                b'*' | b'%' | b'~' | b'>' | b'|' => {
                    let (count, next) = match self.number(buf, at + 1)? {
                        Line::Number(count, next) => (count, next),
                        Line::More => return self.stop(buf, start, here),
                    };
                    at = next;
                    match self.open(sign, count)? {
                        Some(value) => value,
                        None => {
                            self.at = at - start;
                            continue;
                        }
                    }
                }
                other => {
                    return Err(broken(format_args!(
                        "byte 0x{other:02x} where a reply should begin"
                    )));
                }
            };
            self.elements += 1;
            if self.elements > self.limits.elements {
                return Err(broken(format_args!(
                    "a reply of more than max_reply_elements = {}",
                    self.limits.elements
                )));
            }
            if at - start > self.limits.bytes {
                return Err(broken(format_args!(
                    "a reply of more than max_reply_bytes = {}",
                    self.limits.bytes
                )));
            }
            if let Some(whole) = self.close(value, values) {
                self.reset();
                return Ok(Some((whole, at)));
            }
            self.at = at - start;
        }
    }

    /// Opens an aggregate; an empty or null one is a value at once.
    fn open(&mut self, sign: u8, count: i64) -> Result<Option<Value>> {
        if count == -1 && sign == b'*' {
            return Ok(Some(Value::NIL));
        }
        let pairs = matches!(sign, b'%' | b'|');
        let missing = u64::try_from(count)
            .ok()
            .and_then(|n| n.checked_mul(if pairs { 2 } else { 1 }))
            .filter(|n| *n < u64::from(u32::MAX));
        let Some(missing) = missing else {
            return Err(broken(format_args!("an aggregate of {count} elements")));
        };
        if missing > self.limits.elements as u64 {
            return Err(broken(format_args!(
                "a reply of more than max_reply_elements = {}",
                self.limits.elements
            )));
        }
        let kind = match sign {
            b'*' => Frames::Aggregate(Kind::Array),
            b'%' => Frames::Aggregate(Kind::Map),
            b'~' => Frames::Aggregate(Kind::Set),
            b'>' if self.frames.is_empty() => Frames::Aggregate(Kind::Push),
            b'>' => return Err(broken("a push inside another reply")),
            _ => Frames::Attribute,
        };
        if missing == 0 {
            return match kind {
                Frames::Aggregate(kind) => Ok(Some(Value::new(kind, 0, 0))),
                Frames::Attribute => Ok(None),
            };
        }
        if self.frames.len() >= self.limits.depth {
            return Err(broken(format_args!(
                "a reply deeper than max_reply_depth = {}",
                self.limits.depth
            )));
        }
        self.frames.push(Frame {
            kind,
            missing,
            first: self.pending.len(),
        });
        Ok(None)
    }

    /// Gives a value to the innermost aggregate; returns the reply if that completes it.
    #[inline]
    fn close(&mut self, mut value: Value, values: &mut Vec<Value>) -> Option<Value> {
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Some(value);
            };
            self.pending.push(value);
            frame.missing -= 1;
            if frame.missing > 0 {
                return None;
            }
            value = self.gather(values)?;
        }
    }

    /// Makes a value of the innermost aggregate, which has all its elements; nothing, if it is
    /// an attribute.
    fn gather(&mut self, values: &mut Vec<Value>) -> Option<Value> {
        let frame = self.frames.pop()?;
        let value = match frame.kind {
            Frames::Aggregate(kind) => {
                let elements = &self.pending[frame.first..];
                let value = Value::new(kind, elements.len() as u32, values.len() as u64);
                values.extend_from_slice(elements);
                Some(value)
            }
            // What was gathered below it stays in `values`, which others may have added to
            // meanwhile; nothing refers to it.
            Frames::Attribute => None,
        };
        self.pending.truncate(frame.first);
        value
    }

    /// Remembers where to go on. What a peer may hold unfinished is limited like all else.
    fn stop(&mut self, buf: &[u8], start: usize, at: usize) -> Result<Option<(Value, usize)>> {
        if buf.len() - start > self.limits.bytes.saturating_add(LINE) {
            return Err(broken(format_args!(
                "a reply of more than max_reply_bytes = {}",
                self.limits.bytes
            )));
        }
        self.at = at - start;
        Ok(None)
    }

    fn reset(&mut self) {
        self.at = 0;
        self.searched = 0;
        self.elements = 0;
        self.wanted = 0;
        if self.pending.capacity() > KEEP_PENDING {
            self.pending = Vec::new();
        }
    }

    /// The end of the line that begins at `from`.
    fn line(&mut self, buf: &[u8], start: usize, from: usize) -> Result<Option<usize>> {
        // A line that comes a byte at a time is not searched from its beginning each time.
        let begin = from.max(start + self.searched);
        match memchr::memchr(b'\r', &buf[begin.min(buf.len())..]) {
            Some(i) if begin + i - from > LINE => Err(broken("an endless line")),
            Some(i) => match buf.get(begin + i + 1) {
                Some(b'\n') => {
                    self.searched = 0;
                    Ok(Some(begin + i))
                }
                Some(_) => Err(broken("a line with a stray CR")),
                None => {
                    self.searched = begin + i - start;
                    Ok(None)
                }
            },
            None if buf.len() - from > LINE => Err(broken("an endless line")),
            None => {
                self.searched = buf.len() - start;
                Ok(None)
            }
        }
    }

    /// The number of the line that begins at `from`: a length, a count or an integer.
    #[inline]
    fn number(&self, buf: &[u8], from: usize) -> Result<Line> {
        // Most lists are short.
        if let Some([digit @ b'0'..=b'9', b'\r', b'\n']) = buf.get(from..from + 3) {
            return Ok(Line::Number(i64::from(digit - b'0'), from + 3));
        }
        let mut at = from;
        let mut n: i64 = 0;
        let negative = match buf.get(at) {
            Some(b'-') => {
                at += 1;
                true
            }
            // RESP allows a plus before an integer, not before a length.
            Some(b'+') if buf.get(from.wrapping_sub(1)) == Some(&b':') => {
                at += 1;
                false
            }
            _ => false,
        };
        let digits = at;
        loop {
            match buf.get(at) {
                Some(b @ b'0'..=b'9') => {
                    let digit = i64::from(b - b'0');
                    // Built downwards, so that the smallest number fits too.
                    n = match n.checked_mul(10).and_then(|n| n.checked_sub(digit)) {
                        Some(n) => n,
                        None => return Err(broken("a number beyond 64 bits")),
                    };
                    at += 1;
                }
                Some(b'\r') if at > digits => break,
                Some(_) => return Err(broken("a number that is none")),
                None if at - from > NUMBER => return Err(broken("an endless number")),
                None => return Ok(Line::More),
            }
        }
        // Zeros lead to nowhere, also when all of them came at once.
        if at - from > NUMBER {
            return Err(broken("an endless number"));
        }
        match buf.get(at + 1) {
            Some(b'\n') => {}
            Some(_) => return Err(broken("a line with a stray CR")),
            None => return Ok(Line::More),
        }
        let n = if negative {
            n
        } else {
            n.checked_neg()
                .ok_or_else(|| broken("a number beyond 64 bits"))?
        };
        Ok(Line::Number(n, at + 2))
    }
}

/// A string of up to 99 bytes that is all there, or nil, or OK: what most replies are.
#[inline(always)]
fn short_string(buf: &mut [u8], start: usize, bias: u64) -> Option<(Value, usize)> {
    let head = buf.get(start..start + 5)?;
    if head[0] != b'$' {
        return (head == b"+OK\r\n").then(|| (Value::ok(), start + 5));
    }
    let (len, text) = match (head[1], head[2], head[3], head[4]) {
        (a @ b'0'..=b'9', b'\r', b'\n', _) => (usize::from(a - b'0'), start + 4),
        (a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n') => (
            usize::from(a - b'0') * 10 + usize::from(b - b'0'),
            start + 5,
        ),
        (b'-', b'1', b'\r', b'\n') => return Some((Value::NIL, start + 5)),
        _ => return None,
    };
    let end = text + len;
    let tail = buf.get_mut(end..end + 2)?;
    if tail != b"\r\n" {
        return None;
    }
    tail[0] = 0;
    let place = (text as u64).wrapping_add(bias);
    Some((Value::new(Kind::String, len as u32, place), end + 2))
}

/// The value of a string that is all there.
#[inline]
fn string(sign: u8, buf: &[u8], text: usize, len: usize, bias: u64) -> Result<Value> {
    let place = (text as u64).wrapping_add(bias);
    Ok(match sign {
        b'$' => Value::new(Kind::String, len as u32, place),
        b'!' => error_value(len as u32, place),
        _ => {
            // "txt:" or "mkd:" and the text.
            if len < 4 || buf[text + 3] != b':' {
                return Err(broken("a verbatim string without its format"));
            }
            Value::new(Kind::Verbatim, len as u32 - 4, place.wrapping_add(4))
        }
    })
}

fn error_value(len: u32, place: u64) -> Value {
    let mut value = Value::new(Kind::Error, len, place);
    value.code = Code::Server as u8;
    value
}

/// The value of a line.
fn line_value(sign: u8, text: &[u8], place: u64) -> Result<Value> {
    let len = text.len() as u32;
    Ok(match sign {
        b'+' if text == b"OK" => Value::ok(),
        b'+' => Value::new(Kind::Status, len, place),
        b'-' => error_value(len, place),
        b',' => {
            let number = std::str::from_utf8(text)
                .ok()
                .and_then(|t| t.parse::<f64>().ok());
            if number.is_none() {
                return Err(broken("a double that is none"));
            }
            Value::new(Kind::Double, len, place)
        }
        _ => {
            let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+"));
            let digits = digits.unwrap_or(text);
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(broken("a big number that is none"));
            }
            Value::new(Kind::Bignum, len, place)
        }
    })
}

/// The peer broke the protocol or a limit. The connection is lost: its position is in doubt.
fn broken(what: impl std::fmt::Display) -> Error {
    Error::new(Code::Protocol, format_args!("the peer sent {what}"))
}

#[cfg(test)]
mod tests;
