//! The system calls that the standard library has no safe form of (Linux). The only unsafe code outside the C ABI.
//!
//! Every send carries MSG_NOSIGNAL, so that a closed peer causes an error and not a SIGPIPE in the host process. Every
//! descriptor is close-on-exec.
//!
//! The C library's wrappers of blocking system calls are cancellation points (pthreads(7)). A cancellation unwinds the
//! stack. If it unwinds Rust frames, the process aborts; and a batch would lose its leader. So every system call
//! completes, and the cancellation takes effect after the library call. The calls that every command makes (send,
//! receive, poll) bypass the C library's wrappers, which costs nothing. The rare ones hold a [`PthreadCancelDisabled`].

mod closed_sockets;
mod descriptor_registry;
mod epoll;
mod event;
mod fork_mark;
mod futex;
mod poll;
mod pthread_cancel;
mod resolve;
mod socket;
mod syscall;

pub use closed_sockets::{CountedSocket, closed_sockets};
pub use descriptor_registry::{DescriptorRegistry, RegisteredSocket};
pub use epoll::{EpollChange, change_epoll, new_epoll, new_timer, set_timer, wait_epoll};
pub use event::{clear, fire, new_event};
pub use fork_mark::process_number;
pub use futex::{futex_wait, futex_wake, yield_now};
pub use poll::{IN, OUT, PollFd, interest, poll};
pub use pthread_cancel::PthreadCancelDisabled;
pub use resolve::resolve;
pub use socket::{
    Recv, close, connect, connect_result, connect_unix, is_readable, recv, send, set_blocking,
    set_receive_timeout,
};
