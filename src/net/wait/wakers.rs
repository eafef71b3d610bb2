//! Events that wake waiting calls.

use crate::net::sys;
use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// The number of calls that can wait in a poll and be woken at once. Further calls check their cancel flag every
/// [`POLL_INTERVAL`](super::POLL_INTERVAL).
const WAKERS: usize = 128;

/// The events of waiting calls of one process. Takes no lock, because an interrupt may come from a signal handler.
///
/// A forked child has its own, and leaves its parent's events open. It cannot tell whether a number is still such an
/// event: all events have the same inode, so that one of the program's own would look the same. An event that stays open
/// does no harm. It is close-on-exec, and the child never uses it.
#[derive(Debug)]
pub struct Wakers {
    /// The process that opened the events.
    process: i32,
    entries: [Entry; WAKERS],
    /// More entries, for event loops: these keep theirs for as long as they exist.
    more: OnceLock<Box<Wakers>>,
}

#[derive(Debug)]
struct Entry {
    is_used: AtomicBool,
    /// The descriptor plus one; 0 before the first use.
    event: AtomicI32,
    /// Its user wants to know of a new topology.
    follows_topology: AtomicBool,
}

impl Default for Wakers {
    fn default() -> Wakers {
        Wakers {
            process: sys::process_number(),
            entries: std::array::from_fn(|_| Entry {
                is_used: AtomicBool::new(false),
                event: AtomicI32::new(0),
                follows_topology: AtomicBool::new(false),
            }),
            more: OnceLock::new(),
        }
    }
}

impl Wakers {
    /// An event for a call that is about to wait. None if all are in use, or no descriptor is left.
    pub(super) fn acquire(&self) -> Option<Waker<'_>> {
        let entry = self.entries.iter().find(|entry| entry.try_use())?;
        let waker = Waker(entry);
        // The event may still be fired for the call that used it before. Then the first poll clears it.
        entry.event().ok()?;
        Some(waker)
    }

    /// The event of an event loop. It is in use until [`Wakers::release_for_loop`].
    pub fn acquire_for_loop(&self) -> io::Result<RawFd> {
        match self.entries.iter().find(|entry| entry.try_use()) {
            None => self.more.get_or_init(Box::default).acquire_for_loop(),
            Some(entry) => {
                let event = entry.event().inspect_err(|_| entry.release())?;
                // It may have been fired for the one that used it before, or while it was not in use.
                sys::clear(event);
                Ok(event)
            }
        }
    }

    pub fn release_for_loop(&self, event: RawFd) {
        if let Some(entry) = self.entry_of(event) {
            entry.release();
        }
    }

    /// From now on, [`Wakers::fire_for_topology`] fires this event of an event loop.
    pub fn follow_topology(&self, event: RawFd) {
        if let Some(entry) = self.entry_of(event) {
            entry.follows_topology.store(true, Ordering::SeqCst);
        }
    }

    fn entry_of(&self, event: RawFd) -> Option<&Entry> {
        let has_event = |entry: &&Entry| entry.event.load(Ordering::SeqCst) == event + 1;
        let found = self.entries.iter().find(has_event);
        found.or_else(|| self.more.get()?.entry_of(event))
    }

    /// Wakes the event loops that follow the topology.
    pub fn fire_for_topology(&self) {
        let follows = |entry: &&Entry| entry.follows_topology.load(Ordering::SeqCst);
        for entry in self.entries.iter().filter(follows) {
            sys::fire(entry.event.load(Ordering::SeqCst) - 1);
        }
        if let Some(more) = self.more.get() {
            more.fire_for_topology();
        }
    }

    /// Wakes every waiting call, so that it checks its cancel flag. Async-signal-safe.
    pub fn fire(&self) {
        for entry in &self.entries {
            let event = entry.event.load(Ordering::SeqCst);
            if event != 0 {
                sys::fire(event - 1);
            }
        }
        if let Some(more) = self.more.get() {
            more.fire();
        }
    }

    /// Whether any call waits.
    #[cfg(test)]
    pub(super) fn is_any_used(&self) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.is_used.load(Ordering::SeqCst))
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        if self.process != sys::process_number() {
            return;
        }
        for entry in &mut self.entries {
            match *entry.event.get_mut() {
                0 => {}
                event => sys::close(event - 1),
            }
        }
    }
}

impl Entry {
    fn try_use(&self) -> bool {
        // The load avoids a write to the cache line of an entry that is in use.
        !self.is_used.load(Ordering::Relaxed)
            && self
                .is_used
                .compare_exchange(false, true, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
    }

    /// The event, which the user of the entry opens at the first use.
    fn event(&self) -> io::Result<RawFd> {
        if self.event.load(Ordering::SeqCst) == 0 {
            self.event.store(sys::new_event()? + 1, Ordering::SeqCst);
        }
        Ok(self.event.load(Ordering::SeqCst) - 1)
    }

    fn release(&self) {
        self.follows_topology.store(false, Ordering::SeqCst);
        self.is_used.store(false, Ordering::SeqCst);
    }
}

/// The event of one waiting call.
pub(super) struct Waker<'a>(&'a Entry);

impl Waker<'_> {
    pub(super) fn fd(&self) -> RawFd {
        self.0.event.load(Ordering::SeqCst) - 1
    }
}

impl Drop for Waker<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waiting_call_has_its_own_event() {
        let wakers = Wakers::default();
        let all: Vec<Waker<'_>> = (0..100).map_while(|_| wakers.acquire()).collect();
        let mut events: Vec<RawFd> = all.iter().map(Waker::fd).collect();
        events.sort_unstable();
        events.dedup();
        assert_eq!(events.len(), 100);
        drop(all);
        assert!(wakers.acquire().is_some_and(|w| events.contains(&w.fd())));
    }

    #[test]
    fn number_of_event_loops_is_not_limited() {
        let wakers = Wakers::default();
        let mut events: Vec<RawFd> = (0..300)
            .map_while(|_| wakers.acquire_for_loop().ok())
            .collect();
        events.sort_unstable();
        events.dedup();
        assert_eq!(events.len(), 300);
        assert!(
            wakers.acquire().is_none(),
            "calls check their flag at intervals then"
        );
        wakers.release_for_loop(events[200]);
        assert_eq!(wakers.acquire_for_loop().ok(), Some(events[200]));
    }
}
