//! A slow node or a blocking command does not hold up other calls.

use crate::common::serial::serial;
use crate::common::set_on_drop::SetOnDrop;
use crate::common::{assert_unreachable, client, is_command, key_of, run, timed, wait_for};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Action, FakeCluster};

const MS: Duration = Duration::from_millis(1);

#[test]
fn blocking_commands_do_not_wait_for_each_other() {
    let _serial = serial();
    let fake = FakeCluster::new(1);
    let pushed: Arc<Mutex<HashSet<Vec<u8>>>> = Arc::default();
    let known = pushed.clone();
    fake.on(0, move |_, command| {
        // Only the lists that the test names have an element.
        is_command(command, "BLPOP").then(|| match known.lock().unwrap().contains(&command[1]) {
            true => Action::send("*2\r\n+k\r\n+v\r\n"),
            false => Action::Nothing,
        })
    });
    let client = Arc::new(client(&fake.url()));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let client = client.clone();
            scope.spawn(move || run(&client, &format!("BLPOP empty{n} 0")));
        }
        wait_for("eight wait", || fake.calls("BLPOP") == 8);
        pushed.lock().unwrap().insert(b"full".to_vec());
        for _ in 0..5 {
            assert_eq!(run(&client, "BLPOP full 5"), "[k, v]");
        }
        client.close();
    });
}

#[test]
fn silent_shard_does_not_slow_other_shards() {
    let _serial = serial();
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(
        &(fake.url() + "?timeout_ms=600&attempt_timeout_ms=200"),
    ));
    let (unhealthy, healthy) = (key_of(0, 2, 1), key_of(1, 2, 2));
    fake.put(&healthy, "v");
    fake.on(0, |_, command| {
        is_command(command, "GET").then_some(Action::Hang)
    });
    let finished = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        for _ in 0..8 {
            scope.spawn(|| {
                while !finished.load(Ordering::Relaxed) {
                    assert_unreachable(&client, &format!("GET {unhealthy}"));
                }
            });
        }
        let end = Instant::now() + 1500 * MS;
        let mut times = Vec::new();
        while Instant::now() < end {
            let (got, time) = timed(|| run(&client, &format!("GET {healthy}")));
            assert_eq!(got, "v");
            times.push(time);
        }
        finished.store(true, Ordering::Relaxed);
        times.sort();
        slowest = times[times.len() * 99 / 100];
    });
    assert!(slowest < 50 * MS, "99 of 100 within {slowest:?}");
}
