//! `make bench`: measures all clients in turns and writes docs/benchmarks/.
//!
//!     bench [--quick] ROOT LIBRARY PEERS
//!
//! ROOT is the repository, LIBRARY the built librediscluster.so, and PEERS the folder of
//! bench/peers.sh.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bench::cluster::{load, shards};
use bench::compile::{Program, libvalkey_version, redis_rs_version};
use bench::contender::{Contender, FLOOR, LOAD_GENERATOR, OURS};
use bench::machine::first_line;
use bench::recovery::{Outcomes, kill_a_primary};
use bench::report::{OUR_PYTHON, Report};
use bench::results::Results;
use bench::worker::Failure;
use bench::workload::WORKLOADS;
use support::Cluster;

struct Plan {
    rounds: usize,
    budget_ms: u64,
    kills: usize,
    handles: usize,
    /// A workload that takes longer than this, with all contenders, gets fewer rounds.
    limit: Duration,
}

const THOROUGH: Plan = Plan {
    rounds: 7,
    budget_ms: 250,
    kills: 3,
    handles: 200,
    limit: Duration::from_secs(24),
};

const QUICK: Plan = Plan {
    rounds: 7,
    budget_ms: 50,
    kills: 1,
    handles: 100,
    limit: Duration::from_secs(6),
};

/// The contenders that are present, and the reasons why others are absent.
fn contenders(
    root: &Path,
    library: &Path,
    peers: &Path,
    quick: bool,
) -> Result<(Vec<Contender>, Vec<String>), Failure> {
    let (mut all, mut absent) = (Vec::new(), Vec::new());
    let workers = root.join("bench/workers");
    let beside = env::current_exe()?;
    let beside = beside.parent().ok_or("no folder")?;
    let version = "built from this tree, release profile";

    let ours = peers.join("ours");
    Program::new(root, "worker.c", "rediscluster.c")
        .with_library(library)?
        .build(&ours)?;
    all.push(Contender::new(
        OURS,
        format!("the C ABI, one handle for all threads ({version})"),
        &[&ours],
    ));
    all.push(Contender::new(FLOOR, "bare blocking sockets: slots known, requests encoded beforehand, replies counted but not parsed; one set of connections per thread", &[&beside.join("floor")]).yardstick());

    let theirs = peers.join("libvalkey-worker");
    let built = Program::new(root, "worker.c", "libvalkey.c")
        .with_libvalkey(peers)
        .and_then(|program| program.build(&theirs));
    match built {
        Ok(()) => all.push(Contender::new(
            "libvalkey",
            format!(
                "{}, blocking, one handle per thread",
                libvalkey_version(peers)
            ),
            &[&theirs],
        )),
        Err(reason) => absent.push(format!(
            "libvalkey: {}",
            reason.to_string().lines().next().unwrap_or_default()
        )),
    }
    all.push(Contender::new(
        "redis-rs",
        format!(
            "crate redis {}, blocking cluster client, one connection object per thread",
            redis_rs_version(root)?
        ),
        &[&beside.join("redis-rs")],
    ));

    let python = peers.join("venv/bin/python");
    let script = workers.join("peers.py");
    for (name, module, package, argument) in [
        ("redis-py", "redis.cluster", "redis", "redis-py"),
        ("valkey-glide", "glide_sync", "valkey-glide-sync", "glide"),
        (OUR_PYTHON, "rediscluster", "", "rediscluster"),
    ] {
        let there = Command::new(&python)
            .args(["-c", &format!("import {module}")])
            .output();
        if !there.is_ok_and(|output| output.status.success()) {
            absent.push(format!("{name}: Python cannot import {module}"));
            continue;
        }
        let version =
            format!("from importlib.metadata import version; print(version('{package}'))");
        let what = match package {
            "" => "the Python binding of this repository".into(),
            _ => format!(
                "{package} {}",
                first_line(&python.display().to_string(), &["-c", &version])
            ),
        };
        let mut contender = Contender::new(
            name,
            format!(
                "{what}, in {}",
                first_line(&python.display().to_string(), &["--version"])
            ),
            &[&python, &script, Path::new(argument)],
        );
        if package.is_empty() {
            contender = contender.yardstick();
        }
        all.push(contender);
    }
    match first_line(LOAD_GENERATOR, &["--version"]).as_str() {
        _ if quick => absent.push(format!(
            "{LOAD_GENERATOR}: it takes longer than a quick run allows"
        )),
        "not found" => absent.push(format!("{LOAD_GENERATOR}: it is not installed")),
        version => all.push(Contender::new(LOAD_GENERATOR, format!("{version} --cluster: a load generator, not a client; it uses one thread and one connection per node even if one thread is requested, and keys of its own"), &[Path::new(LOAD_GENERATOR)]).yardstick()),
    }
    Ok((all, absent))
}

fn run() -> Result<(), Failure> {
    let mut args: Vec<String> = env::args().skip(1).collect();
    let quick = args.first().is_some_and(|arg| arg == "--quick");
    if quick {
        args.remove(0);
    }
    let [root, library, peers] = &args[..] else {
        return Err("usage: bench [--quick] ROOT LIBRARY PEERS".into());
    };
    let [root, library, peers] = [root, library, peers].map(Path::new);
    let plan = if quick { QUICK } else { THOROUGH };
    let began = Instant::now();

    let (mut contenders, absent) = contenders(root, library, peers, quick)?;
    let cluster = Cluster::start()?;
    load(&cluster)?;
    let (seeds, known) = (cluster.seeds(), shards(&cluster)?);

    let memory: Vec<Option<f64>> = contenders
        .iter()
        .map(|contender| {
            let mut worker = contender
                .fresh(&seeds, &known)?
                .ok()
                .filter(|_| contender.name != FLOOR)?;
            let handles = if contender.is_in_python() {
                plan.handles / 10
            } else {
                plan.handles
            };
            worker.send("memory", 0, handles).ok()?;
            worker.receive().ok()?.first().copied()
        })
        .collect();

    let mut results = Results::new(WORKLOADS, contenders.len());
    for (w, workload) in WORKLOADS.iter().enumerate() {
        let from = Instant::now();
        let mut unable = vec![false; contenders.len()];
        let all = contenders.len();
        for round in 0..plan.rounds {
            // The order rotates, so that each contender is first once.
            for turn in 0..all {
                let c = (turn + round) % all;
                let contender = &mut contenders[c];
                if unable[c] {
                    continue;
                }
                match contender.measure(workload, plan.budget_ms, &seeds, &known) {
                    Ok(sample) => results.add(w, c, Some(sample)),
                    Err(reason) => {
                        results.add(w, c, None);
                        unable[c] = true;
                        if reason.to_string() != "unsupported" {
                            eprintln!("bench: {}, {}: {reason}", workload.title, contender.name);
                        }
                    }
                }
            }
            if from.elapsed() > plan.limit {
                break;
            }
        }
        eprintln!(
            "bench: {} ({:.0} s)",
            workload.title,
            began.elapsed().as_secs_f64()
        );
    }

    let mut recovery: Vec<Outcomes> = Vec::new();
    for _ in 0..plan.kills {
        // The other workers are idle: only new workers write.
        recovery.push(kill_a_primary(&cluster, &contenders, &known)?);
        eprintln!("bench: recovery ({:.0} s)", began.elapsed().as_secs_f64());
    }

    let commands = if quick {
        "make bench QUICK=1"
    } else {
        "make bench"
    };
    let report = Report {
        contenders: &contenders,
        absent: &absent,
        results: &results,
        memory: &memory,
        recovery: &recovery,
        server: cluster.server().to_string(),
        commands,
        budget_ms: plan.budget_ms,
    };
    let folder = root.join("docs/benchmarks");
    report.write(&folder)?;
    eprintln!(
        "bench: {} ({:.0} s)",
        folder.join("README.md").display(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn main() {
    if let Err(reason) = run() {
        eprintln!("bench: {reason}");
        std::process::exit(1);
    }
}
