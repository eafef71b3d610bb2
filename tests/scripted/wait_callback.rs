//! A thread that is asked whether its call shall go on waiting: what Ctrl-C and timeouts of other languages hang on.

use crate::common::{
    ask, client, code, is, is_sent, key_of, pipeline, say, say_all, show, timed, until,
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

/// What a user notices as a delay begins about here; a call asks every 25 ms.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Runs what takes no longer than that in one of three tries: a machine that is busy otherwise may be late once.
fn at_once(what: &str, mut f: impl FnMut() -> Duration) {
    let tries: Vec<Duration> = (0..3).map(|_| f()).collect();
    assert!(
        tries.iter().any(|took| *took < AT_ONCE),
        "{what}: {tries:?}"
    );
}

/// The error that a reply is, or that its first element is.
fn failed(view: View<'_>) -> View<'_> {
    match code(view) {
        Code::Ok => view.elements().next().expect("an element"),
        _ => view,
    }
}

/// Lets this thread's calls ask: the `n`-th time the answer is no, and afterwards yes again. Returns the count.
fn no_at(n: usize) -> Rc<Cell<usize>> {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    set_wait_callback(Some(Rc::new(move || {
        count.set(count.get() + 1);
        count.get() != n
    })));
    asked
}

/// A cluster in which the first node takes commands and says nothing, but for what sets connections up.
fn silent(primaries: usize) -> FakeCluster {
    let fake = FakeCluster::new(primaries);
    fake.on(0, |_, command| {
        let silent = ["GET", "INCR", "BLPOP", "MULTI", "WATCH"];
        silent
            .iter()
            .any(|name| is(command, name))
            .then_some(Action::Nothing)
    });
    fake
}

#[test]
fn a_no_ends_the_call_wherever_it_waits() {
    let fake = silent(2);
    let client = Arc::new(client(
        &(fake.url() + "?timeout_ms=20000&attempt_timeout_ms=20000"),
    ));
    let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 1));
    let pinned = client.pin(here.as_bytes());
    let alone = || ask(&client, &format!("INCR {here}"));
    let ways: [(&str, &dyn Fn() -> rediscluster::resp::Reply); 5] = [
        ("alone", &alone),
        ("blocking", &|| ask(&client, &format!("BLPOP {here} 0"))),
        ("pinned", &|| ask(&pinned, &format!("INCR {here}"))),
        ("a pipeline to one node", &|| {
            pipeline(&client, &[format!("INCR {here}"), format!("INCR {here}")])
        }),
        ("a pipeline to two", &|| {
            pipeline(&client, &[format!("INCR {here}"), format!("INCR {there}")])
        }),
    ];
    let mut sent = 0;
    for (way, call) in ways {
        at_once(way, || {
            let asked = no_at(1);
            let (reply, took) = timed(call);
            set_wait_callback(None);
            let failed = failed(reply.view());
            assert_eq!(code(failed), Code::Interrupted, "{way}: {}", show(failed));
            assert!(is_sent(failed), "{way}: {}", show(failed));
            assert_eq!(
                asked.get(),
                1,
                "{way}: no is no, however much there is to undo"
            );
            sent += match way {
                "blocking" => 0,
                "alone" | "pinned" => 1,
                _ => 2,
            };
            took
        });
        let next = say(&client, &format!("GET {there}"));
        assert!(
            next == "nil" || next.parse::<u32>().is_ok(),
            "{way}: {next}"
        );
    }
    assert_eq!(
        fake.calls("INCR"),
        sent,
        "what was interrupted was not sent again"
    );
}

#[test]
fn a_call_that_waits_for_others_is_asked_too() {
    let fake = silent(1);
    let url = fake.url() + "?connections_per_node=1&timeout_ms=20000&attempt_timeout_ms=20000";
    let client = Arc::new(client(&url));
    std::thread::scope(|scope| {
        scope.spawn(|| say(&client, "GET silence"));
        until("somebody uses the only connection", || {
            fake.calls("GET") == 1
        });
        for way in ["SET k v", "a pipeline"] {
            at_once(way, || {
                let asked = no_at(2);
                let (reply, took) = timed(|| match way {
                    "a pipeline" => pipeline(&client, &["SET k v"]),
                    _ => ask(&client, way),
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
    assert_eq!(say(&client, "SET k v"), "OK");
    assert_eq!(
        fake.calls("SET"),
        1,
        "what was interrupted in the queue was never sent"
    );
}

#[test]
fn connecting_and_waiting_for_better_times_are_asked_too() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        is(command, "GET").then(|| Action::send("-CLUSTERDOWN The cluster is down\r\n"))
    });
    let client = client(&(fake.url() + "?timeout_ms=20000"));
    at_once("between two tries", || {
        no_at(2);
        let (reply, took) = timed(|| ask(&client, "GET k"));
        set_wait_callback(None);
        assert_eq!(
            code(reply.view()),
            Code::Interrupted,
            "{}",
            show(reply.view())
        );
        took
    });

    // It accepts connections and does not answer.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = deaf.local_addr().unwrap();
    let url = format!("redis://{address}?timeout_ms=20000&connect_timeout_ms=20000");
    at_once("connecting", || {
        no_at(1);
        let (refused, took) = timed(|| Client::create(&url));
        set_wait_callback(None);
        let error = refused.error().expect("nobody answered");
        assert_eq!(error.code, Code::Interrupted, "{error}");
        took
    });
}

#[test]
fn who_says_yes_waits_on_at_the_same_place() {
    let fake = FakeCluster::new(2);
    let mut usual = fake.default_answer(0);
    fake.on(0, move |connection, command| {
        let answer = Action::Send(usual(connection, command));
        is(command, "INCR").then(|| Action::Delay(Duration::from_millis(120), Box::new(answer)))
    });
    let client = Arc::new(client(&fake.url()));
    let (slow, quick) = (key_of(0, 2, 1), key_of(1, 2, 1));
    let asked = no_at(usize::MAX);
    assert_eq!(say(&client, &format!("INCR {slow}")), "1");
    assert!(
        (2..=10).contains(&asked.get()),
        "asked {} times in 120 ms",
        asked.get()
    );
    let pair = [format!("INCR {slow}"), format!("INCR {quick}")];
    assert_eq!(say_all(&client, &pair), ["2", "1"]);
    assert!(
        (4..=20).contains(&asked.get()),
        "asked {} times in 240 ms",
        asked.get()
    );
    let before = asked.get();
    assert_eq!(say(&client, &format!("GET {quick}")), "1");
    assert_eq!(asked.get(), before, "nobody is asked where nobody waits");
    set_wait_callback(None);
    assert_eq!(fake.calls("INCR"), 3, "each once");
}

#[test]
fn a_late_reply_to_an_interrupted_command_is_nobody_elses() {
    let fake = FakeCluster::new(1);
    fake.put("late", "late");
    fake.put("other", "other");
    let mut usual = fake.default_answer(0);
    fake.on(0, move |connection, command| {
        let answer = Action::Send(usual(connection, command));
        is(command, "GET late").then(|| Action::Delay(Duration::from_millis(60), Box::new(answer)))
    });
    let client = Arc::new(client(&(fake.url() + "?connections_per_node=1")));
    for _ in 0..5 {
        no_at(1);
        let reply = ask(&client, "GET late");
        set_wait_callback(None);
        assert_eq!(
            code(reply.view()),
            Code::Interrupted,
            "{}",
            show(reply.view())
        );
        for _ in 0..20 {
            assert_eq!(say(&client, "GET other"), "other");
        }
        assert_eq!(
            say_all(&client, &["GET other", "GET none"]),
            ["other", "nil"]
        );
    }
}

#[test]
fn who_is_asked_may_use_the_library() {
    let fake = FakeCluster::new(1);
    fake.put("k", "v");
    fake.on(0, |_, command| {
        is(command, "INCR").then_some(Action::Nothing)
    });
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=2&timeout_ms=5000"),
    ));
    let (inner, found) = (client.clone(), Rc::new(Cell::new(0)));
    let counted = found.clone();
    set_wait_callback(Some(Rc::new(move || {
        // Its own calls ask as well, when they have to wait.
        assert_eq!(say(&inner, "GET k"), "v");
        assert_eq!(say_all(&inner, &["GET k"]), ["v"]);
        assert_eq!(show(inner.refresh().view()), "OK");
        counted.set(counted.get() + 1);
        counted.get() < 3
    })));
    let reply = ask(&client, "INCR n");
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
fn a_question_is_its_own_threads_alone() {
    let fake = FakeCluster::new(1);
    let mut usual = fake.default_answer(0);
    fake.on(0, move |connection, command| {
        let answer = Action::Send(usual(connection, command));
        is(command, "INCR").then(|| Action::Delay(Duration::from_millis(60), Box::new(answer)))
    });
    let client = client(&fake.url());
    let asked = no_at(1);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                assert!(say(&client, "INCR n").parse::<u64>().is_ok());
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!((done.into_inner(), asked.get()), (3, 0));
    set_wait_callback(None);
}
