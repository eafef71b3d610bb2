//! Every kind of reply, cut wherever it can be, and everything that is none.

use super::*;
use crate::resp::{Reply, View};

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    elements: 1000,
    depth: 8,
};

const LIMITS_OF_LONG_LISTS: Limits = Limits {
    bytes: 1 << 30,
    elements: 1 << 26,
    depth: 32,
};

fn arena(values: ValueList, first: Vec<u8>) -> Reply {
    let mut reply = Reply::default();
    reply.values = values;
    reply.first = first;
    reply
}

/// Decodes `bytes` given in pieces of `step`, and shows the replies.
fn show_in_steps(bytes: &[u8], step: usize) -> Result<Vec<String>> {
    show_in_pieces(bytes.chunks(step))
}

fn show_in_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<String>> {
    let mut decoder = Decoder::new(LIMITS);
    let mut shown = Vec::new();
    let mut buf: Vec<u8> = Vec::new();
    let mut values = ValueList::default();
    let mut start = 0;
    for piece in pieces {
        buf.extend_from_slice(piece);
        while let Some((value, end)) = decoder.decode(&mut buf, start, 0, &mut values)? {
            let reply = arena(values.clone(), buf.clone());
            shown.push(show(View::new(&reply, value)));
            start = end;
            if start == buf.len() {
                break;
            }
        }
    }
    if start != buf.len() {
        shown.push("...".to_string());
    }
    Ok(shown)
}

fn show(view: View<'_>) -> String {
    match view.kind() {
        Kind::Nil => "nil".into(),
        Kind::Integer => format!("{}", view.int().unwrap()),
        Kind::Bool => format!("bool {}", view.int().unwrap()),
        k if k.has_elements() => {
            let inner: Vec<_> = view.elements().map(show).collect();
            format!("{k:?}[{}]", inner.join(" "))
        }
        k => format!("{k:?} {:?}", String::from_utf8_lossy(view.text().unwrap())),
    }
}

const EVERY_KIND: &[(&[u8], &str)] = &[
    (b"+OK\r\n", "Status \"OK\""),
    (b"+PONG\r\n", "Status \"PONG\""),
    (b"-ERR no\r\n", "Error \"ERR no\""),
    (b"!6\r\nERR no\r\n", "Error \"ERR no\""),
    (b":42\r\n", "42"),
    (b":+7\r\n", "7"),
    (b":-9223372036854775808\r\n", "-9223372036854775808"),
    (b"$3\r\nfoo\r\n", "String \"foo\""),
    (b"$0\r\n\r\n", "String \"\""),
    (
        b"$12\r\nfoo\r\nbar\0baz\r\n",
        "String \"foo\\r\\nbar\\0baz\"",
    ),
    (b"$-1\r\n", "nil"),
    (b"*-1\r\n", "nil"),
    (b"_\r\n", "nil"),
    (b"*0\r\n", "Array[]"),
    (
        b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n",
        "Array[String \"a\" Array[1 nil]]",
    ),
    (
        b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
        "Map[Status \"a\" 1 Status \"b\" Array[2]]",
    ),
    (b"~1\r\n#t\r\n", "Set[bool 1]"),
    (b"#f\r\n", "bool 0"),
    (b",1.5\r\n", "Double \"1.5\""),
    (b",inf\r\n", "Double \"inf\""),
    (b",-inf\r\n", "Double \"-inf\""),
    (b",nan\r\n", "Double \"nan\""),
    (b",-nan\r\n", "Double \"nan\""),
    (b",nan(0x7)\r\n", "Double \"nan\""),
    (
        b"(-123456789012345678901234567890\r\n",
        "Bignum \"-123456789012345678901234567890\"",
    ),
    (b"=8\r\ntxt:some\r\n", "Verbatim \"some\""),
    (b"|1\r\n+ttl\r\n*1\r\n:3\r\n$1\r\nx\r\n", "String \"x\""),
    (b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n", "Array[1 2]"),
    (
        b">2\r\n+message\r\n+hi\r\n",
        "Push[Status \"message\" Status \"hi\"]",
    ),
    (
        b"*2\r\n-ERR in\r\n+OK\r\n",
        "Array[Error \"ERR in\" Status \"OK\"]",
    ),
];

#[test]
fn every_reply_type_decodes_at_any_split() {
    for (bytes, expected) in EVERY_KIND {
        for step in 1..=bytes.len() {
            let shown = show_in_steps(bytes, step).unwrap();
            assert_eq!(shown, [*expected], "{bytes:?} in steps of {step}");
        }
    }
}

/// What is remembered of a reply that has not come whole must not reach into the next.
#[test]
fn every_pair_of_reply_types_decodes_at_any_split() {
    for (one, first) in EVERY_KIND {
        for (other, second) in EVERY_KIND {
            let bytes = [*one, *other].concat();
            for cut in 1..bytes.len() {
                let (left, right) = bytes.split_at(cut);
                let shown = show_in_pieces([left, right].into_iter());
                let context = format!("{} cut at {cut}", bytes.escape_ascii());
                assert_eq!(shown.expect(&context), [*first, *second], "{context}");
            }
        }
    }
}

#[test]
fn consecutive_replies_are_decoded_separately() {
    let bytes = b"$1\r\na\r\n+OK\r\n*1\r\n:1\r\n$-1\r\n:5\r\n";
    for step in 1..bytes.len() {
        assert_eq!(
            show_in_steps(bytes, step).unwrap(),
            ["String \"a\"", "Status \"OK\"", "Array[1]", "nil", "5"]
        );
    }
}

#[test]
fn invalid_or_oversized_resp_is_rejected() {
    let deep = [b"*1\r\n".repeat(9), b":1\r\n".to_vec()].concat();
    let endless = [b"+".to_vec(), vec![b'x'; MAX_LINE + 2]].concat();
    let table: &[&[u8]] = &[
        b"HTTP/1.1 400\r\n",
        b"$+5\r\nhello\r\n",
        b"$-2\r\n",
        b"*-2\r\n",
        b"$5\r\nhelloXY",
        b"$x\r\n",
        b"$\r\n",
        b":12a\r\n",
        b":9223372036854775808\r\n",
        b":\r\n",
        b"#x\r\n",
        b"_x\r\n",
        b",1.5x\r\n",
        b",\r\n",
        b",0x1p3\r\n",
        b",1,5\r\n",
        b",nan(\r\n",
        b",nan(0x7)x\r\n",
        b"(12x\r\n",
        b"=3\r\nabc\r\n",
        b"=2\r\nab\r\n",
        b"*2\r\n>1\r\n:1\r\n:2\r\n",
        b"*1001\r\n",
        b"*1000000000\r\n",
        b"*99999999999999999999\r\n",
        b"%9223372036854775807\r\n",
        b"$1048577\r\n",
        b"+a\rb\r\n",
        b"$?\r\n",
        b"$111111111111111111111",
        b"$0000000000000000000005\r\nhello\r\n",
        &deep,
        &endless,
    ];
    for bytes in table {
        for step in [1, 7, bytes.len()] {
            let error = show_in_steps(bytes, step).unwrap_err();
            assert_eq!(error.code, Code::Protocol, "{bytes:?}");
        }
    }
}

#[test]
fn decoder_memory_follows_bytes_received() {
    let mut decoder = Decoder::new(LIMITS_OF_LONG_LISTS);
    let mut buf = b"*67108864\r\n:1\r\n".to_vec();
    let mut values = ValueList::default();
    assert!(
        decoder
            .decode(&mut buf, 0, 0, &mut values)
            .unwrap()
            .is_none()
    );
    assert!(decoder.pending.capacity() < 100);
    assert_eq!(values.capacity(), 0);
}

#[test]
fn decoded_text_survives_buffer_reallocation() {
    let mut decoder = Decoder::new(LIMITS);
    let mut values = ValueList::default();
    let mut buf = b"+OK\r\n*3\r\n$1\r\na\r\n*1\r\n+xyz\r\n$1\r\n".to_vec();
    let (_, end) = decoder
        .decode(&mut buf, 0, 0, &mut values)
        .unwrap()
        .unwrap();
    assert!(
        decoder
            .decode(&mut buf, end, 0, &mut values)
            .unwrap()
            .is_none()
    );
    buf.drain(..end);
    decoder.relocate(&mut values, end as u64, 0u64.wrapping_sub(end as u64));
    buf.extend_from_slice(b"b\r\n");
    let (value, _) = decoder
        .decode(&mut buf, 0, 0, &mut values)
        .unwrap()
        .unwrap();
    let reply = arena(values, buf);
    assert_eq!(
        show(View::new(&reply, value)),
        "Array[String \"a\" Array[Status \"xyz\"] String \"b\"]"
    );
}

/// The largest memory of a reply while it is received in pieces, and the reply. The buffer is as large as its content.
fn receive(bytes: &[u8]) -> (usize, Reply) {
    let mut decoder = Decoder::new(LIMITS_OF_LONG_LISTS);
    let (mut buf, mut values, mut most) = (Vec::new(), ValueList::default(), 0);
    for piece in bytes.chunks(50_000) {
        buf.extend_from_slice(piece);
        let decoded = decoder.decode(&mut buf, 0, 0, &mut values).unwrap();
        let held = decoder.pending_capacity() + values.total_capacity();
        most = most.max(buf.len() + held * size_of::<Value>());
        if let Some((value, _)) = decoded {
            let mut reply = arena(values, buf);
            reply.root.value = value;
            return (most, reply);
        }
    }
    panic!("the reply is incomplete");
}

#[test]
fn lists_of_short_values_use_at_most_four_times_their_bytes() {
    // Just above a power of two, where a list that doubles is half empty.
    const COUNT: usize = 270_000;
    for unit in [
        "_\r\n",
        "#t\r\n",
        ":1\r\n",
        ":-9\r\n",
        ":99\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "%0\r\n",
        ":777\r\n",
        "$0\r\n\r\n",
        "$1\r\na\r\n",
        "*1\r\n_\r\n",
        "*3\r\n:1\r\n:2\r\n_\r\n",
        "%1\r\n:1\r\n#f\r\n",
        "*20\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n",
    ] {
        let bytes = [format!("*{COUNT}\r\n"), unit.repeat(COUNT)].concat();
        let (most, reply) = receive(bytes.as_bytes());
        let ratio = most as f64 / bytes.len() as f64;
        assert!(ratio <= 4.0, "{unit:?}: {ratio:.2} bytes for each");
        let root = reply.view();
        assert_eq!(root.len(), COUNT);
        let (_, one) = receive(unit.as_bytes());
        let expected = show(one.view());
        for at in [0, 1, 55, 56, 32_767, 32_768, COUNT - 1] {
            assert_eq!(show(root.at(at).unwrap()), expected, "{unit:?} at {at}");
        }
        assert!(root.at(COUNT).is_none());
    }
}

#[test]
fn long_lists_of_mixed_values_keep_their_order() {
    let mut random = Random(1);
    for rare in [1, 3, 20, 10_000] {
        let mut bytes = String::from("*200000\r\n");
        let mut expected = Vec::new();
        for n in 0..200_000 {
            let (sent, shown) = match random.below(rare + 5) {
                0 => (format!("$6\r\n{n:06}\r\n"), format!("String \"{n:06}\"")),
                1 => (
                    format!("*2\r\n:{n}\r\n+s{n}\r\n"),
                    format!("Array[{n} Status \"s{n}\"]"),
                ),
                2 => (
                    format!("%1\r\n+k\r\n*1\r\n:{}\r\n", n % 10),
                    format!("Map[Status \"k\" Array[{}]]", n % 10),
                ),
                3 => (format!(":{n}\r\n"), format!("{n}")),
                4 => ("*0\r\n".into(), "Array[]".into()),
                k => match k % 3 {
                    0 => ("_\r\n".into(), "nil".into()),
                    1 => ("#t\r\n".into(), "bool 1".into()),
                    _ => ("$-1\r\n".into(), "nil".into()),
                },
            };
            bytes += &sent;
            expected.push(shown);
        }
        let (_, reply) = receive(bytes.as_bytes());
        let shown: Vec<String> = reply.view().elements().map(show).collect();
        assert!(shown == expected, "one in {rare}");
        // In another reply, behind other values.
        let mut whole = Reply::default();
        whole.absorb(receive(b"*3\r\n$1\r\na\r\n_\r\n:7\r\n").1);
        whole.root = whole.absorb(receive(bytes.as_bytes()).1);
        let shown: Vec<String> = whole.view().elements().map(show).collect();
        assert!(shown == expected, "absorbed, one in {rare}");
    }
}

/// A linear congruential generator.
struct Random(u32);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as usize % n
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// A value without elements, in a form that servers send or in one that is close to it.
    fn scalar(&mut self) -> Vec<u8> {
        let digits = "1234567890123456789012345";
        let longest = 1 + 7 * self.below(4);
        let number = &digits[..self.below(longest)];
        match self.below(12) {
            0..5 => {
                let longest =
                    self.one_of(&["9", "9", "10", "10", "16", "16", "99", "100", "100", "1000"]);
                let longest = longest.parse::<usize>().unwrap();
                let len = longest - self.below(3).min(longest);
                let zeros = self.one_of(&["", "", "", "", "", "", "0", "00"]);
                let text = "\r\n$3:x".repeat(len / 6 + 1);
                format!("${zeros}{len}\r\n{}\r\n", &text[..len]).into_bytes()
            }
            5 | 6 => {
                let sign = self.one_of(&["", "", "", "-", "-", "+", "0", "-0", "--"]);
                format!(":{sign}{number}\r\n").into_bytes()
            }
            7 | 8 => {
                let sign = self.one_of(&["", "", "-", "+", "--"]);
                let rest = self.one_of(&[
                    "",
                    ".5",
                    ".",
                    "..5",
                    ".123456789012345678901234567",
                    "e7",
                    "1.5-",
                    "nan",
                ]);
                format!(",{sign}{number}{rest}\r\n").into_bytes()
            }
            9 => self
                .one_of(&[
                    "_\r\n",
                    "$-1\r\n",
                    "*-1\r\n",
                    "*0\r\n",
                    // A byte above the digits would be 10 or 11.
                    "$:\r\n0123456789\r\n",
                    "$1;\r\n012345678901234567890\r\n",
                ])
                .into(),
            10 => self
                .one_of(&["#t\r\n", "#f\r\n", "#x\r\n", "#\r\n", "_x\r\n"])
                .into(),
            _ => self
                .one_of(&[
                    "+OK\r\n",
                    "+PONG\r\n",
                    "+\r\n",
                    "-ERR x\r\n",
                    "=6\r\ntxt:ab\r\n",
                    "(12\r\n",
                ])
                .into(),
        }
    }

    /// The same, maybe with a wrong byte.
    fn damaged_scalar(&mut self) -> Vec<u8> {
        let mut bytes = self.scalar();
        if self.below(8) == 0 {
            let most = [6, bytes.len()][self.below(2)].min(bytes.len());
            let at = self.below(most);
            bytes[at] = b"\r\n$:*;x01/"[self.below(10)];
        }
        bytes
    }
}

/// The values of lists, most of which are decoded in runs, against each value as a reply of its own, which is not. Lists
/// are cut at every place. Where a value is no reply, the list is none either.
#[test]
fn runs_of_values_decode_as_single_values_do_at_any_split() {
    let mut random = Random(1);
    let (mut complete, mut invalid) = (0, 0);
    for _ in 0..300 {
        let len = 1 + random.below(8);
        let same = random.damaged_scalar();
        let is_uniform = random.below(3) == 0;
        let mut values = Vec::new();
        let mut expected = Ok(Vec::new());
        while values.len() < len && expected.is_ok() {
            let bytes = match is_uniform {
                true => same.clone(),
                false => random.damaged_scalar(),
            };
            match show_in_steps(&bytes, bytes.len()).as_deref() {
                Ok([one]) if one != "..." => expected.as_mut().unwrap().push(one.clone()),
                // A damaged length: what follows is a part of the value, or no reply.
                Ok(_) => break,
                Err(error) => expected = Err(error.code),
            }
            values.push(bytes);
        }
        // A list of which a part is missing is incomplete, unless it is invalid.
        let count = values.len() + usize::from(expected.is_err());
        let bytes = [format!("*{count}\r\n").into_bytes(), values.concat()].concat();
        let expected = expected.map(|shown| vec![format!("Array[{}]", shown.join(" "))]);
        match expected {
            Ok(_) => complete += 1,
            Err(_) => invalid += 1,
        }
        for cut in 1..=bytes.len() {
            let (left, right) = bytes.split_at(cut);
            let pieces = [left, right].into_iter().filter(|piece| !piece.is_empty());
            let shown = show_in_pieces(pieces).map_err(|error| error.code);
            assert_eq!(shown, expected, "{} cut at {cut}", bytes.escape_ascii());
        }
    }
    assert!(complete > 80 && invalid > 80, "{complete} {invalid}");
}

/// The replies to the parts of an MGET have a path of their own. It takes only what is complete.
#[test]
fn list_of_one_string_decodes_as_any_list_does() {
    let mut random = Random(2);
    let mut taken = 0;
    for _ in 0..3000 {
        let reply = [b"*1\r\n".to_vec(), random.damaged_scalar()].concat();
        let before = [&b""[..], b"+OK\r\n", b"$1\r\n"][random.below(3)];
        for end in 0..=reply.len() {
            let mut buf = [before, &reply[..end]].concat();
            let mut values = ValueList::default();
            values.reserve(1);
            let decoder = Decoder::new(LIMITS);
            let decoded = decoder.decode_short_single(&mut buf, before.len(), 0, &mut values);
            let Some((value, next)) = decoded else {
                continue;
            };
            let whole = &reply[..next - before.len()];
            let shown = show(View::new(&arena(values, buf), value));
            let expected = show_in_steps(whole, whole.len()).unwrap();
            assert_eq!(expected, [shown], "{}", whole.escape_ascii());
            taken += 1;
        }
    }
    assert!(taken > 500, "{taken}");
}

/// The limits apply in runs as anywhere else, to the byte and to the element.
#[test]
fn limits_are_exact_in_runs_of_values() {
    for unit in [
        "$3\r\nabc\r\n",
        ":123\r\n",
        ",1.5\r\n",
        "#t\r\n",
        "_\r\n",
        "$-1\r\n",
        "+OK\r\n",
    ] {
        let bytes = [String::from("*20\r\n"), unit.repeat(20)]
            .concat()
            .into_bytes();
        let decode = |limits, step| {
            let (mut decoder, mut buf) = (Decoder::new(limits), Vec::new());
            let mut values = ValueList::default();
            for piece in bytes.chunks(step) {
                buf.extend_from_slice(piece);
                let decoded = decoder.decode(&mut buf, 0, 0, &mut values);
                if let Some(reply) = decoded.map_err(|error| error.message.to_string())? {
                    return Ok(reply.1);
                }
            }
            Err("incomplete".to_string())
        };
        let len = bytes.len();
        for step in [1, 7, len] {
            let exact = Limits {
                bytes: len,
                elements: 20,
                depth: 1,
            };
            assert_eq!(decode(exact, step), Ok(len), "{unit:?}");
            for (limits, name) in [
                (
                    Limits {
                        bytes: len - 1,
                        ..exact
                    },
                    "max_reply_bytes",
                ),
                (
                    Limits {
                        elements: 19,
                        ..exact
                    },
                    "max_reply_elements",
                ),
                (Limits { depth: 0, ..exact }, "max_reply_depth"),
            ] {
                let error = decode(limits, step).unwrap_err();
                assert!(error.contains(name), "{unit:?} in steps of {step}: {error}");
            }
        }
    }
}

/// The memory of a long list is that of its reply, and the next list is decoded into memory of its own.
#[test]
fn memory_of_long_list_is_not_shared_with_next_reply() {
    let mut decoder = Decoder::new(LIMITS_OF_LONG_LISTS);
    let list = |len: usize| [format!("*{len}\r\n"), "$3\r\nabc\r\n".repeat(len)].concat();
    for len in [5000, 3000, 20_000, 12, 40_000, 5000] {
        let mut buf = list(len).into_bytes();
        let mut values = ValueList::default();
        let decoded = decoder.decode(&mut buf, 0, 0, &mut values).unwrap();
        assert_eq!(decoded.unwrap().0.len as usize, len);
        assert_eq!(values.len(), len);
        assert!(
            values.capacity() <= len + len / 8 + 64,
            "{len}: {}",
            values.capacity()
        );
        assert!(decoder.pending_capacity() <= KEEP_PENDING);
    }
}
