//! Waiting in a lane: for the outcome of a place in a batch, or for a connection of one's own.

use super::batch::{Batch, DONE, SENT};
use super::lead::Lead;
use super::{Lane, SIDE};
use crate::deadline::{Deadline, now};
use crate::error::{Code, Error, Result};
use crate::net::ask;
use crate::net::connection::Connection;
use crate::net::peer::Peer;
use crate::net::wake::{Call, GLANCE};
use crate::resp::Reply;
use crate::sim_hooks::sim_yield_point;
use crate::sync::{lock, notify_one, wait};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// So often a member lets others run before it sleeps. (All orders of more would be too many for a test.)
const TURNS: u32 = if cfg!(test) { 2 } else { 4 };

/// A connection for a batch that has waited for a busy one.
enum More {
    Idle(Box<Connection>),
    /// The right to open one where there is none.
    First,
    /// The right to open one beside others.
    Beside,
}

/// The right of a batch to open a connection beside others: given back unless it was used, and then
/// the batch waits as before.
struct Right<'a> {
    lane: &'a Lane,
    batch: &'a Arc<Batch>,
    used: bool,
}

impl<'a> Right<'a> {
    fn new(lane: &'a Lane, batch: &'a Arc<Batch>) -> Right<'a> {
        Right {
            lane,
            batch,
            used: false,
        }
    }
}

impl Drop for Right<'_> {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        let mut state = lock(&self.lane.state);
        state.open -= 1;
        let batch = self.batch;
        for waiting in (state.gathering.iter_mut()).filter(|g| Arc::ptr_eq(&g.batch, batch)) {
            waiting.led = false;
        }
        drop(state);
        notify_one(&self.lane.freed);
    }
}

/// A place in a batch, as long as its thread is there. One that a panic passes through gives it up: nobody else would,
/// and the batch would seem alive for ever, with whatever connection is handed to it.
pub(super) struct Occupied<'a> {
    pub(super) lane: &'a Lane,
    pub(super) batch: &'a Arc<Batch>,
    pub(super) member: usize,
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lane.give_up(self.batch, self.member);
        }
    }
}

impl Lane {
    /// Waits for the outcome of a place in a batch, and leads the batch if it comes to that.
    pub(super) fn member(
        &self,
        peer: &Peer,
        batch: &Arc<Batch>,
        (member, mut word): (usize, u32),
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        let _occupied = Occupied {
            lane: self,
            batch,
            member,
        };
        let mut waited = false;
        let mut patience = TURNS;
        // How often it has woken up by itself.
        let mut alone = 0u32;
        loop {
            sim_yield_point!();
            if let Some(outcome) = batch.outcome(member) {
                // Others may have relied on this one to wake them.
                if !batch.has_landed() {
                    batch.nudge(i32::MAX);
                }
                return outcome;
            }
            // In a statement of its own, so that the lock is not held while leading. A leader
            // that has given this member its reply and then gave up has nothing for it to do.
            sim_yield_point!();
            let handed = {
                let mut hand = lock(&batch.hand);
                match batch.places[member].state.load(Ordering::Acquire) {
                    DONE => continue,
                    _ => hand.connection.take(),
                }
            };
            if let Some(connection) = handed {
                return self.lead(peer, batch, member, Some(connection), call, until);
            }
            let time = now();
            let over = match call.look() {
                Err(error) => Some(error),
                Ok(()) if until.passed(time) => Some(
                    Error::new(
                        Code::Timeout,
                        format_args!("{} did not answer in time", peer.origin().name()),
                    )
                    .at(peer.origin().name()),
                ),
                Ok(()) => None,
            };
            if let Some(error) = over {
                return match self.give_up(batch, member) {
                    DONE => batch.outcome(member).unwrap_or(Err(error)),
                    state => Err(error.sent(state == SENT)),
                };
            }
            if waited && let Some(more) = self.one_more(batch, !peer.is_shut(self.kind)) {
                let connection = match more {
                    More::Idle(connection) => Some(connection),
                    More::First => None,
                    More::Beside => {
                        let mut right = Right::new(self, batch);
                        match peer.open(self.kind, call, peer.soon(time).min(until)) {
                            Ok(connection) => {
                                right.used = true;
                                Some(connection)
                            }
                            // There are others, which are only busy: nobody is told of it.
                            Err(_) => {
                                waited = false;
                                continue;
                            }
                        }
                    }
                };
                return self.lead(peer, batch, member, connection, call, until);
            }
            // Who brings about what it waits for may be waiting for nothing but a processor.
            while patience > 0 && batch.word.load(Ordering::Acquire) == word {
                patience = match self.courtesy.let_others_run() {
                    true => patience - 1,
                    false => 0,
                };
            }
            waited = true;
            let seen = batch.word.load(Ordering::Acquire);
            if seen != word {
                // There has been something to look at since it joined or woke up.
                word = seen;
                continue;
            }
            let left = until.left(time).unwrap_or(Duration::MAX);
            let watches = left < GLANCE * 2 || ask::is_asked() || batch.is_watched_by(member);
            batch.sleep(word, watches.then_some(SIDE.min(left)));
            let seen = word;
            word = batch.word.load(Ordering::Acquire);
            if word == seen {
                // Nobody has woken the others meanwhile. Once in a glance is enough: where this one finds that it has
                // to end, they are told of it at once.
                alone += 1;
                if alone.is_multiple_of(2) {
                    batch.nudge(i32::MAX);
                    word = word.wrapping_add(1);
                }
            }
        }
    }

    /// Gives a place up; returns what it was. The last member to go takes care of a connection
    /// that was handed to the batch meanwhile.
    fn give_up(&self, batch: &Arc<Batch>, member: usize) -> u8 {
        let was = batch.abandon(member);
        sim_yield_point!();
        let mut state = lock(&self.state);
        let mut hand = lock(&batch.hand);
        if batch.is_alive() {
            // It may have been the one that was woken to lead, or that others relied on to wake them.
            drop(hand);
            drop(state);
            batch.nudge(i32::MAX);
            return was;
        }
        let Some(connection) = hand.connection.take() else {
            return was;
        };
        let progress = hand.progress.take();
        state.detach(batch);
        drop(hand);
        drop(state);
        sim_yield_point!();
        let mut lead = Lead::new(self, Some(connection));
        match progress {
            Some(progress) => lead.departed = progress.departed,
            None => lead.pass_on(),
        }
        was
    }

    /// A connection for a batch that has waited long enough and that nobody leads. The right to
    /// open one is counted already; `may_open` says whether there is any hope in it.
    fn one_more(&self, batch: &Arc<Batch>, may_open: bool) -> Option<More> {
        sim_yield_point!();
        let mut state = lock(&self.state);
        let opens = state.open < self.most && (may_open || state.open == 0);
        if state.idle.is_empty() && !opens {
            return None;
        }
        let waiting = state
            .gathering
            .iter_mut()
            .find(|g| Arc::ptr_eq(&g.batch, batch) && !g.led)?;
        waiting.led = true;
        Some(match state.idle.pop() {
            Some(connection) => More::Idle(connection),
            None => {
                state.open += 1;
                match state.open {
                    1 => More::First,
                    _ => More::Beside,
                }
            }
        })
    }

    /// A connection for one user alone.
    pub fn take(&self, peer: &Peer, call: &Call<'_>, until: Deadline) -> Result<Box<Connection>> {
        loop {
            sim_yield_point!();
            let mut state = lock(&self.state);
            let idle = loop {
                if let Some(connection) = state.idle.pop() {
                    break Some(connection);
                }
                if self.may_open(&state, peer) {
                    state.open += 1;
                    break None;
                }
                call.check()?;
                let left = until.left(now()).unwrap_or(GLANCE);
                if left.is_zero() {
                    drop(state);
                    notify_one(&self.freed);
                    return Err(Error::new(
                        Code::Timeout,
                        format_args!(
                            "all connections_per_node = {} connections to {} are busy",
                            self.most,
                            peer.origin().name()
                        ),
                    )
                    .at(peer.origin().name()));
                }
                state.takers += 1;
                state = wait(&self.freed, &self.state, state, left.min(GLANCE));
                state.takers -= 1;
                // What is asked of the caller's thread is asked with no lock held.
                drop(state);
                sim_yield_point!();
                if let Err(error) = call.look() {
                    // It may have been woken for what has come free, and an interrupt seldom ends one call alone: so
                    // each tells the next, and nobody finds out by a glance.
                    notify_one(&self.freed);
                    return Err(error);
                }
                state = lock(&self.state);
            };
            drop(state);
            let mut lead = Lead::new(self, idle);
            if lead.connection.is_none() {
                lead.connection = Some(peer.open(self.kind, call, until)?);
            } else if lead.is_stale(call.began) {
                continue;
            }
            if let Some(connection) = lead.leave() {
                return Ok(connection);
            }
        }
    }
}
