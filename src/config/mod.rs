//! The options of a client, set by name: in a URL, with `rdc_options_set` or with `rdc_with`.
//!
//! Only `table.rs` contains names, defaults and ranges; CONFIGURATION.md is generated from it. No
//! error of this module repeats a password, or text that may be a misplaced password.

mod address_map;
mod allowed_hosts;
mod credentials;
mod enum_option;
mod secret;
mod suggest;
mod table;
mod url;

pub use address_map::{AddressMap, HostPort};
pub use allowed_hosts::{Admission, AllowedHosts};
pub use credentials::Credentials;
pub use enum_option::{ClusterMode, NilPolicy, Protocol, ReadFrom};
pub use secret::Secret;
pub use table::{OptionRow, options};
pub use url::schemes;

use once_cell::race::OnceBox;
use std::fmt;

use crate::address::Address;
use crate::error::{Error, Result};

/// Maximum length of an option's value, URLs included, in bytes.
const MAX_VALUE: usize = 64 * 1024;

/// The value of every option. The rows of [`options`] describe them.
#[derive(Clone)]
pub struct Config {
    /// The nodes to discover the cluster from, without duplicates.
    pub seeds: Vec<Address>,
    /// Whether the scheme of the URL means TLS.
    pub tls: bool,
    pub timeout_ms: u64,
    pub attempt_timeout_ms: u64,
    pub connect_timeout_ms: u64,
    /// The first call connects, and not the creation.
    pub lazy: bool,
    pub readonly: bool,
    /// The option if it was set. [`Config::read_from`] is the effective value.
    pub read_from_option: Option<ReadFrom>,
    pub max_redirects: u32,
    pub retry_writes: bool,
    pub split_writes: bool,
    pub trust_module_flags: bool,
    pub connections_per_node: usize,
    pub protocol: Protocol,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// The number of the database that every connection of the handle selects.
    pub database: u16,
    pub user_file: Option<String>,
    pub password_file: Option<String>,
    pub client_name: Option<String>,
    pub cluster: ClusterMode,
    pub zone: Option<String>,
    pub address_map: AddressMap,
    pub allowed_hosts: AllowedHosts,
    pub refresh_interval_ms: u64,
    pub max_reply_bytes: usize,
    pub max_reply_elements: usize,
    pub max_reply_depth: usize,
    pub max_nodes: usize,
    pub max_memory_bytes: usize,
    pub queue_limit: usize,
    pub subscriber_ping_ms: u64,
    pub spread_channels: bool,
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
    /// Whether the credentials came from the URL. Another URL then removes them: they are not for its
    /// nodes.
    credentials_of_url: bool,
    /// Whether the database came from the path of the URL. Another URL then sets its own, or none.
    database_of_url: bool,
}

impl Config {
    /// All options at their defaults, without seeds.
    pub fn new() -> Config {
        // Not a lock: a forked child would wait for the thread that was in it.
        static DEFAULTS: OnceBox<Config> = OnceBox::new();
        let defaults = || Box::new(Config::with_defaults());
        DEFAULTS.get_or_init(defaults).clone()
    }

    fn with_defaults() -> Config {
        let mut config = Config {
            seeds: Vec::new(),
            tls: false,
            timeout_ms: 0,
            attempt_timeout_ms: 0,
            connect_timeout_ms: 0,
            lazy: false,
            readonly: false,
            read_from_option: None,
            max_redirects: 0,
            retry_writes: false,
            split_writes: false,
            trust_module_flags: false,
            connections_per_node: 0,
            protocol: Protocol::Resp3,
            user: None,
            password: None,
            database: 0,
            user_file: None,
            password_file: None,
            client_name: None,
            cluster: ClusterMode::Auto,
            zone: None,
            address_map: AddressMap::default(),
            allowed_hosts: AllowedHosts::default(),
            refresh_interval_ms: 0,
            max_reply_bytes: 0,
            max_reply_elements: 0,
            max_reply_depth: 0,
            max_nodes: 0,
            max_memory_bytes: 0,
            queue_limit: 0,
            subscriber_ping_ms: 0,
            spread_channels: false,
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
            database_of_url: false,
        };
        table::set_defaults(&mut config);
        config
    }

    /// The configuration of a URL, checked by [`Config::check`].
    pub fn from_url(url: &str) -> Result<Config> {
        let mut config = Config::new();
        config.set("url", url)?;
        config.check()?;
        Ok(config)
    }

    /// Sets one option. An error leaves the configuration unchanged.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        table::find(name)?.set(self, value)
    }

    /// Sets one option of a derived handle. Options of the connections, which handles share, are
    /// rejected.
    pub fn set_per_handle(&mut self, name: &str, value: &str) -> Result<()> {
        let row = table::find(name)?;
        if !row.per_handle {
            let per_handle: Vec<&str> = options()
                .iter()
                .filter(|r| r.per_handle)
                .map(|r| r.name)
                .collect();
            return Err(Error::invalid(format_args!(
                "option {name} is fixed when the client is created; a derived handle can change {}",
                per_handle.join(", ")
            )));
        }
        row.set(self, value)
    }

    /// Checks that the configuration is complete and consistent.
    pub fn check(&self) -> Result<()> {
        let is_unix = self.is_unix();
        let has_tls_option = self.tls_ca_file.is_some()
            || self.tls_cert_file.is_some()
            || self.tls_server_name.is_some()
            || self.tls_insecure_skip_verify;
        let defects = [
            (
                self.seeds.is_empty(),
                "no url is set; set it to the seed nodes, as redis://host:port",
            ),
            (
                is_unix && self.cluster == ClusterMode::Yes,
                "with cluster=yes the url cannot be a unix socket, which leads to one server only; write the nodes of \
                 the cluster as redis://host:port",
            ),
            (
                is_unix && has_tls_option,
                "a tls_ option is set, but a unix socket has no TLS; remove the option",
            ),
            (
                (self.user.is_some() || self.user_file.is_some())
                    && self.password.is_none()
                    && self.password_file.is_none(),
                credentials::USER_ALONE,
            ),
            (
                self.password.is_some() && self.password_file.is_some(),
                "password and password_file are both set; set one of them",
            ),
            (
                self.user.is_some() && self.user_file.is_some(),
                "user and user_file are both set; set one of them",
            ),
            (
                self.read_from() == ReadFrom::Zone && self.zone.is_none(),
                "read_from=zone requires the option zone",
            ),
            (
                self.tls_cert_file.is_some() != self.tls_key_file.is_some(),
                "tls_cert_file and tls_key_file must be set together",
            ),
            (
                !self.tls && has_tls_option,
                "a tls_ option is set, but the url does not use TLS; write rediss://",
            ),
        ];
        match defects.iter().find(|(applies, _)| *applies) {
            Some((_, message)) => Err(Error::invalid(message)),
            None => Ok(()),
        }
    }

    /// Whether the URL names a unix socket.
    pub fn is_unix(&self) -> bool {
        self.seeds.iter().any(Address::is_unix)
    }

    /// The options `user` and `password`, without what files contain.
    pub fn credentials(&self) -> Credentials {
        Credentials {
            user: self.user.clone(),
            password: self.password.clone(),
        }
    }

    /// Which nodes serve reads: the option, or its default, which depends on `readonly`.
    pub fn read_from(&self) -> ReadFrom {
        self.read_from_option.unwrap_or(if self.readonly {
            ReadFrom::Any
        } else {
            ReadFrom::Primary
        })
    }

    /// Whether the option `allowed_hosts` admits a node at this address, as the cluster announces it. Seeds and the
    /// targets of `address_map` are the caller's own choice, so the option does not restrict them. If it refuses the
    /// node, the error says so.
    pub fn admission(&self, announced: &Address) -> Result<Admission> {
        let is_chosen =
            || self.seeds.contains(announced) || self.address_map.apply(announced) != *announced;
        match self.allowed_hosts.admission(&announced.host) {
            Admission::Refused if !is_chosen() => Err(Error::invalid(format_args!(
                "{announced} is not in the option allowed_hosts, so no connection to it is opened"
            ))
            .at(announced.to_string())),
            Admission::IfResolved if !is_chosen() => Ok(Admission::IfResolved),
            _ => Ok(Admission::Allowed),
        }
    }

    /// The value of an option as text that [`Config::set`] accepts; `***` for a secret.
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
        let mut debug = f.debug_struct("Config");
        for row in options() {
            debug.field(row.name, &format_args!("{}", self.value(row)));
        }
        debug.finish()
    }
}

/// Quotes text of the caller for an error: shortened, and on one line.
fn quote(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let short: String = text.chars().take(MAX_CHARS).collect();
    let more = if short.len() < text.len() { "..." } else { "" };
    format!("\"{}{more}\"", short.escape_debug())
}

#[cfg(test)]
mod tests;
