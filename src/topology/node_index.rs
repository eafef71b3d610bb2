//! The nodes of a topology by their addresses.

use super::node::Node;
use crate::address::Address;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The nodes of a topology by their addresses. Of several nodes at one address, the first that was added.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeIndex(HashSet<ByAddress>);

/// A node as a key: the address is not stored twice.
#[derive(Clone, Debug)]
struct ByAddress(Arc<Node>);

impl Borrow<Address> for ByAddress {
    fn borrow(&self) -> &Address {
        self.0.peer.address()
    }
}

impl Hash for ByAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.peer.address().hash(state);
    }
}

impl PartialEq for ByAddress {
    fn eq(&self, other: &ByAddress) -> bool {
        self.0.peer.address() == other.0.peer.address()
    }
}

impl Eq for ByAddress {}

impl NodeIndex {
    pub(super) fn with_capacity(nodes: usize) -> NodeIndex {
        NodeIndex(HashSet::with_capacity(nodes))
    }

    pub(super) fn add(&mut self, node: &Arc<Node>) {
        self.0.insert(ByAddress(node.clone()));
    }

    pub(super) fn get(&self, address: &Address) -> Option<&Arc<Node>> {
        self.0.get(address).map(|key| &key.0)
    }

    /// The number of addresses.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
