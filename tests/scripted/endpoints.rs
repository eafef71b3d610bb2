//! Where nodes are: names with several addresses, hosts that nodes announce, and addresses that change. Each row of
//! docs/endpoints.md names a test.

use crate::common::blackhole::Blackhole;
use crate::common::system_files::with_name_server;
use crate::common::{client, code, is_command, key_of, pause, run, send, show, stat, timed};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use support::{Action, FakeCluster, Listener, slot_of};

/// The addresses in the client's map.
fn topology(client: &Client) -> String {
    show(client.topology().view())
}

// ---- Names with several addresses ------------------------------------------------------------------------------------

#[test]
fn every_address_of_a_name_is_tried() {
    with_name_server(|names| {
        let fake = FakeCluster::new(1);
        let port = fake.port(0);
        // Nothing listens at the others.
        for ips in [
            &["127.0.0.7", "127.0.0.8", "127.0.0.1"][..],
            &["::1", "127.0.0.1"],
            &["127.0.0.1", "127.0.0.7"],
        ] {
            names.set("many.test", ips);
            let client = client(&format!("redis://many.test:{port}"));
            assert_eq!(run(&client, "SET k v"), "OK", "{ips:?}");
        }
        names.set("none.test", &["127.0.0.7", "127.0.0.8"]);
        let client = Client::create(&format!("redis://none.test:{port}?timeout_ms=500"));
        let error = client.error().unwrap().message.clone();
        let why = format!(
            "none.test:{port} refused the connection (at 127.0.0.8, the last of its 2 addresses)"
        );
        assert!(error.contains(&why), "{error}");
    });
}

#[test]
fn dead_address_of_a_name_costs_only_its_share() {
    with_name_server(|names| {
        let fake = FakeCluster::new(1);
        let port = fake.port(0);
        let _dead = Blackhole::at("127.0.0.2", port);
        names.set("half.test", &["127.0.0.2", "127.0.0.1"]);
        let url = format!("redis://half.test:{port}?cluster=no&connect_timeout_ms=600");
        let (client, time) = timed(|| client(&url));
        assert!(time < Duration::from_millis(550), "{time:?}");
        // The address that has failed is the last one from then on, also after the next look-up.
        fake.node(0).close_connections();
        pause(Duration::from_millis(1100));
        let (reply, time) = timed(|| run(&client, "GET k"));
        assert_eq!(reply, "nil");
        assert!(time < Duration::from_millis(200), "{time:?}");
    });
}

#[test]
fn address_that_accepts_and_does_not_serve_is_not_the_last() {
    with_name_server(|names| {
        let fake = FakeCluster::new(1);
        let port = fake.port(0);
        names.set("half.test", &["127.0.0.2", "127.0.0.1"]);
        let listener = || Listener::bind("127.0.0.2".parse().unwrap(), port).unwrap();
        let url = |options| format!("redis://half.test:{port}?connect_timeout_ms=600{options}");
        // A process that is stopped, one that closes, one that speaks another protocol.
        for action in [
            Action::Hang,
            Action::Close,
            Action::send("HTTP/1.1 400\r\n\r\n"),
        ] {
            let _bad = listener().serve(move |_, _| action.clone());
            for options in ["", "&cluster=no"] {
                let (client, time) = timed(|| client(&url(options)));
                assert_eq!(run(&client, "SET k v"), "OK", "{options}");
                assert!(time < Duration::from_millis(800), "{time:?}");
            }
        }
    });
}

#[test]
fn node_without_map_is_not_the_last_address_of_a_name() {
    with_name_server(|names| {
        let fake = FakeCluster::new(1);
        let port = fake.port(0);
        names.set("half.test", &["127.0.0.2", "127.0.0.1"]);
        for answer in [
            "*0\r\n",
            "-LOADING Redis is loading the dataset in memory\r\n",
        ] {
            let bad = FakeCluster::on_one_port(port, &["127.0.0.2"]);
            bad.on(0, move |_, command| {
                is_command(command, "CLUSTER SLOTS").then(|| Action::send(answer))
            });
            let client = client(&format!("redis://half.test:{port}"));
            assert_eq!(run(&client, "SET k v"), "OK", "{answer}");
        }
    });
}

#[test]
fn address_of_another_node_is_not_the_last_of_a_name() {
    with_name_server(|names| {
        let fake = FakeCluster::new(1);
        let port = fake.port(0);
        let other = FakeCluster::on_one_port(port, &["127.0.0.2"]);
        other.set_id(0, 77);
        // The record of a node that was replaced is still there.
        fake.announce(0, Some("node.test"), port);
        names.set("node.test", &["127.0.0.2", "127.0.0.1"]);
        let client = client(&fake.url());
        let (reply, time) = timed(|| run(&client, "SET k v"));
        assert_eq!(reply, "OK");
        assert!(time < Duration::from_millis(500), "{time:?}");
        assert_eq!((other.calls("SET"), fake.calls("SET")), (0, 1));
    });
}

#[test]
fn configuration_endpoint_is_only_asked_for_the_map() {
    with_name_server(|names| {
        let ips = ["127.0.2.1", "127.0.2.2", "127.0.2.3"];
        let fake = FakeCluster::on_one_port(0, &ips);
        names.set("clustercfg.test", &ips);
        let client = client(&format!("redis://clustercfg.test:{}", fake.port(0)));
        for n in 0..3 {
            assert_eq!(run(&client, &format!("SET {} v", key_of(n, 3, 0))), "OK");
            assert_eq!(fake.node(n).calls("SET"), 1);
        }
        assert_eq!(stat(&client, "moved"), 0);
        let map = topology(&client);
        assert!(!map.contains("clustercfg.test"), "{map}");
    });
}

#[test]
fn empty_host_behind_a_name_with_many_addresses_is_the_answering_one() {
    with_name_server(|names| {
        let ips = ["127.0.2.4", "127.0.2.5", "127.0.2.6"];
        let fake = FakeCluster::on_one_port(0, &ips);
        let port = fake.port(0);
        // The node that answers does not know its own address.
        fake.announce(1, Some(""), port);
        names.set("many.test", &[ips[1], ips[0], ips[2]]);
        let client = client(&format!("redis://many.test:{port}"));
        let map = topology(&client);
        assert!(map.contains(&format!("127.0.2.5:{port}")), "{map}");
        for n in 0..3 {
            assert_eq!(run(&client, &format!("SET {} v", key_of(n, 3, 0))), "OK");
        }
        assert_eq!(stat(&client, "moved"), 0);
    });
}

#[test]
fn search_domain_and_trailing_dot_are_resolved() {
    with_name_server(|names| {
        let fake = FakeCluster::new(1);
        names.set("redis.cluster.test", &["127.0.0.1"]);
        for host in [
            "redis",
            "redis.cluster.test",
            "redis.cluster.test.",
            "REDIS",
        ] {
            let client = client(&format!("redis://{host}:{}", fake.port(0)));
            assert_eq!(run(&client, "SET k v"), "OK", "{host}");
        }
        let client = Client::create(&format!("redis://redis.:{}?timeout_ms=500", fake.port(0)));
        let error = client.error().unwrap().message.clone();
        assert!(error.contains("redis. does not resolve"), "{error}");
    });
}

// ---- What nodes announce ---------------------------------------------------------------------------------------------

/// Sends a command to each of two shards, one of them by MOVED and one by ASK.
fn use_two_shards(fake: &FakeCluster, client: &Client) {
    let (moved, asked) = (key_of(0, 2, 1), key_of(1, 2, 2));
    let slot = slot_of(moved.as_bytes());
    fake.assign(slot..=slot, 1);
    assert_eq!(run(client, &format!("SET {moved} v")), "OK");
    let slot = slot_of(asked.as_bytes());
    let (host, port) = fake.announced(0);
    let ask = format!("-ASK {slot} {host}:{port}\r\n");
    fake.on(1, move |_, command| {
        is_command(command, "SET").then(|| Action::send(&ask))
    });
    assert_eq!(run(client, &format!("SET {asked} v")), "OK");
    fake.off(1);
    assert_eq!(fake.node(0).calls("ASKING"), 1);
    assert_eq!((stat(client, "moved"), stat(client, "ask")), (1, 1));
}

#[test]
fn unknown_endpoint_is_the_host_that_answered() {
    for host in [None, Some(""), Some("0.0.0.0"), Some("::"), Some("[::]")] {
        let fake = FakeCluster::new(2);
        for node in 0..2 {
            fake.announce(node, host, fake.port(node));
        }
        let client = client(&format!("redis://proxy.localhost:{}", fake.port(0)));
        let map = topology(&client);
        for node in 0..2 {
            let name = format!("proxy.localhost:{}", fake.port(node));
            assert!(map.contains(&name), "{host:?}: {map}");
        }
        use_two_shards(&fake, &client);
    }
}

#[test]
fn question_mark_endpoint_is_the_ip_of_its_metadata() {
    let fake = FakeCluster::new(2);
    // Node 0 has a hostname, node 1 has none yet.
    fake.announce(0, Some("n0.localhost"), fake.port(0));
    fake.announce(1, Some("?"), fake.port(1));
    fake.set_metadata(1, &[("ip", "127.0.0.1")]);
    let known = client(&fake.url());
    let map = topology(&known);
    for name in [
        format!("n0.localhost:{}", fake.port(0)),
        format!("127.0.0.1:{}", fake.port(1)),
    ] {
        assert!(map.contains(&name), "{map}");
    }
    let key = key_of(0, 2, 1);
    let slot = slot_of(key.as_bytes());
    fake.assign(slot..=slot, 1);
    // MOVED ?:port says nothing: the map is refreshed.
    assert_eq!(run(&known, &format!("SET {key} v")), "OK");
    assert_eq!(stat(&known, "moved"), 0);

    // Without its address, the slots of a node cannot be used, and the others can.
    fake.set_metadata(1, &[("ip", "")]);
    let client = client(&(fake.url() + "?timeout_ms=300"));
    assert_eq!(run(&client, &format!("SET {} v", key_of(0, 2, 5))), "OK");
    let reply = send(&client, &format!("SET {} v", key_of(1, 2, 0)));
    assert_eq!(code(reply.view()), Code::Down, "{}", show(reply.view()));
}

#[test]
fn ipv6_hosts_are_used_with_and_without_brackets() {
    if TcpListener::bind("[::1]:0").is_err() {
        return println!("not run: there is no IPv6");
    }
    for host in ["::1", "[::1]", "0:0:0:0:0:0:0:1"] {
        let fake = FakeCluster::at("::1", 2);
        for node in 0..2 {
            fake.announce(node, Some(host), fake.port(node));
        }
        let client = client(&format!("redis://[::1]:{}", fake.port(0)));
        let map = topology(&client);
        for node in 0..2 {
            let name = format!("[::1]:{}", fake.port(node));
            assert!(map.contains(&name), "{host}: {map}");
        }
        use_two_shards(&fake, &client);
    }
    let error = Client::create("redis://::1:7000")
        .error()
        .unwrap()
        .message
        .clone();
    assert!(
        error.contains("write an IPv6 address in brackets"),
        "{error}"
    );
}

#[test]
fn replica_on_another_port_of_the_same_host_serves_reads() {
    // As ElastiCache Serverless announces itself: one host name, the primary and a replica on two ports.
    let fake = FakeCluster::with_replicas(1, 1);
    for node in 0..2 {
        fake.announce(node, Some("serverless.localhost"), fake.port(node));
    }
    let url = format!("redis://serverless.localhost:{}", fake.port(0));
    let writer = client(&url);
    assert_eq!(run(&writer, "SET k v"), "OK");
    let reader = writer.with("read_from", "replica");
    assert_eq!(run(&reader, "GET k"), "v");
    assert_eq!(
        (fake.node(0).calls("SET"), fake.node(1).calls("SET")),
        (1, 0)
    );
    assert_eq!(
        (fake.node(0).calls("GET"), fake.node(1).calls("GET")),
        (0, 1)
    );
    assert_eq!(fake.node(1).calls("READONLY"), 1);

    // A proxy fleet that does not know which port was used reports one id at both.
    let id = format!("$40\r\n{:040x}\r\n", 1);
    fake.on(1, move |_, command| {
        is_command(command, "CLUSTER MYID").then(|| Action::send(&id))
    });
    let reader = client(&(url + "?read_from=replica"));
    assert_eq!(run(&reader, "GET k"), "v");
}

#[test]
fn address_map_applies_to_map_and_redirections() {
    let fake = FakeCluster::new(2);
    // Not reachable from here.
    for node in 0..2 {
        fake.announce(node, Some("192.0.2.1"), 6379 + node as u16);
    }
    let map: Vec<String> = (0..2)
        .map(|node| format!("192.0.2.1:{}=127.0.0.1:{}", 6379 + node, fake.port(node)))
        .collect();
    let client = client(&format!("{}?address_map={}", fake.url(), map.join(",")));
    use_two_shards(&fake, &client);
}

// ---- Addresses that change -------------------------------------------------------------------------------------------

#[test]
fn cluster_whose_addresses_all_change_is_found_by_its_name() {
    with_name_server(|names| {
        let ips = |network: u8| (1..=12).map(move |n| format!("127.0.{network}.{n}"));
        let (old, new): (Vec<String>, Vec<String>) = (ips(31).collect(), ips(32).collect());
        let old: Vec<&str> = old.iter().map(String::as_str).collect();
        let new: Vec<&str> = new.iter().map(String::as_str).collect();
        let mut before = FakeCluster::on_one_port(0, &old);
        let port = before.port(0);
        names.set("headless.test", &old);
        let client = client(&format!("redis://headless.test:{port}"));
        for n in 0..12 {
            assert_eq!(run(&client, &format!("SET {} v", key_of(n, 12, 0))), "OK");
        }
        // All pods restart with other addresses. Packets to the old ones are lost.
        for node in 0..12 {
            before.stop(node);
        }
        let _lost: Vec<Blackhole> = old.iter().map(|ip| Blackhole::at(ip, port)).collect();
        let after = FakeCluster::on_one_port(port, &new);
        names.set("headless.test", &new);
        let (reply, time) = timed(|| run(&client, &format!("SET {} v", key_of(5, 12, 0))));
        assert_eq!(reply, "OK");
        println!("found after {time:?}");
        assert!(time < Duration::from_millis(2500), "{time:?}");
        let (_, time) = timed(|| {
            for n in 0..12 {
                assert_eq!(run(&client, &format!("SET {} v", key_of(n, 12, 0))), "OK");
            }
        });
        assert!(time < Duration::from_millis(500), "{time:?}");
        assert!(after.calls("SET") >= 13);
    });
}

// ---- Load balancers --------------------------------------------------------------------------------------------------

/// Forwards connections to the ports in turn.
fn load_balancer(ports: Vec<u16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (client, port) in listener.incoming().zip(ports.into_iter().cycle()) {
            let client = client.unwrap();
            let Ok(node) = TcpStream::connect(("127.0.0.1", port)) else {
                continue;
            };
            for (from, to) in [(&client, &node), (&node, &client)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || {
                    // Ends with either side.
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    port
}

#[test]
fn load_balancer_before_all_nodes_is_only_a_seed() {
    let fake = FakeCluster::new(3);
    let balancer = load_balancer((0..3).map(|node| fake.port(node)).collect());
    let client = client(&format!("redis://127.0.0.1:{balancer}"));
    for n in 0..9 {
        let key = key_of(n % 3, 3, n);
        assert_eq!(run(&client, &format!("SET {key} v")), "OK");
    }
    assert_eq!(stat(&client, "moved"), 0);
    assert!(!topology(&client).contains(&balancer.to_string()));
    // Each refresh may reach another node.
    for _ in 0..3 {
        assert_eq!(show(client.refresh().view()), "OK");
    }
}
