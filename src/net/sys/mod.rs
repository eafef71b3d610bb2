//! The system calls that the standard library has no safe form of, and [`RevocableBox`], which it has none of either.
//!
//! The files here are what the code above uses, the same on every system. `linux/` has Linux's side of it, `bsd/` that
//! of macOS and FreeBSD, whose event queues are kqueues.
//!
//! No send causes a SIGPIPE in the host process if the peer has closed: it is an error. Every descriptor is
//! close-on-exec.
//!
//! The C library's wrappers of blocking system calls are cancellation points (pthreads(7)). A cancellation unwinds the
//! stack. If it unwinds Rust frames, the process aborts; and a batch would lose its leader. So every system call
//! completes, and the cancellation takes effect after the library call. The calls that every command makes (send,
//! receive, poll) are no cancellation points. The rare ones hold a [`PthreadCancelDisabled`].

mod closed_sockets;
mod descriptor_registry;
mod event;
mod fork_mark;
mod poll;
mod poll_set;
mod privileges;
mod pthread_cancel;
mod resolve;
mod result;
mod revocable_box;
mod socket;
mod timer;
mod wake_epoch;

#[cfg(not(all(target_os = "linux", not(rdc_portable))))]
mod bsd;
#[cfg(all(target_os = "linux", not(rdc_portable)))]
mod linux;

#[cfg(not(all(target_os = "linux", not(rdc_portable))))]
use bsd as system;
#[cfg(all(target_os = "linux", not(rdc_portable)))]
use linux as system;

pub use closed_sockets::{CountedSocket, closed_sockets};
pub use descriptor_registry::{DescriptorRegistry, RegisteredSocket};
pub use event::{clear, fire, new_event};
pub use fork_mark::process_number;
pub use poll::{IN, OUT, PollFd, interest, poll};
pub use poll_set::{add, new_poll_set, remove, replace, wait_poll_set};
pub use privileges::is_privileged;
pub use pthread_cancel::PthreadCancelDisabled;
pub use resolve::{HAS_OTHER_SOURCES, resolve};
pub use revocable_box::RevocableBox;
pub use socket::{Recv, close, connect, connect_result, connect_unix, is_readable, recv, send};
pub use system::{has_events_of, new_stream_socket, settle, wait_in_receive};
pub use timer::{new_timer, set_timer};
pub use wake_epoch::{WakeEpoch, yield_now};
