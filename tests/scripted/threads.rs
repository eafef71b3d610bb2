//! Threads that share one handle.

use crate::common::{client, run, run_all, wait_for};
use rediscluster::cluster::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::{Action, FakeCluster};

const LATE: Duration = Duration::from_millis(1500);

/// A node that is slow to GET slow and refuses all connections above this number.
fn node(connections: usize) -> (FakeCluster, Client, Arc<AtomicUsize>) {
    let fake = FakeCluster::new(1);
    fake.put("k", "v");
    let seen = AtomicUsize::new(0);
    let turned_away = Arc::new(AtomicUsize::new(0));
    let counter = turned_away.clone();
    fake.on(0, move |_, command| match &command[0][..] {
        // The first connection only identifies the server.
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
fn slow_command_does_not_block_other_threads() {
    let (fake, client, _) = node(usize::MAX - 1);
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(run(&client, "GET slow"), "slow");
            finished.store(true, Ordering::SeqCst);
        });
        wait_for("the call is in flight", || fake.calls("GET") == 1);
        let others: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..5 {
                        assert_eq!(run(&client, "GET k"), "v");
                    }
                })
            })
            .collect();
        for one in others {
            one.join().unwrap();
        }
        assert!(
            !finished.load(Ordering::SeqCst),
            "other threads waited for the slow command"
        );
    });
}

#[test]
fn threads_share_connection_if_second_is_refused() {
    let (fake, client, turned_away) = node(1);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| run(&client, "GET slow"));
        wait_for("the call is in flight", || fake.calls("GET") == 1);
        assert_eq!(run(&client, "GET k"), "v");
        assert_eq!(slow.join().unwrap(), "slow");
    });
    assert!(turned_away.load(Ordering::SeqCst) > 0);
}

/// How many connections 16 threads of one handle open, if a node answers after 2 ms.
fn connections_opened(operation: impl Fn(&Arc<Client>) + Sync) -> i64 {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        let late = Action::Delay(
            Duration::from_millis(2),
            Box::new(Action::send("$1\r\nv\r\n")),
        );
        (command[0] == b"GET").then_some(late)
    });
    let client = Arc::new(client(&fake.url()));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..20).for_each(|_| operation(&client)));
        }
    });
    let stats = client.stats();
    let nodes = stats.view().find("nodes").unwrap();
    let node = nodes.elements().nth(1).unwrap();
    node.find("connects").and_then(|v| v.int()).unwrap()
}

#[test]
fn pipelines_of_one_command_share_connections_as_commands_do() {
    let of_commands = connections_opened(|client| assert_eq!(run(client, "GET k"), "v"));
    let of_pipelines = connections_opened(|client| assert_eq!(run_all(client, &["GET k"]), ["v"]));
    assert!(
        of_pipelines <= of_commands + 2,
        "{of_pipelines}, of commands {of_commands}"
    );
}
