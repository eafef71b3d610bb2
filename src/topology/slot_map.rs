//! An immutable snapshot of the cluster: which shard owns which slot.

use super::key_slot::SLOTS;
use super::key_space::KeySpace;
use super::known_ids::KnownIds;
use super::node::Node;
use super::node_index::NodeIndex;
use super::owner_table::OwnerTable;
use super::view::{ClusterView, NodeView, ShardView};
use crate::address::Address;
use crate::net::Peer;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A primary and its replicas.
#[derive(Clone, Debug)]
pub struct Shard {
    /// `None` if the cluster announces no usable address of the primary.
    pub primary: Option<Arc<Node>>,
    pub replicas: Vec<Arc<Node>>,
}

impl Shard {
    /// The primary and the replicas.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> + Clone {
        self.primary.iter().chain(&self.replicas)
    }
}

/// How many nodes redirections add to the topology between two refreshes at most.
const MAX_UNCONFIRMED_NODES: usize = 32;

/// A snapshot of the cluster. It never changes, and is replaced by newer ones, which share what has not changed.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Increases with each snapshot.
    pub version: u64,
    /// The nodes by their addresses. Of several at one address, the first. It precedes the lists, which so drop the nodes
    /// in their order: the index has none.
    by_address: Arc<NodeIndex>,
    pub shards: Arc<Vec<Shard>>,
    pub nodes: Arc<Vec<Arc<Node>>>,
    /// One server without cluster support, and its replicas.
    pub standalone: bool,
    /// The ids of the nodes are those that the nodes themselves report, so that a node that reports another one is
    /// another node.
    pub has_verified_ids: bool,
    /// The number of nodes that no view contained: redirections have added them.
    pub unconfirmed_nodes: usize,
    /// The [`ClusterView::fingerprint`] of the view, unless a redirection has changed the topology since.
    fingerprint: Option<u64>,
    /// For each slot, the index of its shard.
    owners: Arc<OwnerTable>,
}

/// For each slot, the index of the shard that owns it.
#[derive(Clone, Default)]
pub struct SlotOwners(Arc<OwnerTable>);

impl SlotOwners {
    /// The index of the shard that owns a slot. Of a slot that no shard owns, none or one behind the last shard.
    #[inline(always)]
    pub fn shard(&self, slot: u16) -> Option<usize> {
        self.0.index(slot)
    }
}

impl Topology {
    /// A topology without nodes and slots.
    pub fn empty() -> Topology {
        Topology {
            version: 0,
            shards: Arc::default(),
            nodes: Arc::default(),
            by_address: Arc::default(),
            standalone: false,
            has_verified_ids: false,
            unconfirmed_nodes: 0,
            fingerprint: None,
            owners: Arc::default(),
        }
    }

    /// A topology without slots and nodes, with memory for this many nodes.
    fn with_capacity(nodes: usize) -> Topology {
        Topology {
            nodes: Arc::new(Vec::with_capacity(nodes)),
            by_address: Arc::new(NodeIndex::with_capacity(nodes)),
            ..Topology::empty()
        }
    }

    /// A server without cluster support, which owns all slots, and its replicas.
    pub fn of_standalone(primary: Arc<Peer>, replicas: Vec<Arc<Peer>>) -> Topology {
        let mut topology = Topology::empty();
        let mut add = |peer: Arc<Peer>| {
            let (id, index) = (peer.address().to_string().into(), topology.nodes.len());
            let zone = None;
            topology.add_node(Arc::new(Node {
                id,
                zone,
                peer,
                index,
            }))
        };
        let primary = Some(add(primary));
        let replicas = replicas.into_iter().map(add).collect();
        topology.shards = Arc::new(vec![Shard { primary, replicas }]);
        topology.owners = Arc::new(OwnerTable::of(1, &[(0, SLOTS as u16 - 1, 0)]));
        topology.standalone = true;
        topology
    }

    /// The topology of a view; `peer` returns the peer of a node. The nodes of the topology `before` that have not
    /// changed are shared.
    pub fn from_view(
        view: ClusterView,
        before: &Topology,
        peer: impl Fn(NodeView) -> Arc<Peer>,
    ) -> Topology {
        let mut topology = Topology::with_capacity(view.nodes().count());
        topology.has_verified_ids = !view.has_foreign_ids;
        topology.fingerprint = view.fingerprint;
        let has_same_ids = before.has_verified_ids == topology.has_verified_ids;
        let node_of = |node: NodeView, index: usize| {
            let is_same = |known: &Arc<Node>| {
                has_same_ids
                    && known.id == node.id
                    && *known.peer.address() == node.address
                    && known.zone.as_deref() == node.zone.as_ref()
            };
            match before.nodes.get(index).filter(|known| is_same(known)) {
                Some(known) => known.clone(),
                None => Arc::new(Node {
                    id: node.id.clone(),
                    zone: node.zone.clone().map(Arc::new),
                    peer: peer(node),
                    index,
                }),
            }
        };
        let mut shards = Vec::with_capacity(view.shards.len());
        let mut owners = Vec::with_capacity(view.shards.len());
        for shard in view.shards {
            let mut add = |node| topology.add_node(node_of(node, topology.nodes.len()));
            let primary = shard.primary.map(&mut add);
            // Collecting would keep the memory of the views for the few bytes of their nodes.
            let mut replicas = Vec::with_capacity(shard.replicas.len());
            replicas.extend(shard.replicas.into_iter().map(&mut add));
            let ranges = shard.ranges.into_iter();
            owners.extend(ranges.map(|(first, last)| (first, last, shards.len())));
            shards.push(Shard { primary, replicas });
        }
        topology.owners = Arc::new(OwnerTable::of(shards.len(), &owners));
        topology.shards = Arc::new(shards);
        topology
    }

    /// The same topology with other peers.
    pub fn with_peers(&self, peer: impl Fn(&Node) -> Arc<Peer>) -> Topology {
        let mut topology = Topology {
            nodes: Arc::default(),
            by_address: Arc::default(),
            ..self.clone()
        };
        for node in self.nodes.iter() {
            topology.add_node(Arc::new(Node {
                peer: peer(node),
                ..Node::clone(node)
            }));
        }
        let with_peer = |node: &Arc<Node>| topology.nodes[node.index].clone();
        let shards = self.shards.iter().map(|shard| Shard {
            primary: shard.primary.as_ref().map(with_peer),
            replicas: shard.replicas.iter().map(with_peer).collect(),
        });
        topology.shards = Arc::new(shards.collect());
        topology
    }

    /// Whether a snapshot says nothing new over this one, but for its version.
    pub fn is_equivalent(&self, other: &Topology) -> bool {
        (self.has_verified_ids || !other.has_verified_ids)
            && self.standalone == other.standalone
            && self.owners == other.owners
            && (Arc::ptr_eq(&self.shards, &other.shards) || self.has_same_shards(other))
    }

    fn has_same_shards(&self, other: &Topology) -> bool {
        let same = |a: &Arc<Node>, b: &Arc<Node>| a.id == b.id && Arc::ptr_eq(&a.peer, &b.peer);
        self.shards.len() == other.shards.len()
            && self.shards.iter().zip(other.shards.iter()).all(|(a, b)| {
                a.nodes().count() == b.nodes().count()
                    && a.primary.is_some() == b.primary.is_some()
                    && a.nodes().zip(b.nodes()).all(|(a, b)| same(a, b))
            })
    }

    /// Whether a reply with this fingerprint, of a node of the cluster, describes this topology.
    pub fn is_of_reply(&self, fingerprint: u64) -> bool {
        self.has_verified_ids && self.fingerprint == Some(fingerprint)
    }

    /// This topology, confirmed by an equivalent one from a later reply. `None` if that reply is known.
    pub fn confirmed_by(&self, later: &Topology) -> Option<Topology> {
        (later.fingerprint.is_some() && later.fingerprint != self.fingerprint).then(|| Topology {
            fingerprint: later.fingerprint,
            ..self.clone()
        })
    }

    /// The view of a node that knows this topology.
    pub fn view(&self, epoch: u64) -> ClusterView {
        let node = |node: &Arc<Node>| NodeView {
            id: node.id.clone(),
            address: node.peer.address().clone(),
            names: Vec::new(),
            zone: node.zone.as_deref().cloned(),
            online: true,
            offset: None,
        };
        let shards = self.shards.iter().zip(self.ranges());
        let shards = shards.map(|(shard, ranges)| ShardView {
            ranges,
            primary: shard.primary.as_ref().map(node),
            replicas: shard.replicas.iter().map(node).collect(),
        });
        ClusterView {
            shards: shards.collect(),
            epoch,
            has_foreign_ids: !self.has_verified_ids,
            fingerprint: self.fingerprint,
            ..ClusterView::default()
        }
    }

    fn add_node(&mut self, node: Arc<Node>) -> Arc<Node> {
        Arc::make_mut(&mut self.nodes).push(node.clone());
        Arc::make_mut(&mut self.by_address).add(&node);
        node
    }

    /// How keys are divided into slots.
    #[inline]
    pub fn key_space(&self) -> KeySpace {
        match self.standalone {
            true => KeySpace::OneSlot,
            false => KeySpace::HashSlots,
        }
    }

    /// The shard that owns a slot.
    #[inline]
    pub fn shard(&self, slot: u16) -> Option<&Shard> {
        self.owners.shard(slot, &self.shards)
    }

    /// The first slot of the primary at this address.
    pub fn first_slot_of(&self, address: &Address) -> Option<u16> {
        let shard = self.shard_of_primary(self.node_at(address)?)?;
        self.owners.first_slot_of(shard)
    }

    /// The index of the shard with this primary.
    fn shard_of_primary(&self, node: &Arc<Node>) -> Option<usize> {
        let is_primary =
            |shard: &Shard| shard.primary.as_ref().is_some_and(|p| Arc::ptr_eq(p, node));
        self.shards.iter().position(is_primary)
    }

    /// The index in [`Topology::shards`] of the shard that owns a slot.
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<usize> {
        self.owners.get(slot)
    }

    /// The owners of all slots. They keep no node alive.
    pub fn slot_owners(&self) -> SlotOwners {
        SlotOwners(self.owners.clone())
    }

    /// Whether the shard with this index owns a slot.
    pub fn has_slots(&self, shard: usize) -> bool {
        self.owners.first_slot_of(shard).is_some()
    }

    /// The nodes that stand for the cluster: it is another cluster if none of their ids is in it.
    pub fn known_ids(&self) -> KnownIds {
        match self.standalone {
            true => KnownIds::default(),
            false => KnownIds::of(self.nodes.clone()),
        }
    }

    /// The node with this address; the first one of several.
    pub fn node_at(&self, address: &Address) -> Option<&Arc<Node>> {
        self.by_address.get(address)
    }

    /// The node with this id and address.
    pub fn node_with(&self, id: &str, address: &Address) -> Option<&Arc<Node>> {
        let first = self.node_at(address)?;
        if *first.id == *id {
            return Some(first);
        }
        let is_it = |node: &&Arc<Node>| *node.id == *id && node.peer.address() == address;
        match self.by_address.len() == self.nodes.len() {
            true => None,
            false => self.nodes.iter().find(is_it),
        }
    }

    /// Whether a shard has no replica.
    pub fn has_shard_without_replicas(&self) -> bool {
        self.shards.iter().any(|s| s.replicas.is_empty())
    }

    /// Whether no refresh can find replicas: the one server, perhaps a proxy, does not know INFO replication.
    pub fn hides_replicas(&self) -> bool {
        self.standalone
            && (self.nodes.iter()).all(|node| node.peer.refuses_info.load(Ordering::Relaxed))
    }

    /// The slots whose primary belongs to another shard than in `before`. Slots without a primary are left out.
    pub fn slots_of_new_shards<'t>(
        &'t self,
        before: &'t Topology,
    ) -> impl Iterator<Item = u16> + 't {
        let is_new = |slot: u16| {
            let primary = self.shard(slot).and_then(|s| s.primary.as_ref());
            primary.is_some_and(|new| !before.is_in_shard_of(slot, new.peer.address()))
        };
        // Most slots have the same owners as the slot before them.
        let mut last = None;
        (0..SLOTS as u16).filter(move |slot| {
            let owners = (self.owner(*slot), before.owner(*slot));
            let is_new = match last {
                Some((of, is_new)) if of == owners => is_new,
                _ => is_new(*slot),
            };
            last = Some((owners, is_new));
            is_new
        })
    }

    /// Whether a node belongs to the shard that serves a slot.
    pub fn is_in_shard_of(&self, slot: u16, node: &Address) -> bool {
        let shard = self.shard(slot);
        shard.is_some_and(|shard| shard.nodes().any(|n| n.peer.address() == node))
    }

    /// Whether any slot has an owner.
    pub fn has_assigned_slots(&self) -> bool {
        self.owners.has_assigned()
    }

    /// The number of slots that have an owner.
    pub fn assigned_slots(&self) -> usize {
        self.owners.assigned()
    }

    /// The ranges of slots of each shard, in order.
    pub fn ranges(&self) -> Vec<Vec<(u16, u16)>> {
        let mut ranges = vec![Vec::new(); self.shards.len()];
        for (first, last, owner) in self.owners.runs() {
            ranges[owner].push((first, last));
        }
        ranges
    }

    /// This snapshot with the slot of a MOVED moved to its target; `None` if the target already is the
    /// slot's primary.
    ///
    /// The owner of a slot is a primary. So a MOVED to a node known as a replica means a failover, of
    /// the slot's shard or of the one that has received the slot. The roles are exchanged for the
    /// whole shard: otherwise each of its slots would cost a redirection.
    ///
    /// If the MOVED was outdated, or the replica has become the primary of another shard, the shard's
    /// next command receives a MOVED that restores the roles. A MOVED never removes a replica: the
    /// refresh after it corrects them.
    ///
    /// `None` also for a server without cluster support: only a refresh shows that there is a cluster now. And `None` if
    /// the target is not in the topology, and [`MAX_UNCONFIRMED_NODES`] others already were not: then
    /// only a refresh adds more.
    pub fn patched(
        &self,
        slot: u16,
        to: &Address,
        peer: impl Fn() -> Arc<Peer>,
    ) -> Option<Topology> {
        if self.standalone {
            return None;
        }
        let is_target = |node: &Arc<Node>| node.peer.address() == to;
        let has_primary = |shard: &Shard| shard.primary.as_ref().is_some_and(is_target);
        if self.shard(slot).is_some_and(has_primary) {
            return None;
        }
        let target = self.node_at(to).cloned();
        if target.is_none() && self.unconfirmed_nodes >= MAX_UNCONFIRMED_NODES {
            return None;
        }
        let mut next = self.clone();
        next.fingerprint = None;
        let target = target.unwrap_or_else(|| {
            next.unconfirmed_nodes += 1;
            next.add_node(Arc::new(Node {
                id: to.to_string().into(),
                zone: None,
                peer: peer(),
                index: self.nodes.len(),
            }))
        });
        let index = match self.shard_of_primary(&target) {
            Some(index) => index,
            None => next.promote(target),
        };
        Arc::make_mut(&mut next.owners).set(slot, index);
        Some(next)
    }

    /// Makes a replica the primary of its shard, and any other node that of a new one. Returns the shard's index.
    fn promote(&mut self, node: Arc<Node>) -> usize {
        let shards = Arc::make_mut(&mut self.shards);
        let is_node = |replica: &Arc<Node>| Arc::ptr_eq(replica, &node);
        let find_replica = |shard: &Shard| shard.replicas.iter().position(is_node);
        let found =
            (shards.iter().enumerate()).find_map(|(i, shard)| Some((i, find_replica(shard)?)));
        match found {
            Some((index, replica)) => {
                let shard = &mut shards[index];
                let promoted = shard.replicas.remove(replica);
                shard.replicas.extend(shard.primary.replace(promoted));
                index
            }
            None => {
                shards.push(Shard {
                    primary: Some(node),
                    replicas: Vec::new(),
                });
                shards.len() - 1
            }
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub use tests::topology;
