//! Faults of the primary of a slot, after which another node is the primary.

use super::shared::wait_promotion;
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
    let replica = cluster.replicas_of(slot).unwrap()[0];
    cluster.failover(replica, Failover::Plain).unwrap();
}
