//! A deterministic simulator: the clock, the network and the scheduling of threads follow a seed.
//!
//! Threads are real, but one runs at a time. A thread that has to wait states what it waits for, and
//! the scheduler chooses the next thread among the runnable ones. If no thread is runnable, the clock
//! advances to the next event. A run of any simulated length therefore takes little real time, and the
//! same seed gives the same run, byte for byte.

mod event_loops;
mod network;
mod rng;
mod scheduler;
mod system_calls;

pub use event_loops::Effects;
pub use network::{Event, NetworkConditions, node_address};
pub use rng::SeededRng;
pub use scheduler::Schedule;

use super::cluster_model::ClusterModel;
use crate::sim_hooks::{Layer, enter};
use event_loops::{EventLoops, Restrictions};
use network::{ScheduledEvent, SimConnection};
use scheduler::{ThreadWait, WaitReason};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Nanoseconds of a millisecond. All times of the simulation are in nanoseconds.
pub const MS: u64 = 1_000_000;
/// Nanoseconds of a microsecond.
pub const US: u64 = 1_000;

const MAX_THREADS: usize = 8;

/// What a thread has done for batches of the pool since its current call began.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchActivity {
    pub batches_led: usize,
    pub replies_read_for_others: usize,
    /// The number of commands that had been executed when the thread joined a batch.
    pub executed_at_join: Option<u64>,
}

/// Everything that threads share; whichever thread runs holds the only access to it.
pub struct State {
    pub now: u64,
    pub rng: SeededRng,
    sequence: u64,
    events: BinaryHeap<Reverse<ScheduledEvent>>,
    pub connections: Vec<SimConnection>,
    connection_by_fd: HashMap<RawFd, usize>,
    signaled_events: BTreeSet<RawFd>,
    event_loops: EventLoops,
    restrictions: Restrictions,
    effects: [Effects; MAX_THREADS],
    /// What each living thread waits for; `None` for the one that runs.
    waits: BTreeMap<usize, Option<ThreadWait>>,
    running: Option<usize>,
    pub network: NetworkConditions,
    pub cluster: ClusterModel,
    /// The first violation that was found.
    pub failure: Option<String>,
    pub trace: Option<Vec<String>>,
    /// The panic point that panics: the layer, and its number, counted from 1.
    pub panic_at: Option<(Layer, u64)>,
    /// The panic points of that layer that threads have passed.
    pub panic_points_passed: u64,
    pub schedule: Option<Schedule>,
    pub batch_activity: [BatchActivity; MAX_THREADS],
}

impl State {
    /// Appends a line to the trace, if there is one.
    pub fn log(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} {}", now as f64 / MS as f64, line()));
        }
    }

    /// Records a violation; the first one decides the result of the run.
    pub fn fail(&mut self, message: String) {
        self.log(|| format!("FAILED: {message}"));
        self.failure.get_or_insert(message);
    }
}

/// One simulated run, shared by its threads.
pub struct Simulation {
    state: Mutex<State>,
    /// Wakes each thread when the scheduler has chosen it.
    scheduled: [Condvar; MAX_THREADS],
}

impl Simulation {
    pub fn new(seed: u64, network: NetworkConditions, cluster: ClusterModel) -> Arc<Simulation> {
        Arc::new(Simulation {
            state: Mutex::new(State {
                now: 1_000 * MS,
                rng: SeededRng(seed),
                sequence: 0,
                events: BinaryHeap::new(),
                connections: Vec::new(),
                connection_by_fd: HashMap::new(),
                signaled_events: BTreeSet::new(),
                event_loops: EventLoops::default(),
                restrictions: Restrictions::default(),
                effects: Default::default(),
                waits: BTreeMap::new(),
                running: None,
                network,
                cluster,
                failure: None,
                trace: None,
                panic_at: None,
                panic_points_passed: 0,
                schedule: None,
                batch_activity: Default::default(),
            }),
            scheduled: Default::default(),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, thread: Option<usize>) {
        if let Some(thread) = thread {
            self.scheduled[thread].notify_one();
        }
    }

    /// Runs each body as a simulated thread, until all have ended.
    pub fn run<'a>(self: &Arc<Simulation>, bodies: Vec<ThreadBody<'a>>) {
        {
            let mut state = self.lock();
            for id in 0..bodies.len() {
                let now = state.now;
                let ready = ThreadWait::new(WaitReason::Timer, Some(now));
                state.waits.insert(id, Some(ready));
            }
            state.running = state.schedule_next(None);
        }
        std::thread::scope(|scope| {
            for (id, body) in bodies.into_iter().enumerate() {
                let simulation = self.clone();
                scope.spawn(move || SimThread { simulation, id }.run(body));
            }
        });
    }
}

/// The code of a simulated thread.
pub type ThreadBody<'a> = Box<dyn FnOnce(&SimThread) + Send + 'a>;

/// A simulated thread.
#[derive(Clone)]
pub struct SimThread {
    pub simulation: Arc<Simulation>,
    pub id: usize,
}

impl SimThread {
    fn run(&self, body: ThreadBody<'_>) {
        let mut state = self.wait_until_scheduled(self.simulation.lock());
        state.waits.insert(self.id, None);
        drop(state);
        enter(Some(Rc::new(self.clone())));
        body(self);
        enter(None);
        let mut state = self.simulation.lock();
        state.waits.remove(&self.id);
        state.running = state.schedule_next(None);
        self.simulation.wake(state.running);
    }
}
