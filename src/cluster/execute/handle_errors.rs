//! What becomes of commands that were not simply answered: `route` decides, here it is done.

use super::check_freshness::{ReplicaChoices, destination_of};
use super::destination::Destination;
use super::node_batch::{BatchErrors, NodeBatch};
use super::{Execution, PendingReply, RoutedCommand, Target};
use crate::cluster::state::count;
use crate::config::ReadFrom;
use crate::deadline::now;
use crate::error::{Code, Error, Fault};
use crate::resp::{Kind, Value, View, flag};
use crate::route::{
    ErrorContext, RetryAction, RetryPlan, action_for_failure, action_for_reply, each_key, find,
    was_cut_short,
};
use crate::sim_hooks::{rng, sim_panic_point};
use crate::sync::lock;
use crate::topology::{Shard, Topology};
use rand::Rng;
use rand::seq::IndexedRandom;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The keys of a command; of one that no row describes, what is most likely one.
fn keys(part: &RoutedCommand<'_>) -> Vec<Vec<u8>> {
    part.body.with_args(|args| {
        let mut keys = Vec::new();
        match find(args) {
            // What could not be read was not sent.
            Some(row) => {
                let _ = each_key(row, args, &mut |at, _| keys.push(args[at].to_vec()));
            }
            None => keys.extend(args.get(1).map(|key| key.to_vec())),
        }
        keys
    })
}

impl Execution<'_> {
    /// Gives every part of a round its answer, or leaves it open.
    pub(super) fn apply_outcomes(
        &mut self,
        parts: &mut [RoutedCommand<'_>],
        topology: &Topology,
        reply: &mut PendingReply,
        batches: &[NodeBatch],
        batch_errors: &BatchErrors,
        picks: &ReplicaChoices,
    ) {
        sim_panic_point!(Cluster);
        let mut left_open: Vec<(usize, bool)> = Vec::new();
        let read_from = self.policy.read_from;
        let place_of = |batch: usize, part: &RoutedCommand<'_>| {
            let peer = &batches[batch].peer;
            let node = topology.nodes.iter().find(|n| Arc::ptr_eq(&n.peer, peer));
            let is_primary = |s: &Shard| {
                s.primary
                    .as_ref()
                    .is_some_and(|p| Arc::ptr_eq(&p.peer, peer))
            };
            Destination {
                index: node.map(|n| n.index),
                any_replica_ok: read_from != ReadFrom::Primary
                    && !topology.shards.iter().any(is_primary),
                ..destination_of(peer, &batches[batch], part, picks)
            }
        };
        let mut failures: Vec<(usize, usize, Error)> = Vec::new();
        for (at, batch) in batches.iter().enumerate() {
            if let Some(error) = &batch.failed {
                for (number, sent) in batch.unanswered() {
                    failures.push((number as usize, at, error.clone().sent(sent)));
                }
            }
        }
        let mut errors: Vec<(usize, usize)> = Vec::new();
        for number in &batch_errors.errors {
            if let Some(reply) = reply
                && let Some(origin) = reply.origin_of(reply.answers[*number as usize])
                && let Some(batch) = batches
                    .iter()
                    .position(|f| Arc::ptr_eq(f.peer.origin(), origin))
            {
                errors.push((*number as usize, batch));
            }
        }
        if failures.is_empty() && errors.is_empty() {
            // What had no place is still open; all others are answered.
            for part in parts.iter_mut().filter(|p| p.open) {
                part.open = part.unroutable || part.recheck;
            }
            return;
        }
        let mut judged: Vec<usize> = Vec::new();
        for (number, batch, error) in failures {
            let place = place_of(batch, &parts[number]);
            self.handle_io_error(&mut parts[number], number, reply, &place, error);
            judged.push(number);
        }
        for (number, batch) in errors {
            let place = place_of(batch, &parts[number]);
            let cause = batch_errors
                .causes
                .iter()
                .find(|(n, _)| *n as usize == number);
            let cause = cause.map(|(_, value)| *value);
            self.handle_error_reply(&mut parts[number], number, reply, &place, topology, cause);
            judged.push(number);
        }
        judged.sort_unstable();
        for (number, part) in parts.iter_mut().enumerate() {
            let judged = judged.binary_search(&number).is_ok() || part.unroutable;
            if part.open && part.recheck {
                // It is asked again, which changes nothing: its place in the order is no matter.
            } else if part.open && !judged {
                part.open = false;
            } else if part.open {
                left_open.push((number, part.is_asking()));
            }
        }
        self.enforce_slot_order(parts, reply, &left_open);
    }

    /// Commands of one slot run in the caller's order or not at all.
    ///
    /// A command that was refused is not sent again when a later one of its slot has run, or a
    /// later write may have: it would run late. (For ASK this is said of commands of one key: keys that have moved
    /// and keys that have not are different keys.) And no write follows one whose fate is unknown: it might run first.
    pub(super) fn enforce_slot_order(
        &self,
        parts: &mut [RoutedCommand<'_>],
        reply: &mut PendingReply,
        open: &[(usize, bool)],
    ) {
        if open.is_empty() || parts.len() == 1 {
            return;
        }
        // The first of each slot that is sent after a key which may have moved.
        let mut asked: HashMap<u16, usize> = HashMap::new();
        for (number, _) in open.iter().filter(|(_, asking)| *asking) {
            if let Some(slot) = parts[*number].slot() {
                asked.entry(slot).or_insert(*number);
            }
        }
        // The last of each key behind those that has run, or may have.
        let mut last_of_key: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut last_run: HashMap<u16, usize> = HashMap::new();
        // The first and the last write of a slot that may have run.
        let mut in_doubt: HashMap<u16, (usize, usize)> = HashMap::new();
        for (number, part) in parts.iter().enumerate().filter(|(_, p)| !p.open) {
            let Some(slot) = part.slot() else { continue };
            let Some(value) = reply.as_ref().map(|r| r.answers[number].value) else {
                continue;
            };
            let ours = value.kind == Kind::Error && value.code != Code::Server as u8;
            if !ours {
                last_run.insert(slot, number);
            } else if value.flags & flag::SENT != 0 && !part.read {
                in_doubt.entry(slot).or_insert((number, number)).1 = number;
            } else {
                continue;
            }
            if asked.get(&slot).is_some_and(|first| *first < number) {
                last_of_key.extend(keys(part).into_iter().map(|key| (key, number)));
            }
        }
        for (number, asking) in open {
            let Some(slot) = parts[*number].slot() else {
                continue;
            };
            let doubt = in_doubt.get(&slot);
            let ran = last_run.get(&slot).is_some_and(|last| last > number);
            let overtaken = match asking {
                true => (keys(&parts[*number]).iter())
                    .any(|key| last_of_key.get(key).is_some_and(|last| last > number)),
                false => ran || doubt.is_some_and(|(_, last)| last > number),
            };
            let doubted = !parts[*number].read && doubt.is_some_and(|(first, _)| first < number);
            let error = match (parts[*number].last(), overtaken, doubted) {
                (Some(last), true, _) => {
                    let mut error = last.clone().sent(false);
                    error.message += if ran {
                        " (not sent again: a later command of its slot has run)"
                    } else {
                        " (not sent again: a later write of its slot may have run)"
                    };
                    error
                }
                (_, false, true) | (None, true, _) => Error::new(
                    Code::Io,
                    format_args!(
                        "{} was not sent: an earlier write to slot {slot} may still be running",
                        parts[*number].name
                    ),
                ),
                _ => continue,
            };
            self.close(&mut parts[*number], *number, reply, &error);
        }
    }

    pub(super) fn context(
        &self,
        part: &RoutedCommand<'_>,
        place: &Destination<'_>,
    ) -> ErrorContext {
        ErrorContext {
            repeatable: part.read || self.policy.retry_writes,
            pinned_by_caller: matches!(part.target, Target::Peer(_)),
            any_replica_ok: place.any_replica_ok,
            is_not_primary: place.any_replica_ok && !place.selection.primary,
        }
    }

    /// A server answered with an error. `cause` is the one that a transaction failed for.
    #[cold]
    pub(super) fn handle_error_reply(
        &mut self,
        part: &mut RoutedCommand<'_>,
        number: usize,
        reply: &mut PendingReply,
        place: &Destination<'_>,
        topology: &Topology,
        cause: Option<Value>,
    ) {
        let whole = reply.get_or_insert_default();
        let answer = whole.answers.get(number).copied().unwrap_or(whole.root);
        let text_of = |value: Value| {
            let text = View::new(whole, value).text().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        let mut text = text_of(answer.value);
        let mut reason = text.clone();
        if let Some(cause) = cause {
            // EXECABORT: nothing has run, and why is in what a queued command was told.
            reason = text_of(cause);
            if text.starts_with("EXECABORT") {
                text = format!("{text} ({reason})");
            }
        }
        let context = self.context(part, place);
        let mut action = action_for_reply(reason.as_bytes(), place.peer.address(), context);
        if action == RetryAction::ResendScript && !self.resend_script_body(part) {
            action = RetryAction::Deliver(Code::Server);
        }
        let node = place.peer.origin().name().to_string();
        let said = |code, sent| {
            Error::from(Fault {
                code,
                message: text.clone(),
                sent,
                node: Some(node.clone()),
            })
        };
        match action {
            RetryAction::Deliver(code) => {
                place.peer.record_success();
                if self.is_doubtful_error(part, reply, answer.value, place, topology) {
                    return;
                }
                if cause.is_some() {
                    self.close(part, number, reply, &said(code, false));
                } else {
                    let mut answer = answer;
                    answer.value.code = code as u8;
                    self.answer(part, number, reply, answer);
                }
            }
            RetryAction::Retry(plan) => {
                let code = match reason.split(' ').next() {
                    Some("CLUSTERDOWN" | "MASTERDOWN") => Code::Down,
                    _ => Code::Server,
                };
                count(match code {
                    Code::Down => &self.core.stats.clusterdown,
                    _ => &self.core.stats.tryagain,
                });
                if code == Code::Server && !plan.eject && !plan.refresh {
                    // TRYAGAIN: its keys are on both sides of a migration.
                    self.process.migrating_slots.mark(part.slot(), now());
                }
                // What is wrong is not the node.
                if !plan.eject {
                    place.peer.record_success();
                }
                self.schedule_retry(part, place, plan, said(code, false));
                // A read that any of them may serve goes to the next one anyway, and as a read of a replica.
                if reason.starts_with("CLUSTERDOWN") && !place.any_replica_ok {
                    self.try_promoted_replica(part, place);
                }
            }
            RetryAction::ResendScript => {
                place.peer.health.record_success();
                part.retry_state().last = Some(said(Code::Server, false));
            }
            RetryAction::Moved { slot, to } => {
                count(&self.core.stats.moved);
                place.peer.record_success();
                self.process.migrating_slots.mark([slot], now());
                self.core.patch(self.process, slot, &to);
                self.stale = true;
                if part.slot().is_none() || part.slot() != Some(slot) {
                    // An unknown command whose key is elsewhere than we thought.
                    part.target = Target::Slot(slot);
                }
                part.retry_state().asking = false;
                self.follow_redirect(part, number, reply, &to, said(Code::Redirects, false));
            }
            RetryAction::Ask { to } => {
                count(&self.core.stats.ask);
                place.peer.record_success();
                self.process.migrating_slots.mark(part.slot(), now());
                part.retry_state().asking = true;
                self.follow_redirect(part, number, reply, &to, said(Code::Redirects, false));
            }
        }
    }

    /// Puts the script that a command names in place of its digest, if it is known.
    fn resend_script_body(&self, part: &mut RoutedCommand<'_>) -> bool {
        // Once: a script may end with the same words itself. And not inside a transaction.
        if part.retry_state().replacement.is_some() || part.preludes > 0 {
            return false;
        }
        let replacement = lock(&self.process.scripts).with_script_body(&part.body);
        let known = replacement.is_some();
        if known {
            count(&self.core.stats.noscript);
        }
        part.retry_state().replacement = replacement;
        known
    }

    pub(super) fn follow_redirect(
        &mut self,
        part: &mut RoutedCommand<'_>,
        number: usize,
        reply: &mut PendingReply,
        to: &crate::address::Address,
        error: Error,
    ) {
        let peer = self.process.peer(to, &self.core.config);
        let health = &peer.health;
        let lives =
            health.is_healthy() || (health.is_required_probe_due(now()) && self.probe(&peer));
        if !lives {
            // Sent to a node that does not answer: it will be somebody else's soon. That is not
            // followed, so it is not counted either.
            self.wait = true;
            self.refresh = true;
            let node = peer.origin().name();
            let name = part.name;
            let mut words =
                format!("{node} does not answer, nobody has taken its place, and {name} needs it");
            if let Some(reason) = peer.last_connect_error() {
                words += &format!(": {reason}");
            }
            let error = Error::new(Code::Down, words).at(node);
            let retry_state = part.retry_state();
            retry_state.redirect_target = None;
            retry_state.asking = false;
            retry_state.last = Some(error);
            return;
        }
        part.retry_state().redirections += 1;
        let redirections = part.retry_state().redirections;
        if redirections > self.policy.max_redirects {
            let words = format!(
                "{} {} (after max_redirects = {})",
                Code::Redirects.name(),
                error.message,
                self.policy.max_redirects
            );
            let mut error = error;
            error.message = words;
            self.close(part, number, reply, &error);
            return;
        }
        part.retry_state().last = Some(error);
        // Nodes that disagree send a command to and fro until they have heard of each other.
        if redirections > 2 {
            self.wait = true;
            self.redirect_loops = self.redirect_loops.max(redirections - 2);
        }
        part.retry_state().redirect_target = Some(peer);
    }

    /// A primary has said that the cluster is down. So it does when it is cut off from the others,
    /// who may have promoted one of its replicas: that one is asked next, and serves the command or
    /// says MOVED or the same. It is no journey, so it is not counted as one.
    fn try_promoted_replica(&self, part: &mut RoutedCommand<'_>, place: &Destination<'_>) {
        let Target::Slot(slot) = part.target else {
            return;
        };
        let topology = self.process.topology.load();
        let Some(shard) = topology.shard(slot) else {
            return;
        };
        if !(shard.primary.as_ref()).is_some_and(|p| Arc::ptr_eq(&p.peer, place.peer)) {
            return;
        }
        let replicas = shard.replicas.iter();
        let well: Vec<_> = replicas.filter(|n| n.peer.health.is_healthy()).collect();
        if let Some(replica) = well.choose(&mut rng()) {
            let retry_state = part.retry_state();
            retry_state.redirect_target = Some(replica.peer.clone());
            retry_state.redirections = 0;
        }
    }

    /// No reply came.
    #[cold]
    pub(super) fn handle_io_error(
        &mut self,
        part: &mut RoutedCommand<'_>,
        number: usize,
        reply: &mut PendingReply,
        place: &Destination<'_>,
        error: Error,
    ) {
        let mut error = error;
        if error.code == Code::Timeout {
            count(&self.core.stats.timeouts);
            if error.message.ends_with("did not answer in time") {
                // The last attempt may have had less than any is allowed.
                let ms = self.attempt_elapsed().as_millis();
                error.message = format!(
                    "TIMEOUT {} did not answer {} within {ms} ms",
                    place.peer.origin().name(),
                    part.name
                );
            }
        }
        let context = self.context(part, place);
        match action_for_failure(&error, context) {
            RetryAction::Retry(plan) => self.schedule_retry(part, place, plan, error),
            _ => {
                if matches!(error.code, Code::Timeout | Code::Connect) {
                    self.eject(place, &error);
                }
                // One with another's certificate may have another's address by now.
                self.stale |= matches!(error.code, Code::Timeout | Code::Connect | Code::Tls);
                self.close(part, number, reply, &error);
            }
        }
    }

    /// How long the present attempt has taken, of the time that it had.
    fn attempt_elapsed(&self) -> Duration {
        let most = self.policy.attempt_ms.min(self.policy.timeout_ms);
        now().since(self.round).min(Duration::from_millis(most))
    }

    /// Leaves a part open for another round.
    pub(super) fn schedule_retry(
        &mut self,
        part: &mut RoutedCommand<'_>,
        place: &Destination<'_>,
        plan: RetryPlan,
        error: Error,
    ) {
        if plan.eject {
            self.eject(place, &error);
        }
        if let (Some(index), true) = (place.index, place.any_replica_ok) {
            if !self.excluded.contains(&index) {
                self.excluded.push(index);
            } else {
                // Everybody has been asked in vain: from now on with a pause in between.
                self.excluded.clear();
                self.wait = true;
            }
        }
        self.wait |= plan.wait;
        self.refresh |= plan.refresh;
        let (hasty, read) = (was_cut_short(&error, self.attempt_elapsed()), part.read);
        let retry_state = part.retry_state();
        retry_state.redirect_target = None;
        retry_state.asking = false;
        // What the end of the call cut short tells less than what came of the attempt before.
        let replaces = match &retry_state.last {
            None => true,
            // A write that may have run is still in doubt, whatever comes of the attempts behind it.
            Some(last) if last.sent && !read => error.sent,
            Some(_) => error.sent || !hasty,
        };
        if replaces {
            retry_state.last = Some(error);
        }
    }

    /// Leaves a node alone for a while.
    pub(super) fn eject(&self, place: &Destination<'_>, error: &Error) {
        // That somebody had hardly any time says nothing about the node.
        if was_cut_short(error, self.attempt_elapsed()) {
            return;
        }
        let health = &place.peer.health;
        let (was_well, time) = (health.is_healthy(), now());
        count(&place.peer.counters.errors);
        // Of many calls that fail together only one counts, or it would be left alone for as long as
        // if it had failed again and plan.
        // But the one who was to find out whether it serves has found out.
        let found_out = self.probing.take() == Arc::as_ptr(place.peer).addr();
        if !was_well && !health.is_probe_due(time) && !found_out {
            return;
        }
        if health.record_failure(time, rng().random_range(0.0..1.0)) {
            crate::log::log(crate::log::WARN, || {
                format!(
                    "{} is left alone for a while: {error}",
                    place.peer.address()
                )
            });
        }
    }
}
