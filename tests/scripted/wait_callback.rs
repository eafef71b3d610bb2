//! The wait callback of a thread, which decides whether its call goes on waiting. Ctrl-C and timeouts of other
//! languages use it.

use crate::common::{
    client, code, is_command, is_sent, key_of, pipeline, run, run_all, send, show, timed, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use rediscluster::net::set_wait_callback;
use rediscluster::resp::View;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Action, FakeCluster};

/// About the delay that users notice; a waiting call runs the callback every 25 ms.
const PROMPT: Duration = Duration::from_millis(100);

/// Fails unless one of three runs is faster than that: a busy machine may be late.
fn assert_prompt(what: &str, mut f: impl FnMut() -> Duration) {
    let tries: Vec<Duration> = (0..3).map(|_| f()).collect();
    assert!(tries.iter().any(|took| *took < PROMPT), "{what}: {tries:?}");
}

/// The reply itself if it is an error, else its first element.
fn failed(view: View<'_>) -> View<'_> {
    match code(view) {
        Code::Ok => view.elements().next().expect("an element"),
        _ => view,
    }
}

/// Sets a callback for this thread that returns false the `n`-th time. Returns the number of its calls.
fn abort_at(n: usize) -> Rc<Cell<usize>> {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    set_wait_callback(Some(Rc::new(move || {
        count.set(count.get() + 1);
        count.get() != n
    })));
    asked
}

/// A cluster whose first node answers handshakes but none of these commands.
fn silent(primaries: usize) -> FakeCluster {
    let fake = FakeCluster::new(primaries);
    fake.on(0, |_, command| {
        let silent = ["GET", "INCR", "BLPOP", "MULTI", "WATCH"];
        silent
            .iter()
            .any(|name| is_command(command, name))
            .then_some(Action::Nothing)
    });
    fake
}

#[test]
fn wait_callback_returning_zero_aborts_call_in_every_wait() {
    let fake = silent(2);
    let client = Arc::new(client(
        &(fake.url() + "?timeout_ms=20000&attempt_timeout_ms=20000"),
    ));
    let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 1));
    let pinned = client.pin(here.as_bytes());
    let alone = || send(&client, &format!("INCR {here}"));
    let ways: [(&str, &dyn Fn() -> rediscluster::resp::Reply); 5] = [
        ("alone", &alone),
        ("blocking", &|| send(&client, &format!("BLPOP {here} 0"))),
        ("pinned", &|| send(&pinned, &format!("INCR {here}"))),
        ("a pipeline to one node", &|| {
            pipeline(&client, &[format!("INCR {here}"), format!("INCR {here}")])
        }),
        ("a pipeline to two", &|| {
            pipeline(&client, &[format!("INCR {here}"), format!("INCR {there}")])
        }),
    ];
    let mut sent = 0;
    for (way, call) in ways {
        assert_prompt(way, || {
            // On open connections the command is sent before the first wait.
            for (client, key) in [(&*client, &here), (&*client, &there), (&pinned, &here)] {
                assert_eq!(run(client, &format!("SET {key} 0")), "OK", "{way}");
            }
            let asked = abort_at(1);
            let (reply, took) = timed(call);
            set_wait_callback(None);
            let failed = failed(reply.view());
            assert_eq!(code(failed), Code::Interrupted, "{way}: {}", show(failed));
            assert!(is_sent(failed), "{way}: {}", show(failed));
            assert_eq!(
                asked.get(),
                1,
                "{way}: the callback ran again after it returned false"
            );
            sent += match way {
                "blocking" => 0,
                "alone" | "pinned" => 1,
                _ => 2,
            };
            took
        });
        let next = run(&client, &format!("GET {there}"));
        assert!(
            next == "nil" || next.parse::<u32>().is_ok(),
            "{way}: {next}"
        );
    }
    assert_eq!(
        fake.calls("INCR"),
        sent,
        "interrupted commands are not retried"
    );
}

#[test]
fn wait_callback_runs_while_waiting_for_connection() {
    let fake = silent(1);
    let url = fake.url() + "?connections_per_node=1&timeout_ms=20000&attempt_timeout_ms=20000";
    let client = Arc::new(client(&url));
    std::thread::scope(|scope| {
        scope.spawn(|| run(&client, "GET silence"));
        wait_for("the only connection is in use", || fake.calls("GET") == 1);
        for way in ["SET k v", "a pipeline"] {
            assert_prompt(way, || {
                let asked = abort_at(2);
                let (reply, took) = timed(|| match way {
                    "a pipeline" => pipeline(&client, &["SET k v"]),
                    _ => send(&client, way),
                });
                set_wait_callback(None);
                let failed = failed(reply.view());
                assert_eq!(code(failed), Code::Interrupted, "{way}: {}", show(failed));
                assert!(!is_sent(failed), "{way}: {}", show(failed));
                assert_eq!(asked.get(), 2, "{way}");
                took
            });
        }
        client.interrupt();
    });
    assert_eq!(run(&client, "SET k v"), "OK");
    assert_eq!(
        fake.calls("SET"),
        1,
        "a command interrupted in the queue is never sent"
    );
}

#[test]
fn wait_callback_runs_while_connecting_and_backing_off() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        is_command(command, "GET").then(|| Action::send("-CLUSTERDOWN The cluster is down\r\n"))
    });
    let client = client(&(fake.url() + "?timeout_ms=20000"));
    assert_prompt("between two tries", || {
        abort_at(2);
        let (reply, took) = timed(|| send(&client, "GET k"));
        set_wait_callback(None);
        assert_eq!(
            code(reply.view()),
            Code::Interrupted,
            "{}",
            show(reply.view())
        );
        took
    });

    // It accepts connections and never answers.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = deaf.local_addr().unwrap();
    let url = format!("redis://{address}?timeout_ms=20000&connect_timeout_ms=20000");
    assert_prompt("connecting", || {
        abort_at(1);
        let (refused, took) = timed(|| Client::create(&url));
        set_wait_callback(None);
        let error = refused.error().expect("an error, because no node answers");
        assert_eq!(error.code, Code::Interrupted, "{error}");
        took
    });
}

#[test]
fn wait_callback_returning_one_keeps_call_and_queue_position() {
    let fake = FakeCluster::new(2);
    let mut usual = fake.default_answer(0);
    fake.on(0, move |connection, command| {
        let answer = Action::Send(usual(connection, command));
        is_command(command, "INCR")
            .then(|| Action::Delay(Duration::from_millis(120), Box::new(answer)))
    });
    let client = Arc::new(client(&fake.url()));
    let (slow, quick) = (key_of(0, 2, 1), key_of(1, 2, 1));
    let asked = abort_at(usize::MAX);
    assert_eq!(run(&client, &format!("INCR {slow}")), "1");
    assert!(
        (2..=10).contains(&asked.get()),
        "asked {} times in 120 ms",
        asked.get()
    );
    let pair = [format!("INCR {slow}"), format!("INCR {quick}")];
    assert_eq!(run_all(&client, &pair), ["2", "1"]);
    assert!(
        (4..=20).contains(&asked.get()),
        "asked {} times in 240 ms",
        asked.get()
    );
    let before = asked.get();
    assert_eq!(run(&client, &format!("GET {quick}")), "1");
    assert_eq!(asked.get(), before, "the callback ran without a wait");
    set_wait_callback(None);
    assert_eq!(fake.calls("INCR"), 3, "each runs once");
}

#[test]
fn late_reply_of_interrupted_command_is_discarded() {
    let fake = FakeCluster::new(1);
    fake.put("late", "late");
    fake.put("other", "other");
    let mut usual = fake.default_answer(0);
    fake.on(0, move |connection, command| {
        let answer = Action::Send(usual(connection, command));
        is_command(command, "GET late")
            .then(|| Action::Delay(Duration::from_millis(250), Box::new(answer)))
    });
    let client = Arc::new(client(&(fake.url() + "?connections_per_node=1")));
    for _ in 0..5 {
        abort_at(1);
        let reply = send(&client, "GET late");
        set_wait_callback(None);
        assert_eq!(
            code(reply.view()),
            Code::Interrupted,
            "{}",
            show(reply.view())
        );
        for _ in 0..20 {
            assert_eq!(run(&client, "GET other"), "other");
        }
        assert_eq!(
            run_all(&client, &["GET other", "GET none"]),
            ["other", "nil"]
        );
    }
}

#[test]
fn wait_callback_may_call_the_library() {
    let fake = FakeCluster::new(1);
    fake.put("k", "v");
    fake.on(0, |_, command| {
        is_command(command, "INCR").then_some(Action::Nothing)
    });
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=2&timeout_ms=5000"),
    ));
    let (inner, found) = (client.clone(), Rc::new(Cell::new(0)));
    let counted = found.clone();
    set_wait_callback(Some(Rc::new(move || {
        // These calls run the callback as well, when they wait.
        assert_eq!(run(&inner, "GET k"), "v");
        assert_eq!(run_all(&inner, &["GET k"]), ["v"]);
        assert_eq!(show(inner.refresh().view()), "OK");
        counted.set(counted.get() + 1);
        counted.get() < 3
    })));
    let reply = send(&client, "INCR n");
    set_wait_callback(None);
    assert_eq!(
        code(reply.view()),
        Code::Interrupted,
        "{}",
        show(reply.view())
    );
    assert_eq!(found.get(), 3);
}

#[test]
fn wait_callback_belongs_to_its_own_thread() {
    let fake = FakeCluster::new(1);
    let mut usual = fake.default_answer(0);
    fake.on(0, move |connection, command| {
        let answer = Action::Send(usual(connection, command));
        is_command(command, "INCR")
            .then(|| Action::Delay(Duration::from_millis(60), Box::new(answer)))
    });
    let client = client(&fake.url());
    let asked = abort_at(1);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                assert!(run(&client, "INCR n").parse::<u64>().is_ok());
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!((done.into_inner(), asked.get()), (3, 0));
    set_wait_callback(None);
}
