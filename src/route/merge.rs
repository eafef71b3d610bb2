//! Merges the replies of several nodes into one. No I/O.

use super::command::{Request, Response, Row};
use super::key_groups::KeyGroups;
use super::merge_by_name::{series, sum_by_name, union};
use super::table;
use crate::error::{Code, Error};
use crate::resp::{Kind, NodeValue, Reply, Value, View, flag};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// One element for each key, in the order of the command's keys.
    InOrder,
    /// The elements of all nodes, node after node.
    Concat,
    /// The first reply, if none is an error.
    AllSucceeded,
    /// The first reply that is no error.
    OneSucceeded,
    /// The first reply that is not nil.
    FirstFound,
    Sum,
    Min,
    Max,
    And,
    Or,
    /// A map from the node's name to its reply.
    ByNode,
    /// The elements of all nodes, each once.
    Union,
    /// Pairs of a name and a number: for each name, the sum.
    SumByName,
    /// Time series, each once.
    Series,
}

impl Merge {
    /// Whether the answer of a node that is asked twice would count twice.
    fn counts_each_answer(self) -> bool {
        match self {
            Merge::InOrder | Merge::Concat | Merge::Sum | Merge::SumByName | Merge::ByNode => true,
            Merge::AllSucceeded
            | Merge::OneSucceeded
            | Merge::FirstFound
            | Merge::Min
            | Merge::Max
            | Merge::And
            | Merge::Or
            | Merge::Union
            | Merge::Series => false,
        }
    }

    /// Whether the command is atomic on one server, which it cannot be when it is split.
    pub fn is_atomic(self) -> bool {
        self == Merge::AllSucceeded
    }
}

/// Commands with the response policy "special" that have a merge all the same.
const SPECIAL: &[(&Row, Merge)] = &[
    // nil means that this node has no key; another node may have one.
    (table::RANDOMKEY, Merge::FirstFound),
    (table::PUBSUB_CHANNELS, Merge::Union),
    (table::PUBSUB_SHARDCHANNELS, Merge::Union),
    (table::PUBSUB_NUMSUB, Merge::SumByName),
    (table::PUBSUB_SHARDNUMSUB, Merge::SumByName),
    (table::FT__LIST, Merge::Union),
    (table::TS_QUERYINDEX, Merge::Union),
    (table::TS_MGET, Merge::Series),
    (table::TS_MRANGE, Merge::Series),
    (table::TS_MREVRANGE, Merge::Series),
];

/// How the replies to a command are merged; `None` if the command goes to one node.
pub fn merge_of(row: &Row) -> Option<Merge> {
    Some(match (row.request, row.response) {
        (
            Request::Default
            | Request::Special
            | Request::SlotNumber
            | Request::Selected
            | Request::Writes
            | Request::Channel,
            _,
        ) => return None,
        (Request::MultiShard, Response::Default) => Merge::InOrder,
        (_, Response::Default) => Merge::Concat,
        (_, Response::AllSucceeded) => Merge::AllSucceeded,
        (_, Response::OneSucceeded) => Merge::OneSucceeded,
        (_, Response::AggSum) => Merge::Sum,
        (_, Response::AggMin) => Merge::Min,
        (_, Response::AggMax) => Merge::Max,
        (_, Response::AggLogicalAnd) => Merge::And,
        (_, Response::AggLogicalOr) => Merge::Or,
        (_, Response::Special) => SPECIAL
            .iter()
            .find(|(special, _)| *special == row)
            .map_or(Merge::ByNode, |(_, merge)| *merge),
    })
}

/// Merges the answers of `reply` into its root. `groups` has the keys of each answer.
///
/// If one node fails, its error is the reply, with the node's name: a partial result is never returned
/// as the complete one.
pub fn merge(how: Merge, reply: &mut Reply, groups: &KeyGroups) {
    let answers = std::mem::take(&mut reply.node_values);
    // An error is no list, so errors need not be looked for.
    if how == Merge::InOrder
        && !groups.is_empty()
        && let Some(root) = in_order(reply, &answers, groups)
    {
        reply.root = root;
        return;
    }
    let failed = match how {
        Merge::ByNode => None,
        Merge::OneSucceeded => most_specific_error(reply, &answers),
        _ => answers
            .iter()
            .find(|a| a.value.kind == Kind::Error)
            .copied(),
    };
    if let Some(failed) = failed {
        reply.root = named_error(reply, failed, &answers);
        return;
    }
    let root = match how {
        // A failover, or the end of a shard, during the call can send two shards' commands to one node.
        _ if groups.is_empty() && how.counts_each_answer() && has_duplicate_node(&answers) => None,
        Merge::InOrder => in_order(reply, &answers, groups),
        Merge::Concat => concat(reply, &answers),
        Merge::AllSucceeded => answers.first().copied(),
        Merge::OneSucceeded => answers.iter().find(|a| !is_error(a)).copied(),
        Merge::FirstFound => {
            let first = answers.iter().find(|a| a.value.kind != Kind::Nil);
            first.or(answers.first()).copied()
        }
        Merge::Sum => combine_ints(reply, &answers, |a, b| a.saturating_add(b)),
        Merge::Min => combine_ints(reply, &answers, i64::min),
        Merge::Max => combine_ints(reply, &answers, i64::max),
        Merge::And => combine_ints(reply, &answers, |a, b| i64::from(a != 0 && b != 0)),
        Merge::Or => combine_ints(reply, &answers, |a, b| i64::from(a != 0 || b != 0)),
        Merge::ByNode => Some(by_node(reply, &answers)),
        Merge::Union => union(reply, &answers),
        Merge::SumByName => sum_by_name(reply, &answers),
        Merge::Series => series(reply, &answers),
    };
    reply.root = root.unwrap_or_else(|| {
        let error = Error::new(
            Code::Protocol,
            "the replies of the nodes cannot be merged: their types or lengths differ, or one node answered twice",
        );
        reply.store_error(&error.sent(true))
    });
}

fn is_error(answer: &NodeValue) -> bool {
    answer.value.kind == Kind::Error
}

/// Whether one node has answered twice.
fn has_duplicate_node(answers: &[NodeValue]) -> bool {
    let mut nodes: Vec<u64> = answers.iter().map(|a| a.node).filter(|n| *n != 0).collect();
    nodes.sort_unstable();
    nodes.windows(2).any(|pair| pair[0] == pair[1])
}

/// The error to return if all nodes failed. One that is not NOTBUSY is preferred: SCRIPT KILL gets NOTBUSY
/// from every node that runs no script.
fn most_specific_error(reply: &Reply, answers: &[NodeValue]) -> Option<NodeValue> {
    if answers.iter().any(|a| !is_error(a)) {
        return None;
    }
    let is_idle = |a: &&NodeValue| {
        View::new(reply, a.value)
            .text()
            .unwrap_or_default()
            .starts_with(b"NOTBUSY")
    };
    answers
        .iter()
        .find(|a| !is_idle(a))
        .or(answers.first())
        .copied()
}

/// One node's error as the error of the command, with the node's name and the number of parts that
/// succeeded: their effects remain.
fn named_error(reply: &mut Reply, failed: NodeValue, answers: &[NodeValue]) -> NodeValue {
    let node = reply.origin_of(failed).map(|o| o.name().to_string());
    let text = View::new(reply, failed.value).text().unwrap_or_default();
    let mut message = String::from_utf8_lossy(text).into_owned();
    if let Some(node) = node.filter(|node| !message.contains(node)) {
        message = format!("{message} [{node}]");
    }
    let succeeded = answers.iter().filter(|a| !is_error(a)).count();
    if answers.len() > 1 {
        message = format!(
            "{message} ({succeeded} of {} parts succeeded)",
            answers.len()
        );
    }
    let mut value = reply.store_text(Kind::Error, message.as_bytes());
    value.code = failed.value.code;
    value.flags = failed.value.flags
        | answers
            .iter()
            .fold(0, |all, a| all | a.value.flags & flag::SENT);
    NodeValue {
        value,
        node: failed.node,
    }
}

fn merged_answer(value: Value) -> Option<NodeValue> {
    let mut answer = NodeValue { value, node: 0 };
    answer.value.flags |= flag::SENT;
    Some(answer)
}

/// The only element of an aggregate. None if the value is anything else.
#[cold]
fn only_element(reply: &Reply, value: Value) -> Option<Value> {
    let view = View::new(reply, value);
    let is_single = value.kind.has_elements() && value.len == 1;
    is_single.then(|| Some(view.at(0)?.value())).flatten()
}

fn in_order(reply: &mut Reply, answers: &[NodeValue], groups: &KeyGroups) -> Option<NodeValue> {
    let first = reply.values.len();
    if groups.has_single_keys() {
        let mut merged = vec![Value::NIL; answers.len()];
        let mut has_elements = false;
        let values: &[Value] = &reply.values;
        for (answer, element) in answers.iter().zip(&mut merged) {
            let list = answer.value;
            let is_plain = list.kind == Kind::Array && list.len == 1 && !list.is_compact();
            *element = match values.get(list.data as usize) {
                Some(value) if is_plain => *value,
                _ => only_element(reply, list)?,
            };
            has_elements |= element.kind != Kind::String && element.kind.has_elements();
        }
        if first == merged.len() && !has_elements {
            // The reply holds no other values, so they replace its values in the right order.
            return merged_answer(reply.values.plain_from(Kind::Array, &mut merged));
        }
        reply.values.append(&mut merged);
        return merged_answer(Value::new(Kind::Array, answers.len() as u32, first as u64));
    }
    let mut unpacked = Vec::new();
    let answers = match answers.iter().any(|answer| answer.value.is_compact()) {
        false => answers,
        true => {
            unpacked.extend_from_slice(answers);
            for answer in &mut unpacked {
                answer.value = reply.unpacked(answer.value);
            }
            &unpacked
        }
    };
    let first = reply.values.len();
    reply.values.resize(first + groups.keys(), Value::NIL);
    let (received, merged) = reply.values.split_at_mut(first);
    for (answer, (_, keys)) in answers.iter().zip(groups.iter()) {
        if !answer.value.kind.has_elements() || answer.value.len as usize != keys.len() {
            return None;
        }
        let begin = answer.value.data as usize;
        let values = received.get(begin..begin + keys.len())?;
        for (value, key) in values.iter().zip(keys) {
            *merged.get_mut(groups.rank(*key))? = *value;
        }
    }
    merged_answer(Value::new(Kind::Array, groups.keys() as u32, first as u64))
}

fn concat(reply: &mut Reply, answers: &[NodeValue]) -> Option<NodeValue> {
    let kind = answers.first()?.value.kind;
    // ACL LOG RESET.
    if answers.iter().all(|a| a.value.kind == Kind::Status) {
        return answers.first().copied();
    }
    // Only lists can be concatenated; other replies are returned by node.
    if !answers.iter().all(|a| a.value.kind == kind) || !kind.has_elements() {
        return Some(by_node(reply, answers));
    }
    let mut all: Vec<Value> = Vec::new();
    for answer in answers {
        all.extend(View::new(reply, answer.value).elements().map(|v| v.value()));
    }
    let first = reply.values.len();
    let len = u32::try_from(all.len()).ok()?;
    reply.values.extend(all);
    merged_answer(Value::new(kind, len, first as u64))
}

/// Combines integers, or lists of integers element by element.
fn combine_ints(
    reply: &mut Reply,
    answers: &[NodeValue],
    f: impl Fn(i64, i64) -> i64,
) -> Option<NodeValue> {
    let first = View::new(reply, answers.first()?.value);
    if first.kind() == Kind::Integer {
        let mut numbers = answers.iter().map(|a| {
            View::new(reply, a.value)
                .int()
                .filter(|_| a.value.kind == Kind::Integer)
        });
        let start = numbers.next()??;
        let n = numbers.try_fold(start, |n, m| m.map(|m| f(n, m)))?;
        return merged_answer(Value::integer(n));
    }
    let mut combined: Vec<i64> = first.elements().map(View::int).collect::<Option<_>>()?;
    for answer in &answers[1..] {
        let view = View::new(reply, answer.value);
        if view.len() != combined.len() {
            return None;
        }
        for (n, m) in combined.iter_mut().zip(view.elements()) {
            *n = f(*n, m.int()?);
        }
    }
    let at = reply.values.len();
    reply
        .values
        .extend(combined.iter().map(|n| Value::integer(*n)));
    merged_answer(Value::new(Kind::Array, combined.len() as u32, at as u64))
}

fn by_node(reply: &mut Reply, answers: &[NodeValue]) -> NodeValue {
    let mut pairs = Vec::with_capacity(2 * answers.len());
    for answer in answers {
        let name = reply
            .origin_of(*answer)
            .map_or("?".to_string(), |o| o.name().to_string());
        pairs.push(reply.store_text(Kind::String, name.as_bytes()));
        // The value is an element of a map now; its node is the key.
        let mut value = answer.value;
        value.flags &= !flag::NODE_VALUE;
        pairs.push(value);
    }
    let first = reply.values.len();
    let len = pairs.len() as u32;
    reply.values.extend(pairs);
    let mut value = Value::new(Kind::Map, len, first as u64);
    value.flags |= answers
        .iter()
        .fold(0, |all, a| all | a.value.flags & flag::SENT);
    NodeValue { value, node: 0 }
}
