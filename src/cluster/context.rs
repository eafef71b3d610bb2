//! What a feature needs to execute commands for one call of a handle.

use crate::cluster::execute::{ExecPolicy, Execution, RoutedCommand};
use crate::cluster::reads::ReadConsistency;
use crate::cluster::state::{Core, ProcessState, VIEWS_PER_REFRESH, count};
use crate::config::{Config, ReadFrom};
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::Call;
use crate::resp::{NodeValue, Reply};
use crate::route::{Access, Classified, RouteOptions};
use crate::topology::{KeySpace, Topology};
use std::sync::Arc;

/// The cluster, the options of the handle, and the call.
#[derive(Clone, Copy)]
pub struct ExecContext<'a> {
    pub core: &'a Core,
    pub process: &'a ProcessState,
    /// The options of the handle.
    pub config: &'a Config,
    pub policy: ExecPolicy,
    /// `Some` if the handle reads from replicas.
    pub consistency: Option<&'a ReadConsistency>,
    pub call: Call<'a>,
}

impl<'a> ExecContext<'a> {
    /// Connects, if the client is not connected yet.
    #[inline]
    pub fn connect(&mut self) -> Result<()> {
        match self.process.has_topology() {
            true => Ok(()),
            false => self.connect_now(),
        }
    }

    #[cold]
    fn connect_now(&mut self) -> Result<()> {
        self.core.connect(self.process, &self.call)?;
        // The time for the reply of a node runs from here on.
        self.call = self.call.with_start(now());
        Ok(())
    }

    /// The topology for a command at all nodes or all primaries. A redirection can add a node that no view contains, as a
    /// shard of its own, while the shard that its slots have left is still that of its old primary: their keys would count
    /// twice. So a refresh comes first then. If it fails, which is logged, the old topology is used.
    pub fn topology_of_all(&self) -> Arc<Topology> {
        if self.process.load_topology().unconfirmed_nodes > 0 {
            let _ = (self.core).refresh_now(self.process, &self.call, VIEWS_PER_REFRESH);
        }
        self.process.load_whole_topology()
    }

    /// The same with reads from primaries only.
    pub fn reading_from_primaries(mut self) -> ExecContext<'a> {
        self.policy.read_from = ReadFrom::Primary;
        self
    }

    /// How the present topology divides keys into slots.
    pub fn key_space(&self) -> KeySpace {
        self.process.key_space().unwrap_or_default()
    }

    pub fn route_options(&self) -> RouteOptions {
        RouteOptions {
            key_space: self.key_space(),
            split_writes: self.config.split_writes,
        }
    }

    #[inline]
    pub fn execution(&self) -> Execution<'a> {
        Execution::new(
            self.core,
            self.process,
            self.policy,
            self.consistency,
            self.call,
        )
    }

    /// Executes one command; its answer is the root of the reply.
    #[inline]
    pub fn run_one(&self, command: RoutedCommand<'_>) -> Box<Reply> {
        let mut reply = None;
        self.execution().run(&mut [command], &mut reply);
        reply.unwrap_or_default()
    }

    /// Executes several commands at once; the reply has an answer for each.
    pub fn run_many(&self, commands: &mut [RoutedCommand<'_>]) -> Box<Reply> {
        let mut reply = Box::<Reply>::default();
        reply.node_values = vec![NodeValue::NIL; commands.len()];
        let mut reply = Some(reply);
        self.execution().run(commands, &mut reply);
        reply.unwrap_or_default()
    }

    /// [`is_permitted_as`], and counts the refusal.
    pub fn permit_described(&self, command: &Classified<'_>, access: Access) -> Result<()> {
        counted(self.core, is_permitted_as(self.config, command, access))
    }
}

/// [`is_permitted`], and counts the refusal.
#[inline]
pub fn permit(core: &Core, config: &Config, command: &Classified<'_>) -> Result<()> {
    counted(core, is_permitted(config, command))
}

#[inline]
fn counted(core: &Core, permitted: Result<()>) -> Result<()> {
    if permitted.is_err() {
        count(&core.stats.refused_writes);
    }
    permitted
}

/// Whether a handle executes a command: a read-only one refuses all that is not known to be a read. A server will be asked
/// about commands of modules, if an option says so.
#[inline]
pub fn is_permitted(config: &Config, command: &Classified<'_>) -> Result<()> {
    if !config.readonly || command.access == Access::Read {
        return Ok(());
    }
    if command.row.is_some() {
        return Err(refused_write(&command.full_name()));
    }
    if config.trust_module_flags {
        return Ok(());
    }
    Err(Error::new(
        Code::ReadOnly,
        format_args!(
            "{} is not a command that this library knows, and this handle is read-only; nothing was sent (the option \
             trust_module_flags asks the server whether it is a read)",
            command.full_name()
        ),
    ))
}

/// The same for a command that the table does not describe, with a server's description.
pub fn is_permitted_as(config: &Config, command: &Classified<'_>, access: Access) -> Result<()> {
    match config.readonly && access == Access::Write {
        true => Err(refused_write(&command.full_name())),
        false => Ok(()),
    }
}

#[cold]
pub fn refused_write(name: &str) -> Error {
    Error::new(
        Code::ReadOnly,
        format_args!(
            "{name} is not known to be a read, and this handle is read-only; nothing was sent"
        ),
    )
}
