//! The nodes that serve the reads of a round where nothing has to be proven. They are looked at once for each shard, so that
//! all reads of a slot go to one node whatever happens meanwhile.

use super::exec_state::ExecState;
use super::replica_selection::count_reads;
use crate::config::ReadFrom;
use crate::random::mixed;
use crate::topology::{Node, Shard, Topology};
use std::sync::Arc;

/// The nodes for the reads of a round.
pub(super) struct PlainReaders {
    read_from: ReadFrom,
    seed: u64,
    /// By shard.
    shards: Vec<Option<Usable>>,
    /// The number of reads of each node, by its index.
    reads: Vec<u32>,
}

/// The nodes of a shard that are healthy and idle.
#[derive(Clone, Copy)]
struct Usable {
    /// A bit for each node, the primary first.
    nodes: u64,
    /// The number of the first node that may be read from, and how many there are.
    first: u32,
    count: u32,
}

impl PlainReaders {
    /// None where the choice of a node is not that simple.
    pub(super) fn new(state: &ExecState<'_>, topology: &Topology) -> Option<PlainReaders> {
        let read_from = state.policy.read_from;
        let is_plain = state.tries == 0
            && matches!(read_from, ReadFrom::Any | ReadFrom::Replica)
            && state.accepts_any_reply()
            && !state.policy.kind.is_blocking();
        is_plain.then(|| PlainReaders {
            read_from,
            seed: state.seed,
            shards: vec![None; topology.shards.len()],
            reads: vec![0; topology.nodes.len()],
        })
    }

    /// The node for a read of a slot of this shard, if its choice is simple.
    #[inline]
    pub(super) fn choose<'t>(
        &mut self,
        shards: &'t [Shard],
        shard: usize,
        slot: u16,
    ) -> Option<&'t Arc<Node>> {
        let of_shard = &shards[shard];
        let usable = match self.shards[shard] {
            Some(usable) => usable,
            None => *self.shards[shard].insert(Usable::of(of_shard, self.read_from)),
        };
        let random = u128::from(mixed(self.seed, slot.into()));
        let number = usable.first + ((random * u128::from(usable.count)) >> 64) as u32;
        if (usable.nodes >> number) & 1 == 0 {
            return None;
        }
        let node = match number {
            0 => of_shard.primary.as_ref()?,
            n => &of_shard.replicas[n as usize - 1],
        };
        self.reads[node.index] += 1;
        Some(node)
    }

    /// Counts the reads, at the nodes that have any: the others may never have been used.
    pub(super) fn count(&self, state: &ExecState<'_>, topology: &Topology) {
        let shards = topology.shards.iter().zip(&self.shards);
        for (shard, _) in shards.filter(|(_, usable)| usable.is_some()) {
            let primary = shard.primary.as_ref();
            for node in shard.nodes().filter(|node| self.reads[node.index] > 0) {
                let is_primary = primary.is_some_and(|primary| Arc::ptr_eq(primary, node));
                count_reads(state.core, node, is_primary, self.reads[node.index]);
            }
        }
    }
}

impl Usable {
    #[cold]
    fn of(shard: &Shard, read_from: ReadFrom) -> Usable {
        let first = u32::from(read_from == ReadFrom::Replica);
        // Without replicas, or with more than fit, a node is chosen in the other way.
        let (nodes, count) = match (&shard.primary, shard.replicas.len() as u32) {
            (Some(_), replicas @ 1..64) => {
                let is_usable = |node: &Arc<Node>| {
                    let state = node.peer.state_if_used();
                    state.is_none_or(|s| s.health.is_healthy() && s.load.in_flight() == 0)
                };
                let bits = shard.nodes().zip(0..);
                let nodes = bits.map(|(node, bit)| u64::from(is_usable(node)) << bit);
                (nodes.sum(), 1 + replicas - first)
            }
            _ => (0, 0),
        };
        Usable {
            nodes,
            first,
            count,
        }
    }
}
