//! One node: the connections to it, how threads share them, and how a call waits.
//!
//! The modules import each other downwards only, in this order:
//!
//! | module | contents |
//! |---|---|
//! | `peer` | a node as the client uses it: its state and its pools |
//! | `pool` | how threads share the connections of one kind, and the connector that opens them |
//! | `node` | what is known about a node: health, load, replica freshness, counters |
//! | `conn` | one connection: stream, TLS, handshake, replies |
//! | `resolver` | the addresses of a host |
//! | `wait` | the context of a call: deadline, cancellation, wait callback |
//! | `sys` | system calls |

mod conn;
mod node;
mod peer;
mod pool;
pub mod resolver;
mod sys;
mod wait;

pub use conn::{
    Chunk, Connection, ConnectionKind, CredentialCounters, CredentialStore, Greeting, MemoryBudget,
    ReportedIdentity, ReportedRole, Security, TakenReply, is_node_id, release_time,
};
pub use node::{
    ExpectedRole, FreshnessProof, Health, Link, NodeCounters, NodeIdentity, NodeLoad, NodeState,
    OffsetSample, ReplicaFreshness,
};
pub use peer::{Peer, PeerContext};
pub use pool::TryAcquire;
pub use sys::{
    DescriptorRegistry, OUT, PollFd, PthreadCancelDisabled, Recv, interest, is_privileged,
    process_number,
};
pub use sys::{close, fire, has_events_of, new_event};
pub use wait::{
    Attempt, Call, CancelFlag, POLL_INTERVAL, TaskNumber, TaskSet, Wakers, no_answer,
    set_wait_callback,
};
