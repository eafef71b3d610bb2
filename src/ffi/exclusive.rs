//! Handles that one call uses at a time. The thread's callbacks, which run inside that call, are kept from them.

use super::panic_boundary::catch_panic_without_pthread_cancel;
use std::cell::{Cell, UnsafeCell};

/// A value that is accessed through a [`BusyGuard`], so by one call at a time.
pub struct Exclusive<T> {
    value: UnsafeCell<T>,
    is_busy: Cell<bool>,
    /// A callback has freed the handle.
    is_freed: Cell<bool>,
}

impl<T> Exclusive<T> {
    pub fn new(value: T) -> Exclusive<T> {
        Exclusive {
            value: UnsafeCell::new(value),
            is_busy: Cell::new(false),
            is_freed: Cell::new(false),
        }
    }
}

/// A handle whose functions use its value exclusively. Made by `Box::into_raw`.
pub trait ExclusiveHandle: Sized {
    type Value;

    fn exclusive(&self) -> &Exclusive<Self::Value>;

    /// A call begins to use the value.
    fn on_enter(&self, _: &mut Self::Value) {}

    /// The call ends.
    fn on_leave(&self, _: &mut Self::Value) {}
}

/// The exclusive access of one call to a handle.
pub struct BusyGuard<H: ExclusiveHandle>(*mut H);

impl<H: ExclusiveHandle> BusyGuard<H> {
    /// None if the handle is NULL, or in a callback of a call that uses it.
    ///
    /// # Safety
    /// Header rules 1 and 4: the handle is valid, and used by one thread at a time.
    #[inline]
    pub unsafe fn enter(handle: *mut H) -> Option<BusyGuard<H>> {
        // SAFETY: the rules above.
        let shared = unsafe { handle.as_ref() }?;
        if shared.exclusive().is_busy.replace(true) {
            return None;
        }
        let mut guard = BusyGuard(handle);
        shared.on_enter(guard.value());
        Some(guard)
    }

    #[inline]
    pub fn value(&mut self) -> &mut H::Value {
        // SAFETY: the handle lives as long as the guard, and there is one guard at a time.
        unsafe { &mut *(*self.0).exclusive().value.get() }
    }
}

impl<H: ExclusiveHandle> Drop for BusyGuard<H> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a callback does not free a handle that is busy, but marks it.
        let shared = unsafe { &*self.0 };
        if shared.exclusive().is_freed.get() {
            // SAFETY: header rule 1: made by Box::into_raw, and freed once, by a callback.
            return drop(unsafe { Box::from_raw(self.0) });
        }
        shared.on_leave(self.value());
        shared.exclusive().is_busy.set(false);
    }
}

/// Frees a handle; in a callback of a call that uses it, when that call ends. NULL is ignored.
///
/// # Safety
/// Header rules 1 and 4.
pub unsafe fn free<H: ExclusiveHandle>(handle: *mut H) {
    // SAFETY: the rules above.
    let Some(shared) = (unsafe { handle.as_ref() }) else {
        return;
    };
    // Freeing logs, too: the logger finds it busy.
    if shared.exclusive().is_busy.replace(true) {
        return shared.exclusive().is_freed.set(true);
    }
    // SAFETY: header rule 1: made by Box::into_raw, and freed once.
    let handle = unsafe { Box::from_raw(handle) };
    // Cancellation is disabled, because this may drop the last reference on a client.
    catch_panic_without_pthread_cancel(|_| (), || drop(handle));
}
