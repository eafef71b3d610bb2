//! A rolling restart of a large cluster: each node is killed, replaced by its replica if it is a primary, and returns.

use super::cluster_model::{ClusterModel, Fault, ServerConditions};
use super::simulator::{
    Event, MS, NetworkConditions, SeededRng, SimThread, Simulation, State, ThreadBody, US,
    node_address,
};
use crate::cluster::Client;
use crate::config::Config;
use crate::resp::{Kind, View};
use std::sync::{Arc, Mutex, PoisonError};

const SHARDS: usize = 500;
const NODES: usize = 2 * SHARDS;
const SECOND: u64 = 1000 * MS;

/// The time between two restarts: 50 nodes a second, far more than an operator does.
const RESTART_EVERY: u64 = 20 * MS;
/// A primary's replica is promoted this long after its death.
const PROMOTED_AFTER: u64 = 200 * MS;
/// A node is back this long after its death. So 20 nodes are down at any time.
const DOWN_FOR: u64 = 400 * MS;

const CALLERS: usize = 4;
/// The longest time between two calls of one caller.
const THINK_TIME: u64 = 10 * MS;

/// The most connects of one client within a second: 50 to restarted nodes, 42 to ask for the topology, and retries to
/// the 20 nodes that are down.
const MAX_CONNECTS_A_SECOND: usize = 150;
/// The most connects of one client to one node within a second: a failed one is followed by a backoff of 100 ms.
const MAX_CONNECTS_TO_NODE_A_SECOND: usize = 10;
/// The most topology requests within a second: at most two refreshes in 100 ms, which ask two nodes each.
const MAX_TOPOLOGY_REQUESTS_A_SECOND: usize = 42;

/// How many nodes outside the topology a client knows at most.
const MAX_OTHER_NODES: usize = 32;

fn schedule_restarts(state: &mut State) -> u64 {
    let begin = state.now;
    for node in 0..NODES {
        let killed = begin + node as u64 * RESTART_EVERY;
        let promoted = Event::Fault(Fault::Failover(node % SHARDS));
        state.schedule(killed, Event::Fault(Fault::Kill(node)));
        state.schedule(killed + PROMOTED_AFTER, promoted);
        state.schedule(killed + DOWN_FOR, Event::Fault(Fault::Revive(node)));
    }
    begin + NODES as u64 * RESTART_EVERY + DOWN_FOR
}

/// A client that has a connection to each primary.
fn create_client(simulation: &Arc<Simulation>) -> Client {
    let created: Mutex<Option<Client>> = Mutex::new(None);
    simulation.run(vec![Box::new(|_: &SimThread| {
        let config = Config::from_url(&format!("redis://{}", node_address(0))).unwrap();
        let client = Client::create_with(config);
        assert!(client.error().is_none(), "{:?}", client.error());
        let reply = client.command(&[b"DBSIZE"]).whole();
        assert_eq!(reply.view().kind(), Kind::Integer);
        *created.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
    })]);
    created.into_inner().ok().flatten().unwrap()
}

/// The most of these times that are within one second.
fn most_in_a_second(times: &[u64]) -> usize {
    let in_second = |first: usize| times[first..].partition_point(|t| *t < times[first] + SECOND);
    (0..times.len()).map(in_second).max().unwrap_or(0)
}

#[test]
fn rolling_restart_of_thousand_nodes_is_bounded() {
    let network = NetworkConditions {
        max_delay: 500 * US,
        send_buffer: 65536,
        timer_slack: MS,
        ..NetworkConditions::default()
    };
    let model = ClusterModel::of_shards(SHARDS, Vec::new(), ServerConditions::default());
    let simulation = Simulation::new(1, network, model);
    let client = create_client(&simulation);
    let end = {
        let mut state = simulation.lock();
        assert_eq!(state.open_connections(), SHARDS);
        state.cluster.connects.clear();
        state.cluster.refreshes.clear();
        schedule_restarts(&mut state)
    };
    let errors: Mutex<Vec<String>> = Mutex::default();
    let caller = |seed: u64| -> ThreadBody<'_> {
        let (client, errors) = (&client, &errors);
        Box::new(move |thread: &SimThread| {
            let mut rng = SeededRng(seed);
            while thread.simulation.lock().now < end {
                thread.sleep(rng.below(THINK_TIME));
                let key = format!("key:{}", rng.below(100_000));
                let reply = client.command(&[b"GET", key.as_bytes()]).whole();
                if reply.view().kind() == Kind::Error {
                    let text = reply.view().str().unwrap_or_default();
                    errors.lock().unwrap().push(text.to_string());
                }
            }
        })
    };
    simulation.run((1..=CALLERS as u64).map(caller).collect());
    let (mut state, errors) = (simulation.lock(), errors.into_inner().unwrap());
    let connects = std::mem::take(&mut state.cluster.connects);
    let to_one_node = (0..NODES).map(|node| {
        let of_node = connects.iter().filter(|(_, to)| *to == node);
        most_in_a_second(&of_node.map(|(time, _)| *time).collect::<Vec<_>>())
    });
    let to_one_node = to_one_node.max().unwrap_or(0);
    let connects: Vec<u64> = connects.into_iter().map(|(time, _)| time).collect();
    let requests = std::mem::take(&mut state.cluster.refreshes);
    let open = state.open_connections();
    drop(state);
    let figures = format!(
        "{} connects, at most {} in a second, and {to_one_node} to one node; {} topology requests, at most {} in a second; {open} connections open; \
         {} errors",
        connects.len(),
        most_in_a_second(&connects),
        requests.len(),
        most_in_a_second(&requests),
        errors.len()
    );
    println!("{figures}");
    assert!(errors.is_empty(), "{figures}: {:?}", errors.first());
    assert!(
        most_in_a_second(&connects) <= MAX_CONNECTS_A_SECOND,
        "{figures}"
    );
    assert!(
        most_in_a_second(&requests) <= MAX_TOPOLOGY_REQUESTS_A_SECOND,
        "{figures}"
    );
    assert!(to_one_node <= MAX_CONNECTS_TO_NODE_A_SECOND, "{figures}");
    // The memory of a client is that of its connections and of the nodes that it knows.
    assert!(open <= NODES, "{figures}");
    // A map has a key and a value for each node.
    let known = client.stats().view().find("nodes").map_or(0, View::len) / 2;
    assert!(known <= NODES + MAX_OTHER_NODES, "{known} nodes");
    let close: ThreadBody<'_> = Box::new(move |_| drop(client));
    simulation.run(vec![close]);
}
