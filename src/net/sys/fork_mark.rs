//! Detection of a fork.

use std::sync::atomic::{AtomicI32, Ordering};

/// Tells a forked child from its parent without a system call: a word on a page that the kernel zeroes in the child
/// (MADV_WIPEONFORK).
#[derive(Debug)]
pub struct ForkMark {
    word: &'static AtomicI32,
    /// Whether the kernel zeroes the page. If not, each check calls getpid().
    is_wiped: bool,
}

impl Default for ForkMark {
    fn default() -> ForkMark {
        // SAFETY: a new anonymous mapping does not overlap existing memory.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            static FALLBACK: AtomicI32 = AtomicI32::new(0);
            return ForkMark {
                word: &FALLBACK,
                is_wiped: false,
            };
        }
        // SAFETY: the page is the mapping from above. Linux before 4.14 refuses the advice.
        let is_wiped = unsafe { libc::madvise(page, 4096, libc::MADV_WIPEONFORK) } == 0;
        // SAFETY: the page is never unmapped, is aligned, and zero is a valid AtomicI32.
        let word: &'static AtomicI32 = unsafe { &*page.cast::<AtomicI32>() };
        ForkMark { word, is_wiped }
    }
}

impl ForkMark {
    /// The number of this process, which differs from its parent's.
    #[inline]
    pub fn process(&self) -> i32 {
        let known = self.word.load(Ordering::Relaxed);
        if self.is_wiped && known != 0 {
            return known;
        }
        let pid = std::process::id() as i32;
        self.word.store(pid, Ordering::Relaxed);
        pid
    }
}
