//! One node's view of its cluster, and how a reply becomes such a view.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::key_slot::SLOTS;
use super::slot_set::SlotSet;
use crate::address::{Address, without_brackets};
use crate::error::{Code, Error, Result};

/// Maximum number of nodes in a cluster, as in the cluster specification.
const MAX_NODES: usize = 1000;

/// Maximum number of addresses of a node. A node has a few; the limit bounds memory.
const MAX_NAMES: usize = 16;

/// A node as a reply describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The node id, or "host:port" if the server gives no id (Redis < 4.0).
    pub id: Arc<str>,
    /// The address to connect to.
    pub address: Address,
    /// Its other addresses.
    pub names: Vec<Address>,
    /// Valkey's `availability-zone`.
    pub zone: Option<String>,
    /// False if the cluster reports it as failed or loading (CLUSTER SHARDS only).
    pub online: bool,
    /// Its replication offset (CLUSTER SHARDS only).
    pub offset: Option<u64>,
}

/// A primary, its replicas, and their slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardView {
    /// First and last slot of each range, in order. Ranges neither overlap nor touch.
    pub ranges: Vec<(u16, u16)>,
    /// `None` if the reply contains no usable address of the primary.
    pub primary: Option<NodeView>,
    pub replicas: Vec<NodeView>,
}

impl ShardView {
    /// The number of slots of this shard.
    pub fn slots(&self) -> usize {
        let count = |(first, last): &(u16, u16)| usize::from(last - first) + 1;
        self.ranges.iter().map(count).sum()
    }
}

/// A cluster, as one of its nodes sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// In the order of the reply. No slot and no node is in two shards.
    pub shards: Vec<ShardView>,
    /// The node's [`InfoView::current_epoch`](super::InfoView::current_epoch), set by the caller; 0
    /// if unknown.
    pub epoch: u64,
    /// How many slots a second shard claimed. Such slots stay with the first shard.
    pub conflicts: usize,
    /// The first invalid part of the reply, which was skipped; for the log.
    pub defect: Option<String>,
    /// The node reports another id in its handshake than the view has for its address, as a proxy may do. Set by the
    /// caller.
    pub has_foreign_ids: bool,
}

impl ClusterView {
    /// The number of slots that have an owner.
    pub fn slots(&self) -> usize {
        self.shards.iter().map(ShardView::slots).sum()
    }

    pub fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        let shards = self.shards.iter();
        shards.flat_map(|shard| shard.primary.iter().chain(&shard.replicas))
    }
}

/// Resolves a host and port in a reply of the node at `from`.
///
/// A missing or unspecified host stands for the host of that node: null (Redis >= 7.0 with
/// `cluster-preferred-endpoint-type unknown-endpoint`), "" (a node that has not joined a cluster and
/// does not know its own address), 0.0.0.0 and :: (announced by mistake).
pub(super) fn resolve_address(
    host: Option<&str>,
    port: i64,
    from: &Address,
) -> std::result::Result<Address, &'static str> {
    let port = u16::try_from(port).ok().filter(|port| *port != 0);
    let port = port.ok_or("its port is not in 1 to 65535")?;
    match host {
        // Redis >= 7.0 with `cluster-preferred-endpoint-type hostname`, of a node without a hostname.
        Some("?") => Err("its hostname is unknown (\"?\")"),
        Some(host) if !is_unspecified(host) => Address::new(without_brackets(host), port)
            .map_err(|_| "its host is neither a name nor an IP address"),
        _ if from.is_unix() => Err("its host is unknown, and that of a unix socket as well"),
        _ => Ok(Address {
            host: from.host.clone(),
            port,
        }),
    }
}

/// Whether a host is empty or an unspecified IP address.
pub(super) fn is_unspecified(host: &str) -> bool {
    host.is_empty()
        || without_brackets(host)
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_unspecified())
}

/// The reply that a view is made of, for error messages.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub command: &'static str,
    /// The node that sent the reply.
    pub node: &'a Address,
}

impl Source<'_> {
    /// An error of this reply.
    pub fn error(self, why: impl fmt::Display) -> Error {
        let Source { command, node } = self;
        Error::new(Code::Protocol, format_args!("{command} of {node} {why}"))
    }

    /// The reply is larger than that of any real cluster.
    pub fn too_many(self, of: &str, limit: usize) -> Error {
        self.error(format_args!("lists more than {limit} {of}"))
    }
}

/// A node in an entry of a reply.
pub(super) struct NodeEntry {
    /// The identity of the node within the reply.
    pub key: String,
    /// The node, or why it is unusable.
    pub node: std::result::Result<NodeView, &'static str>,
}

/// A shard that is being assembled. Nodes are indices into [`ViewBuilder::nodes`].
struct ShardDraft {
    slots: SlotSet,
    primary: Option<usize>,
    replicas: Vec<usize>,
}

/// Assembles the entries of a reply into a [`ClusterView`].
pub(super) struct ViewBuilder<'a> {
    source: Source<'a>,
    /// Nodes in the order of their appearance; `None` for unusable ones.
    nodes: Vec<Option<NodeView>>,
    by_key: HashMap<String, usize>,
    drafts: Vec<ShardDraft>,
    /// Maps the node that identifies a shard to the shard's draft.
    draft_of_node: HashMap<usize, usize>,
    /// The slots that have an owner.
    assigned: SlotSet,
    ranges: usize,
    conflicts: usize,
    defect: Option<String>,
}

impl<'a> ViewBuilder<'a> {
    pub fn new(source: Source<'a>) -> ViewBuilder<'a> {
        ViewBuilder {
            source,
            nodes: Vec::new(),
            by_key: HashMap::new(),
            drafts: Vec::new(),
            draft_of_node: HashMap::new(),
            assigned: SlotSet::new(),
            ranges: 0,
            conflicts: 0,
            defect: None,
        }
    }

    /// Records that a part of entry number `entry` is invalid and was skipped.
    pub fn record_defect(&mut self, entry: usize, why: impl fmt::Display) {
        self.defect
            .get_or_insert_with(|| format!("entry {entry}: {why}"));
    }

    /// Adds a shard, or adds to a shard that an earlier entry has begun. `ranges` must be valid.
    pub fn add_shard(
        &mut self,
        entry: usize,
        ranges: &[(u16, u16)],
        primary: Option<NodeEntry>,
        replicas: Vec<NodeEntry>,
    ) -> Result<()> {
        self.ranges += ranges.len();
        if self.ranges > SLOTS {
            return Err(self.source.too_many("slot ranges", SLOTS));
        }
        let primary = match primary {
            Some(node) => Some(self.add_node(entry, "primary", node)?),
            None => None,
        };
        let mut usable_replicas = Vec::with_capacity(replicas.len());
        for node in replicas {
            let node = self.add_node(entry, "replica", node)?;
            if self.nodes[node].is_some() {
                usable_replicas.push(node);
            }
        }
        let usable_primary = primary.filter(|node| self.nodes[*node].is_some());
        // The primary identifies the shard, even if it is unusable.
        let Some(identity) = primary.or(usable_replicas.first().copied()) else {
            self.record_defect(entry, "it contains no node");
            return Ok(());
        };
        if usable_primary.is_none() && usable_replicas.is_empty() {
            // `add_node` has recorded why. Another entry with a usable node may claim these slots.
            return Ok(());
        }
        let at = *self.draft_of_node.entry(identity).or_insert_with(|| {
            self.drafts.push(ShardDraft {
                slots: SlotSet::new(),
                primary: None,
                replicas: Vec::new(),
            });
            self.drafts.len() - 1
        });
        let draft = &mut self.drafts[at];
        draft.primary = draft.primary.or(usable_primary);
        for node in usable_replicas {
            if !draft.replicas.contains(&node) {
                draft.replicas.push(node);
            }
        }
        for (first, last) in ranges {
            for (word, mask) in SlotSet::masks(*first, *last) {
                let (assigned, own) = (&mut self.assigned.0[word], &mut draft.slots.0[word]);
                let conflicting = mask & *assigned & !*own;
                if conflicting != 0 {
                    self.conflicts += conflicting.count_ones() as usize;
                }
                *own |= mask & !*assigned;
                *assigned |= mask;
            }
        }
        Ok(())
    }

    /// Adds a node, or merges it with an earlier entry of the same node. Returns its index.
    fn add_node(&mut self, entry: usize, role: &str, node: NodeEntry) -> Result<usize> {
        let at = match self.by_key.get(&node.key) {
            Some(at) => *at,
            None if self.nodes.len() == MAX_NODES => {
                return Err(self.source.too_many("nodes", MAX_NODES));
            }
            None => {
                self.nodes.push(None);
                self.by_key.insert(node.key, self.nodes.len() - 1);
                self.nodes.len() - 1
            }
        };
        match (node.node, &mut self.nodes[at]) {
            (Ok(node), Some(known)) => merge_nodes(known, node),
            (Ok(node), unusable) => *unusable = Some(node),
            (Err(why), _) => self.record_defect(entry, format!("the {role} is unusable: {why}")),
        }
        Ok(at)
    }

    /// The view, or an error if no node is usable.
    pub fn finish(mut self) -> Result<ClusterView> {
        // A node has one role in one shard. A primary of one shard is not a replica of another, and
        // the first role in the reply counts.
        let mut has_role = vec![false; self.nodes.len()];
        for primary in self.drafts.iter().filter_map(|d| d.primary) {
            has_role[primary] = true;
        }
        let mut shards = Vec::with_capacity(self.drafts.len());
        for mut draft in self.drafts {
            draft
                .replicas
                .retain(|node| !std::mem::replace(&mut has_role[*node], true));
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
            Some(defect) if shards.is_empty() => Err(self
                .source
                .error(format_args!("contains no usable node: {defect}"))),
            defect => Ok(ClusterView {
                shards,
                epoch: 0,
                conflicts: self.conflicts,
                defect,
                has_foreign_ids: false,
            }),
        }
    }
}

/// Adds the information of another entry about the same node.
fn merge_nodes(known: &mut NodeView, other: NodeView) {
    for name in std::iter::once(other.address).chain(other.names) {
        add_name(known, name);
    }
    known.zone = known.zone.take().or(other.zone);
    known.offset = known.offset.or(other.offset);
    known.online &= other.online;
}

/// Adds another address of a node, unless it is known.
pub(super) fn add_name(node: &mut NodeView, name: Address) {
    if name != node.address && !node.names.contains(&name) && node.names.len() < MAX_NAMES {
        node.names.push(name);
    }
}
