//! Real clusters that the tests of a program share. One at a time runs: the nodes of a machine with two processors
//! call each other failed when there are too many of them.

use super::serial::{Serial, serial};
use super::until;
use std::ops::Deref;
use support::{Cluster, ClusterBuilder};

/// Clusters that a test may use alone, for as long as it holds this.
pub struct Shared(Serial);

impl Deref for Shared {
    type Target = [Cluster];

    fn deref(&self) -> &[Cluster] {
        self.0.as_ref().map_or(&[], |(_, clusters)| clusters)
    }
}

/// The same of a single cluster.
pub struct SharedCluster(Shared);

impl Deref for SharedCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0[0]
    }
}

/// The clusters of that name. They start when a test asks for another name than the test before, whose clusters are
/// stopped first. Returns when all are healthy.
pub fn shared_all(name: &'static str, builders: impl FnOnce() -> Vec<ClusterBuilder>) -> Shared {
    let mut current = serial();
    if current.as_ref().is_none_or(|(running, _)| *running != name) {
        *current = None;
        let clusters = builders()
            .into_iter()
            .map(|builder| builder.start().unwrap());
        *current = Some((name, clusters.collect()));
    }
    let shared = Shared(current);
    for cluster in shared.iter() {
        cluster.wait_healthy().unwrap();
    }
    shared
}

/// The cluster of that name: see [`shared_all`].
pub fn shared(name: &'static str, builder: impl FnOnce() -> ClusterBuilder) -> SharedCluster {
    SharedCluster(shared_all(name, || vec![builder()]))
}

/// Where slots move to: always the same node. Its epoch is then the newest, so that no node believes an older claim.
pub fn destination(cluster: &Cluster) -> u16 {
    cluster.primary_of(16383).unwrap()
}

/// Waits until another node than `old` is the primary of a slot.
#[track_caller]
pub fn wait_promotion(cluster: &Cluster, slot: u16, old: u16) {
    until("a promotion", || {
        cluster.primary_of(slot).is_ok_and(|port| port != old)
    });
}
