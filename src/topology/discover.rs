//! Queries nodes for their view of the cluster.
//!
//! The only part of `topology` that does I/O. It always uses a connection of its own: a topology
//! request never shares a stream position with a user's command.

use super::info::info;
use super::parse::slots;
use super::reconcile::{is_settled, reconcile};
use super::view::ClusterView;
use crate::config::ClusterMode;
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::{Call, ConnectionKind, Peer};
use crate::resp::{CommandBody, Kind};
use std::sync::Arc;

/// The result of a discovery.
pub enum Discovered {
    /// A cluster, in the view that [`reconcile`] has chosen.
    Cluster(ClusterView),
    /// A server that is not part of a cluster.
    Standalone(Arc<Peer>),
}

/// How many additional views are fetched at most, if views disagree.
const MAX_ADDITIONAL_VIEWS: usize = 3;

/// Queries `peers` in order until `wanted` of them have returned a view, and chooses one view. If the
/// views disagree, a few more are fetched.
///
/// If no peer returns a view, the error contains the reason of each.
pub fn discover(
    peers: &[Arc<Peer>],
    wanted: usize,
    mode: ClusterMode,
    call: &Call<'_>,
) -> Result<Discovered> {
    let mut views = Vec::new();
    let mut errors: Vec<Error> = Vec::new();
    let mut empty = None;
    for peer in peers {
        if is_settled(&views, wanted) || views.len() >= wanted + MAX_ADDITIONAL_VIEWS {
            break;
        }
        let time = now();
        if call.deadline.passed(time) {
            break;
        }
        match fetch_view(peer, mode, &call.with_start(time)) {
            Ok(Discovered::Standalone(peer)) => return Ok(Discovered::Standalone(peer)),
            Ok(Discovered::Cluster(view)) if view.shards.is_empty() => empty = Some(view),
            Ok(Discovered::Cluster(view)) => views.push(view),
            Err(error) if matches!(error.code, Code::Interrupted | Code::Closed) => {
                return Err(error);
            }
            Err(error) => errors.push(error),
        }
    }
    if let Some(view) = reconcile(views) {
        return Ok(Discovered::Cluster(view));
    }
    if let Some(view) = empty {
        return Ok(Discovered::Cluster(view));
    }
    Err(combine_errors(peers.len(), &errors, call))
}

/// Combines the errors of the peers into one. An authentication error takes precedence.
fn combine_errors(peers: usize, errors: &[Error], call: &Call<'_>) -> Error {
    let auth = errors.iter().find(|e| e.code == Code::Auth);
    if let Some(error) = auth {
        return error.clone();
    }
    if peers == 0 {
        return Error::new(Code::Connect, "no node of the cluster is known");
    }
    let late = call.deadline.passed(now());
    let mut messages: Vec<String> = errors
        .iter()
        .map(|e| {
            let code = e.code.name();
            let text = e.message.as_str();
            text.strip_prefix(code).unwrap_or(text).trim().to_string()
        })
        .collect();
    messages.dedup();
    if late && errors.len() < peers {
        messages.push("the deadline passed before the other nodes were queried".to_string());
    }
    let code = match errors {
        [only] => only.code,
        _ if !errors.is_empty() && errors.iter().all(|e| e.code == errors[0].code) => {
            errors[0].code
        }
        _ => Code::Connect,
    };
    Error::new(
        code,
        format_args!("no node returned the topology: {}", messages.join("; ")),
    )
}

/// Fetches the view of one node.
fn fetch_view(peer: &Arc<Peer>, mode: ClusterMode, call: &Call<'_>) -> Result<Discovered> {
    if mode == ClusterMode::No {
        peer.open(ConnectionKind::Primary, call.attempt_until(call.deadline))?;
        return Ok(Discovered::Standalone(peer.clone()));
    }
    let attempt = call.attempt_at(call.began);
    let commands = [
        CommandBody::Args(&[b"CLUSTER", b"SLOTS"]),
        CommandBody::Args(&[b"CLUSTER", b"INFO"]),
    ];
    let opened = peer.open_with_commands(ConnectionKind::Primary, &commands, attempt);
    // The caller's command was not sent, only these two.
    let mut connection = opened.map_err(|e| e.sent(false))?;
    let slots_reply = connection.reply(attempt)?;
    if slots_reply.view().kind() == Kind::Error {
        let text = slots_reply.view().text().unwrap_or_default();
        return handle_error_reply(peer, mode, &String::from_utf8_lossy(text));
    }
    let mut view = slots(slots_reply.view(), peer.address())?;
    connection.check(call)?;
    // CLUSTER INFO is optional: without an epoch, the view is of unknown age.
    let info_reply = connection.reply(attempt)?;
    if info_reply.view().kind() != Kind::Error
        && let Ok(info) = info(info_reply.view())
    {
        view.epoch = info.current_epoch;
    }
    Ok(Discovered::Cluster(view))
}

/// Handles an error reply to CLUSTER SLOTS.
fn handle_error_reply(peer: &Arc<Peer>, mode: ClusterMode, reply: &str) -> Result<Discovered> {
    if reply.contains("cluster support disabled") {
        if mode == ClusterMode::Auto {
            return Ok(Discovered::Standalone(peer.clone()));
        }
        return Err(Error::new(
            Code::Invalid,
            format_args!(
                "{} is not a cluster node; set cluster=auto or cluster=no",
                peer.address()
            ),
        ));
    }
    let code = match reply.split(' ').next() {
        Some("NOAUTH" | "NOPERM" | "WRONGPASS") => Code::Auth,
        _ => Code::Connect,
    };
    let message = format_args!("{} rejected CLUSTER SLOTS: {reply}", peer.address());
    Err(Error::new(code, message).at(peer.address().to_string()))
}
