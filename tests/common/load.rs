//! Loads that several test programs put on a client.

use super::serial::in_forked_child;
use super::set_on_drop::SetOnDrop;
use super::{run, run_all, wait_for};
use rediscluster::cluster::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use support::Cluster;

/// Threads write and read keys of their own on one handle, 60 rounds each. Every tenth round also sends both commands
/// in a pipeline, with the value `batched(round)`.
pub fn assert_own_writes_are_read(
    client: &Arc<Client>,
    threads: usize,
    batched: impl Fn(usize) -> String + Sync,
) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let batched = &batched;
            scope.spawn(move || {
                for n in 0..60 {
                    let key = format!("own{thread}:{}", n % 7);
                    assert_eq!(run(client, &format!("SET {key} {thread}/{n}")), "OK");
                    assert_eq!(run(client, &format!("GET {key}")), format!("{thread}/{n}"));
                    if n % 10 == 0 {
                        let value = batched(n);
                        let pair = [format!("SET {key} {value}"), format!("GET {key}")];
                        assert!(run_all(client, &pair) == ["OK", &value]);
                    }
                }
            });
        }
    });
}

/// Pipelines of SET and GET pairs, 50 times `keys` of them, while no replica receives the writes: every GET returns the
/// value of its SET.
pub fn assert_pairs_are_current_while_replication_is_paused(
    cluster: &Cluster,
    client: &Arc<Client>,
    keys: usize,
) {
    let replicas = [0, 8000, 16000].map(|slot| cluster.replicas_of(slot).unwrap()[0]);
    for replica in replicas {
        cluster.pause_replication(replica).unwrap();
    }
    let mut pairs = 0;
    for round in 0..50 {
        let commands: Vec<String> = (0..keys)
            .flat_map(|n| [format!("SET pair{n} {round}"), format!("GET pair{n}")])
            .collect();
        for pair in run_all(client, &commands).chunks(2) {
            assert_eq!(pair, ["OK", &round.to_string()]);
            pairs += 1;
        }
    }
    assert_eq!(pairs, 50 * keys);
    for replica in replicas {
        cluster.resume_replication(replica).unwrap();
    }
    cluster.wait_replicas_in_sync().unwrap();
}

/// Forks `rounds` times while threads of the parent call the library, each with keys of its own. `child` runs in the
/// child and gets the number of the round.
pub fn fork_under_load(
    client: &Arc<Client>,
    threads: usize,
    rounds: usize,
    child: impl Fn(usize) -> bool,
) {
    let finished = AtomicBool::new(false);
    let calls = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        for thread in 0..threads {
            let (finished, calls) = (&finished, &calls);
            scope.spawn(move || {
                let mut n = 0;
                while !finished.load(Ordering::SeqCst) {
                    n += 1;
                    let key = format!("parent{thread}:{}", n % 10);
                    let set = format!("SET {key} {n}");
                    let got = match n % 3 {
                        0 => run_all(client, &[set, format!("GET {key}")]),
                        _ => vec![run(client, &set), run(client, &format!("GET {key}"))],
                    };
                    assert_eq!(got, ["OK", &n.to_string()], "the parent is affected");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..rounds {
            let before = calls.load(Ordering::SeqCst);
            wait_for("the threads are busy", || {
                calls.load(Ordering::SeqCst) > before + 20
            });
            assert!(
                in_forked_child(|| child(round)),
                "the child of round {round}"
            );
        }
        finished.store(true, Ordering::SeqCst);
    });
}

/// Fails if the chi-square of these counts against equal shares is larger than in all but one of 100,000 runs.
#[track_caller]
pub fn assert_uniform<N: Copy + TryInto<u32, Error: std::fmt::Debug>>(counts: &[N]) {
    let counts: Vec<f64> = counts
        .iter()
        .map(|n| f64::from((*n).try_into().unwrap()))
        .collect();
    let share = counts.iter().sum::<f64>() / counts.len() as f64;
    let chi: f64 = counts.iter().map(|n| (n - share).powi(2) / share).sum();
    let limit = [0.0, 19.5, 23.0, 25.9][counts.len() - 1];
    assert!(chi < limit, "{counts:?}: chi-square {chi}");
}
