//! The one retry loop: send what is open, look at what came back, and go round until nothing is
//! open or the time is up. A single command is an exchange of one part.

mod check_freshness;
mod destination;
mod handle_errors;
mod node_batch;
mod routed_command;

use check_freshness::{ChosenForSlot, ReplicaChoices};
use destination::{Destination, unserved};
pub use routed_command::{RoutedCommand, Target};

use crate::cluster::reads::ReadConsistency;
use crate::cluster::state::count;
use crate::cluster::state::{Core, ProcessState};
use crate::cluster::state::{backoff, redirect_backoff};
use crate::config::ReadFrom;
use crate::deadline::{Time, now};
use crate::error::{Code, Error, Result};
use crate::net::{Call, CancelDisabled, ConnectionKind};
use crate::resp::{Answer, Kind, Reply, flag};
use crate::sim_hooks::{rng, sim_panic_point};
use crate::topology::{Node, Topology};
pub use node_batch::{BatchErrors, NodeBatch, send_and_receive};
use rand::Rng;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the reply goes: made when there is something to put into it, so that one that comes
/// whole is not copied.
pub type PendingReply = Option<Box<Reply>>;

/// How a handle's commands are treated.
#[derive(Clone, Copy, Debug)]
pub struct ExecPolicy {
    pub kind: ConnectionKind,
    pub read_from: ReadFrom,
    pub retry_writes: bool,
    pub max_redirects: u32,
    pub timeout_ms: u64,
    pub attempt_ms: u64,
}

pub struct Execution<'c> {
    core: &'c Core,
    process: &'c ProcessState,
    policy: ExecPolicy,
    /// Of a handle that reads from replicas.
    consistency: Option<&'c ReadConsistency>,
    call: Call<'c>,
    /// Chooses among replicas: the same for all commands of a slot.
    seed: u64,
    tries: u32,
    /// When the present round began.
    round: Time,
    /// Nodes that were asked in vain.
    excluded: Vec<usize>,
    /// Slots that the pipeline writes: their reads go to the primary too.
    written: Option<Box<[u64; 256]>>,
    /// The topology should be learned again when there is time.
    stale: bool,
    wait: bool,
    /// How often one of the commands has been redirected beyond what a migration explains.
    redirect_loops: u32,
    refresh: bool,
    /// A read would have gone to a replica, had there been one.
    missed_replicas: Cell<bool>,
    /// The node that this call finds out about, as the first after a while; 0 for none.
    probing: Cell<usize>,
    _uncancelled: CancelDisabled,
}

impl<'c> Execution<'c> {
    #[inline]
    pub fn new(
        core: &'c Core,
        process: &'c ProcessState,
        policy: ExecPolicy,
        consistency: Option<&'c ReadConsistency>,
        call: Call<'c>,
    ) -> Self {
        Execution {
            core,
            process,
            policy,
            consistency,
            call,
            seed: 0,
            tries: 0,
            round: call.began,
            excluded: Vec::new(),
            written: None,
            stale: false,
            wait: false,
            redirect_loops: 0,
            refresh: false,
            missed_replicas: Cell::new(false),
            probing: Cell::new(0),
            _uncancelled: CancelDisabled::begin(),
        }
    }

    /// Runs all parts; their answers are in `reply`: at its root if it was made without answers,
    /// else one for each part.
    pub fn run(mut self, parts: &mut [RoutedCommand<'_>], reply: &mut PendingReply) {
        if self.policy.read_from != ReadFrom::Primary {
            self.seed = rng().random();
            if parts.len() > 1 {
                self.note_writes(parts);
            }
        }
        loop {
            self.wait = false;
            self.redirect_loops = 0;
            self.refresh = false;
            {
                let topology = self.process.topology.load();
                match parts {
                    [part] if !part.is_asking() && part.preludes == 0 => {
                        if part.open {
                            self.run_single(part, &topology, reply);
                        }
                    }
                    _ => self.run_multi(parts, &topology, reply),
                }
            }
            if parts.iter().all(|p| !p.open) {
                break;
            }
            if !self.refresh_and_backoff(parts, reply) {
                break;
            }
        }
        self.record_session(parts);
        if self.stale || (self.consistency.is_some() && self.may_learn_of_replicas()) {
            self.core.refresh_if_due(self.process, &self.call);
        }
    }

    /// Whether it is time to look for replicas where there have been none, or have been others.
    fn may_learn_of_replicas(&self) -> bool {
        let is_time = |when: &AtomicU64| self.call.began.millis() >= when.load(Ordering::Relaxed);
        is_time(&self.process.refresh_replicas_at)
            || (self.missed_replicas.get() && is_time(&self.process.find_replicas_at))
    }

    /// Between two rounds: learns and waits as is called for. False if the time is up.
    fn refresh_and_backoff(
        &mut self,
        parts: &mut [RoutedCommand<'_>],
        reply: &mut PendingReply,
    ) -> bool {
        sim_panic_point!(Cluster);
        self.tries += 1;
        count(&self.core.stats.retries);
        let over = |call: &Call<'_>| {
            call.check_cancelled().err().or_else(|| {
                call.deadline.passed(now()).then(|| {
                    Error::new(Code::Timeout, format_args!("the call ran out of its time"))
                })
            })
        };
        let mut end = over(&self.call);
        if end.is_none() && self.refresh {
            self.core.refresh_if_due(self.process, &self.call);
        }
        if end.is_none() && self.wait {
            let until = match self.redirect_loops {
                0 => backoff(self.tries - 1),
                n => redirect_backoff(n - 1),
            };
            let until = until.min(self.call.deadline);
            end = self.call.sleep(until).err();
        }
        let Some(end) = end.or_else(|| over(&self.call)) else {
            self.round = now();
            return true;
        };
        for (number, part) in parts.iter_mut().enumerate().filter(|(_, p)| p.open) {
            let error = match (part.last(), end.code) {
                // What has kept it from succeeding tells more than that the time is up.
                (Some(last), Code::Timeout) => {
                    let mut error = last.clone();
                    error.message = format!(
                        "{} (gave up after {} ms)",
                        error.message, self.policy.timeout_ms
                    );
                    error
                }
                _ => end.clone(),
            };
            self.close(part, number, reply, &error);
        }
        false
    }

    /// Ends a part with an error of ours.
    fn close(
        &self,
        part: &mut RoutedCommand<'_>,
        number: usize,
        reply: &mut PendingReply,
        error: &Error,
    ) {
        let mut answer = reply.get_or_insert_default().store_error(error);
        answer.value.flags |= flag::ANSWER;
        self.answer(part, number, reply, answer);
    }

    fn answer(
        &self,
        part: &mut RoutedCommand<'_>,
        number: usize,
        reply: &mut PendingReply,
        answer: Answer,
    ) {
        part.open = false;
        let reply = reply.get_or_insert_default();
        match reply.answers.get_mut(number) {
            Some(place) => *place = answer,
            None => reply.root = answer,
        }
    }

    /// One command by itself: it shares a connection with whatever other threads send.
    fn run_single(
        &mut self,
        part: &mut RoutedCommand<'_>,
        topology: &Topology,
        reply: &mut PendingReply,
    ) {
        let (target, redirect_target) = (part.target.clone(), part.redirect_target().cloned());
        let what = (self.replica_eligible(part), part.name);
        let place = match self.place(&target, redirect_target.as_ref(), what, topology) {
            Ok(place) => place,
            Err(error) => return self.unroutable(part, error),
        };
        let call = if self.tries == 0 {
            self.call
        } else {
            self.call.attempt(now())
        };
        let until = call.attempt_deadline(call.began);
        let got = match self.consistency {
            None => place.peer.call(place.kind, &part.body(), &call, until),
            Some(_) => self.run_timed(part, &place, &call),
        };
        self.take(part, got, &place, topology, reply);
    }

    /// The same for a handle that chooses among nodes by how fast and how busy they are.
    fn run_timed(
        &self,
        part: &RoutedCommand<'_>,
        place: &Destination<'_>,
        call: &Call<'_>,
    ) -> Result<Box<Reply>> {
        let load = &place.peer.load;
        let _under_way = load.track_in_flight(1);
        // Choosing may have taken its time.
        let began = now();
        let connects = &place.peer.counters.connects;
        let before = connects.load(Ordering::Relaxed);
        let until = call.attempt_deadline(began);
        let got = place.peer.call(place.kind, &part.body(), call, until);
        // EncodedPrefix a connection takes several round trips.
        if self.policy.read_from == ReadFrom::Nearest
            && place.any_replica_ok
            && got.is_ok()
            && before == connects.load(Ordering::Relaxed)
        {
            let time = now();
            load.record_rtt(time, time.since(began));
        }
        got
    }

    /// What came of one command by itself.
    fn take(
        &mut self,
        part: &mut RoutedCommand<'_>,
        got: Result<Box<Reply>>,
        place: &Destination<'_>,
        topology: &Topology,
        reply: &mut PendingReply,
    ) {
        match got {
            Ok(mut got) => {
                got.root.value.flags |= flag::ANSWER | flag::SENT;
                let failed = got.root.value.kind == Kind::Error;
                if !failed && !self.check_freshness(part, got.view(), place, topology) {
                    place.peer.record_success();
                    return;
                }
                match reply {
                    Some(whole) if !whole.answers.is_empty() => {
                        whole.answers[0] = whole.absorb(*got);
                    }
                    _ => *reply = Some(got),
                }
                if failed {
                    self.handle_error_reply(part, 0, reply, place, topology, None);
                } else {
                    place.peer.record_success();
                    part.open = false;
                }
            }
            Err(error) => self.handle_io_error(part, 0, reply, place, error),
        }
    }

    /// One command whose first attempt has been made already.
    #[cold]
    pub fn resume_after_first(
        mut self,
        mut part: RoutedCommand<'_>,
        got: Result<Box<Reply>>,
        node: &Node,
    ) -> Box<Reply> {
        let mut reply = None;
        let place = Destination::of_node(node, false, self.policy.kind.at_primary());
        let topology = self.process.topology.load();
        self.take(&mut part, got, &place, &topology, &mut reply);
        drop(topology);
        let mut parts = [part];
        if parts[0].open && !self.refresh_and_backoff(&mut parts, &mut reply) {
            self.record_session(&parts);
            return reply.unwrap_or_default();
        }
        self.run(&mut parts, &mut reply);
        reply.unwrap_or_default()
    }

    /// Nobody to send it to: as with a cluster that is down.
    #[cold]
    fn unroutable(&mut self, part: &mut RoutedCommand<'_>, error: Error) {
        count(&self.core.stats.clusterdown);
        part.retry_state().last = Some(error);
        self.wait = true;
        self.refresh = true;
    }

    /// Several commands, or one that needs a connection of its own.
    fn run_multi(
        &mut self,
        parts: &mut [RoutedCommand<'_>],
        topology: &Topology,
        slot: &mut PendingReply,
    ) {
        let mut whole = slot.take().unwrap_or_default();
        let reply = &mut *whole;
        let single = reply.answers.is_empty();
        if single {
            reply.answers.push(Answer::NIL);
        }
        let mut batches: Vec<NodeBatch> =
            Vec::with_capacity(topology.shards.len().min(parts.len()));
        // How many each will carry, more or less.
        let each = parts.len() / topology.shards.len().max(1);
        let room = (each + each / 4 + 4).min(parts.len());
        // The batch to each node and to each shard's primary, or 0; others are searched for. A handle
        // that reads from replicas may have two to a node, on connections of two kinds.
        let kinds = 1 + usize::from(self.consistency.is_some());
        let nodes = topology.nodes.len() * kinds;
        let mut known: Vec<u32> = vec![0; nodes + topology.shards.len()];
        let (known, primaries) = known.split_at_mut(nodes);
        let mut picks = ReplicaChoices::new();
        let mut homes: HashMap<u16, Option<usize>> = HashMap::new();
        // Then most commands go where another of their shard went before.
        let at_primaries = self.policy.read_from == ReadFrom::Primary;
        for (number, part) in parts.iter_mut().enumerate() {
            if !part.open {
                continue;
            }
            part.unroutable = false;
            let shard = match (&part.target, &part.retry_state) {
                (Target::Slot(slot), None) if at_primaries && homes.is_empty() => {
                    topology.owner(*slot)
                }
                _ => None,
            };
            if let Some(shard) = shard
                && let at @ 1.. = primaries[shard]
            {
                batches[at as usize - 1].add(number as u32, part.preludes > 0);
                continue;
            }
            part.recheck = false;
            let mixed = part.preludes > 0 || part.is_changed();
            let roams = self.replica_eligible(part);
            // The reads of a slot go to one node.
            if let (true, Some(slot), None) = (roams, part.slot(), part.redirect_target())
                && let Some(picked) = picks.get(&slot)
            {
                if let Some(index) = picked.index {
                    self.count_read(&topology.nodes[index], &picked.selection);
                }
                batches[picked.batch].add(number as u32, mixed);
                continue;
            }
            // So do those of a slot that are sent again, also where one was told to go elsewhere and
            // the other was not: side by side at two nodes, the later one might run first.
            // And those of one whose primary has been failing: each would try another node in its place.
            let again = match part.target {
                Target::Slot(slot) if !part.is_asking() => Some(slot),
                _ => None,
            };
            let stands_in = again;
            let again = again.filter(|_| self.tries > 0 || !homes.is_empty());
            let again = again.filter(|slot| !roams || at_primaries || self.is_written(*slot));
            match again.and_then(|slot| homes.get(&slot)) {
                None => {}
                Some(Some(batch)) => {
                    batches[*batch].add(number as u32, mixed);
                    continue;
                }
                Some(None) => {
                    let error = unserved(part.slot().unwrap_or_default(), part.name);
                    self.unroutable(part, error);
                    part.unroutable = true;
                    continue;
                }
            }
            let what = (roams, part.name);
            match self.place(&part.target, part.redirect_target(), what, topology) {
                Ok(place) => {
                    let at = batch_for(&place, known, &mut batches, topology.nodes.len(), room);
                    let home = again.or(stands_in.filter(|_| place.index.is_none()));
                    homes.extend(home.map(|slot| (slot, Some(at))));
                    // Only a primary that is well has an index when nobody chooses.
                    if let (Some(shard), Some(_)) = (shard, place.index) {
                        primaries[shard] = at as u32 + 1;
                    }
                    batches[at].add(number as u32, mixed);
                    if let (true, true, Some(slot)) =
                        (roams, self.consistency.is_some(), part.slot())
                    {
                        let (index, selection) = (place.index, place.selection);
                        let picked = ChosenForSlot {
                            batch: at,
                            index,
                            selection,
                        };
                        picks.insert(slot, picked);
                    }
                }
                Err(error) => {
                    homes.extend(again.map(|slot| (slot, None)));
                    self.unroutable(part, error);
                    part.unroutable = true;
                }
            }
        }
        let call = if self.tries == 0 {
            self.call
        } else {
            self.call.attempt(now())
        };
        let batch_errors = match self.consistency {
            None => send_and_receive(&mut batches, parts, reply, &call),
            Some(_) => self.send_and_receive_timed(&mut batches, parts, reply, &call),
        };
        *slot = Some(whole);
        self.check_freshness_all(parts, slot, &batches, &picks, topology);
        self.apply_outcomes(parts, topology, slot, &batches, &batch_errors, &picks);
        if single && let Some(reply) = slot {
            reply.root = reply.answers[0];
            reply.answers.clear();
        }
    }

    /// The same as [`Execution::run_timed`] for several.
    fn send_and_receive_timed(
        &self,
        batches: &mut [NodeBatch],
        parts: &[RoutedCommand<'_>],
        reply: &mut Reply,
        call: &Call<'_>,
    ) -> BatchErrors {
        let peers: Vec<_> = batches
            .iter()
            .map(|batch| (batch.peer.clone(), batch.len() as u32))
            .collect();
        let in_flight: Vec<_> = peers
            .iter()
            .map(|(peer, commands)| peer.load.track_in_flight(*commands))
            .collect();
        let batch_errors = send_and_receive(batches, parts, reply, call);
        drop(in_flight);
        if self.policy.read_from == ReadFrom::Nearest {
            for batch in batches.iter().filter(|f| f.kind().is_readonly()) {
                if let Some(trip) = batch.rtt() {
                    batch.peer.load.record_rtt(now(), trip);
                }
            }
        }
        batch_errors
    }
}

/// The batch to a place, begun if requirement be; `known` has one more than its number, by the node's, and
/// behind all `nodes` of them the same for connections that say READONLY.
fn batch_for(
    place: &Destination<'_>,
    known: &mut [u32],
    batches: &mut Vec<NodeBatch>,
    nodes: usize,
    room: usize,
) -> usize {
    let row = match place.kind.is_readonly() {
        true => nodes,
        false => 0,
    };
    let known = place.index.and_then(|i| known.get_mut(row + i));
    if let Some(at @ 1..) = known.as_deref().copied() {
        return at as usize - 1;
    }
    let at = batches
        .iter()
        .position(|f| Arc::ptr_eq(&f.peer, place.peer) && f.kind() == place.kind)
        .unwrap_or_else(|| {
            batches.push(NodeBatch::new(place.peer.clone(), place.kind, room));
            batches.len() - 1
        });
    if let Some(known) = known {
        *known = at as u32 + 1;
    }
    at
}
