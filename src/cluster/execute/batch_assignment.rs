//! Assigns the commands of a round to node batches.
//!
//! Most commands join the batch of their shard's primary. The others follow the rules of their slot:
//! the first command that a rule applies to chooses a node, and later ones join its batch.
//!
//! Reads of a handle that reads from replicas mostly join the batch of one of the [`PlainReaders`].
//!
//! | rule | applies to | reason |
//! |---|---|---|
//! | `ReplicaRead` | reads that a replica may answer | later reads must not be older than earlier ones |
//! | `SameNode` | commands that are sent again | at two nodes the later one might run first |
//! | `SameNode` | commands whose primary is failing | each would try another node in its place |
//!
//! The rules do not apply to a command that follows ASK: its key has moved, and keys that have not moved are different
//! keys.

use super::destination::{Destination, ReplicaChoice, unowned_slot};
use super::exec_state::ExecState;
use super::node_batch::NodeBatch;
use super::node_selection::RouteRequest;
use super::plain_readers::PlainReaders;
use super::routed_command::{RoutedCommand, Target};
use crate::config::ReadFrom;
use crate::error::Result;
use crate::topology::{Shard, Topology};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why commands of a slot go to one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SlotRule {
    /// Reads that a replica may answer.
    ReplicaRead,
    /// Commands that are sent again, or whose primary is failing.
    SameNode,
}

/// The destination of the commands that follow a rule.
#[derive(Clone, Copy)]
enum SlotEntry {
    /// They join a batch, by its position while batches are assigned.
    Batch {
        batch: usize,
        /// Of reads: the index of the chosen node, and how it was chosen.
        index: Option<usize>,
        choice: ReplicaChoice,
    },
    /// No node can take them in this round.
    Unroutable,
}

/// The rules that apply to a command, each with its slot.
#[derive(Clone, Copy)]
struct SlotRules {
    replica_read: Option<u16>,
    same_node: Option<u16>,
    /// Follows `SameNode` if a stand-in for a failing primary is chosen.
    stand_in: Option<u16>,
}

/// The node batches of a round, and which command joins which.
pub(super) struct BatchTable<'t> {
    pub(super) topology: &'t Topology,
    pub(super) batches: Vec<NodeBatch>,
    /// Whether every command is a read.
    pub(super) reads_only: bool,
    /// How many commands a batch has room for at first.
    capacity: usize,
    /// Positions of batches plus one, or 0 for none. First by shard: the batch to its primary. Then by node: the batch
    /// to the node. Then by node again: the batch on a connection that has sent READONLY. A batch to a peer outside the
    /// topology is found by a search.
    joined: Vec<u32>,
    slots: BTreeMap<(u16, SlotRule), SlotEntry>,
    at_primaries: bool,
    /// No rule can apply to a command without a retry state.
    is_plain: bool,
    /// An entry of `slots` follows [`SlotRule::SameNode`].
    has_same_node: bool,
    readers: Option<PlainReaders>,
}

impl<'t> BatchTable<'t> {
    pub(super) fn new(
        state: &ExecState<'_>,
        topology: &'t Topology,
        commands: usize,
    ) -> BatchTable<'t> {
        let (shards, nodes) = (topology.shards.len(), topology.nodes.len());
        // A handle that reads from replicas may have two batches to a node.
        let kinds = 1 + usize::from(state.consistency.is_some());
        let share = commands / shards.max(1);
        let at_primaries = state.policy.read_from == ReadFrom::Primary;
        BatchTable {
            topology,
            batches: Vec::with_capacity(shards.min(commands)),
            reads_only: true,
            capacity: (share + share / 4 + 4).min(commands),
            joined: vec![0; shards + nodes * kinds],
            slots: BTreeMap::new(),
            at_primaries,
            is_plain: at_primaries,
            has_same_node: false,
            readers: PlainReaders::new(state, topology),
        }
    }

    /// The shard whose primary gets the command, if no rule can apply: the command has no retry state, and no slot has
    /// been redirected in this round.
    #[inline]
    fn plain_shard(&self, command: &RoutedCommand<'_>) -> Option<usize> {
        match (&command.target, &command.retry_state) {
            (Target::Slot(slot), None) if self.is_plain => self.topology.owner(*slot),
            _ => None,
        }
    }

    /// Adds a command to the batch of its shard's primary, if an earlier command has begun that batch.
    #[inline]
    pub(super) fn join_primary(&mut self, number: usize, command: &RoutedCommand<'_>) -> bool {
        if let Some(shard) = self.plain_shard(command)
            && let batch @ 1.. = self.joined[shard]
        {
            self.batches[batch as usize - 1].add(number as u32, command.preludes > 0);
            return true;
        }
        false
    }

    /// Adds a read to the batch of a node that may serve it, if the choice of the node is simple.
    #[inline]
    pub(super) fn join_reader(
        &mut self,
        state: &ExecState<'_>,
        number: usize,
        command: &RoutedCommand<'_>,
    ) -> bool {
        if self.readers.is_none() {
            return false;
        }
        let slot = match (&command.target, &command.retry_state) {
            (Target::Slot(slot), None) if command.read && !state.is_written(*slot) => *slot,
            _ => return false,
        };
        let batch = self.reader_of(state, slot);
        if let Some(batch) = batch {
            self.batches[batch].add(number as u32, is_special(command));
        }
        batch.is_some()
    }

    /// The batch to the node that serves a read of a slot, if its choice is simple.
    #[inline]
    fn reader_of(&mut self, state: &ExecState<'_>, slot: u16) -> Option<usize> {
        let (shards, shard) = (&self.topology.shards, self.topology.owner(slot)?);
        let node = self.readers.as_mut()?.choose(shards, shard, slot)?;
        let joined = self.topology.shards.len() + self.topology.nodes.len() + node.index;
        Some(match self.joined[joined] {
            0 => self.batch_to(&Destination::of_node(node, true, state.policy.kind)),
            batch => batch as usize - 1,
        })
    }

    /// The batch to the primary of a slot, if it is healthy.
    #[inline(always)]
    fn primary_of(&mut self, state: &ExecState<'_>, slot: u16) -> Option<usize> {
        let shard = self.topology.owner(slot)?;
        match self.joined[shard] {
            0 => self.begin_at_primary(state, shard),
            batch => Some(batch as usize - 1),
        }
    }

    #[inline(never)]
    fn begin_at_primary(&mut self, state: &ExecState<'_>, shard: usize) -> Option<usize> {
        let primary = self.topology.shards.get(shard)?.primary.as_ref()?;
        let kind = state.policy.kind.at_primary();
        let destination = Destination::of_node(primary, false, kind);
        let batch = (primary.peer.is_healthy()).then(|| self.batch_to(&destination))?;
        self.joined[shard] = batch as u32 + 1;
        Some(batch)
    }

    /// Adds a command of this slot to the batch of a node that may execute it in a first attempt. False if the choice of
    /// the node is not simple.
    #[inline(always)]
    pub(super) fn join_plain(&mut self, state: &ExecState<'_>, number: usize, slot: u16) -> bool {
        let batch = match self.at_primaries {
            true => self.primary_of(state, slot),
            false => self.reader_of(state, slot),
        };
        if let Some(batch) = batch {
            self.batches[batch].add(number as u32, false);
        }
        batch.is_some()
    }

    /// Counts the reads that have been assigned.
    pub(super) fn count_reads(&self, state: &ExecState<'_>) {
        if let Some(readers) = &self.readers {
            readers.count(state, self.topology);
        }
    }

    /// Adds a command to the batch that the rules of its slot determine, or else to the batch of a node that is chosen
    /// now.
    pub(super) fn assign(
        &mut self,
        state: &ExecState<'_>,
        number: usize,
        command: &RoutedCommand<'_>,
    ) -> Result<()> {
        let replica_eligible = state.replica_eligible(command);
        let rules = self.rules(state, command, replica_eligible);
        if let Some(entry) = self.entry(rules) {
            return self.join(state, entry, number, command);
        }
        let shard = self.plain_shard(command);
        let request = RouteRequest::new(command, replica_eligible);
        let destination = match state.destination(&request, self.topology) {
            Ok(destination) => destination,
            Err(error) => {
                self.follow_same_node(rules.same_node, SlotEntry::Unroutable);
                return Err(error);
            }
        };
        let batch = self.batch_to(&destination);
        self.batches[batch].add(number as u32, is_special(command));
        // A node without an index is a stand-in, or the target of a redirection.
        let stand_in = rules.stand_in.filter(|_| destination.index.is_none());
        let entry = |index, choice| SlotEntry::Batch {
            batch,
            index,
            choice,
        };
        self.follow_same_node(
            rules.same_node.or(stand_in),
            entry(None, ReplicaChoice::NONE),
        );
        if let (Some(shard), Some(_)) = (shard, destination.index) {
            self.joined[shard] = batch as u32 + 1;
        }
        if replica_eligible
            && state.consistency.is_some()
            && let Some(slot) = command.slot()
        {
            let entry = entry(destination.index, destination.choice);
            self.slots.insert((slot, SlotRule::ReplicaRead), entry);
        }
        Ok(())
    }

    /// Adds a command to the batch of an earlier one.
    fn join(
        &mut self,
        state: &ExecState<'_>,
        entry: SlotEntry,
        number: usize,
        command: &RoutedCommand<'_>,
    ) -> Result<()> {
        let SlotEntry::Batch {
            batch,
            index,
            choice,
        } = entry
        else {
            let slot = command.slot().unwrap_or_default();
            return Err(unowned_slot(slot, command.name));
        };
        if let Some(index) = index {
            state.count_choice(&self.topology.nodes[index], &choice);
        }
        self.batches[batch].add(number as u32, is_special(command));
        Ok(())
    }

    fn rules(
        &self,
        state: &ExecState<'_>,
        command: &RoutedCommand<'_>,
        replica_eligible: bool,
    ) -> SlotRules {
        let slot = match command.target {
            Target::Slot(slot) | Target::Writes(slot) if !command.is_asking() => Some(slot),
            _ => None,
        };
        // Commands may have been redirected, and go to a primary.
        let is_redirecting = state.tries > 0 || self.has_same_node;
        let needs_primary = |slot| !replica_eligible || self.at_primaries || state.is_written(slot);
        SlotRules {
            replica_read: command
                .slot()
                .filter(|_| replica_eligible && command.redirect_target().is_none()),
            same_node: slot.filter(|slot| is_redirecting && needs_primary(*slot)),
            stand_in: slot,
        }
    }

    /// The destination of an earlier command that follows one of these rules.
    fn entry(&self, rules: SlotRules) -> Option<SlotEntry> {
        let keys = [
            (rules.replica_read, SlotRule::ReplicaRead),
            (rules.same_node, SlotRule::SameNode),
        ];
        keys.into_iter()
            .find_map(|(slot, rule)| self.slots.get(&(slot?, rule)))
            .copied()
    }

    fn follow_same_node(&mut self, slot: Option<u16>, entry: SlotEntry) {
        if let Some(slot) = slot {
            self.slots.insert((slot, SlotRule::SameNode), entry);
            self.has_same_node = true;
            self.is_plain = false;
        }
    }

    /// The position of the batch to a destination. Begins a batch if there is none.
    fn batch_to(&mut self, destination: &Destination<'_>) -> usize {
        let first = self.topology.shards.len()
            + match destination.kind.is_readonly() {
                true => self.topology.nodes.len(),
                false => 0,
            };
        let joined = (destination.index).and_then(|index| self.joined.get_mut(first + index));
        if let Some(batch @ 1..) = joined.as_deref().copied() {
            return batch as usize - 1;
        }
        let is_same =
            |b: &NodeBatch| Arc::ptr_eq(&b.peer, destination.peer) && b.kind() == destination.kind;
        let batch = self.batches.iter().position(is_same).unwrap_or_else(|| {
            let peer = destination.peer.clone();
            let batch = NodeBatch::new(peer, destination.kind, self.capacity);
            self.batches.push(batch);
            self.batches.len() - 1
        });
        if let Some(joined) = joined {
            *joined = batch as u32 + 1;
        }
        batch
    }

    /// The destination of a command of a batch, with how that node was chosen.
    pub(super) fn destination_of<'b>(
        &self,
        batch: &'b NodeBatch,
        command: &RoutedCommand<'_>,
    ) -> Destination<'b> {
        let mut destination = Destination::of_peer(&batch.peer, batch.kind());
        let slot = command.slot().filter(|_| command.read);
        if let Some(SlotEntry::Batch { index, choice, .. }) =
            slot.and_then(|slot| self.slots.get(&(slot, SlotRule::ReplicaRead)))
        {
            destination.index = *index;
            destination.choice = *choice;
            destination.any_replica_ok = true;
        }
        destination
    }

    /// The same for a command that failed there: with the node's index and role in the topology.
    pub(super) fn failed_destination_of<'b>(
        &self,
        batch: &'b NodeBatch,
        command: &RoutedCommand<'_>,
    ) -> Destination<'b> {
        let node = self.topology.node_at(batch.peer.address());
        let node = node.filter(|n| Arc::ptr_eq(&n.peer, &batch.peer));
        let is_primary = |shard: &Shard| {
            let primary = shard.primary.as_ref();
            primary.is_some_and(|p| Arc::ptr_eq(&p.peer, &batch.peer))
        };
        let is_primary = self.topology.shards.iter().any(is_primary);
        let mut destination = self.destination_of(batch, command);
        destination.index = node.map(|n| n.index);
        // The node of a read was chosen among all that may serve it.
        destination.any_replica_ok |=
            batch.kind().is_readonly() || (!self.at_primaries && !is_primary);
        if batch.kind().is_readonly() {
            destination.choice.primary = is_primary;
        }
        destination
    }
}

/// Whether a command has more than one reply, or is not sent as the caller gave it.
fn is_special(command: &RoutedCommand<'_>) -> bool {
    command.preludes > 0 || command.is_changed()
}
