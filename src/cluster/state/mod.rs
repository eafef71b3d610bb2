//! The state that all handles of one cluster share.

mod connect;
mod core;
mod module_commands;
mod outside_peers;
mod publications;
mod refresh;
mod refresh_state;
mod scans;
mod scripts;
mod stats;

pub use core::{Core, ProcessState};
pub use module_commands::{CommandInfo, KeyPositions};
pub use refresh::{VIEWS_PER_REFRESH, backoff, redirect_backoff};
pub use stats::{COUNTERS, count, statistics};
