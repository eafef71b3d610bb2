//! A node's door: how often it is knocked at while it does not open.

use crate::deadline::Time;
use crate::error::{Code, Error, Result};
use crate::sync::{Mutex, lock};
use rand::Rng;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Between two connections that fail lies at least this, whoever wants them: at most ten a second,
/// and who waits for a node to come back is late by no more.
const SHUT: Duration = Duration::from_millis(100);
/// The same where the credentials are refused: they do not become right by being repeated, and
/// servers log each try.
const BARRED: Duration = Duration::from_millis(1000);
/// A connection that was given up sooner says more about its caller's haste than about the node.
const HASTY: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Door {
    /// Whether there is a reason not to knock.
    shut: AtomicBool,
    reason: Mutex<Option<Reason>>,
    /// How long it took lately until it opened, in milliseconds.
    greeting: AtomicU32,
}

#[derive(Debug)]
struct Reason {
    until: Time,
    pause: Duration,
    error: Error,
}

impl Door {
    /// Asks to open a connection. While it is too soon to try again, that is refused with the error
    /// of the last try; then one caller may, and the others wait for what comes of it.
    pub(super) fn knock(&self, time: Time) -> Result<()> {
        if !self.shut.load(Ordering::Acquire) {
            return Ok(());
        }
        match &mut *lock(&self.reason) {
            Some(reason) if time < reason.until => Err(reason.error.clone()),
            Some(reason) => {
                reason.until = time.plus(reason.pause);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether a knock would be refused.
    pub(super) fn is_shut(&self, time: Time) -> bool {
        self.shut.load(Ordering::Acquire)
            && lock(&self.reason).as_ref().is_some_and(|r| time < r.until)
    }

    /// What the last try failed of, if none has succeeded since.
    pub(super) fn reason(&self) -> Option<Error> {
        let shut = self.shut.load(Ordering::Acquire);
        let reason = shut.then(|| lock(&self.reason))?;
        reason.as_ref().map(|r| r.error.clone())
    }

    pub(super) fn opened(&self, began: Time, time: Time) {
        let ms = time.since(began).as_millis().min(60_000) as u32;
        // The worst of late, as one that was quick by luck says little.
        let before = self.greeting.load(Ordering::Relaxed);
        self.greeting
            .store(ms.max(before - before / 4), Ordering::Relaxed);
        if self.shut.load(Ordering::Acquire) {
            *lock(&self.reason) = None;
            self.shut.store(false, Ordering::Release);
        }
    }

    pub(super) fn stays_shut(&self, began: Time, time: Time, error: &Error) {
        let pause = match error.code {
            Code::Interrupted | Code::Closed | Code::Internal => return,
            Code::Timeout if time.since(began) < HASTY => return,
            // What a user may not do is told to whoever asks: nobody is let in who tries again.
            Code::Auth if error.message.contains("NOPERM") => return,
            Code::Auth => BARRED,
            _ => SHUT,
        };
        let jitter = crate::sim_hooks::rng().random_range(1.0..1.2);
        *lock(&self.reason) = Some(Reason {
            until: time.plus(pause.mul_f64(jitter)),
            pause,
            // What went out with that greeting is not what others are told about.
            error: error.clone().sent(false),
        });
        self.shut.store(true, Ordering::Release);
    }

    pub(super) fn greeting_ms(&self) -> u64 {
        self.greeting.load(Ordering::Relaxed).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::now;

    #[test]
    fn one_knocks_and_the_others_are_told_what_came_of_it() {
        let (door, time) = (Door::default(), now());
        let later = |ms| time.plus(Duration::from_millis(ms));
        assert!(door.knock(time).is_ok());
        let refused = Error::new(Code::Connect, "refused").sent(true);
        door.stays_shut(time, time, &refused);
        let told = door.knock(later(99)).unwrap_err();
        assert!(told.code == Code::Connect && !told.sent, "{told}");
        assert!(door.knock(later(120)).is_ok(), "one may");
        assert!(door.knock(later(121)).is_err(), "and the others wait");
        door.opened(later(121), later(130));
        assert!(door.knock(later(131)).is_ok());
        assert_eq!(door.greeting_ms(), 9);
        door.stays_shut(time, time, &Error::new(Code::Auth, "WRONGPASS"));
        assert!(door.knock(later(990)).is_err() && door.knock(later(1210)).is_ok());
    }

    #[test]
    fn haste_and_interrupts_say_nothing_of_the_node() {
        let (door, time) = (Door::default(), now());
        for (code, ms) in [(Code::Timeout, 49), (Code::Interrupted, 500)] {
            let end = time.plus(Duration::from_millis(ms));
            door.stays_shut(time, end, &Error::new(code, "over"));
            assert!(door.knock(end).is_ok(), "{code:?}");
        }
    }
}
