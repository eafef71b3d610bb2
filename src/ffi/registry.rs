//! The registry of client handles, which are checked numbers in the form of pointers.
//!
//! A handle contains the index of an entry and a generation. Both are checked before anything is
//! dereferenced, so a closed or invalid handle gives an error and not a crash. A client that is closed
//! while other threads use it is freed by the last of them. The registry is lock-free, so a forked
//! child and a signal handler can use it. An interrupt, which may come from a signal handler, also neither
//! allocates nor frees memory.

use super::client::rdc_client;
use super::handle::{Handle, InterruptGuard, free_retired};
use super::panic_boundary::install_panic_hook;
use crate::cluster::Client;
use crate::error::{Code, Error, Result};
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Entries are allocated in chunks of this many.
const CHUNK: usize = 256;
/// The maximum number of chunks: 1,048,576 entries.
const CHUNKS: usize = 4096;

/// An entry's state consists of a count of users, two flags, and the generation.
const USERS: u64 = (1 << 30) - 1;
const CLOSED: u64 = 1 << 30;
const LIVE: u64 = 1 << 31;
const GENERATION_SHIFT: u32 = 32;

struct Entry {
    state: AtomicU64,
    handle: AtomicPtr<Handle>,
}

static ENTRIES: [AtomicPtr<[Entry; CHUNK]>; CHUNKS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
/// Index at which the search for a free entry begins.
static FREE_HINT: AtomicUsize = AtomicUsize::new(0);

fn entry(index: usize) -> Option<&'static Entry> {
    let chunk = ENTRIES.get(index / CHUNK)?.load(Ordering::Acquire);
    // SAFETY: a chunk is initialized before it is published, and never freed.
    let chunk = unsafe { chunk.as_ref() }?;
    Some(&chunk[index % CHUNK])
}

/// The entry at an index. Allocates its chunk if necessary.
fn entry_or_new(index: usize) -> Option<&'static Entry> {
    let chunk = ENTRIES.get(index / CHUNK)?;
    if chunk.load(Ordering::Acquire).is_null() {
        let new = Box::into_raw(Box::new(
            [const {
                Entry {
                    state: AtomicU64::new(0),
                    handle: AtomicPtr::new(ptr::null_mut()),
                }
            }; CHUNK],
        ));
        let lost_race = chunk
            .compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire)
            .is_err();
        if lost_race {
            // SAFETY: it was not published.
            drop(unsafe { Box::from_raw(new) });
        }
    }
    entry(index)
}

/// Makes a handle of a client. Never NULL.
pub fn register(client: Client) -> *mut rdc_client {
    install_panic_hook();
    free_retired();
    let handle = Handle::new(client);
    let begin = FREE_HINT.load(Ordering::Relaxed);
    for offset in 0..CHUNK * CHUNKS {
        let index = (begin + offset) % (CHUNK * CHUNKS);
        let Some(entry) = entry_or_new(index) else {
            continue;
        };
        let state = entry.state.load(Ordering::Acquire);
        if state & (LIVE | CLOSED | USERS) != 0 {
            continue;
        }
        // Generation 0 is skipped, so that no handle is a small number.
        let generation = ((state >> GENERATION_SHIFT) as u32).wrapping_add(1).max(1);
        let claimed = (u64::from(generation) << GENERATION_SHIFT) | CLOSED;
        if entry
            .state
            .compare_exchange(state, claimed, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            continue;
        }
        entry.handle.store(handle, Ordering::Release);
        entry.state.fetch_xor(CLOSED | LIVE, Ordering::AcqRel);
        FREE_HINT.store(index + 1, Ordering::Relaxed);
        let number = (u64::from(generation) << GENERATION_SHIFT) | (index as u64 + 1);
        return ptr::without_provenance_mut(number as usize);
    }
    // All 1,048,576 entries are in use: the caller leaks clients. The handle returned has no entry, so
    // calls on it fail as on a closed one.
    // SAFETY: the handle was made above and not published.
    unsafe { Handle::retire(handle) };
    ptr::without_provenance_mut(usize::MAX)
}

/// Keeps a client alive during one call.
pub struct HandleGuard {
    entry: &'static Entry,
    index: usize,
    handle: *const Handle,
}

impl Deref for HandleGuard {
    type Target = Handle;

    #[inline]
    fn deref(&self) -> &Handle {
        // SAFETY: the guard is counted as a user, so the handle is not freed.
        unsafe { &*self.handle }
    }
}

impl Drop for HandleGuard {
    #[inline]
    fn drop(&mut self) {
        release(self.entry, self.index);
    }
}

/// The entry of a handle, its index, and the generation in the handle.
fn lookup(client: *const rdc_client) -> Option<(&'static Entry, usize, u64)> {
    let number = client.addr() as u64;
    let index = (number & u64::from(u32::MAX)).checked_sub(1)? as usize;
    Some((entry(index)?, index, number >> GENERATION_SHIFT))
}

#[cold]
fn invalid_handle(client: *const rdc_client) -> Error {
    if client.is_null() {
        Error::invalid("client is NULL")
    } else {
        Error::new(Code::Closed, "the client handle was closed")
    }
}

/// Checks a handle, and acquires its client for one call.
#[inline(always)]
pub fn acquire(client: *const rdc_client) -> Result<HandleGuard> {
    let Some((entry, index, generation)) = lookup(client) else {
        return Err(invalid_handle(client));
    };
    let state = entry.state.fetch_add(1, Ordering::AcqRel);
    if state >> GENERATION_SHIFT != generation || state & (LIVE | CLOSED) != LIVE {
        return Err(release_stale(entry, index, client));
    }
    Ok(HandleGuard {
        entry,
        index,
        handle: entry.handle.load(Ordering::Acquire),
    })
}

#[cold]
fn release_stale(entry: &Entry, index: usize, client: *const rdc_client) -> Error {
    release(entry, index);
    invalid_handle(client)
}

/// Ends the use of a client. The last user of a closed client frees it.
#[inline]
fn release(entry: &Entry, index: usize) {
    let state = entry.state.fetch_sub(1, Ordering::AcqRel) - 1;
    if state & (LIVE | CLOSED | USERS) == LIVE | CLOSED {
        try_free(entry, index, state);
    }
}

/// Frees a closed client, unless its entry has changed since `state` was read.
#[cold]
fn try_free(entry: &Entry, index: usize, state: u64) {
    // A call with a stale handle may count as a user for a moment. It then frees the client itself.
    let handle = entry.handle.load(Ordering::Acquire);
    let freed = state & !(LIVE | CLOSED);
    if entry
        .state
        .compare_exchange(state, freed, Ordering::SeqCst, Ordering::Relaxed)
        .is_ok()
    {
        // Low indices are reused first, so that few chunks are allocated.
        FREE_HINT.fetch_min(index, Ordering::Relaxed);
        // SAFETY: it was live, closed and without users, and the exchange succeeds for one thread only. An
        // interrupt that begins after the exchange finds no live handle.
        unsafe { Handle::retire(handle) };
    }
}

/// Ends the calls in progress of a client, if the handle is valid. Async-signal-safe in every state of the handle: it
/// allocates nothing, frees nothing and takes no lock.
pub fn interrupt(client: *const rdc_client) {
    let Some((entry, _, generation)) = lookup(client) else {
        return;
    };
    let _guard = InterruptGuard::begin();
    let is_live = || {
        let state = entry.state.load(Ordering::SeqCst);
        state >> GENERATION_SHIFT == generation && state & (LIVE | CLOSED) == LIVE
    };
    if !is_live() {
        return;
    }
    let handle = entry.handle.load(Ordering::Acquire);
    // A second time, because the entry may have been given to another handle before the pointer was read.
    if is_live() {
        // SAFETY: the handle was live after the guard began, so it is not freed before the guard ends.
        unsafe { &*handle }.client.interrupt();
    }
}

/// Closes a client: calls in progress end, and later calls fail.
pub fn close(client: *const rdc_client) {
    let Ok(handle) = acquire(client) else {
        return;
    };
    let before = handle.entry.state.fetch_or(CLOSED, Ordering::AcqRel);
    if before & CLOSED == 0 {
        handle.client.close();
    }
}
