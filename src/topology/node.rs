//! One server of a topology.

use crate::net::Peer;
use std::sync::Arc;

/// One server of the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: Arc<str>,
    /// Behind one pointer, because most nodes have none.
    pub zone: Option<Arc<String>>,
    pub peer: Arc<Peer>,
    /// Its index in [`Topology::nodes`](super::Topology::nodes).
    pub index: usize,
}
