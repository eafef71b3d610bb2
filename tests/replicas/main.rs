//! Reads from replicas: whom they ask, and what their answers are worth. docs/replica-reads.md names
//! the test that guards each of its sentences.

#[path = "../common/mod.rs"]
mod common;

mod false_nil;
mod observability;
mod scale;
mod selection;
mod staleness;
mod under_faults;
mod unhealthy;

// One test at a time has real servers, whichever: a busy machine's nodes take each other for dead.
use crate::common::shared::{SharedCluster, shared};
use rediscluster::cluster::Client;
use rediscluster::resp::View;
use support::{Cluster, FakeCluster};
/// Three primaries with a replica each, of Redis.
fn redis() -> SharedCluster {
    shared("redis", Cluster::builder)
}

/// The same of the newest Valkey.
fn valkey() -> SharedCluster {
    shared("valkey", || {
        Cluster::builder().server(common::newest("valkey"))
    })
}

/// How often each node of a scripted cluster has been asked this.
fn asked(fake: &FakeCluster, nodes: usize, command: &str) -> Vec<usize> {
    (0..nodes).map(|n| fake.node(n).calls(command)).collect()
}

/// What a field of a node says in `rdc_topology`; the node by its port.
fn field(client: &Client, port: u16, name: &str) -> String {
    let topology = client.topology();
    let shards = topology.view();
    let nodes = shards.elements().flat_map(|shard| {
        let replicas = shard.find("replicas").unwrap();
        shard.find("primary").into_iter().chain(replicas.elements())
    });
    let is_it = |node: &View<'_>| {
        let address = node.find("address").and_then(View::str);
        address.is_some_and(|address| address.ends_with(&format!(":{port}")))
    };
    let mut found = nodes.filter(is_it);
    let node = found.next().unwrap_or_else(|| panic!("no node {port}"));
    common::show(node.find(name).unwrap_or_else(|| panic!("no field {name}")))
}
