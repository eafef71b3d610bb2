//! Faults of a cluster while one thread with an event loop keeps 10,000 commands in flight: tests/c/queue_failover.c
//! checks each command. This test breaks and repairs the cluster, and tells the program which.

use crate::common::serial::serial;
use crate::common::shared::wait_promotion;
use crate::programs::{ROOT, compile, scratch};
use crate::soak::{Running, number, rest};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use support::{Cluster, Failover};

const MS: Duration = Duration::from_millis(1);
/// The time without a fault between two faults, and after a recovery until errors are violations.
const CALM: Duration = Duration::from_millis(1500);

/// A slot of each primary.
const SLOTS: [u16; 3] = [0, 8192, 16383];

/// The running program: lines to it, and from it.
struct Program {
    running: Running,
    input: ChildStdin,
    output: Receiver<String>,
    said: Vec<String>,
}

impl Program {
    fn start(program: &Path, url: &str, seed: u64) -> Program {
        let running = Command::new(program)
            .env("RDC_URL", url)
            .env("RDC_SEED", seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut running = running.unwrap();
        let input = running.stdin.take().expect("its input");
        let stdout = running.stdout.take().expect("its output");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                println!("{line}");
                // The test has ended.
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Program {
            running: Running(Some(running)),
            input,
            output,
            said: Vec::new(),
        }
    }

    fn wait_line(&mut self, wanted: &str) {
        loop {
            let line = self.output.recv_timeout(Duration::from_secs(60));
            let line = line.unwrap_or_else(|e| panic!("no line with {wanted}: {e}"));
            self.said.push(line);
            if self.said.last().is_some_and(|line| line.contains(wanted)) {
                return;
            }
        }
    }

    /// Writes a line, and waits until the program has read it.
    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.wait_line(&format!("# {line}: "));
    }

    /// The whole output, after the program has ended successfully.
    fn finish(mut self) -> String {
        loop {
            match self.output.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the program does not end"),
            }
        }
        let mut child = self.running.0.take().expect("the program");
        let status = child.wait().unwrap();
        let said = self.said.join("\n");
        assert!(status.success(), "{status}\n{said}");
        said
    }
}

fn kill_primary(cluster: &Cluster, slot: u16) {
    let primary = cluster.primary_of(slot).unwrap();
    cluster.kill(primary).unwrap();
    wait_promotion(cluster, slot, primary);
    rest(500 * MS);
    cluster.restart(primary).unwrap();
}

fn stop_primary(cluster: &Cluster, slot: u16) {
    let primary = cluster.primary_of(slot).unwrap();
    cluster.stop(primary).unwrap();
    wait_promotion(cluster, slot, primary);
    rest(500 * MS);
    cluster.cont(primary).unwrap();
}

fn ordered_failover(cluster: &Cluster, slot: u16) {
    let replica = cluster.replicas_of(slot).unwrap()[0];
    cluster.failover(replica, Failover::Plain).unwrap();
}

/// What happens to the primary of each slot. The last one loses no write.
type Fault = fn(&Cluster, u16);
const FAULTS: [(&str, Fault); 3] = [
    ("lossy kill", kill_primary),
    ("lossy stop", stop_primary),
    ("fault failover", ordered_failover),
];

#[test]
fn ten_thousand_queued_commands_survive_failovers() {
    let _serial = serial();
    let seed = number("SOAK_SEED", u64::from(std::process::id()));
    println!("SOAK_SEED={seed}");
    let program = scratch("queue-failover").join("program");
    compile(&Path::new(ROOT).join("tests/c/queue_failover.c"), &program);
    let cluster = Cluster::builder().node_timeout_ms(1500).start().unwrap();
    let mut program = Program::start(&program, &cluster.url(), seed);
    program.wait_line("ready");
    for ((name, fault), slot) in FAULTS.into_iter().zip(SLOTS) {
        rest(CALM);
        program.tell(name);
        fault(&cluster, slot);
        cluster.wait_agreement().unwrap();
        rest(CALM);
        program.tell("calm");
    }
    rest(CALM);
    program.tell("end");
    let said = program.finish();
    assert!(
        said.contains(" passed, 0 failed"),
        "SOAK_SEED={seed}\n{said}"
    );
}
