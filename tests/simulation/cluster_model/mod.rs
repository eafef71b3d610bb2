//! A model of a cluster: the replies of real servers, as far as a client can observe them, and a
//! record of the commands that were executed.
//!
//! All nodes share one copy of the data, so no acknowledged write is ever lost. Lost writes of a
//! real failover are not the client's responsibility, and without them every check is exact.

mod commands;
mod faults;
mod ownership;
mod pubsub;
mod session;

pub use faults::{Fault, apply_fault};
pub use pubsub::{ChannelKind, SentMessages};
pub use session::{on_connect, on_data, on_disconnect};

use super::simulator::node_address;
use pubsub::PubSub;
use session::Session;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

/// The usual number of shards. Of `shards` shards, nodes 0 to `shards` - 1 begin as primaries; node n belongs to shard
/// n % `shards`.
pub const SHARDS: usize = 3;
/// The usual number of nodes: two for each shard.
pub const NODES: usize = 2 * SHARDS;
const PORT: u16 = 7000;

/// The reply to DBSIZE of each shard's nodes: the sum shows which shards were asked.
pub const DBSIZE_OF_SHARD: [u64; SHARDS] = [1, 100, 10_000];

/// The owners of slots, as one node knows them.
#[derive(Clone, Debug)]
pub struct OwnershipView {
    pub epoch: u64,
    pub primary: Arc<Vec<usize>>,
    /// The shards of slots that have migrated.
    pub migrated: BTreeMap<u16, usize>,
}

impl OwnershipView {
    pub fn shards(&self) -> usize {
        self.primary.len()
    }

    pub fn shard(&self, slot: u16) -> usize {
        let initial = usize::from(slot) * self.shards() / 16384;
        self.migrated.get(&slot).copied().unwrap_or(initial)
    }
}

/// A node. Each `..._until` is the time at which a fault ends.
#[derive(Clone, Debug)]
pub struct NodeModel {
    pub alive: bool,
    pub view: OwnershipView,
    /// The process does not run, but its kernel accepts connections and bytes.
    pub frozen_until: u64,
    /// No bytes pass between the node and the client.
    pub partitioned_until: u64,
    /// The node receives nothing from other nodes.
    pub gossip_lost_until: u64,
    pub loading_until: u64,
    /// The node replies CLUSTERDOWN.
    pub cluster_down_until: u64,
    /// The node was demoted and does not know the new primary.
    pub demoted_until: u64,
    /// The node refuses new clients: `maxclients` is reached.
    pub clients_full_until: u64,
    /// The node was demoted, and the new primary does not know it as its replica.
    pub unknown_until: u64,
}

impl NodeModel {
    fn healthy(view: OwnershipView) -> NodeModel {
        NodeModel {
            alive: true,
            view,
            frozen_until: 0,
            partitioned_until: 0,
            gossip_lost_until: 0,
            loading_until: 0,
            cluster_down_until: 0,
            demoted_until: 0,
            clients_full_until: 0,
            unknown_until: 0,
        }
    }
}

/// A migrating slot.
#[derive(Clone, Debug)]
pub struct Migration {
    pub from: usize,
    pub to: usize,
    pub migrated_keys: BTreeSet<String>,
}

/// One execution of a write.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Position in the order of all executions.
    pub serial: u64,
    /// Version of the key after it.
    pub version: u64,
}

/// The conditions of the servers. Probabilities are per mille.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerConditions {
    /// Probability that a command is not executed and gets a random error reply.
    pub random_errors: u64,
    /// Probability of a push message or an attribute, at each of three places around a reply.
    pub pushes: u64,
    /// Probability that a reply is delayed, by up to `max_reply_delay`.
    pub slow_replies: u64,
    pub max_reply_delay: u64,
    /// Probability that a value is large.
    pub large_values: u64,
}

#[derive(Debug)]
pub struct ClusterModel {
    pub nodes: Vec<NodeModel>,
    /// The view that all nodes converge to.
    pub actual_view: OwnershipView,
    pub migrations: BTreeMap<u16, Migration>,
    /// By the number of the connection.
    sessions: HashMap<usize, Session>,
    pub pubsub: PubSub,
    pub conditions: ServerConditions,
    pub keys: Vec<String>,
    /// Nodes announce hostnames instead of IP addresses.
    pub uses_hostnames: bool,
    serial: u64,
    versions: HashMap<String, u64>,
    /// The executions of each write, by its unique token.
    pub executions: HashMap<String, Vec<Execution>>,
    /// The times of topology requests.
    pub refreshes: Vec<u64>,
    /// When a client began to connect, and to which node.
    pub connects: Vec<(u64, usize)>,
    pub executed: u64,
    pub redirections: u64,
}

impl ClusterModel {
    pub fn new(keys: Vec<String>, conditions: ServerConditions) -> ClusterModel {
        ClusterModel::of_shards(SHARDS, keys, conditions)
    }

    /// A cluster of this many shards, with two nodes each.
    pub fn of_shards(
        shards: usize,
        keys: Vec<String>,
        conditions: ServerConditions,
    ) -> ClusterModel {
        let actual_view = OwnershipView {
            epoch: 6,
            primary: Arc::new((0..shards).collect()),
            migrated: BTreeMap::new(),
        };
        ClusterModel {
            nodes: vec![NodeModel::healthy(actual_view.clone()); 2 * shards],
            actual_view,
            migrations: BTreeMap::new(),
            sessions: HashMap::new(),
            pubsub: PubSub::default(),
            conditions,
            keys,
            uses_hostnames: false,
            serial: 0,
            versions: HashMap::new(),
            executions: HashMap::new(),
            refreshes: Vec::new(),
            connects: Vec::new(),
            executed: 0,
            redirections: 0,
        }
    }

    pub fn node_at(&self, address: SocketAddr) -> Option<usize> {
        (0..self.nodes.len()).find(|node| node_address(*node) == address)
    }

    /// When bytes to or from a node can arrive: at the end of its partition.
    pub fn reachable_from(&self, node: usize) -> u64 {
        self.nodes[node].partitioned_until
    }

    pub fn is_primary(&self, node: usize) -> bool {
        self.actual_view.primary.contains(&node)
    }

    /// Whether a node has told the primary of its shard that it is its replica. A new primary learns that late of the former one.
    fn is_known_as_replica(&self, node: usize, now: u64) -> bool {
        let model = &self.nodes[node];
        let shard = node % model.view.shards();
        model.view.primary[shard] != node && model.unknown_until <= now
    }

    /// Ends the server's end of a connection.
    fn end_session(&mut self, id: usize) {
        self.sessions.remove(&id);
        self.pubsub.forget_connection(id);
    }

    fn is_resp3(&self, id: usize) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.resp3)
    }

    pub fn version(&self, key: &str) -> u64 {
        self.versions.get(key).copied().unwrap_or(0)
    }

    /// Records the execution of a write, and returns its serial number.
    fn record_execution(&mut self, key: &str, token: &str) -> u64 {
        self.serial += 1;
        self.executed += 1;
        let version = self.versions.entry(key.to_string()).or_default();
        *version += 1;
        let execution = Execution {
            serial: self.serial,
            version: *version,
        };
        let executions = self.executions.entry(token.to_string()).or_default();
        executions.push(execution);
        self.serial
    }
}

const MOVED: &str = "MOVED";

fn redirection(uses_hostnames: bool, kind: &str, slot: u16, to: usize) -> String {
    let host = announced_host(uses_hostnames, to);
    format!("-{kind} {slot} {host}:{PORT}\r\n")
}

/// The host that a node announces.
fn announced_host(uses_hostnames: bool, node: usize) -> String {
    match uses_hostnames {
        true => format!("node-{node}.sim"),
        false => node_address(node).ip().to_string(),
    }
}

/// A RESP bulk string.
fn bulk_string(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
