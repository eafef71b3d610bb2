//! Names a shard across versions of the topology.

/// A shard, by its index in a version of the topology. The index behind the last one stands for slots that no shard serves.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct ShardNumber {
    pub(super) version: u64,
    pub(super) index: usize,
}
