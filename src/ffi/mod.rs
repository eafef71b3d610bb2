//! The C ABI. Each function checks its arguments, calls the library and converts the result; nothing
//! is decided here.
//!
//! The doc comments of these modules are the manual: cbindgen copies them into
//! include/rediscluster.h.

mod args;
mod constants;
mod environment_log;
mod exclusive;
mod handle;
mod panic_boundary;
mod registry;
mod reply_layout;

// The chapters of the header.
pub mod callbacks;
pub mod client;
pub mod command;
pub mod introspect;
pub mod pipeline;
pub mod queue;
pub mod reply;
pub mod subscriber;

// A client handle is a pointer that contains a 32-bit index and a 32-bit generation.
const _: () = assert!(usize::BITS == 64);
