//! A node's backoff: how often it is knocked at while it does not open.

use crate::deadline::Time;
use crate::error::{Code, Error, Result};
use crate::sync::{Mutex, lock};
use rand::Rng;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Between two connections that fail lies at least this, whoever wants them: at most ten a second,
/// and who waits for a node to come back is late by no more.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The same where the credentials are refused: they do not become right by being repeated, and
/// servers log each try.
const AUTH_RETRY_AFTER: Duration = Duration::from_millis(1000);
/// A connection that was given up sooner says more about its caller's haste than about the node.
const SHORT_ATTEMPT: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(in crate::net) struct ConnectBackoff {
    /// Whether there is a failure not to knock.
    active: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// How long it took lately until it opened, in milliseconds.
    greeting: AtomicU32,
}

#[derive(Debug)]
struct Failure {
    until: Time,
    pause: Duration,
    error: Error,
}

impl ConnectBackoff {
    /// Asks to open a connection. While it is too soon to try again, that is refused with the error
    /// of the last try; then one caller may, and the others wait for what comes of it.
    pub(in crate::net) fn try_start(&self, time: Time) -> Result<()> {
        if !self.active.load(Ordering::Acquire) {
            return Ok(());
        }
        match &mut *lock(&self.failure) {
            Some(failure) if time < failure.until => Err(failure.error.clone()),
            Some(failure) => {
                failure.until = time.plus(failure.pause);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether a knock would be refused.
    pub(in crate::net) fn is_backing_off(&self, time: Time) -> bool {
        self.active.load(Ordering::Acquire)
            && lock(&self.failure).as_ref().is_some_and(|r| time < r.until)
    }

    /// What the last try failed of, if none has succeeded since.
    pub(in crate::net) fn last_error(&self) -> Option<Error> {
        let active = self.active.load(Ordering::Acquire);
        let failure = active.then(|| lock(&self.failure))?;
        failure.as_ref().map(|r| r.error.clone())
    }

    pub(in crate::net) fn on_success(&self, began: Time, time: Time) {
        let ms = time.since(began).as_millis().min(60_000) as u32;
        // The worst of late, as one that was quick by luck says little.
        let before = self.greeting.load(Ordering::Relaxed);
        self.greeting
            .store(ms.max(before - before / 4), Ordering::Relaxed);
        if self.active.load(Ordering::Acquire) {
            *lock(&self.failure) = None;
            self.active.store(false, Ordering::Release);
        }
    }

    pub(in crate::net) fn on_failure(&self, began: Time, time: Time, error: &Error) {
        let pause = match error.code {
            Code::Interrupted | Code::Closed | Code::Internal => return,
            Code::Timeout if time.since(began) < SHORT_ATTEMPT => return,
            // What a user may not do is told to whoever asks: nobody is let in who tries again.
            Code::Auth if error.message.contains("NOPERM") => return,
            Code::Auth => AUTH_RETRY_AFTER,
            _ => RETRY_AFTER,
        };
        let jitter = crate::sim_hooks::rng().random_range(1.0..1.2);
        *lock(&self.failure) = Some(Failure {
            until: time.plus(pause.mul_f64(jitter)),
            pause,
            // What went out with that greeting is not what others are told about.
            error: error.clone().sent(false),
        });
        self.active.store(true, Ordering::Release);
    }

    pub(in crate::net) fn handshake_ms(&self) -> u64 {
        self.greeting.load(Ordering::Relaxed).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::now;

    #[test]
    fn one_knocks_and_the_others_are_told_what_came_of_it() {
        let (backoff, time) = (ConnectBackoff::default(), now());
        let later = |ms| time.plus(Duration::from_millis(ms));
        assert!(backoff.try_start(time).is_ok());
        let refused = Error::new(Code::Connect, "refused").sent(true);
        backoff.on_failure(time, time, &refused);
        let told = backoff.try_start(later(99)).unwrap_err();
        assert!(told.code == Code::Connect && !told.sent, "{told}");
        assert!(backoff.try_start(later(120)).is_ok(), "one may");
        assert!(
            backoff.try_start(later(121)).is_err(),
            "and the others wait"
        );
        backoff.on_success(later(121), later(130));
        assert!(backoff.try_start(later(131)).is_ok());
        assert_eq!(backoff.handshake_ms(), 9);
        backoff.on_failure(time, time, &Error::new(Code::Auth, "WRONGPASS"));
        assert!(backoff.try_start(later(990)).is_err() && backoff.try_start(later(1210)).is_ok());
    }

    #[test]
    fn haste_and_interrupts_say_nothing_of_the_node() {
        let (backoff, time) = (ConnectBackoff::default(), now());
        for (code, ms) in [(Code::Timeout, 49), (Code::Interrupted, 500)] {
            let end = time.plus(Duration::from_millis(ms));
            backoff.on_failure(time, end, &Error::new(code, "over"));
            assert!(backoff.try_start(end).is_ok(), "{code:?}");
        }
    }
}
