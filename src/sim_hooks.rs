//! Time, chance and sockets come from the system, and nowhere else.
//!
//! In the library's own tests a thread may live in another [`Simulator`] instead, where a seed decides
//! what happens and when (tests/simulation). What is shipped knows nothing of it.

#[cfg(test)]
pub use inside::{
    Layer, Simulator, Wait, YieldPoint, current, enter, panic_point, rng, yield_point,
};
/// Random numbers.
#[cfg(not(test))]
pub use rand::rng;

/// Marks a place at which a test can make a layer panic.
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

/// Marks a place between two looks at what threads share, with no lock held: a test may let
/// another thread come first there.
#[cfg(not(test))]
macro_rules! sim_yield_point {
    () => {};
    ($what:ident) => {};
}
#[cfg(test)]
macro_rules! sim_yield_point {
    () => {
        $crate::sim_hooks::yield_point($crate::sim_hooks::YieldPoint::Between)
    };
    ($what:ident) => {
        $crate::sim_hooks::yield_point($crate::sim_hooks::YieldPoint::$what)
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
        No,
        First,
        All,
    }

    /// Where a panic can be asked for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Layer {
        Ffi,
        Cluster,
        Route,
        Topology,
        Net,
        Resp,
    }

    /// What a thread is about to do, or has just done, where others may come first.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum YieldPoint {
        Between,
        /// It has joined a batch.
        Joined,
        /// It leads one.
        Leads,
        /// The reply that it has read as a leader is another's.
        ReadForAnother,
    }

    /// What the system is asked for, with the meaning that its calls have.
    pub trait Simulator {
        /// Nanoseconds.
        fn now(&self) -> u64;
        fn random(&self) -> u64;
        fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
        fn connect(&self, fd: RawFd, to: SocketAddr) -> io::Result<()>;
        fn error_of(&self, fd: RawFd) -> Option<io::Error>;
        fn send(&self, fd: RawFd, bytes: &[u8]) -> io::Result<usize>;
        fn recv(&self, fd: RawFd, room: usize, wait: Wait) -> io::Result<Vec<u8>>;
        fn has_news(&self, fd: RawFd) -> bool;
        fn closed(&self, fd: RawFd);
        fn poll(&self, fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize>;
        fn fire(&self, event: RawFd);
        fn clear(&self, event: RawFd);
        /// Sleeps on the word at this place, and wakes who does.
        fn futex_wait(&self, word: usize, timeout: Option<Duration>);
        fn futex_wake(&self, word: usize, count: i32);
        fn yield_now(&self);
        /// May panic.
        fn panic_point(&self, layer: Layer);
        /// May let others come first.
        fn yield_point(&self, what: YieldPoint);
    }

    thread_local! {
        static CURRENT: RefCell<Option<Rc<dyn Simulator>>> = const { RefCell::new(None) };
    }

    /// The world that this thread lives in, if it is not the real one.
    pub fn current() -> Option<Rc<dyn Simulator>> {
        // A thread that ends has left already.
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
    }

    /// Puts this thread into a world, or back into the real one.
    pub fn enter(simulator: Option<Rc<dyn Simulator>>) {
        CURRENT.with(|current| *current.borrow_mut() = simulator);
    }

    pub fn panic_point(layer: Layer) {
        if let Some(simulator) = current() {
            simulator.panic_point(layer);
        }
    }

    pub fn yield_point(what: YieldPoint) {
        if let Some(simulator) = current() {
            simulator.yield_point(what);
        }
    }

    /// Random numbers of the world that this thread lives in.
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
                None => rand::rng().next_u64(),
            }
        }

        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            for piece in bytes.chunks_mut(8) {
                let random = self.next_u64().to_le_bytes();
                piece.copy_from_slice(&random[..piece.len()]);
            }
        }
    }
}
