//! `cluster run -- CMD`: runs a program with a real cluster. See `cluster --help`.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use support::{Cluster, ClusterBuilder, Error, Places, Result, Server, control, find};

const HELP: &str = "\
cluster run [OPTIONS] -- CMD ARGS...   start a cluster, run CMD, stop all nodes; exits with the status of CMD
cluster places [--servers DIR] -- CMD   start one server of each kind, run CMD with their URLs in RDC_PLACES
cluster start [OPTIONS]                start a cluster, print its URL, keep it until Ctrl-C
cluster ctl COMMAND...                 inspect and break the cluster of `cluster run`
cluster servers                        the servers that were found

OPTIONS
  --primaries N          3
  --replicas N           of each primary: 1
  --ports 7000-7005      one per node (a range or a list); free ones unless given
  --node-timeout MS      cluster-node-timeout: 1000
  --appendonly           nodes keep their data across a restart
  --option NAME=VALUE    a line of every node's configuration; can be repeated
  --tls CERT KEY CA      listen for TLS too (PEM files)

CMD's ENVIRONMENT
  RDC_URL       redis://127.0.0.1:7000,127.0.0.1:7001,...
  RDC_SEEDS     127.0.0.1:7000,127.0.0.1:7001,...
  RDC_CONTROL   Unix socket: accepts one command per line, replies with lines; the last is `ok` or `error ...`
  RDC_SINGLE_URL, RDC_SINGLE_SOCKET
                a single server without cluster mode, and the path of its Unix socket
  RDC_CLUSTER   this program, for `\"$RDC_CLUSTER\" ctl ...`
  RDC_PLACES    only with `places`: a line for each server, its kind and its URL

RDC_SERVER chooses the server to run (a path, or a name in PATH).
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let help = |w: &&str| *w == "--help" || *w == "-h";
    let done = match words[..] {
        [] | ["help" | "--help" | "-h", ..] => show(HELP),
        ["ctl", flag] if help(&flag) => show(control::COMMANDS),
        [_, flag, ..] if help(&flag) => show(HELP),
        ["run", ref rest @ ..] => run(rest),
        ["start", ref rest @ ..] => start(rest),
        ["places", ref rest @ ..] => places(rest),
        ["ctl", ref rest @ ..] => ctl(rest),
        ["servers"] => servers(),
        [word, ..] => Err(Error::new(format!("no command {word}; see cluster --help"))),
    };
    done.unwrap_or_else(|e| {
        eprintln!("cluster: {e}");
        ExitCode::from(2)
    })
}

/// Prints the text. A reader that has seen enough, as in `cluster ctl nodes | head -1`, is no error.
fn show(text: &str) -> Result<ExitCode> {
    let mut stdout = std::io::stdout();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(format!("cannot write the output: {e}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn servers() -> Result<ExitCode> {
    let chosen = find::server()?;
    let mut lines = format!("{chosen} (used)\n");
    for found in find::servers() {
        if found.path != chosen.path {
            lines += &format!("{found}\n");
        }
    }
    show(&lines)
}

fn ctl(words: &[&str]) -> Result<ExitCode> {
    let Some(socket) = std::env::var_os("RDC_CONTROL") else {
        return Err(Error::new(
            "RDC_CONTROL is not set: ctl works inside `cluster run -- CMD`, or with the socket that `cluster start` prints",
        ));
    };
    let lines = control::request(&PathBuf::from(socket), words)?;
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
    show(&lines.concat())
}

fn start(words: &[&str]) -> Result<ExitCode> {
    let (builder, rest) = options(words)?;
    if let Some(word) = rest.first() {
        return Err(Error::new(format!("start takes no {word}")));
    }
    let signals = Signals::block();
    let turn = Turn::default();
    turn.clone().listen(signals);
    let cluster = Arc::new(builder.start()?);
    let socket = control::serve(&cluster)?;
    show(&format!(
        "RDC_URL={}\nRDC_SEEDS={}\nRDC_CONTROL={}\n",
        cluster.url(),
        cluster.seeds(),
        socket.display()
    ))?;
    loop {
        if turn.caught().is_some() {
            cluster.end();
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}

fn run(words: &[&str]) -> Result<ExitCode> {
    let (builder, rest) = options(words)?;
    let command = match rest {
        ["--", command @ ..] if !command.is_empty() => command,
        _ => return Err(Error::new("run wants -- and a command; see cluster --help")),
    };
    let signals = Signals::block();
    let turn = Turn::default();
    turn.clone().listen(signals);
    let cluster = Arc::new(builder.start()?);
    let single = Server::builder().unix_socket().start()?;
    let socket = control::serve(&cluster)?;
    if let Some(signal) = turn.caught() {
        return Ok(ExitCode::from(128 + signal as u8));
    }
    let mut child = Command::new(command[0]);
    child
        .args(&command[1..])
        .env("RDC_URL", cluster.url())
        .env("RDC_SEEDS", cluster.seeds())
        .env("RDC_CONTROL", socket)
        .env("RDC_SINGLE_URL", single.url())
        .env("RDC_SINGLE_SOCKET", single.socket());
    if let Ok(me) = std::env::current_exe() {
        child.env("RDC_CLUSTER", me);
    }
    run_child(child, &turn, || {
        cluster.end();
        single.end();
    })
}

fn places(words: &[&str]) -> Result<ExitCode> {
    let (folder, rest) = match words {
        ["--servers", folder, rest @ ..] => (Some(path(folder)?), rest),
        rest => (None, rest),
    };
    let command = match rest {
        ["--", command @ ..] if !command.is_empty() => command,
        _ => {
            return Err(Error::new(
                "places wants -- and a command; see cluster --help",
            ));
        }
    };
    let found = folder.map_or_else(find::servers, |folder| find::below(&folder));
    let has_databases = |found: &&find::Found| found.kind == "valkey" && found.version.0 >= 9;
    let valkey = found
        .iter()
        .filter(has_databases)
        .max_by_key(|found| found.version);
    if valkey.is_none() {
        eprintln!("cluster: without Valkey 9 there is no cluster with several databases");
    }
    let signals = Signals::block();
    let turn = Turn::default();
    turn.clone().listen(signals);
    let places = Places::start(valkey)?;
    let urls = places.urls().into_iter();
    let lines: Vec<String> = urls.map(|(kind, url)| format!("{kind} {url}")).collect();
    let mut child = Command::new(command[0]);
    child
        .args(&command[1..])
        .env("RDC_PLACES", lines.join("\n"));
    run_child(child, &turn, || places.end())
}

/// Runs a command until it ends; then stops the servers.
fn run_child(mut child: Command, turn: &Turn, stop: impl FnOnce()) -> Result<ExitCode> {
    let name = child.get_program().to_string_lossy().into_owned();
    // SAFETY: only async-signal-safe calls between fork and exec. The main thread forks, so that the signal comes when
    // the tool ends.
    unsafe {
        child.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Signals::unblock();
            Ok(())
        });
    }
    let mut child = child
        .spawn()
        .map_err(|e| Error::new(format!("{name}: {e}")))?;
    turn.forward_to(child.id());
    wait_unreaped(child.id());
    turn.forget();
    let status = child.wait();
    stop();
    let status = status.map_err(|e| Error::new(format!("{name}: {e}")))?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::from(code as u8),
        (None, signal) => ExitCode::from(128 + signal.unwrap_or(0) as u8),
    })
}

/// Waits until a child has ended, without reaping it, so that its id is not reused.
fn wait_unreaped(child: u32) {
    loop {
        // SAFETY: the details are written to this stack.
        let done = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOWAIT;
            libc::waitid(libc::P_PID, child, &mut info, flags)
        };
        if done == 0 || std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return;
        }
    }
}

fn options<'a, 'b>(mut words: &'a [&'b str]) -> Result<(ClusterBuilder, &'a [&'b str])> {
    let mut builder = Cluster::builder();
    loop {
        (builder, words) = match words {
            ["--primaries", n, rest @ ..] => (builder.primaries(number("--primaries", n)?), rest),
            ["--replicas", n, rest @ ..] => (builder.replicas(number("--replicas", n)?), rest),
            ["--node-timeout", n, rest @ ..] => {
                (builder.node_timeout_ms(number("--node-timeout", n)?), rest)
            }
            ["--ports", list, rest @ ..] => (builder.ports(ports(list)?), rest),
            ["--appendonly", rest @ ..] => (builder.appendonly(true), rest),
            ["--option", option, rest @ ..] => match option.split_once('=') {
                Some((name, value)) => (builder.option(name, value), rest),
                None => {
                    return Err(Error::new(format!(
                        "--option wants NAME=VALUE, not {option}"
                    )));
                }
            },
            ["--tls", certificate, key, ca, rest @ ..] => {
                (builder.tls(path(certificate)?, path(key)?, path(ca)?), rest)
            }
            [word, ..] if word.starts_with("--") && *word != "--" => {
                return Err(Error::new(format!(
                    "{word}: no such option, or its value is missing; see cluster --help"
                )));
            }
            rest => return Ok((builder, rest)),
        };
    }
}

/// An absolute path: the servers run in their own directories.
fn path(word: &str) -> Result<PathBuf> {
    std::fs::canonicalize(word).map_err(|e| Error::new(format!("{word}: {e}")))
}

fn number<T: std::str::FromStr>(option: &str, word: &str) -> Result<T> {
    word.parse()
        .map_err(|_| Error::new(format!("{option} wants a number, not {word}")))
}

fn ports(list: &str) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        ports.extend(number::<u16>("--ports", first)?..=number("--ports", last)?);
    }
    Ok(ports)
}

/// The signals that ask a program to end. They are blocked in all threads, so that one thread can wait for them and
/// use locks and files, which a handler must not.
struct Signals(libc::sigset_t);

impl Signals {
    const ALL: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

    fn set() -> libc::sigset_t {
        // SAFETY: the set is on this stack.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in Signals::ALL {
                libc::sigaddset(&mut set, signal);
            }
            set
        }
    }

    /// Called before any thread starts: threads inherit the mask.
    fn block() -> Signals {
        let set = Signals::set();
        // SAFETY: a valid set; the old one is not stored.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        Signals(set)
    }

    /// In a child, before exec: a blocked signal would stay blocked.
    fn unblock() {
        let set = Signals::set();
        // SAFETY: as above; async-signal-safe.
        unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut()) };
    }

    /// The next signal, and whether the terminal sent it.
    fn wait(&self) -> (libc::c_int, bool) {
        loop {
            // SAFETY: a valid set; the details are written to this stack.
            let (signal, info) = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                (libc::sigwaitinfo(&self.0, &mut info), info)
            };
            if signal > 0 {
                return (signal, info.si_code == libc::SI_KERNEL);
            }
        }
    }
}

/// Which process handles a signal: CMD while it runs, else this tool.
#[derive(Clone, Default)]
struct Turn(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    child: Option<u32>,
    caught: Option<libc::c_int>,
}

impl Turn {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn listen(self, signals: Signals) {
        std::thread::spawn(move || {
            loop {
                let (signal, by_terminal) = signals.wait();
                let mut state = self.state();
                state.caught = Some(signal);
                // A terminal sends Ctrl-C to CMD too, which is in the same foreground group.
                if let (Some(child), false) = (state.child, by_terminal) {
                    // SAFETY: kill takes numbers; the child is reaped only after `forget`.
                    unsafe { libc::kill(child as libc::pid_t, signal) };
                }
            }
        });
    }

    fn caught(&self) -> Option<libc::c_int> {
        self.state().caught
    }

    fn forward_to(&self, child: u32) {
        let mut state = self.state();
        state.child = Some(child);
        if let Some(signal) = state.caught {
            // SAFETY: as in `listen`.
            unsafe { libc::kill(child as libc::pid_t, signal) };
        }
    }

    fn forget(&self) {
        self.state().child = None;
    }
}
