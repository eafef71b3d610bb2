//! A scenario: the parameters of one run, derived from a seed.

mod caller;
mod faults;
mod history;
mod message_check;
mod operations;
mod pipelines;
mod publisher;
mod queue_checks;
mod queue_command;
mod queue_driver;
mod run;
mod subscriber_driver;

pub use run::{RunStats, run};

use super::cluster_model::{Fault, ServerConditions};
use super::simulator::{MS, NetworkConditions, SeededRng, US};
use crate::sim_hooks::Layer;

/// The timeout of a call.
const CALL_TIMEOUT_MS: u64 = 2000;

pub struct Scenario {
    seed: u64,
    network: NetworkConditions,
    servers: ServerConditions,
    threads: usize,
    calls_per_thread: u64,
    /// The longest time that a thread sleeps between two calls.
    max_think_time: u64,
    /// Faults, and when they happen.
    faults: Vec<(u64, Fault)>,
    options: Vec<(&'static str, String)>,
    /// How many times the handle is interrupted.
    interrupts: u64,
    /// The handles are closed during calls.
    closes_handles: bool,
    /// No fault happens, and no call may fail.
    is_healthy: bool,
    /// All threads use the same keys, at one node.
    is_contended: bool,
    /// Nodes announce hostnames, which the client has to resolve.
    uses_hostnames: bool,
    panic_at: Option<(Layer, u64)>,
    /// How many queues there are beside the threads.
    queues: usize,
    /// Two threads drive each queue in turns.
    moves_queues: bool,
    /// How many subscribers there are beside the threads, and a thread that publishes.
    subscribers: usize,
}

impl Scenario {
    /// No fault happens.
    pub fn healthy(seed: u64) -> Scenario {
        Scenario::without_faults(seed, &mut SeededRng(seed ^ 0xca1f))
    }

    /// A panic in some layer of the library, with or without other faults.
    pub fn with_panic(seed: u64) -> Scenario {
        let mut rng = SeededRng(seed ^ 0xdead);
        let mut scenario = if rng.chance(500) {
            Scenario::with_faults(seed)
        } else {
            Scenario::without_faults(seed, &mut rng)
        };
        let layers = [
            Layer::Ffi,
            Layer::Cluster,
            Layer::Route,
            Layer::Topology,
            Layer::Net,
            Layer::Resp,
        ];
        let layer = layers[rng.below(layers.len() as u64) as usize];
        scenario.panic_at = Some((layer, rng.between(1, 60)));
        scenario.is_healthy = false;
        scenario
    }

    /// Faults of the network, the servers and the cluster, interrupts and contention.
    pub fn with_faults(seed: u64) -> Scenario {
        let mut rng = SeededRng(seed);
        let mut scenario = Scenario::without_faults(seed, &mut rng);
        scenario.is_healthy = false;
        scenario.add_faults(&mut rng);
        scenario
    }

    /// The same faults from the first call on, which has to connect.
    pub fn with_lazy_client(seed: u64) -> Scenario {
        let mut scenario = Scenario::with_faults(seed);
        scenario.options.push(("lazy", "yes".to_string()));
        scenario
    }

    /// The same faults, with queues beside the threads.
    pub fn with_queues(seed: u64) -> Scenario {
        let mut scenario = Scenario::with_faults(seed);
        let mut rng = SeededRng(seed ^ 0x9e1e);
        scenario.add_queues(&mut rng);
        if rng.chance(300) {
            scenario.options.push(("lazy", "yes".to_string()));
        }
        if rng.chance(100) {
            let limit = rng.between(1, 30).to_string();
            scenario.options.push(("queue_limit", limit));
        }
        scenario
    }

    /// Queues beside threads, and no fault.
    pub fn healthy_with_queues(seed: u64) -> Scenario {
        let mut scenario = Scenario::healthy(seed);
        scenario.add_queues(&mut SeededRng(seed ^ 0x9e1e));
        scenario
    }

    /// A panic in some layer of the library, which may hit a queue.
    pub fn with_queues_and_panic(seed: u64) -> Scenario {
        let mut scenario = Scenario::with_panic(seed);
        scenario.add_queues(&mut SeededRng(seed ^ 0x9e1e));
        scenario
    }

    /// The same faults, with subscribers beside the threads, and faults of their connections.
    pub fn with_subscribers(seed: u64) -> Scenario {
        let mut scenario = Scenario::with_faults(seed);
        let mut rng = SeededRng(seed ^ 0x5b5c);
        scenario.add_subscribers(&mut rng);
        scenario.add_subscriber_faults(&mut rng);
        scenario
    }

    /// Subscribers beside threads, and no fault.
    pub fn healthy_with_subscribers(seed: u64) -> Scenario {
        let mut scenario = Scenario::healthy(seed);
        scenario.add_subscribers(&mut SeededRng(seed ^ 0x5b5c));
        scenario
    }

    fn add_subscribers(&mut self, rng: &mut SeededRng) {
        self.subscribers = rng.between(1, 2) as usize;
        self.threads = self.threads.min(2);
        // The simulation runs a call that takes no time.
        self.servers.large_values = 0;
        let ping_ms = match rng.chance(500) {
            true => rng.between(60, 300),
            false => rng.between(300, 1500),
        };
        self.options
            .push(("subscriber_ping_ms", ping_ms.to_string()));
        if rng.chance(400) {
            self.options.push(("spread_channels", "yes".to_string()));
        }
        if rng.chance(300) {
            self.options.push(("lazy", "yes".to_string()));
        }
        if rng.chance(400) {
            let from = ["replica", "any", "nearest"][rng.below(3) as usize];
            self.options.push(("read_from", from.to_string()));
        }
    }

    fn add_queues(&mut self, rng: &mut SeededRng) {
        self.queues = rng.between(1, 3) as usize;
        self.moves_queues = self.queues < 3 && rng.chance(300);
        // The simulation has eight threads; one interrupts the handles.
        let queue_threads = self.queues * self.threads_per_queue();
        self.threads = self.threads.min(7 - queue_threads);
        if rng.chance(300) {
            self.threads = self.threads.min(1);
        }
    }

    fn threads_per_queue(&self) -> usize {
        1 + usize::from(self.moves_queues)
    }

    fn without_faults(seed: u64, rng: &mut SeededRng) -> Scenario {
        let options = vec![
            ("timeout_ms", CALL_TIMEOUT_MS.to_string()),
            ("attempt_timeout_ms", rng.between(150, 500).to_string()),
            ("connect_timeout_ms", rng.between(100, 500).to_string()),
            ("connections_per_node", rng.between(1, 3).to_string()),
            ("protocol", rng.between(2, 3).to_string()),
        ];
        Scenario {
            seed,
            network: NetworkConditions {
                fragments: rng.chance(500),
                short_sends: 0,
                max_delay: rng.between(10 * US, MS),
                stalls: 0,
                breaks: 0,
                send_buffer: 65536,
                timer_slack: rng.between(1, 7) * MS,
            },
            servers: ServerConditions {
                random_errors: 0,
                pushes: 0,
                slow_replies: 0,
                max_reply_delay: 0,
                large_values: rng.below(40),
            },
            threads: rng.between(1, 4) as usize,
            calls_per_thread: rng.between(4, 10),
            max_think_time: rng.between(1, 60) * MS,
            faults: Vec::new(),
            options,
            interrupts: 0,
            closes_handles: false,
            is_healthy: true,
            is_contended: false,
            uses_hostnames: rng.chance(200),
            panic_at: None,
            queues: 0,
            moves_queues: false,
            subscribers: 0,
        }
    }

    /// The value of an option of the client, if it is set.
    fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options.iter().rev();
        let found = options.find(|(of, _)| *of == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether keys of one slot may be at two nodes.
    fn has_migrations(&self) -> bool {
        let is_migration = |fault: &Fault| matches!(fault, Fault::Migrate(..));
        self.faults.iter().any(|(_, fault)| is_migration(fault))
    }
}

/// Two keys in each of three slots, and one in a fourth.
fn keys() -> Vec<String> {
    ["{a}1", "{a}2", "{b}1", "{b}2", "{c}1", "{c}2", "d"]
        .map(str::to_string)
        .to_vec()
}
