//! System calls of macOS and FreeBSD, and of what both have in common with other systems.
//!
//! Linux compiles this with `--cfg rdc_portable`, to run the tests with it; kqueue is emulated then.

mod event;
mod fork_mark;
mod kqueue;
mod poll;
mod poll_set;
mod sleepers;
mod socket;
mod socket_identity;
mod timer;
mod uncancelled;

#[cfg(target_os = "linux")]
#[path = "../../../../tests/portable/kqueue_emulation.rs"]
mod kqueue_emulation;

pub use event::{clear, fire, new_event};
pub use fork_mark::process_number;
pub use poll::poll;
pub use poll_set::{add, has_events_of, new_poll_set, remove, replace, settle, wait_poll_set};
pub use sleepers::Sleepers;
pub use socket::{close, new_stream_socket, peek, recv, send, wait_in_receive};
pub use socket_identity::{SocketIdentity, socket_identity};
pub use timer::{new_timer, set_timer};
