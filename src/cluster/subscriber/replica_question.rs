//! Whether a primary knows a node as its replica, or knows itself as a primary.
//!
//! A primary passes the messages of sharded channels on to the replicas that it knows. After a failover, the former primary may
//! know that it is a replica before the new primary knows that.

use super::subscriptions::LinkNumber;
use crate::cluster::client::Client;
use crate::error::{Code, Error, Result};
use crate::resp::{Kind, View};
use crate::topology::Node;
use std::sync::Arc;

/// What a primary is asked, for a link to a replica.
#[derive(Clone)]
pub(super) struct ReplicaQuestion {
    /// Tells the questions of a subscriber apart.
    pub(super) number: u64,
    pub(super) link: LinkNumber,
    /// Which of the entries that have had this number it is.
    pub(super) serial: u64,
    pub(super) primary: Arc<Node>,
    /// The id of the replica. None: whether the primary is one.
    pub(super) replica: Option<Arc<str>>,
}

/// Asks a primary for its replicas. True if the user may not ask, or the server does not know the question.
pub(super) fn knows_replica(
    client: &Client,
    primary: &Node,
    replica: Option<&str>,
) -> Result<bool> {
    let node = primary.peer.address().to_string();
    let args: [&[u8]; 3] = [b"CLUSTER", b"REPLICAS", primary.id.as_bytes()];
    let reply = client.command_to(&node, &args);
    let view = reply.view();
    if view.kind() != Kind::Error {
        let mut lines = view.elements().filter_map(View::text);
        let is_known = |id: &str| lines.any(|line| line.starts_with(id.as_bytes()));
        return Ok(replica.is_none_or(is_known));
    }
    let text = view.str().unwrap_or_default();
    let code = Code::from_number(i32::from(reply.root.value.code)).unwrap_or(Code::Internal);
    match code {
        Code::Invalid => Ok(true),
        // Any other refusal says that it is no primary any more.
        Code::Server => Ok(text.starts_with("NOPERM") || text.contains("nknown")),
        _ => Err(Error::new(code, text).at(node)),
    }
}
