//! The whole client, from a call to its reply, in a deterministic simulation: clock, network, threads
//! and cluster follow a seed.
//!
//! Thousands of scenarios are run. These are checked in each:
//!
//! - Every reply belongs to its own command, and is not older than the call.
//! - No command was executed twice, and none that the caller was told had not been sent.
//! - Every call ended by its deadline, and within 12 ms of an interrupt or the closing of its handle.
//! - Commands of one slot in a pipeline executed in order, and each observed those before it.
//! - A read-only client never wrote. Topology requests and commands never shared a connection. The
//!   rate of topology requests stayed bounded. When all faults had ended, every call succeeded.
//! - While all nodes of a large cluster are restarted one after the other, the rates of connects and topology requests
//!   and the number of connections stay bounded.
//! - No thread waited while it held a lock, and no connection was leaked.
//! - The same holds for commands of queues, which other threads drive as event loops do. Each command completed exactly
//!   once, and at once when it was cancelled. A queue's descriptor was readable if and only if a run or taking a reply had
//!   something to do: this is checked after most steps, while clock and network stand still. Only what another thread
//!   has changed is noticed up to 5 ms later. No function but a run with a timeout waited, and no fiber ever blocked its
//!   thread. No poll set and no timer was leaked.
//! - Subscribers, beside threads that publish: the messages of a channel, from its confirmation or a gap to the next gap, are the
//!   first ones that one connection was sent of it. None is lost, doubled or out of order without a gap. The descriptor is
//!   readable if and only if `next` has something to do. When all faults are over, each message comes, from a node where its
//!   channel belongs.
//!
//! `SIMULATION_SEED=7 cargo test --lib simulation -- --nocapture` runs one scenario of each kind and
//! prints its trace. `SIMULATION_SECONDS=60` continues for longer, and `SIMULATION_FROM=1000` begins
//! at another seed.

mod cluster_model;
mod pool_interleavings;
mod rolling_restart;
mod scenario;
mod simulator;

pub use simulator::SeededRng;

use scenario::{RunStats, Scenario};
use std::time::{Duration, Instant};

fn env_number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
}

/// Runs `f` in a simulation in which the next panic point of this layer panics.
pub fn panicking_once(layer: crate::sim_hooks::Layer, f: impl FnOnce() + Send) {
    let conditions = cluster_model::ServerConditions::default();
    let model = cluster_model::ClusterModel::new(Vec::new(), conditions);
    let network = simulator::NetworkConditions::default();
    let simulation = simulator::Simulation::new(1, network, model);
    simulation.lock().panic_at = Some((layer, 1));
    simulation.run(vec![Box::new(|_: &simulator::SimThread| f())]);
    let passed = simulation.lock().panic_points_passed;
    assert!(passed > 0, "no panic point of {layer:?} was reached");
}

/// Runs the scenario of one seed, and prints its trace.
fn run_one(seed: u64, scenario: &Scenario) {
    let (result, trace) = scenario::run(scenario, true);
    let trace = trace.join("\n");
    match result {
        Ok(stats) => println!("{trace}\nseed {seed}: {stats:?}"),
        Err(message) => panic!("{trace}\nseed {seed}: {message}"),
    }
}

/// Runs scenarios: those of `known_seeds`, which have failed once, then `least` others, and more for as
/// long as the environment says.
fn run_many(scenario: fn(u64) -> Scenario, least: u64, known_seeds: &[u64]) {
    if let Some(seed) = env_number("SIMULATION_SEED") {
        return run_one(seed, &scenario(seed));
    }
    let seconds = env_number("SIMULATION_SECONDS").unwrap_or(0);
    let first = env_number("SIMULATION_FROM").unwrap_or(1);
    let (began, limit) = (Instant::now(), Duration::from_secs(seconds));
    let mut total = RunStats::default();
    let mut known_seeds = known_seeds.iter().copied();
    let (mut next, mut runs) = (first, 0);
    while next < first + least || began.elapsed() < limit {
        let seed = known_seeds.next().unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        runs += 1;
        match scenario::run(&scenario(seed), false) {
            (Ok(stats), _) => total.add(&stats),
            (Err(message), _) => {
                let (_, trace) = scenario::run(&scenario(seed), true);
                let last = &trace[trace.len().saturating_sub(80)..];
                panic!(
                    "{}\n{message}\nreplay with SIMULATION_SEED={seed}",
                    last.join("\n")
                );
            }
        }
    }
    let rate = f64::from(runs) * 60.0 / began.elapsed().as_secs_f64();
    println!("{runs} runs ({rate:.0} a minute): {total:?}");
    assert!(total.has_activity(), "no call has succeeded: {total:?}");
}

#[test]
fn random_faults_violate_no_guarantee() {
    run_many(
        Scenario::with_faults,
        1500,
        &[22848, 32260, 33916, 227_497, 723_770, 1_079_671],
    );
}

#[test]
fn lazy_clients_violate_no_guarantee() {
    run_many(Scenario::with_lazy_client, 300, &[]);
}

#[test]
fn queues_beside_threads_violate_no_guarantee() {
    run_many(Scenario::with_queues, 600, &[]);
}

#[test]
fn healthy_cluster_fails_no_command_of_a_queue() {
    run_many(Scenario::healthy_with_queues, 150, &[]);
}

#[test]
fn subscribers_lose_no_message_without_a_gap() {
    run_many(Scenario::with_subscribers, 300, &[1591, 1174]);
}

#[test]
fn healthy_cluster_delivers_every_message_once() {
    run_many(Scenario::healthy_with_subscribers, 80, &[]);
}

#[test]
fn panic_in_any_layer_keeps_queues_working() {
    run_many(Scenario::with_queues_and_panic, 300, &[]);
}

#[test]
fn panic_in_any_layer_fails_only_its_call() {
    run_many(Scenario::with_panic, 500, &[79468]);
}

#[test]
fn healthy_cluster_fails_no_call() {
    run_many(Scenario::healthy, 200, &[]);
}

#[test]
fn same_seed_reproduces_the_same_run() {
    let kinds = [
        Scenario::with_faults,
        Scenario::with_queues,
        Scenario::with_subscribers,
    ];
    for (scenario, seed) in kinds.iter().flat_map(|kind| (1..6).map(move |n| (kind, n))) {
        let (_, first) = scenario::run(&scenario(seed), true);
        let (_, second) = scenario::run(&scenario(seed), true);
        assert!(first.len() > 50, "the trace is empty");
        let difference = first.iter().zip(&second).find(|(a, b)| a != b);
        assert!(
            difference.is_none(),
            "seed {seed} has two different runs: {difference:#?}"
        );
    }
}
