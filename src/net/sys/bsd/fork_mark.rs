//! Detection of a fork, by a function that the C library runs in the child.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// The number of this process; 0 before the first use. Set without a lock: another thread may fork at any moment, and the
/// child must not wait for it.
static NUMBER: AtomicI32 = AtomicI32::new(0);

/// The last number that this process or an ancestor has taken: see the same variable of Linux.
static LAST_NUMBER: AtomicI32 = AtomicI32::new(0);

/// The C library knows of [`forget`].
static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> libc::c_int;
}

/// Runs in a forked child, before anything else there.
unsafe extern "C" fn forget() {
    NUMBER.store(0, Ordering::Relaxed);
}

#[inline]
pub fn process_number() -> i32 {
    match NUMBER.load(Ordering::Relaxed) {
        0 => take_number(),
        number => number,
    }
}

#[cold]
fn take_number() -> i32 {
    if !IS_REGISTERED.load(Ordering::Acquire) {
        // Another thread may register it as well, which does no harm.
        // SAFETY: the function may run in a child. It is never unloaded: see build.rs.
        if unsafe { pthread_atfork(None, None, Some(forget)) } != 0 {
            return std::process::id() as i32;
        }
        IS_REGISTERED.store(true, Ordering::Release);
    }
    let number = LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
    // Another thread may have taken a number meanwhile. Then this one is never used.
    match NUMBER.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => number,
        Err(taken) => taken,
    }
}
