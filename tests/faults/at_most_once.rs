//! What ran, by the servers' own append-only files, against what each caller was told; and whose reply is whose.

use crate::common;
use crate::common::history;
use crate::common::history::{Ledger, Raise, Shape, audit, healthy, reads, slot, tags, write};
use crate::common::proxies::{Wires, patient, seed};
use crate::common::serial::serial;
use crate::common::{a_while, ask, code, is, key_of, pipeline, show, until};
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Action, Chaos, Cluster, Failover, FakeCluster};

const MS: Duration = Duration::from_millis(1);

const OPTIONS: &str = "timeout_ms=1200&attempt_timeout_ms=150";

/// Writes of every shape, each thread alone on connections or many on one, while something happens; what they were told.
fn writes(cluster: &Cluster, options: &str, tags: &[String], what: impl FnOnce()) -> Ledger {
    let url = format!("{}?{OPTIONS}{options}", cluster.url());
    let connected = |more: &str| Arc::new(patient(&(url.clone() + more)));
    let (apart, shared) = (connected(""), connected("&connections_per_node=1"));
    let over = AtomicBool::new(false);
    let mut ledger = Ledger::default();
    std::thread::scope(|scope| {
        let _over = Raise(&over);
        let writers: Vec<_> = [
            (&apart, 3, Shape::Single),
            (&apart, 2, Shape::Pipeline(20)),
            (&apart, 1, Shape::Atomic(4)),
            (&apart, 1, Shape::Pinned),
            (&shared, 12, Shape::Single),
        ]
        .into_iter()
        .map(|(client, threads, shape)| {
            let over = &over;
            scope.spawn(move || write(client, tags, threads, shape, over))
        })
        .collect();
        a_while(100 * MS);
        what();
        a_while(100 * MS);
        over.store(true, Ordering::SeqCst);
        for writer in writers {
            ledger.absorb(writer.join().unwrap());
        }
    });
    ledger
}

/// What may be told where nodes are silent, die and change places.
const EXPLAINED: &[Code] = &[
    Code::Timeout,
    Code::Io,
    Code::Connect,
    Code::Down,
    Code::Redirects,
    // A pinned handle is told of MOVED, CLUSTERDOWN and LOADING.
    Code::Server,
];

#[test]
fn whatever_befalls_a_primary_each_write_runs_once_or_its_caller_is_told() {
    let cluster = &healthy(module_path!());
    let tags = tags(1);
    let sick = slot(&tags[0]);
    let primary = || cluster.primary_of(sick).unwrap();
    let successor = |old: u16| {
        until("a promotion", || {
            cluster.primary_of(sick).is_ok_and(|p| p != old)
        });
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
                    a_while(400 * MS);
                    cluster.cont(port).unwrap();
                    a_while(100 * MS);
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
                let replica = cluster.replicas_of(sick).unwrap()[0];
                cluster.failover(replica, Failover::Takeover).unwrap();
            }),
        ),
        (
            "a failover by force",
            true,
            Box::new(|| {
                let replica = cluster.replicas_of(sick).unwrap()[0];
                cluster.failover(replica, Failover::Force).unwrap();
            }),
        ),
        (
            "a failover in concert",
            false,
            Box::new(|| {
                let replica = cluster.replicas_of(sick).unwrap()[0];
                cluster.failover(replica, Failover::Plain).unwrap();
            }),
        ),
    ];
    for (what, lost, fault) in faults {
        let ledger = writes(cluster, "", &tags, fault);
        cluster.wait_healthy().unwrap();
        ledger.say(what);
        ledger.only(what, EXPLAINED);
        assert!(ledger.acked.len() > 100, "{what}");
        ledger.within(what, 1200);
        audit(cluster, &ledger, lost, what);
    }
}

#[test]
fn a_wire_that_cuts_in_requests_and_replies_makes_nothing_run_twice() {
    let cluster = &healthy(module_path!());
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
        let wires = Wires::to(cluster.ports(), chaos, seed);
        let option = format!("&{}", wires.option());
        let ledger = writes(cluster, &option, &tags(1), || a_while(1500 * MS));
        let cuts = wires.cuts();
        drop(wires);
        ledger.say(what);
        println!("{what}: {cuts} cuts");
        ledger.only(what, EXPLAINED);
        assert!(
            cuts > 10 && !ledger.doubtful.is_empty(),
            "{what}: {cuts} cuts"
        );
        assert!(ledger.acked.len() > 50, "{what}");
        audit(cluster, &ledger, false, what);
    }
}

#[test]
fn thirty_two_threads_get_their_own_replies_however_late_interrupted_and_mixed_they_come() {
    let _serial = serial();
    let seed = seed();
    // `RDC_CHAOS_SECONDS=600` for a long one.
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
            if !is(command, "GET") {
                return None;
            }
            seen += 1;
            let answer = usual(connection, command);
            let push = b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n";
            Some(match seen % 97 {
                // What nobody asked for, around a reply.
                0 | 1 => Action::Send([push, &answer[..], push].concat()),
                2 => Action::Delay(60 * MS, Box::new(Action::Send(answer))),
                3 => Action::SendClose(answer[..answer.len() / 2].to_vec()),
                4 => Action::Reset,
                _ => Action::Send(answer),
            })
        });
    }
    // Each connection has dice of its own: they overtake each other.
    let chaos = Chaos {
        split: 7000,
        delays: 40,
        delay: 50 * MS,
        cuts: 5,
        ..Chaos::default()
    };
    let wires = Wires::to([fake.port(0), fake.port(1)], chaos, seed);
    let url = format!("{}?{}&connections_per_node=3", fake.url(), wires.option());
    let client = Arc::new(
        patient(&url)
            .with("attempt_timeout_ms", "25")
            .with("timeout_ms", "60"),
    );
    let (good, late, interrupted) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Raise(&over);
        for thread in 0..32usize {
            let (client, keys, over) = (&client, &keys, &over);
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
                    _ => panic!("nothing explains {}", show(got)),
                };
                let mut n = thread;
                while !over.load(Ordering::Relaxed) {
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
                        check(n, ask(client, &format!("GET {}", keys[n])).view());
                    }
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            a_while(250 * MS);
            client.interrupt();
        }
        over.store(true, Ordering::SeqCst);
    });
    let (good, late, interrupted) = (
        good.into_inner(),
        late.into_inner(),
        interrupted.into_inner(),
    );
    let cuts = wires.cuts();
    println!("{good} right, {late} late or lost, {interrupted} interrupted, {cuts} cuts");
    assert!(good > 300 && late > 10 && interrupted > 10 && cuts > 3);
}

#[test]
fn a_wire_that_is_long_costs_every_call_its_way_and_nothing_else() {
    let cluster = &healthy(module_path!());
    // Each piece is under way for up to 20 ms, each by dice of its own: half the round trips take less than 20 ms.
    let chaos = Chaos {
        delays: 1000,
        delay: 20 * MS,
        ..Chaos::default()
    };
    let wires = Wires::to(cluster.ports(), Chaos::default(), seed());
    let client = Arc::new(patient(&format!("{}?{}", cluster.url(), wires.option())));
    let readonly = client.readonly();
    let tags = tags(1);
    assert_eq!(common::say(&client, &format!("SET {} v", tags[0])), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    wires.set(chaos);
    let over = AtomicBool::new(false);
    let one = |n: usize| std::slice::from_ref(&tags[n]);
    std::thread::scope(|scope| {
        let _over = Raise(&over);
        let reading = scope.spawn(|| reads("who asks the primary", &client, &tags[0], &over));
        let around = scope.spawn(|| reads("who reads anywhere", &readonly, &tags[0], &over));
        let writing = scope.spawn(|| write(&client, one(1), 1, Shape::Single, &over));
        let piping = scope.spawn(|| write(&client, one(2), 1, Shape::Pipeline(50), &over));
        a_while(2500 * MS);
        over.store(true, Ordering::SeqCst);
        for times in [reading.join().unwrap(), around.join().unwrap()] {
            let half = times[times.len() / 2];
            assert!((10 * MS..35 * MS).contains(&half), "{half:?}");
        }
        for (ledger, least) in [
            (writing.join().unwrap(), 40),
            (piping.join().unwrap(), 1500),
        ] {
            ledger.say("a long wire");
            ledger.only("a long wire", &[]);
            // As many as there are round trips in that time, each for a whole pipeline.
            assert!(ledger.acked.len() > least, "{}", ledger.acked.len());
            audit(cluster, &ledger, false, "a long wire");
        }
    });
}

#[test]
fn bytes_that_are_turned_doubled_or_dribble_make_no_reply_another_commands() {
    let _serial = serial();
    let seed = seed();
    // Values that no turned bit makes one another's; nor is any a number or a length.
    let value = |n: usize| {
        let hash = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{hash:016x}").repeat([1, 2, 60, 900][n % 4])
    };
    let calm = Chaos::default();
    let ways = [
        ("turned", Chaos { flips: 120, ..calm }, 12),
        // Who is alone on a connection sees that something is left over, and two at a node are alone.
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
        let wires = Wires::to([fake.port(0), fake.port(1)], calm, seed);
        let url = format!("{}?{}", fake.url(), wires.option());
        let patient = Arc::new(patient(&url));
        let hasty = patient
            .with("attempt_timeout_ms", "60")
            .with("timeout_ms", "150");
        wires.set(chaos);
        let (right, odd) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _over = Raise(&over);
            for thread in 0..threads {
                let (hasty, keys, values) = (&hasty, &keys, &values);
                let (right, odd, over) = (&right, &odd, &over);
                scope.spawn(move || {
                    let mut n = thread;
                    while !over.load(Ordering::SeqCst) {
                        n = (n + 13) % keys.len();
                        let began = history::Watch::start();
                        let reply = ask(hasty, &format!("GET {}", keys[n]));
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
            a_while(1500 * MS);
            over.store(true, Ordering::SeqCst);
        });
        let (right, odd) = (right.into_inner(), odd.into_inner());
        println!(
            "{what}: {right} right, {odd} not, {} changes",
            wires.changes()
        );
        assert!(right > 100, "{what}: {right}");
        assert!(wires.changes() > 20 || what == "dribbling", "{what}");
        // And the client goes on.
        wires.set(calm);
        until("it is well again", || {
            let all = keys
                .iter()
                .map(|key| common::say(&patient, &format!("GET {key}")));
            all.eq(values.iter().cloned())
        });
    }
}
