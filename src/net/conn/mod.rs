//! One connection: the byte stream, TLS, the handshake, and what is in flight on it.

mod connection;
mod handshake;
mod memory_budget;
mod stream;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;

pub use connection::{Chunk, Connection};
pub use handshake::handshake;
pub use memory_budget::MemoryBudget;
pub use stream::Stream;
pub use tls::Tls;
