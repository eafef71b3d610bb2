//! Real servers at the addresses of other nodes.

use crate::common::{WAIT_LIMIT, client, code, key_of, run, send, show, wait_for};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::process::{Child, Command, Stdio};
use support::{Admin, Cluster};

/// A server at a port that a killed node has left. The cluster keeps the port reserved against other servers of the
/// test tools.
struct Squatter {
    server: Child,
    admin: Admin,
    folder: std::path::PathBuf,
}

impl Squatter {
    fn start(cluster: &Cluster, port: u16, options: &[&str]) -> Squatter {
        let folder = std::env::temp_dir().join(format!("rdc-squatter-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let server = Command::new(&cluster.server().path)
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(options)
            .current_dir(&folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut admin = None;
        wait_for("the server accepts connections", || {
            admin = Admin::connect(port, WAIT_LIMIT).ok();
            admin.is_some()
        });
        Squatter {
            server,
            admin: admin.unwrap(),
            folder,
        }
    }

    fn command(&mut self, words: &[&str]) -> String {
        self.admin.command(words).unwrap().text()
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn three_primaries() -> Cluster {
    let cluster = Cluster::builder().primaries(3).replicas(0);
    // The other shards go on serving without the lost one.
    let cluster = cluster.option("cluster-require-full-coverage", "no");
    cluster.start().unwrap()
}

/// A client with a short timeout that has written to each shard.
fn connected(cluster: &Cluster, options: &str) -> Client {
    let client = client(&format!("{}?timeout_ms=700{options}", cluster.url()));
    for shard in 0..3 {
        assert_eq!(
            run(&client, &format!("SET {} v", key_of(shard, 3, 1))),
            "OK"
        );
    }
    client
}

/// Kills the primary of the second shard.
fn lose_node(cluster: &Cluster) -> u16 {
    let slot = support::slot_of(key_of(1, 3, 1).as_bytes());
    let port = cluster.primary_of(slot).unwrap();
    cluster.kill(port).unwrap();
    port
}

/// The other shards are served, and the lost node's commands fail with this reason.
fn assert_not_used(client: &Client, reason: &str) {
    // A read finds out that its connection was closed, and is repeated.
    run(client, &format!("GET {}", key_of(1, 3, 1)));
    for _ in 0..3 {
        show(client.refresh().view());
        // On a busy machine, the last attempt may time out instead.
        wait_for("the reason is reported", || {
            let reply = send(client, &format!("SET {} w", key_of(1, 3, 1)));
            let text = show(reply.view());
            assert_ne!(code(reply.view()), Code::Ok, "{text}");
            code(reply.view()) == Code::Connect && text.contains(reason)
        });
        assert_eq!(run(client, &format!("SET {} w", key_of(0, 3, 1))), "OK");
    }
}

#[test]
fn node_restarted_without_cluster_support_is_not_used() {
    let cluster = three_primaries();
    let options = ["", "&cluster=yes", "&protocol=2"];
    let clients = options.map(|options| connected(&cluster, options));
    let port = lose_node(&cluster);
    let mut alone = Squatter::start(&cluster, port, &[]);
    for client in &clients {
        assert_not_used(client, "is a server without cluster support");
    }
    for options in options {
        // A new client asks it first.
        let url = format!("redis://127.0.0.1:{port},{}", cluster.seeds());
        let client = client(&format!("{url}?timeout_ms=700{options}"));
        assert_not_used(&client, "is a server without cluster support");
    }
    assert_eq!(alone.command(&["DBSIZE"]), "0");
    drop(alone);
    cluster.restart(port).unwrap();
    wait_for("the node is used again", || {
        run(&clients[0], &format!("SET {} w", key_of(1, 3, 1))) == "OK"
    });
}

#[test]
fn node_of_another_real_cluster_is_not_used() {
    let cluster = three_primaries();
    let clients = ["", "&protocol=2"].map(|options| connected(&cluster, options));
    let port = lose_node(&cluster);
    let mut other = Squatter::start(&cluster, port, &["--cluster-enabled", "yes"]);
    let slots: Vec<String> = (0..16384).map(|slot: u16| slot.to_string()).collect();
    let mut assign = vec!["CLUSTER", "ADDSLOTS"];
    assign.extend(slots.iter().map(String::as_str));
    assert_eq!(other.command(&assign), "OK");
    wait_for("the other cluster serves", || {
        other.command(&["SET", "k", "v"]) == "OK"
    });
    for client in &clients {
        assert_not_used(client, "as the cluster's map says");
    }
    assert_eq!(other.command(&["DBSIZE"]), "1");
}
