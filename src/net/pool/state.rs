//! The state of a pool that its lock guards.

use super::batch::{Batch, InFlightBatch, MAX_BYTES, MAX_COMMANDS, OpenBatch, WAITING};
use super::contention::Contention;
use crate::deadline::now;
use crate::net::conn::Connection;
use crate::resp::CommandBody;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The time that a batch waits for a busy connection before it opens one more. Longer than many threads wait for a
/// processor: otherwise each such wait would add a connection, until every thread had its own and nothing was combined.
pub(super) const EXTRA_CONNECTION_AFTER: Duration = Duration::from_millis(5);
/// The number of finished batches that are kept for reuse.
const MAX_SPARE_BATCHES: usize = 8;

#[derive(Debug, Default)]
// Connections are moved often, and a pointer is cheaper to move.
#[allow(clippy::vec_box)]
pub(super) struct State {
    pub(super) idle: Vec<Box<Connection>>,
    /// Connections that are open or being opened, idle ones included.
    pub(super) open: usize,
    pub(super) open_batches: VecDeque<OpenBatch>,
    /// Finished batches for reuse.
    spare_batches: Vec<Arc<Batch>>,
    /// Threads that wait for a connection of their own.
    pub(super) exclusive_waiters: u32,
    /// Whether the last released connection went to a batch.
    last_to_batch: bool,
    pub(super) contention: Contention,
    pub(super) in_flight: Vec<InFlightBatch>,
}

impl State {
    /// An idle connection for a single command.
    pub(super) fn try_checkout(&mut self) -> Option<Box<Connection>> {
        let busy = self.open - self.idle.len();
        if busy > 0 || !self.contention.is_zero() {
            self.record_contention(busy);
            // A contended pool combines the command with others.
            if self.contention.is_contended() {
                return None;
            }
        }
        self.idle.pop()
    }

    /// Whether a connection that becomes idle now may be granted to lone threads: no other one is in use, no thread waits,
    /// and the last commands have found no others.
    pub(super) fn is_quiet(&self) -> bool {
        self.open == self.idle.len() + 1
            && self.contention.is_zero()
            && self.open_batches.is_empty()
            && self.exclusive_waiters == 0
    }

    /// Records the number of other commands that a new command has found.
    #[inline(never)]
    fn record_contention(&mut self, busy: usize) {
        let queued = self.open_batches.iter().map(|b| b.ends.len());
        // One command of each batch in flight is counted by its busy connection.
        let sent = self.in_flight.iter().map(|b| b.members.saturating_sub(1));
        let others = busy + sent.sum::<usize>() + queued.sum::<usize>();
        self.contention.record(others as u32);
    }

    pub(super) fn force_contended(&mut self) {
        self.contention.force(MAX_COMMANDS as u32);
    }

    /// Whether the connection of a batch in flight is about to be released. More than one batch at a time only makes
    /// each of them smaller.
    pub(super) fn batch_in_flight_soon_done(&self) -> bool {
        self.contention.is_contended() && !self.in_flight.is_empty() && {
            let time = now();
            let mut in_flight = self.in_flight.iter();
            in_flight.any(|batch| time.since(batch.at) < EXTRA_CONNECTION_AFTER)
        }
    }

    /// Adds a command to the last open batch, or to a new one if that is full. Returns the batch and the command's
    /// position in it.
    pub(super) fn join(&mut self, body: &CommandBody<'_>) -> (Arc<Batch>, usize) {
        let is_full = |b: &OpenBatch| b.ends.len() >= MAX_COMMANDS || b.out.len() >= MAX_BYTES;
        if self.open_batches.back().is_none_or(is_full) {
            let batch = self.new_batch();
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

    fn new_batch(&mut self) -> Arc<Batch> {
        for spare in &mut self.spare_batches {
            // No member holds a reference any more.
            if let Some(batch) = Arc::get_mut(spare) {
                batch.reset();
                return spare.clone();
            }
        }
        let batch = Arc::new(Batch::new());
        if self.spare_batches.len() < MAX_SPARE_BATCHES {
            self.spare_batches.push(batch.clone());
        }
        batch
    }

    /// Removes a batch from the open ones: it takes no more commands.
    pub(super) fn detach(&mut self, batch: &Arc<Batch>) -> Option<OpenBatch> {
        let mut open_batches = self.open_batches.iter();
        let at = open_batches.position(|b| Arc::ptr_eq(&b.batch, batch))?;
        self.open_batches.remove(at)
    }

    /// Finds an open batch.
    pub(super) fn open_batch(&mut self, batch: &Arc<Batch>) -> Option<&mut OpenBatch> {
        let mut open_batches = self.open_batches.iter_mut();
        open_batches.find(|b| Arc::ptr_eq(&b.batch, batch))
    }

    /// The batch that gets the next connection. None if there is none, or if it is the turn of a thread that waits for
    /// a connection of its own.
    pub(super) fn next_batch(&mut self) -> Option<&mut OpenBatch> {
        if self.exclusive_waiters > 0 && self.last_to_batch {
            self.last_to_batch = false;
            return None;
        }
        // Drop the batches that all members have abandoned.
        self.open_batches.retain(|b| b.led || b.batch.is_alive());
        let next = self.open_batches.iter_mut().find(|b| !b.led)?;
        self.last_to_batch = true;
        Some(next)
    }
}
