//! Limits on the cost of operations: instructions, system calls, allocations and memory, measured on the release build
//! through the C ABI, against a real cluster. See docs/performance.md.
//!
//! No times are measured. The difference between two runs of different length is the cost of one operation, and these
//! counts hardly vary. Variations (a reply in two parts, a receive that had to wait) only add to the cost, so that the
//! minimum of a few tries counts.

mod release_build;

use std::fs;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex, PoisonError};

use release_build::release;
use support::{Action, Cluster, FakeCluster};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TRIES: usize = 3;
const NODES: f64 = 3.0;

/// The programs, and a cluster with data.
struct Bench {
    dir: PathBuf,
    url: String,
    _cluster: Option<Cluster>,
}

/// One measurement at a time: parallel ones would delay each other.
static BENCH: LazyLock<Mutex<Result<Bench, String>>> = LazyLock::new(|| Mutex::new(Bench::new()));

impl Bench {
    fn new() -> Result<Bench, String> {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gates");
        fs::create_dir_all(&dir).expect("a scratch folder");
        let release = release("librediscluster.so")?;
        let source = |file: &str| format!("{ROOT}/tests/c/gates/{file}");
        let flags = "-std=c99 -pedantic -Wall -Wextra -Werror -O2 -g";
        let compile = |file: &str, program: &str, more: &[String]| {
            let mut cc = Command::new("cc");
            cc.args(flags.split(' ')).arg(source(file)).args(more);
            succeed(cc.arg("-o").arg(dir.join(program)));
        };
        let link = [
            format!("-I{ROOT}/include"),
            release.display().to_string(),
            "-pthread".into(),
        ];
        // The loader looks for the soname, which only an installed library has.
        let soname = concat!("librediscluster.so.", env!("CARGO_PKG_VERSION_MAJOR"));
        fs::copy(&release, dir.join(soname)).expect("a copy of the library");
        compile("workload.c", "workload", &link);
        compile(
            "allocations.c",
            "allocations.so",
            &["-shared".into(), "-fPIC".into()],
        );
        let cluster = Cluster::start().expect("a cluster");
        let bench = Bench {
            dir,
            url: cluster.url(),
            _cluster: Some(cluster),
        };
        succeed(bench.under(&[]).args(["load", "1"]));
        Ok(bench)
    }

    /// The same programs against scripted nodes that have the keys.
    fn with(&self, fake: &FakeCluster) -> Bench {
        for key in 0..1000 {
            fake.put(format!("key:{key:07}"), "0123456789abcdef");
        }
        Bench {
            dir: self.dir.clone(),
            // One seed: parsing many is not measured. Long timeouts: nodes that report 16,384 ranges are slow.
            url: format!(
                "redis://127.0.0.1:{}?timeout_ms=100000&attempt_timeout_ms=50000&connect_timeout_ms=50000",
                fake.port(0)
            ),
            _cluster: None,
        }
    }

    /// The workload program, run by this tool.
    fn under(&self, tool: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "180"])
            .args(tool)
            .arg(self.dir.join("workload"))
            .env("LD_LIBRARY_PATH", &self.dir)
            .env("RDC_URL", &self.url);
        command
    }
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| {
        panic!("{command:?}: {e} (tools/setup.sh test installs what is missing)")
    });
    let words = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    assert!(status.success(), "{command:?}: {status}\n{words}");
    output
}

/// The number after `label` in the output of a program.
fn number_behind(label: &str, output: &Output) -> f64 {
    let text = [&*output.stdout, &*output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let (_, rest) = text
        .split_once(label)
        .unwrap_or_else(|| panic!("no {label:?} in: {text}"));
    let word = rest.split_whitespace().next().unwrap_or_default();
    word.parse()
        .unwrap_or_else(|_| panic!("{label} {word} is not a number"))
}

/// The total cost of a workload that runs this many times.
type Metric = fn(&Bench, workload: &str, times: u32) -> f64;

/// Instructions of the client process, in user space.
fn instructions(bench: &Bench, workload: &str, times: u32) -> f64 {
    let tool = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
    ];
    let mut run = bench.under(&tool);
    let output = succeed(run.args([workload, &times.to_string()]));
    number_behind("Collected :", &output)
}

fn allocations(bench: &Bench, workload: &str, times: u32) -> f64 {
    let preload = format!("LD_PRELOAD={}", bench.dir.join("allocations.so").display());
    let mut run = bench.under(&["env", &preload]);
    let output = succeed(run.args([workload, &times.to_string()]));
    number_behind("allocations:", &output)
}

fn kilobytes(bench: &Bench, workload: &str, times: u32) -> f64 {
    let output = succeed(bench.under(&[]).args([workload, &times.to_string()]));
    number_behind("VmRSS:", &output)
}

/// Peak resident memory.
fn peak_kilobytes(bench: &Bench, workload: &str, times: u32) -> f64 {
    let output = succeed(bench.under(&[]).args([workload, &times.to_string()]));
    number_behind("VmHWM:", &output)
}

fn system_calls(bench: &Bench, workload: &str, times: u32, counts: fn(&str) -> bool) -> f64 {
    let trace = bench.dir.join("trace");
    let mut run = bench.under(&["strace", "-f", "-o", &trace.display().to_string()]);
    succeed(run.args([workload, &times.to_string()]));
    let trace = fs::read_to_string(trace).expect("the trace");
    // The format is "PID name(...) = result". The second half of an interrupted call has no name there.
    let names = trace.lines().filter_map(|line| {
        let (_pid, call) = line.split_once(' ')?;
        let (name, _) = call.trim_start().split_once('(')?;
        Some(name)
    });
    let calls = names.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    calls.filter(|name| counts(name)).count() as f64
}

fn all_calls(bench: &Bench, workload: &str, times: u32) -> f64 {
    system_calls(bench, workload, times, |_| true)
}

fn polls(bench: &Bench, workload: &str, times: u32) -> f64 {
    system_calls(bench, workload, times, |name| name.ends_with("poll"))
}

fn calls_but_polls(bench: &Bench, workload: &str, times: u32) -> f64 {
    system_calls(bench, workload, times, |name| !name.ends_with("poll"))
}

fn sends(bench: &Bench, workload: &str, times: u32) -> f64 {
    system_calls(bench, workload, times, |name| name.starts_with("send"))
}

fn connections(bench: &Bench, workload: &str, times: u32) -> f64 {
    system_calls(bench, workload, times, |name| name == "connect")
}

/// Measures `metric` for one operation, in runs of `few` and `many` turns of the workload with `parts` operations
/// each. Prints the result and fails above the limit.
fn gate(name: &str, metric: Metric, workload: &str, [few, many]: [u32; 2], parts: u32, limit: f64) {
    with_bench(|bench| {
        measure(bench, name, metric, workload, [few, many], parts, limit);
    });
}

fn with_bench(f: impl FnOnce(&Bench)) {
    let bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    f(bench.as_ref().unwrap_or_else(|reason| panic!("{reason}")));
}

/// Returns the cost of one operation.
fn measure(
    bench: &Bench,
    name: &str,
    metric: Metric,
    workload: &str,
    [few, many]: [u32; 2],
    parts: u32,
    limit: f64,
) -> f64 {
    let operations = f64::from(many - few) * f64::from(parts);
    let mut least = f64::INFINITY;
    for _ in 0..TRIES {
        let once = metric(bench, workload, many) - metric(bench, workload, few);
        least = least.min(once / operations);
        if least <= limit {
            break;
        }
    }
    // Written to the stream directly: numbers are useful even if the test passes.
    let verdict = if least <= limit { "ok" } else { "TOO MUCH" };
    let line = format!("gate: {name:<44} {least:>14.3}  limit {limit:>12.3}  {verdict}\n");
    stderr().write_all(line.as_bytes()).expect("standard error");
    assert!(least <= limit, "{name}: {least:.3} is more than {limit}");
    least
}

macro_rules! gates {
    ($($test:ident: $name:literal, $metric:ident of $workload:literal, $turns:expr, $parts:expr, $limit:expr;)+) => {
        $(#[test] fn $test() { gate($name, $metric, $workload, $turns, $parts, $limit) })+
    };
}

gates! {
    get_instructions: "GET, instructions", instructions of "get", [100, 1100], 1, 955.0;
    set_instructions: "SET, instructions", instructions of "set", [100, 1100], 1, 995.0;
    readonly_get_instructions: "GET by a read-only handle, instructions", instructions of "readonly_get", [500, 1500], 1, 1_050.0;
    // What bindings call.
    encoded_get_instructions: "GET by rdc_command_resp, instructions", instructions of "command", [100, 1100], 1, 1_225.0;
    pipelined_get_instructions: "GET in a pipeline of 1000, instructions", instructions of "pipeline", [3, 13], 1000, 495.0;
    short_pipelined_get_instructions: "GET in a pipeline of 100, instructions", instructions of "short_pipelines", [3, 13], 1000, 590.0;
    readonly_pipelined_get_instructions: "the same by a read-only handle, instructions", instructions of "readonly_pipeline", [3, 13], 1000, 595.0;
    queued_get_instructions: "GET in a queue, batches of 100, instructions", instructions of "queue", [10, 110], 100, 910.0;
    message_instructions: "message of 16 bytes, instructions", instructions of "messages", [3, 13], 1000, 430.0;
    transaction_instructions: "MULTI, 3 commands, EXEC: instructions", instructions of "transaction", [100, 1100], 1, 10_150.0;
    mget_instructions: "MGET of 100 keys, instructions", instructions of "mget", [5, 55], 1, 62_200.0;
    lrange_instructions: "LRANGE of 10,000, instructions", instructions of "lrange", [3, 13], 1, 1_160_000.0;
    lrange_array_instructions: "LRANGE of 10,000, by rdc_reply_read_array", instructions of "lrange_array", [3, 13], 1, 905_000.0;
    hgetall_instructions: "HGETALL of 10,000, instructions", instructions of "hgetall", [3, 13], 1, 2_260_000.0;
    hgetall_array_instructions: "HGETALL of 10,000, by rdc_reply_read_array", instructions of "hgetall_array", [3, 13], 1, 1_745_000.0;
    integers_instructions: "10,000 integers, by rdc_reply_read_array", instructions of "integers", [3, 13], 1, 1_730_000.0;
    big_get_instructions: "GET of 10 MiB, instructions", instructions of "bigget", [3, 13], 1, 300_000.0;

    get_system_calls: "GET, system calls", all_calls of "get", [100, 1100], 1, 2.0;
    set_system_calls: "SET, system calls", all_calls of "set", [100, 1100], 1, 3.0;
    pipeline_system_calls: "pipeline of 1000, system calls but polls", calls_but_polls of "pipeline", [3, 23], 1, 2.0 * NODES;
    queued_get_system_calls: "GET in a queue, batches of 100, system calls", all_calls of "queue", [10, 210], 100, 0.1;
    message_system_calls: "message of 16 bytes, system calls", all_calls of "messages", [3, 13], 1000, 0.1;
    pipeline_polls: "pipeline of 1000, polls", polls of "pipeline", [3, 23], 1, NODES;
    // One write, one reply, and the look whether the connection was closed.
    transaction_system_calls: "MULTI, 3 commands, EXEC: system calls", all_calls of "transaction", [100, 1100], 1, 3.0;
    mget_system_calls: "MGET of 100 keys, system calls but polls", calls_but_polls of "mget", [5, 105], 1, 2.0 * NODES;
    mget_polls: "MGET of 100 keys, polls", polls of "mget", [5, 105], 1, NODES;
    lrange_system_calls: "LRANGE of 10,000, system calls", all_calls of "lrange", [3, 23], 1, 6.0;
    big_get_system_calls: "GET of 10 MiB, system calls", all_calls of "bigget", [3, 13], 1, 40.0;

    get_allocations: "GET, allocations", allocations of "get", [100, 1100], 1, 0.1;
    pipelined_get_allocations: "GET in a pipeline of 1000, allocations", allocations of "pipeline", [3, 13], 1000, 0.05;
    queued_get_allocations: "GET in a queue, batches of 100, allocations", allocations of "queue", [10, 110], 100, 0.2;
    message_allocations: "message of 16 bytes, allocations", allocations of "messages", [3, 13], 1000, 0.1;
    // Two threads on one handle have one connection each and never wait for each other. Many threads share one
    // connection for each node, and most of them neither send nor receive.
    two_threads: "GET by 2 threads on one handle, system calls", all_calls of "threads2", [100, 600], 2, 2.1;
    many_threads: "GET by 64 threads on one handle, sends", sends of "threads64", [20, 120], 64, 0.5;

    deep_pipeline_memory: "pipeline of 100,000 x 1 KiB, peak by reply bytes", peak_kilobytes of "deep", [0, 1], 100_000, 1.5;

    lrange_allocations: "LRANGE of 10,000, allocations", allocations of "lrange", [3, 13], 1, 5.0;

    resident_kilobytes: "idle handle on 6 nodes, KiB resident", kilobytes of "idle", [10, 210], 1, 36.0;
    connections_until_first_reply: "create to first reply, connections", connections of "create", [3, 13], 1, 2.0;
    instructions_until_first_reply: "create to first reply, instructions", instructions of "create", [3, 13], 1, 128_000.0;
}

/// The cost of a GET does not depend on the size of the cluster: every step is a look-up.
#[test]
fn command_cost_does_not_depend_on_cluster_size() {
    let cost = |bench: &Bench, name: &str, fake: &FakeCluster| {
        let bench = bench.with(fake);
        // Every key once, so that every node is connected, and then every key again.
        measure(&bench, name, instructions, "get", [1000, 4000], 1, 955.0)
    };
    with_bench(|bench| {
        let three = cost(
            bench,
            "GET with 3 nodes, instructions",
            &FakeCluster::new(3),
        );
        let many = FakeCluster::new(200);
        let many = cost(bench, "GET with 200 nodes, instructions", &many);
        let split = FakeCluster::new(3);
        for slot in 0..16384 {
            split.assign(slot..=slot, usize::from(slot % 3));
        }
        let split = cost(bench, "GET with 16,384 ranges, instructions", &split);
        for other in [many, split] {
            assert!((other - three).abs() < 0.02 * three, "{three} and {other}");
        }
    });
}

/// The reply to CLUSTER SLOTS of a cluster with this many nodes: shards of two, of which one shard may have had a
/// failover. Node 0 is at `port` of this machine.
fn large_slots(nodes: u32, port: u16, host: fn(u32) -> String, failed_over: bool) -> Vec<u8> {
    let node = |node: u32| {
        let (host, port) = match node {
            0 => ("127.0.0.1".to_string(), port),
            _ => (host(node), port),
        };
        let len = host.len();
        format!("*4\r\n${len}\r\n{host}\r\n:{port}\r\n$40\r\n{node:040x}\r\n*0\r\n")
    };
    let shards = nodes / 2;
    let shard = |shard: u32| {
        let (first, last) = (shard * 16384 / shards, (shard + 1) * 16384 / shards - 1);
        let (mut primary, mut replica) = (2 * shard, 2 * shard + 1);
        if failed_over && shard == 1 {
            std::mem::swap(&mut primary, &mut replica);
        }
        format!(
            "*4\r\n:{first}\r\n:{last}\r\n{}{}",
            node(primary),
            node(replica)
        )
    };
    let shards_text: String = (0..shards).map(shard).collect();
    format!("*{shards}\r\n{shards_text}").into_bytes()
}

/// A node of a large cluster. It replies to CLUSTER SLOTS with each of `replies` twice in turn: a refresh asks two nodes.
fn large_cluster(replies: impl Fn(u16) -> Vec<Vec<u8>>) -> FakeCluster {
    let fake = FakeCluster::new(1);
    let (mut default, replies) = (fake.default_answer(0), replies(fake.port(0)));
    let mut asked = 0;
    fake.on(0, move |connection, command| {
        let is_slots = command
            .get(1)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"slots"));
        if !is_slots {
            return Some(Action::Send(default(connection, command)));
        }
        asked += 1;
        Some(Action::Send(replies[asked / 2 % replies.len()].clone()))
    });
    fake
}

/// A host that does not exist.
fn remote(node: u32) -> String {
    format!("10.20.{}.{}", node / 250, node % 250 + 1)
}

/// A name of this machine: all nodes are one.
fn local(node: u32) -> String {
    format!("node-{node}.localhost")
}

/// A client of a large cluster keeps little for a node that it has sent nothing to, and creation costs little for each.
#[test]
fn client_of_thousand_nodes_stays_within_limits() {
    with_bench(|bench| {
        for (nodes, most_instructions, most_kilobytes) in
            [(1_000, 8_000_000.0, 400.0), (2_000, 16_000_000.0, 750.0)]
        {
            let fake = large_cluster(|port| vec![large_slots(nodes, port, remote, false)]);
            let bench = bench.with(&fake);
            let name = format!("create with {nodes} nodes, instructions");
            let workload = "connect_and_close";
            measure(
                &bench,
                &name,
                instructions,
                workload,
                [1, 3],
                1,
                most_instructions,
            );
            let name = format!("client of {nodes} nodes, KiB resident");
            measure(
                &bench,
                &name,
                kilobytes,
                "connect_only",
                [5, 25],
                1,
                most_kilobytes,
            );
        }
    });
}

/// A refresh costs what changed, beyond the decoding of two replies.
#[test]
fn refresh_of_thousand_nodes_stays_within_limits() {
    with_bench(|bench| {
        let same = large_cluster(|port| vec![large_slots(1_000, port, local, false)]);
        let name = "refresh of 1,000 nodes without a change, instructions";
        let bench_same = bench.with(&same);
        measure(
            &bench_same,
            name,
            instructions,
            "refresh",
            [3, 13],
            1,
            6_000_000.0,
        );
        let other = |port| {
            [false, true]
                .map(|it| large_slots(1_000, port, local, it))
                .into()
        };
        let changing = large_cluster(other);
        let name = "refresh of 1,000 nodes after a failover, instructions";
        let bench_changing = bench.with(&changing);
        measure(
            &bench_changing,
            name,
            instructions,
            "refresh",
            [3, 13],
            1,
            18_000_000.0,
        );
    });
}

/// Handles of one cluster share their state: a thousand cost at most a thousand times as much as one.
#[test]
fn thousand_handles_and_threads_stay_within_limits() {
    with_bench(|bench| {
        let one = "GET by one of 1,000 handles, instructions";
        measure(bench, one, instructions, "handles1000", [1, 2], 1000, 955.0);
        let memory = "another handle by rdc_readonly, KiB resident";
        measure(
            bench,
            memory,
            kilobytes,
            "derived_handles",
            [100, 1100],
            1,
            2.0,
        );
        let thread = "GET by one of 1,000 threads, sends";
        measure(bench, thread, sends, "threads1000", [2, 7], 1000, 0.5);
    });
}
