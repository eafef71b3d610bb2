//! Commands that are sent together.

use super::reply::Reply;
use super::with_args;
use crate::cluster;
use crate::error::Result;
use std::fmt;
use std::sync::Arc;

/// Commands that are sent together, to all nodes at the same time. Their keys may be in any slots.
///
/// ```no_run
/// # fn main() -> rediscluster::Result<()> {
/// # let client = rediscluster::Client::open("redis://127.0.0.1:7000")?;
/// let mut pipeline = client.pipeline();
/// pipeline.command(["SET", "name:1", "Ada"]).command(["INCR", "visits"]);
/// let (_, visits): ((), i64) = pipeline.execute()?.to()?;
/// # Ok(())
/// # }
/// ```
pub struct Pipeline(cluster::Pipeline);

impl Pipeline {
    pub(super) fn new(client: Arc<cluster::Client>) -> Pipeline {
        Pipeline(cluster::Pipeline::new(client))
    }

    /// Appends a command, whose arguments are copied. Nothing is sent. An invalid command becomes an error at its
    /// place.
    pub fn command<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Pipeline {
        with_args(args, |args| self.0.command(args));
        self
    }

    /// The number of commands.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no commands.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all commands.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Sends all commands, and removes them. The reply is an array with one element per command, in order. A command
    /// that failed is an error at its place: [`Value::to`](crate::Value::to) returns it, and the others are not
    /// affected. Commands of one slot run in order; those of different slots have no order.
    pub fn execute(&mut self) -> Result<Reply> {
        Reply::checked(self.0.execute())
    }

    /// The same inside MULTI and EXEC: all commands run, with no other one between them, or none does. On a cluster, all
    /// keys must be in one slot.
    pub fn execute_atomic(&mut self) -> Result<Reply> {
        Reply::checked(self.0.execute_atomic())
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
