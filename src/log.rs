//! Tells the host program's logger what happens. The only global state of the library.

use once_cell::sync::Lazy;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

pub const ERROR: i32 = 1;
pub const WARN: i32 = 2;
pub const INFO: i32 = 3;
pub const DEBUG: i32 = 4;

/// Gets the level and the message.
pub type Logger = Arc<dyn Fn(i32, &str) + Send + Sync>;

static LEVEL: AtomicI32 = AtomicI32::new(0);
static LOGGER: Lazy<RwLock<Option<Logger>>> = Lazy::new(|| RwLock::new(None));

/// Sends messages of up to this level to `logger`, or nowhere.
pub fn set(logger: Option<Logger>, level: i32) {
    let mut slot = LOGGER.write().unwrap_or_else(PoisonError::into_inner);
    LEVEL.store(if logger.is_some() { level } else { 0 }, Ordering::Relaxed);
    *slot = logger;
}

/// Logs what `words` makes, if anybody listens. Called with no lock held: the logger may call
/// the library.
pub fn log(level: i32, words: impl FnOnce() -> String) {
    if level > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let logger = LOGGER
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let Some(logger) = logger {
        logger(level, &words());
    }
}
