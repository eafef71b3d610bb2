//! Which shard serves which slot: an immutable snapshot.

use super::key_slot::SLOTS;
use super::view::{ClusterView, NodeView};
use crate::address::Address;
use crate::net::Peer;
use std::sync::Arc;

/// One server of the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: String,
    pub zone: Option<String>,
    pub peer: Arc<Peer>,
    /// Its place in [`Topology::nodes`].
    pub index: usize,
}

/// A primary and its replicas.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Nobody where the cluster names one that cannot be reached by any address.
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

/// A snapshot of the cluster. A new one replaces it; this one never changes.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Grows with each snapshot.
    pub version: u64,
    pub shards: Vec<Shard>,
    pub nodes: Vec<Arc<Node>>,
    /// One server, and no cluster.
    pub standalone: bool,
    /// The shard of each slot, or [`NO_OWNER`].
    owners: Box<[u16]>,
}

impl Topology {
    /// Nobody serves anything.
    pub fn empty() -> Topology {
        Topology {
            version: 0,
            shards: Vec::new(),
            nodes: Vec::new(),
            standalone: false,
            owners: Box::default(),
        }
    }

    /// The same with room for owners.
    fn without_owners() -> Topology {
        Topology {
            owners: vec![NO_OWNER; SLOTS].into_boxed_slice(),
            ..Topology::empty()
        }
    }

    /// One server that has all slots: no cluster.
    pub fn single(peer: Arc<Peer>) -> Topology {
        let mut topology = Topology::without_owners();
        let node = topology.add_node(peer.address().to_string(), None, peer);
        topology.shards.push(Shard {
            primary: Some(node),
            replicas: Vec::new(),
        });
        topology.owners.fill(0);
        topology.standalone = true;
        topology
    }

    /// What a view says, with the peers that `peer` knows by address.
    pub fn of_view(view: &ClusterView, peer: impl Fn(&Address) -> Arc<Peer>) -> Topology {
        let mut topology = Topology::without_owners();
        for shard in &view.shards {
            let mut add = |node: &NodeView| {
                topology.add_node(node.id.clone(), node.zone.clone(), peer(&node.address))
            };
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

    /// The same cluster, its nodes with other peers.
    pub fn with_peers(&self, peer: impl Fn(&Address) -> Arc<Peer>) -> Topology {
        let nodes: Vec<Arc<Node>> = self
            .nodes
            .iter()
            .map(|node| {
                Arc::new(Node {
                    peer: peer(node.peer.address()),
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
            standalone: self.standalone,
            owners: self.owners.clone(),
            nodes: nodes.clone(),
        }
    }

    /// Whether two snapshots say the same.
    pub fn agrees(&self, other: &Topology) -> bool {
        let same = |a: &Arc<Node>, b: &Arc<Node>| a.id == b.id && Arc::ptr_eq(&a.peer, &b.peer);
        self.owners == other.owners
            && self.shards.len() == other.shards.len()
            && self.shards.iter().zip(&other.shards).all(|(a, b)| {
                a.nodes().count() == b.nodes().count()
                    && a.primary.is_some() == b.primary.is_some()
                    && a.nodes().zip(b.nodes()).all(|(a, b)| same(a, b))
            })
    }

    fn add_node(&mut self, id: String, zone: Option<String>, peer: Arc<Peer>) -> Arc<Node> {
        let node = Arc::new(Node {
            id,
            zone,
            peer,
            index: self.nodes.len(),
        });
        self.nodes.push(node.clone());
        node
    }

    /// The shard that serves a slot.
    #[inline]
    pub fn shard(&self, slot: u16) -> Option<&Shard> {
        let owner = *self.owners.get(usize::from(slot))?;
        self.shards.get(usize::from(owner))
    }

    /// The first slot that the node of this name serves as a primary.
    pub fn first_slot_of(&self, name: &str) -> Option<u16> {
        let is = |shard: &Shard| {
            let primary = shard.primary.as_ref();
            primary.is_some_and(|node| node.peer.origin().name() == name)
        };
        let shard = self.shards.iter().position(is)? as u16;
        let slot = self.owners.iter().position(|owner| *owner == shard)?;
        Some(slot as u16)
    }

    /// Its place in [`Topology::shards`].
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let owner = usize::from(*self.owners.get(usize::from(slot))?);
        (owner < self.shards.len()).then_some(owner)
    }

    /// Whether a shard, by its place, serves any slot.
    pub fn has_slots(&self, shard: usize) -> bool {
        self.owners.iter().any(|owner| usize::from(*owner) == shard)
    }

    /// The node with this address.
    pub fn node_at(&self, address: &Address) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|n| n.peer.address() == address)
    }

    /// Whether a shard has no replica.
    pub fn has_shard_without_replicas(&self) -> bool {
        self.shards.iter().any(|s| s.replicas.is_empty())
    }

    /// The slots that have a primary here and had another one in `before`.
    pub fn moved<'t>(&'t self, before: &'t Topology) -> impl Iterator<Item = u16> + 't {
        let primary = |topology: &'t Topology, slot: u16| {
            let shard = topology.shard(slot);
            shard.and_then(|s| s.primary.as_ref()).map(|p| &p.peer)
        };
        (0..SLOTS as u16).filter(move |slot| {
            primary(self, *slot).is_some_and(|now| {
                primary(before, *slot).is_none_or(|then| !Arc::ptr_eq(now, then))
            })
        })
    }

    /// Whether any slot is served.
    pub fn serves(&self) -> bool {
        self.owners.iter().any(|o| *o != NO_OWNER)
    }

    /// How many slots are served.
    pub fn covered(&self) -> usize {
        // A check for overflow at each slot would keep it from taking several at a time.
        let count = |n: usize, owner: &u16| n.wrapping_add(usize::from(*owner != NO_OWNER));
        self.owners.iter().fold(0, count)
    }

    /// The runs of slots of each shard, in order.
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

    /// What a MOVED says of one slot, on top of this snapshot; `None` if it is no news.
    ///
    /// Who serves a slot is a primary. So a MOVED to a replica, of the very shard or of the one that the slot has
    /// moved to, is a failover: the roles are changed for the whole shard, or it would be asked twice where all are.
    /// If it was an old word, or the replica has become a primary of its own, the shard's next command meets another
    /// MOVED, which changes them back. Replicas are never dropped for a MOVED; the refresh that follows sorts them out.
    pub fn patched(
        &self,
        slot: u16,
        to: &Address,
        peer: impl Fn() -> Arc<Peer>,
    ) -> Option<Topology> {
        let owner = *self.owners.get(usize::from(slot))?;
        let is_target = |node: &Arc<Node>| node.peer.address() == to;
        let led = |shard: &Shard| shard.primary.as_ref().is_some_and(is_target);
        if self.shards.get(usize::from(owner)).is_some_and(led) {
            return None;
        }
        let mut next = self.clone();
        let replica = |shard: &Shard| shard.replicas.iter().position(is_target);
        let number = if let Some(number) = self.shards.iter().position(led) {
            number
        } else if let Some((number, at)) =
            (self.shards.iter().enumerate()).find_map(|(n, shard)| Some((n, replica(shard)?)))
        {
            let shard = &mut next.shards[number];
            let promoted = shard.replicas.remove(at);
            shard.replicas.extend(shard.primary.replace(promoted));
            number
        } else {
            let node = match self.nodes.iter().find(|n| is_target(n)) {
                Some(node) => node.clone(),
                None => next.add_node(to.to_string(), None, peer()),
            };
            next.shards.push(Shard {
                primary: Some(node),
                replicas: Vec::new(),
            });
            next.shards.len() - 1
        };
        next.owners[usize::from(slot)] = number as u16;
        Some(next)
    }
}
