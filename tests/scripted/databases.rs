//! Numbered databases: which connection a command is sent on, and what follows if a node does not have the database.

use crate::common::serial::{in_child_process, in_forked_child, scripted_nodes, url_of};
use crate::common::{
    atomic, client, code, is_command, is_sent, key_of, pipeline, run, run_all, send, show, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::{Action, Command, FakeCluster, Script, slot_of};

const OUT_OF_RANGE: &[u8] = b"-ERR DB index is out of range\r\n";

/// The database that each connection has selected, by node and connection.
type Selected = Arc<Mutex<HashMap<(usize, usize), String>>>;

/// Makes each node check that a key `dbN:...` is used on connections of database N. Returns what was wrong.
fn check_databases(fake: &FakeCluster, nodes: usize) -> Arc<Mutex<Vec<String>>> {
    let (selected, wrong) = (Selected::default(), Arc::<Mutex<Vec<String>>>::default());
    for node in 0..nodes {
        let (selected, wrong) = (selected.clone(), wrong.clone());
        let mut usual = fake.default_answer(node);
        fake.on(node, move |connection, command| {
            let word = |i: usize| String::from_utf8_lossy(&command[i]).into_owned();
            let mut selected = selected.lock().unwrap();
            let database = selected.entry((node, connection)).or_insert("0".into());
            if is_command(command, "SELECT") {
                *database = word(1);
                return Some(Action::send("+OK\r\n"));
            }
            let keys = command.iter().skip(1).filter(|arg| arg.starts_with(b"db"));
            for key in keys {
                let prefix = format!("db{database}:");
                if !key.starts_with(prefix.as_bytes()) {
                    let words = command.iter().map(|arg| String::from_utf8_lossy(arg));
                    let words = words.collect::<Vec<_>>().join(" ");
                    wrong
                        .lock()
                        .unwrap()
                        .push(format!("{words} in database {database}"));
                }
            }
            Some(Action::Send(usual(connection, command)))
        });
    }
    wrong
}

#[test]
fn handles_of_different_databases_share_no_connection() {
    let fake = FakeCluster::with_replicas(2, 1);
    let wrong = check_databases(&fake, 4);
    let url = format!("{}/3?connections_per_node=2&timeout_ms=20000", fake.url());
    let three = Arc::new(client(&url));
    let handles: Vec<(u16, Arc<Client>)> = [0u16, 3, 5, 16383]
        .into_iter()
        .flat_map(|n| {
            let primary = three.with("database", &n.to_string());
            let replicas = primary.with("read_from", "any");
            [(n, Arc::new(primary)), (n, Arc::new(replicas))]
        })
        .collect();
    std::thread::scope(|scope| {
        for (n, handle) in &handles {
            for thread in 0..3 {
                scope.spawn(move || {
                    let pinned = handle.pin(b"k");
                    for round in 0..40 {
                        // Connections break meanwhile: the outcome does not matter, but where the command goes.
                        let key = format!("db{n}:{thread}:{}", key_of(round % 2, 2, round));
                        run(handle, &format!("SET {key} {n}"));
                        run(handle, &format!("GET {key}"));
                        run_all(handle, &[format!("SET {key} {n}"), format!("EXISTS {key}")]);
                        run(handle, &format!("EXISTS {key} db{n}:other"));
                        run(handle, &format!("BLPOP {key} 0.001"));
                        atomic(handle, &[format!("SET {key} {n}"), format!("GET {key}")]);
                        run(&pinned, &format!("GET {key}"));
                    }
                });
            }
        }
        scope.spawn(|| {
            for round in 0..30 {
                fake.node(round % 4).close_connections();
                let slot = slot_of(format!("db3:0:{}", key_of(0, 2, round)).as_bytes());
                fake.assign(slot..=slot, round % 2);
                std::thread::yield_now();
            }
        });
    });
    assert_eq!(*wrong.lock().unwrap(), [""; 0]);
    // Each database has been used.
    for (n, handle) in &handles {
        let used = handle.with("timeout_ms", "10000");
        assert_eq!(run(&used, &format!("SET db{n}:k {n}")), "OK");
    }
}

#[test]
fn database_is_selected_in_one_write_with_the_greeting() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/3?cluster=no", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).unwrap();
        let greeting = String::from_utf8_lossy(&buffer[..n]).into_owned();
        let replies = greeting.matches('*').count();
        stream
            .write_all("+OK\r\n".repeat(replies).as_bytes())
            .unwrap();
        let _ = stream.read(&mut buffer);
        greeting
    });
    drop(Client::create(&url));
    let greeting = server.join().unwrap();
    assert!(greeting.starts_with("*2\r\n$5\r\nHELLO\r\n"), "{greeting}");
    assert!(
        greeting.contains("*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"),
        "{greeting}"
    );
}

/// What a node has received that is not part of a greeting or a discovery.
fn commands(script: &Script) -> Vec<String> {
    let all = script.received_text().into_iter().flatten();
    let is_setup = |text: &String| {
        ["HELLO", "CLUSTER", "CLIENT", "SELECT", "READONLY"]
            .iter()
            .any(|name| text.starts_with(name))
    };
    all.filter(|text| !is_setup(text)).collect()
}

#[test]
fn refused_database_fails_create_and_sends_nothing() {
    let fake = FakeCluster::new(2);
    for (refusal, advice) in [
        (
            &b"-ERR SELECT is not allowed in cluster mode\r\n"[..],
            "ERR SELECT is not allowed in cluster mode; only a cluster of Valkey 9 or later has several databases",
        ),
        (
            OUT_OF_RANGE,
            "ERR DB index is out of range; use a lower number, or raise",
        ),
        (
            b"-ERR unknown command\r\n",
            "use database 0, or a server that has several",
        ),
    ] {
        for node in 0..2 {
            fake.on(node, move |_, command| {
                is_command(command, "SELECT").then(|| Action::send(refusal))
            });
        }
        for url in [
            format!("{}/3", fake.url()),
            format!("{}?database=3&protocol=2", fake.url()),
        ] {
            let failed = Client::create(&url);
            let error = failed.error().expect("it is refused");
            assert_eq!(error.code, Code::Invalid, "{error}");
            let first = format!(
                "INVALID 127.0.0.1:{} refused SELECT 3 (option database): ",
                fake.port(0)
            );
            assert!(error.message.starts_with(&first), "{error}");
            assert!(error.message.contains(advice), "{error}");
            assert!(run(&failed, "SET k v").contains("refused SELECT 3"));
        }
    }
    assert_eq!(
        commands(fake.node(0)).len() + commands(fake.node(1)).len(),
        0
    );
}

#[test]
fn refused_database_concerns_no_other_database() {
    let fake = FakeCluster::new(2);
    let refuse_five = |_, command: &Command| match is_command(command, "SELECT 5") {
        true => Some(Action::send(OUT_OF_RANGE)),
        false => is_command(command, "SELECT").then(|| Action::send("+OK\r\n")),
    };
    fake.on(0, refuse_five);
    fake.on(1, refuse_five);
    let client = Arc::new(client(&fake.url()));
    let five = Arc::new(client.with("database", "5"));
    let four = client.with("database", "4");
    let key = key_of(0, 2, 0);
    let before = fake.node(0).connections();
    for _ in 0..50 {
        for reply in [
            send(&five, &format!("GET {key}")),
            send(&five, &format!("SET {key} 5")),
            pipeline(&five, &[format!("SET {key} 5")]),
            atomic(&five, &[format!("SET {key} 5")]),
            send(&five.pin(key.as_bytes()), &format!("SET {key} 5")),
            *five.command_to(&format!("key:{key}"), &[b"SET", key.as_bytes(), b"5"]),
            send(&five.with("read_from", "any"), &format!("GET {key}")),
            send(&five, &format!("BLPOP {key} 0.1")),
        ] {
            let view = reply.view().at(0).unwrap_or(reply.view());
            let text = show(view);
            assert!(
                text.contains("refused SELECT 5 (option database)"),
                "{text}"
            );
            assert_eq!(
                (code(view), is_sent(view)),
                (Code::Invalid, false),
                "{text}"
            );
        }
    }
    // Each call of each thread would otherwise connect to a node that refuses.
    let opened = fake.node(0).connections() - before;
    assert!(opened < 100, "{opened} connections for 400 commands");
    assert!(
        commands(fake.node(0)).is_empty(),
        "{:?}",
        commands(fake.node(0))
    );
    assert_eq!(run(&client, &format!("SET {key} 0")), "OK");
    assert_eq!(
        run(&four, &format!("GET {key}")),
        "0",
        "the fake has one data set"
    );
    let topology = show(client.topology().view());
    assert!(
        topology.contains("ejected_ms, 0") && !topology.contains("unhealthy"),
        "{topology}"
    );
    // Once the node has the database, the handle works.
    fake.on(0, |_, command| {
        is_command(command, "SELECT").then(|| Action::send("+OK\r\n"))
    });
    wait_for("the database is tried again", || {
        run(&five, &format!("GET {key}")) == "0"
    });
}

#[test]
fn read_is_not_sent_before_its_database_is_selected() {
    let fake = FakeCluster::new(1);
    let selects = Arc::new(AtomicUsize::new(0));
    let seen = selects.clone();
    // The first SELECT is that of the discovery.
    fake.on(0, move |_, command| {
        is_command(command, "SELECT").then(|| match seen.fetch_add(1, Ordering::SeqCst) {
            0 => Action::send("+OK\r\n"),
            _ => Action::send(OUT_OF_RANGE),
        })
    });
    let client = client(&format!("{}/3", fake.url()));
    assert!(run(&client, "GET k").contains("refused SELECT 3"));
    assert_eq!((fake.calls("GET"), selects.load(Ordering::SeqCst)), (0, 2));
}

#[test]
fn database_zero_sends_no_select() {
    let fake = FakeCluster::new(1);
    let client = client(&format!("{}/0", fake.url()));
    assert_eq!(run(&client, "GET k"), "nil");
    assert_eq!(run(&client.with("database", "0"), "GET k"), "nil");
    assert_eq!(fake.calls("SELECT"), 0);
}

#[test]
fn refresh_does_not_depend_on_databases() {
    let fake = FakeCluster::new(1);
    check_databases(&fake, 1);
    let client = client(&format!("{}/3", fake.url()));
    let before = fake.calls("SELECT");
    assert_eq!(show(client.refresh().view()), "OK");
    assert_eq!(fake.calls("SELECT"), before);
}

#[test]
fn select_by_command_is_refused_with_the_option_to_use() {
    let fake = FakeCluster::new(1);
    let client = Arc::new(client(&fake.url()));
    let refusal = "INVALID SELECT changes the database of a connection, and this handle shares its connections: use the \
                   option database (in rdc_with() for a handle of another database), or a handle from rdc_pin() (INVALID)";
    assert_eq!(run(&client, "SELECT 3"), refusal);
    assert_eq!(
        run(&client, "select 0"),
        refusal.replace("INVALID select", "INVALID SELECT")
    );
    let piped = run_all(&client, &["SET k v", "SELECT 3", "GET k"]);
    assert!(piped[1].ends_with(refusal), "{piped:?}");
    let refused = atomic(&client, &["SET k v", "SELECT 3"]);
    assert!(
        show(refused.view()).contains("use the option database"),
        "{}",
        show(refused.view())
    );
    let to_node = client.command_to("random", &[b"SELECT", b"3"]);
    assert!(
        show(to_node.view()).contains("use the option database"),
        "{}",
        show(to_node.view())
    );
    assert_eq!(fake.calls("SELECT"), 0);
}

#[test]
fn pinned_handle_returns_to_the_database_of_its_handle() {
    let fake = FakeCluster::new(1);
    let wrong = check_databases(&fake, 1);
    let pinned = client(&format!("{}/3", fake.url())).pin(b"k");
    assert_eq!(run(&pinned, "SET db3:k 1"), "OK");
    assert_eq!(run(&pinned, "SELECT 5"), "OK");
    assert_eq!(run(&pinned, "SET db5:k 1"), "OK");
    assert_eq!(run(&pinned, "RESET"), "RESET");
    assert_eq!(run(&pinned, "SET db3:k 2"), "OK");
    // What the handle's option says is not lost with the connection; what SELECT said is.
    fake.node(0).close_connections();
    assert_eq!(run(&pinned, "GET db3:k"), "2");
    assert_eq!(run(&pinned, "SELECT 5"), "OK");
    fake.node(0).close_connections();
    assert!(run(&pinned, "GET db5:k").contains("with it SELECT: send RESET, or SELECT again"));
    assert_eq!(run(&pinned, "SELECT 5"), "OK");
    assert_eq!(run(&pinned, "GET db5:k"), "1");
    assert_eq!(*wrong.lock().unwrap(), [""; 0]);
}

#[test]
fn forked_child_keeps_the_database() {
    let fake = scripted_nodes(1);
    let wrong = fake.as_ref().map(|fake| check_databases(fake, 1));
    in_child_process(&url_of(&fake), |url| {
        let three = client(&format!("{url}/3"));
        let five = three.with("database", "5");
        let pinned = five.pin(b"k");
        assert_eq!(run(&three, "SET db3:k 1"), "OK");
        assert_eq!(run(&pinned, "SET db5:k 1"), "OK");
        assert!(in_forked_child(|| {
            run(&three, "GET db3:k") == "1"
                && run(&five, "GET db5:k") == "1"
                && run(&pinned, "GET db5:k") == "1"
        }));
    });
    if let Some(wrong) = wrong {
        assert_eq!(*wrong.lock().unwrap(), [""; 0]);
    }
}

#[test]
fn explain_and_topology_say_the_database() {
    let fake = FakeCluster::new(1);
    check_databases(&fake, 1);
    let three = client(&format!("{}/3", fake.url()));
    for (handle, database) in [(&three, 3), (&three.with("database", "5"), 5)] {
        let plan = handle.explain(&[b"GET", b"k"]);
        let of_plan = plan.view().find("database").and_then(|v| v.int());
        let topology = handle.topology();
        let shard = topology.view().at(0).unwrap();
        let of_shard = shard.find("database").and_then(|v| v.int());
        assert_eq!((of_plan, of_shard), (Some(database), Some(database)));
    }
}
