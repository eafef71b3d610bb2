//! Errors are one line of text, for the reader of a failed test.

use std::fmt;

/// What failed, as one line.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(String);

/// What the methods of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this message.
    pub fn new(words: impl Into<String>) -> Error {
        Error(words.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `unwrap` prints the Debug form; it should read like the message.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

macro_rules! fail {
    ($($words:tt)*) => { return Err($crate::error::Error::new(format!($($words)*))) };
}
pub(crate) use fail;
