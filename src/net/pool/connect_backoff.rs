//! Connect backoff: how often connections to a node that refuses them are tried.

use crate::deadline::Time;
use crate::error::{Code, Error, Result};
use crate::net::conn::are_credentials_refused;
use crate::sync::{Mutex, lock};
use rand::Rng;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// The shortest time between two failing connects, over all threads. A caller that waits for a node to come back is late
/// by at most this.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The same if the credentials are refused. A retry rarely helps, and servers log each one.
const AUTH_RETRY_AFTER: Duration = Duration::from_millis(1000);
/// A connect that timed out sooner had a short deadline, and shows nothing about the node.
const SHORT_ATTEMPT: Duration = Duration::from_millis(50);

/// The backoff of one node for one group of connection kinds.
#[derive(Debug, Default)]
pub(super) struct ConnectBackoff {
    /// Whether `failure` is set. Saves the lock in the common case.
    is_active: AtomicBool,
    /// Boxed, because most nodes never fail.
    failure: Mutex<Option<Box<Failure>>>,
    /// The time that connect and handshake took recently, in milliseconds.
    handshake_ms: AtomicU32,
}

/// A connect that has failed.
#[derive(Clone, Copy)]
pub(super) struct FailedConnect<'a> {
    began: Time,
    /// The number of the credentials that were current when it began.
    credentials: u32,
    error: &'a Error,
}

impl<'a> FailedConnect<'a> {
    pub(super) fn new(began: Time, credentials: u32, error: &'a Error) -> FailedConnect<'a> {
        FailedConnect {
            began,
            credentials,
            error,
        }
    }
}

#[derive(Debug)]
struct Failure {
    /// When the next connect may start.
    until: Time,
    pause: Duration,
    credentials: u32,
    error: Error,
}

impl Failure {
    /// Whether the node has refused credentials that are not the current ones.
    fn is_outdated(&self, credentials: u32) -> bool {
        self.credentials != credentials && self.error.code == Code::Auth
    }
}

impl ConnectBackoff {
    /// Asks whether a connect may start. During the backoff this fails with the error of the last connect. After it, one
    /// caller may start, and the others still get that error until the outcome is known. Refused credentials do not
    /// delay the ones that replace them, whose number is `credentials`.
    pub(super) fn try_start(&self, time: Time, credentials: u32) -> Result<()> {
        if !self.is_active.load(Ordering::Acquire) {
            return Ok(());
        }
        match &mut *lock(&self.failure) {
            Some(failure) if failure.is_outdated(credentials) => Ok(()),
            Some(failure) if time < failure.until => Err(failure.error.clone()),
            Some(failure) => {
                failure.until = time.plus(failure.pause);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether a connect may not start now.
    pub(super) fn is_backing_off(&self, time: Time) -> bool {
        self.is_active.load(Ordering::Acquire)
            && lock(&self.failure)
                .as_ref()
                .is_some_and(|failure| time < failure.until)
    }

    /// The error of the last connect, if none has succeeded since.
    pub(super) fn last_error(&self) -> Option<Error> {
        let is_active = self.is_active.load(Ordering::Acquire);
        let failure = is_active.then(|| lock(&self.failure))?;
        failure.as_ref().map(|failure| failure.error.clone())
    }

    /// Ends the backoff if it began because the credentials were refused.
    pub(super) fn forget_refused_credentials(&self) {
        if !self.is_active.load(Ordering::Acquire) {
            return;
        }
        let mut failure = lock(&self.failure);
        if failure.as_ref().is_some_and(|f| f.error.code == Code::Auth) {
            *failure = None;
            self.is_active.store(false, Ordering::Release);
        }
    }

    pub(super) fn on_success(&self, began: Time, time: Time) {
        let ms = time.since(began).as_millis().min(60_000) as u32;
        // A slowly decaying maximum: one fast handshake shows little.
        let before = self.handshake_ms.load(Ordering::Relaxed);
        self.handshake_ms
            .store(ms.max(before - before / 4), Ordering::Relaxed);
        if self.is_active.load(Ordering::Acquire) {
            *lock(&self.failure) = None;
            self.is_active.store(false, Ordering::Release);
        }
    }

    pub(super) fn on_failure(&self, time: Time, failed: FailedConnect<'_>) {
        let FailedConnect {
            began,
            credentials,
            error,
        } = failed;
        let pause = match error.code {
            Code::Interrupted | Code::Closed | Code::Internal => return,
            Code::Timeout if time.since(began) < SHORT_ATTEMPT => return,
            // A missing permission of the user concerns only the connections that need it.
            Code::Auth if !are_credentials_refused(error) => return,
            Code::Auth => AUTH_RETRY_AFTER,
            _ => RETRY_AFTER,
        };
        let jitter = crate::sim_hooks::rng().random_range(1.0..1.2);
        *lock(&self.failure) = Some(Box::new(Failure {
            until: time.plus(pause.mul_f64(jitter)),
            pause,
            credentials,
            // `sent` is about the commands of that connect, and not about those of later callers.
            error: error.clone().sent(false),
        }));
        self.is_active.store(true, Ordering::Release);
    }

    pub(super) fn handshake_ms(&self) -> u64 {
        self.handshake_ms.load(Ordering::Relaxed).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::now;

    #[test]
    fn connect_backoff_admits_one_caller_and_shares_its_error() {
        let (backoff, time) = (ConnectBackoff::default(), now());
        let later = |ms| time.plus(Duration::from_millis(ms));
        assert!(backoff.try_start(time, 1).is_ok());
        let refused = Error::new(Code::Connect, "refused").sent(true);
        backoff.on_failure(time, FailedConnect::new(time, 1, &refused));
        let error = backoff.try_start(later(99), 1).unwrap_err();
        assert!(error.code == Code::Connect && !error.sent, "{error}");
        assert!(
            backoff.try_start(later(120), 1).is_ok(),
            "one caller may start"
        );
        assert!(
            backoff.try_start(later(121), 1).is_err(),
            "the others get the error"
        );
        backoff.on_success(later(121), later(130));
        assert!(backoff.try_start(later(131), 1).is_ok());
        assert_eq!(backoff.handshake_ms(), 9);
        let refused = Error::new(Code::Auth, "WRONGPASS");
        backoff.on_failure(time, FailedConnect::new(time, 1, &refused));
        assert!(
            backoff.try_start(later(990), 1).is_err() && backoff.try_start(later(1210), 1).is_ok()
        );
    }

    #[test]
    fn refused_credentials_do_not_delay_their_replacement() {
        let (backoff, time) = (ConnectBackoff::default(), now());
        for (code, is_delayed) in [(Code::Auth, false), (Code::Connect, true)] {
            let error = Error::new(code, "WRONGPASS");
            backoff.on_failure(time, FailedConnect::new(time, 1, &error));
            assert!(backoff.try_start(time, 1).is_err(), "{code:?}");
            assert_eq!(backoff.try_start(time, 2).is_err(), is_delayed, "{code:?}");
        }
    }

    #[test]
    fn accepted_credentials_end_only_backoff_of_refused_ones() {
        let (backoff, time) = (ConnectBackoff::default(), now());
        for (code, is_ended) in [(Code::Auth, true), (Code::Connect, false)] {
            backoff.on_failure(time, FailedConnect::new(time, 0, &Error::new(code, "no")));
            backoff.forget_refused_credentials();
            assert_eq!(backoff.try_start(time, 0).is_ok(), is_ended, "{code:?}");
            assert_eq!(backoff.last_error().is_none(), is_ended, "{code:?}");
        }
    }

    #[test]
    fn short_timeouts_and_interrupts_do_not_start_backoff() {
        let (backoff, time) = (ConnectBackoff::default(), now());
        for (code, ms) in [(Code::Timeout, 49), (Code::Interrupted, 500)] {
            let end = time.plus(Duration::from_millis(ms));
            let error = Error::new(code, "over");
            backoff.on_failure(end, FailedConnect::new(time, 1, &error));
            assert!(backoff.try_start(end, 1).is_ok(), "{code:?}");
        }
    }
}
