//! Sleeping until a number changes, and yielding the processor.

use super::system::Sleepers;
#[cfg(test)]
use crate::sim_hooks;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A number that threads sleep on. It changes whenever they have to check what they wait for.
#[derive(Debug, Default)]
pub struct WakeEpoch {
    number: AtomicU32,
    sleepers: Sleepers,
}

impl WakeEpoch {
    pub fn number(&self) -> u32 {
        self.number.load(Ordering::Acquire)
    }

    /// Changes the number. Who already sleeps has to be woken.
    pub fn advance(&self) {
        self.number.fetch_add(1, Ordering::SeqCst);
    }

    /// Sleeps while the number is `expected`, until woken, `timeout` has passed or a signal arrived.
    pub fn sleep(&self, expected: u32, timeout: Option<Duration>) {
        #[cfg(test)]
        if let Some(simulator) = sim_hooks::current() {
            if self.number.load(Ordering::SeqCst) == expected {
                simulator.futex_wait(self.number.as_ptr().addr(), timeout);
            }
            return;
        }
        self.sleepers.sleep(&self.number, expected, timeout);
    }

    /// Wakes at most `count` threads that sleep.
    pub fn wake(&self, count: i32) {
        #[cfg(test)]
        if let Some(simulator) = sim_hooks::current() {
            return simulator.futex_wake(self.number.as_ptr().addr(), count);
        }
        self.sleepers.wake(&self.number, count);
    }
}

/// Yields the processor to another thread.
pub fn yield_now() {
    #[cfg(test)]
    if let Some(simulator) = sim_hooks::current() {
        return simulator.yield_now();
    }
    std::thread::yield_now();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn sleep_ends_with_wake_with_its_time_or_at_once_if_the_number_has_changed() {
        let epoch = WakeEpoch::default();
        let began = Instant::now();
        epoch.sleep(epoch.number(), Some(Duration::from_millis(20)));
        assert!(began.elapsed() >= Duration::from_millis(15));
        let seen = epoch.number();
        epoch.advance();
        epoch.sleep(seen, LONG);
        let seen = epoch.number();
        std::thread::scope(|scope| {
            let sleeping: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        while epoch.number() == seen {
                            epoch.sleep(seen, LONG);
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(20));
            epoch.advance();
            // One after the other, and then whoever is left.
            epoch.wake(1);
            epoch.wake(i32::MAX);
            for thread in sleeping {
                thread.join().unwrap();
            }
        });
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
