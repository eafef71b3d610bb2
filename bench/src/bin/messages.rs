//! `make bench-messages`: measures subscribers beside those of other clients, and writes docs/benchmarks/messages.md and
//! rows of docs/benchmarks/results.tsv.
//!
//!     messages ROOT LIBRARY PEERS [ROUNDS]
//!
//! ROOT, LIBRARY and PEERS are those of the program `bench`.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::compile::{Program, libvalkey_version, redis_rs_version};
use bench::contender::{Contender, FLOOR, OURS, Sample};
use bench::message_page::MessagePage;
use bench::results::Results;
use bench::worker::Failure;
use bench::workload::{MESSAGE_WORKLOADS, Workload};
use support::{Server, find};

const BURST: &Workload = &MESSAGE_WORKLOADS[0];

/// The lengths of the bursts whose difference gives the instructions of a message.
const COUNTED: [usize; 2] = [2_000, 22_000];

const PUBLISH: &str =
    "for i = 1, ARGV[1] do redis.call('PUBLISH', 'burst', '0123456789abcdef') end";

/// The time for a subscriber to come or go.
const WAIT: Duration = Duration::from_secs(10);

/// The clients, and the programs that run them.
struct Subscribers<'a> {
    root: &'a Path,
    library: &'a Path,
    peers: &'a Path,
    all: Vec<Contender>,
    /// Programs and arguments.
    programs: Vec<Vec<PathBuf>>,
    absent: Vec<String>,
}

impl Subscribers<'_> {
    fn add(&mut self, name: &'static str, what: String, program: Result<Vec<PathBuf>, Failure>) {
        match program {
            Ok(program) => {
                let parts: Vec<&Path> = program.iter().map(PathBuf::as_path).collect();
                self.all.push(Contender::new(name, what, &parts));
                self.programs.push(program);
            }
            Err(reason) => {
                let reason = reason.to_string();
                let first = reason.lines().next().unwrap_or_default();
                self.absent.push(format!("{name}: {first}"));
            }
        }
    }

    fn build(&self, name: &str, program: Program) -> Result<Vec<PathBuf>, Failure> {
        let path = self.peers.join(name);
        program.build(&path)?;
        Ok(vec![path])
    }

    fn source(&self, client: &str) -> Program {
        Program::new(self.root, "message_worker.c", client)
    }

    fn add_ours(&mut self) -> Result<(), Failure> {
        let ours = || {
            self.source("message_rediscluster.c")
                .with_library(self.library)
        };
        let next = self.build("messages-next", ours()?)?;
        let poll = self.build("messages-poll", ours()?.with_arg("-DPOLL"));
        let what = "the C ABI: rdc_subscriber_next() and rdc_reply_free() for each message (built from this tree, release profile)";
        self.add(OURS, what.into(), Ok(next));
        let what =
            "the same; the program polls the descriptor of the subscriber, as an event loop does";
        self.add("librediscluster, poll", what.into(), poll);
        Ok(())
    }

    fn add_libvalkey(&mut self) {
        let build = |client: &str, name: &str| {
            let source = self.source(client).with_libvalkey(self.peers);
            source.and_then(|source| self.build(name, source))
        };
        let blocking = build("message_libvalkey.c", "messages-libvalkey");
        let polled = build("message_libvalkey_async.c", "messages-libvalkey-async");
        let version = libvalkey_version(self.peers);
        let what =
            format!("{version}, blocking: valkeyGetReply() and freeReplyObject() for each message");
        self.add("libvalkey", what, blocking);
        let what = format!(
            "{version}, asynchronous: a callback for each message; the program polls the socket"
        );
        self.add("libvalkey, asynchronous", what, polled);
    }

    fn add_redis_rs(&mut self) -> Result<(), Failure> {
        let program = env::current_exe()?.with_file_name("redis-rs-messages");
        let version = redis_rs_version(self.root)?;
        let what = format!("crate redis {version}, blocking: PubSub::get_message()");
        self.add("redis-rs", what, Ok(vec![program.clone()]));
        let what = format!("crate redis {version}, a stream of messages; tokio with one thread");
        let parts = vec![program, "async".into()];
        self.add("redis-rs, asynchronous", what, Ok(parts));
        Ok(())
    }

    fn add_floor(&mut self) {
        let floor = self.build("messages-floor", self.source("message_floor.c"));
        let what = "a bare socket with a buffer of 64 KiB; messages are counted by their bytes and not decoded";
        self.add(FLOOR, what.into(), floor);
    }
}

/// Waits until the channel has so many subscribers.
fn wait_for_subscribers(server: &Server, count: &str) -> Result<(), Failure> {
    let end = Instant::now() + WAIT;
    loop {
        let reply = server.command(&["PUBSUB", "NUMSUB", "burst"])?;
        if reply.elements().get(1).is_some_and(|n| n.text() == count) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("the channel does not get {count} subscribers: {reply:?}").into());
        }
        sleep(Duration::from_millis(5));
    }
}

fn publish(server: &Server, count: usize) -> Result<(), Failure> {
    let reply = server.command(&["EVAL", PUBLISH, "0", &count.to_string()])?;
    match reply.is_error() {
        true => Err(reply.text().into()),
        false => Ok(()),
    }
}

fn measure(server: &Server, subscriber: &Contender) -> Result<Sample, Failure> {
    wait_for_subscribers(server, "0")?;
    let worker = subscriber.fresh(&server.address(), "");
    let mut worker = worker.ok_or("no worker")??;
    worker.send("subscribe", 0, 0)?;
    worker.receive()?;
    publish(server, BURST.arg)?;
    worker.send(BURST.name, 0, BURST.arg)?;
    let &[operations, wall_ns, cpu_ns, p50_ns, p99_ns] = &worker.receive()?[..] else {
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

/// The instructions of a client that takes a burst.
fn instructions(server: &Server, program: &[PathBuf], count: usize) -> Result<f64, Failure> {
    wait_for_subscribers(server, "0")?;
    let mut child = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(program)
        .arg(server.address())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("no standard input")?;
    writeln!(input, "subscribe 0 0")?;
    wait_for_subscribers(server, "1")?;
    publish(server, count)?;
    writeln!(input, "messages 0 {count}")?;
    drop(input);
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.split_once("Collected :");
    let number = collected.and_then(|(_, rest)| rest.split_whitespace().next());
    Ok(number.ok_or("callgrind has counted nothing")?.parse()?)
}

fn instructions_per_message(server: &Server, program: &[PathBuf]) -> Result<f64, Failure> {
    let [few, many] = COUNTED;
    let once = |count| instructions(server, program, count);
    Ok((once(many)? - once(few)?) / (many - few) as f64)
}

fn run() -> Result<(), Failure> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (root, library, peers, rounds) = match &args[..] {
        [root, library, peers] => (root, library, peers, 15),
        [root, library, peers, rounds] => (root, library, peers, rounds.parse()?),
        _ => return Err("usage: messages ROOT LIBRARY PEERS [ROUNDS]".into()),
    };
    let [root, library, peers] = [root, library, peers].map(Path::new);
    let mut subscribers = Subscribers {
        root,
        library,
        peers,
        all: Vec::new(),
        programs: Vec::new(),
        absent: Vec::new(),
    };
    subscribers.add_ours()?;
    subscribers.add_libvalkey();
    subscribers.add_redis_rs()?;
    subscribers.add_floor();
    let found = find::server()?;
    let server = Server::builder().server(found.clone()).start()?;
    // A burst waits in the server until it is taken.
    let no_limit = [
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 0 0 0",
    ];
    server.command(&no_limit)?;

    let mut results = Results::new(MESSAGE_WORKLOADS, subscribers.all.len());
    for round in 0..rounds {
        for turn in 0..subscribers.all.len() {
            let c = (turn + round) % subscribers.all.len();
            results.add(0, c, Some(measure(&server, &subscribers.all[c])?));
        }
        eprintln!("messages: round {} of {rounds}", round + 1);
    }
    let counted = subscribers.programs.iter();
    let counted: Vec<_> = counted
        .map(|program| {
            let counted = instructions_per_message(&server, program);
            counted
                .inspect_err(|reason| eprintln!("messages: {program:?}: {reason}"))
                .ok()
        })
        .collect();
    let page = MessagePage {
        contenders: &subscribers.all,
        absent: &subscribers.absent,
        results: &results,
        instructions: &counted,
        server: found.to_string(),
        rounds,
    };
    page.write(&root.join("docs/benchmarks"))
}

fn main() {
    if let Err(reason) = run() {
        eprintln!("messages: {reason}");
        std::process::exit(1);
    }
}
