//! A connection in use, alone or by the leader of a batch.

use super::Pool;
use super::batch::{
    Batch, EARLY_SEND_COMMANDS, InFlightBatch, OpenBatch, Progress, SENT, WAITING, start_of,
};
use super::state::{EXTRA_CONNECTION_AFTER, State};
use crate::deadline::{Time, now};
use crate::error::{Code, Error, Result};
use crate::net::conn::Connection;
use crate::net::wait::{Attempt, Call};
use crate::resp::{CommandBody, CommandReply, Reply};
use crate::sim_hooks::sim_yield_point;
use crate::sync::{MutexGuard, lock, notify_one};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Reads look whether an idle connection was closed only after this time: they are sent again if it was.
const REPEATABLE_CHECK_AFTER_MS: u64 = 1000;

/// Whether the node has closed a connection that the call is about to use. The look costs a system call, which reads on
/// a connection in use do without.
#[inline]
pub(super) fn was_closed_while_idle(connection: &Connection, call: &Call<'_>) -> bool {
    (!call.repeatable
        || connection
            .used
            .is_before(call.began, REPEATABLE_CHECK_AFTER_MS))
        && connection.was_closed_while_idle()
}

/// A connection in use, or the permit to open one. Dropping the guard gives the permit to the next waiting thread,
/// whatever happens to the holder.
pub(super) struct LeaderGuard<'a> {
    pool: &'a Pool,
    pub(super) connection: Option<Box<Connection>>,
    /// The batch that is led, and the members that have no outcome yet.
    batch: Option<(Arc<Batch>, std::ops::Range<usize>)>,
    /// Whether the pool still counts what this guard holds as in use.
    holds: bool,
    /// The batch's entry in [`State::in_flight`].
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

    /// Sends changed credentials on the idle connection, alone. False if the connection is lost, so that the caller needs
    /// another one. An error ends the caller's attempt.
    #[cold]
    pub(super) fn reauthenticate(&mut self, attempt: Attempt<'_>) -> Result<bool> {
        let Some(connection) = &mut self.connection else {
            return Ok(false);
        };
        if connection.was_closed_while_idle() {
            return Ok(false);
        }
        self.pool.connector.reauthenticate(connection, attempt)
    }

    /// Whether the idle connection can be used. Changed credentials are sent first. An error ends the caller's attempt.
    pub(super) fn is_usable(&mut self, attempt: Attempt<'_>) -> Result<bool> {
        let connection = self.connection.as_ref();
        match connection.is_none_or(|c| self.pool.has_current_credentials(c)) {
            true => Ok(!self.was_closed_while_idle(attempt.call)),
            false => self.reauthenticate(attempt),
        }
    }

    /// See [`was_closed_while_idle`].
    #[inline]
    pub(super) fn was_closed_while_idle(&self, call: &Call<'_>) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|c| was_closed_while_idle(c, call))
    }

    /// Sends a single command and returns its reply. Without `body`, the command is on the connection already.
    #[inline(always)]
    pub(super) fn run_single(
        mut self,
        body: Option<&CommandBody<'_>>,
        attempt: Attempt<'_>,
    ) -> Result<CommandReply> {
        let Some(connection) = &mut self.connection else {
            return Err(Error::new(Code::Internal, "no connection to use"));
        };
        if let Some(body) = body {
            connection.push(body);
        }
        let reply = connection.command_reply(attempt)?;
        if connection.reset_for_reuse(attempt.call.began) {
            self.release_single();
            // Nothing is held any more. This saves the checks of the destructor.
            std::mem::forget(self);
        }
        Ok(reply)
    }

    /// Releases the connection after a single command.
    #[inline(always)]
    fn release_single(&mut self) {
        sim_yield_point!();
        if let Some(connection) = self.connection.take()
            && let Some(connection) = self.pool.lone.put_back(connection)
        {
            self.connection = Some(connection);
            self.release();
        }
    }

    /// Opens a connection for the batch. If that fails, all members get the error. If only the call of the leader `own`
    /// has to end, another member opens a connection instead.
    fn open_for_batch(&mut self, own: usize, attempt: Attempt<'_>) -> Result<()> {
        self.connection = None;
        match self.pool.connector.open(self.pool.kind, attempt) {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(error) => Err(self.fail_unsent(own, attempt, error)),
        }
    }

    /// Sends changed credentials before the batch, or opens a connection if that fails.
    #[cold]
    fn reauthenticate_for_batch(&mut self, own: usize, attempt: Attempt<'_>) -> Result<()> {
        match self.reauthenticate(attempt) {
            Ok(true) => Ok(()),
            Ok(false) => self.open_for_batch(own, attempt),
            Err(error) => {
                self.connection = None;
                Err(self.fail_unsent(own, attempt, error))
            }
        }
    }

    /// The batch has no connection, because of `error`.
    fn fail_unsent(&mut self, own: usize, attempt: Attempt<'_>, error: Error) -> Error {
        let leaves =
            matches!(error.code, Code::Interrupted | Code::Closed) || attempt.until.passed(now());
        if leaves {
            if let Some((batch, _)) = &self.batch {
                // The others are woken when this guard is dropped.
                batch.abandon(own);
            }
        } else if let Some((batch, _)) = self.batch.take() {
            let progress = self.seal_and_collect(&batch);
            for member in 0..progress.ends.len() {
                batch.set_result(member, Err(error.clone()));
            }
            batch.complete();
        }
        error
    }

    /// Closes the batch for further members and moves its commands to the connection, without those of members that
    /// have given up.
    fn seal_and_collect(&mut self, batch: &Arc<Batch>) -> Progress {
        sim_yield_point!();
        let open_batch = self.pool.lock_state().detach(batch);
        let Some(OpenBatch { mut out, ends, .. }) = open_batch else {
            return Progress {
                ends: Vec::new(),
                next: 0,
                in_flight: None,
            };
        };
        let ends = mark_sent(batch, &mut out, &ends);
        if let Some((_, left)) = &mut self.batch {
            *left = 0..ends.len();
        }
        let time = now();
        let in_flight = InFlightBatch {
            at: time,
            members: ends.len(),
        };
        self.in_flight = Some(in_flight);
        sim_yield_point!();
        let mut state = self.pool.lock_state();
        // Batches that take longer are not waited for.
        state
            .in_flight
            .retain(|other| time.since(other.at) < EXTRA_CONNECTION_AFTER);
        state.in_flight.push(in_flight);
        drop(state);
        if let Some(connection) = &mut self.connection {
            connection.push_all(&mut out);
        }
        Progress {
            ends,
            next: 0,
            in_flight: self.in_flight,
        }
    }

    /// Reads the replies of all members, and returns that of the leader `own`.
    fn read_replies(
        &mut self,
        progress: &Progress,
        own: usize,
        attempt: Attempt<'_>,
    ) -> Result<Box<Reply>> {
        let (Some(connection), Some((batch, left))) = (&mut self.connection, &mut self.batch)
        else {
            return Err(Error::new(Code::Internal, "no batch to lead"));
        };
        let mut outcome = None;
        for member in progress.next..progress.ends.len() {
            if start_of(&progress.ends, member) == progress.ends[member] {
                // The command was removed before it was sent: there is no reply.
                left.start = member + 1;
                continue;
            }
            let reply = connection
                .check(attempt.call)
                .and_then(|()| connection.reply(attempt));
            match reply {
                Ok(reply) if member == own => outcome = Some(Ok(reply)),
                Ok(reply) => {
                    sim_yield_point!(ReadForAnother);
                    batch.set_result(member, Ok(reply));
                }
                Err(error) => {
                    let own_error = self.stop_reading(progress, member, own, error);
                    return outcome.unwrap_or(Err(own_error));
                }
            }
            left.start = member + 1;
        }
        outcome.unwrap_or_else(|| Err(Error::new(Code::Internal, "the leader had no entry")))
    }

    /// Reading stops before the reply of `member`: the call of the leader `own` has to end, or the connection is lost
    /// for all. Returns the leader's error.
    fn stop_reading(
        &mut self,
        progress: &Progress,
        member: usize,
        own: usize,
        error: Error,
    ) -> Error {
        let Some((batch, _)) = self.batch.take() else {
            return error;
        };
        let written = self.connection.as_ref().map_or(0, |c| c.written());
        let sent = |member| written > start_of(&progress.ends, member);
        let own_error = error.clone().sent(sent(own));
        if matches!(error.code, Code::Timeout | Code::Interrupted | Code::Closed) {
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
                return own_error;
            }
            // No member waits for a reply, but some may not have noticed yet that they have one.
            batch.complete();
        } else {
            for other in member..progress.ends.len() {
                batch.set_result(other, Err(error.clone().sent(sent(other))));
            }
            batch.complete();
        }
        self.connection = None;
        own_error
    }

    /// Leaves the connection and a sent batch to the member that takes them first. False if no member waits for a
    /// reply.
    fn hand_off(&mut self, batch: &Batch, progress: Progress) -> bool {
        sim_yield_point!();
        let mut handoff = lock(&batch.handoff);
        // With the lock held: a member that gives up meanwhile checks what was handed to it.
        if !batch.is_alive() {
            return false;
        }
        handoff.progress = Some(progress);
        handoff.connection = self.connection.take();
        self.holds = false;
        true
    }

    /// All members have their outcomes: wakes them and releases the connection.
    fn complete(&mut self, used: Time) {
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

    /// Takes the connection out of the guard. The pool still counts it as in use.
    pub(super) fn into_connection(mut self) -> Option<Box<Connection>> {
        self.holds = false;
        self.connection.take()
    }

    /// Gives the connection to the next waiting thread or batch, or makes it idle.
    #[inline(never)]
    pub(super) fn release(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        self.holds = false;
        sim_yield_point!();
        let mut state = self.pool.lock_state();
        if let Some(in_flight) = self.in_flight.take() {
            state.in_flight.retain(|other| *other != in_flight);
        }
        if state.is_quiet() {
            let former = self.pool.lone.grant(connection);
            state.idle.extend(former);
            return;
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
        let is_contended = state.contention.is_contended();
        let is_current = self.pool.has_current_credentials(&connection);
        match state.next_batch().filter(|_| !waits) {
            Some(next) => {
                next.led = true;
                let batch = next.batch.clone();
                if is_contended && is_current && next.ends.len() >= EARLY_SEND_COMMANDS {
                    drop(state);
                    if connection.was_closed_while_idle() {
                        return self.drop_closed(&batch, connection);
                    }
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

    /// Drops a connection that the node has closed before a batch was sent on it: a member of the batch opens another.
    #[cold]
    fn drop_closed(&self, batch: &Arc<Batch>, connection: Box<Connection>) {
        let mut lost = LeaderGuard::new(self.pool, Some(connection));
        lost.batch = Some((batch.clone(), 0..0));
    }

    /// Sends a batch before one of its members is awake to lead it, so that the leader only has to read the replies.
    /// This costs the calling thread one send that does not block.
    fn send_for_next_leader(&mut self, batch: &Arc<Batch>) {
        self.batch = Some((batch.clone(), 0..0));
        let progress = self.seal_and_collect(batch);
        if let Some(connection) = &mut self.connection {
            // The leader's own send or receive reports the error.
            let _ = connection.send();
        }
        let handed = self.hand_off(batch, progress);
        self.batch = None;
        if handed {
            batch.wake(1);
            return;
        }
        // All members have given up meanwhile, and no thread reads the replies. The connection is dropped here, because
        // the caller assumes that this guard holds nothing any more.
        let mut lost = LeaderGuard::new(self.pool, self.connection.take());
        lost.in_flight = self.in_flight.take();
        self.holds = false;
    }
}

/// Marks the members that still wait as sent, and removes the commands of the others from `out`. Returns where the
/// command of each member ends.
fn mark_sent(batch: &Batch, out: &mut Vec<u8>, ends: &[usize]) -> Vec<usize> {
    let mut kept = Vec::with_capacity(ends.len());
    let mut from = 0;
    let mut removed = 0;
    for (member, end) in ends.iter().copied().enumerate() {
        sim_yield_point!();
        let waits = batch.entries[member]
            .state
            .compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !waits {
            out.drain(from - removed..end - removed);
            removed += end - from;
        }
        kept.push(end - removed);
        from = end;
    }
    kept
}

/// Removes the command of a member that gives up from the bytes to send, unless a part of it has been sent. The member
/// reports it as not sent, so no later leader may send it.
fn remove_unsent(connection: &mut Connection, ends: &mut [usize], member: usize) {
    let start = start_of(ends, member);
    let size = ends[member] - start;
    if connection.written() > start {
        return;
    }
    connection.remove_unsent(start..start + size);
    for end in &mut ends[member..] {
        *end -= size;
    }
}

impl Drop for LeaderGuard<'_> {
    /// The connection is lost, or a panic unwinds the thread. The members get an error, and a waiting thread may open
    /// another connection.
    fn drop(&mut self) {
        let mut unsent = None;
        if let Some((batch, left)) = self.batch.take() {
            let error = Error::new(
                Code::Io,
                "the thread that sent this command on behalf of this one panicked",
            )
            .sent(true);
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
        let mut state = self.pool.lock_state();
        if let Some(in_flight) = self.in_flight {
            state.in_flight.retain(|other| *other != in_flight);
        }
        // Another member of a batch that is still open may lead it.
        if let Some(open_batch) = unsent.as_ref().and_then(|batch| state.open_batch(batch)) {
            open_batch.led = false;
        }
        state.open -= 1;
        if self.connection.take().is_some() {
            // The same cause often breaks the idle connections too.
            let before = state.idle.len();
            state.idle.retain(|c| !c.was_closed_while_idle());
            state.open -= before - state.idle.len();
        }
        // The batch is not marked as led: the member that wakes up opens a connection.
        let next = state.next_batch().map(|b| b.batch.clone());
        drop(state);
        sim_yield_point!();
        match next {
            Some(batch) => batch.wake(1),
            None => notify_one(&self.pool.freed),
        }
    }
}

impl Pool {
    /// Sends the commands of a batch, or continues where another leader gave up, and reads the replies of all members.
    pub(super) fn lead(
        &self,
        batch: &Arc<Batch>,
        member: usize,
        connection: Option<Box<Connection>>,
        attempt: Attempt<'_>,
    ) -> Result<Box<Reply>> {
        let time = attempt.call.began;
        let mut leader = LeaderGuard::new(self, connection);
        sim_yield_point!(Leads);
        let progress = lock(&batch.handoff).progress.take();
        let progress = match progress {
            Some(progress) => {
                leader.in_flight = progress.in_flight;
                progress
            }
            None => {
                // A contended pool is likely to stay contended: let more commands join.
                sim_yield_point!();
                if self.lock_state().contention.is_contended() {
                    self.yield_policy.maybe_yield();
                }
                leader.batch = Some((batch.clone(), 0..0));
                // One look for all commands of the batch, which may be writes.
                match &leader.connection {
                    Some(idle) if !idle.was_closed_while_idle() => {
                        if !self.has_current_credentials(idle) {
                            leader.reauthenticate_for_batch(member, attempt)?;
                        }
                    }
                    _ => leader.open_for_batch(member, attempt)?,
                }
                leader.seal_and_collect(batch)
            }
        };
        leader.batch = Some((batch.clone(), progress.next..progress.ends.len()));
        let outcome = leader.read_replies(&progress, member, attempt);
        leader.complete(time);
        outcome
    }
}
