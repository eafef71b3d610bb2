//! What a handle refers to, and when it is freed.
//!
//! An interrupt may run in a signal handler, where nothing may be freed: the interrupted thread may hold the lock of
//! malloc(). So an interrupt does not count as a user of the handle, and is never the last one. Instead, a handle that
//! no entry of the registry refers to any more is freed at a moment when no interrupt is running.

use crate::cluster::Client;
use crate::net::process_number;
use std::ffi::CString;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The client and the error that a handle refers to.
pub struct Handle {
    pub client: Arc<Client>,
    /// The message of [`Client::error`], which lives as long as the handle.
    pub error: Option<CString>,
    /// The next handle in [`RETIRED`].
    next: AtomicPtr<Handle>,
}

/// The number of interrupts that are running now. The upper half is the number of their process: in a forked child, the
/// interrupts that other threads of the parent were running never end.
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
const PROCESS_SHIFT: u32 = 32;

/// Handles to be freed when no interrupt is running.
static RETIRED: AtomicPtr<Handle> = AtomicPtr::new(ptr::null_mut());

/// An interrupt lasts some microseconds. The thread that frees a handle yields this often before it leaves the handle to
/// the next one.
const YIELDS: u32 = 1000;

impl Handle {
    pub fn new(client: Client) -> *mut Handle {
        let error = client
            .error()
            .map(|e| CString::new(e.message.replace('\0', "?")).unwrap_or_default());
        Box::into_raw(Box::new(Handle {
            client: Arc::new(client),
            error,
            next: AtomicPtr::new(ptr::null_mut()),
        }))
    }

    /// Frees a handle, as soon as no interrupt is running.
    ///
    /// # Safety
    /// It was made by [`Handle::new`], is freed once, has no users, and cannot be found by a later interrupt.
    pub unsafe fn retire(handle: *mut Handle) {
        // SAFETY: a list of this one handle, which belongs to the caller.
        unsafe { push_retired(handle, handle) };
        for _ in 0..YIELDS {
            if free_retired() {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// # Safety
/// `first` to `last` is a list of handles that belongs to the caller.
unsafe fn push_retired(first: *mut Handle, last: *mut Handle) {
    let mut head = RETIRED.load(Ordering::Relaxed);
    loop {
        // SAFETY: the list belongs to this thread until it is published.
        unsafe { &*last }.next.store(head, Ordering::Relaxed);
        match RETIRED.compare_exchange_weak(head, first, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return,
            Err(changed) => head = changed,
        }
    }
}

/// Frees all retired handles, unless an interrupt is running.
pub fn free_retired() -> bool {
    let first = RETIRED.swap(ptr::null_mut(), Ordering::AcqRel);
    if first.is_null() {
        return true;
    }
    // An interrupt that begins after this cannot find these handles: they were unregistered before they were retired.
    let word = INTERRUPTS.load(Ordering::SeqCst);
    let is_running = word as u32 != 0 && word >> PROCESS_SHIFT == process_half() >> PROCESS_SHIFT;
    let (mut last, mut next) = (ptr::null_mut(), first);
    while !next.is_null() {
        last = next;
        // SAFETY: the list belongs to this thread since the swap.
        next = unsafe { &*last }.next.load(Ordering::Relaxed);
        if !is_running {
            // SAFETY: made by `Handle::new`, retired once, and neither a user nor an interrupt has a reference.
            drop(unsafe { Box::from_raw(last) });
        }
    }
    if is_running {
        // SAFETY: the list is unchanged.
        unsafe { push_retired(first, last) };
    }
    !is_running
}

fn process_half() -> u64 {
    u64::from(process_number().cast_unsigned()) << PROCESS_SHIFT
}

/// A running interrupt. No handle that it finds in the registry is freed before its end. Async-signal-safe.
pub struct InterruptGuard {
    process_half: u64,
}

impl InterruptGuard {
    pub fn begin() -> InterruptGuard {
        let process_half = process_half();
        change_interrupts(|word| match (word ^ process_half) >> PROCESS_SHIFT {
            0 => Some(word + 1),
            _ => Some(process_half + 1),
        });
        InterruptGuard { process_half }
    }
}

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        // In a child that was forked by a handler which interrupted this one, the count may have begun anew.
        change_interrupts(|word| match (word ^ self.process_half) >> PROCESS_SHIFT {
            0 => Some(word - 1),
            _ => None,
        });
    }
}

fn change_interrupts(change: impl FnMut(u64) -> Option<u64>) {
    // Refused only by the change itself.
    let _ = INTERRUPTS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
}
