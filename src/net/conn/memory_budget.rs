//! The memory budget for replies that are being received. A client and all handles derived from it share one, so that
//! many threads together cannot exhaust the memory of the process.
//!
//! The budget counts what grows with a reply: receive buffers larger than those that every connection keeps, and the
//! decoded values. It is charged where they grow, which short replies never do. The lease ends when the connection is
//! released: then the reply belongs to the caller.

use crate::error::{Code, Error, Result};
use crate::resp::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory that the connections of a client may use, and do use, for incomplete replies.
#[derive(Debug)]
pub struct MemoryBudget {
    max_bytes: usize,
    leased: AtomicUsize,
}

impl MemoryBudget {
    /// A budget of `max_bytes`; 0 means unlimited.
    pub fn new(max_bytes: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget {
            max_bytes: if max_bytes == 0 {
                usize::MAX
            } else {
                max_bytes
            },
            leased: AtomicUsize::new(0),
        })
    }
}

/// The part of the budget that one connection uses. Given back when dropped.
#[derive(Debug)]
pub(super) struct MemoryLease {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl MemoryLease {
    pub fn of(budget: &Arc<MemoryBudget>) -> MemoryLease {
        MemoryLease {
            budget: budget.clone(),
            bytes: 0,
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Leases `bytes` more.
    pub fn take(&mut self, bytes: usize) -> Result<()> {
        let max = self.budget.max_bytes;
        let add = |leased: usize| leased.checked_add(bytes).filter(|sum| *sum <= max);
        let leased = &self.budget.leased;
        match leased.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            // The error names no node: the same reply from another node would also exceed the budget.
            Err(leased) => Err(Error::new(
                Code::Protocol,
                format_args!(
                    "incomplete replies would use more than max_memory_bytes = {max}: \
                     {leased} bytes are in use, {} of them by this reply, which needs {bytes} more",
                    self.bytes
                ),
            )),
        }
    }

    /// Leases the growth of a list of values from capacity `before` to capacity `now`.
    #[inline]
    pub fn take_values(&mut self, before: usize, now: usize) -> Result<()> {
        match now.saturating_sub(before) {
            0 => Ok(()),
            more => self.take(more * size_of::<Value>()),
        }
    }

    #[cold]
    pub fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.budget.leased.fetch_sub(bytes, Ordering::Relaxed);
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
    fn memory_leases_are_bounded_and_returned() {
        let budget = MemoryBudget::new(1000);
        let (mut one, mut other) = (MemoryLease::of(&budget), MemoryLease::of(&budget));
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
        assert_eq!(budget.leased.load(Ordering::Relaxed), 0);
        MemoryLease::of(&MemoryBudget::new(0))
            .take(usize::MAX / 2)
            .unwrap();
    }
}
