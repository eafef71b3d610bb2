//! An incremental decoder: received bytes to values.
//!
//! The decoder works in place: texts stay where they were received, and the CR after each becomes a
//! NUL. It can stop at any byte and continue when more bytes have arrived. It does not recurse. Its
//! memory grows with the bytes received, never with a length or count read from the wire.

mod short_value;

use super::double::{NAN, is_nan, parse_double};
use super::value::{Kind, Value, chunk_tag};
use super::value_list::{BLOCK_LEN, Block, ValueList, count_constants, values_of_blocks};
use crate::error::{Code, Error, Result};
use crate::sim_hooks::sim_panic_point;
use short_value::{ShortValues, decode_only_string};

/// Limits on what a node can make the client hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one reply.
    pub bytes: usize,
    /// Values in one reply.
    pub elements: usize,
    /// Nesting of aggregates.
    pub depth: usize,
}

/// Maximum length of a line (a status, an error, a number), in bytes.
const MAX_LINE: usize = 64 * 1024;

/// Maximum length of an integer, in characters.
const MAX_NUMBER: usize = 20;

/// An aggregate that is being received.
#[derive(Debug)]
struct Frame {
    kind: FrameKind,
    /// How many of its elements have not been received.
    remaining: u64,
    /// Index of its first pending element.
    first: usize,
    /// The elements before those.
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum FrameKind {
    Aggregate(Kind),
    /// RESP3's `|`: metadata that precedes a value and is not part of it.
    Attribute,
}

/// The state between two calls of [`Decoder::decode`].
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// The open aggregates, innermost last.
    frames: Vec<Frame>,
    /// Elements of the open aggregates.
    pending: Vec<Value>,
    /// How many bytes of the current reply have been decoded.
    at: usize,
    /// How many bytes of the current reply have been searched for the end of a line.
    searched: usize,
    /// How many values the current reply has so far.
    elements: usize,
    /// How many bytes the value at `at` is known to need, its header included.
    wanted: usize,
    /// Index of the current reply's first element in the caller's list of values.
    first_value: usize,
    /// The pending values are packed when there are so many of them.
    pack_at: usize,
    /// The length of the last list whose reply has taken the memory of the pending list.
    expected: usize,
}

/// A list of fewer values is not packed before it is complete.
const PACK_AFTER: usize = 32_768;
/// A longer list that is not packed grows by one part of so many.
const GROWTH: usize = 8;

/// Between replies, the pending list keeps capacity for this many entries.
const KEEP_PENDING: usize = 16_384;

/// A list of so many values is not copied when it is complete: the reply takes the memory of the pending list.
const TAKE_FROM: usize = 1024;

/// Where a short text is in a buffer, and where the next reply begins.
pub struct ShortText {
    pub begin: usize,
    pub end: usize,
    pub next: usize,
}

/// The result of parsing a number.
enum Number {
    /// The number, and the index after its CRLF.
    Complete(i64, usize),
    Incomplete,
}

/// The result of decoding one value.
enum Step {
    /// A value, and the index after it.
    Value(Value, usize),
    /// The header of an aggregate, and the index of its first element.
    Opened(usize),
    Incomplete,
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
            pack_at: PACK_AFTER,
            expected: 0,
        }
    }

    /// How many more bytes the string being received needs at least, according to its header, when
    /// `have` bytes of this reply have been received.
    pub fn bytes_needed(&self, have: usize) -> usize {
        (self.at + self.wanted).saturating_sub(have)
    }

    /// The memory that it uses, in values.
    pub fn pending_values(&self) -> usize {
        let blocks = self.frames.iter().map(|frame| frame.blocks.len()).sum();
        self.pending.len() + values_of_blocks(blocks)
    }

    /// The memory that it has allocated, in values.
    pub fn pending_capacity(&self) -> usize {
        let blocks = self.frames.iter().map(|frame| frame.blocks.capacity());
        self.pending.capacity() + values_of_blocks(blocks.sum())
    }

    /// Whether nothing of the next reply has been looked at.
    #[inline]
    pub fn is_between_replies(&self) -> bool {
        self.at | self.searched == 0
    }

    /// Whether part of a reply has been decoded.
    pub fn is_mid_reply(&self) -> bool {
        self.at > 0
    }

    /// Adjusts the current reply after its bytes have moved: texts at `from` or later in the same
    /// chunk are now `delta` further. Older values in `values` belong to other replies, and stay as
    /// they are.
    pub fn relocate(&mut self, values: &mut [Value], from: u64, delta: u64) {
        let finished = values.get_mut(self.first_value..).unwrap_or_default();
        let affected = from..(from | (chunk_tag(1) - 1)) + 1;
        for value in self.pending.iter_mut().chain(finished) {
            if value.in_chunk() && affected.contains(&value.data) {
                value.data = value.data.wrapping_add(delta);
            }
        }
    }

    /// Decodes the reply that begins at `start` of `buf`.
    ///
    /// The position of a text is its index in `buf` plus `bias`. Elements are appended to `values`.
    /// Returns the reply and the index after it. Returns `None` if the reply is incomplete: call
    /// again with the same reply when more of it has been received.
    #[inline(always)]
    pub fn decode(
        &mut self,
        buf: &mut [u8],
        start: usize,
        bias: u64,
        values: &mut ValueList,
    ) -> Result<Option<(Value, usize)>> {
        match self.decode_short(buf, start, bias) {
            Some(reply) => Ok(Some(reply)),
            None => self.decode_general(buf, start, bias, values),
        }
    }

    /// Decodes a reply that is one complete short string, as most are.
    #[inline(always)]
    pub fn decode_short(&self, buf: &mut [u8], start: usize, bias: u64) -> Option<(Value, usize)> {
        // Not when a reply was left incomplete: `resume` knows how far it has been searched.
        if self.at | self.searched != 0 {
            return None;
        }
        decode_short_string(buf, start, bias)
    }

    /// The same for one that is a string and shorter than `most`, without a value: the position of its text, and the end of
    /// the text and of the reply.
    #[inline(always)]
    pub fn decode_short_text(
        &self,
        buf: &mut [u8],
        start: usize,
        most: usize,
    ) -> Option<ShortText> {
        if self.at | self.searched != 0 {
            return None;
        }
        let head = buf.get(start..start + 5).filter(|head| head[0] == b'$')?;
        let (len, text) = short_string_header(head, start)?;
        let end = text + len;
        let tail = buf.get_mut(end..end + 2).filter(|_| len < most)?;
        if tail != b"\r\n" {
            return None;
        }
        tail[0] = 0;
        Some(ShortText {
            begin: text,
            end,
            next: end + 2,
        })
    }

    /// Decodes a reply that is a complete list of one short string, as those to the parts of an MGET are. Not where
    /// `values` would have to grow.
    #[inline(always)]
    pub fn decode_short_single(
        &self,
        buf: &mut [u8],
        start: usize,
        bias: u64,
        values: &mut ValueList,
    ) -> Option<(Value, usize)> {
        let first = values.len();
        if self.at | self.searched != 0 || first == values.capacity() {
            return None;
        }
        let (value, end) = decode_only_string(buf, start, bias)?;
        values.push(value);
        Some((Value::new(Kind::Array, 1, first as u64), end))
    }

    /// Decodes any reply for which [`Decoder::decode_short`] has returned `None`.
    #[inline]
    pub fn decode_general(
        &mut self,
        buf: &mut [u8],
        start: usize,
        bias: u64,
        values: &mut ValueList,
    ) -> Result<Option<(Value, usize)>> {
        match self.decode_short_list(buf, start, bias, values) {
            Some(reply) => Ok(Some(reply)),
            None => self.resume(buf, start, bias, values),
        }
    }

    /// Decodes a complete list of one to nine short strings. Where the reply turns out to be
    /// anything else, [`Decoder::resume`] continues from there.
    #[inline(never)]
    fn decode_short_list(
        &mut self,
        buf: &mut [u8],
        start: usize,
        bias: u64,
        values: &mut ValueList,
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
            // A second such list suggests many more, as in a pipeline or from MGET: 2 KiB, then twice as much.
            values.reserve(if first == 0 { count } else { first.max(128) });
        }
        let mut at = start + 4;
        for done in 0..count {
            let Some((value, end)) = decode_short_string(buf, at, bias) else {
                self.first_value = first;
                self.pending.extend(values.drain(first..));
                self.frames.push(Frame {
                    kind: FrameKind::Aggregate(Kind::Array),
                    remaining: (count - done) as u64,
                    first: 0,
                    blocks: Vec::new(),
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

    /// Decodes from where the last call has stopped.
    fn resume(
        &mut self,
        buf: &mut [u8],
        start: usize,
        bias: u64,
        values: &mut ValueList,
    ) -> Result<Option<(Value, usize)>> {
        sim_panic_point!(Resp);
        if self.at == 0 {
            self.first_value = values.len();
        }
        let mut at = start + self.at;
        loop {
            if self.pending.len() >= self.pack_at {
                self.pack_pending(values);
            }
            let closed = self.decode_short_values(buf, start, &mut at, bias);
            if at - start > self.limits.bytes {
                return Err(self.too_many_bytes());
            }
            if closed {
                if let Some(value) = self.close_frame(values)
                    && let Some(reply) = self.add_value(value, values)
                {
                    self.reset();
                    return Ok(Some((reply, at)));
                }
                continue;
            }
            let value = match self.decode_value(buf, start, at, bias)? {
                Step::Value(value, next) => {
                    at = next;
                    value
                }
                Step::Opened(next) => {
                    at = next;
                    self.at = at - start;
                    continue;
                }
                Step::Incomplete => return self.suspend(buf, start, at),
            };
            self.elements += 1;
            if self.elements > self.limits.elements {
                return Err(self.too_many_elements());
            }
            if at - start > self.limits.bytes {
                return Err(self.too_many_bytes());
            }
            if let Some(reply) = self.add_value(value, values) {
                self.reset();
                return Ok(Some((reply, at)));
            }
            self.at = at - start;
        }
    }

    /// Decodes the value or the header at `at`.
    #[inline(always)]
    fn decode_value(&mut self, buf: &mut [u8], start: usize, at: usize, bias: u64) -> Result<Step> {
        let Some(&sign) = buf.get(at) else {
            return Ok(Step::Incomplete);
        };
        self.wanted = 0;
        match sign {
            b'$' | b'=' | b'!' => self.decode_bulk(buf, start, at, bias),
            b'+' | b'-' | b',' | b'(' => self.decode_line(buf, start, at, bias),
            b':' => Ok(match self.parse_number(buf, at + 1)? {
                Number::Complete(n, next) => Step::Value(Value::integer(n), next),
                Number::Incomplete => Step::Incomplete,
            }),
            b'_' | b'#' => self.decode_null_or_bool(buf, start, at),
            b'*' | b'%' | b'~' | b'>' | b'|' => self.decode_header(buf, at),
            other => Err(protocol_error(format_args!(
                "byte 0x{other:02x} in place of a RESP reply; the port may expect TLS or another \
                 protocol"
            ))),
        }
    }

    /// Decodes the short values that come next in the innermost aggregate: lists consist mostly of
    /// runs of them. Returns whether they were its last elements.
    #[inline(always)]
    fn decode_short_values(
        &mut self,
        buf: &mut [u8],
        start: usize,
        at: &mut usize,
        bias: u64,
    ) -> bool {
        let Some(frame) = self.frames.last_mut() else {
            return false;
        };
        let before = self.pending.len();
        let most = frame
            .remaining
            .min((self.limits.elements - self.elements) as u64);
        let most = (before + most as usize).min(self.pack_at);
        let mut values = ShortValues { buf, at: *at, bias };
        values.append_to(&mut self.pending, most);
        *at = values.at;
        let run = self.pending.len() - before;
        frame.remaining -= run as u64;
        self.elements += run;
        self.at = *at - start;
        frame.remaining == 0 && run > 0
    }

    /// A string, verbatim string or bulk error, whose length precedes it.
    #[inline(always)]
    fn decode_bulk(&mut self, buf: &mut [u8], start: usize, at: usize, bias: u64) -> Result<Step> {
        let sign = buf[at];
        let (len, text) = match self.parse_number(buf, at + 1)? {
            Number::Complete(len, text) => (len, text),
            Number::Incomplete => return Ok(Step::Incomplete),
        };
        if len == -1 && sign == b'$' {
            return Ok(Step::Value(Value::NIL, text));
        }
        let Some(len) = usize::try_from(len).ok().filter(|n| *n < u32::MAX as usize) else {
            return Err(protocol_error(format_args!("a string of length {len}")));
        };
        let end = text + len;
        if end - start > self.limits.bytes {
            return Err(self.too_many_bytes());
        }
        if buf.len() < end + 2 {
            self.wanted = end + 2 - at;
            return Ok(Step::Incomplete);
        }
        if buf[end] != b'\r' || buf[end + 1] != b'\n' {
            return Err(protocol_error("a string without CRLF at its end"));
        }
        buf[end] = 0;
        if sign == b'!' {
            // The message of an error is one line; a bulk error may contain anything.
            let controls = buf[text..end].iter_mut().filter(|b| **b < b' ');
            controls.for_each(|b| *b = b' ');
        }
        let value = string_value(sign, buf, text, len, bias)?;
        Ok(Step::Value(value, end + 2))
    }

    /// A status, an error, a double or a big number.
    #[inline(always)]
    fn decode_line(&mut self, buf: &mut [u8], start: usize, at: usize, bias: u64) -> Result<Step> {
        let text = at + 1;
        let Some(end) = self.find_line_end(buf, start, text)? else {
            return Ok(Step::Incomplete);
        };
        buf[end] = 0;
        let sign = buf[at];
        let line = match sign {
            b',' => normalize_double(&mut buf[text..=end]),
            _ => &buf[text..end],
        };
        let value = line_value(sign, line, (text as u64).wrapping_add(bias))?;
        Ok(Step::Value(value, end + 2))
    }

    #[inline(always)]
    fn decode_null_or_bool(&mut self, buf: &[u8], start: usize, at: usize) -> Result<Step> {
        let Some(end) = self.find_line_end(buf, start, at + 1)? else {
            return Ok(Step::Incomplete);
        };
        let value = match (buf[at], &buf[at + 1..end]) {
            (b'_', b"") => Value::NIL,
            (b'#', b"t") => Value::new(Kind::Bool, 0, 1),
            (b'#', b"f") => Value::new(Kind::Bool, 0, 0),
            (b'_', _) => return Err(protocol_error("an invalid null")),
            _ => return Err(protocol_error("an invalid boolean")),
        };
        Ok(Step::Value(value, end + 2))
    }

    /// The header of an aggregate or an attribute.
    #[inline(always)]
    fn decode_header(&mut self, buf: &[u8], at: usize) -> Result<Step> {
        let (count, next) = match self.parse_number(buf, at + 1)? {
            Number::Complete(count, next) => (count, next),
            Number::Incomplete => return Ok(Step::Incomplete),
        };
        Ok(match self.open_frame(buf[at], count)? {
            Some(value) => Step::Value(value, next),
            None => Step::Opened(next),
        })
    }

    /// Opens an aggregate. An empty or null one is returned as a value.
    fn open_frame(&mut self, sign: u8, count: i64) -> Result<Option<Value>> {
        if count == -1 && sign == b'*' {
            return Ok(Some(Value::NIL));
        }
        let has_pairs = matches!(sign, b'%' | b'|');
        let remaining = u64::try_from(count)
            .ok()
            .and_then(|n| n.checked_mul(if has_pairs { 2 } else { 1 }))
            .filter(|n| *n < u64::from(u32::MAX));
        let Some(remaining) = remaining else {
            return Err(protocol_error(format_args!(
                "an aggregate of length {count}"
            )));
        };
        if remaining > self.limits.elements as u64 {
            return Err(self.too_many_elements());
        }
        let kind = match sign {
            b'*' => FrameKind::Aggregate(Kind::Array),
            b'%' => FrameKind::Aggregate(Kind::Map),
            b'~' => FrameKind::Aggregate(Kind::Set),
            b'>' if self.frames.is_empty() => FrameKind::Aggregate(Kind::Push),
            b'>' => return Err(protocol_error("a push frame inside another reply")),
            _ => FrameKind::Attribute,
        };
        if remaining == 0 {
            return match kind {
                FrameKind::Aggregate(kind) => Ok(Some(Value::new(kind, 0, 0))),
                FrameKind::Attribute => Ok(None),
            };
        }
        if self.frames.len() >= self.limits.depth {
            return Err(protocol_error(format_args!(
                "a reply nested deeper than max_reply_depth = {}",
                self.limits.depth
            )));
        }
        if self.pending.capacity() == 0 {
            let expected = self.expected.min(PACK_AFTER);
            self.pending.reserve_exact(expected.min(remaining as usize));
        }
        self.frames.push(Frame {
            kind,
            remaining,
            first: self.pending.len(),
            blocks: Vec::new(),
        });
        Ok(None)
    }

    /// Adds a value to the innermost aggregate. Returns the reply if the value completes it.
    #[inline]
    fn add_value(&mut self, mut value: Value, values: &mut ValueList) -> Option<Value> {
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Some(value);
            };
            self.pending.push(value);
            frame.remaining -= 1;
            if frame.remaining > 0 {
                return None;
            }
            value = self.close_frame(values)?;
        }
    }

    /// Closes the innermost aggregate, which has all its elements, and returns it as a value.
    /// Returns `None` for an attribute.
    fn close_frame(&mut self, values: &mut ValueList) -> Option<Value> {
        let mut frame = self.frames.pop()?;
        let value = match frame.kind {
            FrameKind::Aggregate(kind) if frame.blocks.is_empty() => {
                Some(self.close_unpacked(kind, frame.first, values))
            }
            FrameKind::Aggregate(kind) => {
                let rest = &self.pending[frame.first..];
                let len = frame.blocks.len() * BLOCK_LEN + rest.len();
                values.pack(rest, &mut frame.blocks);
                Some(values.packed(kind, len, frame.blocks))
            }
            // Aggregates inside the attribute stay in `values`, where nothing refers to them: other
            // replies may have been appended after them.
            FrameKind::Attribute => None,
        };
        self.pending.truncate(frame.first);
        value
    }

    /// The aggregate of the pending values from `first` on.
    #[inline]
    fn close_unpacked(&mut self, kind: Kind, first: usize, values: &mut ValueList) -> Value {
        let elements = &self.pending[first..];
        // The memory of a short reply does not matter.
        if self.frames.is_empty() && elements.len() <= BLOCK_LEN {
            return values.plain(kind, elements);
        }
        let is_whole_list = first == 0 && values.is_unused() && elements.len() >= TAKE_FROM;
        if !(is_whole_list && elements.len() >= PACK_AFTER)
            && let Some(smaller) = values.smaller_than_plain(kind, elements)
        {
            return smaller;
        }
        if !is_whole_list {
            return values.plain(kind, elements);
        }
        // The elements are not copied, and the next list gets memory of its own.
        self.expected = elements.len();
        if self.pending.capacity() - self.expected > self.expected / GROWTH {
            self.pending.shrink_to_fit();
        }
        values.plain_from(kind, &mut self.pending)
    }

    /// Packs the pending elements of the open aggregates, all but the last few of each. Not where a plain list would be
    /// as small: it is not even copied when it is complete.
    #[cold]
    fn pack_pending(&mut self, values: &mut ValueList) {
        let len = self.pending.len();
        // What has come since the last time.
        let recent = &self.pending[len - len / (GROWTH + 1)..];
        if values.is_unused() && count_constants(recent) < recent.len() / 8 {
            // Doubling would cost more memory than the elements.
            self.pending.reserve_exact(len / GROWTH);
            self.pack_at = len + len / GROWTH;
            return;
        }
        let ends: Vec<usize> = self
            .frames
            .iter()
            .skip(1)
            .map(|frame| frame.first)
            .collect();
        let ends = ends.into_iter().chain([self.pending.len()]);
        let mut kept = 0;
        for (frame, end) in self.frames.iter_mut().zip(ends) {
            let whole = (end - frame.first) / BLOCK_LEN * BLOCK_LEN;
            let rest = frame.first + whole..end;
            values.pack(&self.pending[frame.first..rest.start], &mut frame.blocks);
            frame.first = kept;
            kept += rest.len();
            self.pending.copy_within(rest, frame.first);
        }
        self.pending.truncate(kept);
        self.pack_at = kept + PACK_AFTER;
    }

    /// Stores where to continue, and applies the byte limit to the incomplete reply.
    fn suspend(&mut self, buf: &[u8], start: usize, at: usize) -> Result<Option<(Value, usize)>> {
        if buf.len() - start > self.limits.bytes.saturating_add(MAX_LINE) {
            return Err(self.too_many_bytes());
        }
        self.at = at - start;
        Ok(None)
    }

    fn reset(&mut self) {
        self.at = 0;
        self.searched = 0;
        self.elements = 0;
        self.wanted = 0;
        self.pack_at = PACK_AFTER;
        if self.pending.capacity() > KEEP_PENDING {
            self.pending = Vec::new();
        }
    }

    /// The index of the CRLF that ends the line beginning at `from`.
    fn find_line_end(&mut self, buf: &[u8], start: usize, from: usize) -> Result<Option<usize>> {
        // A line that arrives a byte at a time is not searched from its beginning each time.
        let begin = from.max(start + self.searched);
        match memchr::memchr(b'\r', &buf[begin.min(buf.len())..]) {
            Some(i) if begin + i - from > MAX_LINE => Err(line_too_long()),
            Some(i) => match buf.get(begin + i + 1) {
                Some(b'\n') => {
                    self.searched = 0;
                    Ok(Some(begin + i))
                }
                Some(_) => Err(protocol_error(CR_WITHOUT_LF)),
                None => {
                    self.searched = begin + i - start;
                    Ok(None)
                }
            },
            None if buf.len() - from > MAX_LINE => Err(line_too_long()),
            None => {
                self.searched = buf.len() - start;
                Ok(None)
            }
        }
    }

    /// Parses the number of the line that begins at `from`: a length, a count or an integer.
    #[inline]
    fn parse_number(&self, buf: &[u8], from: usize) -> Result<Number> {
        // Most lists are short.
        if let Some([digit @ b'0'..=b'9', b'\r', b'\n']) = buf.get(from..from + 3) {
            return Ok(Number::Complete(i64::from(digit - b'0'), from + 3));
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
                    // Accumulated as a negative number, because i64::MIN has no positive counterpart.
                    n = match n.checked_mul(10).and_then(|n| n.checked_sub(digit)) {
                        Some(n) => n,
                        None => return Err(protocol_error(NUMBER_OVERFLOW)),
                    };
                    at += 1;
                }
                Some(b'\r') if at > digits => break,
                Some(_) => return Err(protocol_error("an invalid number")),
                None if at - from > MAX_NUMBER => return Err(number_too_long()),
                None => return Ok(Number::Incomplete),
            }
        }
        // Leading zeros never overflow. The same limit applies when all of them arrive at once.
        if at - from > MAX_NUMBER {
            return Err(number_too_long());
        }
        match buf.get(at + 1) {
            Some(b'\n') => {}
            Some(_) => return Err(protocol_error(CR_WITHOUT_LF)),
            None => return Ok(Number::Incomplete),
        }
        let n = if negative {
            n
        } else {
            n.checked_neg()
                .ok_or_else(|| protocol_error(NUMBER_OVERFLOW))?
        };
        Ok(Number::Complete(n, at + 2))
    }

    fn too_many_bytes(&self) -> Error {
        protocol_error(format_args!(
            "a reply larger than max_reply_bytes = {}",
            self.limits.bytes
        ))
    }

    fn too_many_elements(&self) -> Error {
        protocol_error(format_args!(
            "a reply with more elements than max_reply_elements = {}",
            self.limits.elements
        ))
    }
}

/// Decodes a complete string of up to 99 bytes, a nil, or an OK: what most replies are.
#[inline(always)]
fn decode_short_string(buf: &mut [u8], start: usize, bias: u64) -> Option<(Value, usize)> {
    let head = buf.get(start..start + 5)?;
    if head[0] != b'$' {
        let is_ok = head[0] == b'+' && head == b"+OK\r\n";
        return is_ok.then(|| (Value::ok(), start + 5));
    }
    let Some((len, text)) = short_string_header(head, start) else {
        return (head == b"$-1\r\n").then(|| (Value::NIL, start + 5));
    };
    let end = text + len;
    let tail = buf.get_mut(end..end + 2)?;
    if tail != b"\r\n" {
        return None;
    }
    tail[0] = 0;
    let position = (text as u64).wrapping_add(bias);
    Some((Value::new(Kind::String, len as u32, position), end + 2))
}

/// The length and the position of a string that has less than 100 bytes, by the four bytes behind its `$`.
#[inline(always)]
fn short_string_header(head: &[u8], start: usize) -> Option<(usize, usize)> {
    match (head[1], head[2], head[3], head[4]) {
        (a @ b'0'..=b'9', b'\r', b'\n', _) => Some((usize::from(a - b'0'), start + 4)),
        (a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n') => {
            let len = usize::from(a - b'0') * 10 + usize::from(b - b'0');
            Some((len, start + 5))
        }
        _ => None,
    }
}

/// The value of a complete string.
#[inline]
fn string_value(sign: u8, buf: &[u8], text: usize, len: usize, bias: u64) -> Result<Value> {
    let position = (text as u64).wrapping_add(bias);
    Ok(match sign {
        b'$' => Value::new(Kind::String, len as u32, position),
        b'!' => error_value(len as u32, position),
        _ => {
            // "txt:" or "mkd:" and the text.
            if len < 4 || buf[text + 3] != b':' {
                return Err(protocol_error("a verbatim string without a format"));
            }
            Value::new(Kind::Verbatim, len as u32 - 4, position.wrapping_add(4))
        }
    })
}

fn error_value(len: u32, position: u64) -> Value {
    let mut value = Value::new(Kind::Error, len, position);
    value.code = Code::Server as u8;
    value
}

/// Writes "nan" and a NUL over a NaN in any other form. Returns the text without its NUL.
fn normalize_double(line: &mut [u8]) -> &[u8] {
    let (end, is_nan) = (line.len() - 1, is_nan(&line[..line.len() - 1]));
    if !is_nan {
        return &line[..end];
    }
    line[..NAN.len()].copy_from_slice(NAN);
    line[NAN.len()] = 0;
    &line[..NAN.len()]
}

/// The value of a line.
fn line_value(sign: u8, text: &[u8], position: u64) -> Result<Value> {
    let len = text.len() as u32;
    Ok(match sign {
        b'+' if text == b"OK" => Value::ok(),
        b'+' => Value::new(Kind::Status, len, position),
        b'-' => error_value(len, position),
        b',' => {
            if parse_double(text).is_none() {
                return Err(protocol_error("an invalid double"));
            }
            Value::new(Kind::Double, len, position)
        }
        _ => {
            let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+"));
            let digits = digits.unwrap_or(text);
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(protocol_error("an invalid big number"));
            }
            Value::new(Kind::Bignum, len, position)
        }
    })
}

const CR_WITHOUT_LF: &str = "a line with a CR that no LF follows";
const NUMBER_OVERFLOW: &str = "a number that does not fit in 64 bits";

fn line_too_long() -> Error {
    protocol_error(format_args!("a line longer than {MAX_LINE} bytes"))
}

fn number_too_long() -> Error {
    protocol_error(format_args!("a number longer than {MAX_NUMBER} characters"))
}

/// The error for received bytes that violate the protocol or a limit. The connection must be dropped, because the
/// position in its stream is unknown. The message does not repeat the received bytes, which may be a value.
fn protocol_error(sent: impl std::fmt::Display) -> Error {
    Error::new(Code::Protocol, format_args!("the peer sent {sent}"))
}

#[cfg(test)]
mod tests;
