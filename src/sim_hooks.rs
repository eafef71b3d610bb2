//! Hooks for the deterministic simulator of the tests.
//!
//! The shipped library takes time, random numbers and sockets from the operating system, and contains
//! none of this. In unit tests a thread can run under a `Simulator` instead, where a seed determines
//! every event and its time (tests/simulation).

#[cfg(not(test))]
pub use crate::random::rng;
#[cfg(test)]
pub use inside::{
    Layer, Simulator, Wait, YieldPoint, current, enter, panic_point, rng, yield_point,
};

/// Marks a point where a test can make this layer panic.
#[cfg(not(test))]
macro_rules! sim_panic_point {
    ($layer:ident) => {};
}
#[cfg(test)]
macro_rules! sim_panic_point {
    ($layer:ident) => {
        $crate::sim_hooks::panic_point($crate::sim_hooks::Layer::$layer)
    };
}
pub(crate) use sim_panic_point;

/// Marks a point between two accesses to shared state, with no lock held, where a test can switch to
/// another thread.
#[cfg(not(test))]
macro_rules! sim_yield_point {
    () => {};
    ($point:ident) => {};
}
#[cfg(test)]
macro_rules! sim_yield_point {
    () => {
        $crate::sim_hooks::yield_point($crate::sim_hooks::YieldPoint::Between)
    };
    ($point:ident) => {
        $crate::sim_hooks::yield_point($crate::sim_hooks::YieldPoint::$point)
    };
}
pub(crate) use sim_yield_point;

#[cfg(test)]
mod inside {
    use std::cell::RefCell;
    use std::io;
    use std::net::SocketAddr;
    use std::os::fd::RawFd;
    use std::rc::Rc;
    use std::time::Duration;

    /// How a receive waits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Wait {
        /// Not at all.
        No,
        /// For the first bytes.
        First,
        /// Until the buffer is full.
        All,
    }

    /// The layers that can be made to panic.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Layer {
        Ffi,
        Cluster,
        Route,
        Topology,
        Net,
        Resp,
    }

    /// Where a thread is when it can be switched.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum YieldPoint {
        /// Between two accesses to shared state.
        Between,
        /// It has joined a batch.
        Joined,
        /// It has become the leader of a batch.
        Leads,
        /// As the leader, it has read the reply of a follower.
        ReadForAnother,
    }

    /// Replaces the system calls of the library; each method behaves as the call of its name.
    pub trait Simulator {
        /// Nanoseconds.
        fn now(&self) -> u64;
        fn random(&self) -> u64;
        /// How long a fiber waits before it calls `resolve`, which waits by itself in a thread.
        fn resolve_delay(&self) -> Duration;
        fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
        fn connect(&self, fd: RawFd, to: SocketAddr) -> io::Result<()>;
        fn error_of(&self, fd: RawFd) -> Option<io::Error>;
        fn send(&self, fd: RawFd, bytes: &[u8]) -> io::Result<usize>;
        fn recv(&self, fd: RawFd, room: usize, wait: Wait) -> io::Result<Vec<u8>>;
        fn has_news(&self, fd: RawFd) -> bool;
        /// A socket, an event, a timer or a poll set is closed.
        fn closed(&self, fd: RawFd);
        fn poll(&self, fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize>;
        fn fire(&self, event: RawFd);
        fn clear(&self, event: RawFd);
        /// Adds a descriptor to a poll set or replaces its events; removes it without events.
        fn change_poll_set(&self, set: RawFd, fd: RawFd, events: Option<i16>) -> io::Result<()>;
        /// The ready descriptors of a poll set and their events.
        fn wait_poll_set(&self, set: RawFd, timeout: Option<Duration>) -> Vec<(RawFd, i16)>;
        /// Makes a timer readable from this time on, or never.
        fn set_timer(&self, timer: RawFd, at: Option<u64>);
        /// Sleeps on the futex word at this address.
        fn futex_wait(&self, word: usize, timeout: Option<Duration>);
        /// Wakes up to `count` threads that sleep on it.
        fn futex_wake(&self, word: usize, count: i32);
        fn yield_now(&self);
        /// May panic, to test that layer.
        fn panic_point(&self, layer: Layer);
        /// May switch to another thread.
        fn yield_point(&self, point: YieldPoint);
    }

    thread_local! {
        static CURRENT: RefCell<Option<Rc<dyn Simulator>>> = const { RefCell::new(None) };
    }

    /// The simulator of this thread, if it has one. Not inlined: see [`fiber`](crate::fiber).
    #[inline(never)]
    pub fn current() -> Option<Rc<dyn Simulator>> {
        // A thread that is ending may have dropped its thread-local storage.
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
    }

    /// Runs this thread under a simulator, or under the operating system again.
    pub fn enter(simulator: Option<Rc<dyn Simulator>>) {
        CURRENT.with(|current| *current.borrow_mut() = simulator);
    }

    pub fn panic_point(layer: Layer) {
        if let Some(simulator) = current() {
            simulator.panic_point(layer);
        }
    }

    pub fn yield_point(point: YieldPoint) {
        if let Some(simulator) = current() {
            simulator.yield_point(point);
        }
    }

    /// Random numbers from the simulator of this thread, or from the operating system.
    pub struct SimRng;

    pub fn rng() -> SimRng {
        SimRng
    }

    impl rand::RngCore for SimRng {
        fn next_u32(&mut self) -> u32 {
            self.next_u64() as u32
        }

        fn next_u64(&mut self) -> u64 {
            match current() {
                Some(simulator) => simulator.random(),
                None => crate::random::rng().next_u64(),
            }
        }

        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            for chunk in bytes.chunks_mut(8) {
                let random = self.next_u64().to_le_bytes();
                chunk.copy_from_slice(&random[..chunk.len()]);
            }
        }
    }
}
