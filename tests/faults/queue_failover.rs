//! Faults of a cluster while one thread with an event loop keeps 10,000 commands in flight: tests/c/queue_failover.c
//! checks each command. This test breaks and repairs the cluster, and tells the program which.

use crate::common::primary_faults::{kill_primary, ordered_failover, stop_primary};
use crate::common::serial::serial;
use crate::programs::{ROOT, compile, scratch};
use crate::soak::{number, rest};
use crate::told_program::Program;
use std::path::Path;
use std::time::Duration;
use support::Cluster;

/// The time without a fault between two faults, and after a recovery until errors are violations.
const CALM: Duration = Duration::from_millis(1500);

/// A slot of each primary.
const SLOTS: [u16; 3] = [0, 8192, 16383];

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
    let mut program = Program::start(&program, &cluster.url(), &[("RDC_SEED", seed.to_string())]);
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
