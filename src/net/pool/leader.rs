//! A connection in use: whatever happens to its holder, the next in line gets its turn.

use super::batch::{Batch, EARLY_SEND_COMMANDS, OpenBatch, Progress, SENT, WAITING};
use super::{EXTRA_CONNECTION_AFTER, InFlightBatch, Pool, STALE_CHECK_AFTER_MS, State};
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::conn::Connection;
use crate::net::node::Peer;
use crate::net::wait::Call;
use crate::resp::{CommandBody, Reply};
use crate::sim_hooks::sim_yield_point;
use crate::sync::{MutexGuard, lock, notify_one};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A connection in use, or the right to open one. Whatever happens to its holder, the next in
/// line gets its turn.
pub(super) struct LeaderGuard<'a> {
    pub(super) pool: &'a Pool,
    pub(super) connection: Option<Box<Connection>>,
    /// The batch that is led, and its members that have no outcome yet.
    pub(super) batch: Option<(Arc<Batch>, std::ops::Range<usize>)>,
    /// Whether there is still something to pass on.
    pub(super) holds: bool,
    /// The batch's entry among those under way.
    pub(super) in_flight: Option<InFlightBatch>,
}

impl<'a> LeaderGuard<'a> {
    #[inline]
    pub(super) fn new(pool: &'a Pool, connection: Option<Box<Connection>>) -> LeaderGuard<'a> {
        LeaderGuard {
            pool,
            connection,
            batch: None,
            holds: true,
            in_flight: None,
        }
    }

    /// Whether the connection was closed while it was idle. Asking costs a system call, so one
    /// that was used just now is not asked.
    #[inline]
    pub(super) fn is_stale(&self, time: Time) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|c| c.used.is_before(time, STALE_CHECK_AFTER_MS) && c.is_stale())
    }

    /// One command by itself; or the reply to one that is on the connection already.
    #[inline(always)]
    pub(super) fn alone(
        mut self,
        body: Option<&CommandBody<'_>>,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        let Some(connection) = &mut self.connection else {
            return Err(Error::new(Code::Internal, "no connection to use"));
        };
        if let Some(body) = body {
            connection.push(body);
        }
        let reply = connection.reply(call, until)?;
        if connection.reset_for_reuse(call.began) {
            self.release();
            // Nothing is held any more: there is nothing to drop, and no need to find that out.
            std::mem::forget(self);
        }
        Ok(reply)
    }

    /// Opens a connection for the batch; its members share the error if that fails, unless it is
    /// only that `own` has to go: then another of them opens one.
    pub(super) fn ensure(
        &mut self,
        peer: &Peer,
        own: usize,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<()> {
        self.connection = None;
        match peer.open(self.pool.kind, call, until) {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(error) => {
                let leaves =
                    matches!(error.code, Code::Interrupted | Code::Closed) || until.passed(now());
                if leaves {
                    if let Some((batch, _)) = &self.batch {
                        // The others hear of it when this is dropped.
                        batch.abandon(own);
                    }
                } else if let Some((batch, _)) = self.batch.take() {
                    let progress = self.seal_and_collect(&batch);
                    for member in 0..progress.ends.len() {
                        batch.set_result(member, Err(error.clone()));
                    }
                    batch.complete();
                }
                Err(error)
            }
        }
    }

    /// Takes the batch's commands aboard, without those whose members have given up.
    pub(super) fn seal_and_collect(&mut self, batch: &Arc<Batch>) -> Progress {
        sim_yield_point!();
        let open_batch = lock(&self.pool.state).detach(batch);
        let Some(OpenBatch { mut out, ends, .. }) = open_batch else {
            return Progress {
                ends: Vec::new(),
                next: 0,
                in_flight: None,
            };
        };
        let mut kept = Vec::with_capacity(ends.len());
        let mut from = 0;
        let mut cut = 0;
        for (member, end) in ends.iter().copied().enumerate() {
            sim_yield_point!();
            let aboard = batch.entries[member]
                .state
                .compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
            if !aboard {
                out.drain(from - cut..end - cut);
                cut += end - from;
            }
            kept.push(end - cut);
            from = end;
        }
        if let Some((_, left)) = &mut self.batch {
            *left = 0..kept.len();
        }
        let time = now();
        let in_flight = InFlightBatch {
            at: time,
            members: kept.len(),
        };
        self.in_flight = Some(in_flight);
        sim_yield_point!();
        let mut state = lock(&self.pool.state);
        // Those that have been away for so long are not waited for.
        state
            .in_flight
            .retain(|in_flight| time.since(in_flight.at) < EXTRA_CONNECTION_AFTER);
        state.in_flight.push(in_flight);
        drop(state);
        if let Some(connection) = &mut self.connection {
            connection.push_all(&mut out);
        }
        Progress {
            ends: kept,
            next: 0,
            in_flight: self.in_flight,
        }
    }

    /// Reads the replies of all members, and returns the leader's own.
    pub(super) fn replies(
        &mut self,
        progress: &Progress,
        own: usize,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        let (Some(connection), Some((batch, left))) = (&mut self.connection, &mut self.batch)
        else {
            return Err(Error::new(Code::Internal, "no batch to lead"));
        };
        let mut outcome = None;
        for member in progress.next..progress.ends.len() {
            let begin = member.checked_sub(1).map_or(0, |m| progress.ends[m]);
            if begin == progress.ends[member] {
                // Cut out before it was sent: nothing is owed to it.
                left.start = member + 1;
                continue;
            }
            let reply = connection
                .check(call)
                .and_then(|()| connection.reply(call, until));
            match reply {
                Ok(reply) if member == own => outcome = Some(Ok(reply)),
                Ok(reply) => {
                    sim_yield_point!(ReadForAnother);
                    batch.set_result(member, Ok(reply));
                }
                Err(error) => return self.fail(progress, member, own, error, outcome),
            }
            left.start = member + 1;
        }
        outcome.unwrap_or_else(|| Err(Error::new(Code::Internal, "the leader had no place")))
    }

    /// The replies stop at `member`: because the leader has to go, or because the connection
    /// is lost to all.
    pub(super) fn fail(
        &mut self,
        progress: &Progress,
        member: usize,
        own: usize,
        error: Error,
        outcome: Option<Result<Box<Reply>>>,
    ) -> Result<Box<Reply>> {
        let Some((batch, _)) = self.batch.take() else {
            return Err(error);
        };
        let own_error = {
            let written = self.connection.as_ref().map_or(0, |c| c.written());
            let begin = own.checked_sub(1).map_or(0, |m| progress.ends[m]);
            error.clone().sent(written > begin)
        };
        let leaves = matches!(error.code, Code::Timeout | Code::Interrupted | Code::Closed);
        if leaves {
            batch.abandon(own);
            let mut ends = progress.ends.clone();
            if let Some(connection) = &mut self.connection {
                remove_unsent(connection, &mut ends, own);
            }
            let progress = Progress {
                ends,
                next: member,
                in_flight: self.in_flight,
            };
            if self.hand_off(&batch, progress) {
                batch.wake(i32::MAX);
                return outcome.unwrap_or(Err(own_error));
            }
            // Nobody waits for a reply any more, but some may not know yet that they have theirs.
            batch.complete();
        } else {
            let written = self.connection.as_ref().map_or(0, |c| c.written());
            for other in member..progress.ends.len() {
                let begin = other.checked_sub(1).map_or(0, |m| progress.ends[m]);
                batch.set_result(other, Err(error.clone().sent(written > begin)));
            }
            batch.complete();
        }
        self.connection = None;
        outcome.unwrap_or(Err(own_error))
    }

    /// Gives a batch that is under way, and the connection, to whichever member takes them; false if nobody
    /// waits for a reply any more.
    fn hand_off(&mut self, batch: &Batch, progress: Progress) -> bool {
        sim_yield_point!();
        let mut handoff = lock(&batch.handoff);
        // Under the lock: a member that gives up meanwhile looks for what was handed to it.
        if !batch.is_alive() {
            return false;
        }
        handoff.progress = Some(progress);
        handoff.connection = self.connection.take();
        self.holds = false;
        true
    }

    /// The batch has its replies: its members are woken, and the next one gets the connection.
    pub(super) fn complete(&mut self, used: Time) {
        let Some((batch, _)) = self.batch.take() else {
            return;
        };
        batch.complete();
        if let Some(connection) = &mut self.connection
            && connection.reset_for_reuse(used)
        {
            self.release();
        }
    }

    /// Leaves the pool with the connection, which stays counted.
    pub(super) fn leave(mut self) -> Option<Box<Connection>> {
        self.holds = false;
        self.connection.take()
    }

    /// Gives the connection to the next in line.
    #[inline(always)]
    pub(super) fn release(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        self.holds = false;
        sim_yield_point!();
        let mut state = lock(&self.pool.state);
        if let Some(in_flight) = self.in_flight.take() {
            state.in_flight.retain(|other| *other != in_flight);
        }
        if state.open_batches.is_empty() && state.exclusive_waiters == 0 {
            state.idle.push(connection);
            return;
        }
        self.release_to_waiters(state, connection);
    }

    fn release_to_waiters(
        &mut self,
        mut state: MutexGuard<'_, State>,
        connection: Box<Connection>,
    ) {
        let waits = state.batch_in_flight_soon_done();
        let contended = state.is_contended();
        match state.next_batch().filter(|_| !waits) {
            Some(next) => {
                next.led = true;
                let batch = next.batch.clone();
                if contended && next.ends.len() >= EARLY_SEND_COMMANDS {
                    drop(state);
                    self.connection = Some(connection);
                    self.holds = true;
                    self.send_for_next_leader(&batch);
                } else {
                    lock(&batch.handoff).connection = Some(connection);
                    drop(state);
                    batch.wake(1);
                }
            }
            None => {
                state.idle.push(connection);
                drop(state);
                sim_yield_point!();
                notify_one(&self.pool.freed);
            }
        }
    }

    /// Sends a batch before any of its members is awake to lead it: what that one will have to do is to read the
    /// replies. Costs whoever does it the time of a send that does not wait.
    fn send_for_next_leader(&mut self, batch: &Arc<Batch>) {
        self.batch = Some((batch.clone(), 0..0));
        let progress = self.seal_and_collect(batch);
        if let Some(connection) = &mut self.connection {
            // Whoever leads finds out by itself what fails of it.
            let _ = connection.send();
        }
        let handed = self.hand_off(batch, progress);
        self.batch = None;
        if handed {
            batch.wake(1);
            return;
        }
        // All have given up meanwhile, and nobody will read what comes: it is lost, here and now, since whoever
        // passed it on thinks that nothing is held any more.
        let mut lost = LeaderGuard::new(self.pool, self.connection.take());
        lost.in_flight = self.in_flight.take();
        self.holds = false;
    }
}

/// Takes the command of a member out of what is still to be sent, if no byte of it has been: it
/// is told that it was not sent, so whoever leads next must not send it.
fn remove_unsent(connection: &mut Connection, ends: &mut [usize], member: usize) {
    let begin = member.checked_sub(1).map_or(0, |m| ends[m]);
    let size = ends[member] - begin;
    if connection.written() > begin {
        return;
    }
    connection.remove_unsent(begin..begin + size);
    for end in &mut ends[member..] {
        *end -= size;
    }
}

impl Drop for LeaderGuard<'_> {
    /// The connection is lost, or a panic passes through: the members get an error rather than
    /// none, and whoever waits may open a connection.
    fn drop(&mut self) {
        let mut unsent = None;
        if let Some((batch, left)) = self.batch.take() {
            let error = Error::new(Code::Io, "the thread that led the call failed").sent(true);
            for member in left {
                batch.set_result(member, Err(error.clone()));
            }
            batch.wake(i32::MAX);
            unsent = Some(batch);
        }
        if !self.holds {
            return;
        }
        sim_yield_point!();
        let mut state = lock(&self.pool.state);
        if let Some(in_flight) = self.in_flight {
            state.in_flight.retain(|other| *other != in_flight);
        }
        if let Some(batch) = &unsent {
            // Its members are still there, and one of them may lead it.
            let open_batch = &mut state.open_batches;
            for waiting in open_batch
                .iter_mut()
                .filter(|g| Arc::ptr_eq(&g.batch, batch))
            {
                waiting.led = false;
            }
        }
        state.open -= 1;
        if self.connection.take().is_some() {
            // What killed this connection has often killed the idle ones too.
            let before = state.idle.len();
            state.idle.retain(|c| !c.is_stale());
            state.open -= before - state.idle.len();
        }
        // Not led yet: whoever of it wakes up first opens a connection.
        let next = state.next_batch().map(|g| g.batch.clone());
        drop(state);
        sim_yield_point!();
        match next {
            Some(batch) => batch.wake(1),
            None => notify_one(&self.pool.freed),
        }
    }
}
