//! The credentials of the connections to one node.

use crate::config::Credentials;
use crate::error::{Code, Result};
use crate::log;
use crate::net::conn::{
    Connection, CredentialStore, CredentialVersion, FIRST_CREDENTIALS, Reauthentication, Security,
    are_credentials_refused, reauthenticate,
};
use crate::net::sys::PthreadCancelDisabled;
use crate::net::wait::Attempt;
use crate::resp::Origin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The credentials that a node gets, and which of them it has refused.
#[derive(Debug)]
pub(super) struct NodeCredentials {
    security: Arc<Security>,
    /// The node, for the log.
    origin: Arc<Origin>,
    /// The number of the credentials that the node has refused; 0 if none.
    refused: AtomicU32,
}

/// What was opened, and the number of the credentials that its connection has.
type Authenticated<T> = (T, u32);

impl NodeCredentials {
    pub(super) fn new(security: Arc<Security>, origin: Arc<Origin>) -> NodeCredentials {
        NodeCredentials {
            security,
            origin,
            refused: AtomicU32::new(0),
        }
    }

    /// The credentials of all nodes.
    #[inline]
    pub(super) fn store(&self) -> &CredentialStore {
        &self.security.credentials
    }

    /// Whether the connection has the current credentials, or the node has refused them.
    #[inline]
    pub(super) fn are_current(&self, connection: &Connection) -> bool {
        connection.credentials == self.store().number()
    }

    /// Connects with the current credentials. If these are from a file and are refused, the file is read again, and the
    /// last credentials that worked are tried.
    pub(super) fn connect<T>(
        &self,
        connect: impl Fn(&Credentials) -> Result<T>,
    ) -> Result<Authenticated<T>> {
        let store = self.store();
        let known = store.known();
        let is_refused = self.refused.load(Ordering::Relaxed) == known.current.number;
        let (first, second) = match &known.previous {
            Some(previous) if is_refused => (previous, Some(&known.current)),
            previous => (&known.current, previous.as_ref()),
        };
        let error = match self.connect_with(first, &connect) {
            Err(error) if are_credentials_refused(&error) => error,
            outcome => return outcome,
        };
        store.read_files_now();
        let renewed = store.known();
        let next = match renewed.current.number == known.current.number {
            true => second,
            false => Some(&renewed.current),
        };
        match next {
            Some(next) => self.connect_with(next, &connect).map_err(|_| error),
            None => Err(error),
        }
    }

    /// Connects with these credentials, and records whether the node accepts them.
    fn connect_with<T>(
        &self,
        version: &CredentialVersion,
        connect: impl Fn(&Credentials) -> Result<T>,
    ) -> Result<Authenticated<T>> {
        match connect(&version.credentials) {
            Ok(opened) => {
                self.record_accepted(version);
                // The credentials that the node has refused would be refused on this connection, too.
                let refused = self.refused.load(Ordering::Relaxed);
                Ok((opened, version.number.max(refused)))
            }
            Err(error) => {
                if are_credentials_refused(&error) {
                    self.record_refused(version, &error.message);
                }
                Err(error)
            }
        }
    }

    fn record_accepted(&self, version: &CredentialVersion) {
        self.store().record_accepted(version.number);
        if self.refused.load(Ordering::Relaxed) == version.number {
            self.refused.store(0, Ordering::Relaxed);
        }
    }

    /// The log says once for each node that it refuses changed credentials.
    fn record_refused(&self, version: &CredentialVersion, message: &str) {
        if version.number == FIRST_CREDENTIALS {
            return;
        }
        let counters = &self.store().counters;
        counters.refused.fetch_add(1, Ordering::Relaxed);
        let before = self.refused.fetch_max(version.number, Ordering::Relaxed);
        if before < version.number {
            let node = self.origin.name();
            log::log(log::WARN, || {
                format!(
                    "{node} refuses the changed credentials, and open connections keep their user: {message}"
                )
            });
        }
    }

    /// Sends changed credentials on an open connection on which nothing is in flight. If the node refuses them, the
    /// connection keeps the user that it has. False if the connection is lost. An error ends the caller's attempt, and the
    /// connection must be dropped then, too.
    #[cold]
    pub(super) fn reauthenticate(
        &self,
        connection: &mut Connection,
        attempt: Attempt<'_>,
    ) -> Result<bool> {
        let _cancel_disabled = PthreadCancelDisabled::begin();
        let known = self.store().known();
        let version = &known.current;
        if self.refused.load(Ordering::Relaxed) == version.number {
            connection.credentials = version.number;
            return Ok(true);
        }
        let outcome = match reauthenticate(connection, &version.credentials, attempt) {
            Ok(outcome) => outcome,
            // The call ends, or the node does not answer.
            Err(error)
                if matches!(error.code, Code::Timeout | Code::Interrupted | Code::Closed) =>
            {
                return Err(error);
            }
            // The node has closed the connection. No command is lost with it.
            Err(_) => return Ok(false),
        };
        match outcome {
            Reauthentication::Accepted => {
                self.record_accepted(version);
                let counters = &self.store().counters;
                counters.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Reauthentication::NothingToSend => {}
            Reauthentication::Refused(message) => self.record_refused(version, &message),
            Reauthentication::NotNow => return Ok(true),
        }
        connection.credentials = version.number;
        Ok(true)
    }
}
