//! A box that one thread at a time takes and puts back by one atomic exchange each, until the holder of a lock revokes
//! that: biased locking, for a value that mostly a lone thread uses.

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Room for a value beside a lock that guards the other values of the same kind. It is in one of three states:
///
/// - it holds the value, which any thread may take;
/// - the value is taken, and no thread has taken the lock since: the thread that has it may put it back;
/// - revoked: it is empty until the holder of the lock grants a value.
///
/// All state is one word, so each operation sees what came before it. If a thread puts its value back, the next holder of
/// the lock finds it. If it cannot, a holder of the lock has come in between: then it takes the lock as well, and finds
/// what that one has left, for example a thread that waits for the value. No value is lost and no thread overlooked.
#[derive(Debug)]
pub struct RevocableBox<T> {
    /// A pointer from `Box::into_raw` to the value, [`TAKEN`], or [`REVOKED`].
    word: AtomicPtr<T>,
    owns: PhantomData<Box<T>>,
}

/// Addresses at which no value lies: a box is not NULL, and its address is a multiple of an alignment of 2 or more.
const REVOKED: usize = 0;
const TAKEN: usize = 1;

const fn mark<T>(mark: usize) -> *mut T {
    ptr::without_provenance_mut(mark)
}

impl<T: Send> RevocableBox<T> {
    /// An empty one, without a value to take.
    pub fn revoked() -> RevocableBox<T> {
        const { assert!(align_of::<T>() > TAKEN) };
        RevocableBox {
            word: AtomicPtr::new(mark(REVOKED)),
            owns: PhantomData,
        }
    }

    /// Takes the value, if there is one.
    #[inline(always)]
    pub fn take(&self) -> Option<Box<T>> {
        let value = self.word.load(Ordering::Relaxed);
        if value.addr() <= TAKEN {
            return None;
        }
        let taken =
            self.word
                .compare_exchange(value, mark(TAKEN), Ordering::Acquire, Ordering::Relaxed);
        // SAFETY: the pointer of a box, which the exchange has removed: for one thread only.
        taken.ok().map(|value| unsafe { Box::from_raw(value) })
    }

    /// Puts back the value that this thread has taken. Returns it if that has been revoked meanwhile.
    #[inline(always)]
    pub fn put_back(&self, value: Box<T>) -> Option<Box<T>> {
        let value = Box::into_raw(value);
        let put =
            self.word
                .compare_exchange(mark(TAKEN), value, Ordering::Release, Ordering::Relaxed);
        // SAFETY: the pointer from above, which has not been stored.
        put.is_err().then(|| unsafe { Box::from_raw(value) })
    }

    /// Makes this empty until the next [`RevocableBox::grant`], and returns the value unless it is taken. The caller holds
    /// the lock.
    #[inline(always)]
    pub fn revoke(&self) -> Option<Box<T>> {
        // Only a holder of the lock ends this state.
        match self.word.load(Ordering::Relaxed).addr() {
            REVOKED => None,
            _ => self.replace(mark(REVOKED)),
        }
    }

    /// Offers a value to all threads. The caller holds the lock, and has revoked before. Returns the value that was here
    /// nevertheless.
    pub fn grant(&self, value: Box<T>) -> Option<Box<T>> {
        self.replace(Box::into_raw(value))
    }

    fn replace(&self, by: *mut T) -> Option<Box<T>> {
        let former = self.word.swap(by, Ordering::AcqRel);
        // SAFETY: the pointer of a box, which the swap has removed: for one thread only.
        (former.addr() > TAKEN).then(|| unsafe { Box::from_raw(former) })
    }
}

impl<T> Drop for RevocableBox<T> {
    fn drop(&mut self) {
        let value = *self.word.get_mut();
        if value.addr() > TAKEN {
            // SAFETY: the pointer of a box, which no other thread can take any more.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn value_is_taken_and_put_back_until_revoked() {
        let cell = RevocableBox::revoked();
        assert_eq!(cell.take(), None::<Box<u64>>);
        assert_eq!(cell.put_back(Box::new(1)), Some(Box::new(1)));
        assert_eq!(cell.grant(Box::new(2)), None);
        let taken = cell.take().expect("it was granted");
        assert_eq!((*taken, cell.take()), (2, None));
        assert_eq!(cell.put_back(taken), None);
        let taken = cell.take().expect("it was put back");
        assert_eq!(cell.revoke(), None, "it is taken");
        assert_eq!(cell.put_back(taken), Some(Box::new(2)));
        assert_eq!(cell.revoke(), None);
        assert_eq!(cell.grant(Box::new(3)), None);
        assert_eq!(cell.revoke(), Some(Box::new(3)));
        assert_eq!(cell.take(), None);
    }

    #[test]
    fn value_is_dropped_once() {
        let counted = Arc::new(());
        let cell = RevocableBox::revoked();
        cell.grant(Box::new(counted.clone()));
        drop(cell.take().expect("it was granted"));
        assert_eq!(Arc::strong_count(&counted), 1);
        drop(cell);
        let cell = RevocableBox::revoked();
        cell.grant(Box::new(counted.clone()));
        assert_eq!(Arc::strong_count(&counted), 2);
        drop(cell);
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn threads_neither_share_nor_lose_the_value() {
        const ROUNDS: u64 = 20_000;
        let (cell, list) = (RevocableBox::revoked(), Mutex::new(vec![Box::new(0u64)]));
        let locked = || {
            let mut list = list.lock().unwrap();
            list.extend(cell.revoke());
            list
        };
        let work = || {
            let mut found = 0;
            for _ in 0..ROUNDS {
                let taken = cell.take().or_else(|| locked().pop());
                let Some(mut value) = taken else { continue };
                *value += 1;
                found += 1;
                if let Some(value) = cell.put_back(value) {
                    let list = locked();
                    assert!(list.is_empty() && cell.grant(value).is_none());
                }
            }
            found
        };
        let found = std::thread::scope(|scope| {
            let threads = [scope.spawn(work), scope.spawn(work)];
            threads.map(|thread| thread.join().unwrap())
        });
        let values: Vec<u64> = locked().iter().map(|value| **value).collect();
        assert_eq!(values, [found[0] + found[1]]);
    }
}
