//! Servers without cluster support, their replicas, and proxies.

use crate::common::{atomic, client, code, is_sent, run, run_all, send, show, stat, wait_for};
use rediscluster::cluster::{Client, Pipeline};
use rediscluster::error::Code;
use std::sync::{Arc, Mutex};
use support::{Action, Command, Script, wire};

const DISABLED: &str = "-ERR This instance has cluster support disabled\r\n";
const UNKNOWN: &str = "-ERR unknown command\r\n";

/// Both options under which a server without cluster support is used.
const MODES: [&str; 2] = ["?cluster=auto", "?cluster=no"];

/// What a scripted server is, and what it says.
#[derive(Clone)]
struct Said {
    /// The port of its primary, if it is a replica.
    replica_of: Option<u16>,
    /// What INFO replication lists, as `ip=...,port=...`.
    replicas: Vec<String>,
    offset: u64,
    /// Prefixes of commands, and what is replied to them.
    refusals: Vec<(&'static str, &'static str)>,
    /// The reply to CLUSTER SLOTS of a node of a cluster.
    slots: Option<String>,
}

/// A scripted server. GET returns its port.
struct Node {
    script: Script,
    said: Arc<Mutex<Said>>,
}

impl Node {
    fn start() -> Node {
        let said = Arc::new(Mutex::new(Said {
            replica_of: None,
            replicas: Vec::new(),
            offset: 100,
            refusals: Vec::new(),
            slots: None,
        }));
        let (listener, now) = (Script::listen(), said.clone());
        let port = listener.port();
        let script = listener.serve(move |_, command| answer(&now.lock().unwrap(), port, command));
        Node { script, said }
    }

    fn replica_of(primary: &Node) -> Node {
        let node = Node::start();
        node.change(|said| said.replica_of = Some(primary.port()));
        primary.change(|said| {
            said.replicas
                .push(format!("ip=127.0.0.1,port={}", node.port()))
        });
        node
    }

    /// A proxy that refuses all of this.
    fn proxy(refused: &[&'static str]) -> Node {
        let node = Node::start();
        node.change(|said| said.refusals = refused.iter().map(|name| (*name, UNKNOWN)).collect());
        node
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said.lock().unwrap());
    }

    fn port(&self) -> u16 {
        self.script.port()
    }

    fn url(&self, query: &str) -> String {
        self.script.url() + query
    }

    fn calls(&self, words: &str) -> usize {
        self.script.calls(words)
    }

    /// What each connection has received, without the version of the library.
    fn received(&self) -> Vec<Vec<String>> {
        let mut all = self.script.received_text();
        for commands in &mut all {
            commands.retain(|command| !command.starts_with("CLIENT SETINFO LIB-VER"));
        }
        all
    }
}

fn answer(said: &Said, port: u16, command: &Command) -> Action {
    let text = wire::show(command);
    let is = |words: &str| text.to_ascii_uppercase().starts_with(words);
    if let Some((_, refusal)) = said.refusals.iter().find(|(words, _)| is(words)) {
        return Action::send(refusal);
    }
    let (role, is_write) = match said.replica_of {
        None => ("master", false),
        Some(_) => ("replica", is("SET") || is("MSET")),
    };
    Action::send(match () {
        () if is_write => "-READONLY You can't write against a read only replica.\r\n".to_string(),
        () if is("HELLO") => format!(
            "%4\r\n+server\r\n+redis\r\n+proto\r\n:3\r\n+mode\r\n+standalone\r\n+role\r\n+{role}\r\n"
        ),
        () if is("CLUSTER SLOTS") => said.slots.clone().unwrap_or(DISABLED.to_string()),
        () if is("CLUSTER INFO") && said.slots.is_some() => {
            "$41\r\ncluster_state:ok\r\ncluster_current_epoch:1\r\n".to_string()
        }
        () if is("CLUSTER MYID") && said.slots.is_some() => format!("$40\r\n{port:040x}\r\n"),
        () if is("READONLY") && said.slots.is_some() => "+OK\r\n".to_string(),
        () if is("CLUSTER") || is("READONLY") => DISABLED.to_string(),
        () if is("INFO REPLICATION") => {
            let text = info(said);
            format!("${}\r\n{text}\r\n", text.len())
        }
        () if is("GET") => format!("+{port}\r\n"),
        () if is("MGET") || is("SCAN") => "*2\r\n+0\r\n+x\r\n".to_string(),
        () if is("PING") => "+PONG\r\n".to_string(),
        () => "+OK\r\n".to_string(),
    })
}

fn info(said: &Said) -> String {
    let history = "a".repeat(40);
    let offset = said.offset;
    match said.replica_of {
        Some(primary) => format!(
            "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:{primary}\r\nmaster_link_status:up\r\n\
             slave_repl_offset:{offset}\r\nmaster_replid:{history}\r\n"
        ),
        None => {
            let replicas = said.replicas.iter().enumerate();
            let lines = replicas.map(|(n, replica)| {
                format!("slave{n}:{replica},state=online,offset={offset},lag=0\r\n")
            });
            let lines: String = lines.collect();
            format!(
                "role:master\r\n{lines}master_replid:{history}\r\nmaster_repl_offset:{offset}\r\n"
            )
        }
    }
}

/// The primary and the replicas of the topology, by port.
fn topology(client: &Client) -> Vec<String> {
    let topology = client.topology();
    let shards = topology.view();
    let nodes = shards.elements().flat_map(|shard| {
        let replicas = shard.find("replicas").unwrap();
        shard.find("primary").into_iter().chain(replicas.elements())
    });
    nodes
        .map(|node| show(node.find("address").unwrap()))
        .collect()
}

fn addresses(nodes: &[&Node]) -> Vec<String> {
    nodes.iter().map(|node| node.script.address()).collect()
}

#[test]
fn commands_with_many_keys_arrive_as_one_command() {
    for mode in MODES {
        let node = Node::start();
        let client = Arc::new(client(&node.url(mode)));
        let words = [
            "MSET a 1 b 2 c 3",
            "MGET a b c",
            "DEL a b c",
            "UNLINK a b c",
            "EXISTS a b c",
            "TOUCH a b c",
            "JSON.MGET a b c $",
            "JSON.MSET a $ 1 b $ 2",
            "RENAME a b",
            "SINTERSTORE a b c",
            "EVAL x 2 a b",
            "MSETNX a 1 b 2",
            "BLPOP a b 0",
            "SWAPDB 0 1",
            "MOD.COPY a b",
        ];
        for words in words {
            assert_eq!(
                code(send(&client, words).view()),
                Code::Ok,
                "{mode} {words}"
            );
        }
        let in_pipeline = &words[..12];
        let replies = run_all(&client, in_pipeline);
        assert!(
            !replies.iter().any(|reply| reply.contains('(')),
            "{mode}: {replies:?}"
        );
        for words in in_pipeline {
            assert_eq!(node.calls(words), 2, "{mode} {words}");
        }
        assert_eq!(node.calls("MGET"), 2, "{mode}");
    }
}

#[test]
fn explain_names_one_server_without_slots() {
    let primary = Node::start();
    let replica = Node::replica_of(&primary);
    let readonly = client(&primary.url("?readonly=yes"));
    let plain = client(&primary.url(""));
    let both = show_addresses(&[&primary, &replica]);
    let one = show_addresses(&[&primary]);
    for (client, words, nodes, policy) in [
        (&plain, "MSET a 1 b 2", &one, "one server"),
        (&plain, "RENAME a b", &one, "one server"),
        (&plain, "SCAN 0", &one, "one server, at the primary"),
        (&plain, "SHUTDOWN", &one, "one server, at the primary"),
        (&plain, "MOD.COPY a b", &one, "one server"),
        (&readonly, "MGET a b", &both, "one server"),
        (&readonly, "DBSIZE", &one, "one server, at the primary"),
        (&readonly, "TIME", &both, "any node"),
    ] {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let told = client.explain(&words);
        let field = |name| told.view().find(name).map(show);
        let name = String::from_utf8_lossy(words[0]);
        assert_eq!(field("slots").unwrap(), "[]", "{name}");
        assert_eq!(&field("nodes").unwrap(), nodes, "{name}");
        assert_eq!(field("policy").unwrap(), policy, "{name}");
        assert_eq!(field("error"), None, "{name}");
    }
}

fn show_addresses(nodes: &[&Node]) -> String {
    let mut addresses = addresses(nodes);
    // The order of the topology.
    addresses[1..].sort();
    format!("[{}]", addresses.join(", "))
}

#[test]
fn client_of_primary_asks_for_no_roles() {
    for (mode, discovery) in [
        (
            "?cluster=auto",
            "HELLO 3|CLUSTER MYID|CLUSTER SLOTS|CLUSTER INFO",
        ),
        ("?cluster=no", "HELLO 3"),
    ] {
        let node = Node::start();
        let client = client(&node.url(mode));
        assert_eq!(run(&client, "SET k v"), "OK");
        // A read that is sent with the handshake, on a new connection.
        node.script.close_connections();
        assert_eq!(run(&client, "GET k"), node.port().to_string());
        assert_eq!(run(&client, "SET k v"), "OK");
        let received = node.received();
        let reads = received.concat();
        let reads = reads.iter().filter(|command| *command == "GET k");
        assert_eq!(reads.count(), 1, "{received:?}");
        assert_eq!(received.len(), 3, "{received:?}");
        assert_eq!(received[0].join("|"), discovery);
        let used = match mode {
            "?cluster=no" => "HELLO 3|SET k v",
            _ => "HELLO 3|CLIENT SETINFO LIB-NAME librediscluster|SET k v",
        };
        assert_eq!(received[1].join("|"), used);
    }
}

#[test]
fn proxy_gets_nothing_that_it_need_not_know() {
    let refused = ["HELLO", "CLIENT", "CLUSTER", "READONLY", "INFO", "ROLE"];
    for (options, used) in [
        ("?cluster=no", "PING|GET k"),
        ("?cluster=no&protocol=2", "PING|GET k"),
        ("?cluster=no&password=p", "AUTH p|GET k"),
        ("?cluster=no&client_name=me", "PING|CLIENT SETNAME me|GET k"),
    ] {
        let node = Node::proxy(&refused);
        let client = client(&node.url(options));
        let readonly = client.readonly();
        for round in 0..4 {
            assert_eq!(run(&client, "SET k v"), "OK", "{options}");
            assert_eq!(
                run(&readonly, "GET k"),
                node.port().to_string(),
                "{options}"
            );
            assert_eq!(show(client.refresh().view()), "OK", "{options} {round}");
            node.script.close_connections();
        }
        let received = node.received();
        for (command, times) in [
            ("HELLO", usize::from(!options.contains("protocol"))),
            ("INFO", 1),
            ("CLUSTER", 0),
            ("READONLY", 0),
            ("ROLE", 0),
            ("CLIENT SETINFO", 0),
        ] {
            assert_eq!(
                node.calls(command),
                times,
                "{options} {command}: {received:?}"
            );
        }
        let reads: Vec<String> = received[1..].iter().map(|c| c.join("|")).collect();
        assert!(reads.contains(&used.to_string()), "{options}: {reads:?}");
        assert_eq!(stat(&client, "errors"), 0);
    }
}

#[test]
fn hello_is_asked_again_after_a_failed_connect() {
    let node = Node::proxy(&["HELLO"]);
    let client = client(&node.url("?cluster=no&timeout_ms=300"));
    assert_eq!(run(&client, "SET k v"), "OK");
    assert_eq!(node.calls("HELLO"), 1);
    let full = "-ERR max number of clients reached\r\n";
    node.change(|said| said.refusals = vec![("HELLO", full), ("PING", full)]);
    node.script.close_connections();
    assert_ne!(run(&client, "SET k v"), "OK");
    node.change(|said| said.refusals.clear());
    wait_for("the server is used again", || {
        run(&client, "SET k v") == "OK"
    });
    assert!(node.calls("HELLO") > 1);
}

#[test]
fn seed_that_is_a_replica_leads_to_its_primary() {
    for mode in MODES {
        for options in ["", "&readonly=yes"] {
            let primary = Node::start();
            let replica = Node::replica_of(&primary);
            let client = client(&replica.url(&(mode.to_string() + options)));
            // Its replicas are of no use to a handle that reads from the primary only.
            let known: &[&Node] = match options {
                "" => &[&primary],
                _ => &[&primary, &replica],
            };
            assert_eq!(topology(&client), addresses(known), "{mode}{options}");
            if options.is_empty() {
                assert_eq!(run(&client, "SET k v"), "OK", "{mode}");
                assert_eq!(run(&client, "GET k"), primary.port().to_string(), "{mode}");
            }
        }
    }
}

#[test]
fn seeds_of_one_replication_group_are_accepted() {
    for mode in MODES {
        for protocol in ["", "&protocol=2"] {
            let primary = Node::start();
            let [a, b] = [Node::replica_of(&primary), Node::replica_of(&primary)];
            let url = |nodes: &[&Node]| format!("redis://{}", addresses(nodes).join(","));
            for seeds in [[&a, &b, &primary], [&primary, &a, &b], [&b, &primary, &a]] {
                let client = client(&(url(&seeds) + mode + protocol));
                assert_eq!(run(&client, "SET k v"), "OK", "{mode}{protocol}");
                assert_eq!(
                    run(&client, "GET k"),
                    primary.port().to_string(),
                    "{mode}{protocol}"
                );
                let readonly = client.with("read_from", "replica");
                let replicas = [a.port(), b.port()].map(|port| port.to_string());
                wait_for("a replica is read", || {
                    replicas.contains(&run(&readonly, "GET k"))
                });
                assert_eq!(topology(&client).len(), 3, "{mode}{protocol}");
            }
        }
    }
}

#[test]
fn demoted_primary_leads_to_the_new_one_with_few_requests() {
    for mode in MODES {
        for protocol in ["", "&protocol=2"] {
            let old = Node::start();
            let new = Node::start();
            let client = client(&old.url(&format!("{mode}{protocol}")));
            assert_eq!(run(&client, "SET k v"), "OK");
            let info_calls = old.calls("INFO");
            old.change(|said| said.replica_of = Some(new.port()));
            new.change(|said| said.replicas = vec![format!("ip=127.0.0.1,port={}", old.port())]);
            let refreshes = stat(&client, "refreshes");
            assert_eq!(run(&client, "SET k v"), "OK", "{mode}{protocol}");
            assert_eq!(new.calls("SET"), 1, "{mode}{protocol}");
            // Some were refused before the refresh: the one of the client's creation has just ended.
            assert!(old.calls("SET") < 20, "{mode}{protocol}");
            assert_eq!(
                stat(&client, "refreshes") - refreshes,
                1,
                "{mode}{protocol}"
            );
            assert_eq!(old.calls("INFO") - info_calls, 1, "{mode}{protocol}");
            assert_eq!(
                topology(&client),
                addresses(&[&new, &old]),
                "{mode}{protocol}"
            );
            // What is known now is asked again, so that the next change is found among these nodes.
            old.change(|said| said.replica_of = None);
            new.change(|said| said.replica_of = Some(old.port()));
            assert_eq!(run(&client, "SET k v"), "OK", "{mode}{protocol}");
        }
    }
}

#[test]
fn demoted_primary_serves_no_read_on_a_new_connection() {
    for mode in MODES {
        let (old, new) = (Node::start(), Node::start());
        let client = client(&old.url(mode));
        assert_eq!(run(&client, "GET k"), old.port().to_string());
        old.change(|said| said.replica_of = Some(new.port()));
        // As Sentinel does after a failover.
        old.script.close_connections();
        assert_eq!(run(&client, "GET k"), new.port().to_string(), "{mode}");
        assert_eq!(run(&client, "SET k v"), "OK", "{mode}");
    }
}

#[test]
fn replica_that_hides_its_primary_is_used_in_its_place() {
    for mode in MODES {
        let primary = Node::start();
        let replica = Node::replica_of(&primary);
        replica.change(|said| said.refusals = vec![("INFO", "-NOPERM no right to INFO\r\n")]);
        let client = client(&replica.url(mode));
        assert_eq!(run(&client, "GET k"), replica.port().to_string(), "{mode}");
        let text = run(&client.with("timeout_ms", "300"), "SET k v");
        assert!(text.starts_with("READONLY"), "{mode}: {text}");
    }
}

#[test]
fn pinned_handle_follows_a_demoted_primary() {
    let (old, new) = (Node::start(), Node::start());
    let client = client(&old.url(""));
    let pinned = client.pin(b"k");
    assert_eq!(run(&pinned, "MSET a 1 b 2"), "OK");
    old.change(|said| said.replica_of = Some(new.port()));
    let refused = send(&pinned, "SET k v");
    assert!(!is_sent(refused.view()), "{}", show(refused.view()));
    wait_for("the pinned handle writes to the new primary", || {
        run(&pinned, "SET k v") == "OK"
    });
}

#[test]
fn primary_that_cannot_be_reached_is_kept_with_its_replicas() {
    for mode in MODES {
        let mut primary = Node::start();
        let replica = Node::replica_of(&primary);
        primary.script.stop();
        let client = client(&replica.url(&format!("{mode}&readonly=yes&timeout_ms=500")));
        assert_eq!(
            topology(&client),
            addresses(&[&primary, &replica]),
            "{mode}"
        );
        assert_eq!(run(&client, "GET k"), replica.port().to_string(), "{mode}");
    }
}

#[test]
fn failing_primary_is_not_replaced_by_a_replica_that_only_serves_reads() {
    let mut primary = Node::start();
    let replica = Node::replica_of(&primary);
    let client = client(&primary.url("?timeout_ms=400"));
    let readonly = client.readonly();
    wait_for("the replica is known", || {
        run(&readonly, "GET k");
        topology(&client).len() == 2
    });
    primary.script.stop();
    let before = replica.calls("GET");
    for _ in 0..3 {
        let reply = send(&client, "GET k");
        assert_ne!(code(reply.view()), Code::Ok, "{}", show(reply.view()));
    }
    assert_eq!(replica.calls("GET"), before);
    // It is promoted.
    replica.change(|said| said.replica_of = None);
    wait_for("the new primary is found", || {
        run(&client, "SET k v") == "OK"
    });
    assert_eq!(run(&client, "GET k"), replica.port().to_string());
}

#[test]
fn announced_replica_addresses_are_mapped_and_filtered() {
    let primary = Node::start();
    let replica = Node::start();
    replica.change(|said| said.replica_of = Some(primary.port()));
    let announced = |ip: &str| vec![format!("ip={ip},port={}", replica.port())];
    primary.change(|said| said.replicas = announced("10.9.9.9"));
    let mapped = client(&primary.url("?read_from=replica&address_map=10.9.9.9=127.0.0.1"));
    assert_eq!(run(&mapped, "GET k"), replica.port().to_string());
    let hosts = "allowed_hosts=127.0.0.1";
    let filtered = client(&primary.url(&format!("?read_from=replica&{hosts}")));
    assert_eq!(topology(&filtered), addresses(&[&primary]));
    assert_eq!(run(&filtered, "GET k"), primary.port().to_string());
    // A primary that is not allowed is not asked either.
    let calls = primary.script.connections();
    primary.change(|said| said.replicas = announced("127.0.0.1"));
    let other = Node::start();
    other.change(|said| said.replica_of = Some(primary.port()));
    let url = other.url("?timeout_ms=300&allowed_hosts=127.0.0.2&address_map=127.0.0.2=127.0.0.1");
    let refused = Client::create(&url.replace("127.0.0.1:", "127.0.0.2:"));
    let reply = send(&refused, "SET k v");
    assert!(
        show(reply.view()).contains("allowed_hosts"),
        "{}",
        show(reply.view())
    );
    assert_eq!(primary.script.connections(), calls);
}

#[test]
fn pipeline_of_one_server_keeps_the_order_of_all_keys() {
    let node = Node::start();
    let client = Arc::new(client(&node.url("?timeout_ms=400")));
    node.change(|said| said.refusals = vec![("SET A", "-LOADING the dataset\r\n")]);
    let replies = run_all(&client, &["SET a 1", "SET b 2"]);
    assert!(replies[0].contains("LOADING"), "{replies:?}");
    assert!(
        replies[0].contains("a later command of its slot has run"),
        "{replies:?}"
    );
    assert_eq!(replies[1], "OK");
    assert_eq!(node.calls("SET a"), 1, "it would run behind SET b");
}

#[test]
fn transaction_of_one_server_may_have_any_keys() {
    let node = Node::start();
    node.change(|said| said.refusals = vec![("EXEC", "*3\r\n+OK\r\n:3\r\n+OK\r\n")]);
    let client = Arc::new(client(&node.url("")));
    let reply = atomic(&client, &["MSET a 1 b 2", "DBSIZE", "RENAME a c"]);
    assert_eq!(show(reply.view()), "[OK, 3, OK]");
    let received = node.received();
    let transaction = received.last().unwrap().join("|");
    assert!(
        transaction.ends_with("MULTI|MSET a 1 b 2|DBSIZE|RENAME a c|EXEC"),
        "{transaction}"
    );
}

#[test]
fn reads_see_all_keys_of_earlier_writes() {
    let primary = Node::start();
    let replica = Node::replica_of(&primary);
    let url = primary.url("?read_from=replica&read_your_writes=yes");
    let client = client(&url);
    assert_eq!(run(&client, "GET b"), replica.port().to_string());
    primary.change(|said| said.offset = 200);
    assert_eq!(run(&client, "MSET a 1 b 2"), "OK");
    assert_eq!(
        run(&client, "GET b"),
        primary.port().to_string(),
        "the replica lacks MSET"
    );
    assert_eq!(replica.calls("READONLY"), 0, "nothing redirects there");
    replica.change(|said| said.offset = 200);
    wait_for("the replica has MSET", || {
        run(&client, "GET b") == replica.port().to_string()
    });
}

/// One node of a cluster with all slots.
fn slots_of(node: &Node) -> String {
    let port = node.port();
    format!(
        "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{port:040x}\r\n"
    )
}

#[test]
fn server_that_becomes_a_cluster_is_used_as_one() {
    let node = Node::start();
    let client = Arc::new(client(&node.url("")));
    assert_eq!(run(&client, "MSET a 1 b 2"), "OK");
    let mut pipeline = Pipeline::new(client.clone());
    pipeline.command(&[b"MSET", b"a", b"1", b"b", b"2"]);
    pipeline.command(&[b"MGET", b"a", b"b"]);
    node.change(|said| {
        said.slots = Some(slots_of(&node));
        said.refusals = vec![(
            "MSET A 1 B",
            "-CROSSSLOT Keys don't hash to the same slot\r\n",
        )];
    });
    node.script.close_connections();
    // The first refusal of the cluster shows what the server is now.
    wait_for("the library knows the cluster", || {
        run(&client, "MSET a 1 b 2").contains("a common {hash tag}")
    });
    let (sets, gets) = (node.calls("MSET"), node.calls("MGET"));
    // Queued for the server, executed by the cluster.
    let reply = pipeline.execute();
    let replies: Vec<String> = reply.view().elements().map(show).collect();
    assert!(replies[0].contains("CROSSSLOT"), "{replies:?}");
    assert_eq!(
        (node.calls("MSET") - sets, node.calls("MGET") - gets),
        (0, 2),
        "{replies:?}"
    );
    // It is the cluster's for good.
    node.change(|said| said.slots = None);
    let refresh = show(client.refresh().view());
    assert!(
        refresh.contains("so it does not replace the cluster"),
        "{refresh}"
    );
}

#[test]
fn standalone_seed_does_not_outvote_a_server_that_became_a_cluster() {
    let (first, second) = (Node::start(), Node::start());
    let url = format!("redis://{}", addresses(&[&first, &second]).join(","));
    let client = client(&url);
    assert_eq!(topology(&client), addresses(&[&first]));
    first.change(|said| said.slots = Some(slots_of(&first)));
    assert_eq!(show(client.refresh().view()), "OK");
    let keys: Vec<&[u8]> = vec![b"GET", b"k"];
    let policy = client.explain(&keys).view().find("policy").map(show);
    assert_eq!(policy.as_deref(), Some("one slot"));
}

#[test]
fn standalone_server_is_not_replaced_while_it_says_so() {
    let (first, second) = (Node::start(), Node::start());
    let url = format!("redis://{}", addresses(&[&first, &second]).join(","));
    for mode in MODES {
        let client = client(&(url.clone() + mode));
        for _ in 0..5 {
            assert_eq!(show(client.refresh().view()), "OK");
            assert_eq!(topology(&client), addresses(&[&first]), "{mode}");
        }
    }
}

#[test]
fn proxy_without_cluster_commands_is_named_with_the_option_for_it() {
    let node = Node::proxy(&["CLUSTER"]);
    let refused = Client::create(&node.url(""));
    let error = refused.error().unwrap();
    assert_eq!(error.code, Code::Invalid);
    assert!(error.message.contains("set cluster=no"), "{error}");
}
