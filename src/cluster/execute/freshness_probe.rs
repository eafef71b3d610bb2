//! Probes how far the replicas of a shard are behind, on the thread of a caller that reads from one.
//!
//! A probe first asks the primary for the length of its replication history, then each replica how much of that history
//! it has executed. A replica that has reached the reported length has everything that was executed before the primary
//! was asked. docs/replica-reads.md has the derivation. One caller probes a shard at a time; the others use the last
//! result. A shard that no call reads from is never probed.

use super::command_batch::RoundSink;
use super::node_batch::{NodeBatch, send_and_receive};
use super::round_commands::RoundCommands;
use super::routed_command::{RoutedCommand, Target};
use crate::cluster::reads::ReadConsistency;
use crate::cluster::state::{Core, ProcessState, count};
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error};
use crate::log;
use crate::net::{Call, ConnectionKind, Link, OffsetSample, Peer};
use crate::resp::{CommandBody, NodeValue, Reply, View};
use crate::sim_hooks::rng;
use crate::topology::{ReplicationView, Shard, replication};
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;

/// How long a probe of all nodes may take: a quarter of the attempt timeout, within these bounds.
const PROBE_MIN_MS: u64 = 50;
const PROBE_MAX_MS: u64 = 250;

const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

/// Releases the right to probe a shard when this probe ends, however it ends. The next one may begin
/// after the given time.
struct ProbeGuard<'a>(&'a Peer, Duration);

impl Drop for ProbeGuard<'_> {
    fn drop(&mut self) {
        self.0.freshness.release_probe(now().plus(self.1));
    }
}

impl Core {
    /// Probes the replicas of a shard, on connections of this kind, unless another thread does or has just done so.
    /// Returns whether the primary reported its offset, so that replicas were probed.
    #[cold]
    pub fn probe_freshness(
        &self,
        process: &ProcessState,
        shard: &Shard,
        kind: ConnectionKind,
        call: &Call<'_>,
        consistency: &ReadConsistency,
    ) -> bool {
        let Some(primary) = shard.primary.as_ref().map(|node| &node.peer) else {
            return false;
        };
        let time = now();
        let most = (call.attempt_ms / 4)
            .clamp(PROBE_MIN_MS, PROBE_MAX_MS)
            .min(consistency.probe_timeout_ms());
        // The claim expires by itself, in case this thread never returns.
        let claimed_until = time.plus(Duration::from_millis(2 * most));
        if !is_probe_allowed(primary, time) || !primary.freshness.claim_probe(time, claimed_until) {
            return false;
        }
        let _guard = ProbeGuard(
            primary,
            Duration::from_millis(consistency.probe_interval_ms()),
        );
        count(&self.stats.lag_probes);
        let mut call = call
            .with_start(time)
            .with_deadline(Deadline::after(time, most).min(call.deadline));
        call.attempt_ms = most;
        if !self.probe_primary(process, primary, &call, time) {
            return false;
        }
        let replicas: Vec<Arc<Peer>> = shard
            .replicas
            .iter()
            .map(|node| node.peer.clone())
            .filter(|peer| peer.health.is_healthy() && is_probe_allowed(peer, time))
            .collect();
        self.probe_replicas(&replicas, primary, kind, &call);
        true
    }

    /// Records the primary's replication offset as of `time`; false if it did not report one.
    fn probe_primary(
        &self,
        process: &ProcessState,
        primary: &Arc<Peer>,
        call: &Call<'_>,
        time: Time,
    ) -> bool {
        let results = query_replication(std::slice::from_ref(primary), call);
        match results.into_iter().next() {
            Some(Ok(view)) if view.primary => {
                primary.freshness.health.record_success();
                primary.freshness.record_offset(OffsetSample {
                    since: time,
                    history: view.history,
                    offset: view.offset,
                });
                true
            }
            // It has been demoted, and the slot map does not show that yet.
            Some(Ok(_)) => {
                count(&self.stats.lag_probe_failures);
                self.request_replica_refresh(process);
                false
            }
            Some(Err(error)) => {
                self.record_probe_failure(primary, &error);
                false
            }
            None => false,
        }
    }

    fn probe_replicas(
        &self,
        replicas: &[Arc<Peer>],
        primary: &Arc<Peer>,
        kind: ConnectionKind,
        call: &Call<'_>,
    ) {
        // A connection opened after the proof would void it. Where opening fails, the replica gets no
        // proof, and the command that needs it reports why.
        for peer in replicas {
            let _ = peer.ensure_connected(kind, call.attempt_until(call.deadline));
        }
        let generations: Vec<u32> = replicas
            .iter()
            .map(|peer| peer.freshness.generation())
            .collect();
        let results = query_replication(replicas, call);
        for ((peer, generation), result) in replicas.iter().zip(generations).zip(results) {
            match result {
                Ok(view) => record_freshness(peer, generation, primary, &view),
                Err(error) => self.record_probe_failure(peer, &error),
            }
        }
    }

    /// A node that does not answer probes is probed less and less often. Its health for commands is not affected:
    /// failures of commands are counted separately.
    fn record_probe_failure(&self, peer: &Peer, error: &Error) {
        if matches!(error.code, Code::Interrupted | Code::Closed) {
            return;
        }
        count(&self.stats.lag_probe_failures);
        let is_news = peer
            .freshness
            .health
            .record_failure(now(), rng().random_range(0.0..1.0));
        if is_news {
            log::log(log::WARN, || {
                format!("{}: replication offset unknown: {error}", peer.address())
            });
        }
    }
}

fn is_probe_allowed(peer: &Peer, time: Time) -> bool {
    let health = &peer.freshness.health;
    health.is_healthy() || health.is_probe_due(time)
}

/// Records what a replica reported: its link to its primary, and the proof of its freshness.
fn record_freshness(
    peer: &Arc<Peer>,
    generation: u32,
    primary: &Arc<Peer>,
    view: &ReplicationView,
) {
    let freshness = &peer.freshness;
    freshness.health.record_success();
    let (since, behind) = match view.primary {
        // It has been promoted and writes a history of its own.
        true => (None, -1),
        false => primary
            .freshness
            .fresh_as_of_offset(&view.history, view.offset),
    };
    let link = match view.link_up && !view.primary {
        true => Link::Up,
        false => Link::Down,
    };
    match (link, since) {
        (Link::Up, Some(since)) => freshness.record_proof(since, primary.origin(), generation),
        // It is behind all recorded offsets of the primary. An earlier proof still holds.
        (Link::Up, None) => {}
        _ => freshness.invalidate(),
    }
    let before = freshness.record_link(link, behind);
    if before != link && !(before == Link::Unknown && link == Link::Up) {
        let message = match link {
            Link::Up => "is connected to its primary again",
            _ => "has lost its primary: only reads without a staleness bound use it",
        };
        log::log(log::WARN, || format!("{} {message}", peer.address()));
    }
}

/// Sends INFO replication to these nodes at once.
fn query_replication(peers: &[Arc<Peer>], call: &Call<'_>) -> Vec<Result<ReplicationView, Error>> {
    let commands: Vec<RoutedCommand<'_>> = peers
        .iter()
        .map(|peer| {
            RoutedCommand::new(
                CommandBody::Encoded(INFO),
                "INFO",
                Target::Peer(peer.clone()),
                true,
            )
        })
        .collect();
    let mut batches: Vec<NodeBatch> = peers
        .iter()
        .enumerate()
        .map(|(number, peer)| {
            let mut batch = NodeBatch::new(peer.clone(), ConnectionKind::FRESHNESS_PROBE, 1);
            batch.add(number as u32, false);
            batch
        })
        .collect();
    let mut reply = Reply::default();
    reply.node_values = vec![NodeValue::NIL; peers.len()];
    let sink = RoundSink::default();
    let commands = RoundCommands::Routed(&commands);
    send_and_receive(&mut batches, commands, &mut reply, call, sink);
    peers
        .iter()
        .enumerate()
        .map(|(number, peer)| {
            let batch = batches.iter().find(|b| Arc::ptr_eq(&b.peer, peer));
            match batch.and_then(|batch| batch.error.clone()) {
                Some(error) => Err(error),
                None => {
                    let value = reply.node_values[number].value;
                    replication(View::new(&reply, value), peer.address())
                }
            }
        })
        .collect()
}
