//! Commands of several threads that go together, and the entries their replies are put into.

use super::InFlightBatch;
use crate::error::Result;
use crate::net::conn::Connection;
use crate::net::sys;
use crate::resp::Reply;
use crate::sim_hooks::sim_yield_point;
use crate::sync::{Mutex, lock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

/// Members of a batch; those beyond begin another.
pub(super) const MAX_COMMANDS: usize = 64;
/// A batch whose commands reach this many bytes is full too.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// A batch of so many members is sent by whoever has the connection to give; in a smaller one the
/// member that is woken to lead it does so, and it grows meanwhile. (Tests have few threads.)
pub(super) const EARLY_SEND_COMMANDS: usize = if cfg!(test) { 2 } else { 4 };

/// So many members of a batch, the first that still wait, set a timer when they go to sleep; the
/// others, whose timers would never fire as a rule but have to be set and taken back each time, are
/// woken by them. One of them may be woken to lead the batch, so that one alone is too few.
pub(super) const TIMERS_PER_BATCH: usize = 2;

/// A batch that has not been sent.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) batch: Arc<Batch>,
    pub(super) out: Vec<u8>,
    /// Where each member's command ends.
    pub(super) ends: Vec<usize>,
    /// A member has been given a connection, or the right to open one, and will send it.
    pub(super) led: bool,
}

/// What the members of a batch share.
#[derive(Debug)]
pub(super) struct Batch {
    /// Changes whenever there is something to look at; the members sleep on it.
    pub(super) wake_epoch: AtomicU32,
    /// How many do, or are about to.
    sleepers: AtomicU32,
    pub(super) handoff: Mutex<Handoff>,
    pub(super) entries: Vec<BatchEntry>,
    /// Every member has its outcome, and is being woken.
    complete: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Handoff {
    /// A connection for whichever member takes it: to lead the batch, or to go on leading.
    pub(super) connection: Option<Box<Connection>>,
    /// Where a leader that gave up has got to.
    pub(super) progress: Option<Progress>,
}

#[derive(Debug, Clone)]
pub(super) struct Progress {
    pub(super) ends: Vec<usize>,
    pub(super) next: usize,
    /// The batch's entry among those under way.
    pub(super) in_flight: Option<InFlightBatch>,
}

#[derive(Debug)]
pub(super) struct BatchEntry {
    pub(super) state: AtomicU8,
    pub(super) reply: Mutex<Option<Result<Box<Reply>>>>,
}

/// How it stands with a place.
pub(super) const FREE: u8 = 0;
pub(super) const WAITING: u8 = 1;
pub(super) const SENT: u8 = 2;
pub(super) const DONE: u8 = 3;
pub(super) const ABANDONED: u8 = 4;

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            wake_epoch: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            handoff: Mutex::new(Handoff::default()),
            complete: AtomicBool::new(false),
            entries: (0..MAX_COMMANDS)
                .map(|_| BatchEntry {
                    state: AtomicU8::new(FREE),
                    reply: Mutex::new(None),
                })
                .collect(),
        }
    }

    /// Wakes so many of the members that sleep, if any do.
    pub(super) fn wake(&self, members: i32) {
        sim_yield_point!();
        // Whoever is about to sleep and not counted yet finds that the word has changed.
        self.wake_epoch.fetch_add(1, Ordering::SeqCst);
        sim_yield_point!();
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            sys::futex_wake(&self.wake_epoch, members);
        }
    }

    /// The members have their outcomes: wakes them all.
    pub(super) fn complete(&self) {
        sim_yield_point!();
        self.complete.store(true, Ordering::SeqCst);
        self.wake(i32::MAX);
    }

    /// To be used again.
    pub(super) fn reset(&mut self) {
        for entry in &mut self.entries {
            entry.state = AtomicU8::new(FREE);
            entry.reply = Mutex::new(None);
        }
        self.handoff = Mutex::new(Handoff::default());
        self.complete = AtomicBool::new(false);
    }

    /// Whether they have.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::SeqCst)
    }

    /// Whether so early a member wakes by itself now and then, and the others with it if there is
    /// something to look at that nobody is woken for: see [`TIMERS_PER_BATCH`].
    pub(super) fn has_timer(&self, member: usize) -> bool {
        let earlier = self.entries[..member].iter();
        let waits = |p: &&BatchEntry| matches!(p.state.load(Ordering::SeqCst), WAITING | SENT);
        earlier.filter(waits).nth(TIMERS_PER_BATCH - 1).is_none()
    }

    /// Sleeps until nudged since the word was `seen`, or for as long as `most`.
    pub(super) fn sleep(&self, seen: u32, most: Option<Duration>) {
        sim_yield_point!();
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        sim_yield_point!();
        sys::futex_wait(&self.wake_epoch, seen, most);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Gives a member its outcome, if it still waits for one.
    pub(super) fn set_result(&self, member: usize, outcome: Result<Box<Reply>>) {
        let entry = &self.entries[member];
        sim_yield_point!();
        *lock(&entry.reply) = Some(outcome);
        sim_yield_point!();
        let stored = entry
            .state
            .compare_exchange(SENT, DONE, Ordering::AcqRel, Ordering::Acquire);
        if stored.is_err() {
            sim_yield_point!();
            lock(&entry.reply).take();
        }
    }

    /// The outcome of a member that is done.
    pub(super) fn outcome(&self, member: usize) -> Option<Result<Box<Reply>>> {
        let entry = &self.entries[member];
        if entry.state.load(Ordering::Acquire) != DONE {
            return None;
        }
        sim_yield_point!();
        lock(&entry.reply).take()
    }

    /// Gives a place up; returns what it was.
    pub(super) fn abandon(&self, member: usize) -> u8 {
        let entry = &self.entries[member];
        sim_yield_point!();
        let mut state = entry.state.load(Ordering::Acquire);
        while state != DONE {
            sim_yield_point!();
            match entry.state.compare_exchange(
                state,
                ABANDONED,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return state,
                Err(now) => state = now,
            }
        }
        DONE
    }

    /// Whether anybody still waits for a reply.
    pub(super) fn is_alive(&self) -> bool {
        self.entries
            .iter()
            .any(|p| matches!(p.state.load(Ordering::Acquire), WAITING | SENT))
    }
}
