//! Forked children go on with the handles of their parent, on connections of their own.

use crate::common::serial::{fake, url};
use crate::common::serial::{forked, in_a_process};
use crate::common::{client, say, say_all, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn a_child_forked_in_the_middle_of_other_threads_calls_goes_on_by_itself() {
    let fake = fake(2);
    in_a_process(&url(&fake), |url| {
        let client = Arc::new(client(&format!("{url}?connections_per_node=2")));
        let over = AtomicBool::new(false);
        let calls = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (client, over, calls) = (&client, &over, &calls);
                scope.spawn(move || {
                    let mut n = 0;
                    while !over.load(Ordering::SeqCst) {
                        n += 1;
                        let key = format!("parent{thread}:{}", n % 10);
                        let set = format!("SET {key} {n}");
                        let got = match n % 3 {
                            0 => say_all(client, &[set, format!("GET {key}")]),
                            _ => vec![say(client, &set), say(client, &format!("GET {key}"))],
                        };
                        assert_eq!(got, ["OK", &n.to_string()], "the parent is harmed");
                        calls.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for round in 0..30 {
                let before = calls.load(Ordering::SeqCst);
                until("the threads are busy", || {
                    calls.load(Ordering::SeqCst) > before + 20
                });
                let well = forked(|| {
                    (0..20).all(|n| {
                        let (key, value) = (format!("child{round}:{n}"), format!("c{n}"));
                        say(&client, &format!("SET {key} {value}")) == "OK"
                            && say_all(&client, &[format!("GET {key}")]) == [value]
                    })
                });
                assert!(well, "the child of round {round}");
            }
            over.store(true, Ordering::SeqCst);
        });
    });
    let Some(fake) = fake else { return };
    let mut children = 0;
    for node in 0..2 {
        for commands in fake.node(node).received_text() {
            let of = |who: &str| {
                commands
                    .iter()
                    .filter(|c| c.contains(&format!(" {who}")))
                    .count()
            };
            let (parent, child) = (of("parent"), of("child"));
            assert!(
                parent == 0 || child == 0,
                "a connection that both used: {commands:?}"
            );
            children += usize::from(child > 0);
        }
    }
    assert!(children >= 30, "{children} connections of children");
}

#[test]
fn a_child_does_not_use_the_pinned_connection_of_its_parent() {
    let fake = fake(1);
    in_a_process(&url(&fake), |url| {
        let client = client(url);
        let pinned = client.pin(b"k");
        assert_eq!(say(&pinned, "SET parent 1"), "OK");
        assert!(forked(
            || say(&pinned, "SET child 1") == "OK" && say(&pinned, "GET child") == "1"
        ));
        assert_eq!(say(&pinned, "SET parent 2"), "OK");
    });
    let Some(fake) = fake else { return };
    for commands in fake.node(0).received_text() {
        let of = |who: &str| commands.iter().any(|c| c.contains(&format!(" {who}")));
        assert!(!(of("parent") && of("child")), "{commands:?}");
    }
}

#[test]
fn children_of_children_and_many_of_them_go_on() {
    let fake = fake(2);
    in_a_process(&url(&fake), |url| {
        let client = client(url);
        let readonly = client.readonly();
        assert_eq!(say(&client, "SET k v"), "OK");
        assert_eq!(say(&readonly, "GET k"), "v");
        let both = || [&client, &readonly].map(|c| say(c, "GET k")) == ["v", "v"];
        for _ in 0..50 {
            assert!(forked(|| both() && forked(both)));
        }
        assert_eq!(say(&client, "GET k"), "v");
        drop(client);
    });
}

#[test]
fn a_child_may_log_though_another_thread_was_just_setting_the_logger() {
    let fake = fake(1);
    in_a_process(&url(&fake), |url| {
        let client = client(url);
        let over = AtomicBool::new(false);
        let logger: rediscluster::log::Logger = Arc::new(|_, words: &str| {
            std::hint::black_box(words.len());
        });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    rediscluster::log::set(Some(logger.clone()), rediscluster::log::DEBUG);
                }
            });
            let well = (0..100).all(|_| {
                forked(|| {
                    // SAFETY: a call that never ends is to end the child.
                    unsafe { libc::alarm(20) };
                    say(&client, "SET k v") == "OK"
                })
            });
            over.store(true, Ordering::SeqCst);
            assert!(well, "a child waits for what its parent had locked");
        });
    });
}
