//! Real clusters that the tests of a program share. Only one set runs at a time: with many nodes on two processors,
//! nodes call each other failed.

use super::serial::{Serial, lock};
use super::wait_for;
use std::ops::Deref;
use support::{Cluster, ClusterBuilder};

/// Clusters that one test may use while it holds this.
pub struct Shared(Serial);

impl Deref for Shared {
    type Target = [Cluster];

    fn deref(&self) -> &[Cluster] {
        self.0.as_ref().map_or(&[], |(_, clusters)| clusters)
    }
}

/// As [`Shared`], for a single cluster.
pub struct SharedCluster(Shared);

impl Deref for SharedCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0[0]
    }
}

/// The clusters with this name, all healthy. They start when a test asks for another name than the test before, whose
/// clusters stop first.
pub fn shared_all(name: &'static str, builders: impl FnOnce() -> Vec<ClusterBuilder>) -> Shared {
    let mut current = lock();
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

/// The cluster with this name: see [`shared_all`].
pub fn shared(name: &'static str, builder: impl FnOnce() -> ClusterBuilder) -> SharedCluster {
    SharedCluster(shared_all(name, || vec![builder()]))
}

/// The node that slots move to. It is always the same one: its epoch is then the newest, so that no node believes an
/// older claim.
pub fn migration_target(cluster: &Cluster) -> u16 {
    cluster.primary_of(16383).unwrap()
}

/// Waits until the primary of a slot is another node than `old`.
#[track_caller]
pub fn wait_promotion(cluster: &Cluster, slot: u16, old: u16) {
    wait_for("a replica is promoted", || {
        cluster.primary_of(slot).is_ok_and(|port| port != old)
    });
}
