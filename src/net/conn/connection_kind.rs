//! What a connection is used for.

/// The use of a connection. A connection on which READONLY was sent serves whatever data the replica has, so a client
/// that reads from primaries never uses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    Primary,
    Replicas,
    /// For blocking commands: one command uses the connection exclusively while it blocks.
    Blocking,
    /// For blocking commands of clients that read from replicas.
    BlockingReplicas,
    /// For probes of how far replicas are behind. A probe never queues in front of a command.
    FreshnessProbe,
}

impl ConnectionKind {
    /// Whether READONLY is sent on such a connection.
    pub fn is_readonly(self) -> bool {
        matches!(
            self,
            ConnectionKind::Replicas | ConnectionKind::BlockingReplicas
        )
    }

    /// The kind for a blocking command of the same client.
    pub fn blocking(self) -> ConnectionKind {
        if self.is_readonly() {
            ConnectionKind::BlockingReplicas
        } else {
            ConnectionKind::Blocking
        }
    }

    /// The kind for a command that only a primary may serve. Without READONLY, a demoted node refuses it.
    #[inline]
    pub fn at_primary(self) -> ConnectionKind {
        match self {
            ConnectionKind::Replicas => ConnectionKind::Primary,
            ConnectionKind::BlockingReplicas => ConnectionKind::Blocking,
            other => other,
        }
    }

    /// Whether a connection carries one command at a time.
    pub fn is_blocking(self) -> bool {
        matches!(
            self,
            ConnectionKind::Blocking | ConnectionKind::BlockingReplicas
        )
    }
}
