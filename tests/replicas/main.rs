//! Reads from replicas: node selection and consistency. docs/replica-reads.md names the test for each of its
//! statements.

#[path = "../common/mod.rs"]
mod common;

mod false_nil;
mod observability;
mod scale;
mod selection;
mod staleness;
mod standalone;
mod under_faults;
mod unhealthy;

use crate::common::shared::{SharedCluster, shared};
use rediscluster::cluster::Client;
use rediscluster::resp::View;
use support::{Cluster, FakeCluster};
/// Redis: three primaries with one replica each.
fn redis() -> SharedCluster {
    shared("redis", Cluster::builder)
}

/// The same with the newest Valkey.
fn valkey() -> SharedCluster {
    shared("valkey", || {
        Cluster::builder().server(common::newest("valkey"))
    })
}

/// The number of calls of a command at each scripted node.
fn asked(fake: &FakeCluster, nodes: usize, command: &str) -> Vec<usize> {
    (0..nodes).map(|n| fake.node(n).calls(command)).collect()
}

/// A field of a node in `rdc_topology`; the node by its port.
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
