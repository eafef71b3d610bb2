//! The C ABI: check, call, convert. Nothing is decided here.
//!
//! The doc comments of this floor are the manual: cbindgen puts them into
//! include/rediscluster.h, in the order of the modules below.

mod constants;
mod panic_boundary;
mod registry;
mod reply_layout;

// The chapters of the header, in their order there.
pub mod client;
pub mod command;
pub mod introspect;
pub mod pipeline;
pub mod reply;

// Handles are addresses that hold a number, a generation and a mark; 64 bits are needed.
const _: () = assert!(usize::BITS == 64);
