//! A handle on a cluster.

use super::from_value::FromValue;
use super::pipeline::Pipeline;
use super::reply::Reply;
use super::subscriber::Subscriber;
use super::with_args;
use crate::cluster;
use crate::config::Config;
use crate::error::{Error, Result};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A handle on a cluster, or on a single server with its replicas.
///
/// A clone is the same handle. Any number of threads may use it at once: they share its connections and send together
/// what they send at the same time. When the last clone of the last handle on a cluster is dropped, its connections are
/// closed.
///
/// Every call ends within the option `timeout_ms` (5 s unless it is set), in which it follows redirections and waits for
/// failovers. A command whose reply was lost is sent again only if it is a read, or if the option `retry_writes` is on.
#[derive(Clone)]
pub struct Client(Arc<cluster::Client>);

impl Client {
    /// Connects to a cluster: `redis://node1:7000,node2:7000?timeout_ms=500`. One node that answers is enough; the
    /// others are discovered. CONFIGURATION.md describes URLs and lists the options. With `lazy=yes` nothing is sent
    /// until the first call.
    pub fn open(url: &str) -> Result<Client> {
        checked(cluster::Client::create(url))
    }

    pub(super) fn open_with(config: Config) -> Result<Client> {
        checked(cluster::Client::create_with(config))
    }

    /// Another handle on the same cluster and the same connections, with one option changed. CONFIGURATION.md says
    /// which options may differ from handle to handle. Does no I/O.
    pub fn with(&self, option: &str, value: &str) -> Result<Client> {
        checked(self.0.with(option, value))
    }

    /// A handle that reads from primaries and replicas, and refuses every command that is not known to be a read before
    /// a byte is sent. Reads may be stale, unless an option limits that. Does no I/O.
    pub fn readonly(&self) -> Result<Client> {
        checked(self.0.readonly())
    }

    /// A handle with a connection of its own, to the primary of `key`, for WATCH, MULTI and other commands that belong
    /// to one connection. Nothing is redirected or retried on it. Does no I/O until its first command.
    pub fn pin(&self, key: impl AsRef<[u8]>) -> Result<Client> {
        checked(self.0.pin(key.as_ref()))
    }

    /// Executes a command on the node or the nodes that it is for.
    ///
    /// ```no_run
    /// # fn main() -> rediscluster::Result<()> {
    /// # let client = rediscluster::Client::open("redis://127.0.0.1:7000")?;
    /// let visits: i64 = client.command(["INCRBY", "visits", "2"])?.to()?;
    /// let names: Vec<Option<String>> = client.command(["MGET", "name:1", "name:2"])?.to()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn command<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> Result<Reply> {
        with_args(args, |args| Reply::checked(self.0.command(args).whole()))
    }

    /// Executes a command at a chosen place: `"slot:N"`, `"key:K"`, `"random"` or `"host:port"`; or at `"all"`,
    /// `"primaries"` or `"replicas"`, with a map of each node's reply by its name.
    pub fn command_to<A: AsRef<[u8]>>(
        &self,
        place: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Reply> {
        with_args(args, |args| Reply::checked(self.0.command_to(place, args)))
    }

    /// GET: `None` if there is no such key.
    pub fn get<T: FromValue>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        self.command([b"GET", key.as_ref()])?.to()
    }

    /// SET.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.command([b"SET", key.as_ref(), value.as_ref()])?.to()
    }

    /// SET with a time to live, of at least one millisecond.
    pub fn set_for(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<()> {
        let ttl = ttl.as_millis().to_string();
        let args = [b"SET", key.as_ref(), value.as_ref(), b"PX", ttl.as_bytes()];
        self.command(args)?.to()
    }

    /// DEL of one key: whether it existed.
    pub fn del(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.command([b"DEL", key.as_ref()])?.to()
    }

    /// EXISTS of one key.
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.command([b"EXISTS", key.as_ref()])?.to()
    }

    /// INCRBY: the new value.
    pub fn incr_by(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64> {
        let by = by.to_string();
        self.command([b"INCRBY", key.as_ref(), by.as_bytes()])?.to()
    }

    /// PEXPIRE: whether the key exists. A time below one millisecond deletes it.
    pub fn expire(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        let ttl = ttl.as_millis().to_string();
        self.command([b"PEXPIRE", key.as_ref(), ttl.as_bytes()])?
            .to()
    }

    /// A new, empty pipeline.
    pub fn pipeline(&self) -> Pipeline {
        Pipeline::new(self.0.clone())
    }

    /// A new subscriber, without channels.
    pub fn subscriber(&self) -> Subscriber {
        Subscriber::new(self.0.clone())
    }

    /// How a command would be routed, without sending it: its keys and slots, the nodes, and why.
    pub fn explain<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> Result<Reply> {
        with_args(args, |args| Reply::checked(self.0.explain(args)))
    }

    /// The shards, their slots and nodes, as this client knows them. Does no I/O.
    pub fn topology(&self) -> Result<Reply> {
        Reply::checked(self.0.topology())
    }

    /// The counters that STATISTICS.md lists.
    pub fn stats(&self) -> Result<Reply> {
        Reply::checked(self.0.stats())
    }

    /// Asks the cluster for its topology now. A client does so by itself when something has changed.
    pub fn refresh(&self) -> Result<()> {
        Reply::checked(self.0.refresh()).map(|_| ())
    }

    /// Replaces the credentials, for new connections and for those that are open. An empty user is the default user.
    pub fn set_credentials(&self, user: &str, password: &str) -> Result<()> {
        self.0.set_credentials(user, password)
    }

    /// Ends the calls of other threads on this handle with [`Code::Interrupted`](crate::Code::Interrupted).
    pub fn interrupt(&self) {
        self.0.interrupt();
    }

    /// Closes this handle and its clones: calls on them, also those of other threads, end with
    /// [`Code::Closed`](crate::Code::Closed).
    pub fn close(&self) {
        self.0.close();
    }
}

/// A client that has not failed at its creation.
fn checked(client: cluster::Client) -> Result<Client> {
    let error: Option<Error> = client.error().cloned();
    error.map_or_else(|| Ok(Client(Arc::new(client))), Err)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
