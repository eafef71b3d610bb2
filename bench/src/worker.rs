//! Runs the workloads for contenders written in Rust, as `workers/worker.c` does for those in C.

use std::io::{self, BufRead, Write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock::{cpu_ns, now_ns};
use crate::data::{KEYS, Keys, MANY};

const TIMEOUT: Duration = Duration::from_secs(5);
const SAMPLES: usize = 1 << 17;
const MAX_THREADS: usize = 64;

/// The reason of a failure, in one line.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Done = Result<(), Failure>;

/// A client that one thread uses. Keys are numbers. Every operation reads its whole reply, and fails
/// if the reply differs from the data that was loaded.
pub trait Peer: Sized + Send {
    /// Connects. `timeout` applies to every operation.
    fn open(seeds: &str, from_replicas: bool, timeout: Duration) -> Result<Self, Failure>;
    fn get(&mut self, key: usize) -> Done;
    fn set(&mut self, key: usize) -> Done;
    fn pipeline(&mut self, keys: &[usize]) -> Done;
    fn mget(&mut self, keys: &[usize]) -> Done;
    fn lrange(&mut self) -> Done;
    fn hgetall(&mut self) -> Done;
    fn big(&mut self) -> Done;

    /// Creates a client, waits for its first reply, and drops it.
    fn create(seeds: &str, key: usize) -> Done {
        Self::open(seeds, false, TIMEOUT)?.get(key)
    }
}

struct Worker<P> {
    seeds: String,
    default: Option<P>,
    /// Reads from replicas.
    replicas: Option<P>,
    /// One client per thread.
    per_thread: Vec<P>,
}

/// Runs the workloads that standard input names, until it ends.
pub fn run<P: Peer>() {
    let seeds = std::env::args()
        .nth(1)
        .expect("the seeds, as the one argument");
    let mut worker = Worker::<P> {
        seeds,
        default: None,
        replicas: None,
        per_thread: Vec::new(),
    };
    serve(|name, budget, arg| worker.run_workload(name, budget, arg));
}

/// Answers each line "NAME BUDGET ARG" of standard input with a line, until it ends.
pub fn serve(mut run: impl FnMut(&str, Duration, usize) -> Result<String, Failure>) {
    for line in io::stdin().lock().lines() {
        let line = line.expect("a line");
        let result = parse(&line).and_then(|(name, budget, arg)| run(name, budget, arg));
        let result = result.unwrap_or_else(|e| e.to_string());
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", result.replace('\n', " ")).expect("an open standard output");
        stdout.flush().expect("an open standard output");
    }
}

fn parse(line: &str) -> Result<(&str, Duration, usize), Failure> {
    let mut fields = line.split(' ');
    let mut field = || fields.next().ok_or("expected NAME BUDGET ARG");
    let name = field()?;
    Ok((
        name,
        Duration::from_millis(field()?.parse()?),
        field()?.parse()?,
    ))
}

impl<P: Peer> Worker<P> {
    fn run_workload(
        &mut self,
        name: &str,
        budget: Duration,
        arg: usize,
    ) -> Result<String, Failure> {
        match name {
            "memory" => return memory::<P>(&self.seeds, arg),
            "recovery" => return recovery::<P>(&self.seeds, budget, arg),
            "threads" => return self.threads(budget, arg),
            _ => {}
        }
        let mut keys = Keys(0);
        let seeds = self.seeds.clone();
        if name == "create" {
            return run_turns(budget, 1, || P::create(&seeds, keys.next_key()));
        }
        let from_replicas = name == "replica";
        let client = if from_replicas {
            &mut self.replicas
        } else {
            &mut self.default
        };
        let client = match client {
            Some(client) => client,
            None => client.insert(P::open(&seeds, from_replicas, TIMEOUT)?),
        };
        let mut some = vec![0; if name == "mget" { MANY } else { arg }];
        match name {
            "get" | "replica" => run_turns(budget, 1, || client.get(keys.next_key())),
            "set" => run_turns(budget, 1, || client.set(keys.next_key())),
            "pipeline" => run_turns(budget, arg, || {
                some.fill_with(|| keys.next_key());
                client.pipeline(&some)
            }),
            "mget" => run_turns(budget, 1, || {
                some.fill_with(|| keys.next_key());
                client.mget(&some)
            }),
            "lrange" => run_turns(budget, 1, || client.lrange()),
            "hgetall" => run_turns(budget, 1, || client.hgetall()),
            "big" => run_turns(budget, 1, || client.big()),
            _ => Ok("unsupported".into()),
        }
    }

    fn threads(&mut self, budget: Duration, count: usize) -> Result<String, Failure> {
        if count == 0 || count > MAX_THREADS {
            return Err(format!("the number of threads is not in 1 to {MAX_THREADS}").into());
        }
        while self.per_thread.len() < count {
            self.per_thread.push(P::open(&self.seeds, false, TIMEOUT)?);
        }
        let (start, stop) = (Barrier::new(count + 1), AtomicBool::new(false));
        thread::scope(|scope| {
            let one = |(i, client): (usize, &mut P)| {
                let mut keys = Keys(i * 1231 % KEYS);
                // Connects to all nodes before the measurement.
                let warm = (0..20).try_for_each(|_| client.get(keys.next_key()));
                start.wait();
                warm?;
                let mut samples = Vec::with_capacity(SAMPLES);
                let (mut operations, mut at) = (0, now_ns());
                while !stop.load(Ordering::Relaxed) {
                    client.get(keys.next_key())?;
                    let end = now_ns();
                    operations += 1;
                    if samples.len() < SAMPLES {
                        samples.push(end - at);
                    }
                    at = end;
                }
                Ok::<_, Failure>((operations, samples))
            };
            let threads: Vec<_> = self.per_thread[..count]
                .iter_mut()
                .enumerate()
                .map(|of| scope.spawn(move || one(of)))
                .collect();
            start.wait();
            let (cpu, began) = (cpu_ns(), now_ns());
            thread::sleep(budget);
            stop.store(true, Ordering::Relaxed);
            let (mut operations, mut all) = (0, Vec::new());
            for thread in threads {
                let (more, samples) = thread.join().map_err(|_| "a thread panicked")??;
                operations += more;
                all.extend(samples);
            }
            result_line(operations, now_ns() - began, cpu_ns() - cpu, all)
        })
    }
}

pub fn result_line(
    operations: usize,
    wall: i64,
    cpu: i64,
    mut turns: Vec<i64>,
) -> Result<String, Failure> {
    turns.sort_unstable();
    let last = turns.len().checked_sub(1).ok_or("no turn was finished")?;
    let (p50, p99) = (turns[turns.len() / 2], turns[last - turns.len() / 100]);
    Ok(format!("ok {operations} {wall} {cpu} {p50} {p99}"))
}

/// Runs turns of `operations` operations each on one thread, until the budget is used up.
fn run_turns(
    budget: Duration,
    operations: usize,
    mut turn: impl FnMut() -> Done,
) -> Result<String, Failure> {
    let budget = i64::try_from(budget.as_nanos())?;
    turn()?; // warm-up
    let mut turns = Vec::with_capacity(SAMPLES);
    let (mut count, cpu, began) = (0, cpu_ns(), now_ns());
    let mut at = began;
    while at - began < budget {
        turn()?;
        let end = now_ns();
        count += operations;
        if turns.len() < SAMPLES {
            turns.push(end - at);
        }
        at = end;
    }
    result_line(count, at - began, cpu_ns() - cpu, turns)
}

fn resident() -> Result<usize, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).ok_or("statm has no second word")?;
    Ok(pages.parse::<usize>()? * 4096)
}

fn memory<P: Peer>(seeds: &str, count: usize) -> Result<String, Failure> {
    let (mut kept, mut keys, mut before) = (Vec::new(), Keys(0), 0);
    // The first clients allocate what all of them share, and do not count.
    for i in 0..count + 10 {
        if i == 10 {
            before = resident()?;
        }
        let mut client = P::open(seeds, false, TIMEOUT)?;
        (0..20).try_for_each(|_| client.get(keys.next_key()))?;
        kept.push(client);
    }
    Ok(format!("ok {}", (resident()? - before) / count))
}

fn recovery<P: Peer>(seeds: &str, budget: Duration, key: usize) -> Result<String, Failure> {
    let budget = i64::try_from(budget.as_nanos())?;
    let mut client = P::open(seeds, false, Duration::from_secs(30))?;
    client.set(key)?;
    let (mut writes, mut failed, began) = (0, 0, now_ns());
    let (mut good, mut from, mut to) = (began, began, began);
    while now_ns() - began < budget {
        writes += 1;
        if client.set(key).is_err() {
            failed += 1;
        } else {
            let at = now_ns();
            if at - good > to - from {
                (from, to) = (good, at);
            }
            good = at;
        }
        thread::sleep(Duration::from_millis(1));
    }
    if now_ns() - good > to - from {
        return Err(format!("never recovered, {failed} of {writes} writes failed").into());
    }
    Ok(format!("ok {writes} {failed} {from} {to}"))
}
