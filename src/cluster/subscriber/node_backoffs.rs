//! The nodes that a connection could not be opened to, or whose connection was lost.

use crate::cluster::state::backoff;
use crate::deadline::{Time, now};
use crate::error::Code;
use std::collections::BTreeMap;
use std::time::Duration;

struct NodeBackoff {
    failures: u32,
    /// No connection is opened until then.
    until: Time,
    /// Channels that may be anywhere avoid the node until then.
    avoided_until: Time,
}

/// By the addresses of the nodes.
#[derive(Default)]
pub(super) struct NodeBackoffs(BTreeMap<String, NodeBackoff>);

/// How long channels that may be anywhere avoid a node whose connection was lost.
const AVOIDED: Duration = Duration::from_millis(1000);

/// When a node is tried again that has refused the password. Servers log each attempt.
pub(super) const AUTH_RETRY: Duration = Duration::from_millis(1000);

impl NodeBackoffs {
    /// Channels that may be anywhere avoid this node for a while.
    pub(super) fn avoid(&mut self, node: &str) {
        let time = now();
        let avoided_until = time.plus(AVOIDED);
        let known = self.0.entry(node.to_string()).or_insert(NodeBackoff {
            failures: 0,
            until: time,
            avoided_until,
        });
        known.avoided_until = avoided_until;
    }

    /// A connection to this node could not be opened.
    pub(super) fn fail(&mut self, node: &str, code: Code) {
        self.avoid(node);
        if let Some(known) = self.0.get_mut(node) {
            known.failures += 1;
            known.until = match code {
                Code::Auth => now().plus(AUTH_RETRY),
                _ => backoff(known.failures + 2).time().unwrap_or_else(now),
            };
        }
    }

    /// A connection to this node has been opened.
    pub(super) fn succeed(&mut self, node: &str) {
        if let Some(known) = self.0.get_mut(node) {
            known.failures = 0;
        }
        let time = now();
        (self.0).retain(|_, known| known.failures > 0 || known.avoided_until > time);
    }

    /// When a connection to this node may be opened, if not now.
    pub(super) fn until(&self, node: &str, time: Time) -> Option<Time> {
        let known = self.0.get(node)?;
        (known.until > time).then_some(known.until)
    }

    pub(super) fn is_avoided(&self, node: &str, time: Time) -> bool {
        (self.0.get(node)).is_some_and(|known| known.avoided_until > time)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
