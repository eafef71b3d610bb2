//! Whether a thread wants its call to go on waiting.
//!
//! In some languages a signal's handler runs between two instructions of the language, so not
//! while a call of ours waits; only the handler knows whether the call should end. So a thread may
//! leave a question here, which its own calls put to it now and then while they wait. The command
//! keeps its place meanwhile, on the wire and in whatever it waits for: nothing is given up before
//! the answer is no.
//!
//! The question belongs to the thread, not to a handle: signals do too, and it should also reach
//! a call that is only making a handle.

use crate::deadline::Time;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// How often a call asks, where no signal gives it a reason to ask at once.
pub const INTERVAL: Duration = Duration::from_millis(25);

/// Says whether to go on.
pub type WaitCallback = Rc<dyn Fn() -> bool>;

struct Asked {
    question: Option<WaitCallback>,
    /// When it was last put.
    last: Option<Time>,
    /// The call, known by its beginning, that it was answered with no for.
    ended: Option<Time>,
}

thread_local! {
    static ASKED: RefCell<Asked> = const {
        RefCell::new(Asked {
            question: None,
            last: None,
            ended: None,
        })
    };
}

/// Leaves a question for this thread's calls, or none.
pub fn set_wait_callback(question: Option<WaitCallback>) {
    // A thread that is ending waits for nothing any more.
    let _ = ASKED.try_with(|asked| {
        // Dropped outside the borrow.
        let former = std::mem::replace(&mut asked.borrow_mut().question, question);
        drop(former);
    });
}

/// Whether this thread has one.
pub fn is_wait_callback_set() -> bool {
    ASKED
        .try_with(|asked| asked.borrow().question.is_some())
        .unwrap_or(false)
}

/// Whether the call that began at `started` is to go on, as far as this thread is concerned. Asked
/// only if it is time to, or `at_once`. With no lock held: the answer may come from a function
/// that calls the library.
pub fn call_wait_callback(started: Time, time: Time, at_once: bool) -> bool {
    let question = ASKED.try_with(|asked| {
        let mut asked = asked.borrow_mut();
        if asked.ended == Some(started) {
            return Some(None);
        }
        let last = asked.last.map_or(started, |last| last.max(started));
        if !at_once && time.since(last) < INTERVAL {
            return None;
        }
        asked.last = Some(time);
        asked.question.clone().map(Some)
    });
    match question {
        Ok(Some(Some(question))) => {
            let call_wait_callback = question();
            if !call_wait_callback {
                let _ = ASKED.try_with(|asked| asked.borrow_mut().ended = Some(started));
            }
            call_wait_callback
        }
        // It has been answered, and the answer holds for all that the call has still to undo.
        Ok(Some(None)) => false,
        Ok(None) | Err(_) => true,
    }
}
