//! Runs a scenario: its threads, its faults, and the checks after it.

use super::caller::Caller;
use super::history::History;
use super::queue_driver::SharedQueue;
use super::subscriber_driver::SubscriberDriver;
use super::{Scenario, keys};
use crate::cluster::Client;
use crate::config::Config;
use crate::resp::View;
use crate::simulation::cluster_model::{ClusterModel, Fault, NODES};
use crate::simulation::simulator::{
    Event, MS, SeededRng, SimThread, Simulation, State, ThreadBody, node_address,
};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts of what happened in one or more runs.
#[derive(Debug, Default)]
pub struct RunStats {
    pub calls: u64,
    pub successes: u64,
    pub errors: u64,
    /// Writes that may or may not have been executed.
    pub unknown_outcomes: u64,
    pub executed: u64,
    pub redirections: u64,
    pub refreshes: u64,
    pub connects: u64,
    pub panics: u64,
    /// Commands of queues that were cancelled.
    pub cancelled: u64,
    /// Commands that a full queue refused.
    pub refused: u64,
    /// Messages that subscribers received.
    pub messages: u64,
    pub gaps: u64,
}

impl RunStats {
    pub fn add(&mut self, other: &RunStats) {
        self.calls += other.calls;
        self.successes += other.successes;
        self.errors += other.errors;
        self.unknown_outcomes += other.unknown_outcomes;
        self.executed += other.executed;
        self.redirections += other.redirections;
        self.refreshes += other.refreshes;
        self.connects += other.connects;
        self.panics += other.panics;
        self.cancelled += other.cancelled;
        self.refused += other.refused;
        self.messages += other.messages;
        self.gaps += other.gaps;
    }

    pub fn has_activity(&self) -> bool {
        self.calls > 0 && self.successes > 0 && self.executed > 0
    }
}

/// What the threads of a run share.
pub(super) struct RunContext<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) client: Arc<Client>,
    /// A read-only handle derived from `client`.
    pub(super) reader: Arc<Client>,
    pub(super) keys: Vec<String>,
    pub(super) history: Mutex<History>,
    /// The highest version of each key whose write was acknowledged.
    pub(super) acknowledged: Mutex<HashMap<String, u64>>,
    /// When `client` was interrupted.
    pub(super) interrupts: Mutex<Vec<u64>>,
    pub(super) closed_at: Mutex<Option<u64>>,
    pub(super) stats: Mutex<RunStats>,
    /// When all faults end.
    pub(super) heal_time: u64,
    /// The number of the next message.
    pub(super) published: AtomicU64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a scenario. Returns its counts or its first violation, and the trace if `traced`.
pub fn run(scenario: &Scenario, traced: bool) -> (Result<RunStats, String>, Vec<String>) {
    let mut rng = SeededRng(scenario.seed ^ 0x5eed);
    let model = ClusterModel::new(keys(), scenario.servers);
    let simulation = Simulation::new(rng.next(), scenario.network, model);
    simulation.lock().cluster.uses_hostnames = scenario.uses_hostnames;
    simulation.lock().trace = traced.then(Vec::new);
    let client = Arc::new(create_client(&simulation, scenario));
    if let Some(error) = client.error() {
        return (Err(format!("cannot connect: {error}")), Vec::new());
    }
    let context = RunContext {
        scenario,
        reader: Arc::new(client.readonly()),
        client,
        keys: keys(),
        history: Mutex::default(),
        acknowledged: Mutex::default(),
        interrupts: Mutex::default(),
        closed_at: Mutex::default(),
        stats: Mutex::default(),
        heal_time: schedule_faults(&mut simulation.lock(), scenario),
        published: AtomicU64::new(0),
    };
    let queues: Vec<SharedQueue> = (0..scenario.queues)
        .map(|number| SharedQueue::new(&context, number, scenario.threads_per_queue()))
        .collect();
    let mut bodies = thread_bodies(&context, &mut rng);
    bodies.extend(queue_bodies(&context, &queues, &mut rng));
    bodies.extend(subscriber_bodies(&context, &mut rng));
    simulation.run(bodies);
    drop(queues);
    finish(&simulation, context)
}

fn create_client(simulation: &Arc<Simulation>, scenario: &Scenario) -> Client {
    let created: Mutex<Option<Client>> = Mutex::new(None);
    simulation.run(vec![Box::new(|_: &SimThread| {
        let seeds: Vec<String> = (0..NODES).map(|n| node_address(n).to_string()).collect();
        let mut config = Config::from_url(&format!("redis://{}", seeds.join(","))).unwrap();
        for (name, value) in &scenario.options {
            config.set(name, value).unwrap();
        }
        *lock(&created) = Some(Client::create_with(config));
    })]);
    created.into_inner().ok().flatten().unwrap()
}

/// Schedules the faults, and returns when the last one ends.
fn schedule_faults(state: &mut State, scenario: &Scenario) -> u64 {
    let begin = state.now;
    for (time, fault) in &scenario.faults {
        state.schedule(begin + time, Event::Fault(fault.clone()));
    }
    let heal_time = begin + 3200 * MS;
    state.schedule(heal_time, Event::Fault(Fault::Heal));
    state.panic_at = scenario.panic_at;
    heal_time
}

/// The callers, and the thread that interrupts and closes their handles.
fn thread_bodies<'a>(context: &'a RunContext<'a>, rng: &mut SeededRng) -> Vec<ThreadBody<'a>> {
    let scenario = context.scenario;
    let mut bodies: Vec<ThreadBody<'a>> = Vec::new();
    for id in 0..scenario.threads {
        let mut rng = SeededRng(rng.next());
        bodies.push(Box::new(move |thread| {
            let caller = Caller {
                context,
                thread,
                id,
            };
            for round in 0..scenario.calls_per_thread {
                thread.sleep(rng.below(scenario.max_think_time));
                caller.random_operation(&mut rng, round);
            }
            if !scenario.closes_handles {
                caller.check_recovery();
            }
        }));
    }
    if scenario.interrupts > 0 || scenario.closes_handles {
        let mut rng = SeededRng(rng.next());
        bodies.push(Box::new(move |thread| {
            interrupt_and_close(context, thread, &mut rng);
        }));
    }
    bodies
}

/// The threads that drive queues.
fn queue_bodies<'a>(
    context: &'a RunContext<'a>,
    queues: &'a [SharedQueue],
    rng: &mut SeededRng,
) -> Vec<ThreadBody<'a>> {
    let threads_per_queue = context.scenario.threads_per_queue();
    let mut bodies: Vec<ThreadBody<'a>> = Vec::new();
    for number in 0..queues.len() * threads_per_queue {
        let mut rng = SeededRng(rng.next());
        let queue = &queues[number / threads_per_queue];
        bodies.push(Box::new(move |thread| {
            let caller = Caller {
                context,
                thread,
                id: thread.id,
            };
            queue.drive(&caller, &mut rng);
        }));
    }
    bodies
}

/// The threads that use subscribers, and one that publishes.
fn subscriber_bodies<'a>(context: &'a RunContext<'a>, rng: &mut SeededRng) -> Vec<ThreadBody<'a>> {
    let subscribers = context.scenario.subscribers;
    let mut bodies: Vec<ThreadBody<'a>> = Vec::new();
    if subscribers == 0 {
        return bodies;
    }
    for number in 0..=subscribers {
        let mut rng = SeededRng(rng.next());
        bodies.push(Box::new(move |thread| {
            let caller = Caller {
                context,
                thread,
                id: thread.id,
            };
            match number {
                0 => caller.publish_at_random(&mut rng),
                _ => SubscriberDriver::new(&caller).drive(&mut rng),
            }
        }));
    }
    bodies
}

fn interrupt_and_close(context: &RunContext<'_>, thread: &SimThread, rng: &mut SeededRng) {
    let scenario = context.scenario;
    for _ in 0..scenario.interrupts {
        let longest = if scenario.is_contended { 20 } else { 400 } * MS;
        thread.sleep(rng.below(longest));
        let now = thread.simulation.lock().now;
        lock(&context.interrupts).push(now);
        context.client.interrupt();
    }
    if scenario.closes_handles {
        thread.sleep(rng.below(1500 * MS));
        let now = thread.simulation.lock().now;
        *lock(&context.closed_at) = Some(now);
        context.client.close();
        context.reader.close();
    }
}

/// Closes the handles, and checks the connections and the history.
fn finish(
    simulation: &Arc<Simulation>,
    context: RunContext<'_>,
) -> (Result<RunStats, String>, Vec<String>) {
    let open = simulation.lock().open_connections();
    // A closed handle has no statistics.
    let counted = counted_connections(&context.reader).unwrap_or(open);
    if counted != open {
        let message = format!("rdc_stats reports {counted} connections, {open} are open");
        simulation.lock().fail(message);
    }
    let RunContext {
        client,
        reader,
        history,
        stats,
        ..
    } = context;
    let close: ThreadBody<'_> = Box::new(move |_| {
        drop(reader);
        drop(client);
    });
    simulation.run(vec![close]);
    let mut state = simulation.lock();
    state.deliver_remaining_events();
    let leaked = state.open_connections();
    if leaked > 0 {
        state.fail(format!("{leaked} connections are leaked"));
    }
    let leaked = state.open_event_loops();
    if leaked > 0 {
        state.fail(format!("{leaked} poll sets and timers are leaked"));
    }
    if let Err(message) = lock(&history).verify(&state.cluster.executions) {
        state.fail(message);
    }
    // A refresh asks at most two nodes, and there are at most two in 100 ms.
    let refreshes = &state.cluster.refreshes;
    if refreshes.windows(44).any(|w| w[43] - w[0] < 500 * MS) {
        state.fail("more than 43 topology requests within 500 ms".to_string());
    }
    let mut stats = std::mem::take(&mut *lock(&stats));
    stats.executed = state.cluster.executed;
    stats.redirections = state.cluster.redirections;
    stats.refreshes = state.cluster.refreshes.len() as u64;
    stats.connects = state.cluster.connects.len() as u64;
    let trace = state.trace.take().unwrap_or_default();
    (state.failure.take().map_or(Ok(stats), Err), trace)
}

/// How many connections a handle's statistics count.
fn counted_connections(client: &Client) -> Option<usize> {
    let stats = client.stats();
    let nodes = stats.view().find("nodes")?;
    let count = |i: usize| {
        nodes
            .at(i)
            .and_then(|node| node.find("connections"))
            .and_then(View::int)
    };
    Some((0..nodes.len()).filter_map(count).sum::<i64>() as usize)
}
