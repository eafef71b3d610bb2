//! How to connect and how to behave: options by name, from a URL, from `rdc_options_set` and from
//! `rdc_with` alike.
//!
//! `table.rs` is the only place that knows names, defaults and ranges; CONFIGURATION.md is made of
//! it. No error of this module repeats a password, or anything that may be a misplaced one.

mod address_map;
mod enum_option;
mod secret;
mod suggest;
mod table;
mod url;

pub use address_map::{AddressMap, Place};
pub use enum_option::{ClusterMode, NilPolicy, Protocol, ReadFrom};
pub use secret::Secret;
pub use table::{OptionRow, options};
pub use url::schemes;

use std::fmt;

use crate::address::Address;
use crate::error::{Error, Result};

/// Longest value of an option, URLs included.
const MAX_VALUE: usize = 64 * 1024;

/// The value of every option; what each means is said in its row of [`options`].
#[derive(Clone)]
pub struct Config {
    /// The nodes that the cluster is learned from; without duplicates.
    pub seeds: Vec<Address>,
    /// Whether the URL asked for TLS.
    pub tls: bool,
    pub timeout_ms: u64,
    pub attempt_timeout_ms: u64,
    pub connect_timeout_ms: u64,
    pub readonly: bool,
    /// What was asked for, if anything; [`Config::read_from`] is what holds.
    pub read_from_wish: Option<ReadFrom>,
    pub max_redirects: u32,
    pub retry_writes: bool,
    pub split_writes: bool,
    pub connections_per_node: usize,
    pub protocol: Protocol,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub client_name: Option<String>,
    pub cluster: ClusterMode,
    pub zone: Option<String>,
    pub address_map: AddressMap,
    pub refresh_interval_ms: u64,
    pub max_reply_bytes: usize,
    pub max_reply_elements: usize,
    pub max_reply_depth: usize,
    pub max_memory_bytes: usize,
    pub keepalive_ms: u64,
    pub max_staleness_ms: u64,
    pub read_your_writes: bool,
    pub monotonic: bool,
    pub nil: NilPolicy,
    pub tls_ca_file: Option<String>,
    pub tls_cert_file: Option<String>,
    pub tls_key_file: Option<String>,
    pub tls_server_name: Option<String>,
    pub tls_insecure_skip_verify: bool,
    /// Credentials that came with a URL go when another URL comes: they are not for its nodes.
    credentials_of_url: bool,
}

impl Config {
    /// Every option at its default, and no seeds.
    pub fn new() -> Config {
        let mut config = Config {
            seeds: Vec::new(),
            tls: false,
            timeout_ms: 0,
            attempt_timeout_ms: 0,
            connect_timeout_ms: 0,
            readonly: false,
            read_from_wish: None,
            max_redirects: 0,
            retry_writes: false,
            split_writes: false,
            connections_per_node: 0,
            protocol: Protocol::Resp3,
            user: None,
            password: None,
            client_name: None,
            cluster: ClusterMode::Auto,
            zone: None,
            address_map: AddressMap::default(),
            refresh_interval_ms: 0,
            max_reply_bytes: 0,
            max_reply_elements: 0,
            max_reply_depth: 0,
            max_memory_bytes: 0,
            keepalive_ms: 0,
            max_staleness_ms: 0,
            read_your_writes: false,
            monotonic: false,
            nil: NilPolicy::Accept,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            tls_server_name: None,
            tls_insecure_skip_verify: false,
            credentials_of_url: false,
        };
        table::set_defaults(&mut config);
        config
    }

    /// The configuration that this URL describes alone; complete, as by [`Config::check`].
    pub fn from_url(url: &str) -> Result<Config> {
        let mut config = Config::new();
        config.set("url", url)?;
        config.check()?;
        Ok(config)
    }

    /// Sets one option. After an error nothing has changed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        table::find(name)?.set(self, value)
    }

    /// Sets one option of a derived handle: one that holds for a handle, not for the connections that it
    /// shares with others.
    pub fn set_per_handle(&mut self, name: &str, value: &str) -> Result<()> {
        let row = table::find(name)?;
        if !row.per_handle {
            let per_handle: Vec<&str> = options()
                .iter()
                .filter(|r| r.per_handle)
                .map(|r| r.name)
                .collect();
            return Err(Error::invalid(format_args!(
                "option {name} is fixed when the client is created; another handle may change {}",
                per_handle.join(", ")
            )));
        }
        row.set(self, value)
    }

    /// Whether this is enough to connect with, and does not contradict itself.
    pub fn check(&self) -> Result<()> {
        let contradictions = [
            (
                self.seeds.is_empty(),
                "no url is set; it names the nodes to start from, as redis://host:port",
            ),
            (
                self.user.is_some() && self.password.is_none(),
                "user is set without a password; for a user with nopass any password will do",
            ),
            (
                self.cluster == ClusterMode::No && self.seeds.len() > 1,
                "cluster is no, so the url must name one host, and it names several",
            ),
            (
                self.cluster == ClusterMode::No && self.read_from_wish == Some(ReadFrom::Replica),
                "cluster is no, so there are no known replicas and read_from cannot be replica",
            ),
            (
                self.read_from() == ReadFrom::Zone && self.zone.is_none(),
                "read_from is zone, and zone does not say which",
            ),
            (
                self.tls_cert_file.is_some() != self.tls_key_file.is_some(),
                "tls_cert_file and tls_key_file are used together, and one is missing",
            ),
            (
                !self.tls
                    && (self.tls_ca_file.is_some()
                        || self.tls_cert_file.is_some()
                        || self.tls_server_name.is_some()
                        || self.tls_insecure_skip_verify),
                "a tls_ option is set, and the url does not ask for TLS; write rediss://",
            ),
        ];
        match contradictions.iter().find(|(holds, _)| *holds) {
            Some((_, words)) => Err(Error::invalid(words)),
            None => Ok(()),
        }
    }

    /// Which nodes serve reads: as was asked for, else the primary, and with `readonly` any.
    pub fn read_from(&self) -> ReadFrom {
        self.read_from_wish.unwrap_or(if self.readonly {
            ReadFrom::Any
        } else {
            ReadFrom::Primary
        })
    }

    /// The value of an option as text that [`Config::set`] takes; of a secret, `***`.
    pub fn value(&self, row: &OptionRow) -> String {
        row.value(self)
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Config");
        for row in options() {
            shown.field(row.name, &format_args!("{}", self.value(row)));
        }
        shown.finish()
    }
}

/// Text of the caller as it appears in an error: short, and on one line.
fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    let short: String = text.chars().take(SHOWN).collect();
    let more = if short.len() < text.len() { "..." } else { "" };
    format!("\"{}{more}\"", short.escape_debug())
}

#[cfg(test)]
mod tests;
