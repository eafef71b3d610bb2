//! Merges the replies of several nodes whose elements have names: channels, indexes, time series. No I/O.

use crate::error::{Code, Error};
use crate::resp::{Kind, NodeValue, Reply, Value, View, flag};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The elements of all answers, each text once, in the order in which they were received.
pub fn union(reply: &mut Reply, answers: &[NodeValue]) -> Option<NodeValue> {
    let kind = common_kind(answers)?;
    let mut names: HashMap<&[u8], ()> = HashMap::new();
    let mut merged: Vec<Value> = Vec::new();
    for answer in answers {
        for element in View::new(reply, answer.value).elements() {
            if names.insert(element.text()?, ()).is_none() {
                merged.push(element.value());
            }
        }
    }
    Some(collection(reply, kind, merged))
}

/// Pairs of a name and a number: for each name, the sum of its numbers.
pub fn sum_by_name(reply: &mut Reply, answers: &[NodeValue]) -> Option<NodeValue> {
    let kind = common_kind(answers)?;
    let mut positions: HashMap<&[u8], usize> = HashMap::new();
    let mut sums: Vec<(Value, i64)> = Vec::new();
    for answer in answers {
        let mut elements = View::new(reply, answer.value).elements();
        while let Some(name) = elements.next() {
            let number = elements.next()?.int()?;
            match positions.entry(name.text()?) {
                Entry::Occupied(position) => {
                    let sum = &mut sums[*position.get()].1;
                    *sum = sum.saturating_add(number);
                }
                Entry::Vacant(position) => {
                    position.insert(sums.len());
                    sums.push((name.value(), number));
                }
            }
        }
    }
    let pairs = sums.into_iter();
    let merged = pairs.flat_map(|(name, sum)| [name, Value::integer(sum)]);
    Some(collection(reply, kind, merged.collect()))
}

/// Time series, each once: pairs of a name and a series (RESP3), or lists that begin with a name (RESP2).
///
/// A node answers for its own series, or, after `TIMESERIES.REFRESHCLUSTER`, for those of all nodes. Either way, the series
/// of one name are the same. Groups (`GROUPBY`) of one name are not, if each node has grouped its own series.
pub fn series(reply: &mut Reply, answers: &[NodeValue]) -> Option<NodeValue> {
    let kind = common_kind(answers)?;
    let width = if kind == Kind::Map { 2 } else { 1 };
    let mut known: HashMap<&[u8], View<'_>> = HashMap::new();
    let mut merged: Vec<Value> = Vec::new();
    let mut is_partial = false;
    for answer in answers {
        let mut elements = View::new(reply, answer.value).elements();
        while let Some(first) = elements.next() {
            let (name, series) = match width {
                2 => (first.text()?, elements.next()?),
                _ => (first.at(0)?.text()?, first),
            };
            match known.entry(name) {
                Entry::Occupied(other) => is_partial |= !is_same_series(*other.get(), series),
                Entry::Vacant(entry) => {
                    entry.insert(series);
                    if width == 2 {
                        merged.push(first.value());
                    }
                    merged.push(series.value());
                }
            }
        }
    }
    if is_partial {
        let error = Error::new(
            Code::Protocol,
            "each node has grouped its own time series, and the groups cannot be merged: execute TIMESERIES.REFRESHCLUSTER \
             at every node, or select one node with rdc_command_to()",
        );
        return Some(reply.store_error(&error.sent(true)));
    }
    Some(collection(reply, kind, merged))
}

/// Whether two nodes have answered for the same series, or grouped the same ones.
fn is_same_series(a: View<'_>, b: View<'_>) -> bool {
    match (sources(a), sources(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) if has_maps(a) => true,
        _ => is_equal(a, b),
    }
}

/// The names of the grouped series, sorted (RESP3).
fn sources(series: View<'_>) -> Option<Vec<Option<&[u8]>>> {
    let mut maps = series.elements().filter(|part| part.kind() == Kind::Map);
    let names = maps.find_map(|map| map.find("sources"))?;
    let mut names: Vec<Option<&[u8]>> = names.elements().map(View::text).collect();
    names.sort_unstable();
    Some(names)
}

/// Whether labels are maps (RESP3): then a group would have sources.
fn has_maps(series: View<'_>) -> bool {
    series.elements().any(|part| part.kind() == Kind::Map)
}

fn is_equal(a: View<'_>, b: View<'_>) -> bool {
    let mut open = vec![(a, b)];
    while let Some((a, b)) = open.pop() {
        if a.kind() != b.kind() || a.len() != b.len() || a.text() != b.text() || a.int() != b.int()
        {
            return false;
        }
        open.extend(a.elements().zip(b.elements()));
    }
    true
}

/// The kind of all answers, if they are collections.
fn common_kind(answers: &[NodeValue]) -> Option<Kind> {
    let kind = answers.first()?.value.kind;
    let is_common = kind.has_elements() && answers.iter().all(|a| a.value.kind == kind);
    is_common.then_some(kind)
}

fn collection(reply: &mut Reply, kind: Kind, elements: Vec<Value>) -> NodeValue {
    let mut value = Value::new(kind, elements.len() as u32, reply.values.len() as u64);
    value.flags |= flag::SENT;
    reply.values.extend(elements);
    NodeValue { value, node: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Builder;

    type Build = fn(&mut Builder);

    /// The replies of several nodes, merged.
    fn merged(
        how: fn(&mut Reply, &[NodeValue]) -> Option<NodeValue>,
        builds: &[Build],
    ) -> Option<String> {
        let mut reply = Reply::default();
        let answers: Vec<NodeValue> = builds
            .iter()
            .map(|build| {
                let mut out = Builder::new();
                build(&mut out);
                reply.absorb(out.finish())
            })
            .collect();
        let root = how(&mut reply, &answers)?;
        Some(show(View::new(&reply, root.value)))
    }

    fn show(view: View<'_>) -> String {
        match view.kind() {
            kind if kind.has_elements() => {
                let elements: Vec<String> = view.elements().map(show).collect();
                format!("[{}]", elements.join(" "))
            }
            Kind::Integer => view.int().unwrap_or_default().to_string(),
            _ => view.str().unwrap_or_default().to_owned(),
        }
    }

    fn texts(out: &mut Builder, kind: Kind, words: &[&str]) {
        let at = out.depth();
        for word in words {
            out.text(word);
        }
        out.aggregate(kind, at);
    }

    #[test]
    fn union_has_each_name_once() {
        let builds: [Build; 3] = [
            |out| texts(out, Kind::Set, &["a", "b"]),
            |out| texts(out, Kind::Set, &[]),
            |out| texts(out, Kind::Set, &["b", "c"]),
        ];
        assert_eq!(merged(union, &builds).as_deref(), Some("[a b c]"));
        // A list and a set.
        assert_eq!(
            merged(union, &[builds[0], |out| texts(out, Kind::Array, &["a"])]),
            None
        );
        let number: Build = |out| {
            out.int(1);
        };
        assert_eq!(merged(union, &[number]), None);
    }

    #[test]
    fn sums_are_by_name() {
        let builds: [Build; 2] = [
            |out| {
                out.text("a").int(1).text("b").int(0);
                out.aggregate(Kind::Array, 0);
            },
            |out| {
                out.text("b").int(5).text("a").int(2);
                out.aggregate(Kind::Array, 0);
            },
        ];
        assert_eq!(merged(sum_by_name, &builds).as_deref(), Some("[a 3 b 5]"));
        // A name without a number.
        assert_eq!(
            merged(sum_by_name, &[|out| texts(out, Kind::Array, &["a"])]),
            None
        );
    }

    /// One series in RESP3: a map from its name to labels, the kind of its samples, and samples.
    fn resp3(out: &mut Builder, name: &str, sources: &[&str], value: i64) {
        out.text(name);
        let series = out.depth();
        out.aggregate(Kind::Map, series);
        let map = out.depth();
        if !sources.is_empty() {
            out.text("sources");
            texts(out, Kind::Array, sources);
        }
        out.aggregate(Kind::Map, map);
        out.int(value);
        out.aggregate(Kind::Array, series);
    }

    #[test]
    fn series_of_one_name_are_merged_unless_each_node_grouped_its_own() {
        let own: [Build; 2] = [
            |out| {
                resp3(out, "a", &[], 1);
                out.aggregate(Kind::Map, 0);
            },
            |out| {
                resp3(out, "b", &[], 2);
                // Another sample has been added since the first node answered.
                resp3(out, "a", &[], 3);
                out.aggregate(Kind::Map, 0);
            },
        ];
        assert_eq!(
            merged(series, &own).as_deref(),
            Some("[a [[] [] 1] b [[] [] 2]]")
        );
        let whole: [Build; 2] = [
            |out| {
                resp3(out, "g=1", &["x", "y"], 3);
                out.aggregate(Kind::Map, 0);
            },
            |out| {
                resp3(out, "g=1", &["y", "x"], 3);
                out.aggregate(Kind::Map, 0);
            },
        ];
        assert_eq!(
            merged(series, &whole).as_deref(),
            Some("[g=1 [[] [sources [x y]] 3]]")
        );
        let part: Build = |out| {
            resp3(out, "g=1", &["z"], 3);
            out.aggregate(Kind::Map, 0);
        };
        let error = merged(series, &[whole[0], part]).unwrap();
        assert!(error.contains("cannot be merged"), "{error}");
    }

    #[test]
    fn series_lists_of_one_name_are_merged_if_equal() {
        fn resp2(out: &mut Builder, value: i64) {
            out.text("g=1");
            out.aggregate(Kind::Array, 1);
            out.int(value);
            out.aggregate(Kind::Array, 0);
            out.aggregate(Kind::Array, 0);
        }
        let builds: [Build; 2] = [|out| resp2(out, 1), |out| resp2(out, 2)];
        assert_eq!(
            merged(series, &[builds[0], builds[0]]).as_deref(),
            Some("[[g=1 [] 1]]")
        );
        let error = merged(series, &builds).unwrap();
        assert!(error.contains("cannot be merged"), "{error}");
    }
}
