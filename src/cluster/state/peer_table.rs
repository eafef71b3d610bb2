//! The peers of one process: those of its topology, and a few others.

use crate::address::Address;
use crate::net::Peer;
use crate::topology::Topology;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Maximum number of peers outside the topology: seeds, and targets of redirections that no refresh has confirmed. A
/// node that redirects to ever new addresses does not make the client open ever more connections.
pub const MAX_OUTSIDE_PEERS: usize = 32;

#[derive(Default)]
pub(super) struct PeerTable {
    mapped: BTreeMap<Address, Arc<Peer>>,
    /// The others, the least recently used first.
    outside: VecDeque<Arc<Peer>>,
}

/// Peers that have left the table. Dropping one closes its idle connections, so no lock should be held then.
pub(super) type Removed = Vec<Arc<Peer>>;

impl PeerTable {
    /// The peer at an address, if there is one.
    pub(super) fn find(&self, address: &Address) -> Option<&Arc<Peer>> {
        let outside = || self.outside.iter().find(|peer| peer.address() == address);
        self.mapped.get(address).or_else(outside)
    }

    /// The peer at an address, which `create` makes if there is none.
    pub(super) fn find_or_add(
        &mut self,
        address: &Address,
        create: impl FnOnce() -> Arc<Peer>,
    ) -> (Arc<Peer>, Removed) {
        if let Some(peer) = self.mapped.get(address) {
            return (peer.clone(), Vec::new());
        }
        let known = self.outside.iter().position(|p| p.address() == address);
        let known = known.and_then(|at| self.outside.remove(at));
        let peer = known.unwrap_or_else(create);
        self.outside.push_back(peer.clone());
        let excess = self.outside.len().saturating_sub(MAX_OUTSIDE_PEERS);
        (peer, self.outside.drain(..excess).collect())
    }

    /// Makes the peers of a new topology the only ones. This includes a seed that has left the cluster: a later refresh
    /// connects to it again.
    pub(super) fn set_topology(&mut self, topology: &Topology) -> Removed {
        let nodes = topology.nodes.iter();
        let mapped = nodes.map(|node| (node.peer.address().clone(), node.peer.clone()));
        let before = std::mem::replace(&mut self.mapped, mapped.collect());
        before.into_values().chain(self.outside.drain(..)).collect()
    }

    /// Adds a peer that a redirection has added to the topology.
    pub(super) fn add_mapped(&mut self, peer: Arc<Peer>) {
        self.outside.retain(|other| !Arc::ptr_eq(other, &peer));
        self.mapped.insert(peer.address().clone(), peer);
    }

    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        let mut all: Vec<Arc<Peer>> = self.mapped.values().chain(&self.outside).cloned().collect();
        all.sort_by(|a, b| a.address().cmp(b.address()));
        all
    }
}
