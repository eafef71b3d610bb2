//! The client: plan, exchange with all nodes at once, recover, repeat.

mod client;
mod core;
mod exchange;
mod explain;
mod flight;
mod learned;
mod look;
mod moving;
mod pin;
mod pipeline;
mod promise;
mod prove;
mod refresh;
mod scan;
mod scripts;
mod session;
mod stats;

pub use client::Client;
pub use pipeline::Pipeline;
pub use stats::statistics;
