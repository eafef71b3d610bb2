//! What can go wrong, as the caller sees it: a code, one line of words, and whether the command
//! may have run.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// The kinds of error, numbered as in the C header. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// No error.
    Ok = 0,
    /// The server said no; the first word of its message says why.
    Server = 1,
    /// A bad argument, option or URL; nothing was sent.
    Invalid = 2,
    /// No node could be reached; nothing was sent.
    Connect = 3,
    /// The connection broke.
    Io = 4,
    /// A deadline passed.
    Timeout = 5,
    /// The peer does not speak RESP, or broke a limit.
    Protocol = 6,
    /// The server refused our credentials or our rights.
    Auth = 7,
    /// CLUSTERDOWN, or no node serves the slot.
    Down = 8,
    /// The keys live in different slots; nothing was sent.
    CrossSlot = 9,
    /// `max_redirects` were followed and the command is still not home.
    Redirects = 10,
    /// A write through a read-only handle; nothing was sent.
    ReadOnly = 11,
    /// The call was interrupted by its owner.
    Interrupted = 12,
    /// A bug in this library, caught at its edge.
    Internal = 13,
    /// The handle was closed.
    Closed = 14,
    /// TLS: a certificate was not accepted, by us or by the node, or a session broke down.
    Tls = 15,
}

impl Code {
    /// Every code, in the order of its number.
    pub const ALL: [Code; 16] = [
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
    ];

    /// The word that begins the message of an error of this kind.
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
        }
    }

    /// The code with this number, if there is one.
    pub fn from_number(number: i32) -> Option<Code> {
        usize::try_from(number)
            .ok()
            .and_then(|n| Code::ALL.get(n).copied())
    }
}

/// An error of ours or of a server.
///
/// `message` is one line that begins with the kind (`TIMEOUT ...`) or, for [`Code::Server`], with
/// the server's own first word (`WRONGTYPE ...`).
///
/// A pointer, so that results stay small where nothing goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Fault>);

/// What an [`Error`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    pub message: String,
    /// False where the command certainly did not run, so that sending it again is safe.
    pub sent: bool,
    /// "host:port" of the node that the error is about.
    pub node: Option<String>,
}

impl Error {
    /// An error of ours: `words` without the leading kind, which is put before them.
    pub fn new(code: Code, words: impl fmt::Display) -> Error {
        Error::from(Fault {
            code,
            message: one_line(format!("{} {}", code.name(), words)),
            sent: false,
            node: None,
        })
    }

    /// A bad argument, option or URL.
    pub fn invalid(words: impl fmt::Display) -> Error {
        Error::new(Code::Invalid, words)
    }

    /// The same error, about this node.
    pub fn at(mut self, node: impl Into<String>) -> Error {
        self.node = Some(node.into());
        self
    }

    /// The same error, about a command that may have run.
    pub fn sent(mut self, sent: bool) -> Error {
        self.sent = sent;
        self
    }
}

/// Callers print messages in logs, one a line; a server's or a caller's text must not break that.
fn one_line(mut text: String) -> String {
    if text.bytes().any(|b| b < b' ') {
        text = text
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
    }
    text
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error(Box::new(fault))
    }
}

impl Deref for Error {
    type Target = Fault;

    fn deref(&self) -> &Fault {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Fault {
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
