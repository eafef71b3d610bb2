//! Connections for the exclusive use of one caller, and connections for a batch that has waited long enough.

use super::Pool;
use super::batch::Batch;
use super::leader::{LeaderGuard, was_closed_while_idle};
use super::state::State;
use crate::deadline::{Time, now};
use crate::error::{Code, Error, Result};
use crate::net::conn::Connection;
use crate::net::wait::{Attempt, Call, POLL_INTERVAL};
use crate::sim_hooks::sim_yield_point;
use crate::sync::notify_one;
use std::sync::Arc;

/// The outcome of `Pool::try_acquire`.
#[derive(Debug)]
pub enum TryAcquire {
    /// See [`Peer::has_current_credentials`](crate::net::Peer::has_current_credentials).
    Idle(Box<Connection>),
    /// The permit to open a connection, which the pool counts as open from now on.
    MayOpen,
    /// The limit of connections is reached, and all are in use.
    Busy,
}

/// A connection for a batch, or the permit to open one.
pub(super) enum BatchConnection {
    Idle(Box<Connection>),
    /// The pool has no connection.
    OpenFirst,
    /// The pool has connections, but all are in use.
    OpenExtra,
}

impl Pool {
    /// A connection for the exclusive use of the caller.
    pub fn acquire(&self, attempt: Attempt<'_>) -> Result<Box<Connection>> {
        loop {
            sim_yield_point!();
            let idle = self.wait_for_idle(attempt)?;
            let mut leader = LeaderGuard::new(self, idle);
            if leader.connection.is_none() {
                leader.connection = Some(self.connector.open(self.kind, attempt)?);
            } else if !leader.is_usable(attempt)? {
                continue;
            }
            if let Some(connection) = leader.into_connection() {
                return Ok(connection);
            }
        }
    }

    /// Waits for an idle connection, or for the permit to open one (None).
    fn wait_for_idle(&self, attempt: Attempt<'_>) -> Result<Option<Box<Connection>>> {
        let mut state = self.lock_state();
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(Some(connection));
            }
            if self.may_open(&state) {
                state.open += 1;
                return Ok(None);
            }
            attempt.call.check()?;
            let left = attempt.until.left(now()).unwrap_or(POLL_INTERVAL);
            if left.is_zero() {
                drop(state);
                notify_one(&self.freed);
                return Err(self.busy_error());
            }
            state.exclusive_waiters += 1;
            let left = left.min(POLL_INTERVAL);
            state = attempt.call.wait_on(&self.freed, &self.state, state, left);
            state.exclusive_waiters -= 1;
            // Without the lock, because this may invoke the wait callback.
            drop(state);
            sim_yield_point!();
            if let Err(error) = attempt.call.check_cancelled() {
                // This thread may have consumed a notification. An interrupt often ends several calls, so each wakes
                // the next one, and none has to wait for its poll interval.
                notify_one(&self.freed);
                return Err(error);
            }
            state = self.lock_state();
        }
    }

    #[cold]
    fn busy_error(&self) -> Error {
        let (max, node) = (self.max_connections, self.connector.name());
        let message =
            format_args!("all connections_per_node = {max} connections to {node} are busy");
        Error::new(Code::Timeout, message).at(node)
    }

    /// The same as [`Pool::acquire`] without waiting.
    pub fn try_acquire(&self, call: &Call<'_>) -> TryAcquire {
        sim_yield_point!();
        let mut state = self.lock_state();
        while let Some(connection) = state.idle.pop() {
            if !was_closed_while_idle(&connection, call) {
                return TryAcquire::Idle(connection);
            }
            state.open -= 1;
        }
        if self.may_open(&state) {
            state.open += 1;
            return TryAcquire::MayOpen;
        }
        TryAcquire::Busy
    }

    /// Whether another connection may be opened. During a connect backoff, only if there is none at all.
    fn may_open(&self, state: &State) -> bool {
        state.open < self.max_connections
            && (state.open == 0 || !self.connector.is_backing_off(self.kind))
    }

    /// Takes back a connection from [`Pool::acquire`]; drops it if anything is in flight on it.
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

    /// A connection from [`Pool::acquire`], or the permit to open one, has been dropped.
    pub fn forget_lost(&self) {
        drop(LeaderGuard::new(self, None));
    }

    /// A connection for a batch that has waited long enough and has no leader yet. A permit to open one is counted as
    /// an open connection.
    pub(super) fn acquire_for_batch(&self, batch: &Arc<Batch>) -> Option<BatchConnection> {
        let may_open_extra = self.connector.may_open_extra(self.kind);
        sim_yield_point!();
        let mut state = self.lock_state();
        let may_open = state.open < self.max_connections && (may_open_extra || state.open == 0);
        if state.idle.is_empty() && !may_open {
            return None;
        }
        let open_batch = state.open_batch(batch).filter(|b| !b.led)?;
        open_batch.led = true;
        Some(match state.idle.pop() {
            Some(connection) => BatchConnection::Idle(connection),
            None => {
                state.open += 1;
                match state.open {
                    1 => BatchConnection::OpenFirst,
                    _ => BatchConnection::OpenExtra,
                }
            }
        })
    }
}
