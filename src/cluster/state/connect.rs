//! How a client connects: at creation, or in the first call that succeeds.
//!
//! An attempt to connect is a refresh of the topology. All threads share it, and the pause after it.

use super::core::{Core, ProcessState};
use super::refresh::wait_for_refresh;
use super::refresh_state::RefreshState;
use crate::call_scope::ThreadMark;
use crate::deadline::{Deadline, now};
use crate::error::{Code, Error, Result};
use crate::net::{Call, PthreadCancelDisabled};
use crate::route::may_pass;
use crate::sync::lock;

/// One seed is enough.
const VIEWS_TO_CONNECT: usize = 1;

/// The outcome of an attempt to connect.
enum Attempt {
    Connected,
    Failed(Error),
    /// The call that made it was ended.
    Abandoned,
}

impl Attempt {
    /// The last attempt of any thread, which has failed.
    fn last(refresh: &RefreshState) -> Attempt {
        match &refresh.last_error {
            Some(error) if !is_of_one_call(error) => Attempt::Failed(error.clone()),
            _ => Attempt::Abandoned,
        }
    }
}

/// Whether an error is about the call that made the attempt, and not about the cluster.
fn is_of_one_call(error: &Error) -> bool {
    matches!(
        error.code,
        Code::Interrupted | Code::Closed | Code::Internal
    )
}

impl Core {
    /// Connects: learns the first topology. Tries again until the deadline of the call, as long as waiting may help.
    #[cold]
    pub fn connect(&self, process: &ProcessState, call: &Call<'_>) -> Result<()> {
        let _cancel_disabled = PthreadCancelDisabled::begin();
        let mut reason: Option<Error> = None;
        let mut has_waited = false;
        loop {
            let outcome = self.share_attempt(process, call)?;
            let is_over = call.deadline.passed(now());
            match outcome {
                Attempt::Connected => return Ok(()),
                Attempt::Failed(error) if !may_pass(&error) => return Err(error),
                // The deadline ended this attempt. The error of the one before it says more.
                Attempt::Failed(error)
                    if is_over && reason.is_some() && error.code == Code::Timeout => {}
                Attempt::Failed(error) => reason = Some(error),
                Attempt::Abandoned => {}
            }
            if is_over {
                return Err(match reason {
                    Some(reason) if has_waited => gave_up(reason, call),
                    Some(reason) => reason,
                    None => Error::new(
                        Code::Timeout,
                        "the client did not connect within timeout_ms",
                    ),
                });
            }
            let next_at = lock(&process.refresh).next_at.unwrap_or_else(now);
            call.sleep(Deadline::at(next_at).min(call.deadline))?;
            has_waited = true;
        }
    }

    /// Waits for the attempt that another thread is making, or makes one if it is due.
    fn share_attempt(&self, process: &ProcessState, call: &Call<'_>) -> Result<Attempt> {
        let thread = ThreadMark::current();
        let mut refresh = lock(&process.refresh);
        while let Some(running) = refresh.running() {
            if running == thread {
                return Err(Error::new(
                    Code::Connect,
                    "the client is not connected yet, and a callback of its attempt to connect cannot wait for that",
                ));
            }
            if call.deadline.passed(now()) {
                return Ok(Attempt::last(&refresh));
            }
            refresh = wait_for_refresh(process, call, refresh)?;
        }
        if process.has_topology() {
            return Ok(Attempt::Connected);
        }
        let time = now();
        if refresh.next_at.is_some_and(|next| time < next) || call.deadline.passed(time) {
            return Ok(Attempt::last(&refresh));
        }
        refresh.begin(thread);
        drop(refresh);
        Ok(match self.refresh(process, call, VIEWS_TO_CONNECT) {
            Ok(()) => Attempt::Connected,
            Err(error) => Attempt::Failed(error),
        })
    }
}

fn gave_up(mut error: Error, call: &Call<'_>) -> Error {
    let ms = call.elapsed(now()).as_millis();
    error.message = format!("{} (gave up after {ms} ms)", error.message);
    error
}
