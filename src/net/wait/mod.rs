//! How a call waits: its deadline, its cancel flag, the events that wake it, and the wait callback.

mod call;
mod wait_callback;

pub use call::{Call, CancelFlag, POLL_INTERVAL, RECV_TIMEOUT_MS, TICK_MS, Wakers};
pub use wait_callback::{is_wait_callback_set, set_wait_callback};
