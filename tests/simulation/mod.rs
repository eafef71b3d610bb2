//! The whole client, from a call to its reply, in a simulated world: clock, network, threads and
//! cluster obey a seed. Thousands of days are lived through, and after each it is checked that
//!
//! - every reply is that of its own command, and no earlier than the call;
//! - no command has run twice, and none of which the caller was told that it had not been sent;
//! - every call ended by its deadline, and within 10 ms of an interrupt or of the handle's closing;
//! - commands of one slot in a pipeline ran in order, and each saw what those before it had done;
//! - a client that only reads never wrote; topology and commands never shared a connection; the
//!   servers were not stormed; and when all was well again, so were all calls;
//! - no lock was held by a thread that waited, and no connection was left behind.
//!
//! `SIMULATION_SEED=7 cargo test --lib simulation` lives through one such day and tells it all;
//! `SIMULATION_SECONDS=60` goes on for longer, and `SIMULATION_FROM=1000` begins elsewhere.

mod day;
mod handover;
mod servers;
mod world;

use day::{Day, live};
use std::time::{Duration, Instant};

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
}

/// Runs `f` where the next mark of this layer panics.
pub fn panicking_once(layer: crate::sim_hooks::Layer, f: impl FnOnce() + Send) {
    let servers = servers::Servers::new(Vec::new(), servers::Odds::default());
    let shared = world::Shared::new(1, world::Weather::default(), servers);
    shared.lock().panic_at = Some((layer, 1));
    shared.run(vec![Box::new(|_: &world::Thread| f())]);
    assert!(shared.lock().marks > 0, "nothing has panicked");
}

/// Lives through so many days of one kind, always the same ones, and on for as long as was asked for; before them through
/// those that have shown something once.
fn days(kind: fn(u64) -> Day, least: u64, shown: &[u64]) {
    if let Some(seed) = number("SIMULATION_SEED") {
        let (outcome, trace) = live(&kind(seed), true);
        let told = trace.join("\n");
        match outcome {
            Ok(tally) => println!("{told}\nseed {seed}: {tally:?}"),
            Err(words) => panic!("{told}\nseed {seed}: {words}"),
        }
        return;
    }
    let seconds = number("SIMULATION_SECONDS").unwrap_or(0);
    let first = number("SIMULATION_FROM").unwrap_or(1);
    let (began, limit) = (Instant::now(), Duration::from_secs(seconds));
    let mut total = day::Tally::default();
    let mut shown = shown.iter().copied();
    let (mut next, mut days) = (first, 0);
    while next < first + least || began.elapsed() < limit {
        let seed = shown.next().unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        days += 1;
        match live(&kind(seed), false) {
            (Ok(tally), _) => total.add(&tally),
            (Err(words), _) => {
                let (_, trace) = live(&kind(seed), true);
                let last = &trace[trace.len().saturating_sub(80)..];
                panic!(
                    "{}\n{words}\nSIMULATION_SEED={seed} replays it",
                    last.join("\n")
                );
            }
        }
    }
    let rate = f64::from(days) * 60.0 / began.elapsed().as_secs_f64();
    println!("{days} days ({rate:.0} a minute): {total:?}");
    assert!(total.is_eventful(), "nothing has happened: {total:?}");
}

#[test]
fn whatever_befalls_the_cluster_the_promises_hold() {
    days(
        Day::of_trouble,
        1500,
        &[22848, 32260, 33916, 227_497, 723_770, 1_079_671],
    );
}

#[test]
fn a_panic_in_any_layer_ends_one_call_and_harms_no_other() {
    days(Day::of_panic, 500, &[79468]);
}

#[test]
fn a_cluster_that_is_well_costs_no_call_its_success() {
    days(Day::of_calm, 200, &[]);
}

#[test]
fn the_same_seed_gives_the_same_day() {
    for seed in 1..6 {
        let (first, again) = (
            live(&Day::of_trouble(seed), true),
            live(&Day::of_trouble(seed), true),
        );
        assert!(first.1.len() > 50, "nothing is told");
        let differs = first.1.iter().zip(&again.1).find(|(a, b)| a != b);
        assert!(
            differs.is_none(),
            "seed {seed} has two outcomes: {differs:#?}"
        );
    }
}
