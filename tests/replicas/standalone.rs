//! Servers without cluster support, and their replicas.

use crate::common::serial::serial;
use crate::common::set_on_drop::SetOnDrop;
use crate::common::{WAIT_LIMIT, client, newest, run, stat, wait_for};
use rediscluster::cluster::Client;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::Server;

/// A primary and two replicas.
struct Group {
    servers: [Server; 3],
}

impl Group {
    fn start(kind: &str) -> Group {
        let primary = Server::builder().server(newest(kind)).start().unwrap();
        let [a, b] = [(); 2].map(|()| start_replica(kind, &primary));
        let group = Group {
            servers: [primary, a, b],
        };
        group.wait_in_sync();
        group
    }

    fn primary(&self) -> &Server {
        &self.servers[0]
    }

    fn replicas(&self) -> &[Server] {
        &self.servers[1..]
    }

    fn wait_in_sync(&self) {
        for replica in self.replicas() {
            wait_for("the replica is in sync", || is_linked(replica));
        }
        wait_for("the primary lists its replicas", || {
            let info = info(self.primary());
            info.matches("state=online").count() == self.replicas().len()
        });
    }
}

fn start_replica(kind: &str, primary: &Server) -> Server {
    let of = format!("127.0.0.1 {}", primary.port());
    let builder = Server::builder().server(newest(kind));
    builder.option("replicaof", of).start().unwrap()
}

fn info(server: &Server) -> String {
    let reply = server.command(&["INFO", "replication"]);
    reply.map(|reply| reply.text()).unwrap_or_default()
}

fn is_linked(server: &Server) -> bool {
    info(server).contains("master_link_status:up")
}

fn replicate(server: &Server, primary: &Server) {
    let port = primary.port().to_string();
    server.command(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
}

fn promote(server: &Server) {
    server.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
}

/// The nodes that served some reads.
fn served_by(client: &Client) -> HashSet<String> {
    let reads = (0..60).map(|_| {
        let reply = crate::common::send(client, "GET k");
        let origin = reply.origin_of(reply.root);
        origin
            .map(|origin| origin.name().to_string())
            .unwrap_or_default()
    });
    reads.collect()
}

fn names(servers: &[Server]) -> HashSet<String> {
    servers.iter().map(Server::address).collect()
}

#[test]
fn replicas_of_one_server_serve_reads_as_read_from_says() {
    let _alone = serial();
    for kind in ["redis", "valkey"] {
        let group = Group::start(kind);
        for mode in ["?cluster=auto", "?cluster=no"] {
            let url = group.primary().url() + mode;
            let plain = client(&url);
            assert_eq!(run(&plain, "SET k v"), "OK");
            assert_eq!(served_by(&plain), names(&group.servers[..1]));
            let readonly = plain.readonly();
            wait_for("the replicas are found", || served_by(&readonly).len() == 3);
            let replicas = client(&(url.clone() + "&read_from=replica"));
            assert_eq!(
                served_by(&replicas),
                names(group.replicas()),
                "{kind} {mode}"
            );
            let from_replica = client(&(group.replicas()[0].url() + mode + "&readonly=yes"));
            assert_eq!(
                served_by(&from_replica),
                names(&group.servers),
                "{kind} {mode}"
            );
            assert_eq!(stat(&readonly, "errors"), 0);
        }
    }
}

/// A group, and a client whose reads both of its replicas serve.
fn group_with_reader() -> (Group, Client) {
    let group = Group::start("redis");
    let reader = client(&(group.primary().url() + "?read_from=replica"));
    assert_eq!(served_by(&reader), names(group.replicas()));
    (group, reader)
}

#[test]
fn killed_replica_costs_no_read() {
    let _alone = serial();
    let (group, reader) = group_with_reader();
    group.replicas()[0].kill();
    for _ in 0..200 {
        assert_eq!(run(&reader, "GET k"), "nil");
    }
    group.replicas()[1].kill();
    for _ in 0..50 {
        assert_eq!(run(&reader, "GET k"), "nil", "the primary serves it");
    }
    assert_eq!(stat(&reader, "errors"), 0);
}

#[test]
fn promoted_replica_takes_the_writes_of_a_killed_primary() {
    let _alone = serial();
    for kind in ["redis", "valkey"] {
        let group = Group::start(kind);
        let reader = client(&(group.primary().url() + "?readonly=yes"));
        assert_eq!(served_by(&reader).len(), 3);
        let writer = reader.with("readonly", "no");
        assert_eq!(run(&writer, "SET k 1"), "OK");
        let [a, b] = [&group.replicas()[0], &group.replicas()[1]];
        group.primary().kill();
        promote(a);
        replicate(b, a);
        let began = Instant::now();
        wait_for("the promoted replica is written", || {
            run(&writer, "SET k 2") == "OK"
        });
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        wait_for("the other one replicates", || is_linked(b));
        assert_eq!(run(&writer, "GET k"), "2");
        // The old primary comes back as a replica.
        group.primary().restart().unwrap();
        replicate(group.primary(), a);
        wait_for("it replicates", || is_linked(group.primary()));
        wait_for("all of them are read", || served_by(&reader).len() == 3);
        assert_eq!(run(&writer, "SET k 3"), "OK");
    }
}

#[test]
fn demoted_primary_costs_no_write() {
    let _alone = serial();
    for kind in ["redis", "valkey"] {
        for mode in ["?cluster=auto", "?cluster=no", "?cluster=no&protocol=2"] {
            let group = Group::start(kind);
            let writer = client(&(group.primary().url() + mode));
            assert_eq!(run(&writer, "SET k 1"), "OK");
            let a = &group.replicas()[0];
            promote(a);
            replicate(group.primary(), a);
            let refreshes = stat(&writer, "refreshes");
            assert_eq!(run(&writer, "SET k 2"), "OK", "{kind} {mode}");
            assert_eq!(run(&writer, "GET k"), "2");
            let refreshes = stat(&writer, "refreshes") - refreshes;
            assert!(refreshes <= 2, "{refreshes} refreshes");
            let text = a.command(&["GET", "k"]).unwrap().text();
            assert_eq!(text, "2");
        }
    }
}

/// Cuts a replica off from its primary: it goes on serving what it has.
fn pause(replica: &Server) {
    replica
        .command(&["CONFIG", "SET", "masteruser", "nobody"])
        .unwrap();
    replica
        .command(&["CONFIG", "SET", "masterauth", "paused"])
        .unwrap();
    replica
        .command(&["CLIENT", "KILL", "TYPE", "master"])
        .unwrap();
    wait_for("the link is down", || !is_linked(replica));
}

#[test]
fn reads_of_one_server_are_as_consistent_as_of_a_cluster() {
    let _alone = serial();
    let group = Group::start("redis");
    let url = group.primary().url();
    let writer = client(&(url + "?read_from=replica&read_your_writes=yes&monotonic=yes"));
    let bounded = writer
        .with("read_your_writes", "no")
        .with("max_staleness_ms", "300");
    assert_eq!(run(&writer, "MSET k 0 other 0"), "OK");
    pause(&group.replicas()[0]);
    let (finished, wrote) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _finish = SetOnDrop(&finished);
            for n in 1..=300u64 {
                // Both keys are written, whichever of them names the slot.
                assert_eq!(run(&writer, &format!("MSET other {n} k {n}")), "OK");
                assert_eq!(run(&writer, "GET k"), n.to_string(), "its own write");
                assert_eq!(run(&writer, "GET other"), n.to_string(), "its own write");
                wrote.store(n, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            let mut history: Vec<(Instant, u64)> = Vec::new();
            while !finished.load(Ordering::SeqCst) {
                let now = Instant::now();
                history.push((now, wrote.load(Ordering::SeqCst)));
                let then = now - Duration::from_millis(300);
                let least = history.iter().rfind(|(time, _)| *time <= then);
                let read: u64 = run(&bounded, "GET k").parse().unwrap();
                assert!(read >= least.map_or(0, |(_, n)| *n), "{read} is too old");
            }
        });
    });
    assert!(stat(&writer, "replica_reads") > 0);
    assert_eq!(stat(&writer, "errors"), 0);
}

#[test]
fn unannounced_role_change_is_seen_by_readers_in_time() {
    let _alone = serial();
    let (group, reader) = group_with_reader();
    let [a, b] = [&group.replicas()[0], &group.replicas()[1]];
    promote(a);
    replicate(b, a);
    replicate(group.primary(), a);
    let expected: HashSet<String> = [group.primary().address(), b.address()].into();
    let is_seen = || served_by(&reader) == expected;
    assert!(support::wait_until(is_seen, WAIT_LIMIT * 2));
}
