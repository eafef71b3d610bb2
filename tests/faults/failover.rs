//! A primary is lost in each of the ways there are, and another takes over: how soon the client is back.

use crate::common::history::{Raise, Shape, audit, healthy, latencies, p99, reads, write};
use crate::common::{SOON, a_while, client, code, key_of, say, show, timed, until};
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
    /// Without a signal.
    Freeze,
    Asked(Failover),
}

/// Waits, as closely as can be, for the moment from which a replica takes writes. Now and then it is told `again` to take
/// over: primaries that have voted in another election of its shard a moment ago may not have voted in this one.
fn promoted(port: u16, key: &str, again: impl Fn()) -> Instant {
    let end = Instant::now() + 2 * SOON;
    let mut told = Instant::now();
    loop {
        // It may refuse connections for a moment, when it is busy taking over.
        if let Ok(mut admin) = Admin::connect(port, SOON) {
            while let Ok(reply) = admin.command(&["SET", key, "promoted"]) {
                if !reply.is_error() {
                    return Instant::now();
                }
                assert!(Instant::now() < end, "nobody is promoted: {}", reply.text());
                if told.elapsed() > 3000 * MS {
                    again();
                    told = Instant::now();
                }
                std::thread::yield_now();
            }
        }
        assert!(Instant::now() < end, "nobody is promoted");
    }
}

/// The moment of the first write that succeeds after `since`, and the longest call until then.
fn first_write(client: &Client, key: &str, since: &OnceLock<Instant>, most: Duration) -> Instant {
    let end = Instant::now() + 2 * SOON;
    loop {
        let began = Instant::now();
        let (reply, time) = timed(|| client.command(&[b"SET", key.as_bytes(), b"v"]));
        let view = reply.view();
        assert!(time <= most, "{time:?}: {}", show(view));
        match code(view) {
            Code::Ok if since.get().is_some_and(|at| began + time > *at) => return began + time,
            Code::Ok | Code::Timeout | Code::Io | Code::Connect | Code::Down | Code::Redirects => {}
            _ => panic!("nothing explains {}", show(view)),
        }
        assert!(
            Instant::now() < end,
            "writes do not come back: {}",
            show(view)
        );
    }
}

/// What is said of many rounds.
fn median(what: &str, late: &mut [Duration]) -> Duration {
    late.sort();
    let (half, worst) = (late[late.len() / 2], late[late.len() - 1]);
    println!(
        "{what}: the first write succeeds {half:?} after the promotion (median of {}), {worst:?} at worst",
        late.len()
    );
    half
}

/// One shard loses its primary. Says how late each of `clients` was. Meanwhile nobody reads in vain: neither who waits for
/// the new primary, nor who reads anywhere.
fn lose(
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
    let patient = clients[0].0.with("timeout_ms", "15000");
    let readonly = patient.readonly();
    // What a replica does not have, only the primary can deny.
    assert_eq!(say(&patient, &format!("SET {tag} v")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    let over = AtomicBool::new(false);
    let what = |who| format!("{loss:?}, {who}");
    std::thread::scope(|scope| {
        let _over = Raise(&over);
        scope.spawn(|| reads(&what("who asks the primary"), &patient, &tag, &over));
        scope.spawn(|| reads(&what("who reads anywhere"), &readonly, &tag, &over));
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
                    println!("!!! nothing is frozen here, but stopped: {e}");
                    cluster.stop(old).unwrap();
                }
            }
            Loss::Asked(how) => cluster.order_failover(replica, how).unwrap(),
        }
        let again = || {
            if let Loss::Asked(how) = loss {
                // Refused where it has become the primary in this moment, which is seen next.
                let _ = cluster.order_failover(replica, how);
            }
        };
        let at = promoted(replica, &format!("{{{tag}}}probe"), again);
        moment.set(at).unwrap();
        for one in back {
            late.push(one.join().unwrap().saturating_duration_since(at));
        }
    });
    (old, late)
}

#[test]
fn writes_are_back_within_100_ms_of_a_promotion_however_the_primary_was_lost() {
    let cluster = &healthy(module_path!());
    let usual = Arc::new(client(&cluster.url()));
    let hasty = Arc::new(client(
        &(cluster.url() + "?timeout_ms=1000&attempt_timeout_ms=100"),
    ));
    let clients = [
        (&usual, 5050 * MS),
        (&hasty, 1050 * MS),
        (&usual, 5050 * MS),
    ];
    const LOSSES: [Loss; 3] = [Loss::Kill, Loss::Stop, Loss::Freeze];
    let mut late: [Vec<Duration>; 3] = Default::default();
    for round in 0..2 {
        let mut lost = Vec::new();
        for shard in 0..3 {
            let which = (shard + round) % 3;
            let loss = LOSSES[which];
            let (old, times) = lose(cluster, shard, loss, &clients);
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
fn writes_are_back_within_100_ms_of_a_failover_that_was_asked_for() {
    let cluster = &healthy(module_path!());
    let usual = Arc::new(client(&cluster.url()));
    for how in [Failover::Plain, Failover::Force, Failover::Takeover] {
        let mut late = Vec::new();
        for shard in 0..3 {
            let (_, times) = lose(cluster, shard, Loss::Asked(how), &[(&usual, 5050 * MS); 2]);
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
fn other_shards_do_not_notice_that_a_primary_is_lost() {
    let cluster = &healthy(module_path!());
    // A handle for both: what one thread waits for must not hold up another.
    let client = Arc::new(client(&cluster.url()));
    let (sick, well) = (key_of(0, 3, 1), key_of(1, 3, 2));
    assert_eq!(
        code(client.command(&[b"SET", well.as_bytes(), b"v"]).view()),
        Code::Ok
    );
    let slot = slot_of(sick.as_bytes());
    for stop in [true, false] {
        let over = AtomicBool::new(false);
        let old = cluster.primary_of(slot).unwrap();
        std::thread::scope(|scope| {
            let _over = Raise(&over);
            let (client, over) = (&client, &over);
            for _ in 0..8 {
                let sick = &sick;
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        client.command(&[b"SET", sick.as_bytes(), b"v"]);
                    }
                });
            }
            let watching = scope.spawn(|| latencies(client, &well, over));
            match stop {
                true => cluster.stop(old).unwrap(),
                false => cluster.kill(old).unwrap(),
            }
            until("a promotion", || {
                cluster.primary_of(slot).is_ok_and(|p| p != old)
            });
            over.store(true, Ordering::SeqCst);
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
fn an_old_primary_that_comes_back_is_read_as_a_replica_and_never_written() {
    let cluster = &healthy(module_path!());
    let tag = key_of(2, 3, 1);
    let slot = slot_of(tag.as_bytes());
    let client = Arc::new(client(&cluster.url()));
    let readonly = client.readonly();
    let get = |client: &Client| code(client.command(&[b"GET", tag.as_bytes()]).view());
    let old = cluster.primary_of(slot).unwrap();
    for _ in 0..20 {
        assert_eq!(get(&readonly), Code::Ok);
    }
    cluster.kill(old).unwrap();
    until("a promotion", || {
        cluster.primary_of(slot).is_ok_and(|p| p != old)
    });
    // The client knows: what comes now goes to the new one.
    assert_eq!(
        code(client.command(&[b"SET", tag.as_bytes(), b"v"]).view()),
        Code::Ok
    );
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Raise(&over);
        let writing =
            scope.spawn(|| write(&client, std::slice::from_ref(&tag), 4, Shape::Single, &over));
        scope.spawn(|| reads("who asks the primary", &client, &tag, &over));
        cluster.restart(old).unwrap();
        cluster.wait_healthy().unwrap();
        // Long enough for it to be read again: the reader has been leaving it alone.
        let served = || cluster.commandstats(old, "get").unwrap();
        until("the one that came back serves reads", || {
            assert_eq!(get(&readonly), Code::Ok);
            served() >= 5
        });
        assert!(
            cluster.commandstats(old, "readonly").unwrap() >= 1,
            "READONLY was not said again"
        );
        over.store(true, Ordering::SeqCst);
        let ledger = writing.join().unwrap();
        ledger.say("while the old primary came back");
        ledger.only("all is well again", &[]);
        // What it executed came from its primary: what a client had written there would be lost now.
        cluster.wait_replicas_in_sync().unwrap();
        audit(cluster, &ledger, false, "the old primary came back");
    });
}

#[test]
fn a_primary_that_is_killed_and_started_at_once_or_stalls_for_a_moment_costs_no_read_its_success() {
    let cluster = &healthy(module_path!());
    let tag = key_of(0, 3, 1);
    let slot = slot_of(tag.as_bytes());
    let client = Arc::new(client(&cluster.url()));
    let readonly = client.readonly();
    let other = key_of(1, 3, 2);
    assert_eq!(say(&client, &format!("SET {tag} v")), "OK");
    for bounce in [true, false] {
        let port = cluster.primary_of(slot).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _over = Raise(&over);
            let reading = scope.spawn(|| latencies(&client, &tag, &over));
            let writing =
                scope.spawn(|| write(&client, std::slice::from_ref(&tag), 4, Shape::Single, &over));
            let piping = scope.spawn(|| {
                let tags = std::slice::from_ref(&tag);
                write(&client, tags, 2, Shape::Pipeline(10), &over)
            });
            let around = scope.spawn(|| reads("who reads anywhere", &readonly, &tag, &over));
            let beside = scope.spawn(|| reads("another shard", &client, &other, &over));
            if bounce {
                cluster.restart(port).unwrap();
            } else {
                cluster.stop(port).unwrap();
                a_while(300 * MS);
                cluster.cont(port).unwrap();
            }
            a_while(300 * MS);
            over.store(true, Ordering::SeqCst);
            let times = reading.join().unwrap();
            let around = around.join().unwrap();
            let beside = beside.join().unwrap();
            let (ledger, piped) = (writing.join().unwrap(), piping.join().unwrap());
            let what = if bounce {
                "killed and started at once"
            } else {
                "stopped for 300 ms"
            };
            assert!(p99(&beside) < 50 * MS, "{what}: {:?}", p99(&beside));
            // The replica serves, also while a primary that has just been started calls the cluster down.
            let most = if bounce { 300 * MS } else { 1000 * MS };
            assert!(
                around[around.len() - 1] < most,
                "{what}: {:?}",
                around.last()
            );
            // One in flight at each thread when it died, and perhaps one on a connection that was idle; a moment's
            // stall is waited out.
            for (ledger, most) in [(ledger, 8), (piped, 40)] {
                ledger.say(what);
                ledger.only(what, if bounce { &[Code::Io] } else { &[] });
                assert!(ledger.doubtful.len() <= most, "{what}: {:?}", ledger.errors);
                assert!(ledger.unsent.is_empty(), "{what}: {:?}", ledger.errors);
                audit(cluster, &ledger, false, what);
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
