//! Redirections to a node that is no more.

use rediscluster::cluster::{Client, Pipeline};
use std::sync::Arc;
use support::{Action, FakeCluster, slot_of};

/// Until a dead primary has a successor, its replica goes on naming it. That is time to be waited
/// out, not an odyssey: max_redirects is for nodes that live and disagree.
#[test]
fn a_replica_names_its_dead_primary_more_often_than_max_redirects() {
    let mut cluster = FakeCluster::with_replicas(1, 1);
    let url = format!("{}?max_redirects=2", cluster.url());
    let client = Arc::new(Client::create(&url));
    assert!(client.error().is_none());
    let moved = format!(
        "-MOVED {} 127.0.0.1:{}\r\n",
        slot_of(b"key"),
        cluster.port(0)
    );
    cluster.stop(0);
    let mut asked = 0;
    cluster.on(1, move |_, command| {
        (command[0] == b"GET").then(|| {
            asked += 1;
            Action::send(if asked <= 5 {
                &moved
            } else {
                "$5\r\nfound\r\n"
            })
        })
    });
    let mut pipeline = Pipeline::new(client);
    pipeline.command(&[b"GET", b"key"]);
    let reply = pipeline.execute();
    let text = reply.view().at(0).and_then(|v| v.str().map(str::to_string));
    assert_eq!(text.as_deref(), Some("found"));
}
