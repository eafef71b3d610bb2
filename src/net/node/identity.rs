//! Which node the client's map names at an address, and whether it is the one that answers there.

use crate::address::Address;
use crate::error::{Code, Error, Result};
use crate::net::conn::{ConnectionKind, ReportedIdentity, ReportedRole, is_node_id};
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
    /// The server of a client without a cluster, or a replica of that server.
    Standalone(ExpectedRole),
}

/// The role of a server without cluster support, according to the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedRole {
    Primary,
    Replica,
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

    /// The map is this server, which is no cluster, and its replicas; or it is one of these.
    pub fn expect_standalone(&mut self, role: ExpectedRole) {
        self.expected = Expected::Standalone(role);
    }

    /// Whether the node at this address may be the one with this id, as far as is known.
    pub fn may_be(&self, id: &str) -> bool {
        let is_same = |known: &Arc<str>| **known == *id || !is_node_id(id);
        !self.is_standalone() && self.id.as_ref().is_none_or(is_same)
    }

    /// Whether a node of a cluster is expected.
    pub fn is_of_cluster(&self) -> bool {
        matches!(self.expected, Expected::Node | Expected::ClusterNode)
    }

    /// Whether nothing is to be learned from the node's id.
    pub fn is_standalone(&self) -> bool {
        matches!(self.expected, Expected::Standalone(_))
    }

    /// Checks the role of the node at `address` on a new connection for commands that only a primary may serve. A
    /// replica without cluster support does not redirect them: it would serve reads with its own data.
    pub fn verify_role(
        &self,
        reported: ReportedRole,
        kind: ConnectionKind,
        address: &Address,
    ) -> Result<()> {
        let is_demoted = self.expected == Expected::Standalone(ExpectedRole::Primary)
            && reported == ReportedRole::Replica
            && kind.at_primary() == kind
            && kind != ConnectionKind::FRESHNESS_PROBE;
        if !is_demoted {
            return Ok(());
        }
        let problem =
            format_args!("{address} is a replica now, and not the primary; it gets no command");
        Err(Error::new(Code::Connect, problem).at(address.to_string()))
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
        standalone.expect_standalone(ExpectedRole::Primary);
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

    #[test]
    fn demoted_server_is_not_used_as_the_primary() {
        use ReportedRole::{Replica, Unknown};
        let address = Address::new("10.0.0.1", 7000).unwrap();
        let (on_primary, on_replicas) = (ConnectionKind::primary(0), ConnectionKind::replicas(0));
        let probe = ConnectionKind::FRESHNESS_PROBE;
        let [mut primary, mut replica, mut node] = [(); 3].map(|()| NodeIdentity::default());
        primary.expect_standalone(ExpectedRole::Primary);
        replica.expect_standalone(ExpectedRole::Replica);
        node.expect_cluster_node(None);
        for (identity, reported, kind, accepted) in [
            (&primary, ReportedRole::Primary, on_primary, true),
            (&primary, Unknown, on_primary, true),
            (&primary, Replica, on_primary, false),
            (&primary, Replica, on_primary.blocking(), false),
            (&primary, Replica, on_replicas, true),
            (&primary, Replica, probe, true),
            (&replica, Replica, on_primary, true),
            (&node, Replica, on_primary, true),
        ] {
            let outcome = identity.verify_role(reported, kind, &address);
            assert_eq!(
                outcome.is_ok(),
                accepted,
                "{identity:?} {reported:?} {kind:?}"
            );
        }
    }
}
