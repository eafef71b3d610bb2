//! Protection against pthread_cancel(), which ends a thread. Not the cancellation of a call: see `wait::CancelFlag`.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;

// The libc crate does not declare these for Linux. The value is that of glibc and musl.
const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;
unsafe extern "C" {
    fn pthread_setcancelstate(state: libc::c_int, previous: *mut libc::c_int) -> libc::c_int;
}

/// Defers a pthread_cancel() of this thread until it is dropped.
#[derive(Debug)]
pub struct PthreadCancelDisabled {
    previous: libc::c_int,
    /// The state belongs to this thread: not `Send`.
    _thread: PhantomData<*const ()>,
}

impl PthreadCancelDisabled {
    pub fn begin() -> PthreadCancelDisabled {
        let mut previous = 0;
        // SAFETY: the pointer is that of a live integer.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut previous) };
        PthreadCancelDisabled {
            previous,
            _thread: PhantomData,
        }
    }
}

impl Drop for PthreadCancelDisabled {
    fn drop(&mut self) {
        // SAFETY: the value came from the same function, which accepts NULL for the second argument.
        unsafe { pthread_setcancelstate(self.previous, std::ptr::null_mut()) };
    }
}

/// A value whose drop is a cancellation point, as close() is for a socket. Cancellation is deferred during the drop.
#[derive(Debug)]
pub struct DropWithoutPthreadCancel<T>(ManuallyDrop<T>);

impl<T> DropWithoutPthreadCancel<T> {
    pub fn new(value: T) -> DropWithoutPthreadCancel<T> {
        DropWithoutPthreadCancel(ManuallyDrop::new(value))
    }
}

impl<T> Deref for DropWithoutPthreadCancel<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for DropWithoutPthreadCancel<T> {
    fn drop(&mut self) {
        let _cancel_disabled = PthreadCancelDisabled::begin();
        // SAFETY: dropped only here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}
