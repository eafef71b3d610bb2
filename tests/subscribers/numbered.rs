//! Numbered messages while the cluster is broken and repaired: on every channel, the numbers are in sequence, or a gap
//! precedes the next one.

use crate::common::client;
use crate::common::primary_faults::{kill_primary, ordered_failover};
use crate::common::set_on_drop::SetOnDrop;
use crate::healthy::cluster;
use crate::listener::Listener;
use rediscluster::cluster::Client;
use rediscluster::resp::{Kind, View};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};
use support::{Cluster, slot_of};

const CHANNELS: usize = 8;
const MOMENT: Duration = Duration::from_secs(1);

/// The channels, and the node that no fault concerns. It is the only one that publishes to channels that are not sharded: a
/// node that dies takes messages with it that it has not sent to the others, and messages of two nodes have no order.
#[derive(Clone)]
struct Plan {
    node: u16,
    names: Vec<String>,
}

impl Plan {
    fn new(cluster: &Cluster) -> Plan {
        let node = cluster.primary_of(0).unwrap();
        let names = (0..).map(|n| format!("channel:{n}"));
        let is_elsewhere =
            |name: &String| cluster.primary_of(slot_of(name.as_bytes())).unwrap() != node;
        let names = names.filter(is_elsewhere).take(CHANNELS).collect();
        Plan { node, names }
    }
}

/// Publishes numbers on all channels, each until it is accepted. A number may so be published twice.
fn publish(client: &Client, command: &str, plan: &Plan, ends: &AtomicBool) {
    let node = format!("127.0.0.1:{}", plan.node);
    for number in 1.. {
        for channel in &plan.names {
            let text = format!("{number}");
            let args = [command.as_bytes(), channel.as_bytes(), text.as_bytes()];
            let accept = || match command {
                "PUBLISH" => client.command_to(&node, &args),
                _ => client.command(&args).whole(),
            };
            while !ends.load(Ordering::SeqCst) && accept().view().kind() == Kind::Error {}
        }
        if ends.load(Ordering::SeqCst) {
            return println!("{number} on each channel by {command}");
        }
    }
}

#[derive(Default)]
struct Channel {
    last: u64,
    has_gap: bool,
    received: u64,
    gaps: u64,
    /// Numbers that were left out without a gap. They must follow: after a failover, a publisher may use the former primary
    /// for a while, whose messages go by way of the new one and so arrive after younger ones.
    ///
    /// Or a gap must follow within [`MOMENT`]: a demoted primary may pass on messages of its shard after it has missed some,
    /// until it ends the subscription. Each with the time at which it was found missing.
    late: BTreeMap<u64, Instant>,
}

impl Channel {
    fn add(&mut self, number: u64) {
        let has_gap = std::mem::take(&mut self.has_gap);
        if !has_gap && self.received > 0 {
            let missing = self.last + 1..number;
            self.late
                .extend(missing.map(|number| (number, Instant::now())));
        }
        self.late.remove(&number);
        self.last = match has_gap {
            true => number,
            false => self.last.max(number),
        };
        self.received += 1;
    }
}

/// Receives until the end, and checks each message.
fn receive(listener: &mut Listener, ends: &AtomicBool) -> HashMap<String, Channel> {
    let mut channels: HashMap<String, Channel> = HashMap::new();
    while !ends.load(Ordering::SeqCst) {
        let reply = listener.next_reply(50);
        let view = reply.view();
        let text = |at: usize| view.at(at).and_then(View::str).unwrap_or_default();
        match text(0) {
            "gap" => {
                let channel = channels.entry(format!("{} {}", text(1), text(2)));
                let channel = channel.or_default();
                channel.late.retain(|_, since| since.elapsed() > MOMENT);
                channel.has_gap = true;
                channel.gaps += 1;
            }
            "message" | "smessage" => {
                let number: u64 = text(2).parse().unwrap();
                let name = format!("{} {}", text(0), text(1));
                let channel = channels.entry(name).or_default();
                channel.add(number);
            }
            _ => {}
        }
    }
    channels
}

/// Breaks and repairs the cluster.
fn break_and_repair(cluster: &Cluster, plan: &Plan) {
    let slots: Vec<u16> = plan
        .names
        .iter()
        .map(|name| slot_of(name.as_bytes()))
        .collect();
    let end = Instant::now() + Duration::from_secs(12);
    for round in 0.. {
        if Instant::now() > end {
            return;
        }
        let slot = slots[round % CHANNELS];
        match round % 3 {
            0 => ordered_failover(cluster, slot),
            1 => {
                let primary = cluster.primary_of(slot).unwrap();
                let other = (slots.iter().map(|slot| cluster.primary_of(*slot).unwrap()))
                    .find(|port| *port != primary);
                cluster.migrate_slot(slot, other.unwrap()).unwrap();
            }
            _ => kill_primary(cluster, slot),
        }
        sleep(Duration::from_millis(200));
        cluster.wait_healthy().unwrap();
    }
}

fn check(options: &str) {
    let cluster = cluster();
    let (ends, stops) = (AtomicBool::new(false), AtomicBool::new(false));
    let url = format!("{}?{options}", cluster.url());
    let mut listener = Listener::new(&url);
    let plan = &Plan::new(&cluster);
    for command in ["SUBSCRIBE", "SSUBSCRIBE"] {
        listener.subscribe(&format!("{command} {}", plan.names.join(" ")));
    }
    let (cluster, ends, stops) = (&*cluster, &ends, &stops);
    let channels = scope(|scope| {
        for command in ["PUBLISH", "SPUBLISH"] {
            scope.spawn(move || publish(&client(&cluster.url()), command, plan, stops));
        }
        scope.spawn(move || {
            let _end = SetOnDrop(ends);
            let stop = SetOnDrop(stops);
            break_and_repair(cluster, plan);
            drop(stop);
            // The last messages arrive.
            sleep(Duration::from_millis(500));
        });
        let _end = (SetOnDrop(ends), SetOnDrop(stops));
        receive(&mut listener, ends)
    });
    assert_eq!(channels.len(), 2 * CHANNELS);
    for (name, channel) in &channels {
        println!(
            "{name}: {} messages, {} gaps",
            channel.received, channel.gaps
        );
        assert!(
            channel.late.is_empty(),
            "{name}: lost without a gap: {:?}",
            channel.late
        );
        assert!(
            channel.received > 100,
            "{name}: {} messages",
            channel.received
        );
    }
    let gaps: u64 = channels.values().map(|channel| channel.gaps).sum();
    assert!(gaps > 0);
}

#[test]
fn numbers_are_in_sequence_or_a_gap_precedes() {
    check("protocol=3&spread_channels=yes");
}

#[test]
fn numbers_are_in_sequence_or_a_gap_precedes_with_resp2() {
    check("protocol=2&spread_channels=yes");
}
