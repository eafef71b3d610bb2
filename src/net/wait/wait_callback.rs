//! The wait callback: a function of the host program that decides whether a waiting call continues.
//!
//! In some languages a signal handler runs only between two instructions of the language. It does not run while a call
//! of this library waits, but only the handler can decide whether the call should end. So a thread can set a callback,
//! and its calls invoke it at intervals while they wait. Meanwhile the command keeps its position on the wire and in
//! every queue: nothing is given up before the callback returns false.
//!
//! The callback belongs to the thread and not to a handle. Signals are delivered to threads, and a call that is still
//! creating a handle needs the callback as well.

use crate::deadline::Time;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The time between two invocations if no signal arrives. After a signal the callback is invoked at once.
pub const INTERVAL: Duration = Duration::from_millis(25);

/// Returns whether the call should continue.
pub type WaitCallback = Rc<dyn Fn() -> bool>;

struct ThreadState {
    callback: Option<WaitCallback>,
    /// The time of the last invocation.
    last_call: Option<Time>,
    /// The call for which the callback has returned false, identified by the time at which it started.
    ended_call: Option<Time>,
}

thread_local! {
    static STATE: RefCell<ThreadState> = const {
        RefCell::new(ThreadState {
            callback: None,
            last_call: None,
            ended_call: None,
        })
    };
}

/// Sets or removes this thread's callback.
pub fn set_wait_callback(callback: Option<WaitCallback>) {
    // Fails only while the thread's locals are destroyed, and then no call follows.
    let _ = STATE.try_with(|state| {
        let former = std::mem::replace(&mut state.borrow_mut().callback, callback);
        // Outside of the borrow: the destructor may call the library.
        drop(former);
    });
}

/// Not inlined: see [`fiber`](crate::fiber).
#[inline(never)]
pub fn is_wait_callback_set() -> bool {
    STATE
        .try_with(|state| state.borrow().callback.is_some())
        .unwrap_or(false)
}

/// When the callback may be invoked.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum CallbackTiming {
    /// If [`INTERVAL`] has passed since the last invocation.
    IfDue,
    /// Now: a signal has arrived.
    Now,
}

/// Whether the call that began at `started` may continue. Must be called with no lock held: the callback may call the
/// library.
pub(super) fn call_wait_callback(started: Time, time: Time, timing: CallbackTiming) -> bool {
    enum Decision {
        Invoke(WaitCallback),
        GoOn,
        End,
    }
    let decision = STATE.try_with(|state| {
        let mut state = state.borrow_mut();
        // The callback has ended this call. That also holds for the clean-up of the call.
        if state.ended_call == Some(started) {
            return Decision::End;
        }
        let last_call = state.last_call.map_or(started, |last| last.max(started));
        if timing == CallbackTiming::IfDue && time.since(last_call) < INTERVAL {
            return Decision::GoOn;
        }
        state.last_call = Some(time);
        state
            .callback
            .clone()
            .map_or(Decision::GoOn, Decision::Invoke)
    });
    match decision {
        Ok(Decision::Invoke(callback)) => {
            let goes_on = callback();
            if !goes_on {
                let _ = STATE.try_with(|state| state.borrow_mut().ended_call = Some(started));
            }
            goes_on
        }
        Ok(Decision::End) => false,
        Ok(Decision::GoOn) | Err(_) => true,
    }
}
