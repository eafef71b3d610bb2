//! Packets that are lost, refused or delayed, between nodes and on the way to them. Each test runs in its own network
//! namespace.

mod common;

use crate::common::history;
use crate::common::history::{
    History, WriteMode, append_tokens, p99, paced_reads, read_latencies, recorded, verify_history,
};
use crate::common::set_on_drop::SetOnDrop;
use crate::common::shared::{SharedCluster, shared};
use crate::common::{
    WAIT_LIMIT, client, code, key_of, pause, run, run_all, send, show, timed, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use support::{Cluster, Network, slot_of};

const MS: Duration = Duration::from_millis(1);

/// One cluster for all tests here, in a network without faults.
fn healthy_cluster(network: &Network) -> SharedCluster {
    network.heal();
    shared(module_path!(), || recorded().separate_addresses())
}

/// The address of a node without its port.
fn host(cluster: &Cluster, port: u16) -> String {
    let address = cluster.node(port).unwrap().address;
    address.rsplit_once(':').unwrap().0.to_string()
}

/// Drops packets between a node and the other nodes.
fn drop_from_peers(host: &str) -> Vec<String> {
    vec![
        format!("ip saddr {host} ip daddr 127.0.1.0/24 drop"),
        format!("ip saddr 127.0.1.0/24 ip daddr {host} drop"),
    ]
}

/// Drops packets between the client and a node.
fn drop_from_client(host: &str) -> Vec<String> {
    vec![
        format!("ip saddr {host} ip daddr 127.0.0.1 drop"),
        format!("ip saddr 127.0.0.1 ip daddr {host} drop"),
    ]
}

/// The moment from which a replica accepts writes.
fn wait_writable(cluster: &Cluster, port: u16, key: &str) -> Instant {
    let end = Instant::now() + WAIT_LIMIT;
    loop {
        let reply = cluster.command(port, &["SET", key, "promoted"]).unwrap();
        if !reply.is_error() {
            return Instant::now();
        }
        assert!(
            Instant::now() < end,
            "no replica was promoted: {}",
            reply.text()
        );
    }
}

/// Runs `what`, then sets the flag.
fn then_finish<T>(finished: &AtomicBool, what: impl FnOnce() -> T) -> T {
    let done = what();
    finished.store(true, Ordering::SeqCst);
    done
}

/// The primary of a slot in the client's topology.
fn primary_seen_by_client(client: &Client, slot: u16) -> String {
    let reply = client.topology();
    let serves = |shard: &rediscluster::resp::View<'_>| {
        shard.find("slots").unwrap().elements().any(|range| {
            let ends: Vec<_> = range.elements().filter_map(|e| e.int()).collect();
            (ends[0]..=ends[1]).contains(&i64::from(slot))
        })
    };
    let shard = reply.view().elements().find(serves).unwrap();
    show(
        shard
            .find("primary")
            .and_then(|p| p.find("address"))
            .unwrap(),
    )
}

/// The primary of a slot in the view of a node: its port.
fn primary_seen_by_node(cluster: &Cluster, port: u16, slot: u16) -> Option<String> {
    let view = cluster.command(port, &["CLUSTER", "SLOTS"]).unwrap();
    let end = |range: &support::Reply, at: usize| range.elements()[at].text().parse::<u16>();
    let mut ranges = view.elements().iter();
    let range = ranges.find(|r| (end(r, 0).unwrap()..=end(r, 1).unwrap()).contains(&slot))?;
    Some(range.elements()[2].elements()[1].text())
}

/// Cuts off a primary under load until its replica is promoted, and then calls `during`. Returns the delay of the
/// first write after the promotion, and what the callers were told.
fn cut_off(
    network: &Network,
    cluster: &Cluster,
    rules: impl Fn(&str) -> Vec<String>,
    during: impl FnOnce(&Arc<Client>, u16, u16, u16),
) -> (Duration, History) {
    let tag = key_of(0, 3, 1);
    let slot = slot_of(tag.as_bytes());
    let (old, replica) = (
        cluster.primary_of(slot).unwrap(),
        cluster.replicas_of(slot).unwrap()[0],
    );
    let calls = Arc::new(client(
        &(cluster.url() + "?timeout_ms=1500&attempt_timeout_ms=250"),
    ));
    let healthy = key_of(1, 3, 2);
    for key in [&healthy, &tag] {
        assert_eq!(run(&calls, &format!("SET {key} v")), "OK");
    }
    cluster.wait_replicas_in_sync().unwrap();
    // No read fails meanwhile, even if the cluster state is down.
    let long_timeout = calls.with("timeout_ms", "15000");
    let readonly = long_timeout.readonly();
    let (finished, moment) = (AtomicBool::new(false), OnceLock::new());
    let (mut late, mut history) = (Duration::MAX, History::default());
    let key = format!("{{{tag}}}first");
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        let tags = std::slice::from_ref(&tag);
        let writing = scope.spawn(|| append_tokens(&calls, tags, 4, WriteMode::Single, &finished));
        let piping =
            scope.spawn(|| append_tokens(&calls, tags, 2, WriteMode::Pipeline(10), &finished));
        let beside =
            scope.spawn(|| paced_reads("another shard", &long_timeout, &healthy, &finished));
        scope.spawn(|| paced_reads("reads from the primary", &long_timeout, &tag, &finished));
        scope.spawn(|| paced_reads("reads from any node", &readonly, &tag, &finished));
        let first = scope.spawn(|| {
            let end = Instant::now() + 2 * WAIT_LIMIT;
            loop {
                let began = Instant::now();
                let (got, time) = timed(|| run(&calls, &format!("SET {key} v")));
                assert!(Instant::now() < end, "writes do not succeed again: {got}");
                // Writes that the old primary still acknowledges do not count.
                let there = moment.get().is_some_and(|at| began + time > *at);
                if got == "OK"
                    && there
                    && cluster.command(replica, &["EXISTS", &key]).unwrap().text() == "1"
                {
                    return began + time;
                }
            }
        });
        network.rules(&rules(&host(cluster, old)));
        let at = wait_writable(cluster, replica, &format!("{{{tag}}}probe"));
        moment.set(at).unwrap();
        late = first.join().unwrap().saturating_duration_since(at);
        during(&calls, slot, old, replica);
        then_finish(&finished, || ());
        history = writing.join().unwrap();
        history.merge(piping.join().unwrap());
        let beside = beside.join().unwrap();
        assert!(p99(&beside) < 50 * MS, "another shard: {:?}", p99(&beside));
    });
    (late, history)
}

#[test]
fn primary_cut_off_from_peers_is_replaced_and_not_trusted() {
    Network::run(|network| {
        let cluster = &healthy_cluster(network);
        let (late, history) = cut_off(
            network,
            cluster,
            drop_from_peers,
            |client, slot, old, new| {
                // The other nodes learn of it one after the other.
                let others = cluster.ports().into_iter().filter(|port| *port != old);
                for port in others {
                    wait_for("the other nodes know", || {
                        primary_seen_by_node(cluster, port, slot) == Some(new.to_string())
                    });
                }
                // The old primary still answers, and names itself.
                let cut = cluster.command(old, &["CLUSTER", "SLOTS"]).unwrap();
                assert!(format!("{cut}").contains(&old.to_string()));
                let new = cluster.node(new).unwrap().address;
                for _ in 0..20 {
                    assert_eq!(code(client.refresh().view()), Code::Ok);
                    assert_eq!(
                        primary_seen_by_client(client, slot),
                        new,
                        "the client trusted an old view"
                    );
                }
                let get = format!("GET {}", key_of(0, 3, 1));
                let (got, time) = timed(|| run(client, &get));
                assert!(!got.contains('('), "{got}");
                assert!(time < 300 * MS, "{time:?}");
                // It returns, at first with its old view.
                network.heal();
                cluster.wait_healthy().unwrap();
                assert_eq!(primary_seen_by_client(client, slot), new);
            },
        );
        println!("cut off from its peers: the first write {late:?} after the promotion");
        history.print("cut off from its peers");
        // No packet between client and nodes was lost.
        history.assert_errors_among("cut off from its peers", &[Code::Down, Code::Redirects]);
        assert!(history.uncertain.is_empty());
        assert!(late < 300 * MS, "{late:?}");
        history.assert_calls_within("calls", 1500);
        verify_history(cluster, &history, true, "cut off from its peers");
    });
}

#[test]
fn silently_vanished_host_is_replaced() {
    Network::run(|network| {
        let cluster = &healthy_cluster(network);
        let rules = |host: &str| [drop_from_peers(host), drop_from_client(host)].concat();
        let (late, history) = cut_off(network, cluster, rules, |client, _, _, _| {
            network.heal();
            cluster.wait_healthy().unwrap();
            let got = run(client, &format!("SET {} v", key_of(0, 3, 1)));
            assert_eq!(got, "OK");
        });
        println!("off the network: the first write {late:?} after the promotion");
        history.print("off the network");
        history.assert_errors_among(
            "off the network",
            &[Code::Timeout, Code::Down, Code::Redirects, Code::Io],
        );
        assert!(late < 300 * MS, "{late:?}");
        history.assert_calls_within("calls", 1500);
        verify_history(cluster, &history, true, "off the network");
    });
}

#[test]
fn node_unreachable_from_client_affects_only_its_shard() {
    Network::run(|network| {
        let cluster = &healthy_cluster(network);
        let client = Arc::new(client(
            &(cluster.url() + "?timeout_ms=600&attempt_timeout_ms=200"),
        ));
        let readonly = client.readonly();
        let (unhealthy, healthy) = (key_of(0, 3, 1), key_of(1, 3, 2));
        for key in [&unhealthy, &healthy] {
            assert_eq!(run(&client, &format!("SET {key} v")), "OK");
        }
        cluster.wait_replicas_in_sync().unwrap();
        assert_eq!(run(&readonly, &format!("GET {unhealthy}")), "v");
        let port = cluster.primary_of(slot_of(unhealthy.as_bytes())).unwrap();
        let finished = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            let (ours, others, copies) = (&client, &healthy, &unhealthy);
            network.rules(&drop_from_client(&host(cluster, port)));
            let other = scope.spawn(|| read_latencies(ours, others, &finished));
            let around = scope.spawn(|| read_latencies(&readonly, copies, &finished));
            for n in 0..4 {
                // No replica is promoted: only the client misses the node.
                let (got, time) = timed(|| run(&client, &format!("INCR {{{unhealthy}}}n")));
                assert!(got.contains('('), "{got}");
                assert!(time < 650 * MS, "{time:?}: {got}");
                let (got, time) = timed(|| run(&client, &format!("GET {unhealthy}")));
                assert!(got.contains('('), "only the primary may answer: {got}");
                assert!(time < 650 * MS, "{time:?}: {got}");
                let all = [format!("INCR {{{unhealthy}}}n"), format!("GET {healthy}")];
                let (got, time) = timed(|| run_all(&client, &all));
                assert!(got[0].contains('(') && got[1] == "v", "{n}: {got:?}");
                assert!(time < 650 * MS, "{time:?}: {got:?}");
            }
            finished.store(true, Ordering::SeqCst);
            for (what, times, most) in [("another shard", other, 50), ("the replica", around, 100)]
            {
                let times = times.join().unwrap();
                println!(
                    "{what}: {} reads, p99 {:?}, the slowest {:?}",
                    times.len(),
                    p99(&times),
                    times.last()
                );
                assert!(p99(&times) < most * MS, "{what}: {:?}", p99(&times));
            }
        });
        let ran = || {
            cluster
                .command(port, &["GET", &format!("{{{unhealthy}}}n")])
                .unwrap()
                .text()
        };
        network.heal();
        let (_, time) = timed(|| {
            wait_for("the node is reachable again", || {
                run(&client, &format!("SET {unhealthy} v")) == "OK"
            });
        });
        println!(
            "reached again after {time:?}; {} of 8 increments had left",
            ran()
        );
        assert!(time < 1000 * MS, "{time:?}");
    });
}

#[test]
fn executed_command_with_lost_reply_is_not_resent() {
    Network::run(|network| {
        let cluster = &healthy_cluster(network);
        let client = Arc::new(client(
            &(cluster.url() + "?timeout_ms=700&attempt_timeout_ms=200"),
        ));
        // One connection per node, shared by many threads.
        let shared = Arc::new(self::client(
            &(cluster.url() + "?timeout_ms=700&attempt_timeout_ms=200&connections_per_node=1"),
        ));
        let (tag, healthy) = (key_of(0, 3, 1), key_of(1, 3, 2));
        for key in [&tag, &healthy] {
            assert_eq!(run(&client, &format!("SET {key} v")), "OK");
        }
        cluster.wait_replicas_in_sync().unwrap();
        // Reads are retried, at the primary or at a replica.
        let long_timeout = client.with("timeout_ms", "5000");
        let readonly = long_timeout.readonly();
        let tags = std::slice::from_ref(&tag);
        let primary = host(
            cluster,
            cluster.primary_of(slot_of(tag.as_bytes())).unwrap(),
        );
        let (finished, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        let mut history = History::default();
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            let all = [
                scope.spawn(|| append_tokens(&client, tags, 4, WriteMode::Single, &finished)),
                scope.spawn(|| append_tokens(&client, tags, 2, WriteMode::Pipeline(20), &finished)),
                scope.spawn(|| append_tokens(&client, tags, 2, WriteMode::Atomic(5), &finished)),
                scope.spawn(|| append_tokens(&shared, tags, 12, WriteMode::Single, &finished)),
            ];
            let beside = scope.spawn(|| paced_reads("another shard", &client, &healthy, &finished));
            scope.spawn(|| paced_reads("reads from the primary", &long_timeout, &tag, &finished));
            let around =
                scope.spawn(|| paced_reads("reads from any node", &readonly, &tag, &finished));
            let length = || {
                cluster.command(
                    cluster.primary_of(slot_of(tag.as_bytes())).unwrap(),
                    &["DBSIZE"],
                )
            };
            wait_for("writers are running", || {
                begun.store(true, Ordering::SeqCst);
                length().unwrap().text() != "0"
            });
            for _ in 0..3 {
                network.rules(&[format!("ip saddr {primary} ip daddr 127.0.0.1 drop")]);
                pause(400 * MS);
                network.heal();
                pause(300 * MS);
            }
            finished.store(true, Ordering::SeqCst);
            for one in all {
                history.merge(one.join().unwrap());
            }
            let (beside, around) = (beside.join().unwrap(), around.join().unwrap());
            assert!(p99(&beside) < 50 * MS, "another shard: {:?}", p99(&beside));
            assert!(around[around.len() - 1] < 500 * MS, "{:?}", around.last());
        });
        history.print("replies were dropped");
        history.assert_errors_among(
            "replies were dropped",
            &[Code::Timeout, Code::Io, Code::Redirects, Code::Down],
        );
        assert!(
            history.acknowledged.len() > 100 && history.uncertain.len() > 10,
            "{:?}",
            history.errors
        );
        let executed = history::executed(cluster);
        let ran = history
            .uncertain
            .iter()
            .filter(|t| executed.contains(*t))
            .count();
        println!(
            "{ran} of {} uncertain writes had run",
            history.uncertain.len()
        );
        assert!(ran > 0, "no command ran without a reply");
        history.assert_calls_within("calls", 700);
        verify_history(cluster, &history, false, "replies were dropped");
    });
}

#[test]
fn reset_connections_fail_their_commands_and_reconnect() {
    Network::run(|network| {
        let cluster = &healthy_cluster(network);
        let client = Arc::new(client(&cluster.url()));
        let readonly = client.readonly();
        let (tag, healthy) = (key_of(0, 3, 1), key_of(1, 3, 2));
        for key in [&tag, &healthy] {
            assert_eq!(run(&client, &format!("SET {key} v")), "OK");
        }
        cluster.wait_replicas_in_sync().unwrap();
        let tags = std::slice::from_ref(&tag);
        let port = cluster.primary_of(slot_of(tag.as_bytes())).unwrap();
        let primary = host(cluster, port);
        let finished = AtomicBool::new(false);
        let reset =
            format!("ip saddr 127.0.0.1 ip daddr {primary} tcp dport {port} reject with tcp reset");
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            let writing =
                scope.spawn(|| append_tokens(&client, tags, 8, WriteMode::Single, &finished));
            let piping =
                scope.spawn(|| append_tokens(&client, tags, 2, WriteMode::Pipeline(20), &finished));
            let reading = scope.spawn(|| read_latencies(&client, &tag, &finished));
            let beside = scope.spawn(|| paced_reads("another shard", &client, &healthy, &finished));
            let around =
                scope.spawn(|| paced_reads("reads from any node", &readonly, &tag, &finished));
            for _ in 0..5 {
                pause(100 * MS);
                network.break_connections(&primary, port);
            }
            for _ in 0..2 {
                network.rules(std::slice::from_ref(&reset));
                pause(200 * MS);
                network.heal();
                let (_, time) = timed(|| {
                    wait_for("the node is reachable", || {
                        run(&client, &format!("INCR {{{tag}}}n"))
                            .parse::<u64>()
                            .is_ok()
                    })
                });
                println!("written again {time:?} after the resets ended");
                assert!(time < 300 * MS, "{time:?}");
            }
            finished.store(true, Ordering::SeqCst);
            let mut history = writing.join().unwrap();
            history.merge(piping.join().unwrap());
            history.print("reset");
            history.assert_errors_among("reset", &[Code::Io]);
            assert!(!history.uncertain.is_empty(), "no call failed");
            verify_history(cluster, &history, false, "reset");
            for times in [beside.join().unwrap(), around.join().unwrap()] {
                assert!(p99(&times) < 50 * MS, "{:?}", p99(&times));
            }
            let times = reading.join().unwrap();
            println!(
                "{} reads meanwhile, the slowest {:?}",
                times.len(),
                times.last()
            );
        });
    });
}

#[test]
fn open_connections_serve_while_connecting_is_impossible() {
    Network::run(|network| {
        let cluster = &healthy_cluster(network);
        let calls = Arc::new(client(&cluster.url()));
        let tags = history::shard_tags(1);
        for tag in &tags {
            assert_eq!(run(&calls, &format!("SET {tag} v")), "OK");
        }
        cluster.wait_replicas_in_sync().unwrap();
        let readonly = calls.readonly();
        for _ in 0..30 {
            // Both nodes get a connection.
            assert_eq!(run(&readonly, &format!("GET {}", tags[0])), "v");
        }
        network.rules(&["ip saddr 127.0.0.1 tcp flags & (syn|ack) == syn drop".to_string()]);
        let finished = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            let writing =
                scope.spawn(|| append_tokens(&calls, &tags, 4, WriteMode::Single, &finished));
            scope.spawn(|| paced_reads("reads from the primary", &calls, &tags[1], &finished));
            scope.spawn(|| paced_reads("reads from any node", &readonly, &tags[0], &finished));
            // The best of three tries, for a busy machine.
            let mut times = (0..3).map(|_| {
                let url = cluster.url() + "?timeout_ms=300";
                let (fresh, time) = timed(|| Client::create(&url));
                let error = fresh
                    .error()
                    .expect("an error, because no connection can be made");
                assert_eq!(error.code, Code::Timeout, "{error}");
                time
            });
            assert!(
                times.any(|time| time < 350 * MS),
                "creation ended after the deadline"
            );
            then_finish(&finished, || pause(300 * MS));
            let history = writing.join().unwrap();
            history.print("no new connections");
            history.assert_errors_among("no new connections", &[]);
            history.assert_calls_within("no new connections", 950);
        });
    });
}

#[test]
fn packet_loss_costs_only_time() {
    Network::run(|network| {
        let cluster = &healthy_cluster(network);
        let calls = Arc::new(client(
            &(cluster.url() + "?timeout_ms=20000&attempt_timeout_ms=10000"),
        ));
        let tags = history::shard_tags(1);
        let readonly = calls.readonly();
        assert_eq!(run(&calls, &format!("SET {} v", tags[0])), "OK");
        let finished = AtomicBool::new(false);
        // Only packets of clients; another test drops those of nodes.
        let lose = |way: &str| format!("ip {way} 127.0.0.1 numgen random mod 100 < 10 drop");
        network.rules(&[lose("saddr"), lose("daddr")]);
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            let writing =
                scope.spawn(|| append_tokens(&calls, &tags, 8, WriteMode::Single, &finished));
            let piping =
                scope.spawn(|| append_tokens(&calls, &tags, 2, WriteMode::Pipeline(50), &finished));
            scope.spawn(|| paced_reads("reads from the primary", &calls, &tags[0], &finished));
            scope.spawn(|| paced_reads("reads from any node", &readonly, &tags[0], &finished));
            then_finish(&finished, || pause(2500 * MS));
            let mut history = writing.join().unwrap();
            history.merge(piping.join().unwrap());
            history.print("every tenth packet was lost");
            history.assert_errors_among("every tenth packet was lost", &[]);
            assert!(history.acknowledged.len() > 100);
            network.heal();
            verify_history(cluster, &history, false, "every tenth packet was lost");
        });
    });
}

#[test]
fn low_bandwidth_slows_large_pipeline_without_deadlock() {
    Network::run(|network| {
        let cluster = &healthy_cluster(network);
        let calls = Arc::new(client(
            &(cluster.url() + "?timeout_ms=20000&attempt_timeout_ms=10000"),
        ));
        let value = "v".repeat(32 * 1024);
        let tags = history::shard_tags(1);
        let mut commands = Vec::new();
        for n in 0..48 {
            let tag = &tags[n % tags.len()];
            commands.push(format!("SET {{{tag}}}wide{n} {value}"));
            commands.push(format!("GET {{{tag}}}wide{n}"));
        }
        let long = format!("{{{}}}long", tags[0]);
        let words = [&b"SET"[..], long.as_bytes(), &vec![b'v'; 4 << 20]];
        assert_eq!(code(calls.command(&words).whole().view()), Code::Ok);
        network.bandwidth(Some("64mbit"));
        let (got, time) = timed(|| run_all(&calls, &commands));
        // The transfer takes half a second: a call with a shorter timeout fails, and a longer one gets the whole
        // value.
        let get = format!("GET {long}");
        let short_timeout = calls.with("timeout_ms", "200");
        let (told, early) = timed(|| run(&short_timeout, &get));
        let whole = send(&calls, &get);
        network.bandwidth(None);
        assert!(told.contains("(TIMEOUT"), "{:.200}", told);
        assert!(early < 250 * MS, "{early:?}");
        assert!(whole.view().text().is_some_and(|text| text == words[2]));
        println!("1.5 MiB each way at 64 Mbit/s: {time:?}");
        for pair in got.chunks(2) {
            assert_eq!(pair[0], "OK");
            assert!(pair[1] == value);
        }
        assert!(time > 250 * MS, "the bandwidth was not limited: {time:?}");
        assert!(time < Duration::from_secs(10), "{time:?}");
    });
}
