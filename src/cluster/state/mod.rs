//! What all handles on one cluster share.

mod core;
mod refresh;
mod scripts;
mod stats;

pub use core::{Core, ProcessState};
pub use refresh::{Refresh, backoff, redirect_backoff};
pub use scripts::{Scripts, concerns};
pub use stats::{ROWS, Stats, count, statistics};
