//! How a call waits: its deadline, its cancel flag, the events that wake it, and the wait callback.

mod attempt;
mod call;
mod cancel_flag;
mod poller;
mod task_set;
mod wait_callback;
mod wakers;

pub use attempt::{Attempt, no_answer};
pub use call::{Call, POLL_INTERVAL, TICK_MS};
pub use cancel_flag::CancelFlag;
pub use poller::TaskNumber;
pub use task_set::TaskSet;
pub use wait_callback::{is_wait_callback_set, set_wait_callback};
pub use wakers::Wakers;
