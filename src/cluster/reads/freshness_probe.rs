//! Finding out how far replicas are behind, on the thread of a caller who wants to read from one.
//!
//! The primary says first how long its history of writes is, then each replica how much of it it has
//! executed: a replica that has got to the length that the primary had when it was asked has
//! everything that had been executed before the question was sent. docs/replica-reads.md has the
//! derivation. One caller asks for all, others go on with what is known; a shard that nobody reads
//! from is never asked.

use crate::cluster::execute::{NodeBatch, send_and_receive};
use crate::cluster::execute::{RoutedCommand, Target};
use crate::cluster::reads::ReadConsistency;
use crate::cluster::state::count;
use crate::cluster::state::{Core, ProcessState};
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error};
use crate::log;
use crate::net::{Call, ConnectionKind, Link, OffsetSample, Peer};
use crate::resp::{Answer, CommandBody, Reply, View};
use crate::sim_hooks::rng;
use crate::topology::{ReplicationView, Shard, replication};
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;

/// How long the nodes have to answer in all: a quarter of an attempt, within these.
const LEAST_MS: u64 = 50;
const MOST_MS: u64 = 250;

const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

/// Lets the next caller in, whatever happens to this one.
struct ProbeGuard<'a>(&'a Peer, Duration);

impl Drop for ProbeGuard<'_> {
    fn drop(&mut self) {
        self.0.freshness.release_probe(now().plus(self.1));
    }
}

impl Core {
    /// Finds out about the replicas of a shard, for connections of this kind, unless somebody else
    /// does or has just done so; returns whether something was found out.
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
            .clamp(LEAST_MS, MOST_MS)
            .min(consistency.probe_timeout_ms());
        // The turn ends by itself, should this thread be lost.
        let held = time.plus(Duration::from_millis(2 * most));
        if !ready(primary, time) || !primary.freshness.claim_probe(time, held) {
            return false;
        }
        let _turn = ProbeGuard(
            primary,
            Duration::from_millis(consistency.probe_interval_ms()),
        );
        count(&self.stats.lag_probes);
        let mut call = call
            .attempt(time)
            .until(Deadline::after(time, most).min(call.deadline));
        call.attempt_ms = most;
        let said = ask(std::slice::from_ref(primary), &call);
        match said.into_iter().next() {
            Some(Ok(view)) if view.primary => {
                primary.freshness.health.record_success();
                primary.freshness.record_offset(OffsetSample {
                    since: time,
                    history: view.history,
                    offset: view.offset,
                });
            }
            // Demoted, and nobody here has heard of it.
            Some(Ok(_)) => {
                count(&self.stats.lag_probe_failures);
                self.request_replica_refresh(process);
                return false;
            }
            Some(Err(error)) => {
                self.failed(primary, &error);
                return false;
            }
            None => return false,
        }
        let replicas: Vec<Arc<Peer>> = shard
            .replicas
            .iter()
            .map(|node| node.peer.clone())
            .filter(|peer| peer.health.is_healthy() && ready(peer, time))
            .collect();
        // Opened after the proof they would undo it; one that cannot be opened is of no use to the
        // proof, and the command that wants it finds out why.
        for peer in &replicas {
            let _ = peer.ensure_connected(kind, &call, call.deadline);
        }
        let generation: Vec<u32> = replicas
            .iter()
            .map(|peer| peer.freshness.generation())
            .collect();
        let said = ask(&replicas, &call);
        for ((peer, generation), said) in replicas.iter().zip(generation).zip(said) {
            match said {
                Ok(view) => judge(peer, generation, primary, &view),
                Err(error) => self.failed(peer, &error),
            }
        }
        true
    }

    /// A node did not tell: it is asked less and less often. That says nothing of how it serves
    /// commands, whose own failures are counted elsewhere.
    fn failed(&self, peer: &Peer, error: &Error) {
        if matches!(error.code, Code::Interrupted | Code::Closed) {
            return;
        }
        count(&self.stats.lag_probe_failures);
        let news = peer
            .freshness
            .health
            .record_failure(now(), rng().random_range(0.0..1.0));
        if news {
            log::log(log::WARN, || {
                format!("{} does not tell its replication: {error}", peer.address())
            });
        }
    }
}

fn ready(peer: &Peer, time: Time) -> bool {
    let health = &peer.freshness.health;
    health.is_healthy() || health.is_probe_due(time)
}

/// What a replica's word is worth.
fn judge(peer: &Arc<Peer>, generation: u32, primary: &Arc<Peer>, view: &ReplicationView) {
    let freshness = &peer.freshness;
    freshness.health.record_success();
    let (since, behind) = match view.primary {
        // Promoted: it has its own history now.
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
        (Link::Up, Some(since)) => freshness.record_proof(since, primary, generation),
        // Behind by more than anybody remembers; what was shown before still holds.
        (Link::Up, None) => {}
        _ => freshness.invalidate(),
    }
    let before = freshness.record_link(link, behind);
    if before != link && !(before == Link::Unknown && link == Link::Up) {
        let words = match link {
            Link::Up => "is connected to its primary again",
            _ => "has lost its primary: it is read from only by those who set no bound",
        };
        log::log(log::WARN, || format!("{} {words}", peer.address()));
    }
}

/// Asks these at once.
fn ask(peers: &[Arc<Peer>], call: &Call<'_>) -> Vec<Result<ReplicationView, Error>> {
    let parts: Vec<RoutedCommand<'_>> = peers
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
            let mut batch = NodeBatch::new(peer.clone(), ConnectionKind::FreshnessProbe, 1);
            batch.add(number as u32, false);
            batch
        })
        .collect();
    let mut reply = Reply::default();
    reply.answers = vec![Answer::NIL; peers.len()];
    send_and_receive(&mut batches, &parts, &mut reply, call);
    peers
        .iter()
        .enumerate()
        .map(|(number, peer)| {
            let batch = batches.iter().find(|f| Arc::ptr_eq(&f.peer, peer));
            match batch.and_then(|batch| batch.failed.clone()) {
                Some(error) => Err(error),
                None => replication(View::new(&reply, reply.answers[number].value)),
            }
        })
        .collect()
}
