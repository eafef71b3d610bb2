//! A client for Redis Cluster and Valkey Cluster, and for single servers with their replicas.
//!
//! The library is written for programs in other languages, by its C interface (`include/rediscluster.h`). This is the
//! same library for programs in Rust: it blocks, starts no threads, and needs no runtime.
//!
//! ```no_run
//! use rediscluster::{Client, Code};
//!
//! fn main() -> rediscluster::Result<()> {
//!     let client = Client::open("redis://127.0.0.1:7000,127.0.0.1:7001")?;
//!     client.set("foo16706", "bar")?;
//!
//!     // Reads from primaries and replicas, and refuses writes.
//!     let readonly = client.readonly()?;
//!     let value: Option<String> = readonly.get("foo16706")?;
//!     println!("{value:?}");
//!
//!     let error = readonly.set("foo", "bar").unwrap_err();
//!     assert_eq!(error.code, Code::ReadOnly);
//!     assert!(!error.sent); // it has certainly not run
//!     Ok(())
//! }
//! ```
//!
//! - A [`Client`] is a handle on a cluster, for any number of threads. [`Client::open`] takes a URL with options, and
//!   [`Options`] takes them by name.
//! - A [`Pipeline`] sends commands together, or as a transaction.
//! - A [`Subscriber`] receives messages.
//! - A [`Reply`] owns its [`Value`]s, which [`FromValue`] converts to Rust's types.
//! - An [`Error`] has a [`Code`], says whether the command may have run, and names the node.
//!
//! The guides of the repository (`docs/`) describe replica reads, errors, TLS and the rest; what they say of
//! `rdc_command()` and so on holds for the methods here.

#[doc(hidden)]
pub mod address;
#[doc(hidden)]
pub mod call_scope;
#[doc(hidden)]
pub mod cluster;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod deadline;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod ffi;
#[doc(hidden)]
pub mod fiber;
mod interface;
#[doc(hidden)]
pub mod log;
#[doc(hidden)]
pub mod net;
#[doc(hidden)]
pub mod panics;
#[doc(hidden)]
pub mod random;
#[doc(hidden)]
pub mod resp;
#[doc(hidden)]
pub mod route;
#[doc(hidden)]
pub mod sim_hooks;
#[doc(hidden)]
pub mod sync;
#[doc(hidden)]
pub mod topology;

pub use error::{Code, Error, ErrorFields, Result};
pub use interface::{Client, FromValue, Options, Pipeline, Reply, Subscriber, Value, Waker};
pub use resp::Kind;

#[cfg(test)]
#[path = "../tests/simulation/mod.rs"]
mod simulation;
