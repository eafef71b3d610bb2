//! One connection: the byte stream, TLS, the handshake, and what is in flight on it.

mod connection;
mod connection_kind;
mod endpoint;
mod handshake;
mod memory_budget;
mod recv_buffer;
mod refusal;
mod release_time;
mod reported_identity;
mod reported_role;
mod stream;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;

pub use connection::Connection;
pub use connection_kind::ConnectionKind;
pub use endpoint::Endpoint;
pub use handshake::{Greeting, HandshakeError, HandshakePlan, Opening, handshake};
pub use memory_budget::MemoryBudget;
pub use recv_buffer::Chunk;
pub use release_time::release_time;
pub use reported_identity::{ReportedIdentity, is_node_id};
pub use reported_role::ReportedRole;
pub use stream::Stream;
pub use tls::Tls;
