//! The thread scheduler: at random, or by a schedule that enumerates its choices.

use super::{SimThread, State};
use std::os::fd::RawFd;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) enum WaitReason {
    Poll(Vec<(RawFd, i16)>),
    /// At least this number of bytes to receive.
    Bytes(RawFd, usize),
    Futex(usize),
    Timer,
    /// A preemption point: the thread is runnable, and another may run first.
    Preemption,
}

pub(super) struct ThreadWait {
    pub(super) reason: WaitReason,
    until: Option<u64>,
    pub(super) woken: bool,
}

impl ThreadWait {
    pub(super) fn new(reason: WaitReason, until: Option<u64>) -> ThreadWait {
        ThreadWait {
            reason,
            until,
            woken: false,
        }
    }
}

/// A schedule that is enumerated instead of chosen at random (see pool_interleavings).
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// The first choices; every later choice is the first alternative.
    pub prefix: Vec<usize>,
    /// Each choice that was made, and the number of its alternatives.
    pub taken: Vec<(usize, usize)>,
    /// How many more times a runnable thread may be preempted.
    pub preemptions: usize,
    /// `yield_now` returns at once.
    pub ignores_yields: bool,
}

impl Schedule {
    pub(super) fn choose(&mut self, alternatives: usize) -> usize {
        if alternatives < 2 {
            return 0;
        }
        let at = self.taken.len();
        let choice = self.prefix.get(at).copied().unwrap_or(0);
        self.taken.push((choice, alternatives));
        choice
    }
}

impl State {
    fn is_runnable(&self, wait: &ThreadWait) -> bool {
        wait.woken
            || wait.until.is_some_and(|until| until <= self.now)
            || match &wait.reason {
                WaitReason::Poll(fds) => fds
                    .iter()
                    .any(|(fd, events)| self.poll_events(*fd, *events) != 0),
                WaitReason::Bytes(fd, bytes) => self
                    .connection_by_fd
                    .get(fd)
                    .is_none_or(|id| self.connections[*id].is_readable(*bytes)),
                WaitReason::Futex(_) | WaitReason::Timer => false,
                WaitReason::Preemption => true,
            }
    }

    fn runnable_threads(&self) -> Vec<usize> {
        self.waits
            .iter()
            .filter(|(_, wait)| wait.as_ref().is_some_and(|wait| self.is_runnable(wait)))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Chooses the thread to run. If none is runnable, the clock advances until one is.
    /// `previous` is the thread that ran until now.
    pub(super) fn schedule_next(&mut self, previous: Option<usize>) -> Option<usize> {
        if self.waits.is_empty() {
            return None;
        }
        loop {
            self.deliver_due_events();
            let runnable = self.runnable_threads();
            if !runnable.is_empty() {
                return Some(self.pick(runnable, previous));
            }
            let timers = self.waits.values().flatten().filter_map(|wait| wait.until);
            match timers.chain(self.next_event_time()).min() {
                Some(next) => self.now = self.now.max(next),
                None => {
                    self.fail("deadlock: every thread waits without a timeout".to_string());
                    for wait in self.waits.values_mut().flatten() {
                        wait.woken = true;
                    }
                }
            }
        }
    }

    /// Picks one of the runnable threads, by the schedule or at random.
    fn pick(&mut self, mut runnable: Vec<usize>, previous: Option<usize>) -> usize {
        let Some(schedule) = &mut self.schedule else {
            return runnable[self.rng.below(runnable.len() as u64) as usize];
        };
        // A thread that yields is not preempted.
        let yields = |wait: &ThreadWait| matches!(wait.reason, WaitReason::Timer);
        let preemptible = previous.filter(|previous| {
            let wait = self.waits.get(previous).and_then(Option::as_ref);
            runnable.contains(previous) && !wait.is_some_and(yields)
        });
        let Some(current) = preemptible else {
            if let Some(yielded) = previous.filter(|previous| runnable.contains(previous)) {
                runnable.retain(|other| *other != yielded);
                runnable.push(yielded);
            }
            return runnable[schedule.choose(runnable.len())];
        };
        if schedule.preemptions == 0 {
            return current;
        }
        runnable.retain(|other| *other != current);
        // One more alternative: the next event happens before this thread continues.
        let event_alternatives = usize::from(!self.events.is_empty());
        let choice = schedule.choose(1 + runnable.len() + event_alternatives);
        if choice == 0 {
            return current;
        }
        schedule.preemptions -= 1;
        match runnable.get(choice - 1) {
            Some(other) => *other,
            None => self.pick_after_next_event(current),
        }
    }

    /// Delivers events until one makes another thread runnable, and picks that thread.
    fn pick_after_next_event(&mut self, current: usize) -> usize {
        let before = self.runnable_threads();
        while let Some(time) = self.next_event_time() {
            self.now = self.now.max(time);
            self.deliver_due_events();
            let mut became_runnable = self.runnable_threads();
            became_runnable.retain(|other| !before.contains(other));
            if !became_runnable.is_empty()
                && let Some(schedule) = &mut self.schedule
            {
                return became_runnable[schedule.choose(became_runnable.len())];
            }
        }
        current
    }
}

impl SimThread {
    pub(super) fn wait_until_scheduled<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        while state.running != Some(self.id) {
            let (locked, timeout) = self.simulation.scheduled[self.id]
                .wait_timeout(state, Duration::from_secs(60))
                .unwrap_or_else(PoisonError::into_inner);
            state = locked;
            if timeout.timed_out() && state.running != Some(self.id) {
                // The running thread is blocked by a lock of a thread that waits. It cannot be
                // ended, so the process is.
                let message = "a thread waits while it holds a lock that another thread needs";
                state.fail(message.to_string());
                let trace = state.trace.take().unwrap_or_default().join("\n");
                drop(state);
                eprintln!("{trace}\n{message}");
                std::process::abort();
            }
        }
        state
    }

    /// Blocks this thread for a reason or until a time, and runs others meanwhile.
    pub(super) fn block<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        reason: WaitReason,
        until: Option<u64>,
    ) -> MutexGuard<'a, State> {
        let wait = ThreadWait::new(reason, until);
        state.waits.insert(self.id, Some(wait));
        let next = state.schedule_next(Some(self.id));
        state.running = next;
        if next != Some(self.id) {
            self.simulation.wake(next);
        }
        let mut state = self.wait_until_scheduled(state);
        state.waits.insert(self.id, None);
        state
    }

    /// Sleeps: for code of the simulation, not for the library.
    pub fn sleep(&self, time: u64) {
        let state = self.simulation.lock();
        let until = state.now + time;
        drop(self.block(state, WaitReason::Timer, Some(until)));
    }
}
