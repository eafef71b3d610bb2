//! Counters, the topology, and the log.

use crate::common::{client, is_command, run, stat, wait_for};
use crate::{asked, field};
use rediscluster::log;
use std::sync::{Arc, Mutex};
use support::{Action, FakeCluster};

fn loading(fake: &FakeCluster, node: usize) {
    fake.on(node, |_, command| {
        is_command(command, "GET")
            .then(|| Action::send("-LOADING Redis is loading the dataset\r\n"))
    });
}

#[test]
fn reads_are_counted_by_role_node_and_skip_reason() {
    let fake = FakeCluster::with_replicas(1, 1);
    let any = client(&fake.url()).with("read_from", "any");
    for _ in 0..50 {
        run(&any, "GET k");
    }
    let counts = asked(&fake, 2, "GET");
    let role = |name: &str| stat(&any, name) as usize;
    assert_eq!([role("primary_reads"), role("replica_reads")], counts[..]);
    for (node, count) in counts.iter().enumerate() {
        let reads = field(&any, fake.port(node), "reads");
        assert_eq!(reads, count.to_string());
    }
    assert_eq!(role("reads_skipped_ejected") + role("reads_fallback"), 0);
    loading(&fake, 1);
    let replica = any.with("read_from", "replica");
    for _ in 0..50 {
        assert_eq!(run(&replica, "GET k"), "nil");
    }
    // Each read selected the replica and was served by the primary.
    assert!(role("reads_fallback") >= 45, "{}", role("reads_fallback"));
    assert!(role("reads_skipped_ejected") >= 45);
    let stats = any.stats();
    let node = format!("127.0.0.1:{}", fake.port(1));
    let node = stats
        .view()
        .find("nodes")
        .and_then(|n| n.find(&node))
        .unwrap();
    assert_eq!(node.find("health").and_then(|h| h.str()), Some("unhealthy"));
    assert!(node.find("failures").and_then(|f| f.int()).unwrap() >= 1);
}

#[test]
fn node_health_changes_are_logged_once() {
    let fake = FakeCluster::with_replicas(1, 1);
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let (heard, address) = (told.clone(), format!("127.0.0.1:{} ", fake.port(1)));
    let listen = move |_: i32, words: &str| {
        if words.starts_with(&address) {
            heard.lock().unwrap().push(words.to_string());
        }
    };
    log::set(Some(Arc::new(listen)), log::INFO);
    let replica = client(&fake.url()).with("read_from", "replica");
    let reads = |n: usize| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..n).for_each(|_| assert_eq!(run(&replica, "GET k"), "nil")));
            }
        });
    };
    reads(5);
    loading(&fake, 1);
    // Meanwhile it is probed from time to time.
    reads(20);
    let first = fake.node(1).calls("GET");
    wait_for("the node is ejected more than once", || {
        reads(20);
        fake.node(1).calls("GET") > first + 3
    });
    assert_eq!(field(&replica, fake.port(1), "health"), "unhealthy");
    fake.off(1);
    wait_for("the node is read again", || {
        reads(5);
        field(&replica, fake.port(1), "health") == "healthy"
    });
    reads(5);
    log::set(None, 0);
    let told = told.lock().unwrap().clone();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("is ejected for a while: "), "{told:?}");
    assert!(told[0].contains("LOADING"), "{told:?}");
    assert!(told[1].ends_with("answers again"), "{told:?}");
}
