//! Peers that violate the protocol: the call ends with an error by the deadline, memory stays bounded, and the client
//! continues.

use rediscluster::cluster::Client;
use rediscluster::error::Code;
// Memory is measured for the whole process: one test at a time.
use crate::common::serial::serial;
use crate::common::{client, code, is_command, is_sent, key_of, run, run_all, send, show, timed};
use std::sync::Arc;
use std::time::Duration;
use support::wire::{array, bulk};
use support::{Action, FakeCluster, SLOTS, Script};

/// Peak resident memory, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

/// Resets the peak.
fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn repeat(bytes: &[u8], times: usize) -> Vec<u8> {
    bytes.repeat(times)
}

#[test]
fn invalid_reply_is_protocol_error_and_client_continues() {
    let _serial = serial();
    let deep = |n: usize| repeat(b"*1\r\n", n);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an unknown type", b"@3\r\n".to_vec()),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("TLS", vec![0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46]),
        ("zeros", vec![0; 100]),
        ("a line that ends in LF", b"\n".to_vec()),
        ("a string longer than it says", b"$3\r\nabcd\r\n".to_vec()),
        (
            "a string shorter than it says",
            b"$5\r\nabc\r\n+OK\r\n".to_vec(),
        ),
        ("a string of negative length", b"$-2\r\n".to_vec()),
        (
            "a length with zeros that no number has",
            [b"$".to_vec(), repeat(b"0", 40), b"5\r\nhello\r\n".to_vec()].concat(),
        ),
        ("an array of negative length", b"*-2\r\n".to_vec()),
        ("a map of negative length", b"%-1\r\n".to_vec()),
        ("a length that is no number", b"$abc\r\n".to_vec()),
        ("a length with a plus", b"$+5\r\nhello\r\n".to_vec()),
        ("a length with a blank", b"$ 5\r\nhello\r\n".to_vec()),
        ("an empty length", b"$\r\n\r\n".to_vec()),
        (
            "a length beyond 64 bits",
            b"$99999999999999999999\r\n".to_vec(),
        ),
        ("a length of 64 bits", b"$9223372036854775807\r\n".to_vec()),
        ("an array of 64 bits", b"*9223372036854775807\r\n".to_vec()),
        (
            "a map whose pairs overflow",
            b"%9223372036854775807\r\n".to_vec(),
        ),
        ("a thousand million elements", b"*1000000000\r\n".to_vec()),
        ("four thousand million bytes", b"$4294967295\r\n".to_vec()),
        ("two hundred thousand levels", deep(200_000)),
        (
            "thirty-three levels",
            [deep(33), b":1\r\n".to_vec()].concat(),
        ),
        ("an integer that is none", b":12a\r\n".to_vec()),
        (
            "an integer beyond 64 bits",
            b":9223372036854775808\r\n".to_vec(),
        ),
        ("an empty integer", b":\r\n".to_vec()),
        ("a bool that is none", b"#x\r\n".to_vec()),
        ("a null with text", b"_x\r\n".to_vec()),
        ("a double that is none", b",abc\r\n".to_vec()),
        ("a big number that is none", b"(12x\r\n".to_vec()),
        (
            "a verbatim string without its prefix",
            b"=2\r\nab\r\n".to_vec(),
        ),
        (
            "a push inside an array",
            b"*2\r\n>1\r\n+x\r\n:1\r\n".to_vec(),
        ),
        (
            "a line of a hundred thousand bytes",
            [b"+".to_vec(), repeat(b"x", 100_000), b"\r\n".to_vec()].concat(),
        ),
        (
            "an error of a hundred thousand bytes",
            [b"-".to_vec(), repeat(b"x", 100_000), b"\r\n".to_vec()].concat(),
        ),
        ("a streamed string", b"$?\r\n;4\r\nabcd\r\n;0\r\n".to_vec()),
        ("a streamed array", b"*?\r\n:1\r\n.\r\n".to_vec()),
        (
            "a value that never comes behind attributes",
            [b"|1\r\n+k\r\n".to_vec(), b"@\r\n".to_vec()].concat(),
        ),
    ];
    let fake = FakeCluster::new(2);
    let url = fake.url() + "?timeout_ms=1500&attempt_timeout_ms=500";
    let client = Arc::new(client(&url));
    let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 2));
    fake.put(&here, "here");
    fake.put(&there, "there");
    for (what, bytes) in cases {
        let answer = Action::Send(bytes);
        fake.on(0, move |_, command| {
            let asked = is_command(command, "GET") || is_command(command, "INCR");
            asked.then(|| answer.clone())
        });
        let (reply, time) = timed(|| send(&client, &format!("GET {here}")));
        assert_eq!(
            code(reply.view()),
            Code::Protocol,
            "{what}: {}",
            show(reply.view())
        );
        assert!(time < Duration::from_millis(400), "{what}: {time:?}");
        let words = show(reply.view());
        assert!(
            words.len() < 300,
            "{what}: a message of {} bytes",
            words.len()
        );
        // The peer has read the write, so it is not retried.
        let incrs = fake.calls("INCR");
        let reply = send(&client, &format!("INCR {here}"));
        let told = code(reply.view()) == Code::Protocol && is_sent(reply.view());
        assert!(told, "{what}: {}", show(reply.view()));
        assert_eq!(fake.calls("INCR"), incrs + 1, "{what}");
        assert!(
            words.contains(&format!("127.0.0.1:{}", fake.port(0))),
            "{what}: {words}"
        );
        let got = run_all(&client, &[format!("GET {here}"), format!("GET {there}")]);
        assert!(got[0].contains("(PROTOCOL"), "{what}: {}", got[0]);
        assert_eq!(got[1], "there", "{what}");
        fake.off(0);
        assert_eq!(run(&client, &format!("GET {here}")), "here", "after {what}");
    }
}

#[test]
fn pushes_and_attributes_around_reply_are_dropped() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let client = Arc::new(client(&fake.url()));
    let push = b">2\r\n+invalidate\r\n*1\r\n+k\r\n";
    let attribute = b"|1\r\n+ttl\r\n:3600\r\n";
    for (bytes, expected) in [
        ([&push[..], b"+v\r\n"].concat(), "v"),
        ([&push[..], push, b"$1\r\nv\r\n"].concat(), "v"),
        ([&attribute[..], b"$1\r\nv\r\n"].concat(), "v"),
        (
            [&push[..], attribute, b"*1\r\n", attribute, b":7\r\n"].concat(),
            "[7]",
        ),
        (
            b"*2\r\n|1\r\n+a\r\n*2\r\n:1\r\n:2\r\n+x\r\n%1\r\n+k\r\n_\r\n".to_vec(),
            "[x, [k, nil]]",
        ),
        (b"$0\r\n\r\n".to_vec(), ""),
        // Unusual, but valid.
        (b"$005\r\nhello\r\n".to_vec(), "hello"),
        (b"*0\r\n".to_vec(), "[]"),
        (b"*-1\r\n".to_vec(), "nil"),
        (b"$-1\r\n".to_vec(), "nil"),
        (
            b"(3492890328409238509324850943850943825024385\r\n".to_vec(),
            "3492890328409238509324850943850943825024385",
        ),
        (b"=15\r\ntxt:Some string\r\n".to_vec(), "Some string"),
        (b",inf\r\n".to_vec(), "inf"),
    ] {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        for slow in [false, true] {
            let answer = match slow {
                true => Action::SendSlow(bytes.clone(), 1, Duration::from_micros(100)),
                false => Action::Send(bytes.clone()),
            };
            fake.on(0, move |_, command| {
                is_command(command, "GET").then(|| answer.clone())
            });
            assert_eq!(run(&client, "GET k"), expected, "{shown:?}, slow: {slow}");
            assert_eq!(
                run_all(&client, &["GET k", "GET k"]),
                [expected; 2],
                "{shown:?}, slow: {slow}"
            );
        }
    }
}

#[test]
fn push_after_reply_keeps_resp3_connection() {
    let _serial = serial();
    let push = b">2\r\n+invalidate\r\n*1\r\n+k\r\n";
    for resp3 in [true, false] {
        let fake = FakeCluster::new(1);
        fake.put("k", "v");
        let mut usual = fake.default_answer(0);
        fake.on(0, move |connection, command| {
            let mut bytes = usual(connection, command);
            if is_command(command, "GET") {
                bytes.extend(push);
                return Some(Action::Send(bytes));
            }
            // In parts, so that the last push is incomplete when the handshake replies are complete.
            let greets = is_command(command, "HELLO") || is_command(command, "CLIENT");
            (greets && resp3).then(|| {
                bytes.extend(push);
                Action::SendSlow(bytes, 5, Duration::from_micros(500))
            })
        });
        let protocol = if resp3 { 3 } else { 2 };
        let url = format!("{}?protocol={protocol}", fake.url());
        let client = Arc::new(client(&url));
        assert_eq!(run(&client, "SET n 1"), "OK");
        let before = fake.node(0).received_text().len();
        for _ in 0..3 {
            assert_eq!(run(&client, "GET k"), "v");
            assert_eq!(run_all(&client, &["GET k", "GET k"]), ["v", "v"]);
        }
        let made = fake.node(0).received_text().len() - before;
        assert_eq!(made, if resp3 { 0 } else { 5 }, "RESP{protocol}");
    }
}

#[test]
fn unsolicited_bytes_are_never_delivered_as_reply() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let client = Arc::new(client(&fake.url()));
    for extra in [
        "$4\r\nevil\r\n",
        "+evil\r\n",
        "$4\r\nev",
        "-ERR evil\r\n",
        ":1\r\n:2\r\n",
    ] {
        let answer = format!("$4\r\ngood\r\n{extra}");
        fake.on(0, move |_, command| {
            is_command(command, "GET").then(|| Action::send(&answer))
        });
        fake.put("k", "v");
        for n in 0..5 {
            assert_eq!(run(&client, "GET k"), "good", "{extra:?}");
            // By now the extra bytes have arrived.
            assert_eq!(run(&client, &format!("SET k{n} v")), "OK", "{extra:?}");
            assert_eq!(run_all(&client, &["GET k"]), ["good"], "{extra:?}");
            assert_eq!(run(&client, "EXISTS k"), "1", "{extra:?}");
        }
    }
    // A connection in an unknown state is dropped: no command follows such a reply.
    for commands in fake.node(0).received_text() {
        let gets = commands.iter().position(|c| c.starts_with("GET"));
        assert!(
            gets.is_none_or(|at| at == commands.len() - 1),
            "{commands:?}"
        );
    }
}

#[test]
fn memory_follows_received_not_announced_size() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let limit = 4 << 20;
    let client = client(&format!(
        "{}?timeout_ms=300&max_reply_bytes={limit}",
        fake.url()
    ));
    let wide = client_of(&fake, "?timeout_ms=300");
    let nested: Vec<u8> = repeat(b"*60000000\r\n", 31);
    let cases: Vec<(&str, &Client, Vec<u8>, usize)> = vec![
        (
            "sixty million elements announced",
            &wide,
            b"*60000000\r\n:1\r\n".to_vec(),
            1 << 20,
        ),
        ("that at every level", &wide, nested, 1 << 20),
        (
            "a map of as many",
            &wide,
            b"%30000000\r\n+a\r\n".to_vec(),
            1 << 20,
        ),
        (
            "a gigabyte announced",
            &wide,
            b"$1000000000\r\nabc".to_vec(),
            1 << 20,
        ),
        (
            "more than the limit announced",
            &client,
            b"$5000000\r\n".to_vec(),
            1 << 20,
        ),
        (
            "a string up to the limit",
            &client,
            [b"$4000000\r\n".to_vec(), repeat(b"x", 3_900_000)].concat(),
            2 * limit,
        ),
        (
            "an array up to the limit",
            &client,
            [b"*1000000\r\n".to_vec(), repeat(b"$2\r\nab\r\n", 600_000)].concat(),
            8 * limit,
        ),
        (
            "attributes without end",
            &client,
            repeat(b"|1\r\n+k\r\n+v\r\n", 500_000),
            4 * limit,
        ),
        (
            "pushes without end",
            &client,
            repeat(b">1\r\n+v\r\n", 500_000),
            4 * limit,
        ),
    ];
    for (what, client, bytes, allowed) in cases {
        let answer = Arc::new(bytes);
        let held = answer.clone();
        fake.on(0, move |_, command| {
            is_command(command, "GET").then(|| Action::Send(held.to_vec()))
        });
        // The first call allocates what the process needs anyway.
        let _ = run(client, "GET k");
        reset_peak();
        let before = peak();
        let got = run(client, "GET k");
        assert!(
            got.contains("(TIMEOUT") || got.contains("(PROTOCOL"),
            "{what}: {}",
            &got[..got.len().min(200)]
        );
        let grown = peak().saturating_sub(before);
        // The scripted node holds another copy.
        let allowed = allowed + answer.len() + (1 << 20);
        assert!(grown <= allowed, "{what}: {grown} bytes, {allowed} allowed");
    }
}

#[test]
fn memory_of_all_threads_stays_within_max_memory_bytes() {
    const MESSAGE: &str = "PROTOCOL incomplete replies would use more than max_memory_bytes";
    let _serial = serial();
    let fake = FakeCluster::new(4);
    let limit = 8 << 20;
    let client = client_of(&fake, &format!("?timeout_ms=5000&max_memory_bytes={limit}"));
    let client = Arc::new(client);
    let string = |len: usize| {
        [
            format!("${len}\r\n").into_bytes(),
            repeat(b"x", len),
            b"\r\n".to_vec(),
        ]
        .concat()
    };
    let (large, some) = (Arc::new(string(3 << 20)), Arc::new(string(100 << 10)));
    // Doubles, because nulls are packed.
    let doubles = |count: usize| {
        let head = format!("*{count}\r\n").into_bytes();
        Arc::new([head, repeat(b",1\r\n", count)].concat())
    };
    let (many, few, half) = (doubles(1_000_000), doubles(200_000), doubles(500_000));
    for number in 0..4 {
        let (large, some, many) = (large.clone(), some.clone(), many.clone());
        let (few, half) = (few.clone(), half.clone());
        fake.on(number, move |_, command| {
            Some(match command.first()?.as_slice() {
                b"GET" => Action::Send(large.to_vec()),
                // Slow enough that all callers receive at the same time.
                b"GETRANGE" => {
                    Action::SendSlow(large.to_vec(), 64 << 10, Duration::from_millis(10))
                }
                b"STRLEN" => Action::Send(some.to_vec()),
                b"LRANGE" => Action::Send(many.to_vec()),
                b"HGETALL" => Action::Send(few.to_vec()),
                b"SMEMBERS" => Action::Send(half.to_vec()),
                b"TYPE" => Action::Delay(
                    Duration::from_millis(300),
                    Box::new(Action::send(b"+none\r\n")),
                ),
                _ => return None,
            })
        });
    }
    let ends_well = |got: &str| got.len() == 3 << 20;
    assert!(ends_well(&run(&client, "GET k")));

    // One thread alone: decoded values take more memory than their bytes.
    let got = run(&client, "LRANGE k 0 -1");
    assert!(got.contains(MESSAGE), "{}", &got[..got.len().min(300)]);
    // The replies of a pipeline are received together.
    reset_peak();
    let before = peak();
    let pipeline = |count: usize| {
        let shown = run_all(&client, &vec!["STRLEN k"; count]);
        let refused = shown.iter().filter(|s| s.contains(MESSAGE)).count();
        let whole = shown.iter().filter(|s| s.len() == 100 << 10).count();
        (refused, whole)
    };
    let (refused, whole) = pipeline(200);
    let grown = peak().saturating_sub(before);
    assert!(
        refused > 0 && refused + whole == 200,
        "{refused} and {whole} of 200"
    );
    // The replies exist once more as text and once in the scripted node.
    assert!(
        grown < 2 * limit + whole * (100 << 10) + (4 << 20),
        "{grown} bytes"
    );
    // The memory is returned, every time.
    for _ in 0..5 {
        assert_eq!(pipeline(50), (0, 50));
        assert!(ends_well(&run(&client, "GET k")));
    }
    // A reused buffer counts with its full size, even if a reply of another node in the pipeline made it grow.
    let (one, other) = (key_of(0, 4, 0), key_of(1, 4, 0));
    let both = run_all(
        &client,
        &[format!("HGETALL {one}"), format!("TYPE {other}")],
    );
    assert!(both[0].starts_with("[1, 1") && both[1] == "none");
    let got = run(&client, &format!("SMEMBERS {other}"));
    assert!(got.contains(MESSAGE), "{}", &got[..got.len().min(300)]);
    // There is room for one or two of four concurrent replies.
    let outcomes: Vec<String> = std::thread::scope(|scope| {
        let get = |node: usize| run(&client, &format!("GETRANGE {} 0 -1", key_of(node, 4, 0)));
        let threads: Vec<_> = (0..4).map(|node| scope.spawn(move || get(node))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let refused = outcomes.iter().filter(|got| got.contains(MESSAGE)).count();
    let whole = outcomes.iter().filter(|got| ends_well(got)).count();
    assert!(
        refused > 0 && whole > 0 && refused + whole == 4,
        "{refused} refused, {whole} whole"
    );
    assert!(ends_well(&run(&client, "GET k")));
}

fn client_of(fake: &FakeCluster, query: &str) -> Client {
    client(&(fake.url() + query))
}

/// One range of a CLUSTER SLOTS reply.
fn range(first: i64, last: i64, nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut items = vec![
        format!(":{first}\r\n").into_bytes(),
        format!(":{last}\r\n").into_bytes(),
    ];
    items.extend(nodes.iter().cloned());
    array(&items)
}

fn node(host: &str, port: i64) -> Vec<u8> {
    array(&[
        bulk(host),
        format!(":{port}\r\n").into_bytes(),
        bulk("a".repeat(40)),
    ])
}

#[test]
fn invalid_topology_is_rejected_and_old_map_serves() {
    let _serial = serial();
    let last = i64::from(SLOTS) - 1;
    let nonsense: Vec<(&str, Vec<u8>)> = vec![
        ("a status", b"+OK\r\n".to_vec()),
        ("an integer", b":1\r\n".to_vec()),
        ("nil", b"$-1\r\n".to_vec()),
        ("a map", b"%1\r\n+a\r\n+b\r\n".to_vec()),
        ("ranges that are none", b"*1\r\n+x\r\n".to_vec()),
        ("empty ranges", b"*1\r\n*0\r\n".to_vec()),
        ("a range without a node", array(&[range(0, last, &[])])),
        (
            "slots as text",
            array(&[array(&[bulk("a"), bulk("b"), node("127.0.0.1", 7000)])]),
        ),
        (
            "a negative slot",
            array(&[range(-1, last, &[node("127.0.0.1", 7000)])]),
        ),
        (
            "a slot too many",
            array(&[range(0, last + 1, &[node("127.0.0.1", 7000)])]),
        ),
        (
            "a huge slot",
            array(&[range(0, i64::MAX, &[node("127.0.0.1", 7000)])]),
        ),
        (
            "a range that runs backwards",
            array(&[range(10, 5, &[node("127.0.0.1", 7000)])]),
        ),
        (
            "a node that is only a host",
            array(&[range(0, last, &[array(&[bulk("127.0.0.1")])])]),
        ),
        (
            "nodes that are text",
            array(&[range(0, last, &[bulk("127.0.0.1:7000")])]),
        ),
        (
            "a port that is none",
            array(&[range(0, last, &[node("127.0.0.1", 65536)])]),
        ),
        (
            "a host without end",
            array(&[range(0, last, &[node(&"h".repeat(70_000), 7000)])]),
        ),
        (
            "a thousand nodes and one",
            array(
                &(0..=1000)
                    .map(|n| {
                        let port = format!(":{}\r\n", 1 + n).into_bytes();
                        range(
                            n,
                            n,
                            &[array(&[bulk("127.0.0.1"), port, bulk(format!("{n:040}"))])],
                        )
                    })
                    .collect::<Vec<_>>(),
            ),
        ),
        (
            "a hundred thousand ranges",
            array(&vec![range(0, 0, &[node("127.0.0.1", 7000)]); 100_000]),
        ),
    ];
    for (what, answer) in nonsense {
        let fake = FakeCluster::new(1);
        let client = client(&(fake.url() + "?timeout_ms=2000&max_nodes=1000"));
        let bytes = answer.clone();
        fake.on(0, move |_, command| {
            is_command(command, "CLUSTER SLOTS").then(|| Action::Send(bytes.clone()))
        });
        let (reply, time) = timed(|| client.refresh());
        assert_ne!(
            code(reply.view()),
            Code::Ok,
            "{what} was accepted as topology"
        );
        assert!(time < Duration::from_millis(1000), "{what}: {time:?}");
        assert_eq!(run(&client, "SET k v"), "OK", "{what}");
        let (first, time) =
            timed(|| Client::create(&(fake.url() + "?timeout_ms=500&max_nodes=1000")));
        let error = first
            .error()
            .unwrap_or_else(|| panic!("{what} was accepted as cluster"));
        assert!(
            matches!(error.code, Code::Protocol | Code::Down | Code::Connect),
            "{what}: {error}"
        );
        assert!(time < Duration::from_millis(1000), "{what}: {time:?}");
        fake.off(0);
        assert_eq!(show(client.refresh().view()), "OK", "after {what}");
    }
}

#[test]
fn invalid_topology_entries_keep_the_valid_ones() {
    let _serial = serial();
    let last = i64::from(SLOTS) - 1;
    let fake = FakeCluster::new(1);
    let here = || node("127.0.0.1", i64::from(fake.port(0)));
    let null = || {
        array(&[
            b"$-1\r\n".to_vec(),
            format!(":{}\r\n", fake.port(0)).into_bytes(),
            bulk("a".repeat(40)),
        ])
    };
    let metadata = array(&[
        bulk("127.0.0.1"),
        format!(":{}\r\n", fake.port(0)).into_bytes(),
        bulk("b".repeat(40)),
        array(&[bulk("hostname"), bulk("h")]),
        bulk("of the future"),
    ]);
    let views: Vec<(&str, Vec<u8>)> = vec![
        (
            "an empty host",
            array(&[range(0, last, &[node("", i64::from(fake.port(0)))])]),
        ),
        ("no host", array(&[range(0, last, &[null()])])),
        ("more than we know", array(&[range(0, last, &[metadata])])),
        (
            "a replica without a name",
            array(&[range(0, last, &[here(), node("?", 7000)])]),
        ),
        (
            "a replica at port 0",
            array(&[range(0, last, &[here(), node("127.0.0.1", 0)])]),
        ),
        (
            "a gap",
            array(&[range(0, 100, &[here()]), range(102, last, &[here()])]),
        ),
        (
            "overlapping ranges",
            array(&[range(0, last, &[here()]), range(5, 10, &[here()])]),
        ),
        (
            "the same node again and again",
            array(&[range(0, last, &[here(), here(), here()])]),
        ),
        (
            "a slot a range",
            array(
                &(0..=last)
                    .map(|s| range(s, s, &[here()]))
                    .collect::<Vec<_>>(),
            ),
        ),
    ];
    for (what, answer) in views {
        let bytes = answer.clone();
        fake.on(0, move |_, command| {
            is_command(command, "CLUSTER SLOTS").then(|| Action::Send(bytes.clone()))
        });
        let client = Client::create(&(fake.url() + "?timeout_ms=1000"));
        assert!(client.error().is_none(), "{what}: {:?}", client.error());
        assert_eq!(run(&client, "SET k v"), "OK", "{what}");
        let readonly = client.readonly();
        for _ in 0..5 {
            assert_eq!(run(&readonly, "GET k"), "v", "{what}");
        }
    }
}

#[test]
fn truncated_reply_at_any_byte_is_discarded() {
    let _serial = serial();
    let reply = b"*3\r\n$3\r\nabc\r\n%1\r\n+k\r\n:-12\r\n|1\r\n+a\r\n+b\r\n*1\r\n_\r\n";
    let whole = "[abc, [k, -12], [nil]]";
    let fake = FakeCluster::new(1);
    let client = Arc::new(client(&fake.url()));
    for reset in [false, true] {
        for cut in 0..reply.len() {
            // The first reply ends here, and the connection closes.
            let mut first = true;
            fake.on(0, move |_, command| {
                let asked = is_command(command, "LRANGE") || is_command(command, "LPOP");
                asked.then(|| match (std::mem::take(&mut first), reset) {
                    (true, true) => Action::SendReset(reply[..cut].to_vec()),
                    (true, false) => Action::SendClose(reply[..cut].to_vec()),
                    _ => Action::send(reply),
                })
            });
            let at = format!("cut at {cut}, reset: {reset}");
            // Reads are retried and writes are not.
            match cut % 2 {
                0 => assert_eq!(run(&client, "LRANGE k 0 -1"), whole, "{at}"),
                _ => assert_eq!(run_all(&client, &["LRANGE k 0 -1"]), [whole], "{at}"),
            }
            let mut first = true;
            fake.on(0, move |_, command| {
                is_command(command, "LPOP").then(|| match (std::mem::take(&mut first), reset) {
                    (true, true) => Action::SendReset(reply[..cut].to_vec()),
                    (true, false) => Action::SendClose(reply[..cut].to_vec()),
                    _ => Action::send(reply),
                })
            });
            let pops = fake.calls("LPOP");
            let got = match cut % 2 {
                0 => run(&client, "LPOP k 3"),
                _ => run_all(&client, &["LPOP k 3"]).concat(),
            };
            assert!(got.ends_with("(IO, sent)"), "{at}: {got}");
            assert_eq!(fake.calls("LPOP"), pops + 1, "{at}");
            assert_eq!(run(&client, "LPOP k 3"), whole, "{at}");
        }
    }
}

#[test]
fn invalid_redirection_fails_only_its_command() {
    let _serial = serial();
    let fake = FakeCluster::new(2);
    let url = fake.url() + "?timeout_ms=100&attempt_timeout_ms=80";
    let client = Arc::new(client(&url));
    let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 2));
    fake.put(&here, "here");
    fake.put(&there, "there");
    let slot = support::slot_of(here.as_bytes());
    let itself = format!("{slot} 127.0.0.1:{}", fake.port(0));
    let long = format!("{slot} {}:7000", "h".repeat(256));
    for (what, place) in [
        ("a slot too many", "16384 127.0.0.1:7000"),
        ("a huge slot", "99999 127.0.0.1:7000"),
        ("a negative slot", "-1 127.0.0.1:7000"),
        ("nothing", ""),
        ("no place", "1"),
        ("a port that is none", "1 127.0.0.1:65536"),
        ("port 0", "1 127.0.0.1:0"),
        ("no port", "1 127.0.0.1"),
        ("a host without end", &long),
        ("itself", &itself),
    ] {
        for kind in ["MOVED", "ASK"] {
            let answer = format!("-{kind} {place}\r\n");
            fake.on(0, move |_, command| {
                is_command(command, "GET").then(|| Action::send(&answer))
            });
            let get = format!("GET {here}");
            let (got, time) = timed(|| run(&client, &get));
            assert!(got.ends_with(')'), "{kind} to {what}: {got}");
            assert!(!got.contains("sent)"), "{kind} to {what}: {got}");
            assert!(
                time < Duration::from_millis(250),
                "{kind} to {what}: {time:?}"
            );
            let (got, time) = timed(|| run_all(&client, &[get, format!("GET {there}")]));
            assert!(got[0].ends_with(')'), "{kind} to {what}: {got:?}");
            assert_eq!(got[1], "there", "{kind} to {what}");
            assert!(
                time < Duration::from_millis(250),
                "{kind} to {what}: {time:?}"
            );
            fake.off(0);
            assert_eq!(run(&client, &format!("GET {here}")), "here", "after {what}");
        }
    }
}

#[test]
fn foreign_seed_server_is_skipped() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    for (what, bytes) in [
        (
            "a web server",
            &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
        ),
        ("a mail server", b"220 mail.example ESMTP\r\n"),
        ("a TLS server", &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46]),
    ] {
        let other = Script::serve(move |_, _| Action::SendClose(bytes.to_vec()));
        let url = format!("redis://{},{}", other.address(), fake.node(0).address());
        let client = client(&url);
        assert_eq!(run(&client, "SET k v"), "OK", "{what}");
        let alone = Client::create(&other.url());
        let error = alone
            .error()
            .unwrap_or_else(|| panic!("{what} was accepted as server"));
        assert_eq!(error.code, Code::Protocol, "{what}: {error}");
    }
}
