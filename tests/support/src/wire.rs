//! The server side of RESP: reading commands, writing replies.

/// A received command: its name and arguments.
pub type Command = Vec<Vec<u8>>;

/// Takes one command off the front of `bytes`: `Ok(None)` if it is incomplete, `Err` if it is invalid. Clients send
/// only arrays of bulk strings.
pub(crate) fn take_command(bytes: &mut Vec<u8>) -> Result<Option<Command>, String> {
    let mut at = 0;
    let Some(count) = header(bytes, &mut at, b'*')? else {
        return Ok(None);
    };
    let mut command = Vec::new();
    for _ in 0..count {
        let Some(len) = header(bytes, &mut at, b'$')? else {
            return Ok(None);
        };
        let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= len + 2) else {
            return Ok(None);
        };
        if &rest[len..len + 2] != b"\r\n" {
            return Err("a string that does not end where it said".into());
        }
        command.push(rest[..len].to_vec());
        at += len + 2;
    }
    bytes.drain(..at);
    Ok(Some(command))
}

fn header(bytes: &[u8], at: &mut usize, kind: u8) -> Result<Option<usize>, String> {
    let rest = &bytes[*at..];
    let Some(&first) = rest.first() else {
        return Ok(None);
    };
    let line = rest.windows(2).position(|w| w == b"\r\n");
    let bad = || {
        let shown = crate::words::quote(&rest[..rest.len().min(40)]);
        format!("bytes that are no command: {shown}")
    };
    if first != kind || (line.is_none() && rest.len() > 32) {
        return Err(bad());
    }
    let Some(end) = line else {
        return Ok(None);
    };
    *at += end + 2;
    let digits = std::str::from_utf8(&rest[1..end]).map_err(|_| bad())?;
    digits.parse().map(Some).map_err(|_| bad())
}

/// A command as a user would type it.
pub fn show(command: &[Vec<u8>]) -> String {
    let words: Vec<_> = command.iter().map(|w| crate::words::word(w)).collect();
    words.join(" ")
}

/// A bulk string.
pub fn bulk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = format!("${}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

/// An array of encoded replies.
pub fn array(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", items.len()).into_bytes();
    out.extend(items.iter().flatten());
    out
}

/// A map of encoded replies: a map in RESP3, a flat array in RESP2.
pub fn map(resp3: bool, pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = match resp3 {
        true => format!("%{}\r\n", pairs.len()).into_bytes(),
        false => format!("*{}\r\n", 2 * pairs.len()).into_bytes(),
    };
    for (name, value) in pairs {
        out.extend(bulk(name));
        out.extend(value);
    }
    out
}

/// The reply of a cluster node to HELLO.
pub(crate) fn hello(resp3: bool) -> Vec<u8> {
    let proto = if resp3 { 3 } else { 2 };
    let fields = [
        ("server", bulk("redis")),
        ("version", bulk("7.0.15")),
        ("proto", format!(":{proto}\r\n").into_bytes()),
        ("id", b":1\r\n".to_vec()),
        ("mode", bulk("cluster")),
        ("role", bulk("master")),
        ("modules", array(&[])),
    ];
    map(resp3, &fields)
}

/// The replies to handshake commands; `None` for any other command.
pub(crate) fn handshake(command: &[Vec<u8>]) -> Option<Vec<u8>> {
    let word = |i: usize| command.get(i).map(|w| w.to_ascii_uppercase());
    match word(0)?.as_slice() {
        b"HELLO" => Some(hello(word(1).as_deref() == Some(b"3"))),
        b"CLIENT" => match word(1)?.as_slice() {
            b"ID" => Some(b":1\r\n".to_vec()),
            b"SETINFO" | b"SETNAME" | b"NO-TOUCH" | b"NO-EVICT" => Some(b"+OK\r\n".to_vec()),
            _ => None,
        },
        b"AUTH" | b"READONLY" | b"READWRITE" | b"SELECT" => Some(b"+OK\r\n".to_vec()),
        _ => None,
    }
}

/// The reply of a node without an id of its own to CLUSTER MYID, with which clients ask for it in the handshake.
pub(crate) fn refused_identity(command: &[Vec<u8>]) -> Option<Vec<u8>> {
    let asks = |at: usize, word: &[u8]| {
        command
            .get(at)
            .is_some_and(|w| w.eq_ignore_ascii_case(word))
    };
    (asks(0, b"CLUSTER") && asks(1, b"MYID"))
        .then(|| b"-ERR unknown subcommand of CLUSTER\r\n".to_vec())
}

#[cfg(test)]
mod tests {
    use super::take_command;

    #[test]
    fn split_commands_are_parsed() {
        let whole = crate::encode(&[&b"SET"[..], b"k", b"a\r\nb"]);
        for cut in 0..whole.len() {
            let mut bytes = whole[..cut].to_vec();
            assert_eq!(take_command(&mut bytes), Ok(None), "cut at {cut}");
        }
        let mut twice = [&whole[..], &whole[..], b"*1\r"].concat();
        for _ in 0..2 {
            let command = take_command(&mut twice).unwrap().unwrap();
            assert_eq!(command, [&b"SET"[..], b"k", b"a\r\nb"]);
        }
        assert_eq!(twice, b"*1\r");
        assert!(take_command(&mut b"PING\r\n".to_vec()).is_err());
        assert!(take_command(&mut b"*1\r\n$1\r\nabc".to_vec()).is_err());
    }
}
