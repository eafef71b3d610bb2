//! One run of a case, by a schedule.

use super::case::{Caller, Case, OutsideEvent};
use super::check::check;
use super::pool_under_test::PoolUnderTest;
use crate::error::{Error, Result};
use crate::sim_hooks::Layer;
use crate::simulation::cluster_model::{ClusterModel, ServerConditions};
use crate::simulation::simulator::{
    BatchActivity, NetworkConditions, Schedule, SimThread, Simulation, ThreadBody,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// The outcome of one command.
pub(super) struct Outcome {
    pub(super) caller: usize,
    pub(super) token: String,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) activity: BatchActivity,
    /// `None` if the command panicked.
    pub(super) result: Option<Result<i64>>,
}

/// What the threads of a run record.
#[derive(Default)]
pub(super) struct Records {
    pub(super) outcomes: Vec<Outcome>,
    /// Each interrupt: the caller and the time.
    pub(super) interrupts: Vec<(usize, u64)>,
}

/// The result of one run.
pub(super) struct CaseRun {
    pub(super) schedule: Schedule,
    pub(super) violation: Option<String>,
    pub(super) trace: Vec<String>,
    /// How many replies leaders read for followers.
    pub(super) replies_read_for_others: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a case once.
pub(super) fn run(case: &Case, schedule: Schedule, traced: bool) -> CaseRun {
    let network = NetworkConditions {
        send_buffer: 65536,
        ..NetworkConditions::default()
    };
    let model = ClusterModel::new(Vec::new(), ServerConditions::default());
    let simulation = Simulation::new(1, network, model);
    let pool = PoolUnderTest::new(case.connections, case.callers.len());
    simulation.run(vec![Box::new(|_: &SimThread| pool.connect(case.contended))]);

    let thaw_time = {
        let mut state = simulation.lock();
        let thaw_time = state.now + case.frozen_time;
        state.cluster.nodes[0].frozen_until = thaw_time;
        state.panic_at = case.panic_at.map(|point| (Layer::Net, point));
        state.trace = traced.then(Vec::new);
        state.schedule = Some(schedule);
        thaw_time
    };
    let records = Mutex::new(Records::default());
    simulation.run(thread_bodies(case, &pool, &records));
    let schedule = {
        let mut state = simulation.lock();
        state.panic_at = None;
        state.schedule.take().unwrap_or_default()
    };

    let records = records.into_inner().unwrap_or_else(PoisonError::into_inner);
    let violation = check(case, &simulation.lock(), &records, thaw_time);
    let leak = check_connections(&simulation, pool, case.connections);
    let mut state = simulation.lock();
    let outcomes = records.outcomes.iter();
    CaseRun {
        schedule,
        violation: state.failure.take().or(violation).or(leak),
        trace: state.trace.take().unwrap_or_default(),
        replies_read_for_others: outcomes.map(|o| o.activity.replies_read_for_others).sum(),
    }
}

/// The callers, and one thread for each event from outside.
fn thread_bodies<'a>(
    case: &'a Case,
    pool: &'a PoolUnderTest,
    records: &'a Mutex<Records>,
) -> Vec<ThreadBody<'a>> {
    let mut bodies: Vec<ThreadBody<'a>> = Vec::new();
    for (id, caller) in case.callers.iter().copied().enumerate() {
        bodies.push(Box::new(move |thread| {
            for round in 0..caller.commands {
                let outcome = run_command(thread, pool, (id, caller), format!("{id}-{round}"));
                lock(records).outcomes.push(outcome);
            }
        }));
    }
    for event in case.events.iter().copied() {
        bodies.push(Box::new(move |thread| match event {
            OutsideEvent::TimePasses(time) => thread.simulation.lock().now += time,
            OutsideEvent::NodeFreezes(time) => {
                let mut state = thread.simulation.lock();
                state.cluster.nodes[0].frozen_until = state.now + time;
            }
            OutsideEvent::Interrupt(caller) => {
                pool.interrupt(caller);
                let now = thread.simulation.lock().now;
                lock(records).interrupts.push((caller, now));
            }
            OutsideEvent::ConnectionsBreak => {
                let mut state = thread.simulation.lock();
                for id in state.connections_to(0) {
                    state.break_connection(id);
                }
            }
        }));
    }
    bodies
}

fn run_command(
    thread: &SimThread,
    pool: &PoolUnderTest,
    (id, caller): (usize, Caller),
    token: String,
) -> Outcome {
    let began = {
        let mut state = thread.simulation.lock();
        state.batch_activity[id] = BatchActivity::default();
        state.now
    };
    let reply = catch_unwind(AssertUnwindSafe(|| pool.incrby(id, caller, &token)));
    let result = reply.ok().map(|reply| {
        reply.and_then(|reply| {
            let number = reply.view().int();
            number.ok_or_else(|| Error::invalid("not a number"))
        })
    });
    let state = thread.simulation.lock();
    Outcome {
        caller: id,
        token,
        began,
        ended: state.now,
        activity: state.batch_activity[id],
        result,
    }
}

/// Checks that no connection is lost or leaked. Closes the pool.
fn check_connections(
    simulation: &Arc<Simulation>,
    pool: PoolUnderTest,
    most: usize,
) -> Option<String> {
    let mut idle = Ok(());
    simulation.run(vec![Box::new(|_: &SimThread| {
        idle = pool.check_all_idle(most);
    })]);
    let counted = pool.counted_connections();
    let open = simulation.lock().open_connections();
    simulation.run(vec![Box::new(move |_: &SimThread| drop(pool))]);
    let leaked = simulation.lock().open_connections();
    if let Err(message) = idle {
        return Some(message);
    }
    if counted != open {
        return Some(format!(
            "{counted} connections are counted, {open} are open"
        ));
    }
    (leaked > 0).then(|| "a connection is leaked".to_string())
}
