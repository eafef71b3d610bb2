//! The properties of a command that decide how it is executed, from one look-up of its name.

use super::access::{BlockingTimeout, access, allows_early_send, blocking_timeout};
use super::command::{Access, Flag, Request, Row};
use super::find::find;
use super::keys::{check, each_key, first_key};
use super::route::{Route, RouteOptions, printable, route};
use super::table;
use crate::error::{Error, Result};

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
    match find(args) {
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

    #[inline]
    pub fn is_read(&self) -> bool {
        self.access == Access::Read
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
        let is_this = |row: &&Row| self.row == Some(row);
        let advice = SHARED_CONNECTION
            .iter()
            .find(|(rows, _)| rows.iter().any(is_this));
        let advice = advice.map_or(USE_PIN, |(_, advice)| *advice);
        Error::invalid(format_args!("{} {advice}", self.full_name()))
    }
}

const USE_PIN: &str = "changes the state of a connection, and this handle shares its connections: use a handle from rdc_pin()";

/// Why a command is refused on a shared connection and what to do instead, if that is not [`USE_PIN`].
const SHARED_CONNECTION: &[(&[&Row], &str)] = &[
    (
        &[table::WAIT, table::WAITAOF],
        "waits for the writes of its own connection, and this handle shares its connections: append it to a pipeline, behind \
         writes to one slot, or use a handle from rdc_pin()",
    ),
    (
        &[
            table::SUBSCRIBE,
            table::PSUBSCRIBE,
            table::SSUBSCRIBE,
            table::UNSUBSCRIBE,
            table::PUNSUBSCRIBE,
            table::SUNSUBSCRIBE,
        ],
        "makes a connection receive messages, and this library cannot receive messages yet",
    ),
    (
        &[
            table::MONITOR,
            table::SYNC,
            table::PSYNC,
            table::REPLCONF,
            table::CLUSTER_SYNCSLOTS,
        ],
        "turns a connection into a stream, which this library cannot read",
    ),
    (
        &[table::SELECT],
        "changes the database of a connection, and this handle shares its connections, which use database 0: use a handle \
         from rdc_pin() for another database of a server that has several",
    ),
    (
        &[table::AUTH, table::HELLO],
        "changes the user or the protocol of a connection, and this handle shares its connections: use the options user, \
         password and protocol, or a handle from rdc_pin()",
    ),
    (
        &[table::READONLY, table::READWRITE],
        "changes whether a connection reads from replicas, and this handle shares its connections: use rdc_readonly(), or the \
         option read_from",
    ),
    (
        &[table::CLIENT_SETNAME],
        "changes the name of a connection, and this handle shares its connections: use the option client_name",
    ),
    (
        &[table::QUIT],
        "ends a connection, and this handle shares its connections: use rdc_close()",
    ),
];
