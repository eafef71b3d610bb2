//! Locks that ignore poisoning.
//!
//! A caught panic must leave the client working. Poisoning can be ignored because data behind a
//! lock is valid between any two statements. The standard library's locks are used because they
//! have no global state, which could stay locked for ever in a forked child.

use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

#[cfg(not(rdc_tsan))]
pub use std::sync::{Condvar, Mutex, MutexGuard};
#[cfg(rdc_tsan)]
pub use tsan_visible::{Condvar, Mutex, MutexGuard};

/// Locks `mutex`, poisoned or not.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks `mutex`, poisoned or not, unless it is locked. In a forked child it may stay locked for ever, by a thread that
/// exists only in the parent.
pub fn try_lock<T: ?Sized>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Waits on `condvar`, whose lock is `mutex`, until notified or until `timeout` has passed. Spurious
/// wake-ups are possible.
pub fn wait<'a, T>(
    condvar: &Condvar,
    mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> MutexGuard<'a, T> {
    #[cfg(test)]
    if let Some(simulator) = crate::sim_hooks::current() {
        drop(guard);
        simulator.futex_wait(std::ptr::from_ref(condvar).addr(), Some(timeout));
        return lock(mutex);
    }
    // Only the simulator needs the mutex: a guard can lock its own again.
    let _ = mutex;
    let waited = condvar.wait_timeout(guard, timeout);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

/// Wakes one thread that waits on `condvar`.
pub fn notify_one(condvar: &Condvar) {
    #[cfg(test)]
    if let Some(simulator) = crate::sim_hooks::current() {
        simulator.futex_wake(std::ptr::from_ref(condvar).addr(), 1);
    }
    condvar.notify_one();
}

/// Wakes all threads that wait on `condvar`.
pub fn notify_all(condvar: &Condvar) {
    #[cfg(test)]
    if let Some(simulator) = crate::sim_hooks::current() {
        simulator.futex_wake(std::ptr::from_ref(condvar).addr(), i32::MAX);
    }
    condvar.notify_all();
}

/// The same locks, visible to ThreadSanitizer.
///
/// The standard library is compiled without ThreadSanitizer, which therefore reports every access
/// under its locks as a race. Each lock here has an atomic word beside it: unlocking releases it and
/// locking acquires it, which is the order that a lock guarantees. Nothing else differs, and none of
/// this is in the shipped library.
#[cfg(rdc_tsan)]
mod tsan_visible {
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult, WaitTimeoutResult};
    use std::time::Duration;

    #[derive(Debug, Default)]
    pub struct Mutex<T: ?Sized> {
        word: AtomicU32,
        real: std::sync::Mutex<T>,
    }

    #[derive(Debug)]
    pub struct MutexGuard<'a, T: ?Sized> {
        word: &'a AtomicU32,
        /// `None` only during [`Condvar::wait_timeout`].
        real: Option<std::sync::MutexGuard<'a, T>>,
    }

    impl<T> Mutex<T> {
        pub const fn new(value: T) -> Mutex<T> {
            Mutex {
                word: AtomicU32::new(0),
                real: std::sync::Mutex::new(value),
            }
        }
    }

    impl<T: ?Sized> Mutex<T> {
        pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            let real = self.real.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(locked(&self.word, real))
        }

        pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
            match self.real.try_lock() {
                Ok(real) => Ok(locked(&self.word, real)),
                Err(TryLockError::Poisoned(e)) => Ok(locked(&self.word, e.into_inner())),
                Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            }
        }
    }

    fn locked<'a, T: ?Sized>(
        word: &'a AtomicU32,
        real: std::sync::MutexGuard<'a, T>,
    ) -> MutexGuard<'a, T> {
        word.load(Ordering::Acquire);
        let real = Some(real);
        MutexGuard { word, real }
    }

    impl<'a, T: ?Sized> MutexGuard<'a, T> {
        fn release(&mut self) -> Option<std::sync::MutexGuard<'a, T>> {
            self.word.fetch_add(1, Ordering::Release);
            self.real.take()
        }
    }

    impl<T: ?Sized> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            if self.real.is_some() {
                drop(self.release());
            }
        }
    }

    impl<T: ?Sized> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            match &self.real {
                Some(real) => real,
                None => unreachable!("a wait has the guard and gives it back"),
            }
        }
    }

    impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            match &mut self.real {
                Some(real) => real,
                None => unreachable!("a wait has the guard and gives it back"),
            }
        }
    }

    #[derive(Debug, Default)]
    pub struct Condvar(std::sync::Condvar);

    impl Condvar {
        pub const fn new() -> Condvar {
            Condvar(std::sync::Condvar::new())
        }

        pub fn wait_timeout<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            timeout: Duration,
        ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
            let word = guard.word;
            match guard.release() {
                Some(real) => {
                    let waited = self.0.wait_timeout(real, timeout);
                    let (real, result) = waited.unwrap_or_else(PoisonError::into_inner);
                    Ok((locked(word, real), result))
                }
                None => unreachable!("a wait has the guard and gives it back"),
            }
        }

        pub fn notify_one(&self) {
            self.0.notify_one();
        }

        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
