//! No panic crosses the C boundary: it becomes an error of the call.

use super::reply::rdc_reply;
use super::reply_layout;
use crate::error::Result;
use crate::log;
use crate::net::PthreadCancelDisabled;
pub use crate::panics::{catch_panic, panic_error};
use crate::resp::{CommandReply, Reply};
use crate::sim_hooks::sim_panic_point;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the panic hook has been installed, or another thread is installing it. No thread waits for that one: in
/// a child that is forked meanwhile it does not exist.
static IS_HOOK_INSTALLED: AtomicBool = AtomicBool::new(false);

/// Installs the panic hook. Every function that makes a handle calls this, before anything can panic.
///
/// The hook passes the message of a panic to the logger and prints nothing: standard error belongs to the host program.
/// The library has a standard library of its own, so the hook of a Rust host program is not replaced.
pub fn install_panic_hook() {
    if IS_HOOK_INSTALLED.swap(true, Ordering::Relaxed) {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        log::log(log::ERROR, || format!("INTERNAL {info}").replace('\n', " "));
    }));
}

/// As [`catch_panic`], for functions that may wait or take long: a pthread_cancel() of the thread
/// takes effect when the function returns. Commands disable cancellation themselves, where it costs
/// nothing.
pub fn catch_panic_without_pthread_cancel<T>(
    on_panic: impl FnOnce(&str) -> T,
    f: impl FnOnce() -> T,
) -> T {
    let _uncancelled = PthreadCancelDisabled::begin();
    catch_panic(on_panic, f)
}

/// Runs `f`, and gives its reply, or its error as a reply, to the caller.
#[inline]
pub fn return_reply<R: Into<CommandReply>>(f: impl FnOnce() -> Result<R>) -> *mut rdc_reply {
    let result = catch_panic(
        |message| Err(panic_error(message).sent(true)),
        || {
            sim_panic_point!(Ffi);
            f()
        },
    );
    match result.map(R::into) {
        Ok(CommandReply::Small(slab)) => reply_layout::small_into_raw(slab, 0),
        Ok(CommandReply::Whole(reply)) => reply_layout::into_raw(reply),
        Err(error) => reply_layout::into_raw(Box::new(Reply::error(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::rdc_command;
    use super::super::reply::{rdc_reply_error, rdc_reply_free, rdc_reply_sent};
    use crate::error::Code;
    use crate::sim_hooks::Layer;
    use crate::simulation::panicking_once;

    #[test]
    fn caught_panic_returns_error_and_next_call_succeeds() {
        panicking_once(Layer::Ffi, || {
            let argv = [c"PING".as_ptr()];
            // SAFETY: header rules 1 and 3: a C string, a NULL client, and a reply that is freed once.
            let call = || unsafe {
                let reply = rdc_command(std::ptr::null(), 1, argv.as_ptr(), std::ptr::null());
                let sent = rdc_reply_sent(reply);
                let error = rdc_reply_error(reply);
                assert_eq!(rdc_reply_free(reply), error);
                (error, sent)
            };
            // The command may have run.
            assert_eq!(call(), (Code::Internal as i32, 1));
            assert_eq!(call(), (Code::Invalid as i32, 0));
        });
    }
}
