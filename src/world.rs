//! Time, chance and sockets come from the system, and nowhere else.
//!
//! In the library's own tests a thread may live in another [`World`] instead, where a seed decides
//! what happens and when (tests/simulation). What is shipped knows nothing of it.

#[cfg(test)]
pub use inside::{Layer, Step, Wait, World, enter, here, point, reached, rng};
/// Random numbers.
#[cfg(not(test))]
pub use rand::rng;

/// Marks a place at which a test can make a layer panic.
#[cfg(not(test))]
macro_rules! layer {
    ($layer:ident) => {};
}
#[cfg(test)]
macro_rules! layer {
    ($layer:ident) => {
        $crate::world::point($crate::world::Layer::$layer)
    };
}
pub(crate) use layer;

/// Marks a place between two looks at what threads share, with no lock held: a test may let
/// another thread come first there.
#[cfg(not(test))]
macro_rules! step {
    () => {};
    ($what:ident) => {};
}
#[cfg(test)]
macro_rules! step {
    () => {
        $crate::world::reached($crate::world::Step::Between)
    };
    ($what:ident) => {
        $crate::world::reached($crate::world::Step::$what)
    };
}
pub(crate) use step;

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
    pub enum Step {
        Between,
        /// It has joined a batch.
        Joined,
        /// It leads one.
        Leads,
        /// The reply that it has read as a leader is another's.
        ReadForAnother,
    }

    /// What the system is asked for, with the meaning that its calls have.
    pub trait World {
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
        fn point(&self, layer: Layer);
        /// May let others come first.
        fn step(&self, what: Step);
    }

    thread_local! {
        static HERE: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
    }

    /// The world that this thread lives in, if it is not the real one.
    pub fn here() -> Option<Rc<dyn World>> {
        // A thread that ends has left already.
        HERE.try_with(|here| here.borrow().clone()).ok().flatten()
    }

    /// Puts this thread into a world, or back into the real one.
    pub fn enter(world: Option<Rc<dyn World>>) {
        HERE.with(|here| *here.borrow_mut() = world);
    }

    pub fn point(layer: Layer) {
        if let Some(world) = here() {
            world.point(layer);
        }
    }

    pub fn reached(what: Step) {
        if let Some(world) = here() {
            world.step(what);
        }
    }

    /// Random numbers of the world that this thread lives in.
    pub struct Chance;

    pub fn rng() -> Chance {
        Chance
    }

    impl rand::RngCore for Chance {
        fn next_u32(&mut self) -> u32 {
            self.next_u64() as u32
        }

        fn next_u64(&mut self) -> u64 {
            match here() {
                Some(world) => world.random(),
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
