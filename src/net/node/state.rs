//! Everything that is known about a node.

use super::counters::NodeCounters;
use super::health::Health;
use super::identity::NodeIdentity;
use super::load::NodeLoad;
use super::replica_freshness::ReplicaFreshness;
use crate::deadline::Time;
use crate::net::conn::ConnectionKind;
use crate::sync::Mutex;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The state of a node. It lives in the connector that opens connections to it.
#[derive(Debug, Default)]
pub struct NodeState {
    pub identity: Mutex<NodeIdentity>,
    pub health: Health,
    pub load: NodeLoad,
    pub freshness: ReplicaFreshness,
    pub counters: NodeCounters,
    /// The node, perhaps a proxy, does not know INFO replication.
    pub refuses_info: AtomicBool,
    /// It is a replica without cluster support that does not name its primary, and is used in its place.
    pub hides_primary: AtomicBool,
    zone: ArcSwapOption<String>,
    /// The node has accepted MULTI from this client's user.
    accepts_multi: AtomicBool,
}

impl NodeState {
    pub fn of(identity: NodeIdentity) -> NodeState {
        NodeState {
            identity: Mutex::new(identity),
            ..NodeState::default()
        }
    }

    /// The availability zone that the node named in its last handshake, if any.
    #[inline(never)]
    pub fn zone(&self) -> Option<Arc<String>> {
        self.zone.load_full()
    }

    /// Whether a connection has ever been set up, so that the zone is known if the node names one.
    pub fn was_connected(&self) -> bool {
        self.counters.connects.load(Ordering::Relaxed) > 0
    }

    /// Whether the node is known to accept MULTI from this client's user.
    pub fn accepts_multi(&self) -> bool {
        self.accepts_multi.load(Ordering::Relaxed)
    }

    /// The node has accepted or refused MULTI. The rights of the user may change at any time.
    pub fn record_multi(&self, accepted: bool) {
        self.accepts_multi.store(accepted, Ordering::Relaxed);
    }

    /// A connection has been set up, with a handshake that ended at `time`.
    #[inline(never)]
    pub fn record_connection(
        &self,
        kind: ConnectionKind,
        time: Time,
        handshake: Duration,
        zone: Option<String>,
    ) {
        self.load.seed_rtt(time, handshake);
        if zone.is_some() {
            self.zone.store(zone.map(Arc::new));
        }
        if kind.is_readonly() {
            self.freshness.new_incarnation();
        }
        self.counters.connects.fetch_add(1, Ordering::Relaxed);
    }
}
