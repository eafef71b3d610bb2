//! Clients that only publish. A demoted node accepts their messages, so no reply tells them of the new primary.

use crate::common::{client, is_command, run, run_all, wait_for};
use rediscluster::cluster::Client;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Action, FakeCluster};

/// A shard whose nodes accept messages and count `subscribers`.
fn shard(subscribers: u8) -> FakeCluster {
    let fake = FakeCluster::with_replicas(1, 1);
    for node in 0..2 {
        fake.on(node, move |_, command| {
            let publishes = is_command(command, "SPUBLISH") || is_command(command, "PUBLISH");
            publishes.then(|| Action::send(format!(":{subscribers}\r\n")))
        });
    }
    fake
}

fn publish(client: &Arc<Client>, how: &str) {
    match how {
        "pipeline" => drop(run_all(client, &["SPUBLISH c m"])),
        words => drop(run(client, words)),
    }
}

#[test]
fn publications_leave_a_demoted_node() {
    for (subscribers, ping_ms, how) in [
        (0, "5000", "SPUBLISH c m"),
        (0, "5000", "PUBLISH c m"),
        (1, "300", "SPUBLISH c m"),
        (1, "300", "pipeline"),
    ] {
        let fake = shard(subscribers);
        let client = client(&fake.url());
        let client = Arc::new(client.with("subscriber_ping_ms", ping_ms));
        publish(&client, how);
        fake.promote(1);
        let began = Instant::now();
        wait_for("a message at the new primary", || {
            publish(&client, how);
            fake.node(1).calls("SPUBLISH") + fake.node(1).calls("PUBLISH") > 0
        });
        let time = began.elapsed();
        assert!(time < Duration::from_millis(2500), "{how}: {time:?}");
    }
}

#[test]
fn publications_without_subscribers_refresh_seldom() {
    let fake = shard(0);
    let client = Arc::new(client(&fake.url()));
    let began = Instant::now();
    let before = fake.calls("CLUSTER SLOTS");
    while began.elapsed() < Duration::from_millis(1500) {
        publish(&client, "SPUBLISH c m");
    }
    // Each asks two nodes.
    let refreshes = (fake.calls("CLUSTER SLOTS") - before) / 2;
    assert!((1..=2).contains(&refreshes), "{refreshes}");
}
