//! Packets that are lost, refused or held up, between nodes and on the way to them. Each test runs in a network of its own.

mod common;

use crate::common::history;
use crate::common::history::{Ledger, Raise, Shape, audit, latencies, ledgered, p99, reads, write};
use crate::common::shared::{SharedCluster, shared};
use crate::common::{SOON, a_while, ask, client, code, key_of, say, say_all, show, timed, until};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use support::{Cluster, Network, slot_of};

const MS: Duration = Duration::from_millis(1);

/// One cluster for all tests here, on a network that is whole again.
fn healthy(network: &Network) -> SharedCluster {
    network.heal();
    shared(module_path!(), || ledgered().apart())
}

/// The address of a node, without its port.
fn host(cluster: &Cluster, port: u16) -> String {
    let address = cluster.node(port).unwrap().address;
    address.rsplit_once(':').unwrap().0.to_string()
}

/// No packet between a node and the other nodes.
fn from_peers(host: &str) -> Vec<String> {
    vec![
        format!("ip saddr {host} ip daddr 127.0.1.0/24 drop"),
        format!("ip saddr 127.0.1.0/24 ip daddr {host} drop"),
    ]
}

/// No packet between the client and a node.
fn from_client(host: &str) -> Vec<String> {
    vec![
        format!("ip saddr {host} ip daddr 127.0.0.1 drop"),
        format!("ip saddr 127.0.0.1 ip daddr {host} drop"),
    ]
}

/// Waits for the moment from which a replica takes writes.
fn promoted(cluster: &Cluster, port: u16, key: &str) -> Instant {
    let end = Instant::now() + SOON;
    loop {
        let reply = cluster.command(port, &["SET", key, "promoted"]).unwrap();
        if !reply.is_error() {
            return Instant::now();
        }
        assert!(Instant::now() < end, "nobody is promoted: {}", reply.text());
    }
}

/// While a flag is down.
fn over_after<T>(over: &AtomicBool, what: impl FnOnce() -> T) -> T {
    let done = what();
    over.store(true, Ordering::SeqCst);
    done
}

/// Whom the client takes for the primary of a slot.
fn believed(client: &Client, slot: u16) -> String {
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

/// Whom a node takes for the primary of a slot: its port.
fn says(cluster: &Cluster, port: u16, slot: u16) -> Option<String> {
    let view = cluster.command(port, &["CLUSTER", "SLOTS"]).unwrap();
    let end = |range: &support::Reply, at: usize| range.elements()[at].text().parse::<u16>();
    let mut ranges = view.elements().iter();
    let range = ranges.find(|r| (end(r, 0).unwrap()..=end(r, 1).unwrap()).contains(&slot))?;
    Some(range.elements()[2].elements()[1].text())
}

/// What a primary that is cut off does to the calls of many, until its replica has been promoted and beyond: how late the first
/// write after that was, and what each caller was told.
fn cut_off(
    network: &Network,
    cluster: &Cluster,
    rules: impl Fn(&str) -> Vec<String>,
    during: impl FnOnce(&Arc<Client>, u16, u16, u16),
) -> (Duration, Ledger) {
    let tag = key_of(0, 3, 1);
    let slot = slot_of(tag.as_bytes());
    let (old, replica) = (
        cluster.primary_of(slot).unwrap(),
        cluster.replicas_of(slot).unwrap()[0],
    );
    let calls = Arc::new(client(
        &(cluster.url() + "?timeout_ms=1500&attempt_timeout_ms=250"),
    ));
    let well = key_of(1, 3, 2);
    for key in [&well, &tag] {
        assert_eq!(say(&calls, &format!("SET {key} v")), "OK");
    }
    cluster.wait_replicas_in_sync().unwrap();
    // Whatever the cluster as a whole says meanwhile, nobody reads in vain.
    let patient = calls.with("timeout_ms", "15000");
    let readonly = patient.readonly();
    let (over, moment) = (AtomicBool::new(false), OnceLock::new());
    let (mut late, mut ledger) = (Duration::MAX, Ledger::default());
    let key = format!("{{{tag}}}first");
    std::thread::scope(|scope| {
        let _over = Raise(&over);
        let tags = std::slice::from_ref(&tag);
        let writing = scope.spawn(|| write(&calls, tags, 4, Shape::Single, &over));
        let piping = scope.spawn(|| write(&calls, tags, 2, Shape::Pipeline(10), &over));
        let beside = scope.spawn(|| reads("another shard", &patient, &well, &over));
        scope.spawn(|| reads("who asks the primary", &patient, &tag, &over));
        scope.spawn(|| reads("who reads anywhere", &readonly, &tag, &over));
        let first = scope.spawn(|| {
            let end = Instant::now() + 2 * SOON;
            loop {
                let began = Instant::now();
                let (got, time) = timed(|| say(&calls, &format!("SET {key} v")));
                assert!(Instant::now() < end, "writes do not come back: {got}");
                // What the old one acknowledges meanwhile does not count.
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
        let at = promoted(cluster, replica, &format!("{{{tag}}}probe"));
        moment.set(at).unwrap();
        late = first.join().unwrap().saturating_duration_since(at);
        during(&calls, slot, old, replica);
        over_after(&over, || ());
        ledger = writing.join().unwrap();
        ledger.absorb(piping.join().unwrap());
        let beside = beside.join().unwrap();
        assert!(p99(&beside) < 50 * MS, "another shard: {:?}", p99(&beside));
    });
    (late, ledger)
}

#[test]
fn a_primary_cut_off_from_its_peers_is_left_for_its_successor_and_not_believed_any_more() {
    let name =
        "a_primary_cut_off_from_its_peers_is_left_for_its_successor_and_not_believed_any_more";
    Network::run(name, |network| {
        let cluster = &healthy(network);
        let (late, ledger) = cut_off(network, cluster, from_peers, |client, slot, old, new| {
            // The others hear of it one after the other, and until then know no better.
            let others = cluster.ports().into_iter().filter(|port| *port != old);
            for port in others {
                until("the others know", || {
                    says(cluster, port, slot) == Some(new.to_string())
                });
            }
            // The old one still answers, and goes on naming itself.
            let cut = cluster.command(old, &["CLUSTER", "SLOTS"]).unwrap();
            assert!(format!("{cut}").contains(&old.to_string()));
            let new = cluster.node(new).unwrap().address;
            for _ in 0..20 {
                assert_eq!(code(client.refresh().view()), Code::Ok);
                assert_eq!(believed(client, slot), new, "an old view was believed");
            }
            let get = format!("GET {}", key_of(0, 3, 1));
            let (got, time) = timed(|| say(client, &get));
            assert!(!got.contains('('), "{got}");
            assert!(time < 300 * MS, "{time:?}");
            // It comes back, first as if nothing had been.
            network.heal();
            cluster.wait_healthy().unwrap();
            assert_eq!(believed(client, slot), new);
        });
        println!("cut off from its peers: the first write {late:?} after the promotion");
        ledger.say("cut off from its peers");
        // Nobody's packets to a client were lost.
        ledger.only("cut off from its peers", &[Code::Down, Code::Redirects]);
        assert!(ledger.doubtful.is_empty());
        assert!(late < 300 * MS, "{late:?}");
        ledger.within("calls", 1500);
        audit(cluster, &ledger, true, "cut off from its peers");
    });
}

#[test]
fn a_host_that_leaves_the_network_without_a_word_is_replaced() {
    let name = "a_host_that_leaves_the_network_without_a_word_is_replaced";
    Network::run(name, |network| {
        let cluster = &healthy(network);
        let rules = |host: &str| [from_peers(host), from_client(host)].concat();
        let (late, ledger) = cut_off(network, cluster, rules, |client, _, _, _| {
            network.heal();
            cluster.wait_healthy().unwrap();
            let got = say(client, &format!("SET {} v", key_of(0, 3, 1)));
            assert_eq!(got, "OK");
        });
        println!("off the network: the first write {late:?} after the promotion");
        ledger.say("off the network");
        ledger.only(
            "off the network",
            &[Code::Timeout, Code::Down, Code::Redirects, Code::Io],
        );
        assert!(late < 300 * MS, "{late:?}");
        ledger.within("calls", 1500);
        audit(cluster, &ledger, true, "off the network");
    });
}

#[test]
fn a_node_that_only_the_client_cannot_reach_costs_its_own_shard_and_is_read_around() {
    let name = "a_node_that_only_the_client_cannot_reach_costs_its_own_shard_and_is_read_around";
    Network::run(name, |network| {
        let cluster = &healthy(network);
        let client = Arc::new(client(
            &(cluster.url() + "?timeout_ms=600&attempt_timeout_ms=200"),
        ));
        let readonly = client.readonly();
        let (sick, well) = (key_of(0, 3, 1), key_of(1, 3, 2));
        for key in [&sick, &well] {
            assert_eq!(say(&client, &format!("SET {key} v")), "OK");
        }
        cluster.wait_replicas_in_sync().unwrap();
        assert_eq!(say(&readonly, &format!("GET {sick}")), "v");
        let port = cluster.primary_of(slot_of(sick.as_bytes())).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _over = Raise(&over);
            let (ours, others, copies) = (&client, &well, &sick);
            network.rules(&from_client(&host(cluster, port)));
            let other = scope.spawn(|| latencies(ours, others, &over));
            let around = scope.spawn(|| latencies(&readonly, copies, &over));
            for n in 0..4 {
                // The successor that the client hopes for does not come: nobody else misses the node.
                let (got, time) = timed(|| say(&client, &format!("INCR {{{sick}}}n")));
                assert!(got.contains('('), "{got}");
                assert!(time < 650 * MS, "{time:?}: {got}");
                let (got, time) = timed(|| say(&client, &format!("GET {sick}")));
                assert!(got.contains('('), "only its primary may answer: {got}");
                assert!(time < 650 * MS, "{time:?}: {got}");
                let all = [format!("INCR {{{sick}}}n"), format!("GET {well}")];
                let (got, time) = timed(|| say_all(&client, &all));
                assert!(got[0].contains('(') && got[1] == "v", "{n}: {got:?}");
                assert!(time < 650 * MS, "{time:?}: {got:?}");
            }
            over.store(true, Ordering::SeqCst);
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
                .command(port, &["GET", &format!("{{{sick}}}n")])
                .unwrap()
                .text()
        };
        network.heal();
        let (_, time) = timed(|| {
            until("it is reached again", || {
                say(&client, &format!("SET {sick} v")) == "OK"
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
fn what_was_executed_but_not_answered_is_not_sent_again() {
    let name = "what_was_executed_but_not_answered_is_not_sent_again";
    Network::run(name, |network| {
        let cluster = &healthy(network);
        let client = Arc::new(client(
            &(cluster.url() + "?timeout_ms=700&attempt_timeout_ms=200"),
        ));
        // Few connections: many threads share them.
        let shared = Arc::new(self::client(
            &(cluster.url() + "?timeout_ms=700&attempt_timeout_ms=200&connections_per_node=1"),
        ));
        let (tag, well) = (key_of(0, 3, 1), key_of(1, 3, 2));
        for key in [&tag, &well] {
            assert_eq!(say(&client, &format!("SET {key} v")), "OK");
        }
        cluster.wait_replicas_in_sync().unwrap();
        // Reads do no harm twice: they are sent again, to the primary or to a replica.
        let patient = client.with("timeout_ms", "5000");
        let readonly = patient.readonly();
        let tags = std::slice::from_ref(&tag);
        let primary = host(
            cluster,
            cluster.primary_of(slot_of(tag.as_bytes())).unwrap(),
        );
        let (over, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        let mut ledger = Ledger::default();
        std::thread::scope(|scope| {
            let _over = Raise(&over);
            let all = [
                scope.spawn(|| write(&client, tags, 4, Shape::Single, &over)),
                scope.spawn(|| write(&client, tags, 2, Shape::Pipeline(20), &over)),
                scope.spawn(|| write(&client, tags, 2, Shape::Atomic(5), &over)),
                scope.spawn(|| write(&shared, tags, 12, Shape::Single, &over)),
            ];
            let beside = scope.spawn(|| reads("another shard", &client, &well, &over));
            scope.spawn(|| reads("who asks the primary", &patient, &tag, &over));
            let around = scope.spawn(|| reads("who reads anywhere", &readonly, &tag, &over));
            let length = || {
                cluster.command(
                    cluster.primary_of(slot_of(tag.as_bytes())).unwrap(),
                    &["DBSIZE"],
                )
            };
            until("they write", || {
                begun.store(true, Ordering::SeqCst);
                length().unwrap().text() != "0"
            });
            for _ in 0..3 {
                network.rules(&[format!("ip saddr {primary} ip daddr 127.0.0.1 drop")]);
                a_while(400 * MS);
                network.heal();
                a_while(300 * MS);
            }
            over.store(true, Ordering::SeqCst);
            for one in all {
                ledger.absorb(one.join().unwrap());
            }
            let (beside, around) = (beside.join().unwrap(), around.join().unwrap());
            assert!(p99(&beside) < 50 * MS, "another shard: {:?}", p99(&beside));
            assert!(around[around.len() - 1] < 500 * MS, "{:?}", around.last());
        });
        ledger.say("replies were dropped");
        ledger.only(
            "replies were dropped",
            &[Code::Timeout, Code::Io, Code::Redirects, Code::Down],
        );
        assert!(
            ledger.acked.len() > 100 && ledger.doubtful.len() > 10,
            "{:?}",
            ledger.errors
        );
        let executed = history::executed(cluster);
        let ran = ledger
            .doubtful
            .iter()
            .filter(|t| executed.contains(*t))
            .count();
        println!("{ran} of {} in doubt had run", ledger.doubtful.len());
        assert!(ran > 0, "nothing was executed that was not answered");
        ledger.within("calls", 700);
        audit(cluster, &ledger, false, "replies were dropped");
    });
}

#[test]
fn connections_that_are_reset_cost_the_commands_on_them_and_are_made_anew() {
    let name = "connections_that_are_reset_cost_the_commands_on_them_and_are_made_anew";
    Network::run(name, |network| {
        let cluster = &healthy(network);
        let client = Arc::new(client(&cluster.url()));
        let readonly = client.readonly();
        let (tag, well) = (key_of(0, 3, 1), key_of(1, 3, 2));
        for key in [&tag, &well] {
            assert_eq!(say(&client, &format!("SET {key} v")), "OK");
        }
        cluster.wait_replicas_in_sync().unwrap();
        let tags = std::slice::from_ref(&tag);
        let port = cluster.primary_of(slot_of(tag.as_bytes())).unwrap();
        let primary = host(cluster, port);
        let over = AtomicBool::new(false);
        let reset =
            format!("ip saddr 127.0.0.1 ip daddr {primary} tcp dport {port} reject with tcp reset");
        std::thread::scope(|scope| {
            let _over = Raise(&over);
            let writing = scope.spawn(|| write(&client, tags, 8, Shape::Single, &over));
            let piping = scope.spawn(|| write(&client, tags, 2, Shape::Pipeline(20), &over));
            let reading = scope.spawn(|| latencies(&client, &tag, &over));
            let beside = scope.spawn(|| reads("another shard", &client, &well, &over));
            let around = scope.spawn(|| reads("who reads anywhere", &readonly, &tag, &over));
            for _ in 0..5 {
                a_while(100 * MS);
                network.break_connections(&primary, port);
            }
            for _ in 0..2 {
                network.rules(std::slice::from_ref(&reset));
                a_while(200 * MS);
                network.heal();
                let (_, time) = timed(|| {
                    until("it is reached", || {
                        say(&client, &format!("INCR {{{tag}}}n"))
                            .parse::<u64>()
                            .is_ok()
                    })
                });
                println!("written again {time:?} after the resets ended");
                assert!(time < 300 * MS, "{time:?}");
            }
            over.store(true, Ordering::SeqCst);
            let mut ledger = writing.join().unwrap();
            ledger.absorb(piping.join().unwrap());
            ledger.say("reset");
            ledger.only("reset", &[Code::Io]);
            assert!(!ledger.doubtful.is_empty(), "nobody noticed");
            audit(cluster, &ledger, false, "reset");
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
fn connections_that_are_there_are_used_while_no_new_one_can_be_made() {
    let name = "connections_that_are_there_are_used_while_no_new_one_can_be_made";
    Network::run(name, |network| {
        let cluster = &healthy(network);
        let calls = Arc::new(client(&cluster.url()));
        let tags = history::tags(1);
        for tag in &tags {
            assert_eq!(say(&calls, &format!("SET {tag} v")), "OK");
        }
        cluster.wait_replicas_in_sync().unwrap();
        let readonly = calls.readonly();
        for _ in 0..30 {
            // Both nodes get a connection.
            assert_eq!(say(&readonly, &format!("GET {}", tags[0])), "v");
        }
        network.rules(&["ip saddr 127.0.0.1 tcp flags & (syn|ack) == syn drop".to_string()]);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _over = Raise(&over);
            let writing = scope.spawn(|| write(&calls, &tags, 4, Shape::Single, &over));
            scope.spawn(|| reads("who asks the primary", &calls, &tags[1], &over));
            scope.spawn(|| reads("who reads anywhere", &readonly, &tags[0], &over));
            // A busy machine has three tries.
            let mut times = (0..3).map(|_| {
                let url = cluster.url() + "?timeout_ms=300";
                let (fresh, time) = timed(|| Client::create(&url));
                let error = fresh.error().expect("nobody can be connected");
                assert_eq!(error.code, Code::Timeout, "{error}");
                time
            });
            assert!(times.any(|time| time < 350 * MS), "later than the deadline");
            over_after(&over, || a_while(300 * MS));
            let ledger = writing.join().unwrap();
            ledger.say("no new connections");
            ledger.only("no new connections", &[]);
            ledger.within("no new connections", 950);
        });
    });
}

#[test]
fn a_network_that_loses_packets_costs_time_and_nothing_else() {
    let name = "a_network_that_loses_packets_costs_time_and_nothing_else";
    Network::run(name, |network| {
        let cluster = &healthy(network);
        let calls = Arc::new(client(
            &(cluster.url() + "?timeout_ms=20000&attempt_timeout_ms=10000"),
        ));
        let tags = history::tags(1);
        let readonly = calls.readonly();
        assert_eq!(say(&calls, &format!("SET {} v", tags[0])), "OK");
        let over = AtomicBool::new(false);
        // Only the clients' packets: nodes that lose each other's are another test's.
        let lose = |way: &str| format!("ip {way} 127.0.0.1 numgen random mod 100 < 10 drop");
        network.rules(&[lose("saddr"), lose("daddr")]);
        std::thread::scope(|scope| {
            let _over = Raise(&over);
            let writing = scope.spawn(|| write(&calls, &tags, 8, Shape::Single, &over));
            let piping = scope.spawn(|| write(&calls, &tags, 2, Shape::Pipeline(50), &over));
            scope.spawn(|| reads("who asks the primary", &calls, &tags[0], &over));
            scope.spawn(|| reads("who reads anywhere", &readonly, &tags[0], &over));
            over_after(&over, || a_while(2500 * MS));
            let mut ledger = writing.join().unwrap();
            ledger.absorb(piping.join().unwrap());
            ledger.say("every tenth packet was lost");
            ledger.only("every tenth packet was lost", &[]);
            assert!(ledger.acked.len() > 100);
            network.heal();
            audit(cluster, &ledger, false, "every tenth packet was lost");
        });
    });
}

#[test]
fn a_narrow_network_holds_up_a_large_pipeline_and_does_not_lock_it() {
    let name = "a_narrow_network_holds_up_a_large_pipeline_and_does_not_lock_it";
    Network::run(name, |network| {
        let cluster = &healthy(network);
        let calls = Arc::new(client(
            &(cluster.url() + "?timeout_ms=20000&attempt_timeout_ms=10000"),
        ));
        let value = "v".repeat(32 * 1024);
        let tags = history::tags(1);
        let mut commands = Vec::new();
        for n in 0..48 {
            let tag = &tags[n % tags.len()];
            commands.push(format!("SET {{{tag}}}wide{n} {value}"));
            commands.push(format!("GET {{{tag}}}wide{n}"));
        }
        let long = format!("{{{}}}long", tags[0]);
        let words = [&b"SET"[..], long.as_bytes(), &vec![b'v'; 4 << 20]];
        assert_eq!(code(calls.command(&words).view()), Code::Ok);
        network.bandwidth(Some("64mbit"));
        let (got, time) = timed(|| say_all(&calls, &commands));
        // Half a second's worth: one who has not so long is told so, and one who has gets it whole.
        let get = format!("GET {long}");
        let hasty = calls.with("timeout_ms", "200");
        let (told, early) = timed(|| say(&hasty, &get));
        let whole = ask(&calls, &get);
        network.bandwidth(None);
        assert!(told.contains("(TIMEOUT"), "{:.200}", told);
        assert!(early < 250 * MS, "{early:?}");
        assert!(whole.view().text().is_some_and(|text| text == words[2]));
        println!("1.5 MiB each way at 64 Mbit/s: {time:?}");
        for pair in got.chunks(2) {
            assert_eq!(pair[0], "OK");
            assert!(pair[1] == value);
        }
        assert!(time > 250 * MS, "nothing was narrow: {time:?}");
        assert!(time < Duration::from_secs(10), "{time:?}");
    });
}
