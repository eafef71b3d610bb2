//! The descriptors of an event loop.
//!
//! ```text
//! fd, which the program polls
//! ├── signal: readable while the loop knows of something to do
//! └── ready
//!     ├── wake: another thread wakes the loop
//!     ├── timer: readable from the next deadline on
//!     └── sockets that tasks wait for
//! ```
//!
//! The loop itself waits for `ready`: it need not reset the signal for that.
//!
//! A socket stays in the set between two waits, which saves system calls. If it becomes ready while no task waits for
//! it, it is removed then. A closed socket leaves the set by itself, and its number may become that of another one:
//! [`sys::closed_sockets`] tells whether that may have happened.

use crate::deadline::{Deadline, Time, now};
use crate::net::sys;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;

/// The number of a task, which may be that of another one once it has ended.
pub type TaskNumber = usize;

/// The descriptors of an event loop.
pub struct Poller {
    fd: RawFd,
    ready: RawFd,
    signal: RawFd,
    wake: RawFd,
    timer: RawFd,
    /// The process that opened them.
    process: i32,
    is_signaled: bool,
    is_woken: bool,
    /// The time that the timer is set to.
    timer_at: Option<Time>,
    sockets: BTreeMap<RawFd, Socket>,
}

struct Socket {
    /// The task that waits for it.
    task: Option<TaskNumber>,
    events: i16,
    /// How many sockets had been closed when it was certainly in the set.
    closed: u64,
}

impl Poller {
    pub fn new(wake: RawFd) -> io::Result<Poller> {
        let mut poller = Poller {
            fd: -1,
            ready: -1,
            signal: -1,
            wake,
            timer: -1,
            process: sys::process_number(),
            is_signaled: false,
            is_woken: false,
            timer_at: None,
            sockets: BTreeMap::new(),
        };
        poller.fd = sys::new_poll_set()?;
        poller.ready = sys::new_poll_set()?;
        poller.signal = sys::new_event()?;
        poller.timer = sys::new_timer()?;
        for (set, fd) in [
            (poller.fd, poller.signal),
            (poller.fd, poller.ready),
            (poller.ready, poller.wake),
            (poller.ready, poller.timer),
        ] {
            sys::add(set, fd, sys::IN)?;
        }
        Ok(poller)
    }

    /// The descriptor that the program polls.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Makes the descriptor readable, or no longer, as far as the loop decides that.
    pub fn set_signal(&mut self, is_signaled: bool) {
        if std::mem::replace(&mut self.is_signaled, is_signaled) == is_signaled {
            return;
        }
        match is_signaled {
            true => sys::fire(self.signal),
            false => {
                sys::clear(self.signal);
                sys::settle(self.fd);
            }
        }
    }

    /// Makes the descriptor readable at this time, and perhaps once before: a timer that is set to an earlier time is left
    /// alone, which saves a system call. Without a time, it is turned off. The last call before the program polls: from
    /// then on the descriptor is readable only if there is something to do.
    pub fn set_timer(&mut self, at: Option<Time>) {
        let is_good = match (self.timer_at, at) {
            (None, None) => true,
            (Some(timer), Some(at)) => timer <= at,
            _ => false,
        };
        if !is_good {
            self.timer_at = at;
            sys::set_timer(self.timer, at);
        }
        self.settle();
    }

    fn settle(&self) {
        // The inner one first: the outer one looks at it.
        sys::settle(self.ready);
        sys::settle(self.fd);
    }

    /// Whether another thread has woken the loop since this was last asked.
    pub fn take_woken(&mut self) -> bool {
        std::mem::take(&mut self.is_woken)
    }

    /// Watches a socket for a task. False if the system refuses that.
    pub fn watch(&mut self, fd: RawFd, events: i16, task: TaskNumber) -> bool {
        let closed = sys::closed_sockets();
        let socket = self.sockets.get_mut(&fd);
        if let Some(socket) = socket
            && socket.events == events
            && socket.closed == closed
        {
            socket.task = Some(task);
            return true;
        }
        let changed = sys::replace(self.ready, fd, events);
        let task = Some(task);
        self.sockets.insert(
            fd,
            Socket {
                task,
                events,
                closed,
            },
        );
        changed.is_ok()
    }

    /// No task waits for a socket any more.
    pub fn end_watch(&mut self, fd: RawFd) {
        if let Some(socket) = self.sockets.get_mut(&fd) {
            socket.task = None;
            if socket.events != sys::IN {
                // It is not that of an open connection, or only for a moment.
                self.sockets.remove(&fd);
                sys::remove(self.ready, fd);
            }
        }
    }

    /// Waits until a socket is ready, the timer is due, or another thread wakes the loop; not at all without `until`.
    /// Returns the ready sockets, each with its task and its events, and whether a signal has ended the wait.
    pub fn wait(&mut self, until: Option<Deadline>) -> (Vec<(TaskNumber, RawFd, i16)>, bool) {
        let timeout = match until {
            None => Some(std::time::Duration::ZERO),
            Some(until) => until.left(now()),
        };
        let mut ready = Vec::new();
        let waited = sys::wait_poll_set(self.ready, timeout, |fd, events| {
            if fd == self.wake {
                sys::clear(fd);
                self.is_woken = true;
            } else if fd == self.timer {
                self.timer_at = None;
                sys::set_timer(fd, None);
            } else if let Some(Socket {
                task: Some(task), ..
            }) = self.sockets.get(&fd)
            {
                ready.push((*task, fd, events));
            } else {
                self.sockets.remove(&fd);
                sys::remove(self.ready, fd);
            }
        });
        // The only error is a signal.
        (ready, waited.is_err())
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        if !sys::has_events_of(self.process) {
            return;
        }
        for fd in [self.fd, self.ready, self.signal, self.timer] {
            if fd >= 0 {
                sys::close(fd);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sys::{CountedSocket, IN, OUT, close, interest, new_event, poll};
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    struct Loop {
        poller: Poller,
        wake: RawFd,
    }

    impl Loop {
        fn new() -> Loop {
            let wake = new_event().unwrap();
            let poller = Poller::new(wake).unwrap();
            Loop { poller, wake }
        }

        /// Whether the program's poll reports the descriptor within this time.
        fn is_readable_within(&self, ms: u64) -> bool {
            self.poller.settle();
            let mut fds = [interest(self.poller.fd(), IN)];
            poll(&mut fds, Some(Duration::from_millis(ms))).unwrap() == 1
        }

        fn is_readable(&self) -> bool {
            self.is_readable_within(0)
        }

        /// The tasks whose sockets are ready, in order.
        fn ready(&mut self) -> Vec<TaskNumber> {
            let (ready, is_interrupted) = self.poller.wait(None);
            assert!(!is_interrupted);
            let mut tasks: Vec<TaskNumber> = ready.iter().map(|(task, ..)| *task).collect();
            tasks.sort_unstable();
            tasks
        }
    }

    impl Drop for Loop {
        fn drop(&mut self) {
            close(self.wake);
        }
    }

    fn pair() -> (CountedSocket<UnixStream>, UnixStream) {
        let (own, peer) = UnixStream::pair().unwrap();
        (CountedSocket(own), peer)
    }

    #[test]
    fn each_source_makes_descriptor_readable_until_it_is_handled() {
        let mut set = Loop::new();
        assert!(!set.is_readable());
        // The signal is the loop's own: the wait does not reset it.
        set.poller.set_signal(true);
        for _ in 0..2 {
            assert!(set.is_readable());
            assert_eq!(set.ready(), []);
        }
        set.poller.set_signal(false);
        assert!(!set.is_readable());
        // Another thread.
        sys::fire(set.wake);
        assert!(set.is_readable() && set.is_readable());
        assert!(!set.poller.take_woken(), "not before the wait");
        assert_eq!(set.ready(), []);
        assert!(set.poller.take_woken() && !set.poller.take_woken());
        assert!(!set.is_readable());
        // A deadline.
        set.poller.set_timer(Some(now()));
        assert!(set.is_readable_within(1000));
        assert_eq!(set.ready(), []);
        assert!(!set.is_readable());
    }

    #[test]
    fn timer_is_due_at_the_earliest_time_that_was_set() {
        let mut set = Loop::new();
        let began = now();
        let after = |ms| Some(began.plus(Duration::from_millis(ms)));
        set.poller.set_timer(after(60_000));
        set.poller.set_timer(after(20));
        // A later time is set when the earlier one has passed.
        set.poller.set_timer(after(30_000));
        assert!(!set.is_readable());
        assert!(set.is_readable_within(10_000));
        assert!(now().since(began) >= Duration::from_millis(20));
        assert_eq!(set.ready(), []);
        assert!(!set.is_readable(), "no later time is set by itself");
        set.poller.set_timer(after(40));
        assert!(set.is_readable_within(10_000));
        assert_eq!(set.ready(), []);
        set.poller.set_timer(after(60));
        set.poller.set_timer(None);
        assert!(!set.is_readable_within(100), "the timer is off");
    }

    #[test]
    fn socket_is_reported_for_as_long_as_it_is_ready() {
        let mut set = Loop::new();
        let (mut own, mut peer) = pair();
        assert!(set.poller.watch(own.as_raw_fd(), IN, 7));
        assert!(!set.is_readable());
        assert_eq!(set.ready(), []);
        peer.write_all(b"ab").unwrap();
        for _ in 0..2 {
            assert!(set.is_readable());
            assert_eq!(set.ready(), [7]);
        }
        own.0.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(set.ready(), [7], "one byte is left");
        own.0.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(set.ready(), []);
        assert!(!set.is_readable());
        drop(peer);
        assert_eq!(set.ready(), [7], "the end is an event");
    }

    #[test]
    fn socket_without_task_is_reported_to_nobody() {
        let mut set = Loop::new();
        let (own, mut peer) = pair();
        let fd = own.as_raw_fd();
        assert!(set.poller.watch(fd, IN, 1));
        set.poller.end_watch(fd);
        // It stays in the set. Its first event removes it, and the descriptor is not readable any more.
        peer.write_all(b"a").unwrap();
        assert!(set.is_readable());
        assert_eq!(set.ready(), []);
        assert!(!set.is_readable());
        assert!(set.poller.watch(fd, IN, 2));
        assert_eq!(set.ready(), [2]);
    }

    #[test]
    fn wait_for_another_event_replaces_the_former_one() {
        let mut set = Loop::new();
        let (own, mut peer) = pair();
        let fd = own.as_raw_fd();
        // (what is waited for, whether it is ready)
        for (events, is_ready) in [(IN, false), (OUT, true), (IN | OUT, true), (IN, false)] {
            assert!(set.poller.watch(fd, events, 3));
            assert_eq!(set.ready(), [3][..usize::from(is_ready)], "{events}");
            set.poller.end_watch(fd);
            // A socket that is ready to send is so nearly always: it does not stay in the set.
            assert!(!set.is_readable(), "{events}");
        }
        peer.write_all(b"a").unwrap();
        assert!(set.poller.watch(fd, IN | OUT, 3));
        assert_eq!(set.ready(), [3]);
    }

    #[test]
    fn number_of_closed_socket_is_that_of_another_one() {
        let mut set = Loop::new();
        for round in 0..20 {
            let (own, first_peer) = pair();
            let fd = own.as_raw_fd();
            assert!(set.poller.watch(fd, IN, round));
            set.poller.end_watch(fd);
            // What the loop knows of the number is outdated from here on.
            let (other, mut peer) = UnixStream::pair().unwrap();
            drop(own);
            let other = CountedSocket(other.try_clone().unwrap());
            drop(first_peer);
            assert_eq!(set.ready(), [], "{round}: a closed socket has no events");
            let fd = other.as_raw_fd();
            assert!(set.poller.watch(fd, IN, 100 + round));
            assert_eq!(set.ready(), []);
            peer.write_all(b"a").unwrap();
            assert_eq!(set.ready(), [100 + round], "round {round}, descriptor {fd}");
        }
    }

    #[test]
    fn more_sockets_than_one_wait_reports_are_all_reported() {
        let mut set = Loop::new();
        let pairs: Vec<_> = (0..200).map(|_| pair()).collect();
        for (number, (own, peer)) in pairs.iter().enumerate() {
            assert!(set.poller.watch(own.as_raw_fd(), IN, number));
            let mut peer: &UnixStream = peer;
            peer.write_all(b"a").unwrap();
        }
        let mut seen = Vec::new();
        while set.is_readable() {
            for number in set.ready() {
                let mut own: &UnixStream = &pairs[number].0;
                own.read_exact(&mut [0; 1]).unwrap();
                set.poller.end_watch(own.as_raw_fd());
                seen.push(number);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }
}
