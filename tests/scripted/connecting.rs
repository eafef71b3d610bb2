//! Clients that are created before their cluster is ready: what creation waits for, and how later calls connect.

use crate::common::serial::{in_child_process, in_forked_child, scripted_nodes, url_of};
use crate::common::{
    atomic, client, code, is_command, is_sent, run, run_all, send, show, stat, timed, wait_for,
};
use rediscluster::cluster::{Client, Pipeline};
use rediscluster::error::Code;
use rediscluster::net::set_wait_callback;
use socket2::{Domain, SockAddr, Socket, Type};
use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::{Action, FakeCluster, Script};

const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";
const NO_SLOTS: &str = "*0\r\n";

type Answer = fn() -> Action;

/// The first `n` of these commands get this answer.
fn answer_first(fake: &FakeCluster, n: usize, name: &'static str, action: Answer) {
    let mut left = n;
    fake.on(0, move |_, command| {
        if left == 0 || !is_command(command, name) {
            return None;
        }
        left -= 1;
        Some(action())
    });
}

/// All of these commands get this answer.
fn answer_all(fake: &FakeCluster, name: &'static str, action: Answer) {
    answer_first(fake, usize::MAX, name, action);
}

fn error_of(client: &Client) -> (Code, String) {
    let error = client.error().expect("the client did not connect");
    (error.code, error.message.clone())
}

#[test]
fn create_waits_for_node_that_does_not_serve_yet() {
    let cases: [(&str, &str, Answer); 6] = [
        ("CLUSTER SLOTS", "loads", || Action::send(LOADING)),
        ("CLUSTER SLOTS", "has no primary", || {
            Action::send(
                "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
            )
        }),
        ("CLUSTER SLOTS", "has no slots", || Action::send(NO_SLOTS)),
        ("HELLO", "loads from the start", || Action::send(LOADING)),
        ("HELLO", "has too many clients", || {
            Action::SendClose(b"-ERR max number of clients reached\r\n".to_vec())
        }),
        ("", "closes connections", || Action::Close),
    ];
    for (name, what, action) in cases {
        let fake = FakeCluster::new(2);
        answer_first(&fake, 3, name, action);
        let url = format!("redis://{}?timeout_ms=20000", fake.node(0).address());
        let client = client(&url);
        assert_eq!(run(&client, "SET k v"), "OK", "{what}");
        assert_eq!(stat(&client, "connected"), 1, "{what}");
    }
}

#[test]
fn create_waits_for_port_to_be_opened() {
    let fake = FakeCluster::new(1);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&SockAddr::from(any)).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let url = format!("redis://{address}");
    let early = Client::create(&(url.clone() + "?timeout_ms=300"));
    let (code, text) = error_of(&early);
    assert_eq!(code, Code::Connect, "{text}");
    assert!(
        text.contains("refused") && text.contains("(gave up after 3"),
        "{text}"
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client(&(url + "?timeout_ms=20000")));
        let calling = scope.spawn(|| run(&early.with("timeout_ms", "20000"), "SET k v"));
        wait_for("the calls wait", || {
            let stats = early.stats();
            stats.view().find("refreshes").and_then(|n| n.int()) > Some(4)
        });
        socket.listen(16).unwrap();
        let mut usual = fake.default_answer(0);
        let _node = Script::listen_on(TcpListener::from(socket))
            .serve(move |connection, command| Action::Send(usual(connection, command)));
        assert_eq!(run(&waiting.join().unwrap(), "GET k2"), "nil");
        assert_eq!(calling.join().unwrap(), "OK");
    });
    assert_eq!(error_of(&early), (code, text), "it never changes");
}

#[test]
fn create_ends_at_once_where_waiting_does_not_help_and_lives_later() {
    let cases: [(&str, &str, Code, Answer); 4] = [
        ("", "HELLO", Code::Auth, || {
            Action::send("-WRONGPASS invalid username-password pair or user is disabled.\r\n")
        }),
        ("", "HELLO", Code::Protocol, || Action::send("!@#\r\n")),
        ("cluster=yes", "CLUSTER SLOTS", Code::Invalid, || {
            Action::send("-ERR This instance has cluster support disabled\r\n")
        }),
        ("", "CLUSTER SLOTS", Code::Invalid, || {
            Action::send("-ERR unknown command 'cluster'\r\n")
        }),
    ];
    for (options, name, expected, action) in cases {
        let fake = FakeCluster::new(1);
        answer_all(&fake, name, action);
        let url = format!(
            "redis://u:secret@{}?timeout_ms=20000&{options}",
            fake.seeds()
        );
        let (early, took) = timed(|| Client::create(url.trim_end_matches('&')));
        let error = error_of(&early);
        assert_eq!(error.0, expected, "{}", error.1);
        assert!(took < Duration::from_secs(5), "{took:?}: {}", error.1);
        let (again, took) = timed(|| run(&early, "SET k v"));
        assert!(again.contains(expected.name()), "{again}");
        assert!(took < Duration::from_secs(5), "{took:?}: {again}");
        fake.off(0);
        wait_for("the client lives", || run(&early, "SET k v") == "OK");
        assert_eq!(error_of(&early), error, "it never changes");
        assert_eq!(stat(&early, "connected"), 1, "{}", error.1);
    }
}

#[test]
fn invalid_options_are_an_error_for_ever() {
    for url in [
        "redis://127.0.0.1:1?timeot_ms=5",
        "nonsense",
        "rediss://127.0.0.1:1?tls_ca_file=/does/not/exist",
        "redis://127.0.0.1:1?lazy=perhaps",
    ] {
        let (client, took) = timed(|| Client::create(url));
        let error = error_of(&client);
        assert_eq!(error.0, Code::Invalid, "{}", error.1);
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(code(send(&client, "GET k").view()), Code::Invalid);
        assert_eq!(code(client.stats().view()), Code::Invalid);
        assert_eq!(
            client.readonly().error().map(|e| e.code),
            Some(Code::Invalid)
        );
    }
}

#[test]
fn waiting_polls_a_few_times_a_second() {
    let fake = FakeCluster::new(1);
    answer_all(&fake, "CLUSTER SLOTS", || Action::send(NO_SLOTS));
    let url = fake.url() + "?timeout_ms=2000";
    let early = Client::create(&url);
    let (code, text) = error_of(&early);
    assert_eq!(code, Code::Down, "{text}");
    assert!(
        text.contains("serves no slots") && text.contains("gave up after 2"),
        "{text}"
    );
    let by_create = fake.calls("CLUSTER SLOTS");
    assert!((3..=10).contains(&by_create), "{by_create} attempts in 2 s");
    // Threads share the attempts.
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let (reply, took) = timed(|| send(&early, "SET k v"));
                let text = show(reply.view());
                assert!(text.contains("serves no slots"), "{text}");
                assert!(!is_sent(reply.view()), "{text}");
                assert!(took < Duration::from_millis(2500), "{took:?}");
            });
        }
    });
    let by_threads = fake.calls("CLUSTER SLOTS") - by_create;
    assert!(
        (1..=8).contains(&by_threads),
        "{by_threads} attempts of 32 threads in 2 s"
    );
    assert_eq!(stat(&early, "connected"), 0);
}

#[test]
fn lazy_client_sends_nothing_before_its_first_call() {
    let fake = FakeCluster::new(1);
    let lazy = Arc::new(client(&(fake.url() + "?lazy=yes")));
    let reader = lazy.readonly();
    assert_eq!(show(lazy.topology().view()), "[]");
    assert_eq!(stat(&lazy, "connected"), 0);
    let explained = show(lazy.explain(&[b"GET", b"k"]).view());
    assert!(explained.contains("not connected yet"), "{explained}");
    assert!(run(&reader, "SET k v").contains("READONLY"));
    assert_eq!(run_all::<&str>(&lazy, &[]), Vec::<String>::new());
    assert_eq!(fake.node(0).connections(), 0);
    assert_eq!(run(&lazy, "SET k v"), "OK");
    assert_eq!(run(&reader, "GET k"), "v");
    assert_eq!(stat(&lazy, "connected"), 1);
    assert!(lazy.error().is_none());
    // Neither the host nor the name is looked at.
    let (nowhere, took) = timed(|| client("redis://no.such.host.invalid:1?lazy=yes"));
    assert!(took < Duration::from_millis(100), "{took:?}");
    let (text, took) = timed(|| run(&nowhere.with("timeout_ms", "200"), "GET k"));
    assert!(text.contains("no.such.host.invalid"), "{text}");
    assert!(took < Duration::from_millis(700), "{took:?}");
}

#[test]
fn every_kind_of_first_call_connects() {
    type Call = fn(&Arc<Client>) -> String;
    let calls: [(&str, Call); 9] = [
        ("a read", |c| run(c, "GET k")),
        ("a read from replicas", |c| run(&c.readonly(), "GET k")),
        ("a command of its own", |c| {
            run(&c.with("timeout_ms", "3000"), "EXISTS k")
        }),
        ("a pinned handle", |c| run(&c.pin(b"k"), "GET k")),
        ("a pipeline", |c| {
            run_all(c, &["GET k", "MGET k k2"]).concat()
        }),
        ("a transaction", |c| show(atomic(c, &["GET k"]).view())),
        ("a selected node", |c| {
            let reply = c.command_to("all", &[b"PING"]);
            show(reply.view().elements().nth(1).unwrap())
        }),
        ("a refresh", |c| show(c.refresh().view())),
        ("a split command", |c| run(c, "MGET k k2")),
    ];
    for (what, call) in calls {
        let fake = FakeCluster::new(2);
        for node in 0..2 {
            let mut usual = fake.default_answer(node);
            fake.on(node, move |connection, command| {
                Some(match () {
                    () if is_command(command, "MULTI") => Action::send("+OK\r\n"),
                    () if is_command(command, "EXEC") => Action::send("*1\r\n$1\r\nv\r\n"),
                    () => Action::Send(usual(connection, command)),
                })
            });
        }
        fake.put("k", "v");
        let lazy = Arc::new(client(&(fake.url() + "?lazy=yes")));
        let text = call(&lazy);
        assert!(!text.contains("CONNECT"), "{what}: {text}");
        assert!(lazy.topology().view().len() == 2, "{what}: {text}");
    }
}

#[test]
fn pipeline_queued_before_connecting_runs_in_order() {
    let fake = FakeCluster::new(2);
    let lazy = Arc::new(client(&(fake.url() + "?lazy=yes")));
    let mut pipeline = Pipeline::new(lazy);
    pipeline.command(&[b"SET", b"a", b"1"]);
    pipeline.command(&[b"GET"]);
    pipeline
        .resp(b"*2\r\n$4\r\nMGET\r\n$1\r\na\r\n*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\nrubbish");
    pipeline.command(&[b"SELECT", b"3"]);
    pipeline.command(&[]);
    assert_eq!(pipeline.len(), 7);
    let reply = pipeline.execute();
    let texts: Vec<String> = reply.view().elements().map(show).collect();
    assert_eq!(texts.len(), 7, "{texts:?}");
    assert_eq!(texts[0], "OK");
    assert!(texts[1].contains("# 2 (GET)"), "{}", texts[1]);
    assert_eq!(texts[2..4], ["[1]", "[1, nil]"]);
    for (n, text) in texts.iter().enumerate().skip(4) {
        assert!(text.contains(&format!("# {}", n + 1)), "{text}");
        assert!(text.contains("(INVALID)"), "{text}");
    }
}

#[test]
fn many_threads_of_new_client_connect_once() {
    let fake = FakeCluster::new(2);
    let mut usual = fake.default_answer(0);
    fake.on(0, move |connection, command| {
        let answer = Action::Send(usual(connection, command));
        is_command(command, "CLUSTER SLOTS")
            .then(|| Action::Delay(Duration::from_millis(100), Box::new(answer)))
    });
    let lazy = client(&(fake.url() + "?lazy=yes"));
    std::thread::scope(|scope| {
        for n in 0..32 {
            let lazy = &lazy;
            scope.spawn(move || {
                // These give up before the others connect, and delay nobody.
                if n % 8 == 7 {
                    let quick = lazy.with("timeout_ms", "20");
                    let (_, took) = timed(|| run(&quick, "GET k"));
                    return assert!(took < Duration::from_millis(150), "{took:?}");
                }
                assert_eq!(run(lazy, &format!("SET k{n} v")), "OK");
            });
        }
    });
    let attempts = fake.calls("CLUSTER SLOTS");
    assert!(attempts <= 3, "{attempts} attempts");
}

#[test]
fn interrupt_ends_calls_that_wait_to_connect() {
    // One waits for a node, the others for it. Then all wait for the next attempt.
    let silent: Answer = || Action::Hang;
    let down: Answer = || Action::send(NO_SLOTS);
    for action in [silent, down] {
        let fake = FakeCluster::new(1);
        answer_all(&fake, "CLUSTER SLOTS", action);
        let url = fake.url() + "?lazy=yes&timeout_ms=20000&attempt_timeout_ms=20000";
        let lazy = client(&url);
        let other = lazy.with("timeout_ms", "20000");
        let ended = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for n in 0..6 {
                let (lazy, other, ended) = (&lazy, &other, &ended);
                scope.spawn(move || {
                    let of = if n < 3 { lazy } else { other };
                    let reply = send(of, "GET k");
                    assert_eq!(
                        code(reply.view()),
                        Code::Interrupted,
                        "{}",
                        show(reply.view())
                    );
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            wait_for("they wait", || fake.calls("CLUSTER SLOTS") > 0);
            for (handle, count) in [(&lazy, 3), (&other, 6)] {
                wait_for("the interrupted calls end", || {
                    handle.interrupt();
                    ended.load(Ordering::SeqCst) >= count
                });
                assert_eq!(ended.load(Ordering::SeqCst), count);
            }
        });
        fake.off(0);
        assert_eq!(run(&lazy, "SET k v"), "OK");
    }
}

#[test]
fn wait_callback_ends_creation_that_waits() {
    let fake = FakeCluster::new(1);
    answer_all(&fake, "CLUSTER SLOTS", || Action::send(NO_SLOTS));
    let calls = Rc::new(Cell::new(0));
    let count = calls.clone();
    set_wait_callback(Some(Rc::new(move || {
        count.set(count.get() + 1);
        count.get() < 5
    })));
    let (early, took) = timed(|| Client::create(&(fake.url() + "?timeout_ms=20000")));
    set_wait_callback(None);
    assert_eq!(error_of(&early).0, Code::Interrupted);
    assert!(took < Duration::from_secs(5), "{took:?}");
    fake.off(0);
    assert_eq!(run(&early, "SET k v"), "OK");
}

#[test]
fn wait_callback_of_connecting_call_does_not_wait_for_itself() {
    let fake = FakeCluster::new(1);
    let is_silent = Arc::new(AtomicBool::new(true));
    let (silent, mut usual) = (is_silent.clone(), fake.default_answer(0));
    fake.on(0, move |connection, command| {
        let answer = Action::Send(usual(connection, command));
        (silent.load(Ordering::SeqCst) && is_command(command, "CLUSTER SLOTS"))
            .then(|| Action::Delay(Duration::from_millis(120), Box::new(answer)))
    });
    let lazy = Arc::new(client(&(fake.url() + "?lazy=yes&timeout_ms=20000")));
    let (inner, seen) = (lazy.clone(), Rc::new(Cell::new(String::new())));
    let said = seen.clone();
    set_wait_callback(Some(Rc::new(move || {
        set_wait_callback(None);
        let (text, took) = timed(|| run(&inner, "GET k"));
        assert!(took < Duration::from_millis(100), "{took:?}");
        said.set(text);
        true
    })));
    assert_eq!(run(&lazy, "SET k v"), "OK");
    set_wait_callback(None);
    let text = seen.take();
    assert!(text.contains("cannot wait for that (CONNECT)"), "{text}");
}

#[test]
fn attempt_that_its_caller_abandons_is_repeated_by_the_others() {
    let fake = FakeCluster::new(1);
    answer_first(&fake, 1, "CLUSTER SLOTS", || Action::Hang);
    let lazy = client(&(fake.url() + "?lazy=yes&timeout_ms=20000&attempt_timeout_ms=20000"));
    let first = lazy.with("timeout_ms", "20000");
    std::thread::scope(|scope| {
        let abandoned = scope.spawn(|| code(send(&first, "GET k").view()));
        wait_for("it asks", || fake.calls("CLUSTER SLOTS") == 1);
        let others: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| run(&lazy, "SET k v")))
            .collect();
        wait_for("it is interrupted", || {
            first.interrupt();
            abandoned.is_finished()
        });
        assert_eq!(abandoned.join().unwrap(), Code::Interrupted);
        for other in others {
            assert_eq!(other.join().unwrap(), "OK");
        }
    });
}

#[test]
fn child_forked_before_connecting_connects_by_itself() {
    let fake = scripted_nodes(2);
    in_child_process(&url_of(&fake), |url| {
        let lazy = client(&format!("{url}?lazy=yes"));
        let reader = lazy.readonly();
        assert!(in_forked_child(|| run(&lazy, "SET k v") == "OK"
            && run(&reader, "GET k") == "v"
            && stat(&lazy, "connected") == 1));
        assert_eq!(stat(&lazy, "connected"), 0);
        assert_eq!(run(&lazy, "GET k"), "v");
    });
}

#[test]
fn cluster_that_went_away_is_connected_to_again() {
    let fake = FakeCluster::new(2);
    let client = client(&(fake.url() + "?timeout_ms=500"));
    assert_eq!(run(&client, "SET k v"), "OK");
    for round in 0..2 {
        for node in 0..2 {
            fake.on(node, |_, _| Some(Action::Close));
            fake.node(node).close_connections();
        }
        wait_for("the loss is noticed", || {
            run(&client, "GET k");
            run(&client, "GET k2");
            let _ = client.refresh();
            stat(&client, "connected") == 0
        });
        for node in 0..2 {
            // The second time it is another cluster.
            fake.set_id(node, 10 * round + node + 1);
            fake.off(node);
        }
        wait_for("the client lives", || run(&client, "GET k") == "v");
        assert_eq!(stat(&client, "connected"), 1);
    }
}
