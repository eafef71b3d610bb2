//! A contender: a client in a worker process, or `redis-benchmark`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::worker::Failure;
use crate::workload::Workload;

pub struct Contender {
    pub name: &'static str,
    pub what: String,
    /// Whether it is an alternative to librediscluster. Otherwise it is a reference value.
    pub is_peer: bool,
    /// Program and arguments. A worker gets the seeds as a further argument.
    program: Vec<String>,
    worker: Option<Worker>,
}

pub struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// One workload of one contender in one round. The times are of the whole round, except for the
/// percentiles, which are of one turn.
#[derive(Clone, Copy)]
pub struct Sample {
    pub operations: f64,
    pub wall_ns: f64,
    pub cpu_ns: f64,
    pub p50_ns: f64,
    pub p99_ns: f64,
}

impl Sample {
    pub fn per_second(&self) -> f64 {
        self.operations * 1e9 / self.wall_ns
    }

    pub fn cpu_us(&self) -> f64 {
        self.cpu_ns / self.operations / 1e3
    }
}

impl Worker {
    pub fn start(program: &[String], seeds: &str, shards: &str) -> Result<Worker, Failure> {
        let mut child = Command::new(&program[0])
            .args(&program[1..])
            .arg(seeds)
            .env("BENCH_SHARDS", shards)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let stdout = BufReader::new(stdout);
        Ok(Worker {
            child,
            stdin,
            stdout,
        })
    }

    /// Starts a workload.
    pub fn send(&mut self, name: &str, budget_ms: u64, arg: usize) -> Result<(), Failure> {
        writeln!(self.stdin, "{name} {budget_ms} {arg}")?;
        Ok(self.stdin.flush()?)
    }

    /// The numbers after "ok". Any other line is the reason why there is no result.
    pub fn receive(&mut self) -> Result<Vec<f64>, Failure> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(format!("ended: {}", self.child.wait()?).into());
        }
        let Some(numbers) = line.strip_prefix("ok ") else {
            return Err(line.trim_end().into());
        };
        let numbers = numbers.split_whitespace().map(str::parse);
        Ok(numbers.collect::<Result<_, _>>()?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Errors are ignored: the worker may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Contender {
    pub fn new(name: &'static str, what: impl Into<String>, program: &[&Path]) -> Contender {
        let text = |part: &&Path| part.display().to_string();
        Contender {
            name,
            what: what.into(),
            is_peer: true,
            program: program.iter().map(text).collect(),
            worker: None,
        }
    }

    pub fn yardstick(self) -> Contender {
        let is_peer = false;
        Contender { is_peer, ..self }
    }

    pub fn is_in_python(&self) -> bool {
        self.program.iter().any(|part| part.ends_with(".py"))
    }

    fn is_load_generator(&self) -> bool {
        self.name == LOAD_GENERATOR
    }

    /// A new worker process, for workloads that need one. A load generator has none.
    pub fn fresh(&self, seeds: &str, shards: &str) -> Option<Result<Worker, Failure>> {
        (!self.is_load_generator()).then(|| Worker::start(&self.program, seeds, shards))
    }

    pub fn measure(
        &mut self,
        workload: &Workload,
        budget_ms: u64,
        seeds: &str,
        shards: &str,
    ) -> Result<Sample, Failure> {
        if self.is_load_generator() {
            return generate_load(&self.program[0], workload, budget_ms, seeds);
        }
        let numbers = self.ask(workload.name, budget_ms, workload.arg, seeds, shards)?;
        let &[operations, wall_ns, cpu_ns, p50_ns, p99_ns] = &numbers[..] else {
            return Err("five numbers were expected".into());
        };
        Ok(Sample {
            operations,
            wall_ns,
            cpu_ns,
            p50_ns,
            p99_ns,
        })
    }

    /// The numbers with which the worker answers, which is started if it is not running.
    pub fn ask(
        &mut self,
        name: &str,
        budget_ms: u64,
        arg: usize,
        seeds: &str,
        shards: &str,
    ) -> Result<Vec<f64>, Failure> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            None => {
                let worker = Worker::start(&self.program, seeds, shards)?;
                self.worker.insert(worker)
            }
        };
        worker.send(name, budget_ms, arg)?;
        worker.receive()
    }
}

pub const OURS: &str = "librediscluster";
pub const LOAD_GENERATOR: &str = "redis-benchmark";
pub const FLOOR: &str = "floor";

fn children_cpu_ns() -> Result<i64, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time() + usage.system_time()).num_nanoseconds())
}

/// Measures the same load with `redis-benchmark --cluster`. It uses one thread and one connection per
/// node, even if one is requested.
fn generate_load(
    program: &str,
    workload: &Workload,
    budget_ms: u64,
    seeds: &str,
) -> Result<Sample, Failure> {
    let (test, clients, depth) = match workload.name {
        "get" | "set" => (workload.name, 1, 1),
        "threads" => ("get", workload.arg, 1),
        "pipeline" => ("get", 1, workload.arg),
        _ => return Err("unsupported".into()),
    };
    let port = seeds.split([':', ',']).nth(1).ok_or("no port")?;
    // It reads its clock four times per second, so short runs would be inaccurate.
    let per_ms = if depth > 1 || clients > 2 { 300 } else { 80 };
    let requests = (budget_ms * per_ms).max(depth as u64 * 10);
    let before = children_cpu_ns()?;
    let output = Command::new(program)
        .args(["--cluster", "--csv", "-d", "16", "-r", "100000", "-p", port])
        .args([
            "-t",
            test,
            "-c",
            &clients.to_string(),
            "-P",
            &depth.to_string(),
        ])
        .args(["-n", &requests.to_string()])
        .output()?;
    let cpu_ns = (children_cpu_ns()? - before) as f64;
    let text = String::from_utf8_lossy(&output.stdout);
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95...","p99...","max..."
    let fields = text
        .lines()
        .find(|line| line.starts_with("\"GET\"") || line.starts_with("\"SET\""));
    let fields: Vec<&str> = fields
        .ok_or("no result")?
        .split(',')
        .map(|field| field.trim_matches('"'))
        .collect();
    let number = |i: usize| -> Result<f64, Failure> {
        Ok(fields.get(i).ok_or("a number is missing")?.parse()?)
    };
    let operations = requests as f64;
    Ok(Sample {
        operations,
        wall_ns: operations * 1e9 / number(1)?,
        cpu_ns,
        p50_ns: number(4)? * 1e6,
        p99_ns: number(6)? * 1e6,
    })
}
