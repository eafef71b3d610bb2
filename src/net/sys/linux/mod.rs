//! System calls of Linux.

mod event;
mod fork_mark;
mod poll;
mod poll_set;
mod sleepers;
mod socket;
mod socket_identity;
mod timer;

pub use event::{clear, fire, new_event};
pub use fork_mark::process_number;
pub use poll::poll;
pub use poll_set::{add, has_events_of, new_poll_set, remove, replace, settle, wait_poll_set};
pub use sleepers::Sleepers;
pub use socket::{close, new_stream_socket, peek, recv, send, wait_in_receive};
pub use socket_identity::{SocketIdentity, socket_identity};
pub use timer::{new_timer, set_timer};

/// A NULL argument of a system call.
const NULL: *const u8 = std::ptr::null();
