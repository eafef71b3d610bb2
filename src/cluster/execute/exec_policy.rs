//! How the commands of a handle are executed.

use crate::config::ReadFrom;
use crate::net::ConnectionKind;

/// How the commands of a handle are executed.
#[derive(Clone, Copy, Debug)]
pub struct ExecPolicy {
    pub kind: ConnectionKind,
    pub read_from: ReadFrom,
    pub retry_writes: bool,
    pub max_redirects: u32,
    pub timeout_ms: u64,
    pub attempt_ms: u64,
}
