//! Forked children continue with the handles of their parent, on their own connections.

use crate::common::load::fork_under_load;
use crate::common::serial::{in_child_process, in_forked_child};
use crate::common::serial::{scripted_nodes, url_of};
use crate::common::set_on_drop::SetOnDrop;
use crate::common::{client, run, run_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn child_forked_during_calls_uses_own_connections() {
    let fake = scripted_nodes(2);
    in_child_process(&url_of(&fake), |url| {
        let client = Arc::new(client(&format!("{url}?connections_per_node=2")));
        fork_under_load(&client, 8, 30, |round| {
            (0..20).all(|n| {
                let (key, value) = (format!("child{round}:{n}"), format!("c{n}"));
                run(&client, &format!("SET {key} {value}")) == "OK"
                    && run_all(&client, &[format!("GET {key}")]) == [value]
            })
        });
    });
    let Some(fake) = fake else { return };
    let mut children = 0;
    for node in 0..2 {
        for commands in fake.node(node).received_text() {
            let of = |who: &str| {
                commands
                    .iter()
                    .filter(|c| c.contains(&format!(" {who}")))
                    .count()
            };
            let (parent, child) = (of("parent"), of("child"));
            assert!(
                parent == 0 || child == 0,
                "a connection that both used: {commands:?}"
            );
            children += usize::from(child > 0);
        }
    }
    assert!(children >= 30, "{children} connections of children");
}

#[test]
fn child_does_not_use_parent_pinned_connection() {
    let fake = scripted_nodes(1);
    in_child_process(&url_of(&fake), |url| {
        let client = client(url);
        let pinned = client.pin(b"k");
        assert_eq!(run(&pinned, "SET parent 1"), "OK");
        assert!(in_forked_child(
            || run(&pinned, "SET child 1") == "OK" && run(&pinned, "GET child") == "1"
        ));
        assert_eq!(run(&pinned, "SET parent 2"), "OK");
    });
    let Some(fake) = fake else { return };
    for commands in fake.node(0).received_text() {
        let of = |who: &str| commands.iter().any(|c| c.contains(&format!(" {who}")));
        assert!(!(of("parent") && of("child")), "{commands:?}");
    }
}

#[test]
fn grandchildren_and_many_children_continue() {
    let fake = scripted_nodes(2);
    in_child_process(&url_of(&fake), |url| {
        let client = client(url);
        let readonly = client.readonly();
        assert_eq!(run(&client, "SET k v"), "OK");
        assert_eq!(run(&readonly, "GET k"), "v");
        let both = || [&client, &readonly].map(|c| run(c, "GET k")) == ["v", "v"];
        for _ in 0..50 {
            assert!(in_forked_child(|| both() && in_forked_child(both)));
        }
        assert_eq!(run(&client, "GET k"), "v");
        drop(client);
    });
}

#[test]
fn child_can_log_when_parent_was_setting_the_logger() {
    let fake = scripted_nodes(1);
    in_child_process(&url_of(&fake), |url| {
        let client = client(url);
        let finished = AtomicBool::new(false);
        let logger: rediscluster::log::Logger = Arc::new(|_, words: &str| {
            std::hint::black_box(words.len());
        });
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            scope.spawn(|| {
                while !finished.load(Ordering::SeqCst) {
                    rediscluster::log::set(Some(logger.clone()), rediscluster::log::DEBUG);
                }
            });
            let healthy = (0..100).all(|_| {
                in_forked_child(|| {
                    // SAFETY: ends a child whose call never returns.
                    unsafe { libc::alarm(20) };
                    run(&client, "SET k v") == "OK"
                })
            });
            finished.store(true, Ordering::SeqCst);
            assert!(healthy, "a child waits for what its parent had locked");
        });
    });
}
