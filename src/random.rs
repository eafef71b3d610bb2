//! Random numbers: for jitter, for choices among nodes, and for the ids of DNS queries.
//!
//! Each thread has its own generator. It has no destructor, unlike that of the rand crate: so a call in a destructor of
//! thread-specific data (pthread_key_create) or in an atexit handler can use it, although the thread's variables with
//! destructors are gone by then.

use crate::deadline::now;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

/// Incremented when the generators of all threads have to be seeded again.
static SEEDING: AtomicU32 = AtomicU32::new(0);

struct Generator {
    seeding: u32,
    rng: StdRng,
}

const _: () = assert!(!std::mem::needs_drop::<Generator>());

thread_local! {
    static GENERATOR: RefCell<Option<Generator>> = const { RefCell::new(None) };
}

/// The random numbers of this thread.
pub struct ThreadRng;

pub fn rng() -> ThreadRng {
    ThreadRng
}

/// A number that depends on all bits of both: for many choices from one random number, or where the time is random
/// enough.
#[inline]
pub fn mixed(seed: u64, salt: u64) -> u64 {
    (seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_mul(0xd6e8_feb8_6659_fd93)
        .rotate_left(32)
        .wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// Seeds all generators again. A forked child must do so: it would draw the same numbers as its parent and its siblings.
pub fn reseed() {
    SEEDING.fetch_add(1, Ordering::Relaxed);
}

fn with_generator<T>(f: impl FnOnce(&mut StdRng) -> T) -> T {
    let seeding = SEEDING.load(Ordering::Relaxed);
    GENERATOR.with(|cell| {
        let mut generator = cell.borrow_mut();
        match &mut *generator {
            Some(generator) if generator.seeding == seeding => f(&mut generator.rng),
            stale => {
                let rng = seeded();
                f(&mut stale.insert(Generator { seeding, rng }).rng)
            }
        }
    })
}

/// A system without entropy is no reason to fail: then the clock and the thread are the seed.
#[cold]
fn seeded() -> StdRng {
    StdRng::try_from_os_rng().unwrap_or_else(|_| {
        let thread = GENERATOR.with(|generator| std::ptr::from_ref(generator).addr());
        StdRng::seed_from_u64(now().nanos() ^ thread as u64)
    })
}

/// Not inlined: see [`fiber`](crate::fiber).
impl RngCore for ThreadRng {
    #[inline(never)]
    fn next_u32(&mut self) -> u32 {
        with_generator(StdRng::next_u32)
    }

    #[inline(never)]
    fn next_u64(&mut self) -> u64 {
        with_generator(StdRng::next_u64)
    }

    #[inline(never)]
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        with_generator(|rng| rng.fill_bytes(bytes));
    }
}
