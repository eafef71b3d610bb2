//! What becomes of commands that were not simply answered: `route` decides, here it is done.

use super::place::Place;
use super::review::{Picks, pick_up};
use super::{Exchange, Part, Slot, Target};
use crate::cluster::flight::{Flight, Landed};
use crate::cluster::stats::count;
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
fn keys(part: &Part<'_>) -> Vec<Vec<u8>> {
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

impl Exchange<'_> {
    /// Gives every part of a round its answer, or leaves it open.
    pub(super) fn settle(
        &mut self,
        parts: &mut [Part<'_>],
        topology: &Topology,
        reply: &mut Slot,
        flights: &[Flight],
        landed: &Landed,
        picks: &Picks,
    ) {
        sim_panic_point!(Cluster);
        let mut left_open: Vec<(usize, bool)> = Vec::new();
        let read_from = self.manner.read_from;
        let place_of = |flight: usize, part: &Part<'_>| {
            let peer = &flights[flight].peer;
            let node = topology.nodes.iter().find(|n| Arc::ptr_eq(&n.peer, peer));
            let is_primary = |s: &Shard| {
                s.primary
                    .as_ref()
                    .is_some_and(|p| Arc::ptr_eq(&p.peer, peer))
            };
            Place {
                index: node.map(|n| n.index),
                choice: read_from != ReadFrom::Primary && !topology.shards.iter().any(is_primary),
                ..pick_up(peer, &flights[flight], part, picks)
            }
        };
        let mut failures: Vec<(usize, usize, Error)> = Vec::new();
        for (at, flight) in flights.iter().enumerate() {
            if let Some(error) = &flight.failed {
                for (number, sent) in flight.unanswered() {
                    failures.push((number as usize, at, error.clone().sent(sent)));
                }
            }
        }
        let mut errors: Vec<(usize, usize)> = Vec::new();
        for number in &landed.errors {
            if let Some(reply) = reply
                && let Some(origin) = reply.origin_of(reply.answers[*number as usize])
                && let Some(flight) = flights
                    .iter()
                    .position(|f| Arc::ptr_eq(f.peer.origin(), origin))
            {
                errors.push((*number as usize, flight));
            }
        }
        if failures.is_empty() && errors.is_empty() {
            // What had no place is still open; all others are answered.
            for part in parts.iter_mut().filter(|p| p.open) {
                part.open = part.homeless || part.doubted;
            }
            return;
        }
        let mut judged: Vec<usize> = Vec::new();
        for (number, flight, error) in failures {
            let place = place_of(flight, &parts[number]);
            self.judge_failure(&mut parts[number], number, reply, &place, error);
            judged.push(number);
        }
        for (number, flight) in errors {
            let place = place_of(flight, &parts[number]);
            let cause = landed.causes.iter().find(|(n, _)| *n as usize == number);
            let cause = cause.map(|(_, value)| *value);
            self.judge(&mut parts[number], number, reply, &place, topology, cause);
            judged.push(number);
        }
        judged.sort_unstable();
        for (number, part) in parts.iter_mut().enumerate() {
            let judged = judged.binary_search(&number).is_ok() || part.homeless;
            if part.open && part.doubted {
                // It is asked again, which changes nothing: its place in the order is no matter.
            } else if part.open && !judged {
                part.open = false;
            } else if part.open {
                left_open.push((number, part.is_asking()));
            }
        }
        self.keep_order(parts, reply, &left_open);
    }

    /// Commands of one slot run in the caller's order or not at all.
    ///
    /// A command that was refused is not sent again when a later one of its slot has run, or a
    /// later write may have: it would run late. (For ASK this is said of commands of one key: keys that have moved
    /// and keys that have not are different keys.) And no write follows one whose fate is unknown: it might run first.
    pub(super) fn keep_order(
        &self,
        parts: &mut [Part<'_>],
        reply: &mut Slot,
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

    pub(super) fn context(&self, part: &Part<'_>, place: &Place<'_>) -> ErrorContext {
        ErrorContext {
            repeatable: part.read || self.manner.retry_writes,
            pinned_by_caller: matches!(part.target, Target::Peer(_)),
            any_replica_ok: place.choice,
            is_not_primary: place.choice && !place.pick.primary,
        }
    }

    /// A server answered with an error. `cause` is the one that a transaction failed for.
    #[cold]
    pub(super) fn judge(
        &mut self,
        part: &mut Part<'_>,
        number: usize,
        reply: &mut Slot,
        place: &Place<'_>,
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
        if action == RetryAction::ResendScript && !self.put_in_full(part) {
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
                    self.process.moving.saw(part.slot(), now());
                }
                // What is wrong is not the node.
                if !plan.eject {
                    place.peer.record_success();
                }
                self.again(part, place, plan, said(code, false));
                // A read that any of them may serve goes to the next one anyway, and as a read of a replica.
                if reason.starts_with("CLUSTERDOWN") && !place.choice {
                    self.sound_out(part, place);
                }
            }
            RetryAction::ResendScript => {
                place.peer.health.record_success();
                part.trouble().last = Some(said(Code::Server, false));
            }
            RetryAction::Moved { slot, to } => {
                count(&self.core.stats.moved);
                place.peer.record_success();
                self.process.moving.saw([slot], now());
                self.core.patch(self.process, slot, &to);
                self.stale = true;
                if part.slot().is_none() || part.slot() != Some(slot) {
                    // An unknown command whose key is elsewhere than we thought.
                    part.target = Target::Slot(slot);
                }
                part.trouble().asking = false;
                self.follow(part, number, reply, &to, said(Code::Redirects, false));
            }
            RetryAction::Ask { to } => {
                count(&self.core.stats.ask);
                place.peer.record_success();
                self.process.moving.saw(part.slot(), now());
                part.trouble().asking = true;
                self.follow(part, number, reply, &to, said(Code::Redirects, false));
            }
        }
    }

    /// Puts the script that a command names in place of its digest, if it is known.
    fn put_in_full(&self, part: &mut Part<'_>) -> bool {
        // Once: a script may end with the same words itself. And not inside a transaction.
        if part.trouble().instead.is_some() || part.preludes > 0 {
            return false;
        }
        let instead = lock(&self.process.scripts).in_full(&part.body);
        let known = instead.is_some();
        if known {
            count(&self.core.stats.noscript);
        }
        part.trouble().instead = instead;
        known
    }

    pub(super) fn follow(
        &mut self,
        part: &mut Part<'_>,
        number: usize,
        reply: &mut Slot,
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
            let trouble = part.trouble();
            trouble.toward = None;
            trouble.asking = false;
            trouble.last = Some(error);
            return;
        }
        part.trouble().redirections += 1;
        let redirections = part.trouble().redirections;
        if redirections > self.manner.max_redirects {
            let words = format!(
                "{} {} (after max_redirects = {})",
                Code::Redirects.name(),
                error.message,
                self.manner.max_redirects
            );
            let mut error = error;
            error.message = words;
            self.close(part, number, reply, &error);
            return;
        }
        part.trouble().last = Some(error);
        // Nodes that disagree send a command to and fro until they have heard of each other.
        if redirections > 2 {
            self.wait = true;
            self.redirect_loops = self.redirect_loops.max(redirections - 2);
        }
        part.trouble().toward = Some(peer);
    }

    /// A primary has said that the cluster is down. So it does when it is cut off from the others,
    /// who may have promoted one of its replicas: that one is asked next, and serves the command or
    /// says MOVED or the same. It is no journey, so it is not counted as one.
    fn sound_out(&self, part: &mut Part<'_>, place: &Place<'_>) {
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
            let trouble = part.trouble();
            trouble.toward = Some(replica.peer.clone());
            trouble.redirections = 0;
        }
    }

    /// No reply came.
    #[cold]
    pub(super) fn judge_failure(
        &mut self,
        part: &mut Part<'_>,
        number: usize,
        reply: &mut Slot,
        place: &Place<'_>,
        error: Error,
    ) {
        let mut error = error;
        if error.code == Code::Timeout {
            count(&self.core.stats.timeouts);
            if error.message.ends_with("did not answer in time") {
                // The last attempt may have had less than any is allowed.
                let ms = self.took().as_millis();
                error.message = format!(
                    "TIMEOUT {} did not answer {} within {ms} ms",
                    place.peer.origin().name(),
                    part.name
                );
            }
        }
        let context = self.context(part, place);
        match action_for_failure(&error, context) {
            RetryAction::Retry(plan) => self.again(part, place, plan, error),
            _ => {
                if matches!(error.code, Code::Timeout | Code::Connect) {
                    self.avoid(place, &error);
                }
                // One with another's certificate may have another's address by now.
                self.stale |= matches!(error.code, Code::Timeout | Code::Connect | Code::Tls);
                self.close(part, number, reply, &error);
            }
        }
    }

    /// How long the present attempt has taken, of the time that it had.
    fn took(&self) -> Duration {
        let most = self.manner.attempt_ms.min(self.manner.timeout_ms);
        now().since(self.round).min(Duration::from_millis(most))
    }

    /// Leaves a part open for another round.
    pub(super) fn again(
        &mut self,
        part: &mut Part<'_>,
        place: &Place<'_>,
        plan: RetryPlan,
        error: Error,
    ) {
        if plan.eject {
            self.avoid(place, &error);
        }
        if let (Some(index), true) = (place.index, place.choice) {
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
        let (hasty, read) = (was_cut_short(&error, self.took()), part.read);
        let trouble = part.trouble();
        trouble.toward = None;
        trouble.asking = false;
        // What the end of the call cut short tells less than what came of the attempt before.
        let replaces = match &trouble.last {
            None => true,
            // A write that may have run is still in doubt, whatever comes of the attempts behind it.
            Some(last) if last.sent && !read => error.sent,
            Some(_) => error.sent || !hasty,
        };
        if replaces {
            trouble.last = Some(error);
        }
    }

    /// Leaves a node alone for a while.
    pub(super) fn avoid(&self, place: &Place<'_>, error: &Error) {
        // That somebody had hardly any time says nothing about the node.
        if was_cut_short(error, self.took()) {
            return;
        }
        let health = &place.peer.health;
        let (was_well, time) = (health.is_healthy(), now());
        count(&place.peer.counters.errors);
        // Of many calls that fail together only one counts, or it would be left alone for as long as
        // if it had failed again and plan.
        // But the one who was to find out whether it serves has found out.
        let found_out = self.sounding.take() == Arc::as_ptr(place.peer).addr();
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
