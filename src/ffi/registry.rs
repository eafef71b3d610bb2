//! Client handles: numbers that look like pointers.
//!
//! A handle names a entry and the generation of what lived there. Nothing is dereferenced before
//! both have been checked, so a handle that was closed, or never was one, gives an error and not
//! a crash; and a client that is closed while other threads use it goes when the last of them
//! leaves. No lock is taken, so that a forked child and a signal handler may pass.

use super::client::rdc_client;
use super::panic_boundary::install_panic_hook;
use crate::cluster::Client;
use crate::error::{Code, Error, Result};
use std::ffi::CString;
use std::ops::Deref;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// What a handle stands for.
pub struct Handle {
    pub client: Arc<Client>,
    /// The error of the client, for as long as the handle lives.
    pub error: Option<CString>,
}

const CHUNK: usize = 256;
const CHUNKS: usize = 4096;

/// The low bits of a state count the users; then come two marks and the generation.
const USERS: u64 = (1 << 30) - 1;
const CLOSED: u64 = 1 << 30;
const LIVE: u64 = 1 << 31;
const GENERATION: u32 = 32;

struct Entry {
    state: AtomicU64,
    handle: AtomicPtr<Handle>,
}

static ENTRIES: [AtomicPtr<[Entry; CHUNK]>; CHUNKS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
/// Where a free entry may be found.
static HINT: AtomicUsize = AtomicUsize::new(0);

fn entry(index: usize) -> Option<&'static Entry> {
    let chunk = ENTRIES.get(index / CHUNK)?.load(Ordering::Acquire);
    // SAFETY: a chunk is published whole and never freed.
    let chunk = unsafe { chunk.as_ref() }?;
    Some(&chunk[index % CHUNK])
}

/// The entry, its chunk made if need be.
fn entry_or_new(index: usize) -> Option<&'static Entry> {
    let place = ENTRIES.get(index / CHUNK)?;
    if place.load(Ordering::Acquire).is_null() {
        let fresh = Box::into_raw(Box::new(
            [const {
                Entry {
                    state: AtomicU64::new(0),
                    handle: AtomicPtr::new(ptr::null_mut()),
                }
            }; CHUNK],
        ));
        let lost = place
            .compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire)
            .is_err();
        if lost {
            // SAFETY: nobody else has seen ours.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
    entry(index)
}

/// Makes a handle; never NULL.
pub fn register(client: Client) -> *mut rdc_client {
    install_panic_hook();
    let error = client
        .error()
        .map(|e| CString::new(e.message.replace('\0', "?")).unwrap_or_default());
    let handle = Box::into_raw(Box::new(Handle {
        client: Arc::new(client),
        error,
    }));
    let begin = HINT.load(Ordering::Relaxed);
    for turn in 0..CHUNK * CHUNKS {
        let index = (begin + turn) % (CHUNK * CHUNKS);
        let Some(entry) = entry_or_new(index) else {
            continue;
        };
        let state = entry.state.load(Ordering::Acquire);
        if state & (LIVE | CLOSED | USERS) != 0 {
            continue;
        }
        // Generation 0 is skipped, so that no handle is a small number.
        let generation = ((state >> GENERATION) as u32).wrapping_add(1).max(1);
        let claimed = (u64::from(generation) << GENERATION) | CLOSED;
        if entry
            .state
            .compare_exchange(state, claimed, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            continue;
        }
        entry.handle.store(handle, Ordering::Release);
        entry.state.fetch_xor(CLOSED | LIVE, Ordering::AcqRel);
        HINT.store(index + 1, Ordering::Relaxed);
        let number = (u64::from(generation) << GENERATION) | (index as u64 + 1);
        return ptr::without_provenance_mut(number as usize);
    }
    // A million clients are open: the caller has lost count. One that says so does not exist,
    // and its handle is as good as closed.
    // SAFETY: the handle was made above and published nowhere.
    drop(unsafe { Box::from_raw(handle) });
    ptr::without_provenance_mut(usize::MAX)
}

/// The use of a client by one call.
pub struct HandleGuard {
    entry: &'static Entry,
    index: usize,
    handle: *const Handle,
}

impl Deref for HandleGuard {
    type Target = Handle;

    #[inline]
    fn deref(&self) -> &Handle {
        // SAFETY: this use is counted, so the handle is not freed.
        unsafe { &*self.handle }
    }
}

impl Drop for HandleGuard {
    #[inline]
    fn drop(&mut self) {
        leave(self.entry, self.index);
    }
}

/// The entry that a handle names, its index, and the generation.
fn parts(client: *const rdc_client) -> Option<(&'static Entry, usize, u64)> {
    let number = client.addr() as u64;
    let index = (number & u64::from(u32::MAX)).checked_sub(1)? as usize;
    Some((entry(index)?, index, number >> GENERATION))
}

#[cold]
fn closed(client: *const rdc_client) -> Error {
    if client.is_null() {
        Error::invalid("client is NULL")
    } else {
        Error::new(Code::Closed, "the client handle was closed")
    }
}

/// Begins to use a client.
#[inline(always)]
pub fn enter(client: *const rdc_client) -> Result<HandleGuard> {
    let Some((entry, index, generation)) = parts(client) else {
        return Err(closed(client));
    };
    let state = entry.state.fetch_add(1, Ordering::AcqRel);
    if state >> GENERATION != generation || state & (LIVE | CLOSED) != LIVE {
        return Err(stale(entry, index, client));
    }
    Ok(HandleGuard {
        entry,
        index,
        handle: entry.handle.load(Ordering::Acquire),
    })
}

#[cold]
fn stale(entry: &Entry, index: usize, client: *const rdc_client) -> Error {
    leave(entry, index);
    closed(client)
}

/// Ends a use; the last one of a closed client frees it.
#[inline]
fn leave(entry: &Entry, index: usize) {
    let state = entry.state.fetch_sub(1, Ordering::AcqRel) - 1;
    if state & (LIVE | CLOSED | USERS) == LIVE | CLOSED {
        free(entry, index, state);
    }
}

#[cold]
fn free(entry: &Entry, index: usize, state: u64) {
    // A stale handle's user may come and go meanwhile; whoever finds nobody frees.
    let handle = entry.handle.load(Ordering::Acquire);
    let freed = state & !(LIVE | CLOSED);
    if entry
        .state
        .compare_exchange(state, freed, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
    {
        // The lowest free slots are used first, so that few chunks are ever needed.
        HINT.fetch_min(index, Ordering::Relaxed);
        // SAFETY: it was live and closed, nobody used it, and only one can have changed that.
        drop(unsafe { Box::from_raw(handle) });
    }
}

/// Closes a client: calls under way end, later ones fail.
pub fn close(client: *const rdc_client) {
    let Ok(used) = enter(client) else {
        return;
    };
    let before = used.entry.state.fetch_or(CLOSED, Ordering::AcqRel);
    if before & CLOSED == 0 {
        used.client.close();
    }
}
