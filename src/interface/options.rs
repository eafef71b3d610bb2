//! Options by name, for what does not fit into a URL.

use super::client::Client;
use crate::config::Config;
use crate::error::Result;
use std::fmt;

/// Options of a client by name, for what is unhandy in a URL.
///
/// ```no_run
/// # fn main() -> rediscluster::Result<()> {
/// let client = rediscluster::Options::new()
///     .set("url", "rediss://node1:7000,node2:7000")?
///     .set("tls_ca_file", "/etc/redis/ca.pem")?
///     .set("password_file", "/run/secrets/redis")?
///     .open()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Options(Config);

impl Options {
    /// No options: `url` must be set.
    pub fn new() -> Options {
        Options(Config::new())
    }

    /// Sets an option; CONFIGURATION.md lists them. A name that does not exist and a value that is out of range are
    /// errors. An option that is set twice has the last value.
    pub fn set(mut self, name: &str, value: &str) -> Result<Options> {
        self.0.set(name, value)?;
        Ok(self)
    }

    /// Connects, as [`Client::open`] does.
    pub fn open(self) -> Result<Client> {
        Client::open_with(self.0)
    }
}

/// Without the values: one of them may be a password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}
