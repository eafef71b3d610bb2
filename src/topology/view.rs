//! One node's view of its cluster, and how a reply becomes such a view.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::key_slot::SLOTS;
use super::owner_table::OwnerTable;
use crate::address::{Address, without_brackets};
use crate::error::{Code, Error, Result};
use crate::resp::View;

/// Maximum number of addresses of a node. A node has a few; the limit bounds memory.
const MAX_NAMES: usize = 16;

/// The number of nodes that memory is reserved for, before they are read.
const MAX_RESERVED_NODES: usize = 4096;

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
    /// The node's [`current_epoch`](super::info::current_epoch), set by the caller; 0 if unknown.
    pub epoch: u64,
    /// How many slots a second shard claimed. Such slots stay with the first shard.
    pub conflicts: usize,
    /// The first invalid part of the reply, which was skipped; for the log.
    pub defect: Option<String>,
    /// The node reports another id in its handshake than the view has for its address, as a proxy may do. Set by the
    /// caller.
    pub has_foreign_ids: bool,
    /// A hash of the reply, set by the caller. Two views with one fingerprint are the same.
    pub fingerprint: Option<u64>,
    /// The reply leaves out a host, which stands for that of the node that sent it.
    pub has_relative_hosts: bool,
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
    // The first byte spares most hosts the parsing.
    host.is_empty()
        || (host.starts_with(['0', ':', '['])
            && without_brackets(host)
                .parse()
                .is_ok_and(|ip: IpAddr| ip.is_unspecified()))
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

    /// The reply has more nodes than the option `max_nodes` allows.
    fn too_many_nodes(self, limit: usize) -> Error {
        self.error(format_args!(
            "lists more than {limit} nodes, the limit of the option max_nodes; set it higher for a larger cluster"
        ))
    }

    /// The reply is larger than that of any real cluster.
    pub fn too_many(self, of: &str, limit: usize) -> Error {
        self.error(format_args!("lists more than {limit} {of}"))
    }
}

/// A node in an entry of a reply. Its view is made only if no equal entry precedes it: a node is in as many entries as
/// its shard has ranges of slots.
pub(super) struct NodeEntry<'a> {
    /// The identity of the node within the reply.
    pub key: Cow<'a, str>,
    /// The value that describes the node.
    pub value: View<'a>,
    pub host: Option<&'a str>,
    pub port: i64,
    /// A map with more of its names.
    pub metadata: Option<View<'a>>,
    pub online: bool,
    pub offset: Option<u64>,
}

impl NodeEntry<'_> {
    /// The node, or why it is unusable. `from` is the node that sent the reply.
    pub fn view(&self, from: &Address) -> std::result::Result<NodeView, &'static str> {
        let mut node = NodeView {
            id: Arc::from(&*self.key),
            address: resolve_address(self.host, self.port, from)?,
            names: Vec::new(),
            zone: None,
            online: self.online,
            offset: self.offset,
        };
        if let Some(metadata) = self.metadata.filter(|map| !map.is_empty()) {
            let text = |key| metadata.find(key).and_then(View::str);
            for host in ["ip", "hostname"].into_iter().filter_map(text) {
                // Unset names are "" or "?". An invalid additional name is ignored.
                if !is_unspecified(host)
                    && let Ok(name) = resolve_address(Some(host), self.port, from)
                {
                    add_name(&mut node, name);
                }
            }
            let zone = text("availability-zone").filter(|zone| !zone.is_empty());
            node.zone = zone.map(str::to_string);
        }
        Ok(node)
    }
}

/// A node that is being assembled.
struct NodeDraft<'a> {
    /// `None` while it is unusable.
    view: Option<NodeView>,
    /// What the last entry says about it.
    value: View<'a>,
    is_primary: bool,
    is_replica: bool,
    /// The shard that it identifies.
    shard: Option<usize>,
}

/// A shard that is being assembled. Nodes are indices into [`ViewBuilder::nodes`].
#[derive(Default)]
struct ShardDraft {
    primary: Option<usize>,
    replicas: Vec<usize>,
}

/// Assembles the entries of a reply into a [`ClusterView`].
pub(super) struct ViewBuilder<'a> {
    source: Source<'a>,
    max_nodes: usize,
    /// Nodes in the order of their appearance.
    nodes: Vec<NodeDraft<'a>>,
    by_key: HashMap<Cow<'a, str>, usize>,
    drafts: Vec<ShardDraft>,
    /// First and last slot of each range, and the index of the shard that claims it.
    claims: Vec<(u16, u16, usize)>,
    /// The number of ranges, including those of entries without a usable node.
    ranges: usize,
    conflicts: usize,
    defect: Option<String>,
    has_relative_hosts: bool,
    /// Reused by each entry.
    usable_replicas: Vec<usize>,
}

impl<'a> ViewBuilder<'a> {
    /// For a reply of this many entries.
    pub fn new(source: Source<'a>, entries: usize, max_nodes: usize) -> ViewBuilder<'a> {
        // Most entries are a shard of two nodes. Those of a shard with many ranges are not.
        let nodes = (2 * entries).min(max_nodes).min(MAX_RESERVED_NODES);
        ViewBuilder {
            source,
            max_nodes,
            nodes: Vec::with_capacity(nodes),
            by_key: HashMap::with_capacity(nodes),
            drafts: Vec::new(),
            claims: Vec::with_capacity(entries.min(SLOTS)),
            ranges: 0,
            conflicts: 0,
            defect: None,
            has_relative_hosts: false,
            usable_replicas: Vec::new(),
        }
    }

    /// Records that a part of entry number `entry` is invalid and was skipped.
    pub fn record_defect(&mut self, entry: usize, why: impl fmt::Display) {
        self.defect
            .get_or_insert_with(|| format!("entry {entry}: {why}"));
    }

    /// Adds a shard, or adds to a shard that an earlier entry has begun. `ranges` must be valid; `replicas` is emptied.
    pub fn add_shard(
        &mut self,
        entry: usize,
        ranges: &[(u16, u16)],
        primary: Option<NodeEntry<'a>>,
        replicas: &mut Vec<NodeEntry<'a>>,
    ) -> Result<()> {
        self.ranges += ranges.len();
        if self.ranges > SLOTS {
            return Err(self.source.too_many("slot ranges", SLOTS));
        }
        let primary = match primary {
            Some(node) => Some(self.add_node(entry, "primary", node)?),
            None => None,
        };
        let mut usable_replicas = std::mem::take(&mut self.usable_replicas);
        usable_replicas.clear();
        for node in replicas.drain(..) {
            let node = self.add_node(entry, "replica", node)?;
            if self.nodes[node].view.is_some() {
                usable_replicas.push(node);
            }
        }
        let usable_primary = primary.filter(|node| self.nodes[*node].view.is_some());
        // The primary identifies the shard, even if it is unusable.
        let Some(identity) = primary.or(usable_replicas.first().copied()) else {
            self.record_defect(entry, "it contains no node");
            return Ok(());
        };
        if usable_primary.is_none() && usable_replicas.is_empty() {
            // `add_node` has recorded why. Another entry with a usable node may claim these slots.
            return Ok(());
        }
        let drafts = &mut self.drafts;
        let at = *self.nodes[identity].shard.get_or_insert_with(|| {
            drafts.push(ShardDraft::default());
            drafts.len() - 1
        });
        let draft = &mut drafts[at];
        if let (None, Some(primary)) = (draft.primary, usable_primary) {
            draft.primary = usable_primary;
            self.nodes[primary].is_primary = true;
        }
        for node in usable_replicas.drain(..) {
            // A node is a replica in one shard: the first role in the reply counts.
            if !std::mem::replace(&mut self.nodes[node].is_replica, true) {
                draft.replicas.push(node);
            }
        }
        self.usable_replicas = usable_replicas;
        let claims = ranges.iter().map(|(first, last)| (*first, *last, at));
        self.claims.extend(claims);
        Ok(())
    }

    /// Adds a node, or merges it with an earlier entry of the same node. Returns its index.
    fn add_node(&mut self, entry: usize, role: &str, node: NodeEntry<'a>) -> Result<usize> {
        let is_full = self.nodes.len() == self.max_nodes;
        let at = match self.by_key.entry(node.key.clone()) {
            Entry::Occupied(known) => {
                let at = *known.get();
                if self.nodes[at].value.is_same(node.value) {
                    return Ok(at);
                }
                at
            }
            Entry::Vacant(_) if is_full => return Err(self.source.too_many_nodes(self.max_nodes)),
            Entry::Vacant(new) => {
                self.nodes.push(NodeDraft {
                    view: None,
                    value: node.value,
                    is_primary: false,
                    is_replica: false,
                    shard: None,
                });
                *new.insert(self.nodes.len() - 1)
            }
        };
        let view = node.view(self.source.node);
        self.has_relative_hosts |= node.host.is_none_or(is_unspecified);
        let draft = &mut self.nodes[at];
        draft.value = node.value;
        match (view, &mut draft.view) {
            (Ok(view), Some(known)) => merge_nodes(known, view),
            (Ok(view), unusable) => *unusable = Some(view),
            (Err(why), _) => self.record_defect(entry, format!("the {role} is unusable: {why}")),
        }
        Ok(at)
    }

    /// The view, or an error if no node is usable.
    pub fn finish(mut self) -> Result<ClusterView> {
        let mut ranges = self.ranges_of_drafts();
        let mut shards = Vec::with_capacity(self.drafts.len());
        for (draft, ranges) in self.drafts.iter().zip(&mut ranges) {
            let primary = draft.primary.and_then(|node| self.nodes[node].view.take());
            let mut replicas = Vec::with_capacity(draft.replicas.len());
            for node in &draft.replicas {
                // A primary of one shard is not a replica of another.
                let node = &mut self.nodes[*node];
                if let Some(view) = node.view.take_if(|_| !node.is_primary) {
                    // Nodes list replicas in different orders. In one order, equal views lead to equal topologies. Shards
                    // have few: insertion takes less code than sorting.
                    let place = replicas.partition_point(|other: &NodeView| other.id <= view.id);
                    replicas.insert(place, view);
                }
            }
            if primary.is_some() || !replicas.is_empty() {
                shards.push(ShardView {
                    ranges: std::mem::take(ranges),
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
                fingerprint: None,
                has_relative_hosts: self.has_relative_hosts,
            }),
        }
    }

    /// First and last slot of each run of slots of each shard, in order.
    fn ranges_of_drafts(&mut self) -> Vec<Vec<(u16, u16)>> {
        let mut claims = self.claims.clone();
        claims.sort_unstable();
        let overlaps = |pair: &[(u16, u16, usize)]| pair[1].0 <= pair[0].1;
        if claims.windows(2).any(overlaps) {
            claims = self.resolve_overlaps();
        }
        let mut ranges: Vec<Vec<(u16, u16)>> = vec![Vec::new(); self.drafts.len()];
        for (first, last, shard) in claims {
            match ranges[shard].last_mut() {
                Some((_, before)) if *before + 1 == first => *before = last,
                _ => ranges[shard].push((first, last)),
            }
        }
        ranges
    }

    /// The claims in the order of their slots, if several name the same slot: it belongs to the first one. Counts the
    /// slots that more than one shard claims.
    fn resolve_overlaps(&mut self) -> Vec<(u16, u16, usize)> {
        let mut table = OwnerTable::of(self.drafts.len(), &[]);
        for (first, last, shard) in &self.claims {
            for slot in *first..*last + 1 {
                match table.get(slot) {
                    None => table.set(slot, *shard),
                    Some(owner) => self.conflicts += usize::from(owner != *shard),
                }
            }
        }
        table.runs()
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
fn add_name(node: &mut NodeView, name: Address) {
    if name != node.address && !node.names.contains(&name) && node.names.len() < MAX_NAMES {
        node.names.push(name);
    }
}
