//! One node: its address, the connections to it, and how a call waits for them.

mod conn;
mod node;
mod pool;
pub mod resolver;
mod sys;
mod wait;

pub use conn::{Chunk, Connection, MemoryBudget, Tls};
pub use node::{
    ConnectionKind, Descriptors, FreshnessProof, Health, Link, NodeCounters, NodeLoad,
    OffsetSample, Peer, ReplicaFreshness,
};
pub use pool::TryAcquire;
pub use sys::{CancelDisabled, ForkMark, OUT, PollFd, Recv, close, interest};
pub use wait::{Call, CancelFlag, POLL_INTERVAL, Wakers, set_wait_callback};
