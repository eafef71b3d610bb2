//! The only clock of the library, and deadlines on it.
//!
//! The clock is monotonic: changes of the wall clock have no effect. A function that may wait takes
//! a [`Deadline`], and passes the same or an earlier one to the functions that it calls.

use rustix::time::ClockId;
use std::time::Duration;

/// A point in time, in nanoseconds since an arbitrary start. One machine word, because every call
/// compares several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// The time from `earlier` to this one; zero if `earlier` is later.
    #[inline]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whether this is more than `ms` milliseconds before `now`.
    #[inline]
    pub fn is_before(self, now: Time, ms: u64) -> bool {
        now.0.saturating_sub(self.0) > ms * 1_000_000
    }

    /// The time `duration` after this one.
    pub fn plus(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(nanos(duration)))
    }

    /// The start of the clock.
    pub const ZERO: Time = Time(0);

    /// Nanoseconds since the start of the clock.
    pub fn nanos(self) -> u64 {
        self.0
    }

    /// The inverse of [`Time::nanos`].
    pub fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// The time `ms` milliseconds before this one, but not before [`Time::ZERO`].
    pub fn minus_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_sub(ms.saturating_mul(1_000_000)))
    }

    /// Milliseconds since the start of the clock.
    pub fn millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The time by which a call must have ended, or [`Deadline::NEVER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(u64);

impl Deadline {
    /// No deadline: the call waits until it completes or is interrupted.
    pub const NEVER: Deadline = Deadline(u64::MAX);

    /// `ms` milliseconds from `now`; [`Deadline::NEVER`] if the clock cannot express that.
    #[inline]
    pub fn after(now: Time, ms: u64) -> Deadline {
        Deadline(now.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// The deadline at `time`.
    pub fn at(time: Time) -> Deadline {
        Deadline(time.0)
    }

    /// The time of this deadline; `None` for [`Deadline::NEVER`].
    pub fn time(self) -> Option<Time> {
        (self != Deadline::NEVER).then_some(Time(self.0))
    }

    /// `us` microseconds from `now`.
    pub fn after_us(now: Time, us: u64) -> Deadline {
        Deadline(now.0.saturating_add(us.saturating_mul(1_000)))
    }

    /// The deadline `duration` before this one.
    pub fn earlier(self, duration: Duration) -> Deadline {
        match self {
            Deadline::NEVER => self,
            Deadline(at) => Deadline(at.saturating_sub(nanos(duration))),
        }
    }

    /// The earlier of the two.
    #[inline]
    pub fn min(self, other: Deadline) -> Deadline {
        Deadline(self.0.min(other.0))
    }

    /// The time left at `now`; `None` for [`Deadline::NEVER`].
    pub fn left(self, now: Time) -> Option<Duration> {
        (self != Deadline::NEVER).then(|| Duration::from_nanos(self.0.saturating_sub(now.0)))
    }

    /// An earlier deadline: `now` plus one `n`-th of the time left.
    pub fn share(self, now: Time, n: u32) -> Deadline {
        let part = self.0.saturating_sub(now.0) / u64::from(n.max(1));
        Deadline(now.0.saturating_add(part))
    }

    /// Whether less than `ms` milliseconds are left at `now`.
    #[inline]
    pub fn is_near(self, now: Time, ms: u64) -> bool {
        self.0.saturating_sub(now.0) < ms * 1_000_000
    }

    /// Whether the deadline has passed at `now`.
    #[inline]
    pub fn passed(self, now: Time) -> bool {
        now.0 >= self.0
    }
}

/// The current time. Nothing else in the library reads a clock.
#[inline]
pub fn now() -> Time {
    #[cfg(test)]
    if let Some(simulator) = crate::sim_hooks::current() {
        return Time(simulator.now());
    }
    // Not through `Instant`: its conversions cost 65 instructions in every call.
    let spec = rustix::time::clock_gettime(ClockId::Monotonic);
    // 64 bits of nanoseconds are 584 years.
    let seconds = (spec.tv_sec as u64).wrapping_mul(1_000_000_000);
    Time(seconds.wrapping_add(spec.tv_nsec as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_expires_and_infinite_deadline_does_not() {
        let time = now();
        let soon = Deadline::after(time, 5);
        assert!(!soon.passed(time));
        assert_eq!(soon.left(time), Some(Duration::from_millis(5)));
        assert!(soon.passed(time.plus(Duration::from_millis(5))));
        assert_eq!(Deadline::after(time, u64::MAX), Deadline::NEVER);
        assert_eq!(Deadline::NEVER.left(time), None);
        let earlier = soon.earlier(Duration::from_millis(3));
        assert_eq!(earlier.left(time), Some(Duration::from_millis(2)));
        assert_eq!(Deadline::NEVER.earlier(Duration::MAX), Deadline::NEVER);
        assert_eq!(soon.min(Deadline::NEVER), soon);
    }
}
