//! Which shard serves which slots. Decided from what servers say; only `discover` talks to them.

mod choose;
mod discover;
mod info;
mod map;
mod own;
mod parse;
mod redirect;
mod replication;
mod slot;
mod slots;
mod view;

pub use choose::choose;
pub use discover::{Found, discover};
pub use info::{InfoView, info};
pub use map::{Node, Shard, Topology};
pub use own::{Leaving, OwnView, own};
pub use parse::{shards, slots};
pub use redirect::{Redirection, redirection};
pub use replication::{ReplicationView, replication};
pub use slot::{SLOTS, of_key};
pub use slots::SlotSet;
pub use view::{ClusterView, NodeView, ShardView};
