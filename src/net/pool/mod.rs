//! The connections of one kind to one node, and how threads share them.
//!
//! A thread that finds an idle connection uses it alone. One that finds them all busy joins the
//! batch that is open batch: its command is appended to the batch's bytes, and it sleeps. Whoever
//! is done with a connection hands it to the next batch, and the member that wakes up leads: it
//! sends what has gathered, reads the replies of all members and wakes them with one system
//! call. So many threads cost a few system calls a burst, as in a pipeline, and no thread of
//! ours is needed.
//!
//! A batch that has waited for [`EXTRA_CONNECTION_AFTER`] opens a connection of its own, up to the limit; so a
//! slow command, a large reply or a leader that died hold nobody up for long. A member whose
//! deadline passes abandons its place; its command is cut out if it has not been sent, and its
//! reply is thrown away by position if it has. A leader whose own deadline passes hands the lead,
//! connection and position to another member.

mod batch;
mod follower;
mod leader;
mod yield_policy;

use batch::{Batch, MAX_BYTES, MAX_COMMANDS, OpenBatch, WAITING};
use follower::EntryGuard;
use leader::LeaderGuard;
use yield_policy::YieldPolicy;

use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::conn::Connection;
use crate::net::node::{ConnectionKind, Peer};
use crate::net::wait::Call;
use crate::resp::{CommandBody, Kind, Reply};
use crate::sim_hooks::sim_yield_point;
use crate::sync::{Condvar, Mutex, lock};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a batch waits for a busy connection before it opens one more. Longer than threads
/// wait for a processor where there are many of them: a connection more for each such wait, and
/// soon every thread has one of its own and nothing is combined any more.
const EXTRA_CONNECTION_AFTER: Duration = Duration::from_millis(5);
/// So few commands at a time have a connection each, unless there is a contention: for threads that meet now
/// and then, a handoff-over costs more than the socket.
const UNCONTENDED_CONNECTIONS: usize = 4;
/// Whether there is a crowd is judged by so many commands of late.
const CONTENTION_WINDOW: usize = 32;
/// A crowd is where a command finds more than 1.8 others on average: as eight threads do that share
/// three nodes, and four do not.
const CONTENTION_ENTER: usize = 9 * CONTENTION_UNIT / 5;
/// It is one until a command finds half as many: those who have just been woken are not found, and would be
/// on their way if each had a connection.
const CONTENTION_EXIT: usize = CONTENTION_ENTER / 2;
/// What one other counts for.
const CONTENTION_UNIT: usize = 1024;
/// An idle connection is asked for news before use if it has been idle for this long.
const STALE_CHECK_AFTER_MS: u64 = 1000;

#[derive(Debug)]
pub struct Pool {
    kind: ConnectionKind,
    most: usize,
    state: Mutex<State>,
    /// A connection or the right to open one has become free.
    freed: Condvar,
    yield_policy: YieldPolicy,
}

/// A batch that has been sent, or is just being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InFlightBatch {
    at: Time,
    members: usize,
}

#[derive(Debug, Default)]
// A connection passes through many hands: it is cheaper to pass a pointer.
#[allow(clippy::vec_box)]
struct State {
    idle: Vec<Box<Connection>>,
    /// Connections that exist or are being opened, idle ones included.
    open: usize,
    open_batches: VecDeque<OpenBatch>,
    /// Finished batches, to be used again.
    spare: Vec<Arc<Batch>>,
    /// Threads that wait for a connection of their own.
    exclusive_waiters: usize,
    /// Whether the last connection that came free went to a batch.
    last_to_batch: bool,
    /// How many others a command has found here, on average of late, by [`CONTENTION_UNIT`].
    contention: usize,
    /// Whether that is a contention: see [`CONTENTION_ENTER`] and [`CONTENTION_EXIT`].
    contended: bool,
    /// The batches that are under way.
    in_flight: Vec<InFlightBatch>,
}

/// What a try to take a connection found.
#[derive(Debug)]
pub enum TryAcquire {
    Idle(Box<Connection>),
    /// The right to open a connection, which is counted already.
    MayOpen,
    /// All connections there may be are in use.
    Busy,
}

enum AcquireDecision {
    /// Alone with an idle connection.
    Alone(Box<Connection>),
    /// Nobody to wait for: open the first.
    OpenFirst,
    /// One could wait for the other, but need not: open another.
    OpenExtra,
    /// A member, and what the batch's word was when it joined.
    Follow(Arc<Batch>, usize, u32),
    /// The first of a batch that need not wait for a connection.
    Lead(Box<Connection>, Arc<Batch>, usize),
}

impl State {
    /// An idle connection for one command alone.
    #[inline(always)]
    fn try_checkout(&mut self) -> Option<Box<Connection>> {
        let busy = self.open - self.idle.len();
        if busy > 0 || self.contention > 0 {
            self.record_contention(busy);
            // In a contention it is better to wait for the others than to go alone.
            if self.is_contended() {
                return None;
            }
        }
        self.idle.pop()
    }

    /// One more command has come, where others are on their way on so many connections.
    #[inline(never)]
    fn record_contention(&mut self, busy: usize) {
        let gathered = self.open_batches.iter().map(|g| g.ends.len());
        // Of a batch under way, the connection is counted among the busy ones.
        let aboard = self.in_flight.iter().map(|d| d.members.saturating_sub(1));
        let others = busy + aboard.sum::<usize>() + gathered.sum::<usize>();
        // Rounded so that it comes to nothing where nobody meets.
        self.contention -= self.contention.div_ceil(CONTENTION_WINDOW);
        self.contention += others * CONTENTION_UNIT / CONTENTION_WINDOW;
        self.contended = self.contention
            > if self.contended {
                CONTENTION_EXIT
            } else {
                CONTENTION_ENTER
            };
    }

    /// From now on there is a crowd, however few have met.
    fn force_contended(&mut self) {
        self.contention = MAX_COMMANDS * CONTENTION_UNIT;
        self.contended = true;
    }

    fn is_contended(&self) -> bool {
        self.contended
    }

    /// Whether a batch is under way that will be back soon. AcquiredSlot than one at a time only makes them
    /// smaller.
    fn batch_in_flight_soon_done(&self) -> bool {
        self.is_contended() && !self.in_flight.is_empty() && {
            let time = now();
            let mut in_flight = self.in_flight.iter();
            in_flight.any(|in_flight| time.since(in_flight.at) < EXTRA_CONNECTION_AFTER)
        }
    }

    /// Adds a command to the batch that gathers, or to a new one.
    fn join(&mut self, body: &CommandBody<'_>) -> (Arc<Batch>, usize) {
        let full = |g: &OpenBatch| g.ends.len() >= MAX_COMMANDS || g.out.len() >= MAX_BYTES;
        if self.open_batches.back().is_none_or(full) {
            let batch = self.fresh_batch();
            self.open_batches.push_back(OpenBatch {
                batch,
                out: Vec::new(),
                ends: Vec::new(),
                led: false,
            });
        }
        let last = self.open_batches.len() - 1;
        let open_batch = &mut self.open_batches[last];
        body.write(&mut open_batch.out);
        open_batch.ends.push(open_batch.out.len());
        let member = open_batch.ends.len() - 1;
        open_batch.batch.entries[member]
            .state
            .store(WAITING, Ordering::Release);
        (open_batch.batch.clone(), member)
    }

    fn fresh_batch(&mut self) -> Arc<Batch> {
        for spare in &mut self.spare {
            // Nobody else holds it, so all its members have gone.
            if let Some(batch) = Arc::get_mut(spare) {
                batch.reset();
                return spare.clone();
            }
        }
        let batch = Arc::new(Batch::new());
        if self.spare.len() < 8 {
            self.spare.push(batch.clone());
        }
        batch
    }

    /// Takes a batch out of those that gather.
    fn detach(&mut self, batch: &Arc<Batch>) -> Option<OpenBatch> {
        let at = self
            .open_batches
            .iter()
            .position(|g| Arc::ptr_eq(&g.batch, batch))?;
        self.open_batches.remove(at)
    }

    /// The batch that should get what has come free, unless somebody waits for a connection of
    /// their own whose turn it is.
    fn next_batch(&mut self) -> Option<&mut OpenBatch> {
        if self.exclusive_waiters > 0 && self.last_to_batch {
            self.last_to_batch = false;
            return None;
        }
        // Those that all members have given up are nobody's.
        self.open_batches.retain(|g| g.led || g.batch.is_alive());
        let next = self.open_batches.iter_mut().find(|g| !g.led)?;
        self.last_to_batch = true;
        Some(next)
    }
}

impl Pool {
    pub fn new(kind: ConnectionKind, most: usize) -> Pool {
        Pool {
            kind,
            most,
            state: Mutex::new(State::default()),
            freed: Condvar::new(),
            yield_policy: YieldPolicy::default(),
        }
    }

    /// As where many have been here of late.
    #[cfg(test)]
    pub fn force_contended(&self) {
        lock(&self.state).force_contended();
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        lock(&self.state).open
    }

    /// One command and its reply, on whichever connection.
    #[inline(always)]
    pub fn call(
        &self,
        peer: &Peer,
        body: &CommandBody<'_>,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        if self.kind.is_blocking() {
            return self.call_exclusive(peer, body, call, until);
        }
        // Nearly always a connection is there, and was used just now. (In a statement of its own, so that the lock
        // is not held any longer.)
        sim_yield_point!();
        let idle = lock(&self.state).try_checkout();
        if let Some(connection) = idle {
            let leader = LeaderGuard::new(self, Some(connection));
            if !leader.is_stale(call.began) {
                return leader.alone(Some(body), call, until);
            }
        }
        self.join(peer, body, call, until)
    }

    #[cold]
    fn call_exclusive(
        &self,
        peer: &Peer,
        body: &CommandBody<'_>,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        let mut leader = LeaderGuard::new(self, Some(self.acquire(peer, call, until)?));
        let Some(connection) = &mut leader.connection else {
            return Err(Error::new(Code::Internal, "no connection to use"));
        };
        connection.push(body);
        let reply = connection.reply(call, until)?;
        // A node that steps down says so to those who are blocked, and hangs up behind it.
        if reply.root.value.kind != Kind::Error && connection.reset_for_reuse(call.began) {
            leader.release();
        }
        Ok(reply)
    }

    #[inline(never)]
    fn join(
        &self,
        peer: &Peer,
        body: &CommandBody<'_>,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        loop {
            sim_yield_point!();
            match self.decide(peer, body) {
                AcquireDecision::Alone(connection) => {
                    let leader = LeaderGuard::new(self, Some(connection));
                    if leader.is_stale(call.began) {
                        continue;
                    }
                    return leader.alone(Some(body), call, until);
                }
                AcquireDecision::OpenFirst => {
                    let mut leader = LeaderGuard::new(self, None);
                    leader.connection = Some(peer.open_with(self.kind, body, call, until)?);
                    return leader.alone(None, call, until);
                }
                AcquireDecision::OpenExtra => {
                    let mut leader = LeaderGuard::new(self, None);
                    match peer.open_with(
                        self.kind,
                        body,
                        call,
                        peer.extra_connection_deadline(now()).min(until),
                    ) {
                        Ok(connection) => leader.connection = Some(connection),
                        // Then they share what there is, and nobody is told of it.
                        Err(_) => {
                            lock(&self.state).force_contended();
                            continue;
                        }
                    }
                    return leader.alone(None, call, until);
                }
                AcquireDecision::Lead(connection, batch, member) => {
                    let _occupied = EntryGuard {
                        pool: self,
                        batch: &batch,
                        member,
                    };
                    return self.lead(peer, &batch, member, Some(connection), call, until);
                }
                AcquireDecision::Follow(batch, member, wake_epoch) => {
                    sim_yield_point!(Joined);
                    return self.follow(peer, &batch, (member, wake_epoch), call, until);
                }
            }
        }
    }

    fn decide(&self, peer: &Peer, body: &CommandBody<'_>) -> AcquireDecision {
        let mut state = lock(&self.state);
        if let Some(connection) = state.try_checkout() {
            AcquireDecision::Alone(connection)
        } else if state.idle.len() == state.open
            && state.open_batches.is_empty()
            && let Some(connection) = state.idle.pop()
        {
            let (batch, member) = state.join(body);
            if let Some(open_batch) = state.open_batches.back_mut() {
                open_batch.led = true;
            }
            AcquireDecision::Lead(connection, batch, member)
        } else if state.open == 0 {
            state.open = 1;
            AcquireDecision::OpenFirst
        } else if state.open < UNCONTENDED_CONNECTIONS.min(self.most)
            && !state.is_contended()
            && state.open_batches.is_empty()
            && !peer.is_backing_off(self.kind)
        {
            state.open += 1;
            AcquireDecision::OpenExtra
        } else {
            let (batch, member) = state.join(body);
            let wake_epoch = batch.wake_epoch.load(Ordering::Acquire);
            AcquireDecision::Follow(batch, member, wake_epoch)
        }
    }

    /// Sends the commands of a batch, or goes on where another leader gave up, and reads the
    /// replies of all its members.
    fn lead(
        &self,
        peer: &Peer,
        batch: &Arc<Batch>,
        member: usize,
        connection: Option<Box<Connection>>,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        let mut leader = LeaderGuard::new(self, connection);
        sim_yield_point!(Leads);
        let progress = lock(&batch.handoff).progress.take();
        let progress = match progress {
            Some(progress) => {
                // It is back when this leader is.
                leader.in_flight = progress.in_flight;
                progress
            }
            None => {
                // Where there was a crowd there will be one again: let it come aboard.
                sim_yield_point!();
                if lock(&self.state).is_contended() {
                    self.yield_policy.maybe_yield();
                }
                leader.batch = Some((batch.clone(), 0..0));
                if leader.connection.is_none() || leader.is_stale(call.began) {
                    leader.ensure(peer, member, call, until)?;
                }
                leader.seal_and_collect(batch)
            }
        };
        leader.batch = Some((batch.clone(), progress.next..progress.ends.len()));
        let outcome = leader.replies(&progress, member, call, until);
        leader.complete(call.began);
        outcome
    }

    /// A connection for one user alone, if there is one to be had without waiting.
    pub fn try_acquire(&self, peer: &Peer, call: &Call<'_>) -> TryAcquire {
        sim_yield_point!();
        let mut state = lock(&self.state);
        while let Some(connection) = state.idle.pop() {
            if !connection.used.is_before(call.began, STALE_CHECK_AFTER_MS)
                || !connection.is_stale()
            {
                return TryAcquire::Idle(connection);
            }
            state.open -= 1;
        }
        if self.may_open(&state, peer) {
            state.open += 1;
            return TryAcquire::MayOpen;
        }
        TryAcquire::Busy
    }

    /// Whether one more may be opened. While that fails, those that there are have to do.
    fn may_open(&self, state: &State, peer: &Peer) -> bool {
        state.open < self.most && (state.open == 0 || !peer.is_backing_off(self.kind))
    }

    /// Takes a connection back that nothing is in flight on, or drops it.
    pub fn release(&self, connection: Box<Connection>, used: Time) {
        let mut leader = LeaderGuard::new(self, Some(connection));
        if leader
            .connection
            .as_mut()
            .is_some_and(|c| c.reset_for_reuse(used))
        {
            leader.release();
        }
    }

    /// A connection that was taken is no more.
    pub fn forget_lost(&self) {
        drop(LeaderGuard::new(self, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands that find so many others, until there is a contention or none; how many it took.
    fn commands(state: &mut State, others: usize, contended: bool) -> Option<usize> {
        (0..1000).find(|_| {
            state.record_contention(others);
            state.is_contended() == contended
        })
    }

    #[test]
    fn a_crowd_stays_one_until_there_are_clearly_fewer() {
        let mut state = State::default();
        assert_eq!(commands(&mut state, 1, true), None);
        assert!(commands(&mut state, 2, true).is_some_and(|n| n > CONTENTION_WINDOW));
        assert_eq!(commands(&mut state, 1, false), None);
        assert!(commands(&mut state, 0, false).is_some());
        assert_eq!(commands(&mut state, 1, true), None);
        assert_eq!(commands(&mut state, 0, true), None);
        assert_eq!(
            state.contention, 0,
            "it comes to nothing where nobody meets"
        );
    }
}
