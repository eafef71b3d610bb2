//! Cancels the calls of a handle, from another thread or a signal handler: rdc_interrupt(), rdc_close().

use crate::error::{Code, Error, Result};
use std::sync::atomic::{AtomicU32, Ordering};

/// Whether the calls of one handle must end. Bit 0: the handle is closed. The other bits: the number of interrupts.
#[derive(Debug, Default)]
pub struct CancelFlag(AtomicU32);

const CLOSED: u32 = 1;
const INTERRUPT: u32 = 2;

/// The number of interrupts that a call has seen when it began.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct SeenInterrupts(u32);

impl CancelFlag {
    /// Ends the calls in progress as interrupted. Later calls are not affected.
    pub fn interrupt(&self) {
        self.0.fetch_add(INTERRUPT, Ordering::SeqCst);
    }

    /// Ends all calls, present and future, as closed.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::SeqCst);
    }

    #[inline]
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Changes with every interrupt, and when the handle is closed.
    pub fn cancels(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    #[inline]
    pub(super) fn seen(&self) -> SeenInterrupts {
        SeenInterrupts(self.0.load(Ordering::SeqCst) & !CLOSED)
    }

    /// Fails if the handle has been closed, or interrupted since `seen`.
    #[inline]
    pub(super) fn check(&self, seen: SeenInterrupts) -> Result<()> {
        let state = self.0.load(Ordering::SeqCst);
        if state == seen.0 {
            return Ok(());
        }
        Err(if state & CLOSED != 0 {
            Error::new(Code::Closed, "the handle was closed during the call")
        } else {
            Error::new(Code::Interrupted, "the call was interrupted")
        })
    }
}
