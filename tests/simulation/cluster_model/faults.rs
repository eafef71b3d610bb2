//! Faults of the cluster, what follows from them, and their end.

use super::pubsub::{self, Publication, UNKNOWN_FOR};
use super::session::process_input;
use super::{Migration, NodeModel};
use crate::simulation::simulator::{Event, MS, State};
use crate::topology::key_slot;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A fault, or a step that follows from one. The second number of a fault of a node is how long it
/// lasts, in nanoseconds.
#[derive(Clone, Debug)]
pub enum Fault {
    Kill(usize),
    Revive(usize),
    /// The replica of this shard is promoted.
    Failover(usize),
    /// In this shard, this node is promoted.
    Promote(usize, usize),
    /// The node learns the actual view.
    LearnView(usize),
    /// The node's process does not run (SIGSTOP).
    Freeze(usize, u64),
    /// The node of this connection runs again, and processes its input.
    Thaw(usize),
    /// The node is cut off from clients and from other nodes.
    Partition(usize, u64),
    Loading(usize, u64),
    ClusterDown(usize, u64),
    /// The node refuses new clients.
    ClientsFull(usize, u64),
    /// Every connection to the node breaks.
    Disconnect(usize),
    /// This slot begins to migrate to this shard.
    Migrate(u16, usize),
    MigrateKey(u16, String),
    FinishMigration(u16),
    /// A message arrives at this node over the bus.
    PassOn(usize, Publication),
    /// The node closes the connections of its subscribers.
    DropSubscribers(usize),
    /// The connections of the node's subscribers fall silent.
    SilenceSubscribers(usize),
    /// All faults end.
    Heal,
}

fn schedule(state: &mut State, time: u64, fault: Fault) {
    state.schedule(time, Event::Fault(fault));
}

pub fn apply_fault(state: &mut State, fault: Fault) {
    state.log(|| format!("{fault:?}"));
    let now = state.now;
    match fault {
        Fault::Kill(node) => kill(state, node),
        Fault::Revive(node) => {
            let learns_view_at = now + state.rng.below(60 * MS);
            state.cluster.nodes[node].alive = true;
            state.cluster.nodes[node].frozen_until = 0;
            schedule(state, learns_view_at, Fault::LearnView(node));
        }
        Fault::Failover(shard) => {
            let view = &state.cluster.actual_view;
            let replica = match view.primary[shard] {
                primary if primary == shard => shard + view.shards(),
                _ => shard,
            };
            apply_fault(state, Fault::Promote(shard, replica));
        }
        Fault::Promote(shard, node) => promote(state, shard, node),
        Fault::LearnView(node) => {
            let model = &state.cluster.nodes[node];
            if model.alive && model.gossip_lost_until <= now {
                learn_view(state, node);
            }
        }
        Fault::Freeze(node, time) => state.cluster.nodes[node].frozen_until = now + time,
        Fault::Thaw(id) => process_input(state, id),
        Fault::Partition(node, time) => {
            state.cluster.nodes[node].partitioned_until = now + time;
            state.cluster.nodes[node].gossip_lost_until = now + time;
            schedule(state, now + time, Fault::LearnView(node));
        }
        Fault::Loading(node, time) => state.cluster.nodes[node].loading_until = now + time,
        Fault::ClusterDown(node, time) => {
            state.cluster.nodes[node].cluster_down_until = now + time;
        }
        Fault::ClientsFull(node, time) => {
            state.cluster.nodes[node].clients_full_until = now + time;
        }
        Fault::Disconnect(node) => {
            for id in state.connections_to(node) {
                state.break_connection(id);
            }
        }
        Fault::Migrate(slot, to) => start_migration(state, slot, to),
        Fault::MigrateKey(slot, key) => {
            if let Some(migration) = state.cluster.migrations.get_mut(&slot) {
                migration.migrated_keys.insert(key);
            }
        }
        Fault::FinishMigration(slot) => finish_migration(state, slot),
        Fault::PassOn(node, publication) => pubsub::receive(state, node, publication),
        Fault::DropSubscribers(node) => pubsub::drop_subscribers(state, node),
        Fault::SilenceSubscribers(node) => pubsub::silence_subscribers(state, node),
        Fault::Heal => heal(state),
    }
}

fn learn_view(state: &mut State, node: usize) {
    let view = state.cluster.actual_view.clone();
    let shard = node % view.shards();
    let (now, model) = (state.now, &mut state.cluster.nodes[node]);
    if model.view.primary[shard] == node && view.primary[shard] != node {
        model.unknown_until = now + UNKNOWN_FOR;
    }
    model.demoted_until = 0;
    let former = std::mem::replace(&mut model.view, view);
    pubsub::end_moved(state, node, &former);
}

fn kill(state: &mut State, node: usize) {
    state.cluster.nodes[node].alive = false;
    for id in state.connections_to(node) {
        state.cluster.end_session(id);
        state.break_connection(id);
    }
}

fn promote(state: &mut State, shard: usize, node: usize) {
    let old = state.cluster.actual_view.primary[shard];
    if !state.cluster.nodes[node].alive || old == node {
        return;
    }
    Arc::make_mut(&mut state.cluster.actual_view.primary)[shard] = node;
    state.cluster.actual_view.epoch += 1;
    state.cluster.nodes[old].demoted_until = state.now + 10_000 * MS;
    propagate_view(state, node);
}

/// Every node learns the actual view: `first` at once, the others within 80 ms.
fn propagate_view(state: &mut State, first: usize) {
    for node in 0..state.cluster.nodes.len() {
        let delay = if node == first {
            0
        } else {
            state.rng.below(80 * MS)
        };
        let gossip_lost_until = state.cluster.nodes[node].gossip_lost_until;
        let time = state.now.max(gossip_lost_until) + delay;
        schedule(state, time, Fault::LearnView(node));
    }
}

fn start_migration(state: &mut State, slot: u16, to: usize) {
    let from = state.cluster.actual_view.shard(slot);
    if from == to || state.cluster.migrations.contains_key(&slot) {
        return;
    }
    let migration = Migration {
        from,
        to,
        migrated_keys: BTreeSet::new(),
    };
    state.cluster.migrations.insert(slot, migration);
    let keys = state.cluster.keys.clone();
    let mut time = state.now;
    for key in keys.iter().filter(|key| key_slot(key.as_bytes()) == slot) {
        time += state.rng.below(150 * MS);
        schedule(state, time, Fault::MigrateKey(slot, key.clone()));
    }
    time += state.rng.below(50 * MS);
    schedule(state, time, Fault::FinishMigration(slot));
}

fn finish_migration(state: &mut State, slot: u16) {
    let Some(migration) = state.cluster.migrations.remove(&slot) else {
        return;
    };
    state
        .cluster
        .actual_view
        .migrated
        .insert(slot, migration.to);
    state.cluster.actual_view.epoch += 1;
    // If the old owner learns of it first, both redirect clients to each other for a while.
    let first = if state.rng.chance(500) {
        migration.to
    } else {
        migration.from
    };
    propagate_view(state, state.cluster.actual_view.primary[first]);
}

fn heal(state: &mut State) {
    let slots: Vec<u16> = state.cluster.migrations.keys().copied().collect();
    for slot in slots {
        apply_fault(state, Fault::FinishMigration(slot));
    }
    for connection in &mut state.connections {
        connection.break_after = [None, None];
    }
    state.network.breaks = 0;
    state.network.stalls = 0;
    state.cluster.conditions.random_errors = 0;
    state.cluster.conditions.slow_replies = 0;
    for node in 0..state.cluster.nodes.len() {
        learn_view(state, node);
    }
    let healthy = NodeModel::healthy(state.cluster.actual_view.clone());
    state.cluster.nodes.fill(healthy);
}
