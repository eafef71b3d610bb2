//! One command for one node, and how it stands with it.

use crate::error::Error;
use crate::net::Peer;
use crate::resp::CommandBody;
use std::sync::Arc;

/// Where a command is to go.
#[derive(Clone, Debug)]
pub enum Target {
    /// The shard that serves the slot.
    Slot(u16),
    /// The primary that serves the slot, and nobody in its place: a command without a key is answered
    /// by whomever it reaches.
    Primary(u16),
    /// Any node.
    Anywhere,
    /// This node and no other.
    Peer(Arc<Peer>),
}

/// One command for one node, and how it stands with it.
pub struct RoutedCommand<'a> {
    pub(super) body: CommandBody<'a>,
    /// For messages.
    pub name: &'static str,
    pub target: Target,
    /// Changes nothing: may be asked of a replica, and twice.
    pub read: bool,
    /// How many replies of its own come before the one that counts (those of MULTI and of the
    /// commands of a transaction, before that of EXEC).
    pub preludes: u32,
    pub(super) open: bool,
    /// There was nobody to send it to in this round.
    pub(super) unroutable: bool,
    /// What a replica answered is not good enough: the primary is asked.
    pub(super) recheck: bool,
    /// The answer is a replica's, and has been noted as seen.
    pub(super) seen: bool,
    /// What has come in its way; most have nothing.
    pub(super) retry_state: Option<Box<RetryState>>,
}

#[derive(Default)]
pub(super) struct RetryState {
    /// The next time ASKING precedes it.
    pub(super) asking: bool,
    /// Where a redirection sends it.
    pub(super) redirect_target: Option<Arc<Peer>>,
    pub(super) redirections: u32,
    /// Only a primary may answer.
    pub(super) primary_only: bool,
    /// Why it is still open.
    pub(super) last: Option<Error>,
    /// What is sent in place of its body: a script in full.
    pub(super) replacement: Option<Vec<u8>>,
}

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
            open: true,
            unroutable: false,
            recheck: false,
            seen: false,
            retry_state: None,
        }
    }

    /// A part that has its answer already.
    pub fn closed(mut self) -> RoutedCommand<'a> {
        self.open = false;
        self
    }

    /// What is sent.
    #[inline]
    pub fn body(&self) -> CommandBody<'_> {
        match &self.retry_state {
            Some(retry_state) => match &retry_state.replacement {
                Some(bytes) => CommandBody::Encoded(bytes),
                None => self.body,
            },
            None => self.body,
        }
    }

    /// What the caller gave: the same, unless [`RoutedCommand::is_changed`].
    #[inline]
    pub fn plain_body(&self) -> CommandBody<'a> {
        self.body
    }

    /// Whether something else is sent than what the caller gave.
    pub fn is_changed(&self) -> bool {
        let changed = |t: &RetryState| t.asking || t.replacement.is_some();
        self.retry_state.as_deref().is_some_and(changed)
    }

    #[inline]
    pub fn is_asking(&self) -> bool {
        self.retry_state.as_ref().is_some_and(|t| t.asking)
    }

    #[inline]
    pub(super) fn redirect_target(&self) -> Option<&Arc<Peer>> {
        self.retry_state
            .as_ref()
            .and_then(|t| t.redirect_target.as_ref())
    }

    /// Whether a replica may answer, as far as it is up to the command.
    #[inline]
    pub(super) fn replica_eligible(&self) -> bool {
        self.read && self.retry_state.as_ref().is_none_or(|t| !t.primary_only)
    }

    pub(super) fn last(&self) -> Option<&Error> {
        self.retry_state.as_ref().and_then(|t| t.last.as_ref())
    }

    pub(super) fn retry_state(&mut self) -> &mut RetryState {
        self.retry_state.get_or_insert_default()
    }

    pub(super) fn slot(&self) -> Option<u16> {
        match self.target {
            Target::Slot(slot) | Target::Primary(slot) => Some(slot),
            _ => None,
        }
    }
}
