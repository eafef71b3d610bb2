//! Probes of ejected nodes.

use super::exec_state::ExecState;
use crate::deadline::{Deadline, now};
use crate::net::Peer;
use crate::sim_hooks::rng;
use rand::Rng;

/// How long an ejected node may take to connect and finish its handshake: a quarter of the attempt
/// timeout within these bounds, but at least four times its last handshake, for a node far away.
const PROBE_MIN_MS: u64 = 50;
const PROBE_MAX_MS: u64 = 250;

impl ExecState<'_> {
    /// Whether the node is healthy, or a required probe is due and succeeds.
    pub(super) fn is_healthy_or_probed(&self, peer: &Peer) -> bool {
        let health = &peer.health;
        health.is_healthy() || (health.is_required_probe_due(now()) && self.probe(peer))
    }

    /// Whether an ejected node accepts a new connection and its handshake. A probe does not risk a
    /// command of the caller, whose outcome would be unknown if the node failed again.
    ///
    /// A node that passes gets this call's command. It becomes healthy for other calls only when that
    /// is answered: a node that finishes a handshake may still be loading its data.
    #[cold]
    pub(super) fn probe(&self, peer: &Peer) -> bool {
        let time = now();
        peer.health.record_probe(time);
        let most = (self.policy.attempt_ms / 4)
            .clamp(PROBE_MIN_MS, PROBE_MAX_MS)
            .max(peer.handshake_ms() * 4)
            .min(self.policy.attempt_ms.max(PROBE_MIN_MS));
        let attempt = (self.call)
            .attempt_until(self.call.deadline)
            .limited_to(Deadline::after(time, most));
        // A node without this handle's database is up for others.
        let kind = self.policy.kind.without_database();
        let is_up = peer.open(kind, attempt).is_ok();
        if is_up {
            self.probing.set(std::ptr::from_ref(peer).addr());
        } else {
            peer.health
                .record_failure(now(), rng().random_range(0.0..1.0));
        }
        is_up
    }
}
