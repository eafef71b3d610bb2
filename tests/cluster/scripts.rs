//! Scripts that real servers have forgotten.

use crate::common::serial::serial;
use crate::common::{client, key_of, newest, say, say_all, stat};
use std::sync::Arc;
use support::Cluster;

#[test]
fn real_servers_that_have_forgotten_a_script_run_it_all_the_same() {
    let _serial = serial();
    for builder in [
        Cluster::builder(),
        Cluster::builder().server(newest("redis")),
        Cluster::builder().server(newest("valkey")),
    ] {
        let cluster = builder.start().unwrap();
        let client = Arc::new(client(&cluster.url()));
        let sha = say(
            &client,
            "SCRIPT LOAD \"return redis.call('INCR', KEYS[1])\"",
        );
        let get = say(&client, "SCRIPT LOAD \"return redis.call('GET', KEYS[1])\"");
        let forget = || {
            for port in cluster.ports() {
                cluster.command(port, &["SCRIPT", "FLUSH"]).unwrap();
            }
        };
        forget();
        for n in 0..9 {
            let key = key_of(n % 3, 3, n);
            for times in 1..3 {
                let got = say(&client, &format!("EVALSHA {sha} 1 {key}"));
                assert_eq!(got, times.to_string(), "{}", cluster.server());
            }
        }
        assert!(stat(&client, "noscript") >= 3);
        cluster.wait_replicas_in_sync().unwrap();
        forget();
        let readonly = client.readonly();
        for n in 0..30 {
            let key = key_of(n % 3, 3, n % 9);
            assert_eq!(say(&readonly, &format!("EVALSHA_RO {get} 1 {key}")), "2");
        }
        forget();
        let key = key_of(0, 3, 99);
        let commands: Vec<String> = (0..100).map(|_| format!("EVALSHA {sha} 1 {key}")).collect();
        let expected: Vec<String> = (1..=100).map(|n| n.to_string()).collect();
        assert_eq!(say_all(&client, &commands), expected, "once each, in order");
    }
}
