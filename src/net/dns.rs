//! DNS messages: a question about a host's addresses, and what the answer says. Bytes only.

use std::net::IpAddr;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    A = 1,
    Aaaa = 28,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, for so many seconds. None, if the name has no address of this kind.
    Addresses(Vec<IpAddr>, u32),
    /// There is no such name.
    Unknown,
    /// The server cannot say; another may.
    Failed,
}

/// A name of more than this is none.
const LONGEST: usize = 253;
const CNAME: u16 = 5;
/// The Internet, the only class that there is.
const IN: u16 = 1;

/// A question for a recursive server. Nothing for a name that no message can hold.
pub fn question(id: u16, name: &str, record: Record) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let mut out = Vec::with_capacity(name.len() + 18);
    out.extend_from_slice(&id.to_be_bytes());
    // A standard query that wishes for recursion; one question and nothing else.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&(record as u16).to_be_bytes());
    out.extend_from_slice(&IN.to_be_bytes());
    Some(out)
}

/// Reads the answer to `question`. Nothing if it is no answer to it: another's, or a forgery.
pub fn answer(message: &[u8], question: &[u8]) -> Option<Answer> {
    let number = |at: usize| {
        let bytes = message.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let asked = question.get(12..)?;
    let flags = number(2)?;
    // Our number, an answer, and the one question that we asked; servers keep its spelling.
    if message.get(..2) != question.get(..2)
        || flags & 0x8000 == 0
        || number(4)? != 1
        || !message
            .get(12..12 + asked.len())?
            .eq_ignore_ascii_case(asked)
    {
        return None;
    }
    match flags & 0xf {
        0 => {}
        3 => return Some(Answer::Unknown),
        _ => return Some(Answer::Failed),
    }
    let record = u16::from_be_bytes([asked[asked.len() - 4], asked[asked.len() - 3]]);
    let (mut found, mut lives) = (Vec::new(), u32::MAX);
    let mut at = 12 + asked.len();
    for _ in 0..number(6)? {
        // An answer that was too long for a message ends early: what there is has to do.
        let Some((kind, ttl, data, next)) = entry(message, at) else {
            break;
        };
        at = next;
        // The server has followed the aliases; whatever address is there is the name's.
        if kind == record || kind == CNAME {
            lives = lives.min(ttl);
        }
        if kind != record {
            continue;
        }
        if record == Record::A as u16 {
            found.extend(<[u8; 4]>::try_from(data).ok().map(IpAddr::from));
        } else {
            found.extend(<[u8; 16]>::try_from(data).ok().map(IpAddr::from));
        }
    }
    Some(Answer::Addresses(found, lives))
}

/// One entry of the answer: its kind, for how many seconds it holds, its data, and where the next
/// begins.
fn entry(message: &[u8], at: usize) -> Option<(u16, u32, &[u8], usize)> {
    let head = message.get(name_end(message, at)?..)?;
    let number = |at: usize| Some(u16::from_be_bytes([*head.get(at)?, *head.get(at + 1)?]));
    let kind = number(0)?;
    let ttl = u32::from(number(4)?) << 16 | u32::from(number(6)?);
    let size = usize::from(number(8)?);
    let data = head.get(10..10 + size)?;
    let next = message.len() - head.len() + 10 + size;
    Some((kind, ttl, data, next))
}

/// Where the name ends that begins at `at`: at a zero, or at a reference to another.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            label @ 1..64 => at += 1 + usize::from(label),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// What a server says to `question`: a code, and addresses that hold for a minute.
    pub fn said(question: &[u8], code: u8, addresses: &[IpAddr]) -> Vec<u8> {
        let mut out = question.to_vec();
        out[2] |= 0x80;
        out[3] = 0x80 | code;
        out[7] = addresses.len() as u8;
        for address in addresses {
            out.extend_from_slice(&[0xc0, 12]);
            let (kind, data) = match address {
                IpAddr::V4(ip) => (1u8, ip.octets().to_vec()),
                IpAddr::V6(ip) => (28, ip.octets().to_vec()),
            };
            out.extend_from_slice(&[0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
            out.extend_from_slice(&data);
        }
        out
    }

    #[test]
    fn a_question_is_what_servers_expect() {
        let asked = question(0x1234, "node-1.example", Record::A).unwrap();
        let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x06node-1\x07example\0\0\x01\0\x01";
        assert_eq!(asked, expected);
        assert_eq!(question(0x1234, "node-1.example.", Record::A), Some(asked));
        let long = "a".repeat(64);
        let longer = "a.".repeat(128);
        for name in ["", ".", "a..b", ".a", &long, &longer] {
            assert_eq!(question(1, name, Record::Aaaa), None, "{name}");
        }
    }

    #[test]
    fn answers_as_servers_give_them() {
        let asked = question(7, "h.example", Record::A).unwrap();
        let ips: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let whole = said(&asked, 0, &ips);
        let expected = Some(Answer::Addresses(ips.clone(), 60));
        assert_eq!(answer(&whole, &asked), expected);
        let loud: Vec<u8> = whole.iter().map(u8::to_ascii_uppercase).collect();
        assert!(answer(&loud, &asked).is_some(), "spelled otherwise");
        // Cut short, with the flag that says so: the first address is there.
        let cut = &whole[..whole.len() - 3];
        let first = Some(Answer::Addresses(ips[..1].to_vec(), 60));
        assert_eq!(answer(cut, &asked), first);
        assert_eq!(answer(&said(&asked, 3, &[]), &asked), Some(Answer::Unknown));
        for code in [1, 2, 4, 5] {
            assert_eq!(
                answer(&said(&asked, code, &[]), &asked),
                Some(Answer::Failed)
            );
        }
        let nothing = Some(Answer::Addresses(vec![], u32::MAX));
        assert_eq!(answer(&said(&asked, 0, &[]), &asked), nothing);
        // By way of an alias, whose entry holds for less.
        let mut alias = said(&asked, 0, &[]);
        alias[7] = 2;
        alias.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x04\x01o\xc0\x0e");
        alias.extend_from_slice(b"\x01o\xc0\x0e\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x09");
        let expected = Answer::Addresses(vec!["10.0.0.9".parse().unwrap()], 5);
        assert_eq!(answer(&alias, &asked), Some(expected));
        let asked = question(7, "h.example", Record::Aaaa).unwrap();
        let ips: Vec<IpAddr> = vec!["fd00::1".parse().unwrap()];
        let expected = Some(Answer::Addresses(ips.clone(), 60));
        assert_eq!(answer(&said(&asked, 0, &ips), &asked), expected);
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_not_listened_to() {
        let asked = question(7, "h.example", Record::A).unwrap();
        let whole = said(&asked, 0, &["10.0.0.1".parse().unwrap()]);
        for cut in 0..12 + asked.len() - 12 {
            assert_eq!(answer(&whole[..cut], &asked), None, "{cut}");
        }
        for (at, byte) in [(0, 1), (1, 8), (2, 1), (5, 2), (14, b'x'), (25, 28)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(answer(&other, &asked), None, "byte {at}");
        }
        assert_eq!(answer(&asked, &asked), None, "a question");
    }
}
