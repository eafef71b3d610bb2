//! What the connections of a cluster authenticate with and verify.

use super::credential_store::{CredentialCounters, CredentialStore};
use super::tls::Tls;
use crate::config::Config;
use crate::error::Result;
use std::sync::Arc;

/// Shared by all nodes of one process.
#[derive(Debug)]
pub struct Security {
    pub credentials: CredentialStore,
    pub(super) tls: Option<Tls>,
}

impl Security {
    /// Reads the files that the options name.
    pub fn new(config: &Arc<Config>, counters: Arc<CredentialCounters>) -> Result<Arc<Security>> {
        Ok(Arc::new(Security {
            credentials: CredentialStore::new(config, counters)?,
            tls: Tls::load(config)?,
        }))
    }

    /// The same for a forked child, which never waits for a lock of its parent.
    pub fn of_child(&self) -> Arc<Security> {
        Arc::new(Security {
            credentials: self.credentials.of_child(),
            tls: self.tls.as_ref().map(Tls::of_child),
        })
    }
}
