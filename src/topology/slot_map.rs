//! An immutable snapshot of the cluster: which shard owns which slot.

use super::key_slot::SLOTS;
use super::key_space::KeySpace;
use super::known_ids::KnownIds;
use super::view::{ClusterView, NodeView};
use crate::address::Address;
use crate::net::Peer;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One server of the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: Arc<str>,
    pub zone: Option<String>,
    pub peer: Arc<Peer>,
    /// Its index in [`Topology::nodes`].
    pub index: usize,
}

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

const NO_OWNER: u16 = u16::MAX;

/// How many nodes redirections add to the topology between two refreshes at most.
const MAX_UNCONFIRMED_NODES: usize = 32;

/// A snapshot of the cluster. It never changes, and is replaced by newer ones.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Increases with each snapshot.
    pub version: u64,
    pub shards: Vec<Shard>,
    pub nodes: Vec<Arc<Node>>,
    /// One server without cluster support, and its replicas.
    pub standalone: bool,
    /// The ids of the nodes are those that the nodes themselves report, so that a node that reports another one is
    /// another node.
    pub has_verified_ids: bool,
    /// The number of nodes that no view contained: redirections have added them.
    pub unconfirmed_nodes: usize,
    /// For each slot, the index of its shard, or [`NO_OWNER`].
    owners: Box<[u16]>,
}

impl Topology {
    /// A topology without nodes and slots.
    pub fn empty() -> Topology {
        Topology {
            version: 0,
            shards: Vec::new(),
            nodes: Vec::new(),
            standalone: false,
            has_verified_ids: false,
            unconfirmed_nodes: 0,
            owners: Box::default(),
        }
    }

    /// A topology in which no slot has an owner yet.
    fn without_owners() -> Topology {
        Topology {
            owners: vec![NO_OWNER; SLOTS].into_boxed_slice(),
            ..Topology::empty()
        }
    }

    /// A server without cluster support, which owns all slots, and its replicas.
    pub fn of_standalone(primary: Arc<Peer>, replicas: Vec<Arc<Peer>>) -> Topology {
        let mut topology = Topology::without_owners();
        let mut add = |peer: Arc<Peer>| topology.add_node(peer.address().to_string(), None, peer);
        let primary = Some(add(primary));
        let replicas = replicas.into_iter().map(add).collect();
        topology.shards.push(Shard { primary, replicas });
        topology.owners.fill(0);
        topology.standalone = true;
        topology
    }

    /// The topology of a view; `peer` returns the peer of a node.
    pub fn from_view(view: &ClusterView, peer: impl Fn(&NodeView) -> Arc<Peer>) -> Topology {
        let mut topology = Topology::without_owners();
        topology.has_verified_ids = !view.has_foreign_ids;
        for shard in &view.shards {
            let mut add =
                |node: &NodeView| topology.add_node(node.id.clone(), node.zone.clone(), peer(node));
            let primary = shard.primary.as_ref().map(&mut add);
            let replicas = shard.replicas.iter().map(&mut add).collect();
            let number = topology.shards.len() as u16;
            topology.shards.push(Shard { primary, replicas });
            for (first, last) in &shard.ranges {
                topology.owners[usize::from(*first)..=usize::from(*last)].fill(number);
            }
        }
        topology
    }

    /// The same topology with other peers.
    pub fn with_peers(&self, peer: impl Fn(&Node) -> Arc<Peer>) -> Topology {
        let nodes: Vec<Arc<Node>> = self
            .nodes
            .iter()
            .map(|node| {
                Arc::new(Node {
                    peer: peer(node),
                    ..Node::clone(node)
                })
            })
            .collect();
        let with_peer = |node: &Arc<Node>| nodes[node.index].clone();
        Topology {
            version: self.version,
            shards: self
                .shards
                .iter()
                .map(|shard| Shard {
                    primary: shard.primary.as_ref().map(with_peer),
                    replicas: shard.replicas.iter().map(with_peer).collect(),
                })
                .collect(),
            owners: self.owners.clone(),
            nodes: nodes.clone(),
            ..*self
        }
    }

    /// Whether a snapshot says nothing new over this one, but for its version.
    pub fn is_equivalent(&self, other: &Topology) -> bool {
        let same = |a: &Arc<Node>, b: &Arc<Node>| a.id == b.id && Arc::ptr_eq(&a.peer, &b.peer);
        (self.has_verified_ids || !other.has_verified_ids)
            && self.standalone == other.standalone
            && self.owners == other.owners
            && self.shards.len() == other.shards.len()
            && self.shards.iter().zip(&other.shards).all(|(a, b)| {
                a.nodes().count() == b.nodes().count()
                    && a.primary.is_some() == b.primary.is_some()
                    && a.nodes().zip(b.nodes()).all(|(a, b)| same(a, b))
            })
    }

    fn add_node(
        &mut self,
        id: impl Into<Arc<str>>,
        zone: Option<String>,
        peer: Arc<Peer>,
    ) -> Arc<Node> {
        let node = Arc::new(Node {
            id: id.into(),
            zone,
            peer,
            index: self.nodes.len(),
        });
        self.nodes.push(node.clone());
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
        let owner = *self.owners.get(usize::from(slot))?;
        self.shards.get(usize::from(owner))
    }

    /// The first slot of the primary with this name ("host:port").
    pub fn first_slot_of(&self, name: &str) -> Option<u16> {
        let has_name = |shard: &Shard| {
            let primary = shard.primary.as_ref();
            primary.is_some_and(|node| node.peer.origin().name() == name)
        };
        let shard = self.shards.iter().position(has_name)? as u16;
        let slot = self.owners.iter().position(|owner| *owner == shard)?;
        Some(slot as u16)
    }

    /// The index in [`Topology::shards`] of the shard that owns a slot.
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let owner = usize::from(*self.owners.get(usize::from(slot))?);
        (owner < self.shards.len()).then_some(owner)
    }

    /// Whether the shard with this index owns a slot.
    pub fn has_slots(&self, shard: usize) -> bool {
        self.owners.iter().any(|owner| usize::from(*owner) == shard)
    }

    /// The nodes that stand for the cluster: it is another cluster if none of their ids is in it.
    pub fn known_ids(&self) -> KnownIds {
        match self.standalone {
            true => KnownIds::default(),
            false => self.nodes.iter().map(|node| node.id.clone()).collect(),
        }
    }

    /// The node with this address.
    pub fn node_at(&self, address: &Address) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|n| n.peer.address() == address)
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
        (0..SLOTS as u16).filter(move |slot| {
            let primary = self.shard(*slot).and_then(|s| s.primary.as_ref());
            primary.is_some_and(|new| !before.is_in_shard_of(*slot, new.peer.address()))
        })
    }

    /// Whether a node belongs to the shard that serves a slot.
    pub fn is_in_shard_of(&self, slot: u16, node: &Address) -> bool {
        let shard = self.shard(slot);
        shard.is_some_and(|shard| shard.nodes().any(|n| n.peer.address() == node))
    }

    /// Whether any slot has an owner.
    pub fn has_assigned_slots(&self) -> bool {
        self.owners.iter().any(|o| *o != NO_OWNER)
    }

    /// The number of slots that have an owner.
    pub fn assigned_slots(&self) -> usize {
        // Wrapping, because overflow checks would prevent vectorization.
        let count = |n: usize, owner: &u16| n.wrapping_add(usize::from(*owner != NO_OWNER));
        self.owners.iter().fold(0, count)
    }

    /// The ranges of slots of each shard, in order.
    pub fn ranges(&self) -> Vec<Vec<(u16, u16)>> {
        let mut ranges = vec![Vec::new(); self.shards.len()];
        let mut slot = 0;
        while slot < self.owners.len() {
            let owner = self.owners[slot];
            let first = slot;
            while slot < self.owners.len() && self.owners[slot] == owner {
                slot += 1;
            }
            if let Some(runs) = ranges.get_mut(usize::from(owner)) {
                runs.push((first as u16, slot as u16 - 1));
            }
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
        let owner = *self.owners.get(usize::from(slot))?;
        let is_target = |node: &Arc<Node>| node.peer.address() == to;
        let has_primary = |shard: &Shard| shard.primary.as_ref().is_some_and(is_target);
        if self.shards.get(usize::from(owner)).is_some_and(has_primary) {
            return None;
        }
        let is_full = self.unconfirmed_nodes >= MAX_UNCONFIRMED_NODES;
        if is_full && !self.nodes.iter().any(is_target) {
            return None;
        }
        let mut next = self.clone();
        let find_replica = |shard: &Shard| shard.replicas.iter().position(is_target);
        let index = if let Some(index) = self.shards.iter().position(has_primary) {
            index
        } else if let Some((index, replica)) =
            (self.shards.iter().enumerate()).find_map(|(i, shard)| Some((i, find_replica(shard)?)))
        {
            let shard = &mut next.shards[index];
            let promoted = shard.replicas.remove(replica);
            shard.replicas.extend(shard.primary.replace(promoted));
            index
        } else {
            let node = match self.nodes.iter().find(|n| is_target(n)) {
                Some(node) => node.clone(),
                None => {
                    next.unconfirmed_nodes += 1;
                    next.add_node(to.to_string(), None, peer())
                }
            };
            next.shards.push(Shard {
                primary: Some(node),
                replicas: Vec::new(),
            });
            next.shards.len() - 1
        };
        next.owners[usize::from(slot)] = index as u16;
        Some(next)
    }
}
