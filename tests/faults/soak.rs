//! Repeated faults of a cluster under the load of 64 threads of a C program, tests/c/soak.c, which checks the
//! guarantees. This test breaks and repairs the cluster, and tells the program which.
//!
//! It runs for 10 s plus the last fault; `make soak` runs 600 s, or SOAK_SECONDS. SOAK_SEED sets the order of the
//! faults.

use crate::common::serial::serial;
use crate::programs::{ROOT, compile, scratch};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Chaos, Cluster, Failover, Node, Proxy, Role, wait_until};

const MS: Duration = Duration::from_millis(1);
/// The minimum time without a fault between two faults; no call may fail then.
const FAULT_INTERVAL: Duration = Duration::from_millis(1000);
/// After recovery, broken connections are detected by their next use. A connection that was idle for one second is
/// checked before use.
const RECOVERY_GRACE: Duration = Duration::from_millis(1500);

struct Fault {
    name: &'static str,
    /// Whether acknowledged writes may be lost.
    loses_writes: bool,
    run: fn(&mut Setup) -> support::Result<()>,
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "every wire is cut",
        loses_writes: false,
        run: |w| {
            w.proxies.iter().for_each(Proxy::cut);
            Ok(())
        },
    },
    Fault {
        name: "wires delay, split and cut",
        loses_writes: false,
        run: Setup::degrade_proxies,
    },
    Fault {
        name: "a failover that was asked for",
        loses_writes: false,
        run: |w| w.failover(Failover::Plain),
    },
    Fault {
        name: "slots migrate",
        loses_writes: false,
        run: Setup::migrate,
    },
    Fault {
        name: "servers hang up on all their clients",
        loses_writes: false,
        run: Setup::kill_clients,
    },
    Fault {
        name: "a primary stops for a moment",
        loses_writes: false,
        run: Setup::stall_primary,
    },
    Fault {
        name: "a replica is killed and comes back",
        loses_writes: false,
        run: Setup::kill_replica,
    },
    Fault {
        name: "a primary is killed and comes back as a replica",
        loses_writes: true,
        run: Setup::kill_primary,
    },
    Fault {
        name: "a primary stops until it has a successor",
        loses_writes: true,
        run: Setup::stop_primary,
    },
    Fault {
        name: "a primary is killed and comes back at once",
        loses_writes: true,
        run: Setup::restart_primary,
    },
    Fault {
        name: "a replica takes over by force",
        loses_writes: true,
        run: |w| w.failover(Failover::Force),
    },
    Fault {
        name: "a replica takes over without asking",
        loses_writes: true,
        run: |w| w.failover(Failover::Takeover),
    },
];

/// The program; it ends with the test, however that ends.
pub struct Running(pub Option<Child>);

impl Running {
    pub fn has_ended(&mut self) -> bool {
        let ended = self.0.as_mut().map(|child| child.try_wait().unwrap());
        ended.is_none_or(|status| status.is_some())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have exited already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Setup {
    cluster: Cluster,
    proxies: Vec<Proxy>,
    rng: StdRng,
}

/// Waits for this time.
pub fn rest(time: Duration) {
    let finished = Instant::now() + time;
    wait_until(
        || Instant::now() >= finished,
        time + Duration::from_secs(60),
    );
}

impl Setup {
    fn random_node(&mut self, role: Role) -> u16 {
        let nodes = self.cluster.nodes();
        let ports: Vec<u16> = nodes
            .iter()
            .filter(|n| n.role == role)
            .map(|n| n.port)
            .collect();
        *ports.choose(&mut self.rng).expect("a node of each role")
    }

    /// The replicas of a primary.
    fn replicas(&self, primary: u16) -> Vec<u16> {
        let nodes = self.cluster.nodes().into_iter();
        nodes
            .filter(|n| n.primary == Some(primary))
            .map(|n| n.port)
            .collect()
    }

    /// Waits until all nodes agree and every replica is linked. Under load replicas never catch up completely.
    fn wait_recovered(&self) {
        self.cluster.wait_agreement().unwrap();
        let linked = |node: &Node| {
            let info = (self.cluster).command(node.port, &["INFO", "replication"]);
            node.role == Role::Primary
                || info.is_ok_and(|info| info.text().contains("master_link_status:up"))
        };
        assert!(
            wait_until(
                || self.cluster.nodes().iter().all(linked),
                Duration::from_secs(60)
            ),
            "a replica does not reconnect to its primary"
        );
    }

    /// Waits until one of them has been promoted.
    fn wait_promotion(&self, replicas: &[u16]) {
        let is_primary = |port: &u16| {
            self.cluster
                .node(*port)
                .is_ok_and(|n| n.role == Role::Primary)
        };
        assert!(
            wait_until(|| replicas.iter().any(is_primary), Duration::from_secs(60)),
            "none of {replicas:?} was promoted"
        );
    }

    fn degrade_proxies(&mut self) -> support::Result<()> {
        let chaos = Chaos {
            split: 3000,
            delays: 30,
            delay: 30 * MS,
            cuts: 5,
            ..Chaos::default()
        };
        self.proxies.iter().for_each(|wire| wire.set(chaos));
        rest(1500 * MS);
        self.proxies
            .iter()
            .for_each(|wire| wire.set(Chaos::default()));
        Ok(())
    }

    fn failover(&mut self, mode: Failover) -> support::Result<()> {
        let replica = self.random_node(Role::Replica);
        self.cluster.failover(replica, mode)
    }

    fn migrate(&mut self) -> support::Result<()> {
        for _ in 0..3 {
            let to = self.random_node(Role::Primary);
            let slot = self.rng.random_range(0..16384);
            if self.cluster.primary_of(slot)? != to {
                self.cluster.migrate_slot(slot, to)?;
            }
        }
        Ok(())
    }

    fn kill_clients(&mut self) -> support::Result<()> {
        for node in self.cluster.nodes() {
            self.cluster
                .command(node.port, &["CLIENT", "KILL", "TYPE", "normal"])?;
        }
        Ok(())
    }

    fn stall_primary(&mut self) -> support::Result<()> {
        let primary = self.random_node(Role::Primary);
        self.cluster.stop(primary)?;
        rest(700 * MS);
        self.cluster.cont(primary)
    }

    fn kill_replica(&mut self) -> support::Result<()> {
        let replica = self.random_node(Role::Replica);
        self.cluster.kill(replica)?;
        rest(500 * MS);
        self.cluster.restart(replica)
    }

    fn kill_primary(&mut self) -> support::Result<()> {
        let primary = self.random_node(Role::Primary);
        let replicas = self.replicas(primary);
        self.cluster.kill(primary)?;
        self.wait_promotion(&replicas);
        self.cluster.restart(primary)
    }

    fn stop_primary(&mut self) -> support::Result<()> {
        let primary = self.random_node(Role::Primary);
        let replicas = self.replicas(primary);
        self.cluster.stop(primary)?;
        self.wait_promotion(&replicas);
        self.cluster.cont(primary)
    }

    fn restart_primary(&mut self) -> support::Result<()> {
        let primary = self.random_node(Role::Primary);
        self.cluster.restart(primary)
    }
}

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text
            .parse()
            .unwrap_or_else(|e| panic!("{name}={text}: {e}")),
        _ => default,
    }
}

#[test]
fn sixty_four_threads_survive_repeated_faults() {
    let _serial = serial();
    let seconds = number("SOAK_SECONDS", 10);
    let seed = number("SOAK_SEED", u64::from(std::process::id()));
    println!("SOAK_SEED={seed} SOAK_SECONDS={seconds}");
    let program = scratch("soak").join("program");
    compile(&Path::new(ROOT).join("tests/c/soak.c"), &program);

    // A long node timeout, so that a busy machine fails no node that was not stopped.
    let cluster = Cluster::builder()
        .node_timeout_ms(3000)
        .appendonly(true)
        .start()
        .unwrap();
    let proxies: Vec<Proxy> = (cluster.ports().iter())
        .map(|port| Proxy::start(*port, Chaos::default(), seed ^ u64::from(*port)))
        .collect();
    let map: Vec<String> = (cluster.ports().iter().zip(&proxies))
        .map(|(port, wire)| format!("127.0.0.1:{port}=127.0.0.1:{}", wire.port()))
        .collect();
    let url = format!(
        "{}?timeout_ms=3000&address_map={}",
        cluster.url(),
        map.join(",")
    );
    let path = program.with_file_name("state");
    let state = File::create(&path).unwrap();
    state.set_len(4096).unwrap();
    let mut words = [0u32; 3];
    let mut tell = |word: usize| {
        words[word] += 1;
        state
            .write_all_at(&words[word].to_ne_bytes(), word as u64 * 4)
            .unwrap();
    };
    let began = Instant::now();
    let running = Command::new(&program)
        .env("RDC_URL", url)
        .env("RDC_SOAK_FILE", &path)
        .env("RDC_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .spawn();
    let mut running = Running(Some(running.unwrap()));

    let mut setup = Setup {
        cluster,
        proxies,
        rng: StdRng::seed_from_u64(seed),
    };
    let mut order: Vec<&Fault> = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    rest(FAULT_INTERVAL);
    while began.elapsed() < Duration::from_secs(seconds) && !running.has_ended() {
        if order.is_empty() {
            // Each fault once before any repeats.
            order.extend(FAULTS);
            order.shuffle(&mut setup.rng);
        }
        let fault = order.pop().expect("a fault");
        println!("{:>7.1} s: {}", began.elapsed().as_secs_f64(), fault.name);
        tell(0);
        if fault.loses_writes {
            tell(1);
        }
        (fault.run)(&mut setup).unwrap_or_else(|e| panic!("{}: {e}", fault.name));
        setup.wait_recovered();
        rest(RECOVERY_GRACE);
        if fault.loses_writes {
            tell(1);
        }
        tell(0);
        done.push(fault.name);
        rest(FAULT_INTERVAL);
    }
    tell(2);
    let output = running.0.take().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success(),
        "SOAK_SEED={seed}: {}",
        output.status
    );
    assert!(said.contains(" passed, 0 failed"), "SOAK_SEED={seed}");
    assert!(done.len() > 1, "the run was too short for a fault");
}
