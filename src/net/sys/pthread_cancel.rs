//! Protection against pthread_cancel(), which ends a thread. Not the cancellation of a call: see `wait::CancelFlag`.

use std::marker::PhantomData;

// The libc crate does not declare these. The value is that of glibc, musl and FreeBSD; macOS has the opposite.
const PTHREAD_CANCEL_DISABLE: libc::c_int = if cfg!(target_vendor = "apple") { 0 } else { 1 };
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
