//! The peers outside the topology.

use crate::address::Address;
use crate::net::Peer;
use std::collections::VecDeque;
use std::sync::Arc;

/// Maximum number of peers outside the topology: seeds, and targets of redirections that no refresh has confirmed. A
/// node that redirects to ever new addresses does not make the client open ever more connections.
const MAX_OUTSIDE_PEERS: usize = 32;

/// The peers that are not in the topology, the least recently used first.
#[derive(Default)]
pub(super) struct OutsidePeers(VecDeque<Arc<Peer>>);

/// Peers that have left the table. Dropping one closes its idle connections, so no lock should be held then.
pub(super) type Removed = Vec<Arc<Peer>>;

impl OutsidePeers {
    /// The peer at an address, if there is one.
    pub(super) fn find(&self, address: &Address) -> Option<&Arc<Peer>> {
        self.0.iter().find(|peer| peer.address() == address)
    }

    /// The peer at an address, which `create` makes if there is none.
    pub(super) fn find_or_add(
        &mut self,
        address: &Address,
        create: impl FnOnce() -> Arc<Peer>,
    ) -> (Arc<Peer>, Removed) {
        let known = self.0.iter().position(|peer| peer.address() == address);
        let known = known.and_then(|at| self.0.remove(at));
        let peer = known.unwrap_or_else(create);
        self.0.push_back(peer.clone());
        let excess = self.0.len().saturating_sub(MAX_OUTSIDE_PEERS);
        (peer, self.0.drain(..excess).collect())
    }

    /// Removes a peer that is in the topology now.
    pub(super) fn remove(&mut self, peer: &Arc<Peer>) {
        self.0.retain(|other| !Arc::ptr_eq(other, peer));
    }

    /// Removes all. This includes a seed that has left the cluster: a later refresh connects to it again.
    pub(super) fn clear(&mut self) -> Removed {
        self.0.drain(..).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.0.iter()
    }
}
