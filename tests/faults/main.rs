//! Nodes that stall, die, refuse and return. Most tests measure time, so each runs alone.

#[path = "../common/mod.rs"]
mod common;
#[path = "../programs/mod.rs"]
mod programs;

mod at_most_once;
mod backoff_limits;
mod chaos;
mod connection_loss;
mod deadlines;
mod early_send;
mod failover;
mod identity;
mod interrupts;
mod isolation;
mod malformed_input;
mod messages;
mod node_loss;
mod queue_failover;
mod reply_matching;
mod reshard;
mod server_errors;
mod soak;
mod told_program;
