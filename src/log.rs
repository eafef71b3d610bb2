//! Tells the host program's logger what happens. The only global state of the library.

use arc_swap::ArcSwapOption;
use std::sync::Arc;

pub const ERROR: i32 = 1;
pub const WARN: i32 = 2;
pub const INFO: i32 = 3;
pub const DEBUG: i32 = 4;

/// Gets the level and the message.
pub type Logger = Arc<dyn Fn(i32, &str) + Send + Sync>;

/// The logger and the level. Without a lock: a forked child could find it held for ever by a thread
/// that it does not have.
static LOGGER: ArcSwapOption<(Logger, i32)> = ArcSwapOption::const_empty();

/// Sends messages of up to this level to `logger`, or nowhere.
pub fn set(logger: Option<Logger>, level: i32) {
    LOGGER.store(logger.map(|logger| Arc::new((logger, level))));
}

/// Logs what `words` makes, if anybody listens. Called with no lock held: the logger may call
/// the library.
pub fn log(level: i32, words: impl FnOnce() -> String) {
    if let Some(logger) = LOGGER.load_full().filter(|logger| level <= logger.1) {
        logger.0(level, &words());
    }
}
