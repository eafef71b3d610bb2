//! Which node the client's map names at an address, and whether it is the one that answers there.

use crate::address::Address;
use crate::error::{Code, Error, Result};
use crate::net::conn::{ReportedIdentity, is_node_id};
use std::sync::Arc;

/// The identity of the node at one address.
#[derive(Clone, Debug, Default)]
pub struct NodeIdentity {
    expected: Expected,
    /// The id of the expected node. If none is expected, the id that the node has reported.
    id: Option<Arc<str>>,
    /// Whether the node is of a shard that has replicas.
    pub has_replicas: bool,
}

/// What the client's map says about an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    /// The address is not in the map, or the map has no ids to compare.
    #[default]
    Anything,
    /// Some node of a cluster.
    ClusterNode,
    /// The node with a known id.
    Node,
    /// The only server of a client without a cluster.
    Standalone,
}

impl NodeIdentity {
    /// The map is that of a cluster. A node with an id that is no node id, as that of a proxy, is not compared.
    pub fn expect_cluster_node(&mut self, id: Option<&Arc<str>>) {
        match id.filter(|id| is_node_id(id)) {
            Some(id) => {
                self.expected = Expected::Node;
                self.id = Some(id.clone());
            }
            None if self.expected == Expected::Node => {}
            None => self.expected = Expected::ClusterNode,
        }
    }

    /// The map is this server, which is no cluster.
    pub fn expect_standalone(&mut self) {
        self.expected = Expected::Standalone;
    }

    /// Whether the node at this address may be the one with this id, as far as is known.
    pub fn may_be(&self, id: &str) -> bool {
        let is_same = |known: &Arc<str>| **known == *id || !is_node_id(id);
        self.expected != Expected::Standalone && self.id.as_ref().is_none_or(is_same)
    }

    /// Whether a node of a cluster is expected.
    pub fn is_of_cluster(&self) -> bool {
        matches!(self.expected, Expected::Node | Expected::ClusterNode)
    }

    /// Whether nothing is to be learned from the node's id.
    pub fn is_standalone(&self) -> bool {
        self.expected == Expected::Standalone
    }

    /// Checks what the node at `address` has reported against the map.
    pub fn verify(&mut self, reported: &ReportedIdentity, address: &Address) -> Result<()> {
        let id = self.id.as_deref().unwrap_or_default();
        let (expected, found) = match (self.expected, reported) {
            (Expected::Node, ReportedIdentity::Node(found)) if *id != **found => {
                (format!("node {id}"), format!("node {found}"))
            }
            (Expected::Node, ReportedIdentity::NoCluster) => (
                format!("node {id}"),
                "a server without cluster support".into(),
            ),
            (Expected::ClusterNode, ReportedIdentity::NoCluster) => (
                "a node of this cluster".into(),
                "a server without cluster support".into(),
            ),
            (Expected::Anything | Expected::ClusterNode, ReportedIdentity::Node(found)) => {
                self.id = Some(found.clone());
                return Ok(());
            }
            _ => return Ok(()),
        };
        let problem = format_args!(
            "{address} is {found}, and not {expected} as the cluster's map says; it is not used"
        );
        Err(Error::new(Code::Connect, problem).at(address.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> Arc<str> {
        String::from_iter([digit; 40]).into()
    }

    #[test]
    fn only_the_node_that_the_map_names_is_accepted() {
        let address = Address::new("10.0.0.1", 7000).unwrap();
        let (a, b) = (id('a'), id('b'));
        let mut anything = NodeIdentity::default();
        let mut cluster_node = NodeIdentity::default();
        cluster_node.expect_cluster_node(None);
        let mut proxy = NodeIdentity::default();
        proxy.expect_cluster_node(Some(&"10.0.0.1:7000".into()));
        let mut node_a = NodeIdentity::default();
        node_a.expect_cluster_node(Some(&a));
        // A map without ids does not make it forget.
        node_a.expect_cluster_node(None);
        let mut standalone = NodeIdentity::default();
        standalone.expect_standalone();
        let node = |id: &Arc<str>| ReportedIdentity::Node(id.clone());
        let none = ReportedIdentity::NoCluster;
        for (identity, reported, accepted) in [
            (&anything, &none, true),
            (&anything, &node(&b), true),
            (&cluster_node, &node(&b), true),
            (&cluster_node, &none, false),
            (&cluster_node, &ReportedIdentity::Unknown, true),
            (&proxy, &node(&b), true),
            (&proxy, &none, false),
            (&node_a, &node(&a), true),
            (&node_a, &node(&b), false),
            (&node_a, &none, false),
            (&node_a, &ReportedIdentity::Unknown, true),
            (&node_a, &ReportedIdentity::NotNow, true),
            (&standalone, &none, true),
            (&standalone, &node(&b), true),
        ] {
            let outcome = identity.clone().verify(reported, &address);
            assert_eq!(outcome.is_ok(), accepted, "{identity:?} {reported:?}");
        }
        let error = node_a.verify(&node(&b), &address).unwrap_err();
        let text = format!(
            "CONNECT 10.0.0.1:7000 is node {b}, and not node {a} as the cluster's map says; it is not used"
        );
        assert_eq!(error.message, text);
        assert!(anything.may_be(&a));
        assert!(anything.verify(&node(&b), &address).is_ok());
        assert!(node_a.may_be(&a) && !node_a.may_be(&b) && node_a.may_be("10.0.0.1:7000"));
        assert!(
            anything.may_be(&b) && !anything.may_be(&a),
            "it was found to be b"
        );
        assert!(!standalone.may_be(&a));
    }
}
