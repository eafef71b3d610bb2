//! Names a shard across versions of the topology.

/// A shard, by its index in a version of the topology. The index behind the last one stands for slots that no shard serves.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct ShardNumber {
    pub(super) version: u64,
    pub(super) index: usize,
}

impl ShardNumber {
    /// Whether no slot is in both shards.
    pub(super) fn is_apart(self, other: ShardNumber) -> bool {
        self.version == other.version && self.index != other.index
    }
}
