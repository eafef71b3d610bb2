//! Waiting for the outcome of a command in a batch.

use super::Pool;
use super::acquire::BatchConnection;
use super::batch::{Batch, DONE, SENT};
use super::leader::LeaderGuard;
use super::state::EXTRA_CONNECTION_AFTER;
use crate::deadline::{Time, now};
use crate::error::{Error, Result};
use crate::net::conn::Connection;
use crate::net::wait::{Attempt, POLL_INTERVAL, is_wait_callback_set};
use crate::resp::Reply;
use crate::sim_hooks::sim_yield_point;
use crate::sync::{lock, notify_one};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a follower yields before it sleeps. (Fewer in tests: the model check tries all interleavings.)
const FOLLOWER_YIELDS: u32 = if cfg!(test) { 2 } else { 4 };

/// The permit of a batch to open a connection beside others. Unless used, it is given back when dropped, and the batch
/// waits as before.
struct OpenPermit<'a> {
    pool: &'a Pool,
    batch: &'a Arc<Batch>,
    is_used: bool,
}

impl Drop for OpenPermit<'_> {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        let mut state = self.pool.lock_state();
        state.open -= 1;
        if let Some(open_batch) = state.open_batch(self.batch) {
            open_batch.led = false;
        }
        drop(state);
        notify_one(&self.pool.freed);
    }
}

/// The entry of a thread in a batch. If a panic unwinds the thread, the guard abandons the entry. Otherwise the batch
/// would seem to have a waiting member for ever, and a connection that is handed to it would be lost.
pub(super) struct EntryGuard<'a> {
    pool: &'a Pool,
    batch: &'a Arc<Batch>,
    member: usize,
}

impl<'a> EntryGuard<'a> {
    pub(super) fn new(pool: &'a Pool, batch: &'a Arc<Batch>, member: usize) -> EntryGuard<'a> {
        EntryGuard {
            pool,
            batch,
            member,
        }
    }
}

impl Drop for EntryGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.pool.abandon_entry(self.batch, self.member);
        }
    }
}

/// A thread that waits for the outcome of its command. It leads the batch if a connection is handed to it.
pub(super) struct Follower<'a> {
    entry: EntryGuard<'a>,
    attempt: Attempt<'a>,
    /// The batch's wake epoch when this thread last checked the batch.
    wake_epoch: u32,
    /// Whether this thread has waited since it joined. Only then may it take a connection for the batch.
    has_waited: bool,
    yields_left: u32,
    /// How often this thread has been woken by its own timer.
    timer_wakes: u32,
}

impl<'a> Follower<'a> {
    /// `wake_epoch` is that of the batch when the thread joined it.
    pub(super) fn new(
        entry: EntryGuard<'a>,
        attempt: Attempt<'a>,
        wake_epoch: u32,
    ) -> Follower<'a> {
        Follower {
            entry,
            attempt,
            wake_epoch,
            has_waited: false,
            yields_left: FOLLOWER_YIELDS,
            timer_wakes: 0,
        }
    }

    /// Waits for the outcome, and leads the batch if a connection is handed to this thread.
    pub(super) fn run(mut self) -> Result<Box<Reply>> {
        let EntryGuard { batch, member, .. } = self.entry;
        loop {
            sim_yield_point!();
            if let Some(outcome) = batch.outcome(member) {
                // Others may rely on this thread's timer.
                if !batch.is_complete() {
                    batch.wake(i32::MAX);
                }
                return outcome;
            }
            sim_yield_point!();
            // The lock must not be held while leading.
            let mut handoff = lock(&batch.handoff);
            // A leader that gave up after it had stored this thread's reply: there is an outcome now.
            if batch.entries[member].state.load(Ordering::Acquire) == DONE {
                continue;
            }
            let handed = handoff.connection.take();
            drop(handoff);
            if let Some(connection) = handed {
                return self.lead(Some(connection));
            }
            let time = now();
            if let Err(error) = self.check(time) {
                return self.give_up(error);
            }
            if self.has_waited
                && let Some(acquired) = self.entry.pool.acquire_for_batch(batch)
            {
                match self.connect(acquired) {
                    Some(connection) => return self.lead(connection),
                    None => {
                        self.has_waited = false;
                        continue;
                    }
                }
            }
            self.wait(time);
        }
    }

    fn lead(self, connection: Option<Box<Connection>>) -> Result<Box<Reply>> {
        let EntryGuard {
            pool,
            batch,
            member,
        } = self.entry;
        pool.lead(batch, member, connection, self.attempt)
    }

    /// Fails if the call is cancelled or the attempt is over.
    fn check(&self, time: Time) -> Result<()> {
        self.attempt.call.check_cancelled()?;
        if self.attempt.until.passed(time) {
            let node = self.entry.pool.connector.name();
            return Err(self.attempt.timeout_error(node));
        }
        Ok(())
    }

    /// Abandons the entry because of `error`, unless the outcome has come meanwhile.
    fn give_up(&self, error: Error) -> Result<Box<Reply>> {
        let EntryGuard {
            pool,
            batch,
            member,
        } = self.entry;
        match pool.abandon_entry(batch, member) {
            DONE => batch.outcome(member).unwrap_or(Err(error)),
            state => Err(error.sent(state == SENT)),
        }
    }

    /// The connection to lead the batch with: `Some(None)` means that the leader opens it. None if a connection beside
    /// others could not be opened.
    fn connect(&self, acquired: BatchConnection) -> Option<Option<Box<Connection>>> {
        let EntryGuard { pool, batch, .. } = self.entry;
        match acquired {
            BatchConnection::Idle(connection) => Some(Some(connection)),
            BatchConnection::OpenFirst => Some(None),
            BatchConnection::OpenExtra => {
                let mut permit = OpenPermit {
                    pool,
                    batch,
                    is_used: false,
                };
                // The error is not one of the command: it waits for a connection that is only busy.
                let connection = pool
                    .connector
                    .open_extra(pool.kind, None, self.attempt)
                    .ok()?;
                permit.is_used = true;
                Some(Some(connection))
            }
        }
    }

    /// Yields or sleeps until this thread has to check the batch again.
    fn wait(&mut self, time: Time) {
        let EntryGuard {
            pool,
            batch,
            member,
        } = self.entry;
        // The leader often only needs a processor, and being woken costs more than a yield.
        while self.yields_left > 0 && batch.wake_epoch.number() == self.wake_epoch {
            self.yields_left = match pool.yield_policy.maybe_yield() {
                true => self.yields_left - 1,
                false => 0,
            };
        }
        self.has_waited = true;
        let epoch = batch.wake_epoch.number();
        if epoch != self.wake_epoch {
            self.wake_epoch = epoch;
            return;
        }
        let left = self.attempt.until.left(time).unwrap_or(Duration::MAX);
        let has_timer =
            left < POLL_INTERVAL * 2 || is_wait_callback_set() || batch.has_timer(member);
        batch.sleep(epoch, has_timer.then_some(EXTRA_CONNECTION_AFTER.min(left)));
        self.wake_epoch = batch.wake_epoch.number();
        if self.wake_epoch == epoch {
            // The timer has fired. Every second time, wake the members that have none. That is often enough: if this
            // thread finds that it has to end, it wakes them at once.
            self.timer_wakes += 1;
            if self.timer_wakes.is_multiple_of(2) {
                batch.wake(i32::MAX);
                self.wake_epoch = self.wake_epoch.wrapping_add(1);
            }
        }
    }
}

impl Pool {
    /// Abandons an entry of a batch and returns its former state. If no other member waits, a connection that has been
    /// handed to the batch is released or dropped.
    fn abandon_entry(&self, batch: &Arc<Batch>, member: usize) -> u8 {
        let former = batch.abandon(member);
        sim_yield_point!();
        let mut state = self.lock_state();
        let mut handoff = lock(&batch.handoff);
        if batch.is_alive() {
            // This thread may have been the one that was woken to lead, or the one with the timer.
            drop(handoff);
            drop(state);
            batch.wake(i32::MAX);
            return former;
        }
        let Some(connection) = handoff.connection.take() else {
            return former;
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
        former
    }
}
