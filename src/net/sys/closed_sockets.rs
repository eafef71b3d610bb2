//! How many sockets the library has closed: another may have the number of one that was known before.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

static CLOSED: AtomicU64 = AtomicU64::new(0);

/// The number of sockets that have been closed, or are about to be.
pub fn closed_sockets() -> u64 {
    CLOSED.load(Ordering::Acquire)
}

/// Must be called before a socket is closed.
pub(super) fn count_closed() {
    CLOSED.fetch_add(1, Ordering::AcqRel);
}

/// A socket that is counted when it is dropped.
#[derive(Debug)]
pub struct CountedSocket<T>(pub T);

impl<T> Deref for CountedSocket<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for CountedSocket<T> {
    fn drop(&mut self) {
        count_closed();
    }
}
