//! How much memory replies take while they are being received: one account for a client and all
//! handles made from it, so that many threads that each receive what one of them may do not
//! together take what the process does not have.
//!
//! What is counted is what grows with a reply: receive buffers beyond those that every connection
//! has, and the values decoded so far. It is counted where it grows, which is no part of a short
//! reply's way, and it is counted no longer when the connection is at rest: then the reply is the
//! caller's.

use crate::error::{Code, Error, Result};
use crate::resp::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The account.
#[derive(Debug)]
pub struct MemoryBudget {
    most: usize,
    held: AtomicUsize,
}

impl MemoryBudget {
    /// Of which so many bytes may be taken at a time; any number of them, if that is 0.
    pub fn new(most: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget {
            most: if most == 0 { usize::MAX } else { most },
            held: AtomicUsize::new(0),
        })
    }
}

/// What one connection has taken, given back when it is dropped.
#[derive(Debug)]
pub(super) struct MemoryLease {
    memory: Arc<MemoryBudget>,
    held: usize,
}

impl MemoryLease {
    pub fn of(memory: &Arc<MemoryBudget>) -> MemoryLease {
        MemoryLease {
            memory: memory.clone(),
            held: 0,
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes so many bytes more, if there are as many.
    pub fn take(&mut self, bytes: usize) -> Result<()> {
        let most = self.memory.most;
        let add = |held: usize| held.checked_add(bytes).filter(|held| *held <= most);
        let held = &self.memory.held;
        match held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => {
                self.held += bytes;
                Ok(())
            }
            // About no node: none of them would do better.
            Err(others) => Err(Error::new(
                Code::Protocol,
                format_args!(
                    "replies that are being received would take more than max_memory_bytes = {most}: \
                     {others} bytes are taken, {} of them for this one, and {bytes} are wanted",
                    self.held
                ),
            )),
        }
    }

    /// The same for the room that values have, where they had `before`.
    #[inline]
    pub fn take_values(&mut self, before: usize, now: usize) -> Result<()> {
        match now.saturating_sub(before) {
            0 => Ok(()),
            more => self.take(more * size_of::<Value>()),
        }
    }

    #[cold]
    pub fn give_back(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.memory.held.fetch_sub(held, Ordering::Relaxed);
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_take_together_is_bounded_and_comes_back() {
        let memory = MemoryBudget::new(1000);
        let (mut one, mut other) = (MemoryLease::of(&memory), MemoryLease::of(&memory));
        one.take(600).unwrap();
        let error = other.take(401).unwrap_err();
        assert_eq!((error.code, error.node.is_none()), (Code::Protocol, true));
        assert!(error.message.contains("max_memory_bytes = 1000"), "{error}");
        other.take(400).unwrap();
        assert!(one.take(1).is_err() && !one.is_empty());
        one.give_back();
        assert!(one.is_empty());
        one.take_values(10, 10 + 600 / size_of::<Value>()).unwrap();
        drop(other);
        one.take_values(5, 0).unwrap();
        one.take(300).unwrap();
        drop(one);
        assert_eq!(memory.held.load(Ordering::Relaxed), 0);
        MemoryLease::of(&MemoryBudget::new(0))
            .take(usize::MAX / 2)
            .unwrap();
    }
}
