//! Connections to one node: how many there are, how they are set up, and how threads share and replace them.

use crate::common;
use crate::common::process_info::sleeps;
use crate::common::{ask, client, code, is, is_sent, key_of, say, say_all, show, until};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Action, FakeCluster};

#[test]
fn many_threads_on_one_handle_each_read_what_they_wrote() {
    let fake = FakeCluster::new(3);
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=2&timeout_ms=20000"),
    ));
    std::thread::scope(|scope| {
        for thread in 0..48 {
            let client = client.clone();
            scope.spawn(move || {
                for n in 0..60 {
                    let key = format!("own{thread}:{}", n % 7);
                    assert_eq!(say(&client, &format!("SET {key} {thread}/{n}")), "OK");
                    assert_eq!(say(&client, &format!("GET {key}")), format!("{thread}/{n}"));
                    if n % 10 == 0 {
                        let pair = [format!("SET {key} p{n}"), format!("GET {key}")];
                        assert_eq!(say_all(&client, &pair), ["OK", &format!("p{n}")]);
                    }
                }
            });
        }
    });
}

#[test]
fn no_more_connections_than_allowed_are_open_to_a_node() {
    let fake = FakeCluster::new(1);
    let mut usual = fake.default_answer(0);
    let using: Arc<Mutex<HashSet<usize>>> = Arc::default();
    let used = using.clone();
    fake.on(0, move |connection, command| {
        is(command, "INCR").then(|| {
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
                        0 => say_all(&client, &["INCR n"]).concat(),
                        _ => say(&client, "INCR n"),
                    };
                    assert!(got.parse::<u64>().is_ok(), "{got}");
                }
            });
        }
    });
    assert_eq!(fake.value("n").unwrap(), b"480");
    let used = using.lock().unwrap().len();
    assert!(used <= 3, "{used} connections carried commands");
    // One more learned the topology, and has gone.
    assert!(
        fake.node(0).connections() <= 4 + 1,
        "{}",
        fake.node(0).connections()
    );
}

#[test]
fn who_opens_a_connection_for_others_may_go_without_taking_them_along() {
    for round in 0..6 {
        let fake = FakeCluster::new(1);
        let silent = Arc::new(AtomicBool::new(false));
        let (greeted, busy) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (is_silent, greetings, is_busy) = (silent.clone(), greeted.clone(), busy.clone());
        fake.on(0, move |_, command| {
            if is(command, "INCR") {
                // The one connection is in use, and then it is lost to all who wait for it.
                is_busy.store(true, Ordering::SeqCst);
                support::wait_until(|| is_silent.load(Ordering::SeqCst), common::SOON);
                return Some(Action::Close);
            }
            let unheard = is(command, "HELLO") && is_silent.load(Ordering::SeqCst);
            unheard.then(|| {
                greetings.fetch_add(1, Ordering::SeqCst);
                Action::Nothing
            })
        });
        fake.put("k", "v");
        let patient = "timeout_ms=20000&connect_timeout_ms=20000&attempt_timeout_ms=20000";
        let client = Arc::new(client(&format!(
            "{}?connections_per_node=1&{patient}",
            fake.url()
        )));
        let leaver = client.with("timeout_ms", "20000");
        let waiting: Mutex<Vec<i32>> = Mutex::default();
        let wait = |client: &Client| {
            // SAFETY: asks for a number.
            waiting.lock().unwrap().push(unsafe { libc::gettid() });
            ask(client, "GET k")
        };
        std::thread::scope(|scope| {
            let loses = scope.spawn(|| say(&client, "INCR n"));
            until("the connection is busy", || busy.load(Ordering::SeqCst));
            let leave: Vec<_> = (0..5).map(|_| scope.spawn(|| wait(&leaver))).collect();
            let stays = scope.spawn(|| wait(&client));
            until("all wait for it", || {
                let waiting = waiting.lock().unwrap();
                waiting.len() == 6 && waiting.iter().all(|thread| sleeps(*thread))
            });
            silent.store(true, Ordering::SeqCst);
            assert!(loses.join().unwrap().ends_with("(IO, sent)"));
            until("one of them opens another", || {
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
            // Nobody answers on those, should it have been the one who stays.
            fake.node(0).close_connections();
            assert_eq!(show(stays.join().unwrap().view()), "v");
        });
    }
}

#[test]
fn a_server_that_does_not_know_hello_is_spoken_to_in_resp2() {
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        fake.on(node, |_, command| {
            is(command, "HELLO").then(|| {
                Action::send("-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")
            })
        });
    }
    let auth = fake.url().replace("redis://", "redis://app:secret@");
    for url in [fake.url(), auth] {
        let client = Arc::new(client(&url));
        assert_eq!(say(&client, "GET nothing"), "nil");
        assert_eq!(
            say_all(&client, &["SET k v", "GET k", "GET nothing"]),
            ["OK", "v", "nil"]
        );
    }
    let said = [0, 1]
        .map(|n| fake.node(n).received_text().concat())
        .concat();
    assert!(said.contains(&"AUTH app secret".to_string()), "{said:?}");
    // AUTH goes alone: behind a closed door there may be no answer to what follows it.
    let asked = FakeCluster::new(1);
    let old = client(&(asked.url() + "?protocol=2"));
    assert_eq!(say(&old, "GET nothing"), "nil");
    assert_eq!(asked.calls("HELLO"), 0, "protocol=2 asks for nothing else");
}

#[test]
fn what_a_server_refuses_while_a_connection_is_set_up_is_a_reason_not_to_use_it() {
    let fake = FakeCluster::new(1);
    for refused in ["CLIENT SETNAME", "HELLO"] {
        fake.on(0, move |_, command| {
            is(command, refused).then(|| Action::send("-DENIED by the test\r\n"))
        });
        let client = Client::create(&(fake.url() + "?client_name=me&timeout_ms=500"));
        let error = client
            .error()
            .unwrap_or_else(|| panic!("{refused} was refused"));
        assert!(error.message.contains("DENIED"), "{error}");
    }
    // Only what is nice to know may be missing.
    fake.on(0, |_, command| {
        is(command, "CLIENT SETINFO").then(|| Action::send("-ERR unknown subcommand 'SETINFO'\r\n"))
    });
    assert_eq!(say(&client(&fake.url()), "SET k v"), "OK");
}

#[test]
fn a_connection_that_the_server_closed_while_it_was_idle_costs_no_command() {
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&fake.url()));
    let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 2));
    for round in 1..=2 {
        let pair = [format!("INCR {here}"), format!("INCR {there}")];
        assert_eq!(
            say_all(&client, &pair),
            vec![(2 * round - 1).to_string(); 2]
        );
        fake.node(0).close_connections();
        fake.node(1).close_connections();
        let idle = Instant::now();
        until("more than a second passes", || {
            idle.elapsed() > Duration::from_millis(1100)
        });
        match round {
            1 => assert_eq!(say(&client, &pair[0]), "2"),
            _ => assert_eq!(say_all(&client, &pair)[0], "4"),
        }
        if round == 1 {
            assert_eq!(say(&client, &pair[1]), "2");
        }
    }
}
