//! Threads that sleep on a word of memory: a condition variable beside it.

use crate::net::sys::pthread_cancel::PthreadCancelDisabled;
use crate::sync::{Condvar, Mutex, lock, notify_all, notify_one, wait};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// For a sleep without a timeout.
const LONG: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Default)]
pub struct Sleepers {
    /// Held from the look at the word until the thread sleeps.
    look: Mutex<()>,
    woken: Condvar,
}

impl Sleepers {
    pub fn sleep(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        let looking = lock(&self.look);
        if word.load(Ordering::SeqCst) == expected {
            // The wait is a cancellation point.
            let _uncancelled = PthreadCancelDisabled::begin();
            // Callers check their condition after every return.
            drop(wait(
                &self.woken,
                &self.look,
                looking,
                timeout.unwrap_or(LONG),
            ));
        }
    }

    pub fn wake(&self, _word: &AtomicU32, count: i32) {
        // Who has looked at the word before it changed sleeps now.
        drop(lock(&self.look));
        match count {
            i32::MAX => notify_all(&self.woken),
            count => (0..count).for_each(|_| notify_one(&self.woken)),
        }
    }
}
