//! Queries nodes for their view of the cluster.
//!
//! The only part of `topology` that does I/O. It always uses a connection of its own: a topology
//! request never shares a stream position with a user's command.

use super::info::info;
use super::parse::slots;
use super::slot_map::Topology;
use super::survey::{Conclusion, Relation, Survey};
use super::view::ClusterView;
use crate::address::Address;
use crate::config::{ClusterMode, Config};
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::{Call, ConnectionKind, Peer, ReportedIdentity};
use crate::resp::{CommandBody, Kind, Reply};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// A later discovery ends after this many failures: a client of a large cluster that is down does not connect to
/// thousands of nodes each time. The next one asks others. If a seed names another cluster, all nodes must be asked.
const MAX_FAILURES: usize = 32;

/// How many reasons the error of a discovery contains.
const MAX_REASONS: usize = 8;

/// What a discovery is for.
#[derive(Clone, Copy)]
pub struct Discovery<'a> {
    /// The number of views that suffice, if they agree.
    pub wanted: usize,
    pub config: &'a Config,
    /// The topology that is replaced; empty for the first.
    pub present: &'a Topology,
}

/// The result of a discovery.
pub enum Discovered {
    /// The present topology is what it was, at this epoch.
    Unchanged(u64),
    /// A cluster, in the view that was chosen.
    Cluster(ClusterView),
    /// Another cluster than that of the present topology.
    NewCluster(ClusterView),
    /// A server that is not part of a cluster.
    Standalone(Arc<Peer>),
}

/// The answer of one node.
enum Answer {
    View(ClusterView, ReportedIdentity),
    /// Its view is the present topology, at this epoch.
    Unchanged(u64),
    /// It has no cluster support.
    Standalone,
}

/// Queries `peers` in order until enough of them have returned a view, and decides what follows ([`Survey`]).
///
/// If that is nothing, the error contains the reason of each.
pub fn discover(
    peers: &[Arc<Peer>],
    discovery: Discovery<'_>,
    call: &Call<'_>,
) -> Result<Discovered> {
    let Discovery {
        wanted,
        config,
        present,
    } = discovery;
    let known = present.known_ids();
    let mut survey = Survey::new(present, &known);
    let mut standalone = None;
    let mut errors: Vec<Error> = Vec::new();
    let mut asked = 0;
    let mut failed = 0;
    for peer in peers {
        let time = now();
        if survey.is_settled(wanted)
            || call.deadline.passed(time)
            || (failed >= MAX_FAILURES && present.version > 0 && !survey.has_seen_other_cluster())
        {
            break;
        }
        asked += 1;
        let address = peer.address();
        let mut answer = fetch_view(peer, discovery, &call.with_start(time));
        if is_unexpected(&answer, &survey) && peer.resolve_again() {
            answer = fetch_view(peer, discovery, &call.with_start(now()));
        }
        match answer {
            Ok(Answer::Standalone) if config.cluster == ClusterMode::No || present.standalone => {
                return Ok(Discovered::Standalone(peer.clone()));
            }
            Ok(Answer::Standalone) => {
                survey.add_standalone();
                errors.push(unused(address, "has no cluster support", &survey));
                standalone.get_or_insert(peer);
            }
            Ok(Answer::Unchanged(epoch)) => survey.add_unchanged(epoch),
            Ok(Answer::View(view, identity)) => {
                let is_seed = config.seeds.contains(address);
                if survey.add_view(view, &identity, is_seed) == Relation::OtherCluster {
                    errors.push(unused(address, "belongs to another cluster", &survey));
                }
            }
            Err(error) if matches!(error.code, Code::Interrupted | Code::Closed) => {
                return Err(error);
            }
            Err(error) => {
                failed += 1;
                errors.push(error);
            }
        }
    }
    match (
        survey.conclude(peers.len() - asked, failed, config.seeds.len()),
        standalone,
    ) {
        (Conclusion::Unchanged(epoch), _) => Ok(Discovered::Unchanged(epoch)),
        (Conclusion::Cluster(view), _) => Ok(Discovered::Cluster(view)),
        (Conclusion::NewCluster(view), _) => Ok(Discovered::NewCluster(view)),
        (Conclusion::Standalone, Some(peer)) => Ok(Discovered::Standalone(peer.clone())),
        _ => Err(combine_errors(peers.len(), &errors, call)),
    }
}

/// Whether a node is not one of the client's cluster, perhaps because its name belongs to another address by now.
fn is_unexpected(answer: &Result<Answer>, survey: &Survey<'_>) -> bool {
    match answer {
        Ok(Answer::View(view, identity)) => {
            survey.relation(view, identity) == Relation::OtherCluster
        }
        Ok(Answer::Standalone) => survey.knows_cluster(),
        Ok(Answer::Unchanged(_)) | Err(_) => false,
    }
}

/// Why the answer of a node is not used: `problem` says what it is.
fn unused(address: &Address, problem: &str, survey: &Survey<'_>) -> Error {
    let reason = match survey.knows_cluster() {
        false => "but not every host of the url has said so; name one host only to use it",
        true => {
            "so it does not replace the cluster that this client knows; a new client can use it"
        }
    };
    let message = format_args!("{address} {problem}, {reason}");
    Error::new(Code::Connect, message).at(address.to_string())
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
    if messages.len() > MAX_REASONS {
        let more = messages.len() - MAX_REASONS;
        messages.truncate(MAX_REASONS);
        messages.push(format!("and {more} more nodes failed"));
    }
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
fn fetch_view(peer: &Arc<Peer>, discovery: Discovery<'_>, call: &Call<'_>) -> Result<Answer> {
    let Discovery {
        config, present, ..
    } = discovery;
    let mode = config.cluster;
    if mode == ClusterMode::No {
        peer.open(ConnectionKind::Primary, call.attempt_until(call.deadline))?;
        return Ok(Answer::Standalone);
    }
    let attempt = call.attempt_at(call.began);
    let commands = [
        CommandBody::Args(&[b"CLUSTER", b"SLOTS"]),
        CommandBody::Args(&[b"CLUSTER", b"INFO"]),
    ];
    let (mut connection, identity) = peer.open_for_discovery(&commands, attempt)?;
    let slots_reply = connection.reply(attempt)?;
    if slots_reply.view().kind() == Kind::Error {
        let text = slots_reply.view().text().unwrap_or_default();
        return handle_error_reply(peer, mode, &String::from_utf8_lossy(text));
    }
    // A client that is closed before its first refresh needs none.
    let fingerprint = (present.version > 0).then(|| fingerprint(&slots_reply));
    let view = match fingerprint.is_some_and(|f| present.is_of_reply(f)) {
        true => None,
        false => Some(slots(slots_reply.view(), peer.address(), config.max_nodes)),
    };
    slots_reply.discard();
    let view = view.transpose()?;
    connection.check(call)?;
    // CLUSTER INFO is optional: without an epoch, the view is of unknown age.
    let info_reply = connection.reply(attempt)?;
    let epoch = match info_reply.view().kind() {
        Kind::Error => 0,
        _ => info(info_reply.view()).map_or(0, |info| info.current_epoch),
    };
    let Some(mut view) = view else {
        return Ok(Answer::Unchanged(epoch));
    };
    view.epoch = epoch;
    view.has_foreign_ids = has_foreign_ids(&view, &identity, peer.address());
    view.fingerprint = fingerprint.filter(|_| !view.has_relative_hosts);
    Ok(Answer::View(view, identity))
}

/// A hash of the bytes of a reply.
fn fingerprint(reply: &Reply) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&reply.first);
    hasher.write_usize(reply.view().len());
    hasher.finish()
}

/// Whether the ids of a view are not those that the nodes report: the node that has sent it denies its own entry.
fn has_foreign_ids(view: &ClusterView, identity: &ReportedIdentity, from: &Address) -> bool {
    match identity {
        ReportedIdentity::Unknown | ReportedIdentity::NotNow => false,
        ReportedIdentity::NoCluster => true,
        ReportedIdentity::Node(id) => {
            view.nodes().all(|node| node.id != *id)
                && view.nodes().any(|node| node.address == *from)
        }
    }
}

/// Handles an error reply to CLUSTER SLOTS.
fn handle_error_reply(peer: &Arc<Peer>, mode: ClusterMode, reply: &str) -> Result<Answer> {
    if reply.contains("cluster support disabled") {
        if mode == ClusterMode::Auto {
            return Ok(Answer::Standalone);
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
