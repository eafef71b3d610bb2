//! Real servers that work as they should. One test at a time: the nodes of a busy machine call each other failed.

#[path = "../common/mod.rs"]
mod common;

mod authentication;
mod blocking;
mod commands;
mod handles;
mod modules;
#[cfg(feature = "tls")]
mod pki;
mod readonly;
mod redirects;
mod resolver;
mod scan;
mod scripts;
mod shards;
#[cfg(feature = "tls")]
mod tls;
mod transactions;
