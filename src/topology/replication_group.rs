//! A server without cluster support and its replicas: what several servers say about it, and what follows. No I/O.
//!
//! The first rule that applies counts:
//!
//! | the servers said | the primary is | its replicas are |
//! |---|---|---|
//! | one is a primary | that server | those that it lists |
//! | one does not say what it is: a proxy, an old server, no permission | that server | none |
//! | they are replicas, and name their primary | the named server, also if it does not answer | those that name it |
//! | they are replicas, and do not name it | the first of them | none |

use super::replication::ReplicationView;
use crate::address::Address;
use crate::net::ReportedRole;

/// What a server without cluster support says about its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerRole {
    Unknown,
    Primary {
        /// As far as it was asked for them.
        replicas: Vec<Address>,
    },
    Replica {
        /// As far as it was asked, and names it.
        primary: Option<Address>,
    },
}

impl ServerRole {
    /// The role according to INFO replication.
    pub fn of_view(view: ReplicationView) -> ServerRole {
        match view.primary {
            true => ServerRole::Primary {
                replicas: view.replicas,
            },
            false => ServerRole::Replica {
                primary: view.primary_address,
            },
        }
    }

    /// The role according to the handshake.
    pub fn of_handshake(role: ReportedRole) -> ServerRole {
        match role {
            ReportedRole::Unknown => ServerRole::Unknown,
            ReportedRole::Primary => ServerRole::Primary {
                replicas: Vec::new(),
            },
            ReportedRole::Replica => ServerRole::Replica { primary: None },
        }
    }
}

/// A server without cluster support, and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandaloneView {
    pub primary: Address,
    pub replicas: Vec<Address>,
}

/// The servers that were asked so far, in order, and what each has said.
#[derive(Default)]
pub struct ReplicationGroup {
    reports: Vec<(Address, ServerRole)>,
}

impl ReplicationGroup {
    pub fn add(&mut self, server: &Address, role: ServerRole) {
        self.reports.push((server.clone(), role));
    }

    /// Whether a server was found that accepts writes, as far as is known.
    pub fn has_primary(&self) -> bool {
        let is_replica = |role: &ServerRole| matches!(role, ServerRole::Replica { .. });
        self.reports.iter().any(|(_, role)| !is_replica(role))
    }

    /// The primaries that replicas name.
    pub fn named_primaries(&self) -> impl Iterator<Item = &Address> {
        self.reports.iter().filter_map(|(_, role)| match role {
            ServerRole::Replica { primary } => primary.as_ref(),
            _ => None,
        })
    }

    /// What follows; `None` if no server was asked.
    pub fn view(&self) -> Option<StandaloneView> {
        let reports = || self.reports.iter();
        let of_primary = reports().find_map(|(server, role)| match role {
            ServerRole::Primary { replicas } => Some((server.clone(), replicas.clone())),
            _ => None,
        });
        let of_unknown = || {
            let found = reports().find(|(_, role)| *role == ServerRole::Unknown);
            found.map(|(server, _)| (server.clone(), Vec::new()))
        };
        let of_named = || {
            let named = self.named_primaries().next()?.clone();
            let names_it = |role: &ServerRole| match role {
                ServerRole::Replica { primary } => primary.as_ref() == Some(&named),
                _ => false,
            };
            let replicas = reports().filter(|(_, role)| names_it(role));
            let replicas = replicas.map(|(server, _)| server.clone()).collect();
            Some((named, replicas))
        };
        let of_first = || Some((reports().next()?.0.clone(), Vec::new()));
        let chosen = of_primary.or_else(of_unknown).or_else(of_named);
        let (primary, mut replicas) = chosen.or_else(of_first)?;
        replicas.retain(|replica| *replica != primary);
        replicas.sort_unstable();
        replicas.dedup();
        Some(StandaloneView { primary, replicas })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address::new("10.0.0.1", port).unwrap()
    }

    fn primary(replicas: &[u16]) -> ServerRole {
        ServerRole::Primary {
            replicas: replicas.iter().map(|port| address(*port)).collect(),
        }
    }

    fn replica_of(primary: Option<u16>) -> ServerRole {
        ServerRole::Replica {
            primary: primary.map(address),
        }
    }

    #[test]
    fn primary_is_chosen_by_what_the_servers_say() {
        let unknown = ServerRole::Unknown;
        for (reports, expected) in [
            (vec![], None),
            (vec![(1, primary(&[3, 2, 3, 1]))], Some((1, vec![2, 3]))),
            (
                vec![(1, replica_of(Some(9))), (2, primary(&[1]))],
                Some((2, vec![1])),
            ),
            (
                vec![(1, unknown.clone()), (2, primary(&[]))],
                Some((2, vec![])),
            ),
            (
                vec![(1, replica_of(None)), (2, unknown.clone())],
                Some((2, vec![])),
            ),
            (
                vec![
                    (1, replica_of(Some(9))),
                    (2, replica_of(Some(9))),
                    (3, replica_of(Some(8))),
                ],
                Some((9, vec![1, 2])),
            ),
            // Each is a replica of the other, for a moment of a failover.
            (
                vec![(1, replica_of(Some(2))), (2, replica_of(Some(1)))],
                Some((2, vec![1])),
            ),
            (
                vec![(1, replica_of(None)), (2, replica_of(None))],
                Some((1, vec![])),
            ),
        ] {
            let mut group = ReplicationGroup::default();
            for (port, role) in &reports {
                group.add(&address(*port), role.clone());
            }
            let expected = expected.map(|(primary, replicas)| StandaloneView {
                primary: address(primary),
                replicas: replicas.into_iter().map(address).collect(),
            });
            assert_eq!(group.view(), expected, "{reports:?}");
        }
    }

    #[test]
    fn server_of_unknown_role_counts_as_primary_until_one_says_so() {
        let mut group = ReplicationGroup::default();
        group.add(&address(1), replica_of(Some(9)));
        assert!(!group.has_primary());
        assert_eq!(group.named_primaries().collect::<Vec<_>>(), [&address(9)]);
        group.add(&address(2), ServerRole::Unknown);
        assert!(group.has_primary());
    }
}
