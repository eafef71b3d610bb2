//! Hand-written answers for the tests of the messages and of the client.

use super::*;

/// The name of the question, as a compression pointer.
pub const ASKED: &[u8] = b"\xc0\x0c";
const CNAME: u16 = 5;

/// The query without its OPT record: header and question.
pub fn question_of(query: &[u8]) -> &[u8] {
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap();
    &query[..12 + name + 5]
}

/// A record of class IN with a TTL of 60 seconds.
pub fn record(owner: &[u8], rtype: u16, data: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend_from_slice(&rtype.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
    out
}

pub fn address_record(owner: &[u8], ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => record(owner, 1, &ip.octets()),
        IpAddr::V6(ip) => record(owner, 28, &ip.octets()),
    }
}

/// An answer to a query, with a response code and records.
pub fn reply(query: &[u8], code: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = question_of(query).to_vec();
    out[2] |= 0x80;
    out[3] = 0x80 | code;
    out[7] = records.len() as u8;
    out[11] = 0;
    out.extend(records.concat());
    out
}

/// The same, marked as truncated.
pub fn truncated(mut reply: Vec<u8>) -> Vec<u8> {
    reply[2] |= 2;
    reply
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn query(record: RecordType) -> Query {
    Query::new(7, "h.example", record, false).unwrap()
}

fn addresses(ips: &[&str], ttl: u32) -> Addresses {
    let ips = ips.iter().map(|text| ip(text)).collect();
    Addresses { ips, ttl }
}

fn answer(query: &Query, records: &[Vec<u8>]) -> Answer {
    let reply = reply(query.as_bytes(), 0, records);
    query.parse_answer(&reply).unwrap()
}

#[test]
fn query_is_encoded_with_and_without_edns() {
    let plain = Query::new(0x1234, "node-1.example", RecordType::A, false).unwrap();
    let question = b"\x06node-1\x07example\0\0\x01\0\x01";
    let expected = [b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0", &question[..]].concat();
    assert_eq!(plain.as_bytes(), expected);
    let dot = Query::new(0x1234, "node-1.example.", RecordType::A, false).unwrap();
    assert_eq!(dot.as_bytes(), expected);
    let edns = Query::new(0x1234, "node-1.example", RecordType::A, true).unwrap();
    let head = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01";
    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    assert_eq!(edns.as_bytes(), [head, &question[..], opt].concat());
}

#[test]
fn name_that_no_message_can_carry_gives_no_query() {
    let long_label = "a".repeat(64);
    let long_name = "a.".repeat(128);
    for name in ["", ".", "a..b", ".a", &long_label, &long_name] {
        let query = Query::new(1, name, RecordType::Aaaa, true);
        assert!(query.is_none(), "{name}");
    }
    let longest = "a.".repeat(127);
    assert!(Query::new(1, &longest, RecordType::Aaaa, true).is_some());
}

#[test]
fn answer_gives_the_addresses_of_the_type_asked_for() {
    let query = query(RecordType::A);
    let records = [
        address_record(ASKED, ip("10.0.0.1")),
        address_record(ASKED, ip("fd00::1")),
        address_record(ASKED, ip("10.0.0.2")),
    ];
    let expected = Answer::Addresses(addresses(&["10.0.0.1", "10.0.0.2"], 60));
    assert_eq!(answer(&query, &records), expected);
    let upper: Vec<u8> = reply(query.as_bytes(), 0, &records[..1]).to_ascii_uppercase();
    assert!(query.parse_answer(&upper).is_some(), "another case");
    let none = Answer::Addresses(addresses(&[], u32::MAX));
    assert_eq!(answer(&query, &[]), none);
    let query = Query::new(7, "h.example", RecordType::Aaaa, true).unwrap();
    let expected = Answer::Addresses(addresses(&["fd00::1"], 60));
    assert_eq!(answer(&query, &records), expected);
}

#[test]
fn response_code_tells_unknown_name_from_failure() {
    let query = query(RecordType::A);
    for (code, expected) in [
        (1, Answer::NotUnderstood),
        (2, Answer::Failed(OptRcode::SERVFAIL)),
        (3, Answer::NoSuchName),
        (4, Answer::NotUnderstood),
        (5, Answer::Failed(OptRcode::REFUSED)),
    ] {
        let reply = reply(query.as_bytes(), code, &[]);
        assert_eq!(query.parse_answer(&reply), Some(expected));
    }
    // A FORMERR may come without the question; nothing else may.
    let bare = |code: u8| [0, 7, 0x80, code, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(query.parse_answer(&bare(1)), Some(Answer::NotUnderstood));
    assert_eq!(query.parse_answer(&bare(2)), None);
}

#[test]
fn cname_chain_is_followed_in_any_order_of_records() {
    let query = query(RecordType::A);
    // o.example and p.example; the second alias has a TTL of 5 seconds.
    let mut second = record(b"\x01o\xc0\x0e", CNAME, b"\x01p\xc0\x0e");
    second[4 + 7] = 5;
    let mut records = vec![
        record(ASKED, CNAME, b"\x01o\xc0\x0e"),
        second,
        address_record(b"\x01p\xc0\x0e", ip("10.0.0.9")),
    ];
    let expected = Answer::Addresses(addresses(&["10.0.0.9"], 5));
    assert_eq!(answer(&query, &records), expected);
    records.reverse();
    assert_eq!(answer(&query, &records), expected);
    let circle = [
        record(ASKED, CNAME, b"\x01o\xc0\x0e"),
        record(b"\x01o\xc0\x0e", CNAME, ASKED),
        address_record(ASKED, ip("10.0.0.9")),
    ];
    assert_eq!(answer(&query, &circle), Answer::Malformed);
}

#[test]
fn records_with_an_unrelated_owner_or_class_are_ignored() {
    let query = query(RecordType::A);
    let mut chaos = address_record(ASKED, ip("6.6.6.3"));
    chaos[5] = 3;
    let records = [
        address_record(b"\x04evil\xc0\x0e", ip("6.6.6.1")),
        record(b"\x04evil\xc0\x0e", CNAME, ASKED),
        address_record(b"\0", ip("6.6.6.2")),
        chaos,
        address_record(b"\x01H\x07EXAMPLE\0", ip("10.0.0.1")),
    ];
    let expected = Answer::Addresses(addresses(&["10.0.0.1"], 60));
    assert_eq!(answer(&query, &records), expected);
    let none = Answer::Addresses(addresses(&[], 60));
    assert_eq!(answer(&query, &records[..4]), none);
}

#[test]
fn truncated_answer_keeps_the_records_that_are_whole() {
    let query = query(RecordType::A);
    let records = ["10.0.0.1", "10.0.0.2"].map(|text| address_record(ASKED, ip(text)));
    let whole = reply(query.as_bytes(), 0, &records);
    let cut = &whole[..whole.len() - 3];
    assert_eq!(query.parse_answer(cut), Some(Answer::Malformed));
    let first = Answer::Truncated(addresses(&["10.0.0.1"], 60));
    assert_eq!(query.parse_answer(&truncated(cut.to_vec())), Some(first));
    let both = Answer::Truncated(addresses(&["10.0.0.1", "10.0.0.2"], 60));
    assert_eq!(query.parse_answer(&truncated(whole)), Some(both));
}

#[test]
fn malformed_records_make_the_answer_malformed() {
    let query = query(RecordType::A);
    for bad in [
        record(ASKED, 1, &[10, 0, 0]),
        record(ASKED, 1, &[10, 0, 0, 1, 0]),
        // A pointer to itself, one past the end, and a label of an unknown kind.
        record(b"\xc0\x1b", 1, &[10, 0, 0, 1]),
        record(b"\xff\xff", 1, &[10, 0, 0, 1]),
        record(b"\x80", 1, &[10, 0, 0, 1]),
        ASKED.to_vec(),
    ] {
        assert_eq!(answer(&query, &[bad]), Answer::Malformed);
    }
}

#[test]
fn answer_with_another_id_or_question_is_ignored() {
    let query = query(RecordType::A);
    let bytes = query.as_bytes();
    let whole = reply(bytes, 0, &[address_record(ASKED, ip("10.0.0.1"))]);
    for cut in 0..bytes.len() {
        assert_eq!(query.parse_answer(&whole[..cut]), None, "{cut}");
    }
    for (at, byte) in [(0, 1), (1, 8), (2, 1), (5, 2), (5, 0), (14, b'x'), (25, 28)] {
        let mut other = whole.clone();
        other[at] = byte;
        assert_eq!(query.parse_answer(&other), None, "byte {at}");
    }
    assert_eq!(query.parse_answer(bytes), None, "a query");
}
