//! Which shard owns which slots, according to the servers. Only `discover` does I/O.

#[cfg(target_arch = "x86_64")]
mod carryless;
mod crc16;
mod discover;
mod info;
mod key_slot;
mod key_space;
mod known_ids;
mod node;
mod node_index;
mod owner_table;
mod parse;
mod reconcile;
mod redirect;
mod replication;
mod replication_group;
mod self_report;
mod slot_map;
mod slot_set;
mod survey;
mod view;

pub use discover::{Discovered, Discovery, RoleQuery, discover};
pub use info::current_epoch;
pub use key_slot::{SLOTS, key_slot};
pub use key_space::KeySpace;
pub use node::Node;
pub use parse::{shards, slots};
pub use reconcile::reconcile;
pub use redirect::{Redirection, redirection};
pub use replication::{ReplicationView, replication};
pub use replication_group::StandaloneView;
pub use self_report::{MigratingOut, SelfReport, parse_self_report};
#[cfg(test)]
pub use slot_map::topology as topology_of_shards;
pub use slot_map::{Shard, SlotOwners, Topology};
pub use slot_set::SlotSet;
pub use view::{ClusterView, NodeView, ShardView};
