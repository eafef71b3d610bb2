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
pub struct Part<'a> {
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
    pub(super) homeless: bool,
    /// What a replica answered is not good enough: the primary is asked.
    pub(super) doubted: bool,
    /// The answer is a replica's, and has been noted as seen.
    pub(super) seen: bool,
    /// What has come in its way; most have nothing.
    pub(super) trouble: Option<Box<Trouble>>,
}

#[derive(Default)]
pub(super) struct Trouble {
    /// The next time ASKING precedes it.
    pub(super) asking: bool,
    /// Where a redirection sends it.
    pub(super) toward: Option<Arc<Peer>>,
    pub(super) redirections: u32,
    /// Only a primary may answer.
    pub(super) home: bool,
    /// Why it is still open.
    pub(super) last: Option<Error>,
    /// What is sent in place of its body: a script in full.
    pub(super) instead: Option<Vec<u8>>,
}

impl<'a> Part<'a> {
    #[inline]
    pub fn new(body: CommandBody<'a>, name: &'static str, target: Target, read: bool) -> Part<'a> {
        Part {
            body,
            name,
            target,
            read,
            preludes: 0,
            open: true,
            homeless: false,
            doubted: false,
            seen: false,
            trouble: None,
        }
    }

    /// A part that has its answer already.
    pub fn closed(mut self) -> Part<'a> {
        self.open = false;
        self
    }

    /// What is sent.
    #[inline]
    pub fn body(&self) -> CommandBody<'_> {
        match &self.trouble {
            Some(trouble) => match &trouble.instead {
                Some(bytes) => CommandBody::Encoded(bytes),
                None => self.body,
            },
            None => self.body,
        }
    }

    /// What the caller gave: the same, unless [`Part::is_changed`].
    #[inline]
    pub fn plain_body(&self) -> CommandBody<'a> {
        self.body
    }

    /// Whether something else is sent than what the caller gave.
    pub fn is_changed(&self) -> bool {
        let changed = |t: &Trouble| t.asking || t.instead.is_some();
        self.trouble.as_deref().is_some_and(changed)
    }

    #[inline]
    pub fn is_asking(&self) -> bool {
        self.trouble.as_ref().is_some_and(|t| t.asking)
    }

    #[inline]
    pub(super) fn toward(&self) -> Option<&Arc<Peer>> {
        self.trouble.as_ref().and_then(|t| t.toward.as_ref())
    }

    /// Whether a replica may answer, as far as it is up to the command.
    #[inline]
    pub(super) fn may_roam(&self) -> bool {
        self.read && self.trouble.as_ref().is_none_or(|t| !t.home)
    }

    pub(super) fn last(&self) -> Option<&Error> {
        self.trouble.as_ref().and_then(|t| t.last.as_ref())
    }

    pub(super) fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    pub(super) fn slot(&self) -> Option<u16> {
        match self.target {
            Target::Slot(slot) | Target::Primary(slot) => Some(slot),
            _ => None,
        }
    }
}
