//! Tests against healthy real servers. One test runs at a time: with many nodes on a busy machine, nodes call each
//! other failed.

#[path = "../common/mod.rs"]
mod common;

mod authentication;
mod blocking;
#[cfg(feature = "tls")]
mod certificates;
mod commands;
mod connecting;
mod credentials;
mod databases;
#[cfg(feature = "tls")]
mod endpoints;
mod handles;
mod modules;
#[cfg(feature = "tls")]
mod pki;
mod readonly;
mod redirects;
mod refusals;
mod resolver;
mod rust_interface;
mod scan;
mod scripts;
mod shards;
mod standalone;
#[cfg(feature = "tls")]
mod tls;
mod transactions;
mod unix_sockets;
