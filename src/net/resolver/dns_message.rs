//! DNS messages: queries for the addresses of a name, and what an answer contains. No I/O.
//!
//! The crate `domain` builds and parses the messages; it allocates nothing and follows no compression pointer
//! twice. This file says which records of an answer count.

use domain::base::iana::{Class, OptRcode, Rcode, Rtype};
use domain::base::message::Message;
use domain::base::message_builder::MessageBuilder;
use domain::base::name::{Name, NameBuilder};
use domain::base::wire::ParseError;
use domain::dep::octseq::array::Array;
use domain::rdata::{A, Aaaa};
use std::net::IpAddr;

/// The size of the UDP answers that a query with EDNS allows (RFC 6891). A message of this size is not fragmented.
pub const UDP_PAYLOAD: u16 = 1232;

/// The longest name takes 255 bytes; the header, the other fields of the question and the OPT record 27.
type QueryBytes = Array<288>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    A,
    Aaaa,
}

/// A query for one name and record type, for a recursive server.
#[derive(Debug)]
pub struct Query {
    message: Message<QueryBytes>,
    record: RecordType,
    edns: bool,
}

/// The addresses of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub ips: Vec<IpAddr>,
    /// The smallest TTL of the records used, in seconds; `u32::MAX` without records.
    pub ttl: u32,
}

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses {
            ips: Vec::new(),
            ttl: u32::MAX,
        }
    }
}

/// The answer of a name server to one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All addresses of the type asked for; none if the name has no such record.
    Addresses(Addresses),
    /// The answer did not fit into a UDP message (TC): the addresses that did.
    Truncated(Addresses),
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The server does not understand the query (FORMERR, NOTIMP). Servers without EDNS answer so to a query with it.
    NotUnderstood,
    /// The server failed or refused: its response code.
    Failed(OptRcode),
    /// The answer belongs to the query, but cannot be parsed.
    Malformed,
}

impl Addresses {
    pub fn extend(&mut self, other: Addresses) {
        self.ips.extend(other.ips);
        self.ttl = self.ttl.min(other.ttl);
    }
}

impl Query {
    /// `None` if no DNS message can carry the name.
    pub fn new(id: u16, name: &str, record: RecordType, edns: bool) -> Option<Query> {
        let name = encode_name(name)?;
        let mut builder = MessageBuilder::from_target(QueryBytes::default()).ok()?;
        builder.header_mut().set_id(id);
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((&name, record.rtype())).ok()?;
        let mut builder = builder.additional();
        if edns {
            let set_size = builder.opt(|opt| {
                opt.set_udp_payload_size(UDP_PAYLOAD);
                Ok(())
            });
            set_size.ok()?;
        }
        Some(Query {
            message: builder.into_message(),
            record,
            edns,
        })
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.message.as_slice()
    }

    pub fn record(&self) -> RecordType {
        self.record
    }

    pub fn has_edns(&self) -> bool {
        self.edns
    }

    /// Parses the answer to this query. `None` if it has another id or question: a late answer, or a forged one.
    pub fn parse_answer(&self, bytes: &[u8]) -> Option<Answer> {
        let message = Message::from_octets(bytes).ok()?;
        if !message.is_answer(&self.message) && !self.is_bare_form_error(&message) {
            return None;
        }
        Some(match message.opt_rcode() {
            OptRcode::NOERROR => {
                let mut found = Addresses::default();
                match self.collect(&message, &mut found) {
                    // A truncated message may end inside a record.
                    _ if message.header().tc() => Answer::Truncated(found),
                    Ok(()) => Answer::Addresses(found),
                    Err(_) => Answer::Malformed,
                }
            }
            OptRcode::NXDOMAIN => Answer::NoSuchName,
            OptRcode::FORMERR | OptRcode::NOTIMP => Answer::NotUnderstood,
            code => Answer::Failed(code),
        })
    }

    /// Whether this is a FORMERR without a question: a server that cannot parse a query need not repeat it.
    fn is_bare_form_error(&self, message: &Message<&[u8]>) -> bool {
        let header = message.header();
        header.qr()
            && header.id() == self.message.header().id()
            && header.rcode() == Rcode::FORMERR
            && message.header_counts().qdcount() == 0
    }

    /// Collects the addresses of the name at the end of the CNAME chain. Records with another owner name are ignored:
    /// they answer a question that was not asked.
    fn collect(&self, message: &Message<&[u8]>, found: &mut Addresses) -> Result<(), ParseError> {
        let owner = message.canonical_name();
        let owner = owner.ok_or(ParseError::form_error("no end of the CNAME chain"))?;
        for record in message.answer()? {
            let record = record?;
            if record.class() != Class::IN {
                continue;
            }
            let ttl = record.ttl().as_secs();
            if record.rtype() == Rtype::CNAME {
                found.ttl = found.ttl.min(ttl);
            }
            if record.rtype() != self.record.rtype() || record.owner() != owner {
                continue;
            }
            let ip: Option<IpAddr> = match self.record {
                RecordType::A => record.to_record::<A>()?.map(|a| a.data().addr().into()),
                RecordType::Aaaa => record.to_record::<Aaaa>()?.map(|a| a.data().addr().into()),
            };
            found.ips.extend(ip);
            found.ttl = found.ttl.min(ttl);
        }
        Ok(())
    }
}

impl RecordType {
    fn rtype(self) -> Rtype {
        match self {
            RecordType::A => Rtype::A,
            RecordType::Aaaa => Rtype::AAAA,
        }
    }
}

/// The name as a message carries it: labels of 1 to 63 bytes. A backslash is a byte like any other.
fn encode_name(name: &str) -> Option<Name<Array<255>>> {
    let mut builder = NameBuilder::<Array<255>>::new();
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        if label.is_empty() {
            return None;
        }
        builder.append_label(label.as_bytes()).ok()?;
    }
    builder.into_name().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The name of the question, as a compression pointer.
    pub const ASKED: &[u8] = b"\xc0\x0c";
    const CNAME: u16 = 5;

    /// The query without its OPT record: header and question.
    pub fn question_of(query: &[u8]) -> &[u8] {
        let name = query[12..].iter().position(|byte| *byte == 0).unwrap();
        &query[..12 + name + 5]
    }

    /// A record of class IN that holds for a minute.
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
        // o.example and p.example; the second alias holds for 5 seconds.
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
}
