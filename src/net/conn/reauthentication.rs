//! AUTH on an open connection, after the credentials have changed.
//!
//! AUTH goes alone: no command of a caller is sent before its reply has been read. A server that refuses AUTH may not
//! answer the commands behind it (redis#15640).

use super::connection::Connection;
use super::handshake::{message, push_auth};
use super::refusal::{Consequence, RefusalContext, Step, consequence};
use crate::config::{ClusterMode, Credentials};
use crate::error::{Code, Error, Result};
use crate::net::wait::Attempt;

/// The outcome of AUTH on an open connection, which can be used in each case.
#[derive(Debug)]
pub enum Reauthentication {
    Accepted,
    /// The changed credentials have no password. The connection keeps the user that it has.
    NothingToSend,
    /// The same. With the node's message, without the password.
    Refused(String),
    /// The node cannot answer now. The next use of the connection tries again.
    NotNow,
}

/// Sends AUTH on a connection on which nothing is in flight, and reads the reply. After an error the connection must be
/// dropped. The error is that of a command that has not been sent.
pub fn reauthenticate(
    connection: &mut Connection,
    credentials: &Credentials,
    attempt: Attempt<'_>,
) -> Result<Reauthentication> {
    exchange(connection, credentials, attempt).map_err(|e| e.sent(false))
}

fn exchange(
    connection: &mut Connection,
    credentials: &Credentials,
    attempt: Attempt<'_>,
) -> Result<Reauthentication> {
    connection.check(attempt.call)?;
    if !push_auth(connection, credentials) {
        return Ok(Reauthentication::NothingToSend);
    }
    let reply = connection.reply(attempt)?;
    let outcome = match message(&reply) {
        None if reply.view().text() == Some(b"OK") => Reauthentication::Accepted,
        None => {
            let node = connection.origin().name();
            let problem = format_args!("{node} sent a reply to AUTH that is none");
            return Err(Error::new(Code::Protocol, problem).at(node));
        }
        Some(message) => refused(connection, &message, credentials)?,
    };
    connection.finish_pushes(attempt)?;
    let used = connection.used;
    if connection.reset_for_reuse(used) {
        return Ok(outcome);
    }
    let node = connection.origin().name();
    let problem = format_args!("{node} sent unsolicited data after its reply to AUTH");
    Err(Error::new(Code::Io, problem).at(node))
}

fn refused(
    connection: &Connection,
    message: &str,
    credentials: &Credentials,
) -> Result<Reauthentication> {
    let context = RefusalContext {
        has_password: true,
        // Both concern other steps.
        has_replicas: false,
        cluster: ClusterMode::Auto,
    };
    let text = credentials.remove_from(message);
    match consequence(Step::AuthAgain, message, context) {
        Consequence::Fail(Code::Server) => Ok(Reauthentication::NotNow),
        Consequence::Fail(code) => {
            let node = connection.origin().name();
            let error = format_args!("{node} refused AUTH on an open connection: {text}");
            Err(Error::new(code, error).at(node))
        }
        _ => Ok(Reauthentication::Refused(text)),
    }
}
