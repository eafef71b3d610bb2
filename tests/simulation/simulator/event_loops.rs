//! Poll sets and timers of the simulation, and the checks of code that must not wait.

use super::scheduler::WaitReason;
use super::{Event, MAX_THREADS, SimThread, State};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::RawFd;
use std::sync::MutexGuard;

#[derive(Default)]
pub(super) struct EventLoops {
    /// The descriptors of each poll set, and the events that it reports of them.
    poll_sets: HashMap<RawFd, BTreeMap<RawFd, i16>>,
    /// When each timer is due.
    timers: HashMap<RawFd, Option<u64>>,
}

/// What a thread has changed by system calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effects {
    /// Connects, sends, receives that returned something, and closes.
    pub io: u64,
    /// Sends alone.
    pub sends: u64,
    /// Changes of events, timers and poll sets.
    pub polling: u64,
}

/// What the simulation allows to each thread.
#[derive(Default)]
pub(super) struct Restrictions {
    /// A wait of the thread is a violation.
    must_not_wait: [bool; MAX_THREADS],
    /// No time passes and nothing happens but what the running thread does.
    is_frozen: bool,
}

impl State {
    /// Whether a poll reports a descriptor as readable.
    pub fn is_readable(&self, fd: RawFd) -> bool {
        self.poll_events(fd, libc::POLLIN) != 0
    }

    /// What poll(2) reports of a poll set or a timer; None if it is something else.
    pub(super) fn event_loop_events(&self, fd: RawFd, events: i16) -> Option<i16> {
        let is_readable = match self.event_loops.timers.get(&fd) {
            Some(due) => due.is_some_and(|due| due <= self.now),
            None => {
                let mut members = self.event_loops.poll_sets.get(&fd)?.iter();
                members.any(|(fd, events)| self.poll_events(*fd, *events) != 0)
            }
        };
        Some(if is_readable {
            libc::POLLIN & events
        } else {
            0
        })
    }

    /// Whether a timer of this poll set, or of one of its members, is due within this time.
    pub fn is_due_within(&self, set: RawFd, time: u64) -> bool {
        let Some(members) = self.event_loops.poll_sets.get(&set) else {
            return false;
        };
        members
            .keys()
            .any(|fd| match self.event_loops.timers.get(fd) {
                Some(due) => due.is_some_and(|due| due <= self.now + time),
                None => self.is_due_within(*fd, time),
            })
    }

    /// How many poll sets and timers are open.
    pub fn open_event_loops(&self) -> usize {
        self.event_loops.poll_sets.len() + self.event_loops.timers.len()
    }

    /// The kernel removes a closed descriptor from all poll sets.
    pub(super) fn close_in_event_loops(&mut self, fd: RawFd) {
        self.event_loops.poll_sets.remove(&fd);
        self.event_loops.timers.remove(&fd);
        for members in self.event_loops.poll_sets.values_mut() {
            members.remove(&fd);
        }
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.restrictions.is_frozen
    }

    /// Stops the clock and the network: what happens now is done by the running thread.
    pub fn freeze(&mut self, is_frozen: bool) {
        self.restrictions.is_frozen = is_frozen;
    }

    pub(super) fn change_poll_set(&mut self, set: RawFd, fd: RawFd, events: Option<i16>) {
        let members = self.event_loops.poll_sets.entry(set).or_default();
        match events {
            Some(events) => members.insert(fd, events),
            None => members.remove(&fd),
        };
    }

    pub(super) fn set_timer(&mut self, timer: RawFd, at: Option<u64>) {
        self.event_loops.timers.insert(timer, at);
        if let Some(at) = at {
            self.schedule(at.max(self.now), Event::Timer);
        }
    }

    /// The ready descriptors of a poll set, in any order.
    pub(super) fn ready_members(&mut self, set: RawFd) -> Vec<(RawFd, i16)> {
        let Some(members) = self.event_loops.poll_sets.get(&set) else {
            return Vec::new();
        };
        let events = members
            .iter()
            .map(|(fd, events)| (*fd, self.poll_events(*fd, *events)));
        let mut ready: Vec<(RawFd, i16)> = events.filter(|(_, events)| *events != 0).collect();
        // Not by their numbers, which depend on other tests of the process.
        ready.sort_by_key(|(fd, _)| {
            let connection = self.connection_by_fd.get(fd).copied();
            (connection, self.event_loops.timers.contains_key(fd))
        });
        let first = self.rng.below(ready.len() as u64) as usize;
        ready.rotate_left(first);
        ready
    }
}

impl SimThread {
    /// Runs `f`, in which this thread must not wait.
    pub fn without_waiting<T>(&self, f: impl FnOnce() -> T) -> T {
        self.simulation.lock().restrictions.must_not_wait[self.id] = true;
        let result = f();
        self.simulation.lock().restrictions.must_not_wait[self.id] = false;
        result
    }

    /// Waits like poll(2) until a descriptor is readable, for this time at most. Returns whether it is.
    pub fn poll_readable(&self, fd: RawFd, time: u64) -> bool {
        let state = self.simulation.lock();
        let until = state.now + time;
        let reason = WaitReason::Poll(vec![(fd, libc::POLLIN)]);
        self.block(state, reason, Some(until)).is_readable(fd)
    }

    /// What the other threads have changed so far.
    pub fn effects_of_others(&self) -> u64 {
        let state = self.simulation.lock();
        let others = state
            .effects
            .iter()
            .enumerate()
            .filter(|(id, _)| *id != self.id);
        others
            .map(|(_, effects)| effects.io + effects.polling)
            .sum()
    }

    /// What this thread has changed so far.
    pub fn effects(&self) -> Effects {
        self.simulation.lock().effects[self.id]
    }

    /// Fails the run if this thread is about to wait although it must not.
    pub(super) fn check_may_wait(&self, state: &mut MutexGuard<'_, State>, reason: &WaitReason) {
        if crate::fiber::current_fiber().is_some() {
            state.fail(format!("a fiber blocks its thread: {reason:?}"));
        }
        if state.restrictions.must_not_wait[self.id] {
            state.fail(format!("a call that must not wait does: {reason:?}"));
        }
    }
}
