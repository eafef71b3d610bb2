//! The faults of a scenario.

use super::{Scenario, keys};
use crate::simulation::cluster_model::{Fault, NODES, SHARDS};
use crate::simulation::simulator::{MS, SeededRng, US};

impl Scenario {
    pub(super) fn add_faults(&mut self, rng: &mut SeededRng) {
        if rng.chance(700) {
            self.network.short_sends = rng.below(200);
            self.network.stalls = rng.below(30);
            self.network.breaks = rng.below(150);
            self.network.send_buffer = rng.between(30, 65536) as usize;
            self.servers.pushes = rng.below(60);
            self.servers.slow_replies = rng.below(50);
            self.servers.max_reply_delay = rng.between(1, 800) * MS;
        }
        if rng.chance(500) {
            self.servers.random_errors = rng.below(50);
        }
        if rng.chance(150) {
            self.interrupts = rng.between(1, 5);
        }
        self.closes_handles = rng.chance(50);
        if rng.chance(300) {
            self.add_contention(rng);
        }
        for _ in 0..rng.below(6) {
            self.add_cluster_fault(rng);
        }
    }

    /// More threads, and one connection for all of them.
    fn add_contention(&mut self, rng: &mut SeededRng) {
        self.is_contended = true;
        self.threads = rng.between(4, 7) as usize;
        self.calls_per_thread = rng.between(2, 6);
        self.max_think_time = rng.between(1, 2000) * US;
        self.options.push(("connections_per_node", "1".to_string()));
        self.interrupts = rng.below(6);
    }

    /// Servers that cut off their subscribers, and connections that fall silent.
    pub(super) fn add_subscriber_faults(&mut self, rng: &mut SeededRng) {
        for _ in 0..rng.below(4) {
            let time = rng.below(2500) * MS;
            let node = rng.below(NODES as u64) as usize;
            let fault = match rng.chance(500) {
                true => Fault::DropSubscribers(node),
                false => Fault::SilenceSubscribers(node),
            };
            self.faults.push((time, fault));
        }
        if rng.chance(600) {
            let shard = rng.below(SHARDS as u64) as usize;
            let time = rng.below(2800) * MS;
            self.faults.push((time, Fault::Failover(shard)));
        }
    }

    fn add_cluster_fault(&mut self, rng: &mut SeededRng) {
        let time = rng.below(1500) * MS;
        let node = rng.below(NODES as u64) as usize;
        let shard = rng.below(SHARDS as u64) as usize;
        let duration = rng.between(1, 1500) * MS;
        let keys = keys();
        let key = &keys[rng.below(keys.len() as u64) as usize];
        let slot = crate::topology::key_slot(key.as_bytes());
        let fault = match rng.below(12) {
            0 | 1 => Fault::Failover(shard),
            2 => {
                // A replica is promoted later, and then the node returns.
                let promoted = time + rng.between(50, 1200) * MS;
                let revived = promoted + rng.below(400) * MS;
                self.faults.push((promoted, Fault::Failover(node % SHARDS)));
                self.faults.push((revived, Fault::Revive(node)));
                Fault::Kill(node)
            }
            3 => {
                let promoted = time + rng.between(50, 1200) * MS;
                if rng.chance(500) {
                    self.faults.push((promoted, Fault::Failover(node % SHARDS)));
                }
                Fault::Freeze(node, duration)
            }
            4 => Fault::Partition(node, duration),
            5 => Fault::Loading(node, duration / 2),
            6 => Fault::ClusterDown(node, duration / 2),
            7 => Fault::ClientsFull(node, duration / 2),
            8 => Fault::Disconnect(node),
            _ => Fault::Migrate(slot, rng.below(SHARDS as u64) as usize),
        };
        self.faults.push((time, fault));
    }
}
