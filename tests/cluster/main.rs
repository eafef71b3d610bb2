//! Real servers that work as they should. One test at a time: the nodes of a busy machine call each other failed.

#[path = "../common/mod.rs"]
mod common;

mod blocking;
mod commands;
#[cfg(feature = "tls")]
mod pki;
mod resolver;
mod scan;
#[cfg(feature = "tls")]
mod tls;
