//! Waiting in a pool: for the outcome of a place in a batch, or for a connection of one's own.

use super::batch::{Batch, DONE, SENT};
use super::leader::LeaderGuard;
use super::{EXTRA_CONNECTION_AFTER, Pool};
use crate::deadline::{Deadline, now};
use crate::error::{Code, Error, Result};
use crate::net::conn::Connection;
use crate::net::node::Peer;
use crate::net::wait::is_wait_callback_set;
use crate::net::wait::{Call, POLL_INTERVAL};
use crate::resp::Reply;
use crate::sim_hooks::sim_yield_point;
use crate::sync::{lock, notify_one, wait};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// So often a member lets others run before it sleeps. (All orders of more would be too many for a test.)
const FOLLOWER_YIELDS: u32 = if cfg!(test) { 2 } else { 4 };

/// A connection for a batch that has waited for a busy one.
enum AcquiredSlot {
    Idle(Box<Connection>),
    /// The right to open one where there is none.
    OpenFirst,
    /// The right to open one beside others.
    OpenExtra,
}

/// The right of a batch to open a connection beside others: given back unless it was used, and then
/// the batch waits as before.
struct OpenPermit<'a> {
    pool: &'a Pool,
    batch: &'a Arc<Batch>,
    used: bool,
}

impl<'a> OpenPermit<'a> {
    fn new(pool: &'a Pool, batch: &'a Arc<Batch>) -> OpenPermit<'a> {
        OpenPermit {
            pool,
            batch,
            used: false,
        }
    }
}

impl Drop for OpenPermit<'_> {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        let mut state = lock(&self.pool.state);
        state.open -= 1;
        let batch = self.batch;
        for waiting in (state.open_batches.iter_mut()).filter(|g| Arc::ptr_eq(&g.batch, batch)) {
            waiting.led = false;
        }
        drop(state);
        notify_one(&self.pool.freed);
    }
}

/// A place in a batch, as long as its thread is there. One that a panic passes through gives it up: nobody else would,
/// and the batch would seem alive for ever, with whatever connection is handed to it.
pub(super) struct EntryGuard<'a> {
    pub(super) pool: &'a Pool,
    pub(super) batch: &'a Arc<Batch>,
    pub(super) member: usize,
}

impl Drop for EntryGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.pool.give_up(self.batch, self.member);
        }
    }
}

impl Pool {
    /// Waits for the outcome of a place in a batch, and leads the batch if it comes to that.
    pub(super) fn follow(
        &self,
        peer: &Peer,
        batch: &Arc<Batch>,
        (member, mut wake_epoch): (usize, u32),
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        let _occupied = EntryGuard {
            pool: self,
            batch,
            member,
        };
        let mut waited = false;
        let mut patience = FOLLOWER_YIELDS;
        // How often it has woken up by itself.
        let mut alone = 0u32;
        loop {
            sim_yield_point!();
            if let Some(outcome) = batch.outcome(member) {
                // Others may have relied on this one to wake them.
                if !batch.is_complete() {
                    batch.wake(i32::MAX);
                }
                return outcome;
            }
            // In a statement of its own, so that the lock is not held while leading. A leader
            // that has given this member its reply and then gave up has nothing for it to do.
            sim_yield_point!();
            let handed = {
                let mut handoff = lock(&batch.handoff);
                match batch.entries[member].state.load(Ordering::Acquire) {
                    DONE => continue,
                    _ => handoff.connection.take(),
                }
            };
            if let Some(connection) = handed {
                return self.lead(peer, batch, member, Some(connection), call, until);
            }
            let time = now();
            let over = match call.check_cancelled() {
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
            if waited && let Some(more) = self.acquire_slot(batch, !peer.is_backing_off(self.kind))
            {
                let connection = match more {
                    AcquiredSlot::Idle(connection) => Some(connection),
                    AcquiredSlot::OpenFirst => None,
                    AcquiredSlot::OpenExtra => {
                        let mut right = OpenPermit::new(self, batch);
                        match peer.open(
                            self.kind,
                            call,
                            peer.extra_connection_deadline(time).min(until),
                        ) {
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
            while patience > 0 && batch.wake_epoch.load(Ordering::Acquire) == wake_epoch {
                patience = match self.yield_policy.maybe_yield() {
                    true => patience - 1,
                    false => 0,
                };
            }
            waited = true;
            let seen = batch.wake_epoch.load(Ordering::Acquire);
            if seen != wake_epoch {
                // There has been something to look at since it joined or woke up.
                wake_epoch = seen;
                continue;
            }
            let left = until.left(time).unwrap_or(Duration::MAX);
            let watches =
                left < POLL_INTERVAL * 2 || is_wait_callback_set() || batch.has_timer(member);
            batch.sleep(
                wake_epoch,
                watches.then_some(EXTRA_CONNECTION_AFTER.min(left)),
            );
            let seen = wake_epoch;
            wake_epoch = batch.wake_epoch.load(Ordering::Acquire);
            if wake_epoch == seen {
                // Nobody has woken the others meanwhile. Once in a glance is enough: where this one finds that it has
                // to end, they are told of it at once.
                alone += 1;
                if alone.is_multiple_of(2) {
                    batch.wake(i32::MAX);
                    wake_epoch = wake_epoch.wrapping_add(1);
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
        let mut handoff = lock(&batch.handoff);
        if batch.is_alive() {
            // It may have been the one that was woken to lead, or that others relied on to wake them.
            drop(handoff);
            drop(state);
            batch.wake(i32::MAX);
            return was;
        }
        let Some(connection) = handoff.connection.take() else {
            return was;
        };
        let progress = handoff.progress.take();
        state.detach(batch);
        drop(handoff);
        drop(state);
        sim_yield_point!();
        let mut leader = LeaderGuard::new(self, Some(connection));
        match progress {
            Some(progress) => leader.in_flight = progress.in_flight,
            None => leader.release(),
        }
        was
    }

    /// A connection for a batch that has waited long enough and that nobody leads. The right to
    /// open one is counted already; `may_open` says whether there is any hope in it.
    fn acquire_slot(&self, batch: &Arc<Batch>, may_open: bool) -> Option<AcquiredSlot> {
        sim_yield_point!();
        let mut state = lock(&self.state);
        let opens = state.open < self.most && (may_open || state.open == 0);
        if state.idle.is_empty() && !opens {
            return None;
        }
        let waiting = state
            .open_batches
            .iter_mut()
            .find(|g| Arc::ptr_eq(&g.batch, batch) && !g.led)?;
        waiting.led = true;
        Some(match state.idle.pop() {
            Some(connection) => AcquiredSlot::Idle(connection),
            None => {
                state.open += 1;
                match state.open {
                    1 => AcquiredSlot::OpenFirst,
                    _ => AcquiredSlot::OpenExtra,
                }
            }
        })
    }

    /// A connection for one user alone.
    pub fn acquire(
        &self,
        peer: &Peer,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Connection>> {
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
                let left = until.left(now()).unwrap_or(POLL_INTERVAL);
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
                state.exclusive_waiters += 1;
                state = wait(&self.freed, &self.state, state, left.min(POLL_INTERVAL));
                state.exclusive_waiters -= 1;
                // What is asked of the caller's thread is asked with no lock held.
                drop(state);
                sim_yield_point!();
                if let Err(error) = call.check_cancelled() {
                    // It may have been woken for what has come free, and an interrupt seldom ends one call alone: so
                    // each tells the next, and nobody finds out by a glance.
                    notify_one(&self.freed);
                    return Err(error);
                }
                state = lock(&self.state);
            };
            drop(state);
            let mut leader = LeaderGuard::new(self, idle);
            if leader.connection.is_none() {
                leader.connection = Some(peer.open(self.kind, call, until)?);
            } else if leader.is_stale(call.began) {
                continue;
            }
            if let Some(connection) = leader.leave() {
                return Ok(connection);
            }
        }
    }
}
