//! Slots of a real cluster that move while they are used.

use crate::common::set_on_drop::SetOnDrop;
use crate::common::shared::{SharedCluster, migration_target, shared};
use crate::common::{client, code, is_sent, key_of, pipeline, run, run_all, show, stat, wait_for};
use rediscluster::error::Code;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use support::{Cluster, slot_of};

fn cluster() -> SharedCluster {
    shared(module_path!(), || Cluster::builder().replicas(0))
}

#[test]
fn half_migrated_slot_serves_all_keys() {
    let cluster = &cluster();
    let client = Arc::new(client(&cluster.url()));
    let tag = key_of(0, 3, 0);
    let slot = slot_of(tag.as_bytes());
    let to = migration_target(cluster);
    let keys: Vec<String> = (0..40).map(|n| format!("{{{tag}}}{n}")).collect();
    for key in &keys {
        assert_eq!(run(&client, &format!("SET {key} {key}")), "OK");
    }
    cluster.begin_migration(slot, to).unwrap();
    let moved: Vec<&String> = keys.iter().step_by(2).collect();
    cluster.move_keys(slot, to, &moved).unwrap();
    for key in &keys {
        assert_eq!(run(&client, &format!("GET {key}")), *key);
    }
    let gets: Vec<String> = keys.iter().map(|k| format!("GET {k}")).collect();
    assert_eq!(run_all(&client, &gets), keys);
    // New keys are created on the target; each command runs once.
    let incrs: Vec<String> = (0..300)
        .map(|n| format!("INCR {{{tag}}}new{}", n % 3))
        .collect();
    for (n, got) in run_all(&client, &incrs).iter().enumerate() {
        assert_eq!(*got, (n / 3 + 1).to_string(), "command {n}");
    }
    // A multi-key command over both nodes: TRYAGAIN until the migration ends.
    let mget = format!("MGET {} {}", keys[0], keys[1]);
    let short = client.with("timeout_ms", "200");
    let refused = run(&short, &mget);
    assert!(
        refused.starts_with("TRYAGAIN") && refused.ends_with("(SERVER)"),
        "{refused}"
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&client, &mget));
        let before = stat(&client, "tryagain");
        wait_for("TRYAGAIN", || stat(&client, "tryagain") > before);
        cluster.finish_migration(slot, to).unwrap();
        assert_eq!(
            waiting.join().unwrap(),
            format!("[{}, {}]", keys[0], keys[1])
        );
    });
}

#[test]
fn ten_thousand_commands_run_once_in_order_during_migration() {
    let cluster = &cluster();
    let client = Arc::new(client(
        &(cluster.url() + "?timeout_ms=20000&attempt_timeout_ms=10000"),
    ));
    let names: Vec<String> = (1..51).map(|n| key_of(n % 2, 3, n)).collect();
    for name in &names {
        run(&client, &format!("DEL {{{name}}}n"));
        run(&client, &format!("DEL {{{name}}}l"));
    }
    let finished = AtomicBool::new(false);
    let moves = AtomicUsize::new(0);
    let mut incremented: HashMap<&str, usize> = HashMap::new();
    let mut pushed: HashMap<&str, Vec<String>> = HashMap::new();
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for name in &names {
                if finished.load(Ordering::Relaxed) {
                    return;
                }
                let slot = slot_of(name.as_bytes());
                cluster
                    .migrate_slot(slot, migration_target(cluster))
                    .unwrap();
                moves.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _finish = SetOnDrop(&finished);
        let mut round = 0;
        while round < 4 || !mover.is_finished() {
            let commands: Vec<(&str, String)> = (0..10_000)
                .map(|n| {
                    let name = names[n / 2 % names.len()].as_str();
                    match n % 2 {
                        0 => (name, format!("INCR {{{name}}}n")),
                        _ => (name, format!("RPUSH {{{name}}}l {round}:{n}")),
                    }
                })
                .collect();
            let words: Vec<&String> = commands.iter().map(|(_, words)| words).collect();
            let reply = pipeline(&client, &words);
            for ((name, words), got) in commands.iter().zip(reply.view().elements()) {
                match code(got) {
                    // An overtaken command has not run, and its error reports that.
                    Code::Ok if words.starts_with("INCR") => {
                        let count = incremented.entry(name).or_default();
                        *count += 1;
                        assert_eq!(got.int().unwrap(), *count as i64, "{words}");
                    }
                    Code::Ok => {
                        let value = words.rsplit(' ').next().unwrap();
                        pushed.entry(name).or_default().push(value.to_string());
                    }
                    _ => assert!(!is_sent(got), "{}", show(got)),
                }
            }
            round += 1;
        }
    });
    let mut ran = 0;
    for name in &names {
        let count = incremented.get(name.as_str()).copied().unwrap_or_default();
        assert_eq!(run(&client, &format!("GET {{{name}}}n")), count.to_string());
        let list = pushed.get(name.as_str()).cloned().unwrap_or_default();
        let stored = run(&client, &format!("LRANGE {{{name}}}l 0 -1"));
        assert_eq!(stored, format!("[{}]", list.join(", ")), "{name}");
        ran += count + list.len();
    }
    assert!(
        stat(&client, "moved") + stat(&client, "ask") > 0,
        "no slot moved during the commands"
    );
    assert!(ran > 30_000, "only {ran} commands have run");
    assert_eq!(moves.load(Ordering::Relaxed), names.len());
}
