//! The node ids by which a cluster is recognized.

use super::view::{ClusterView, NodeView};
use std::collections::HashSet;
use std::sync::Arc;

/// The ids of the nodes of the cluster that a client knows. Empty if it knows none yet.
#[derive(Clone, Debug, Default)]
pub struct KnownIds(HashSet<Arc<str>>);

impl KnownIds {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    /// The number of nodes of a view that are known.
    pub fn count_in(&self, view: &ClusterView) -> usize {
        let is_known = |node: &&NodeView| self.contains(&node.id);
        view.nodes().filter(is_known).count()
    }
}

impl FromIterator<Arc<str>> for KnownIds {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(ids: I) -> KnownIds {
        KnownIds(ids.into_iter().collect())
    }
}
