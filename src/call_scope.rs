//! Calls inside calls: the logger and the wait callback run inside a call, and may call the library.
//!
//! Such a nested call ends by the deadline of the outer call. It must not wait for something that the outer call holds:
//! a [`ThreadMark`] tells that the holder is the same thread. A fiber has a mark of its own.

use crate::deadline::Deadline;
use crate::fiber::{current_fiber, on_thread_stack};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

thread_local! {
    /// The deadline of this thread's call. Without a destructor, so that a thread that is ending has it too.
    static DEADLINE: Cell<Deadline> = const { Cell::new(Deadline::NEVER) };
}

/// The number of callbacks that are running in the process. While it is 0, which is nearly always, no call is nested,
/// and a new call need not look at its thread.
static CALLBACKS: AtomicU32 = AtomicU32::new(0);

/// The part of a call in which callbacks may run, until it is dropped.
#[derive(Debug)]
pub struct CallScope {
    outer: Deadline,
    in_fiber: bool,
    /// It belongs to this thread: not `Send`.
    _thread: PhantomData<*const ()>,
}

impl CallScope {
    /// `deadline` is that of the call, which may run in a fiber.
    #[inline]
    pub fn enter(deadline: Deadline, in_fiber: bool) -> CallScope {
        CallScope {
            outer: match in_fiber {
                false => DEADLINE.replace(deadline),
                true => replace_deadline(deadline),
            },
            in_fiber,
            _thread: PhantomData,
        }
    }
}

impl Drop for CallScope {
    fn drop(&mut self) {
        match self.in_fiber {
            false => DEADLINE.set(self.outer),
            true => {
                replace_deadline(self.outer);
            }
        }
    }
}

/// Replaces the deadline of this thread's call. Not inlined: see [`fiber`](crate::fiber). The scope of a fiber's call is
/// put aside while the fiber is suspended.
#[inline(never)]
pub fn replace_deadline(deadline: Deadline) -> Deadline {
    DEADLINE.replace(deadline)
}

/// Runs a callback of the host program.
pub fn run_callback<T>(callback: impl FnOnce() -> T) -> T {
    /// The callback may panic.
    struct Running;
    impl Drop for Running {
        fn drop(&mut self) {
            CALLBACKS.fetch_sub(1, Ordering::Relaxed);
        }
    }
    CALLBACKS.fetch_add(1, Ordering::Relaxed);
    let _running = Running;
    on_thread_stack(callback)
}

/// The deadline of a new call: the earlier of `deadline` and that of the call that it is nested in.
#[inline]
pub fn limit_nested(deadline: Deadline) -> Deadline {
    match CALLBACKS.load(Ordering::Relaxed) {
        0 => deadline,
        _ => limit_to_outer(deadline),
    }
}

#[cold]
fn limit_to_outer(deadline: Deadline) -> Deadline {
    deadline.min(DEADLINE.get())
}

/// Identifies a thread or a fiber, until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadMark {
    Thread(usize),
    Fiber(usize),
}

impl ThreadMark {
    #[inline(never)]
    pub fn current() -> ThreadMark {
        match current_fiber() {
            Some(number) => ThreadMark::Fiber(number),
            None => {
                ThreadMark::Thread(DEADLINE.with(|deadline| std::ptr::from_ref(deadline).addr()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::now;

    #[test]
    fn nested_call_is_limited_by_outer_deadline() {
        let (soon, late) = (Deadline::after(now(), 10), Deadline::after(now(), 1000));
        assert_eq!(limit_nested(late), late);
        let scope = CallScope::enter(soon, false);
        let (longer, shorter) = run_callback(|| {
            let nested = CallScope::enter(limit_nested(late), false);
            let both = (limit_nested(late), limit_nested(Deadline::after(now(), 0)));
            drop(nested);
            both
        });
        assert_eq!(longer, soon);
        assert_ne!(shorter, soon);
        let other_thread = std::thread::spawn(move || run_callback(|| limit_nested(late)));
        assert_eq!(other_thread.join().unwrap(), late);
        drop(scope);
        assert_eq!(run_callback(|| limit_nested(late)), late);
    }
}
