//! The performance targets, which were set before the library was written, and their results.

use crate::contender::Sample;
use crate::results::{Metric, Results};
use crate::workload::WORKLOADS;

/// A limit on our value divided by that of the best peer. A bar without a present peer is skipped.
struct Bar {
    workload: &'static str,
    metric: &'static str,
    peers: &'static [&'static str],
    limit: f64,
}

const fn bar(
    workload: &'static str,
    metric: &'static str,
    peers: &'static [&'static str],
    limit: f64,
) -> Bar {
    Bar {
        workload,
        metric,
        peers,
        limit,
    }
}

const C: &[&str] = &["libvalkey"];
const BEST: &[&str] = &["libvalkey", "redis-rs"];
const RS: &[&str] = &["redis-rs"];
const PY: &[&str] = &["redis-py"];

const BARS: &[Bar] = &[
    bar("GET", "p50", C, 1.05),
    bar("GET", "CPU", C, 1.0),
    bar("SET", "p50", C, 1.05),
    bar("SET", "CPU", C, 1.0),
    bar("pipeline of 10 GET", "CPU", BEST, 0.95),
    bar("pipeline of 100 GET", "CPU", BEST, 0.80),
    bar("pipeline of 1,000 GET", "CPU", BEST, 0.60),
    bar("pipeline of 10,000 GET", "CPU", BEST, 0.55),
    bar("pipeline of 100 GET", "p50", BEST, 0.95),
    bar("pipeline of 1,000 GET", "p50", BEST, 0.80),
    bar("pipeline of 10,000 GET", "p50", BEST, 0.70),
    bar("GET, 2 threads", "time", C, 1.0 / 0.95),
    bar("GET, 8 threads", "time", C, 1.0 / 1.25),
    bar("GET, 8 threads", "CPU", C, 0.60),
    bar("GET, 64 threads", "time", C, 1.0 / 1.8),
    bar("GET, 64 threads", "CPU", C, 0.45),
    bar("MGET of 100 keys", "p50", RS, 0.20),
    bar("LRANGE of 10,000", "CPU", C, 0.25),
    bar("HGETALL of 10,000", "CPU", C, 0.30),
    bar("GET of 10 MiB", "CPU", C, 0.75),
    bar("create to first reply", "p50", C, 1.1),
    bar("create to first reply", "p50", &["valkey-glide"], 0.1),
];

/// The targets of the Python binding against redis-py.
const PYTHON: &[Bar] = &[
    bar("GET", "p50", PY, 0.35),
    bar("GET", "CPU", PY, 0.30),
    bar("pipeline of 1,000 GET", "CPU", PY, 0.15),
];

pub fn metric(name: &str) -> Metric {
    match name {
        "p50" => |s: &Sample| s.p50_ns,
        "CPU" => |s: &Sample| s.cpu_us(),
        _ => |s: &Sample| s.wall_ns / s.operations,
    }
}

/// Rows of "| name | workload | metric | peers | limit | measured | verdict |", missed targets first.
pub fn table(results: &Results, names: &[&str], ours: &str, python: &str) -> String {
    let place = |name: &str| names.iter().position(|&n| n == name);
    let mut rows = Vec::new();
    let sides = [(BARS, ours), (PYTHON, python)];
    for (bars, name) in sides {
        for bar in bars {
            let workload = WORKLOADS.iter().position(|w| w.title == bar.workload);
            let (Some(workload), Some(us)) = (workload, place(name)) else {
                continue;
            };
            let ratio = |peer: &&str| results.ratio(workload, us, place(peer)?, metric(bar.metric));
            // The best peer is the one with the highest ratio.
            let Some(measured) = bar.peers.iter().filter_map(ratio).reduce(f64::max) else {
                continue;
            };
            let verdict = if measured <= bar.limit {
                "met"
            } else {
                "**missed**"
            };
            let row = format!(
                "| {name} | {} | {} | {} | {:.2} | {measured:.2} | {verdict} |\n",
                bar.workload,
                bar.metric,
                bar.peers.join(", "),
                bar.limit
            );
            rows.push((measured <= bar.limit, row));
        }
    }
    rows.sort_by_key(|(met, _)| *met);
    let head = "| | workload | metric | best of | target: at most | measured | |\n|---|---|---|---|---|---|---|\n";
    rows.into_iter()
        .fold(head.into(), |text, (_, row)| text + &row)
}
