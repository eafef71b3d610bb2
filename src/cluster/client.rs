//! A handle of a cluster.

use super::context::{ExecContext, permit};
use super::dispatch::{dispatch, dispatch_to};
use super::explain::explain;
use super::introspect;
use super::module_commands;
use super::pinned_connection::PinnedConnection;
use crate::cluster::execute::ExecPolicy;
use crate::cluster::reads::ReadConsistency;
use crate::cluster::state::{Core, ProcessState, VIEWS_PER_REFRESH, count};
use crate::config::{Config, Credentials, ReadFrom};
use crate::deadline::{Time, now};
use crate::error::{Code, Error, Result};
use crate::net::{Call, CancelFlag, Connection, ConnectionKind, Peer};
use crate::resp::{
    CommandArgs, CommandBody, CommandReply, EncodedPrefix, Reply, Value, parse_command,
};
use crate::route::{Access, Classified, Row, classify, classify_as, find, plain_key};
use crate::sim_hooks::sim_panic_point;
use crate::topology::{KeySpace, key_slot};
use std::sync::Arc;

/// A handle of a cluster. Derived handles with other options share its topology and connections.
pub struct Client {
    /// `None` if the client can never connect: an option is invalid.
    pub(super) core: Option<Arc<Core>>,
    pub(super) config: Arc<Config>,
    pub(super) policy: ExecPolicy,
    /// `Some` if the handle reads from replicas.
    pub(super) consistency: Option<ReadConsistency>,
    cancel_flag: CancelFlag,
    /// Why the client could not be created, or did not connect then.
    error: Option<Error>,
    pin: Option<Arc<PinnedConnection>>,
    /// When the only command of this handle was submitted to a queue.
    submitted: Option<Time>,
}

fn policy(config: &Config) -> ExecPolicy {
    let read_from = config.read_from();
    ExecPolicy {
        kind: if config.readonly || read_from != ReadFrom::Primary {
            ConnectionKind::replicas(config.database)
        } else {
            ConnectionKind::primary(config.database)
        },
        read_from,
        retry_writes: config.retry_writes,
        max_redirects: config.max_redirects,
        timeout_ms: config.timeout_ms,
        attempt_ms: config.attempt_timeout_ms,
    }
}

impl Client {
    /// Connects with the options of a URL. If that fails, [`Client::error`] gives the reason.
    pub fn create(url: &str) -> Client {
        match Config::from_url(url) {
            Ok(config) => Client::create_with(config),
            Err(error) => Client::failed(error),
        }
    }

    /// Connects with these options, or with `lazy` leaves that to the first call.
    pub fn create_with(config: Config) -> Client {
        if let Err(error) = config.check() {
            return Client::failed(error);
        }
        let core = match Core::new(config) {
            Ok(core) => Arc::new(core),
            Err(error) => return Client::failed(error),
        };
        let mut client = Client::of(core.clone(), core.config.clone());
        if !core.config.lazy {
            let process = core.process();
            let call = client.call(process, 0);
            client.error = core.connect(process, &call).err();
        }
        client
    }

    /// A client that returns this error for every command.
    pub fn failed(error: Error) -> Client {
        let config = Config::new();
        Client {
            core: None,
            policy: policy(&config),
            consistency: None,
            config: Arc::new(config),
            cancel_flag: CancelFlag::default(),
            error: Some(error),
            pin: None,
            submitted: None,
        }
    }

    fn of(core: Arc<Core>, config: Arc<Config>) -> Client {
        let consistency = ReadConsistency::of(&config);
        if let Some(consistency) = &consistency {
            core.note_replica_reads();
            if consistency.read_your_writes {
                core.session.keep_writes();
            }
            if consistency.monotonic {
                core.session.keep_seen();
            }
        }
        Client {
            core: Some(core),
            policy: policy(&config),
            consistency,
            config,
            cancel_flag: CancelFlag::default(),
            error: None,
            pin: None,
            submitted: None,
        }
    }

    /// Why the client could not be created, or did not connect then. It may have connected since.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// A derived handle with one option changed.
    pub fn with(&self, name: &str, value: &str) -> Client {
        let core = match self.ready() {
            Ok(core) => core.clone(),
            Err(error) => return Client::failed(error),
        };
        let mut config = Config::clone(&self.config);
        let changed = config
            .set_per_handle(name, value)
            .and_then(|()| config.check());
        match changed {
            Ok(()) => Client::of(core, Arc::new(config)),
            Err(error) => Client::failed(error),
        }
    }

    /// A derived handle that reads from primaries and replicas and refuses writes.
    pub fn readonly(&self) -> Client {
        self.with("readonly", "yes")
    }

    /// A derived handle with a connection of its own to the primary that owns the slot of `key`.
    pub fn pin(&self, key: &[u8]) -> Client {
        let core = match self.ready() {
            Ok(core) => core.clone(),
            Err(error) => return Client::failed(error),
        };
        let mut client = Client::of(core, self.config.clone());
        client.pin = Some(Arc::new(PinnedConnection::new(key_slot(key))));
        client
    }

    /// A handle for one command of a queue, which was submitted at this time: it runs in a fiber, and can be cancelled
    /// alone.
    pub(super) fn for_task(&self, submitted: Time) -> Client {
        Client {
            core: self.core.clone(),
            config: self.config.clone(),
            policy: self.policy,
            consistency: self.consistency.clone(),
            cancel_flag: CancelFlag::default(),
            error: self.error.clone(),
            pin: self.pin.clone(),
            submitted: Some(submitted),
        }
    }

    /// Ends the command of a queue.
    pub(super) fn interrupt_task(&self) {
        self.cancel_flag.interrupt();
    }

    /// Changes whenever the calls of this handle must end.
    pub(super) fn cancels(&self) -> u32 {
        self.cancel_flag.cancels()
    }

    pub(super) fn close_task(&self) {
        self.cancel_flag.close();
    }

    /// Replaces the credentials of all handles of the cluster. See [`CredentialStore`](crate::net::CredentialStore).
    pub fn set_credentials(&self, user: &str, password: &str) -> Result<()> {
        let core = self.ready()?;
        let credentials = Credentials::new(user, password)?;
        core.process().credentials().set(credentials);
        Ok(())
    }

    /// Ends the running calls of this handle. Async-signal-safe.
    pub fn interrupt(&self) {
        self.cancel_flag.interrupt();
        if let Some(core) = &self.core {
            core.wake_calls();
        }
    }

    /// Ends the running calls of this handle and refuses new ones.
    pub fn close(&self) {
        self.cancel_flag.close();
        if let Some(core) = &self.core {
            core.wake_calls();
        }
    }

    /// The shared state, unless the handle is closed or could not be created. The client may not be connected.
    #[inline]
    pub(super) fn ready(&self) -> Result<&Arc<Core>> {
        match (&self.core, &self.error) {
            (Some(core), _) if !self.cancel_flag.is_closed() => Ok(core),
            (Some(_), _) => Err(Error::new(Code::Closed, "the client handle was closed")),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(Error::new(
                Code::Internal,
                "the client has neither a cluster nor an error",
            )),
        }
    }

    /// How the present topology divides keys into slots.
    pub(super) fn key_space(&self) -> KeySpace {
        self.connected_key_space().unwrap_or_default()
    }

    /// The same; `None` if the client has not connected. One that can never connect has the default.
    pub(super) fn connected_key_space(&self) -> Option<KeySpace> {
        match &self.core {
            Some(core) => core.process().key_space(),
            None => Some(KeySpace::default()),
        }
    }

    /// A call that begins now. `blocking_ms` is how long the command asks the server to block.
    #[inline]
    fn call<'a>(&'a self, process: &'a ProcessState, blocking_ms: u64) -> Call<'a> {
        if let Some(submitted) = self.submitted {
            return self.call_in_fiber(process, blocking_ms, submitted);
        }
        self.call_since(now(), process, blocking_ms)
    }

    #[inline]
    pub(super) fn call_since<'a>(
        &'a self,
        began: Time,
        process: &'a ProcessState,
        blocking_ms: u64,
    ) -> Call<'a> {
        Call::new(
            began,
            self.policy.timeout_ms.saturating_add(blocking_ms),
            self.policy.attempt_ms.saturating_add(blocking_ms),
            &self.cancel_flag,
            &process.wakers,
        )
    }

    #[cold]
    #[inline(never)]
    fn call_in_fiber<'a>(
        &'a self,
        process: &'a ProcessState,
        blocking_ms: u64,
        submitted: Time,
    ) -> Call<'a> {
        let call = self.call_since(submitted, process, blocking_ms);
        call.in_fiber().with_start(now())
    }

    #[inline]
    pub(super) fn context_of<'a>(
        &'a self,
        core: &'a Core,
        process: &'a ProcessState,
        call: Call<'a>,
    ) -> ExecContext<'a> {
        ExecContext {
            core,
            process,
            config: &self.config,
            policy: self.policy,
            consistency: self.consistency.as_ref(),
            call,
        }
    }

    /// The context of a call that begins now.
    pub(super) fn context<'a>(&'a self, core: &'a Core) -> ExecContext<'a> {
        let process = core.process();
        self.context_of(core, process, self.call(process, 0))
    }

    /// The context of a call that begins now. A blocking command gets the time that it asks for on top
    /// of the timeouts, and a connection of its own.
    fn context_for<'a>(&'a self, core: &'a Core, command: &Classified<'_>) -> ExecContext<'a> {
        match command.blocking_timeout {
            None => {
                let process = core.process();
                let call = self.call(process, 0).early(command.allows_early_send);
                self.context_of(core, process, call)
            }
            Some(timeout) => self.blocking_context(core, timeout.as_millis()),
        }
    }

    /// The context of a call that begins now and may block for this time at a server: on connections of its own.
    pub(super) fn blocking_context<'a>(
        &'a self,
        core: &'a Core,
        blocking_ms: u64,
    ) -> ExecContext<'a> {
        let process = core.process();
        let mut context = self.context_of(core, process, self.call(process, blocking_ms));
        let policy = &mut context.policy;
        policy.kind = policy.kind.blocking();
        policy.attempt_ms = context.call.attempt_ms;
        policy.timeout_ms = policy.timeout_ms.saturating_add(blocking_ms);
        context
    }

    /// Executes any command.
    pub fn command(&self, args: &[&[u8]]) -> CommandReply {
        self.counted_reply(|core| self.run(core, args, CommandBody::Args(args)))
    }

    /// Executes any command that is encoded already.
    pub fn command_resp(&self, bytes: &[u8]) -> CommandReply {
        self.counted_reply(|core| {
            let mut args = CommandArgs::default();
            if parse_command(bytes, 0, &mut args)? != bytes.len() {
                return Err(Error::invalid(
                    "the RESP buffer holds more than one command: use a pipeline",
                ));
            }
            self.run(core, args.as_slice(), CommandBody::Encoded(bytes))
        })
    }

    /// Executes a command with one key whose row is known at compile time. `prefix` is its encoded
    /// beginning, `rest` its arguments.
    #[inline]
    pub fn keyed(
        &self,
        row: &'static Row,
        access: Access,
        key: &[u8],
        prefix: &'static EncodedPrefix,
        rest: &[&[u8]],
    ) -> CommandReply {
        self.counted_reply(|core| {
            if access == Access::Write && self.config.readonly {
                permit(core, &self.config, &Classified::of_row(row, access))?;
            }
            let body = CommandBody::Named(prefix, rest);
            if let Some(pin) = &self.pin {
                let command = Classified::of_row(row, access);
                let mut context = self.context(core);
                context.connect()?;
                return Ok(self.run_pinned(&context, pin, &command, &body)?.into());
            }
            self.run_plain(core, (row, access), key, &body)
        })
    }

    /// Records what the primary of a slot has answered or executed.
    #[cold]
    pub(super) fn record_session(&self, core: &Core, slot: u16, access: Access) {
        let slot = self.key_space().of_hash_slot(slot);
        let session = &core.session;
        if access == Access::Write {
            session.wrote(Some(slot));
        }
        if self.consistency.as_ref().is_some_and(|p| p.monotonic) {
            session.saw(slot, session.seen(slot), 0, now());
        }
    }

    #[inline]
    fn counted_reply(&self, f: impl FnOnce(&Arc<Core>) -> Result<CommandReply>) -> CommandReply {
        let reply = match self.ready() {
            Ok(core) => {
                count(&core.stats.commands);
                f(core)
            }
            Err(error) => Err(error),
        };
        let reply = reply.unwrap_or_else(|error| Box::new(Reply::error(&error)).into());
        if reply.is_error()
            && let Some(core) = &self.core
        {
            count(&core.stats.errors);
        }
        reply
    }

    fn counted(&self, f: impl FnOnce(&Arc<Core>) -> Result<Box<Reply>>) -> Box<Reply> {
        self.counted_reply(|core| Ok(f(core)?.into())).whole()
    }

    fn run(&self, core: &Core, args: &[&[u8]], body: CommandBody<'_>) -> Result<CommandReply> {
        sim_panic_point!(Cluster);
        if args.is_empty() {
            return Err(empty_command());
        }
        let row = find(args);
        if let Some(row) = row
            && let Some((key, access)) = plain_key(row, args)
            && (access == Access::Read || !self.config.readonly)
            && self.pin.is_none()
            && self.submitted.is_none()
        {
            return self.run_plain(core, (row, access), key, &body);
        }
        let command = classify_as(row, args);
        permit(core, &self.config, &command)?;
        Ok(self.run_other(core, &command, body)?.into())
    }

    #[inline(never)]
    fn run_other(
        &self,
        core: &Core,
        command: &Classified<'_>,
        body: CommandBody<'_>,
    ) -> Result<Box<Reply>> {
        let body = command.marked(body);
        let mut context = self.context_for(core, command);
        context.connect()?;
        match &self.pin {
            Some(pin) => {
                module_commands::permit(&context, command)?;
                self.run_pinned(&context, pin, command, &body)
            }
            None => dispatch(&context, command, body),
        }
    }

    fn run_pinned(
        &self,
        context: &ExecContext<'_>,
        pin: &PinnedConnection,
        command: &Classified<'_>,
        body: &CommandBody<'_>,
    ) -> Result<Box<Reply>> {
        let reply = pin.call(context, command, body);
        self.record_session(context.core, pin.slot(), command.access);
        reply
    }

    /// Executes a command at nodes that the caller selects: "host:port", "slot:N", "key:K" or "random";
    /// or at "all", "primaries" or "replicas", with a map of their replies.
    pub fn command_to(&self, selector: &str, args: &[&[u8]]) -> Box<Reply> {
        self.counted(|core| {
            if args.is_empty() {
                return Err(empty_command());
            }
            if self.pin.is_some() {
                return Err(Error::invalid(
                    "a pinned handle cannot select nodes: use the handle it was made from",
                ));
            }
            let command = classify(args);
            permit(core, &self.config, &command)?;
            command.check()?;
            let mut context = self.context_for(core, &command);
            context.connect()?;
            dispatch_to(&context, &command, selector)
        })
    }

    /// How a command would be executed.
    pub fn explain(&self, args: &[&[u8]]) -> Box<Reply> {
        self.counted(|core| {
            if args.is_empty() {
                return Err(empty_command());
            }
            Ok(Box::new(explain(&self.context(core), args)))
        })
    }

    /// The topology of the cluster.
    pub fn topology(&self) -> Box<Reply> {
        let database = self.config.database;
        self.counted(|core| Ok(Box::new(introspect::topology(core.process(), database))))
    }

    /// The counters.
    pub fn stats(&self) -> Box<Reply> {
        self.counted(|core| Ok(Box::new(introspect::stats(core))))
    }

    /// Refreshes the topology now.
    pub fn refresh(&self) -> Box<Reply> {
        self.counted(|core| {
            let process = core.process();
            let call = self.call(process, 0);
            if !process.has_topology() {
                // Perhaps in an attempt that began before this call.
                core.connect(process, &call)?;
            }
            core.refresh_now(process, &call, VIEWS_PER_REFRESH)?;
            Ok(Box::new(Reply::of(Value::ok())))
        })
    }

    /// Whether the two handles share topology and connections.
    pub(super) fn is_of_same_cluster(&self, other: &Client) -> bool {
        match (&self.core, &other.core) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            // Such a client cannot execute anything.
            _ => true,
        }
    }

    /// Connects, if the client is not connected.
    pub(super) fn connect(&self) -> Result<()> {
        let core = self.ready()?;
        self.context(core).connect()
    }

    /// Refreshes the topology if a refresh is due.
    pub(super) fn refresh_if_due(&self) -> Result<()> {
        let core = self.ready()?;
        let process = core.process();
        core.refresh_if_due(process, &self.call(process, 0));
        Ok(())
    }

    /// Opens a connection for a subscriber.
    pub(super) fn open_for_messages(
        &self,
        peer: &Peer,
        kind: ConnectionKind,
    ) -> Result<Box<Connection>> {
        let process = self.ready()?.process();
        let call = self.call(process, 0);
        peer.open(kind, call.attempt_at(call.began))
    }

    /// The slot of a pinned handle.
    pub(super) fn pinned_slot(&self) -> Option<u16> {
        self.pin.as_ref().map(|pin| pin.slot())
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.pin.is_some()
    }
}

#[cold]
pub(super) fn empty_command() -> Error {
    Error::invalid("an empty command")
}
