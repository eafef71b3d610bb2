//! Connections to one node: how many there are, how they are set up, and how threads share and replace them.

use crate::common;
use crate::common::load::assert_own_writes_are_read;
use crate::common::process_info::sleeps;
use crate::common::{
    atomic, client, code, is_command, is_sent, key_of, run, run_all, send, show, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Action, FakeCluster};

#[test]
fn many_threads_on_one_handle_read_their_own_writes() {
    let fake = FakeCluster::new(3);
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=2&timeout_ms=20000"),
    ));
    assert_own_writes_are_read(&client, 48, |round| format!("p{round}"));
}

#[test]
fn connections_per_node_is_never_exceeded() {
    let fake = FakeCluster::new(1);
    let mut usual = fake.default_answer(0);
    let using: Arc<Mutex<HashSet<usize>>> = Arc::default();
    let used = using.clone();
    fake.on(0, move |connection, command| {
        is_command(command, "INCR").then(|| {
            used.lock().unwrap().insert(connection);
            let answer = Action::Send(usual(connection, command));
            Action::Delay(Duration::from_millis(3), Box::new(answer))
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=3&timeout_ms=30000&attempt_timeout_ms=30000"),
    ));
    std::thread::scope(|scope| {
        for _ in 0..24 {
            let client = client.clone();
            scope.spawn(move || {
                for n in 0..20 {
                    let got = match n % 4 {
                        0 => run_all(&client, &["INCR n"]).concat(),
                        _ => run(&client, "INCR n"),
                    };
                    assert!(got.parse::<u64>().is_ok(), "{got}");
                }
            });
        }
    });
    assert_eq!(fake.value("n").unwrap(), b"480");
    let used = using.lock().unwrap().len();
    assert!(used <= 3, "{used} connections carried commands");
    // One more connection loaded the topology and was closed.
    assert!(
        fake.node(0).connections() <= 4 + 1,
        "{}",
        fake.node(0).connections()
    );
}

#[test]
fn timeout_of_extra_connection_starts_no_backoff() {
    let fake = FakeCluster::new(1);
    let silent = Arc::new(AtomicBool::new(false));
    let busy = Arc::new(AtomicBool::new(false));
    let (is_silent, is_busy) = (silent.clone(), busy.clone());
    fake.on(0, move |_, command| match () {
        () if is_command(command, "INCR") => {
            is_busy.store(true, Ordering::SeqCst);
            Some(Action::Nothing)
        }
        () if is_silent.load(Ordering::SeqCst) => Some(Action::Nothing),
        () => None,
    });
    let client = Arc::new(client(
        &(fake.url() + "?timeout_ms=3000&attempt_timeout_ms=3000"),
    ));
    let impatient = client.with("timeout_ms", "90");
    let pinned = client.pin(b"k");
    fake.put("k", "v");
    assert_eq!(run(&client, "GET k"), "v");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| run(&client, "INCR n"));
        wait_for("the connection is busy", || busy.load(Ordering::SeqCst));
        silent.store(true, Ordering::SeqCst);
        // It tries a connection of its own for 60 ms, and then waits for the busy one.
        let got = run(&impatient, "GET k");
        assert!(got.contains("TIMEOUT"), "{got}");
        silent.store(false, Ordering::SeqCst);
        assert_eq!(run(&pinned, "GET k"), "v");
        fake.node(0).close_connections();
        waits.join().unwrap();
    });
}

#[test]
fn interrupted_connector_does_not_fail_waiting_threads() {
    for round in 0..6 {
        let fake = FakeCluster::new(1);
        let silent = Arc::new(AtomicBool::new(false));
        let (greeted, busy) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (is_silent, greetings, is_busy) = (silent.clone(), greeted.clone(), busy.clone());
        fake.on(0, move |_, command| {
            if is_command(command, "INCR") {
                // The only connection is busy, and is then lost for all waiting threads.
                is_busy.store(true, Ordering::SeqCst);
                support::wait_until(|| is_silent.load(Ordering::SeqCst), common::WAIT_LIMIT);
                return Some(Action::Close);
            }
            let unheard = is_command(command, "HELLO") && is_silent.load(Ordering::SeqCst);
            unheard.then(|| {
                greetings.fetch_add(1, Ordering::SeqCst);
                Action::Nothing
            })
        });
        fake.put("k", "v");
        let long_timeout = "timeout_ms=20000&connect_timeout_ms=20000&attempt_timeout_ms=20000";
        let client = Arc::new(client(&format!(
            "{}?connections_per_node=1&{long_timeout}",
            fake.url()
        )));
        let leaver = client.with("timeout_ms", "20000");
        let waiting: Mutex<Vec<i32>> = Mutex::default();
        let wait = |client: &Client| {
            // SAFETY: returns a number.
            waiting.lock().unwrap().push(unsafe { libc::gettid() });
            send(client, "GET k")
        };
        std::thread::scope(|scope| {
            let loses = scope.spawn(|| run(&client, "INCR n"));
            wait_for("the connection is busy", || busy.load(Ordering::SeqCst));
            let leave: Vec<_> = (0..5).map(|_| scope.spawn(|| wait(&leaver))).collect();
            let stays = scope.spawn(|| wait(&client));
            wait_for("all wait for it", || {
                let waiting = waiting.lock().unwrap();
                waiting.len() == 6 && waiting.iter().all(|thread| sleeps(*thread))
            });
            silent.store(true, Ordering::SeqCst);
            assert!(loses.join().unwrap().ends_with("(IO, sent)"));
            wait_for("one of them opens another", || {
                greeted.load(Ordering::SeqCst) > 0
            });
            match round % 2 {
                0 => leaver.interrupt(),
                _ => leaver.close(),
            }
            for leave in leave {
                let left = leave.join().unwrap();
                let ended = [Code::Interrupted, Code::Closed][round % 2];
                assert_eq!(code(left.view()), ended, "{}", show(left.view()));
                assert!(!is_sent(left.view()), "{}", show(left.view()));
            }
            silent.store(false, Ordering::SeqCst);
            // If the remaining thread opened one of these connections, it gets no answer on it.
            fake.node(0).close_connections();
            assert_eq!(show(stays.join().unwrap().view()), "v");
        });
    }
}

#[test]
fn server_without_hello_is_used_with_resp2() {
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        fake.on(node, |_, command| {
            is_command(command, "HELLO").then(|| {
                Action::send("-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")
            })
        });
    }
    let auth = fake.url().replace("redis://", "redis://app:secret@");
    for url in [fake.url(), auth] {
        let client = Arc::new(client(&url));
        assert_eq!(run(&client, "GET nothing"), "nil");
        assert_eq!(
            run_all(&client, &["SET k v", "GET k", "GET nothing"]),
            ["OK", "v", "nil"]
        );
    }
    let said = [0, 1]
        .map(|n| fake.node(n).received_text().concat())
        .concat();
    assert!(said.contains(&"AUTH app secret".to_string()), "{said:?}");
    // AUTH is sent alone: before a successful login nothing that follows may be answered.
    let asked = FakeCluster::new(1);
    let old = client(&(asked.url() + "?protocol=2"));
    assert_eq!(run(&old, "GET nothing"), "nil");
    assert_eq!(asked.calls("HELLO"), 0, "protocol=2 asks for nothing else");
}

#[test]
fn plain_client_at_tls_port_gets_a_hint() {
    let fake = FakeCluster::new(1);
    let actions: [fn() -> Action; 3] = [
        || Action::Close,
        || Action::Reset,
        // A fatal alert, "protocol version".
        || Action::SendClose(b"\x15\x03\x01\x00\x02\x02\x46".to_vec()),
    ];
    let error_of = |name: &'static str, action: fn() -> Action| {
        fake.on(0, move |_, command| is_command(command, name).then(action));
        let client = Client::create(&(fake.url() + "?timeout_ms=300"));
        client.error().map(|error| error.message.clone()).unwrap()
    };
    for action in actions {
        // It does so on every command.
        let error = error_of("", action);
        assert!(
            error.contains("is it a TLS port? Then the URL begins with rediss://"),
            "{error}"
        );
    }
    // A node that replied in RESP is no TLS port.
    let error = error_of("CLUSTER", || Action::Close);
    assert!(!error.contains("TLS"), "{error}");
}

#[test]
fn refused_handshake_command_fails_the_connection() {
    let fake = FakeCluster::new(1);
    for refused in ["CLIENT SETNAME", "HELLO"] {
        fake.on(0, move |_, command| {
            is_command(command, refused).then(|| Action::send("-DENIED by the test\r\n"))
        });
        let client = Client::create(&(fake.url() + "?client_name=me&timeout_ms=500"));
        let error = client
            .error()
            .unwrap_or_else(|| panic!("{refused} was refused"));
        assert!(error.message.contains("DENIED"), "{error}");
    }
    // Only optional handshake commands may fail.
    fake.on(0, |_, command| {
        is_command(command, "CLIENT SETINFO")
            .then(|| Action::send("-ERR unknown subcommand 'SETINFO'\r\n"))
    });
    assert_eq!(run(&client(&fake.url()), "SET k v"), "OK");
}

#[test]
fn connection_closed_while_idle_costs_no_command() {
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        let mut usual = fake.default_answer(node);
        fake.on(node, move |connection, command| {
            Some(Action::send(match () {
                () if is_command(command, "MULTI") => "+OK\r\n",
                () if is_command(command, "LPUSH") => "+QUEUED\r\n",
                () if is_command(command, "EXEC") => "*1\r\n:7\r\n",
                () if is_command(command, "BLMOVE") => "$1\r\nv\r\n",
                () if is_command(command, "EVALSHA") => ":1\r\n",
                () if is_command(command, "FLUSHALL") => "+OK\r\n",
                () => return Some(Action::Send(usual(connection, command))),
            }))
        });
    }
    let client = Arc::new(client(&fake.url()));
    let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 2));
    let close_idle = || (0..2).for_each(|node| fake.node(node).close_connections());
    let script = "EVALSHA ffffffffffffffffffffffffffffffffffffffff 1";
    // Each is called twice; between the calls the nodes close the connection that the first call has used.
    let singles = [
        (format!("SET {here} 1"), "SET", "OK", "OK"),
        (format!("GET {here}"), "GET", "1", "1"),
        (format!("INCR {here}"), "INCR", "2", "3"),
        (
            format!("BLMOVE {here} {here} LEFT LEFT 1"),
            "BLMOVE",
            "v",
            "v",
        ),
        (format!("{script} {here}"), "EVALSHA", "1", "1"),
        ("FLUSHALL".to_string(), "FLUSHALL", "OK", "OK"),
    ];
    for (words, name, first, second) in &singles {
        assert_eq!(run(&client, words), *first, "{words}");
        let sent = fake.calls(name);
        close_idle();
        assert_eq!(run(&client, words), *second, "{words}");
        assert!(fake.calls(name) <= 2 * sent, "{words} is sent once");
    }
    let two_nodes = [format!("INCR {here}"), format!("INCR {there}")];
    let with_read = [format!("GET {here}"), format!("INCR {here}")];
    let deletions = [format!("DEL {here}"), format!("DEL {there}")];
    for (commands, first, second) in [
        (&two_nodes, ["4", "1"], ["5", "2"]),
        (&with_read, ["5", "6"], ["6", "7"]),
        (&deletions, ["1", "1"], ["0", "0"]),
    ] {
        assert_eq!(run_all(&client, commands), first);
        close_idle();
        assert_eq!(run_all(&client, commands), second);
    }
    let transaction = [format!("LPUSH {here} v")];
    for executed in 1..=2 {
        assert_eq!(show(atomic(&client, &transaction).view()), "[7]");
        assert_eq!(fake.calls("EXEC"), executed);
        close_idle();
    }
}

// ---- Handshakes that proxies and old servers refuse -------------------------------------------------

/// Every node of the cluster answers some commands so.
fn answers(fake: &FakeCluster, nodes: usize, answers: &'static [(&'static str, &'static str)]) {
    for node in 0..nodes {
        fake.on(node, move |_, command| {
            let answer = answers.iter().find(|(name, _)| is_command(command, name));
            answer.map(|(_, text)| match *text {
                "" => Action::Close,
                text => Action::send(text),
            })
        });
    }
}

fn with_password(fake: &FakeCluster) -> String {
    fake.url().replace("redis://", "redis://:secret@")
}

#[test]
fn hello_refused_in_any_words_falls_back_to_resp2() {
    for refusal in [
        "-unsupported command 'hello'\r\n",
        "-ERR unknown command 'hello'\r\n",
        "-invalid request\r\n",
        "-NOAUTH Authentication required.\r\n",
        "-NOPERM no permission\r\n",
    ] {
        let fake = FakeCluster::new(2);
        let refusals: &'static [_] = Box::leak(Box::new([("HELLO", refusal)]));
        answers(&fake, 2, refusals);
        let client = Arc::new(client(&with_password(&fake)));
        assert_eq!(
            run_all(&client, &["SET k v", "GET k"]),
            ["OK", "v"],
            "{refusal}"
        );
        for node in [fake.node(0), fake.node(1)] {
            assert_eq!(node.calls("AUTH"), node.connections(), "{refusal}");
            assert!(node.calls("HELLO") <= 1, "the refusal is remembered");
        }
    }
    // Without a password, NOAUTH is final.
    let fake = FakeCluster::new(1);
    answers(
        &fake,
        1,
        &[("HELLO", "-NOAUTH Authentication required.\r\n")],
    );
    let client = Client::create(&fake.url());
    assert_eq!(client.error().map(|e| e.code), Some(Code::Auth));
}

#[test]
fn wrong_password_after_refused_hello_is_tried_once() {
    for refusal in [
        "-WRONGPASS invalid password\r\n",
        "-ERR invalid password\r\n",
    ] {
        let fake = FakeCluster::new(1);
        let refusals: &'static [_] = Box::leak(Box::new([
            ("HELLO", "-unsupported command 'hello'\r\n"),
            ("AUTH", refusal),
        ]));
        answers(&fake, 1, refusals);
        let client = Client::create(&with_password(&fake));
        let error = client.error().expect("the password is wrong");
        assert_eq!(error.code, Code::Auth, "{error}");
        assert_eq!(fake.calls("AUTH"), 1, "{refusal}");
        let text = run(&client, "SET k v");
        assert!(
            text.contains("refused AUTH") && !text.contains("secret"),
            "{text}"
        );
        assert!(fake.calls("AUTH") <= 2, "{refusal}");
    }
}

#[test]
fn proxy_that_closes_on_hello_is_used_with_resp2() {
    let fake = FakeCluster::new(2);
    answers(&fake, 2, &[("HELLO", "")]);
    let client = Arc::new(client(&fake.url()));
    for n in 0..4 {
        for node in 0..2 {
            let key = key_of(node, 2, n);
            assert_eq!(run(&client, &format!("GET {key}")), "nil");
            assert_eq!(run(&client, &format!("SET {key} v")), "OK");
            fake.node(node).close_connections();
        }
    }
    // One connection that was closed, and one that showed that this was no accident.
    let each = [0, 1].map(|node| fake.node(node).calls("HELLO"));
    assert_eq!(each, [2, 2], "and then never again");
}

#[test]
fn proxy_that_closes_on_every_unknown_command_is_used() {
    let fake = FakeCluster::new(1);
    let closed = [
        ("HELLO", ""),
        ("CLIENT", ""),
        ("CLUSTER", ""),
        ("READONLY", ""),
    ];
    answers(&fake, 1, Box::leak(Box::new(closed)));
    let client = client(&(with_password(&fake) + "?cluster=no"));
    assert_eq!(run(&client, "SET k v"), "OK");
    assert_eq!(run(&client.readonly(), "GET k"), "v");
    assert_eq!(
        fake.calls("READONLY"),
        0,
        "a replica behind it would redirect"
    );
}

#[test]
fn connection_closed_once_on_hello_keeps_resp3() {
    let fake = FakeCluster::new(1);
    let closed = AtomicBool::new(false);
    fake.on(0, move |_, command| {
        let closes = is_command(command, "HELLO") && !closed.swap(true, Ordering::SeqCst);
        closes.then_some(Action::Close)
    });
    let client = client(&fake.url());
    // A null, and not a bulk string of length -1, which only a peer that has said HELLO gets.
    assert_eq!(run(&client, "GET k"), "nil");
    fake.node(0).close_connections();
    assert_eq!(run(&client, "GET k"), "nil");
    let received = fake.node(0).received_text();
    let greeted = received
        .iter()
        .filter(|c| c.iter().any(|c| c.starts_with("HELLO")));
    let read = received.iter().filter(|c| c.iter().any(|c| c == "GET k"));
    assert!(
        read.clone().all(|c| c[0].starts_with("HELLO")),
        "{received:?}"
    );
    assert!(greeted.count() >= read.count());
}

#[test]
fn password_that_server_does_not_need_is_no_error() {
    for (protocol, refusal) in [
        (
            "?protocol=2",
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?\r\n",
        ),
        (
            "?protocol=2",
            "-ERR Client sent AUTH, but no password is set\r\n",
        ),
        ("", "-ERR Client sent AUTH, but no password is set\r\n"),
    ] {
        let fake = FakeCluster::new(2);
        let refusals: &'static [_] = Box::leak(Box::new([
            ("HELLO", "-ERR unknown command 'HELLO'\r\n"),
            ("AUTH", refusal),
        ]));
        answers(&fake, 2, refusals);
        let client = client(&(with_password(&fake) + protocol));
        for node in 0..2 {
            assert_eq!(run(&client, &format!("SET {} v", key_of(node, 2, 1))), "OK");
        }
    }
}

#[test]
fn readonly_refused_without_replicas_serves_reads_at_once() {
    for refusal in [
        "-ERR unknown command 'READONLY'\r\n",
        "-unsupported command 'readonly'\r\n",
        "-ERR This instance has cluster support disabled\r\n",
    ] {
        let fake = FakeCluster::new(2);
        fake.put("k", "v");
        let refusals: &'static [_] = Box::leak(Box::new([("READONLY", refusal)]));
        answers(&fake, 2, refusals);
        let readonly = client(&fake.url()).readonly();
        let began = Instant::now();
        assert_eq!(run(&readonly, "GET k"), "v", "{refusal}");
        assert!(
            began.elapsed() < Duration::from_millis(500),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn refused_client_name_is_reported_with_node_and_reason() {
    let fake = FakeCluster::new(1);
    answers(
        &fake,
        1,
        &[("CLIENT SETNAME", "-ERR unknown command 'CLIENT'\r\n")],
    );
    let client = Client::create(&(fake.url() + "?client_name=me&timeout_ms=300"));
    let error = client.error().expect("the name was refused");
    let node = format!("127.0.0.1:{}", fake.port(0));
    for part in [
        node.as_str(),
        "refused CLIENT SETNAME",
        "unknown command",
        "client_name",
    ] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
}

#[test]
fn read_behind_refused_handshake_command_is_reported_as_sent() {
    let fake = FakeCluster::new(1);
    let client = Client::create(&(fake.url() + "?client_name=me&timeout_ms=200"));
    fake.on(0, |_, command| {
        is_command(command, "CLIENT SETNAME").then(|| Action::send("-NOPERM not you\r\n"))
    });
    fake.node(0).close_connections();
    let reply = send(&client, "GET k");
    let text = show(reply.view());
    assert!(text.contains("refused CLIENT SETNAME"), "{text}");
    // It left together with the handshake.
    assert!(is_sent(reply.view()), "{text}");
    let reply = send(&client, "SET k v");
    assert!(!is_sent(reply.view()), "{}", show(reply.view()));
    assert_eq!(fake.calls("SET"), 0);
}

#[test]
fn connection_closed_behind_last_reply_costs_no_waiting_command() {
    const WAITING: usize = 6;
    let fake = FakeCluster::new(1);
    let waiting: Arc<Mutex<Vec<i32>>> = Arc::default();
    let (threads, mut usual) = (waiting.clone(), fake.default_answer(0));
    fake.on(0, move |connection, command| {
        let is_busy = is_command(command, "SET") && command[2] == b"busy";
        is_busy.then(|| {
            let all_wait = || {
                let threads = threads.lock().unwrap();
                threads.len() == WAITING && threads.iter().all(|thread| sleeps(*thread))
            };
            support::wait_until(all_wait, common::WAIT_LIMIT);
            Action::SendClose(usual(connection, command))
        })
    });
    let long_timeout = "timeout_ms=20000&attempt_timeout_ms=20000";
    let url = format!("{}?connections_per_node=1&{long_timeout}", fake.url());
    let client = Arc::new(client(&url));
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| run(&client, "SET k busy"));
        wait_for("the connection is busy", || fake.calls("SET") == 1);
        let waiters: Vec<_> = (0..WAITING)
            .map(|_| {
                scope.spawn(|| {
                    // SAFETY: returns a number.
                    waiting.lock().unwrap().push(unsafe { libc::gettid() });
                    run(&client, "INCR n")
                })
            })
            .collect();
        assert_eq!(busy.join().unwrap(), "OK");
        let mut counts: Vec<_> = waiters.into_iter().map(|w| w.join().unwrap()).collect();
        counts.sort();
        assert_eq!(counts, ["1", "2", "3", "4", "5", "6"]);
    });
    assert_eq!(fake.calls("INCR"), WAITING);
}
