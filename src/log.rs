//! Passes messages to the host program's logger, which is the library's only global state.

use crate::call_scope::run_callback;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub const ERROR: i32 = 1;
pub const WARN: i32 = 2;
pub const INFO: i32 = 3;
pub const DEBUG: i32 = 4;

/// Receives the level and the message.
pub type Logger = Arc<dyn Fn(i32, &str) + Send + Sync>;

/// The logger and its level. Lock-free: in a forked child, a lock could be held for ever by a thread
/// that does not exist there.
static LOGGER: ArcSwapOption<(Logger, i32)> = ArcSwapOption::const_empty();

/// Whether [`set`] or [`set_default`] was called. No lock, for the same reason.
static IS_CHOSEN: AtomicBool = AtomicBool::new(false);

/// Sets the logger that `make` returns, in the first call and only if [`set`] was not called before.
pub fn set_default(make: impl FnOnce() -> Option<(Logger, i32)>) {
    if !IS_CHOSEN.swap(true, Ordering::Relaxed)
        && let Some(logger) = make()
    {
        LOGGER.store(Some(Arc::new(logger)));
    }
}

/// Sends messages up to this level to `logger`; `None` turns logging off.
pub fn set(logger: Option<Logger>, level: i32) {
    IS_CHOSEN.store(true, Ordering::Relaxed);
    LOGGER.store(logger.map(|logger| Arc::new((logger, level))));
}

/// Logs a message, which is built only if a logger takes this level. Must be called with no lock
/// held: the logger may call the library.
pub fn log(level: i32, message: impl FnOnce() -> String) {
    if let Some(logger) = logger().filter(|logger| level <= logger.1) {
        let message = message();
        run_callback(|| logger.0(level, &message));
    }
}

/// Not inlined: see [`fiber`](crate::fiber).
#[inline(never)]
fn logger() -> Option<Arc<(Logger, i32)>> {
    LOGGER.load_full()
}
