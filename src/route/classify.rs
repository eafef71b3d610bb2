//! The properties of a command that decide how it is executed, from one look-up of its name.

use super::access::{BlockingTimeout, access, allows_early_send, blocking_timeout};
use super::command::{Access, Flag, Request, Row};
use super::connection_state::{StateChange, StateEffect, StatePart};
use super::find::find;
use super::keys::{check, each_key, first_key};
use super::route::{Route, RouteOptions, printable, route};
use crate::error::{Error, Result};
use crate::resp::CommandBody;

/// A command with its row. Cheap to copy: the keys and the route are computed on demand.
#[derive(Clone, Copy, Debug)]
pub struct Classified<'a> {
    pub args: &'a [&'a [u8]],
    /// `None` if the table does not describe the command.
    pub row: Option<&'static Row>,
    /// A command without a row counts as a write.
    pub access: Access,
    /// How long the command asks the server to block.
    pub blocking_timeout: Option<BlockingTimeout>,
    /// Whether the command may be sent with the handshake of a new connection.
    pub allows_early_send: bool,
}

/// Looks a command up.
#[inline]
pub fn classify<'a>(args: &'a [&'a [u8]]) -> Classified<'a> {
    classify_as(find(args), args)
}

/// Classifies a command that was looked up.
#[inline]
pub fn classify_as<'a>(row: Option<&'static Row>, args: &'a [&'a [u8]]) -> Classified<'a> {
    match row {
        Some(row) => Classified {
            args,
            row: Some(row),
            access: access(row, args),
            blocking_timeout: blocking_timeout(row, args),
            allows_early_send: allows_early_send(row),
        },
        None => Classified {
            args,
            row: None,
            access: Access::Write,
            blocking_timeout: None,
            allows_early_send: false,
        },
    }
}

/// The bytes to send of a command with this row, marked if they contain a password.
#[inline]
pub fn marked<'b>(row: Option<&Row>, body: CommandBody<'b>) -> CommandBody<'b> {
    match row {
        Some(row) if row.flags.has(Flag::Secret) => body.with_secret(),
        _ => body,
    }
}

impl<'a> Classified<'a> {
    /// A command whose row is known at compile time, and whose arguments do not matter.
    pub fn of_row(row: &'static Row, access: Access) -> Classified<'a> {
        Classified {
            args: &[],
            row: Some(row),
            access,
            blocking_timeout: None,
            allows_early_send: allows_early_send(row),
        }
    }

    /// Whether it publishes a message.
    pub fn publishes(&self) -> bool {
        self.row
            .is_some_and(|row| row.flags.has(Flag::Pubsub) && row.flags.has(Flag::MayReplicate))
    }

    /// The name for error messages.
    #[inline]
    pub fn name(&self) -> &'static str {
        self.row.map_or("the command", |row| row.name)
    }

    /// The name as the caller gave it, for error messages: with the sub-command that the table does not describe.
    #[cold]
    pub fn full_name(&self) -> String {
        let word = |at: usize| {
            self.args
                .get(at)
                .map(|word| printable(&word.to_ascii_uppercase()))
        };
        match self.row {
            None => word(0).unwrap_or_default(),
            Some(row) => match word(1).filter(|_| row.flags.has(Flag::Container)) {
                Some(subcommand) => format!("{} {subcommand}", row.name),
                None => row.name.to_owned(),
            },
        }
    }

    /// See [`marked`].
    #[inline]
    pub fn marked<'b>(&self, body: CommandBody<'b>) -> CommandBody<'b> {
        marked(self.row, body)
    }

    #[inline]
    pub fn is_read(&self) -> bool {
        self.access == Access::Read
    }

    /// How the command changes the state of its connection.
    pub fn state_change(&self) -> StateChange {
        self.row
            .map_or(StateChange::Nothing, |row| row.state_change)
    }

    /// What it changes if the server accepts it. A write changes what a later WAIT waits for.
    pub fn state_effect(&self) -> StateEffect {
        match self.state_change() {
            StateChange::Nothing if self.access == Access::Write => StateEffect::WRITE,
            change => change.effect(self.args),
        }
    }

    /// Refuses a command that no server would accept or that needs a connection of its own.
    pub fn check(&self) -> Result<()> {
        match self.row {
            Some(row) => self
                .check_shareable(row)
                .and_then(|()| check(row, self.args)),
            None => Ok(()),
        }
    }

    /// The route over shared connections; refuses the same commands as [`Classified::check`]. `None` without a row: only a
    /// server can tell the keys then.
    #[inline]
    pub fn route(&self, options: RouteOptions) -> Result<Option<Route>> {
        let Some(row) = self.row else {
            return Ok(None);
        };
        self.check_shareable(row)?;
        route(row, self.args, options).map(Some)
    }

    /// Appends the index of each key. Indexes that precede an error are appended too.
    pub fn key_positions(&self, positions: &mut Vec<usize>) -> Result<()> {
        self.check()?;
        match self.row {
            Some(row) => each_key(row, self.args, &mut |index, _| positions.push(index)),
            None => Ok(()),
        }
    }

    /// The index of the first key; `None` if the command has none or its keys are not known.
    pub fn first_key(&self) -> Option<usize> {
        first_key(self.row?, self.args).ok().flatten()
    }

    /// Refuses a command that concerns the state of its connection: other callers use the connection too.
    #[inline]
    fn check_shareable(&self, row: &Row) -> Result<()> {
        if !row.flags.has(Flag::Connection) {
            return Ok(());
        }
        Err(self.shared_connection())
    }

    /// Whether the command waits for the writes of its connection.
    pub fn waits_for_writes(&self) -> bool {
        self.row.is_some_and(|row| row.request == Request::Writes)
    }

    /// The error of a command that needs a connection of its own.
    #[cold]
    pub fn shared_connection(&self) -> Error {
        let advice = match (self.state_change(), self.waits_for_writes()) {
            (_, true) => {
                "waits for the writes of its own connection, and this handle shares its connections: append it to a \
                 pipeline, behind writes to one slot, or use a handle from rdc_pin()"
            }
            (StateChange::Streams, _) if self.is_subscription() => {
                "makes a connection receive messages: use a subscriber (rdc_subscriber_new)"
            }
            (StateChange::Streams, _) => {
                "turns a connection into a stream, which this library cannot read"
            }
            (StateChange::Begins(StatePart::Database), _) => {
                "changes the database of a connection, and this handle shares its connections: use the option database \
                 (in rdc_with() for a handle of another database), or a handle from rdc_pin()"
            }
            (StateChange::Begins(StatePart::User) | StateChange::Hello, _) => {
                "changes the user or the protocol of a connection, and this handle shares its connections: use the \
                 options user, password and protocol, or a handle from rdc_pin()"
            }
            (StateChange::Begins(StatePart::Name), _) => {
                "changes the name of a connection, and this handle shares its connections: use the option client_name"
            }
            (
                StateChange::Begins(StatePart::ReplicaReads)
                | StateChange::Ends(StatePart::ReplicaReads),
                _,
            ) => {
                "changes whether a connection reads from replicas, and this handle shares its connections: use \
                 rdc_readonly(), or the option read_from"
            }
            _ => {
                "changes the state of a connection, and this handle shares its connections: use a handle from rdc_pin()"
            }
        };
        Error::invalid(format_args!("{} {advice}", self.full_name()))
    }

    fn is_subscription(&self) -> bool {
        self.row.is_some_and(|row| row.flags.has(Flag::Pubsub))
    }
}
