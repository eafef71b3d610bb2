//! Follows MOVED and ASK, and looks for a promoted replica behind CLUSTERDOWN.

use super::destination::{Destination, unreachable};
use super::exec_state::ExecState;
use super::pending_reply::PendingCommand;
use super::routed_command::{RoutedCommand, Target};
use crate::address::Address;
use crate::error::{Code, Error};
use crate::sim_hooks::rng;
use rand::seq::IndexedRandom;
use std::sync::Arc;

impl ExecState<'_> {
    /// Sends a command to the node that a redirection named, in the next round. `error` is the
    /// redirection, for the caller if there are too many of them.
    pub(super) fn follow_redirect(
        &mut self,
        pending: &mut PendingCommand<'_, '_>,
        to: &Address,
        mut error: Error,
    ) {
        if let Err(refused) = self.core.config.admission(to) {
            return pending.fail(&refused);
        }
        let peer = self.process.peer(to);
        if !self.is_healthy_or_probed(&peer) {
            // The node is unhealthy, and the slot will probably move to another. This redirection is not followed, and so not
            // counted.
            self.wait = true;
            self.refresh = true;
            let error = unreachable(&peer, pending.command.name);
            let retry_state = pending.command.retry_state();
            retry_state.redirect_target = None;
            retry_state.asking = false;
            retry_state.last = Some(error);
            retry_state.unverifiable = true;
            return;
        }
        let retry_state = pending.command.retry_state();
        retry_state.redirections += 1;
        let redirections = retry_state.redirections;
        if redirections > self.policy.max_redirects {
            error.message = format!(
                "{} {} (after max_redirects = {})",
                Code::Redirects.name(),
                error.message,
                self.policy.max_redirects
            );
            return pending.fail(&error);
        }
        retry_state.last = Some(error);
        retry_state.redirect_target = Some(peer);
        // Nodes with different views of the cluster redirect a command to each other.
        if redirections > 2 {
            self.wait = true;
            self.redirect_loops = self.redirect_loops.max(redirections - 2);
        }
    }

    /// After CLUSTERDOWN from a primary: sends the command to one of its replicas next. A primary that is cut off from
    /// the others replies CLUSTERDOWN, while they may have promoted that replica. It serves the command, or replies
    /// MOVED or CLUSTERDOWN. This does not count as a redirection.
    pub(super) fn try_promoted_replica(
        &self,
        command: &mut RoutedCommand<'_>,
        destination: &Destination<'_>,
    ) {
        let Target::Slot(slot) = command.target else {
            return;
        };
        let topology = self.process.load_topology();
        let Some(shard) = topology.shard(slot) else {
            return;
        };
        let primary = shard.primary.as_ref();
        if !primary.is_some_and(|p| Arc::ptr_eq(&p.peer, destination.peer)) {
            return;
        }
        let replicas = shard.replicas.iter();
        let healthy: Vec<_> = replicas.filter(|n| n.peer.health.is_healthy()).collect();
        if let Some(replica) = healthy.choose(&mut rng()) {
            let retry_state = command.retry_state();
            retry_state.redirect_target = Some(replica.peer.clone());
            retry_state.redirections = 0;
        }
    }
}
