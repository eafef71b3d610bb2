//! Publish / subscribe, on real servers and against scripted nodes.

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod healthy;
mod keyspace;
mod listener;
mod numbered;
mod protocol;
mod slots;
