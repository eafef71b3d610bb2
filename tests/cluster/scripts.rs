//! Scripts that were flushed on real servers.

use crate::common::serial::serial;
use crate::common::{client, key_of, newest, run, run_all, stat};
use std::sync::Arc;
use support::Cluster;

#[test]
fn flushed_scripts_run_again_on_real_servers() {
    let _serial = serial();
    for builder in [
        Cluster::builder(),
        Cluster::builder().server(newest("redis")),
        Cluster::builder().server(newest("valkey")),
    ] {
        let cluster = builder.start().unwrap();
        let client = Arc::new(client(&cluster.url()));
        let sha = run(
            &client,
            "SCRIPT LOAD \"return redis.call('INCR', KEYS[1])\"",
        );
        let get = run(&client, "SCRIPT LOAD \"return redis.call('GET', KEYS[1])\"");
        let forget = || {
            for port in cluster.ports() {
                cluster.command(port, &["SCRIPT", "FLUSH"]).unwrap();
            }
        };
        forget();
        for n in 0..9 {
            let key = key_of(n % 3, 3, n);
            for times in 1..3 {
                let got = run(&client, &format!("EVALSHA {sha} 1 {key}"));
                assert_eq!(got, times.to_string(), "{}", cluster.server());
            }
        }
        assert!(stat(&client, "noscript") >= 3);
        cluster.wait_replicas_in_sync().unwrap();
        forget();
        let readonly = client.readonly();
        for n in 0..30 {
            let key = key_of(n % 3, 3, n % 9);
            assert_eq!(run(&readonly, &format!("EVALSHA_RO {get} 1 {key}")), "2");
        }
        forget();
        let key = key_of(0, 3, 99);
        let commands: Vec<String> = (0..100).map(|_| format!("EVALSHA {sha} 1 {key}")).collect();
        let expected: Vec<String> = (1..=100).map(|n| n.to_string()).collect();
        assert_eq!(run_all(&client, &commands), expected, "once each, in order");
    }
}
