//! Nodes that stall, die, hang up and come back: what runs at most once, what is told of it, and by when.

use crate::common;
use rediscluster::cluster::Client;
use rediscluster::error::Code;
// Most tests here look at the clock: one at a time.
use crate::common::proxies::{Wires, patient, seed};
use crate::common::serial::serial;
use crate::common::{
    SOON, ask, client, code, is, is_sent, key_of, pipeline, say, say_all, show, stat, timed, until,
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::{Duration, Instant};
use support::{Action, Chaos, Cluster, Failover, FakeCluster, slot_of};

const MS: Duration = Duration::from_millis(1);

/// Holds a scripted node up until the flag says otherwise.
fn hold(while_it_is: &AtomicBool) {
    support::wait_until(|| !while_it_is.load(Ordering::SeqCst), SOON);
}

// ---- At most once --------------------------------------------------------------------------------

#[test]
fn a_node_that_answers_too_late_has_run_the_command_once_and_the_caller_is_told_so() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let mut usual = fake.default_answer(0);
    fake.on(0, move |connection, command| {
        is(command, "INCR").then(|| {
            let answer = Action::Send(usual(connection, command));
            Action::Delay(300 * MS, Box::new(answer))
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?attempt_timeout_ms=100&timeout_ms=2000"),
    ));
    let reply = ask(&client, "INCR n");
    assert_eq!(code(reply.view()), Code::Timeout, "{}", show(reply.view()));
    assert!(is_sent(reply.view()), "it may have run");
    assert!(
        show(reply.view()).contains("did not answer INCR within 100 ms"),
        "{}",
        show(reply.view())
    );
    let got = say_all(&client, &["INCR n"]);
    assert!(got[0].ends_with("(TIMEOUT, sent)"), "{got:?}");
    until("both have run", || {
        fake.value("n").is_some_and(|n| n == b"2")
    });
    fake.off(0);
    assert_eq!(say(&client, "GET n"), "2");
    assert_eq!(fake.calls("INCR"), 2, "none was sent twice");
}

#[test]
fn an_attempt_that_the_end_of_the_call_cuts_short_does_not_hide_why_the_one_before_failed() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let client = client(&fake.url());
    let has_failed = Arc::new(AtomicBool::new(false));
    let fails = has_failed.clone();
    fake.on(0, move |_, command| {
        if is(command, "GET") {
            fails.store(true, Ordering::SeqCst);
            return Some(Action::Close);
        }
        // Then there is no other connection to be had.
        (is(command, "HELLO") && fails.load(Ordering::SeqCst)).then_some(Action::Nothing)
    });
    let brief = client.with("timeout_ms", "15");
    // On a busy machine the first attempt may already be too long for the call.
    until("it is told", || {
        has_failed.store(false, Ordering::SeqCst);
        let reply = ask(&brief, "GET k");
        let told = show(reply.view());
        told.contains("closed the connection (gave up after 15 ms)")
            && code(reply.view()) == Code::Io
    });
}

// What a node does with the first command of this name instead of answering.
fn fails_once(fake: &FakeCluster, node: usize, name: &'static str, action: Action) {
    let mut left = Some(action);
    fake.on(node, move |_, command| {
        is(command, name).then(|| left.take()).flatten()
    });
}

#[test]
fn a_write_whose_connection_dies_is_not_sent_again_and_a_read_is() {
    let _serial = serial();
    for action in [
        Action::Close,
        Action::Reset,
        Action::SendClose(b"$5\r\nhe".to_vec()),
        Action::SendClose(b"$5".to_vec()),
        Action::SendClose(b":".to_vec()),
    ] {
        let fake = FakeCluster::new(1);
        let client = Arc::new(client(&fake.url()));
        fake.put("k", "v");
        fails_once(&fake, 0, "INCR", action.clone());
        let reply = ask(&client, "INCR n");
        let words = show(reply.view());
        assert_eq!(code(reply.view()), Code::Io, "{action:?}: {words}");
        assert!(is_sent(reply.view()), "{action:?}: {words}");
        fails_once(&fake, 0, "INCR", action.clone());
        let got = say_all(&client, &["INCR n"]);
        assert!(got[0].ends_with("(IO, sent)"), "{action:?}: {got:?}");
        assert_eq!(fake.calls("INCR"), 2, "{action:?}");
        fails_once(&fake, 0, "GET", action.clone());
        assert_eq!(say(&client, "GET k"), "v", "{action:?}");
        fails_once(&fake, 0, "GET", action.clone());
        assert_eq!(say_all(&client, &["GET k"]), ["v"], "{action:?}");
        // Unless the caller says that twice does no harm.
        let twice = client.with("retry_writes", "yes");
        fails_once(&fake, 0, "SET", action.clone());
        assert_eq!(say(&twice, "SET k w"), "OK", "{action:?}");
    }
}

#[test]
fn a_write_that_is_repeated_stays_in_doubt_whatever_comes_of_the_attempts_behind_it() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let url = fake.url() + "?timeout_ms=300&retry_writes=yes";
    let client = Arc::new(client(&url));
    for way in [say, |client: &Client, words: &str| {
        say_all(&Arc::new(client.with("timeout_ms", "300")), &[words])[0].clone()
    }] {
        fake.off(0);
        until("there is a connection", || say(&client, "SET k v") == "OK");
        fake.on(0, |_, command| match () {
            () if is(command, "SET") => Some(Action::Close),
            () => Some(Action::SendClose(
                "-ERR max number of clients reached\r\n".into(),
            )),
        });
        let got = way(&client, "SET k w");
        assert!(got.ends_with("(IO, sent)"), "{got}");
    }
}

#[test]
fn a_pipeline_whose_connection_dies_between_replies_keeps_what_has_come() {
    let _serial = serial();
    for action in [Action::Close, Action::Reset] {
        let fake = FakeCluster::new(2);
        let client = Arc::new(client(&fake.url()));
        let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 2));
        let mut seen = 0;
        let mut usual = fake.default_answer(0);
        fake.on(0, move |connection, command| {
            if !is(command, "INCR") {
                return None;
            }
            seen += 1;
            Some(if seen <= 3 {
                Action::Send(usual(connection, command))
            } else {
                action.clone()
            })
        });
        let mut commands = vec![format!("INCR {here}"); 6];
        commands.push(format!("INCR {there}"));
        let got = say_all(&client, &commands);
        // A reset may overtake replies that were on their way.
        let came = got.iter().position(|g| g.ends_with("(IO, sent)")).unwrap();
        assert!(came <= 3, "{got:?}");
        let counts: Vec<String> = (1..=came).map(|n| n.to_string()).collect();
        assert_eq!(got[..came], counts, "{got:?}");
        assert!(
            got[came..6].iter().all(|g| g.ends_with("(IO, sent)")),
            "{got:?}"
        );
        assert_eq!(got[6], "1", "another node's commands are not concerned");
        assert_eq!(fake.node(0).calls("INCR"), 4, "nothing was sent again");
    }
}

#[test]
fn what_had_not_left_when_a_pipeline_failed_is_told_from_what_had() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let mut seen = 0;
    fake.on(0, move |_, command| {
        let set = is(command, "SET");
        seen += usize::from(set);
        (set && seen > 10).then_some(Action::Hang)
    });
    let client = Arc::new(client(&(fake.url() + "?timeout_ms=400")));
    let value = "x".repeat(16 * 1024);
    let commands: Vec<String> = (0..3000).map(|n| format!("SET k{n} {value}")).collect();
    let reply = pipeline(&client, &commands);
    let all: Vec<_> = reply.view().elements().collect();
    assert!(all[..10].iter().all(|e| code(*e) == Code::Ok));
    for element in &all[10..] {
        // Some would have overtaken a write of their slot whose fate is unknown.
        let kept_back = code(*element) == Code::Io && !is_sent(*element);
        assert!(
            code(*element) == Code::Timeout || kept_back,
            "{}",
            show(*element)
        );
    }
    let sent: Vec<bool> = all[10..].iter().map(|e| is_sent(*e)).collect();
    assert!(sent[0], "the eleventh was read by the node");
    assert!(
        !sent[sent.len() - 1],
        "48 MiB are more than the sockets hold"
    );
    let first_unsent = sent.iter().position(|s| !s).unwrap();
    assert!(
        sent[first_unsent..].iter().all(|s| !s),
        "what leaves, leaves in order"
    );
    assert!(
        fake.calls("SET") <= 10 + first_unsent,
        "one ran that was called unsent"
    );
}

#[test]
fn a_node_that_reads_nothing_until_it_is_read_from_is_read_from() {
    let _serial = serial();
    // 64 MiB up and 64 MiB down: who writes all before reading waits for ever.
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&(fake.url() + "?timeout_ms=20000")));
    let value = "v".repeat(64 * 1024);
    let keys: Vec<String> = (0..1024).map(|n| key_of(n % 2, 2, n)).collect();
    for key in &keys {
        fake.put(key, &value);
    }
    let mut commands = Vec::new();
    for key in &keys {
        commands.push(format!("SET {key} {value}"));
        commands.push(format!("GET {key}"));
    }
    for pair in say_all(&client, &commands).chunks(2) {
        assert_eq!(pair[0], "OK");
        assert!(pair[1] == value);
    }
}

// ---- Replies and whose they are ------------------------------------------------------------------

#[test]
fn no_reply_is_given_to_another_command_whatever_the_wire_does() {
    let _serial = serial();
    let seed = seed();
    let fake = FakeCluster::new(2);
    let keys: Vec<String> = (0..500).map(|n| format!("unique{n}")).collect();
    for (n, key) in keys.iter().enumerate() {
        // Short and long ones, so that every way of receiving is gone.
        let filler = "=".repeat([0, 10, 1000, 40_000][n % 4]);
        fake.put(key, format!("{key}{filler}"));
    }
    let chaos = Chaos {
        split: 7000,
        delays: 60,
        delay: 60 * MS,
        cuts: 15,
        ..Chaos::default()
    };
    let wires = Wires::to([fake.port(0), fake.port(1)], chaos, seed);
    let url = format!("{}?{}&connections_per_node=3", fake.url(), wires.option());
    let client = Arc::new(
        patient(&url)
            .with("attempt_timeout_ms", "40")
            .with("timeout_ms", "120"),
    );
    let (good, failed, incrs) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let (acked, doubtful) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(6);
    std::thread::scope(|scope| {
        for thread in 0..16usize {
            let (client, keys) = (client.clone(), &keys);
            let (good, failed, incrs) = (&good, &failed, &incrs);
            let (acked, doubtful) = (&acked, &doubtful);
            scope.spawn(move || {
                let mut n = thread;
                let check = |key: &str, got: rediscluster::resp::View<'_>| {
                    if code(got) == Code::Ok {
                        let text = got.text().unwrap_or_default();
                        let own = text.starts_with(key.as_bytes())
                            && text[key.len()..].iter().all(|b| *b == b'=');
                        let shown =
                            String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
                        assert!(own, "{key} got {shown}");
                        good.fetch_add(1, Ordering::Relaxed);
                    } else {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                };
                while Instant::now() < end {
                    n += 17;
                    let key = &keys[n % keys.len()];
                    match n % 5 {
                        0 => {
                            let some: Vec<&String> =
                                (0..10).map(|i| &keys[(n + i * 31) % keys.len()]).collect();
                            let gets: Vec<String> =
                                some.iter().map(|k| format!("GET {k}")).collect();
                            let reply = pipeline(&client, &gets);
                            for (key, got) in some.iter().zip(reply.view().elements()) {
                                check(key, got);
                            }
                        }
                        1 => {
                            let reply = ask(&client, "INCR counter");
                            incrs.fetch_add(1, Ordering::Relaxed);
                            if code(reply.view()) == Code::Ok {
                                assert!(reply.view().int().is_some(), "{}", show(reply.view()));
                                acked.fetch_add(1, Ordering::Relaxed);
                            } else if is_sent(reply.view()) {
                                doubtful.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        _ => check(key, ask(&client, &format!("GET {key}")).view()),
                    }
                }
            });
        }
    });
    let cuts = wires.cuts();
    let (good, failed) = (good.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!(
        "{good} good, {failed} failed, {cuts} cuts, {} INCRs",
        incrs.load(Ordering::Relaxed)
    );
    assert!(
        good > 500 && failed > 0 && cuts > 20,
        "{good} good, {failed} failed, {cuts} cuts"
    );
    drop(wires);
    let ran: u64 = String::from_utf8(fake.value("counter").unwrap())
        .unwrap()
        .parse()
        .unwrap();
    let (acked, doubtful) = (acked.into_inner(), doubtful.into_inner());
    assert!(
        acked <= ran && ran <= acked + doubtful,
        "{acked} acknowledged, {doubtful} in doubt, {ran} ran"
    );
}

#[test]
fn a_reply_may_come_in_two_at_any_byte() {
    let _serial = serial();
    let reply = b"*3\r\n*2\r\n$3\r\nabc\r\n:7\r\n%1\r\n+k\r\n,1.5\r\n$-1\r\n$2\r\nok\r\n";
    let nested = reply.len() - b"$2\r\nok\r\n".len();
    let fake = FakeCluster::new(1);
    let client = Arc::new(client(&fake.url()));
    for cut in 1..nested {
        let (first, second) = (reply[..cut].to_vec(), reply[cut..nested].to_vec());
        let mut stage = 0;
        // The second piece is the answer to a command that comes when the first has been read.
        let once = Arc::new(AtomicUsize::new(0));
        let seen = once.clone();
        fake.on(0, move |_, command| {
            if !is(command, "LRANGE") {
                return None;
            }
            stage += 1;
            seen.store(stage, Ordering::SeqCst);
            let rest = Action::Send(second.clone());
            Some(match stage {
                1 => Action::SendSlow([&first[..], &second[..]].concat(), first.len(), MS),
                _ => rest,
            })
        });
        assert_eq!(
            say(&client, "LRANGE k 0 -1"),
            "[[abc, 7], [k, 1.5], nil]",
            "cut at {cut}"
        );
        assert_eq!(once.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_leader_that_gives_up_in_the_middle_of_a_reply_leaves_it_whole_to_its_owner() {
    let _serial = serial();
    // One connection, many threads, replies that dribble in pieces: those with short deadlines
    // lead for a while and give up inside somebody's nested array.
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        is(command, "LRANGE").then(|| {
            let key = String::from_utf8_lossy(&command[1]).into_owned();
            let value = support::wire::bulk(&key);
            let pair = support::wire::array(&[value.clone(), value]);
            let nested = support::wire::array(&[pair.clone(), pair.clone(), pair]);
            Action::SendSlow(nested, 17, MS)
        })
    });
    let url = fake.url() + "?connections_per_node=1&attempt_timeout_ms=3000&timeout_ms=8000";
    let patient = Arc::new(client(&url));
    let hasty = Arc::new(
        patient
            .with("attempt_timeout_ms", "25")
            .with("timeout_ms", "25"),
    );
    let right = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let client = if thread % 2 == 0 { &patient } else { &hasty };
            let (right, failed) = (&right, &failed);
            scope.spawn(move || {
                for n in 0..15 {
                    let key = format!("own{thread}:{n}");
                    let reply = ask(client, &format!("LRANGE {key} 0 -1"));
                    if code(reply.view()) == Code::Ok {
                        let pair = format!("[{key}, {key}]");
                        assert_eq!(show(reply.view()), format!("[{pair}, {pair}, {pair}]"));
                        right.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let expected = matches!(code(reply.view()), Code::Timeout | Code::Io);
                        assert!(expected, "{}", show(reply.view()));
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (right, failed) = (right.into_inner(), failed.into_inner());
    assert!(
        right >= 60 && failed >= 20,
        "{right} right, {failed} failed"
    );
}

#[test]
fn a_connection_that_nobody_waited_for_is_not_lost_to_those_who_come_later() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        (is(command, "GET slow")).then(|| {
            hold(&gate);
            Action::send("+slow\r\n")
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=1&attempt_timeout_ms=4000"),
    ));
    let hasty = Arc::new(client.with("timeout_ms", "30"));
    for waiting in [1, 64, 70, 130] {
        held.store(true, Ordering::SeqCst);
        let before = fake.calls("GET");
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| say(&client, "GET slow"));
            until("the slow one is under way", || fake.calls("GET") > before);
            let given_up: Vec<_> = (0..waiting)
                .map(|n| {
                    let hasty = &hasty;
                    scope.spawn(move || say(hasty, &format!("INCR given{n}")))
                })
                .collect();
            for one in given_up {
                let got = one.join().unwrap();
                assert!(got.ends_with("(TIMEOUT)"), "it has never left: {got}");
            }
            held.store(false, Ordering::SeqCst);
            assert_eq!(slow.join().unwrap(), "slow");
        });
        assert_eq!(
            say_all(&client, &["SET k v", "GET k"]),
            ["OK", "v"],
            "{waiting} had given up"
        );
        assert_eq!(say(&client, "GET k"), "v");
    }
    assert_eq!(fake.calls("INCR"), 0);
}

#[test]
fn a_connection_that_dies_does_not_strand_those_who_waited_for_it() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    fake.put("k", "v");
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        is(command, "INCR").then(|| {
            hold(&gate);
            Action::Reset
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=1&attempt_timeout_ms=4000"),
    ));
    for _ in 0..20 {
        held.store(true, Ordering::SeqCst);
        let before = fake.calls("INCR");
        std::thread::scope(|scope| {
            let dying = scope.spawn(|| say(&client, "INCR n"));
            until("it is under way", || fake.calls("INCR") > before);
            let waiting: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| timed(|| say(&client, "GET k"))))
                .collect();
            // They join the line within a moment; one that comes too late proves nothing, and harms nothing.
            let moment = Instant::now();
            until("a moment has passed", || moment.elapsed() > 2 * MS);
            held.store(false, Ordering::SeqCst);
            assert!(dying.join().unwrap().ends_with("(IO, sent)"));
            for one in waiting {
                let (got, time) = one.join().unwrap();
                assert_eq!(got, "v");
                assert!(time < 1000 * MS, "stranded for {time:?}");
            }
        });
    }
}

// ---- Deadlines -----------------------------------------------------------------------------------

/// A port that never accepts: its queue is full, so that a connect hangs.
struct Blackhole {
    address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Blackhole {
    fn new() -> Blackhole {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&SockAddr::from(any)).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![listener];
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let full = socket
                .connect_timeout(&SockAddr::from(address), 100 * MS)
                .is_err();
            sockets.push(socket);
            if full {
                return Blackhole {
                    address,
                    _sockets: sockets,
                };
            }
        }
    }

    /// Whether a socket of this process is trying to connect to it.
    fn is_dialled(&self) -> bool {
        let port = format!(":{:04X} 02 ", self.address.port());
        std::fs::read_to_string("/proc/self/net/tcp")
            .unwrap()
            .lines()
            .any(|line| {
                // "sl local remote state": 02 is SYN_SENT.
                line.contains(&port)
            })
    }
}

/// Fails if the call takes longer than `limit` and 50 ms. A busy machine has three tries.
#[track_caller]
fn by_the_deadline(what: &str, limit: u64, mut call: impl FnMut()) {
    let mut worst = Duration::ZERO;
    for _ in 0..3 {
        let (_, time) = timed(&mut call);
        if time <= Duration::from_millis(limit + 50) {
            return;
        }
        worst = worst.max(time);
    }
    panic!("{what}: {worst:?} where {limit} ms were given");
}

fn fails(client: &Client, words: &str) {
    let reply = ask(client, words);
    let code = code(reply.view());
    let expected = matches!(
        code,
        Code::Timeout | Code::Connect | Code::Protocol | Code::Redirects
    );
    assert!(expected, "{words}: {}", show(reply.view()));
}

#[test]
fn connecting_to_nodes_that_are_silent_in_any_way_ends_by_the_deadline() {
    let _serial = serial();
    let hole = Blackhole::new();
    by_the_deadline("a port that accepts nobody", 300, || {
        let client = Client::create(&format!("redis://{}?timeout_ms=300", hole.address));
        assert_eq!(
            client.error().unwrap().code,
            Code::Timeout,
            "{:?}",
            client.error()
        );
    });
    for silent in ["HELLO", "CLIENT", "CLUSTER SLOTS", "CLUSTER INFO"] {
        let fake = FakeCluster::new(2);
        for node in 0..2 {
            fake.on(node, move |_, command| {
                is(command, silent).then_some(Action::Hang)
            });
        }
        by_the_deadline(silent, 300, || {
            let client = Client::create(&(fake.url() + "?timeout_ms=300"));
            assert_eq!(
                client.error().map(|e| e.code),
                Some(Code::Timeout),
                "{silent}"
            );
        });
    }
    let drip = FakeCluster::new(1);
    drip.on(0, |_, command| {
        let drop = || Action::SendSlow(b"*1\r\n$100\r\n".repeat(50), 1, 70 * MS);
        is(command, "CLUSTER").then(drop)
    });
    by_the_deadline("CLUSTER SLOTS in drops", 300, || {
        let client = Client::create(&(drip.url() + "?timeout_ms=300"));
        assert!(client.error().is_some());
    });
}

#[test]
fn a_call_on_a_node_that_drags_ends_by_the_deadline() {
    let _serial = serial();
    let answers: Vec<(&str, Action)> = vec![
        ("silence", Action::Hang),
        (
            "a byte now and then",
            Action::SendSlow(vec![b'+'; 1000], 1, 70 * MS),
        ),
        (
            "a string without end",
            Action::SendSlow([b"$1000000\r\n", &[b'x'; 9000][..]].concat(), 50, 2 * MS),
        ),
        (
            "an array without end",
            Action::SendSlow(
                [b"*100000\r\n".to_vec(), b":1\r\n".repeat(9000)].concat(),
                40,
                2 * MS,
            ),
        ),
        (
            "a line without end",
            Action::SendSlow([b"+", &[b'x'; 9000][..]].concat(), 50, 2 * MS),
        ),
        (
            "an error without end",
            Action::SendSlow([b"-ERR ", &[b'x'; 9000][..]].concat(), 50, 2 * MS),
        ),
        (
            "pushes without end",
            Action::SendSlow(b">1\r\n+x\r\n".repeat(5000), 80, 2 * MS),
        ),
    ];
    for (what, answer) in answers {
        let fake = FakeCluster::new(1);
        fake.on(0, move |_, command| {
            is(command, "GET").then(|| answer.clone())
        });
        let client = Arc::new(client(
            &(fake.url() + "?timeout_ms=400&attempt_timeout_ms=150"),
        ));
        by_the_deadline(what, 400, || fails(&client, "GET k"));
        by_the_deadline(what, 400, || {
            let got = say_all(&client, &["GET k", "GET l"]);
            assert!(
                got.iter()
                    .all(|g| g.contains("(TIMEOUT") || g.contains("(PROTOCOL")),
                "{got:?}"
            );
        });
        let pinned = client.pin(b"k");
        by_the_deadline(what, 400, || {
            assert_ne!(code(ask(&pinned, "GET k").view()), Code::Ok);
        });
        fake.off(0);
        assert_eq!(say(&client, "GET k"), "nil", "after {what}");
    }
}

#[test]
fn a_redirection_to_where_nobody_answers_ends_by_the_deadline() {
    let _serial = serial();
    let hole = Blackhole::new();
    let silent = support::Script::serve(|_, _| Action::Hang);
    for (what, there) in [
        ("a hole", hole.address.to_string()),
        ("silence", silent.address()),
    ] {
        for kind in ["MOVED", "ASK"] {
            let fake = FakeCluster::new(1);
            let slot = slot_of(b"k");
            let answer = format!("-{kind} {slot} {there}\r\n");
            fake.on(0, move |_, command| {
                is(command, "GET").then(|| Action::send(&answer))
            });
            let client = Arc::new(client(
                &(fake.url() + "?timeout_ms=400&attempt_timeout_ms=200"),
            ));
            by_the_deadline(&format!("{kind} to {what}"), 400, || {
                assert_ne!(code(ask(&client, "GET k").view()), Code::Ok);
            });
            by_the_deadline(&format!("{kind} to {what}, in a pipeline"), 400, || {
                assert_ne!(say_all(&client, &["GET k"]), ["nil"]);
            });
        }
    }
}

#[test]
fn a_refresh_that_failed_is_told_so_to_all_who_waited_for_it() {
    let _serial = serial();
    let fake = FakeCluster::new(2);
    let client = client(&fake.url());
    for node in 0..2 {
        let late = Action::Delay(100 * MS, Box::new(Action::Close));
        fake.on(node, move |_, command| {
            is(command, "CLUSTER").then(|| late.clone())
        });
    }
    let (before, start) = (stat(&client, "refreshes"), Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let reply = client.refresh();
                let told = show(reply.view());
                assert!(told.contains("closed the connection"), "{told}");
            });
        }
    });
    // That which was under way when they came, one for all of them, and for such as came late.
    let made = stat(&client, "refreshes") - before;
    assert!((1..=4).contains(&made), "{made} refreshes");
    (0..2).for_each(|node| fake.off(node));
    assert_eq!(show(client.refresh().view()), "OK");
}

#[test]
fn a_refresh_that_nobody_answers_ends_by_the_deadline() {
    let _serial = serial();
    let fake = FakeCluster::new(3);
    let client = client(&(fake.url() + "?timeout_ms=400&attempt_timeout_ms=200"));
    for node in 0..3 {
        fake.on(node, |_, command| {
            is(command, "CLUSTER").then_some(Action::Hang)
        });
    }
    by_the_deadline("refresh", 400, || {
        assert_eq!(code(client.refresh().view()), Code::Timeout);
    });
    assert_eq!(say(&client, "SET k v"), "OK", "the old map serves");
}

#[test]
fn one_silent_node_of_three_costs_a_pipeline_its_own_commands_and_no_others() {
    let _serial = serial();
    let fake = FakeCluster::new(3);
    let hole = Blackhole::new();
    let keys: Vec<String> = (0..30).map(|n| key_of(n % 3, 3, n)).collect();
    let sets: Vec<String> = keys.iter().map(|k| format!("INCR {k}")).collect();
    // Silent on the connection that is there, and where there is none yet.
    let through = format!("&address_map=127.0.0.1:{}={}", fake.port(1), hole.address);
    let mut expected = 0;
    for (what, map) in [("silent", ""), ("unreachable", through.as_str())] {
        let seed = format!("redis://127.0.0.1:{}", fake.port(0));
        let url = format!("{seed}?timeout_ms=600&attempt_timeout_ms=300{map}");
        let client = Arc::new(client(&url));
        fake.on(1, |_, command| is(command, "INCR").then_some(Action::Hang));
        let (got, time) = timed(|| say_all(&client, &sets));
        expected += 1;
        for (n, got) in got.iter().enumerate() {
            if n % 3 == 1 {
                assert!(got.contains("TIMEOUT"), "{what}: {got}");
            } else {
                assert_eq!(*got, expected.to_string(), "{what}, command {n}");
            }
        }
        assert!(time < 650 * MS, "{what}: {time:?}");
    }
}

#[test]
fn a_call_that_waits_for_its_turn_ends_by_the_deadline() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        is(command, "GET slow").then(|| {
            hold(&gate);
            Action::send("+slow\r\n")
        })
    });
    let url = fake.url() + "?connections_per_node=1&attempt_timeout_ms=20000&timeout_ms=20000";
    let client = Arc::new(client(&url));
    let short = Arc::new(client.with("timeout_ms", "200"));
    let pinned = Arc::new(client.pin(b"slow"));
    std::thread::scope(|scope| {
        scope.spawn(|| say(&client, "GET slow"));
        until("it is under way", || fake.calls("GET") == 1);
        by_the_deadline("in line for the connection", 200, || fails(&short, "GET k"));
        by_the_deadline("a pipeline in line", 200, || {
            assert!(say_all(&short, &["GET k"])[0].ends_with("(TIMEOUT)"));
        });
        held.store(false, Ordering::SeqCst);
    });
    drop(pinned);
}

// ---- Interrupts and closing ----------------------------------------------------------------------

/// Interrupts calls that are in some phase, and says how long each then took to end.
fn interrupted_in(
    what: &str,
    client: &Arc<Client>,
    threads: usize,
    call: impl Fn(&Arc<Client>) -> String + Sync,
    is_there: impl Fn() -> bool,
) {
    let mut times = Vec::new();
    for _ in 0..5 {
        let ended = Mutex::new(Vec::new());
        let begun = AtomicUsize::new(0);
        let mut fired = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    let got = call(client);
                    ended.lock().unwrap().push((Instant::now(), got));
                });
            }
            until(what, || {
                begun.load(Ordering::SeqCst) == threads && is_there()
            });
            fired = Instant::now();
            client.interrupt();
            // A call that had not quite begun is not concerned: it is told again.
            while ended.lock().unwrap().len() < threads {
                if fired.elapsed() > Duration::from_secs(1) {
                    client.interrupt();
                    assert!(fired.elapsed() < SOON, "{what}: not interrupted");
                }
                std::thread::yield_now();
            }
        });
        for (time, got) in ended.into_inner().unwrap() {
            assert!(got.contains("INTERRUPTED"), "{what}: {got}");
            times.push(time - fired);
        }
    }
    times.sort();
    let (half, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: {half:?}, at worst {worst:?}");
    // With many threads on two cores they also wait for each other.
    let most = if threads > 4 { 30 * MS } else { 12 * MS };
    assert!(half <= most, "{what}: {times:?}");
}

#[test]
fn an_interrupt_ends_a_call_in_every_phase() {
    let _serial = serial();
    let hole = Blackhole::new();
    let fake = FakeCluster::new(2);
    let long = "?timeout_ms=30000&attempt_timeout_ms=30000&connect_timeout_ms=30000";
    let all = Arc::new(client(&(fake.url() + long)));
    let (key, other) = (key_of(0, 2, 1), key_of(1, 2, 2));
    let get = format!("GET {key}");
    fake.on(0, |_, command| is(command, "GET").then_some(Action::Hang));
    fake.on(1, |_, command| is(command, "GET").then_some(Action::Hang));
    let since = |name: &'static str| {
        let before = AtomicUsize::new(fake.calls(name));
        let fake = &fake;
        move || {
            let now = fake.calls(name);
            let more = now > before.load(Ordering::SeqCst);
            if more {
                before.store(now, Ordering::SeqCst);
            }
            more
        }
    };
    interrupted_in("a reply", &all, 1, |c| say(c, &get), since("GET"));
    interrupted_in(
        "a pinned reply",
        &Arc::new(all.pin(key.as_bytes())),
        1,
        |c| say(c, &get),
        since("GET"),
    );
    // Bytes come all the time, so that nothing is ever waited for.
    let endless = [b"*1000000\r\n".to_vec(), b":1\r\n".repeat(100_000)].concat();
    fake.on(0, move |_, command| {
        is(command, "LRANGE").then(|| Action::SendSlow(endless.clone(), 4, MS / 5))
    });
    let lrange = format!("LRANGE {key} 0 -1");
    for (what, together) in [
        ("a long reply", false),
        ("a long reply in a pipeline", true),
    ] {
        let call = |c: &Arc<Client>| match together {
            true => say_all(c, std::slice::from_ref(&lrange)).concat(),
            false => say(c, &lrange),
        };
        interrupted_in(what, &all, 1, call, since("LRANGE"));
    }
    fake.on(0, |_, command| is(command, "GET").then_some(Action::Hang));
    let both = [get.clone(), format!("GET {other}")];
    interrupted_in(
        "a pipeline",
        &all,
        1,
        |c| say_all(c, &both).concat(),
        since("GET"),
    );
    interrupted_in(
        "sixteen on a lane",
        &all,
        16,
        |c| say(c, &get),
        since("GET"),
    );
    fake.on(0, |_, command| {
        is(command, "BLPOP").then_some(Action::Nothing)
    });
    let blpop = format!("BLPOP {key} 0");
    interrupted_in("BLPOP", &all, 1, |c| say(c, &blpop), since("BLPOP"));
    fake.on(0, |_, command| {
        is(command, "GET").then(|| Action::send("-CLUSTERDOWN The cluster is down\r\n"))
    });
    interrupted_in("a pause", &all, 1, |c| say(c, &get), since("GET"));
    // Connecting: nothing is sent that could be counted.
    let map = format!("&address_map=127.0.0.1:{}={}", fake.port(1), hole.address);
    let seed = format!("redis://127.0.0.1:{}{long}{map}", fake.port(0));
    let through = Arc::new(client(&seed));
    let get = format!("GET {other}");
    interrupted_in(
        "a connect",
        &through,
        1,
        |c| say(c, &get),
        || hole.is_dialled(),
    );
    let fresh = Arc::new(client(&(fake.url() + long)));
    fake.on(1, |_, command| is(command, "HELLO").then_some(Action::Hang));
    interrupted_in("a handshake", &fresh, 1, |c| say(c, &get), since("HELLO"));
    for node in 0..2 {
        fake.on(node, |_, command| {
            is(command, "CLUSTER").then_some(Action::Hang)
        });
    }
    let refresh = |c: &Arc<Client>| show(c.refresh().view());
    interrupted_in("a refresh", &fresh, 1, refresh, since("CLUSTER"));
}

#[test]
fn an_interrupt_while_a_connection_is_greeted_ends_the_call_before_its_command_is_sent() {
    let _serial = serial();
    for (command, early) in [("SET k v", false), ("LRANGE k 0 1", false), ("GET k", true)] {
        for greeting in ["HELLO", "CLIENT"] {
            // A node each time: what one has not read yet when the call ends it would read during the next.
            let fake = FakeCluster::new(1);
            let client = Arc::new(client(&fake.url()));
            let (mut usual, its) = (fake.default_answer(0), client.clone());
            fake.on(0, move |connection, command| {
                is(command, greeting).then(|| {
                    its.interrupt();
                    // So it need not wait where it would be woken.
                    Action::Send(usual(connection, command))
                })
            });
            let reply = ask(&client, command);
            let got = show(reply.view());
            assert!(got.contains("INTERRUPTED"), "{greeting}: {got}");
            // A quick read is on its way with the greeting, and its error says so.
            assert_eq!(is_sent(reply.view()), early, "{greeting}: {command}");
            let name = command.split(' ').next().unwrap();
            assert!(early || fake.calls(name) == 0, "{greeting}: {command}");
        }
    }
}

#[test]
fn a_quick_read_goes_out_with_the_greeting_of_a_new_connection_and_nothing_else_does() {
    let _serial = serial();
    for (command, early) in [
        ("GET k", true),
        ("HGET k f", true),
        ("ZSCORE k m", true),
        // A write may have run where the greeting fails.
        ("SET k v", false),
        ("INCR k", false),
        // What may take long looks like a node that does not answer its greeting.
        ("LRANGE k 0 -1", false),
        ("SORT_RO k", false),
        ("EVAL_RO s 1 k", false),
        ("XREAD BLOCK 10 STREAMS k 0", false),
        ("NO.SUCH k", false),
    ] {
        for password in ["", ":secret@"] {
            let fake = FakeCluster::new(1);
            let url = fake.url().replace("://", &format!("://{password}"));
            let client = Arc::new(client(&(url + "?timeout_ms=5000")));
            let name = command.split(' ').next().unwrap();
            let held = Arc::new(AtomicBool::new(false));
            let seen = held.clone();
            // The greeting stays without an answer.
            fake.on(0, move |_, command| {
                let hello = is(command, "HELLO");
                seen.fetch_or(hello, Ordering::SeqCst);
                (hello || seen.load(Ordering::SeqCst)).then_some(Action::Nothing)
            });
            let (its, line) = (client.clone(), command.to_string());
            let caller = std::thread::spawn(move || is_sent(ask(&its, &line).view()));
            until("the greeting", || held.load(Ordering::SeqCst));
            // Behind a password nothing is sent before the door is open.
            let expected = early && password.is_empty();
            if expected {
                until("the command", || fake.calls(name) == 1);
            } else {
                std::thread::sleep(Duration::from_millis(30));
                assert_eq!(fake.calls(name), 0, "{password}{command}");
            }
            client.close();
            assert_eq!(caller.join().unwrap(), expected, "{password}{command}");
        }
    }
}

#[test]
fn of_a_read_that_went_out_with_a_greeting_nobody_else_is_told() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let client = client(&(fake.url() + "?timeout_ms=250"));
    fake.on(0, |_, command| match () {
        () if is(command, "HELLO") => Some(Action::Nothing),
        () if is(command, "GET") => Some(Action::Close),
        () => None,
    });
    let words = say(&client, "GET k");
    assert!(words.contains("closed the connection"), "{words}");
    let write = ask(&client, "SET k v");
    let words = show(write.view());
    assert!(
        code(write.view()) != Code::Ok && !is_sent(write.view()),
        "{words}"
    );
    fake.off(0);
    until("the node is tried again", || {
        say(&client, "SET k v") == "OK"
    });

    // A refusal proves that nothing behind it has run.
    let full = "-ERR max number of clients reached\r\n";
    for by in [Action::send(full), Action::SendClose(full.into())] {
        let fake = FakeCluster::new(1);
        let client = common::client(&(fake.url() + "?timeout_ms=250"));
        fake.on(0, move |_, _| Some(by.clone()));
        let read = ask(&client, "GET k");
        let words = show(read.view());
        assert_eq!(code(read.view()), Code::Connect, "{words}");
        assert!(
            words.contains("max number of clients") && !is_sent(read.view()),
            "{words}"
        );
    }
}

#[test]
fn an_interrupt_concerns_the_calls_of_its_own_handle_only() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let held = Arc::new(AtomicBool::new(true));
    let gate = held.clone();
    fake.on(0, move |_, command| {
        is(command, "GET").then(|| {
            hold(&gate);
            Action::send("+late\r\n")
        })
    });
    let client = client(&(fake.url() + "?attempt_timeout_ms=20000&timeout_ms=20000"));
    let twin = client.with("timeout_ms", "20000");
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| say(&client, "GET k"));
        until("it is under way", || fake.calls("GET") == 1);
        twin.interrupt();
        twin.close();
        held.store(false, Ordering::SeqCst);
        assert_eq!(kept.join().unwrap(), "late");
    });
    assert_eq!(say(&client, "SET k v"), "OK");
    assert!(say(&twin, "SET k v").ends_with("(CLOSED)"));
}

#[test]
fn closing_ends_the_calls_of_all_threads_at_once() {
    let _serial = serial();
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        fake.on(node, |_, command| {
            is(command, "GET").then_some(Action::Hang)
        });
    }
    let client = Arc::new(client(
        &(fake.url() + "?timeout_ms=30000&attempt_timeout_ms=30000"),
    ));
    let start = Barrier::new(33);
    let mut closed = Instant::now();
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..32)
            .map(|n| {
                let (client, start) = (&client, &start);
                scope.spawn(move || {
                    start.wait();
                    let got = match n % 4 {
                        0 => {
                            say_all(client, &[format!("GET k{n}"), format!("SET l{n} v")]).concat()
                        }
                        1 => say(client, &format!("GET k{n}")),
                        2 => say(client, &format!("BLPOP k{n} 0")),
                        _ => say(client, &format!("GET k{n}")),
                    };
                    (got, Instant::now())
                })
            })
            .collect();
        start.wait();
        until("they are under way", || fake.calls("GET") > 4);
        closed = Instant::now();
        client.close();
        let took = closed.elapsed();
        assert!(took < 100 * MS, "the close itself: {took:?}");
        for call in calls {
            let (got, at) = call.join().unwrap();
            let expected = got.contains("(CLOSED") || got.contains("unknown command");
            assert!(expected, "{got}");
            assert!(
                at.saturating_duration_since(closed) < 150 * MS,
                "{:?}",
                at - closed
            );
        }
    });
    assert!(say(&client, "SET k v").ends_with("(CLOSED)"));
    client.close();
    // Neither the last close nor what is let go of behind it waits for nodes that say nothing any more.
    let (_, took) = timed(|| drop(client));
    assert!(took < 100 * MS, "{took:?}");
}

#[test]
fn commands_that_block_do_not_wait_for_each_other() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let pushed: Arc<Mutex<HashSet<Vec<u8>>>> = Arc::default();
    let known = pushed.clone();
    fake.on(0, move |_, command| {
        // Nothing is ever pushed but what a test says: the others wait.
        is(command, "BLPOP").then(|| match known.lock().unwrap().contains(&command[1]) {
            true => Action::send("*2\r\n+k\r\n+v\r\n"),
            false => Action::Nothing,
        })
    });
    let client = Arc::new(client(&fake.url()));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let client = client.clone();
            scope.spawn(move || say(&client, &format!("BLPOP empty{n} 0")));
        }
        until("eight wait", || fake.calls("BLPOP") == 8);
        pushed.lock().unwrap().insert(b"full".to_vec());
        for _ in 0..5 {
            assert_eq!(say(&client, "BLPOP full 5"), "[k, v]");
        }
        client.close();
    });
}

#[test]
fn threads_on_other_shards_do_not_notice_a_silent_one() {
    let _serial = serial();
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(
        &(fake.url() + "?timeout_ms=600&attempt_timeout_ms=200"),
    ));
    let (sick, well) = (key_of(0, 2, 1), key_of(1, 2, 2));
    fake.put(&well, "v");
    fake.on(0, |_, command| is(command, "GET").then_some(Action::Hang));
    let over = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    fails(&client, &format!("GET {sick}"));
                }
            });
        }
        let end = Instant::now() + 1500 * MS;
        let mut times = Vec::new();
        while Instant::now() < end {
            let (got, time) = timed(|| say(&client, &format!("GET {well}")));
            assert_eq!(got, "v");
            times.push(time);
        }
        over.store(true, Ordering::Relaxed);
        times.sort();
        slowest = times[times.len() * 99 / 100];
    });
    assert!(slowest < 50 * MS, "99 of 100 within {slowest:?}");
}

// ---- The same days on real servers ---------------------------------------------------------------

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(|| Cluster::builder().replicas(1).start().unwrap())
}

/// The tests below break the one cluster: each mends it.
fn healthy() -> &'static Cluster {
    cluster().wait_healthy().unwrap();
    cluster()
}

/// A thread that reads one key of a shard, and what it met.
struct Watch {
    reads: usize,
    slowest: Duration,
    failures: Vec<String>,
}

fn watch(client: &Client, words: &str, over: &AtomicBool) -> Watch {
    let mut watch = Watch {
        reads: 0,
        slowest: Duration::ZERO,
        failures: Vec::new(),
    };
    while !over.load(Ordering::SeqCst) {
        let (reply, time) = timed(|| ask(client, words));
        watch.reads += 1;
        watch.slowest = watch.slowest.max(time);
        if code(reply.view()) != Code::Ok {
            watch.failures.push(show(reply.view()));
        }
    }
    watch
}

#[test]
fn reads_of_a_read_only_client_never_fail_whichever_node_of_a_shard_is_lost() {
    let _serial = serial();
    let cluster = healthy();
    let client = client(&cluster.url());
    let key = key_of(0, 3, 1);
    assert_eq!(say(&client, &format!("SET {key} v")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    let slot = slot_of(key.as_bytes());
    let get = format!("GET {key}");
    let readonly = client.with("attempt_timeout_ms", "300").readonly();
    for (what, of_primary, kill) in [
        ("a replica that hangs", false, false),
        ("a replica that dies", false, true),
        ("a primary that hangs", true, false),
        ("a primary that dies", true, true),
    ] {
        let port = match of_primary {
            true => cluster.primary_of(slot).unwrap(),
            false => cluster.replicas_of(slot).unwrap()[0],
        };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| watch(&readonly, &get, &over)))
                .collect();
            match kill {
                true => cluster.kill(port).unwrap(),
                false => cluster.stop(port).unwrap(),
            }
            if of_primary {
                until("a replica is promoted", || {
                    cluster.primary_of(slot).is_ok_and(|p| p != port)
                });
            } else {
                // As long as it takes to be tried again and again.
                let end = Instant::now() + 1500 * MS;
                until("a while", || Instant::now() > end);
            }
            over.store(true, Ordering::SeqCst);
            for thread in threads {
                let watch = thread.join().unwrap();
                println!(
                    "{what}: {} reads, the slowest {:?}",
                    watch.reads, watch.slowest
                );
                assert!(watch.failures.is_empty(), "{what}: {:?}", watch.failures);
                assert!(watch.reads > 20, "{what}: {} reads", watch.reads);
                // Without its primary a replica says CLUSTERDOWN for a while before it is promoted.
                let most = if of_primary { 2500 } else { 800 };
                assert!(watch.slowest < most * MS, "{what}: {:?}", watch.slowest);
            }
        });
        match kill {
            true => cluster.restart(port).unwrap(),
            false => cluster.cont(port).unwrap(),
        }
        cluster.wait_healthy().unwrap();
        cluster.wait_replicas_in_sync().unwrap();
    }
}

#[test]
fn writes_come_back_when_a_replica_has_been_promoted_and_no_call_outlives_its_time() {
    let _serial = serial();
    let cluster = healthy();
    let client = client(&(cluster.url() + "?timeout_ms=1000&attempt_timeout_ms=100"));
    let mut latest = [Duration::MAX; 2];
    // On a busy machine it is the servers that are late: the best of four.
    for round in 0..8 {
        let (which, what, kill) = [(0, "dies", true), (1, "hangs", false)][round % 2];
        if latest[which] < 300 * MS {
            continue;
        }
        let key = key_of(1, 3, 1);
        let slot = slot_of(key.as_bytes());
        let counter = format!("{{{key}}}n{round}");
        let before: u64 = say(&client, &format!("INCR {counter}")).parse().unwrap();
        let (mut acked, mut doubtful) = (0u64, 0u64);
        let old = cluster.primary_of(slot).unwrap();
        let promoted = OnceLock::new();
        let mut back = None;
        std::thread::scope(|scope| {
            match kill {
                true => cluster.kill(old).unwrap(),
                false => cluster.stop(old).unwrap(),
            }
            scope.spawn(|| {
                until("a promotion", || {
                    cluster.primary_of(slot).is_ok_and(|p| p != old)
                });
                promoted.set(Instant::now()).unwrap();
            });
            let end = Instant::now() + SOON;
            while back.is_none() && Instant::now() < end {
                let (reply, time) = timed(|| ask(&client, &format!("INCR {counter}")));
                assert!(time < 1100 * MS, "{what}: {time:?}: {}", show(reply.view()));
                match (code(reply.view()), is_sent(reply.view())) {
                    (Code::Ok, _) => {
                        acked += 1;
                        back = Some(Instant::now());
                    }
                    (_, sent) => doubtful += u64::from(sent),
                }
            }
        });
        let late = back
            .unwrap()
            .saturating_duration_since(*promoted.get().unwrap());
        println!("the primary {what}: writes are back {late:?} after the promotion");
        latest[which] = latest[which].min(late);
        let now: u64 = say(&client, &format!("GET {counter}")).parse().unwrap();
        assert!(
            before + acked <= now + 1 && now <= before + acked + doubtful,
            "{before} + {acked} ({doubtful}): {now}"
        );
        match kill {
            true => cluster.restart(old).unwrap(),
            false => cluster.cont(old).unwrap(),
        }
        cluster.wait_healthy().unwrap();
    }
    assert!(
        latest.iter().all(|late| *late < 300 * MS),
        "{latest:?} too late"
    );
}

#[test]
fn a_failover_that_was_asked_for_costs_no_call_its_success() {
    let _serial = serial();
    let cluster = healthy();
    let client = Arc::new(client(&cluster.url()));
    let readonly = client.readonly();
    let key = key_of(2, 3, 1);
    let slot = slot_of(key.as_bytes());
    for (n, mode) in [Failover::Plain, Failover::Force, Failover::Takeover]
        .into_iter()
        .enumerate()
    {
        let over = AtomicBool::new(false);
        let incr = format!("INCR {{{key}}}failover{n}");
        let get = format!("GET {{{key}}}failover{n}");
        std::thread::scope(|scope| {
            let threads: Vec<_> = [
                (&*client, &incr),
                (&*client, &incr),
                (&*client, &get),
                (&readonly, &get),
            ]
            .map(|(client, words)| {
                let over = &over;
                scope.spawn(move || watch(client, words, over))
            })
            .into_iter()
            .collect();
            // In the order of the caller: each of a pipeline sees what those before it have done.
            let piping = scope.spawn(|| {
                let incrs = vec![format!("INCR {{{key}}}piped{n}"); 20];
                let mut count = 0u64;
                while !over.load(Ordering::SeqCst) {
                    for got in say_all(&client, &incrs) {
                        let n = got.parse::<u64>();
                        let n = n.unwrap_or_else(|_| panic!("{mode:?}: {got}"));
                        // Only where the two nodes act in concert is nothing lost that was acknowledged.
                        let follows = n == count + 1 || mode != Failover::Plain;
                        assert!(follows, "{mode:?}: {n} behind {count}");
                        count = n;
                    }
                }
                count
            });
            let replica = cluster.replicas_of(slot).unwrap()[0];
            cluster.failover(replica, mode).unwrap();
            over.store(true, Ordering::SeqCst);
            let piped = piping.join().unwrap();
            println!("{mode:?}: {piped} writes in pipelines");
            for thread in threads {
                let watch = thread.join().unwrap();
                println!(
                    "{mode:?}: {} calls, the slowest {:?}",
                    watch.reads, watch.slowest
                );
                assert!(watch.failures.is_empty(), "{mode:?}: {:?}", watch.failures);
                assert!(watch.slowest < 1500 * MS, "{mode:?}: {:?}", watch.slowest);
            }
        });
        cluster.wait_healthy().unwrap();
        cluster.wait_replicas_in_sync().unwrap();
    }
}

/// Read as a C caller does: an element has no node of its own, and where one would be lie the bytes of the next element.
#[test]
fn a_map_by_node_can_be_read_to_the_end_when_a_node_is_silent() {
    use rediscluster::ffi::client::{rdc_close, rdc_create};
    use rediscluster::ffi::command::rdc_command_to;
    use rediscluster::ffi::reply::{
        rdc_reply_at, rdc_reply_error, rdc_reply_free, rdc_reply_len, rdc_reply_node, rdc_reply_str,
    };
    use std::ffi::{CStr, CString};
    let fake = FakeCluster::new(3);
    fake.on(1, |_, command| {
        is(command, "PING").then_some(Action::Nothing)
    });
    let url = CString::new(fake.url() + "?attempt_timeout_ms=60&timeout_ms=60").unwrap();
    // SAFETY: the strings are C strings, and the handles are live until they are freed.
    unsafe {
        let handle = rdc_create(url.as_ptr());
        let ping = [c"PING".as_ptr()];
        let place = c"primaries".as_ptr();
        let reply = rdc_command_to(handle, place, 1, ping.as_ptr(), std::ptr::null());
        assert_eq!(rdc_reply_len(reply), 6);
        let mut failed = Vec::new();
        for i in 0..6 {
            let element = rdc_reply_at(reply, i);
            assert!(rdc_reply_node(element).is_null(), "element {i}");
            if rdc_reply_error(element) == Code::Timeout as i32 {
                let name = rdc_reply_str(rdc_reply_at(reply, i - 1));
                failed.push(CStr::from_ptr(name).to_str().unwrap().to_string());
            }
        }
        assert_eq!(failed, [format!("127.0.0.1:{}", fake.port(1))]);
        rdc_reply_free(reply);
        rdc_close(handle);
    }
}
