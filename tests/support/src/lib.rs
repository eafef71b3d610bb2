//! Real Redis and Valkey servers, and scripted ones, for tests, demos and benchmarks. Linux only.
//!
//! [`Cluster`] runs real servers that form a cluster, and breaks them on demand; [`Server`] runs a single one. The
//! program `cluster` does the same for any language. [`Script`] is a scripted server, exact to the byte, for behaviour
//! that real servers do not show on demand. [`FakeCluster`] is a cluster of scripted nodes.
//!
//! Nothing here depends on the tested library.

mod admin;
mod cluster;
pub mod control;
mod error;
mod fake;
pub mod find;
mod freezer;
mod network;
mod places;
mod ports;
mod process;
mod proxy;
mod relay;
pub mod script;
mod server;
mod slot;
mod view;
pub mod wire;
pub mod words;

pub use admin::{Admin, Reply, encode};
pub use cluster::{Cluster, ClusterBuilder, Failover, Node, Role, wait_until};
pub use error::{Error, Result};
pub use fake::FakeCluster;
pub use network::Network;
pub use places::Places;
pub use proxy::{Chaos, Proxy};
pub use script::{Action, Listener, Script};
pub use server::{Server, ServerBuilder};
pub use slot::{SLOTS, slot_of};
pub use wire::Command;

/// The path of the test that a closure is written in, as `--exact` takes it: without the name of the program.
pub fn test_of<F>() -> &'static str {
    let (_program, path) = std::any::type_name::<F>().split_once("::").unwrap();
    path.split_once("::{{closure}}")
        .map_or(path, |(test, _)| test)
}
