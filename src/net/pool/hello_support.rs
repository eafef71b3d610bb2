//! Whether a node supports HELLO. Some proxies refuse it, and some close a connection on which they get a command that
//! they do not know.

use std::sync::atomic::{AtomicU8, Ordering};

/// What has been seen of one node.
#[derive(Debug, Default)]
pub(super) struct HelloSupport(AtomicU8);

/// No connection has got so far.
const UNKNOWN: u8 = 0;
/// The node replies to HELLO. If it closes a connection instead, it is for another reason.
const REPLIES: u8 = 1;
/// The node closes connections on HELLO, and serves others.
const CLOSES: u8 = 2;
/// The node has closed connections with and without HELLO. The next one is tried with it, or without it.
const NEXT_WITH: u8 = 3;
const NEXT_WITHOUT: u8 = 4;
/// The node refuses HELLO. Until a connect fails, the same server or proxy is there, and no other one has to be asked.
const REFUSES: u8 = 5;

impl HelloSupport {
    fn state(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::Relaxed);
    }

    /// Whether the next connection is tried with HELLO.
    pub(super) fn sends_hello(&self) -> bool {
        !matches!(self.state(), CLOSES | NEXT_WITHOUT | REFUSES)
    }

    /// Whether a connection that was closed on HELLO is tried again without it at once. That happens once, so that a
    /// node that closes all connections does not get twice as many.
    pub(super) fn is_unknown(&self) -> bool {
        self.state() == UNKNOWN
    }

    /// Whether the node is known to close connections on HELLO and to serve others.
    pub(super) fn is_certain(&self) -> bool {
        self.state() == CLOSES
    }

    /// The node has replied to HELLO.
    pub(super) fn on_reply(&self) {
        if self.state() != REPLIES {
            self.set(REPLIES);
        }
    }

    /// The node has refused HELLO, and served the connection without it.
    pub(super) fn on_refusal(&self) {
        self.set(REFUSES);
    }

    /// Whether the node refuses HELLO, and needs to be asked nothing else.
    pub(super) fn is_refused(&self) -> bool {
        self.state() == REFUSES
    }

    /// A connect has failed. Another server may be there next time.
    pub(super) fn on_failed_connect(&self) {
        if self.is_refused() {
            self.set(UNKNOWN);
        }
    }

    /// A connection with HELLO was closed on it.
    pub(super) fn on_close(&self) {
        if self.state() != REPLIES {
            self.set(NEXT_WITHOUT);
        }
    }

    /// A connection without HELLO was served, between two that were closed on it.
    pub(super) fn on_served_without(&self) {
        self.set(CLOSES);
    }

    /// A connection without HELLO has failed.
    pub(super) fn on_failure_without(&self) {
        // One that has worked before is not in doubt.
        if self.state() != CLOSES {
            self.set(NEXT_WITH);
        }
    }
}
