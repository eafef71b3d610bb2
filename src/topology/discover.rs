//! Asks nodes about their cluster. The only part of this floor that talks, and always on a
//! connection of its own: a topology request never shares a position with a user's command.

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

/// What was learned.
pub enum Discovered {
    /// A cluster, as the node that is believed sees it.
    Cluster(ClusterView),
    /// A server that is not part of a cluster.
    Single(Arc<Peer>),
}

/// Asks so many more where those that were asked disagree.
const MORE: usize = 3;

/// Asks `peers` in order until `opinions` of them have answered, or a few more where they disagree,
/// and believes one.
///
/// Where none answers, the error names each and its reason.
pub fn discover(
    peers: &[Arc<Peer>],
    opinions: usize,
    mode: ClusterMode,
    call: &Call<'_>,
) -> Result<Discovered> {
    let mut views = Vec::new();
    let mut reasons: Vec<Error> = Vec::new();
    let mut empty = None;
    for peer in peers {
        if is_settled(&views, opinions) || views.len() >= opinions + MORE {
            break;
        }
        let time = now();
        if call.deadline.passed(time) {
            break;
        }
        match ask(peer, mode, &call.with_start(time)) {
            Ok(Discovered::Single(peer)) => return Ok(Discovered::Single(peer)),
            Ok(Discovered::Cluster(view)) if view.shards.is_empty() => empty = Some(view),
            Ok(Discovered::Cluster(view)) => views.push(view),
            Err(error) if matches!(error.code, Code::Interrupted | Code::Closed) => {
                return Err(error);
            }
            Err(error) => reasons.push(error),
        }
    }
    if let Some(view) = reconcile(views) {
        return Ok(Discovered::Cluster(view));
    }
    if let Some(view) = empty {
        return Ok(Discovered::Cluster(view));
    }
    Err(nobody(peers.len(), &reasons, call))
}

/// One error of many: the worst kind, and each node's own words.
fn nobody(asked: usize, reasons: &[Error], call: &Call<'_>) -> Error {
    let auth = reasons.iter().find(|e| e.code == Code::Auth);
    if let Some(error) = auth {
        return error.clone();
    }
    if asked == 0 {
        return Error::new(Code::Connect, "no node of the cluster is known");
    }
    let late = call.deadline.passed(now());
    let mut words: Vec<String> = reasons
        .iter()
        .map(|e| {
            let kind = e.code.name();
            let text = e.message.as_str();
            text.strip_prefix(kind).unwrap_or(text).trim().to_string()
        })
        .collect();
    words.dedup();
    if late && reasons.len() < asked {
        words.push("the others were not asked in time".to_string());
    }
    let code = match reasons {
        [only] => only.code,
        _ if !reasons.is_empty() && reasons.iter().all(|e| e.code == reasons[0].code) => {
            reasons[0].code
        }
        _ => Code::Connect,
    };
    Error::new(code, format_args!("no seed answered: {}", words.join("; ")))
}

/// One node's view.
fn ask(peer: &Arc<Peer>, mode: ClusterMode, call: &Call<'_>) -> Result<Discovered> {
    if mode == ClusterMode::No {
        peer.open(ConnectionKind::Primary, call.attempt_until(call.deadline))?;
        return Ok(Discovered::Single(peer.clone()));
    }
    let attempt = call.attempt_at(call.began);
    let asked = [
        CommandBody::Args(&[b"CLUSTER", b"SLOTS"]),
        CommandBody::Args(&[b"CLUSTER", b"INFO"]),
    ];
    let opened = peer.open_with_commands(ConnectionKind::Primary, &asked, attempt);
    // What was sent is nobody's command.
    let mut connection = opened.map_err(|e| e.sent(false))?;
    let said = connection.reply(attempt)?;
    let view = said.view();
    if view.kind() == Kind::Error {
        let text = String::from_utf8_lossy(view.text().unwrap_or_default()).into_owned();
        if text.contains("cluster support disabled") {
            if mode == ClusterMode::Auto {
                return Ok(Discovered::Single(peer.clone()));
            }
            return Err(Error::new(
                Code::Invalid,
                format_args!(
                    "{} is no cluster node (use cluster=auto or cluster=no)",
                    peer.address()
                ),
            ));
        }
        let code = match text.split(' ').next() {
            Some("NOAUTH" | "NOPERM" | "WRONGPASS") => Code::Auth,
            _ => Code::Connect,
        };
        return Err(Error::new(
            code,
            format_args!("{} refused CLUSTER SLOTS: {text}", peer.address()),
        )
        .at(peer.address().to_string()));
    }
    let mut seen = slots(view, peer.address())?;
    connection.check(call)?;
    // Only SLOTS is indispensable; without the epoch the view counts as one of unknown age.
    let about = connection.reply(attempt)?;
    if about.view().kind() != Kind::Error
        && let Ok(known) = info(about.view())
    {
        seen.epoch = known.current_epoch;
    }
    Ok(Discovered::Cluster(seen))
}
