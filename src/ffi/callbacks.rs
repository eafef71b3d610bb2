//! ## Callbacks

use super::panic_boundary::catch_panic;
use crate::log;
use crate::net::{PthreadCancelDisabled, set_wait_callback};
use std::ffi::{CString, c_char, c_void};
use std::rc::Rc;
use std::sync::Arc;

/// A logger. arg is the pointer given to rdc_set_logger(). level is 1 (error), 2 (warning), 3
/// (information) or 4 (debug). message is one line, valid only during the call; it never
/// contains a password or a value. The logger runs on a thread that is inside an rdc_ call,
/// and may run on several threads at once. It may call the library, as any callback: see the
/// beginning of this header.
#[allow(non_camel_case_types)]
pub type rdc_log_fn =
    Option<unsafe extern "C" fn(arg: *mut c_void, level: i32, message: *const c_char)>;

/// ## Callbacks
///
/// Sets the logger of the process, for messages up to a level; NULL turns logging off. Any
/// thread may call it. When the call returns, the previous logger may still be running on
/// other threads.
///
/// For a program that never calls this, the environment variable RDC_LOG chooses a level, and a
/// file instead of standard error: RDC_LOG=error, warn, info or debug, or RDC_LOG=debug:FILE. It
/// is read once, when the first client is created. Lines are appended to the file, which only its
/// owner may read if it is new. A program that has more rights than its caller (setuid) ignores
/// the variable.
///
/// # Safety
/// fn may be called with arg until it has been replaced and all calls in progress have ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_set_logger(r#fn: rdc_log_fn, arg: *mut c_void, level: i32) {
    catch_panic(
        |_| (),
        || {
            let arg = arg.expose_provenance();
            let logger = r#fn.map(|f| -> log::Logger {
                Arc::new(move |level, message: &str| {
                    // The function may contain a cancellation point.
                    let _uncancelled = PthreadCancelDisabled::begin();
                    let message = CString::new(message.replace('\0', "?")).unwrap_or_default();
                    // SAFETY: the caller guarantees that f can be called with arg.
                    unsafe {
                        f(
                            std::ptr::with_exposed_provenance_mut(arg),
                            level,
                            message.as_ptr(),
                        )
                    }
                })
            });
            log::set(logger, level);
        },
    );
}

/// A wait callback. Returns 1 to continue waiting, or 0 to end the call with
/// RDC_ERR_INTERRUPTED. (Most foreign-function interfaces return 0 for a callback that raised
/// an exception.) arg is the pointer given to rdc_set_wait_callback(). It runs on the waiting
/// thread, inside its rdc_ call, with no lock held. It may call the library, as any callback:
/// see the beginning of this header.
#[allow(non_camel_case_types)]
pub type rdc_wait_fn = Option<unsafe extern "C" fn(arg: *mut c_void) -> i32>;

/// Sets the wait callback of this thread, for its calls on all handles. While a call waits,
/// the callback runs every 25 ms, and at once when a signal interrupts the wait. The command
/// keeps its position meanwhile, and is not sent twice. NULL removes the callback.
///
/// Meant for languages that run signal handlers between their own instructions, such as
/// Python and Ruby: the callback runs pending handlers, and returns 0 if one of them raised
/// an exception. A C program, whose handlers run at once, uses rdc_interrupt().
///
/// Each thread has its own callback, or none. A forked child keeps that of the thread that
/// forked. In a destructor of thread-specific data (pthread_key_create()) and in an atexit()
/// handler, calls run without it.
///
/// # Safety
/// fn may be called with arg on this thread until it has been replaced, or the thread has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_set_wait_callback(r#fn: rdc_wait_fn, arg: *mut c_void) {
    catch_panic(
        |_| (),
        || {
            set_wait_callback(r#fn.map(|f| -> Rc<dyn Fn() -> bool> {
                Rc::new(move || {
                    let _uncancelled = PthreadCancelDisabled::begin();
                    // SAFETY: the caller guarantees that f can be called with arg.
                    unsafe { f(arg) != 0 }
                })
            }));
        },
    );
}
