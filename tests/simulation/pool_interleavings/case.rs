//! A case: the callers of a pool, and what happens to them from outside.

use crate::simulation::simulator::MS;

/// A thread that executes commands.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) commands: usize,
    pub(super) timeout_ms: u64,
    /// It acquires a connection of its own, as a pipeline does.
    pub(super) acquires_connection: bool,
}

/// One command with a long timeout.
pub(super) const SINGLE: Caller = Caller {
    commands: 1,
    timeout_ms: 2000,
    acquires_connection: false,
};

pub(super) const SHORT_TIMEOUT: Caller = Caller {
    timeout_ms: 20,
    ..SINGLE
};

pub(super) const PIPELINE: Caller = Caller {
    acquires_connection: true,
    ..SINGLE
};

pub(super) fn commands(commands: usize) -> Caller {
    Caller { commands, ..SINGLE }
}

/// An event from outside: a thread of its own, so that it happens between any two steps of the callers.
#[derive(Clone, Copy, Debug)]
pub(super) enum OutsideEvent {
    /// The clock advances by this time.
    TimePasses(u64),
    /// The node does not run for this time.
    NodeFreezes(u64),
    /// The handle of one caller is interrupted.
    Interrupt(usize),
    /// Every connection breaks.
    ConnectionsBreak,
}

pub(super) struct Case {
    pub(super) name: &'static str,
    /// The value of `connections_per_node`.
    pub(super) connections: usize,
    pub(super) callers: Vec<Caller>,
    pub(super) events: Vec<OutsideEvent>,
    /// How long the node does not run at the beginning.
    pub(super) frozen_time: u64,
    /// The number of the panic point that panics.
    pub(super) panic_at: Option<u64>,
    /// How long a call may take, without `frozen_time`, if it succeeds or another one panics.
    /// `None`: until its deadline.
    pub(super) max_latency: Option<u64>,
    /// The callers that may fail.
    pub(super) may_fail: &'static [usize],
    /// How many times a runnable thread is preempted, at most.
    pub(super) preemptions: usize,
    /// The node is contended from the beginning.
    pub(super) contended: bool,
    /// `yield_now` returns at once, where the number of interleavings would be too large otherwise.
    pub(super) ignores_yields: bool,
}

impl Case {
    pub(super) fn new(name: &'static str, callers: Vec<Caller>) -> Case {
        Case {
            name,
            connections: 1,
            callers,
            events: Vec::new(),
            frozen_time: 0,
            panic_at: None,
            max_latency: Some(2 * MS),
            may_fail: &[],
            preemptions: 1,
            contended: false,
            ignores_yields: false,
        }
    }
}
