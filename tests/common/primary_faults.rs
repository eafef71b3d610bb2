//! Faults of the primary of a slot, after which another node is the primary.

use super::shared::wait_promotion;
use super::wait_for;
use std::thread::sleep;
use std::time::Duration;
use support::{Cluster, Failover};

/// How long the former primary stays away after the promotion.
const ABSENCE: Duration = Duration::from_millis(500);

pub fn kill_primary(cluster: &Cluster, slot: u16) {
    let primary = cluster.primary_of(slot).unwrap();
    cluster.kill(primary).unwrap();
    wait_promotion(cluster, slot, primary);
    sleep(ABSENCE);
    cluster.restart(primary).unwrap();
}

pub fn stop_primary(cluster: &Cluster, slot: u16) {
    let primary = cluster.primary_of(slot).unwrap();
    cluster.stop(primary).unwrap();
    wait_promotion(cluster, slot, primary);
    sleep(ABSENCE);
    cluster.cont(primary).unwrap();
}

pub fn ordered_failover(cluster: &Cluster, slot: u16) {
    let mut replica = None;
    // After a fault, the former primary may not have joined the new one yet.
    wait_for("the primary has a replica", || {
        let replicas = cluster.replicas_of(slot).unwrap_or_default();
        replica = replicas.first().copied();
        replica.is_some()
    });
    cluster.failover(replica.unwrap(), Failover::Plain).unwrap();
}
