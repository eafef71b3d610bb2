//! The one retry loop: send what is open, look at what came back, and go round until nothing is
//! open or the time is up. A single command is an exchange of one part.

mod judge;
mod part;
mod place;

pub use part::{Part, Target};
use place::Place;

use super::core::{Core, Process};
use super::flight::{Flight, fly};
use super::refresh::{backoff, to_and_fro};
use super::stats::count;
use crate::config::ReadFrom;
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::{Call, Peer, Uncancelled, Use};
use crate::resp::{Answer, Kind, Reply, flag};
use crate::topology::{Node, Topology};
use crate::world::{layer, rng};
use rand::Rng;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where the reply goes: made when there is something to put into it, so that one that comes
/// whole is not copied.
pub type Slot = Option<Box<Reply>>;

/// How a handle's commands are treated.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub kind: Use,
    pub read_from: ReadFrom,
    pub retry_writes: bool,
    pub max_redirects: u32,
    pub timeout_ms: u64,
    pub attempt_ms: u64,
}

pub struct Exchange<'c> {
    core: &'c Core,
    process: &'c Process,
    manner: Manner,
    call: Call<'c>,
    /// Chooses among replicas: the same for all commands of a slot.
    seed: u64,
    tries: u32,
    /// Nodes that were asked in vain.
    shunned: Vec<usize>,
    /// Slots that the pipeline writes: their reads go to the primary too.
    written: Option<Box<[u64; 256]>>,
    /// The topology should be learned again when there is time.
    stale: bool,
    wait: bool,
    /// How often one of the commands has been redirected beyond what a migration explains.
    to_and_fro: u32,
    refresh: bool,
    /// A read would have gone to a replica, had there been one.
    missed_replicas: Cell<bool>,
    _uncancelled: Uncancelled,
}

impl<'c> Exchange<'c> {
    #[inline]
    pub fn new(core: &'c Core, process: &'c Process, manner: Manner, call: Call<'c>) -> Self {
        Exchange {
            core,
            process,
            manner,
            call,
            seed: 0,
            tries: 0,
            shunned: Vec::new(),
            written: None,
            stale: false,
            wait: false,
            to_and_fro: 0,
            refresh: false,
            missed_replicas: Cell::new(false),
            _uncancelled: Uncancelled::begin(),
        }
    }

    /// Runs all parts; their answers are in `reply`: at its root if it was made without answers,
    /// else one for each part.
    pub fn run(mut self, parts: &mut [Part<'_>], reply: &mut Slot) {
        if self.manner.read_from != ReadFrom::Primary {
            self.seed = rng().random();
            if parts.len() > 1 {
                self.note_writes(parts);
            }
        }
        loop {
            self.wait = false;
            self.to_and_fro = 0;
            self.refresh = false;
            {
                let topology = self.process.topology.load();
                match parts {
                    [part] if !part.is_asking() && part.preludes == 0 => {
                        if part.open {
                            self.alone(part, &topology, reply);
                        }
                    }
                    _ => self.together(parts, &topology, reply),
                }
            }
            if parts.iter().all(|p| !p.open) {
                break;
            }
            if !self.pause(parts, reply) {
                break;
            }
        }
        if self.stale || (self.missed_replicas.get() && self.may_look_for_replicas()) {
            self.core.refresh_if_due(self.process, &self.call);
        }
    }

    /// Whether it is time to look for replicas where there have been none.
    fn may_look_for_replicas(&self) -> bool {
        self.call.began.millis() >= self.process.look_for_replicas.load(Ordering::Relaxed)
    }

    /// Between two rounds: learns and waits as is called for. False if the time is up.
    fn pause(&mut self, parts: &mut [Part<'_>], reply: &mut Slot) -> bool {
        layer!(Cluster);
        self.tries += 1;
        count(&self.core.stats.retries);
        let over = |call: &Call<'_>| {
            call.look().err().or_else(|| {
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
            let until = match self.to_and_fro {
                0 => backoff(self.tries - 1),
                n => to_and_fro(n - 1),
            };
            let until = until.min(self.call.deadline);
            end = self.call.sleep(until).err();
        }
        let Some(end) = end.or_else(|| over(&self.call)) else {
            return true;
        };
        for (number, part) in parts.iter_mut().enumerate().filter(|(_, p)| p.open) {
            let error = match (part.last(), end.code) {
                // What has kept it from succeeding tells more than that the time is up.
                (Some(last), Code::Timeout) => {
                    let mut error = last.clone();
                    error.message = format!(
                        "{} (gave up after {} ms)",
                        error.message, self.manner.timeout_ms
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
    fn close(&self, part: &mut Part<'_>, number: usize, reply: &mut Slot, error: &Error) {
        let mut answer = reply.get_or_insert_default().store_error(error);
        answer.value.flags |= flag::ANSWER;
        self.answer(part, number, reply, answer);
    }

    fn answer(&self, part: &mut Part<'_>, number: usize, reply: &mut Slot, answer: Answer) {
        part.open = false;
        let reply = reply.get_or_insert_default();
        match reply.answers.get_mut(number) {
            Some(place) => *place = answer,
            None => reply.root = answer,
        }
    }

    /// One command by itself: it shares a connection with whatever other threads send.
    fn alone(&mut self, part: &mut Part<'_>, topology: &Topology, reply: &mut Slot) {
        let (target, toward) = (part.target.clone(), part.toward().cloned());
        let what = (part.read, part.name);
        let place = match self.place(&target, toward.as_ref(), what, topology) {
            Ok(place) => place,
            Err(error) => return self.homeless(part, error),
        };
        let call = if self.tries == 0 {
            self.call
        } else {
            self.call.attempt(now())
        };
        let until = call.patience(call.began);
        let got = place
            .peer
            .call(self.manner.kind, &part.body(), &call, until);
        self.take(part, got, &place, reply);
    }

    /// What came of one command by itself.
    fn take(
        &mut self,
        part: &mut Part<'_>,
        got: Result<Box<Reply>>,
        place: &Place<'_>,
        reply: &mut Slot,
    ) {
        match got {
            Ok(mut got) => {
                got.root.value.flags |= flag::ANSWER | flag::SENT;
                let failed = got.root.value.kind == Kind::Error;
                match reply {
                    Some(whole) if !whole.answers.is_empty() => {
                        whole.answers[0] = whole.absorb(*got);
                    }
                    _ => *reply = Some(got),
                }
                if failed {
                    self.judge(part, 0, reply, place, None);
                } else {
                    place.peer.health.worked();
                    part.open = false;
                }
            }
            Err(error) => self.judge_failure(part, 0, reply, place, error),
        }
    }

    /// One command whose first attempt has been made already.
    #[cold]
    pub fn resume(
        mut self,
        mut part: Part<'_>,
        got: Result<Box<Reply>>,
        node: &Node,
    ) -> Box<Reply> {
        let mut reply = None;
        self.take(&mut part, got, &Place::of_node(node, false), &mut reply);
        let mut parts = [part];
        if parts[0].open && !self.pause(&mut parts, &mut reply) {
            return reply.unwrap_or_default();
        }
        self.run(&mut parts, &mut reply);
        reply.unwrap_or_default()
    }

    /// Nobody to send it to: as with a cluster that is down.
    #[cold]
    fn homeless(&mut self, part: &mut Part<'_>, error: Error) {
        count(&self.core.stats.clusterdown);
        part.trouble().last = Some(error);
        self.wait = true;
        self.refresh = true;
    }

    /// Several commands, or one that needs a connection of its own.
    fn together(&mut self, parts: &mut [Part<'_>], topology: &Topology, slot: &mut Slot) {
        let mut whole = slot.take().unwrap_or_default();
        let reply = &mut *whole;
        let single = reply.answers.is_empty();
        if single {
            reply.answers.push(Answer::NIL);
        }
        let mut flights: Vec<Flight> = Vec::with_capacity(topology.shards.len().min(parts.len()));
        // How many each will carry, more or less.
        let each = parts.len() / topology.shards.len().max(1);
        let room = (each + each / 4 + 4).min(parts.len());
        // The flight to each node and to each shard's primary, or 0; others are searched for.
        let mut known: Vec<u32> = vec![0; topology.nodes.len() + topology.shards.len()];
        let (known, primaries) = known.split_at_mut(topology.nodes.len());
        // Then most commands go where another of their shard went before.
        let at_primaries = self.manner.read_from == ReadFrom::Primary;
        for (number, part) in parts.iter_mut().enumerate() {
            if !part.open {
                continue;
            }
            part.homeless = false;
            let shard = match (&part.target, &part.trouble) {
                (Target::Slot(slot), None) if at_primaries => topology.owner(*slot),
                _ => None,
            };
            if let Some(shard) = shard
                && let at @ 1.. = primaries[shard]
            {
                flights[at as usize - 1].add(number as u32, part.preludes > 0);
                continue;
            }
            let fresh = |peer| Flight::new(peer, self.manner.kind, room);
            match self.place(
                &part.target,
                part.toward(),
                (part.read, part.name),
                topology,
            ) {
                Ok(place) => {
                    let at = flight_to(&place, known, &mut flights, fresh);
                    // Only a primary that is well has an index when nobody chooses.
                    if let (Some(shard), Some(_)) = (shard, place.index) {
                        primaries[shard] = at as u32 + 1;
                    }
                    flights[at].add(number as u32, part.preludes > 0 || part.is_changed());
                }
                Err(error) => {
                    self.homeless(part, error);
                    part.homeless = true;
                }
            }
        }
        let call = if self.tries == 0 {
            self.call
        } else {
            self.call.attempt(now())
        };
        let landed = fly(&mut flights, parts, reply, &call);
        *slot = Some(whole);
        self.settle(parts, topology, slot, &flights, &landed);
        if single && let Some(reply) = slot {
            reply.root = reply.answers[0];
            reply.answers.clear();
        }
    }
}

/// The flight to a place, begun if need be; `known` has one more than its number, by the node's.
fn flight_to(
    place: &Place<'_>,
    known: &mut [u32],
    flights: &mut Vec<Flight>,
    fresh: impl Fn(Arc<Peer>) -> Flight,
) -> usize {
    if let Some(at @ 1..) = place.index.map(|i| known[i]) {
        return at as usize - 1;
    }
    let at = flights
        .iter()
        .position(|f| Arc::ptr_eq(&f.peer, place.peer))
        .unwrap_or_else(|| {
            flights.push(fresh(place.peer.clone()));
            flights.len() - 1
        });
    if let Some(index) = place.index {
        known[index] = at as u32 + 1;
    }
    at
}
