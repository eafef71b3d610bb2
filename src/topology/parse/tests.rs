//! Replies of servers, in full and in a short notation, and the views made of them.

use super::super::view::{NodeView, ShardView};
use super::*;
use crate::error::Code;
use crate::resp::{Decoder, Limits, Reply};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The node that sends the replies in these tests.
fn sender() -> Address {
    Address::new("10.0.0.9", 7009).unwrap()
}

/// More than any test needs.
const MAX_NODES: usize = 16_384;

fn slots(reply: View<'_>, from: &Address) -> Result<ClusterView> {
    super::slots(reply, from, MAX_NODES)
}

fn shards(reply: View<'_>, from: &Address, tls: bool) -> Result<ClusterView> {
    super::shards(reply, from, tls, MAX_NODES)
}

fn try_decode(bytes: impl AsRef<[u8]>) -> Option<Reply> {
    let limits = Limits {
        bytes: 64 << 20,
        elements: 1 << 20,
        depth: 16,
    };
    let mut reply = Reply::default();
    reply.first = bytes.as_ref().to_vec();
    let (value, _) = Decoder::new(limits)
        .decode(&mut reply.first, 0, 0, &mut reply.values)
        .ok()??;
    reply.root.value = value;
    Some(reply)
}

/// Decodes one reply.
pub fn decode(bytes: impl AsRef<[u8]>) -> Reply {
    try_decode(bytes).expect("one whole reply")
}

/// Encodes a reply in short notation: words, numbers, `nil`, `''` for an empty text, `[ ... ]` for an
/// array and `{ ... }` for a map (a flat array in RESP2).
fn wire(short: &str, resp3: bool) -> Vec<u8> {
    let mut open: Vec<(char, usize, Vec<u8>)> = vec![(' ', 0, Vec::new())];
    for word in short.split_whitespace() {
        let item = match word {
            "[" | "{" => {
                open.push((word.chars().next().unwrap(), 0, Vec::new()));
                continue;
            }
            "]" | "}" => {
                let (kind, count, items) = open.pop().unwrap();
                let (sign, count) = match (kind, resp3) {
                    ('{', true) => ('%', count / 2),
                    _ => ('*', count),
                };
                let mut item = format!("{sign}{count}\r\n").into_bytes();
                item.extend(items);
                item
            }
            "nil" if resp3 => b"_\r\n".to_vec(),
            "nil" => b"$-1\r\n".to_vec(),
            "''" => b"$0\r\n\r\n".to_vec(),
            n if n.parse::<i64>().is_ok() => format!(":{n}\r\n").into_bytes(),
            text => format!("${}\r\n{text}\r\n", text.len()).into_bytes(),
        };
        let (_, count, items) = open.last_mut().unwrap();
        *count += 1;
        items.extend(item);
    }
    assert_eq!(open.len(), 1, "{short}");
    open.remove(0).2
}

/// The view of a CLUSTER SLOTS reply in short notation.
pub fn slots_view(short: &str) -> ClusterView {
    slots(decode(wire(short, false)).view(), &sender()).unwrap()
}

/// A view as text: ranges, primary and replicas of each shard.
fn show(view: &ClusterView) -> String {
    let node = |node: &NodeView| {
        let mut text = format!("{}@{}", node.id, node.address);
        for name in &node.names {
            text += &format!("={name}");
        }
        if let Some(zone) = &node.zone {
            text += &format!(" zone {zone}");
        }
        if let Some(offset) = node.offset {
            text += &format!(" at {offset}");
        }
        if !node.online {
            text += " offline";
        }
        text
    };
    let shard = |shard: &ShardView| {
        let ranges = shard.ranges.iter().map(|(a, b)| format!("{a}-{b}"));
        let mut text = ranges.collect::<Vec<_>>().join(",");
        text += ": ";
        text += &shard.primary.as_ref().map_or("none".to_string(), node);
        for replica in &shard.replicas {
            text += &format!(" < {}", node(replica));
        }
        text
    };
    view.shards.iter().map(shard).collect::<Vec<_>>().join("; ")
}

const A: &str = "11180b3618936dde5781da8d6d8a5106f9530bff";
const B: &str = "18fd9a59c9f79c1d41087476e1682c79eff431f3";

#[test]
fn recorded_cluster_slots_replies_are_parsed() {
    for (server, bytes, expected) in [
        (
            "Redis 7.0.15, RESP2, with an announced hostname",
            "*2\r\n*3\r\n:0\r\n:5\r\n*4\r\n$0\r\n\r\n:17911\r\n$40\r\n11180b3618936dde5781da8d6d8a5106f9530bff\r\n*2\r\n$8\r\nhostname\r\n$12\r\nNode.example\r\n*3\r\n:7\r\n:16383\r\n*4\r\n$0\r\n\r\n:17911\r\n$40\r\n11180b3618936dde5781da8d6d8a5106f9530bff\r\n*2\r\n$8\r\nhostname\r\n$12\r\nNode.example\r\n",
            format!("0-5,7-16383: {A}@10.0.0.9:17911=node.example:17911"),
        ),
        (
            "the same, RESP3",
            "*2\r\n*3\r\n:0\r\n:5\r\n*4\r\n$0\r\n\r\n:17911\r\n$40\r\n11180b3618936dde5781da8d6d8a5106f9530bff\r\n%1\r\n$8\r\nhostname\r\n$12\r\nNode.example\r\n*3\r\n:7\r\n:16383\r\n*4\r\n$0\r\n\r\n:17911\r\n$40\r\n11180b3618936dde5781da8d6d8a5106f9530bff\r\n%1\r\n$8\r\nhostname\r\n$12\r\nNode.example\r\n",
            format!("0-5,7-16383: {A}@10.0.0.9:17911=node.example:17911"),
        ),
        (
            "Valkey 9.1, RESP2, unknown-endpoint, in a zone",
            "*2\r\n*3\r\n:0\r\n:5\r\n*4\r\n$-1\r\n:17912\r\n$40\r\n18fd9a59c9f79c1d41087476e1682c79eff431f3\r\n*4\r\n$2\r\nip\r\n$0\r\n\r\n$17\r\navailability-zone\r\n$5\r\neu-1a\r\n*3\r\n:7\r\n:16383\r\n*4\r\n$-1\r\n:17912\r\n$40\r\n18fd9a59c9f79c1d41087476e1682c79eff431f3\r\n*4\r\n$2\r\nip\r\n$0\r\n\r\n$17\r\navailability-zone\r\n$5\r\neu-1a\r\n",
            format!("0-5,7-16383: {B}@10.0.0.9:17912 zone eu-1a"),
        ),
        (
            "the same, RESP3",
            "*2\r\n*3\r\n:0\r\n:5\r\n*4\r\n_\r\n:17912\r\n$40\r\n18fd9a59c9f79c1d41087476e1682c79eff431f3\r\n%2\r\n$2\r\nip\r\n$0\r\n\r\n$17\r\navailability-zone\r\n$5\r\neu-1a\r\n*3\r\n:7\r\n:16383\r\n*4\r\n_\r\n:17912\r\n$40\r\n18fd9a59c9f79c1d41087476e1682c79eff431f3\r\n%2\r\n$2\r\nip\r\n$0\r\n\r\n$17\r\navailability-zone\r\n$5\r\neu-1a\r\n",
            format!("0-5,7-16383: {B}@10.0.0.9:17912 zone eu-1a"),
        ),
        ("a fresh cluster", "*0\r\n", String::new()),
    ] {
        let view = slots(decode(bytes).view(), &sender()).unwrap();
        assert_eq!(show(&view), expected, "{server}");
        assert_eq!((view.conflicts, view.defect), (0, None), "{server}");
    }
}

#[test]
fn recorded_cluster_shards_replies_are_parsed() {
    for (server, bytes, expected) in [
        (
            "Redis 7.0.15, RESP2, with an announced hostname",
            "*1\r\n*4\r\n$5\r\nslots\r\n*4\r\n:0\r\n:5\r\n:7\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n*16\r\n$2\r\nid\r\n$40\r\n11180b3618936dde5781da8d6d8a5106f9530bff\r\n$4\r\nport\r\n:17911\r\n$2\r\nip\r\n$0\r\n\r\n$8\r\nendpoint\r\n$0\r\n\r\n$8\r\nhostname\r\n$12\r\nNode.example\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n",
            format!("0-5,7-16383: {A}@10.0.0.9:17911=node.example:17911 at 0"),
        ),
        (
            "the same, RESP3",
            "*1\r\n%2\r\n$5\r\nslots\r\n*4\r\n:0\r\n:5\r\n:7\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n%8\r\n$2\r\nid\r\n$40\r\n11180b3618936dde5781da8d6d8a5106f9530bff\r\n$4\r\nport\r\n:17911\r\n$2\r\nip\r\n$0\r\n\r\n$8\r\nendpoint\r\n$0\r\n\r\n$8\r\nhostname\r\n$12\r\nNode.example\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n",
            format!("0-5,7-16383: {A}@10.0.0.9:17911=node.example:17911 at 0"),
        ),
        (
            "Valkey 9.1, RESP2, in a zone, the shard with an id",
            "*1\r\n*6\r\n$5\r\nslots\r\n*4\r\n:0\r\n:5\r\n:7\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n*16\r\n$2\r\nid\r\n$40\r\n18fd9a59c9f79c1d41087476e1682c79eff431f3\r\n$4\r\nport\r\n:17912\r\n$2\r\nip\r\n$0\r\n\r\n$8\r\nendpoint\r\n$0\r\n\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n$17\r\navailability-zone\r\n$5\r\neu-1a\r\n$2\r\nid\r\n$40\r\n5287afbae31e0992162f9e6bec34be4ebf860b23\r\n",
            format!("0-5,7-16383: {B}@10.0.0.9:17912 zone eu-1a at 0"),
        ),
        (
            "the same, RESP3",
            "*1\r\n%3\r\n$5\r\nslots\r\n*4\r\n:0\r\n:5\r\n:7\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n%8\r\n$2\r\nid\r\n$40\r\n18fd9a59c9f79c1d41087476e1682c79eff431f3\r\n$4\r\nport\r\n:17912\r\n$2\r\nip\r\n$0\r\n\r\n$8\r\nendpoint\r\n$0\r\n\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n$17\r\navailability-zone\r\n$5\r\neu-1a\r\n$2\r\nid\r\n$40\r\n5287afbae31e0992162f9e6bec34be4ebf860b23\r\n",
            format!("0-5,7-16383: {B}@10.0.0.9:17912 zone eu-1a at 0"),
        ),
        ("a fresh cluster", "*0\r\n", String::new()),
    ] {
        let view = shards(decode(bytes).view(), &sender(), false).unwrap();
        assert_eq!(show(&view), expected, "{server}");
        assert_eq!((view.conflicts, view.defect), (0, None), "{server}");
    }
}

#[test]
fn cluster_slots_variants_are_parsed() {
    for (case, short, expected) in [
        (
            "three shards, one with two replicas, out of order",
            "[ [ 10923 16383 [ h3 3 c { } ] ] [ 0 5460 [ h1 1 a { } ] [ h4 4 d { } ] [ h5 5 e { } ] ] [ 5461 10922 [ h2 2 b { } ] ] ]",
            "10923-16383: c@h3:3; 0-5460: a@h1:1 < d@h4:4 < e@h5:5; 5461-10922: b@h2:2",
        ),
        (
            "ranges of a shard that touch, and gaps between shards",
            "[ [ 7 9 [ h 1 a ] ] [ 20 30 [ h 2 b ] ] [ 0 3 [ h 1 a ] [ h 3 c ] ] [ 4 4 [ h 1 a ] [ h 3 c ] [ h 4 d ] ] ]",
            "0-4,7-9: a@h:1 < c@h:3 < d@h:4; 20-30: b@h:2",
        ),
        (
            "ids came with Redis 4.0",
            "[ [ 0 9 [ 10.0.0.1 1 ] [ 10.0.0.2 2 ] ] [ 12 19 [ 10.0.0.1 1 ] ] ]",
            "0-9,12-19: 10.0.0.1:1@10.0.0.1:1 < 10.0.0.2:2@10.0.0.2:2",
        ),
        (
            "hosts that stand for the sender's, of replicas too",
            "[ [ 0 0 [ nil 1 a ] [ '' 2 b ] [ 0.0.0.0 3 c ] [ :: 4 d ] [ 0:0:0:0:0:0:0:0 5 e ] ] ]",
            "0-0: a@10.0.0.9:1 < b@10.0.0.9:2 < c@10.0.0.9:3 < d@10.0.0.9:4 < e@10.0.0.9:5",
        ),
        (
            "hosts of every kind",
            "[ [ 0 0 [ 10.0.0.1 1 a ] [ 2001:DB8::0:1 2 b ] [ fe80::1%eth0 3 c ] [ Node.Example 4 d ] ] ]",
            "0-0: a@10.0.0.1:1 < b@[2001:db8::1]:2 < c@[fe80::1%eth0]:3 < d@node.example:4",
        ),
        (
            "IPv6 in brackets",
            "[ [ 0 0 [ [2001:DB8::0:1] 1 a { ip [fd00::1] } ] [ [fe80::1%eth0] 2 b ] [ [::] 3 c ] ] ]",
            "0-0: a@[2001:db8::1]:1=[fd00::1]:1 < b@[fe80::1%eth0]:2 < c@10.0.0.9:3",
        ),
        (
            "unset hostnames of nodes that announce their IP addresses too",
            "[ [ 0 0 [ ? 1 a { ip 10.0.0.1 } ] [ ? 2 b { hostname '' ip 10.0.0.2 } ] ] ]",
            "0-0: a@10.0.0.1:1 < b@10.0.0.2:2",
        ),
        (
            "additional names, and unset ones",
            "[ [ 0 0 [ n.example 1 a { ip 10.0.0.1 hostname n.example } ] [ nil 2 b { hostname '' ip 10.0.0.2 } ] [ 10.0.0.3 3 c { hostname ? x [ y ] ip nil } ] [ 10.0.0.4 4 d { ip 0.0.0.0 hostname a/b } ] ] ]",
            "0-0: a@n.example:1=10.0.0.1:1 < b@10.0.0.9:2=10.0.0.2:2 < c@10.0.0.3:3 < d@10.0.0.4:4",
        ),
        (
            "a node with other names in other entries",
            "[ [ 0 0 [ h 1 a ] ] [ 2 2 [ i 1 a { ip 10.0.0.1 availability-zone z } ] ] [ 4 4 [ h 1 a { ip 10.0.0.1 } ] ] ]",
            "0-0,2-2,4-4: a@h:1=i:1=10.0.0.1:1 zone z",
        ),
        (
            "a replica twice, and a primary as its own replica",
            "[ [ 0 0 [ h 1 a ] [ h 2 b ] [ h 1 a ] [ h 2 b ] ] ]",
            "0-0: a@h:1 < b@h:2",
        ),
        (
            "a node with two roles is a primary",
            "[ [ 0 0 [ h 1 a ] [ h 2 b ] ] [ 1 1 [ h 2 b ] [ h 3 c ] ] [ 2 2 [ h 4 d ] [ h 3 c ] ] ]",
            "0-0: a@h:1; 1-1: b@h:2 < c@h:3; 2-2: d@h:4",
        ),
        (
            "numbers as texts",
            "[ [ 0 +5 [ h 0001 a ] ] ]",
            "0-5: a@h:1",
        ),
    ] {
        for resp3 in [false, true] {
            let view = slots(decode(wire(short, resp3)).view(), &sender()).unwrap();
            assert_eq!(show(&view), expected, "{case}");
            assert_eq!((view.conflicts, view.defect), (0, None), "{case}");
        }
    }
}

#[test]
fn invalid_slots_entry_keeps_valid_entries() {
    const RANGE: &str = "entry 0: it does not begin with a slot range within 0 to 16383";
    const SHAPE: &str = "entry 0: its primary is not an array of a host and a port";
    const PORT: &str = "entry 0: the primary is unusable: its port is not in 1 to 65535";
    for (bad, defect) in [
        ("[ 5 4 [ h 1 x ] ]", RANGE),
        ("[ 0 16384 [ h 1 x ] ]", RANGE),
        ("[ -1 4 [ h 1 x ] ]", RANGE),
        ("[ 0 4294967296 [ h 1 x ] ]", RANGE),
        ("[ 0 nil [ h 1 x ] ]", RANGE),
        ("[ [ ] 0 [ h 1 x ] ]", RANGE),
        ("[ 0 five [ h 1 x ] ]", RANGE),
        ("[ ]", RANGE),
        ("[ 0 ]", RANGE),
        ("[ 0 1 ]", "entry 0: it contains no node"),
        ("word", "entry 0: it is not an array"),
        ("17", "entry 0: it is not an array"),
        ("nil", "entry 0: it is not an array"),
        ("[ 0 1 nil [ h 2 y ] ]", SHAPE),
        ("[ 0 1 h 1 ]", SHAPE),
        ("[ 0 1 [ ] ]", SHAPE),
        ("[ 0 1 [ h ] ]", SHAPE),
        ("[ 0 1 [ [ h ] 1 x ] ]", SHAPE),
        ("[ 0 1 [ 17 1 x ] ]", SHAPE),
        ("[ 0 1 [ h port x ] ]", SHAPE),
        ("[ 0 1 [ h nil x ] ]", SHAPE),
        ("[ 0 1 [ h 0 x ] ]", PORT),
        ("[ 0 1 [ h 65536 x ] ]", PORT),
        ("[ 0 1 [ h -1 x ] ]", PORT),
        (
            "[ 0 1 [ ? 1 x ] ]",
            "entry 0: the primary is unusable: its hostname is unknown (\"?\")",
        ),
        (
            "[ 0 1 [ a/b 1 x ] ]",
            "entry 0: the primary is unusable: its host is neither a name nor an IP address",
        ),
    ] {
        let beside = format!("[ {bad} [ 0 9 [ h 7 a ] ] ]");
        let view = slots_view(&beside);
        assert_eq!(show(&view), "0-9: a@h:7", "{bad}");
        assert_eq!(view.defect.as_deref(), Some(defect), "{bad}");
        assert_eq!(view.conflicts, 0, "{bad}");

        let alone = decode(wire(&format!("[ {bad} ]"), true));
        let error = slots(alone.view(), &sender()).unwrap_err();
        assert_eq!(error.code, Code::Protocol, "{bad}");
        let expected =
            format!("PROTOCOL CLUSTER SLOTS of 10.0.0.9:7009 contains no usable node: {defect}");
        assert_eq!(error.message, expected, "{bad}");
    }
}

#[test]
fn first_of_several_defects_is_reported() {
    let reply = decode(wire("[ [ 5 4 [ h 1 x ] ] [ 0 1 [ ? 1 x ] ] ]", false));
    let error = slots(reply.view(), &sender()).unwrap_err();
    assert!(
        error.message.contains("entry 0: it does not begin"),
        "{error}"
    );
}

#[test]
fn unusable_nodes_are_left_out() {
    for (short, expected) in [
        // The slots are known to be served by a shard whose primary is not reachable.
        ("[ [ 0 5 [ ? 1 a ] [ h 2 b ] ] ]", "0-5: none < b@h:2"),
        ("[ [ 0 5 [ h 1 a ] [ ? 2 b ] ] ]", "0-5: a@h:1"),
        ("[ [ 0 5 [ h 1 a ] [ ? 2 b { ip '' } ] ] ]", "0-5: a@h:1"),
        (
            "[ [ 0 5 [ h 1 a ] [ ? 2 b { ip 0.0.0.0 } ] ] ]",
            "0-5: a@h:1",
        ),
        ("[ [ 0 5 [ h 1 a ] [ ? 2 b { ip ? } ] ] ]", "0-5: a@h:1"),
        ("[ [ 0 5 [ h 1 a ] [ [h] 2 b ] ] ]", "0-5: a@h:1"),
        ("[ [ 0 5 [ h 1 a ] [ h 0 b ] ] ]", "0-5: a@h:1"),
        ("[ [ 0 5 [ h 1 a ] nil [ h 3 c ] ] ]", "0-5: a@h:1 < c@h:3"),
        // Another entry may complete one.
        (
            "[ [ 0 5 [ ? 1 a ] [ h 2 b ] ] [ 7 7 [ h 1 a ] ] ]",
            "0-5,7-7: a@h:1 < b@h:2",
        ),
        ("[ [ 0 5 [ h 1 a ] ] [ 7 7 [ ? 1 a ] ] ]", "0-5,7-7: a@h:1"),
    ] {
        let view = slots_view(short);
        assert_eq!(show(&view), expected, "{short}");
        assert!(view.defect.is_some(), "{short}");
    }
}

#[test]
fn slot_claimed_twice_stays_with_first_claim() {
    for (short, expected, conflicts) in [
        (
            "[ [ 0 5 [ h 1 a ] ] [ 3 9 [ h 2 b ] ] ]",
            "0-5: a@h:1; 6-9: b@h:2",
            3,
        ),
        (
            "[ [ 3 5 [ h 1 a ] ] [ 0 9 [ h 2 b ] ] ]",
            "3-5: a@h:1; 0-2,6-9: b@h:2",
            3,
        ),
        (
            "[ [ 0 9 [ h 1 a ] ] [ 0 9 [ h 2 b ] ] ]",
            "0-9: a@h:1; : b@h:2",
            10,
        ),
        (
            "[ [ 0 16383 [ h 1 a ] ] [ 60 16383 [ h 2 b ] ] ]",
            "0-16383: a@h:1; : b@h:2",
            16324,
        ),
        // A shard that claims a slot twice is no conflict.
        ("[ [ 0 9 [ h 1 a ] ] [ 5 12 [ h 1 a ] ] ]", "0-12: a@h:1", 0),
        // The claim of a shard without a usable node does not count.
        ("[ [ 0 9 [ ? 1 a ] ] [ 0 9 [ h 2 b ] ] ]", "0-9: b@h:2", 0),
    ] {
        let view = slots_view(short);
        assert_eq!(show(&view), expected, "{short}");
        assert_eq!(view.conflicts, conflicts, "{short}");
    }
}

#[test]
fn slot_ranges_may_begin_and_end_anywhere() {
    for (first, last) in [
        (0, 0),
        (0, 63),
        (63, 64),
        (1, 62),
        (64, 127),
        (5, 16383),
        (16383, 16383),
    ] {
        let view = slots_view(&format!("[ [ {first} {last} [ h 1 a ] ] ]"));
        assert_eq!(view.shards[0].ranges, [(first, last)]);
        assert_eq!(view.slots(), usize::from(last - first) + 1);
    }
}

#[test]
fn ranges_of_random_claims_are_those_of_slot_by_slot() {
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..300 {
        let claims: Vec<(u16, u16, usize)> = (0..rng.random_range(1..12))
            .map(|_| {
                let first = rng.random_range(0..40);
                (first, rng.random_range(first..40), rng.random_range(1..4))
            })
            .collect();
        let mut owners = vec![0; 41];
        for (first, last, shard) in &claims {
            for owner in &mut owners[usize::from(*first)..=usize::from(*last)] {
                *owner = if *owner == 0 { *shard } else { *owner };
            }
        }
        let entries = claims
            .iter()
            .map(|(first, last, shard)| format!("[ {first} {last} [ h {shard} n{shard} ] ]"));
        let view = slots_view(&format!("[ {} ]", entries.collect::<Vec<_>>().join(" ")));
        for shard in &view.shards {
            let port = shard.primary.as_ref().unwrap().address.port;
            let mut expected = Vec::new();
            let mut first = 0;
            for run in owners.chunk_by(|a, b| a == b) {
                let next = first + run.len() as u16;
                if run[0] == usize::from(port) {
                    expected.push((first, next - 1));
                }
                first = next;
            }
            assert_eq!(shard.ranges, expected, "{claims:?}");
        }
    }
}

#[test]
fn oversized_topologies_are_rejected() {
    let every_other: String = (0..8192)
        .map(|i| {
            format!(
                " [ {} {} [ h{} 1 n{} ] [ r 1 r{} ] ]",
                i * 2,
                i * 2,
                i % 500,
                i % 500,
                i % 500
            )
        })
        .collect();
    let view = slots_view(&format!("[{every_other} ]"));
    assert_eq!(
        (view.shards.len(), view.slots(), view.conflicts),
        (500, 8192, 0)
    );

    let nodes = |count: usize| {
        let each = (0..count).map(|i| format!(" [ {i} {i} [ h 1 n{i} ] ]"));
        wire(&format!("[{} ]", each.collect::<String>()), false)
    };
    let allowed = super::slots(decode(nodes(100)).view(), &sender(), 100).unwrap();
    assert_eq!(allowed.nodes().count(), 100);
    let error = super::slots(decode(nodes(101)).view(), &sender(), 100).unwrap_err();
    assert_eq!(
        error.message,
        "PROTOCOL CLUSTER SLOTS of 10.0.0.9:7009 lists more than 100 nodes, the limit of the option max_nodes; set it \
         higher for a larger cluster"
    );
    // One shard for each slot, with a replica: twice as many nodes as a shard number needs.
    let all = (0..SLOTS).map(|i| format!(" [ {i} {i} [ h 1 p{i} ] [ h 2 r{i} ] ]"));
    let all = decode(wire(&format!("[{} ]", all.collect::<String>()), false));
    let view = super::slots(all.view(), &sender(), 2 * SLOTS).unwrap();
    assert_eq!(
        (view.shards.len(), view.slots(), view.conflicts),
        (SLOTS, SLOTS, 0)
    );
    assert!(super::slots(all.view(), &sender(), 2 * SLOTS - 1).is_err());

    let ranges = " [ 1 1 [ h 1 a ] ]".repeat(16384);
    assert_eq!(slots_view(&format!("[{ranges} ]")).slots(), 1);
    let reply = decode(wire(&format!("[{ranges} [ 1 1 [ h 1 a ] ] ]"), false));
    let error = slots(reply.view(), &sender()).unwrap_err();
    assert_eq!(
        error.message,
        "PROTOCOL CLUSTER SLOTS of 10.0.0.9:7009 lists more than 16384 slot ranges"
    );

    let node = "nodes [ { id a port 1 ip h role master } ]";
    let shard = |count| format!("{{ slots [{} ] {node} }}", " 1 1".repeat(count));
    let half = shard(8192);
    let view = shards(
        decode(wire(&format!("[ {half} {half} ]"), true)).view(),
        &sender(),
        false,
    );
    assert_eq!(view.unwrap().slots(), 1);
    for short in [
        format!("[ {half} {half} {} ]", shard(1)),
        format!("[ {} ]", shard(16385)),
    ] {
        let error = shards(decode(wire(&short, true)).view(), &sender(), false).unwrap_err();
        assert!(
            error.message.contains("more than 16384 slot ranges"),
            "{error}"
        );
    }
}

#[test]
fn hostnames_per_node_are_limited() {
    let entries = (0..1000).map(|i| format!(" [ {i} {i} [ h{i} 1 a ] ]"));
    let view = slots_view(&format!("[{} ]", entries.collect::<String>()));
    assert_eq!(view.shards[0].primary.as_ref().unwrap().names.len(), 16);
}

#[test]
fn cluster_shards_variants_are_parsed() {
    let node = |id: &str, role: &str, more: &str| {
        format!("{{ id {id} port 1 ip 10.0.0.1 endpoint h role {role} {more} }}")
    };
    for (case, tls, short, expected) in [
        (
            "two shards, one with unhealthy replicas",
            false,
            format!(
                "[ {{ slots [ 0 5 7 9 ] nodes [ {} {} {} ] }} {{ slots [ ] nodes [ {} ] }} ]",
                node("b", "replica", "replication-offset 70 health loading"),
                node("a", "master", "replication-offset 72 health online"),
                node("c", "slave", "health failed surprise [ 1 { x y } ]"),
                node("d", "primary", "health fail"),
            ),
            "0-5,7-9: a@h:1=10.0.0.1:1 at 72 < b@h:1=10.0.0.1:1 at 70 offline < c@h:1=10.0.0.1:1 offline; : d@h:1=10.0.0.1:1 offline",
        ),
        (
            "a failed primary that was replaced",
            false,
            format!(
                "[ {{ slots [ 0 9 ] nodes [ {} {} ] }} ]",
                node("a", "master", "health failed"),
                node("b", "master", "health online"),
            ),
            "0-9: b@h:1=10.0.0.1:1",
        ),
        (
            "no primary",
            false,
            format!("[ {{ slots [ 0 9 ] nodes [ {} ] }} ]", node("b", "replica", "")),
            "0-9: none < b@h:1=10.0.0.1:1",
        ),
        (
            "ports of TLS",
            true,
            "[ { slots [ 0 9 ] nodes [ { id a role master endpoint h port 1 tls-port 2 ip 10.0.0.1 } { id b role replica endpoint h tls-port 3 } { id c role replica endpoint h port 4 } ] } ]".to_string(),
            "0-9: a@h:2=10.0.0.1:2 < b@h:3 < c@h:4",
        ),
        (
            "endpoints",
            false,
            "[ { slots [ 0 9 ] nodes [ { id a role master endpoint nil ip 10.0.0.1 port 1 } { id b role replica endpoint '' port 2 } { id c role replica ip 10.0.0.3 hostname N.example port 3 } { id d role replica endpoint 0.0.0.0 port 4 } ] } ]".to_string(),
            "0-9: a@10.0.0.9:1=10.0.0.1:1 < b@10.0.0.9:2 < c@10.0.0.3:3=n.example:3 < d@10.0.0.9:4",
        ),
    ] {
        for resp3 in [false, true] {
            let reply = decode(wire(&short, resp3));
            let view = shards(reply.view(), &sender(), tls).unwrap();
            assert_eq!(show(&view), expected, "{case}");
            assert_eq!((view.conflicts, view.defect), (0, None), "{case}");
        }
    }
}

#[test]
fn invalid_shard_keeps_valid_shards() {
    const SHAPE: &str = "entry 0: it is not a map with arrays of slots and nodes";
    const RANGE: &str = "entry 0: one of its slot ranges is not within 0 to 16383";
    const NODE: &str = "entry 0: a node is not a map with a role, a host and a port";
    const GOOD: &str = "nodes [ { id x port 1 endpoint h role master } ]";
    let nodes = |fields: &str| format!("{{ slots [ 0 9 ] nodes [ {{ {fields} }} ] }}");
    for (bad, left, defect) in [
        ("word".to_string(), "", SHAPE),
        ("[ ]".to_string(), "", SHAPE),
        ("{ slots [ 0 9 ] }".to_string(), "", SHAPE),
        (format!("{{ slots nil {GOOD} }}"), "", SHAPE),
        ("{ slots [ 0 9 ] nodes a }".to_string(), "", SHAPE),
        (
            "{ slots [ 0 9 ] nodes [ ] }".to_string(),
            "",
            "entry 0: it contains no node",
        ),
        (
            format!("{{ slots [ 0 9 20 16384 ] {GOOD} }}"),
            "0-9: x@h:1; ",
            RANGE,
        ),
        (
            format!("{{ slots [ 9 0 5 6 ] {GOOD} }}"),
            "5-6: x@h:1; ",
            RANGE,
        ),
        (
            format!("{{ slots [ 0 9 12 ] {GOOD} }}"),
            "0-9: x@h:1; ",
            RANGE,
        ),
        ("{ slots [ 0 9 ] nodes [ nil ] }".to_string(), "", NODE),
        (nodes("id x port 1 endpoint h"), "", NODE),
        (nodes("id x port 1 endpoint h role king"), "", NODE),
        (nodes("id x port 1 role master"), "", NODE),
        (nodes("id x port one endpoint h role master"), "", NODE),
        (
            nodes("id x tls-port 1 endpoint h role master"),
            "",
            "entry 0: the primary is unusable: its port is not in 1 to 65535",
        ),
        (
            nodes("id x port 1 endpoint ? role master"),
            "",
            "entry 0: the primary is unusable: its hostname is unknown (\"?\")",
        ),
    ] {
        for resp3 in [false, true] {
            let good = "{ slots [ 100 109 ] nodes [ { id a port 7 endpoint h role master } ] }";
            let beside = decode(wire(&format!("[ {bad} {good} ]"), resp3));
            let view = shards(beside.view(), &sender(), false).unwrap();
            assert_eq!(show(&view), format!("{left}100-109: a@h:7"), "{bad}");
            assert_eq!(view.defect.as_deref(), Some(defect), "{bad}");

            let alone = decode(wire(&format!("[ {bad} ]"), resp3));
            if left.is_empty() {
                let error = shards(alone.view(), &sender(), false).unwrap_err();
                assert_eq!(error.code, Code::Protocol, "{bad}");
                assert!(error.message.ends_with(defect), "{bad}: {error}");
            }
        }
    }
}

#[test]
fn replies_without_topology_are_rejected() {
    for (bytes, code, message) in [
        (
            "$-1\r\n",
            Code::Protocol,
            "of 10.0.0.9:7009 is not an array",
        ),
        (
            "+OK\r\n",
            Code::Protocol,
            "of 10.0.0.9:7009 is not an array",
        ),
        ("%0\r\n", Code::Protocol, "of 10.0.0.9:7009 is not an array"),
        (
            "-ERR This instance has cluster support disabled\r\n",
            Code::Server,
            "ERR This instance has cluster support disabled",
        ),
    ] {
        let reply = decode(bytes);
        for error in [
            slots(reply.view(), &sender()).unwrap_err(),
            shards(reply.view(), &sender(), false).unwrap_err(),
        ] {
            assert_eq!(error.code, code);
            assert!(error.message.ends_with(message), "{error}");
        }
    }
}

#[test]
fn mutated_topology_replies_never_panic() {
    let originals = [
        wire(
            "[ [ 0 5460 [ 10.0.0.1 1 aaaa { hostname n.example } ] [ ? 2 bbbb ] ] [ 5461 16383 [ nil 3 cccc ] [ '' 4 dddd { availability-zone z } ] ] ]",
            true,
        ),
        wire(
            "[ { slots [ 0 5460 ] nodes [ { id aaaa port 1 ip 10.0.0.1 endpoint nil role master health online } { id bbbb tls-port 2 endpoint h role replica health loading } ] } ]",
            true,
        ),
        b"$58\r\ncluster_state:ok\r\ncluster_current_epoch:6\r\ncluster_size:3\r\n".to_vec(),
    ];
    // An xorshift generator: the same mutants in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut read, mut refused) = (0, 0);
    for round in 0..20_000 {
        let mut bytes = originals[round % originals.len()].clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes[at] = b"0123456789-:$*%_?+"[random(18)],
                2 => bytes.insert(at, b"0123456789-:$*%_?+\r\n"[random(20)]),
                _ => drop(bytes.remove(at)),
            }
        }
        let Some(reply) = try_decode(bytes) else {
            continue;
        };
        let views = [
            slots(reply.view(), &sender()),
            shards(reply.view(), &sender(), round % 2 == 0),
        ];
        for view in views {
            match view {
                Ok(view) => {
                    read += 1;
                    let served: usize = view.shards.iter().map(ShardView::slots).sum();
                    assert!(served <= SLOTS);
                    for node in view
                        .shards
                        .iter()
                        .flat_map(|s| s.primary.iter().chain(&s.replicas))
                    {
                        assert!(node.address.port > 0 && !node.address.host.is_empty());
                    }
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.message.contains(['\r', '\n']), "{error}");
                }
            }
        }
        super::super::current_epoch(reply.view());
    }
    assert!(
        read > 500 && refused > 500,
        "{read} read, {refused} refused"
    );
}
