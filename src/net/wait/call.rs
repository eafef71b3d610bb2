//! The context of one call: its deadline, and how it is cancelled.
//!
//! A call waits for a socket in the receive itself for 1 ms, which costs nothing, and then in a poll
//! together with an event, which an interrupt fires. Nothing here takes a lock: an interrupt may come from a signal
//! handler, and a forked child must not wait for a lock that its parent held.

use super::cancel_flag::{CancelFlag, SeenInterrupts};
use super::wait_callback::{self, CallbackTiming};
use super::wakers::{Waker, Wakers};
use crate::call_scope::{CallScope, limit_nested, run_callback};
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::fiber::{self, FiberWait};
use crate::net::sys::{self, PollFd, PthreadCancelDisabled};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use std::io;
use std::time::Duration;

/// The longest tick of a kernel's clock. A call waits for a nearer deadline in a poll, which is exact.
pub const TICK_MS: u64 = 10;

/// The time between two checks of a waiting call that has no event to be woken by.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The time between two looks of a fiber at what a thread would wait for on a condition variable, which cannot resume a
/// fiber.
const FIBER_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// One call into the library.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// When the call, or its present attempt, began.
    pub began: Time,
    /// When the call itself began.
    started: Time,
    pub deadline: Deadline,
    /// The time that one node has for a reply.
    pub attempt_ms: u64,
    /// Whether the command may be sent together with the handshake of a new connection.
    pub early: bool,
    /// The name of the command, for error messages. Empty if the call has several, or none yet.
    pub command: &'static str,
    /// Whether everything that is sent may be sent again. Anything else is sent only after a look whether the node has
    /// closed the connection.
    pub repeatable: bool,
    /// The call runs in a fiber: it never blocks its thread, but suspends the fiber.
    pub in_fiber: bool,
    cancel_flag: &'a CancelFlag,
    wakers: &'a Wakers,
    seen: SeenInterrupts,
}

impl<'a> Call<'a> {
    pub fn new(
        began: Time,
        timeout_ms: u64,
        attempt_ms: u64,
        cancel_flag: &'a CancelFlag,
        wakers: &'a Wakers,
    ) -> Self {
        Call {
            began,
            started: began,
            deadline: limit_nested(Deadline::after(began, timeout_ms)),
            attempt_ms,
            early: false,
            command: "",
            repeatable: false,
            in_fiber: false,
            cancel_flag,
            wakers,
            seen: cancel_flag.seen(),
        }
    }

    /// The same call with another deadline.
    pub fn with_deadline(self, deadline: Deadline) -> Call<'a> {
        Call { deadline, ..self }
    }

    /// The same call with a deadline that is earlier by this time.
    #[inline]
    pub fn shortened(self, by: Duration) -> Call<'a> {
        self.with_deadline(self.deadline.earlier(by))
    }

    /// The same call with another attempt timeout.
    pub fn with_attempt_timeout(self, attempt_ms: u64) -> Call<'a> {
        Call { attempt_ms, ..self }
    }

    /// The same call; `early` as in [`Call::early`].
    #[inline]
    pub fn early(self, early: bool) -> Call<'a> {
        Call { early, ..self }
    }

    /// The same call, of the command with this name.
    #[inline]
    pub fn of_command(self, command: &'static str) -> Call<'a> {
        Call { command, ..self }
    }

    /// The same call; `repeatable` as in [`Call::repeatable`].
    #[inline]
    pub fn repeatable(self, repeatable: bool) -> Call<'a> {
        Call { repeatable, ..self }
    }

    /// The same call, in a fiber.
    pub fn in_fiber(self) -> Call<'a> {
        Call {
            in_fiber: true,
            ..self
        }
    }

    /// The same call in an attempt that begins at `time`.
    pub fn with_start(self, time: Time) -> Call<'a> {
        Call {
            began: time,
            ..self
        }
    }

    /// The time since the start of the call, all attempts included.
    pub fn elapsed(&self, time: Time) -> Duration {
        time.since(self.started)
    }

    /// The deadline for a reply of a node that last sent something at `time`.
    #[inline]
    pub fn attempt_deadline(&self, time: Time) -> Deadline {
        Deadline::after(time, self.attempt_ms).min(self.deadline)
    }

    /// Fails if the call has been interrupted or its handle closed.
    #[inline]
    pub fn check(&self) -> Result<()> {
        self.cancel_flag.check(self.seen)
    }

    /// The same, and invokes the thread's wait callback if it is due. Must be called with no lock held.
    pub fn check_cancelled(&self) -> Result<()> {
        self.check()?;
        // The loop of the fiber invokes it.
        if self.in_fiber || !wait_callback::is_wait_callback_set() {
            return Ok(());
        }
        self.invoke_callback(CallbackTiming::IfDue)
    }

    fn invoke_callback(&self, timing: CallbackTiming) -> Result<()> {
        let process = sys::process_number();
        let _scope = CallScope::enter(self.deadline, self.in_fiber);
        let goes_on =
            run_callback(|| wait_callback::call_wait_callback(self.started, now(), timing));
        if process != sys::process_number() {
            // Otherwise the child would read replies on the connections of its parent.
            return Err(Error::new(
                Code::Interrupted,
                "the wait callback forked: the call goes on in the parent only",
            ));
        }
        if goes_on {
            return Ok(());
        }
        Err(Error::new(
            Code::Interrupted,
            "the wait callback ended the call",
        ))
    }

    /// Waits until one of `fds` is ready (true) or `until` has passed (false). The last entry is reserved for the event
    /// that wakes the call.
    pub fn wait(&self, fds: &mut [PollFd], until: Deadline) -> Result<bool> {
        if self.in_fiber {
            return self.suspend(fds, until);
        }
        let waker = self.wakers.acquire();
        let has_callback = wait_callback::is_wait_callback_set();
        let longest = match &waker {
            Some(_) if has_callback => Some(wait_callback::INTERVAL),
            Some(_) => None,
            None => Some(POLL_INTERVAL),
        };
        let mut timing = CallbackTiming::IfDue;
        loop {
            // After the acquire: an earlier interrupt has not fired this event.
            self.check()?;
            if has_callback {
                self.invoke_callback(std::mem::replace(&mut timing, CallbackTiming::IfDue))?;
            }
            let left = until.left(now());
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            if let Some(last) = fds.last_mut() {
                *last = sys::interest(waker.as_ref().map_or(-1, Waker::fd), sys::IN);
            }
            match sys::poll(fds, left.into_iter().chain(longest).min()) {
                Ok(0) => {}
                Ok(_) => {
                    let Some((last, others)) = fds.split_last() else {
                        return Ok(false);
                    };
                    if last.revents != 0
                        && let Some(waker) = &waker
                    {
                        sys::clear(waker.fd());
                    }
                    if others.iter().any(|p| p.revents != 0) {
                        self.check()?;
                        return Ok(true);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => timing = CallbackTiming::Now,
                Err(e) => return Err(Error::new(Code::Io, format_args!("poll failed: {e}"))),
            }
        }
    }

    /// The same in a fiber, which the loop also resumes when the call is cancelled.
    #[cold]
    fn suspend(&self, fds: &mut [PollFd], until: Deadline) -> Result<bool> {
        self.check()?;
        if until.left(now()) == Some(Duration::ZERO) {
            return Ok(false);
        }
        let wait = FiberWait {
            fds: fds.to_vec(),
            until,
        };
        let Ok(resumed) = fiber::suspend(wait) else {
            return Err(Error::new(Code::Internal, "no fiber to suspend"));
        };
        self.check()?;
        fds.copy_from_slice(&resumed);
        Ok(fds.iter().any(|fd| fd.revents != 0))
    }

    /// Waits on `condvar`, whose lock is `mutex`, until notified or until `timeout` has passed. Spurious wake-ups are
    /// possible. The caller checks whether the call was cancelled.
    pub fn wait_on<'m, T>(
        &self,
        condvar: &Condvar,
        mutex: &'m Mutex<T>,
        guard: MutexGuard<'m, T>,
        timeout: Duration,
    ) -> MutexGuard<'m, T> {
        if !self.in_fiber {
            // It is a cancellation point on macOS.
            let _uncancelled = PthreadCancelDisabled::begin();
            return wait(condvar, mutex, guard, timeout);
        }
        drop(guard);
        let retry = Deadline::at(now().plus(timeout.min(FIBER_POLL_INTERVAL)));
        // The caller checks.
        let _ = self.suspend(&mut [], retry);
        lock(mutex)
    }

    /// Sleeps until `until`. Fails if the call is cancelled.
    pub fn sleep(&self, until: Deadline) -> Result<()> {
        self.wait(&mut [sys::interest(-1, 0)], until).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupt_ends_running_calls_only() {
        let (cancel_flag, wakers) = (CancelFlag::default(), Wakers::default());
        let call = Call::new(now(), u64::MAX, 1000, &cancel_flag, &wakers);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| call.sleep(Deadline::NEVER).unwrap_err().code);
            while !wakers.is_any_used() {
                std::thread::yield_now();
            }
            cancel_flag.interrupt();
            wakers.fire();
            assert_eq!(waiting.join().unwrap(), Code::Interrupted);
        });
        let later = Call::new(now(), u64::MAX, 1000, &cancel_flag, &wakers);
        later.sleep(Deadline::after(now(), 1)).unwrap();
        cancel_flag.close();
        assert_eq!(later.check().unwrap_err().code, Code::Closed);
        assert_eq!(
            Call::new(now(), u64::MAX, 1000, &cancel_flag, &wakers)
                .check()
                .unwrap_err()
                .code,
            Code::Closed
        );
    }
}
