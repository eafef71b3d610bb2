//! What a connection is used for, and in which database.

/// The use of a connection and the number of its database. Connections of different kinds are never used for each other:
/// a connection on which READONLY was sent serves whatever data the replica has, and one of another database has other
/// keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionKind {
    usage: Usage,
    database: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Usage {
    Primary,
    Replicas,
    /// For blocking commands: one command uses the connection exclusively while it blocks.
    Blocking,
    /// For blocking commands of clients that read from replicas.
    BlockingReplicas,
    FreshnessProbe,
}

impl ConnectionKind {
    /// The number of values of [`ConnectionKind::usage`].
    pub const USAGES: usize = 5;

    /// For probes of how far replicas are behind, which concerns all databases. A probe never queues in front of a
    /// command.
    pub const FRESHNESS_PROBE: ConnectionKind = ConnectionKind {
        usage: Usage::FreshnessProbe,
        database: 0,
    };

    /// For commands that only primaries serve.
    #[inline]
    pub const fn primary(database: u16) -> ConnectionKind {
        ConnectionKind {
            usage: Usage::Primary,
            database,
        }
    }

    /// For reads that replicas may serve.
    pub const fn replicas(database: u16) -> ConnectionKind {
        ConnectionKind {
            usage: Usage::Replicas,
            database,
        }
    }

    /// A number below [`ConnectionKind::USAGES`] for what the connection is used for, whatever its database.
    #[inline]
    pub fn usage(self) -> usize {
        self.usage as usize
    }

    /// The number of the database that such a connection selects.
    #[inline]
    pub fn database(self) -> u16 {
        self.database
    }

    /// The same for what does not depend on a database. Nothing is selected.
    pub fn without_database(self) -> ConnectionKind {
        ConnectionKind {
            database: 0,
            ..self
        }
    }

    /// Whether READONLY is sent on such a connection.
    pub fn is_readonly(self) -> bool {
        matches!(self.usage, Usage::Replicas | Usage::BlockingReplicas)
    }

    /// The kind for a blocking command of the same client.
    pub fn blocking(self) -> ConnectionKind {
        let usage = match self.is_readonly() {
            true => Usage::BlockingReplicas,
            false => Usage::Blocking,
        };
        ConnectionKind { usage, ..self }
    }

    /// The kind for a command that only a primary may serve. Without READONLY, a demoted node refuses it.
    #[inline]
    pub fn at_primary(self) -> ConnectionKind {
        let usage = match self.usage {
            Usage::Replicas => Usage::Primary,
            Usage::BlockingReplicas => Usage::Blocking,
            other => other,
        };
        ConnectionKind { usage, ..self }
    }

    /// Whether a connection carries one command at a time.
    pub fn is_blocking(self) -> bool {
        matches!(self.usage, Usage::Blocking | Usage::BlockingReplicas)
    }

    /// Whether a command may be sent together with the handshake. Not if the node may refuse a part of the handshake
    /// without which the command must not run: then it would read from the wrong database, or from a node that must not
    /// serve it.
    pub fn allows_early_send(self) -> bool {
        !self.is_readonly() && self.database == 0
    }

    /// The most connections of such a pool; `shared` is the limit for connections that callers share.
    pub fn max_connections(self, shared: usize) -> usize {
        match self.usage {
            Usage::Primary | Usage::Replicas => shared,
            // Unlimited: a blocking command never waits for another one to end.
            Usage::Blocking | Usage::BlockingReplicas => usize::MAX,
            Usage::FreshnessProbe => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_stays_when_the_use_changes() {
        for kind in [ConnectionKind::primary(3), ConnectionKind::replicas(3)] {
            for other in [
                kind.blocking(),
                kind.at_primary(),
                kind.blocking().at_primary(),
            ] {
                assert_eq!(other.database(), 3, "{other:?}");
                assert!(!other.allows_early_send(), "{other:?}");
            }
            assert_eq!(kind.without_database().database(), 0);
        }
        assert!(ConnectionKind::primary(0).allows_early_send());
        assert!(!ConnectionKind::replicas(0).allows_early_send());
    }

    #[test]
    fn usages_are_numbered() {
        let replicas = ConnectionKind::replicas(0);
        let all = [
            ConnectionKind::primary(7),
            replicas,
            replicas.at_primary().blocking(),
            replicas.blocking(),
            ConnectionKind::FRESHNESS_PROBE,
        ];
        let numbers: Vec<usize> = all.iter().map(|kind| kind.usage()).collect();
        assert_eq!(numbers, (0..ConnectionKind::USAGES).collect::<Vec<_>>());
    }
}
