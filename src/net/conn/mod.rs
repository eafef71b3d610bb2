//! One connection: the byte stream, TLS, the handshake, and what is in flight on it.

mod connection;
mod connection_kind;
mod credential_store;
mod endpoint;
mod handshake;
mod memory_budget;
mod reauthentication;
mod recv_buffer;
mod refusal;
mod release_time;
mod reported_identity;
mod reported_role;
mod security;
mod stream;
mod text_file;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod watched_files;

pub use connection::{Connection, TakenReply};
pub use connection_kind::ConnectionKind;
pub use credential_store::{
    CredentialCounters, CredentialStore, CredentialVersion, FIRST_CREDENTIALS,
};
pub use endpoint::Endpoint;
pub use handshake::{Greeting, HandshakeError, HandshakePlan, Opening, handshake};
pub use memory_budget::MemoryBudget;
pub use reauthentication::{Reauthentication, reauthenticate};
pub use recv_buffer::Chunk;
pub use refusal::are_credentials_refused;
pub use release_time::release_time;
pub use reported_identity::{ReportedIdentity, is_node_id};
pub use reported_role::ReportedRole;
pub use security::Security;
pub use stream::Stream;
