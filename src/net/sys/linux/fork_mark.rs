//! Detection of a fork, by a page that the kernel zeroes in the child.

use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

/// The number of this process, on a page that the kernel zeroes in a forked child (MADV_WIPEONFORK). NULL before the
/// first use. Set without a lock: another thread may fork at any moment, and the child must not wait for it.
static WORD: AtomicPtr<AtomicI32> = AtomicPtr::new(std::ptr::null_mut());

/// Stays 0. Used where the kernel cannot zero a page: then each check calls getpid().
static NO_WORD: AtomicI32 = AtomicI32::new(0);

/// The last number that this process or an ancestor has taken. A forked child goes on from there, so its number differs
/// from those of all its ancestors. A process id may not: it is used again, and each PID namespace begins with 1.
static LAST_NUMBER: AtomicI32 = AtomicI32::new(0);

#[inline]
pub fn process_number() -> i32 {
    // SAFETY: NULL, or a word that is never freed.
    let word = unsafe { WORD.load(Ordering::Acquire).as_ref() };
    match word.map_or(0, |word| word.load(Ordering::Relaxed)) {
        0 => take_number(word),
        number => number,
    }
}

#[cold]
fn take_number(word: Option<&AtomicI32>) -> i32 {
    let word = word.unwrap_or_else(|| create_word());
    if std::ptr::eq(word, &NO_WORD) {
        return std::process::id() as i32;
    }
    let number = LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
    // Another thread may have taken a number meanwhile. Then this one is never used.
    match word.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => number,
        Err(taken) => taken,
    }
}

fn create_word() -> &'static AtomicI32 {
    let new = wiped_page().unwrap_or(std::ptr::from_ref(&NO_WORD).cast_mut());
    let null = std::ptr::null_mut();
    let published = WORD.compare_exchange(null, new, Ordering::AcqRel, Ordering::Acquire);
    // The page of a thread that comes second stays mapped, unused.
    let word = published.map_or_else(|first| first, |_| new);
    // SAFETY: a word that is never freed, and zero is a valid AtomicI32.
    unsafe { &*word }
}

/// A page that is zero, and becomes zero in a forked child.
fn wiped_page() -> Option<*mut AtomicI32> {
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
        return None;
    }
    // SAFETY: the page is the mapping from above. Linux before 4.14 refuses the advice.
    let is_wiped = unsafe { libc::madvise(page, 4096, libc::MADV_WIPEONFORK) } == 0;
    is_wiped.then_some(page.cast())
}
