//! Flags that end the threads of a test.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets a flag however a test ends, so that the threads that poll it end too. Every `std::thread::scope` whose threads
/// end by a flag has one: the scope waits for its threads also after a failed assertion.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
