//! One peer: its address, the connections to it, and waiting for them.

mod ask;
mod connection;
mod door;
mod handshake;
mod lane;
mod memory;
mod pace;
mod peer;
mod poll;
pub mod resolver;
mod standing;
mod stream;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod wake;

pub use ask::set_question;
pub use connection::{Chunk, Connection};
pub use lane::Taken;
pub use memory::Memory;
pub use pace::Pace;
pub use peer::{Counts, Descriptors, Health, Peer, Use};
pub use poll::{ForkMark, OUT, PollFd, Recv, Uncancelled, close, interest};
pub use standing::{Link, Proof, Sample, Standing};
pub use tls::Tls;
pub use wake::{Alert, Call, GLANCE, Wakers};
