//! TLS: the configuration, and the session between a socket and the plain text.
//!
//! A session never blocks: it sends what fits and receives what has arrived, like the socket below it. It encrypts
//! records into a buffer of its own and sends that, because rustls's writes to a socket can raise SIGPIPE in the host
//! process.
//!
//! No close_notify is sent when a connection is dropped: a forked child that drops its parent's connections would end
//! the parent's sessions. Nothing is lost, since a RESP reply shows by itself whether it is complete.

mod error_message;
mod pem_files;
mod session;
mod skip_verify;

pub use session::TlsSession;

use crate::config::Config;
use crate::error::{Code, Error, Result};
use error_message::words;
use pem_files::{authorities, identity};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use skip_verify::SkipVerification;
use std::sync::Arc;

/// The number of sessions of one node that are kept for resumption.
const MAX_SESSIONS: usize = 8;

/// The TLS configuration: certificates, key and verification, from the options.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// The name that every node's certificate must have, instead of the node's host.
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the files that the options name. None if TLS is not enabled.
    pub fn load(config: &Config) -> Result<Option<Tls>> {
        if !config.tls {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::invalid(format_args!("TLS cannot be used: {}", words(&e))))?;
        let builder = if config.tls_insecure_skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(SkipVerification(provider)))
        } else {
            builder.with_root_certificates(authorities(config)?)
        };
        let mut client = match (&config.tls_cert_file, &config.tls_key_file) {
            (Some(chain), Some(key)) => {
                builder.with_client_cert_resolver(Arc::new(identity(chain, key)?))
            }
            _ => builder.with_no_client_auth(),
        };
        // See `for_node`.
        client.resumption = Resumption::disabled();
        Ok(Some(Tls {
            config: Arc::new(client),
            server_name: match &config.tls_server_name {
                Some(host) => Some(name_of(host).ok_or_else(|| {
                    Error::invalid("option tls_server_name: neither a DNS name nor an IP address")
                })?),
                None => None,
            },
        }))
    }

    /// The configuration for one node, with a session cache of its own. A forked child makes new ones, because it must
    /// not wait for a lock of the parent's cache.
    pub fn for_node(&self) -> Tls {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(MAX_SESSIONS);
        Tls {
            config: Arc::new(config),
            server_name: self.server_name.clone(),
        }
    }

    /// A new session with the node at `host`. The handshake has not begun.
    pub fn begin(&self, host: &str) -> Result<Box<TlsSession>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => name_of(host).ok_or_else(|| {
                let why = "is neither a DNS name nor an IP address, so no certificate can match it: set tls_server_name";
                Error::new(Code::Tls, format_args!("{host:?} {why}"))
            })?,
        };
        let client = ClientConnection::new(self.config.clone(), name).map_err(|e| {
            let message = format_args!("cannot create a TLS session: {}", words(&e));
            Error::new(Code::Tls, message)
        })?;
        Ok(Box::new(TlsSession::new(client)))
    }
}

/// The name that a certificate has for a host.
fn name_of(host: &str) -> Option<ServerName<'static>> {
    // The zone of an IPv6 address is local to this machine.
    let bare = host.split('%').next().unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}
