//! The fibers of an event loop, what each of them waits for, and the descriptor that is readable when one can go on.

use super::poller::{Poller, TaskNumber};
use super::wait_callback::{CallbackTiming, INTERVAL, call_wait_callback, is_wait_callback_set};
use crate::call_scope::{replace_deadline, run_callback};
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::fiber::{Fiber, FiberStack, FiberWait};
use crate::net::sys::{PollFd, PthreadCancelDisabled};
use std::collections::{BTreeSet, VecDeque};
use std::os::fd::RawFd;

/// Numbers from here on are those of sockets that the loop itself watches: see [`TaskSet::watch`].
const FIRST_WATCHED: usize = 1 << 32;

/// The number of stacks that are kept for later fibers.
const MAX_SPARE_STACKS: usize = 64;

/// The fibers of an event loop.
pub struct TaskSet {
    tasks: Vec<Task>,
    free: Vec<TaskNumber>,
    /// The tasks that can go on.
    runnable: VecDeque<TaskNumber>,
    /// The deadlines of the waiting tasks.
    deadlines: BTreeSet<(Time, TaskNumber)>,
    poller: Poller,
    stacks: Vec<FiberStack>,
    /// The watched sockets that were ready in the last poll.
    ready: Vec<(usize, i16)>,
}

#[derive(Default)]
struct Task {
    /// None while it runs, and after its end.
    fiber: Option<Fiber>,
    fds: Vec<PollFd>,
    until: Option<Time>,
    /// The deadline of its call: see `call_scope`.
    scope: Option<Deadline>,
    is_runnable: bool,
}

impl TaskSet {
    /// `wake` is the event that another thread wakes the loop with.
    pub fn new(wake: RawFd) -> Result<TaskSet> {
        let poller = Poller::new(wake)
            .map_err(|e| Error::new(Code::Io, format_args!("no event loop: {e}")))?;
        Ok(TaskSet {
            tasks: Vec::new(),
            free: Vec::new(),
            runnable: VecDeque::new(),
            deadlines: BTreeSet::new(),
            poller,
            stacks: Vec::new(),
            ready: Vec::new(),
        })
    }

    /// The descriptor that is readable when a task can go on, or when [`TaskSet::set_signal`] says so.
    pub fn fd(&self) -> RawFd {
        self.poller.fd()
    }

    /// Whether another thread has woken the loop since this was last asked.
    pub fn take_woken(&mut self) -> bool {
        self.poller.take_woken()
    }

    /// Makes the descriptor readable while the loop itself knows of something to do.
    #[inline]
    pub fn set_signal(&mut self, is_signaled: bool) {
        self.poller.set_signal(is_signaled);
    }

    /// Makes the descriptor readable at the first deadline of a task, or at `at`.
    pub fn set_timer(&mut self, at: Option<Time>) {
        let next = self.next_deadline().into_iter().chain(at).min();
        self.poller.set_timer(next);
    }

    /// Watches a socket that no task waits for, until [`TaskSet::end_watch`]. `number` identifies it.
    pub fn watch(&mut self, fd: RawFd, events: i16, number: usize) -> bool {
        self.poller.watch(fd, events, FIRST_WATCHED + number)
    }

    pub fn end_watch(&mut self, fd: RawFd) {
        self.poller.end_watch(fd);
    }

    /// The watched sockets that were ready in the last poll, and their events.
    pub fn take_ready(&mut self) -> Vec<(usize, i16)> {
        std::mem::take(&mut self.ready)
    }

    /// Adds a task, which begins with the next [`TaskSet::run`]. `run` gets its number, and must not
    /// panic.
    pub fn spawn(&mut self, run: impl FnOnce(TaskNumber) + 'static) -> Result<TaskNumber> {
        let stack = match self.stacks.pop() {
            Some(stack) => stack,
            None => FiberStack::new().map_err(|error| {
                Error::new(Code::Io, format_args!("no stack for the command: {error}"))
            })?,
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(Task::default());
            self.tasks.len() - 1
        });
        self.tasks[number].fiber = Some(Fiber::new(stack, move || run(number)));
        self.wake(number);
        Ok(number)
    }

    /// Makes a waiting task go on, as if its wait were over.
    pub fn wake(&mut self, number: TaskNumber) {
        let task = &mut self.tasks[number];
        if task.fiber.is_some() && !std::mem::replace(&mut task.is_runnable, true) {
            self.runnable.push_back(number);
        }
    }

    pub fn has_runnable(&self) -> bool {
        !self.runnable.is_empty()
    }

    /// Whether no task exists.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.tasks.len()
    }

    /// Runs all tasks that can go on, until each waits or has ended.
    pub fn run(&mut self) {
        while let Some(number) = self.runnable.pop_front() {
            self.resume(number);
        }
    }

    /// Lets one task go on, as if its wait were over. Returns whether it has not ended.
    pub fn run_one(&mut self, number: TaskNumber) -> bool {
        self.resume(number);
        self.tasks[number].fiber.is_some()
    }

    fn resume(&mut self, number: TaskNumber) {
        self.end_wait(number);
        let task = &mut self.tasks[number];
        task.is_runnable = false;
        let Some(fiber) = task.fiber.take() else {
            return;
        };
        let fds = std::mem::take(&mut task.fds);
        // The fiber may disable and enable the cancellation of this thread in another order than others.
        let _uncancelled = PthreadCancelDisabled::begin();
        let outer = replace_deadline(task.scope.take().unwrap_or(Deadline::NEVER));
        let resumed = fiber.resume(fds);
        let scope = replace_deadline(outer);
        match resumed {
            Ok((fiber, wait)) => {
                let task = &mut self.tasks[number];
                task.scope = Some(scope);
                task.fiber = Some(fiber);
                self.begin_wait(number, wait);
            }
            Err(stack) => {
                self.free.push(number);
                if self.stacks.len() < MAX_SPARE_STACKS {
                    self.stacks.push(stack);
                }
            }
        }
    }

    fn begin_wait(&mut self, number: TaskNumber, wait: FiberWait) {
        let mut fds = wait.fds;
        for fd in &mut fds {
            fd.revents = 0;
            if fd.fd >= 0 && !self.poller.watch(fd.fd, fd.events, number) {
                // The wait ends at once, and the use of the descriptor tells the reason.
                fd.revents = fd.events;
                self.wake(number);
            }
        }
        let task = &mut self.tasks[number];
        task.fds = fds;
        task.until = wait.until.time();
        if let Some(until) = task.until {
            self.deadlines.insert((until, number));
        }
    }

    fn end_wait(&mut self, number: TaskNumber) {
        let task = &mut self.tasks[number];
        for fd in task.fds.iter().filter(|fd| fd.fd >= 0) {
            self.poller.end_watch(fd.fd);
        }
        if let Some(until) = task.until.take() {
            self.deadlines.remove(&(until, number));
        }
    }

    /// Looks which tasks can go on; waits until one can, or until `until`. `began` identifies the wait to the wait callback
    /// of the thread. Returns whether that lets it go on.
    pub fn poll(&mut self, until: Option<Deadline>, began: Time) -> bool {
        let first = self.next_deadline().map(Deadline::at);
        let has_callback = until.is_some() && is_wait_callback_set();
        let invoked = has_callback.then(|| Deadline::at(now().plus(INTERVAL)));
        let until = until.map(|until| {
            let sooner = first.into_iter().chain(invoked);
            sooner.fold(until, Deadline::min)
        });
        let until = until.filter(|_| !self.has_runnable());
        let (ready, is_interrupted) = self.poller.wait(until);
        self.ready.clear();
        for (number, fd, events) in ready {
            if let Some(watched) = number.checked_sub(FIRST_WATCHED) {
                self.ready.push((watched, events));
            } else if let Some(entry) = self.tasks[number].fds.iter_mut().find(|f| f.fd == fd) {
                entry.revents = events;
                self.wake(number);
            }
        }
        let time = now();
        while let Some((until, number)) = self.deadlines.first().copied()
            && until <= time
        {
            self.deadlines.remove(&(until, number));
            self.tasks[number].until = None;
            self.wake(number);
        }
        let timing = match is_interrupted {
            true => CallbackTiming::Now,
            false => CallbackTiming::IfDue,
        };
        !has_callback || run_callback(|| call_wait_callback(began, time, timing))
    }

    /// The first deadline of a waiting task.
    fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(time, _)| *time)
    }

    /// Leaves all fibers suspended for ever. For a forked child: what they hold is its parent's.
    pub fn leak(&mut self) {
        for task in &mut self.tasks {
            if let Some(fiber) = task.fiber.take() {
                fiber.leak();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fiber;
    use crate::net::sys::{self, IN, interest};
    use std::cell::RefCell;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;
    use std::time::Duration;

    struct Loop {
        tasks: TaskSet,
        wake: RawFd,
        /// What the tasks have done.
        events: Rc<RefCell<Vec<String>>>,
    }

    impl Loop {
        fn new() -> Loop {
            let wake = sys::new_event().unwrap();
            Loop {
                tasks: TaskSet::new(wake).unwrap(),
                wake,
                events: Rc::default(),
            }
        }

        /// Adds a task that waits for these descriptors `rounds` times, and records which were ready.
        fn spawn(&mut self, name: &'static str, fds: &[RawFd], wait_ms: u64, rounds: usize) {
            let fds: Vec<PollFd> = fds.iter().map(|fd| interest(*fd, IN)).collect();
            let events = self.events.clone();
            let run = move |_| {
                for _ in 0..rounds {
                    let until = Deadline::after(now(), wait_ms);
                    let wait = FiberWait {
                        fds: fds.clone(),
                        until,
                    };
                    let resumed = fiber::suspend(wait).expect("it runs in a fiber");
                    let ready = resumed.iter().filter(|fd| fd.revents & IN != 0).count();
                    events.borrow_mut().push(format!("{name} {ready}"));
                }
                events.borrow_mut().push(format!("{name} ends"));
            };
            self.tasks.spawn(run).unwrap();
            self.tasks.run();
        }

        /// One turn of a loop that does not wait. Returns what the tasks have done.
        fn turn(&mut self) -> Vec<String> {
            assert!(self.tasks.poll(None, now()));
            self.tasks.run();
            self.tasks.set_timer(None);
            self.events.take()
        }

        fn is_readable_within(&self, ms: u64) -> bool {
            let mut fds = [interest(self.tasks.fd(), IN)];
            sys::poll(&mut fds, Some(Duration::from_millis(ms))).unwrap() == 1
        }
    }

    impl Drop for Loop {
        fn drop(&mut self) {
            self.tasks.leak();
            sys::close(self.wake);
        }
    }

    const LONG: u64 = 60_000;

    #[test]
    fn only_the_task_whose_socket_is_ready_goes_on() {
        let mut set = Loop::new();
        let (own, mut peer) = UnixStream::pair().unwrap();
        let (other, _other_peer) = UnixStream::pair().unwrap();
        set.spawn("a", &[own.as_raw_fd()], LONG, 2);
        set.spawn("b", &[other.as_raw_fd()], LONG, 1);
        assert_eq!(set.turn(), [] as [String; 0]);
        assert!(!set.is_readable_within(0));
        peer.write_all(b"x").unwrap();
        assert!(set.is_readable_within(1000));
        // The byte is still there: the second wait ends as well.
        assert_eq!(set.turn(), ["a 1"]);
        assert!(set.is_readable_within(0));
        assert_eq!(set.turn(), ["a 1", "a ends"]);
        // No task waits for the socket now, although a byte waits in it.
        assert_eq!(set.turn(), [] as [String; 0]);
        assert!(!set.is_readable_within(0));
        assert!(!set.tasks.is_empty(), "b waits");
    }

    #[test]
    fn deadline_of_a_task_makes_descriptor_readable_and_ends_its_wait() {
        let mut set = Loop::new();
        let (own, _peer) = UnixStream::pair().unwrap();
        set.spawn("late", &[own.as_raw_fd()], LONG, 1);
        set.spawn("soon", &[own.as_raw_fd(), -1], 20, 1);
        set.tasks.set_timer(None);
        assert!(!set.is_readable_within(0));
        assert!(set.is_readable_within(10_000));
        let mut done = set.turn();
        // The timer may be early: then it is set again.
        while done.is_empty() && set.is_readable_within(10_000) {
            done = set.turn();
        }
        assert_eq!(done, ["soon 0", "soon ends"]);
        assert!(!set.is_readable_within(0));
    }

    #[test]
    fn woken_task_goes_on_as_if_its_wait_were_over() {
        let mut set = Loop::new();
        let (own, mut peer) = UnixStream::pair().unwrap();
        set.spawn("a", &[own.as_raw_fd()], LONG, 2);
        set.tasks.wake(0);
        set.tasks.wake(0);
        assert!(set.tasks.has_runnable());
        set.tasks.run();
        assert_eq!(set.events.take(), ["a 0"]);
        peer.write_all(b"x").unwrap();
        assert!(!set.tasks.run_one(0), "it has ended");
        assert_eq!(set.events.take(), ["a 0", "a ends"]);
        assert!(set.tasks.is_empty());
        // The number is used again, and what the former task waited for does not concern the new one.
        set.spawn("b", &[], LONG, 1);
        assert_eq!(set.turn(), [] as [String; 0]);
        set.tasks.wake(0);
        set.tasks.run();
        assert_eq!(set.events.take(), ["b 0", "b ends"]);
    }

    #[test]
    fn wait_for_closed_descriptor_ends_at_once() {
        let mut set = Loop::new();
        let (own, _peer) = UnixStream::pair().unwrap();
        let fd = own.as_raw_fd();
        drop(own);
        // Nothing else of this test opens a descriptor meanwhile; other tests may, so the number is beyond theirs.
        set.spawn("a", &[fd.max(1 << 20)], LONG, 1);
        assert_eq!(set.events.take(), ["a 1", "a ends"]);
    }

    #[test]
    fn poll_with_limit_returns_for_socket_deadline_and_wake() {
        let mut set = Loop::new();
        let (mut own, mut peer) = UnixStream::pair().unwrap();
        set.spawn("a", &[own.as_raw_fd()], LONG, 1);
        let limit = || Some(Deadline::after(now(), LONG));
        sys::fire(set.wake);
        assert!(set.tasks.poll(limit(), now()));
        assert!(set.tasks.take_woken() && !set.tasks.has_runnable());
        peer.write_all(b"x").unwrap();
        assert!(set.tasks.poll(limit(), now()));
        assert!(set.tasks.has_runnable());
        own.read_exact(&mut [0; 1]).unwrap();
        set.tasks.run();
        set.spawn("b", &[own.as_raw_fd()], 5, 1);
        assert!(set.tasks.poll(limit(), now()));
        set.tasks.run();
        assert_eq!(set.events.take(), ["a 1", "a ends", "b 0", "b ends"]);
    }
}
