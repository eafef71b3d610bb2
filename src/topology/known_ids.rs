//! The node ids by which a cluster is recognized.

use super::node::Node;
use super::view::{ClusterView, NodeView};
use once_cell::unsync::OnceCell;
use std::collections::HashSet;
use std::sync::Arc;

/// The ids of the nodes of the cluster that a client knows. Empty if it knows none yet.
#[derive(Debug, Default)]
pub struct KnownIds {
    nodes: Arc<Vec<Arc<Node>>>,
    /// Made when the first id is looked up: the usual refresh finds no change, and compares no ids.
    ids: OnceCell<HashSet<Arc<str>>>,
}

impl KnownIds {
    /// The ids of these nodes.
    pub fn of(nodes: Arc<Vec<Arc<Node>>>) -> KnownIds {
        KnownIds {
            nodes,
            ids: OnceCell::new(),
        }
    }

    fn ids(&self) -> &HashSet<Arc<str>> {
        let ids = || self.nodes.iter().map(|node| node.id.clone()).collect();
        self.ids.get_or_init(ids)
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.ids().is_empty()
    }

    pub fn contains(&self, id: &str) -> bool {
        self.ids().contains(id)
    }

    /// The number of nodes of a view that are known.
    pub fn count_in(&self, view: &ClusterView) -> usize {
        self.known_in(view).count()
    }

    /// Whether any node of a view is known.
    pub fn is_any_in(&self, view: &ClusterView) -> bool {
        self.known_in(view).next().is_some()
    }

    fn known_in<'v>(&'v self, view: &'v ClusterView) -> impl Iterator<Item = &'v NodeView> {
        // Most nodes are at the same place in both, where they are found without a look-up.
        let is_at = |at: usize, id: &str| self.nodes.get(at).is_some_and(|n| *n.id == *id);
        let nodes = view.nodes().enumerate();
        let known = nodes.filter(move |(at, node)| is_at(*at, &node.id) || self.contains(&node.id));
        known.map(|(_, node)| node)
    }
}

impl FromIterator<Arc<str>> for KnownIds {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(ids: I) -> KnownIds {
        KnownIds {
            nodes: Arc::default(),
            ids: OnceCell::from(HashSet::from_iter(ids)),
        }
    }
}
