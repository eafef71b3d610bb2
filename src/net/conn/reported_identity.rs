//! What a node says about itself in the handshake.

use std::sync::Arc;

/// The number of hexadecimal digits of a node id.
const ID_DIGITS: usize = 40;

/// What a node says about itself in the handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReportedIdentity {
    /// Nothing that can be compared: a proxy, an old server, or an ACL without CLUSTER MYID.
    #[default]
    Unknown,
    /// It cannot say now: it is loading its data, or runs a script.
    NotNow,
    /// It is not part of a cluster.
    NoCluster,
    /// It is the node with this id.
    Node(Arc<str>),
}

impl ReportedIdentity {
    /// From the reply to CLUSTER MYID, or its refusal, and the field `mode` of the reply to HELLO if there was one.
    pub(super) fn of(myid: Result<&str, &str>, mode: Option<&str>) -> ReportedIdentity {
        match (myid, mode) {
            (Ok(id), _) if is_node_id(id) => ReportedIdentity::Node(id.into()),
            (Err(text), _) if text.contains("cluster support disabled") => {
                ReportedIdentity::NoCluster
            }
            // Without NOPERM, the mode proves nothing: proxies of a cluster say standalone, too.
            (Err(text), Some("standalone")) if text.starts_with("NOPERM") => {
                ReportedIdentity::NoCluster
            }
            (_, Some("sentinel")) => ReportedIdentity::NoCluster,
            (Err(text), _) if text.starts_with("LOADING") || text.starts_with("BUSY") => {
                ReportedIdentity::NotNow
            }
            _ => ReportedIdentity::Unknown,
        }
    }
}

/// Whether a text has the form of a node id.
pub fn is_node_id(text: &str) -> bool {
    // Without an early exit, the loop is vectorized.
    let is_hex = |all: bool, byte: u8| all & byte.is_ascii_hexdigit();
    text.len() == ID_DIGITS && text.bytes().fold(true, is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReportedIdentity::{NoCluster, NotNow, Unknown};

    #[test]
    fn replies_of_servers_and_proxies_are_told_apart() {
        const DISABLED: &str = "ERR This instance has cluster support disabled";
        let id = "0123456789abcdef0123456789abcdef01234567";
        let node = ReportedIdentity::Node(id.into());
        for (myid, mode, expected) in [
            (Ok(id), Some("cluster"), node.clone()),
            (Ok(id), None, node.clone()),
            (Ok(id), Some("standalone"), node),
            (Err(DISABLED), Some("standalone"), NoCluster),
            (Err(DISABLED), None, NoCluster),
            (Err("NOPERM no rights"), Some("standalone"), NoCluster),
            (Err("NOPERM no rights"), Some("cluster"), Unknown),
            (Err("NOPERM no rights"), None, Unknown),
            (Err("ERR unknown command"), Some("standalone"), Unknown),
            (Err("ERR unknown command"), Some("sentinel"), NoCluster),
            (Err("LOADING the dataset"), Some("cluster"), NotNow),
            (Err("BUSY running a script"), None, NotNow),
            (Ok("OK"), Some("cluster"), Unknown),
            (Ok(""), None, Unknown),
        ] {
            assert_eq!(
                ReportedIdentity::of(myid, mode),
                expected,
                "{myid:?} {mode:?}"
            );
        }
    }
}
