//! A batch: commands of several threads that are sent together, and an entry for the outcome of each.

use crate::deadline::Time;
use crate::error::Result;
use crate::net::conn::Connection;
use crate::net::sys::WakeEpoch;
use crate::resp::Reply;
use crate::sim_hooks::sim_yield_point;
use crate::sync::{Mutex, lock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

/// The largest number of commands in a batch.
pub(super) const MAX_COMMANDS: usize = 64;
/// A batch is also full when its commands have this many bytes.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// A batch of at least this size is sent by the thread that hands its connection over. A smaller one is sent by its
/// leader once that is awake, and can grow meanwhile. (Tests have few threads.)
pub(super) const EARLY_SEND_COMMANDS: usize = if cfg!(test) { 2 } else { 4 };

/// The number of members of a batch that sleep with a timer: the first ones that still wait. They wake the others, whose
/// timers would rarely fire but cost time to set and to cancel. One is not enough, because it may be woken to lead.
pub(super) const TIMERS_PER_BATCH: usize = 2;

/// A batch that takes further commands.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) batch: Arc<Batch>,
    pub(super) out: Vec<u8>,
    /// Where the command of each member ends in `out`.
    pub(super) ends: Vec<usize>,
    /// A member has a connection, or the permit to open one, and is going to send the batch.
    pub(super) led: bool,
}

/// A batch that is being sent or has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlightBatch {
    pub(super) at: Time,
    pub(super) members: usize,
}

/// What the members of a batch share.
#[derive(Debug)]
pub(super) struct Batch {
    /// Members sleep on it. It changes whenever they have to check the batch.
    pub(super) wake_epoch: WakeEpoch,
    /// The number of members that sleep or are about to.
    sleepers: AtomicU32,
    pub(super) handoff: Mutex<Handoff>,
    pub(super) entries: Vec<BatchEntry>,
    /// Every member has its outcome.
    complete: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Handoff {
    /// A connection for the member that takes it first. That member becomes the leader.
    pub(super) connection: Option<Box<Connection>>,
    /// The progress of a former leader.
    pub(super) progress: Option<Progress>,
}

/// How far a leader has got with a batch that has been sent.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Where the command of each member ends among the bytes to send.
    pub(super) ends: Vec<usize>,
    /// The member whose reply comes next.
    pub(super) next: usize,
    /// The batch's entry in the pool's list of batches in flight.
    pub(super) in_flight: Option<InFlightBatch>,
}

/// Where the command of a member starts.
pub(super) fn start_of(ends: &[usize], member: usize) -> usize {
    member.checked_sub(1).map_or(0, |before| ends[before])
}

/// The state and the outcome of one member.
#[derive(Debug)]
pub(super) struct BatchEntry {
    pub(super) state: AtomicU8,
    pub(super) reply: Mutex<Option<Result<Box<Reply>>>>,
}

/// The states of an entry.
pub(super) const FREE: u8 = 0;
pub(super) const WAITING: u8 = 1;
pub(super) const SENT: u8 = 2;
pub(super) const DONE: u8 = 3;
pub(super) const ABANDONED: u8 = 4;

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            wake_epoch: WakeEpoch::default(),
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

    /// Wakes at most `members` sleeping members.
    pub(super) fn wake(&self, members: i32) {
        sim_yield_point!();
        // A member that is about to sleep and is not counted yet sees the new value.
        self.wake_epoch.advance();
        sim_yield_point!();
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.wake_epoch.wake(members);
        }
    }

    /// All members have their outcomes: wakes them.
    pub(super) fn complete(&self) {
        sim_yield_point!();
        self.complete.store(true, Ordering::SeqCst);
        self.wake(i32::MAX);
    }

    /// Prepares a finished batch for reuse.
    pub(super) fn reset(&mut self) {
        for entry in &mut self.entries {
            entry.state = AtomicU8::new(FREE);
            entry.reply = Mutex::new(None);
        }
        self.handoff = Mutex::new(Handoff::default());
        self.complete = AtomicBool::new(false);
    }

    /// Whether all members have their outcomes.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::SeqCst)
    }

    /// Whether this member sleeps with a timer, and wakes the others when it fires: see [`TIMERS_PER_BATCH`].
    pub(super) fn has_timer(&self, member: usize) -> bool {
        let earlier = self.entries[..member].iter();
        let waits = |p: &&BatchEntry| matches!(p.state.load(Ordering::SeqCst), WAITING | SENT);
        earlier.filter(waits).nth(TIMERS_PER_BATCH - 1).is_none()
    }

    /// Sleeps until a wake after the wake epoch `seen`, or until `timeout` has passed.
    pub(super) fn sleep(&self, seen: u32, timeout: Option<Duration>) {
        sim_yield_point!();
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        sim_yield_point!();
        self.wake_epoch.sleep(seen, timeout);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Stores a member's outcome, unless the member has given up.
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

    /// Abandons an entry and returns its former state.
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
                Err(current) => state = current,
            }
        }
        DONE
    }

    /// Whether any member still waits for a reply.
    pub(super) fn is_alive(&self) -> bool {
        self.entries
            .iter()
            .any(|p| matches!(p.state.load(Ordering::Acquire), WAITING | SENT))
    }
}
