//! How a waiting call learns that it should not wait any longer.
//!
//! A call waits for a socket first for [`RECV_TIMEOUT_MS`] in the receive itself, which costs nothing,
//! and then in a poll together with an event of its own, which an interrupt fires. Nothing here
//! takes a lock, so that an interrupt may come from a signal handler and a forked child never
//! waits for one that its parent held.

use super::wait_callback;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::sys::{self, PollFd};
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

/// How long a receive waits before anything else is looked at, and so the longest time that an
/// interrupt can go unnoticed there. The kernel counts it in ticks, of 4 ms or even 10 ms, and
/// rounds up: more than one tick would be too long.
pub const RECV_TIMEOUT_MS: u64 = 1;

/// The longest that one tick of a kernel's clock takes. A deadline nearer than that is waited for in
/// a poll, which is exact.
pub const TICK_MS: u64 = 10;

/// How often a call looks up that has no event to be woken by.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Whether the calls of one handle should end: told by another thread or a signal handler.
#[derive(Debug, Default)]
pub struct CancelFlag(AtomicU32);

const CLOSED: u32 = 1;
const INTERRUPT: u32 = 2;

impl CancelFlag {
    /// The calls under way end as interrupted; later ones are not concerned.
    pub fn interrupt(&self) {
        self.0.fetch_add(INTERRUPT, Ordering::SeqCst);
    }

    /// All calls, now and later, end as closed.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// Whether they do.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CLOSED != 0
    }
}

/// One call into the library: until when, and who may end it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// When the call, or its present attempt, began.
    pub began: Time,
    /// When the call itself began.
    started: Time,
    pub deadline: Deadline,
    /// How long one node may stay silent.
    pub attempt_ms: u64,
    /// Whether its command may go out with the greeting of a connection that is opened for it.
    pub early: bool,
    cancel_flag: &'a CancelFlag,
    wakers: &'a Wakers,
    seen: u32,
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
            deadline: Deadline::after(began, timeout_ms),
            attempt_ms,
            early: false,
            cancel_flag,
            wakers,
            seen: cancel_flag.0.load(Ordering::SeqCst) & !CLOSED,
        }
    }

    /// The same call with another deadline.
    pub fn until(self, deadline: Deadline) -> Call<'a> {
        Call { deadline, ..self }
    }

    /// The same call, that a node may be silent in for less time.
    pub fn with_attempt_timeout(self, attempt_ms: u64) -> Call<'a> {
        Call { attempt_ms, ..self }
    }

    /// The same call, of a command that may go out early, or not.
    #[inline]
    pub fn early(self, early: bool) -> Call<'a> {
        Call { early, ..self }
    }

    /// The same call, in an attempt that begins at `time`.
    pub fn attempt(self, time: Time) -> Call<'a> {
        Call {
            began: time,
            ..self
        }
    }

    /// Until when a node may be silent that was last heard of at `time`.
    #[inline]
    pub fn attempt_deadline(&self, time: Time) -> Deadline {
        Deadline::after(time, self.attempt_ms).min(self.deadline)
    }

    /// Fails if the call has been interrupted or its handle closed.
    #[inline]
    pub fn check(&self) -> Result<()> {
        let state = self.cancel_flag.0.load(Ordering::SeqCst);
        if state == self.seen {
            return Ok(());
        }
        Err(if state & CLOSED != 0 {
            Error::new(Code::Closed, "the handle was closed during the call")
        } else {
            Error::new(Code::Interrupted, "the call was interrupted")
        })
    }

    /// The same, and asks the thread, if it is time to, whether the call shall go on. With no
    /// lock held.
    pub fn check_cancelled(&self) -> Result<()> {
        self.check()?;
        if !wait_callback::is_wait_callback_set() {
            return Ok(());
        }
        self.ask(now(), false)
    }

    fn ask(&self, time: Time, at_once: bool) -> Result<()> {
        if wait_callback::call_wait_callback(self.started, time, at_once) {
            return Ok(());
        }
        Err(Error::new(
            Code::Interrupted,
            "the thread that made the call ended it",
        ))
    }

    /// Waits until one of `fds` is ready (true) or `until` has passed (false). The last entry is
    /// not the caller's: the event goes there.
    pub fn wait(&self, fds: &mut [PollFd], until: Deadline) -> Result<bool> {
        let waker = self.wakers.enter();
        let asked = wait_callback::is_wait_callback_set();
        let mut signalled = false;
        loop {
            // Only after entering: an interrupt before that fires no event of ours.
            self.check()?;
            if asked {
                self.ask(now(), std::mem::take(&mut signalled))?;
            }
            let left = until.left(now());
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            if let Some(last) = fds.last_mut() {
                *last = sys::interest(waker.as_ref().map_or(-1, Waker::fd), sys::IN);
            }
            let most = match &waker {
                Some(_) if asked => Some(wait_callback::INTERVAL),
                Some(_) => None,
                None => Some(POLL_INTERVAL),
            };
            let slice = left.into_iter().chain(most).min();
            match sys::poll(fds, slice) {
                Ok(0) => {}
                Ok(_) => {
                    let (last, others) = match fds.split_last() {
                        Some(split) => split,
                        None => return Ok(false),
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
                Err(e) if e.kind() == io::ErrorKind::Interrupted => signalled = true,
                Err(e) => return Err(Error::new(Code::Io, format_args!("poll failed: {e}"))),
            }
        }
    }

    /// Sleeps until `until`, or until interrupted.
    pub fn sleep(&self, until: Deadline) -> Result<()> {
        self.wait(&mut [sys::interest(-1, 0)], until).map(drop)
    }
}

/// Calls that wait in a poll at the same time and can be woken at once; more of them look up
/// every [`POLL_INTERVAL`].
const WAKERS: usize = 128;

/// The events of the calls that wait, for an interrupt to fire.
#[derive(Debug)]
pub struct Wakers {
    slots: [Slot; WAKERS],
}

#[derive(Debug)]
struct Slot {
    busy: AtomicBool,
    /// 0 where none has been made yet, else one more than the descriptor.
    event: AtomicI32,
}

impl Default for Wakers {
    fn default() -> Wakers {
        Wakers {
            slots: std::array::from_fn(|_| Slot {
                busy: AtomicBool::new(false),
                event: AtomicI32::new(0),
            }),
        }
    }
}

impl Wakers {
    fn enter(&self) -> Option<Waker<'_>> {
        let slot = self.slots.iter().find(|s| {
            // Most of those that are taken are passed over without a write, which other processors would wait for.
            !s.busy.load(Ordering::Relaxed)
                && s.busy
                    .compare_exchange(false, true, Ordering::SeqCst, Ordering::Relaxed)
                    .is_ok()
        })?;
        let waker = Waker(slot);
        // It may still be firing for a call that has gone: then the first poll clears it.
        if slot.event.load(Ordering::SeqCst) == 0 {
            // No descriptor to be had: the caller looks up now and then instead.
            slot.event.store(sys::event().ok()? + 1, Ordering::SeqCst);
        }
        Some(waker)
    }

    /// Wakes every call that waits, so that it looks at its cancel flag. Async-signal-safe.
    pub fn fire(&self) {
        for slot in &self.slots {
            let event = slot.event.load(Ordering::SeqCst);
            if event != 0 {
                sys::fire(event - 1);
            }
        }
    }

    /// In a forked child: the events are shared with the parent, so they are given up.
    pub fn forget(&self) {
        for slot in &self.slots {
            let event = slot.event.swap(0, Ordering::SeqCst);
            if event != 0 {
                sys::close(event - 1);
            }
            slot.busy.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        self.forget();
    }
}

struct Waker<'a>(&'a Slot);

impl Waker<'_> {
    fn fd(&self) -> RawFd {
        self.0.event.load(Ordering::SeqCst) - 1
    }
}

impl Drop for Waker<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_calls_that_wait_have_an_event_each() {
        let wakers = Wakers::default();
        let all: Vec<Waker<'_>> = (0..100).map_while(|_| wakers.enter()).collect();
        let mut events: Vec<RawFd> = all.iter().map(Waker::fd).collect();
        events.sort_unstable();
        events.dedup();
        assert_eq!(events.len(), 100);
        drop(all);
        assert!(wakers.enter().is_some_and(|w| events.contains(&w.fd())));
    }

    #[test]
    fn an_interrupt_ends_the_calls_under_way_and_no_later_one() {
        let (cancel_flag, wakers) = (CancelFlag::default(), Wakers::default());
        let call = Call::new(now(), u64::MAX, 1000, &cancel_flag, &wakers);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| call.sleep(Deadline::NEVER).unwrap_err().code);
            while !wakers.slots[0].busy.load(Ordering::SeqCst) {
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
