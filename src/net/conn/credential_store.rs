//! The credentials of a cluster's connections, which may change.

use super::text_file::read_line;
use super::watched_files::WatchedFiles;
use crate::config::{Config, Credentials};
use crate::error::Result;
use crate::sync::{Mutex, lock};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The number of the credentials that a client begins with.
pub const FIRST_CREDENTIALS: u32 = 1;

/// Credentials, and how many times they had changed before.
#[derive(Debug)]
pub struct CredentialVersion {
    /// From [`FIRST_CREDENTIALS`].
    pub number: u32,
    pub credentials: Credentials,
}

/// What a new connection authenticates with.
#[derive(Clone, Debug)]
pub struct Known {
    pub current: Arc<CredentialVersion>,
    /// The last credentials before `current` that a node has accepted, if both are from files. A node that refuses
    /// the content of a file may get these.
    pub previous: Option<Arc<CredentialVersion>>,
    is_from_files: bool,
}

/// How often nodes have answered changed credentials.
#[derive(Debug, Default)]
pub struct CredentialCounters {
    /// On connections that were open.
    pub accepted: AtomicU64,
    /// On all connections.
    pub refused: AtomicU64,
}

/// The credentials of one process. Connections read them without a lock, and a forked child takes them over without one.
#[derive(Debug)]
pub struct CredentialStore {
    /// The number of the current credentials. Every command compares it with that of its connection.
    number: AtomicU32,
    known: ArcSwap<Known>,
    /// The highest number that a node has accepted.
    accepted: AtomicU32,
    config: Arc<Config>,
    files: WatchedFiles,
    /// Held while `known` is replaced.
    changing: Mutex<()>,
    pub counters: Arc<CredentialCounters>,
}

impl CredentialStore {
    /// Reads the files that the options name.
    pub fn new(config: &Arc<Config>, counters: Arc<CredentialCounters>) -> Result<CredentialStore> {
        let paths = [&config.user_file, &config.password_file];
        let paths: Vec<String> = paths.into_iter().flatten().cloned().collect();
        let is_from_files = !paths.is_empty();
        let files = WatchedFiles::new(paths);
        let current = Arc::new(CredentialVersion {
            number: FIRST_CREDENTIALS,
            credentials: read(config)?,
        });
        let known = Known {
            current,
            previous: None,
            is_from_files,
        };
        Ok(CredentialStore::with(config, known, files, counters))
    }

    fn with(
        config: &Arc<Config>,
        known: Known,
        files: WatchedFiles,
        counters: Arc<CredentialCounters>,
    ) -> CredentialStore {
        CredentialStore {
            number: AtomicU32::new(known.current.number),
            known: ArcSwap::from_pointee(known),
            accepted: AtomicU32::new(0),
            config: config.clone(),
            files,
            changing: Mutex::default(),
            counters,
        }
    }

    /// The store of a forked child: what this one contains, without its locks.
    #[inline(never)]
    pub fn of_child(&self) -> CredentialStore {
        let known = Known::clone(&self.known.load());
        let (files, counters) = (self.files.of_child(), self.counters.clone());
        let child = CredentialStore::with(&self.config, known, files, counters);
        child
            .accepted
            .store(self.accepted.load(Ordering::Relaxed), Ordering::Relaxed);
        child
    }

    /// The number of the current credentials.
    #[inline]
    pub fn number(&self) -> u32 {
        self.number.load(Ordering::Acquire)
    }

    #[inline(never)]
    pub fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }

    /// Replaces the credentials. Files are not read again.
    pub fn set(&self, credentials: Credentials) {
        let _changing = lock(&self.changing);
        let number = self.number() + 1;
        let current = Arc::new(CredentialVersion {
            number,
            credentials,
        });
        self.publish(Known {
            current,
            previous: None,
            is_from_files: false,
        });
    }

    fn publish(&self, known: Known) {
        let number = known.current.number;
        self.known.store(Arc::new(known));
        // After the credentials: who sees the number finds them.
        self.number.store(number, Ordering::Release);
    }

    /// Reads the files again if they have changed. Looks at them at most once a second.
    pub fn read_changed_files(&self) {
        self.files.read_if_changed(|| self.read_files());
    }

    /// Reads the files again, because a node has refused what they contained.
    pub fn read_files_now(&self) {
        self.files.read_now(|| self.read_files());
    }

    #[inline(never)]
    fn read_files(&self) -> Result<()> {
        if !self.known.load().is_from_files {
            return Ok(());
        }
        let credentials = read(&self.config)?;
        let _changing = lock(&self.changing);
        let known = self.known();
        if !known.is_from_files || known.current.credentials == credentials {
            return Ok(());
        }
        let is_accepted = self.accepted.load(Ordering::Relaxed) == known.current.number;
        let previous = match is_accepted {
            true => Some(known.current.clone()),
            false => known.previous.clone(),
        };
        let current = Arc::new(CredentialVersion {
            number: known.current.number + 1,
            credentials,
        });
        self.publish(Known {
            current,
            previous,
            is_from_files: true,
        });
        Ok(())
    }

    /// A node has accepted the credentials with this number.
    pub fn record_accepted(&self, number: u32) {
        self.accepted.fetch_max(number, Ordering::Relaxed);
    }
}

/// The credentials of the options and of the files that they name.
fn read(config: &Config) -> Result<Credentials> {
    let mut credentials = config.credentials();
    if let Some(path) = &config.user_file {
        credentials.user = Some(read_line("user_file", path)?.reveal().to_owned());
    }
    if let Some(path) = &config.password_file {
        credentials.password = Some(read_line("password_file", path)?);
    }
    Ok(credentials)
}
