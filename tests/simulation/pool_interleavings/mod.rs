//! A model checker of the pool: how threads pass connections, batches and leadership to each other,
//! in every interleaving.
//!
//! The shipped code of the pool runs in the simulator with a few threads. The scheduler follows a
//! schedule: it takes the first alternative of each choice and records how many there were. The next
//! run takes the first alternative that is untried, depth first, until there is none.
//!
//! - A runnable thread may be preempted before it takes a lock, accesses a shared atomic, sends,
//!   receives, waits or wakes another thread: at each `sim_yield_point!` of `src/net/pool`. Then
//!   another thread runs, or the next event of the network happens. A case bounds how often.
//! - Where a thread has to wait or yields, each runnable thread is tried.
//! - Where one of several waiting threads is woken, each is tried.
//! - An event from outside (time passes, a handle is interrupted, a connection breaks) is one more
//!   thread. So it happens between any two steps.
//!
//! Covered: all interleavings of these steps up to the bound, with sequentially consistent memory.
//! Each case is exhausted; there are some ten thousand interleavings in all.
//!
//! Not covered:
//!
//! - weaker memory orders: ThreadSanitizer checks them in the stress tests;
//! - a preemption inside a critical section: several accesses there count as one step;
//! - the code above the pool: the random scenarios check it.
//!
//! A thread that misses its wake-up would be saved by its timer after 5 ms or more. Without a fault
//! no call may take that long here, so a lost wake-up is found.
//!
//! `INTERLEAVING_PREEMPTIONS=3 cargo test --lib pool_interleavings` uses this bound in all cases.

mod case;
mod case_run;
mod check;
mod explore;
mod pool_under_test;

use super::simulator::MS;
use case::{Caller, Case, OutsideEvent, PIPELINE, SHORT_TIMEOUT, SINGLE, commands};
use explore::explore_all;

#[test]
fn all_interleavings_deliver_own_reply_and_wake_every_waiter() {
    explore_all(&[
        Case {
            preemptions: 3,
            ..Case::new("two threads", vec![SINGLE; 2])
        },
        Case {
            preemptions: 2,
            ..Case::new("two threads, two commands each", vec![commands(2); 2])
        },
        Case::new("three threads", vec![SINGLE; 3]),
        Case {
            connections: 2,
            ..Case::new("three threads, two connections", vec![SINGLE; 3])
        },
        Case::new("a pipeline and two threads", vec![SINGLE, PIPELINE, SINGLE]),
        Case {
            preemptions: 0,
            ..Case::new("three threads, three commands each", vec![commands(3); 3])
        },
    ]);
}

#[test]
fn all_interleavings_timed_out_thread_keeps_other_replies() {
    explore_all(&[
        Case {
            frozen_time: 50 * MS,
            may_fail: &[0],
            ignores_yields: true,
            ..Case::new("the first times out", vec![SHORT_TIMEOUT, SINGLE, SINGLE])
        },
        Case {
            frozen_time: 50 * MS,
            may_fail: &[1],
            ..Case::new("the second times out", vec![SINGLE, SHORT_TIMEOUT])
        },
        Case {
            events: vec![OutsideEvent::Interrupt(0)],
            may_fail: &[0],
            ignores_yields: true,
            ..Case::new("the first is interrupted", vec![SINGLE; 3])
        },
        Case {
            events: vec![OutsideEvent::Interrupt(1)],
            may_fail: &[1],
            ..Case::new("the second is interrupted", vec![SINGLE; 2])
        },
        Case {
            events: vec![OutsideEvent::TimePasses(30 * MS)],
            may_fail: &[0],
            ..Case::new("time passes", vec![SHORT_TIMEOUT, SINGLE])
        },
        Case {
            events: vec![OutsideEvent::TimePasses(30 * MS)],
            may_fail: &[0, 1],
            preemptions: 0,
            ..Case::new(
                "time passes and two time out",
                vec![SHORT_TIMEOUT, SHORT_TIMEOUT, SINGLE],
            )
        },
        Case {
            events: vec![OutsideEvent::Interrupt(0)],
            may_fail: &[0],
            preemptions: 0,
            ..Case::new(
                "the first is interrupted, and others continue",
                vec![commands(2), commands(2), SINGLE],
            )
        },
        Case {
            events: vec![OutsideEvent::NodeFreezes(50 * MS)],
            may_fail: &[1],
            preemptions: 0,
            ..Case::new(
                "the node freezes and one times out",
                vec![SINGLE, SHORT_TIMEOUT, SINGLE],
            )
        },
    ]);
}

/// Only the first followers of a batch set a timer; here a batch has more.
#[test]
fn all_interleavings_first_followers_wake_untimed_followers() {
    let four_threads = |name| Case {
        preemptions: 0,
        ignores_yields: true,
        ..Case::new(name, vec![SINGLE; 4])
    };
    explore_all(&[
        four_threads("four threads"),
        Case {
            frozen_time: 20 * MS,
            events: vec![OutsideEvent::Interrupt(3)],
            may_fail: &[3],
            ..four_threads("the last of four is interrupted")
        },
    ]);
}

fn contended(name: &'static str, callers: Vec<Caller>) -> Case {
    Case {
        contended: true,
        ignores_yields: true,
        ..Case::new(name, callers)
    }
}

/// Under contention, the thread that releases the connection sends the next batch for its leader.
#[test]
fn all_interleavings_batch_sent_by_other_leader_completes() {
    let mut cases = vec![
        contended("three threads", vec![SINGLE; 3]),
        Case {
            connections: 2,
            ..contended("three threads, two connections", vec![SINGLE; 3])
        },
        Case {
            preemptions: 0,
            ..contended("three threads, two commands each", vec![commands(2); 3])
        },
        Case {
            preemptions: 0,
            ..contended(
                "a pipeline and three threads",
                vec![PIPELINE, SINGLE, SINGLE, SINGLE],
            )
        },
        Case {
            frozen_time: 50 * MS,
            may_fail: &[1],
            ..contended("one times out", vec![SINGLE, SHORT_TIMEOUT, SINGLE])
        },
        Case {
            events: vec![OutsideEvent::NodeFreezes(50 * MS)],
            may_fail: &[1, 2],
            preemptions: 0,
            ..contended(
                "the node freezes and two time out",
                vec![SINGLE, SHORT_TIMEOUT, SHORT_TIMEOUT],
            )
        },
        Case {
            events: vec![OutsideEvent::ConnectionsBreak],
            max_latency: None,
            may_fail: &[0, 1, 2],
            ..contended("the connection breaks", vec![SINGLE; 3])
        },
    ];
    for caller in 0..3 {
        cases.push(Case {
            events: vec![OutsideEvent::Interrupt(caller)],
            may_fail: [&[0usize] as &[usize], &[1], &[2]][caller],
            ..contended("one is interrupted", vec![SINGLE; 3])
        });
    }
    for panic_point in 1..=8 {
        cases.push(Case {
            panic_at: Some(panic_point),
            may_fail: &[0, 1, 2],
            preemptions: 0,
            ..contended("one panics", vec![SINGLE; 3])
        });
    }
    explore_all(&cases);
}

/// The same holds for a leader that panics.
#[test]
fn all_interleavings_broken_connection_fails_only_its_batch() {
    let mut cases = vec![Case {
        events: vec![OutsideEvent::ConnectionsBreak],
        max_latency: None,
        may_fail: &[0, 1, 2],
        ignores_yields: true,
        ..Case::new("the connection breaks", vec![SINGLE; 3])
    }];
    for panic_point in 1..=8 {
        cases.push(Case {
            panic_at: Some(panic_point),
            may_fail: &[0, 1, 2],
            preemptions: 0,
            ..Case::new("one panics", vec![SINGLE; 3])
        });
    }
    explore_all(&cases);
}
