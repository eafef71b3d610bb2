//! The fuzz targets: parsers of untrusted input, queues and subscribers, each with a property that holds for every input.
//! Used by the fuzz tests and by the program in fuzz/.

mod queues;
mod subscribers;

use rediscluster::address::Address;
use rediscluster::config::Config;
use rediscluster::net::resolver::dns_message::{Answer, Query, RecordType};
use rediscluster::resp::{
    Decoder, Kind, Limits, Reply, ValueList, View, encode_command, parse_command,
};
use rediscluster::route::{
    Access, ErrorContext, KeyAccess, Route, RouteOptions, Wording, access, action_for_reply,
    blocking_timeout, check, each_key, find, first_key, route,
};
use rediscluster::topology::{
    ClusterView, SLOTS, current_epoch, key_slot, redirection, replication, shards, slots,
};

pub type Target = fn(&[u8]);

/// Each target, with the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("decode", decode),
    ("topology", topology),
    ("redirect", redirect),
    ("url", url),
    ("command", command),
    ("keys", keys),
    ("dns", dns),
    ("queues", queues::queues),
    ("subscribers", subscribers::subscribers),
];

const LIMITS: Limits = Limits {
    bytes: 1 << 16,
    elements: 2_000,
    depth: 16,
};

/// The node that sent the input.
fn queried_node() -> Address {
    Address::parse("10.0.0.9:7000").unwrap()
}

/// A reply as text, for comparison.
fn render(view: View<'_>, out: &mut String) {
    let kind = view.kind();
    out.push_str(&format!("{kind:?}("));
    if kind.has_elements() {
        for i in 0..view.len() {
            render(view.at(i).expect("an element"), out);
        }
    } else if kind.has_text() {
        let text = view.text().expect("a text");
        out.push_str(&format!("{:?}", String::from_utf8_lossy(text)));
    } else if kind != Kind::Nil {
        out.push_str(&format!("{}", view.value().data));
    }
    out.push(')');
}

/// The replies decoded from these fragments, and whether an error followed them.
fn replies(fragments: &[&[u8]]) -> (Vec<String>, bool) {
    let mut decoder = Decoder::new(LIMITS);
    let (mut buf, mut start) = (Vec::new(), 0);
    let (mut values, mut found) = (ValueList::default(), Vec::new());
    for fragment in fragments {
        buf.extend_from_slice(fragment);
        while start < buf.len() {
            match decoder.decode(&mut buf, start, 0, &mut values) {
                Err(_) => return (found, true),
                Ok(None) => break,
                Ok(Some((value, end))) => {
                    assert!(
                        end > start && end <= buf.len(),
                        "a reply from {start} to {end}"
                    );
                    let mut reply = Reply::default();
                    reply.first = buf.clone();
                    reply.values = std::mem::take(&mut values);
                    let mut text = String::new();
                    render(View::new(&reply, value), &mut text);
                    found.push(text);
                    start = end;
                }
            }
            assert!(values.len() <= buf.len(), "more values than bytes");
        }
    }
    (found, false)
}

/// Replies do not depend on how the input is fragmented.
pub fn decode(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else {
        return;
    };
    let whole = replies(&[bytes]);
    let size = usize::from(*size % 31) + 1;
    let fragments: Vec<&[u8]> = bytes.chunks(size).collect();
    assert_eq!(replies(&fragments), whole, "in fragments of {size} bytes");
}

fn check_view(view: &ClusterView) {
    let count: usize = view.shards.iter().map(|shard| shard.slots()).sum();
    assert!(count <= SLOTS, "{count} slots");
}

/// A view of the cluster is consistent or rejected.
pub fn topology(data: &[u8]) {
    let mut reply = Reply::default();
    reply.first = data.to_vec();
    let decoded = Decoder::new(LIMITS).decode(&mut reply.first, 0, 0, &mut reply.values);
    let Ok(Some((value, _))) = decoded else {
        return;
    };
    let view = View::new(&reply, value);
    if let Ok(view) = slots(view, &queried_node(), 1000) {
        check_view(&view);
    }
    for tls in [false, true] {
        if let Ok(view) = shards(view, &queried_node(), tls, 1000) {
            check_view(&view);
        }
    }
    current_epoch(view);
    let _ = replication(view, &queried_node());
}

/// A redirection has a valid slot and address, or is no redirection.
pub fn redirect(data: &[u8]) {
    if let Some(found) = redirection(data, &queried_node()) {
        let address = found.to;
        assert!(usize::from(found.slot) < SLOTS && address.port > 0 && !address.host.is_empty());
        let text = address.to_string();
        assert_eq!(Address::parse(&text).ok(), Some(address), "{text}");
    }
    for repeatable in [false, true] {
        let context = ErrorContext {
            repeatable,
            node_chosen_by_caller: false,
            any_replica_ok: repeatable,
            is_not_primary: repeatable,
            wording: match repeatable {
                true => Wording::Server,
                false => Wording::Unknown,
            },
        };
        let _ = action_for_reply(data, &queried_node(), context);
    }
}

/// A URL is accepted or rejected, and the error message does not contain the password.
pub fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Err(error) = Config::from_url(text) else {
        return;
    };
    let message = error.message.as_str();
    assert!(!message.contains('\n'), "more than one line: {message}");
    let password = text
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('@'))
        .and_then(|(user_info, _)| user_info.split_once(':'))
        .map(|(_, password)| password)
        .filter(|p| p.len() > 8 && p.bytes().all(|b| b.is_ascii_alphanumeric()));
    if let Some(password) = password {
        assert!(!message.contains(password), "{message}");
    }
}

/// A parsed command has arguments, and they encode to the same command.
pub fn command(data: &[u8]) {
    let (mut args, mut at) = (Vec::new(), 0);
    while let Ok(end) = parse_command(data, at, &mut args) {
        assert!(end > at && end <= data.len() && !args.is_empty());
        let mut encoded = Vec::new();
        encode_command(&mut encoded, &args);
        let mut again = Vec::new();
        let whole = parse_command(&encoded, 0, &mut again).expect("a valid command");
        assert_eq!((whole, &again), (encoded.len(), &args));
        at = end;
    }
}

/// Keys are arguments of the command, and determine its slot. The input is the arguments, separated by zero bytes.
pub fn keys(data: &[u8]) {
    let args: Vec<&[u8]> = data.split(|b| *b == 0).collect();
    let Some(row) = find(&args) else {
        return;
    };
    let access = access(row, &args);
    let _ = blocking_timeout(row, &args);
    if check(row, &args).is_err() {
        return;
    }
    let mut found = Vec::new();
    let keys = each_key(row, &args, &mut |at, how| found.push((at, how)));
    let in_range = found.iter().all(|(at, _)| (1..args.len()).contains(at));
    assert!(in_range, "{} has keys at {found:?}", row.name);
    if keys.is_err() {
        return;
    }
    let writes = found.iter().any(|(_, how)| *how != KeyAccess::Read);
    if writes {
        assert_eq!(access, Access::Write, "{} writes a key", row.name);
    }
    if let Ok(first) = first_key(row, &args) {
        assert_eq!(first, found.first().map(|(at, _)| *at), "{}", row.name);
    }
    if let Ok(Route::Slot(slot)) = route(row, &args, RouteOptions::default()) {
        for (at, _) in &found {
            assert_eq!(
                key_slot(args[*at]),
                slot,
                "{} has a key of another slot",
                row.name
            );
        }
    }
}

/// An answer of a name server holds addresses of the record type asked for, or none, with and without its truncated flag.
pub fn dns(data: &[u8]) {
    let Some((first, records)) = data.split_first() else {
        return;
    };
    let record = [RecordType::A, RecordType::Aaaa][usize::from(first & 1)];
    let query = Query::new(7, "node-1.example", record, false).expect("a valid name");
    let _ = query.parse_answer(data);
    let mut message = query.as_bytes().to_vec();
    let code = first >> 1 & 3;
    message[2] |= 0x80;
    message[3] = code;
    message[7] = first >> 3;
    message.extend_from_slice(records);
    let whole = query
        .parse_answer(&message)
        .expect("an answer to the query");
    message[2] |= 2;
    let truncated = query
        .parse_answer(&message)
        .expect("an answer to the query");
    match (&whole, &truncated) {
        (Answer::Addresses(found), Answer::Truncated(same)) => {
            assert_eq!(found, same);
            let most = records.len() / 12;
            assert!(found.ips.len() <= most, "addresses without records");
            let is_v4 = record == RecordType::A;
            let of_type = found.ips.iter().all(|ip| ip.is_ipv4() == is_v4);
            assert!(of_type, "{found:?}");
        }
        (Answer::Malformed, Answer::Truncated(_)) => assert_eq!(code, 0),
        (whole, truncated) => {
            assert_eq!(whole, truncated);
            assert_ne!(code, 0);
        }
    }
}
