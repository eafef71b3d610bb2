//! Channels, patterns, sharded channels and keyspace events of a healthy cluster, on every server version.

use crate::common::shared::{SharedCluster, shared};
use crate::common::{run, servers};
use crate::listener::Listener;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use support::Cluster;

pub fn cluster() -> SharedCluster {
    shared("subscribers", || Cluster::builder().replicas(1))
}

/// The URLs of the cluster with both protocols.
fn urls(cluster: &Cluster) -> [String; 2] {
    ["3", "2"].map(|protocol| format!("{}?protocol={protocol}", cluster.url()))
}

#[test]
fn channels_and_patterns_bring_messages_and_confirmations() {
    let cluster = cluster();
    for protocol in ["3", "2"] {
        let mut listener = Listener::new(&format!("{}?protocol={protocol}", cluster.url()));
        let client = listener.client.clone();
        // Other names for each protocol: a node may receive the former messages late.
        let named = |text: &str| text.replace('<', protocol);
        let steps: [(&str, &str, &[&str]); 8] = [
            (
                "",
                "SUBSCRIBE <a <b",
                &["[subscribe, <a, 1]", "[subscribe, <b, 2]"],
            ),
            (
                "",
                "PSUBSCRIBE <a* <b",
                &["[psubscribe, <a*, 3]", "[psubscribe, <b, 4]"],
            ),
            (
                "PUBLISH <a one",
                "",
                &["[message, <a, one]", "[pmessage, <a*, <a, one]"],
            ),
            // The confirmation of what is subscribed already comes at once.
            ("", "SUBSCRIBE <a", &["[subscribe, <a, 4]"]),
            (
                "",
                "UNSUBSCRIBE <a nosuch",
                &["[unsubscribe, <a, 3]", "[unsubscribe, nosuch, 3]"],
            ),
            ("PUBLISH <a two", "", &["[pmessage, <a*, <a, two]"]),
            (
                "",
                "PUNSUBSCRIBE",
                &["[punsubscribe, <a*, 2]", "[punsubscribe, <b, 1]"],
            ),
            ("", "PUNSUBSCRIBE", &["[punsubscribe, nil, 1]"]),
        ];
        for (publish, command, expected) in steps {
            match command {
                "" => drop(run(&client, &named(publish))),
                command => assert_eq!(listener.command(&named(command)), "OK"),
            }
            let expected: Vec<String> = expected.iter().map(|text| named(text)).collect();
            let mut found = listener.take(expected.len());
            // A server sends a message to channels before patterns; which comes first here does not matter.
            found.sort();
            assert_eq!(found, expected, "{publish}{command}");
        }
        run(&client, &named("PUBLISH <a three"));
        run(&client, &named("PUBLISH <b \"\\x00\\r\\n\""));
        assert_eq!(listener.next(), named("[message, <b, \0\r\n]"));
        assert_eq!(listener.next_within(20), "nil");
    }
}

#[test]
fn channel_that_is_unsubscribed_and_subscribed_often_has_no_gap() {
    let cluster = cluster();
    for url in urls(&cluster) {
        let mut listener = Listener::new(&url);
        let client = listener.client.clone();
        listener.subscribe("SUBSCRIBE stays");
        for _ in 0..3 {
            listener.command("SUBSCRIBE often");
            listener.command("UNSUBSCRIBE often");
        }
        listener.command("SUBSCRIBE often");
        let confirmed = listener.take(7);
        let expected = ["[subscribe, often, 2]", "[unsubscribe, often, 1]"];
        assert!((confirmed.iter().enumerate()).all(|(n, found)| found == expected[n % 2]));
        // The last confirmation is that of the last command: nothing is missed from then on.
        run(&client, "PUBLISH often m");
        assert_eq!(listener.next(), "[message, often, m]");
        assert_eq!(listener.next_within(50), "nil");
    }
}

#[test]
fn commands_do_not_cost_more_when_many_channels_wait() {
    const CHANNELS: usize = 20_000;
    // 0.1 s; if each command looked at all channels, two minutes.
    const LIMIT: Duration = Duration::from_secs(30);
    let cluster = cluster();
    let mut listener = Listener::new(&cluster.url());
    // The topology is known from now on, so that each command can find a node.
    listener.subscribe("SUBSCRIBE stays");
    let began = Instant::now();
    for verb in ["SSUBSCRIBE", "SUNSUBSCRIBE"] {
        for n in 0..CHANNELS {
            let name = format!("many:{n}");
            listener
                .subscriber
                .command(&[verb.as_bytes(), name.as_bytes()]);
            assert!(began.elapsed() < LIMIT, "{verb} of channel {n}");
        }
        listener.take(CHANNELS);
    }
    assert!(began.elapsed() < LIMIT);
}

#[test]
fn sharded_channels_of_all_slots_are_on_their_primaries() {
    let cluster = cluster();
    for url in urls(&cluster) {
        let mut listener = Listener::new(&url);
        let client = listener.client.clone();
        let names: Vec<String> = (0..50).map(|n| format!("channel:{n}")).collect();
        let confirmed = listener.subscribe(&format!("SSUBSCRIBE {}", names.join(" ")));
        assert_eq!(confirmed.last().unwrap().rsplit(' ').next(), Some("50]"));
        for name in &names {
            assert_eq!(run(&client, &format!("SPUBLISH {name} m")), "1");
            let reply = listener.next_reply(5000);
            let node = reply.origin_of(reply.root).unwrap().name().to_string();
            assert_eq!(
                crate::common::show(reply.view()),
                format!("[smessage, {name}, m]")
            );
            let slot = support::slot_of(name.as_bytes());
            let port = cluster.primary_of(slot).unwrap();
            assert_eq!(node, format!("127.0.0.1:{port}"));
        }
        assert_eq!(listener.command("SUNSUBSCRIBE"), "OK");
        let last = listener.take(50).pop().unwrap();
        assert!(last.starts_with("[sunsubscribe, ") && last.ends_with(", 0]"));
        // No server has a subscriber any more.
        for name in &names {
            crate::common::wait_for("the end of the subscription", || {
                listener.next_within(1);
                run(&client, &format!("SPUBLISH {name} m")) == "0"
            });
        }
    }
}

#[test]
fn sharded_channels_may_be_on_replicas() {
    let cluster = cluster();
    let url = format!("{}?read_from=replica", cluster.url());
    let mut listener = Listener::new(&url);
    let client = listener.client.clone();
    listener.subscribe("SSUBSCRIBE a b c d e f");
    for name in ["a", "b", "c", "d", "e", "f"] {
        run(&client, &format!("SPUBLISH {name} m"));
        let port = cluster
            .replicas_of(support::slot_of(name.as_bytes()))
            .unwrap()[0];
        assert_eq!(listener.node_of_next(), format!("127.0.0.1:{port}"));
    }
}

#[test]
fn keyspace_events_come_from_every_primary() {
    let cluster = cluster();
    for port in cluster.ports() {
        let set = ["CONFIG", "SET", "notify-keyspace-events", "KEA"];
        cluster.command(port, &set).unwrap();
    }
    for url in urls(&cluster) {
        let mut listener = Listener::new(&url);
        let client = listener.client.clone();
        assert_eq!(
            listener.subscribe("PSUBSCRIBE __keyevent@0__:set"),
            ["[psubscribe, __keyevent@0__:set, 1]"]
        );
        let mut nodes = BTreeSet::new();
        for n in 0..30 {
            assert_eq!(run(&client, &format!("SET key:{n} v")), "OK");
            let reply = listener.next_reply(5000);
            assert_eq!(
                crate::common::show(reply.view()),
                format!("[pmessage, __keyevent@0__:set, __keyevent@0__:set, key:{n}]")
            );
            let node = reply.origin_of(reply.root).unwrap().name().to_string();
            let port = cluster
                .primary_of(support::slot_of(format!("key:{n}").as_bytes()))
                .unwrap();
            assert_eq!(node, format!("127.0.0.1:{port}"));
            nodes.insert(node);
        }
        assert_eq!(nodes.len(), 3);
    }
}

#[test]
fn spread_channels_are_on_several_nodes() {
    let cluster = cluster();
    let mut listener = Listener::new(&format!("{}?spread_channels=yes", cluster.url()));
    let client = listener.client.clone();
    let names: Vec<String> = (0..40).map(|n| format!("channel:{n}")).collect();
    listener.subscribe(&format!("SUBSCRIBE {}", names.join(" ")));
    let mut nodes = BTreeSet::new();
    for name in &names {
        assert_eq!(run(&client, &format!("PUBLISH {name} m")), "1");
        nodes.insert(listener.node_of_next());
    }
    assert_eq!(nodes.len(), 3, "{nodes:?}");
}

#[test]
fn first_channel_decides_on_the_node_of_all() {
    let cluster = cluster();
    for name in ["a", "b", "c", "d"] {
        let mut listener = Listener::new(&cluster.url());
        let client = listener.client.clone();
        listener.subscribe(&format!("SUBSCRIBE {name} other"));
        listener.subscribe("PSUBSCRIBE p*");
        // Its messages do not depend on the cluster bus.
        assert_eq!(run(&client, &format!("PUBLISH {name} m")), "1");
        let port = cluster
            .primary_of(support::slot_of(name.as_bytes()))
            .unwrap();
        let node = format!("127.0.0.1:{port}");
        assert_eq!(listener.node_of_next(), node);
        for channel in ["other", "pattern"] {
            run(&client, &format!("PUBLISH {channel} m"));
            assert_eq!(listener.node_of_next(), node);
        }
    }
}

#[test]
fn every_server_version_and_a_single_server_bring_messages() {
    for server in servers() {
        println!("{server:?}");
        let single = support::Server::builder().server(server).start().unwrap();
        for protocol in ["3", "2"] {
            let mut listener = Listener::new(&format!("{}?protocol={protocol}", single.url()));
            let client = listener.client.clone();
            listener.subscribe("SUBSCRIBE a");
            listener.subscribe("SSUBSCRIBE a b");
            run(&client, "SPUBLISH b m");
            assert_eq!(listener.next(), "[smessage, b, m]");
            run(&client, "PUBLISH a m");
            assert_eq!(listener.next(), "[message, a, m]");
        }
    }
}
