//! The node that a command is sent to in one round.

use crate::cluster::reads::FreshnessRequirement;
use crate::error::{Code, Error};
use crate::net::{ConnectionKind, Peer};
use crate::route::{Choice, SkipReason};
use crate::topology::Node;
use std::sync::Arc;

/// The node that a command is sent to in one round.
pub(super) struct Destination<'t> {
    pub(super) peer: &'t Arc<Peer>,
    /// The node's index in the topology. None where the node is not in it, or is not the one that the
    /// slot map names.
    pub(super) index: Option<usize>,
    /// The kind of connection: a replica serves reads only on one that has sent READONLY.
    pub(super) kind: ConnectionKind,
    /// Other nodes could serve the command as well.
    pub(super) any_replica_ok: bool,
    pub(super) choice: ReplicaChoice,
}

/// How the node of a read was chosen.
#[derive(Clone, Copy)]
pub(super) struct ReplicaChoice {
    /// What the node had to be proven to have.
    pub(super) requirement: FreshnessRequirement,
    /// The node's incarnation when it was chosen; 0 where the consistency does not depend on it.
    pub(super) incarnation: u32,
    pub(super) skipped: Option<SkipReason>,
    pub(super) fallback: bool,
    pub(super) primary: bool,
}

impl ReplicaChoice {
    pub(super) const NONE: ReplicaChoice = ReplicaChoice {
        requirement: FreshnessRequirement::NOTHING,
        incarnation: 0,
        skipped: None,
        fallback: false,
        primary: true,
    };

    pub(super) fn new(choice: &Choice<'_>, primary: bool) -> ReplicaChoice {
        ReplicaChoice {
            skipped: choice.skipped,
            fallback: choice.fallback,
            primary,
            ..ReplicaChoice::NONE
        }
    }
}

impl<'t> Destination<'t> {
    #[inline]
    pub(super) fn of_node(
        node: &'t Node,
        any_replica_ok: bool,
        kind: ConnectionKind,
    ) -> Destination<'t> {
        Destination {
            index: Some(node.index),
            any_replica_ok,
            ..Destination::of_peer(&node.peer, kind)
        }
    }

    #[inline]
    pub(super) fn of_peer(peer: &'t Arc<Peer>, kind: ConnectionKind) -> Destination<'t> {
        Destination {
            peer,
            index: None,
            kind,
            any_replica_ok: false,
            choice: ReplicaChoice::NONE,
        }
    }
}

/// The error of a command whose slot has no owner.
#[cold]
pub(super) fn unowned_slot(slot: u16, name: &str) -> Error {
    Error::new(
        Code::Down,
        format_args!("{name}: no node serves slot {slot}"),
    )
}

/// The error of a command whose node is ejected, and cannot be replaced.
#[cold]
pub(super) fn unreachable(peer: &Peer, name: &str) -> Error {
    let node = peer.origin().name();
    let mut message = format!("{name}: {node} is unreachable and no replica has been promoted");
    let code = match peer.last_connect_error() {
        Some(reason) => {
            message += &format!(": {reason}");
            match reason.code {
                Code::Timeout => Code::Timeout,
                _ => Code::Down,
            }
        }
        // It accepts connections, or did until lately, and does not answer.
        None => Code::Timeout,
    };
    Error::new(code, message).at(node)
}
