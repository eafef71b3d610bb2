//! Faults of a cluster while publishers number their messages: tests/c/messages.c checks that a subscriber gets each
//! message once and in order, or is told of a gap. This test breaks and repairs the cluster, and tells the program.
//!
//! The oldest and the newest server run all faults once; `make chaos-messages` repeats them on every server for
//! MESSAGES_SECONDS, and until there were MESSAGES_COUNT messages. MESSAGES_SERVER selects servers by a part of their
//! names.

use crate::common::primary_faults::{kill_primary, ordered_failover, stop_primary};
use crate::common::serial::serial;
use crate::common::{newest, servers};
use crate::programs::{ROOT, compile, scratch};
use crate::soak::{number, rest};
use crate::told_program::Program;
use std::path::Path;
use std::time::{Duration, Instant};
use support::find::Found;
use support::{Cluster, slot_of};

/// The time without a fault between two faults.
const CALM: Duration = Duration::from_millis(1000);

/// A slot of each primary.
const SLOTS: [u16; 3] = [0, 8192, 16383];

/// The slots of channels, and one that has none, move to another primary and back.
fn move_slots(cluster: &Cluster, _: u16) {
    for channel in ["sharded:0", "sharded:7", "sharded:21", "no channel"] {
        let slot = slot_of(channel.as_bytes());
        let home = cluster.primary_of(slot).unwrap();
        let away = SLOTS.map(|slot| cluster.primary_of(slot).unwrap());
        let away = away.into_iter().find(|port| *port != home).unwrap();
        for to in [away, home] {
            match cluster.has_atomic_migration() && to == home {
                true => cluster.migrate_slots_atomically(slot, slot, to).unwrap(),
                false => cluster.migrate_slot(slot, to).unwrap(),
            }
        }
    }
}

fn close_connections(cluster: &Cluster, _: u16) {
    for port in cluster.ports() {
        let kill = ["CLIENT", "KILL", "TYPE", "pubsub"];
        cluster.command(port, &kill).unwrap();
    }
}

/// Nodes close the connection of a subscriber that does not read.
fn overflow_output_buffers(cluster: &Cluster, _: u16) {
    let limit = |value: &str| {
        for port in cluster.ports() {
            let set = ["CONFIG", "SET", "client-output-buffer-limit", value];
            assert_eq!(cluster.command(port, &set).unwrap().text(), "OK");
        }
    };
    limit("pubsub 20000 0 0");
    rest(Duration::from_millis(2500));
    limit("pubsub 33554432 8388608 60");
}

type Fault = fn(&Cluster, u16);
const FAULTS: [(&str, Fault); 7] = [
    ("fault failover", ordered_failover),
    ("fault moved slots", move_slots),
    ("fault closed connections", close_connections),
    ("slow", overflow_output_buffers),
    ("lossy kill", kill_primary),
    ("lossy stop", stop_primary),
    ("fault failover again", ordered_failover),
];

fn messages_are_complete_or_gaps_are_announced(server: Found, program: &Path) {
    let name = server.to_string();
    let cluster = Cluster::builder()
        .node_timeout_ms(1500)
        .server(server)
        .start()
        .unwrap();
    let mut program = Program::start(program, &cluster.url(), &[]);
    program.wait_line("ready");
    let end = Instant::now() + Duration::from_secs(number("MESSAGES_SECONDS", 0));
    let (mut rounds, mut published) = (0, 0);
    while rounds == 0 || Instant::now() < end || published < number("MESSAGES_COUNT", 0) {
        for (n, (what, fault)) in FAULTS.into_iter().enumerate() {
            rest(CALM);
            program.tell(what);
            fault(&cluster, SLOTS[(rounds + n) % SLOTS.len()]);
            cluster.wait_agreement().unwrap();
            rest(CALM);
            let said = program.tell("calm");
            let count = said.split(' ').next().expect("a number of messages");
            published = count.parse().expect("a number of messages");
        }
        rounds += 1;
    }
    rest(CALM);
    program.tell("end");
    let said = program.finish();
    assert!(said.contains(" passed, 0 failed"), "{name}\n{said}");
}

#[test]
fn subscriber_loses_no_message_in_silence() {
    let _serial = serial();
    let program = scratch("messages").join("program");
    compile(&Path::new(ROOT).join("tests/c/messages.c"), &program);
    let every = servers().into_iter();
    let chosen: Vec<Found> = match std::env::var("MESSAGES_SERVER") {
        Ok(part) => every.filter(|s| s.to_string().contains(&part)).collect(),
        Err(_) if number("MESSAGES_SECONDS", 0) + number("MESSAGES_COUNT", 0) > 0 => {
            every.collect()
        }
        Err(_) => every.take(1).chain([newest("valkey")]).collect(),
    };
    assert!(!chosen.is_empty(), "no server has that name");
    for server in chosen {
        messages_are_complete_or_gaps_are_announced(server, &program);
    }
}
