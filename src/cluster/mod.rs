//! The client: route a command, send it to all its nodes at once, handle errors, repeat.

mod client;
mod context;
mod dispatch;
mod event_loop;
mod execute;
mod explain;
mod fan_out;
mod introspect;
mod module_commands;
mod node_selector;
mod pinned_connection;
mod pinned_state;
mod pipeline;
mod pipeline_deferred;
mod pipeline_waits;
mod plain_call;
mod queue;
mod reads;
mod scan;
mod split;
mod state;
mod subscriber;
mod transaction;

pub use client::Client;
pub use pipeline::Pipeline;
pub use queue::{CompletedReply, Completion, Queue, Wake};
pub use state::statistics;
pub use subscriber::{DeliveredReply, Subscriber, SubscriberWake};
