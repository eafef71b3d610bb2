//! Errors as the caller sees them: an error code, a one-line message, and whether the command may
//! have run.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// The kinds of error, numbered as in the C header. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// No error.
    Ok = 0,
    /// The server replied with an error; the message begins with its code.
    Server = 1,
    /// A bad argument, option or URL; nothing was sent.
    Invalid = 2,
    /// No node could be reached; nothing was sent.
    Connect = 3,
    /// The connection broke.
    Io = 4,
    /// A deadline passed.
    Timeout = 5,
    /// The node sent invalid RESP, or a reply above a limit.
    Protocol = 6,
    /// The server rejected the credentials, or their permissions do not suffice.
    Auth = 7,
    /// CLUSTERDOWN, or no node serves the slot.
    Down = 8,
    /// The keys are in different slots; nothing was sent.
    CrossSlot = 9,
    /// More than `max_redirects` MOVED or ASK redirections.
    Redirects = 10,
    /// A write on a read-only handle; nothing was sent.
    ReadOnly = 11,
    /// The call was interrupted: `rdc_interrupt`, or a wait callback that returned 0.
    Interrupted = 12,
    /// A bug in the library: a panic caught at the C boundary.
    Internal = 13,
    /// The handle was closed.
    Closed = 14,
    /// TLS failed: one side rejected the other's certificate, or the session broke.
    Tls = 15,
    /// `queue_limit` commands are in the queue; nothing was sent.
    QueueFull = 16,
}

impl Code {
    /// Every code, in numeric order.
    pub const ALL: [Code; 17] = [
        Code::Ok,
        Code::Server,
        Code::Invalid,
        Code::Connect,
        Code::Io,
        Code::Timeout,
        Code::Protocol,
        Code::Auth,
        Code::Down,
        Code::CrossSlot,
        Code::Redirects,
        Code::ReadOnly,
        Code::Interrupted,
        Code::Internal,
        Code::Closed,
        Code::Tls,
        Code::QueueFull,
    ];

    /// The word that begins the message of an error with this code.
    pub fn name(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Server => "SERVER",
            Code::Invalid => "INVALID",
            Code::Connect => "CONNECT",
            Code::Io => "IO",
            Code::Timeout => "TIMEOUT",
            Code::Protocol => "PROTOCOL",
            Code::Auth => "AUTH",
            Code::Down => "DOWN",
            Code::CrossSlot => "CROSSSLOT",
            Code::Redirects => "REDIRECTS",
            Code::ReadOnly => "READONLY",
            Code::Interrupted => "INTERRUPTED",
            Code::Internal => "INTERNAL",
            Code::Closed => "CLOSED",
            Code::Tls => "TLS",
            Code::QueueFull => "QUEUE_FULL",
        }
    }

    /// The code with this number, if there is one.
    pub fn from_number(number: i32) -> Option<Code> {
        usize::try_from(number)
            .ok()
            .and_then(|n| Code::ALL.get(n).copied())
    }
}

/// An error of the library or of a server.
///
/// `message` is one line that begins with the name of the code (`TIMEOUT ...`) or, for
/// [`Code::Server`], with the server's own error code (`WRONGTYPE ...`).
///
/// Boxed, to keep `Result` small on the success path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<ErrorFields>);

/// The fields of an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorFields {
    pub code: Code,
    pub message: String,
    /// False if the command certainly did not run, so that sending it again is safe.
    pub sent: bool,
    /// "host:port" of the node that the error is about.
    pub node: Option<String>,
}

impl Error {
    /// An error of the library. The name of the code is prepended to `message`.
    pub fn new(code: Code, message: impl fmt::Display) -> Error {
        Error::from(ErrorFields {
            code,
            message: one_line(format!("{} {}", code.name(), message)),
            sent: false,
            node: None,
        })
    }

    /// A bad argument, option or URL.
    pub fn invalid(message: impl fmt::Display) -> Error {
        Error::new(Code::Invalid, message)
    }

    /// Sets the node that the error is about.
    pub fn at(mut self, node: impl Into<String>) -> Error {
        self.node = Some(node.into());
        self
    }

    /// The message for a log. Of a server's own message only the first word: the rest may repeat arguments.
    pub fn loggable(&self) -> &str {
        let first = self.message.split(' ').next().unwrap_or_default();
        if first == self.code.name() {
            &self.message
        } else {
            first
        }
    }

    /// Sets whether the command may have run.
    pub fn sent(mut self, sent: bool) -> Error {
        self.sent = sent;
        self
    }
}

/// Replaces control characters: callers log one message per line, and text from a server or a
/// caller must not break that.
fn one_line(mut text: String) -> String {
    if text.bytes().any(|b| b < b' ') {
        text = text
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
    }
    text
}

impl From<ErrorFields> for Error {
    fn from(fields: ErrorFields) -> Error {
        Error(Box::new(fields))
    }
}

impl Deref for Error {
    type Target = ErrorFields;

    fn deref(&self) -> &ErrorFields {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut ErrorFields {
        &mut self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;
