//! What one node says about its cluster, and how its words become that.

use std::collections::HashMap;
use std::net::IpAddr;

use super::key_slot::SLOTS;
use super::slot_set::SlotSet;
use crate::address::Address;
use crate::error::{Code, Error, Result};

/// A cluster has at most so many nodes: the specification's own figure.
const MAX_NODES: usize = 1000;

/// A node is known by so few names that more are an attempt to fill our memory.
const MAX_NAMES: usize = 16;

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its id, or "host:port" where the server gives none (Redis < 4.0).
    pub id: String,
    /// Where it is to be reached.
    pub address: Address,
    /// Every other address it is known by.
    pub names: Vec<Address>,
    /// Valkey's `availability-zone`.
    pub zone: Option<String>,
    /// False where the cluster says that it is down or still loading (CLUSTER SHARDS alone).
    pub online: bool,
    /// How much of the replication stream it has (CLUSTER SHARDS alone).
    pub offset: Option<u64>,
}

/// A primary, its replicas, and their slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardView {
    /// First and last slot of each run, in order and apart.
    pub ranges: Vec<(u16, u16)>,
    /// Nobody where the primary cannot be reached by anything that is said of it.
    pub primary: Option<NodeView>,
    pub replicas: Vec<NodeView>,
}

impl ShardView {
    /// How many slots it serves.
    pub fn slots(&self) -> usize {
        let count = |(first, last): &(u16, u16)| usize::from(last - first) + 1;
        self.ranges.iter().map(count).sum()
    }
}

/// A cluster, as one of its nodes sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// In the order of the reply. No slot belongs to two of them, and no node.
    pub shards: Vec<ShardView>,
    /// The node's [`InfoView::current_epoch`](super::InfoView::current_epoch), which the caller
    /// sets; 0 where it is not known.
    pub epoch: u64,
    /// How many slots were claimed by a second shard, and stayed with the first.
    pub conflicts: usize,
    /// The first thing that was wrong and left out, for the log.
    pub defect: Option<String>,
}

impl ClusterView {
    /// How many slots are served.
    pub fn slots(&self) -> usize {
        self.shards.iter().map(ShardView::slots).sum()
    }
}

/// The address that a host and port from the wire stand for, when the node at `asked` says them.
///
/// No host, or one that means "here", is the host that was asked: null (Redis >= 7.0 with
/// `cluster-preferred-endpoint-type unknown-endpoint`), "" (a node that has not met another and
/// does not know its address), 0.0.0.0 and :: (announced by mistake).
pub(super) fn place(
    host: Option<&str>,
    port: i64,
    asked: &Address,
) -> std::result::Result<Address, &'static str> {
    let port = u16::try_from(port).ok().filter(|port| *port != 0);
    let port = port.ok_or("its port is not from 1 to 65535")?;
    match host {
        // Redis >= 7.0 with `cluster-preferred-endpoint-type hostname`, of a node without one.
        Some("?") => Err("its hostname is not known (\"?\")"),
        Some(host) if !is_unspecified(host) => {
            Address::new(host, port).map_err(|_| "its host is neither a name nor an IP address")
        }
        _ => Ok(Address {
            host: asked.host.clone(),
            port,
        }),
    }
}

/// Whether a host names no place.
pub(super) fn is_unspecified(host: &str) -> bool {
    host.is_empty() || host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
}

/// A node as a reply names it.
pub(super) struct Named {
    /// What identifies it within the reply.
    pub key: String,
    /// The node, or why it cannot be used.
    pub node: std::result::Result<NodeView, &'static str>,
}

/// A shard that is being gathered; nodes by their index.
struct Draft {
    slots: SlotSet,
    primary: Option<usize>,
    replicas: Vec<usize>,
}

/// Gathers the entries of a reply into a [`ClusterView`].
pub(super) struct ViewBuilder {
    /// Nodes in the order of their appearance; those that cannot be used keep a place.
    nodes: Vec<Option<NodeView>>,
    by_key: HashMap<String, usize>,
    drafts: Vec<Draft>,
    /// The draft of each node that a draft is known by.
    by_node: HashMap<usize, usize>,
    taken: SlotSet,
    ranges: usize,
    conflicts: usize,
    defect: Option<String>,
}

impl ViewBuilder {
    pub fn new() -> ViewBuilder {
        ViewBuilder {
            nodes: Vec::new(),
            by_key: HashMap::new(),
            drafts: Vec::new(),
            by_node: HashMap::new(),
            taken: SlotSet::new(),
            ranges: 0,
            conflicts: 0,
            defect: None,
        }
    }

    /// Notes that something of the reply's `entry`-th part was wrong and is left out.
    pub fn leave_out(&mut self, entry: usize, why: impl std::fmt::Display) {
        self.defect
            .get_or_insert_with(|| format!("entry {entry}: {why}"));
    }

    /// Adds a shard, or more of one that is there. `ranges` have been checked.
    pub fn add(
        &mut self,
        entry: usize,
        ranges: &[(u16, u16)],
        primary: Option<Named>,
        replicas: Vec<Named>,
    ) -> Result<()> {
        self.ranges += ranges.len();
        if self.ranges > SLOTS {
            return Err(too_many("ranges of slots", SLOTS));
        }
        let primary = match primary {
            Some(named) => Some(self.node(entry, "primary", named)?),
            None => None,
        };
        let mut followers = Vec::with_capacity(replicas.len());
        for named in replicas {
            let node = self.node(entry, "replica", named)?;
            if self.nodes[node].is_some() {
                followers.push(node);
            }
        }
        // The primary names the shard, even one that cannot be reached.
        let usable = primary.filter(|node| self.nodes[*node].is_some());
        let Some(name) = primary.or(followers.first().copied()) else {
            self.leave_out(entry, "it names no node");
            return Ok(());
        };
        if usable.is_none() && followers.is_empty() {
            // `node` has said why. Slots it has are left to an entry that can serve them.
            return Ok(());
        }
        let at = *self.by_node.entry(name).or_insert_with(|| {
            self.drafts.push(Draft {
                slots: SlotSet::new(),
                primary: None,
                replicas: Vec::new(),
            });
            self.drafts.len() - 1
        });
        let draft = &mut self.drafts[at];
        draft.primary = draft.primary.or(usable);
        for node in followers {
            if !draft.replicas.contains(&node) {
                draft.replicas.push(node);
            }
        }
        for (first, last) in ranges {
            for (word, mask) in SlotSet::masks(*first, *last) {
                let (taken, own) = (&mut self.taken.0[word], &mut draft.slots.0[word]);
                let theirs = mask & *taken & !*own;
                if theirs != 0 {
                    self.conflicts += theirs.count_ones() as usize;
                }
                *own |= mask & !*taken;
                *taken |= mask;
            }
        }
        Ok(())
    }

    /// The index of a node, known before or not.
    fn node(&mut self, entry: usize, role: &str, named: Named) -> Result<usize> {
        let at = match self.by_key.get(&named.key) {
            Some(at) => *at,
            None if self.nodes.len() == MAX_NODES => return Err(too_many("nodes", MAX_NODES)),
            None => {
                self.nodes.push(None);
                self.by_key.insert(named.key, self.nodes.len() - 1);
                self.nodes.len() - 1
            }
        };
        match (named.node, &mut self.nodes[at]) {
            (Ok(node), Some(known)) => merge(known, node),
            (Ok(node), place) => *place = Some(node),
            (Err(why), _) => self.leave_out(entry, format!("the {role} is of no use: {why}")),
        }
        Ok(at)
    }

    /// The view. `what` is the command that was answered.
    pub fn finish(mut self, what: &str) -> Result<ClusterView> {
        // A node has one role in one shard. One that is a primary somewhere is no replica, and
        // what is said of it first counts.
        let mut placed = vec![false; self.nodes.len()];
        for primary in self.drafts.iter().filter_map(|d| d.primary) {
            placed[primary] = true;
        }
        let mut shards = Vec::with_capacity(self.drafts.len());
        for mut draft in self.drafts {
            draft
                .replicas
                .retain(|node| !std::mem::replace(&mut placed[*node], true));
            let primary = draft.primary.and_then(|node| self.nodes[node].take());
            let nodes = &mut self.nodes;
            let replicas: Vec<_> = draft
                .replicas
                .iter()
                .filter_map(|node| nodes[*node].take())
                .collect();
            if primary.is_some() || !replicas.is_empty() {
                shards.push(ShardView {
                    ranges: draft.slots.runs(),
                    primary,
                    replicas,
                });
            }
        }
        match self.defect {
            Some(defect) if shards.is_empty() => Err(Error::new(
                Code::Protocol,
                format!("{what} names no node that can be used: {defect}"),
            )),
            defect => Ok(ClusterView {
                shards,
                epoch: 0,
                conflicts: self.conflicts,
                defect,
            }),
        }
    }
}

pub(super) fn too_many(of: &str, limit: usize) -> Error {
    Error::new(
        Code::Protocol,
        format!("the cluster's map has more than {limit} {of}"),
    )
}

/// Adds what another entry says of a node that is known.
fn merge(known: &mut NodeView, other: NodeView) {
    for name in std::iter::once(other.address).chain(other.names) {
        add_name(known, name);
    }
    known.zone = known.zone.take().or(other.zone);
    known.offset = known.offset.or(other.offset);
    known.online &= other.online;
}

/// Adds a name that a node is known by, once.
pub(super) fn add_name(node: &mut NodeView, name: Address) {
    if name != node.address && !node.names.contains(&name) && node.names.len() < MAX_NAMES {
        node.names.push(name);
    }
}
