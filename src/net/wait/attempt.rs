//! One attempt of a call, with its deadline.

use super::call::Call;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::sys::PollFd;

/// A call and the deadline of its present step, which is never later than the deadline of the call.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    pub call: &'a Call<'a>,
    pub until: Deadline,
}

impl Call<'_> {
    /// An attempt that allows the node its full attempt timeout from `time` on.
    #[inline]
    pub fn attempt_at(&self, time: Time) -> Attempt<'_> {
        self.attempt_until(self.attempt_deadline(time))
    }

    /// An attempt that ends at `until`.
    #[inline]
    pub fn attempt_until(&self, until: Deadline) -> Attempt<'_> {
        Attempt { call: self, until }
    }
}

impl Attempt<'_> {
    /// The same attempt, which also ends at `until`.
    #[inline]
    pub fn limited_to(self, until: Deadline) -> Self {
        Attempt {
            until: self.until.min(until),
            ..self
        }
    }

    /// The same attempt with one of `n` equal parts of the time that is left at `time`.
    pub fn share(self, time: Time, n: u32) -> Self {
        self.limited_to(self.until.share(time, n))
    }

    /// Waits until one of `fds` is ready (true) or the attempt is over (false). See [`Call::wait`].
    pub fn wait(self, fds: &mut [PollFd]) -> Result<bool> {
        self.call.wait(fds, self.until)
    }

    /// The error of an attempt whose deadline has passed while it waited for a reply from `node`.
    #[cold]
    pub fn timeout_error(self, node: &str) -> Error {
        // Near the deadline of the call an attempt has less time than attempt_timeout_ms.
        let ms = now().since(self.call.began).as_millis() as u64;
        no_answer(node, self.call.command, ms.min(self.call.attempt_ms))
    }
}

/// The error of a command that `node` has not answered. The name of the command is empty if it is not known.
#[cold]
pub fn no_answer(node: &str, command: &str, ms: u64) -> Error {
    let space = if command.is_empty() { "" } else { " " };
    let message = format_args!("{node} did not answer{space}{command} within {ms} ms");
    Error::new(Code::Timeout, message).at(node)
}
