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

use super::watched_files::WatchedFiles;
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::log;
use crate::sync::{Mutex, lock};
use arc_swap::ArcSwap;
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
#[derive(Debug)]
pub struct Tls {
    options: Arc<Config>,
    files: WatchedFiles,
    /// Made from the files. Replaced when they change.
    current: ArcSwap<ClientConfig>,
    /// The name that every node's certificate must have, instead of the node's host.
    server_name: Option<ServerName<'static>>,
}

/// The configuration for one node, with a session cache of its own.
#[derive(Debug)]
struct NodeConfig {
    /// What it was made from.
    origin: Arc<ClientConfig>,
    config: Arc<ClientConfig>,
}

/// The sessions of one node. A forked child makes new ones, because it must not wait for a lock of its parent.
#[derive(Debug, Default)]
pub struct TlsSessions(Mutex<Option<NodeConfig>>);

impl TlsSessions {
    /// The configuration for this node. A session is resumed only with the files that it was made with: a resumed one
    /// would present and verify no certificate.
    fn config(&self, origin: Arc<ClientConfig>) -> Arc<ClientConfig> {
        let mut node = lock(&self.0);
        if let Some(node) = &*node
            && Arc::ptr_eq(&node.origin, &origin)
        {
            return node.config.clone();
        }
        let mut config = ClientConfig::clone(&origin);
        config.resumption = Resumption::in_memory_sessions(MAX_SESSIONS);
        let config = Arc::new(config);
        *node = Some(NodeConfig {
            origin,
            config: config.clone(),
        });
        config
    }
}

impl Tls {
    /// Reads the files that the options name. None if TLS is not enabled.
    pub fn load(config: &Arc<Config>) -> Result<Option<Tls>> {
        if !config.tls {
            return Ok(None);
        }
        let paths = [
            &config.tls_ca_file,
            &config.tls_cert_file,
            &config.tls_key_file,
        ];
        let files = WatchedFiles::new(paths.into_iter().flatten().cloned().collect());
        Ok(Some(Tls {
            options: config.clone(),
            files,
            current: ArcSwap::from_pointee(client_config(config)?),
            server_name: match &config.tls_server_name {
                Some(host) => Some(name_of(host).ok_or_else(|| {
                    Error::invalid("option tls_server_name: neither a DNS name nor an IP address")
                })?),
                None => None,
            },
        }))
    }

    /// The same for a forked child.
    #[inline(never)]
    pub fn of_child(&self) -> Tls {
        Tls {
            options: self.options.clone(),
            files: self.files.of_child(),
            current: ArcSwap::new(self.current.load_full()),
            server_name: self.server_name.clone(),
        }
    }

    /// Reads the files again if they have changed.
    #[inline(never)]
    fn read_changed_files(&self) {
        let mut is_renewed = false;
        self.files.read_if_changed(|| {
            self.current.store(Arc::new(client_config(&self.options)?));
            is_renewed = true;
            Ok(())
        });
        if is_renewed {
            log::log(log::INFO, || {
                "new connections use the changed TLS files".to_string()
            });
        }
    }

    /// A new session with the node at `host`. The handshake has not begun.
    #[inline(never)]
    pub fn begin(&self, sessions: &TlsSessions, host: &str) -> Result<Box<TlsSession>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => name_of(host).ok_or_else(|| {
                let why = "is neither a DNS name nor an IP address, so no certificate can match it: set tls_server_name";
                Error::new(Code::Tls, format_args!("{host:?} {why}"))
            })?,
        };
        self.read_changed_files();
        let config = sessions.config(self.current.load_full());
        let client = ClientConnection::new(config, name).map_err(|e| {
            let message = format_args!("cannot create a TLS session: {}", words(&e));
            Error::new(Code::Tls, message)
        })?;
        Ok(Box::new(TlsSession::new(client)))
    }
}

/// Reads the files that the options name.
fn client_config(config: &Config) -> Result<ClientConfig> {
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
    // See `TlsSessions`.
    client.resumption = Resumption::disabled();
    Ok(client)
}

/// The name that a certificate has for a host.
fn name_of(host: &str) -> Option<ServerName<'static>> {
    // The zone of an IPv6 address is local to this machine.
    let bare = host.split('%').next().unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}
