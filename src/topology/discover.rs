//! Queries nodes for their view of the cluster.
//!
//! The only part of `topology` that does I/O. It always uses a connection of its own: a topology
//! request never shares a stream position with a user's command.

use super::info::current_epoch;
use super::known_ids::KnownIds;
use super::parse::slots;
use super::replication::replication;
use super::replication_group::{ReplicationGroup, ServerRole, StandaloneView};
use super::slot_map::Topology;
use super::survey::{Conclusion, Relation, Survey};
use super::view::ClusterView;
use crate::address::Address;
use crate::config::{ClusterMode, Config};
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::{Attempt, Call, Connection, Peer, ReportedIdentity, ReportedRole};
use crate::resp::{CommandBody, Kind, Reply};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How many primaries outside the known nodes are asked at most, each named by a replica that was asked before.
const MAX_NAMED_PRIMARIES: usize = 4;

/// Where CLUSTER SLOTS is an unknown command.
const PROXY_ADVICE: &str = " (set cluster=no for a proxy that needs no cluster client)";

/// Whether a server without cluster support is asked for its role and its replicas (INFO replication).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleQuery {
    /// Only if it may be a replica, according to the handshake. Nothing else is needed to use a primary.
    IfReplica,
    /// A handle reads from replicas, or the primary that is known is none any more.
    Always,
}

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
    pub role_query: RoleQuery,
    /// The peer at an address.
    pub peer_at: &'a dyn Fn(&Address) -> Arc<Peer>,
}

impl Discovery<'_> {
    /// The database to select. The first discovery finds out whether it is there; the topology is that of all databases.
    fn database(&self) -> u16 {
        match self.present.version {
            0 => self.config.database,
            _ => 0,
        }
    }
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
    Standalone(StandaloneView),
}

/// The answer of one node.
enum Answer {
    View(ClusterView, ReportedIdentity),
    /// Its view is the present topology, at this epoch.
    Unchanged(u64),
    /// It has no cluster support.
    Standalone(ServerRole),
}

/// Queries `peers` in order until enough of them have returned a view, and decides what follows (`Survey`,
/// `ReplicationGroup`).
///
/// If that is nothing, the error contains the reason of each.
pub fn discover(
    peers: &[Arc<Peer>],
    discovery: Discovery<'_>,
    call: &Call<'_>,
) -> Result<Discovered> {
    let known = discovery.present.known_ids();
    let mut inquiry = Inquiry::new(peers, discovery, &known);
    while !inquiry.is_settled()
        && !inquiry.has_failed_often()
        && !call.deadline.passed(now())
        && let Some(peer) = inquiry.queue.pop_front()
    {
        inquiry.ask(&peer, call)?;
    }
    let failed = inquiry.failed;
    inquiry.ask_named_primaries(call)?;
    inquiry.conclude(failed).map_err(|errors| {
        // Waiting does not cure an option that does not fit the nodes.
        let invalid = errors.iter().find(|e| e.code == Code::Invalid);
        let first = invalid.filter(|_| discovery.present.version == 0);
        first.map_or_else(|| combine_errors(peers.len(), &errors, call), Error::clone)
    })
}

/// The nodes that were asked so far, and what they have said.
struct Inquiry<'a> {
    discovery: Discovery<'a>,
    /// The nodes to ask.
    queue: VecDeque<Arc<Peer>>,
    survey: Survey<'a>,
    group: ReplicationGroup,
    asked: Vec<Address>,
    failed: usize,
    errors: Vec<Error>,
}

impl<'a> Inquiry<'a> {
    fn new(peers: &[Arc<Peer>], discovery: Discovery<'a>, known: &'a KnownIds) -> Inquiry<'a> {
        Inquiry {
            discovery,
            queue: peers.iter().cloned().collect(),
            survey: Survey::new(discovery.present, known),
            group: ReplicationGroup::default(),
            asked: Vec::new(),
            failed: 0,
            errors: Vec::new(),
        }
    }

    /// Whether a server without cluster support is accepted although not every node has said that it has none.
    fn accepts_one_server(&self) -> bool {
        self.discovery.config.cluster == ClusterMode::No || self.discovery.present.standalone
    }

    /// Whether no more nodes have to be asked.
    fn is_settled(&self) -> bool {
        let has_server = self.accepts_one_server() && self.group.has_primary();
        self.survey.is_settled(self.discovery.wanted) || (has_server && !self.survey.has_views())
    }

    /// Whether so many nodes have failed that this discovery ends ([`MAX_FAILURES`]).
    fn has_failed_often(&self) -> bool {
        self.failed >= MAX_FAILURES
            && self.discovery.present.version > 0
            && !self.survey.has_seen_other_cluster()
    }

    /// Asks a node. Only the end of the call is an error.
    fn ask(&mut self, peer: &Arc<Peer>, call: &Call<'_>) -> Result<()> {
        let address = peer.address();
        self.asked.push(address.clone());
        match self.fetch(peer, call) {
            Ok(Answer::Standalone(role)) => {
                self.survey.add_standalone();
                self.errors
                    .push(unused(address, "has no cluster support", &self.survey));
                self.group.add(address, role);
            }
            Ok(Answer::Unchanged(epoch)) => self.survey.add_unchanged(epoch),
            Ok(Answer::View(view, identity)) => {
                self.prefer_named(&view);
                let is_seed = self.discovery.config.seeds.contains(address);
                if self.survey.add_view(view, &identity, is_seed) == Relation::OtherCluster {
                    self.errors
                        .push(unused(address, "belongs to another cluster", &self.survey));
                }
            }
            Err(error) if matches!(error.code, Code::Interrupted | Code::Closed) => {
                return Err(error);
            }
            Err(error) => {
                self.failed += 1;
                self.errors.push(error);
            }
        }
        Ok(())
    }

    /// Fetches the view of a node. A name may lead to several nodes, and to other ones by now.
    fn fetch(&self, peer: &Arc<Peer>, call: &Call<'_>) -> Result<Answer> {
        let fetch = || fetch_view(peer, &self.discovery, &call.with_start(now()));
        let mut answer = fetch();
        while (is_useless(&answer) || self.is_unexpected(&answer))
            && peer.try_other_address()
            && !call.deadline.passed(now())
        {
            answer = fetch();
        }
        match self.is_unexpected(&answer) && peer.resolve_again() {
            true => fetch(),
            false => answer,
        }
    }

    /// If a node did not answer, those that a view names are asked before the others: the addresses of all may have
    /// changed, and each of the old ones would cost an attempt.
    fn prefer_named(&mut self, view: &ClusterView) {
        if self.failed == 0 {
            return;
        }
        let Discovery {
            wanted, peer_at, ..
        } = self.discovery;
        let named = view.nodes().map(|node| &node.address);
        let new = named.filter(|address| self.may_ask(address));
        let new: Vec<&Address> = new.take(wanted).collect();
        for address in new {
            let queued = self.queue.iter().position(|peer| peer.address() == address);
            let peer = queued.and_then(|at| self.queue.remove(at));
            self.queue
                .push_front(peer.unwrap_or_else(|| peer_at(address)));
        }
    }

    /// Whether a node that others name was not asked before, and may be.
    fn may_ask(&self, address: &Address) -> bool {
        !self.asked.contains(address) && self.discovery.config.admission(address).is_ok()
    }

    /// A primary that replicas name, if one was not asked yet.
    fn new_primary(&self) -> Option<Address> {
        let mut named = self.group.named_primaries();
        named.find(|address| self.may_ask(address)).cloned()
    }

    /// If only replicas have answered, asks the primaries that they name.
    fn ask_named_primaries(&mut self, call: &Call<'_>) -> Result<()> {
        for _ in 0..MAX_NAMED_PRIMARIES {
            if self.group.has_primary() || self.survey.has_views() || call.deadline.passed(now()) {
                break;
            }
            let Some(address) = self.new_primary() else {
                break;
            };
            self.ask(&(self.discovery.peer_at)(&address), call)?;
        }
        Ok(())
    }

    /// Whether an answer is not the expected one, perhaps because the name of the node belongs to another address by
    /// now.
    fn is_unexpected(&self, answer: &Result<Answer>) -> bool {
        match answer {
            Ok(Answer::View(view, identity)) => {
                self.survey.relation(view, identity) == Relation::OtherCluster
            }
            Ok(Answer::Standalone(ServerRole::Replica { .. })) => {
                self.discovery.present.version > 0
            }
            Ok(Answer::Standalone(_)) => self.survey.knows_cluster(),
            Ok(Answer::Unchanged(_)) | Err(_) => false,
        }
    }

    /// What follows, if `failed` nodes gave no answer; or why nothing does.
    fn conclude(self, failed: usize) -> std::result::Result<Discovered, Vec<Error>> {
        let accepts_one_server = self.accepts_one_server();
        let seeds = self.discovery.config.seeds.len();
        match (
            self.survey.conclude(self.queue.len(), failed, seeds),
            self.group.view(),
        ) {
            (Conclusion::Unchanged(epoch), _) => Ok(Discovered::Unchanged(epoch)),
            (Conclusion::Cluster(view), _) => Ok(Discovered::Cluster(view)),
            (Conclusion::NewCluster(view), _) => Ok(Discovered::NewCluster(view)),
            (Conclusion::Standalone, Some(view)) => Ok(Discovered::Standalone(view)),
            (Conclusion::Nothing, Some(view)) if accepts_one_server => {
                Ok(Discovered::Standalone(view))
            }
            _ => Err(self.errors),
        }
    }
}

/// Whether a node did not answer, or is not part of a cluster yet. Of a name with several addresses, another may be a
/// node that knows the cluster.
fn is_useless(answer: &Result<Answer>) -> bool {
    match answer {
        Ok(Answer::View(view, _)) => view.shards.is_empty(),
        Ok(Answer::Standalone(_) | Answer::Unchanged(_)) => false,
        Err(error) => !matches!(
            error.code,
            Code::Auth | Code::Tls | Code::Invalid | Code::Interrupted | Code::Closed
        ),
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
fn fetch_view(peer: &Arc<Peer>, discovery: &Discovery<'_>, call: &Call<'_>) -> Result<Answer> {
    let (mode, database) = (discovery.config.cluster, discovery.database());
    if mode == ClusterMode::No {
        let attempt = call.attempt_until(call.deadline);
        let (mut connection, greeting) = peer.open_for_discovery(database, &[], attempt)?;
        let role = fetch_role(peer, &mut connection, greeting.role, discovery, attempt)?;
        return Ok(Answer::Standalone(role));
    }
    let attempt = call.attempt_at(call.began);
    let commands = [
        CommandBody::Args(&[b"CLUSTER", b"SLOTS"]),
        CommandBody::Args(&[b"CLUSTER", b"INFO"]),
    ];
    let (mut connection, greeting) = peer.open_for_discovery(database, &commands, attempt)?;
    let slots_reply = connection.reply(attempt)?;
    connection.check(call)?;
    let info_reply = connection.reply(attempt);
    if slots_reply.view().kind() == Kind::Error {
        let text = slots_reply.view().text().unwrap_or_default();
        check_no_cluster(peer, mode, &String::from_utf8_lossy(text))?;
        info_reply?;
        let role = fetch_role(peer, &mut connection, greeting.role, discovery, attempt)?;
        return Ok(Answer::Standalone(role));
    }
    if peer.address().is_unix() {
        return Err(unix_cluster_node(peer.address()));
    }
    let (identity, from) = (greeting.identity, peer.address_of(&connection));
    let (config, present) = (discovery.config, discovery.present);
    // A client that is closed before its first refresh needs none.
    let fingerprint = (present.version > 0).then(|| fingerprint(&slots_reply));
    let view = match fingerprint.is_some_and(|f| present.is_of_reply(f)) {
        true => None,
        false => Some(slots(slots_reply.view(), &from, config.max_nodes)),
    };
    slots_reply.discard();
    let view = view.transpose()?;
    // CLUSTER INFO is optional: without an epoch, the view is of unknown age.
    let epoch = current_epoch(info_reply?.view());
    let Some(mut view) = view else {
        return Ok(Answer::Unchanged(epoch));
    };
    view.epoch = epoch;
    view.has_foreign_ids = has_foreign_ids(&view, &identity, &from);
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

/// The error of a cluster's node behind a unix socket: the socket leads to no other node.
fn unix_cluster_node(path: &Address) -> Error {
    let problem = format_args!(
        "{path} is the socket of one node of a cluster, and the other nodes have other addresses; write \
         redis://host:port of a node"
    );
    Error::new(Code::Invalid, problem).at(path.to_string())
}

/// The role of a server without cluster support, whose handshake has reported `reported`.
fn fetch_role(
    peer: &Peer,
    connection: &mut Connection,
    reported: ReportedRole,
    discovery: &Discovery<'_>,
    attempt: Attempt<'_>,
) -> Result<ServerRole> {
    let is_needed = match (discovery.role_query, reported) {
        (RoleQuery::Always, _) | (_, ReportedRole::Replica) => true,
        (RoleQuery::IfReplica, ReportedRole::Primary) => false,
        // One of several servers may be a replica, which serves reads as well. Proxies are not asked.
        (RoleQuery::IfReplica, ReportedRole::Unknown) => {
            discovery.config.cluster == ClusterMode::Auto && discovery.config.seeds.len() > 1
        }
    };
    if !is_needed || peer.refuses_info.load(Ordering::Relaxed) {
        return Ok(ServerRole::of_handshake(reported));
    }
    connection.push(&CommandBody::Args(&[b"INFO", b"replication"]));
    let reply = match connection.reply(attempt) {
        Ok(reply) => reply,
        // A proxy closes the connection on a command that it does not know.
        Err(error) if error.code == Code::Io => return Ok(ServerRole::of_handshake(reported)),
        Err(error) => return Err(error),
    };
    let answer = replication(reply.view(), peer.address());
    let hides_primary = answer.is_err() && reported == ReportedRole::Replica;
    peer.hides_primary.store(hides_primary, Ordering::Relaxed);
    match answer {
        Ok(view) => Ok(ServerRole::of_view(view)),
        Err(refusal) => {
            let is_temporary = ["NOPERM", "NOAUTH", "LOADING", "BUSY"];
            if !is_temporary
                .iter()
                .any(|code| refusal.message.starts_with(code))
            {
                peer.refuses_info.store(true, Ordering::Relaxed);
            }
            Ok(ServerRole::of_handshake(reported))
        }
    }
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

/// Whether an error reply to CLUSTER SLOTS says that there is no cluster, and the options allow that.
fn check_no_cluster(peer: &Arc<Peer>, mode: ClusterMode, reply: &str) -> Result<()> {
    if reply.contains("cluster support disabled") {
        if mode == ClusterMode::Auto {
            return Ok(());
        }
        return Err(Error::new(
            Code::Invalid,
            format_args!(
                "{} is not a cluster node; set cluster=auto or cluster=no",
                peer.address()
            ),
        ));
    }
    let (code, advice) = match reply.split(' ').next() {
        Some("NOAUTH" | "NOPERM" | "WRONGPASS") => (Code::Auth, ""),
        // It does not know the command, and will not. A state of the server, such as LOADING, has a word of its own.
        Some("ERR") => (Code::Invalid, PROXY_ADVICE),
        _ if reply.contains("command") => (Code::Invalid, PROXY_ADVICE),
        _ => (Code::Connect, ""),
    };
    let message = format_args!("{} rejected CLUSTER SLOTS: {reply}{advice}", peer.address());
    Err(Error::new(code, message).at(peer.address().to_string()))
}
