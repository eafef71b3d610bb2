//! The connections of one kind to one node, and how threads share them.
//!
//! A thread that finds an idle connection uses it alone. One that finds them all busy joins the
//! batch that is gathering: its command is appended to the batch's bytes, and it sleeps. Whoever
//! is done with a connection hands it to the next batch, and the member that wakes up leads: it
//! sends what has gathered, reads the replies of all members and wakes them with one system
//! call. So many threads cost a few system calls a burst, as in a pipeline, and no thread of
//! ours is needed.
//!
//! A batch that has waited for [`SIDE`] opens a connection of its own, up to the limit; so a
//! slow command, a large reply or a leader that died hold nobody up for long. A member whose
//! deadline passes abandons its place; its command is cut out if it has not been sent, and its
//! reply is thrown away by position if it has. A leader whose own deadline passes hands the lead,
//! connection and position to another member.

mod batch;
mod courtesy;
mod lead;
mod waiting;

use batch::{BYTES, Batch, Gathering, MEMBERS, WAITING};
use courtesy::Courtesy;
use lead::Lead;
use waiting::Occupied;

use super::connection::Connection;
use super::peer::{Peer, Use};
use super::wake::Call;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
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
const SIDE: Duration = Duration::from_millis(5);
/// So few commands at a time have a connection each, unless there is a crowd: for threads that meet now
/// and then, a hand-over costs more than the socket.
const APART: usize = 4;
/// Whether there is a crowd is judged by so many commands of late.
const OF_LATE: usize = 32;
/// A crowd is where a command finds more than 1.8 others on average: as eight threads do that share
/// three nodes, and four do not.
const CROWD: usize = 9 * SHARE / 5;
/// It is one until a command finds half as many: those who have just been woken are not found, and would be
/// on their way if each had a connection.
const DISPERSED: usize = CROWD / 2;
/// What one other counts for.
const SHARE: usize = 1024;
/// An idle connection is asked for news before use if it has been idle for this long.
const FRESH_MS: u64 = 1000;

#[derive(Debug)]
pub struct Lane {
    kind: Use,
    most: usize,
    state: Mutex<State>,
    /// A connection or the right to open one has become free.
    freed: Condvar,
    courtesy: Courtesy,
}

/// A batch that has been sent, or is just being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Departure {
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
    gathering: VecDeque<Gathering>,
    /// Finished batches, to be used again.
    spare: Vec<Arc<Batch>>,
    /// Threads that wait for a connection of their own.
    takers: usize,
    /// Whether the last connection that came free went to a batch.
    last_to_batch: bool,
    /// How many others a command has found here, on average of late, by [`SHARE`].
    crowd: usize,
    /// Whether that is a crowd: see [`CROWD`] and [`DISPERSED`].
    crowded: bool,
    /// The batches that are under way.
    under_way: Vec<Departure>,
}

/// What a try to take a connection found.
#[derive(Debug)]
pub enum Taken {
    Idle(Box<Connection>),
    /// The right to open a connection, which is counted already.
    Right,
    /// All connections there may be are in use.
    Busy,
}

enum Turn {
    /// Alone with an idle connection.
    Alone(Box<Connection>),
    /// Nobody to wait for: open the first.
    Open,
    /// One could wait for the other, but need not: open another.
    OneMore,
    /// A member, and what the batch's word was when it joined.
    Member(Arc<Batch>, usize, u32),
    /// The first of a batch that need not wait for a connection.
    Leader(Box<Connection>, Arc<Batch>, usize),
}

impl State {
    /// An idle connection for one command alone.
    #[inline(always)]
    fn pop_alone(&mut self) -> Option<Box<Connection>> {
        let busy = self.open - self.idle.len();
        if busy > 0 || self.crowd > 0 {
            self.meet(busy);
            // In a crowd it is better to wait for the others than to go alone.
            if self.is_crowded() {
                return None;
            }
        }
        self.idle.pop()
    }

    /// One more command has come, where others are on their way on so many connections.
    #[inline(never)]
    fn meet(&mut self, busy: usize) {
        let gathered = self.gathering.iter().map(|g| g.ends.len());
        // Of a batch under way, the connection is counted among the busy ones.
        let aboard = self.under_way.iter().map(|d| d.members.saturating_sub(1));
        let others = busy + aboard.sum::<usize>() + gathered.sum::<usize>();
        // Rounded so that it comes to nothing where nobody meets.
        self.crowd -= self.crowd.div_ceil(OF_LATE);
        self.crowd += others * SHARE / OF_LATE;
        self.crowded = self.crowd > if self.crowded { DISPERSED } else { CROWD };
    }

    /// From now on there is a crowd, however few have met.
    fn crowd_together(&mut self) {
        self.crowd = MEMBERS * SHARE;
        self.crowded = true;
    }

    fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Whether a batch is under way that will be back soon. More than one at a time only makes them
    /// smaller.
    fn one_is_back_soon(&self) -> bool {
        self.is_crowded() && !self.under_way.is_empty() && {
            let time = now();
            let mut departed = self.under_way.iter();
            departed.any(|departed| time.since(departed.at) < SIDE)
        }
    }

    /// Adds a command to the batch that gathers, or to a new one.
    fn join(&mut self, body: &CommandBody<'_>) -> (Arc<Batch>, usize) {
        let full = |g: &Gathering| g.ends.len() >= MEMBERS || g.out.len() >= BYTES;
        if self.gathering.back().is_none_or(full) {
            let batch = self.fresh_batch();
            self.gathering.push_back(Gathering {
                batch,
                out: Vec::new(),
                ends: Vec::new(),
                led: false,
            });
        }
        let last = self.gathering.len() - 1;
        let gathering = &mut self.gathering[last];
        body.write(&mut gathering.out);
        gathering.ends.push(gathering.out.len());
        let member = gathering.ends.len() - 1;
        gathering.batch.places[member]
            .state
            .store(WAITING, Ordering::Release);
        (gathering.batch.clone(), member)
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
    fn detach(&mut self, batch: &Arc<Batch>) -> Option<Gathering> {
        let at = self
            .gathering
            .iter()
            .position(|g| Arc::ptr_eq(&g.batch, batch))?;
        self.gathering.remove(at)
    }

    /// The batch that should get what has come free, unless somebody waits for a connection of
    /// their own whose turn it is.
    fn next_batch(&mut self) -> Option<&mut Gathering> {
        if self.takers > 0 && self.last_to_batch {
            self.last_to_batch = false;
            return None;
        }
        // Those that all members have given up are nobody's.
        self.gathering.retain(|g| g.led || g.batch.is_alive());
        let next = self.gathering.iter_mut().find(|g| !g.led)?;
        self.last_to_batch = true;
        Some(next)
    }
}

impl Lane {
    pub fn new(kind: Use, most: usize) -> Lane {
        Lane {
            kind,
            most,
            state: Mutex::new(State::default()),
            freed: Condvar::new(),
            courtesy: Courtesy::default(),
        }
    }

    /// As where many have been here of late.
    #[cfg(test)]
    pub fn crowd(&self) {
        lock(&self.state).crowd_together();
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
            return self.call_apart(peer, body, call, until);
        }
        // Nearly always a connection is there, and was used just now. (In a statement of its own, so that the lock
        // is not held any longer.)
        sim_yield_point!();
        let idle = lock(&self.state).pop_alone();
        if let Some(connection) = idle {
            let lead = Lead::new(self, Some(connection));
            if !lead.is_stale(call.began) {
                return lead.alone(Some(body), call, until);
            }
        }
        self.join(peer, body, call, until)
    }

    #[cold]
    fn call_apart(
        &self,
        peer: &Peer,
        body: &CommandBody<'_>,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Box<Reply>> {
        let mut lead = Lead::new(self, Some(self.take(peer, call, until)?));
        let Some(connection) = &mut lead.connection else {
            return Err(Error::new(Code::Internal, "no connection to use"));
        };
        connection.push(body);
        let reply = connection.reply(call, until)?;
        // A node that steps down says so to those who are blocked, and hangs up behind it.
        if reply.root.value.kind != Kind::Error && connection.rest(call.began) {
            lead.pass_on();
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
            match self.turn(peer, body) {
                Turn::Alone(connection) => {
                    let lead = Lead::new(self, Some(connection));
                    if lead.is_stale(call.began) {
                        continue;
                    }
                    return lead.alone(Some(body), call, until);
                }
                Turn::Open => {
                    let mut lead = Lead::new(self, None);
                    lead.connection = Some(peer.open_with(self.kind, body, call, until)?);
                    return lead.alone(None, call, until);
                }
                Turn::OneMore => {
                    let mut lead = Lead::new(self, None);
                    match peer.open_with(self.kind, body, call, peer.soon(now()).min(until)) {
                        Ok(connection) => lead.connection = Some(connection),
                        // Then they share what there is, and nobody is told of it.
                        Err(_) => {
                            lock(&self.state).crowd_together();
                            continue;
                        }
                    }
                    return lead.alone(None, call, until);
                }
                Turn::Leader(connection, batch, member) => {
                    let _occupied = Occupied {
                        lane: self,
                        batch: &batch,
                        member,
                    };
                    return self.lead(peer, &batch, member, Some(connection), call, until);
                }
                Turn::Member(batch, member, word) => {
                    sim_yield_point!(Joined);
                    return self.member(peer, &batch, (member, word), call, until);
                }
            }
        }
    }

    fn turn(&self, peer: &Peer, body: &CommandBody<'_>) -> Turn {
        let mut state = lock(&self.state);
        if let Some(connection) = state.pop_alone() {
            Turn::Alone(connection)
        } else if state.idle.len() == state.open
            && state.gathering.is_empty()
            && let Some(connection) = state.idle.pop()
        {
            let (batch, member) = state.join(body);
            if let Some(gathering) = state.gathering.back_mut() {
                gathering.led = true;
            }
            Turn::Leader(connection, batch, member)
        } else if state.open == 0 {
            state.open = 1;
            Turn::Open
        } else if state.open < APART.min(self.most)
            && !state.is_crowded()
            && state.gathering.is_empty()
            && !peer.is_shut(self.kind)
        {
            state.open += 1;
            Turn::OneMore
        } else {
            let (batch, member) = state.join(body);
            let word = batch.word.load(Ordering::Acquire);
            Turn::Member(batch, member, word)
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
        let mut lead = Lead::new(self, connection);
        sim_yield_point!(Leads);
        let progress = lock(&batch.hand).progress.take();
        let progress = match progress {
            Some(progress) => {
                // It is back when this leader is.
                lead.departed = progress.departed;
                progress
            }
            None => {
                // Where there was a crowd there will be one again: let it come aboard.
                sim_yield_point!();
                if lock(&self.state).is_crowded() {
                    self.courtesy.let_others_run();
                }
                lead.batch = Some((batch.clone(), 0..0));
                if lead.connection.is_none() || lead.is_stale(call.began) {
                    lead.ensure(peer, member, call, until)?;
                }
                lead.board(batch)
            }
        };
        lead.batch = Some((batch.clone(), progress.next..progress.ends.len()));
        let outcome = lead.replies(&progress, member, call, until);
        lead.land(call.began);
        outcome
    }

    /// A connection for one user alone, if there is one to be had without waiting.
    pub fn try_take(&self, peer: &Peer, call: &Call<'_>) -> Taken {
        sim_yield_point!();
        let mut state = lock(&self.state);
        while let Some(connection) = state.idle.pop() {
            if !connection.used.is_before(call.began, FRESH_MS) || !connection.is_stale() {
                return Taken::Idle(connection);
            }
            state.open -= 1;
        }
        if self.may_open(&state, peer) {
            state.open += 1;
            return Taken::Right;
        }
        Taken::Busy
    }

    /// Whether one more may be opened. While that fails, those that there are have to do.
    fn may_open(&self, state: &State, peer: &Peer) -> bool {
        state.open < self.most && (state.open == 0 || !peer.is_shut(self.kind))
    }

    /// Takes a connection back that nothing is in flight on, or drops it.
    pub fn give(&self, connection: Box<Connection>, used: Time) {
        let mut lead = Lead::new(self, Some(connection));
        if lead.connection.as_mut().is_some_and(|c| c.rest(used)) {
            lead.pass_on();
        }
    }

    /// A connection that was taken is no more.
    pub fn lost(&self) {
        drop(Lead::new(self, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands that find so many others, until there is a crowd or none; how many it took.
    fn commands(state: &mut State, others: usize, crowded: bool) -> Option<usize> {
        (0..1000).find(|_| {
            state.meet(others);
            state.is_crowded() == crowded
        })
    }

    #[test]
    fn a_crowd_stays_one_until_there_are_clearly_fewer() {
        let mut state = State::default();
        assert_eq!(commands(&mut state, 1, true), None);
        assert!(commands(&mut state, 2, true).is_some_and(|n| n > OF_LATE));
        assert_eq!(commands(&mut state, 1, false), None);
        assert!(commands(&mut state, 0, false).is_some());
        assert_eq!(commands(&mut state, 1, true), None);
        assert_eq!(commands(&mut state, 0, true), None);
        assert_eq!(state.crowd, 0, "it comes to nothing where nobody meets");
    }
}
