//! The elements of the aggregates of a reply.
//!
//! Most aggregates are plain: their elements lie one after another in the list of values, 16 bytes each. But a null has 3
//! bytes on the wire, and a small integer 4. So such values are constants, which an aggregate can refer to by one byte:
//!
//! - a *packed* aggregate is a sequence of [`Block`]s of 56 elements: a byte for each, and the index of the values among
//!   them that are no constants;
//! - an *inline* aggregate of up to 8 constants is 8 bytes inside its own value.
//!
//! An element is found in constant time, and its address never changes.

use super::value::{Kind, Value, flag};
use std::ops::{Deref, DerefMut};

/// The number of elements of a block, which is a cache line.
pub const BLOCK_LEN: usize = 56;
/// The largest number of elements of an inline aggregate.
const INLINE_LEN: usize = 8;

/// A list of more values is sampled.
const LONG: usize = 448;
/// The number of values of a large list.
const LARGE: usize = 32_768;

/// The code of an element that is no constant.
const OTHER: u8 = u8::MAX;
const FIRST_INT: u8 = 6;
const LEAST_INT: i64 = -9;

/// What one byte can refer to.
pub static CONSTANTS: [Value; OTHER as usize] = {
    let mut all = [Value::NIL; OTHER as usize];
    all[1] = Value::new(Kind::Bool, 0, 0);
    all[2] = Value::new(Kind::Bool, 0, 1);
    all[3] = Value::new(Kind::Array, 0, 0);
    all[4] = Value::new(Kind::Map, 0, 0);
    all[5] = Value::new(Kind::Set, 0, 0);
    let mut code = FIRST_INT;
    while code < OTHER {
        let n = code as i64 - FIRST_INT as i64 + LEAST_INT;
        all[code as usize] = Value::new(Kind::Integer, 0, n as u64);
        code += 1;
    }
    all
};

/// The code of a value that is a constant.
#[inline]
fn code_of(value: &Value) -> Option<u8> {
    if value.kind == Kind::String {
        return None;
    }
    if value.kind == Kind::Integer {
        let above_least = value.data.wrapping_sub(LEAST_INT as u64);
        let is_small = above_least < u64::from(OTHER - FIRST_INT);
        return is_small.then_some((above_least as u8).wrapping_add(FIRST_INT));
    }
    let has_no_elements = value.len == 0;
    match value.kind {
        Kind::Nil => Some(0),
        Kind::Bool => Some(1 + (value.data & 1) as u8),
        Kind::Array if has_no_elements => Some(3),
        Kind::Map if has_no_elements => Some(4),
        Kind::Set if has_no_elements => Some(5),
        _ => None,
    }
}

/// Elements of a packed aggregate.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Block {
    /// The index of the first value that is no constant. At the C boundary, its address.
    pub others: u64,
    codes: [u8; BLOCK_LEN],
}

/// An element of a packed or inline aggregate.
pub enum Element {
    Constant(&'static Value),
    /// So many values after [`Block::others`].
    Other(usize),
}

impl Element {
    #[inline]
    fn of_code(code: u8) -> Option<Element> {
        CONSTANTS.get(usize::from(code)).map(Element::Constant)
    }

    /// An element of an inline aggregate with this [`Value::data`].
    pub fn of_inline(data: u64, at: usize) -> Option<Element> {
        Element::of_code(*data.to_le_bytes().get(at)?)
    }
}

impl Block {
    /// The element at a position below [`BLOCK_LEN`].
    pub fn element(&self, at: usize) -> Option<Element> {
        let code = *self.codes.get(at)?;
        let before = || self.codes[..at].iter().filter(|c| **c == OTHER).count();
        Element::of_code(code).or_else(|| Some(Element::Other(before())))
    }

    /// Packs up to [`BLOCK_LEN`] elements. Those that are no constants are appended to `values`.
    fn pack(elements: &[Value], values: &mut Vec<Value>) -> Block {
        let others = values.len() as u64;
        let mut codes = [OTHER; BLOCK_LEN];
        for (element, code) in elements.iter().zip(&mut codes) {
            match code_of(element) {
                Some(constant) => *code = constant,
                None => values.push(*element),
            }
        }
        Block { others, codes }
    }
}

/// The elements of all aggregates.
#[derive(Clone, Debug, Default)]
pub struct ValueList {
    /// Those of plain aggregates, and of the others those that are no constants.
    values: Vec<Value>,
    pub blocks: Vec<Block>,
}

impl ValueList {
    /// Whether there are neither values nor blocks.
    pub fn is_unused(&self) -> bool {
        self.values.is_empty() && self.blocks.is_empty()
    }

    pub fn clear(&mut self) {
        self.values.clear();
        self.blocks.clear();
    }

    /// The capacity of both lists, in values.
    pub fn total_capacity(&self) -> usize {
        self.values.capacity() + values_of_blocks(self.blocks.capacity())
    }

    /// The memory in use, in values.
    pub fn total_len(&self) -> usize {
        self.values.len() + values_of_blocks(self.blocks.len())
    }

    /// Appends blocks of the elements to `blocks`. The last may be incomplete.
    pub fn pack(&mut self, elements: &[Value], blocks: &mut Vec<Block>) {
        self.make_room(elements.len());
        let chunks = elements.chunks(BLOCK_LEN);
        blocks.extend(chunks.map(|chunk| Block::pack(chunk, &mut self.values)));
    }

    /// An aggregate of blocks that contain `len` elements.
    pub fn packed(&mut self, kind: Kind, len: usize, mut blocks: Vec<Block>) -> Value {
        let mut value = Value::new(kind, len as u32, self.blocks.len() as u64);
        value.flags = flag::PACKED;
        if self.blocks.is_empty() {
            self.blocks = blocks;
        } else {
            self.blocks.append(&mut blocks);
        }
        value
    }

    /// A plain aggregate.
    pub fn plain(&mut self, kind: Kind, elements: &[Value]) -> Value {
        let value = Value::new(kind, elements.len() as u32, self.values.len() as u64);
        self.make_room(elements.len());
        self.values.extend_from_slice(elements);
        value
    }

    /// Makes room for so many values. A large list grows by an eighth: doubling would cost more memory than the elements.
    fn make_room(&mut self, more: usize) {
        let len = self.values.len();
        if self.values.capacity() - len < more && len >= LARGE {
            self.values.reserve_exact(more.max(len / 8));
        }
    }

    /// A plain aggregate whose elements become the whole list. There must be no other values.
    pub fn plain_from(&mut self, kind: Kind, elements: &mut Vec<Value>) -> Value {
        std::mem::swap(&mut self.values, elements);
        Value::new(kind, self.values.len() as u32, 0)
    }

    /// An aggregate in a form that is smaller than a plain one. None if there is none.
    pub fn smaller_than_plain(&mut self, kind: Kind, elements: &[Value]) -> Option<Value> {
        let len = elements.len();
        // A part of a long list shows whether the others have to be counted.
        if len > LONG {
            let estimate = estimate_constants(elements);
            if estimate < len / 8 && count_constants(&elements[..LONG]) == 0 {
                return None;
            }
            // Even if the others are none, the sampled ones make up for the blocks.
            if estimate > len / 4 * 3 {
                return Some(self.packed_from(kind, elements));
            }
        }
        let others = len - count_constants(elements);
        if others == 0 && len <= INLINE_LEN {
            let mut codes = [0; INLINE_LEN];
            for (element, code) in elements.iter().zip(&mut codes) {
                *code = code_of(element).unwrap_or_default();
            }
            let mut value = Value::new(kind, len as u32, u64::from_le_bytes(codes));
            value.flags = flag::INLINE;
            return Some(value);
        }
        let is_smaller = values_of_blocks(len.div_ceil(BLOCK_LEN)) + others < len;
        is_smaller.then(|| self.packed_from(kind, elements))
    }

    /// A packed aggregate of these elements.
    fn packed_from(&mut self, kind: Kind, elements: &[Value]) -> Value {
        let mut blocks = Vec::with_capacity(elements.len().div_ceil(BLOCK_LEN));
        self.pack(elements, &mut blocks);
        self.packed(kind, elements.len(), blocks)
    }

    /// The element at `at`, below the length of the aggregate, of a packed or inline aggregate.
    #[cold]
    pub fn element(&self, aggregate: Value, at: usize) -> Option<Value> {
        let data = aggregate.data as usize;
        if aggregate.flags & flag::INLINE != 0 {
            return match Element::of_inline(aggregate.data, at)? {
                Element::Constant(value) => Some(*value),
                Element::Other(_) => None,
            };
        }
        let block = self.blocks.get(data + at / BLOCK_LEN)?;
        match block.element(at % BLOCK_LEN)? {
            Element::Constant(value) => Some(*value),
            Element::Other(rank) => self.values.get(block.others as usize + rank).copied(),
        }
    }
}

impl Deref for ValueList {
    type Target = Vec<Value>;

    #[inline]
    fn deref(&self) -> &Vec<Value> {
        &self.values
    }
}

impl DerefMut for ValueList {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<Value> {
        &mut self.values
    }
}

/// The memory of so many blocks, in values.
pub fn values_of_blocks(blocks: usize) -> usize {
    blocks * (size_of::<Block>() / size_of::<Value>())
}

/// How many of the values are constants, estimated by one in seven.
fn estimate_constants(values: &[Value]) -> usize {
    const STEP: usize = 7;
    let sample = values.iter().step_by(STEP);
    sample.filter(|v| code_of(v).is_some()).count() * STEP
}

/// How many of the values are constants.
pub fn count_constants(values: &[Value]) -> usize {
    values.iter().filter(|v| code_of(v).is_some()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_the_codes_that_refer_to_them() {
        for (code, value) in CONSTANTS.iter().enumerate() {
            assert_eq!(code_of(value), Some(code as u8), "{value:?}");
        }
        for n in [-10, 240, 255, i64::MAX, i64::MIN] {
            assert_eq!(code_of(&Value::integer(n)), None, "{n}");
        }
        assert_eq!(code_of(&Value::integer(-9)), Some(FIRST_INT));
        assert_eq!(size_of::<Block>(), 64);
    }

    #[test]
    fn every_form_has_its_elements_in_order() {
        let string = |n: usize| Value::new(Kind::String, 1, n as u64);
        for len in [1, 2, 7, 8, 9, 55, 56, 57, 112, 500] {
            for every in [1, 2, 3, 10, 1000] {
                let elements: Vec<Value> = (0..len)
                    .map(|n| match n % every == every - 1 {
                        true => string(n),
                        false => CONSTANTS[n % CONSTANTS.len()],
                    })
                    .collect();
                let mut list = ValueList::default();
                list.plain(Kind::Set, &[Value::NIL; 3]);
                let smaller = list.smaller_than_plain(Kind::Array, &elements);
                let aggregate = smaller.unwrap_or_else(|| list.plain(Kind::Array, &elements));
                assert_eq!(aggregate.len as usize, len);
                let compact = aggregate.flags & (flag::PACKED | flag::INLINE) != 0;
                for (at, expected) in elements.iter().enumerate() {
                    let found = match compact {
                        true => list.element(aggregate, at).unwrap(),
                        false => list[aggregate.data as usize + at],
                    };
                    let shown = |v: &Value| (v.kind, v.len, v.data);
                    assert_eq!(shown(&found), shown(expected), "{at} of {len}");
                }
                let plain = 3 + len;
                assert!(list.total_len() <= plain, "never larger than plain");
            }
        }
    }
}
