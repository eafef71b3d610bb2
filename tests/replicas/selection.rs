//! Which node a read goes to: the nearest, one of the own zone, or the less loaded one.

use crate::common::load::assert_uniform;
use crate::common::{client, is_command, key_of, run, run_all, stat, wait_for};
use crate::{asked, valkey};
use rediscluster::cluster::Client;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Action, Cluster, FakeCluster};

const MS: Duration = Duration::from_millis(1);

/// Delays the GET replies of a node by this many milliseconds, which can be changed.
fn slow(fake: &FakeCluster, node: usize, ms: u64) -> Arc<AtomicU64> {
    let delay = Arc::new(AtomicU64::new(ms));
    let mut answer = fake.default_answer(node);
    let now = delay.clone();
    fake.on(node, move |connection, command| {
        let reply = Action::Send(answer(connection, command));
        let wait = now.load(Ordering::SeqCst);
        is_command(command, "GET").then(|| Action::Delay(wait as u32 * MS, Box::new(reply)))
    });
    delay
}

#[test]
fn idle_replicas_are_read_uniformly() {
    let fake = FakeCluster::with_replicas(1, 3);
    let replica = client(&fake.url()).with("read_from", "replica");
    let any = client(&fake.url()).with("read_from", "any");
    for _ in 0..3000 {
        run(&replica, "GET k");
        run(&any, "EXISTS k");
    }
    assert_eq!(fake.node(0).calls("GET"), 0);
    assert_uniform(&asked(&fake, 4, "GET")[1..]);
    assert_uniform(&asked(&fake, 4, "EXISTS"));
}

#[test]
fn busy_node_is_read_less_than_idle_node() {
    let fake = FakeCluster::with_replicas(1, 2);
    slow(&fake, 1, 30);
    let any = client(&fake.url()).with("read_from", "any");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..60 {
                    run(&any, "GET k");
                }
            });
        }
    });
    let counts = asked(&fake, 3, "GET");
    assert_eq!(counts.iter().sum::<usize>(), 480);
    // A uniform choice would give one third.
    assert!(counts[1] < 120, "{counts:?}");
    assert!(counts[1] > 0, "{counts:?}");
}

#[test]
fn nearest_reads_follow_latency_including_primary() {
    let fake = FakeCluster::with_replicas(1, 2);
    let delays: Vec<_> = (0..3).map(|node| slow(&fake, node, 8)).collect();
    let nearest = Arc::new(client(&fake.url()).with("read_from", "nearest"));
    let mostly = |node: usize, read: &dyn Fn()| {
        wait_for(&format!("node {node} is the nearest"), || {
            let before = asked(&fake, 3, "GET");
            for _ in 0..20 {
                read();
            }
            let after = asked(&fake, 3, "GET");
            let share = |n: usize| after[n] - before[n];
            share(node) * 10 >= (share(0) + share(1) + share(2)) * 9
        });
    };
    let single = || {
        run(&nearest, "GET k");
    };
    let piped = || {
        run_all(&nearest, &["GET k", "GET k"]);
    };
    for (node, read) in [(1, &single as &dyn Fn()), (0, &piped), (2, &single)] {
        for (other, delay) in delays.iter().enumerate() {
            delay.store(if other == node { 0 } else { 8 }, Ordering::SeqCst);
        }
        mostly(node, read);
    }
    // The other nodes are probed from time to time.
    let (before, began) = (asked(&fake, 3, "GET"), Instant::now());
    let mut reads = 0;
    while began.elapsed() < 2200 * MS {
        single();
        reads += 1;
    }
    let after = asked(&fake, 3, "GET");
    for node in [0, 1] {
        let measured = after[node] - before[node];
        // One probe a second, and a few more if a stall made the nearest node look slow.
        assert!(
            measured >= 1 && measured <= 3 + reads / 100,
            "node {node}: {measured} of {reads}"
        );
    }
    let us = |node: usize| {
        let us = crate::field(&nearest, fake.port(node), "rtt_us");
        us.parse::<i64>().unwrap()
    };
    assert!(us(0) > us(2) && us(1) > us(2) && us(2) > 0);
}

/// Every text in a reply.
fn texts(reply: &support::Reply) -> Vec<String> {
    let below = reply.elements().iter().flat_map(texts);
    std::iter::once(reply.text()).chain(below).collect()
}

/// Gives every node a zone and waits until all nodes know it.
fn zones(cluster: &Cluster, zone: impl Fn(u16) -> &'static str) {
    for port in cluster.ports() {
        let set = ["CONFIG", "SET", "availability-zone", zone(port)];
        assert_eq!(cluster.command(port, &set).unwrap().text(), "OK");
    }
    wait_for("the zones are known to all", || {
        cluster.ports().iter().all(|asked| {
            let slots = cluster.command(*asked, &["CLUSTER", "SHARDS"]).unwrap();
            let said = |name: &str| texts(&slots).iter().filter(|t| *t == name).count();
            let wanted = |name: &str| cluster.ports().iter().filter(|p| zone(**p) == name).count();
            said("zone-a") == wanted("zone-a") && said("zone-b") == wanted("zone-b")
        })
    });
}

#[test]
fn zone_reads_leave_zone_only_if_no_node_there_can_serve() {
    let cluster = &valkey();
    let primaries: Vec<u16> = [0, 8000, 16000]
        .map(|slot| cluster.primary_of(slot).unwrap())
        .to_vec();
    let is_primary = |port: &u16| primaries.contains(port);
    zones(cluster, |port| match is_primary(&port) {
        true => "zone-a",
        false => "zone-b",
    });
    let plain = client(&cluster.url());
    let keys: Vec<String> = (0..3).map(|shard| key_of(shard, 3, 1)).collect();
    let read = |client: &Client| {
        cluster.reset_stats().unwrap();
        for _ in 0..30 {
            for key in &keys {
                assert_eq!(run(client, &format!("GET {key}")), "nil");
            }
        }
        let gets = |port: &u16| cluster.commandstats(*port, "get").unwrap();
        let ports = cluster.ports();
        let (a, b): (Vec<u16>, Vec<u16>) = ports.iter().partition(|p| is_primary(p));
        let sum = |ports: &[u16]| ports.iter().map(gets).sum::<u64>();
        (sum(&a), sum(&b))
    };
    let in_zone = |name: &str| {
        plain
            .with("zone", name)
            .with("read_from", "zone")
            .readonly()
    };
    assert_eq!(
        read(&in_zone("zone-b")),
        (0, 90),
        "the replicas of the zone"
    );
    assert_eq!(stat(&plain, "reads_out_of_zone"), 0);
    assert_eq!(read(&in_zone("zone-a")), (90, 0), "the primary in the zone");
    assert_eq!(read(&in_zone("zone-c")), (0, 90), "no node in the zone");
    assert!(stat(&plain, "reads_out_of_zone") >= 90);
    // A node of the own zone is lost: its shard is read from another zone without an error.
    let replica = cluster.replicas_of(0).unwrap()[0];
    cluster.stop(replica).unwrap();
    let ours = in_zone("zone-b").with("attempt_timeout_ms", "200");
    for _ in 0..20 {
        assert_eq!(run(&ours, &format!("GET {}", keys[0])), "nil");
    }
    cluster.cont(replica).unwrap();
    wait_for("the node is read again", || {
        let before = cluster.commandstats(replica, "get").unwrap();
        run(&ours, &format!("GET {}", keys[0]));
        cluster.commandstats(replica, "get").unwrap() > before
    });
    cluster.wait_healthy().unwrap();
}

#[test]
fn zone_named_only_in_handshake_is_learned_by_reading() {
    // As in Valkey 8, whose CLUSTER SLOTS has no zones.
    let fake = FakeCluster::with_replicas(1, 3);
    for (node, zone) in [(1, "east"), (2, "west"), (3, "east")] {
        fake.on(node, move |_, command| {
            is_command(command, "HELLO 3").then(|| {
                let zone = format!("$17\r\navailability_zone\r\n${}\r\n{zone}\r\n", zone.len());
                Action::send(format!("%2\r\n$5\r\nproto\r\n:3\r\n{zone}"))
            })
        });
    }
    let west = client(&fake.url())
        .with("zone", "west")
        .with("read_from", "zone");
    let seen = Mutex::new(Vec::new());
    for _ in 0..100 {
        run(&west, "GET k");
        seen.lock().unwrap().push(asked(&fake, 4, "GET"));
    }
    let counts = asked(&fake, 4, "GET");
    assert_eq!(counts[0], 0, "{counts:?}");
    assert!(
        counts[1] <= 1 && counts[3] <= 1,
        "each is asked once at most: {counts:?}"
    );
    assert!(counts[2] >= 98);
    assert_eq!(crate::field(&west, fake.port(2), "zone"), "west");
}
