//! A command for one node, and the state of its retries.

use crate::error::Error;
use crate::net::Peer;
use crate::resp::{CommandBody, NodeValue};
use std::sync::Arc;

/// The destination of a command.
#[derive(Clone, Debug)]
pub enum Target {
    /// The shard that serves the slot.
    Slot(u16),
    /// The primary that serves the slot, never a replica in its place: a command without a key is
    /// answered by any node, so a wrong node would not redirect it.
    Primary(u16),
    /// The connection of the writes to the slot before it: it waits for them (WAIT). Its answer counts only if all of
    /// them were sent with it.
    Writes(u16),
    /// Any node.
    Anywhere,
    /// Any node: the primary that serves the slot while it is healthy.
    Near(u16),
    /// This node and no other.
    Peer(Arc<Peer>),
}

/// A command for one node, and the state of its retries.
pub struct RoutedCommand<'a> {
    pub(super) body: CommandBody<'a>,
    /// The command's name, for error messages.
    pub name: &'static str,
    pub target: Target,
    /// It changes nothing, so that a replica may serve it and it may be sent twice.
    pub read: bool,
    /// How many of its replies precede its answer: in a transaction, those of MULTI and of the
    /// queued commands, before that of EXEC. A transaction is the only command of its call.
    pub preludes: u32,
    /// It has no answer yet.
    pub(super) is_pending: bool,
    /// No node could take it in this round.
    pub(super) unroutable: bool,
    /// A replica's reply did not meet the handle's consistency: the primary is read next.
    pub(super) recheck: bool,
    /// A replica answered it, and the session has recorded that.
    pub(super) seen: bool,
    /// The state of its retries; None for most commands, which need no retry.
    pub(super) retry_state: Option<Box<RetryState>>,
}

/// The state that earlier attempts of a command pass to the next one.
#[derive(Default)]
pub(super) struct RetryState {
    /// Send ASKING before it.
    pub(super) asking: bool,
    /// The node that a redirection named.
    pub(super) redirect_target: Option<Arc<Peer>>,
    pub(super) redirections: u32,
    /// Only a primary may answer.
    pub(super) primary_only: bool,
    /// The error of the last attempt.
    pub(super) last: Option<Error>,
    /// It is a write, and an attempt before may have run it: so does every error say, whatever the next attempts return.
    pub(super) may_have_run: bool,
    /// A replica's answer that lacks a key of a migrating slot, while the primary is asked for the key.
    pub(super) unverified: Option<NodeValue>,
    /// The primary cannot be asked: the unverified answer stands.
    pub(super) unverifiable: bool,
    /// Sent in place of its body: EVAL with the script, where EVALSHA failed.
    pub(super) replacement: Option<Vec<u8>>,
    /// Sent in place of a transaction: only what shows whether the node accepts MULTI.
    pub(super) multi_probe: bool,
}

/// Shows whether a node accepts MULTI, and changes nothing.
const MULTI_PROBE: &[u8] = b"*1\r\n$5\r\nMULTI\r\n*1\r\n$7\r\nDISCARD\r\n";

impl<'a> RoutedCommand<'a> {
    #[inline]
    pub fn new(
        body: CommandBody<'a>,
        name: &'static str,
        target: Target,
        read: bool,
    ) -> RoutedCommand<'a> {
        RoutedCommand {
            body,
            name,
            target,
            read,
            preludes: 0,
            is_pending: true,
            unroutable: false,
            recheck: false,
            seen: false,
            retry_state: None,
        }
    }

    /// The same, for a command that already has its answer.
    pub fn completed(mut self) -> RoutedCommand<'a> {
        self.is_pending = false;
        self
    }

    /// The bytes to send.
    #[inline]
    pub fn body(&self) -> CommandBody<'_> {
        match &self.retry_state {
            Some(retry_state) => match &retry_state.replacement {
                _ if retry_state.multi_probe => CommandBody::Encoded(MULTI_PROBE),
                Some(bytes) => CommandBody::Encoded(bytes),
                None => self.body,
            },
            None => self.body,
        }
    }

    /// The bytes that the caller gave: those to send, unless [`RoutedCommand::is_changed`].
    #[inline]
    pub fn plain_body(&self) -> CommandBody<'a> {
        self.body
    }

    /// Whether a probe is sent in place of this transaction.
    pub(super) fn is_multi_probe(&self) -> bool {
        self.retry_state.as_ref().is_some_and(|s| s.multi_probe)
    }

    /// How many replies precede its answer, that of ASKING not counted.
    pub(super) fn replies_before(&self) -> u32 {
        match self.is_multi_probe() {
            true => 1,
            false => self.preludes,
        }
    }

    /// Whether ASKING is sent before it.
    pub(super) fn sends_asking(&self) -> bool {
        self.is_asking() && !self.is_multi_probe()
    }

    /// Whether other bytes are sent than the caller gave.
    pub fn is_changed(&self) -> bool {
        let changed = |state: &RetryState| state.asking || state.replacement.is_some();
        self.retry_state.as_deref().is_some_and(changed)
    }

    #[inline]
    pub fn is_asking(&self) -> bool {
        self.retry_state.as_ref().is_some_and(|state| state.asking)
    }

    #[inline]
    pub(super) fn redirect_target(&self) -> Option<&Arc<Peer>> {
        self.retry_state
            .as_ref()
            .and_then(|state| state.redirect_target.as_ref())
    }

    /// Whether the command itself allows a replica to answer.
    #[inline]
    pub(super) fn replica_eligible(&self) -> bool {
        self.read
            && self
                .retry_state
                .as_ref()
                .is_none_or(|state| !state.primary_only)
    }

    pub(super) fn last(&self) -> Option<&Error> {
        self.retry_state
            .as_ref()
            .and_then(|state| state.last.as_ref())
    }

    pub(super) fn may_have_run(&self) -> bool {
        self.retry_state
            .as_ref()
            .is_some_and(|state| state.may_have_run)
    }

    pub(super) fn unverified(&self) -> Option<NodeValue> {
        self.retry_state.as_ref().and_then(|state| state.unverified)
    }

    pub(super) fn retry_state(&mut self) -> &mut RetryState {
        self.retry_state.get_or_insert_default()
    }

    pub(super) fn waits_for_writes(&self) -> bool {
        matches!(self.target, Target::Writes(_))
    }

    /// The slot in whose order it has a place.
    pub(super) fn slot(&self) -> Option<u16> {
        match self.target {
            Target::Slot(slot) | Target::Primary(slot) | Target::Near(slot) => Some(slot),
            _ => None,
        }
    }
}
