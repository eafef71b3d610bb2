//! What real servers announce: hostnames, IPv6, nothing, and two ports. Each row of docs/endpoints.md names a test.

use super::pki::{Pair, names};
use super::tls::PKI;
use crate::common::{client, code, key_of, run, send, show, stat, wait_for};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::net::TcpListener;
use support::{Cluster, slot_of};

fn topology(client: &Client) -> String {
    show(client.topology().view())
}

/// Sets an option of every node; the value may depend on the number of the node.
fn configure(cluster: &Cluster, option: &str, value: impl Fn(usize) -> String) {
    for (n, port) in cluster.ports().into_iter().enumerate() {
        let reply = cluster.command(port, &["CONFIG", "SET", option, &value(n)]);
        assert_eq!(reply.unwrap().text(), "OK", "{option}");
    }
}

/// Waits until every node knows what the others announce.
fn wait_announced(cluster: &Cluster, host: impl Fn(usize) -> String) {
    let is_known = |nodes: &str| (0..cluster.ports().len()).all(|n| nodes.contains(&host(n)));
    wait_for("the nodes know each other's hosts", || {
        cluster.ports().into_iter().all(|port| {
            let nodes = cluster.command(port, &["CLUSTER", "NODES"]).unwrap();
            is_known(&nodes.text())
        })
    });
}

/// A cluster without replicas whose nodes have this certificate.
fn tls_cluster(pair: &Pair) -> Cluster {
    let builder = Cluster::builder().replicas(0);
    let builder = builder.tls(&pair.cert, &pair.key, PKI.ca());
    builder.start().unwrap()
}

/// Writes one key of each of three shards, moves a slot, and reads its key. Returns how often MOVED was followed.
fn use_three_shards(cluster: &Cluster, client: &Client) -> i64 {
    for n in 0..3 {
        assert_eq!(run(client, &format!("SET {} v", key_of(n, 3, 7))), "OK");
    }
    let key = key_of(0, 3, 7);
    let to = cluster
        .primary_of(slot_of(key_of(1, 3, 7).as_bytes()))
        .unwrap();
    cluster.migrate_slot(slot_of(key.as_bytes()), to).unwrap();
    assert_eq!(run(client, &format!("GET {key}")), "v");
    stat(client, "moved")
}

#[test]
fn announced_hostnames_are_verified_by_tls() {
    // No certificate names an IP address, and no name of node 2.
    let pair = PKI.pair(
        "named",
        names(&["seed.localhost", "n0.localhost", "n1.localhost"]),
    );
    let cluster = tls_cluster(&pair);
    let port = cluster.nodes()[0].tls_port.unwrap();
    let ca = PKI.ca().display().to_string();
    let url = |host: &str| format!("rediss://{host}:{port}?tls_ca_file={ca}&timeout_ms=2000");
    let set = |client: &Client, n| {
        let reply = send(client, &format!("SET {} v", key_of(n, 3, 0)));
        (code(reply.view()), show(reply.view()))
    };

    // The nodes announce 127.0.0.1, which the certificate does not have.
    let by_ip = client(&url("seed.localhost"));
    let (code, text) = set(&by_ip, 0);
    assert!(
        code == Code::Tls && text.contains("is not valid for 127.0.0.1"),
        "{text}"
    );

    configure(&cluster, "cluster-announce-hostname", |n| {
        format!("n{n}.localhost")
    });
    configure(&cluster, "cluster-preferred-endpoint-type", |_| {
        "hostname".into()
    });
    wait_announced(&cluster, |n| format!("n{n}.localhost"));
    let by_name = client(&url("seed.localhost."));
    let map = topology(&by_name);
    for n in 0..2 {
        assert!(map.contains(&format!("n{n}.localhost:")), "{map}");
        assert_eq!(set(&by_name, n).0, Code::Ok, "{n}");
    }
    let (code, text) = set(&by_name, 2);
    assert!(
        code == Code::Tls && text.contains("is not valid for n2.localhost"),
        "{text}"
    );
}

/// As Azure Managed Redis: nodes announce IP addresses, and their certificates have one name.
#[test]
fn announced_addresses_without_certificate_need_tls_server_name() {
    let pair = PKI.pair("one-name", names(&["cache.localhost"]));
    let cluster = tls_cluster(&pair);
    let port = cluster.nodes()[0].tls_port.unwrap();
    let ca = PKI.ca().display().to_string();
    let url = format!("rediss://cache.localhost:{port}?tls_ca_file={ca}&timeout_ms=2000");
    let reply = send(&client(&url), "SET k v");
    let text = show(reply.view());
    assert!(
        code(reply.view()) == Code::Tls && text.contains("tls_server_name"),
        "{text}"
    );
    let client = client(&format!("{url}&tls_server_name=cache.localhost"));
    assert_eq!(use_three_shards(&cluster, &client), 1);
}

#[test]
fn cluster_with_tls_and_plain_ports_announces_each_its_own() {
    let pair = PKI.pair("both", names(&["127.0.0.1"]));
    let cluster = tls_cluster(&pair);
    let node = &cluster.nodes()[0];
    let ca = PKI.ca().display().to_string();
    // The announced ports are used: nothing listens at the one that node 2 announces for TLS.
    let last = cluster.ports()[2];
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let set = [
        "CONFIG",
        "SET",
        "cluster-announce-tls-port",
        &free.to_string(),
    ];
    assert_eq!(cluster.command(last, &set).unwrap().text(), "OK");
    let tls = node.tls_port.unwrap();
    let encrypted = client(&format!(
        "rediss://127.0.0.1:{tls}?tls_ca_file={ca}&timeout_ms=1000"
    ));
    let plain = client(&format!("redis://{}", node.address));
    use_three_shards(&cluster, &plain);
    for n in 0..2 {
        assert_eq!(run(&encrypted, &format!("SET {} v", key_of(n, 3, 8))), "OK");
    }
    wait_for("the map names the announced port", || {
        let refreshed = encrypted.refresh();
        drop(refreshed);
        topology(&encrypted).contains(&format!("127.0.0.1:{free}"))
    });
    let map = topology(&encrypted);
    assert!(!map.contains(&format!("127.0.0.1:{last}")), "{map}");
}

#[test]
fn nodes_that_announce_nothing_are_at_the_host_of_the_url() {
    let cluster = Cluster::builder().replicas(0).start().unwrap();
    configure(&cluster, "cluster-preferred-endpoint-type", |_| {
        "unknown-endpoint".into()
    });
    let client = client(&format!("redis://proxy.localhost:{}", cluster.ports()[0]));
    let map = topology(&client);
    for port in cluster.ports() {
        assert!(map.contains(&format!("proxy.localhost:{port}")), "{map}");
    }
    assert_eq!(use_three_shards(&cluster, &client), 1);
}

#[test]
fn nodes_without_hostname_are_reached_by_ip() {
    let cluster = Cluster::builder().replicas(0).start().unwrap();
    configure(&cluster, "cluster-preferred-endpoint-type", |_| {
        "hostname".into()
    });
    let client = client(&format!("redis://127.0.0.1:{}", cluster.ports()[0]));
    // MOVED ?:7000 names no node, so that the map is refreshed instead.
    assert_eq!(use_three_shards(&cluster, &client), 0);
}

#[test]
fn ipv6_cluster_is_used_as_any_other() {
    if TcpListener::bind("[::1]:0").is_err() {
        return println!("not run: there is no IPv6");
    }
    let cluster = Cluster::builder()
        .replicas(0)
        .option("bind", "127.0.0.1 ::1")
        .start()
        .unwrap();
    configure(&cluster, "cluster-announce-ip", |_| "::1".into());
    wait_announced(&cluster, |n| format!(" ::1:{}@", cluster.ports()[n]));
    let client = client(&format!("redis://[::1]:{}", cluster.ports()[0]));
    let map = topology(&client);
    for port in cluster.ports() {
        assert!(map.contains(&format!("[::1]:{port}")), "{map}");
    }
    assert_eq!(use_three_shards(&cluster, &client), 1);
}
