//! The client: route a command, send it to all its nodes at once, handle errors, repeat.

mod client;
mod execute;
mod explain;
mod introspect;
mod module_commands;
mod pinned_connection;
mod pipeline;
mod reads;
mod scan;
mod state;

pub use client::Client;
pub use pipeline::Pipeline;
pub use state::statistics;
