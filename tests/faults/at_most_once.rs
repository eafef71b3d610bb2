//! Compares the servers' append-only files with what each caller was told, and checks that each reply reaches its own
//! command.

use crate::common;
use crate::common::history;
use crate::common::history::{
    History, WriteMode, append_tokens, healthy_cluster, paced_reads, shard_tags, slot,
    verify_history,
};
use crate::common::proxies::{Proxies, connect_with_retries, seed};
use crate::common::serial::serial;
use crate::common::set_on_drop::SetOnDrop;
use crate::common::shared::wait_promotion;
use crate::common::{code, is_command, key_of, pause, pipeline, send, show, wait_for};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Action, Chaos, Cluster, Failover, FakeCluster};

const MS: Duration = Duration::from_millis(1);

const OPTIONS: &str = "timeout_ms=1200&attempt_timeout_ms=150";

/// Writes in every mode, on many connections and on one shared connection, during a fault. Returns what the callers
/// were told.
fn writes(cluster: &Cluster, options: &str, tags: &[String], what: impl FnOnce()) -> History {
    let url = format!("{}?{OPTIONS}{options}", cluster.url());
    let connected = |more: &str| Arc::new(connect_with_retries(&(url.clone() + more)));
    let (apart, shared) = (connected(""), connected("&connections_per_node=1"));
    let finished = AtomicBool::new(false);
    let mut history = History::default();
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        let writers: Vec<_> = [
            (&apart, 3, WriteMode::Single),
            (&apart, 2, WriteMode::Pipeline(20)),
            (&apart, 1, WriteMode::Atomic(4)),
            (&apart, 1, WriteMode::Pinned),
            (&shared, 12, WriteMode::Single),
        ]
        .into_iter()
        .map(|(client, threads, shape)| {
            let finished = &finished;
            scope.spawn(move || append_tokens(client, tags, threads, shape, finished))
        })
        .collect();
        pause(100 * MS);
        what();
        pause(100 * MS);
        finished.store(true, Ordering::SeqCst);
        for writer in writers {
            history.merge(writer.join().unwrap());
        }
    });
    history
}

/// Errors that callers may get while nodes are silent, die and change roles.
const EXPECTED_ERRORS: &[Code] = &[
    Code::Timeout,
    Code::Io,
    Code::Connect,
    Code::Down,
    Code::Redirects,
    // A pinned handle returns MOVED, CLUSTERDOWN and LOADING.
    Code::Server,
];

#[test]
fn primary_faults_run_each_write_once_or_report_sent() {
    let cluster = &healthy_cluster(module_path!());
    let tags = shard_tags(1);
    let unhealthy = slot(&tags[0]);
    let primary = || cluster.primary_of(unhealthy).unwrap();
    let successor = |old: u16| {
        wait_promotion(cluster, unhealthy, old);
    };
    type Fault<'a> = (&'a str, bool, Box<dyn Fn() + 'a>);
    let faults: Vec<Fault> = vec![
        (
            "stopped for 400 ms, and again",
            false,
            Box::new(|| {
                for _ in 0..2 {
                    let port = primary();
                    cluster.stop(port).unwrap();
                    pause(400 * MS);
                    cluster.cont(port).unwrap();
                    pause(100 * MS);
                }
            }),
        ),
        (
            "stopped until another took over",
            true,
            Box::new(|| {
                let port = primary();
                cluster.stop(port).unwrap();
                successor(port);
                cluster.cont(port).unwrap();
            }),
        ),
        (
            "killed until another took over",
            true,
            Box::new(|| {
                let port = primary();
                cluster.kill(port).unwrap();
                successor(port);
                cluster.restart(port).unwrap();
            }),
        ),
        (
            "killed and started at once",
            true,
            Box::new(|| cluster.restart(primary()).unwrap()),
        ),
        (
            "a takeover without asking",
            true,
            Box::new(|| {
                let replica = cluster.replicas_of(unhealthy).unwrap()[0];
                cluster.failover(replica, Failover::Takeover).unwrap();
            }),
        ),
        (
            "a failover by force",
            true,
            Box::new(|| {
                let replica = cluster.replicas_of(unhealthy).unwrap()[0];
                cluster.failover(replica, Failover::Force).unwrap();
            }),
        ),
        (
            "a failover in concert",
            false,
            Box::new(|| {
                let replica = cluster.replicas_of(unhealthy).unwrap()[0];
                cluster.failover(replica, Failover::Plain).unwrap();
            }),
        ),
    ];
    for (what, lost, fault) in faults {
        let history = writes(cluster, "", &tags, fault);
        cluster.wait_healthy().unwrap();
        history.print(what);
        history.assert_errors_among(what, EXPECTED_ERRORS);
        assert!(history.acknowledged.len() > 100, "{what}");
        history.assert_calls_within(what, 1200);
        verify_history(cluster, &history, lost, what);
    }
}

#[test]
fn cut_connections_run_no_write_twice() {
    let cluster = &healthy_cluster(module_path!());
    let seed = seed();
    for (what, chaos) in [
        (
            "cut",
            Chaos {
                cuts: 15,
                ..Chaos::default()
            },
        ),
        (
            "split at every byte, late and cut",
            Chaos {
                split: 1,
                delays: 30,
                delay: 200 * MS,
                cuts: 25,
                ..Chaos::default()
            },
        ),
    ] {
        let proxies = Proxies::to(cluster.ports(), chaos, seed);
        let option = format!("&{}", proxies.option());
        let history = writes(cluster, &option, &shard_tags(1), || pause(1500 * MS));
        let cuts = proxies.cuts();
        drop(proxies);
        history.print(what);
        println!("{what}: {cuts} cuts");
        history.assert_errors_among(what, EXPECTED_ERRORS);
        assert!(
            cuts > 10 && !history.uncertain.is_empty(),
            "{what}: {cuts} cuts"
        );
        assert!(history.acknowledged.len() > 50, "{what}");
        verify_history(cluster, &history, false, what);
    }
}

#[test]
fn thirty_two_threads_get_own_replies_under_chaos() {
    let _serial = serial();
    let seed = seed();
    // `RDC_CHAOS_SECONDS=600` makes the run longer.
    let seconds = std::env::var("RDC_CHAOS_SECONDS").map_or(4, |s| s.parse().unwrap());
    let fake = FakeCluster::new(2);
    let keys: Vec<String> = (0..400).map(|n| key_of(n % 2, 2, n)).collect();
    let filler = |n: usize| "=".repeat([0, 10, 900, 30_000][n % 4]);
    for (n, key) in keys.iter().enumerate() {
        fake.put(key, format!("{key}{}", filler(n)));
    }
    for node in 0..2 {
        let mut usual = fake.default_answer(node);
        let mut seen = 0usize;
        fake.on(node, move |connection, command| {
            if !is_command(command, "GET") {
                return None;
            }
            seen += 1;
            let answer = usual(connection, command);
            let push = b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n";
            Some(match seen % 97 {
                // Unsolicited pushes around a reply.
                0 | 1 => Action::Send([push, &answer[..], push].concat()),
                2 => Action::Delay(60 * MS, Box::new(Action::Send(answer))),
                3 => Action::SendClose(answer[..answer.len() / 2].to_vec()),
                4 => Action::Reset,
                _ => Action::Send(answer),
            })
        });
    }
    // Each connection has its own random delays, so that connections overtake each other.
    let chaos = Chaos {
        split: 7000,
        delays: 40,
        delay: 50 * MS,
        cuts: 5,
        ..Chaos::default()
    };
    let proxies = Proxies::to([fake.port(0), fake.port(1)], chaos, seed);
    let url = format!("{}?{}&connections_per_node=3", fake.url(), proxies.option());
    let client = Arc::new(
        connect_with_retries(&url)
            .with("attempt_timeout_ms", "25")
            .with("timeout_ms", "60"),
    );
    let (good, late, interrupted) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        for thread in 0..32usize {
            let (client, keys, finished) = (&client, &keys, &finished);
            let (good, late, interrupted) = (&good, &late, &interrupted);
            scope.spawn(move || {
                let check = |n: usize, got: rediscluster::resp::View<'_>| match code(got) {
                    Code::Ok => {
                        let own = format!("{}{}", keys[n], filler(n));
                        let text = got.text().unwrap_or_default();
                        assert!(
                            text == own.as_bytes(),
                            "{} got {:.60}",
                            keys[n],
                            String::from_utf8_lossy(text)
                        );
                        good.fetch_add(1, Ordering::Relaxed);
                    }
                    Code::Interrupted => {
                        interrupted.fetch_add(1, Ordering::Relaxed);
                    }
                    Code::Timeout | Code::Io | Code::Connect | Code::Down => {
                        late.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => panic!("unexpected error {}", show(got)),
                };
                let mut n = thread;
                while !finished.load(Ordering::Relaxed) {
                    n += 33;
                    if n % 4 == 0 {
                        let some: Vec<usize> = (0..10).map(|i| (n + i * 31) % keys.len()).collect();
                        let gets: Vec<String> =
                            some.iter().map(|n| format!("GET {}", keys[*n])).collect();
                        let reply = pipeline(client, &gets);
                        match code(reply.view()) {
                            Code::Ok => some
                                .iter()
                                .zip(reply.view().elements())
                                .for_each(|(n, got)| check(*n, got)),
                            _ => check(some[0], reply.view()),
                        }
                    } else {
                        let n = n % keys.len();
                        check(n, send(client, &format!("GET {}", keys[n])).view());
                    }
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            pause(250 * MS);
            client.interrupt();
        }
        finished.store(true, Ordering::SeqCst);
    });
    let (good, late, interrupted) = (
        good.into_inner(),
        late.into_inner(),
        interrupted.into_inner(),
    );
    let cuts = proxies.cuts();
    println!("{good} right, {late} late or lost, {interrupted} interrupted, {cuts} cuts");
    assert!(good > 300 && late > 10 && interrupted > 10 && cuts > 3);
}

#[test]
fn network_latency_adds_only_round_trips() {
    let cluster = &healthy_cluster(module_path!());
    // Each part is delayed by 0 to 20 ms at random: half of the round trips take less than 20 ms.
    let chaos = Chaos {
        delays: 1000,
        delay: 20 * MS,
        ..Chaos::default()
    };
    let proxies = Proxies::to(cluster.ports(), Chaos::default(), seed());
    let client = Arc::new(connect_with_retries(&format!(
        "{}?{}",
        cluster.url(),
        proxies.option()
    )));
    let readonly = client.readonly();
    let tags = shard_tags(1);
    assert_eq!(common::run(&client, &format!("SET {} v", tags[0])), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    proxies.set(chaos);
    let finished = AtomicBool::new(false);
    let one = |n: usize| std::slice::from_ref(&tags[n]);
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        let reading =
            scope.spawn(|| paced_reads("reads from the primary", &client, &tags[0], &finished));
        let around =
            scope.spawn(|| paced_reads("reads from any node", &readonly, &tags[0], &finished));
        let writing =
            scope.spawn(|| append_tokens(&client, one(1), 1, WriteMode::Single, &finished));
        let piping =
            scope.spawn(|| append_tokens(&client, one(2), 1, WriteMode::Pipeline(50), &finished));
        pause(2500 * MS);
        finished.store(true, Ordering::SeqCst);
        for times in [reading.join().unwrap(), around.join().unwrap()] {
            let half = times[times.len() / 2];
            assert!((10 * MS..35 * MS).contains(&half), "{half:?}");
        }
        for (history, least) in [
            (writing.join().unwrap(), 40),
            (piping.join().unwrap(), 1500),
        ] {
            history.print("high latency");
            history.assert_errors_among("high latency", &[]);
            // As many as there are round trips in that time; a pipeline is one round trip.
            assert!(
                history.acknowledged.len() > least,
                "{}",
                history.acknowledged.len()
            );
            verify_history(cluster, &history, false, "high latency");
        }
    });
}

#[test]
fn corrupted_bytes_deliver_no_reply_to_another_command() {
    let _serial = serial();
    let seed = seed();
    // No flipped bit turns one of these values into another, and none is a number or a length.
    let value = |n: usize| {
        let hash = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{hash:016x}").repeat([1, 2, 60, 900][n % 4])
    };
    let calm = Chaos::default();
    let ways = [
        ("turned", Chaos { flips: 120, ..calm }, 12),
        // A thread that does not share its connection notices leftover bytes; two threads at a node do not share.
        (
            "doubled",
            Chaos {
                doubles: 120,
                ..calm
            },
            2,
        ),
        (
            "dribbling",
            Chaos {
                split: 1,
                delays: 500,
                delay: 4 * MS,
                ..calm
            },
            12,
        ),
    ];
    for (what, chaos, threads) in ways {
        let fake = FakeCluster::new(2);
        let keys: Vec<String> = (0..200).map(|n| key_of(n % 2, 2, n)).collect();
        let values: Vec<String> = (0..keys.len()).map(value).collect();
        for (key, value) in keys.iter().zip(&values) {
            fake.put(key, value);
        }
        let proxies = Proxies::to([fake.port(0), fake.port(1)], calm, seed);
        let url = format!("{}?{}", fake.url(), proxies.option());
        let long_timeout = Arc::new(connect_with_retries(&url));
        let short_timeout = long_timeout
            .with("attempt_timeout_ms", "60")
            .with("timeout_ms", "150");
        proxies.set(chaos);
        let (right, odd) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let finished = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            for thread in 0..threads {
                let (short_timeout, keys, values) = (&short_timeout, &keys, &values);
                let (right, odd, finished) = (&right, &odd, &finished);
                scope.spawn(move || {
                    let mut n = thread;
                    while !finished.load(Ordering::SeqCst) {
                        n = (n + 13) % keys.len();
                        let began = history::Stopwatch::start();
                        let reply = send(short_timeout, &format!("GET {}", keys[n]));
                        let took = began.elapsed();
                        assert!(took < 200 * MS, "{what}: {took:?}");
                        let text = reply.view().text().unwrap_or_default();
                        let good = code(reply.view()) == Code::Ok && text == values[n].as_bytes();
                        let counter = if good { right } else { odd };
                        counter.fetch_add(1, Ordering::SeqCst);
                        let anothers = !good && values.iter().any(|v| v.as_bytes() == text);
                        assert!(!anothers, "{what}: {} got {}", keys[n], show(reply.view()));
                    }
                });
            }
            pause(1500 * MS);
            finished.store(true, Ordering::SeqCst);
        });
        let (right, odd) = (right.into_inner(), odd.into_inner());
        println!(
            "{what}: {right} right, {odd} not, {} changes",
            proxies.changes()
        );
        assert!(right > 100, "{what}: {right}");
        assert!(proxies.changes() > 20 || what == "dribbling", "{what}");
        // The client recovers.
        proxies.set(calm);
        wait_for("the client has recovered", || {
            let all = keys
                .iter()
                .map(|key| common::run(&long_timeout, &format!("GET {key}")));
            all.eq(values.iter().cloned())
        });
    }
}
