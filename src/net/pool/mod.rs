//! The connection pool: the connections of one kind, in one database, to one node, and how threads share them.
//!
//! A thread that finds an idle connection uses it alone. A thread that finds all connections busy joins the open batch:
//! its command is appended to the batch's bytes, and the thread sleeps as a follower. A thread that is done with a
//! connection hands it to the next batch. The member that wakes up becomes the leader: it sends the batch, reads the
//! replies of all members and wakes them with one system call. So many threads cost a few system calls per burst, as in
//! a pipeline, and the library needs no thread of its own.
//!
//! A batch that has waited for [`state::EXTRA_CONNECTION_AFTER`] opens another connection, up to the limit. So a slow
//! command, a large reply or a stalled leader does not delay others for long. A member whose deadline passes abandons
//! its entry: a command that has not been sent is removed, and the reply to one that has been sent is read and
//! discarded. A leader whose deadline passes hands the connection and its progress to another member.
//!
//! The design is that of RocksDB's write thread (db/write_thread.h): group commit with a leader and followers.

mod acquire;
mod batch;
mod call;
mod connect_backoff;
mod connector;
mod contention;
mod database_backoff;
mod follower;
mod hello_support;
mod leader;
mod node_credentials;
mod state;
mod yield_policy;

pub use acquire::TryAcquire;
pub use connector::Connector;

use state::State;
use yield_policy::YieldPolicy;

use crate::net::conn::{Connection, ConnectionKind};
use crate::net::sys::RevocableBox;
use crate::sync::{Condvar, Mutex, MutexGuard, lock};
use std::sync::Arc;

#[derive(Debug)]
pub struct Pool {
    kind: ConnectionKind,
    max_connections: usize,
    connector: Arc<Connector>,
    /// To be locked by [`Pool::lock_state`].
    state: Mutex<State>,
    /// An idle connection, for a lone thread: it is granted while no other connection is in use, no thread waits, and
    /// commands have not met recently. To take it and to put it back saves such a thread 87 instructions for two locks.
    lone: RevocableBox<Connection>,
    /// Notified when a connection, or the permit to open one, becomes free.
    freed: Condvar,
    yield_policy: YieldPolicy,
}

impl Pool {
    pub fn new(kind: ConnectionKind, max_connections: usize, connector: Arc<Connector>) -> Pool {
        Pool {
            kind,
            max_connections,
            connector,
            state: Mutex::new(State::default()),
            lone: RevocableBox::revoked(),
            freed: Condvar::new(),
            yield_policy: YieldPolicy::default(),
        }
    }

    /// Locks the state, which has all idle connections then: a lone thread that has taken one meanwhile finds that it has
    /// to take the lock to release it.
    #[inline]
    fn lock_state(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        if let Some(connection) = self.lone.revoke() {
            state.idle.push(connection);
        }
        state
    }

    /// Makes the pool contended, as many concurrent callers do.
    #[cfg(test)]
    pub fn force_contended(&self) {
        self.lock_state().force_contended();
    }

    /// Whether the connection has the current credentials, or the node has refused them.
    #[inline]
    fn has_current_credentials(&self, connection: &Connection) -> bool {
        self.connector.has_current_credentials(connection)
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        lock(&self.state).open
    }
}
