//! Tests against scripted nodes. No server is started, and the tests run in parallel.

#[path = "../common/mod.rs"]
mod common;

mod connecting;
mod connections;
mod credentials;
mod databases;
mod endpoints;
mod fork;
mod identity;
mod long_lists;
mod modules;
mod partial_replies;
mod pinned;
mod process;
mod publications;
mod queues;
mod readonly;
mod redirects;
mod routing;
mod scripts;
mod secrets;
mod shards;
mod standalone;
mod threads;
mod transactions;
mod wait_callback;
mod waits;
