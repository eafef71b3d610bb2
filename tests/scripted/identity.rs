//! Which node is at an address: servers that have taken the address of a node, and clusters that were created anew.

use crate::common::serial::in_child_process;
use crate::common::{client, code, is_command, is_sent, key_of, run, send, show, stat, wait_for};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use rediscluster::log;
use std::sync::{Arc, Mutex};
use support::{Action, FakeCluster};

const DISABLED: &str = "-ERR This instance has cluster support disabled\r\n";

/// The ways in which a client asks.
const OPTIONS: [&str; 4] = [
    "?timeout_ms=700",
    "?timeout_ms=700&cluster=yes",
    "?timeout_ms=700&protocol=2",
    "?timeout_ms=700&protocol=2&password=secret",
];

/// A read finds out that its connection was closed, and is repeated.
fn notice_closed_connections(client: &Client, key: &str) {
    run(client, &format!("GET {key}"));
}

/// From now on, a server without cluster support is at the address of this node.
fn disable_cluster(fake: &FakeCluster, node: usize) {
    let mut usual = fake.default_answer(node);
    fake.on(node, move |connection, command| {
        if is_command(command, "HELLO 3") {
            let hello = usual(connection, command);
            let hello = String::from_utf8(hello).unwrap();
            return Some(Action::send(
                hello.replace("$7\r\ncluster", "$10\r\nstandalone"),
            ));
        }
        if is_command(command, "CLUSTER") || is_command(command, "READONLY") {
            return Some(Action::send(DISABLED));
        }
        is_command(command, "SET")
            .then(|| Action::send("+OK\r\n"))
            .or_else(|| {
                let is_read = is_command(command, "GET");
                is_read.then(|| Action::send("$5\r\nalien\r\n"))
            })
    });
    fake.node(node).close_connections();
}

/// From now on, a node of another cluster is at the address of this node.
fn replace_node(fake: &FakeCluster, node: usize, other: &FakeCluster, by: usize) {
    let mut answer = other.default_answer(by);
    fake.on(node, move |connection, command| {
        Some(Action::Send(answer(connection, command)))
    });
    fake.node(node).close_connections();
}

/// A cluster with other ids.
fn other_cluster() -> FakeCluster {
    let other = FakeCluster::new(3);
    (0..3).for_each(|node| other.set_id(node, 100 + node));
    other
}

fn shards(client: &Client) -> usize {
    client.topology().view().len()
}

fn refreshed(client: &Client) -> String {
    show(client.refresh().view())
}

#[test]
fn server_without_cluster_support_does_not_replace_cluster() {
    for options in OPTIONS {
        let fake = FakeCluster::new(3);
        let client = client(&(fake.url() + options));
        for node in 0..3 {
            assert_eq!(run(&client, &format!("SET {} v", key_of(node, 3, 1))), "OK");
        }
        disable_cluster(&fake, 1);
        let before = fake.node(1).calls("SET");
        notice_closed_connections(&client, &key_of(1, 3, 1));
        for _ in 0..4 {
            assert_eq!(refreshed(&client), "OK", "{options}");
            assert_eq!(shards(&client), 3, "{options}");
        }
        for node in [0, 2] {
            let key = key_of(node, 3, 2);
            assert_eq!(run(&client, &format!("SET {key} v")), "OK", "{options}");
            assert_eq!(run(&client, &format!("GET {key}")), "v", "{options}");
        }
        for command in ["SET", "GET"] {
            let words = format!("{command} {} v", key_of(1, 3, 2));
            let words = words
                .strip_suffix(" v")
                .filter(|_| command == "GET")
                .unwrap_or(&words);
            let reply = send(&client, words);
            let text = show(reply.view());
            assert_eq!(code(reply.view()), Code::Connect, "{options}: {text}");
            let node = format!("127.0.0.1:{}", fake.port(1));
            for part in [
                node.as_str(),
                "without cluster support",
                &format!("{:040x}", 2),
            ] {
                assert!(text.contains(part), "{options}: {part}: {text}");
            }
        }
        let reply = send(&client, &format!("SET {} v", key_of(1, 3, 2)));
        assert!(!is_sent(reply.view()), "{}", show(reply.view()));
        assert_eq!(fake.node(1).calls("SET"), before, "{options}");
        // It comes back as the node that it was.
        fake.off(1);
        wait_for("the node is used again", || {
            run(&client, &format!("SET {} v", key_of(1, 3, 2))) == "OK"
        });
    }
}

#[test]
fn cluster_wins_over_first_seed_without_cluster_support() {
    for options in OPTIONS {
        let fake = FakeCluster::new(3);
        disable_cluster(&fake, 0);
        let client = client(&(fake.url() + options));
        assert_eq!(shards(&client), 3, "{options}");
        assert_eq!(run(&client, &format!("SET {} v", key_of(1, 3, 2))), "OK");
        let text = run(&client, &format!("SET {} v", key_of(0, 3, 2)));
        assert!(
            text.contains("without cluster support"),
            "{options}: {text}"
        );
        assert_eq!(fake.node(0).calls("SET"), 0, "{options}");
    }
}

#[test]
fn standalone_server_is_used_if_all_seeds_are_standalone() {
    let mut fake = FakeCluster::new(2);
    (0..2).for_each(|node| disable_cluster(&fake, node));
    let one = format!("redis://127.0.0.1:{}", fake.port(1));
    for url in [fake.url(), one] {
        let client = client(&url);
        assert_eq!(run(&client, "SET k v"), "OK", "{url}");
        assert_eq!(refreshed(&client), "OK");
        assert_eq!(shards(&client), 1);
    }
    // A node that cannot be asked may be one of a cluster.
    fake.stop(1);
    let doubtful = Client::create(&(fake.url() + "?timeout_ms=300"));
    let error = doubtful.error().expect("not every seed has said so");
    assert!(
        error
            .message
            .contains("has no cluster support, but not every host"),
        "{error}"
    );
}

#[test]
fn vanished_cluster_is_not_replaced_by_standalone_servers() {
    let fake = FakeCluster::new(3);
    let client = client(&(fake.url() + "?timeout_ms=300"));
    assert_eq!(run(&client, "SET k v"), "OK");
    (0..3).for_each(|node| disable_cluster(&fake, node));
    let before = fake.calls("SET");
    notice_closed_connections(&client, "k");
    for _ in 0..3 {
        let text = refreshed(&client);
        assert!(
            text.contains("has no cluster support, so it does not replace"),
            "{text}"
        );
    }
    let text = run(&client, "SET k v");
    assert!(text.contains("without cluster support"), "{text}");
    assert_eq!(fake.calls("SET"), before);
}

#[test]
fn node_of_another_cluster_gets_no_command() {
    for options in OPTIONS {
        let (fake, other) = (FakeCluster::new(3), other_cluster());
        let client = client(&(fake.url() + options));
        let key = key_of(1, 3, 7);
        other.put(&key, "alien");
        assert_eq!(run(&client, &format!("SET {key} v")), "OK");
        replace_node(&fake, 1, &other, 1);
        notice_closed_connections(&client, &key);
        for _ in 0..4 {
            assert_eq!(refreshed(&client), "OK", "{options}");
        }
        for words in [format!("SET {key} w"), format!("GET {key}")] {
            let text = run(&client, &words);
            let (found, expected) = (format!("node {:040x}", 101), format!("node {:040x}", 2));
            assert!(
                text.contains(&found) && text.contains(&expected),
                "{options}: {text}"
            );
        }
        assert_eq!(other.value(&key).unwrap(), b"alien", "{options}");
        assert_eq!(run(&client, &format!("SET {} v", key_of(0, 3, 1))), "OK");
        assert_eq!(fake.node(1).calls("SET"), 1, "{options}");
    }
}

#[test]
fn replica_of_another_cluster_serves_no_read() {
    let fake = FakeCluster::with_replicas(1, 1);
    fake.put("k", "v");
    let readonly = client(&fake.url()).readonly();
    let other = other_cluster();
    other.put("k", "alien");
    replace_node(&fake, 1, &other, 0);
    for _ in 0..40 {
        assert_eq!(run(&readonly, "GET k"), "v");
    }
}

#[test]
fn node_with_new_id_is_used_after_refresh() {
    let fake = FakeCluster::new(3);
    let client = client(&(fake.url() + "?timeout_ms=2000"));
    let key = key_of(1, 3, 1);
    assert_eq!(run(&client, &format!("SET {key} v")), "OK");
    // CLUSTER RESET HARD, and joined again. No connection breaks.
    fake.set_id(1, 50);
    assert_eq!(refreshed(&client), "OK");
    assert_eq!(run(&client, &format!("SET {key} w")), "OK");
    // The same with broken connections, and no refresh before the command.
    fake.set_id(1, 51);
    fake.node(1).close_connections();
    assert_eq!(run(&client, &format!("GET {key}")), "w");
    fake.set_id(1, 52);
    fake.node(1).close_connections();
    notice_closed_connections(&client, &key);
    assert_eq!(run(&client, &format!("SET {key} x")), "OK");
    assert_eq!(fake.value(&key).unwrap(), b"x");
}

/// What the library logs, in a process of its own.
fn logged() -> Arc<Mutex<Vec<String>>> {
    let messages: Arc<Mutex<Vec<String>>> = Arc::default();
    let said = messages.clone();
    let logger = move |_, message: &str| said.lock().unwrap().push(message.to_string());
    log::set(Some(Arc::new(logger)), log::WARN);
    messages
}

#[test]
fn cluster_created_anew_is_adopted_with_a_warning() {
    in_child_process("", |_| {
        let messages = logged();
        let fake = FakeCluster::new(3);
        let client = client(&(fake.url() + "?timeout_ms=3000"));
        assert_eq!(run(&client, "SET k v"), "OK");
        (0..3).for_each(|node| fake.set_id(node, 200 + node));
        (0..3).for_each(|node| fake.node(node).close_connections());
        assert_eq!(run(&client, "GET k"), "v");
        assert_eq!(run(&client, "SET k w"), "OK");
        assert_eq!(fake.value("k").unwrap(), b"w");
        let messages = messages.lock().unwrap();
        let is_told = |text: &&String| text.contains("no node of the cluster is left");
        assert_eq!(messages.iter().filter(is_told).count(), 1, "{messages:?}");
    });
}

#[test]
fn refusals_that_are_ignored_are_logged_once_for_each_node() {
    in_child_process("", |_| {
        let messages = logged();
        let fake = FakeCluster::new(1);
        fake.on(0, |_, command| {
            let is_auth = is_command(command, "AUTH");
            is_auth.then(|| Action::send("-ERR Client sent AUTH, but no password is set\r\n"))
        });
        let url = fake.url().replace("redis://", "redis://:secret@");
        let client = client(&(url + "?protocol=2"));
        for _ in 0..3 {
            assert_eq!(run(&client, "GET k"), "nil");
            fake.node(0).close_connections();
        }
        let messages = messages.lock().unwrap();
        let is_told = |text: &&String| text.contains("refused AUTH, and is used without it");
        assert_eq!(messages.iter().filter(is_told).count(), 1, "{messages:?}");
        assert!(!messages.concat().contains("secret"));
    });
}

#[test]
fn recycled_addresses_lead_to_new_cluster_if_most_seeds_say_so() {
    let (mut fake, other) = (FakeCluster::new(3), other_cluster());
    let client = client(&(fake.url() + "?timeout_ms=700"));
    assert_eq!(run(&client, "SET k v"), "OK");
    // One of three seeds, and the others do not answer.
    fake.stop(2);
    replace_node(&fake, 0, &other, 0);
    fake.on(1, |_, _| Some(Action::Close));
    fake.node(1).close_connections();
    for _ in 0..4 {
        let text = refreshed(&client);
        assert!(text.contains("belongs to another cluster"), "{text}");
    }
    assert_eq!(shards(&client), 3);
    assert_ne!(run(&client, "SET k v"), "OK");
    assert_eq!(other.calls("SET"), 0);
    // Two of three.
    replace_node(&fake, 1, &other, 1);
    wait_for("the other cluster is used", || {
        run(&client, "SET k new") == "OK"
    });
    assert_eq!(other.value("k").unwrap(), b"new");
}

#[test]
fn former_node_in_another_cluster_does_not_outvote_the_rest() {
    let (fake, other) = (FakeCluster::new(3), other_cluster());
    let client = client(&(fake.url() + "?timeout_ms=700"));
    // It has kept its id, and serves slots of the other cluster.
    other.set_id(1, 2);
    replace_node(&fake, 1, &other, 1);
    for _ in 0..6 {
        assert_eq!(refreshed(&client), "OK");
        assert_eq!(run(&client, &format!("SET {} v", key_of(0, 3, 1))), "OK");
    }
    assert!(fake.value(key_of(0, 3, 1)).is_some());
    assert!(other.value(key_of(0, 3, 1)).is_none());
}

#[test]
fn unknown_identity_is_not_checked() {
    for refusal in [
        "-NOPERM this user has no permissions to run the 'cluster|myid' command\r\n",
        "-ERR unknown subcommand 'MYID'\r\n",
        "+OK\r\n",
    ] {
        let fake = FakeCluster::new(2);
        for node in 0..2 {
            fake.on(node, move |_, command| {
                is_command(command, "CLUSTER MYID").then(|| Action::send(refusal))
            });
        }
        let client = client(&fake.url());
        for node in 0..2 {
            let key = key_of(node, 2, 1);
            assert_eq!(run(&client, &format!("SET {key} v")), "OK", "{refusal}");
        }
    }
}

/// A proxy of a cluster: all its addresses report the id of some node behind it.
#[test]
fn proxy_whose_ids_contradict_its_map_is_used() {
    let fake = FakeCluster::new(3);
    for node in 0..3 {
        fake.on(node, |connection, command| {
            is_command(command, "CLUSTER MYID")
                .then(|| Action::send(format!("$40\r\n{:040x}\r\n", 900 + connection)))
        });
    }
    let client = client(&fake.url());
    for round in 0..3 {
        for node in 0..3 {
            let key = key_of(node, 3, round);
            notice_closed_connections(&client, &key);
            assert_eq!(run(&client, &format!("SET {key} v")), "OK");
        }
        assert_eq!(refreshed(&client), "OK");
        fake.node(round).close_connections();
    }
    // A refresh does not open them again.
    let connected = || {
        (0..3)
            .map(|node| fake.node(node).connections())
            .sum::<usize>()
    };
    (0..3).for_each(|node| notice_closed_connections(&client, &key_of(node, 3, 9)));
    assert_eq!(refreshed(&client), "OK");
    let before = connected();
    (0..3).for_each(|node| notice_closed_connections(&client, &key_of(node, 3, 9)));
    assert_eq!(connected(), before);
}

#[test]
fn connection_of_loading_node_is_not_kept_unverified() {
    let fake = FakeCluster::new(2);
    let client = client(&(fake.url() + "?timeout_ms=700"));
    let key = key_of(0, 2, 1);
    fake.on(0, |_, command| {
        let is_late = ["CLUSTER", "SET", "GET"];
        let is_late = is_late.iter().any(|name| is_command(command, name));
        is_late.then(|| Action::send("-LOADING the dataset\r\n"))
    });
    fake.node(0).close_connections();
    notice_closed_connections(&client, &key);
    let text = run(&client, &format!("SET {key} v"));
    assert!(text.contains("LOADING"), "{text}");
    // When it has loaded its data, it turns out to be another node. No connection breaks.
    let other = other_cluster();
    let mut answer = other.default_answer(0);
    fake.on(0, move |connection, command| {
        Some(Action::Send(answer(connection, command)))
    });
    let text = run(&client, &format!("SET {key} v"));
    assert!(text.contains("not node"), "{text}");
    assert!(other.value(&key).is_none());
}

#[test]
fn redirections_to_new_addresses_keep_few_connections() {
    let fake = FakeCluster::new(1);
    let client = client(&(fake.url() + "?timeout_ms=5000"));
    let targets: Arc<Vec<FakeCluster>> = Arc::new((0..120).map(|_| FakeCluster::new(1)).collect());
    let ports: Vec<u16> = targets.iter().map(|target| target.port(0)).collect();
    let next = Arc::new(Mutex::new(0));
    for (at, target) in targets.iter().enumerate() {
        let ports = ports.clone();
        target.on(0, move |_, command| {
            if is_command(command, "CLUSTER SLOTS") {
                return Some(Action::Close);
            }
            is_command(command, "SET").then(|| {
                let to = ports[(at + 1) % ports.len()];
                Action::send(format!("-MOVED 1 127.0.0.1:{to}\r\n"))
            })
        });
    }
    let (first, counter) = (ports.clone(), next.clone());
    fake.on(0, move |_, command| {
        // No refresh forgets the targets.
        if is_command(command, "CLUSTER SLOTS") {
            return Some(Action::Close);
        }
        is_command(command, "SET").then(|| {
            let mut n = counter.lock().unwrap();
            *n += 3;
            Action::send(format!(
                "-MOVED 1 127.0.0.1:{}\r\n",
                first[*n % first.len()]
            ))
        })
    });
    let fast = client.with("max_redirects", "2");
    for n in 0..100 {
        assert!(run(&fast, &format!("SET k{n} v")).contains("REDIRECTS"));
    }
    let open = established_connections(&ports);
    assert!(open <= 2 * 32, "{open} connections are open");
    assert!(stat(&client, "moved") >= 300);
}

#[test]
fn disallowed_redirection_fails_and_names_option() {
    for kind in ["MOVED", "ASK"] {
        let (fake, other) = (FakeCluster::new(1), FakeCluster::new(1));
        let to = format!("-{kind} 1 127.0.0.2:{}\r\n", other.port(0));
        fake.on(0, move |_, command| {
            is_command(command, "SET").then(|| Action::send(&to))
        });
        let client = client(&(fake.url() + "?allowed_hosts=127.0.0.1/32,*.example"));
        let reply = send(&client, "SET k v");
        let text = show(reply.view());
        assert_eq!(code(reply.view()), Code::Invalid, "{text}");
        assert!(!is_sent(reply.view()), "{text}");
        for part in ["127.0.0.2:", "allowed_hosts"] {
            assert!(text.contains(part), "{text}");
        }
        // The map is not changed.
        fake.off(0);
        assert_eq!(run(&client, "SET k v"), "OK");
        assert_eq!(fake.calls("SET"), 2);
    }
}

#[test]
fn disallowed_nodes_of_map_get_no_connection() {
    let fake = FakeCluster::with_replicas(2, 1);
    fake.put(key_of(0, 2, 1), "v");
    let url = format!(
        "redis://:secret@127.0.0.1:{}?allowed_hosts=10.0.0.0/8,nodes.example",
        fake.port(0)
    );
    let client = client(&url);
    let readonly = client.readonly();
    // The seed is always allowed, its replica and the other shard are not.
    for _ in 0..10 {
        assert_eq!(run(&readonly, &format!("GET {}", key_of(0, 2, 1))), "v");
    }
    let reply = send(&client, &format!("SET {} v", key_of(1, 2, 1)));
    let text = show(reply.view());
    assert_eq!(code(reply.view()), Code::Invalid, "{text}");
    assert!(
        text.contains("allowed_hosts") && !text.contains("secret"),
        "{text}"
    );
    assert_eq!(refreshed(&client), "OK");
    for node in 1..4 {
        assert_eq!(fake.node(node).connections(), 0, "node {node}");
    }
}

#[test]
fn resolved_addresses_are_held_against_allowed_networks() {
    let fake = FakeCluster::new(1);
    let to_name = |client: &Client| {
        let to = format!("-ASK 1 localhost:{}\r\n", fake.port(0));
        fake.on(0, move |_, command| {
            is_command(command, "SET").then(|| Action::send(&to))
        });
        let reply = send(client, "SET k v");
        (code(reply.view()), show(reply.view()))
    };
    let seed = format!(
        "redis://127.0.0.1:{}?timeout_ms=400&max_redirects=1",
        fake.port(0)
    );
    let refused = client(&format!("{seed}&allowed_hosts=10.0.0.0/8"));
    let (_, text) = to_name(&refused);
    let reason = "resolves to no address in the option allowed_hosts";
    assert!(text.contains(reason), "{text}");
    for allowed in ["127.0.0.0/8", "localhost", "::1,127.0.0.1"] {
        let client = client(&format!("{seed}&allowed_hosts={allowed}"));
        let (code, text) = to_name(&client);
        assert_eq!(code, Code::Redirects, "{allowed}: {text}");
    }
}

/// The number of connections to these local ports.
fn established_connections(ports: &[u16]) -> usize {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_counted = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, remote, state, ..] = fields[..] else {
            return false;
        };
        let port = remote.rsplit(':').next();
        let port = port.and_then(|port| u16::from_str_radix(port, 16).ok());
        state == ESTABLISHED && port.is_some_and(|port| ports.contains(&port))
    };
    table.lines().filter(is_counted).count()
}
