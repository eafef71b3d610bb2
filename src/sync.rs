//! Locks that outlive a panic.
//!
//! A caught panic must leave the client working, so poisoning is ignored: what a lock guards here
//! is valid between any two statements. The standard library's locks are used because they keep
//! no global state, which a forked child could find locked for ever.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, poisoned or not.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
