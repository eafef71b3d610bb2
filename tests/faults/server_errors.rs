//! Real servers that refuse commands, close connections or pause.

use crate::common;
use crate::common::history;
use crate::common::history::{
    WriteMode, append_tokens, p99, paced_reads, read_latencies, verify_history,
};
use crate::common::set_on_drop::SetOnDrop;
use crate::common::shared::{SharedCluster, shared};
use crate::common::{
    WAIT_LIMIT, atomic, client, code, is_sent, key_of, pause, run, run_all, send, show, timed,
    wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Admin, Cluster, slot_of};

const MS: Duration = Duration::from_millis(1);

/// One cluster for all tests here; each restores it.
fn cluster() -> SharedCluster {
    shared(module_path!(), || {
        history::recorded()
            .option("enable-protected-configs", "yes")
            // A busy script must not cause a failover.
            .node_timeout_ms(5000)
    })
}

/// A connection to the primary of a key that stays open when others are killed.
fn admin(cluster: &Cluster, key: &str) -> Admin {
    let port = cluster.primary_of(slot_of(key.as_bytes())).unwrap();
    Admin::connect(port, WAIT_LIMIT).unwrap()
}

/// Sends a command that must succeed.
fn admin_command(admin: &mut Admin, words: &[&str]) -> String {
    let reply = admin.command(words).unwrap();
    assert!(!reply.is_error(), "{words:?}: {}", reply.text());
    reply.text()
}

fn info(admin: &mut Admin, section: &str, field: &str) -> u64 {
    let info = admin_command(admin, &["INFO", section]);
    let line = info
        .lines()
        .find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or("0").trim().parse().unwrap()
}

/// Checks what a write returns while a server refuses writes: in a call, in a pipeline with another shard and a read,
/// and in a transaction.
fn assert_write_refused(what: &str, client: &Arc<Client>, key: &str, other: &str) {
    let (reply, time) = timed(|| send(client, &format!("SET {key} refused")));
    let words = show(reply.view());
    assert_eq!(code(reply.view()), Code::Server, "{what}: {words}");
    assert!(words.starts_with(what), "{what}: {words}");
    assert!(time < 500 * MS, "{what} must not be retried: {time:?}");
    let all = [
        format!("SET {key} refused"),
        format!("SET {other} v"),
        format!("GET {key}"),
    ];
    let got = run_all(client, &all);
    assert!(
        got[0].contains(what) && got[0].contains("(SERVER"),
        "{got:?}"
    );
    assert_eq!(got[1..], ["OK", "before"], "{what}");
    let mut transaction = rediscluster::cluster::Pipeline::new(client.clone());
    transaction.command(&[b"SET", key.as_bytes(), b"refused"]);
    let got = show(transaction.execute_atomic().view());
    assert!(got.contains(what), "{what}: {got}");
    let script = format!("EVAL \"return redis.call('SET', KEYS[1], 'refused')\" 1 {key}");
    let got = run(client, &script);
    assert!(got.contains(what), "{what}: {got}");
    let readonly = client.readonly();
    for _ in 0..6 {
        for client in [&**client, &readonly] {
            assert_eq!(run(client, &format!("GET {key}")), "before", "{what}");
        }
    }
}

#[test]
fn write_refusal_is_returned_without_retry() {
    let cluster = &cluster();
    let client = Arc::new(client(&cluster.url()));
    let (key, other) = (key_of(0, 3, 1), key_of(1, 3, 2));
    assert_eq!(run(&client, &format!("SET {key} before")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    let mut admin = admin(cluster, &key);
    for (what, set, back) in [
        ("OOM", ["maxmemory", "1"], ["maxmemory", "0"]),
        (
            "NOREPLICAS",
            ["min-replicas-to-write", "5"],
            ["min-replicas-to-write", "0"],
        ),
    ] {
        admin_command(&mut admin, &["CONFIG", "SET", set[0], set[1]]);
        assert_write_refused(what, &client, &key, &other);
        admin_command(&mut admin, &["CONFIG", "SET", back[0], back[1]]);
        assert_eq!(
            run(&client, &format!("SET {key} before")),
            "OK",
            "after {what}"
        );
    }
    // A server whose snapshots fail.
    let dir = admin_command(&mut admin, &["CONFIG", "GET", "dir"]);
    let dir = match dir.is_empty() {
        true => admin.command(&["CONFIG", "GET", "dir"]).unwrap().elements()[1].text(),
        false => dir,
    };
    admin_command(&mut admin, &["CONFIG", "SET", "save", "3600 1"]);
    admin_command(&mut admin, &["CONFIG", "SET", "dir", "/proc"]);
    admin_command(&mut admin, &["BGSAVE"]);
    wait_for("the save fails", || {
        admin_command(&mut admin, &["INFO", "persistence"]).contains("rdb_last_bgsave_status:err")
    });
    assert_write_refused("MISCONF", &client, &key, &other);
    admin_command(&mut admin, &["CONFIG", "SET", "dir", &dir]);
    admin_command(&mut admin, &["CONFIG", "SET", "save", ""]);
    assert_eq!(run(&client, &format!("SET {key} v")), "OK");
}

#[test]
fn busy_script_returns_busy_and_other_shards_continue() {
    let cluster = &cluster();
    let client = Arc::new(client(
        &(cluster.url() + "?timeout_ms=3000&attempt_timeout_ms=500"),
    ));
    let (key, other) = (key_of(0, 3, 1), key_of(1, 3, 2));
    for key in [&key, &other] {
        assert_eq!(run(&client, &format!("SET {key} v")), "OK");
    }
    cluster.wait_replicas_in_sync().unwrap();
    let mut admin = admin(cluster, &key);
    admin_command(
        &mut admin,
        &["CONFIG", "SET", "busy-reply-threshold", "100"],
    );
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        let port = cluster.primary_of(slot_of(key.as_bytes())).unwrap();
        scope.spawn(move || {
            let mut busy = Admin::connect(port, WAIT_LIMIT).unwrap();
            // The script is killed below, which is an error reply.
            let _ = busy.command(&["EVAL", "while true do end", "0"]);
        });
        let watching = scope.spawn(|| read_latencies(&client, &other, &finished));
        wait_for("the server is busy", || {
            let got = run(&client, &format!("INCR {{{key}}}n"));
            got.starts_with("BUSY") && got.contains("(SERVER")
        });
        let got = run_all(&client, &[format!("GET {key}"), format!("GET {other}")]);
        assert!(got[0].contains("BUSY") && got[1] == "v", "{got:?}");
        // Its replica is not busy.
        let readonly = Arc::new(client.readonly());
        for n in 0..20 {
            let get = format!("GET {key}");
            let got = match n % 2 {
                0 => run(&readonly, &get),
                _ => run_all(&readonly, &[get]).concat(),
            };
            assert_eq!(got, "v", "read {n}");
        }
        finished.store(true, Ordering::SeqCst);
        let times = watching.join().unwrap();
        println!(
            "{} calls of another shard, p99 {:?}",
            times.len(),
            history::p99(&times)
        );
        assert!(history::p99(&times) < 50 * MS, "{:?}", history::p99(&times));
        admin_command(&mut admin, &["SCRIPT", "KILL"]);
    });
    admin_command(
        &mut admin,
        &["CONFIG", "SET", "busy-reply-threshold", "5000"],
    );
    let (_, time) = timed(|| {
        wait_for("the server serves again", || {
            run(&client, &format!("GET {key}")) == "v"
        })
    });
    assert!(time < 300 * MS, "{time:?}");
}

/// Closes all connections of the node but the admin's, and waits until they are closed.
fn kill_connections(admin: &mut Admin) {
    admin_command(
        admin,
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
    );
    wait_for("the connections are closed", || {
        admin_command(admin, &["CLIENT", "LIST", "TYPE", "normal"])
            .lines()
            .count()
            == 1
    });
}

#[test]
fn killed_connections_cost_no_later_write() {
    let cluster = &cluster();
    let key = key_of(0, 3, 2);
    let mut admin = admin(cluster, &key);
    let client = Arc::new(client(&cluster.url()));
    let pinned = client.pin(key.as_bytes());
    assert_eq!(run(&client, &format!("DEL {key}")).len(), 1);
    let incr = format!("INCR {key}");
    let bump = [incr.clone()];
    for round in 0..5 {
        let count = |n: i32| (4 * round + n).to_string();
        kill_connections(&mut admin);
        assert_eq!(run(&client, &incr), count(1));
        kill_connections(&mut admin);
        assert_eq!(run_all(&client, &bump), [count(2)]);
        kill_connections(&mut admin);
        let reply = atomic(&client, &bump);
        assert_eq!(show(reply.view().at(0).unwrap()), count(3));
        kill_connections(&mut admin);
        assert_eq!(run(&pinned, &incr), count(4));
    }
}

#[test]
fn killed_pinned_connection_keeps_no_other_rights() {
    let cluster = &cluster();
    let key = key_of(0, 3, 3);
    let mut admin = admin(cluster, &key);
    admin_command(
        &mut admin,
        &[
            "ACL",
            "SETUSER",
            "reader",
            "reset",
            "on",
            ">pw",
            "~*",
            "+@read",
            "+@connection",
        ],
    );
    let pinned = client(&cluster.url()).pin(key.as_bytes());
    let set = format!("SET {key} changed");
    assert_eq!(run(&pinned, &format!("SET {key} kept")), "OK");
    assert_eq!(run(&pinned, "AUTH reader pw"), "OK");
    assert_eq!(run(&pinned, "CLIENT SETNAME n"), "OK");
    assert_eq!(code(send(&pinned, &set).view()), Code::Auth);
    kill_connections(&mut admin);
    for words in [&set, &format!("GET {key}")] {
        let reply = send(&pinned, words);
        let text = show(reply.view());
        assert_eq!(code(reply.view()), Code::Io, "{text}");
        assert!(!is_sent(reply.view()) && text.contains("AUTH"), "{text}");
    }
    assert_eq!(run(&pinned, "AUTH reader pw"), "OK");
    assert_eq!(run(&pinned, "CLIENT SETNAME n"), "OK");
    assert_eq!(code(send(&pinned, &set).view()), Code::Auth);
    assert_eq!(run(&pinned, &format!("GET {key}")), "kept");
    assert_eq!(run(&pinned, "RESET"), "RESET");
    assert_eq!(run(&pinned, "ACL WHOAMI"), "default");
    assert_eq!(run(&pinned, &set), "OK");
    admin_command(&mut admin, &["ACL", "DELUSER", "reader"]);
}

#[test]
fn changed_password_keeps_connections_and_limits_retries() {
    let cluster = &cluster();
    let key = key_of(0, 3, 1);
    let mut admin = admin(cluster, &key);
    type Args = &'static [&'static str];
    let user: Args = &[
        "ACL", "SETUSER", "app", "reset", "on", ">old", "~*", "+@all",
    ];
    for port in cluster.ports() {
        assert_eq!(cluster.command(port, user).unwrap().text(), "OK");
    }
    // The change, what closes open connections, and what restores the server.
    let kick: Args = &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
    let ways: [(&str, &str, Args, Args); 3] = [
        (
            "another password",
            "app:old@",
            &["ACL", "SETUSER", "app", "resetpass", ">new"],
            &["ACL", "SETUSER", "app", "resetpass", ">old"],
        ),
        // This closes the connections itself.
        ("no such user", "app:old@", &["ACL", "DELUSER", "app"], user),
        (
            "a password where there was none",
            "",
            &["CONFIG", "SET", "requirepass", "new"],
            &["CONFIG", "SET", "requirepass", ""],
        ),
    ];
    for (what, login, change, back) in ways {
        let url = cluster
            .url()
            .replace("redis://", &format!("redis://{login}"));
        let client = Arc::new(client(&(url + "?timeout_ms=1000")));
        let readonly = Arc::new(client.readonly());
        assert_eq!(run(&client, &format!("SET {key} v")), "OK");
        admin_command(&mut admin, change);
        if change[1] != "DELUSER" {
            let got = run(&client, &format!("GET {key}"));
            assert_eq!(got, "v", "{what}: an open connection keeps its login");
        }
        // Each new connection begins with HELLO and the password.
        let denied = |admin: &mut Admin| {
            let info = admin_command(admin, &["INFO", "commandstats"]);
            let line = info
                .lines()
                .find_map(|l| l.strip_prefix("cmdstat_hello:calls="));
            let calls = line.and_then(|l| l.split(',').next());
            calls.map_or(0, |n| n.parse::<u64>().unwrap())
        };
        let before = denied(&mut admin);
        admin_command(&mut admin, kick);
        let finished = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            for n in 0..16 {
                let (client, readonly, finished, key) = (&client, &readonly, &finished, &key);
                scope.spawn(move || {
                    let (get, incr) = (format!("GET {key}"), format!("INCR {{{key}}}n"));
                    while !finished.load(Ordering::SeqCst) {
                        let (reply, time) = timed(|| match n % 4 {
                            0 => send(client, &get),
                            1 => send(client, &incr),
                            2 => common::pipeline(client, &[&get, &incr]),
                            // Reads from any node are served by the unchanged nodes.
                            _ => send(readonly, &get),
                        });
                        let view = reply.view();
                        let all: Vec<_> = match n % 4 {
                            2 if code(view) == Code::Ok => view.elements().collect(),
                            _ => vec![view],
                        };
                        for view in all {
                            let words = show(view);
                            let served = n % 4 == 3 && words == "v";
                            let refused = matches!(code(view), Code::Auth | Code::Io);
                            assert!(served || refused, "{what}, {n}: {words}");
                            let honest = served || code(view) == Code::Io || !is_sent(view);
                            assert!(honest, "{what}: {words}");
                            assert!(!words.contains("old"), "{what}: {words}");
                        }
                        assert!(time < 1050 * MS, "{what}: {time:?}");
                        // Without a pause the callers would only occupy the processors.
                        std::thread::sleep(MS);
                    }
                });
            }
            // Each open connection fails once by itself; after that one attempt serves all threads.
            pause(200 * MS);
            let burst = denied(&mut admin) - before;
            pause(1500 * MS);
            finished.store(true, Ordering::SeqCst);
            let tried = denied(&mut admin) - before - burst;
            println!("{what}: tried {burst} times at once and {tried} times in 1.5 s");
            assert!((1..=16).contains(&burst), "{what}: {burst} times");
            assert!((1..=3).contains(&tried), "{what}: {tried} times");
        });
        admin_command(&mut admin, back);
        let (_, time) = timed(|| {
            wait_for("the login succeeds", || {
                run(&client, &format!("GET {key}")) == "v"
            })
        });
        assert!(time < 1500 * MS, "{what}: {time:?}");
    }
}

#[test]
fn maxclients_error_names_node_and_limits_connects() {
    let cluster = &cluster();
    let (key, other) = (key_of(0, 3, 1), key_of(1, 3, 2));
    {
        let before = client(&cluster.url());
        for key in [&key, &other] {
            assert_eq!(run(&before, &format!("SET {key} v")), "OK");
        }
        cluster.wait_replicas_in_sync().unwrap();
    }
    let mut admin = admin(cluster, &key);
    let calls = Arc::new(client(&(cluster.url() + "?timeout_ms=10000")));
    let short = Arc::new(client(&(cluster.url() + "?timeout_ms=300")));
    let others: Vec<Admin> = (0..30)
        .map(|_| {
            Admin::connect(
                cluster.primary_of(slot_of(key.as_bytes())).unwrap(),
                WAIT_LIMIT,
            )
            .unwrap()
        })
        .collect();
    admin_command(&mut admin, &["CONFIG", "SET", "maxclients", "20"]);
    let rejected = |admin: &mut Admin| info(admin, "stats", "rejected_connections");
    let before = rejected(&mut admin);
    for words in [format!("SET {key} v"), format!("GET {key}")] {
        let (one, all) = (run(&short, &words), run_all(&short, &[words]).concat());
        for got in [one, all] {
            let named = got.contains("max number of clients") && !got.contains("sent)");
            assert!(named, "{got}");
        }
    }
    let (done, finished) = (AtomicUsize::new(0), AtomicBool::new(false));
    let readonly = calls.readonly();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        for n in 0..16 {
            let (calls, done, key) = (&calls, &done, &key);
            scope.spawn(move || {
                let (incr, get) = (
                    format!("INCR {{{key}}}max{n}"),
                    format!("GET {{{key}}}no{n}"),
                );
                let got = match n % 4 {
                    0 => run(calls, &get),
                    1 => run_all(calls, &[incr, get]).join(" "),
                    _ => run(calls, &incr),
                };
                assert_eq!(got, ["nil", "1 nil", "1", "1"][n % 4]);
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let beside = scope.spawn(|| paced_reads("another shard", &calls, &other, &finished));
        let around = scope.spawn(|| paced_reads("reads from any node", &readonly, &key, &finished));
        pause(1500 * MS);
        finished.store(true, Ordering::SeqCst);
        for times in [beside.join().unwrap(), around.join().unwrap()] {
            assert!(p99(&times) < 50 * MS, "{:?}", p99(&times));
        }
        assert_eq!(done.load(Ordering::SeqCst), 0);
        let times = rejected(&mut admin) - before;
        let most = 4 + began.elapsed().as_millis() as u64 / 50;
        println!("connected {times} times in {:?}", began.elapsed());
        // Ten a second for each of the two clients.
        assert!(times <= most, "{times} times");
        admin_command(&mut admin, &["CONFIG", "SET", "maxclients", "1000"]);
        let (_, late) =
            timed(|| wait_for("all calls are served", || done.load(Ordering::SeqCst) == 16));
        println!("all calls are served {late:?} later");
        assert!(late < 500 * MS, "{late:?}");
    });
    drop(others);
}

#[test]
fn killed_connections_fail_no_read_and_run_no_write_twice() {
    let cluster = &cluster();
    let client = Arc::new(client(
        &(cluster.url() + "?timeout_ms=10000&attempt_timeout_ms=5000"),
    ));
    let (key, other) = (key_of(0, 3, 1), key_of(1, 3, 2));
    // Large enough that its transfer takes a while.
    let value = vec![b'v'; 20 * 1024 * 1024];
    let big = format!("{{{key}}}big");
    assert_eq!(
        code(
            client
                .command(&[b"SET", big.as_bytes(), &value])
                .whole()
                .view()
        ),
        Code::Ok
    );
    let mut admin = admin(cluster, &key);
    let connections = |admin: &mut Admin| info(admin, "stats", "total_connections_received");
    let (finished, whole) = (AtomicBool::new(false), AtomicUsize::new(0));
    for key in [&key, &other] {
        assert_eq!(run(&client, &format!("SET {key} v")), "OK");
    }
    cluster.wait_replicas_in_sync().unwrap();
    let readonly = client.readonly();
    let before = connections(&mut admin);
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        let beside = scope.spawn(|| paced_reads("another shard", &client, &other, &finished));
        scope.spawn(|| paced_reads("reads from any node", &readonly, &key, &finished));
        // Replies before the broken one are kept, and the others are read again.
        scope.spawn(|| {
            let gets = [
                format!("GET {key}"),
                format!("GET {big}"),
                format!("GET {key}"),
            ];
            while !finished.load(Ordering::SeqCst) {
                let reply = common::pipeline(&client, &gets);
                let view = reply.view();
                let texts: Vec<_> = view
                    .elements()
                    .map(|e| e.text().unwrap_or_default())
                    .collect();
                let right = texts.len() == 3 && texts[0] == b"v" && texts[2] == b"v";
                let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
                assert!(right && texts[1] == value, "{lengths:?}");
                whole.fetch_add(1, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            while !finished.load(Ordering::SeqCst) {
                let reply = client.command(&[b"GET", big.as_bytes()]).whole();
                let text = reply.view().text().unwrap_or_default();
                assert_eq!(code(reply.view()), Code::Ok, "{}", show(reply.view()));
                assert!(text == value, "an incomplete reply of {} bytes", text.len());
                whole.fetch_add(1, Ordering::SeqCst);
            }
        });
        let tags = std::slice::from_ref(&key);
        let writing = scope.spawn(|| append_tokens(&client, tags, 4, WriteMode::Single, &finished));
        let piping =
            scope.spawn(|| append_tokens(&client, tags, 1, WriteMode::Pipeline(20), &finished));
        for _ in 0..8 {
            pause(100 * MS);
            admin_command(
                &mut admin,
                &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
            );
        }
        finished.store(true, Ordering::SeqCst);
        let mut history = writing.join().unwrap();
        history.merge(piping.join().unwrap());
        history.print("connections were killed");
        history.assert_errors_among("connections were killed", &[Code::Io]);
        let beside = beside.join().unwrap();
        assert!(p99(&beside) < 50 * MS, "{:?}", p99(&beside));
        verify_history(cluster, &history, false, "connections were killed");
    });
    // A read detects idle connections that were killed last; a write would be uncertain.
    assert_eq!(run(&client, &format!("GET {key}")), "v");
    assert_eq!(run(&client, &format!("DEL {big}")), "1");
    let new = connections(&mut admin) - before;
    println!(
        "{} whole replies of 20 MiB, {new} new connections for 8 kills",
        whole.into_inner()
    );
    assert!(new < 8 * 16 + 40, "{new} connections");
}

#[test]
fn paused_server_delivers_no_late_reply_to_another_call() {
    let cluster = &cluster();
    let client = Arc::new(client(
        &(cluster.url() + "?timeout_ms=200&attempt_timeout_ms=80"),
    ));
    let tag = key_of(0, 3, 1);
    let keys: Vec<String> = (0..50).map(|n| format!("{{{tag}}}own{n}")).collect();
    for key in &keys {
        assert_eq!(run(&client, &format!("SET {key} {key}")), "OK");
    }
    let other = key_of(1, 3, 2);
    assert_eq!(run(&client, &format!("SET {other} v")), "OK");
    cluster.wait_replicas_in_sync().unwrap();
    let readonly = client.with("timeout_ms", "2000").readonly();
    let mut admin = admin(cluster, &tag);
    for (what, words) in [
        ("CLIENT PAUSE ALL", &["CLIENT", "PAUSE", "500", "ALL"][..]),
        ("CLIENT PAUSE WRITE", &["CLIENT", "PAUSE", "500", "WRITE"]),
        ("DEBUG SLEEP", &["DEBUG", "SLEEP", "0.5"]),
    ] {
        let (finished, right, late) = (
            AtomicBool::new(false),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            for thread in 0..8usize {
                let (client, keys, finished, right, late) =
                    (&client, &keys, &finished, &right, &late);
                scope.spawn(move || {
                    let mut n = thread;
                    while !finished.load(Ordering::SeqCst) {
                        n += 7;
                        let key = &keys[n % keys.len()];
                        let (got, time) = timed(|| match n % 3 {
                            0 => run_all(client, &[format!("GET {key}")]).concat(),
                            1 => run(client, &format!("GET {key}")),
                            _ => match run(client, &format!("SET {key} {key}")) {
                                ok if ok == "OK" => key.clone(),
                                other => other,
                            },
                        });
                        if got == *key {
                            right.fetch_add(1, Ordering::SeqCst);
                        } else {
                            // Retries that fail until the deadline end with "gave up".
                            assert!(
                                got.contains("(TIMEOUT")
                                    || got.contains("(DOWN)")
                                    || got.contains("(REDIRECTS)"),
                                "{what}: {key} got {got}"
                            );
                            late.fetch_add(1, Ordering::SeqCst);
                        }
                        assert!(time < 400 * MS, "{what}: {time:?}");
                    }
                });
            }
            let beside = scope.spawn(|| paced_reads("another shard", &client, &other, &finished));
            let around =
                scope.spawn(|| paced_reads("reads from any node", &readonly, &keys[0], &finished));
            admin_command(&mut admin, words);
            pause(700 * MS);
            // The node stays ejected for a while after so many timeouts.
            wait_for("the node is used again", || {
                right.load(Ordering::SeqCst) > 100
            });
            finished.store(true, Ordering::SeqCst);
            let (beside, around) = (beside.join().unwrap(), around.join().unwrap());
            assert!(p99(&beside) < 50 * MS, "{what}: {:?}", p99(&beside));
            assert!(
                around[around.len() - 1] < 400 * MS,
                "{what}: {:?}",
                around.last()
            );
        });
        let (right, late) = (right.into_inner(), late.into_inner());
        println!("{what}: {right} right, {late} too late");
        assert!(late > 0, "{what}: {right} right, {late} too late");
    }
}
