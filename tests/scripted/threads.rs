//! Threads that meet on one handle.

use crate::common::{say, until};
use rediscluster::cluster::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::{Action, FakeCluster};

const LATE: Duration = Duration::from_millis(1500);

/// A node that takes long to GET slow, and turns away every connection behind so many.
fn node(connections: usize) -> (FakeCluster, Client, Arc<AtomicUsize>) {
    let fake = FakeCluster::new(1);
    fake.put("k", "v");
    let seen = AtomicUsize::new(0);
    let turned_away = Arc::new(AtomicUsize::new(0));
    let counter = turned_away.clone();
    fake.on(0, move |_, command| match &command[0][..] {
        // The first connection is the one that looks whom it talks to.
        b"HELLO" if seen.fetch_add(1, Ordering::SeqCst) > connections => {
            counter.fetch_add(1, Ordering::SeqCst);
            let words = b"-ERR max number of clients reached\r\n";
            Some(Action::SendClose(words.to_vec()))
        }
        b"GET" if command[1] == b"slow" => {
            Some(Action::Delay(LATE, Box::new(Action::send("+slow\r\n"))))
        }
        _ => None,
    });
    let client = Client::create(&(fake.url() + "?attempt_timeout_ms=20000&timeout_ms=20000"));
    (fake, client, turned_away)
}

#[test]
fn a_slow_command_of_one_thread_holds_up_none_of_many() {
    let (fake, client, _) = node(usize::MAX - 1);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(say(&client, "GET slow"), "slow");
            over.store(true, Ordering::SeqCst);
        });
        until("it is under way", || fake.calls("GET") == 1);
        let others: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..5 {
                        assert_eq!(say(&client, "GET k"), "v");
                    }
                })
            })
            .collect();
        for one in others {
            one.join().unwrap();
        }
        assert!(!over.load(Ordering::SeqCst), "they waited for it");
    });
}

#[test]
fn where_a_node_takes_no_second_connection_two_threads_share_the_first() {
    let (fake, client, turned_away) = node(1);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| say(&client, "GET slow"));
        until("it is under way", || fake.calls("GET") == 1);
        assert_eq!(say(&client, "GET k"), "v");
        assert_eq!(slow.join().unwrap(), "slow");
    });
    assert!(turned_away.load(Ordering::SeqCst) > 0);
}
