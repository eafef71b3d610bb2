//! The role that a node reports in the handshake.

/// The field `role` of the reply to HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportedRole {
    /// The node has not replied to HELLO, or names no role.
    #[default]
    Unknown,
    Primary,
    Replica,
}

impl ReportedRole {
    pub(super) fn of(role: Option<&str>) -> ReportedRole {
        match role {
            Some("master" | "primary") => ReportedRole::Primary,
            Some("slave" | "replica") => ReportedRole::Replica,
            _ => ReportedRole::Unknown,
        }
    }
}
