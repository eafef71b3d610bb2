//! DNS messages: queries for the addresses of a name, and what an answer contains. No I/O.
//!
//! The crate `domain` builds and parses the messages; it allocates nothing and follows no compression pointer twice.
//! This file decides which records of an answer are used.

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
    /// The server does not understand the query (FORMERR, NOTIMP). Servers without EDNS send this for a query with
    /// EDNS.
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
pub(super) mod tests;
