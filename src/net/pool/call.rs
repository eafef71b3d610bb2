//! One command and its reply: alone on a connection, or in a batch.

use super::Pool;
use super::batch::Batch;
use super::follower::{EntryGuard, Follower};
use super::leader::LeaderGuard;
use crate::error::{Code, Error, Result};
use crate::net::conn::Connection;
use crate::net::wait::Attempt;
use crate::resp::{CommandBody, CommandReply};
use crate::sim_hooks::sim_yield_point;
use std::sync::Arc;

/// An uncontended pool opens up to this many connections at once instead of combining commands. For threads that rarely
/// use the node at the same time, handing over a connection costs more than another socket.
const UNCONTENDED_CONNECTIONS: usize = 4;

/// How a command gets a connection.
enum AcquireDecision {
    /// Alone on an idle connection.
    Alone(Box<Connection>),
    /// Alone on the first connection, which it opens.
    OpenFirst,
    /// Alone on another connection, which it opens although it could wait for a busy one.
    OpenExtra,
    /// As the first member of a batch that has a connection.
    Lead(Box<Connection>, Arc<Batch>, usize),
    /// As a member of a batch that waits for a connection; and the batch's wake epoch at the time of joining.
    Follow(Arc<Batch>, usize, u32),
}

impl Pool {
    /// Sends one command and returns its reply.
    #[inline(always)]
    pub fn call(&self, body: &CommandBody<'_>, attempt: Attempt<'_>) -> Result<CommandReply> {
        if self.kind.is_blocking() || body.is_secret() {
            return self.call_exclusive(body, attempt);
        }
        self.call_shared(body, attempt)
    }

    /// The same, where neither the pool is one of blocking commands nor the command secret.
    #[inline(always)]
    pub fn call_shared(
        &self,
        body: &CommandBody<'_>,
        attempt: Attempt<'_>,
    ) -> Result<CommandReply> {
        // The common case: an idle connection.
        sim_yield_point!();
        if let Some(connection) = self.lone.take().or_else(|| self.try_checkout()) {
            if !self.has_current_credentials(&connection) {
                return self.reauthenticate_and_call(connection, body, attempt);
            }
            let leader = LeaderGuard::new(self, Some(connection));
            if !leader.was_closed_while_idle(attempt.call) {
                return leader.run_single(Some(body), attempt);
            }
        }
        self.join(body, attempt)
    }

    #[inline(never)]
    fn try_checkout(&self) -> Option<Box<Connection>> {
        self.lock_state().try_checkout()
    }

    /// Sends changed credentials on an idle connection, and then the command.
    #[cold]
    fn reauthenticate_and_call(
        &self,
        connection: Box<Connection>,
        body: &CommandBody<'_>,
        attempt: Attempt<'_>,
    ) -> Result<CommandReply> {
        let mut leader = LeaderGuard::new(self, Some(connection));
        match leader.reauthenticate(attempt)? {
            true => leader.run_single(Some(body), attempt),
            false => {
                drop(leader);
                self.join(body, attempt)
            }
        }
    }

    #[cold]
    fn call_exclusive(&self, body: &CommandBody<'_>, attempt: Attempt<'_>) -> Result<CommandReply> {
        let mut leader = LeaderGuard::new(self, Some(self.acquire(attempt)?));
        let Some(connection) = &mut leader.connection else {
            return Err(Error::new(Code::Internal, "no connection to use"));
        };
        connection.push(body);
        let reply = connection.command_reply(attempt)?;
        // A node that is demoted sends an error to blocked clients and then closes their connections.
        if !reply.is_error() && connection.reset_for_reuse(attempt.call.began) {
            leader.release();
        }
        Ok(reply)
    }

    #[inline(never)]
    fn join(&self, body: &CommandBody<'_>, attempt: Attempt<'_>) -> Result<CommandReply> {
        // A fiber can neither follow nor lead: the other members would wait for its loop.
        if attempt.call.in_fiber {
            return self.call_exclusive(body, attempt);
        }
        loop {
            sim_yield_point!();
            match self.decide(body) {
                AcquireDecision::Alone(connection) => {
                    let mut leader = LeaderGuard::new(self, Some(connection));
                    if !leader.is_usable(attempt)? {
                        continue;
                    }
                    return leader.run_single(Some(body), attempt);
                }
                AcquireDecision::OpenFirst => {
                    let mut leader = LeaderGuard::new(self, None);
                    let opened = self.connector.open_with(self.kind, body, attempt)?;
                    leader.connection = Some(opened);
                    return leader.run_single(None, attempt);
                }
                AcquireDecision::OpenExtra => {
                    let mut leader = LeaderGuard::new(self, None);
                    match self.connector.open_extra(self.kind, Some(body), attempt) {
                        Ok(connection) => leader.connection = Some(connection),
                        // Not an error of the command, which shares the existing connections.
                        Err(_) => {
                            self.lock_state().force_contended();
                            continue;
                        }
                    }
                    return leader.run_single(None, attempt);
                }
                AcquireDecision::Lead(connection, batch, member) => {
                    let _entry = EntryGuard::new(self, &batch, member);
                    let reply = self.lead(&batch, member, Some(connection), attempt);
                    return reply.map(CommandReply::Whole);
                }
                AcquireDecision::Follow(batch, member, wake_epoch) => {
                    sim_yield_point!(Joined);
                    let entry = EntryGuard::new(self, &batch, member);
                    let reply = Follower::new(entry, attempt, wake_epoch).run();
                    return reply.map(CommandReply::Whole);
                }
            }
        }
    }

    fn decide(&self, body: &CommandBody<'_>) -> AcquireDecision {
        let mut state = self.lock_state();
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
        } else if state.open < UNCONTENDED_CONNECTIONS.min(self.max_connections)
            && !state.contention.is_contended()
            && state.open_batches.is_empty()
            && self.connector.may_open_extra(self.kind)
        {
            state.open += 1;
            AcquireDecision::OpenExtra
        } else {
            let (batch, member) = state.join(body);
            let wake_epoch = batch.wake_epoch.number();
            AcquireDecision::Follow(batch, member, wake_epoch)
        }
    }
}
