//! Recovery after a failover: a primary is killed while every contender writes to it. Measures how
//! long after the replica accepts writes each contender succeeds again, and how many writes failed.

use std::thread;
use std::time::{Duration, Instant};

use support::{Admin, Cluster, slot_of};

use crate::clock::now_ns;
use crate::contender::{Contender, Worker};
use crate::data::{VALUE, key};
use crate::worker::Failure;

const KEY: usize = 1;
/// Longer than any failover of the cluster that is killed here.
const BUDGET_MS: u64 = 9000;
/// Time for all workers to start, interpreters included.
const HEAD_START: Duration = Duration::from_millis(2500);

pub struct Outcome {
    pub lag_ms: f64,
    pub writes: f64,
    pub failed: f64,
}

/// For each contender: an outcome, the reason why there is none, or `None` if it does not take part.
pub type Outcomes = Vec<Option<Result<Outcome, String>>>;

fn lag(worker: Result<Worker, Failure>, accepted: i64) -> Result<Outcome, Failure> {
    match worker?.receive()?[..] {
        [writes, failed, from, to] if from <= accepted as f64 => Ok(Outcome {
            lag_ms: ((to - accepted as f64) / 1e6).max(0.0),
            writes,
            failed,
        }),
        _ => Err("its longest interruption was not the failover".into()),
    }
}

pub fn kill_a_primary(
    cluster: &Cluster,
    contenders: &[Contender],
    shards: &str,
) -> Result<Outcomes, Failure> {
    let name = key(KEY);
    let slot = slot_of(name.as_bytes());
    let primary = cluster.primary_of(slot)?;
    let replica = *cluster.replicas_of(slot)?.first().ok_or("no replica")?;
    let seeds = cluster.seeds();
    let start = |contender: &Contender| {
        let worker = contender.fresh(&seeds, shards)?;
        Some(worker.and_then(|mut worker| {
            worker.send("recovery", BUDGET_MS, KEY)?;
            Ok(worker)
        }))
    };
    let workers: Vec<_> = contenders.iter().map(start).collect();
    thread::sleep(HEAD_START);
    cluster.kill(primary)?;
    let mut probe = Admin::connect(replica, Duration::from_secs(5))?;
    let began = Instant::now();
    while probe
        .command(&[b"SET".as_slice(), name.as_bytes(), VALUE])?
        .is_error()
    {
        if began.elapsed() > Duration::from_millis(BUDGET_MS) {
            return Err("no replica was promoted".into());
        }
        thread::sleep(Duration::from_micros(500));
    }
    let accepted = now_ns();
    let outcome = |worker: Option<_>| Some(lag(worker?, accepted).map_err(|e| e.to_string()));
    let outcomes = workers.into_iter().map(outcome).collect();
    cluster.restart(primary)?;
    cluster.wait_healthy()?;
    Ok(outcomes)
}
