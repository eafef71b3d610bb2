//! `make bench-loops`: measures the queue beside other clients for event loops, and writes
//! docs/benchmarks/event-loops.md and rows of docs/benchmarks/results.tsv.
//!
//!     event-loops ROOT LIBRARY PEERS [ROUNDS]
//!
//! ROOT, LIBRARY and PEERS are those of the program `bench`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bench::cluster::{load, shards};
use bench::compile::{Program, libvalkey_version, redis_rs_version};
use bench::contender::Contender;
use bench::event_loop_page::{BLOCKING, EventLoopPage, QUEUE};
use bench::machine::first_line;
use bench::report::OUR_PYTHON;
use bench::results::Results;
use bench::worker::Failure;
use bench::workload::EVENT_LOOP_WORKLOADS;
use support::Cluster;

const BUDGET_MS: u64 = 150;

struct Contenders<'a> {
    root: &'a Path,
    library: &'a Path,
    peers: &'a Path,
    all: Vec<Contender>,
    absent: Vec<String>,
}

impl Contenders<'_> {
    fn add(&mut self, name: &'static str, what: String, program: Result<Vec<PathBuf>, Failure>) {
        match program {
            Ok(parts) => {
                let parts: Vec<&Path> = parts.iter().map(PathBuf::as_path).collect();
                self.all.push(Contender::new(name, what, &parts));
            }
            Err(reason) => {
                let reason = reason.to_string();
                let first = reason.lines().next().unwrap_or_default();
                self.absent.push(format!("{name}: {first}"));
            }
        }
    }

    fn in_c(&self, driver: &str, client: &str, name: &str) -> Result<Vec<PathBuf>, Failure> {
        let program = self.peers.join(name);
        let source = Program::new(self.root, driver, client);
        match name {
            "loop-libvalkey" => source.with_libvalkey(self.peers)?.with_arg("-lev"),
            "loop-libev" => source
                .with_library(self.library)?
                .with_arg("-DLIBEV")
                .with_arg("-lev"),
            _ => source.with_library(self.library)?,
        }
        .build(&program)?;
        Ok(vec![program])
    }

    fn add_those_in_c(&mut self) -> Result<(), Failure> {
        let queue = self.in_c("loop_worker.c", "loop_rediscluster.c", "loop-queue")?;
        let what =
            "the C ABI: one queue; rdc_queue_run() waits (built from this tree, release profile)";
        self.add(QUEUE, what.into(), Ok(queue));
        let threads = self.in_c("worker.c", "rediscluster.c", "ours")?;
        let what = "the C ABI: 64 threads that make blocking calls on one handle";
        self.add(BLOCKING, what.into(), Ok(threads));
        let libev = self.in_c("loop_worker.c", "loop_rediscluster.c", "loop-libev");
        let what = "the same queue; libev polls its descriptor";
        self.add("librediscluster, libev", what.into(), libev);
        let libvalkey = self.in_c("loop_worker.c", "loop_libvalkey.c", "loop-libvalkey");
        let what = format!(
            "{}, asynchronous cluster API with libev",
            libvalkey_version(self.peers)
        );
        self.add("libvalkey", what, libvalkey);
        Ok(())
    }

    fn add_redis_rs(&mut self) -> Result<(), Failure> {
        let me = env::current_exe()?;
        let beside = me.parent().ok_or("no folder")?;
        let what = format!(
            "crate redis {}, asynchronous cluster client, tokio with one thread",
            redis_rs_version(self.root)?
        );
        self.add("redis-rs", what, Ok(vec![beside.join("redis-rs-async")]));
        Ok(())
    }

    fn add_rueidis(&mut self) {
        let program = self.peers.join("rueidis");
        let folder = self.root.join("bench/workers/rueidis");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(&folder)
            .output();
        let program = match built {
            Ok(output) if output.status.success() => Ok(vec![program]),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
            Err(e) => Err(format!("go does not run: {e}").into()),
        };
        let go_mod = std::fs::read_to_string(folder.join("go.mod")).unwrap_or_default();
        let version = go_mod.split("rueidis v").nth(1).unwrap_or_default();
        let version = version.lines().next().unwrap_or_default();
        let what = format!(
            "rueidis {version} with {}: 1,000 goroutines, or DoMulti for a batch; Go uses all processors",
            first_line("go", &["env", "GOVERSION"])
        );
        self.add("rueidis", what, program);
    }

    fn add_those_in_python(&mut self) {
        let python = self.peers.join("venv/bin/python");
        let script = self.root.join("bench/workers/peers_async.py");
        let interpreter = python.display().to_string();
        for (name, package, module, more) in [
            (OUR_PYTHON, "", "rediscluster.asyncio", ""),
            (
                "valkey-glide",
                "valkey-glide",
                "glide",
                "; its core has threads of its own",
            ),
            ("redis-py", "redis", "redis.asyncio.cluster", ""),
        ] {
            let version = match package {
                "" => format!("import {module}; print('the Python binding of this repository')"),
                _ => format!(
                    "import {module}; from importlib.metadata import version; print('{package}', version('{package}'))"
                ),
            };
            let version = first_line(&interpreter, &["-c", &version]);
            let program = match version.as_str() {
                "not found" => Err(format!("Python cannot import {module}").into()),
                _ => {
                    let argument = match name {
                        "valkey-glide" => "glide",
                        OUR_PYTHON => "rediscluster",
                        _ => name,
                    };
                    Ok(vec![python.clone(), script.clone(), argument.into()])
                }
            };
            let what = format!(
                "{version}, asyncio in {}{more}",
                first_line(&interpreter, &["--version"])
            );
            self.add(name, what, program);
        }
    }
}

/// Measures all workloads of all contenders in each round, so that the ratios of different workloads
/// compare what was measured within seconds.
fn measure(
    contenders: &mut [Contender],
    rounds: usize,
    seeds: &str,
    known: &str,
) -> (Results, Vec<(f64, f64)>) {
    let mut results = Results::new(EVENT_LOOP_WORKLOADS, contenders.len());
    let mut unable = vec![vec![false; contenders.len()]; EVENT_LOOP_WORKLOADS.len()];
    let mut beside = Vec::new();
    let began = Instant::now();
    for round in 0..rounds {
        for (w, workload) in EVENT_LOOP_WORKLOADS.iter().enumerate() {
            for turn in 0..contenders.len() {
                let c = (turn + round) % contenders.len();
                if unable[w][c] {
                    continue;
                }
                match contenders[c].measure(workload, BUDGET_MS, seeds, known) {
                    Ok(sample) => results.add(w, c, Some(sample)),
                    Err(reason) => {
                        results.add(w, c, None);
                        unable[w][c] = true;
                        if reason.to_string() != "unsupported" {
                            let name = contenders[c].name;
                            eprintln!("event-loops: {}, {name}: {reason}", workload.title);
                        }
                    }
                }
            }
        }
        let queue = contenders.iter_mut().find(|c| c.name == QUEUE);
        let times = queue.map(|c| c.ask("beside", 2 * BUDGET_MS, 0, seeds, known));
        if let Some(Ok(times)) = times
            && let &[queue, blocking] = &times[..]
        {
            beside.push((queue, blocking));
        }
        eprintln!(
            "event-loops: round {} of {rounds} ({:.0} s)",
            round + 1,
            began.elapsed().as_secs_f64()
        );
    }
    (results, beside)
}

fn run() -> Result<(), Failure> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (root, library, peers, rounds) = match &args[..] {
        [root, library, peers] => (root, library, peers, 15),
        [root, library, peers, rounds] => (root, library, peers, rounds.parse()?),
        _ => return Err("usage: event-loops ROOT LIBRARY PEERS [ROUNDS]".into()),
    };
    let [root, library, peers] = [root, library, peers].map(Path::new);
    let mut contenders = Contenders {
        root,
        library,
        peers,
        all: Vec::new(),
        absent: Vec::new(),
    };
    contenders.add_those_in_c()?;
    contenders.add_redis_rs()?;
    contenders.add_rueidis();
    contenders.add_those_in_python();

    let cluster = Cluster::start()?;
    load(&cluster)?;
    let (seeds, known) = (cluster.seeds(), shards(&cluster)?);
    let (results, beside) = measure(&mut contenders.all, rounds, &seeds, &known);
    let page = EventLoopPage {
        contenders: &contenders.all,
        absent: &contenders.absent,
        results: &results,
        beside: &beside,
        server: cluster.server().to_string(),
        rounds,
        budget_ms: BUDGET_MS,
    };
    page.write(&root.join("docs/benchmarks"))
}

fn main() {
    if let Err(reason) = run() {
        eprintln!("event-loops: {reason}");
        std::process::exit(1);
    }
}
