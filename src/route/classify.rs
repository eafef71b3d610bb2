//! The properties of a command that decide how it is executed, from one look-up of its name.

use super::access::{BlockingTimeout, access, allows_early_send, blocking_timeout};
use super::command::{Access, Flag, Row};
use super::connection_state::{StateChange, StateEffect};
use super::find::find;
use super::keys::{check, each_key, first_key};
use super::route::{Route, RouteOptions, route};
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
            Some(row) => check_shareable(row).and_then(|()| check(row, self.args)),
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
        check_shareable(row)?;
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
}

/// Refuses a command that changes the state of its connection: other callers use the connection too.
#[inline]
fn check_shareable(row: &Row) -> Result<()> {
    if !row.flags.has(Flag::Connection) {
        return Ok(());
    }
    Err(connection_is_shared(row))
}

#[cold]
fn connection_is_shared(row: &Row) -> Error {
    Error::invalid(format_args!(
        "{} changes the state of a connection, and this handle shares its connections: use a handle from rdc_pin",
        row.name
    ))
}
