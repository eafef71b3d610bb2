//! Fibers: functions that run on a stack of their own and can be suspended in the middle.
//!
//! A call of an event loop is such a function. Where a call of a thread would block, its fiber is suspended, and the
//! loop resumes it when it may go on. So both run the same code.
//!
//! A suspended fiber may be resumed by another thread than before. So code that runs in a fiber must not keep the
//! address of a thread-local variable across a suspension. The compiler does, within a function. Therefore functions
//! that use such a variable are not inlined; the functions of `arc_swap` do.

use crate::deadline::Deadline;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::Cell;
use std::io;
use std::ptr;

/// Only the pages that are used take memory. The largest use is a TLS handshake in a build without optimization.
const STACK_BYTES: usize = 256 << 10;

/// What a suspended fiber waits for.
#[derive(Debug)]
pub struct FiberWait {
    /// Until one of these is ready. The last entry is unused: see `Call::wait`.
    pub fds: Vec<libc::pollfd>,
    pub until: Deadline,
}

/// The stack of a fiber, which another fiber can use afterwards.
pub struct FiberStack(DefaultStack);

impl FiberStack {
    pub fn new() -> io::Result<FiberStack> {
        DefaultStack::new(STACK_BYTES).map(FiberStack)
    }
}

type FiberYielder = Yielder<Vec<libc::pollfd>, FiberWait>;

thread_local! {
    /// The fiber that this thread runs; null if it runs on its own stack.
    static CURRENT: Cell<*const FiberYielder> = const { Cell::new(ptr::null()) };
}

#[inline(never)]
fn current() -> *const FiberYielder {
    CURRENT.get()
}

#[inline(never)]
fn set_current(yielder: *const FiberYielder) {
    CURRENT.set(yielder);
}

/// A number that identifies the running fiber among all that exist; None if none runs.
pub fn current_fiber() -> Option<usize> {
    let yielder = current();
    (!yielder.is_null()).then(|| yielder.addr())
}

/// A function that can be suspended.
pub struct Fiber {
    coroutine: Coroutine<Vec<libc::pollfd>, FiberWait, ()>,
    #[cfg(rdc_tsan)]
    mark: thread_sanitizer::FiberMark,
}

impl Fiber {
    /// `run` must not panic.
    pub fn new(stack: FiberStack, run: impl FnOnce() + 'static) -> Fiber {
        let coroutine = Coroutine::with_stack(stack.0, move |yielder, _| {
            set_current(yielder);
            run();
        });
        Fiber {
            coroutine,
            #[cfg(rdc_tsan)]
            mark: thread_sanitizer::FiberMark::new(),
        }
    }

    /// Runs the fiber until it is suspended (Ok) or has ended (Err, with its stack). `fds` are those of its wait, with
    /// the events that have occurred.
    pub fn resume(mut self, fds: Vec<libc::pollfd>) -> Result<(Fiber, FiberWait), FiberStack> {
        let outer = current();
        #[cfg(rdc_tsan)]
        let outer_mark = self.mark.enter();
        let result = self.coroutine.resume(fds);
        #[cfg(rdc_tsan)]
        outer_mark.enter_again();
        set_current(outer);
        match result {
            CoroutineResult::Yield(wait) => Ok((self, wait)),
            CoroutineResult::Return(()) => Err(FiberStack(self.coroutine.into_stack())),
        }
    }

    /// Leaves the fiber suspended for ever, with all that it holds. For a forked child.
    pub fn leak(self) {
        std::mem::forget(self);
    }
}

/// Suspends the fiber that runs. Returns the descriptors with the events that have occurred, or the wait itself if
/// none runs.
pub fn suspend(wait: FiberWait) -> Result<Vec<libc::pollfd>, FiberWait> {
    let yielder = current();
    // SAFETY: it is set while its fiber runs, and lives on the stack of that fiber.
    let Some(running) = (unsafe { yielder.as_ref() }) else {
        return Err(wait);
    };
    let fds = running.suspend(wait);
    set_current(yielder);
    Ok(fds)
}

/// Runs a function of the host program on the thread's own stack. Languages with a garbage collector look for
/// references there, and some check where their stack is.
pub fn on_thread_stack<T>(f: impl FnOnce() -> T) -> T {
    /// Sets the fiber again, also when the function panics.
    struct Restore(*const FiberYielder);
    impl Drop for Restore {
        fn drop(&mut self) {
            set_current(self.0);
        }
    }
    struct AssertSend<F>(F);
    // SAFETY: the function runs on this thread. What must not reach it is the fiber, which is unset meanwhile.
    unsafe impl<F> Send for AssertSend<F> {}
    impl<T, F: FnOnce() -> T> AssertSend<F> {
        fn call(self) -> T {
            (self.0)()
        }
    }
    let yielder = current();
    // SAFETY: as in `suspend`.
    let Some(running) = (unsafe { yielder.as_ref() }) else {
        return f();
    };
    set_current(ptr::null());
    let _restore = Restore(yielder);
    let f = AssertSend(f);
    running.on_parent_stack(move || f.call())
}

/// Tells ThreadSanitizer which fiber the thread runs. Otherwise it takes a fiber that has moved to another thread for the
/// former thread, and everything on its stack for data that two threads use.
#[cfg(rdc_tsan)]
mod thread_sanitizer {
    use std::ffi::{c_uint, c_void};

    unsafe extern "C" {
        fn __tsan_get_current_fiber() -> *mut c_void;
        fn __tsan_create_fiber(flags: c_uint) -> *mut c_void;
        fn __tsan_destroy_fiber(fiber: *mut c_void);
        fn __tsan_switch_to_fiber(fiber: *mut c_void, flags: c_uint);
    }

    // Each fiber has a stack of call records. A function that switches is inlined, because its record would be put on one
    // stack and taken from another one.

    /// What stands for a fiber in ThreadSanitizer.
    pub struct FiberMark(*mut c_void);

    /// What the thread ran before.
    pub struct OuterMark(*mut c_void);

    impl FiberMark {
        pub fn new() -> FiberMark {
            // SAFETY: has no conditions.
            FiberMark(unsafe { __tsan_create_fiber(0) })
        }

        /// The thread runs this fiber from here on.
        #[inline(always)]
        pub fn enter(&self) -> OuterMark {
            // SAFETY: the mark exists, and no other thread runs its fiber.
            unsafe {
                let outer = __tsan_get_current_fiber();
                __tsan_switch_to_fiber(self.0, 0);
                OuterMark(outer)
            }
        }
    }

    impl OuterMark {
        #[inline(always)]
        pub fn enter_again(self) {
            // SAFETY: this thread has left it in `enter`.
            unsafe { __tsan_switch_to_fiber(self.0, 0) };
        }
    }

    impl Drop for FiberMark {
        fn drop(&mut self) {
            // SAFETY: it was created by `new`, and its fiber does not run.
            unsafe { __tsan_destroy_fiber(self.0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait() -> FiberWait {
        FiberWait {
            fds: Vec::new(),
            until: Deadline::NEVER,
        }
    }

    #[test]
    fn fiber_is_suspended_and_resumed_by_another_thread() {
        struct Moved(Fiber);
        // SAFETY: the fiber holds nothing that belongs to its thread.
        unsafe impl Send for Moved {}
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = ended.clone();
        let fiber = Fiber::new(FiberStack::new().unwrap(), move || {
            assert!(suspend(wait()).is_ok());
            flag.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        let (fiber, _) = fiber.resume(Vec::new()).ok().unwrap();
        assert!(suspend(wait()).is_err(), "no fiber runs here");
        let moved = Moved(fiber);
        std::thread::spawn(move || {
            let moved = moved;
            assert!(moved.0.resume(Vec::new()).is_err());
            assert!(suspend(wait()).is_err());
        })
        .join()
        .unwrap();
        assert!(ended.load(std::sync::atomic::Ordering::SeqCst));
    }

    #[test]
    fn callback_runs_on_stack_of_thread() {
        let here = 0u8;
        let near = std::ptr::from_ref(&here).addr();
        let is_near = move |at: &u8| std::ptr::from_ref(at).addr().abs_diff(near) < 64 << 10;
        let fiber = Fiber::new(FiberStack::new().unwrap(), move || {
            let local = 0u8;
            assert!(!is_near(&local));
            on_thread_stack(|| {
                let local = 0u8;
                assert!(is_near(&local));
                assert!(suspend(wait()).is_err(), "a callback cannot suspend");
            });
            let panics = std::panic::catch_unwind(|| on_thread_stack(|| panic!("callback")));
            assert!(panics.is_err());
            assert!(suspend(wait()).is_ok());
        });
        let (fiber, _) = fiber.resume(Vec::new()).ok().unwrap();
        assert!(fiber.resume(Vec::new()).is_err());
    }
}
