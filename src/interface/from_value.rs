//! Conversions of values.

use super::value::Value;
use crate::error::{Error, Result};
use crate::resp::Kind;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A type that a value can be converted to.
///
/// | type | values |
/// |---|---|
/// | `String`, `Vec<u8>` | texts and numbers; for a `String`, UTF-8 |
/// | `i64`, `u64`, `i32`, `u32`, `usize`, `f64` | numbers, and texts that are numbers |
/// | `bool` | booleans, and the integers 0 and 1 |
/// | `()` | everything |
/// | `Option<T>` | nil, or what `T` takes |
/// | `Vec<T>` | arrays, sets, and the elements of a map |
/// | `HashMap<K, V>`, `BTreeMap<K, V>` | maps, and flat lists of pairs |
/// | tuples | arrays of exactly so many elements |
///
/// Anything else is an error with [`Code::Invalid`](crate::Code::Invalid). A value that is an error is that error.
pub trait FromValue: Sized {
    /// Converts a value.
    fn from_value(value: Value<'_>) -> Result<Self>;
}

/// The error of the value, or that it does not fit.
fn unsuitable(value: Value<'_>, wanted: &str) -> Error {
    value.error().unwrap_or_else(|| {
        Error::invalid(format_args!(
            "the reply {value:?} ({:?}) is not {wanted}",
            value.kind()
        ))
    })
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value<'_>) -> Result<Vec<u8>> {
        match value.kind() {
            Kind::Error => Err(unsuitable(value, "a text")),
            Kind::Integer | Kind::Bool => {
                i64::from_value(value).map(|n| n.to_string().into_bytes())
            }
            _ => (value.bytes().map(<[u8]>::to_vec)).ok_or_else(|| unsuitable(value, "a text")),
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value<'_>) -> Result<String> {
        let bytes = Vec::from_value(value)?;
        String::from_utf8(bytes).map_err(|_| unsuitable(value, "UTF-8"))
    }
}

impl FromValue for i64 {
    fn from_value(value: Value<'_>) -> Result<i64> {
        match value.kind() {
            Kind::Error => Err(unsuitable(value, "an integer")),
            _ => value.int().ok_or_else(|| unsuitable(value, "an integer")),
        }
    }
}

macro_rules! integers {
    ($($type:ident)*) => {$(
        impl FromValue for $type {
            fn from_value(value: Value<'_>) -> Result<$type> {
                // The text may be a number above the range of i64.
                let text = value.str().filter(|_| value.kind() != Kind::Error);
                if let Some(number) = text.and_then(|text| text.parse().ok()) {
                    return Ok(number);
                }
                let wide = i64::from_value(value)?;
                let narrow = $type::try_from(wide);
                narrow.map_err(|_| unsuitable(value, concat!("within the range of ", stringify!($type))))
            }
        }
    )*};
}
integers!(i32 u32 u64 usize);

impl FromValue for f64 {
    fn from_value(value: Value<'_>) -> Result<f64> {
        match value.kind() {
            Kind::Error => Err(unsuitable(value, "a number")),
            _ => value.double().ok_or_else(|| unsuitable(value, "a number")),
        }
    }
}

impl FromValue for bool {
    fn from_value(value: Value<'_>) -> Result<bool> {
        match (value.kind(), value.int()) {
            (Kind::Integer | Kind::Bool, Some(n @ 0..=1)) => Ok(n == 1),
            _ => Err(unsuitable(value, "a boolean")),
        }
    }
}

impl FromValue for () {
    fn from_value(value: Value<'_>) -> Result<()> {
        value.error().map_or(Ok(()), Err)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value<'_>) -> Result<Option<T>> {
        match value.is_nil() {
            true => Ok(None),
            false => T::from_value(value).map(Some),
        }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value<'_>) -> Result<Vec<T>> {
        match value.kind().has_elements() {
            true => value.iter().map(T::from_value).collect(),
            false => Err(unsuitable(value, "a list")),
        }
    }
}

/// The pairs of a map, or of a flat list.
fn pairs<K: FromValue, V: FromValue, M: FromIterator<(K, V)>>(value: Value<'_>) -> Result<M> {
    if !value.kind().has_elements() || !value.len().is_multiple_of(2) {
        return Err(unsuitable(value, "a map"));
    }
    let pairs = (0..value.len() / 2).filter_map(|i| value.at(2 * i).zip(value.at(2 * i + 1)));
    pairs
        .map(|(key, value)| Ok((key.to()?, value.to()?)))
        .collect()
}

impl<K: FromValue + Eq + Hash, V: FromValue> FromValue for HashMap<K, V> {
    fn from_value(value: Value<'_>) -> Result<HashMap<K, V>> {
        pairs(value)
    }
}

impl<K: FromValue + Ord, V: FromValue> FromValue for BTreeMap<K, V> {
    fn from_value(value: Value<'_>) -> Result<BTreeMap<K, V>> {
        pairs(value)
    }
}

macro_rules! tuples {
    ($($count:literal: $($type:ident $index:literal),+;)*) => {$(
        impl<$($type: FromValue),+> FromValue for ($($type,)+) {
            fn from_value(value: Value<'_>) -> Result<Self> {
                let is_right = value.kind().has_elements() && value.len() == $count;
                let wanted = concat!("a list of ", $count, " elements");
                let at = |i| value.at(i).filter(|_| is_right).ok_or_else(|| unsuitable(value, wanted));
                Ok(($($type::from_value(at($index)?)?,)+))
            }
        }
    )*};
}
tuples! {
    1: A 0;
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
    5: A 0, B 1, C 2, D 3, E 4;
    6: A 0, B 1, C 2, D 3, E 4, F 5;
}
