//! Notices when files that the options name have changed.

use crate::deadline::now;
use crate::error::Result;
use crate::log;
use crate::sync::{Mutex, lock, try_lock};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The time between two looks at the files, in milliseconds.
const INTERVAL_MS: u64 = 1000;

/// What differs between two versions of a file. Symbolic links are followed, so it changes if one leads elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also changes with the permissions.
    changed: (i64, i64),
}

/// `None` if the file is not there.
fn stamp(path: &String) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Some files, and what they were like when they were last read.
///
/// The lock is held while files are read. Only threads that open a connection take it, and they do not wait for it
/// unless a node has refused what the files contained. A forked child makes its own.
#[derive(Debug)]
pub(super) struct WatchedFiles {
    paths: Vec<String>,
    /// When the files are looked at next, in [`Time::millis`](crate::deadline::Time::millis).
    next_look: AtomicU64,
    stamps: Mutex<Vec<Option<Stamp>>>,
}

impl WatchedFiles {
    /// Must be called before the files are first read: a change after that is then noticed.
    pub(super) fn new(paths: Vec<String>) -> WatchedFiles {
        let stamps = paths.iter().map(stamp).collect();
        WatchedFiles {
            paths,
            next_look: AtomicU64::new(now().millis() + INTERVAL_MS),
            stamps: Mutex::new(stamps),
        }
    }

    /// The same files, for a forked child.
    pub(super) fn of_child(&self) -> WatchedFiles {
        WatchedFiles {
            paths: self.paths.clone(),
            next_look: AtomicU64::new(0),
            // The child cannot know what its parent has read last.
            stamps: Mutex::new(vec![None; self.paths.len()]),
        }
    }

    /// Calls `read` if a file has changed. Looks at most once in [`INTERVAL_MS`].
    pub(super) fn read_if_changed(&self, read: impl FnOnce() -> Result<()>) {
        if self.paths.is_empty() {
            return;
        }
        let (time, due) = (now().millis(), self.next_look.load(Ordering::Relaxed));
        let next = time + INTERVAL_MS;
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let claim = || self.next_look.compare_exchange(due, next, success, failure);
        if time < due || claim().is_err() {
            return;
        }
        let Some(mut stamps) = try_lock(&self.stamps) else {
            return;
        };
        if renew(&mut stamps, &self.paths) {
            let outcome = read();
            drop(stamps);
            log_failure(outcome);
        }
    }

    /// Calls `read`, after other threads have read the files.
    pub(super) fn read_now(&self, read: impl FnOnce() -> Result<()>) {
        if self.paths.is_empty() {
            return;
        }
        let mut stamps = lock(&self.stamps);
        let is_changed = renew(&mut stamps, &self.paths);
        let outcome = read();
        drop(stamps);
        // A file that is still unusable has been logged.
        if is_changed {
            log_failure(outcome);
        }
    }
}

/// Returns whether a file has changed. Called before the files are read: a change after that is noticed by the next look.
fn renew(stamps: &mut Vec<Option<Stamp>>, paths: &[String]) -> bool {
    let found: Vec<_> = paths.iter().map(stamp).collect();
    let is_changed = found != *stamps;
    *stamps = found;
    is_changed
}

/// Without a lock, because the logger may call the library.
fn log_failure(outcome: Result<()>) {
    if let Err(error) = outcome {
        log::log(log::WARN, || {
            format!("a changed file cannot be used, and what was read before is kept: {error}")
        });
    }
}
