//! SCAN over the whole cluster: it returns every key that exists throughout, even while slots move.

use crate::common::set_on_drop::SetOnDrop;
use crate::common::shared::{Shared, shared_all};
use crate::common::{client, code, is_sent, newest, run, run_all, send, show, timed};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use rediscluster::resp::Reply;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::{Cluster, Failover, slot_of};

/// A cluster of Redis 7, whose cursors are of a whole node, and one of Valkey 9, whose cursors are of a slot.
fn clusters() -> Shared {
    shared_all(module_path!(), || {
        vec![
            Cluster::builder().appendonly(true),
            Cluster::builder().replicas(0).server(newest("valkey")),
        ]
    })
}

/// Keys in every shard, some of them in the same slot.
fn filled(cluster: &Cluster, count: usize) -> (Arc<Client>, BTreeSet<String>) {
    let client = Arc::new(client(&cluster.url()));
    assert_eq!(run(&client, "FLUSHALL"), "OK");
    let keys: BTreeSet<String> = (0..count).map(|n| format!("{{{}}}:{n}", n / 3)).collect();
    let sets: Vec<String> = keys.iter().map(|key| format!("SET {key} v")).collect();
    for got in run_all(&client, &sets) {
        assert_eq!(got, "OK");
    }
    (client, keys)
}

/// One SCAN call: the next cursor and the keys.
fn step(client: &Client, cursor: &str, more: &str) -> (String, Vec<String>) {
    let reply = send(client, &format!("SCAN {cursor} {more}"));
    page(&reply)
}

fn page(reply: &Reply) -> (String, Vec<String>) {
    let view = reply.view();
    assert_eq!(view.len(), 2, "{}", show(view));
    let cursor = view.at(0).unwrap().str().unwrap().to_string();
    assert!(
        cursor.parse::<i64>().unwrap() >= 0,
        "{cursor} is more than bindings can hold"
    );
    let keys = view.at(1).unwrap().elements();
    (
        cursor,
        keys.map(|key| key.str().unwrap().to_string()).collect(),
    )
}

/// The keys from a cursor to the end, with the number of times each was returned.
fn rest(client: &Client, cursor: String, more: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut cursor = cursor;
    for _ in 0..200_000 {
        let (next, keys) = step(client, &cursor, more);
        for key in keys {
            *found.entry(key).or_default() += 1;
        }
        if next == "0" {
            return found;
        }
        cursor = next;
    }
    panic!("the scan does not end");
}

fn scan(client: &Client, more: &str) -> BTreeMap<String, usize> {
    rest(client, "0".to_string(), more)
}

/// The port of the primary of each slot.
fn owners(client: &Client) -> Vec<u16> {
    assert_eq!(show(client.refresh().view()), "OK");
    let mut owners = vec![0; 16384];
    for shard in client.topology().view().elements() {
        let address = shard.find("primary").unwrap().find("address").unwrap();
        let port = address.str().unwrap().rsplit(':').next().unwrap();
        for range in shard.find("slots").unwrap().elements() {
            let end = |n| range.at(n).unwrap().int().unwrap() as usize;
            owners[end(0)..=end(1)].fill(port.parse().unwrap());
        }
    }
    owners
}

/// Continues until a key of this primary is returned; the keys so far, and the cursor.
fn until_shard(client: &Client, cursor: &str, port: u16) -> (String, BTreeSet<String>) {
    let owners = owners(client);
    let mut found = BTreeSet::new();
    let mut cursor = cursor.to_string();
    loop {
        let (next, keys) = step(client, &cursor, "COUNT 10");
        let there = |key: &String| owners[usize::from(slot_of(key.as_bytes()))] == port;
        let there = keys.iter().any(there);
        found.extend(keys);
        assert_ne!(next, "0", "no key of {port} was returned");
        cursor = next;
        if there {
            return (cursor, found);
        }
    }
}

fn missing(all: &BTreeSet<String>, found: impl IntoIterator<Item = String>) -> Vec<&String> {
    let found: BTreeSet<String> = found.into_iter().collect();
    all.iter().filter(|key| !found.contains(*key)).collect()
}

#[test]
fn stable_cluster_is_scanned_like_one_server() {
    for cluster in &*clusters() {
        let (client, keys) = filled(cluster, 3000);
        let found = scan(&client, "COUNT 100");
        assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), keys);
        assert!(found.values().all(|times| *times == 1), "each runs once");
        assert_eq!(scan(&client, "").len(), 3000);
        let some = scan(&client, "MATCH *:7* COUNT 500");
        let expected = keys.iter().filter(|key| key.contains(":7")).count();
        assert_eq!(some.len(), expected);
        run(&client, "RPUSH list a");
        assert_eq!(scan(&client, "TYPE list COUNT 1000").len(), 1);
        assert_eq!(scan(&client, "MATCH nothing COUNT 1000").len(), 0);
        // A read-only handle returns the same and never asks a replica.
        cluster.reset_stats().unwrap();
        assert_eq!(scan(&client.readonly(), "COUNT 100").len(), 3001);
        for node in cluster.nodes() {
            let calls = cluster.commandstats(node.port, "scan").unwrap();
            assert_eq!(calls > 0, node.primary.is_none(), "{} {calls}", node.port);
        }
        assert_eq!(run(&client, "FLUSHALL"), "OK");
        assert!(scan(&client, "").is_empty());
    }
}

#[test]
fn cursor_belongs_to_one_scan_and_repeats_last_page() {
    let cluster = &clusters()[0];
    let (client, keys) = filled(cluster, 300);
    for (words, why) in [
        ("SCAN", "SCAN needs at least 1 argument"),
        ("SCAN x", "the cursor of SCAN is not a number"),
        ("SCAN -1", "the cursor of SCAN is not a number"),
        ("SCAN 17", "is unknown: its scan has ended"),
        (
            "SCAN 18446744073709551615",
            "is unknown: its scan has ended",
        ),
    ] {
        let reply = send(&client, words);
        assert_eq!(code(reply.view()), Code::Invalid, "{words}");
        assert!(!is_sent(reply.view()), "{words}");
        let text = show(reply.view());
        assert!(text.contains(why), "{words}: {text}");
    }
    let wrong = run(&client, "SCAN 0 NONSENSE");
    assert!(wrong.starts_with("ERR syntax error"), "{wrong}");

    let (first, mut found) = step(&client, "0", "COUNT 50");
    let (second, page) = step(&client, &first, "COUNT 50");
    let (again, same) = step(&client, &first, "COUNT 50");
    assert_eq!(
        (&second, &page),
        (&again, &same),
        "a page can be asked again"
    );
    found.extend(page);
    let (third, page) = step(&client, &second, "COUNT 50");
    found.extend(page);
    let old = run(&client, &format!("SCAN {first}"));
    assert!(old.contains("is unknown: its scan has ended"), "{old}");
    found.extend(rest(&client, third, "COUNT 50").into_keys());
    assert!(missing(&keys, found).is_empty());
    // Scans are independent, and a derived handle can continue a scan.
    let derived = client.readonly();
    let (a, mut of_a) = step(&client, "0", "COUNT 50");
    let (b, mut of_b) = step(&derived, "0", "COUNT 50");
    of_a.extend(rest(&derived, a, "COUNT 20").into_keys());
    of_b.extend(rest(&client, b, "COUNT 30").into_keys());
    assert!(missing(&keys, of_a).is_empty() && missing(&keys, of_b).is_empty());
    // A pipeline could only do one step at a time.
    let got = run_all(&client, &["SCAN 0", "SET {0}:0 w"]);
    assert!(
        got[0].contains("call it by itself") && got[1] == "OK",
        "{got:?}"
    );
    // A pinned handle uses the cursors of its node.
    let pinned = client.pin(b"a");
    let own = scan(&pinned, "COUNT 100").len();
    assert!(own > 0 && own < 300, "{own} keys of one node");
}

#[test]
fn slots_migrated_to_scanned_node_are_scanned_there() {
    for cluster in &*clusters() {
        let (client, keys) = filled(cluster, 600);
        let [first, second, last] = [0, 8000, 16000].map(|slot| cluster.primary_of(slot).unwrap());
        let (cursor, mut found) = until_shard(&client, "0", second);
        // The first node is done: slots that move to it now have not been scanned.
        let slots: BTreeSet<u16> = keys.iter().map(|key| slot_of(key.as_bytes())).collect();
        let owners = owners(&client);
        let of = |port: u16| {
            let mine = slots
                .iter()
                .filter(|slot| owners[usize::from(**slot)] == port);
            mine.copied().collect::<Vec<u16>>()
        };
        let (here, there) = (of(second), of(last));
        for slot in here.iter().take(4).chain(there.iter().take(8)) {
            cluster.migrate_slot(*slot, first).unwrap();
        }
        found.extend(rest(&client, cursor, "COUNT 10").into_keys());
        assert_eq!(
            missing(&keys, found),
            Vec::<&String>::new(),
            "{}",
            cluster.server()
        );
    }
}

#[test]
fn slot_migrating_during_whole_scan_is_complete() {
    for cluster in &*clusters() {
        let (client, keys) = filled(cluster, 600);
        let ports = [0, 8000, 16000].map(|slot| cluster.primary_of(slot).unwrap());
        let owners = owners(&client);
        // From the first node to the last and back, so that one of the two is scanned in the wrong order.
        let mut open = Vec::new();
        for (from, to) in [
            (ports[0], ports[2]),
            (ports[2], ports[0]),
            (ports[1], ports[0]),
        ] {
            let slot = keys.iter().map(|key| slot_of(key.as_bytes())).find(|slot| {
                owners[usize::from(*slot)] == from && !open.iter().any(|(s, _)| s == slot)
            });
            open.push((slot.unwrap(), to));
        }
        for (slot, to) in &open {
            cluster.begin_migration(*slot, *to).unwrap();
        }
        // Some keys move during the scan, at the first and the last node.
        let (cursor, mut found) = until_shard(&client, "0", ports[1]);
        for (slot, to) in &open {
            assert_eq!(cluster.move_some_keys(*slot, *to, 1).unwrap().len(), 1);
        }
        found.extend(rest(&client, cursor, "COUNT 10").into_keys());
        assert_eq!(
            missing(&keys, found),
            Vec::<&String>::new(),
            "{}",
            cluster.server()
        );
        // The same for a complete scan.
        let (found, time) = timed(|| scan(&client, "COUNT 100"));
        assert_eq!(missing(&keys, found.into_keys()), Vec::<&String>::new());
        assert!(time < Duration::from_secs(5), "{time:?}");
        for (slot, to) in &open {
            cluster.finish_migration(*slot, *to).unwrap();
        }
        let found = scan(&client, "COUNT 100");
        assert_eq!(missing(&keys, found.into_keys()), Vec::<&String>::new());
    }
}

#[test]
fn scan_misses_no_key_during_constant_migration() {
    for cluster in &*clusters() {
        let (client, keys) = filled(cluster, 900);
        let finished = AtomicBool::new(false);
        let moves = AtomicUsize::new(0);
        let (to, owners) = (cluster.primary_of(0).unwrap(), owners(&client));
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            let mover = scope.spawn(|| {
                // Slots move to the node that is scanned first, always the same: its epoch is then the newest, so that
                // no node believes an older claim.
                let slots: BTreeSet<u16> = keys.iter().map(|key| slot_of(key.as_bytes())).collect();
                let there = |slot: &u16| owners[usize::from(*slot)] == to;
                for (n, slot) in slots.into_iter().rev().filter(|s| !there(s)).enumerate() {
                    if finished.load(Ordering::SeqCst) {
                        return;
                    }
                    match cluster.has_atomic_migration() && n % 2 == 0 {
                        true => cluster.migrate_slots_atomically(slot, slot, to).unwrap(),
                        false => cluster.migrate_slot(slot, to).unwrap(),
                    }
                    moves.fetch_add(1, Ordering::SeqCst);
                }
            });
            let mut scans = 0;
            while scans < 10 || moves.load(Ordering::SeqCst) < 60 {
                let failed = mover.is_finished() && moves.load(Ordering::SeqCst) < 60;
                assert!(!failed, "the migration failed");
                let found = scan(&client, "COUNT 40");
                assert_eq!(
                    missing(&keys, found.into_keys()),
                    Vec::<&String>::new(),
                    "{}",
                    cluster.server()
                );
                scans += 1;
            }
            println!("{}: {scans} scans, {moves:?} slots moved", cluster.server());
        });
    }
}

#[test]
fn scan_survives_failover_and_restart_of_its_node() {
    let cluster = &clusters()[0];
    let (client, keys) = filled(cluster, 900);
    cluster.wait_replicas_in_sync().unwrap();
    let client = client.with("timeout_ms", "20000");
    let [first, second, third] = [0, 8000, 16000].map(|slot| cluster.primary_of(slot).unwrap());
    let go_on = |cursor: String, found: &mut BTreeSet<String>| {
        let (next, keys) = step(&client, &cursor, "COUNT 10");
        found.extend(keys);
        next
    };
    let mut found = BTreeSet::new();
    let mut cursor = go_on("0".to_string(), &mut found);
    // The scanned node restarts: its hash table has another order now.
    cluster.kill(first).unwrap();
    cluster.restart(first).unwrap();
    cursor = go_on(cursor, &mut found);
    // An ordered failover while a node is scanned.
    let (next, keys_of_it) = until_shard(&client, &cursor, second);
    (cursor, found) = (next, &found | &keys_of_it);
    let replica = cluster.replicas_of(8000).unwrap()[0];
    cluster.failover(replica, Failover::Plain).unwrap();
    // An unplanned failover, which the call waits for.
    let (next, keys_of_it) = until_shard(&client, &cursor, third);
    (cursor, found) = (next, &found | &keys_of_it);
    cluster.kill(third).unwrap();
    found.extend(rest(&client, cursor, "COUNT 10").into_keys());
    assert_eq!(missing(&keys, found), Vec::<&String>::new());
    cluster.restart(third).unwrap();
}

#[test]
fn scan_continues_after_error_without_missing_keys() {
    let cluster = &clusters()[0];
    let (client, keys) = filled(cluster, 600);
    let second = cluster.primary_of(8000).unwrap();
    let (cursor, mut found) = until_shard(&client, "0", second);
    let short_timeout = client
        .with("timeout_ms", "300")
        .with("attempt_timeout_ms", "100");
    cluster.stop(second).unwrap();
    let (reply, time) = timed(|| send(&short_timeout, &format!("SCAN {cursor} COUNT 10")));
    cluster.cont(second).unwrap();
    assert_ne!(code(reply.view()), Code::Ok, "{}", show(reply.view()));
    assert!(time < Duration::from_millis(400), "{time:?}");
    found.extend(rest(&client, cursor, "COUNT 10").into_keys());
    assert_eq!(missing(&keys, found), Vec::<&String>::new());
}

#[test]
fn standalone_server_is_scanned_by_its_own_cursors() {
    let _running = clusters();
    let server = support::Server::builder().start().unwrap();
    let client = client(&server.url());
    for n in 0..300 {
        run(&client, &format!("SET k{n} v"));
    }
    let (cursor, _) = step(&client, "0", "COUNT 10");
    assert!(
        cursor.parse::<u64>().unwrap() < 1024,
        "{cursor} is a cluster cursor"
    );
    assert_eq!(scan(&client, "COUNT 10").len(), 300);
}
