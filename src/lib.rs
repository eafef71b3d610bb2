//! A Redis/Valkey Cluster client as a C-ABI shared library.

pub mod address;
pub mod call_scope;
pub mod cluster;
pub mod config;
pub mod deadline;
pub mod error;
pub mod ffi;
pub mod fiber;
pub mod log;
pub mod net;
pub mod panics;
pub mod random;
pub mod resp;
pub mod route;
pub mod sim_hooks;
pub mod sync;
pub mod topology;

#[cfg(test)]
#[path = "../tests/simulation/mod.rs"]
mod simulation;
