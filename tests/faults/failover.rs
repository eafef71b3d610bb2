//! A primary is lost in every possible way and a replica takes over: how soon writes succeed again.

use crate::common::history::{
    WriteMode, append_tokens, healthy_cluster, p99, paced_reads, read_latencies, verify_history,
};
use crate::common::set_on_drop::SetOnDrop;
use crate::common::shared::wait_promotion;
use crate::common::{WAIT_LIMIT, client, code, key_of, pause, run, show, timed, wait_for};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use support::{Admin, Cluster, Failover, slot_of};

const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Kill,
    Stop,
    /// Frozen by its control group, without a signal.
    Freeze,
    Ordered(Failover),
}

/// Polls for the moment from which a replica accepts writes. Every 3 s it calls `again`, which repeats the order:
/// primaries that voted in another election of the shard a moment ago may not have voted in this one.
fn wait_writable(port: u16, key: &str, again: impl Fn()) -> Instant {
    let end = Instant::now() + 2 * WAIT_LIMIT;
    let mut told = Instant::now();
    loop {
        // It may refuse connections while it takes over.
        if let Ok(mut admin) = Admin::connect(port, WAIT_LIMIT) {
            while let Ok(reply) = admin.command(&["SET", key, "promoted"]) {
                if !reply.is_error() {
                    return Instant::now();
                }
                assert!(
                    Instant::now() < end,
                    "no replica was promoted: {}",
                    reply.text()
                );
                if told.elapsed() > 3000 * MS {
                    again();
                    told = Instant::now();
                }
                std::thread::yield_now();
            }
        }
        assert!(Instant::now() < end, "no replica was promoted");
    }
}

/// The time of the first write that succeeds after `since`; no call may take longer than `most`.
fn first_write(client: &Client, key: &str, since: &OnceLock<Instant>, most: Duration) -> Instant {
    let end = Instant::now() + 2 * WAIT_LIMIT;
    loop {
        let began = Instant::now();
        let (reply, time) = timed(|| client.command(&[b"SET", key.as_bytes(), b"v"]).whole());
        let view = reply.view();
        assert!(time <= most, "{time:?}: {}", show(view));
        match code(view) {
            Code::Ok if since.get().is_some_and(|at| began + time > *at) => return began + time,
            Code::Ok | Code::Timeout | Code::Io | Code::Connect | Code::Down | Code::Redirects => {}
            _ => panic!("unexpected error {}", show(view)),
        }
        assert!(
            Instant::now() < end,
            "writes do not succeed again: {}",
            show(view)
        );
    }
}

/// The median of many rounds, printed.
fn median(what: &str, late: &mut [Duration]) -> Duration {
    late.sort();
    let (half, worst) = (late[late.len() / 2], late[late.len() - 1]);
    println!(
        "{what}: the first write succeeds {half:?} after the promotion (median of {}), {worst:?} at worst",
        late.len()
    );
    half
}

/// One shard loses its primary. Returns the delay of each of `clients`. Meanwhile no read fails, neither from the
/// primary nor from any node.
fn lose_primary(
    cluster: &Cluster,
    shard: usize,
    loss: Loss,
    clients: &[(&Arc<Client>, Duration)],
) -> (u16, Vec<Duration>) {
    let tag = key_of(shard, 3, 1);
    let slot = slot_of(tag.as_bytes());
    let old = cluster.primary_of(slot).unwrap();
    let replica = cluster.replicas_of(slot).unwrap()[0];
    let moment = OnceLock::new();
    let mut late = Vec::new();
    let long_timeout = clients[0].0.with("timeout_ms", "15000");
    let readonly = long_timeout.readonly();
    // A missing key on a replica is checked at the primary, so the key must exist.
    assert_eq!(run(&long_timeout, &format!("SET {tag} v")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    let finished = AtomicBool::new(false);
    let what = |who| format!("{loss:?}, {who}");
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        scope.spawn(|| {
            paced_reads(
                &what("reads from the primary"),
                &long_timeout,
                &tag,
                &finished,
            )
        });
        scope.spawn(|| paced_reads(&what("reads from any node"), &readonly, &tag, &finished));
        let back: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(n, (client, most))| {
                let (key, moment) = (format!("{{{tag}}}client{n}"), &moment);
                scope.spawn(move || first_write(client, &key, moment, *most))
            })
            .collect();
        match loss {
            Loss::Kill => cluster.kill(old).unwrap(),
            Loss::Stop => cluster.stop(old).unwrap(),
            Loss::Freeze => {
                if let Err(e) = cluster.freeze(old) {
                    println!("warning: the process was stopped instead of frozen: {e}");
                    cluster.stop(old).unwrap();
                }
            }
            Loss::Ordered(how) => cluster.order_failover(replica, how).unwrap(),
        }
        let again = || {
            if let Loss::Ordered(how) = loss {
                // An error means that it has just become the primary.
                let _ = cluster.order_failover(replica, how);
            }
        };
        let at = wait_writable(replica, &format!("{{{tag}}}probe"), again);
        moment.set(at).unwrap();
        for one in back {
            late.push(one.join().unwrap().saturating_duration_since(at));
        }
    });
    (old, late)
}

#[test]
fn writes_return_within_100_ms_of_promotion() {
    let cluster = &healthy_cluster(module_path!());
    let usual = Arc::new(client(&cluster.url()));
    let short_timeout = Arc::new(client(
        &(cluster.url() + "?timeout_ms=1000&attempt_timeout_ms=100"),
    ));
    let clients = [
        (&usual, 5050 * MS),
        (&short_timeout, 1050 * MS),
        (&usual, 5050 * MS),
    ];
    const LOSSES: [Loss; 3] = [Loss::Kill, Loss::Stop, Loss::Freeze];
    let mut late: [Vec<Duration>; 3] = Default::default();
    for round in 0..2 {
        let mut lost = Vec::new();
        for shard in 0..3 {
            let which = (shard + round) % 3;
            let loss = LOSSES[which];
            let (old, times) = lose_primary(cluster, shard, loss, &clients);
            println!("{loss:?}: {times:?}");
            late[which].extend(times);
            lost.push((old, loss));
        }
        for (port, loss) in lost {
            match loss {
                Loss::Kill => cluster.restart(port).unwrap(),
                _ => cluster.cont(port).unwrap(),
            }
        }
        cluster.wait_healthy().unwrap();
    }
    for (what, late) in ["killed", "stopped", "frozen"].iter().zip(&mut late) {
        assert!(median(what, late) <= 100 * MS, "{what}: {late:?}");
    }
}

#[test]
fn writes_return_within_100_ms_of_ordered_failover() {
    let cluster = &healthy_cluster(module_path!());
    let usual = Arc::new(client(&cluster.url()));
    for how in [Failover::Plain, Failover::Force, Failover::Takeover] {
        let mut late = Vec::new();
        for shard in 0..3 {
            let (_, times) = lose_primary(
                cluster,
                shard,
                Loss::Ordered(how),
                &[(&usual, 5050 * MS); 2],
            );
            late.extend(times);
            cluster.wait_agreement().unwrap();
        }
        assert!(
            median(&format!("{how:?}"), &mut late) <= 100 * MS,
            "{how:?}: {late:?}"
        );
        cluster.wait_healthy().unwrap();
    }
}

#[test]
fn primary_loss_does_not_slow_other_shards() {
    let cluster = &healthy_cluster(module_path!());
    // Both threads use one handle: a waiting thread must not block the other.
    let client = Arc::new(client(&cluster.url()));
    let (unhealthy, healthy) = (key_of(0, 3, 1), key_of(1, 3, 2));
    assert_eq!(
        code(
            client
                .command(&[b"SET", healthy.as_bytes(), b"v"])
                .whole()
                .view()
        ),
        Code::Ok
    );
    let slot = slot_of(unhealthy.as_bytes());
    for stop in [true, false] {
        let finished = AtomicBool::new(false);
        let old = cluster.primary_of(slot).unwrap();
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            let (client, finished) = (&client, &finished);
            for _ in 0..8 {
                let unhealthy = &unhealthy;
                scope.spawn(move || {
                    while !finished.load(Ordering::SeqCst) {
                        client.command(&[b"SET", unhealthy.as_bytes(), b"v"]);
                    }
                });
            }
            let watching = scope.spawn(|| read_latencies(client, &healthy, finished));
            match stop {
                true => cluster.stop(old).unwrap(),
                false => cluster.kill(old).unwrap(),
            }
            wait_promotion(cluster, slot, old);
            finished.store(true, Ordering::SeqCst);
            let times = watching.join().unwrap();
            println!(
                "{}: {} calls of another shard, p99 {:?}, the slowest {:?}",
                if stop { "stopped" } else { "killed" },
                times.len(),
                p99(&times),
                times[times.len() - 1]
            );
            assert!(p99(&times) < 50 * MS, "{:?}", p99(&times));
        });
        match stop {
            true => cluster.cont(old).unwrap(),
            false => cluster.restart(old).unwrap(),
        }
        cluster.wait_healthy().unwrap();
    }
}

#[test]
fn returned_old_primary_is_read_as_replica_and_not_written() {
    let cluster = &healthy_cluster(module_path!());
    let tag = key_of(2, 3, 1);
    let slot = slot_of(tag.as_bytes());
    let client = Arc::new(client(&cluster.url()));
    let readonly = client.readonly();
    let get = |client: &Client| code(client.command(&[b"GET", tag.as_bytes()]).whole().view());
    let old = cluster.primary_of(slot).unwrap();
    for _ in 0..20 {
        assert_eq!(get(&readonly), Code::Ok);
    }
    cluster.kill(old).unwrap();
    wait_promotion(cluster, slot, old);
    // The client now knows the new primary.
    assert_eq!(
        code(
            client
                .command(&[b"SET", tag.as_bytes(), b"v"])
                .whole()
                .view()
        ),
        Code::Ok
    );
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        let writing = scope.spawn(|| {
            append_tokens(
                &client,
                std::slice::from_ref(&tag),
                4,
                WriteMode::Single,
                &finished,
            )
        });
        scope.spawn(|| paced_reads("reads from the primary", &client, &tag, &finished));
        cluster.restart(old).unwrap();
        cluster.wait_healthy().unwrap();
        // Until the old primary is no longer ejected.
        let served = || cluster.commandstats(old, "get").unwrap();
        wait_for("the returned node serves reads", || {
            assert_eq!(get(&readonly), Code::Ok);
            served() >= 5
        });
        assert!(
            cluster.commandstats(old, "readonly").unwrap() >= 1,
            "READONLY was not sent again"
        );
        finished.store(true, Ordering::SeqCst);
        let history = writing.join().unwrap();
        history.print("while the old primary returned");
        history.assert_errors_among("after the recovery", &[]);
        // Its data comes from its new primary: a write sent to it directly would be lost now.
        cluster.wait_replicas_in_sync().unwrap();
        verify_history(cluster, &history, false, "the old primary returned");
    });
}

#[test]
fn restarted_or_stalled_primary_fails_no_read() {
    let cluster = &healthy_cluster(module_path!());
    let tag = key_of(0, 3, 1);
    let slot = slot_of(tag.as_bytes());
    let client = Arc::new(client(&cluster.url()));
    let readonly = client.readonly();
    let other = key_of(1, 3, 2);
    assert_eq!(run(&client, &format!("SET {tag} v")), "OK");
    for bounce in [true, false] {
        let port = cluster.primary_of(slot).unwrap();
        let finished = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            let reading = scope.spawn(|| read_latencies(&client, &tag, &finished));
            let writing = scope.spawn(|| {
                append_tokens(
                    &client,
                    std::slice::from_ref(&tag),
                    4,
                    WriteMode::Single,
                    &finished,
                )
            });
            let piping = scope.spawn(|| {
                let tags = std::slice::from_ref(&tag);
                append_tokens(&client, tags, 2, WriteMode::Pipeline(10), &finished)
            });
            let around =
                scope.spawn(|| paced_reads("reads from any node", &readonly, &tag, &finished));
            let beside = scope.spawn(|| paced_reads("another shard", &client, &other, &finished));
            if bounce {
                cluster.restart(port).unwrap();
            } else {
                cluster.stop(port).unwrap();
                pause(300 * MS);
                cluster.cont(port).unwrap();
            }
            pause(300 * MS);
            finished.store(true, Ordering::SeqCst);
            let times = reading.join().unwrap();
            let around = around.join().unwrap();
            let beside = beside.join().unwrap();
            let (history, piped) = (writing.join().unwrap(), piping.join().unwrap());
            let what = if bounce {
                "killed and started at once"
            } else {
                "stopped for 300 ms"
            };
            assert!(p99(&beside) < 50 * MS, "{what}: {:?}", p99(&beside));
            // The replica serves, even while a restarted primary replies CLUSTERDOWN.
            let most = if bounce { 300 * MS } else { 1000 * MS };
            assert!(
                around[around.len() - 1] < most,
                "{what}: {:?}",
                around.last()
            );
            // One command in flight for each thread, and perhaps one on an idle connection. A short stall is waited
            // out.
            for (history, most) in [(history, 8), (piped, 40)] {
                history.print(what);
                history.assert_errors_among(what, if bounce { &[Code::Io] } else { &[] });
                assert!(
                    history.uncertain.len() <= most,
                    "{what}: {:?}",
                    history.errors
                );
                assert!(history.unsent.is_empty(), "{what}: {:?}", history.errors);
                verify_history(cluster, &history, false, what);
            }
            assert!(
                times[times.len() - 1] < 2500 * MS,
                "{what}: {:?}",
                times.last()
            );
        });
        cluster.wait_healthy().unwrap();
    }
}
